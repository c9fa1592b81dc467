# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The ground: asphalt with markings, kerbs, verges, footways and plots on the plane z = 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mono_metric_depth.worlds.domain import Domain, Palette
from mono_metric_depth.worlds.road import Road
from mono_metric_depth.worlds.textures import (
    BLOTCHES,
    CRACKS,
    FRACTAL,
    GRAIN,
    NoiseTile,
    above,
    band,
    hashed,
    mixed,
)

_PAINT = (0.86, 0.86, 0.83)


@dataclass(frozen=True)
class Ground:
    """How the ground of one drive looks; colours are sRGB 0..1.

    Attributes:
        road: Where everything lies.
        asphalt, paving, soil, grass: (3,) colours.
        dash, gap: Length of the centre line's dashes and of the gaps between (m).
        edge_lines: Strength of lines beside the kerb, 0..1.
        wear: Strength of cracks, patches and tyre marks.
        fields: Whether fields lie beside the road.
    """

    road: Road
    asphalt: Tensor
    paving: Tensor
    soil: Tensor
    grass: Tensor
    dash: float
    gap: float
    edge_lines: float
    wear: float
    fields: bool

    def beside(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) offset in y from the centre line, and distance to the left of it (m)."""
        centre, slope = torch.zeros_like(x), torch.zeros_like(x)
        for amplitude, wave, phase in self.road.waves:
            angle = x * float(wave) + float(phase)
            centre += float(amplitude) * (torch.sin(angle) - float(np.sin(phase)))
            slope += float(amplitude * wave) * torch.cos(angle)
        shift = y - centre
        return shift, shift / (1 + slope * slope).sqrt_()

    def albedo(self, x: Tensor, y: Tensor, footprint: Tensor, noise: NoiseTile) -> Tensor:
        """(n, 3) albedo of points on the ground, sRGB 0..1.

        Args:
            x: (n,) of points in the world frame (m).
            y: (n,) of the same.
            footprint: (n,) extent of the pixel there (m).
            noise: Of the drive.
        """
        offset = self.beside(x, y)[1]
        away = offset.abs()
        fine, coarse = noise.at(x, y, footprint, 3.1), noise.at(x, y, footprint, 23.0)
        road = self.road
        asphalt = self._asphalt(x, offset, footprint, fine, coarse)
        asphalt = mixed(
            asphalt, asphalt.new_tensor(_PAINT), self._markings(x, offset, footprint, fine)
        )
        kerb = road.half_width
        grass = self._grass(fine, coarse)
        colour = self._plots(grass, fine, coarse)
        if self.fields:
            colour = self._crops(colour, x, offset, footprint)
        walk = above(road.plot - away, footprint)
        colour = mixed(colour, self._footway(x, offset, footprint, fine, coarse), walk)
        if road.verge > 0.1:
            verge = above(kerb + road.verge - away, footprint)
            colour = mixed(colour, grass, verge)
        street = self._side_streets(x, offset, footprint)
        colour = mixed(colour, asphalt, street)
        stone = self.paving * (0.95 + 0.1 * fine[:, FRACTAL, None])
        edge = band(away - kerb - 0.08, 0.08, footprint) * (1 - street)
        colour = mixed(colour, stone * 1.1, edge)
        gutter = band(away - kerb + 0.1, 0.1, footprint) * (1 - street)
        colour = mixed(colour, asphalt, above(kerb - away, footprint))
        return mixed(colour, asphalt * 0.6, 0.7 * gutter).clamp_(0.01, 1)

    def _asphalt(
        self, x: Tensor, offset: Tensor, footprint: Tensor, fine: Tensor, coarse: Tensor
    ) -> Tensor:
        wear = self.wear
        tone = 1 + 0.075 * fine[:, GRAIN] + 0.06 * fine[:, FRACTAL] + 0.10 * coarse[:, FRACTAL]
        tone -= wear * 0.07 * coarse[:, CRACKS].clamp(0, 3)
        tone += wear * 0.07 * coarse[:, BLOTCHES]
        lane = offset.abs() - self.road.lane / 2
        track = (lane.abs() - 0.75) / 0.28
        tone -= 0.10 * torch.exp(-track * track)
        tone -= 0.07 * torch.exp(-lane * lane / 0.06)
        u, v = x / 6.3, offset / 1.9
        cell, row = u.floor(), v.floor()
        chance = hashed(cell, row, 11)
        patch = band(u - cell - 0.5, 0.18 + 0.25 * chance, footprint / 6.3)
        patch = patch * band(v - row - 0.5, 0.44, footprint / 1.9) * (chance > 0.8)
        tone += wear * patch * (hashed(cell, row, 12) - 0.62) * 0.5
        cover = torch.hypot(u - cell - 0.5, (v - row - 0.5) * (1.9 / 6.3)) * 6.3
        tone -= 0.35 * (chance < 0.07) * band(cover, 0.32, footprint)
        return self.asphalt * tone.clamp_(0.3, 1.7).unsqueeze(1)

    def _markings(self, x: Tensor, offset: Tensor, footprint: Tensor, fine: Tensor) -> Tensor:
        """(n,) share of each point under white paint."""
        road, away = self.road, offset.abs()
        period = self.dash + self.gap
        dashes = band(x % period - period / 2, self.dash / 2, footprint)
        paint = band(offset, 0.075, footprint) * dashes
        lines = band(away - road.lane + (0.25 if road.parking == 0 else 0), 0.06, footprint)
        paint = torch.maximum(paint, self.edge_lines * lines)
        if road.parking:
            bays = band(x % 6.0 - 3.0, 0.05, footprint) * above(away - road.lane, footprint)
            paint = torch.maximum(paint, self.edge_lines * bays)
        for crossing in road.crossings:
            across = band(x - float(crossing), 1.6, footprint)
            stripes = band(offset % 1.0 - 0.5, 0.26, footprint)
            paint = torch.maximum(paint * (1 - across), across * stripes)
            stop = band(x - float(crossing) + 3.0, 0.2, footprint)
            paint = torch.maximum(paint, stop * above(-offset, footprint))
        worn = (0.85 + 0.16 * fine[:, FRACTAL] - 0.05 * fine[:, CRACKS].clamp(0, 3)).clamp_(0, 1)
        return paint * worn * above(road.half_width - 0.15 - away, footprint)

    def _grass(self, fine: Tensor, coarse: Tensor) -> Tensor:
        tone = 1 + 0.13 * fine[:, GRAIN] + 0.12 * fine[:, FRACTAL] + 0.12 * coarse[:, FRACTAL]
        dry = (0.35 * coarse[:, BLOTCHES]).clamp(0, 1)
        grass = mixed(self.grass * tone.clamp_(0.35, 1.6).unsqueeze(1), self.soil * 1.05, dry)
        return grass

    def _plots(self, grass: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        tone = 1 + 0.08 * fine[:, GRAIN] + 0.10 * coarse[:, FRACTAL] + 0.08 * coarse[:, GRAIN]
        return torch.lerp(grass, self.soil * tone.unsqueeze(1), 0.5)

    def _crops(self, colour: Tensor, x: Tensor, offset: Tensor, footprint: Tensor) -> Tensor:
        """Fields some 60 m wide: meadow, corn in rows along the road, ploughed earth."""
        field = hashed((x / 60).floor(), (offset / 45).floor(), 31)
        rows = 1 - 0.35 * band((offset / 0.8) % 1 - 0.5, 0.25, footprint / 0.8)
        corn = colour.new_tensor([1.25, 1.1, 0.8]) * rows.unsqueeze(1)
        colour = torch.where((field > 0.45).unsqueeze(1), colour * corn, colour)
        earth = self.soil.new_tensor([0.42, 0.34, 0.26]) * rows.unsqueeze(1)
        return mixed(colour, earth, 0.7 * (field > 0.8))

    def _footway(
        self, x: Tensor, offset: Tensor, footprint: Tensor, fine: Tensor, coarse: Tensor
    ) -> Tensor:
        u, v = x / 0.75, offset / 0.6
        slab = hashed(u.floor(), v.floor(), 21) - 0.5
        seen = (0.35 / footprint).clamp_(0, 1)
        joints = band(u - u.round(), 0.025, footprint / 0.75)
        joints = torch.maximum(joints, band(v - v.round(), 0.03, footprint / 0.6))
        tone = 1 + 0.06 * fine[:, GRAIN] + 0.05 * fine[:, FRACTAL] + 0.1 * coarse[:, FRACTAL]
        tone += 0.16 * slab * seen - 0.3 * joints - 0.04 * coarse[:, CRACKS].clamp(0, 3)
        return self.paving * tone.clamp_(0.3, 1.6).unsqueeze(1)

    def _side_streets(self, x: Tensor, offset: Tensor, footprint: Tensor) -> Tensor:
        """(n,) share of each point within a side street."""
        share = torch.zeros_like(x)
        for start, side in self.road.side_streets:
            street = band(x - float(start), self.road.side_width, footprint)
            share = torch.maximum(share, street * above(float(side) * offset, footprint))
        return share


def ground_of(
    domain: Domain, road: Road, rng: np.random.Generator, device: torch.device
) -> Ground:
    """The ground of one drive in a domain."""

    def colour(palette: Palette, spread: float) -> Tensor:
        base = np.array(palette[rng.integers(len(palette))]) / 255
        base = np.clip(base + rng.normal(0, spread) + rng.normal(0, spread / 6, 3), 0.05, 0.95)
        return torch.tensor(base, dtype=torch.float32, device=device)

    leafy = domain.verge[1] > 0
    return Ground(
        road=road,
        asphalt=colour(domain.asphalt, 0.035),
        paving=colour(domain.paving, 0.03),
        soil=colour(domain.ground, 0.03),
        grass=colour(domain.ground if leafy else domain.foliage, 0.03),
        dash=rng.uniform(2.0, 4.0),
        gap=rng.uniform(2.5, 6.0),
        edge_lines=float(rng.choice([0.0, 0.8, 1.0])),
        wear=rng.uniform(0.5, 1.3),
        fields=domain.fields,
    )

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Light: sun, sky, haze and the shadows that solids throw on the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mono_metric_depth.worlds.domain import Domain
from mono_metric_depth.worlds.raycast import FAR, cast, corners, overlaps
from mono_metric_depth.worlds.road import Road
from mono_metric_depth.worlds.solids import CENTRE, HALF
from mono_metric_depth.worlds.weather import Weather

_CELL = 0.3
_TILE = 8
_REACH = 24.0
#: Shadows are no longer than with the sun this high.
_LOWEST_SUN = math.sin(math.radians(8.0))


@dataclass(frozen=True)
class Light:
    """The light of one drive; colours are linear.

    Attributes:
        sun: (3,) unit vector towards the sun.
        direct, ambient: (3,) light of the sun and of the sky.
        zenith, horizon: (3,) colours of the sky.
        glow: (3,) colour that the sky adds around the sun.
        haze: Distance at which haze hides 63 % of the contrast (m).
        cloud: Share of the sky under clouds, 0..1.
        wet: How much of the paved ground is under water, 0..1.
        brightness: Of the road, about.
        heading: (3,) the same as sun, on the host.
        glare: How much the sun blinds who looks into it, 0..1.
    """

    sun: Tensor
    direct: Tensor
    ambient: Tensor
    zenith: Tensor
    horizon: Tensor
    glow: Tensor
    haze: float
    cloud: float
    wet: float
    brightness: float
    heading: tuple[float, float, float]
    glare: float

    def on(self, normal: Tensor) -> Tensor:
        """(n, 3) light on surfaces with these normals (n, 3), before any shadow."""
        lit = (normal @ self.sun).clamp_(min=0).unsqueeze(1)
        open_sky = (0.62 + 0.38 * normal[:, 2:]) * self.ambient
        return lit * self.direct + open_sky

    def towards(self, ray: Tensor) -> Tensor:
        """(n, 1) how close unit rays (n, 3) pass by the sun: 1 at it, near 0 from 50 degrees."""
        near = (ray @ self.sun).clamp_(min=0)
        near = near * near
        near = near * near
        return (0.6 * near * near + 0.4 * near).unsqueeze(1)


def light_of(
    domain: Domain, weather: Weather, rng: np.random.Generator, device: torch.device
) -> Light:
    """The light of one drive in a domain."""
    elevation, azimuth, cloud = weather.elevation, weather.azimuth, weather.cloud
    warm = min(1.0, max(0.0, 1.15 - elevation / 0.55))
    zenith = (np.array(domain.sky[rng.integers(len(domain.sky))]) / 255) ** 2
    zenith = zenith * (1 - 0.5 * cloud) + 0.5 * cloud * zenith.mean()
    pale = np.array([0.74 + 0.1 * warm, 0.77 - 0.02 * warm, 0.8 - 0.16 * warm * (1 - cloud)])
    share = 0.55 + 0.4 * max(0.0, cloud - 0.6)
    horizon = ((1 - share) * zenith + share * pale) * weather.day
    zenith = zenith * weather.day
    direct = weather.sun * np.array([1.0, 0.94 - 0.2 * warm, 0.85 - 0.42 * warm]) * 2.2
    ambient = (0.4 + 0.6 * (1 - weather.sun)) * (0.7 + 0.3 * zenith / zenith.mean())
    ambient = ambient * weather.day
    brightness = 0.3 * (ambient.mean() + 0.55 * direct.mean() * math.sin(elevation))
    clear = (1 - cloud) * (weather.sun if weather.day == 1 else 0.5)
    glow = clear * (0.25 + warm) * np.array([0.8, 0.62, 0.42])
    sun = (
        math.cos(elevation) * math.cos(azimuth),
        math.cos(elevation) * math.sin(azimuth),
        math.sin(elevation),
    )

    def tensor(values: object) -> Tensor:
        return torch.tensor(np.asarray(values), dtype=torch.float32, device=device)

    return Light(
        sun=tensor(sun),
        direct=tensor(direct),
        ambient=tensor(ambient),
        zenith=tensor(zenith),
        horizon=tensor(horizon),
        glow=tensor(glow),
        haze=weather.haze,
        cloud=cloud,
        wet=weather.wet,
        brightness=float(brightness),
        heading=sun,
        glare=0.3 * clear * warm if weather.day == 1 else 0.0,
    )


class GroundShadow:
    """How much of the sun and of the sky the ground sees, on a grid that follows the road.

    Args:
        table: (n, WIDTH) solids that stand still, in the world frame.
        road: Where the grid lies.
        light: Where the sun is.
        end: Largest x (m).
    """

    def __init__(self, table: Tensor, road: Road, light: Light, end: float) -> None:
        self._start = road.start
        columns, rows = int((end - road.start) / _CELL / _TILE), int(2 * _REACH / _CELL / _TILE)
        x = road.start + _CELL * (np.arange(columns * _TILE) + 0.5)
        y = road.centre(x)[:, None] - _REACH + _CELL * (np.arange(rows * _TILE) + 0.5)
        x = np.broadcast_to(x[:, None], y.shape)
        grid = torch.from_numpy(np.stack([x, y]).astype(np.float32)).to(table.device)
        tiles = grid.reshape(2, columns, _TILE, rows, _TILE).permute(0, 1, 3, 2, 4)
        tiles = tiles.reshape(2, columns * rows, _TILE * _TILE)
        skies = [(math.cos(a), math.sin(a), 0.9) for a in (0.6, 2.17, 3.74, 5.31)]
        low = light.sun.clone()
        low[2].clamp_(min=_LOWEST_SUN)
        seen = [_unblocked(table, tiles, low)]
        seen += [_unblocked(table, tiles, light.sun.new_tensor(sky)) for sky in skies]
        sky = torch.stack(seen[1:]).mean(0)
        maps = torch.stack([seen[0], sky]).reshape(2, columns, rows, _TILE, _TILE)
        maps = maps.permute(0, 1, 3, 2, 4).reshape(2, columns * _TILE, rows * _TILE)
        padded = torch.nn.functional.pad(maps, (1, 1, 1, 1), mode='replicate')
        self._map = (
            torch.nn.functional.avg_pool2d(padded, 3, stride=1).permute(1, 2, 0).contiguous()
        )

    def at(self, x: Tensor, beside: Tensor) -> Tensor:
        """(n, 2) shares of sun and sky at x and at an offset in y from the centre line (m)."""
        columns, rows = self._map.shape[:2]
        u = ((x - self._start) / _CELL - 0.5).clamp_(0, columns - 1.001)
        v = ((beside + _REACH) / _CELL - 0.5).clamp_(0, rows - 1.001)
        left, top = u.floor(), v.floor()
        right_share, low_share = (u - left).unsqueeze(1), (v - top).unsqueeze(1)
        index = left.to(torch.int32) * rows + top.to(torch.int32)
        texels = self._map.reshape(-1, 2)
        upper = texels.index_select(0, index)
        upper = upper.lerp_(texels.index_select(0, index + rows), right_share)
        lower = texels.index_select(0, index + 1)
        lower = lower.lerp_(texels.index_select(0, index + rows + 1), right_share)
        return upper.lerp_(lower, low_share)


def _unblocked(table: Tensor, tiles: Tensor, direction: Tensor) -> Tensor:
    """(t, P) 1 where the ground sees that direction, 0 where a solid is in the way.

    Args:
        table: (n, WIDTH) solids.
        tiles: (2, t, P) x and y of points on the ground (m).
        direction: (3,) towards the light.
    """
    corner = corners(table)
    thrown = corner[..., :2] - corner[..., 2:] * (direction[:2] / direction[2])
    low, high = thrown.amin(1), thrown.amax(1)
    shadow = torch.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], dim=1)
    lowest, highest = tiles.amin(2), tiles.amax(2)
    bounds = torch.stack([lowest[0], highest[0], lowest[1], highest[1]], dim=1)
    origins = (tiles[0], tiles[1], torch.zeros_like(tiles[0]))
    x, y, z = direction.reshape(3, 1, 1)
    limit = torch.full_like(tiles[0], FAR)
    nearest = cast(
        table, overlaps(bounds, shadow), origins, (x, y, z), limit, torch.zeros_like(shadow[:, 0])
    )
    return (nearest.solid == 0).to(torch.float32)


def blob(x: Tensor, y: Tensor, row: Tensor) -> Tensor:
    """(n,) how dark the ground is below a car that moves, 0..1.

    Args:
        x: (n,) of points of the ground, in the frame of the row (m).
        y: (n,) of the same.
        row: (WIDTH,) the body of the car.
    """
    cosine, sine = row[6].cos(), row[6].sin()
    dx, dy = x - row[CENTRE][0], y - row[CENTRE][1]
    along = (cosine * dx + sine * dy).abs() - row[HALF][0]
    across = (cosine * dy - sine * dx).abs() - row[HALF][1]
    return (0.5 - torch.maximum(along, across) / 0.5).clamp_(0, 1)

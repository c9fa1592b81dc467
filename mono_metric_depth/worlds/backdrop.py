# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The backdrop: curtains of distant trees and hills around a world, and the sky above them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mono_metric_depth.worlds.domain import Domain
from mono_metric_depth.worlds.light import Light
from mono_metric_depth.worlds.raycast import FAR
from mono_metric_depth.worlds.textures import BLOTCHES, FRACTAL, GRAIN, NoiseTile


@dataclass(frozen=True)
class Curtain:
    """An upright elliptic cylinder around the drive whose upper rim is a skyline.

    Attributes:
        middle: x of its centre (m); its centre lies at y = 0.
        axes: Half its size in x and y (m).
        height: Greatest height of the skyline (m).
        scale: Width of the features of the skyline (m).
        phase: Sets apart one skyline from another (rad).
        colour: (3,) albedo, sRGB 0..1.
    """

    middle: float
    axes: tuple[float, float]
    height: float
    scale: float
    phase: float
    colour: Tensor

    def distance(
        self, eye: tuple[float, float, float], ray: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        """Distance along rays from within, FAR where they pass above the skyline or meet none.

        Args:
            eye: Origin of the rays in the world frame (m).
            ray: x, y, z of their directions.
        """
        x, y, z = ray
        ox, oy = (eye[0] - self.middle) / self.axes[0], eye[1] / self.axes[1]
        dx, dy = x / self.axes[0], y / self.axes[1]
        a, b = dx * dx + dy * dy, ox * dx + oy * dy
        root = (b * b + a * (1 - ox * ox - oy * oy)).sqrt_()
        t = (root - b) / a
        rise = eye[2] + t * z
        along = (x * t - y * t) * (1 / self.scale) + (eye[0] - eye[1]) / self.scale + self.phase
        slow = torch.sin(0.31 * along + 1.7 * torch.sin(0.11 * along))
        bumps = torch.sin(along + torch.sin(0.37 * along)).abs_() * 0.2
        leaves = torch.sin(4.7 * along + 2 * torch.sin(1.9 * along)).abs_() * 0.08
        skyline = self.height * (0.55 + 0.17 * slow + bumps + leaves)
        return t.masked_fill_((rise > skyline) | (rise < 0), FAR)

    def albedo(
        self, x: Tensor, y: Tensor, z: Tensor, footprint: Tensor, noise: NoiseTile
    ) -> Tensor:
        """(n, 3) albedo of points on the curtain (m, world frame), sRGB 0..1."""
        period = 9 * self.scale
        texture = noise.at(x - y, 1.4 * z, footprint, period)
        tone = 0.85 + 0.2 * texture[:, GRAIN] + 0.16 * texture[:, FRACTAL]
        tone += 0.1 * texture[:, BLOTCHES] + 0.3 * z / self.height
        return (self.colour * tone.clamp_(0.3, 1.7).unsqueeze(1)).clamp_(0.01, 1)


def curtains_of(
    domain: Domain, rng: np.random.Generator, length: float, device: torch.device
) -> tuple[Curtain, Curtain]:
    """A tree line and the hills behind it, around a drive of that length (m)."""
    leaves = np.array(domain.foliage[rng.integers(len(domain.foliage))]) / 255
    stone = np.array([0.36, 0.4, 0.42])
    colours = (leaves * rng.uniform(0.75, 1.0), 0.5 * leaves + 0.5 * stone)
    shapes = (
        (length / 2 + rng.uniform(120, 200), rng.uniform(80, 110), domain.skyline, 4.0),
        (length / 2 + rng.uniform(350, 600), rng.uniform(260, 400), domain.hills, 23.0),
    )
    near, far = (
        Curtain(
            middle=length / 2,
            axes=(along, across),
            height=rng.uniform(*height),
            scale=scale,
            phase=rng.uniform(0, 40),
            colour=torch.tensor(colour, dtype=torch.float32, device=device),
        )
        for (along, across, height, scale), colour in zip(shapes, colours, strict=True)
    )
    return near, far


def sky(ray: Tensor, pixel: float, light: Light, noise: NoiseTile) -> Tensor:
    """(n, 3) linear colour of the sky along rays (n, 3), with clouds on a plane high above."""
    unit = ray / ray.norm(dim=1, keepdim=True)
    x, y, z = unit.unbind(1)
    z = z.clamp(min=0.02)
    colour = torch.lerp(light.horizon, light.zenith, (1 - (1 - z) ** 4).unsqueeze(1))
    reach = 1 / (z + 0.12)
    texture = noise.at(x * reach, y * reach, pixel * reach * 2, 4.2)
    cover = texture[:, FRACTAL] + 0.35 * texture[:, GRAIN] + 3 * light.cloud - 1.6
    cover = torch.sigmoid(2.2 * cover) * (z * 12).clamp(0, 1)
    bright = (0.72 + 0.10 * texture[:, FRACTAL]).unsqueeze(1).clamp_(0.3, 1)
    white = light.horizon.mean() * 1.25 * bright.expand(-1, 3)
    colour = torch.lerp(colour, white, 0.85 * cover.unsqueeze(1))
    return colour + light.towards(unit) * light.glow

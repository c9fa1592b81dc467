# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Hits: the points where rays meet solids, and what their paint depends on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mono_metric_depth.worlds.raycast import to_local
from mono_metric_depth.worlds.solids import BACK, FRONT, HALF, SEED, SHAPE, SIDE, YAW, Shape
from mono_metric_depth.worlds.textures import FRACTAL, GRAIN, NoiseTile, hashed


@dataclass(frozen=True)
class Hits:
    """Points on solids.

    Attributes:
        row: (n, WIDTH) the solid of each.
        unit: (n, 3) the point in its frame, -1..1.
        point: (n, 3) the same in metres.
        normal: (n, 3) outward unit normal in the world frame.
        face: (n,) 0..5 for front, back, left, right, top, bottom of a box.
        along, up: (n,) coordinates on the surface (m).
        footprint: (n,) extent of the pixel on the surface (m).
        fine, coarse: (n, 4) noise with details of centimetres and of decimetres.
    """

    row: Tensor
    unit: Tensor
    point: Tensor
    normal: Tensor
    face: Tensor
    along: Tensor
    up: Tensor
    footprint: Tensor
    fine: Tensor
    coarse: Tensor

    def __getitem__(self, index: Tensor) -> Hits:
        return Hits(*(getattr(self, name).index_select(0, index) for name in self.__dict__))


def hits_at(row: Tensor, ray: Tensor, distance: Tensor, pixel: float, noise: NoiseTile) -> Hits:
    """Where rays from the origin meet solids.

    Args:
        row: (n, WIDTH) the solid of each ray.
        ray: (n, 3) direction.
        distance: (n,) along it.
        pixel: Angle of a pixel (rad).
        noise: Of the drive.
    """
    place = tuple((ray * distance.unsqueeze(1)).unsqueeze(2).unbind(1))
    unit = torch.cat(to_local(row, (place[0], place[1], place[2]), is_point=True), dim=1)
    x, y, z = unit.unbind(1)
    half = row[:, HALF]
    point = unit * half
    front, back, side = (row[:, column] * 0.5 for column in (FRONT, BACK, SIDE))
    rise = z + 1
    flat = (row[:, SHAPE] != Shape.CYLINDER).to(torch.float32)
    top = z * flat
    planes = torch.stack(
        [x + front * rise, back * rise - x, y + side * rise, side * rise - y, top, -top], dim=1
    )
    face = planes.argmax(1)
    normal = _box_normals(row, face)
    rounded = row[:, SHAPE, None] != Shape.BOX
    curved = torch.stack([x, y, top], dim=1) / half
    normal = torch.where(rounded, curved, normal)
    normal = normal / normal.norm(dim=1, keepdim=True).clamp_(min=1e-9)
    ends = (face < 2).to(torch.float32)
    level = (face >= 4).to(torch.float32)
    along = torch.lerp(point[:, 0], point[:, 1], ends)
    up = torch.lerp(point[:, 2], point[:, 1], level)
    cosine, sine = row[:, YAW].cos(), row[:, YAW].sin()
    nx, ny, nz = normal.unbind(1)
    world = torch.stack([cosine * nx - sine * ny, sine * nx + cosine * ny, nz], dim=1)
    facing = -(world * ray).sum(1) / ray.norm(dim=1)
    footprint = distance * pixel / facing.clamp_(min=0.06).sqrt_()
    u, v = along + 37 * row[:, SEED], up + 11 * row[:, SEED]
    fine, coarse = noise.at(u, v, footprint, 2.3), noise.at(u, v, footprint, 17.0)
    return Hits(row, unit, point, world, face, along, up, footprint, fine, coarse)


def _box_normals(row: Tensor, face: Tensor) -> Tensor:
    """(n, 3) outward normals of faces of tapered boxes, in their frames, of any length."""
    zero, one = torch.zeros_like(row[:, 0]), torch.ones_like(row[:, 0])
    front, back, side = (row[:, column] * 0.5 for column in (FRONT, BACK, SIDE))
    x = torch.stack([one, -one, zero, zero, zero, zero], dim=1)
    y = torch.stack([zero, zero, one, -one, zero, zero], dim=1)
    z = torch.stack([front, back, side, side, one, -one], dim=1)
    pick = face.unsqueeze(1)
    return torch.cat([part.gather(1, pick) for part in (x, y, z)], dim=1) / row[:, HALF]


def mottled(hits: Hits, fine: float, coarse: float) -> Tensor:
    """(n, 1) brightness that varies by these amounts."""
    grain = hits.fine[:, GRAIN] + 0.7 * hits.fine[:, FRACTAL]
    return (1 + fine * grain + coarse * hits.coarse[:, FRACTAL]).unsqueeze(1)


def style_of(hits: Hits, salt: int) -> Tensor:
    """(n,) a number in 0..1 that is the same all over a solid."""
    seed = (hits.row[:, SEED] * 65521).to(torch.int32)
    return hashed(seed, torch.zeros_like(seed), salt)

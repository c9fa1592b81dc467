# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Ray casting: which solid each ray meets first, and where.

Rays come in square tiles. A pair of a tile and a solid is tested only if their bounds overlap, all
pairs at once: K pairs times P rays per tile.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mono_metric_depth.worlds.solids import (
    BACK,
    CENTRE,
    FRONT,
    HALF,
    RAGGED,
    SEED,
    SHAPE,
    SIDE,
    YAW,
    Shape,
)

#: Further than anything (m): the distance of a ray that meets nothing.
FAR = 1e9
_NEAR = 0.05
_MISS = 1e30
_PARALLEL, _STEEP = 1e-12, 1e38
#: Boxes that come nearer than this (m) are tested first: they hide much of the rest.
_FIRST = 14.0

#: x, y, z of vectors, each of a shape that broadcasts against (K, P).
Vector = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Nearest:
    """What rays meet first.

    Attributes:
        distance: (tiles, P) in units of the ray direction; what it was before where nothing nearer
            was met.
        solid: (tiles, P) float32, one plus the row of the solid that was met, 0 for none.
    """

    distance: Tensor
    solid: Tensor


def corners(table: Tensor) -> Tensor:
    """(n, 8, 3) corners of the boxes around solids, in the frame of the table (n, WIDTH)."""
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], device=table.device)] * 3)
    local = signs[None] * table[:, None, HALF]
    cosine, sine = table[:, YAW, None].cos(), table[:, YAW, None].sin()
    x = cosine * local[..., 0] - sine * local[..., 1]
    y = sine * local[..., 0] + cosine * local[..., 1]
    return torch.stack([x, y, local[..., 2]], dim=-1) + table[:, None, CENTRE]


def overlaps(tiles: Tensor, solids: Tensor) -> Tensor:
    """(2, K) tile and solid of each pair whose bounds overlap, in the order of tiles.

    Args:
        tiles: (t, 4) least x, largest x, least y, largest y.
        solids: (n, 4) likewise.
    """
    overlap = tiles[:, 0, None] < solids[None, :, 1]
    overlap &= tiles[:, 1, None] > solids[None, :, 0]
    overlap &= tiles[:, 2, None] < solids[None, :, 3]
    overlap &= tiles[:, 3, None] > solids[None, :, 2]
    return overlap.nonzero().T


def to_local(table: Tensor, vector: Vector, *, is_point: bool) -> Vector:
    """Vectors or points in the frames of solids, in which each spans -1..1.

    Args:
        table: (K, WIDTH) rows.
        vector: In the frame of the table.
        is_point: Whether the centre of the solid is to be subtracted.
    """
    x, y, z = vector
    if is_point:
        x, y, z = (part - table[:, axis, None] for axis, part in enumerate(vector))
    cosine, sine = table[:, YAW, None].cos(), table[:, YAW, None].sin()
    inverse = 1 / table[:, HALF]
    along_x = (cosine * inverse[:, :1]) * x + (sine * inverse[:, :1]) * y
    along_y = (cosine * inverse[:, 1:2]) * y - (sine * inverse[:, 1:2]) * x
    return along_x, along_y, inverse[:, 2:] * z


def cast(
    table: Tensor,
    pairs: Tensor,
    origins: Vector,
    directions: Vector,
    limit: Tensor,
    closest: Tensor,
) -> Nearest:
    """What rays meet first.

    Args:
        table: (n, WIDTH) solids.
        pairs: (2, K) which tile may meet which solid.
        origins: (tiles, P) or (1, 1) each, in the frame of the table.
        directions: Likewise.
        limit: (tiles, P) distance of what is behind, at most FAR.
        closest: (n,) a distance that every point of a solid exceeds.
    """
    distance, owner = limit.clone(), torch.zeros_like(limit)
    is_box = table[:, SHAPE].index_select(0, pairs[1]) == Shape.BOX
    found = []
    near = closest.index_select(0, pairs[1])
    first = is_box & (near < _FIRST)
    rounds = ((first, _box_distance), (is_box & ~first, _box_distance), (~is_box, _round_distance))
    for mine, meet in rounds:
        # What is wholly behind what is already known of a tile need not be tested.
        hidden = distance.amax(1).index_select(0, pairs[0]) <= near
        tile, number = pairs[:, mine & ~hidden]
        rows = table.index_select(0, number)
        origin = to_local(rows, _of_tiles(origins, tile), is_point=True)
        direction = to_local(rows, _of_tiles(directions, tile), is_point=False)
        hit = meet(rows, origin, direction)
        index = tile[:, None].expand_as(hit)
        distance.scatter_reduce_(0, index, hit, 'amin')
        found.append((tile, index, number, hit))
    for tile, index, number, hit in found:
        nearest = (hit <= distance.index_select(0, tile)).to(torch.float32)
        owner.scatter_reduce_(0, index, nearest.mul_((number + 1)[:, None]), 'amax')
    return Nearest(distance, owner)


def _of_tiles(vector: Vector, tile: Tensor) -> Vector:
    x, y, z = (part if part.numel() == 1 else part.index_select(0, tile) for part in vector)
    return x, y, z


def _box_distance(rows: Tensor, origin: Vector, direction: Vector) -> Tensor:
    """(K, P) distance to tapered boxes: the last of the planes entered, if before any is left."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    tapers = 0.5 * rows[:, (FRONT, BACK, SIDE), None]
    rise = oz + 1
    planes = []
    for sign, taper in ((1, tapers[:, 0]), (-1, tapers[:, 1])):
        planes.append((1 - sign * ox - taper * rise, sign * dx + taper * dz))
    for sign in (1, -1):
        planes.append((1 - sign * oy - tapers[:, 2] * rise, sign * dy + tapers[:, 2] * dz))
    planes += [(1 - oz, dz), (1 + oz, -dz)]
    enter = leave = None
    for room, closing in planes:
        # A ray along a plane is within or without for good: it leaves at once or never.
        closing = closing + _PARALLEL
        t = room / closing
        # Without torch.where, which is slow on CPUs: push what does not count out of the way.
        entered = t - (closing * _STEEP).clamp_(0, _MISS)
        left = t.sub_((closing * _STEEP).clamp_(-_MISS, 0))
        enter = entered if enter is None else torch.maximum(enter, entered, out=enter)
        leave = left if leave is None else torch.minimum(leave, left, out=leave)
    assert enter is not None
    assert leave is not None
    missed = (enter >= leave) | (enter < _NEAR)
    return enter.masked_fill_(missed, _MISS)


def _round_distance(rows: Tensor, origin: Vector, direction: Vector) -> Tensor:
    """(K, P) distance to ellipsoids and to cylinders without lids."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    closed = (rows[:, SHAPE, None] == Shape.ELLIPSOID).to(torch.float32)
    a = dx * dx + dy * dy + closed * (dz * dz)
    b = ox * dx + oy * dy + closed * oz * dz
    c = ox * ox + oy * oy + closed * (oz * oz) - 1
    root = (b * b - a * c).clamp_(min=0).sqrt_()
    t = (-b - root) / a
    z = oz + t * dz
    ragged = rows[:, RAGGED, None]
    # Leaves: the flatter a ray grazes the outline (root² / a is the squared sine of that angle on
    # the unit sphere), the likelier it passes between them.
    wobble = 9 + 8 * rows[:, SEED, None]
    x, y = (ox + t * dx) * wobble, (oy + t * dy) * wobble
    gap = torch.sin(x + 9 * z).mul_(torch.sin(y - 7 * z)).add_(torch.sin(z * wobble + 0.4 * x))
    gap.add_(torch.sin(2.7 * x - 11 * z + y).mul_(torch.sin(3.1 * y + 23 * z)))
    thin = root / a.sqrt() < ragged * (0.5 + 0.38 * gap)
    return t.masked_fill_((root == 0) | (t < _NEAR) | (z.abs() > 1) | thin, _MISS)

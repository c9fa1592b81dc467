# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Surfaces of solids: what paints facades, roofs, leaves, fences and cars.

Every paint takes :class:`Hits` and returns (n, 3) albedo, sRGB 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mono_metric_depth.worlds.raycast import to_local
from mono_metric_depth.worlds.solids import (
    ACCENT,
    BACK,
    COLOUR,
    FRONT,
    HALF,
    MATERIAL,
    SEED,
    SHAPE,
    SIDE,
    YAW,
    Material,
    Shape,
)
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


def albedo(hits: Hits) -> Tensor:
    """(n, 3) albedo of points on solids, sRGB 0..1, dirt and contact darkening included."""
    material = hits.row[:, MATERIAL].to(torch.int32)
    result = torch.empty_like(hits.normal)
    for kind, paint in PAINTS.items():
        index = (material == kind).nonzero().squeeze(1)
        if len(index):
            result.index_copy_(0, index, paint(hits[index]))
    return result.clamp_(0.01, 1)


def _mottled(hits: Hits, fine: float, coarse: float) -> Tensor:
    """(n, 1) brightness that varies by these amounts."""
    grain = hits.fine[:, GRAIN] + 0.7 * hits.fine[:, FRACTAL]
    return (1 + fine * grain + coarse * hits.coarse[:, FRACTAL]).unsqueeze(1)


def _plain(hits: Hits) -> Tensor:
    return hits.row[:, COLOUR] * _mottled(hits, 0.07, 0.08)


def _style(hits: Hits, salt: int) -> Tensor:
    """(n,) a number in 0..1 that is the same all over a solid."""
    seed = (hits.row[:, SEED] * 65521).to(torch.int32)
    return hashed(seed, torch.zeros_like(seed), salt)


def _facade(hits: Hits) -> Tensor:
    """Floors of windows between bands and cornices; shop windows or doors below."""
    end = (hits.face < 2).to(torch.float32)
    width = 2 * torch.lerp(hits.row[:, 3], hits.row[:, 4], end)
    height = 2 * hits.row[:, 5]
    style, other, third = (_style(hits, salt) for salt in (1, 2, 3))
    pitch, storey = 1.7 + 1.6 * style, 2.7 + 0.7 * other
    columns, storeys = (
        (width / pitch).round().clamp_(min=1),
        (height / storey).round().clamp_(min=1),
    )
    u, v = (hits.along / width + 0.5) * columns, (hits.up / height + 0.5) * storeys
    column, floor = u.floor().clamp_(min=0), v.floor().clamp_(min=0)
    du, dv = u - column - 0.5, v - floor - 0.52
    blur_u, blur_v = hits.footprint * columns / width, hits.footprint * storeys / height
    ground = (floor < 0.5).to(torch.float32)
    face = hits.face.to(torch.float32)
    cell = hashed(column + 131 * face, floor, 5)
    seed = hits.row[:, SEED] * 977
    cell = hashed(cell * 4099 + seed, column, 6)
    shop = ground * (other > 0.6).to(torch.float32)
    door = ground * (1 - shop) * (cell > 0.72).to(torch.float32)
    half_u = 0.17 + 0.16 * third + 0.12 * shop - 0.04 * door
    half_v = 0.24 + 0.1 * other + 0.06 * shop + 0.1 * door
    dv = dv + 0.1 * door
    pane = band(du, half_u, blur_u) * band(dv, half_v, blur_v)
    frame = band(du, half_u + 0.045, blur_u) * band(dv, half_v + 0.035, blur_v)
    sill = band(du, half_u + 0.09, blur_u) * band(dv + half_v + 0.05, 0.02, blur_v)
    bars = band(du, 0.012, blur_u) + band(dv - 0.1, 0.012, blur_v)
    lines = band(v - v.round(), 0.035, blur_v) * (third > 0.4)
    wall = _wall(hits, lines, bricks=style > 0.5)
    accent = hits.row[:, ACCENT]
    wall = mixed(wall, accent * 0.95, torch.maximum(frame, 0.8 * sill))
    shine = (0.10 + 0.28 * cell * cell + 0.12 * (dv + 0.4)).unsqueeze(1)
    glass = shine * wall.new_tensor([0.86, 0.97, 1.08]) * (1 + 0.12 * hits.coarse[:, :1])
    curtain = (cell * 7 % 1 > 0.62).to(torch.float32) * above(dv - 0.12 + 0.3 * cell, blur_v)
    glass = mixed(glass, accent * 0.75, 0.6 * curtain)
    glass = mixed(glass, accent, 0.8 * bars.clamp_(0, 1))
    glass = mixed(glass, accent * 0.4 + 0.25 * cell.unsqueeze(1), door)
    return mixed(wall, glass, pane)


def _wall(hits: Hits, lines: Tensor, bricks: Tensor) -> Tensor:
    """Plaster or bricks over a plinth, with bands where lines (n,) is 1."""
    wall = hits.row[:, COLOUR] * _mottled(hits, 0.06, 0.06)
    brick = band((hits.up / 0.085) % 1 - 0.5, 0.4, hits.footprint / 0.085)
    brick = brick * band(
        (hits.along / 0.24 + 0.5 * (hits.up / 0.085).floor()) % 1 - 0.5,
        0.44,
        hits.footprint / 0.24,
    )
    wall = wall * (1 - 0.22 * (1 - brick) * bricks).unsqueeze(1)
    plinth = above(0.55 - (hits.up + hits.row[:, 5]), hits.footprint)
    wall = wall * (1 + 0.16 * lines - 0.24 * plinth).unsqueeze(1)
    streak = (
        hits.coarse[:, BLOTCHES] * 0.035 - 0.03 * hits.coarse[:, CRACKS].clamp(0, 2)
    ).unsqueeze(1)
    wall = wall * (1 + streak)
    return wall


def _tiles(hits: Hits) -> Tensor:
    rows = band((hits.up / 0.33) % 1 - 0.5, 0.38, hits.footprint / 0.33)
    columns = band((hits.along / 0.4) % 1 - 0.5, 0.42, hits.footprint / 0.4)
    relief = (0.8 + 0.2 * rows) * (0.88 + 0.12 * columns)
    return hits.row[:, COLOUR] * _mottled(hits, 0.08, 0.16) * relief.unsqueeze(1)


def _leaves(hits: Hits) -> Tensor:
    """Clumps of leaves: bright above and outside, dark in the gaps."""
    clump = (
        0.16 * hits.fine[:, GRAIN] + 0.14 * hits.fine[:, FRACTAL] + 0.24 * hits.coarse[:, GRAIN]
    )
    depth = 0.14 * hits.fine[:, BLOTCHES] + 0.2 * hits.unit[:, 2]
    brightness = (0.95 + clump + depth).clamp_(min=0.25).unsqueeze(1)
    hue = hits.coarse[:, BLOTCHES, None] * hits.row.new_tensor([[0.04, 0.02, -0.01]])
    return (hits.row[:, COLOUR] + hue) * brightness


def _bark(hits: Hits) -> Tensor:
    stripes = torch.sin(hits.along * 60 + 3 * hits.fine[:, FRACTAL])
    share = (0.02 / hits.footprint).clamp_(0, 1) * 0.15
    return hits.row[:, COLOUR] * (_mottled(hits, 0.16, 0.12) + (share * stripes).unsqueeze(1))


def _planks(hits: Hits) -> Tensor:
    across = hits.along / 0.14
    gap = 1 - band(across - across.round(), 0.09, hits.footprint / 0.14)
    plank = hashed(across.floor(), torch.zeros_like(across), 9) - 0.5
    rails = band(hits.up.abs() - 0.6 * hits.row[:, 5], 0.05, hits.footprint)
    tone = (0.55 + 0.45 * gap) * (1 + 0.25 * plank) * (1 - 0.12 * rails)
    return hits.row[:, COLOUR] * _mottled(hits, 0.12, 0.08) * tone.unsqueeze(1)


def _body(hits: Hits) -> Tensor:
    """Lower body of a car: lights, grille, plate and bumpers at its ends, doors on its sides."""
    x, y, z = hits.unit.unbind(1)
    size = hits.row[:, HALF]
    blur_y, blur_z = hits.footprint / size[:, 1], hits.footprint / size[:, 2]
    ahead, behind = (hits.face == 0).to(torch.float32), (hits.face == 1).to(torch.float32)
    end, flank = ahead + behind, ((hits.face == 2) | (hits.face == 3)).to(torch.float32)
    paint = hits.row[:, COLOUR] * _mottled(hits, 0.015, 0.03)
    paint = paint * (1 + 0.10 * z * (1 - end)).unsqueeze(1)
    colour = mixed(paint, paint.new_tensor([0.11, 0.11, 0.12]), above(-0.62 - z, blur_z) * 0.85)
    grille = ahead * band(y, 0.5, blur_y) * band(z - 0.02, 0.28, blur_z)
    colour = mixed(colour, paint.new_tensor([0.09, 0.09, 0.1]), grille)
    plate = end * band(y, 0.29, blur_y) * band(z + 0.3 - 0.35 * behind, 0.17, blur_z)
    colour = mixed(colour, paint.new_tensor([0.9, 0.9, 0.82]), plate)
    lamp = band(y.abs() - 0.78, 0.2, blur_y) * band(z - 0.45, 0.26, blur_z)
    colour = mixed(colour, paint.new_tensor([0.72, 0.08, 0.07]), behind * lamp)
    colour = mixed(colour, paint.new_tensor([0.95, 0.95, 0.92]), ahead * lamp)
    # The accent of a body holds the radius of its wheels, its length and the height of its sill.
    radius, length, sill = hits.row[:, ACCENT].unbind(1)
    above_ground = hits.point[:, 2] + size[:, 2] + sill
    to_wheel = torch.minimum((x + 0.62).abs(), (x - 0.63).abs()) * length
    arch = above(radius * 1.22 - torch.hypot(to_wheel, above_ground - radius), hits.footprint)
    colour = mixed(colour, paint.new_tensor([0.05, 0.05, 0.05]), flank * arch)
    seams = band((x - 0.12).abs() - 0.28, 0.008, hits.footprint / length) * above(z + 0.6, blur_z)
    handle = band((x - 0.02).abs() - 0.22, 0.03, hits.footprint / length) * band(
        z - 0.5, 0.05, blur_z
    )
    return mixed(colour, 0.3 * paint, flank * (0.7 * seams + 0.6 * handle).clamp_(0, 1))


def _cabin(hits: Hits) -> Tensor:
    """Upper body of a car: windows all round under a painted roof."""
    x, y, z = hits.unit.unbind(1)
    size = hits.row[:, HALF]
    taper = 0.5 * (z + 1) * hits.row[:, SIDE]
    end = (hits.face < 2).to(torch.float32)
    top = (hits.face == 4).to(torch.float32)
    across = band(y, 0.88 - taper, hits.footprint / size[:, 1])
    front = 0.5 * (z + 1) * torch.lerp(hits.row[:, BACK], hits.row[:, FRONT], (x > 0).float())
    length = band(x, 0.93 - front, hits.footprint / size[:, 0])
    pillar = band(x + 0.08, 0.03, hits.footprint / size[:, 0])
    window = torch.lerp(length * (1 - pillar), across, end)
    window = window * band(z + 0.02, 0.76, hits.footprint / size[:, 2]) * (1 - top)
    paint = hits.row[:, COLOUR] * _mottled(hits, 0.015, 0.03)
    shine = (1.1 + 0.9 * z + 0.25 * hits.coarse[:, FRACTAL]).clamp_(min=0.4).unsqueeze(1)
    return mixed(paint, hits.row[:, ACCENT] * shine, 0.96 * window)


def _wheel(hits: Hits) -> Tensor:
    radius = torch.hypot(hits.unit[:, 0], hits.unit[:, 2])
    hub = above(0.62 - radius, hits.footprint / hits.row[:, 3])
    spokes = 0.75 + 0.25 * torch.cos(5 * torch.atan2(hits.unit[:, 2], hits.unit[:, 0]))
    return mixed(hits.row[:, COLOUR], hits.row[:, ACCENT] * spokes.unsqueeze(1), hub)


def _sign(hits: Hits) -> Tensor:
    """A disc or a board with a rim and a mark."""
    y, z = hits.unit[:, 1], hits.unit[:, 2]
    blur = hits.footprint / hits.row[:, 4]
    radius = torch.where(_style(hits, 4) > 0.5, torch.hypot(y, z), torch.maximum(y.abs(), z.abs()))
    inner = above(0.72 - radius, blur)
    mark = band(y, 0.5, blur) * band(z, 0.14, blur)
    board = mixed(hits.row[:, COLOUR], hits.row[:, ACCENT], inner * (1 - mark))
    away = (hits.face != 1).to(torch.float32)
    return mixed(board, board.new_tensor([0.45, 0.45, 0.46]), away)


PAINTS: dict[Material, Callable[[Hits], Tensor]] = {
    Material.PLAIN: _plain,
    Material.FACADE: _facade,
    Material.TILES: _tiles,
    Material.LEAVES: _leaves,
    Material.BARK: _bark,
    Material.PLANKS: _planks,
    Material.BODY: _body,
    Material.CABIN: _cabin,
    Material.WHEEL: _wheel,
    Material.SIGN: _sign,
}

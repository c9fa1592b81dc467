# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Surfaces of solids: what paints facades, roofs, leaves, fences and signs.

Every paint takes :class:`Hits` and returns (n, 3) albedo, sRGB 0..1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mono_metric_depth.worlds.hits import Hits, mottled, style_of
from mono_metric_depth.worlds.solids import ACCENT, COLOUR, HALF, MATERIAL, SEED, Material
from mono_metric_depth.worlds.textures import (
    BLOTCHES,
    CRACKS,
    FRACTAL,
    GRAIN,
    above,
    band,
    hashed,
    mixed,
)
from mono_metric_depth.worlds.vehicle_surfaces import body, cabin, cargo, coach, tail, wheel


def albedo(hits: Hits) -> Tensor:
    """(n, 3) albedo of points on solids, sRGB 0..1, dirt and contact darkening included."""
    material = hits.row[:, MATERIAL].to(torch.int32)
    result = torch.empty_like(hits.normal)
    for kind, paint in PAINTS.items():
        index = (material == kind).nonzero().squeeze(1)
        if len(index):
            result.index_copy_(0, index, paint(hits[index]))
    return result.clamp_(0.01, 1)


def _plain(hits: Hits) -> Tensor:
    return hits.row[:, COLOUR] * mottled(hits, 0.07, 0.08)


def _facade(hits: Hits) -> Tensor:
    """Floors of windows between bands and cornices; shop windows or doors below."""
    end = (hits.face < 2).to(torch.float32)
    width = 2 * torch.lerp(hits.row[:, 3], hits.row[:, 4], end)
    height = 2 * hits.row[:, 5]
    style, other, third = (style_of(hits, salt) for salt in (1, 2, 3))
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
    wall = hits.row[:, COLOUR] * mottled(hits, 0.06, 0.06)
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
    return hits.row[:, COLOUR] * mottled(hits, 0.08, 0.16) * relief.unsqueeze(1)


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
    return hits.row[:, COLOUR] * (mottled(hits, 0.16, 0.12) + (share * stripes).unsqueeze(1))


def _planks(hits: Hits) -> Tensor:
    across = hits.along / 0.14
    gap = 1 - band(across - across.round(), 0.09, hits.footprint / 0.14)
    plank = hashed(across.floor(), torch.zeros_like(across), 9) - 0.5
    rails = band(hits.up.abs() - 0.6 * hits.row[:, 5], 0.05, hits.footprint)
    tone = (0.55 + 0.45 * gap) * (1 + 0.25 * plank) * (1 - 0.12 * rails)
    return hits.row[:, COLOUR] * mottled(hits, 0.12, 0.08) * tone.unsqueeze(1)


def _sign(hits: Hits) -> Tensor:
    """A disc, triangle, octagon or board with a rim and a mark; wide boards carry lines."""
    y, z = hits.unit[:, 1], hits.unit[:, 2]
    size = hits.row[:, HALF]
    blur = hits.footprint / size[:, 1]
    style = style_of(hits, 4)
    square = torch.maximum(y.abs(), z.abs())
    octagon = torch.maximum(square, (y.abs() + z.abs()) * 0.72)
    triangle = torch.maximum(-z, 0.5 * z + 0.87 * y.abs() * 1.15) + 0.1
    wide = size[:, 1] > 0.5
    radius = torch.where(style > 0.45, torch.hypot(y, z), square)
    radius = torch.where(style > 0.7, triangle, radius)
    radius = torch.where(style > 0.88, octagon, radius)
    radius = torch.where(wide, square * 0.78, radius)
    inner = above(0.72 - radius, blur)
    mark = band(y, 0.5, blur) * band(z, 0.14, blur)
    lines = band(y + 0.2, 0.55, blur) * band((z * 2.2) % 1 - 0.5, 0.22, blur * 2)
    mark = torch.where(wide, 1 - lines, mark)
    colour = mixed(hits.row[:, COLOUR], hits.row[:, ACCENT], inner * (1 - mark))
    away = (hits.face != 1).to(torch.float32)
    grey = colour.new_tensor([0.45, 0.45, 0.46])
    return mixed(colour, grey, torch.maximum(away, above(radius - 1, blur) * 0.9))


PAINTS: dict[Material, Callable[[Hits], Tensor]] = {
    Material.PLAIN: _plain,
    Material.FACADE: _facade,
    Material.TILES: _tiles,
    Material.LEAVES: _leaves,
    Material.BARK: _bark,
    Material.PLANKS: _planks,
    Material.BODY: body,
    Material.CABIN: cabin,
    Material.WHEEL: wheel,
    Material.SIGN: _sign,
    Material.COACH: coach,
    Material.CARGO: cargo,
    Material.TAIL: tail,
}

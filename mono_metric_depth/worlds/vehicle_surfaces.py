# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Surfaces of vehicles: bodies, cabins, wheels, coaches and loads."""

from __future__ import annotations

import torch
from torch import Tensor

from mono_metric_depth.worlds.hits import Hits, mottled, style_of
from mono_metric_depth.worlds.solids import ACCENT, BACK, COLOUR, FRONT, HALF, SIDE
from mono_metric_depth.worlds.textures import FRACTAL, above, band, hashed, mixed


def body(hits: Hits) -> Tensor:
    """Lower body of a car: lights, grille, plate and bumpers at its ends, doors on its sides."""
    x, y, z = hits.unit.unbind(1)
    size = hits.row[:, HALF]
    blur_y, blur_z = hits.footprint / size[:, 1], hits.footprint / size[:, 2]
    ahead, behind = (hits.face == 0).to(torch.float32), (hits.face == 1).to(torch.float32)
    end, flank = ahead + behind, ((hits.face == 2) | (hits.face == 3)).to(torch.float32)
    paint = hits.row[:, COLOUR] * mottled(hits, 0.015, 0.03)
    paint = paint * (1 + 0.10 * z * (1 - end)).unsqueeze(1)
    colour = mixed(paint, paint.new_tensor([0.11, 0.11, 0.12]), above(-0.62 - z, blur_z) * 0.85)
    style, other = style_of(hits, 31), style_of(hits, 32)
    bumper = end * band(z + 0.5, 0.2, blur_z) * (style > 0.4)
    colour = mixed(colour, paint.new_tensor([0.14, 0.14, 0.15]), 0.8 * bumper)
    boot = behind * (band(y.abs() - 0.6, 0.012, blur_y) + band(z - 0.12, 0.02, blur_z))
    colour = mixed(colour, 0.35 * paint, (0.8 * boot * above(z + 0.3, blur_z)).clamp(0, 1))
    grille = (
        ahead * band(y, 0.4 + 0.15 * other, blur_y) * band(z - 0.02, 0.2 + 0.1 * style, blur_z)
    )
    colour = mixed(colour, paint.new_tensor([0.09, 0.09, 0.1]), grille)
    plate = end * band(y, 0.28, blur_y) * band(z + 0.3 - 0.4 * behind * other, 0.13, blur_z)
    signs = band((y * 14) % 1 - 0.5, 0.3, blur_y * 14) * band(
        z + 0.3 - 0.4 * behind * other, 0.07, blur_z
    )
    tone = (0.9 - 0.6 * signs).unsqueeze(1)
    colour = mixed(colour, tone * paint.new_tensor([1.0, 1.0, 0.9]), plate)
    slim = (style > 0.55).to(torch.float32)
    outer, high = torch.lerp(0.74 + 0 * style, 0.86 + 0 * style, slim), 0.45 - 0.1 * slim
    lamp = band(y.abs() - outer, 0.2 - 0.09 * slim, blur_y)
    lamp = lamp * band(z - high, 0.2 + 0.3 * slim, blur_z)
    glass = band(z - high + 0.08 + 0.12 * slim, 0.07, blur_z).unsqueeze(1)
    red = torch.lerp(
        paint.new_tensor([0.72, 0.07, 0.06]), paint.new_tensor([0.9, 0.8, 0.75]), glass
    )
    colour = mixed(colour, red, behind * lamp)
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


def cabin(hits: Hits) -> Tensor:
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
    paint = hits.row[:, COLOUR] * mottled(hits, 0.015, 0.03)
    shine = (1.1 + 0.9 * z + 0.25 * hits.coarse[:, FRACTAL]).clamp_(min=0.4).unsqueeze(1)
    return mixed(paint, hits.row[:, ACCENT] * shine, 0.96 * window)


def wheel(hits: Hits) -> Tensor:
    """A tyre and its hub."""
    radius = torch.hypot(hits.unit[:, 0], hits.unit[:, 2])
    hub = above(0.62 - radius, hits.footprint / hits.row[:, 3])
    spokes = 0.75 + 0.25 * torch.cos(5 * torch.atan2(hits.unit[:, 2], hits.unit[:, 0]))
    return mixed(hits.row[:, COLOUR], hits.row[:, ACCENT] * spokes.unsqueeze(1), hub)


def coach(hits: Hits) -> Tensor:
    """A bus from outside: windows between pillars, doors, lamps and a band of colour."""
    y, z = hits.unit[:, 1], hits.unit[:, 2]
    size, blur = hits.row[:, HALF], hits.footprint
    blur_y, blur_z = blur / size[:, 1], blur / size[:, 2]
    ahead, behind = (hits.face == 0).to(torch.float32), (hits.face == 1).to(torch.float32)
    flank = ((hits.face == 2) | (hits.face == 3)).to(torch.float32)
    style = style_of(hits, 41)
    colour = hits.row[:, COLOUR] * mottled(hits, 0.015, 0.04)
    stripe = band(z + 0.2 - 0.3 * style, 0.06 + 0.1 * style, blur_z) * flank
    colour = mixed(colour, 0.85 - 0.6 * colour, stripe)
    colour = mixed(colour, colour.new_tensor([0.13, 0.13, 0.14]), above(-0.78 - z, blur_z) * 0.85)
    shine = (0.12 + 0.07 * z + 0.03 * hits.coarse[:, FRACTAL]).unsqueeze(1)
    glass = shine * colour.new_tensor([0.9, 1.0, 1.1])
    panes = hits.along / 1.45
    side = band(panes - panes.floor() - 0.5, 0.46, blur / 1.45) * band(z - 0.34, 0.34, blur_z)
    door = band(hits.along.abs() - 0.72 * size[:, 0], 0.55, blur) * (hits.face == 3)
    side = torch.maximum(side, door * band(z + 0.06, 0.74, blur_z))
    front = band(y, 0.92, blur_y) * band(z - 0.2, 0.5, blur_z)
    rear = band(y, 0.8, blur_y) * band(z - 0.42, 0.26, blur_z) * (style > 0.3)
    colour = mixed(colour, glass, (flank * side + ahead * front + behind * rear).clamp(0, 1))
    amber = ahead * band(y, 0.6, blur_y) * band(z - 0.83, 0.07, blur_z)
    amber = torch.maximum(amber, behind * band(y - 0.2, 0.3, blur_y) * band(z - 0.5, 0.06, blur_z))
    colour = mixed(colour, colour.new_tensor([0.85, 0.6, 0.15]), amber)
    lamp = band(y.abs() - 0.86, 0.09, blur_y) * band(z + 0.45, 0.14, blur_z)
    colour = mixed(colour, colour.new_tensor([0.75, 0.07, 0.06]), behind * lamp)
    colour = mixed(colour, colour.new_tensor([0.95, 0.95, 0.9]), ahead * lamp)
    plate = band(y, 0.2, blur_y) * band(z + 0.62, 0.05, blur_z) * (ahead + behind)
    colour = mixed(colour, colour.new_tensor([0.9, 0.9, 0.82]), plate)
    grille = behind * band(y, 0.6, blur_y) * band(z + 0.3, 0.16, blur_z)
    slats = 0.4 + 0.3 * band((z * 16) % 1 - 0.5, 0.25, blur_z * 16)
    colour = mixed(colour, colour * slats.unsqueeze(1), grille)
    radius, length, sill = hits.row[:, ACCENT].unbind(1)
    x = hits.unit[:, 0]
    to_wheel = torch.minimum((x + 0.62).abs(), (x - 0.63).abs()) * length
    over = hits.point[:, 2] + size[:, 2] + sill - radius
    arch = above(radius * 1.22 - torch.hypot(to_wheel, over), blur)
    return mixed(colour, colour.new_tensor([0.05, 0.05, 0.05]), flank * arch)


def cargo(hits: Hits) -> Tensor:
    """The load of a truck: a box with two doors behind and ribs or a sign on its sides."""
    y, z = hits.unit[:, 1], hits.unit[:, 2]
    size, blur = hits.row[:, HALF], hits.footprint
    blur_y, blur_z = blur / size[:, 1], blur / size[:, 2]
    behind = (hits.face == 1).to(torch.float32)
    flank = ((hits.face == 2) | (hits.face == 3)).to(torch.float32)
    style = style_of(hits, 51)
    colour = hits.row[:, COLOUR] * mottled(hits, 0.02, 0.06)
    ribs = band((hits.along / 0.6) % 1 - 0.5, 0.06, blur / 0.6) * (style > 0.5)
    letters = hashed((hits.along * 2.2).floor(), (z * 3).floor(), 52)
    board = band(hits.along, 0.6 * size[:, 0], blur) * band(z - 0.1, 0.3, blur_z) * (style < 0.5)
    colour = mixed(colour, 0.9 - 0.75 * colour, flank * board * (letters > 0.35))
    colour = colour * (1 - 0.2 * flank * ribs).unsqueeze(1)
    seams = band(y, 0.012, blur_y) + band(y.abs() - 0.97, 0.02, blur_y)
    bolts = band(y.abs() - 0.25, 0.02, blur_y) + band(y.abs() - 0.7, 0.02, blur_y)
    dark = (seams + 0.6 * bolts + band(z.abs() - 0.96, 0.03, blur_z)).clamp(0, 1)
    return mixed(colour, 0.4 * colour, behind * dark)


def tail(hits: Hits) -> Tensor:
    """The bar under a truck's tail: lamps, plate and stripes."""
    y, z = hits.unit[:, 1], hits.unit[:, 2]
    blur_y, blur_z = hits.footprint / hits.row[:, 4], hits.footprint / hits.row[:, 5]
    colour = hits.row[:, COLOUR] * mottled(hits, 0.03, 0.03)
    behind = (hits.face == 1).to(torch.float32)
    lamp = band(y.abs() - 0.8, 0.16, blur_y) * band(z, 0.7, blur_z)
    colour = mixed(colour, colour.new_tensor([0.75, 0.08, 0.06]), behind * lamp)
    plate = band(y, 0.22, blur_y) * band(z, 0.75, blur_z)
    return mixed(colour, colour.new_tensor([0.9, 0.9, 0.82]), behind * plate)

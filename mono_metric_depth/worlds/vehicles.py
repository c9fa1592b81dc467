# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Vehicles, built of solids: each looks along x and stands about the origin, body first."""

from __future__ import annotations

import numpy as np

from mono_metric_depth.worlds.domain import Domain, Palette
from mono_metric_depth.worlds.objects import pick
from mono_metric_depth.worlds.solids import CENTRE, HALF, Material, Rows, Shape, solid

_TYRE = (0.10, 0.10, 0.11)
_HUB = (0.55, 0.56, 0.58)
_GLASS = (0.09, 0.11, 0.13)
_UNDER = (0.08, 0.08, 0.09)
_LIVERIES: Palette = (
    (180, 40, 36),
    (226, 226, 222),
    (40, 70, 130),
    (220, 180, 60),
    (60, 110, 80),
    (120, 124, 130),
)


def vehicle(domain: Domain, rng: np.random.Generator) -> Rows:
    """A vehicle as they drive in a domain: a car, a van, a truck or a bus."""
    if rng.random() >= domain.heavy:
        return car(domain.cars, rng)
    return bus(rng) if rng.random() < 0.4 else truck(domain.cars, rng)


def footprint(rows: Rows) -> tuple[float, float]:
    """Half the length and half the width of a vehicle (m)."""
    along, across = (
        (np.abs(rows[:, CENTRE][:, axis]) + rows[:, HALF][:, axis]).max() for axis in (0, 1)
    )
    return float(along), float(across)


def car(palette: Palette, rng: np.random.Generator) -> Rows:
    """A car or, once in six, a van; it looks along x and stands about the origin."""
    paint, seed = pick(palette, rng, 0.03), rng.random()
    van = rng.random() < 1 / 6
    length = rng.uniform(2.3, 2.6) if van else rng.uniform(1.9, 2.35)
    width = rng.uniform(0.92, 1.0) if van else rng.uniform(0.84, 0.93)
    sill = rng.uniform(0.2, 0.26)
    belt = rng.uniform(1.05, 1.2) if van else rng.uniform(0.82, 0.98)
    roof = rng.uniform(1.9, 2.4) if van else rng.uniform(1.4, 1.68)
    radius = rng.uniform(0.3, 0.35)
    estate = rng.random() < 0.4
    body_half = (belt - sill) / 2
    rows = [
        solid(
            (0, 0, sill + body_half),
            (length, width, body_half),
            Material.BODY,
            paint,
            accent=(radius, length, sill),
            taper=(0.04, 0.03, 0.05),
            seed=seed,
        )
    ]
    front = length * (0.66 if van else rng.uniform(0.36, 0.46))
    back = -length * (0.985 if van or estate else rng.uniform(0.72, 0.86))
    cabin = (front - back) / 2
    rows.append(
        solid(
            ((front + back) / 2, 0, (belt + roof) / 2),
            (cabin, width * 0.95, (roof - belt) / 2),
            Material.CABIN,
            paint,
            accent=_GLASS,
            taper=(0.25 if van else 0.5, 0.04 if van else 0.16 if estate else 0.42, 0.18),
            seed=seed,
        )
    )
    rows.append(_wheels(length, width, radius))
    for y in (-1, 1):
        mirror = (front * 0.82, y * (width + 0.1), belt + 0.06)
        rows.append(solid(mirror, (0.05, 0.09, 0.06), Material.PLAIN, paint * 0.8))
    return np.concatenate(rows)


def _wheels(length: float, width: float, radius: float) -> Rows:
    """Four wheels of a car of that half length and half width (m)."""
    return np.concatenate(
        [
            solid(
                (x * length, y * (width - 0.1), radius),
                (radius, 0.13, radius),
                Material.WHEEL,
                _TYRE,
                accent=_HUB,
                shape=Shape.ELLIPSOID,
            )
            for x in (-0.62, 0.63)
            for y in (-1, 1)
        ]
    )


def bus(rng: np.random.Generator) -> Rows:
    """A bus."""
    length, width, sill = rng.uniform(4.6, 6.1), rng.uniform(1.18, 1.27), rng.uniform(0.28, 0.36)
    roof, radius = rng.uniform(2.8, 3.2), 0.48
    half = (roof - sill) / 2
    body = solid(
        (0, 0, sill + half),
        (length, width, half),
        Material.COACH,
        pick(_LIVERIES, rng, 0.05),
        accent=(radius, length, sill),
        taper=(0.02, 0.01, 0.03),
        seed=rng.random(),
    )
    return np.concatenate([body, _wheels(length, width, radius)])


def truck(palette: Palette, rng: np.random.Generator) -> Rows:
    """A truck with a box or a tarpaulin behind its cab."""
    length, width, roof = rng.uniform(3.2, 6.5), rng.uniform(1.12, 1.25), rng.uniform(2.7, 3.7)
    paint, cargo, seed = pick(palette, rng, 0.05), pick(_LIVERIES, rng, 0.08), rng.random()
    bed, cab = rng.uniform(0.85, 1.1), rng.uniform(0.85, 1.05)
    front, belt = length - cab, rng.uniform(1.5, 1.7)
    top, box = min(roof, rng.uniform(2.5, 2.9)), (roof - bed) / 2
    load = length - cab - 0.12
    rows = [
        solid((-0.1, 0, 0.65), (length - 0.15, width * 0.86, 0.3), Material.PLAIN, _UNDER),
        solid(
            (load - length, 0, bed + box),
            (load, width, box),
            Material.CARGO,
            cargo,
            accent=(bed, 0.0, 0.0),
            seed=seed,
        ),
        solid(
            (front, 0, (belt + 0.4) / 2),
            (cab, width * 0.96, (belt - 0.4) / 2),
            Material.BODY,
            paint,
            accent=(0.0, cab, 0.4),
            seed=seed,
        ),
        solid(
            (front, 0, (belt + top) / 2),
            (cab, width * 0.96, (top - belt) / 2),
            Material.CABIN,
            paint,
            accent=_GLASS,
            taper=(0.12, 0.0, 0.06),
            seed=seed,
        ),
        # Lamps, plate and guard under the tail.
        solid(
            (-length + 0.04, 0, 0.72),
            (0.05, width * 0.95, 0.14),
            Material.TAIL,
            (0.2, 0.2, 0.21),
            seed=seed,
        ),
    ]
    return np.concatenate([*rows, _wheels(length, width, 0.48)])


def cyclist(rng: np.random.Generator) -> Rows:
    """A cyclist."""
    coat = pick(((40, 44, 60), (190, 60, 46), (90, 96, 104), (210, 200, 60), (50, 90, 130)), rng)
    legs = pick(((40, 44, 60), (60, 60, 64), (96, 88, 76)), rng)
    frame = pick(((30, 30, 34), (150, 40, 40), (60, 90, 150)), rng)
    skin = pick(((210, 166, 140), (150, 106, 82), (96, 66, 52)), rng, 0.04)
    lean, round_, plain = rng.uniform(0.05, 0.25), Shape.ELLIPSOID, Material.PLAIN
    wheels = [
        solid(
            (x, 0, 0.34),
            (0.34, 0.03, 0.34),
            Material.WHEEL,
            _TYRE,
            accent=(0.62, 0.62, 0.6),
            shape=round_,
        )
        for x in (-0.53, 0.53)
    ]
    feet = [
        solid((0.1 * side, 0.11 * side, 0.62), (0.11, 0.08, 0.34), plain, legs, shape=round_)
        for side in (-1, 1)
    ]
    arms = [
        solid((0.28 + lean, 0.22 * side, 1.15), (0.24, 0.055, 0.12), plain, coat, shape=round_)
        for side in (-1, 1)
    ]
    return np.concatenate(
        [
            solid((0, 0, 0.62), (0.45, 0.03, 0.1), plain, frame),
            solid((0.48, 0, 0.98), (0.03, 0.26, 0.03), plain, frame),
            solid((lean, 0, 1.22), (0.17, 0.21, 0.33), plain, coat, shape=round_),
            solid((1.7 * lean, 0, 1.66), (0.11, 0.09, 0.14), plain, skin, shape=round_),
            *wheels,
            *feet,
            *arms,
        ]
    )

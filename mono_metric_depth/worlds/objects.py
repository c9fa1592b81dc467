# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Things beside the road, built of solids in frames that stand on the ground."""

from __future__ import annotations

import numpy as np

from mono_metric_depth.worlds.domain import Palette
from mono_metric_depth.worlds.solids import Material, Rows, Shape, solid

_AWNINGS: Palette = ((150, 60, 50), (60, 90, 80), (200, 190, 160), (70, 80, 110))


def pick(palette: Palette, rng: np.random.Generator, spread: float = 0.06) -> np.ndarray:
    """(3,) a colour near one of the palette's, sRGB 0..1."""
    colour = np.array(palette[rng.integers(len(palette))]) / 255
    return np.clip(colour + rng.normal(0, spread / 2) + rng.normal(0, spread / 3, 3), 0.02, 0.97)


def tree(
    height: float, palette: Palette, rng: np.random.Generator, clearance: float = 0.0
) -> Rows:
    """A tree: a trunk and a cluster of ragged ellipsoids.

    Args:
        height: Of the tree (m), before its crown is lifted.
        palette: Of its leaves.
        rng: Source of everything else.
        clearance: Least height of the crown above the ground (m); conifers have none.
    """
    leaves, bark = pick(palette, rng, 0.08), np.array([0.30, 0.25, 0.20]) * rng.uniform(0.7, 1.3)
    crown = height * rng.uniform(0.28, 0.42)
    if rng.random() < 0.2 and not clearance:
        return _conifer(height, leaves * np.array([0.8, 0.9, 0.9]), bark, rng)
    trunk = height - 2 * crown * 0.8
    girth = 0.022 * height * rng.uniform(0.7, 1.2)
    rows = [
        solid(
            (0, 0, trunk * 0.6),
            (girth, girth, trunk * 0.6),
            Material.BARK,
            bark,
            shape=Shape.CYLINDER,
            seed=rng.random(),
        )
    ]
    for number in range(7):
        angle = 2.4 * number + rng.uniform(-0.5, 0.5)
        reach = crown * (0.0 if number == 0 else rng.uniform(0.4, 0.7))
        rise = height - crown if number == 0 else trunk + crown * rng.uniform(0.3, 1.1)
        size = crown * (0.85 if number == 0 else rng.uniform(0.4, 0.65))
        rows.append(
            solid(
                (reach * np.cos(angle), reach * np.sin(angle), rise),
                (size, size, size * rng.uniform(0.75, 1.0)),
                Material.LEAVES,
                np.clip(leaves * rng.uniform(0.85, 1.15), 0, 1),
                shape=Shape.ELLIPSOID,
                ragged=rng.uniform(0.65, 0.95),
                yaw=rng.uniform(0, 3),
                seed=rng.random(),
            )
        )
    trunk_rows, leaf_rows = rows[0], np.concatenate(rows[1:])
    lift = max(0.0, clearance - float((leaf_rows[:, 2] - leaf_rows[:, 5]).min()))
    leaf_rows[:, 2] += lift
    trunk_rows[:, (2, 5)] += lift / 2
    return np.concatenate([trunk_rows, leaf_rows])


def _conifer(
    height: float, leaves: np.ndarray, bark: np.ndarray, rng: np.random.Generator
) -> Rows:
    rows = [
        solid((0, 0, 0.6), (0.14, 0.14, 0.6), Material.BARK, bark, shape=Shape.CYLINDER),
    ]
    for level in range(5):
        share = level / 5
        size = height * 0.24 * (1.0 - 0.8 * share)
        rows.append(
            solid(
                (0, 0, height * (0.2 + 0.72 * share)),
                (size, size, height * 0.15),
                Material.LEAVES,
                np.clip(leaves * rng.uniform(0.85, 1.1), 0, 1),
                shape=Shape.ELLIPSOID,
                ragged=0.8,
                yaw=rng.uniform(0, 3),
                seed=rng.random(),
            )
        )
    return np.concatenate(rows)


def bush(rng: np.random.Generator, palette: Palette) -> Rows:
    """A low bush."""
    size = rng.uniform(0.4, 1.0)
    return solid(
        (0, 0, size * 0.7),
        (size, size * rng.uniform(0.8, 1.2), size * 0.9),
        Material.LEAVES,
        pick(palette, rng, 0.15),
        shape=Shape.ELLIPSOID,
        ragged=0.75,
        seed=rng.random(),
    )


def building(
    width: float,
    depth: float,
    height: float,
    gabled: bool,
    colours: tuple[Palette, Palette],
    rng: np.random.Generator,
) -> Rows:
    """A building whose street front is the face at y = 0, towards negative y.

    Args:
        width: Along x (m).
        depth: Along y (m).
        height: Up to the eaves (m).
        gabled: Whether it has a pitched roof.
        colours: Palettes of walls and roofs.
        rng: Source of everything else.
    """
    wall, roof, seed = pick(colours[0], rng), pick(colours[1], rng), rng.random()
    accent = np.array([0.92, 0.92, 0.9]) if rng.random() < 0.6 else roof * 0.8
    size = (width / 2, depth / 2, height / 2)
    centre = (0.0, depth / 2, height / 2)
    rows = [solid(centre, size, Material.FACADE, wall, accent=accent, seed=seed)]
    if gabled:
        rows.append(_roof(width, depth, height, roof, seed, rng))
    else:
        rows.append(
            solid(
                (0, depth / 2, height + 0.15),
                (width / 2 + 0.12, depth / 2 + 0.12, 0.2),
                Material.PLAIN,
                np.clip(wall * 0.85, 0, 1),
                seed=seed,
            )
        )
    for _ in range(rng.integers(0, 3)):
        awning = (width * rng.uniform(-0.4, 0.4), -0.35, 2.7)
        half = (rng.uniform(0.8, 1.6), 0.4, 0.14)
        colour = pick(_AWNINGS, rng)
        rows.append(solid(awning, half, Material.PLAIN, colour, taper=(0.0, 0.0, 0.3)))
    return np.concatenate(rows)


def _roof(
    width: float,
    depth: float,
    height: float,
    colour: np.ndarray,
    seed: float,
    rng: np.random.Generator,
) -> Rows:
    """A pitched roof with a chimney on a building of that size (m)."""
    rise = min(width, depth) * rng.uniform(0.16, 0.3)
    end, side = (0.97, 0.0) if rng.random() < 0.3 else (rng.choice([0.0, 0.3]), 0.97)
    return np.concatenate(
        [
            solid(
                (0, depth / 2, height + rise),
                (width / 2 + 0.3, depth / 2 + 0.35, rise),
                Material.TILES,
                colour,
                taper=(end, end, side),
                seed=seed,
            ),
            solid(
                (width * rng.uniform(-0.3, 0.3), depth * 0.5, height + 2 * rise),
                (0.35, 0.35, 0.7),
                Material.PLAIN,
                colour * 0.9,
            ),
        ]
    )


def lamp_post(rng: np.random.Generator) -> Rows:
    """A lamp post whose arm reaches towards negative y."""
    height, grey = rng.uniform(4.5, 7.5), np.full(3, rng.uniform(0.25, 0.5))
    return np.concatenate(
        [
            solid(
                (0, 0, height / 2),
                (0.07, 0.07, height / 2),
                Material.PLAIN,
                grey,
                shape=Shape.CYLINDER,
            ),
            solid((0, -0.6, height), (0.05, 0.65, 0.04), Material.PLAIN, grey),
            solid((0, -1.2, height - 0.05), (0.13, 0.3, 0.07), Material.PLAIN, grey * 1.4),
        ]
    )


def sign(rng: np.random.Generator) -> Rows:
    """A post with one or two traffic signs that face negative x."""
    height = rng.uniform(2.0, 2.5)
    rows = [_post(height + 0.35)]
    for level in range(1 if rng.random() < 0.75 else 2):
        colour = pick(((190, 30, 36), (30, 70, 160), (230, 190, 40), (235, 235, 235)), rng, 0.02)
        rows.append(
            solid(
                (-0.05, 0, height + 0.1 - 0.62 * level),
                (0.02, 0.3, 0.3 if level == 0 else 0.17),
                Material.SIGN,
                colour,
                accent=(0.94, 0.94, 0.92) if rng.random() < 0.8 else (0.1, 0.1, 0.1),
                seed=rng.random(),
            )
        )
    return np.concatenate(rows)


def board(rng: np.random.Generator) -> Rows:
    """A board with directions, wide and on two posts, that faces negative x."""
    width, height = rng.uniform(0.8, 1.6), rng.uniform(0.5, 1.0)
    colour = pick(((24, 80, 150), (30, 110, 70), (230, 190, 40), (235, 235, 235)), rng, 0.02)
    return np.concatenate(
        [
            *(_post(2.2, y) for y in (-0.7 * width, 0.7 * width)),
            solid(
                (-0.06, 0, 1.6 + height),
                (0.02, width, height),
                Material.SIGN,
                colour,
                accent=(0.94, 0.94, 0.92),
                seed=rng.random(),
            ),
        ]
    )


def _post(height: float, y: float = 0.0) -> Rows:
    return solid(
        (0, y, height / 2),
        (0.035, 0.035, height / 2),
        Material.PLAIN,
        (0.5, 0.5, 0.5),
        shape=Shape.CYLINDER,
    )


def marker_post() -> Rows:
    """A white post with a dark band, as beside country roads."""
    half = (0.05, 0.06)
    return np.concatenate(
        [
            solid((0, 0, 0.45), (*half, 0.45), Material.PLAIN, (0.88, 0.88, 0.86)),
            solid((0, 0, 0.75), (0.055, 0.065, 0.09), Material.PLAIN, (0.08, 0.08, 0.08)),
        ]
    )


def tuft(rng: np.random.Generator, palette: Palette) -> Rows:
    """A tuft of long grass."""
    size = rng.uniform(0.12, 0.4)
    return solid(
        (0, 0, size * 0.5),
        (size * rng.uniform(0.8, 1.6), size, size * 0.7),
        Material.LEAVES,
        pick(palette, rng, 0.15),
        shape=Shape.ELLIPSOID,
        ragged=0.9,
        seed=rng.random(),
    )


def pedestrian(rng: np.random.Generator) -> Rows:
    """A pedestrian who looks along x."""
    height, stride = rng.uniform(1.55, 1.9), rng.uniform(0.05, 0.25)
    coat = pick(((40, 44, 60), (120, 50, 46), (90, 96, 104), (180, 170, 150), (50, 80, 70)), rng)
    legs = pick(((40, 44, 60), (60, 60, 64), (96, 88, 76)), rng)
    skin = pick(((210, 166, 140), (150, 106, 82), (96, 66, 52)), rng, 0.04)
    round_ = Shape.ELLIPSOID
    return np.concatenate(
        [
            solid(
                (0, 0, height * 0.65),
                (0.15, 0.24, height * 0.2),
                Material.PLAIN,
                coat,
                shape=round_,
            ),
            solid(
                (0, 0, height * 0.92),
                (0.1, 0.09, height * 0.075),
                Material.PLAIN,
                skin,
                shape=round_,
            ),
            *(
                solid(
                    (side * stride, side * 0.1, height * 0.25),
                    (0.09, 0.09, height * 0.25),
                    Material.PLAIN,
                    legs,
                    shape=Shape.CYLINDER,
                )
                for side in (-1, 1)
            ),
            *(
                solid(
                    (-side * stride * 0.7, side * 0.26, height * 0.62),
                    (0.07, 0.06, height * 0.18),
                    Material.PLAIN,
                    coat * 0.9,
                    shape=round_,
                )
                for side in (-1, 1)
            ),
        ]
    )

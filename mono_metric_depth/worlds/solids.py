# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Solids: tapered boxes, ellipsoids and upright cylinders, one row of a table each.

In its own frame a solid spans its half size in x (forward), y (left) and z (up) about its centre.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float] | NDArray[np.float64]
Rows = NDArray[np.float64]

CENTRE = slice(0, 3)
HALF = slice(3, 6)
YAW, FRONT, BACK, SIDE, SHAPE, RAGGED, MATERIAL = range(6, 13)
COLOUR = slice(13, 16)
ACCENT = slice(16, 19)
SEED = 19
WIDTH = 20


class Shape(IntEnum):
    """What a row draws."""

    BOX = 0
    ELLIPSOID = 1
    CYLINDER = 2


class Material(IntEnum):
    """How a row is painted."""

    PLAIN = 0
    FACADE = 1
    TILES = 2
    LEAVES = 3
    BARK = 4
    PLANKS = 5
    BODY = 6
    CABIN = 7
    WHEEL = 8
    SIGN = 9
    COACH = 10
    CARGO = 11
    TAIL = 12


def solid(
    centre: tuple[float, float, float],
    half: tuple[float, float, float],
    material: Material,
    colour: Colour,
    *,
    accent: Colour = (0.5, 0.5, 0.5),
    yaw: float = 0.0,
    shape: Shape = Shape.BOX,
    taper: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ragged: float = 0.0,
    seed: float = 0.0,
) -> Rows:
    """(1, WIDTH) row of one solid.

    Args:
        centre: Of its bounding box (m).
        half: Half its size (m).
        material: How it is painted.
        colour: Main colour, sRGB 0..1.
        accent: Second colour, sRGB 0..1.
        yaw: Of its x axis against that of the frame it is in (rad).
        shape: What it is.
        taper: How far the front, back and side faces of a box lean in at the top, as a share of
            the half size.
        ragged: How deep leaves cut into the outline of an ellipsoid, 0..1.
        seed: A number, 0..1, that sets apart the textures of two solids.
    """
    values = (*centre, *half, yaw, *taper, shape, ragged, material, *colour, *accent, seed)
    return np.array([values], dtype=np.float64)


def moved(rows: Rows, x: float, y: float, yaw: float) -> Rows:
    """Rows turned about the z axis of their frame by yaw (rad), then moved by x, y (m)."""
    result = rows.copy()
    cosine, sine = math.cos(yaw), math.sin(yaw)
    result[:, 0] = x + cosine * rows[:, 0] - sine * rows[:, 1]
    result[:, 1] = y + sine * rows[:, 0] + cosine * rows[:, 1]
    result[:, YAW] += yaw
    return result

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Correlations, and straight lines through points of which some belong to nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CANDIDATES = 300
_SCORED = 1500
_STEPS = 12
_TUKEY = 4.685

Array = NDArray[np.float64]


class LineError(ValueError):
    """Points that no line can be fitted to."""


def pearson(x: Array, y: Array) -> float:
    """Pearson's correlation of (n,) and (n,); NaN where one is constant."""
    dx, dy = x - x.mean(), y - y.mean()
    # As SciPy has it: what remains of a constant is rounding.
    if min(np.ptp(x), np.ptp(y)) == 0:
        return float('nan')
    return float(np.clip(dx @ dy / np.sqrt((dx @ dx) * (dy @ dy)), -1, 1))


def spearman(x: Array, y: Array) -> float:
    """Spearman's rank correlation; ties share their mean rank."""
    return pearson(_ranks(x), _ranks(y))


def least_squares_line(x: Array, y: Array) -> tuple[float, float]:
    """Slope and intercept of y over x.

    Raises:
        LineError: If x is constant.
    """
    if np.ptp(x) == 0:
        msg = f'all {len(x)} points lie at {x[0]:g}: no line can be fitted'
        raise LineError(msg)
    dx = x - x.mean()
    slope = float(dx @ y / (dx @ dx))
    return slope, float(y.mean() - slope * x.mean())


def theil_sen_slope(x: Array, y: Array, rng: np.random.Generator, slopes: int) -> float:
    """Median slope of the lines through pairs of points (Theil 1950, Sen 1968).

    All pairs where there are at most ``slopes`` of them, else ``slopes`` random ones.

    Args:
        x: (n,) abscissae.
        y: (n,) ordinates.
        rng: Draws the pairs.
        slopes: Largest number of pairs.

    Returns:
        The slope dy / dx.

    Raises:
        LineError: If no two points differ in x.
    """
    n = len(x)
    if takes_all_pairs(n, slopes):
        i, j = np.triu_indices(n, 1)
    else:
        i, j = rng.integers(0, n, (2, slopes))
    dx = x[j] - x[i]
    different = dx != 0
    if not different.any():
        msg = f'no two of {len(dx)} pairs of points differ: no line can be fitted'
        raise LineError(msg)
    return float(np.median((y[j] - y[i])[different] / dx[different]))


def takes_all_pairs(points: int, slopes: int) -> bool:
    """Whether :func:`theil_sen_slope` draws none of the pairs of points."""
    return points * (points - 1) // 2 <= slopes


def robust_line(x: Array, y: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Slope and intercept of y over x, whatever up to some 40 % of the points do.

    Errors count relative to the line, since those of depth grow with it. A least median of squares
    (Rousseeuw 1984) starts iteratively reweighted least squares with Tukey's biweight.

    Args:
        x: (n,) abscissae.
        y: (n,) ordinates, positive.
        rng: Draws candidate lines.

    Returns:
        Slope and intercept.

    Raises:
        LineError: If x is constant.
    """
    if np.ptp(x) == 0:
        return least_squares_line(x, y)  # raises
    floor = least_value(y)
    some = rng.integers(0, len(x), min(len(x), _SCORED))
    i, j = rng.integers(0, len(x), (2, _CANDIDATES))
    i, j = i[x[i] != x[j]], j[x[i] != x[j]]
    slopes = (y[j] - y[i]) / (x[j] - x[i])
    lines = np.stack([slopes, y[i] - slopes * x[i]], axis=1)
    lines = np.concatenate([lines[slopes > 0], [[np.median(y / x), 0.0]]])
    fitted = np.maximum(lines[:, :1] * x[some] + lines[:, 1:], floor)
    errors = np.median(np.abs(y[some] / fitted - 1), axis=1)
    line = lines[int(np.argmin(errors))]
    for _ in range(_STEPS):
        deviation = relative_deviation(x, y, line, floor)
        line = reweighted_line(x, y, line, floor, deviation)
    return float(line[0]), float(line[1])


def least_value(y: Array) -> float:
    """Errors count relative to the line, but where it passes below this, relative to this."""
    return 0.05 * float(np.median(y))


def relative_deviation(x: Array, y: Array, line: Array, floor: float) -> float:
    """Robust deviation of points from a line (slope, intercept), relative to it; never 0."""
    fitted = np.maximum(line[0] * x + line[1], floor)
    return max(1.4826 * float(np.median(np.abs(y - line[0] * x - line[1]) / fitted)), 1e-9)


def reweighted_line(x: Array, y: Array, line: Array, floor: float, deviation: float) -> Array:
    """One step of reweighted least squares from a line to the next.

    Args:
        x, y: (n,) points.
        line: Slope and intercept.
        floor: See :func:`least_value`.
        deviation: See :func:`relative_deviation`.

    Returns:
        (2,) slope and intercept; the line itself where it leaves too few points.
    """
    straight = line[0] * x + line[1]
    fitted = np.maximum(straight, floor)
    error = (y - straight) / (fitted * (_TUKEY * deviation))
    weight = (np.maximum(1 - error**2, 0) / fitted) ** 2
    total, wx = weight.sum(), weight @ x
    if not total > 0:
        return line
    mean = wx / total
    along = weight @ (x * x) - mean * wx
    if not along > 0:
        return line
    across = (weight * x) @ y
    height = weight @ y / total
    slope = (across - mean * total * height) / along
    return np.array([slope, height - slope * mean])


def _ranks(values: Array) -> Array:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse.ravel()], np.float64)

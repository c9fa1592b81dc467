# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Rays of a grid of pixels through a lens, in a small part of the time that each would take."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mono_metric_depth.lens import Lens

#: How far rays are asked for outside of the image (px).
MARGIN = 8
#: The nodes, whose rays are solved for, lie at most so many pixels apart, and so far in the
#: normalised image plane: a polynomial follows all but the edges of lenses that closely.
_MOST_SPACING = 8
_MOST_DISTANCE = 1 / 75
#: Nodes that a ray is interpolated from, in each direction: a polynomial of the fifth degree.
_TAPS = 6
#: Interpolated rays may be off by this much of 1 + their radius: less than float32 rounds.
_TOLERANCE = 2e-8
#: Points that are solved for at once: they stay in a core's cache.
_BLOCK = 1 << 13


class LensGrid:
    """The inverse of a lens, all over an image.

    A lens is smooth: rays at every few pixels tell those in between. Wherever the polynomial
    between them misses the lens, and near the edge of what the lens reaches, each ray is solved
    for by itself (:meth:`Lens.undistort`).

    Args:
        lens: The lens.
        size: Width and height of the image (px).
        focal: fx, fy (px).
        centre: cx, cy (px).
    """

    def __init__(
        self,
        lens: Lens,
        size: tuple[int, int],
        focal: tuple[float, float],
        centre: tuple[float, float],
    ) -> None:
        self._lens = lens
        self._scale = np.array([focal, centre])
        self._spacing = int(np.clip(_MOST_DISTANCE * min(focal), 2, _MOST_SPACING))
        self._before = -(-MARGIN // self._spacing)
        counts = [max(_TAPS, side // self._spacing + 2 * self._before + 2) for side in size]
        self._last = [count - 2 for count in counts]
        u, v = (
            np.arange(-self._before, count - self._before, dtype=np.float64) * self._spacing
            for count in counts
        )
        nodes = self._solved(u, v)
        seen = np.isfinite(nodes[0])
        self._nodes = np.where(seen, nodes, 0.0)
        # Cells between nodes: whether all that they are interpolated from is there.
        height, width = seen.shape
        across, down = (_first_tap(np.arange(count - 1), count) for count in (width, height))
        missing = cv2.integral((~seen).astype(np.uint8))
        top, left = down[:, None], across[None]
        self._exact = (
            missing[top + _TAPS, left + _TAPS]
            - missing[top, left + _TAPS]
            - missing[top + _TAPS, left]
            + missing[top, left]
        ) > 0
        self._check(u, v)
        # Far from all that the lens reaches there is nothing to solve for.
        kernel = np.ones((3, 3), np.uint8)
        cells = seen[1:, 1:] | seen[1:, :-1] | seen[:-1, 1:] | seen[:-1, :-1]
        # A lens that reaches few pixels might reach none of the nodes.
        self._blind = (cv2.dilate(cells.astype(np.uint8), kernel) == 0) & (seen.mean() > 0.05)
        self._exact &= ~self._blind

    def __call__(self, u: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
        """Rays of the pixels in some columns and rows.

        Args:
            u: (w,) columns (px), at most :data:`MARGIN` outside of the image.
            v: (h,) rows, likewise.

        Returns:
            (2, h, w) x and y at z = 1; NaN where no ray meets the pixel.
        """
        columns, rows = np.asarray(u, np.float64), np.asarray(v, np.float64)
        rays = self._interpolated(columns, rows)
        across, down = self._cell(columns, 0), self._cell(rows, 1)
        if self._blind.any():
            rays[:, self._blind[down[:, None], across]] = np.nan
        if self._exact.any():
            row, column = np.nonzero(self._exact[down[:, None], across])
            rays[:, row, column] = self._solve(columns[column], rows[row])
        return rays

    def _cell(self, pixels: NDArray[np.float64], axis: int) -> NDArray[np.intp]:
        cell = np.floor(pixels / self._spacing).astype(np.intp) + self._before
        return np.asarray(np.clip(cell, 0, self._last[axis]))

    def _solved(self, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2, h, w) rays of columns and rows, each solved for by itself."""
        column, row = (side.ravel() for side in np.meshgrid(u, v))
        return self._solve(column, row).reshape(2, len(v), len(u))

    def _solve(self, column: NDArray[np.float64], row: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2, n) rays of n pixels."""
        focal, centre = self._scale
        goal = (np.stack([column, row], axis=-1) - centre) / focal
        found = np.empty_like(goal)
        for first in range(0, len(goal), _BLOCK):
            block = slice(first, first + _BLOCK)
            found[block] = self._lens.undistort(goal[block])
        return np.asarray(found.T)

    def _check(self, u: NDArray[np.float64], v: NDArray[np.float64]) -> None:
        """Have those cells solved exactly in whose middle, where it is furthest off, a ray is."""
        column, row = (side[:-1] + self._spacing / 2 for side in (u, v))
        rays = np.moveaxis(self._interpolated(column, row), 0, -1)
        focal, centre = self._scale
        goal = (np.stack(np.meshgrid(column, row), axis=-1) - centre) / focal
        off = self._lens.error(rays, goal)
        with np.errstate(invalid='ignore'):
            good = off <= _TOLERANCE * (1 + np.abs(rays).max(axis=-1))
        bad = cv2.dilate((~good).astype(np.uint8), np.ones((3, 3), np.uint8))
        self._exact |= bad > 0

    def _interpolated(self, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2, h, w) rays of columns and rows, from the nodes around each."""
        height, width = self._nodes.shape[1:]
        left, weights = _weights(u / self._spacing + self._before, self._cell(u, 0), width)
        spread = np.zeros((width, len(u)))
        for tap in range(_TAPS):
            spread[left + tap, np.arange(len(u))] = weights[:, tap]
        top, weights = _weights(v / self._spacing + self._before, self._cell(v, 1), height)
        first_row = top.min()
        rows = self._nodes[:, first_row : top.max() + _TAPS] @ spread
        rays = np.empty((2, len(v), len(u)))
        ends = np.flatnonzero(np.diff(top, append=-1)) + 1
        for first, last in zip((0, *ends[:-1]), ends, strict=True):
            taps = slice(top[first] - first_row, top[first] - first_row + _TAPS)
            for axis in (0, 1):
                np.dot(weights[first:last], rows[axis, taps], out=rays[axis, first:last])
        return rays


def _first_tap(cell: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    return np.asarray(np.clip(cell - _TAPS // 2 + 1, 0, count - _TAPS))


def _weights(
    place: NDArray[np.float64], cell: NDArray[np.intp], count: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The first node of each place, in nodes, and its weights (n, taps): Lagrange's."""
    first = _first_tap(cell, count)
    within = (place - first)[:, None]
    taps = np.arange(_TAPS)
    weights = np.ones((len(place), _TAPS))
    for other in taps:
        rest = taps != other
        weights[:, rest] *= (within - other) / (taps[rest] - other)
    return first, weights

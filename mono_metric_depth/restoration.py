# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Restoration: inverse depth of the canonical camera, as depth of the camera that saw it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera

#: A camera with finer pixels than the network's is sampled every few pixels, so that samples lie
#: at most this far apart (canonical px), and inverse depth in between is interpolated linearly.
#: On a plane nothing is lost, and an edge is already as soft as a canonical pixel.
_SPACING = 0.75
_MOST_STEP = 8
_NAN = np.float32(np.nan)
#: The lens may bend what lies between samples by this much (canonical px): where it bends more,
#: samples lie closer. Near the horizon 1/64 px would be 0.6 % of the depth of a road at 75 m.
_MOST_BEND = 1 / 256
#: A neighbour closer to a sample than this (px) is all of its value.
_SAME = 1 / 256
#: Bytes that rows of samples may grow to at once: they stay in a core's cache.
_STRIP_BYTES = 1 << 19
#: What interpolation adds to or takes from a value by rounding, and more.
_ROUNDING = 1e-5
#: Pixels may lie outside of an image by this much (px): rounding.
_TOLERANCE = 1e-6
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
#: Pixels that are projected at once.
_BLOCK = 1 << 15


def _subpixels() -> int:
    """How much finer a map has to be than pixels for cv2.remap to interpolate exactly enough.

    OpenCV 5 takes the positions of a map as they are; 4 rounds them to 1/32 px.
    """
    ramp = np.arange(8, dtype=np.float32)[None]
    where = 3.3 + 1 / 256
    column, row = np.full((1, 1), where, np.float32), np.zeros((1, 1), np.float32)
    found = np.asarray(cv2.remap(ramp, column, row, cv2.INTER_LINEAR))
    return 1 if abs(found[0, 0] - where) < 1e-4 else 5


#: Odd, so that a refined image holds the pixels it is made of.
SUBPIXELS = _subpixels()


@dataclass(frozen=True)
class _Axis:
    """Where samples lie along one axis of a camera's image, and what they grow to.

    Attributes:
        first: The first pixel that gets depth.
        length: How many do.
        step: Pixels between samples.
    """

    first: int
    length: int
    step: int

    @property
    def before(self) -> int:
        """Pixels that the samples grow to before the first one."""
        return self.step // 2

    @property
    def count(self) -> int:
        """Samples: the last lies at the last pixel or beyond."""
        reach = self.length - 1 + self.before - (self.step - 1) / 2
        return math.ceil(reach / self.step) + 1

    @property
    def positions(self) -> NDArray[np.float64]:
        """Of the samples (px); cv2.resize puts each in the middle of the pixels it grows to."""
        middle = (self.step - 1) / 2 - self.before
        return np.asarray(self.first + middle + self.step * np.arange(self.count))


class Restoration:
    """Turns inverse depth of the canonical camera into depth of a camera in the input's frame.

    Inverse depth is what gets interpolated: on a plane it is linear in the pixel, so that planes
    stay exact. Use it from one thread at a time.

    Args:
        canonical: The canonical camera.
        seen: (height, width) bool of the canonical camera: pixels whose inverse depth counts.
        camera: The camera whose pixels get depth.
        rotation: (3, 3) rotation from its optical frame to the canonical one; None for none.

    Attributes:
        steps: Pixels of the camera between samples, down and across.
    """

    def __init__(
        self,
        canonical: Camera,
        seen: NDArray[np.bool_],
        camera: Camera,
        rotation: NDArray[np.float64] | None,
    ) -> None:
        self._canonical = canonical
        self._camera = camera
        self._rotation = rotation
        height, width = seen.shape
        #: Between inverse depths in the two frames, of every canonical pixel.
        self._factor: NDArray[np.float32] | None = None
        if rotation is not None:
            along = canonical.rays() @ rotation[:, 2]
            self._factor = (1 / np.where(along > 0, along, 1.0)).astype(np.float32)
        # A margin of one pixel: the image goes on beyond its edge, and beyond what was seen.
        self._source = np.ones((height + 2, width + 2), np.float32)
        self._beyond = _beyond(np.pad(seen, 1))
        self._refined = self._source
        if SUBPIXELS > 1:
            shape = (SUBPIXELS * (height + 2), SUBPIXELS * (width + 2))
            self._refined = np.empty(shape, np.float32)
        where, known = self._where(seen)
        rows, columns = (np.flatnonzero(known.any(axis=axis)) for axis in (1, 0))
        self._empty = not rows.size
        self.steps = (1, 1)
        if self._empty:
            return
        self._box = (slice(int(rows[0]), rows[-1] + 1), slice(int(columns[0]), columns[-1] + 1))
        self._choose_samples(where[(slice(None), *self._box)], known[self._box])
        hidden = np.zeros(known.shape, np.bool_)
        hidden[self._box] = ~known[self._box]
        #: What is unknown within the box.
        self._hidden = np.flatnonzero(hidden)

    def __call__(
        self,
        inverse_depth: NDArray[np.float32],
        out: NDArray[np.float32],
        span: tuple[float, float] = (0.0, math.inf),
        *,
        kept: bool = False,
    ) -> None:
        """Write depth.

        Args:
            inverse_depth: (height, width) float32 of the canonical camera (1/m), not negative, NaN
                where it is not known.
            out: (h, w) float32 of the camera, C-contiguous: z-depth (m) in its own optical frame;
                NaN where a pixel has not all its neighbours in the canonical image known and seen.
            span: Nearest and furthest depth (m): -Inf for what is nearer, +Inf for what is
                further.
            kept: Whether ``out`` is as the last call left it: pixels that never get depth are not
                written once more.
        """
        if self._empty:
            out.fill(np.nan)
            return
        samples = self._sampled(inverse_depth)
        unknown = math.isnan(float(inverse_depth.min()))
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            for part, grown, values, target in self._strips:
                sampled = samples[part]
                # Interpolation adds nothing beyond these; OpenCV passes over NaN.
                extremes = (math.nan, math.nan) if unknown else cv2.minMaxLoc(sampled)[:2]
                if grown is not None:
                    size = grown.shape[::-1]
                    cv2.resize(sampled, size, dst=grown, interpolation=cv2.INTER_LINEAR)
                    sampled = grown
                mark_beyond(sampled, sampled, span, extremes)
                np.divide(np.float32(1), values, out=out[target])
        for outside in self._beside if kept else self._outside:
            out[outside].fill(np.nan)
        # Several times as fast as a mask: what is hidden lies along the edges.
        out.reshape(-1)[self._hidden] = _NAN

    def _sampled(self, inverse_depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inverse depth in the camera's frame at the samples."""
        source = self._source
        if self._factor is None:
            source[1:-1, 1:-1] = inverse_depth
        else:
            np.multiply(inverse_depth, self._factor, out=source[1:-1, 1:-1])
        flat = source.reshape(-1)
        missing, near, next_one = self._beyond
        beyond = 2 * flat[near]
        beyond -= flat[next_one]
        np.maximum(beyond, 0, out=beyond)
        flat[missing] = beyond
        if self._refined is not source:
            size = self._refined.shape[::-1]
            cv2.resize(source, size, dst=self._refined, interpolation=cv2.INTER_LINEAR)
        cv2.remap(
            self._refined,
            *self._maps,
            cv2.INTER_LINEAR,
            dst=self._samples,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return self._samples

    def _where(self, seen: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(2, h, w) position in the canonical image of every pixel, and what is known."""
        camera = self._camera
        where = np.empty((2, camera.height, camera.width), np.float32)
        known = np.empty((camera.height, camera.width), np.bool_)
        last = (self._canonical.width - 1, self._canonical.height - 1)
        neighbours = _all_seen(seen)
        step = max(1, _BLOCK // camera.width)
        for first in range(0, camera.height, step):
            rows = slice(first, min(first + step, camera.height))
            found = self._projected(*self._pixel_rays(rows))
            where[:, rows] = found
            inside = np.ones(found[0].shape, np.bool_)
            for pixel, most in zip(found, last, strict=True):
                inside &= (pixel >= -_TOLERANCE) & (pixel <= most + _TOLERANCE)
            known[rows] = inside
            if seen.all():
                continue
            index, stride = np.zeros(inside.shape, np.intp), seen.size
            for pixel, most, size in zip(found, last, (1, seen.shape[1]), strict=True):
                safe = np.clip(np.where(inside, pixel, 0), 0, most)
                # The pixels around it, not negative: to an integer is down.
                low, high = ((safe + more).astype(np.intp) for more in (_SAME, 1 - _SAME))
                index += low * size + (high - low) * stride
                stride *= 2
            known[rows] &= np.take(neighbours, index)
        return where, known

    def _pixel_rays(self, rows: slice) -> tuple[NDArray[Any], NDArray[Any]]:
        """Rays x, y of the camera's pixels in some rows, each (n, w)."""
        if not self._camera.distortion:  # float64: the edges of alike cameras coincide
            return self._camera.grid_rays(
                np.arange(self._camera.width), np.arange(rows.start, rows.stop)
            )
        x, y = self._camera.ray_planes[:, rows].astype(np.float64)
        return x, y

    def _projected(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position in the canonical image of rays x, y, 1 of the camera; NaN of what is behind."""
        canonical = self._canonical
        if self._rotation is not None:
            x, y, z = (row[0] * x + row[1] * y + row[2] for row in self._rotation)
            with np.errstate(invalid='ignore'):
                ahead = np.where(z > 0, z, np.nan)
            x, y = x / ahead, y / ahead
        return x * canonical.fx + canonical.cx, y * canonical.fy + canonical.cy

    def _choose_samples(self, where: NDArray[np.float32], known: NDArray[np.bool_]) -> None:
        """As few samples as are exact enough; one for each pixel if need be."""
        (height, width), (rows, columns) = known.shape, self._box
        steps = [_most_step(where, known, axis) for axis in (0, 1)]
        while True:
            down = _Axis(rows.start, height, steps[0])
            across = _Axis(columns.start, width, steps[1])
            if steps == [1, 1]:
                samples = where
                break
            rays = self._camera.grid_rays(across.positions, down.positions)
            samples = np.stack(self._projected(*rays)).astype(np.float32)
            size = (steps[1] * across.count, steps[0] * down.count)
            box = np.s_[down.before :, across.before :]
            grown = [
                np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR))[box]
                for plane in samples
            ]
            off = [
                np.abs(plane - found[:height, :width]).max(where=known, initial=0.0)
                for plane, found in zip(where, grown, strict=True)
            ]
            if np.less_equal(off, _MOST_BEND).all():
                break  # else NaN: no rays there
            steps[int(steps[1] > steps[0])] -= 1
        self.steps = (steps[0], steps[1])
        self._samples, strips, written = _strips(down, across, self._camera.width)
        self._strips = list(strips)
        #: What gets no depth: what is written with what does, and all of it.
        self._beside = [
            (rows, slice(written.start, columns.start)),
            (rows, slice(columns.stop, written.stop)),
        ]
        self._outside = [
            (slice(rows.start),),
            (slice(rows.stop, None),),
            (rows, slice(columns.start)),
            (rows, slice(columns.stop, None)),
        ]
        # In the source with its margin.
        self._maps: tuple[Any, Any] = tuple(
            (np.clip(np.nan_to_num(plane) + 1, 0, side + 1) + 0.5) * SUBPIXELS - 0.5
            for plane, side in zip(
                samples, (self._canonical.width, self._canonical.height), strict=True
            )
        )
        if SUBPIXELS > 1:
            self._maps = cv2.convertMaps(*self._maps, cv2.CV_16SC2)


def _most_step(where: NDArray[np.float32], known: NDArray[np.bool_], axis: int) -> int:
    """Camera pixels between samples along an axis, by the canonical pixels that they span."""
    # Every fourth pixel and its neighbour: how far apart they lie changes slowly.
    size = known.shape[axis] - 1
    one, two = (
        tuple(
            slice(start, size + start, 4) if side == axis else slice(None, None, 4)
            for side in (0, 1)
        )
        for start in (0, 1)
    )
    moved = where[(slice(None), *two)] - where[(slice(None), *one)]
    largest = float(np.hypot(*moved).max(where=known[one] & known[two], initial=0.0))
    return max(1, min(int(_SPACING / largest), _MOST_STEP)) if largest else 1


def _all_seen(seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(4, h, w) whether a pixel was seen, and the next one, the one below, and all these four."""
    right, below = seen.copy(), seen.copy()
    right[:, :-1] &= seen[:, 1:]
    below[:-1] &= seen[1:]
    both = right.copy()
    both[:-1] &= right[1:]
    return np.stack([seen, right, below, both])


def mark_beyond(
    inverse_depth: NDArray[np.float32],
    out: NDArray[np.float32],
    span: tuple[float, float],
    extremes: tuple[float, float],
) -> None:
    """Inverse depth whose inverse is infinite out of a span.

    Args:
        inverse_depth: (h, w) float32 (1/m), not negative; NaN where it is not known.
        out: Where to write, of the same shape: 0 for what is further, -0 for what is nearer. It
            may be ``inverse_depth``.
        span: Nearest and furthest depth (m).
        extremes: What ``inverse_depth`` is at least and at most, rounding aside; NaN if any is.
    """
    nearest, furthest = span
    least, most = extremes
    far, near = 1 / furthest, 1 / nearest if nearest else math.inf
    if least < far * (1 + _ROUNDING):
        below = float(np.nextafter(np.float32(far), np.float32(0)))
        cv2.threshold(inverse_depth, below, 0, cv2.THRESH_TOZERO, dst=out)
    elif out is not inverse_depth:
        np.copyto(out, inverse_depth)
    if math.isnan(least):  # a threshold takes it for far
        np.copyto(out, 0, where=out < np.float32(far))
    if not most < near * (1 - _ROUNDING):  # NaN, too
        np.copyto(out, -0.0, where=out > np.float32(near))


_Strip: TypeAlias = (
    'tuple[slice, NDArray[np.float32] | None, NDArray[np.float32], tuple[slice, slice]]'
)


def _strips(
    down: _Axis, across: _Axis, width: int
) -> tuple[NDArray[np.float32], Iterator[_Strip], slice]:
    """Memory for samples, and the rows of them that are worked on at once.

    Whole rows of the image are written, NaN beside what the samples grow to, where that lies
    within the image: for memory in one piece NumPy takes half as long.

    Args:
        down, across: Where the samples lie.
        width: Of the image (px).

    Returns:
        The samples; and of each strip the rows of samples, what they grow to (None where a pixel
        has a sample of its own), the part of that which becomes depth, and where that belongs in
        the image; and the columns that are not NaN in what is written.
    """
    left, reach = across.first - across.before, across.step * across.count
    whole = left >= 0 and left + reach <= width
    if whole:
        grown_columns, columns, target = slice(left, left + reach), slice(width), slice(width)
    else:
        grown_columns = slice(reach)
        columns = slice(across.before, across.before + across.length)
        target = slice(across.first, across.first + across.length)
    step, row = down.step, width if whole else reach
    each = (step, across.step) == (1, 1)
    most = down.count if each else max(_STRIP_BYTES // (4 * step * row), 2) - 1
    shared = np.full((step * (min(most, down.count) + 1), row), np.nan, np.float32)
    samples = (
        shared[: down.count, grown_columns]
        if each
        else np.empty((down.count, across.count), np.float32)
    )

    def strips() -> Iterator[_Strip]:
        for first in range(0, max(down.count - 1, 1), most):
            last = min(first + most, down.count - 1)
            # Pixels from the first sample to the last; none is extrapolated.
            top = 0 if first == 0 else step * first + step // 2 - down.before
            bottom = (
                down.length if last == down.count - 1 else step * last + step // 2 - down.before
            )
            shift = down.before - step * first
            grown = None if each else shared[: step * (last + 1 - first), grown_columns]
            values = shared[top + shift : bottom + shift, columns]
            place = (slice(down.first + top, down.first + bottom), target)
            yield slice(first, last + 1), grown, values, place

    written = grown_columns if whole else target
    return samples, strips(), written


def _beyond(
    seen: NDArray[np.bool_],
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Pixels beside those that were seen, and the two that each is extrapolated from.

    Args:
        seen: (h, w) bool with a margin that was not.

    Returns:
        Indices into the flat image: of those pixels, of the nearest seen pixel of each, and of the
        one behind that, the same where that was not seen.
    """
    height, width = seen.shape
    index = np.arange(seen.size).reshape(seen.shape)
    near, behind = np.full(seen.size, -1), np.full(seen.size, -1)
    rows, columns = np.nonzero(~seen)
    unseen = index[rows, columns]
    for both in (True, False):  # a line through two pixels, where there is one
        for down, across in _DIRECTIONS:
            found = []
            for distance in (1, 2):
                row, column = rows + distance * down, columns + distance * across
                within = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                row, column = np.where(within, row, 0), np.where(within, column, 0)
                found.append((index[row, column], within & seen[row, column]))
            (one, one_seen), (two, two_seen) = found
            new = (near[unseen] < 0) & one_seen & (two_seen | (not both))
            near[unseen[new]] = one[new]
            behind[unseen[new]] = np.where(two_seen, two, one)[new]
    missing = np.flatnonzero(near >= 0)
    return missing, near[missing], behind[missing]

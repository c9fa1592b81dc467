# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames of a drive have enough motion between them, and not too much, to learn depth from.

View reconstruction learns from parallax alone: about 0.3 m between frames is the least on roads.
Where a drive knows its poses, metres are measured; elsewhere the parallax in the images is. A
camera that only turns has none: the rotation that explains the image's motion best is taken out
first, and what remains is the parallax. (A homography would not do: it explains a road from a
moving camera, too.)
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera

#: Between neighbours, where poses are known (m).
LEAST_DISTANCE, MOST_DISTANCE = 0.3, 4.0
#: Where they are not, median parallax (rad). On the procedural roads, 0.3 m ahead make 0.002 to
#: 0.006 and 4 m 0.013 to 0.03; a camera that stands, shakes or turns among others that move makes
#: up to 0.001.
LEAST_PARALLAX, MOST_PARALLAX = 0.003, 0.05
#: Corners are not tracked much better than this (px).
_LEAST_PIXELS = 0.25
#: Between neighbours, where poses are known (rad).
MOST_TURN = 0.25
#: Between neighbours (s): in longer times too much else has moved.
MOST_SECONDS = 2.0

_CORNERS = 300
_FEWEST_TRACKS = 12
_LEAST_TRACKED = 0.3
_ROUND_TRIP = 0.5

#: ``next``: used, neighbour of the one used before; ``first``: used, but no neighbour of it;
#: ``still``: left out, as it has moved too little.
Step = Literal['first', 'next', 'still']


class FrameChooser:
    """Chooses frames of a drive, one after the other.

    Args:
        camera: The canonical camera, which all images are in.
        seen: (h, w) bool, what the drive's camera sees of it.

    Attributes:
        largest: Largest motion to the frame used before that was measured; NaN before any was.
        unit: Its unit: ``m``, or ``mrad of parallax``.
        jumps: Why neighbours were none, and how often.
    """

    def __init__(self, camera: Camera, seen: NDArray[np.bool_]) -> None:
        self._camera = camera
        self._seen = seen
        self._last: _Kept | None = None
        self._least_parallax = max(LEAST_PARALLAX, _LEAST_PIXELS / camera.fx)
        self.largest = math.nan
        self.unit = ''
        self.jumps: Counter[str] = Counter()

    def step(self, stamp: int, pose: NDArray[np.float64] | None, image: NDArray[np.uint8]) -> Step:
        """Offer the next frame.

        Args:
            stamp: Its time (ns).
            pose: (4, 4) optical frame to world (m), or None.
            image: (h, w, 3) uint8 in the canonical camera.

        Returns:
            What becomes of it.
        """
        grey = None if pose is not None else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        now = _Kept(stamp, pose, None if grey is None else np.asarray(grey, np.uint8))
        reason = self._compare(now)
        if reason == 'still':
            return 'still'
        follows = self._last is not None and not reason
        if reason:
            self.jumps[reason] += 1
        self._last = now
        return 'next' if follows else 'first'

    def _compare(self, now: _Kept) -> str:
        """Why this frame is no neighbour of the last one used; empty if it is one."""
        last = self._last
        if last is None:
            return ''
        seconds = (now.stamp - last.stamp) * 1e-9
        if not seconds > 0:
            return 'time does not go on'
        if last.pose is not None and now.pose is not None:
            between = np.linalg.inv(last.pose) @ now.pose
            moved = float(np.linalg.norm(between[:3, 3]))
            least, most = LEAST_DISTANCE, MOST_DISTANCE
            turned = math.acos(float(np.clip((np.trace(between[:3, :3]) - 1) / 2, -1, 1)))
            self.unit, size = 'm', 1.0
        elif last.grey is not None and now.grey is not None:
            moved, turned = parallax(last.grey, now.grey, self._camera, self._seen), 0.0
            least, most = self._least_parallax, MOST_PARALLAX
            self.unit, size = 'mrad of parallax', 1e3
        else:
            return 'a pose is missing'
        if math.isnan(moved):
            return 'too few corners to track'
        if not moved * size <= self.largest:
            self.largest = moved * size
        if seconds > MOST_SECONDS:
            return 'stood still' if moved < least else f'over {MOST_SECONDS:g} s apart'
        if moved > most or turned > MOST_TURN:
            return 'too far apart'
        return 'still' if moved < least else ''

    @property
    def least(self) -> str:
        """The least motion that is needed, in words."""
        if self.unit == 'm':
            return f'{LEAST_DISTANCE:g} m'
        return f'{self._least_parallax * 1e3:.1f} mrad of parallax'


@dataclass(frozen=True)
class _Kept:
    stamp: int
    pose: NDArray[np.float64] | None
    grey: NDArray[np.uint8] | None


def parallax(
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    camera: Camera,
    seen: NDArray[np.bool_],
) -> float:
    """Apparent motion between two images that no rotation explains.

    Corners are tracked there and back (Lucas and Kanade), the rotation that brings their rays
    together with the least sum of distances is taken out, and the median of what remains is
    returned: objects that move by themselves do not count while they cover less than half.

    Args:
        before, after: (h, w) uint8 images of one pinhole camera.
        camera: The pinhole.
        seen: (h, w) bool, where images hold anything.

    Returns:
        The median angle (rad); NaN where too few corners can be tracked.
    """
    # Corners at the border of what is seen belong to the border.
    inner = cv2.erode(
        seen.astype(np.uint8), np.ones((9, 9), np.uint8), borderType=cv2.BORDER_REPLICATE
    )
    corners = cv2.goodFeaturesToTrack(before, _CORNERS, 0.01, 4, mask=inner)
    if corners is None or len(corners) < _FEWEST_TRACKS:
        return math.nan
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None)  # type: ignore[call-overload]
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None)  # type: ignore[call-overload]
    astray = np.linalg.norm(back - corners, axis=-1)[:, 0]
    kept = (found[:, 0] > 0) & (found_back[:, 0] > 0) & (astray < _ROUND_TRIP)
    if kept.sum() < max(_FEWEST_TRACKS, _LEAST_TRACKED * len(corners)):
        return math.nan
    first, second = (_directions(camera, pixel[kept, 0]) for pixel in (corners, there))
    return float(np.median(_distances_after_rotation(first, second)))


def _directions(camera: Camera, pixel: NDArray[np.float32]) -> NDArray[np.float64]:
    rays = camera.rays(pixel)
    return np.asarray(rays / np.linalg.norm(rays, axis=-1, keepdims=True))


def _distances_after_rotation(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distances between unit vectors (n, 3) once the best rotation is taken out.

    The rotation with the least sum of distances: Kabsch's (1976), reweighted.
    """
    distances = np.ones(len(first))
    for _ in range(10):
        weights = 1 / np.maximum(distances, 1e-4)
        u, _, vt = np.linalg.svd((first * weights[:, None]).T @ second)
        sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        distances = np.linalg.norm(first @ (u @ sign @ vt) - second, axis=-1)
    return distances

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Scale health: the camera height that depth shows, against the known mounting height.

A monitor: it warns, and never alters depth.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera
from mono_metric_depth.road_plane import RoadPlaneError, RoadView
from mono_metric_depth.scale import robust_deviation

#: Frames that are looked back on, and how many it takes to warn.
FRAMES = 30
#: Frames that are longer ago (s) say nothing of the scale any more.
WINDOW = 60.0
#: Of what lies ahead, so much has to be flat road. Networks see a road even in noise, some a
#: flat one: who knows the image has to refuse it there.
LEAST_ROAD = 0.7
#: Looks among which so large a share has to show one.
_LOOKS = 4 * FRAMES
_LEAST_SHARE = 0.25
#: Median of the ratio off by more than this is a disagreement.
TOLERANCE = 0.15


class ScaleHealth:
    """Compares the road plane in metric depth with the mounting height, over the last frames.

    Of a scene without a road, or of none at all, it knows less and less: see :attr:`age`.

    Args:
        camera: A pinhole, such as the canonical camera.
        camera_height: Of its optical centre above the road (m).
        rotation: (3, 3) from the camera to one that looks along the road, None if it does so.

    Attributes:
        refused: Frames without a plausible road, by reason.

    Raises:
        RoadPlaneError: If the camera does not see the road.
    """

    def __init__(
        self,
        camera: Camera,
        camera_height: float,
        rotation: NDArray[np.float64] | None = None,
    ) -> None:
        self._view = RoadView(camera, rotation)
        self._camera_height = camera_height
        self._seen: deque[tuple[float, float]] = deque(maxlen=FRAMES)
        self._looks: deque[tuple[float, bool]] = deque(maxlen=_LOOKS)
        self.refused: Counter[str] = Counter()

    def look(self, depth: NDArray[np.float32]) -> None:
        """Take a frame into account.

        Args:
            depth: (height, width) float32 z-depth of the camera (m); NaN where it is not known.
        """
        try:
            plane = self._view.plane(depth)
        except RoadPlaneError as err:
            self.refuse(err.reason)
            return
        if plane.inliers < LEAST_ROAD:
            self.refuse('clutter')
            return
        now = time.monotonic()
        self._seen.append((now, plane.height / self._camera_height))
        self._looks.append((now, True))

    def refuse(self, reason: str) -> None:
        """Take into account that a frame shows no road."""
        self.refused[reason] += 1
        self._looks.append((time.monotonic(), False))

    @property
    def road_seen(self) -> bool:
        """Whether enough of the last frames showed a road for what they say to mean anything."""
        oldest = time.monotonic() - WINDOW
        looks = [road for moment, road in self._looks if moment > oldest]
        return sum(looks) > _LEAST_SHARE * len(looks)

    @property
    def _ratios(self) -> list[float]:
        oldest = time.monotonic() - WINDOW
        return [ratio for moment, ratio in self._seen if moment > oldest]

    @property
    def age(self) -> float:
        """How long ago the road was last seen (s); infinite if it never was."""
        return time.monotonic() - self._seen[-1][0] if self._seen else math.inf

    @property
    def frames(self) -> int:
        """How many of the last frames showed a road."""
        return len(self._ratios)

    @property
    def ratio(self) -> float:
        """Median of seen over known height; NaN before there is any."""
        ratios = self._ratios
        return float(np.median(ratios)) if ratios else math.nan

    @property
    def spread(self) -> float:
        """Relative spread of the ratio between frames; NaN before there is any."""
        ratios = self._ratios
        return robust_deviation(np.log(ratios)) if ratios else math.nan

    @property
    def disagrees(self) -> bool:
        """Whether enough frames, by their median, contradict the mounting height."""
        return self.road_seen and self.frames == FRAMES and abs(self.ratio - 1) > TOLERANCE

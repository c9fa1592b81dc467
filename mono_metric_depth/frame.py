# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A frame of a drive: what every data set, bag and procedural world yields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, Mount


@dataclass(frozen=True)
class Frame:
    """One image of a drive, with what is known about it.

    Attributes:
        stamp: Time of exposure (ns).
        image: (height, width, 3) uint8, RGB.
        camera: The camera that took it; its size is the image's.
        depth: (height, width) float32, metres along the optical axis; +Inf for sky or beyond the
            sensor's range, NaN where nothing is known; None without ground truth.
        pose: (4, 4) float64, optical frame to world (m); None if it is not known.
        mount: The camera's attitude and height against the road; None if it is not known.
    """

    stamp: int
    image: NDArray[np.uint8]
    camera: Camera
    depth: NDArray[np.float32] | None = None
    pose: NDArray[np.float64] | None = None
    mount: Mount | None = None

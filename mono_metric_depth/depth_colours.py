# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Depth as colours that a person reads."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

_ROWS = 16
#: Its colours from blue to red, (256, 1, 3); OpenCV would work them out anew for each piece.
_TURBO = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)


def depth_colours(
    depth: NDArray[np.float32],
    depth_range: tuple[float, float],
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Depth in the colours of turbo, by its logarithm: red is near, blue is far.

    Args:
        depth: (h, w) float32 z-depth (m), as REP-117 has it.
        depth_range: What is reddest and what is bluest (m).
        out: Where to write, (h, w, 3) uint8.

    Returns:
        (h, w, 3) uint8 BGR; black where there is no depth (NaN).
    """
    out = np.empty((*depth.shape, 3), np.uint8) if out is None else out
    nearest, furthest = map(math.log, depth_range)
    for first in range(0, len(depth), _ROWS):  # what is made on the way stays small
        rows = depth[first : first + _ROWS]
        with np.errstate(divide='ignore', invalid='ignore'):
            level = np.log(rows)
        level -= np.float32(furthest)
        level *= np.float32(255 / (nearest - furthest))
        # Too near is -Inf, which has no logarithm.
        np.copyto(level, np.float32(255), where=np.isneginf(rows))
        unknown = np.isnan(level)
        np.copyto(level, np.float32(0), where=unknown)
        np.clip(level, 0, 255, out=level)
        colours = cv2.applyColorMap(np.rint(level).astype(np.uint8), _TURBO)
        colours[unknown] = 0
        out[first : first + _ROWS] = colours
    return out

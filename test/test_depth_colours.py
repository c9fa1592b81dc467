# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tracemalloc

import cv2
import numpy as np

from mono_metric_depth.depth_colours import depth_colours

TURBO = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_TURBO)[0]


def test_near_is_red_and_far_is_blue_by_the_logarithm():
    depth = np.array([[1.0, 2.0, 4.0, 8.0, 16.0]], np.float32)
    levels = np.rint(255 * np.array([4, 3, 2, 1, 0]) / 4).astype(int)
    np.testing.assert_array_equal(depth_colours(depth, (1.0, 16.0))[0], TURBO[levels])
    blue, _, red = depth_colours(depth, (1.0, 16.0))[0, 0].astype(int)
    assert red > blue


def test_what_lies_beyond_is_furthest_and_what_is_unknown_is_black():
    depth = np.array([[np.inf, 90.0, -np.inf, 0.1, np.nan]], np.float32)
    colours = depth_colours(depth, (1.0, 80.0))[0]
    np.testing.assert_array_equal(colours[:4], TURBO[[0, 0, 255, 255]])
    assert not colours[4].any()


def test_rows_are_coloured_one_by_one_and_written_where_asked():
    depth = np.geomspace(0.5, 100, 50 * 40, dtype=np.float32).reshape(50, 40)
    depth[7, 3], depth[33, 9] = np.nan, -np.inf
    out = np.full((50, 40, 3), 77, np.uint8)
    assert depth_colours(depth, (1.0, 80.0), out) is out
    rows = [depth_colours(row[None], (1.0, 80.0)) for row in depth]
    np.testing.assert_array_equal(out, np.concatenate(rows))
    tracemalloc.start()
    large = np.ones((720, 1280), np.float32)
    room = np.empty((720, 1280, 3), np.uint8)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    depth_colours(large, (1.0, 80.0), room)
    assert tracemalloc.get_traced_memory()[1] - before < 400_000
    tracemalloc.stop()

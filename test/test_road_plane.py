# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera, CameraError, Mount
from mono_metric_depth.datasets import open_sequence, sequence_names
from mono_metric_depth.mount_statistics import MountStatistics, mount_statistics
from mono_metric_depth.road_plane import (
    RoadPlaneError,
    RoadScale,
    RoadView,
    fit_road_scale,
)

CAMERA = Camera(256, 96, 205.0, 205.0, 127.5, 40.0)
VIEW = RoadView(CAMERA)


def road(height: float, mount: Mount | None = None) -> np.ndarray:
    """Exact depth of a plane below the camera; +Inf above the horizon."""
    down = (mount or Mount()).rotation().T @ (0.0, 1.0, 0.0)
    slope = CAMERA.rays() @ down
    return np.where(slope > 1e-4, height / np.maximum(slope, 1e-4), np.inf).astype(np.float32)


@given(height=st.floats(0.01, 50.0), pitch=st.floats(-0.06, 0.06), roll=st.floats(-0.06, 0.06))
def test_an_exact_plane_is_found_exactly(height: float, pitch: float, roll: float) -> None:
    plane = VIEW.plane(road(height, Mount(pitch, roll)))
    assert plane.height == pytest.approx(height, rel=1e-5)
    assert plane.inliers == 1.0
    tilt = Mount(plane.pitch, plane.roll)
    assert tilt.pitch == pytest.approx(pitch, abs=2e-3)
    assert tilt.roll == pytest.approx(roll, abs=2e-3)


@pytest.mark.parametrize('mount', [Mount(0.2, 0.0), Mount(-0.05, 0.15), Mount(0.1, -0.1, 0.3)])
def test_a_known_attitude_is_taken_into_account(mount: Mount) -> None:
    plane = RoadView(CAMERA, mount.rotation()).plane(road(1.4, mount))
    assert plane.height == pytest.approx(1.4, rel=1e-5)
    assert (plane.pitch, plane.roll) == (pytest.approx(0, abs=1e-4), pytest.approx(0, abs=1e-4))


@pytest.mark.parametrize('noise', [0.01, 0.03, 0.05])
def test_noise_does_not_bias_the_height(noise: float) -> None:
    rng = np.random.default_rng(0)
    heights = []
    for _ in range(30):
        depth = road(1.5, Mount(*rng.normal(0, 0.01, 2)))
        heights.append(VIEW.plane(depth * (1 + rng.normal(0, noise, depth.shape))).height)
    assert np.median(heights) == pytest.approx(1.5, rel=0.01)
    assert np.std(heights) < noise


def test_cars_and_clutter_do_not_move_the_road() -> None:
    rng = np.random.default_rng(1)
    heights = []
    for _ in range(20):
        depth = road(1.5, Mount(*rng.normal(0, 0.01, 2)))
        depth *= 1 + rng.normal(0, 0.02, depth.shape).astype(np.float32)
        depth[30:58, 108:150] = 13.0  # a car ahead
        depth[44:, 205:] = np.minimum(depth[44:, 205:], 7.0)  # one parked beside
        wrong = rng.random(depth.shape) < 0.15
        depth[wrong] = rng.uniform(1, 60, int(wrong.sum()))
        depth[rng.random(depth.shape) < 0.1] = np.nan
        heights.append(VIEW.plane(depth).height)
    assert np.median(heights) == pytest.approx(1.5, rel=0.015)


@pytest.mark.parametrize(
    ('depth', 'reason', 'message'),
    [
        (np.full((96, 256), np.nan), 'unseen', 'known for 0% of the road ahead'),
        (np.full((96, 256), -3.0), 'unseen', 'known for 0%'),
        (np.full((96, 256), np.inf), 'unseen', 'known for 0%'),
        (np.full((96, 256), 8.0), 'tilt', 'within 6 degrees'),
        (road(1.5, Mount(0.2)), 'tilt', '6 degrees'),
        (road(1.5, Mount(0.0, 0.2)), 'tilt', '6 degrees'),
    ],
)
def test_what_is_no_road_is_refused(depth: np.ndarray, reason: str, message: str) -> None:
    with pytest.raises(RoadPlaneError, match=message) as caught:
        VIEW.plane(depth.astype(np.float32))
    assert caught.value.reason == reason


def test_a_view_full_of_clutter_is_refused() -> None:
    depth = np.random.default_rng(0).uniform(1, 60, (96, 256)).astype(np.float32)
    with pytest.raises(RoadPlaneError) as caught:
        VIEW.plane(depth)
    assert caught.value.reason in {'clutter', 'tilt'}


def test_depth_of_another_camera_and_a_camera_that_sees_no_road_are_refused() -> None:
    with pytest.raises(ValueError, match=r'shape \(96, 255\)'):
        VIEW.plane(np.ones((96, 255), np.float32))
    with pytest.raises(RoadPlaneError, match='sees no road ahead'):
        RoadView(Camera(256, 96, 205.0, 205.0, 127.5, 200.0))


def test_a_frame_takes_a_few_milliseconds() -> None:
    depth = road(1.5)
    best = math.inf
    for _ in range(20):
        start = time.perf_counter()
        VIEW.plane(depth)
        best = min(best, time.perf_counter() - start)
    assert best < 1e-2


@pytest.mark.parametrize('drives', ['world:town:3x5', 'world:suburb:20x5'])
def test_the_true_depth_of_worlds_gives_a_scale_of_one(drives: str) -> None:
    pytest.importorskip('torch')
    heights, known = [], []
    for name in sequence_names(drives):
        frames = list(open_sequence(name))
        pitch, roll = np.mean([(f.mount.pitch, f.mount.roll) for f in frames], axis=0)
        rotation = Mount(pitch, roll).rotation()
        alignment = Alignment(frames[0].camera, CAMERA, rotation)
        for frame in frames:
            plane = VIEW.plane(alignment.align_depth(frame.depth))
            # What shaking is left in the attitude is seen, too.
            assert plane.pitch == pytest.approx(frame.mount.pitch - pitch, abs=2e-3)
            heights.append(plane.height)
            known.append(frame.mount.height)
    scale = fit_road_scale(heights, known, {}, source=drives)
    assert scale.value == pytest.approx(1.0, rel=0.005)
    assert scale.spread < 0.005


# From frames to the scale


def test_the_scale_is_the_known_height_over_the_median_height() -> None:
    rng = np.random.default_rng(0)
    heights = 0.75 * np.exp(rng.normal(0, 0.05, 200))
    scale = fit_road_scale(heights, [1.5] * 200, {'tilt': 3, 'clutter': 0}, source='drive')
    assert scale.value == pytest.approx(1.5 / np.median(heights))
    assert scale.low < 2.0 < scale.high
    assert 0.01 < scale.high / scale.low - 1 < 0.05
    assert scale.spread == pytest.approx(0.05, rel=0.25)
    assert (scale.frames, scale.refused, scale.camera_height) == (200, {'tilt': 3}, 1.5)


def test_each_frame_counts_with_its_own_height() -> None:
    scale = fit_road_scale([0.5, 1.0] * 5, [1.0, 2.0] * 5, {}, source='drive')
    assert (scale.value, scale.spread) == (2.0, 0.0)


def test_the_interval_covers_the_truth_most_of_the_time() -> None:
    covered = []
    for seed in range(40):
        heights = 0.5 * np.exp(np.random.default_rng(seed).normal(0, 0.1, 60))
        scale = fit_road_scale(heights, [1.5] * 60, {}, source='x', seed=seed)
        covered.append(scale.low <= 3.0 <= scale.high)
    assert np.mean(covered) >= 0.85


@pytest.mark.parametrize(('count', 'refused'), [(0, {}), (4, {}), (9, {'tilt': 20, 'unseen': 9})])
def test_too_few_frames_are_refused_with_the_reasons(count: int, refused: dict[str, int]) -> None:
    with pytest.raises(RoadPlaneError, match=f'my drive: {count} of .* frames show') as caught:
        fit_road_scale([1.0] * count, [1.5] * count, refused, source='my drive')
    for reason in refused:
        assert reason in str(caught.value)
    # Where what was looked at shows a road, nothing is said against the camera.
    remedy = 'More frames are needed' if count == 4 else 'Check pitch, roll and intrinsics'
    assert remedy in str(caught.value)


@pytest.mark.parametrize(
    'entries',
    [
        {'value': math.nan},
        {'low': 2.5},
        {'high': 1.5},
        {'confidence': 1.0},
        {'camera_height': 0.0},
        {'frames': 0},
        {'spread': -1.0},
        {'refused': {'boredom': 1}},
        {'refused': {'tilt': 1.5}},
    ],
    ids=repr,
)
def test_a_road_scale_that_makes_no_sense_is_refused(entries: dict[str, Any]) -> None:
    values = {
        'value': 2.0,
        'low': 1.9,
        'high': 2.1,
        'confidence': 0.95,
        'camera_height': 1.5,
        'frames': 9,
        'spread': 0.1,
        'source': 'x',
    }
    with pytest.raises(RoadPlaneError):
        RoadScale(**{**values, **entries})


# How cameras were mounted


def test_mounts_are_summed_up_in_degrees() -> None:
    mounts = [Mount(math.radians(p), math.radians(-p), height=1.5 + p / 10) for p in (1, 3)]
    found = mount_statistics([*mounts, None])
    assert found is not None
    assert found.height == (1.6, 1.8)
    assert found.pitch == (pytest.approx(2.0), pytest.approx(1.0))
    assert found.roll == (pytest.approx(-2.0), pytest.approx(1.0))
    unknown = mount_statistics([Mount(0.1)])
    assert unknown is not None
    assert unknown.height is None
    assert mount_statistics([None]) is None


def test_statistics_that_make_no_sense_are_refused() -> None:
    for values in (((2.0, 1.0), (0, 0), (0, 0)), (None, (0, -1), (0, 0)), (None, (0, 0), (0,))):
        with pytest.raises(CameraError):
            MountStatistics(*values)

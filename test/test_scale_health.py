# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mono_metric_depth import scale_health
from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.image import Image
from mono_metric_depth.nodes.depth_monitor import DepthMonitor
from mono_metric_depth.scale_health import FRAMES, WINDOW, ScaleHealth

CAMERA = Camera(256, 96, 205.0, 205.0, 127.5, 40.0)


def road(height: float, mount: Mount | None = None) -> np.ndarray:
    down = (mount or Mount()).rotation().T @ (0.0, 1.0, 0.0)
    slope = CAMERA.rays() @ down
    return np.where(slope > 1e-4, height / np.maximum(slope, 1e-4), np.inf).astype(np.float32)


@pytest.mark.parametrize(
    ('seen', 'disagrees'), [(1.5, False), (1.7, False), (1.8, True), (1.2, True)]
)
def test_only_a_sustained_disagreement_counts(seen: float, disagrees: bool) -> None:
    health = ScaleHealth(CAMERA, 1.5)
    assert math.isnan(health.ratio)
    for frame in range(FRAMES):
        assert not health.disagrees
        health.look(road(seen * (1.02 if frame % 2 else 0.98)))
    assert health.disagrees == disagrees
    assert health.ratio == pytest.approx(seen / 1.5, rel=1e-3)
    assert health.spread == pytest.approx(1.4826 * 0.02, rel=0.01)


def test_what_was_seen_long_ago_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(scale_health, 'time', SimpleNamespace(monotonic=lambda: now))
    health = ScaleHealth(CAMERA, 1.5)
    assert math.isinf(health.age)
    for _ in range(FRAMES):
        health.look(road(1.0))
    assert health.disagrees
    now += WINDOW - 1
    assert health.disagrees
    assert health.age == WINDOW - 1
    now += 2
    assert not health.disagrees
    assert health.frames == 0
    assert math.isnan(health.ratio)


def test_a_frame_without_a_road_is_refused_by_reason() -> None:
    health = ScaleHealth(CAMERA, 1.5)
    health.look(np.full((96, 256), np.nan, np.float32))
    health.look(np.full((96, 256), 10.0, np.float32))  # a wall
    assert health.frames == 0
    assert health.refused == {'unseen': 1, 'tilt': 1}


def test_depth_that_is_barely_a_road_is_none() -> None:
    """A little more than half of what lies ahead fits a plane, as where a network sees noise."""
    health = ScaleHealth(CAMERA, 1.5)
    rng = np.random.default_rng(0)
    for _ in range(FRAMES):
        bumpy = road(1.5)
        bumpy[rng.random(bumpy.shape) < 0.4] *= 1.3
        assert health._view.plane(bumpy).inliers == pytest.approx(0.6, abs=0.03)
        health.look(bumpy)
    assert health.frames == 0
    assert health.refused == {'clutter': FRAMES}
    assert not health.road_seen


def test_a_road_in_few_of_many_frames_is_chance() -> None:
    health = ScaleHealth(CAMERA, 1.5)
    for frame in range(5 * FRAMES):
        if frame % 5:
            health.refuse('clutter')
        else:
            health.look(road(1.0))
    assert health.frames == FRAMES
    assert not health.road_seen
    assert not health.disagrees
    for _ in range(FRAMES):
        health.look(road(1.0))
    assert health.road_seen
    assert health.disagrees


def test_the_node_finds_a_road_where_one_is_and_none_in_noise() -> None:
    estimator = DepthEstimator.load(threads=1)
    camera = estimator.card.canonical_camera
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (96, 256, 3), np.uint8) for _ in range(16)]
    soft = [cv2.GaussianBlur(image, (0, 0), 2) for image in noise]
    roads = [np.ascontiguousarray(frame[..., :3]) for frame in parity_frames(estimator.card)]
    for images, seen in ((noise, False), (soft, False), (roads, True)):
        # Depth alone does not tell: a network sees a road even in noise.
        monitor = DepthMonitor(estimator.card)
        for image in images:
            estimate = estimator.estimate(Image(np.asarray(image, np.uint8), 'rgb'), camera)
            monitor._due = 0.0
            monitor.look(estimate, Mount(height=1.5))
        assert (monitor.findings.values['scale health'] != 'no road seen') == seen


def test_a_camera_that_looks_down_is_levelled_first() -> None:
    mount = Mount(pitch=0.2)
    health = ScaleHealth(CAMERA, 1.5, mount.rotation())
    health.look(road(1.5, mount))
    assert health.ratio == pytest.approx(1.0, rel=1e-4)

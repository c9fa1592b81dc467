# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Depth image and cloud at a resolution each: where points lie and what colour they have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from conftest import TINY_CAMERA, write_tiny_model
from rclpy.parameter import Parameter
from robot import FRAME_ID, Robot, cloud_points, depth_values, image_message, info_message

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.nodes.depth_node import DepthNode

HEIGHT = 1.5
MOUNT = Mount(pitch=0.12, roll=0.05)
CAMERA = Camera(160, 100, 110.0, 112.0, 77.0, 46.0, 'plumb_bob', (-0.2, 0.05, 1e-3, -2e-3, 0.0))


def test_depth_image_and_cloud_have_a_resolution_each_and_see_one_road(
    robot: Robot, start: Callable[..., DepthNode], tmp_path: Path
) -> None:
    """The network sees a plane; red and green of an image tell column and row."""
    below = np.maximum(np.arange(TINY_CAMERA.height) - TINY_CAMERA.cy, 0.5)
    write_tiny_model(tmp_path / 'road.onnx', (HEIGHT * TINY_CAMERA.fy / below).astype(np.float32))
    angles = {'pitch': MOUNT.pitch, 'roll': MOUNT.roll}
    node = start(model=str(tmp_path / 'road.onnx'), **angles)
    columns, rows = np.meshgrid(np.arange(CAMERA.width), np.arange(CAMERA.height))
    pixels = np.stack([columns, 2 * rows, np.full_like(rows, 7)], axis=-1).astype(np.uint8)
    cameras = {'network': TINY_CAMERA, 'input': CAMERA}
    for depth_resolution, depth_camera in cameras.items():
        for cloud_resolution, cloud_camera in cameras.items():
            done = node.set_parameters_atomically(
                [
                    Parameter('depth_resolution', value=depth_resolution),
                    Parameter('cloud_resolution', value=cloud_resolution),
                ]
            )
            assert done.successful, done.reason
            depth, info, cloud = robot.ask(image_message(pixels), info_message(CAMERA))
            assert depth.header == info.header == cloud.header
            assert cloud.header.frame_id == FRAME_ID
            assert (info.k[0], info.width) == (depth_camera.fx, depth_camera.width)
            check_depth(depth, depth_camera)
            check_cloud(cloud, cloud_camera)


def check_depth(message: Any, camera: Camera) -> None:
    depth = depth_values(message)
    assert depth.shape == (camera.height, camera.width)
    known = np.isfinite(depth)
    assert known.mean() > 0.2
    check_road(camera.rays()[known] * depth[known][:, None])


def check_road(points: np.ndarray) -> None:
    """Points (n, 3) in the camera's optical frame."""
    height, ahead = (points @ MOUNT.rotation().T)[:, 1:].T
    near = ahead < 20  # beyond, a pixel of the network spans many metres
    assert near.mean() > 0.5
    np.testing.assert_allclose(height[near], HEIGHT, rtol=0.02)


def check_cloud(message: Any, camera: Camera) -> None:
    points, colours = cloud_points(message)
    assert points.shape[:2] == (camera.height, camera.width)
    known = np.isfinite(points[..., 2])
    assert known.mean() > 0.2
    check_road(points[known])
    # A point lies on the ray of its place in the cloud.
    row, column = np.nonzero(known)
    x, y, z = points[known].astype(float).T
    place = camera.project(np.stack([x, y, z], axis=-1))
    assert np.abs(place - np.stack([column, row], axis=-1)).max() < 1e-3
    # Its colour is that of the image where the camera sees it.
    seen = CAMERA.project(np.stack([x, y, z], axis=-1))
    inside = ((seen > 2) & (seen < (CAMERA.width - 3, CAMERA.height - 3))).all(axis=-1)
    assert inside.mean() > 0.9
    blue, green, red = colours[known][inside].astype(float).T
    assert np.abs(red - seen[inside, 0]).max() <= 1.5
    assert np.abs(green / 2 - seen[inside, 1]).max() <= 1.5
    assert (np.abs(blue - 7) <= 1).all()


def test_depth_of_one_mount_leaves_nothing_of_anothers(
    robot: Robot, start: Callable[..., DepthNode], tmp_path: Path
) -> None:
    """Pixels that never get depth are not written with each frame."""
    write_tiny_model(tmp_path / 'wall.onnx', np.full(TINY_CAMERA.height, 7.0, np.float32))
    node = start(model=str(tmp_path / 'wall.onnx'), depth_resolution='input')
    image = image_message(np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8))
    seen = []
    for pitch in (0.0, 0.3, 0.3, 0.0, -0.3, 0.0):
        assert node.set_parameters([Parameter('pitch', value=pitch)])[0].successful
        depth = depth_values(robot.ask(image, info_message(CAMERA))[0])
        alignment = Alignment(CAMERA, TINY_CAMERA, Mount(pitch=pitch).rotation())
        wall = alignment.restore(
            np.full((TINY_CAMERA.height, TINY_CAMERA.width), 1 / 7, np.float32), 'input'
        )
        np.testing.assert_array_equal(np.isnan(depth), np.isnan(wall))
        seen.append(np.isfinite(depth))
    assert (seen[0] & ~seen[1]).any()
    assert (seen[1] & ~seen[0]).any()

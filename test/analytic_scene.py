# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A road and boxes whose depth is known from geometry: what the trees of data sets show.

It knows nothing of the package: rays are cast with intrinsics and poses as numbers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

#: A vehicle's axes (x forward, y left, z up) from those of an optical frame.
OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
#: Lowest and highest corner (m); the world has x forward, y left, z up, the road at z = 0.
BOXES = np.array(
    [
        [[9.0, 1.0, 0.0], [13.0, 3.0, 1.8]],
        [[14.0, -4.5, 0.0], [19.0, -2.5, 2.2]],
        [[30.0, -6.0, 0.0], [32.0, 7.0, 6.0]],
    ]
)


def turn(axis: str, angle: float) -> np.ndarray:
    i, j = {'x': (1, 2), 'y': (2, 0), 'z': (0, 1)}[axis]
    matrix = np.eye(4)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[i, j], matrix[j, i] = -math.sin(angle), math.sin(angle)
    return matrix


def move(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def quaternion(matrix: np.ndarray) -> list[float]:
    """w, x, y, z: the eigenvector that a rotation's symmetric 4x4 form has (Bar-Itzhack)."""
    m = matrix[:3, :3]
    form = np.zeros((4, 4))
    form[0, 0] = np.trace(m)
    form[1:, 1:] = m + m.T - np.trace(m) * np.eye(3)
    form[0, 1:] = form[1:, 0] = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    return np.linalg.eigh(form)[1][:, -1].tolist()


def cast(origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """How many times its direction (n, 3) each ray is long where it ends; Inf for sky."""
    with np.errstate(divide='ignore', invalid='ignore'):
        road = -origin[2] / directions[:, 2]
        length = np.where(road > 0, road, np.inf)
        for low, high in BOXES:
            one, other = (low - origin) / directions, (high - origin) / directions
            enter = np.nanmax(np.minimum(one, other), axis=1)
            leave = np.nanmin(np.maximum(one, other), axis=1)
            hit = (enter <= leave) & (enter > 0)
            length[hit] = np.minimum(length, enter)[hit]
    return length


def seen_depth(
    size: tuple[int, int], k: tuple[float, float, float, float], pose: np.ndarray
) -> np.ndarray:
    """(h, w) z-depth (m) of a pinhole fx, fy, cx, cy with a pose (optical to world)."""
    width, height = size
    v, u = np.mgrid[:height, :width]
    rays = np.stack([(u - k[2]) / k[0], (v - k[3]) / k[1], np.ones(u.shape)], axis=-1)
    return cast(pose[:3, 3], rays.reshape(-1, 3) @ pose[:3, :3].T).reshape(height, width)


def seen_points(
    size: tuple[int, int],
    k: tuple[float, float, float, float],
    pose: np.ndarray,
    *,
    furthest: float = 60.0,
) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) points of the world in the middle of pixels, and others hidden behind them."""
    width, height = size
    depth = seen_depth(size, k, pose)
    v, u = np.nonzero(depth < furthest)
    z = depth[v, u]
    points = np.stack([(u - k[2]) / k[0] * z, (v - k[3]) / k[1] * z, z], axis=-1)
    return moved(pose, points), moved(pose, points[::3] * 1.4)


def astray(points: np.ndarray) -> np.ndarray:
    """How far (m) points of the world are from the road and the faces of boxes."""
    nearest = np.abs(points[:, 2])
    for low, high in BOXES:
        beyond = np.maximum(np.maximum(low - points, points - high), 0)
        inside = np.minimum(points - low, high - points).min(axis=1)
        face = np.where(inside > 0, inside, np.linalg.norm(beyond, axis=1))
        nearest = np.minimum(nearest, face)
    return nearest


def assert_shows_the_scene(
    frame: Any, pose: np.ndarray, expected: np.ndarray, known: float = 0.3, rtol: float = 1e-4
) -> None:
    """A frame has this pose and depth, and its depth with its pose lies on the scene."""
    np.testing.assert_allclose(frame.pose, pose, atol=1e-3)
    found = np.isfinite(frame.depth)
    assert found.mean() > known
    np.testing.assert_allclose(frame.depth[found], expected[found], rtol=rtol)
    points = (frame.camera.rays() * frame.depth[..., None])[found]
    assert np.quantile(astray(moved(frame.pose, points)), 0.999) < 0.01


def write_image(path: Path, size: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """An image of one colour (RGB)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0], 3), colour[::-1], np.uint8)
    assert cv2.imwrite(str(path), pixels)


def write_png16(path: Path, values: np.ndarray) -> None:
    """16 bits as they are; what does not fit is a mistake of the test."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert values.min() >= 0
    assert values.max() <= 65535
    assert cv2.imwrite(str(path), np.rint(values).astype(np.uint16))

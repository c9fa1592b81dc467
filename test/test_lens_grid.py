# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Rays of all pixels through a lens: as exact as each by itself, and few of them solved for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.lens import Lens
from mono_metric_depth.point_cloud import PointCloudWriter

CANONICAL = Camera(96, 40, 75.0, 75.0, 47.5, 19.5)
BROWN = ('plumb_bob', (-0.3, 0.1, 0.001, -0.002, 0.0))


def camera_of(
    lens: tuple[str, tuple[float, ...]], focal: float, size: tuple[int, int] = (320, 180)
) -> Camera:
    width, height = size
    return Camera(width, height, focal, 1.02 * focal, 0.49 * width, 0.52 * height, *lens)


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many points a lens was inverted for, call by call."""
    counts: list[int] = []
    undistort = Lens.undistort

    def counted(lens: Lens, distorted: Any) -> Any:
        counts.append(np.size(distorted) // 2)
        return undistort(lens, distorted)

    monkeypatch.setattr(Lens, 'undistort', counted)
    return counts


@pytest.mark.parametrize(
    ('lens', 'focal'),
    [
        (BROWN, 225.0),
        (BROWN, 110.0),
        (('plumb_bob', (-0.5, 0.0, 0.0, 0.0)), 150.0),  # reaches a part of the image
        (('plumb_bob', (-0.5, 0.0, 0.0, 0.0)), 5.0),  # few pixels
        (('plumb_bob', (0.2, 0.0, 0.0, 0.05)), 150.0),
        (('rational_polynomial', (-0.3, 0.1, 0.001, -0.002, 0.0, 0.01, 0.02, 0.001)), 225.0),
        (('equidistant', (-0.02, 0.01, 0.0, 0.0)), 225.0),
        (('equidistant', (-0.02, 0.01, 0.0, 0.0)), 80.0),  # to 89 degrees, and beyond
        (('equidistant', (0.5, -0.9, 0.7, -0.2)), 120.0),
    ],
)
@pytest.mark.parametrize('size', [(320, 180), (7, 5), (1, 1)])
def test_rays_of_a_grid_are_those_of_each_pixel(
    lens: tuple[str, tuple[float, ...]], focal: float, size: tuple[int, int]
) -> None:
    camera = camera_of(lens, focal, size)
    rays = camera.rays()
    known = np.isfinite(rays[..., 0])
    bound = 1 + np.abs(rays[known][:, :2]).max(axis=-1, initial=0.0)

    planes = np.moveaxis(camera.ray_planes, 0, -1)
    np.testing.assert_array_equal(np.isfinite(planes).all(axis=-1), known)
    assert (np.abs(planes[known] - rays[known][:, :2]).max(axis=-1) < 1.5e-7 * bound).all()

    u, v = np.arange(-3.5, size[0] + 4, 3), np.arange(-2.25, size[1] + 4, 2)
    some = np.stack(camera.grid_rays(u, v), axis=-1)
    exact = camera.rays(np.stack(np.meshgrid(u, v), axis=-1))[..., :2]
    np.testing.assert_array_equal(np.isnan(some), np.isnan(exact))
    bound = 1 + np.abs(exact).max(axis=-1, keepdims=True)
    assert np.nanmax(np.abs(some - exact) / bound, initial=0.0) < 1e-7


def test_few_rays_are_solved_for(solved: list[int]) -> None:
    camera = camera_of(BROWN, 900.0, (1280, 720))
    planes = camera.ray_planes
    assert sum(solved) < 1280 * 720 / 50
    assert np.isfinite(planes).all()


def test_depth_and_clouds_share_the_rays_of_a_calibration(solved: list[int]) -> None:
    camera = camera_of(BROWN, 225.0)
    inverse = np.full((40, 96), 0.1, np.float32)
    Alignment(camera, CANONICAL).restore(inverse, 'input')
    PointCloudWriter(camera)
    assert solved
    solved.clear()
    # Another attitude, another decimation: what the node's parameters change.
    Alignment(camera, CANONICAL, Mount(0.05).rotation()).restore(inverse, 'input')
    for decimation in (1, 2):
        PointCloudWriter(camera, decimation)
    assert not solved

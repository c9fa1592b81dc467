# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mono_metric_depth.camera import Camera
from mono_metric_depth.image import Image
from mono_metric_depth.point_cloud import PointCloudError, PointCloudWriter

CAMERA = Camera(24, 10, 20.0, 21.0, 11.3, 4.8)
#: An equidistant lens that sees past 89 degrees towards its corners.
FISHEYE = Camera(64, 48, 20.0, 20.0, 31.5, 23.5, 'equidistant', (0.01, 0.0, 0.0, 0.0))

pinholes = st.builds(
    lambda width, height, focal, aspect, right, down: Camera(
        width, height, focal * width, focal * width * aspect, right * width, down * height
    ),
    st.integers(2, 60),
    st.integers(1, 60),
    st.floats(0.3, 3.0),
    st.floats(0.8, 1.25),
    st.floats(0.2, 0.8),
    st.floats(0.2, 0.8),
)
lenses = st.builds(
    lambda k1, k2, p1, p2: Camera(
        60, 40, 45.0, 46.0, 29.0, 20.5, 'plumb_bob', (k1, k2, p1, p2, 0.0)
    ),
    st.floats(-0.3, 0.3),
    st.floats(-0.05, 0.05),
    st.floats(-0.003, 0.003),
    st.floats(-0.003, 0.003),
)


def scene(camera: Camera, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random depth (h, w) float32 of 0.5 to 80 m and colours (h, w, 3) uint8."""
    generator = np.random.default_rng(seed)
    shape = (camera.height, camera.width)
    depth = generator.uniform(0.5, 80.0, shape).astype(np.float32)
    return depth, generator.integers(0, 256, (*shape, 3), np.uint8)


def cloud(camera: Camera, depth: np.ndarray, bgr: np.ndarray | None) -> np.ndarray:
    out = np.full((camera.height, camera.width, 4), 7, np.float32)
    image = None if bgr is None else Image(bgr, 'bgr')
    PointCloudWriter(camera).write(depth, image, out)
    return out


def assert_projects_back(camera: Camera, points: np.ndarray) -> None:
    pixels = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1)
    blind = np.isnan(camera.rays()[..., 2])
    error = np.abs(camera.project(points[..., :3]) - pixels)
    assert np.isnan(points[blind][:, :3]).all()
    assert error[~blind].max(initial=0.0) < 1e-3


@given(camera=pinholes, seed=st.integers(0, 1000))
def test_points_of_a_pinhole_camera_project_back_to_their_pixels(camera, seed):
    depth, bgr = scene(camera, seed)
    points = cloud(camera, depth, bgr)
    np.testing.assert_array_equal(points[..., 2], depth)
    assert_projects_back(camera, points)


@settings(max_examples=25, deadline=None)
@given(camera=lenses)
def test_points_of_a_distorted_camera_project_back_to_their_pixels(camera):
    assert_projects_back(camera, cloud(camera, *scene(camera)))


@pytest.mark.parametrize('camera', [CAMERA, FISHEYE])
@pytest.mark.parametrize('decimation', [1, 3, 7])
def test_a_decimated_cloud_is_every_nth_point_of_the_whole(camera, decimation):
    depth, bgr = scene(camera)
    writer = PointCloudWriter(camera, decimation)
    whole = cloud(camera, depth, bgr)[::decimation, ::decimation]
    assert writer.shape == whole.shape[:2]
    out = np.full(whole.shape, 7, np.float32)
    writer.write(depth, Image(bgr, 'bgr'), out)
    np.testing.assert_array_equal(out, whole)
    bare = np.full((*writer.shape, 3), 7, np.float32)
    writer.write(depth, None, bare)
    np.testing.assert_array_equal(bare, whole[..., :3])


def test_points_outside_of_the_range_are_nan():
    depth, bgr = scene(CAMERA)
    depth[0, :3] = np.nan, np.inf, -np.inf
    whole = cloud(CAMERA, depth, bgr)
    out = np.empty_like(whole)
    PointCloudWriter(CAMERA).write(depth, Image(bgr, 'bgr'), out, (5.0, 40.0))
    inside = (depth >= 5) & (depth <= 40)
    assert 0.2 < inside.mean() < 0.8
    np.testing.assert_array_equal(out[inside], whole[inside])
    assert np.isnan(out[~inside][:, :3]).all()


def test_colour_needs_room():
    depth, bgr = scene(CAMERA)
    with pytest.raises(PointCloudError, match='out must be'):
        PointCloudWriter(CAMERA).write(depth, Image(bgr, 'bgr'), np.empty((10, 24, 3), np.float32))


def test_more_rows_than_one_block_are_all_written():
    lens = (-0.1, 0.01, 1e-3, 1e-3, 0.0)
    camera = Camera(700, 101, 500.0, 500.0, 350.0, 50.0, 'plumb_bob', lens)
    assert_projects_back(camera, cloud(camera, *scene(camera)))


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_depth_that_is_not_finite_makes_a_nan_point_that_keeps_its_colour(value):
    depth, bgr = scene(CAMERA)
    depth[3, 5] = depth[0] = value
    points = cloud(CAMERA, depth, bgr)
    invalid = ~np.isfinite(depth)
    assert np.isnan(points[invalid][:, :3]).all()
    assert np.isfinite(points[~invalid]).all()
    np.testing.assert_array_equal(points.view(np.uint8)[3, 5, 12:15], bgr[3, 5])


def test_infinite_depth_on_the_optical_axis_makes_a_nan_point():
    camera = Camera(5, 5, 4.0, 4.0, 2.0, 2.0)
    points = cloud(camera, np.full((5, 5), np.inf, np.float32), None)
    assert np.isnan(points[..., :3]).all()


def test_pixels_without_a_ray_make_nan_points():
    camera = FISHEYE
    depth, bgr = scene(camera)
    blind = np.isnan(camera.rays()[..., 0])
    assert blind.any()
    assert not blind.all()
    points = cloud(camera, depth, bgr)
    np.testing.assert_array_equal(np.isnan(points[..., :3]), np.repeat(blind[..., None], 3, 2))
    assert_projects_back(camera, points)


def test_colour_is_stored_as_blue_green_red_zero():
    depth, bgr = scene(CAMERA)
    colour = cloud(CAMERA, depth, bgr).view(np.uint8)[..., 12:]
    np.testing.assert_array_equal(colour[..., :3], bgr)
    assert not colour[..., 3].any()


def test_without_an_image_the_colour_is_zero_even_after_one_with_colour():
    depth, bgr = scene(CAMERA)
    writer = PointCloudWriter(CAMERA)
    out = np.full((10, 24, 4), 7, np.float32)
    writer.write(depth, Image(bgr, 'bgr'), out)
    writer.write(depth, None, out)
    assert not out.view(np.uint8)[..., 12:].any()


def test_a_cloud_is_organised_as_rows_by_columns():
    depth, bgr = scene(CAMERA)
    points = cloud(CAMERA, depth, bgr)
    assert points.strides == (24 * 16, 16, 4)
    assert (np.diff(points[4, :, 0] / depth[4]) > 0).all()
    assert (np.diff(points[:, 7, 1] / depth[:, 7]) > 0).all()


def test_inputs_may_have_padded_rows_and_are_not_changed():
    depth, bgr = scene(CAMERA)
    wide = np.pad(depth, ((0, 0), (0, 3))), np.pad(bgr, ((0, 0), (0, 3), (0, 0)))
    views = wide[0][:, :24], wide[1][:, :24]
    np.testing.assert_array_equal(cloud(CAMERA, *views), cloud(CAMERA, depth, bgr))
    np.testing.assert_array_equal(views[0], depth)
    np.testing.assert_array_equal(views[1], bgr)


def test_writing_allocates_nothing_large():
    camera = Camera(640, 480, 500.0, 500.0, 320.0, 240.0)
    depth, bgr = scene(camera)
    writer, out = PointCloudWriter(camera), np.empty((480, 640, 4), np.float32)
    writer.write(depth, Image(bgr, 'bgr'), out)
    tracemalloc.start()
    writer.write(depth, Image(bgr, 'bgr'), out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000


@pytest.mark.parametrize(
    ('name', 'wrong', 'message'),
    [
        (
            'depth',
            np.zeros((24, 10), np.float32),
            r'depth must be \(10, 24\) float32 .* \(24, 10\)',
        ),
        ('depth', np.zeros((10, 24)), r'got \(10, 24\) float64; make a new PointCloudWriter'),
        (
            'image',
            Image(np.zeros((9, 24, 3), np.uint8), 'rgb'),
            r'image must be \(10, 24, 3\) uint8',
        ),
        ('out', np.zeros((240, 4), np.float32), r'out must be \(10, 24, 4\) float32'),
        ('out', np.zeros((10, 48, 4), np.float32)[:, ::2], 'out must be C-contiguous'),
        ('out', np.frombuffer(bytes(3840), np.float32).reshape(10, 24, 4), 'writeable'),
    ],
)
def test_arrays_that_do_not_fit_the_camera_are_refused(name, wrong, message):
    depth, bgr = scene(CAMERA)
    image = Image(bgr, 'bgr')
    arrays = {'depth': depth, 'image': image, 'out': np.zeros((10, 24, 4), np.float32)}
    arrays[name] = wrong
    with pytest.raises(PointCloudError, match=message):
        PointCloudWriter(CAMERA).write(**arrays)
    assert not arrays['out'].any()


@pytest.mark.parametrize('channels', ['rgb', 'bgr', 'rgba', 'bgra', 'mono', 'mono16'])
def test_colours_are_those_of_the_image_however_it_holds_them(channels: str) -> None:
    depth, bgr = scene(CAMERA)
    alpha, grey = bgr[..., :1] // 2, bgr[..., 1]
    pixels = {
        'rgb': bgr[..., ::-1],
        'bgr': bgr,
        'rgba': np.dstack([bgr[..., ::-1], alpha]),
        'bgra': np.dstack([bgr, alpha]),
        'mono': grey,
        'mono16': grey.astype(np.uint16) * 257,
    }[channels]
    image = Image(np.ascontiguousarray(pixels), channels.removesuffix('16'))
    out = np.empty((10, 24, 4), np.float32)
    PointCloudWriter(CAMERA).write(depth, image, out)
    expected = np.dstack([grey] * 3) if channels.startswith('mono') else bgr
    np.testing.assert_array_equal(out.view(np.uint8)[..., 12:15], expected)
    assert not out.view(np.uint8)[..., 15].any()

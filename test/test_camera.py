# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from samples import make_info

from mono_metric_depth.camera import (
    Camera,
    CameraError,
    Mount,
    camera_from_info,
    mount_from_transform,
)

# Real calibrations, or close to them: strong distortion, the fold inside of the frame or near it.
LENSES: dict[str, tuple[str, tuple[float, ...]]] = {
    'none': ('plumb_bob', ()),
    'plumb_bob 4': ('plumb_bob', (-0.28, 0.07, 1e-3, -2e-3)),
    'plumb_bob 5': ('plumb_bob', (-0.37, 0.20, -1e-3, 3e-3, -0.06)),
    'pincushion': ('plumb_bob', (0.22, 0.05, 2e-3, 1e-3, 0.01)),
    'rational 8': ('rational_polynomial', (5.1, 2.4, 1e-4, -2e-4, 0.11, 5.4, 4.0, 0.62)),
    'rational 12': (
        'rational_polynomial',
        (0.4, -0.2, 1e-3, -1e-3, 0.02, 0.7, -0.1, 0.03, 2e-3, -1e-3, -2e-3, 1e-3),
    ),
    'rational 14': ('rational_polynomial', (0.4, -0.2, 1e-3, -1e-3, 0.02, 0.7, *(0.0,) * 8)),
    'equidistant': ('equidistant', (-0.02, 0.006, -0.004, 0.0007)),
}
lenses = pytest.mark.parametrize('lens', LENSES)
angles = st.floats(-1.2, 1.2)


def camera_with(lens: str, *, size: tuple[int, int] = (64, 48), focal: float = 40.0) -> Camera:
    width, height = size
    model, distortion = LENSES[lens]
    # Off centre, and not square.
    return Camera(
        width, height, focal, focal * 1.05, width * 0.46, height * 0.55, model, distortion
    )


def opencv_pixels(camera: Camera, points: np.ndarray) -> np.ndarray:
    """(n, 2) pixels of (n, 3) points, as OpenCV projects them."""
    matrix = np.array(camera.K).reshape(3, 3)
    none = np.zeros(3)
    coefficients = np.array(camera.distortion)
    if camera.distortion_model == 'equidistant' and camera.distortion:
        pixels, _ = cv2.fisheye.projectPoints(points[:, None], none, none, matrix, coefficients)
    else:
        pixels, _ = cv2.projectPoints(points[:, None], none, none, matrix, coefficients)
    return pixels.reshape(-1, 2)


def cone(degrees: float, count: int = 400) -> np.ndarray:
    """(n, 3) points at several distances within an angle of the optical axis."""
    rng = np.random.default_rng(3)
    angle = np.radians(degrees) * np.sqrt(rng.random(count))
    turn = rng.random(count) * 2 * np.pi
    ray = np.stack([np.tan(angle) * np.cos(turn), np.tan(angle) * np.sin(turn)], axis=-1)
    return np.concatenate([ray, np.ones((count, 1))], axis=-1) * rng.uniform(0.5, 30, (count, 1))


@lenses
def test_points_project_where_opencv_projects_them(lens: str) -> None:
    camera = camera_with(lens, size=(1280, 800), focal=800.0)
    points = cone(35.0)
    pixels = camera.project(points)
    assert np.isfinite(pixels).all()
    np.testing.assert_allclose(pixels, opencv_pixels(camera, points), atol=1e-6)


@lenses
def test_every_pixel_projects_back_onto_itself(lens: str) -> None:
    camera = camera_with(lens, focal=60.0)
    rays = camera.rays()
    assert rays.shape == (48, 64, 3)
    known = np.isfinite(rays[..., 0])
    assert known.mean() > 0.9
    u, v = np.meshgrid(np.arange(64), np.arange(48))
    pixels = camera.project(rays)
    np.testing.assert_allclose(pixels[known], np.stack([u, v], -1)[known], atol=1e-6)
    np.testing.assert_array_equal(rays[known][:, 2], 1.0)
    assert np.isnan(rays[~known]).all()


@given(
    lens=st.sampled_from(list(LENSES)),
    focal=st.floats(200.0, 2000.0),
    u=st.floats(0.0, 1279.0),
    v=st.floats(0.0, 799.0),
)
def test_a_pixel_has_one_ray_and_that_ray_projects_back(
    lens: str, focal: float, u: float, v: float
) -> None:
    camera = camera_with(lens, size=(1280, 800), focal=focal)
    ray = camera.rays((u, v))
    assume(np.isfinite(ray).all())
    np.testing.assert_allclose(camera.project(ray * 7.0), (u, v), atol=1e-6)


@given(
    k1=st.floats(-0.6, 0.6),
    k2=st.floats(-0.3, 0.3),
    p1=st.floats(-0.02, 0.02),
    p2=st.floats(-0.02, 0.02),
    angle=st.floats(0.0, 85.0),
    turn=st.floats(-math.pi, math.pi),
)
def test_a_ray_never_lands_on_a_pixel_that_belongs_to_another_ray(
    k1: float, k2: float, p1: float, p2: float, angle: float, turn: float
) -> None:
    camera = Camera(640, 480, 400.0, 400.0, 320.0, 240.0, 'plumb_bob', (k1, k2, p1, p2))
    radius = math.tan(math.radians(angle))
    ray = np.array([radius * math.cos(turn), radius * math.sin(turn), 1.0])
    pixel = camera.project(ray)
    if np.isfinite(pixel).all():
        np.testing.assert_allclose(camera.rays(pixel), ray, rtol=1e-5, atol=1e-5 * (1 + radius))


@pytest.mark.parametrize(
    ('distortion', 'fold_degrees'),
    [
        ((-0.3, 0.0, 0.0, 0.0), math.degrees(math.atan(math.sqrt(1 / 0.9)))),
        ((-0.5, 0, 0, 0), 39.2),
    ],
)
def test_a_ray_beyond_the_fold_of_the_lens_has_no_pixel(
    distortion: tuple[float, ...], fold_degrees: float
) -> None:
    camera = Camera(640, 480, 400.0, 400.0, 320.0, 240.0, 'plumb_bob', distortion)
    degrees = np.arange(0.0, 88.0, 0.25)
    rays = np.stack([np.tan(np.radians(degrees)), 0 * degrees, 1 + 0 * degrees], axis=-1)
    known = np.isfinite(camera.project(rays)).all(axis=-1)
    assert known[degrees < fold_degrees - 0.5].all()
    assert not known[degrees > fold_degrees].any()


def test_tangential_distortion_alone_folds_too() -> None:
    # x + 3 p2 x^2 comes back to the principal point at x = -1 / (3 p2).
    camera = Camera(640, 480, 300.0, 300.0, 320.0, 240.0, 'plumb_bob', (0.0, 0.0, 0.0, 0.05))
    beyond = np.array([-1 / 0.15, 0.0, 1.0])
    assert np.abs(opencv_pixels(camera, beyond[None]) - (320.0, 240.0)).max() < 1e-6
    assert np.isnan(camera.project(beyond)).all()


def test_pixels_that_the_lens_cannot_reach_have_no_ray() -> None:
    camera = Camera(640, 480, 300.0, 300.0, 320.0, 240.0, 'plumb_bob', (-0.5, 0.0, 0.0, 0.0))
    # x (1 - 0.5 x^2) is 0.544 at most.
    reached = np.abs(np.arange(640) - 320.0) / 300.0 < 0.544
    rays = camera.rays(np.stack([np.arange(640), np.full(640, 240)], axis=-1))
    np.testing.assert_array_equal(np.isfinite(rays[:, 0]), reached)


def test_points_behind_the_camera_have_no_pixel() -> None:
    for lens in LENSES:
        camera = camera_with(lens)
        points = [[0.0, 0.0, -1.0], [0.1, 0.2, 0.0], [1.0, 1.0, -5.0], [np.nan, 0.0, 1.0]]
        assert np.isnan(camera.project(points)).any(axis=-1).all()


def test_rays_keep_the_shape_of_the_pixels() -> None:
    camera = camera_with('plumb_bob 5')
    assert camera.rays((3.0, 4.0)).shape == (3,)
    assert camera.rays(np.zeros((2, 5, 2))).shape == (2, 5, 3)
    assert camera.rays(np.zeros((0, 2))).shape == (0, 3)
    np.testing.assert_array_equal(camera.rays((3.0, 4.0)), camera.rays()[4, 3])


def test_a_lens_that_maps_nothing_is_refused() -> None:
    with pytest.raises(CameraError, match='folds the image at its centre; check'):
        Camera(64, 48, 50.0, 50.0, 32.0, 24.0, 'plumb_bob', (-1e7, 0.0, 0.0, 0.0))


def test_all_zero_distortion_is_none() -> None:
    for model, count in (('plumb_bob', 5), ('rational_polynomial', 8), ('equidistant', 4)):
        assert Camera(4, 4, 1.0, 1.0, 0.0, 0.0, model, (0.0,) * count).distortion == ()


def test_equidistant_without_coefficients_is_read_as_rectified() -> None:
    # All-zero D is how drivers say that an image is already rectified, whatever the model's name.
    camera = Camera(64, 48, 50.0, 50.0, 32.0, 24.0, 'equidistant', (0.0,) * 4)
    np.testing.assert_allclose(camera.project([1.0, 0.0, 1.0]), (82.0, 24.0))


@pytest.mark.parametrize(
    ('entries', 'message'),
    [
        ({'width': 0}, 'size 0x48'),
        ({'height': 20000}, 'size 64x20000'),
        ({'fx': 0.0}, 'focal lengths must be positive'),
        ({'fy': -3.0}, 'focal lengths must be positive'),
        ({'fx': 1e-30}, 'a focal length of 1e-30 px is too short for 64 px'),
        ({'fy': 0.04}, 'a focal length of 0.04 px is too short for 48 px'),
        ({'fx': 1e300}, 'beyond 1e[+]09 px'),
        ({'cy': -1e300}, 'beyond 1e[+]09 px'),
        ({'cx': math.nan}, 'not finite'),
        ({'distortion': (0.1, math.inf, 0.0, 0.0)}, 'not finite'),
        ({'distortion': (0.1, 0.2, 0.3)}, 'takes 4 or 5 coefficients, got 3'),
        ({'distortion': (0.1, -1e300, 0.0, 0.0)}, '-1e[+]300 is beyond 1e[+]09, which no lens'),
        ({'distortion_model': 'fancy'}, "unknown distortion model 'fancy'"),
        (
            {'distortion_model': 'rational_polynomial', 'distortion': (0.1,) * 13 + (0.0,)},
            'takes 8 or 12 or 14 coefficients|tilted',
        ),
    ],
)
def test_numbers_that_are_no_camera_are_refused(entries: dict[str, Any], message: str) -> None:
    values = {'width': 64, 'height': 48, 'fx': 50.0, 'fy': 50.0, 'cx': 32.0, 'cy': 24.0}
    with pytest.raises(CameraError, match=message) as refused:
        Camera(**{**values, **entries})
    assert '; ' in str(refused.value), 'it says how to mend it'


def test_field_of_view_is_that_of_the_outer_edges() -> None:
    camera = Camera(100, 50, 50.0, 50.0, 49.5, 24.5)
    assert math.degrees(camera.horizontal_fov) == pytest.approx(90.0)


@lenses
def test_a_resized_camera_sees_the_same_rays_at_the_same_places(lens: str) -> None:
    camera = camera_with(lens)
    half = camera.resized(32, 12)
    points = cone(15.0)
    pixels, resized = camera.project(points), half.project(points)
    np.testing.assert_allclose((resized + 0.5) / (32, 12), (pixels + 0.5) / (64, 48), atol=1e-9)


# CameraInfo


def test_camera_info_gives_the_camera_of_the_raw_image() -> None:
    expected = Camera(
        640, 480, 500.0, 510.0, 321.5, 242.25, 'plumb_bob', (-0.3, 0.1, 0.001, -0.0005, 0.0)
    )
    assert camera_from_info(make_info()) == expected


def test_a_rectified_image_takes_its_intrinsics_from_p() -> None:
    camera = camera_from_info(make_info(), rectified=True)
    assert camera == Camera(640, 480, 450.0, 455.0, 318.0, 239.0)


def test_region_of_interest_and_binning_are_those_of_image_geometry() -> None:
    roi = {'x_offset': 100, 'y_offset': 60, 'width': 400, 'height': 302}
    camera = camera_from_info(make_info(roi=roi, binning_x=2, binning_y=4))
    # image_geometry: the region's offset first, then all of K divided by the binning.
    expected = (200, 75, 250.0, 127.5, (321.5 - 100) / 2, (242.25 - 60) / 4)
    found = (camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    assert found == expected
    rectified = camera_from_info(make_info(roi=roi, binning_x=2, binning_y=4), rectified=True)
    assert (rectified.fx, rectified.cx) == (225.0, (318.0 - 100) / 2)
    assert rectified.distortion == ()


def test_a_region_without_a_size_reaches_to_the_edge() -> None:
    camera = camera_from_info(make_info(roi={'x_offset': 100}))
    assert (camera.width, camera.height) == (540, 480)


def test_an_unnamed_distortion_model_without_coefficients_is_a_pinhole() -> None:
    camera = camera_from_info(make_info(distortion_model='', d=[]))
    assert (camera.distortion_model, camera.distortion) == ('plumb_bob', ())


def test_arrays_and_upper_case_fields_of_ros_1_are_read() -> None:
    info = make_info()
    for name in 'kdp':
        setattr(info, name.upper(), np.array(getattr(info, name)))
        delattr(info, name)
    assert camera_from_info(info) == camera_from_info(make_info())


def _k(**entries: float) -> list[float]:
    k = [500.0, 0.0, 321.5, 0.0, 510.0, 242.25, 0.0, 0.0, 1.0]
    for index, value in entries.items():
        k[int(index[1:])] = value
    return k


@pytest.mark.parametrize(
    ('entries', 'message'),
    [
        ({'k': [0.0] * 9}, 'uncalibrated'),
        ({'k': []}, 'uncalibrated'),
        ({'k': [500.0, 0.0, 320.0]}, r'camera_info.k must be fx'),
        ({'k': _k(i1=2.0)}, 'skew of 2.0'),
        ({'k': _k(i2=0.0, i5=0.0, i6=321.5, i7=242.25)}, 'camera_info.k must be fx'),
        ({'k': _k(i0=math.nan)}, 'not finite'),
        ({'k': _k(i8=math.nan)}, 'camera_info.k must be fx'),
        ({'k': _k(i0=-500.0)}, 'positive'),
        ({'d': [0.1, 0.2]}, 'takes 4 or 5 coefficients, got 2'),
        ({'d': [math.nan] * 5}, 'not finite'),
        ({'distortion_model': 'kannala'}, "unknown distortion model 'kannala'"),
        (
            {'distortion_model': 'rational_polynomial', 'd': [0.1] * 12 + [0.01, 0.0]},
            'tilted sensor',
        ),
        ({'width': 0}, '0x480'),
        ({'roi': {'x_offset': 300, 'width': 400, 'height': 480}}, 'leaves the 640x480 sensor'),
        ({'roi': {'y_offset': 1, 'width': 640, 'height': 480}}, 'leaves the 640x480 sensor'),
        ({'roi': {'x_offset': 700}}, 'leaves the 640x480 sensor'),
        ({'binning_x': 641}, 'binning 641x1 leaves nothing'),
    ],
)
def test_a_camera_info_that_is_no_calibration_is_refused(
    entries: dict[str, Any], message: str
) -> None:
    with pytest.raises(CameraError, match=message) as refused:
        camera_from_info(make_info(**entries))
    assert '; ' in str(refused.value), 'it says how to mend it'


@pytest.mark.parametrize(
    ('p', 'message'),
    [
        ([0.0] * 12, 'p is all zero'),
        ([], 'p is all zero'),
        ([450.0] * 11, r'camera_info.p must be'),
        ([450.0, 0, 318, 0, 0, math.nan, 239, 0, 0, 0, 1, 0], 'not finite'),
        ([450.0, 3, 318, 0, 0, 455, 239, 0, 0, 0, 1, 0], r'camera_info.p must be'),
    ],
)
def test_a_rectified_image_without_projection_matrix_is_refused(
    p: list[float], message: str
) -> None:
    with pytest.raises(CameraError, match=message) as refused:
        camera_from_info(make_info(p=p), rectified=True)
    assert '; ' in str(refused.value), 'it says how to mend it'


# Mounts


def test_positive_pitch_looks_down() -> None:
    # What the camera sees in its centre lies below the horizon of the levelled camera.
    x, y, z = Mount(pitch=0.2).rotation() @ (0.0, 0.0, 1.0)
    assert (x, y, z) == pytest.approx((0.0, math.sin(0.2), math.cos(0.2)))


def test_positive_yaw_looks_left() -> None:
    x, y, z = Mount(yaw=0.2).rotation() @ (0.0, 0.0, 1.0)
    assert (x, y, z) == pytest.approx((-math.sin(0.2), 0.0, math.cos(0.2)))


def test_positive_roll_lifts_the_left_side() -> None:
    # The camera's left (-x) points up (-y) against the road.
    x, y, z = Mount(roll=0.2).rotation() @ (-1.0, 0.0, 0.0)
    assert (x, y, z) == pytest.approx((-math.cos(0.2), -math.sin(0.2), 0.0))


def test_a_level_mount_does_not_rotate() -> None:
    assert Mount(height=1.4).level
    np.testing.assert_array_equal(Mount(height=1.4).rotation(), np.eye(3))
    assert not Mount(roll=1e-3).level


@given(pitch=angles, roll=angles, yaw=angles, height=st.floats(0.05, 4.0))
def test_a_transform_and_its_mount_describe_the_same_attitude(
    pitch: float, roll: float, yaw: float, height: float
) -> None:
    mount = Mount(pitch, roll, yaw, height)
    level_from_optical = mount.rotation()
    vehicle_from_level = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    transform = np.eye(4)
    transform[:3, :3] = vehicle_from_level @ level_from_optical
    transform[:3, 3] = (1.0, -0.3, height - 0.3)
    found = mount_from_transform(transform, above_road=0.3)
    np.testing.assert_allclose(found.rotation(), level_from_optical, atol=1e-12)
    assert (found.pitch, found.roll, found.yaw) == pytest.approx((pitch, roll, yaw), abs=1e-9)
    assert found.height == pytest.approx(height)


def test_a_camera_below_the_road_has_no_height() -> None:
    transform = np.eye(4)
    transform[:3, :3] = [[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    transform[2, 3] = -0.1
    assert mount_from_transform(transform).height is None


@pytest.mark.parametrize(
    ('matrix', 'message'),
    [
        (np.diag([1.0, 1, -1, 1]), 'not a rotation'),
        (np.diag([2.0, 2, 2, 1]), 'not a rotation'),
        (np.eye(3), '4x4'),
        (np.full((4, 4), np.nan), 'finite'),
    ],
)
def test_a_transform_that_is_no_rotation_is_refused(matrix: np.ndarray, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        mount_from_transform(matrix)


def test_a_camera_that_looks_backwards_is_refused() -> None:
    transform = np.eye(4)
    transform[:3, :3] = [[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]
    with pytest.raises(CameraError, match='yaw'):
        mount_from_transform(transform)


@pytest.mark.parametrize(
    'entries', [{'pitch': 1.6}, {'roll': math.nan}, {'height': 0.0}, {'height': math.inf}]
)
def test_a_mount_out_of_range_is_refused(entries: dict[str, float]) -> None:
    with pytest.raises(CameraError, match=next(iter(entries))):
        Mount(**entries)

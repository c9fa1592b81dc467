# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural worlds: exact depth, consistent poses, photometric consistency, determinism."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from mono_metric_depth.camera import Camera
from mono_metric_depth.frame import Frame
from mono_metric_depth.worlds import DOMAINS, Drive, WorldError

_ROAD_FROM_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
_SMALL = {name: domain.camera.resized(320, 160) for name, domain in DOMAINS.items()}


def _drive(domain: str, seed: int = 3, frames: int = 12, **options: object) -> Drive:
    return Drive(domain, seed, frames, **{'camera': _SMALL[domain], **options})  # type: ignore[arg-type]


def _points(frame: Frame) -> np.ndarray:
    """(h, w, 3) world points of a frame; NaN or inf where it has no depth."""
    assert frame.depth is not None and frame.pose is not None
    optical = frame.camera.rays() * frame.depth[..., None].astype(np.float64)
    return np.asarray(optical @ frame.pose[:3, :3].T + frame.pose[:3, 3])


def _warp(source: Frame, target: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The source seen from the target: image, its depth there, and z of the target's points in it."""
    assert source.pose is not None and source.depth is not None
    points = _points(target)
    optical = (points - source.pose[:3, 3]) @ source.pose[:3, :3]
    finite = np.isfinite(optical).all(-1)
    pixels = source.camera.project(np.where(finite[..., None], optical, -1.0)).astype(np.float32)
    u, v = np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 1])
    image = cv2.remap(
        source.image.astype(np.float32), u, v, cv2.INTER_LINEAR, borderValue=(np.nan,) * 3
    )
    depth = cv2.remap(source.depth, u, v, cv2.INTER_NEAREST, borderValue=np.nan)
    return image, depth, optical[..., 2]


@pytest.mark.parametrize('domain', DOMAINS)
def test_a_drive_is_the_same_for_the_same_seed_and_another_for_another(domain: str) -> None:
    first, again, other = _drive(domain), _drive(domain), _drive(domain, seed=4)
    again[0]  # frames do not depend on what was rendered before
    a, b, c = first[5], again[5], other[5]
    assert np.array_equal(a.image, b.image) and np.array_equal(a.depth, b.depth, equal_nan=True)
    assert np.array_equal(a.pose, b.pose) and a.mount == b.mount and a.stamp == b.stamp
    assert np.abs(a.image.astype(int) - c.image).mean() > 10


@pytest.mark.parametrize('domain', DOMAINS)
def test_the_road_lies_on_the_plane_z_0_ahead_of_the_camera(domain: str) -> None:
    for frame in _drive(domain, frames=4):
        points = _points(frame)
        ground = np.abs(points[..., 2]) < 0.02
        assert ground.mean() > 0.2
        # A few of these pixels show the feet of walls, trunks and wheels; none shows what is below.
        assert (np.abs(points[ground][:, 2]) < 1e-3).mean() > 0.98
        assert np.nanmin(points[..., 2]) > -1e-3


@pytest.mark.parametrize('domain', DOMAINS)
def test_depth_and_pose_carry_one_frame_into_the_next(domain: str) -> None:
    for seed in (3, 8):
        drive = _drive(domain, seed)
        source, target = drive[6], drive[5]
        image, depth, z = _warp(source, target)
        known = np.isfinite(image).all(-1) & np.isfinite(depth) & np.isfinite(z)
        assert known.mean() > 0.5
        # A nearest neighbour's depth differs by up to half a pixel of slope: compare with the
        # range of depths around it. What is not occluded by something nearer must agree.
        unoccluded = known & (z < depth * 1.1)
        low, high = cv2.erode(depth, np.ones((3, 3))), cv2.dilate(depth, np.ones((3, 3)))
        agrees = (z > 0.995 * low) & (z < 1.005 * np.minimum(high, 1e6))
        assert agrees[unoccluded].mean() > 0.9
        goal = target.image.astype(np.float32)
        warped = np.abs(image - goal)[unoccluded].mean()
        identity = np.abs(source.image.astype(np.float32) - goal)[unoccluded].mean()
        assert warped < identity / 3, (domain, seed, warped, identity)


@pytest.mark.parametrize('domain', DOMAINS)
def test_a_pose_is_its_mount_on_the_heading_of_the_road(domain: str) -> None:
    frames = list(_drive(domain, frames=5))
    for frame in frames:
        assert frame.pose is not None and frame.mount is not None
        road = frame.pose[:3, :3] @ frame.mount.rotation().T @ _ROAD_FROM_OPTICAL.T
        # What is left is a turn about the upright axis, along the way that the camera goes.
        assert road[2] == pytest.approx([0, 0, 1], abs=1e-12)
        assert road[:, 2] == pytest.approx([0, 0, 1], abs=1e-12)
        assert frame.pose[2, 3] == pytest.approx(frame.mount.height)
    for before, after in itertools.pairwise(frames):
        step = np.linalg.norm(after.pose[:3, 3] - before.pose[:3, 3])
        assert 0.3 < step < 1.2
        assert after.stamp > before.stamp
        assert (after.pose[:3, 3] - before.pose[:3, 3]) @ before.pose[:3, 2] > 0.95 * step


@pytest.mark.parametrize(
    'camera',
    [
        Camera(96, 64, 60.0, 60.0, 47.0, 33.0),
        Camera(97, 61, 70.0, 66.0, 50.0, 28.0, 'plumb_bob', (-0.2, 0.04, 0.001, -0.001, 0.0)),
        Camera(96, 64, 30.0, 30.0, 47.5, 31.5, 'equidistant', (0.02, -0.004, 0.0, 0.0)),
    ],
)
def test_any_camera_sees_the_world_through_its_own_rays(camera: Camera) -> None:
    frame = _drive('town', camera=camera)[2]
    assert frame.image.shape == (camera.height, camera.width, 3) and frame.depth is not None
    blind = np.isnan(camera.rays()[..., 0])
    assert np.array_equal(np.isnan(frame.depth), blind)
    assert not frame.image[blind].any()
    points = _points(frame)
    road = (np.abs(points[..., 2]) < 0.02) & (frame.depth < 30)
    assert road.sum() > 200 and (np.abs(points[road][:, 2]) < 1e-3).mean() > 0.98


def test_supersampling_leaves_depth_alone_and_smooths_the_image() -> None:
    plain, fine = _drive('suburb')[0], _drive('suburb', supersample=2)[0]
    assert np.array_equal(plain.depth, fine.depth, equal_nan=True)
    assert np.abs(plain.image.astype(int) - fine.image).mean() < 12
    rough, smooth = (np.abs(np.diff(f.image.astype(int), axis=1)).mean() for f in (plain, fine))
    assert smooth < rough


def test_the_two_domains_differ_in_camera_layout_and_look() -> None:
    fovs = [np.degrees(DOMAINS[name].camera.horizontal_fov) for name in ('town', 'suburb')]
    assert fovs[0] > fovs[1] + 30
    assert DOMAINS['town'].camera.distortion and not DOMAINS['suburb'].camera.distortion
    assert np.mean(DOMAINS['town'].height) == np.mean(DOMAINS['suburb'].height)
    green = {}
    for name in DOMAINS:
        images = np.stack([_drive(name, seed, 1)[0].image for seed in range(4)]).astype(float)
        green[name] = (images[..., 1] - images[..., [0, 2]].mean(-1)).mean()
    assert green['suburb'] > green['town'] + 3


@pytest.mark.parametrize('domain', DOMAINS)
def test_frames_are_well_exposed_and_mostly_closed(domain: str) -> None:
    for seed in range(6):
        frame = _drive(domain, seed, 1)[0]
        assert frame.depth is not None and frame.image.dtype == np.uint8
        assert 50 < frame.image.mean() < 200, seed
        assert frame.image.std() > 20
        assert not np.isnan(frame.depth).any() and frame.depth.min() > 0.3
        assert np.isfinite(frame.depth).mean() > 0.6
        assert np.isfinite(frame.depth[frame.depth.shape[0] // 2]).mean() > 0.9


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(WorldError, match='moon.*town'):
        Drive('moon', 0)
    with pytest.raises(WorldError, match='frames >= 1'):
        Drive('town', 0, frames=0)
    with pytest.raises(IndexError):
        _drive('town', frames=2)[2]

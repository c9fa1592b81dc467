# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural worlds: exact depth, consistent poses, photometric consistency, determinism."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mono_metric_depth.camera import Camera
from mono_metric_depth.frame import Frame
from mono_metric_depth.worlds import DOMAINS, Drive, WorldError, vehicles
from mono_metric_depth.worlds import drive as drive_module
from mono_metric_depth.worlds.raycast import FAR, cast
from mono_metric_depth.worlds.solids import Material, Shape, solid

_ROAD_FROM_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def _drive(domain: str, seed: int = 3, frames: int = 12, **options: Any) -> Drive:
    options.setdefault('camera', DOMAINS[domain].camera.resized(320, 160))
    return Drive(domain, seed, frames, **options)


def _points(frame: Frame) -> np.ndarray:
    """(h, w, 3) world points of a frame; NaN where it has no depth."""
    depth = np.where(np.isfinite(frame.depth), frame.depth, np.nan).astype(np.float64)
    optical = frame.camera.rays() * depth[..., None]
    return np.asarray(optical @ frame.pose[:3, :3].T + frame.pose[:3, 3])


def _warp(source: Frame, target: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The source seen from the target: image, depth there, z of the target's points in it."""
    optical = (_points(target) - source.pose[:3, 3]) @ source.pose[:3, :3]
    behind = np.isnan(optical).any(-1, keepdims=True)
    pixels = source.camera.project(np.where(behind, -1.0, optical)).astype(np.float32)
    u, v = np.ascontiguousarray(pixels[..., 0]), np.ascontiguousarray(pixels[..., 1])
    depth = np.where(np.isfinite(source.depth), source.depth, np.float32(1e6))
    image = source.image.astype(np.float32)
    image = cv2.remap(image, u, v, cv2.INTER_LINEAR, borderValue=(np.nan,) * 3)
    depth = cv2.remap(depth, u, v, cv2.INTER_NEAREST, borderValue=np.nan)
    return image, depth, optical[..., 2]


@pytest.mark.parametrize('domain', DOMAINS)
def test_a_drive_is_the_same_for_the_same_seed_and_another_for_another(domain: str) -> None:
    first, again, other = _drive(domain), _drive(domain), _drive(domain, seed=4)
    again[0]  # frames do not depend on what was rendered before
    a, b, c = first[5], again[5], other[5]
    assert np.array_equal(a.image, b.image)
    assert np.array_equal(a.depth, b.depth, equal_nan=True)
    assert np.array_equal(a.pose, b.pose)
    assert (a.mount, a.stamp, first.name) == (b.mount, b.stamp, again.name)
    assert first.name != other.name
    assert np.abs(a.image.astype(int) - c.image).mean() > 10


@pytest.mark.parametrize(
    ('shape', 'taper', 'expected'),
    [
        (Shape.BOX, (0.0, 0.0, 0.0), 8.0),
        # A back face that leans in by half of 2 m over a height of 2 m, met halfway up.
        (Shape.BOX, (0.0, 0.5, 0.0), 8.5),
        (Shape.ELLIPSOID, (0.0, 0.0, 0.0), 8.0),
        (Shape.CYLINDER, (0.0, 0.0, 0.0), 8.0),
    ],
)
@pytest.mark.parametrize('slope', [0.0, 0.25])
def test_rays_meet_solids_where_geometry_says(
    shape: Shape, taper: tuple[float, float, float], expected: float, slope: float
) -> None:
    row = solid((10, 0, 0), (2, 1, 1), Material.PLAIN, (0, 0, 0), shape=shape, taper=taper)
    table = torch.from_numpy(row.astype(np.float32))
    zero = torch.zeros(1, 1)
    # A ray along x that starts so as to pass the centre's height at x = 10, and one far beside.
    direction = (torch.ones(1, 2), torch.tensor([[0.0, 2.0]]), torch.full((1, 2), 0.0))
    nearest = cast(
        table,
        torch.zeros(2, 1, dtype=torch.int64),
        (zero, zero, zero + slope),
        direction,
        torch.full((1, 2), FAR),
        torch.zeros(1),
    )
    if shape == Shape.ELLIPSOID:
        expected = 10 - 2 * (1 - slope**2) ** 0.5
    elif taper[1]:
        expected += 2 * 0.25 * slope
    assert nearest.distance[0, 0].item() == pytest.approx(expected, rel=1e-6)
    assert nearest.solid.tolist() == [[1.0, 0.0]]
    assert nearest.distance[0, 1].item() == pytest.approx(FAR)


@pytest.mark.parametrize('domain', DOMAINS)
def test_the_road_lies_on_the_plane_z_0_and_nothing_below(domain: str) -> None:
    for frame in _drive(domain, frames=4):
        points = _points(frame)
        ground = np.abs(points[..., 2]) < 0.02
        assert ground.mean() > 0.2
        # A few of these pixels show the feet of walls, trunks and wheels.
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
        unoccluded = known & (z < depth * 1.1)
        # The nearest pixel is up to half a pixel off: its neighbours bound what depth may be.
        filled = np.nan_to_num(depth, nan=1e6)
        low, high = cv2.erode(filled, np.ones((3, 3))), cv2.dilate(filled, np.ones((3, 3)))
        agrees = (z > 0.995 * low) & (z < 1.005 * high)
        assert agrees[unoccluded].mean() > 0.9
        goal = target.image.astype(np.float32)
        warped = np.abs(image - goal)[unoccluded].mean()
        identity = np.abs(source.image.astype(np.float32) - goal)[unoccluded].mean()
        # What remains is noise, leaves and, on wet roads, what the road mirrors.
        assert warped < identity / 2


@pytest.mark.parametrize('domain', DOMAINS)
def test_a_pose_is_its_mount_on_the_heading_of_the_road(domain: str) -> None:
    frames = list(_drive(domain, frames=5))
    attitudes = []
    for frame in frames:
        road = frame.pose[:3, :3] @ frame.mount.rotation().T @ _ROAD_FROM_OPTICAL.T
        # What is left is a turn about the upright axis.
        assert road[2] == pytest.approx([0, 0, 1], abs=1e-12)
        assert road[:, 2] == pytest.approx([0, 0, 1], abs=1e-12)
        assert frame.pose[2, 3] == pytest.approx(frame.mount.height)
        attitudes.append(road)
    assert len({frame.mount for frame in frames}) == len(frames)
    for (before, after), road in zip(itertools.pairwise(frames), attitudes, strict=False):
        step = after.pose[:3, 3] - before.pose[:3, 3]
        assert 0.3 < np.linalg.norm(step) < 1.3
        assert after.stamp > before.stamp
        ahead, left = road[:, 0] @ step, road[:, 1] @ step
        assert abs(left) < 0.12 * ahead


@pytest.mark.parametrize(
    'camera',
    [
        Camera(96, 64, 60.0, 60.0, 47.0, 33.0),
        Camera(97, 61, 70.0, 66.0, 50.0, 28.0, 'plumb_bob', (-0.2, 0.04, 0.001, -0.001, 0.0)),
        Camera(96, 64, 60.0, 60.0, 47.5, 31.5, 'plumb_bob', (-0.5, 0.0, 0.0, 0.0)),
        Camera(96, 64, 30.0, 30.0, 47.5, 31.5, 'equidistant', (0.02, -0.004, 0.0, 0.0)),
    ],
)
def test_any_camera_sees_the_world_through_its_own_rays(camera: Camera) -> None:
    frame = _drive('town', camera=camera)[2]
    assert frame.image.shape == (camera.height, camera.width, 3)
    blind = np.isnan(camera.rays()[..., 0])
    assert np.array_equal(np.isnan(frame.depth), blind)
    assert not frame.image[blind].any()
    points = _points(frame)
    road = (np.abs(points[..., 2]) < 0.02) & (frame.depth < 30)
    assert road.sum() > 200
    assert (np.abs(points[road][:, 2]) < 1e-3).mean() > 0.98


def test_supersampling_leaves_depth_alone_and_smooths_the_image() -> None:
    plain, fine = _drive('suburb')[0], _drive('suburb', supersample=2)[0]
    assert np.array_equal(plain.depth, fine.depth, equal_nan=True)
    assert np.abs(plain.image.astype(int) - fine.image).mean() < 12
    rough, smooth = (np.abs(np.diff(f.image.astype(int), axis=1)).mean() for f in (plain, fine))
    assert smooth < rough


def test_the_domains_differ_in_camera_layout_and_look() -> None:
    town, suburb = DOMAINS['town'], DOMAINS['suburb']
    assert town.camera.horizontal_fov > suburb.camera.horizontal_fov + 0.5
    assert town.camera.distortion
    assert not suburb.camera.distortion
    for domain in DOMAINS.values():
        assert np.mean(domain.height) == pytest.approx(1.5)
        assert 1.2 <= domain.height[0] < domain.height[1] <= 1.8
    country = DOMAINS['country']
    assert suburb.camera.horizontal_fov + 0.2 < country.camera.horizontal_fov
    assert country.camera.horizontal_fov + 0.2 < town.camera.horizontal_fov
    assert np.mean(country.speed) > 1.2 * np.mean(suburb.speed)
    assert town.lane_width[0] + town.parking[0] > suburb.lane_width[1] + suburb.parking[1]
    green = {}
    for name in DOMAINS:
        images = np.stack([_drive(name, seed, 1)[0].image for seed in range(4)]).astype(float)
        green[name] = (images[..., 1] - images[..., [0, 2]].mean(-1)).mean()
    # Fog and rain take part of the colour.
    assert green['suburb'] > green['town'] + 1.5


@pytest.mark.parametrize('domain', DOMAINS)
def test_frames_are_well_exposed_and_mostly_closed(domain: str) -> None:
    for seed in range(6):
        frame = _drive(domain, seed, 1)[0]
        assert frame.image.dtype == np.uint8
        assert frame.depth.dtype == np.float32
        # From dusk to bright fog, and low contrast in rain.
        assert 45 < frame.image.mean() < 215
        assert frame.image.std() > 15
        assert not np.isnan(frame.depth).any()
        assert frame.depth.min() > 0.3
        assert 0.5 < np.isfinite(frame.depth).mean() < 1.0
        assert np.isfinite(frame.depth[frame.depth.shape[0] // 2]).mean() > 0.9


@pytest.mark.parametrize('domain', DOMAINS)
def test_nothing_above_the_ground_comes_close_to_the_camera(domain: str) -> None:
    for seed in range(4):
        camera = DOMAINS[domain].camera.resized(80, 40)
        drive = Drive(domain, seed, 60, camera=camera)
        for index in (10, 50):
            frame = drive[index]
            points = _points(frame)
            away = np.linalg.norm(points - frame.pose[:3, 3], axis=-1)
            assert away[points[..., 2] > 0.05].min() > 2.5, (seed, index)


@pytest.fixture(scope='module')
def many(monkeypatch_module: pytest.MonkeyPatch) -> dict[str, list[Drive]]:
    """Drives of each domain, laid out but not made ready to be rendered."""
    for part in ('World', '_sensor'):
        monkeypatch_module.setattr(drive_module, part, lambda *_: None)
    return {name: [Drive(name, seed, 60) for seed in range(30)] for name in DOMAINS}


@pytest.fixture(scope='module')
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def _courses(drive: Drive) -> tuple[np.ndarray, np.ndarray]:
    """(movers, t, 4) x, offset and half extents; (t, 2) x and offset of the camera (m)."""
    seconds = np.array([pose.seconds for pose in drive._poses])
    eyes = np.array([pose.matrix[:3, 3] for pose in drive._poses])
    heading = drive.road.heading(eyes[:, 0])
    offset = (eyes[:, 1] - drive.road.centre(eyes[:, 0])) * np.cos(heading)
    camera = np.stack([eyes[:, 0] + offset * np.sin(heading), offset], axis=1)
    courses = [mover.course(seconds) for mover in drive.scene.movers]
    return np.array(courses).reshape(-1, len(seconds), 4), camera


@pytest.mark.parametrize('domain', DOMAINS)
def test_traffic_keeps_clear_of_the_camera(domain: str, many: dict[str, list[Drive]]) -> None:
    for drive in many[domain]:
        courses, camera = _courses(drive)
        gap = np.abs(courses[..., :2] - camera) - courses[..., 2:]
        assert not (gap.max(-1) < 0.8).any(), drive.name
        ahead = (courses[..., 0] > camera[:, 0]) & (gap[..., 1] < 0)
        assert not (ahead & (gap[..., 0] < 3.0)).any(), drive.name
        for obstacle in drive.scene.obstacles:
            beside = np.abs(camera[:, 0] - obstacle.x) < obstacle.half[0] + 2
            room = np.abs(camera[:, 1] - obstacle.offset) - obstacle.half[1]
            assert (room[beside] > 1.0).all(), drive.name


@pytest.mark.parametrize('domain', DOMAINS)
def test_many_drives_have_a_vehicle_close_ahead(domain: str, many: dict[str, list[Drive]]) -> None:
    close, standing = 0, 0
    for drive in many[domain]:
        courses, camera = _courses(drive)
        gap = courses[..., 0] - courses[..., 2] - camera[:, 0]
        mine = (np.abs(courses[..., 1] - camera[:, 1]) < 1.2) & (courses[..., 2] > 1.5)
        close += bool((mine & (gap > 3) & (gap < 20)).any())
        standing += bool(drive.scene.obstacles)
    share = len(many[domain])
    assert close > 0.25 * share
    assert 0.05 * share < standing < 0.45 * share


@pytest.mark.parametrize('domain', DOMAINS)
def test_light_and_lens_differ_between_drives(domain: str, many: dict[str, list[Drive]]) -> None:
    assert len({drive.weather.kind for drive in many[domain]}) >= 5
    heights = [drive.weather.elevation for drive in many[domain]]
    assert min(heights) < 0.25
    assert max(heights) > 0.9
    nominal = DOMAINS[domain].camera
    zoom = np.array([drive.camera.fx / nominal.fx for drive in many[domain]])
    assert zoom.min() > 0.92 - 1e-9
    assert zoom.max() < 1.08 + 1e-9
    assert np.ptp(zoom) > 0.1
    for drive in many[domain]:
        assert drive.camera.fy / nominal.fy == pytest.approx(drive.camera.fx / nominal.fx)
        assert drive.camera.distortion == nominal.distortion
    means = np.mean([drive._poses[0].mount.height for drive in many[domain]])
    assert means == pytest.approx(1.5, abs=0.1)


def test_the_depth_of_a_bus_ahead_is_that_of_its_tail() -> None:
    rows = vehicles.bus(np.random.default_rng(1))
    half, lean = rows[0, 3], rows[0, 8]
    rows[:, 0] += 12.0
    zero = torch.zeros(1, 1)
    nearest = cast(
        torch.from_numpy(rows.astype(np.float32)),
        torch.stack([torch.zeros(len(rows), dtype=torch.int64), torch.arange(len(rows))]),
        (zero, zero, zero + float(rows[0, 2])),
        (zero + 1, zero, zero),
        torch.full((1, 1), FAR),
        torch.zeros(len(rows)),
    )
    # Halfway up, the back leans in by half of its share of the half length.
    assert nearest.distance.item() == pytest.approx(12.0 - half * (1 - 0.5 * lean), rel=1e-5)
    assert nearest.solid.item() == 1


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(WorldError, match=r'moon.*town'):
        Drive('moon', 0)
    with pytest.raises(WorldError, match='frames >= 1'):
        Drive('town', 0, frames=0)
    with pytest.raises(IndexError):
        _drive('town', frames=2)[2]

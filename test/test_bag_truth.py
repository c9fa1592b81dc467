# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""True depth of bags: depth topics, and LiDAR through tf that moves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import (
    CAMERA,
    FIRST,
    STORE,
    Message,
    cloud,
    dgp_bag,
    info,
    moved,
    picture,
    raw,
    static_transform,
    transforms,
    write_bag,
)
from conftest import ROOT
from rosbags.rosbag2 import StoragePlugin, Writer
from scipy.spatial.transform import Rotation

from mono_metric_depth.datasets import DatasetError, bag_truth, open_sequence
from mono_metric_depth.datasets.bag_sequence import BagSequence
from mono_metric_depth.datasets.dgp import DgpSequence
from mono_metric_depth.point_cloud import PointCloudError, points_of_message

STEP = 10**8
SAMPLE = ROOT.parent / 'shared' / 'data' / 'dgp_sample' / 'scene_dataset_v1.0.json'
OPTICAL = (-0.5, 0.5, -0.5, 0.5)
#: Where the posts stand in the world (m), x ahead.
POSTS = np.array([[20.0, 0.5, 1.0], [25.0, -2.0, 1.5], [40.0, 3.0, 0.5]])
SPEED, TURN = 20.0, 0.3


def pose(time: float) -> np.ndarray:
    """base_link in odom: it drives a curve."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler('z', TURN * time).as_matrix()
    matrix[:3, 3] = SPEED * time, 0.0, 0.0
    return matrix


def mounted(name: str) -> np.ndarray:
    """A sensor in base_link."""
    matrix = np.eye(4)
    if name == 'camera':
        matrix[:3, :3] = Rotation.from_quat(OPTICAL).as_matrix()
        matrix[:3, 3] = 1.5, 0.0, 1.4
    else:
        matrix[:3, :3] = Rotation.from_euler('z', math.pi / 2).as_matrix()
        matrix[:3, 3] = 0.5, 0.1, 2.0
    return matrix


def seen_from(sensor: str, time: float) -> np.ndarray:
    """(n, 3) the posts in a sensor's frame at a time (s)."""
    world = pose(time) @ mounted(sensor)
    return (POSTS - world[:3, 3]) @ world[:3, :3]


def drive(
    *, late: float = 0.04, odometry: float = 0.01, static: bool = True, clouds: int = 5
) -> list[Message]:
    """Images ten times a second; sweeps that are late by so much (s)."""
    messages = []
    if static:
        quaternion = tuple(Rotation.from_matrix(mounted('lidar')[:3, :3]).as_quat())
        chain = (
            static_transform('base_link', 'camera_optical_frame', (1.5, 0.0, 1.4), OPTICAL),
            static_transform('base_link', 'lidar', (0.5, 0.1, 2.0), quaternion),
        )
        messages.append(transforms(*chain))
    if odometry:
        for step in range(-30, int(0.6 / odometry)):
            stamp = FIRST + round(step * odometry * 1e9)
            messages.append(moved(stamp, 'odom', 'base_link', pose(step * odometry)))
            # It jumps, as localisation does; nothing may depend on it.
            jump = np.eye(4)
            jump[0, 3] = step % 7
            messages.append(moved(stamp, 'map', 'odom', jump))
    for index in range(5):
        time = index * 0.1
        stamp = FIRST + index * STEP
        messages += [info(stamp), raw(stamp, picture(index))]
        if index < clouds:
            swept = stamp + round(late * 1e9)
            messages.append(cloud(swept, seen_from('lidar', time + late)))
    return sorted(messages, key=lambda message: message[2])


def opened(tmp_path: Path, messages: list[Message], truth: str = '/lidar/points') -> BagSequence:
    path = write_bag(tmp_path / 'bag', messages)
    sequence = open_sequence(f'{path}#/camera/image_raw,{truth}')
    assert isinstance(sequence, BagSequence)
    return sequence


def refused(tmp_path: Path, messages: list[Message], truth: str = '/lidar/points') -> str:
    with pytest.raises(DatasetError) as error:
        opened(tmp_path, messages, truth)
    return str(error.value)


@pytest.mark.parametrize('late', [0.04, -0.045])
def test_sweeps_are_seen_from_where_the_camera_is_by_then(late: float, tmp_path: Path) -> None:
    sequence = opened(tmp_path, drive(late=late))
    for index, frame in enumerate(sequence):
        assert frame.depth is not None
        true = seen_from('camera', index * 0.1)
        pixels = np.rint(CAMERA.project(true)).astype(int)
        found = frame.depth[pixels[:, 1], pixels[:, 0]]
        # Not the 0.8 m that the robot drives in between.
        np.testing.assert_allclose(found, true[:, 2], atol=2e-3)
        assert np.isfinite(frame.depth).sum() == len(POSTS)
    assert not sequence.truth.missing


def test_a_sweep_0_2_s_away_counts_where_tf_tells_the_motion(tmp_path: Path) -> None:
    sequence = opened(tmp_path, drive(late=-0.21, clouds=1))
    true = seen_from('camera', 0.0)
    pixels = np.rint(CAMERA.project(true)).astype(int)
    depth = sequence[0].depth
    assert depth is not None
    # Not the 4 m that the robot drives in between.
    np.testing.assert_allclose(depth[pixels[:, 1], pixels[:, 0]], true[:, 2], atol=2e-3)
    message = refused(tmp_path / 'unmoved', drive(late=-0.21, clouds=1, odometry=0))
    assert 'taken 0.210 s from the image, more than 0.020 s, and /tf does not tell' in message
    message = refused(tmp_path / 'far', drive(late=-0.26, clouds=1))
    assert (
        'within 0.250 s (where /tf tells how the robot moves, else 0.020 s) of the stamp of an '
        'image, the smallest difference is 0.260 s' in message
    )


def test_a_joint_that_moves_is_not_the_motion_of_the_robot(tmp_path: Path) -> None:
    messages = drive(late=0.1, odometry=0, static=False, clouds=1)
    messages.append(
        transforms(static_transform('base_link', 'camera_optical_frame', (1.5, 0, 1.4), OPTICAL))
    )
    for step in range(-10, 60):
        stamp = FIRST + step * 10_000_000
        messages.append(moved(stamp, 'base_link', 'lidar', mounted('lidar')))
    messages = [m for m in messages if m[0] != '/camera/image_raw' or m[2] == FIRST]
    message = refused(tmp_path, sorted(messages, key=lambda message: message[2]))
    assert '/tf does not tell how the robot moved' in message


def test_a_transform_of_the_moment_holds_beside_a_gap(tmp_path: Path) -> None:
    # One 0.3 ms before the second image, then none for a second.
    messages = [m for m in drive(late=0.0) if m[0] != '/tf' or m[2] < FIRST]
    late = FIRST + STEP - 300_000
    for stamp, time in ((FIRST, 0.0), (late, 0.0997), (FIRST + 12 * STEP, 1.2)):
        messages.append(moved(stamp, 'odom', 'base_link', pose(time)))
    sequence = opened(tmp_path, sorted(messages, key=lambda message: message[2]))
    assert [frame.depth is None for frame in sequence] == [False, False, True, True, True]


def test_the_nearest_point_wins_a_pixel(tmp_path: Path) -> None:
    messages = drive(late=0.0)
    behind = seen_from('camera', 0.0) * 2
    world = mounted('camera')
    in_lidar = np.linalg.inv(mounted('lidar')) @ world @ np.c_[behind, np.ones(3)].T
    messages = [
        m
        if m[0] != '/lidar/points' or m[2] != FIRST
        else cloud(FIRST, np.r_[in_lidar[:3].T, seen_from('lidar', 0.0)])
        for m in messages
    ]
    depth = opened(tmp_path, messages)[0].depth
    assert depth is not None
    np.testing.assert_allclose(
        np.sort(depth[np.isfinite(depth)]), np.sort(seen_from('camera', 0.0)[:, 2]), atol=1e-3
    )


def test_without_odometry_only_sweeps_of_the_same_moment_count(tmp_path: Path) -> None:
    depth = opened(tmp_path, drive(late=0.0, odometry=0))[2].depth
    assert depth is not None
    message = refused(tmp_path / 'late', drive(late=0.04, odometry=0))
    assert 'taken 0.040 s from the image, more than 0.020 s, and /tf does not tell' in message


def test_an_image_in_a_gap_of_tf_has_no_truth(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    messages = [
        m for m in drive() if m[0] != '/tf' or not FIRST + 1.5 * STEP < m[2] < FIRST + 8 * STEP
    ]
    sequence = opened(tmp_path, messages)
    assert [frame.depth is None for frame in sequence] == [False, False, True, True, True]
    assert sequence.truth.missing == {'TransformError': 3}
    assert 'image at 1700000000.200 s: /tf does not tell base_link in odom at' in caplog.text
    assert 'transforms begin or end 0.' in caplog.text


def test_a_lost_sweep_costs_its_image(tmp_path: Path) -> None:
    sequence = opened(tmp_path, drive(clouds=2))
    assert [frame.depth is None for frame in sequence] == [False] * 4 + [True]


def elsewhere() -> list[Message]:
    """Sweeps that see nothing of what the camera sees."""
    behind = np.array([[-20.0, 0, 0], [-30, 1, 0]])
    return [cloud(m[2], behind @ Rotation.from_euler('z', -90, True).as_matrix().T)
            if m[0] == '/lidar/points' else m for m in drive()]  # fmt: skip


def shifted() -> list[Message]:
    """The LiDAR's clock is an hour ahead."""
    hour = 3600 * 10**9
    points = seen_from('lidar', 0.0)
    return [cloud(m[2] + hour, points) if m[0] == '/lidar/points' else m for m in drive()]


def without_points() -> list[Message]:
    messages = drive()
    for message in messages:
        if message[0] == '/lidar/points':
            message[3].fields = message[3].fields[:2]
    return messages


@pytest.mark.parametrize(
    ('messages', 'truth', 'message'),
    [
        (drive(), '/lidar', '/lidar is not there; true depth is a depth image'),
        (drive(), '/camera/camera_info', 'is sensor_msgs/msg/CameraInfo; true depth is a depth'),
        (drive(static=False), '/lidar/points', 'no transform leads from lidar to camera_optical'),
        (
            shifted(),
            '/lidar/points',
            'the smallest difference is 3599.640 s; do both clocks agree?',
        ),
        (elsewhere(), '/lidar/points', 'none of 2 points of /lidar/points falls into the image'),
        (without_points(), '/lidar/points', 'a cloud without z as FLOAT32 or FLOAT64; its fields'),
        (
            [*drive(), raw(FIRST, picture(0), '/rear/image')],
            '/rear/image',
            "its encoding is 'rgb8', depth images are 32FC1 or 16UC1",
        ),
        (
            [*drive(), cloud(FIRST, np.ones((3, 3)), '/odd', 'a\nb')],
            '/odd',
            'no transform leads from a b to camera_optical_frame',
        ),
        (drive(), '/camera/image_raw', '/camera/image_raw holds the images, not their true depth'),
    ],
)
def test_truth_that_is_of_no_use_is_refused(
    messages: list[Message], truth: str, message: str, tmp_path: Path
) -> None:
    assert message in refused(tmp_path, messages, truth)


def test_a_depth_topic_is_read_in_metres(tmp_path: Path) -> None:
    millimetres = np.full((24, 40), 2500, np.uint16)
    millimetres[3, 4] = 0
    messages = drive(clouds=0)
    for index in range(5):
        stamp = FIRST + index * STEP + 2_000_000
        messages.append(raw(stamp, millimetres, '/camera/depth/image_rect', '16UC1'))
    sequence = opened(tmp_path, messages, '/camera/depth/image_rect')
    depth = sequence[3].depth
    assert depth is not None
    assert np.isnan(depth[3, 4])
    assert depth[0, 0] == pytest.approx(2.5)
    assert np.isfinite(depth).sum() == 24 * 40 - 1


def test_a_depth_topic_of_another_camera_is_refused(tmp_path: Path) -> None:
    small = np.ones((12, 20), np.float32)
    messages = drive(clouds=0)
    messages += [raw(FIRST + i * STEP, small, '/depth/image', '32FC1') for i in range(5)]
    message = refused(tmp_path, messages, '/depth/image')
    assert 'is 20x12 in camera_optical_frame, the images are 40x24' in message
    assert 'register it to the camera' in message


def test_a_real_drive_has_the_truth_of_its_data_set(tmp_path: Path) -> None:
    if not SAMPLE.is_file():
        pytest.skip('the real sample is not here')
    bag = dgp_bag(tmp_path / 'bag', SAMPLE, ('CAMERA_01', 'CAMERA_05'))
    sequence = open_sequence(f'{bag}#/camera_01/image_raw/compressed,/lidar/points')
    for found, true in zip(sequence, DgpSequence(SAMPLE), strict=True):
        assert found.depth is not None
        assert true.depth is not None
        same = np.isclose(found.depth, true.depth, rtol=1e-4, equal_nan=True)
        # A point at the border of two pixels may fall into the other one.
        assert same.mean() > 0.9999
        assert np.isfinite(true.depth).sum() > 1000


# Depth topics.


def depth_drive(
    offsets: list[float], encoding: str = '32FC1', images: int = 5, value: float = 4.0
) -> list[Message]:
    """Images ten times a second, and depth images at the first stamp and so many seconds."""
    messages: list[Message] = []
    for index in range(images):
        stamp = FIRST + index * STEP
        messages += [info(stamp), raw(stamp, picture(index))]
    for number, offset in enumerate(offsets):
        depth = np.full((24, 40), value + number, np.float32)
        stamp = FIRST + round(offset * 1e9)
        messages.append(raw(stamp, depth, '/camera/depth_truth', encoding))
    return sorted(messages, key=lambda message: message[2])


@pytest.mark.parametrize('named', [False, True])
def test_depth_belongs_to_the_nearest_image(
    named: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Of the third image two are as near; the fourth's is nearer to the fifth.
    messages = depth_drive([0.004, 0.081, 0.118, 0.19, 0.2102, 0.312], images=4)
    fifth = FIRST + 318 * STEP // 100
    messages += [info(fifth), raw(fifth, picture(9))]
    path = write_bag(tmp_path / 'bag', sorted(messages, key=lambda message: message[2]))
    sequence = open_sequence(
        f'{path}#/camera/image_raw,/camera/depth_truth' if named else str(path)
    )
    found = [None if f.depth is None else float(f.depth[0, 0]) for f in sequence]
    assert found == [4.0, 6.0, None, None, 9.0]
    assert '3 of 5 images have true depth from /camera/depth_truth' in caplog.text
    assert 'two messages of /camera/depth_truth lie equally near to the image' in caplog.text


def test_the_smallest_difference_of_stamps_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    messages = depth_drive([0.037 + 0.1 * index for index in range(4)])
    expected = 'the smallest difference is 0.037 s; do both clocks agree?'
    assert expected in refused(tmp_path / 'named', messages, '/camera/depth_truth')
    sequence = open_sequence(str(write_bag(tmp_path / 'bag', messages)))
    assert expected in caplog.text
    assert sequence[0].depth is None


def test_truth_that_begins_late_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    messages = depth_drive([0.1 * index for index in range(40, 45)], images=45)
    sequence = opened(tmp_path, messages, '/camera/depth_truth')
    assert [f.depth is not None for f in sequence] == [False] * 40 + [True] * 5
    assert '5 of 45 images have true depth' in caplog.text


def test_truth_that_is_of_no_use_at_first_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag_truth, '_TRIED', 20)
    offsets = [0.1 * index for index in range(45)]
    messages = depth_drive(offsets, images=45, value=-30.5)  # then 0.5 m, 1.5 m, ...
    sequence = opened(tmp_path, messages, '/camera/depth_truth')
    assert [f.depth is not None for f in sequence] == [False] * 31 + [True] * 14


@pytest.mark.parametrize('value', [-1.0, 1e-20, 3e30])
def test_numbers_that_are_no_depth_are_refused(value: float, tmp_path: Path) -> None:
    messages = depth_drive([0.0], value=value)
    message = refused(tmp_path, messages, '/camera/depth_truth')
    assert f'960 of its pixels are no depth, such as {value:g} m' in message


def test_saturated_and_missing_depth_is_unknown(tmp_path: Path) -> None:
    depth = np.full((24, 40), 65534, np.uint16)
    depth[0], depth[1] = 65535, 0
    metres = np.full((24, 40), np.inf, np.float32)
    metres[0] = 0.0
    messages = [info(FIRST), raw(FIRST, picture(0)), raw(FIRST, depth, '/millimetres', '16UC1')]
    messages.append(raw(FIRST, metres, '/metres', '32FC1'))
    found = opened(tmp_path, messages, '/millimetres')[0].depth
    assert found is not None
    assert np.isnan(found[:2]).all()
    np.testing.assert_allclose(found[2:], 65.534)
    found = open_sequence(f'{tmp_path / "bag"}#/camera/image_raw,/metres')[0].depth
    assert found is not None
    assert np.isnan(found[0]).all()
    assert np.isinf(found[1:]).all()


def test_a_topic_that_is_not_what_it_is_named_for_is_refused(tmp_path: Path) -> None:
    messages = depth_drive([0.0])
    path = write_bag(tmp_path / 'bag', messages)
    with pytest.raises(
        DatasetError, match=r"'/camera/depth_truth' holds depth, not images.*; image top"
    ):
        open_sequence(f'{path}#/camera/depth_truth')
    with Writer(tmp_path / 'empty', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind, stamp, message in messages[:2]:
            connection = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connection, stamp, bytes(STORE.serialize_cdr(message, kind)))
        writer.add_connection('/depth', 'sensor_msgs/msg/Image', typestore=STORE)
    with pytest.raises(DatasetError, match='/depth is to hold true depth, but it has no message'):
        open_sequence(f'{tmp_path / "empty"}#,/depth')
    with pytest.raises(DatasetError, match=r"no message on '/depth'; image topics are /camera/im"):
        open_sequence(f'{tmp_path / "empty"}#/depth')


# Clouds.


def test_points_are_read_by_their_fields() -> None:
    kind, field = 'sensor_msgs/msg/PointCloud2', STORE.types['sensor_msgs/msg/PointField']
    dtype = np.dtype(
        {
            'names': ['ring', 'z', 'x', 'y'],
            'formats': ['>u2', '>f8', '>f4', '>f8'],
            'offsets': [0, 4, 12, 20],
            'itemsize': 40,
        }
    )
    points = np.zeros((2, 3), dtype)
    points['x'], points['y'], points['z'] = np.arange(6).reshape(2, 3), 7.0, -1.0
    points['y'][1, 2] = np.nan
    rows = np.zeros((2, 3 * 40 + 8), np.uint8)
    rows[:, : 3 * 40] = points.view(np.uint8).reshape(2, -1)
    values: list[Any] = [
        None,
        2,
        3,
        [field('x', 12, 7, 1), field('y', 20, 8, 1), field('z', 4, 8, 1)],
        True,
        40,
        rows.shape[1],
        rows.ravel(),
        False,
    ]
    message = STORE.types[kind](*values)
    found = points_of_message(message)
    np.testing.assert_array_equal(found, [[x, 7, -1] for x in range(5)])
    message.data = message.data[:-40]
    with pytest.raises(PointCloudError, match=r'3x2 points of 40 bytes needs \d+ bytes'):
        points_of_message(message)
    message.row_step, message.height = 0, 2**31 - 1
    with pytest.raises(PointCloudError, match='needs'):
        points_of_message(message)
    message.width = 0
    assert points_of_message(message).shape == (0, 3)

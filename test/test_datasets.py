# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Drives on disk: folders, bags, DGP scenes, and how they are named."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from mono_metric_depth.camera import (
    Camera,
    CameraError,
    Mount,
    camera_from_info,
    mount_from_transform,
)
from mono_metric_depth.datasets import (
    DamagedFrameError,
    DatasetError,
    drive_files,
    open_sequence,
    sequence_names,
)
from mono_metric_depth.datasets.bag import (
    IMAGE_TOPIC,
    INFO_TOPIC,
    TRUTH_TOPIC,
    new_bag,
    read_messages,
    read_raw_messages,
    write_drive,
)
from mono_metric_depth.datasets.dgp import DgpSequence
from mono_metric_depth.datasets.sequence_folder import SequenceFolder, write_sequence
from mono_metric_depth.frame import Frame

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT.parent / 'shared' / 'data' / 'dgp_sample' / 'scene_dataset_v1.0.json'
CAMERA = Camera(40, 24, 33.0, 34.0, 18.5, 11.25, 'plumb_bob', (-0.1, 0.02, 1e-3, -1e-3, 0.0))
MOUNT = Mount(0.08, -0.03, 0.2, 1.45)


def drive(count: int = 3, **changes: Any) -> list[Frame]:
    random = np.random.default_rng(1)
    frames = []
    for index in range(count):
        depth = random.uniform(0.5, 200, (24, 40)).astype(np.float32)
        depth[0], depth[1] = np.inf, np.nan
        pose = np.eye(4)
        pose[2, 3] = index * 0.7
        image = random.integers(0, 256, (24, 40, 3), np.uint8)
        stamp = 1_700_000_000_123_456_789 + index * 10**8
        frames.append(replace(Frame(stamp, image, CAMERA, depth, pose, MOUNT), **changes))
    return frames


def interrupted(frames: list[Frame]) -> Iterator[Frame]:
    yield from frames
    raise KeyboardInterrupt


# Folders


def test_a_drive_comes_back_from_its_folder(tmp_path: Path) -> None:
    frames = drive()
    assert write_sequence(tmp_path / 'a' / 'drive', frames) == 3
    sequence = open_sequence(str(tmp_path / 'a' / 'drive'))
    assert isinstance(sequence, SequenceFolder)
    assert len(sequence) == 3
    for found, true in zip(sequence, frames, strict=True):
        assert (found.stamp, found.camera, found.mount) == (true.stamp, true.camera, true.mount)
        np.testing.assert_array_equal(found.image, true.image)
        np.testing.assert_array_equal(found.pose, true.pose)
        assert found.depth is not None
        assert found.depth.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(found.depth), np.isnan(true.depth))
        np.testing.assert_array_equal(np.isposinf(found.depth), np.isposinf(true.depth))
        np.testing.assert_allclose(found.depth, true.depth, atol=1 / 512)
    np.testing.assert_array_equal(sequence[-1].image, frames[-1].image)


def test_a_drive_without_depth_pose_and_mount_comes_back_so(tmp_path: Path) -> None:
    frames = drive(2, depth=None, pose=None, mount=None, stamp=np.int64(5))
    write_sequence(tmp_path / 'drive', frames)
    found = SequenceFolder(tmp_path / 'drive')[1]
    assert (found.depth, found.pose, found.mount, found.stamp) == (None, None, None, 5)


def test_interrupted_writing_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_sequence(tmp_path / 'drive', interrupted(drive()))
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_does_not_mix_with_the_next(tmp_path: Path) -> None:
    shutil.copytree(_written(tmp_path / 'old'), tmp_path / '.drive.part')
    write_sequence(tmp_path / 'drive', drive(2, depth=None))
    assert SequenceFolder(tmp_path / 'drive')[1].depth is None
    assert len(list((tmp_path / 'drive' / 'image').iterdir())) == 2


def _written(folder: Path) -> Path:
    write_sequence(folder, drive())
    return folder


@pytest.mark.parametrize(
    ('frames', 'message'),
    [
        ([], 'at least one frame'),
        ([*drive(1), *drive(1, camera=replace(CAMERA, fx=40.0))], 'frame 1 has another camera'),
        (drive(1, image=np.zeros((4, 4, 3), np.uint8)), 'frame 0: image is'),
        (drive(1, depth=np.zeros((4, 4), np.float32)), 'frame 0: depth is'),
    ],
)
def test_a_drive_that_cannot_be_stored_is_refused(
    frames: list[Frame], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=message):
        write_sequence(tmp_path / 'drive', frames)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    folder = _written(tmp_path / 'drive')
    with pytest.raises(DatasetError, match='drive exists already'):
        write_sequence(folder, drive())
    assert len(SequenceFolder(folder)) == 3


def _edit(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / 'sequence.json'
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return edit


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda f: (f / 'sequence.json').unlink(), 'sequence.json: cannot read'),
        (lambda f: (f / 'sequence.json').write_text('{'), 'sequence.json: cannot read'),
        (lambda f: (f / 'sequence.json').write_bytes(b'\xff\xfe'), 'sequence.json: cannot read'),
        (lambda f: (f / 'sequence.json').write_text('[]'), 'sequence.json: cannot read'),
        (_edit(lambda d: d.update(version=2)), 'version 2, this package reads 1'),
        (_edit(lambda d: d['camera'].update(fx=-1.0)), 'focal lengths must be positive'),
        (_edit(lambda d: d['camera'].pop('cy')), 'cy'),
        (_edit(lambda d: d['frames'][0].update(pose=[1, 2])), 'reshape'),
        (_edit(lambda d: d.update(frames=[])), 'the drive has no frames'),
    ],
)
def test_a_damaged_folder_is_refused(
    damage: Callable[[Path], Any], message: str, tmp_path: Path
) -> None:
    folder = _written(tmp_path / 'drive')
    damage(folder)
    with pytest.raises(DatasetError, match=message):
        SequenceFolder(folder)


@pytest.mark.parametrize(
    ('name', 'pixels', 'message'),
    [
        ('image/000001.png', None, 'image/000001.png: missing or damaged image'),
        ('image/000001.png', np.zeros((3, 3, 3), np.uint8), 'is 3x3, of another size than the'),
        ('depth/000001.png', np.zeros((24, 40), np.uint8), '8 bits in 1 channel; store depth'),
        (
            'depth/000001.png',
            np.zeros((3, 3), np.uint16),
            'of another size: it is 3x3, its image 40x24',
        ),
    ],
)
def test_a_damaged_image_is_named(
    name: str, pixels: np.ndarray | None, message: str, tmp_path: Path
) -> None:
    folder = _written(tmp_path / 'drive')
    (folder / name).unlink()
    if pixels is not None:
        cv2.imwrite(str(folder / name), pixels)
    sequence = SequenceFolder(folder)
    assert sequence[0].stamp
    with pytest.raises(DamagedFrameError, match=message):
        sequence[1]


# Bags


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bags') / 'drive'
    assert write_drive(path, drive()) == 3
    return path


def test_a_bag_holds_the_drive(bag: Path) -> None:
    frames = drive()
    found: dict[str, list[Any]] = {}
    for topic, stamp, message in read_messages(bag):
        found.setdefault(topic, []).append((stamp, message))
    assert {topic: len(messages) for topic, messages in found.items()} == {
        '/tf_static': 1,
        INFO_TOPIC: 3,
        IMAGE_TOPIC: 3,
        TRUTH_TOPIC: 3,
    }
    for index, frame in enumerate(frames):
        (stamp, image), (_, info), (_, truth) = (
            found[topic][index] for topic in (IMAGE_TOPIC, INFO_TOPIC, TRUTH_TOPIC)
        )
        assert stamp == frame.stamp
        for message in (image, info, truth):
            header = message.header
            assert header.stamp.sec * 10**9 + header.stamp.nanosec == frame.stamp
            assert header.frame_id == 'camera_optical_frame'
        assert (image.encoding, image.step, image.height, image.width) == ('rgb8', 120, 24, 40)
        np.testing.assert_array_equal(image.data.reshape(24, 40, 3), frame.image)
        assert camera_from_info(info) == frame.camera
        assert np.allclose(info.p.reshape(3, 4)[:, :3].ravel(), CAMERA.K)
        assert (truth.encoding, truth.step) == ('32FC1', 160)
        np.testing.assert_array_equal(truth.data.view(np.float32).reshape(24, 40), frame.depth)


def test_a_drive_without_depth_and_mount_has_neither_in_its_bag(tmp_path: Path) -> None:
    write_drive(tmp_path / 'drive', drive(2, depth=None, mount=None))
    topics = {topic for topic, *_ in read_messages(tmp_path / 'drive')}
    assert topics == {IMAGE_TOPIC, INFO_TOPIC}


angles = st.floats(-1.5, 1.5)


# Each example writes a bag: a failure is not worth shrinking.
@settings(deadline=None, max_examples=40, phases=[Phase.generate])
@given(pitch=angles, roll=angles, yaw=angles, height=st.floats(0.1, 4.0))
def test_tf_static_is_the_mount(
    tmp_path_factory: pytest.TempPathFactory, pitch: float, roll: float, yaw: float, height: float
) -> None:
    mount = Mount(pitch, roll, yaw, height)
    path = tmp_path_factory.mktemp('mount') / 'drive'
    write_drive(path, drive(1, mount=mount))
    ((_, _, message),) = read_messages(path, ['/tf_static'])
    (stamped,) = message.transforms
    assert stamped.header.frame_id == 'base_link'
    assert stamped.child_frame_id == 'camera_optical_frame'
    q, t = stamped.transform.rotation, stamped.transform.translation
    assert math.hypot(q.x, q.y, q.z, q.w) == pytest.approx(1, abs=1e-12)
    # The rotation as its axes turn: v + 2 q x (q x v + w v).
    vector = np.array([q.x, q.y, q.z])
    axes = np.eye(3)
    turned = axes + 2 * np.cross(vector, np.cross(vector, axes) + q.w * axes)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turned.T, (t.x, t.y, t.z)
    found = mount_from_transform(matrix)
    assert (found.pitch, found.roll, found.yaw) == pytest.approx((pitch, roll, yaw), abs=1e-7)
    assert (t.x, t.y, found.height) == (0, 0, height)


def test_a_bag_names_its_own_files_and_can_be_moved(bag: Path, tmp_path: Path) -> None:
    moved = tmp_path / 'elsewhere'
    shutil.copytree(bag, moved)
    information = yaml.safe_load((moved / 'metadata.yaml').read_text())
    information = information['rosbag2_bagfile_information']
    assert information['relative_file_paths'] == ['drive.mcap']
    assert [file['path'] for file in information['files']] == ['drive.mcap']
    assert sorted(file.name for file in moved.iterdir()) == ['drive.mcap', 'metadata.yaml']
    assert information['storage_identifier'] == 'mcap'
    assert information['message_count'] == 10
    for path in (bag, moved, moved / 'drive.mcap'):
        with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            assert len(list(reader.messages())) == 10
    assert len(list(read_messages(moved / 'drive.mcap'))) == 10


def test_tf_static_is_recorded_as_latched(bag: Path) -> None:
    # What players publish volatile, tf listeners never receive.
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        (connection,) = (c for c in reader.connections if c.topic == '/tf_static')
        (profile,) = connection.ext.offered_qos_profiles  # type: ignore[union-attr]
    assert profile.durability.name == 'TRANSIENT_LOCAL'
    assert profile.reliability.name == 'RELIABLE'


def test_only_the_topics_asked_for_are_read(bag: Path) -> None:
    topics = (topic for topic in [IMAGE_TOPIC, '/tf_static'])
    found = [(topic, kind) for topic, _, kind, _ in read_raw_messages(bag, topics)]
    assert found.count((IMAGE_TOPIC, 'sensor_msgs/msg/Image')) == 3
    assert len(found) == 4
    assert list(read_raw_messages(bag, [])) == []
    with pytest.raises(DatasetError, match=r'no topic /nothing; there are /camera/camera_info'):
        list(read_messages(bag, ['/nothing']))


@pytest.mark.parametrize(
    ('frames', 'message'),
    [
        ([], 'at least one frame'),
        (drive(1, stamp=-1), 'stamp -1 ns is no ROS time'),
        (drive(1, stamp=2**31 * 10**9), 'is no ROS time'),
    ],
)
def test_a_drive_that_is_no_bag_is_refused(
    frames: list[Frame], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=message):
        write_drive(tmp_path / 'drive', frames)
    assert not list(tmp_path.iterdir())


def test_interrupted_writing_leaves_no_bag(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_drive(tmp_path / 'drive', interrupted(drive()))
    assert not list(tmp_path.iterdir())
    # Nor does what a killed run left stand in the way.
    (tmp_path / 'drive.part').mkdir()
    (tmp_path / 'drive.part' / 'drive.part.mcap').write_bytes(b'half')
    write_drive(tmp_path / 'drive', drive(1))
    assert [file.name for file in tmp_path.iterdir()] == ['drive']


def test_an_existing_bag_is_not_overwritten(bag: Path) -> None:
    with pytest.raises(DatasetError, match='exists already'), new_bag(bag):
        pass
    assert len(list(read_messages(bag))) == 10


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda data: data[: len(data) // 2], 'cannot read the bag'),
        (lambda data: b'', 'cannot read the bag'),
        (lambda data: b'rubbish' * 100, 'cannot read the bag'),
    ],
)
def test_a_damaged_bag_is_refused(
    damage: Callable[[bytes], bytes], message: str, bag: Path, tmp_path: Path
) -> None:
    copy = tmp_path / 'copy'
    shutil.copytree(bag, copy)
    (copy / 'drive.mcap').write_bytes(damage((bag / 'drive.mcap').read_bytes()))
    with pytest.raises(DatasetError, match=message):
        list(read_messages(copy))


@pytest.mark.parametrize('name', ['missing', 'empty', 'notes.txt', 'old.bag'])
def test_what_is_no_ros_2_bag_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'notes.txt').write_text('notes')
    (tmp_path / 'old.bag').write_text('#ROSBAG V2.0\n')
    with pytest.raises(DatasetError, match=name):
        list(read_messages(tmp_path / name))


def test_a_damaged_message_is_named(tmp_path: Path) -> None:
    with new_bag(tmp_path / 'drive') as writer:
        writer.write('/image', 'sensor_msgs/msg/Image', 7, b'\x00\x01\x00\x00' + b'\xff' * 40)
    with pytest.raises(DatasetError, match=r'/image at 7 ns: damaged'):
        list(read_messages(tmp_path / 'drive'))


# DGP

PLANE = np.array([0.0, 0.0, 12.0]), np.array([0.3, -0.2, -1.0])  # a point, the normal (front's)


def _turn(axis: str, angle: float) -> np.ndarray:
    i, j = {'x': (1, 2), 'y': (2, 0), 'z': (0, 1)}[axis]
    matrix = np.eye(4)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[i, j], matrix[j, i] = -math.sin(angle), math.sin(angle)
    return matrix


def _move(x: float, y: float, z: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def _pose(matrix: np.ndarray) -> dict[str, Any]:
    w = math.sqrt(max(0.0, 1 + np.trace(matrix[:3, :3]))) / 2
    m = matrix
    q = np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]]) / (4 * w)
    return {
        'rotation': dict(zip(('qw', 'qx', 'qy', 'qz'), (w, *map(float, q)), strict=True)),
        'translation': dict(zip('xyz', map(float, m[:3, 3]), strict=True)),
    }


OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
CAMERAS = {
    'CAMERA_01': (Camera(64, 40, 70.0, 72.0, 30.5, 21.0), (0.05, 0.02, -0.04, 1.5)),
    'CAMERA_05': (Camera(64, 40, 50.0, 50.0, 33.0, 19.0), (0.01, -0.03, 0.6, 1.3)),
}


def _mounted(pitch: float, roll: float, yaw: float, height: float) -> np.ndarray:
    attitude = _turn('z', yaw) @ _turn('y', pitch) @ _turn('x', roll)
    return _move(1.6, 0.2, height) @ attitude @ OPTICAL


def pixel_rays(camera: Camera) -> np.ndarray:
    v, u = np.mgrid[: camera.height, : camera.width]
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def plane_depth(camera: Camera, point: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return (point @ normal) / (pixel_rays(camera) @ normal)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Two cameras and a LiDAR at two times, each with a pose of its own, before a plane."""
    folder = tmp_path / 'scene_01'
    for name in ('calibration', 'point_cloud/LIDAR', 'rgb/CAMERA_01', 'rgb/CAMERA_05'):
        (folder / name).mkdir(parents=True)
    names = ['LIDAR', *CAMERAS]
    nothing = {'fx': 0.0, 'fy': 0.0, 'cx': 0.0, 'cy': 0.0, 'skew': 0.0}
    calibration = {
        'names': names,
        'intrinsics': [
            nothing,
            *(
                {'fx': c.fx, 'fy': c.fy, 'cx': c.cx, 'cy': c.cy, 'skew': 0.0}
                for c, _ in CAMERAS.values()
            ),
        ],
        'extrinsics': [_pose(np.eye(4)), *(_pose(_mounted(*m)) for _, m in CAMERAS.values())],
    }
    (folder / 'calibration' / 'key.json').write_text(json.dumps(calibration))
    data, samples = [], []
    for index in range(2):
        vehicle = _move(30.0, -20.0, 1.0) @ _turn('z', 0.8) @ _move(index * 0.5, 0, 0)
        # Sensors fire one after the other: by the LiDAR's turn the car has moved on.
        lidar = vehicle @ _move(0.15, 0, 0) @ _turn('z', 0.01)
        keys, points = [], []
        for name, (camera, mount) in CAMERAS.items():
            pose = vehicle @ _mounted(*mount)
            file = f'rgb/{name}/{index}.png'
            pixels = np.full((camera.height, camera.width, 3), (10, 20, 30 + index), np.uint8)
            cv2.imwrite(str(folder / file), pixels[..., ::-1])
            data.append(_datum(f'{name}{index}', name, index, 'image', file, pose))
            keys.append(f'{name}{index}')
            # Rays through the pixels' centres onto a plane before this camera.
            local = pixel_rays(camera) * plane_depth(camera, *PLANE)[..., None]
            local = local.reshape(-1, 3)
            points.append(local @ pose[:3, :3].T + pose[:3, 3])
        if index == 0:
            points = points[:1]  # the plane before the front camera alone
        world = np.concatenate(points)
        back = np.linalg.inv(lidar)
        local = world @ back[:3, :3].T + back[:3, 3]
        local = np.concatenate([local, np.ones((len(local), 1))], axis=1)
        file = f'point_cloud/LIDAR/{index}.npz'
        np.savez(folder / file, data=local)
        data.append(_datum(f'lidar{index}', 'LIDAR', index, 'point_cloud', file, lidar))
        samples.append(
            {'calibration_key': 'key', 'datum_keys': [f'lidar{index}', *keys], 'id': {}}
        )
    (folder / 'scene.json').write_text(json.dumps({'data': data, 'samples': samples}))
    path = tmp_path / 'scene_dataset_v1.0.json'
    splits = {'0': {'filenames': ['scene_01/scene.json']}}
    path.write_text(json.dumps({'metadata': {}, 'scene_splits': splits}))
    return path


def _datum(
    key: str, name: str, index: int, kind: str, file: str, pose: np.ndarray
) -> dict[str, Any]:
    stamp = f'2463-05-15T00:38:5{index}.2037{5 + len(kind)}Z'
    content = {'filename': file, 'pose': _pose(pose)}
    return {'key': key, 'id': {'name': name, 'timestamp': stamp}, 'datum': {kind: content}}


def test_a_dgp_scene_gives_exact_depth_mount_and_intrinsics(scene: Path) -> None:
    sequence = open_sequence(f'{scene}#camera_01')
    camera, mount = CAMERAS['CAMERA_01']
    assert isinstance(sequence, DgpSequence)
    assert len(sequence) == 2
    frame = sequence[0]
    assert frame.camera == camera
    assert frame.stamp == 0
    assert sequence[1].stamp == 10**9
    np.testing.assert_array_equal(frame.image, np.full((40, 64, 3), (10, 20, 30)))
    assert frame.mount is not None
    found = (frame.mount.pitch, frame.mount.roll, frame.mount.yaw, frame.mount.height)
    assert found == pytest.approx(mount, abs=1e-9)
    assert frame.depth is not None
    np.testing.assert_allclose(frame.depth, plane_depth(camera, *PLANE), rtol=1e-5)
    for index, found_pose in enumerate(f.pose for f in sequence):
        vehicle = _move(30.0, -20.0, 1.0) @ _turn('z', 0.8) @ _move(index * 0.5, 0, 0)
        assert found_pose is not None
        np.testing.assert_allclose(found_pose, vehicle @ _mounted(*mount), atol=1e-9)


def test_each_camera_of_a_dgp_scene_has_its_own_depth(scene: Path) -> None:
    camera, mount = CAMERAS['CAMERA_05']
    side = DgpSequence(scene, 'CAMERA_05')
    assert side[0].camera == camera
    assert side[0].mount is not None
    assert side[0].mount.yaw == pytest.approx(mount[2])
    assert side[1].depth is not None
    expected = plane_depth(camera, *PLANE)
    # Points of the front camera's plane may fall nearer.
    assert (side[1].depth <= expected * (1 + 1e-5)).all()
    assert np.isclose(side[1].depth, expected, rtol=1e-5).mean() > 0.5
    assert side[0].depth is not None
    assert np.isnan(side[0].depth).mean() > 0.3


def test_every_scene_of_every_split_has_a_name(scene: Path) -> None:
    folder = scene.parent
    shutil.copytree(folder / 'scene_01', folder / 'scene_02')
    shutil.copytree(folder / 'scene_01', folder / 'scene_03')
    files = [f'scene_0{number}/scene.json' for number in (1, 2, 3)]
    splits = {'0': {'filenames': files[:2]}, '1': {'filenames': files[1:]}}
    ddad = folder / 'ddad.json'
    ddad.write_text(json.dumps({'metadata': {}, 'scene_splits': splits}))
    scene.unlink()
    names = [f'{folder / file}#CAMERA_01' for file in files]
    # A scene that two splits list is one drive.
    assert sequence_names(str(ddad)) == sequence_names(str(folder)) == names
    assert sequence_names(f'{ddad}#train') == names[:2]
    chosen = [f'{folder / file}#CAMERA_05' for file in files[1:]]
    assert sequence_names(f'{ddad}#val,CAMERA_05') == chosen
    assert sequence_names(chosen[0]) == chosen[:1]
    assert open_sequence(chosen[0])[0].camera == CAMERAS['CAMERA_05'][0]
    assert folder / 'scene_02/calibration/key.json' in drive_files(chosen[0])
    with pytest.raises(DatasetError, match=r'is 3 drives: open each of sequence_names'):
        open_sequence(str(ddad))
    with pytest.raises(DatasetError, match='no split test with scenes; there are: train, val'):
        sequence_names(f'{ddad}#test')
    with pytest.raises(DatasetError, match="'v1.5' means nothing here"):
        sequence_names(f'{ddad}#v1.5')


def test_a_dgp_lens_that_distorts_is_not_taken_for_a_rectified_one(scene: Path) -> None:
    path = scene.parent / CALIBRATION
    document = json.loads(path.read_text())
    lens = {'k1': -0.2, 'k2': 0.05, 'k3': 0.0, 'p1': 0.001, 'p2': -0.002, 'fov': 0.0}
    document['intrinsics'][1].update(lens)
    path.write_text(json.dumps(document))
    frame = DgpSequence(scene)[0]
    assert frame.camera.distortion == (-0.2, 0.05, 0.001, -0.002, 0.0)
    assert frame.depth is not None
    # The plane is seen through the lens.
    rays = frame.camera.rays()
    expected = (PLANE[0] @ PLANE[1]) / (rays @ PLANE[1])
    known = np.isfinite(frame.depth)
    assert known.mean() > 0.5
    np.testing.assert_allclose(frame.depth[known], expected[known], rtol=0.01)
    for odd in ({'skew': 2.0}, {'fov': 3.1}, {'xi': 1.2}):
        document['intrinsics'][1].update(odd)
        path.write_text(json.dumps(document))
        with pytest.raises(DatasetError, match='is a lens or a skew that is not supported'):
            DgpSequence(scene)[0]


def test_resized_dgp_images_are_refused(scene: Path) -> None:
    pixels = np.zeros((20, 32, 3), np.uint8)
    cv2.imwrite(str(scene.parent / 'scene_01/rgb/CAMERA_01/0.png'), pixels)
    with pytest.raises(
        DamagedFrameError, match=r'does not fit images of 32x20 px; have they been re'
    ):
        DgpSequence(scene)[0]


def _json_edit(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        change(document)
        (folder / name).write_text(json.dumps(document))

    return edit


def _cut(name: str, size: int) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:size])

    return cut


LIDAR = 'scene_01/point_cloud/LIDAR/0.npz'
CALIBRATION = 'scene_01/calibration/key.json'
INDEX = 'scene_dataset_v1.0.json'
SCENE = 'scene_01/scene.json'


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (_cut(INDEX, 30), f'{INDEX}: cannot read'),
        (lambda f: (f / INDEX).write_text('[]'), f'{INDEX}: not a DGP scene data set'),
        (_json_edit(INDEX, lambda d: d['scene_splits'].pop('0')), 'no split with scenes'),
        (lambda f: (f / SCENE).unlink(), 'scene.json: cannot read'),
        (_json_edit(SCENE, lambda d: d.pop('samples')), "not a DGP scene.*'samples'"),
        (_json_edit(SCENE, lambda d: d['data'][0]['id'].pop('timestamp')), 'timestamp'),
        (_json_edit(SCENE, lambda d: d['data'][0]['datum']['image'].pop('pose')), 'pose'),
        (lambda f: (f / 'scene_01/rgb/CAMERA_01/0.png').unlink(), 'CAMERA_01/0.png: missing'),
        (_cut('scene_01/rgb/CAMERA_01/0.png', 0), 'CAMERA_01/0.png: missing or damaged'),
        (lambda f: (f / LIDAR).unlink(), '0.npz: missing or damaged point cloud'),
        (_cut(LIDAR, 900), '0.npz: missing or damaged point cloud'),
        (_cut(LIDAR, 0), '0.npz: missing or damaged point cloud'),
        (lambda f: np.savez(f / LIDAR, other=np.ones(3)), '0.npz: missing or damaged'),
        (lambda f: np.savez(f / LIDAR, data=np.ones(3)), '0.npz: missing or damaged'),
        (lambda f: (f / CALIBRATION).unlink(), 'key.json: cannot read'),
        (_json_edit(CALIBRATION, lambda d: d['names'].pop()), None),
        (_json_edit(CALIBRATION, lambda d: d['names'].pop(1)), 'no calibration of CAMERA_01'),
        (_json_edit(CALIBRATION, lambda d: d['intrinsics'].clear()), 'no calibration of'),
        (_json_edit(CALIBRATION, lambda d: d['intrinsics'][1].update(fx=0)), 'positive'),
        (
            _json_edit(
                CALIBRATION,
                lambda d: d['extrinsics'].__setitem__(1, _pose(_mounted(0.0, 0.0, 2.6, 1.5))),
            ),
            'CAMERA_01: cameras must look ahead',
        ),
    ],
)
def test_a_damaged_dgp_file_is_named(
    damage: Callable[[Path], Any], message: str | None, scene: Path
) -> None:
    damage(scene.parent)
    if message is None:  # what this camera does not need does not matter
        assert DgpSequence(scene, 'CAMERA_01')[0].camera == CAMERAS['CAMERA_01'][0]
        return
    with pytest.raises(DatasetError, match=message):
        DgpSequence(scene, 'CAMERA_01')[0]


def test_an_unknown_camera_is_refused_with_those_there_are(scene: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"no images of 'FRONT'; there are CAMERA_01, CAMERA_05"
    ):
        DgpSequence(scene, 'FRONT')


@pytest.mark.skipif(not SAMPLE.is_file(), reason='the real sample is not here')
@pytest.mark.parametrize(('name', 'focal'), [('CAMERA_01', 2168), ('CAMERA_05', 1062)])
def test_the_real_sample_is_read(name: str, focal: float) -> None:
    sequence = DgpSequence(SAMPLE, name)
    frames = list(sequence)
    assert len(sequence) == len(frames) == 3
    assert [round(frame.stamp * 1e-9) for frame in frames] == [0, 1, 2]
    for frame in frames:
        assert frame.image.shape == (1216, 1936, 3)
        assert frame.image.std() > 20
        assert frame.camera.fx == pytest.approx(focal, abs=1)
        assert frame.depth is not None
        seen = np.isfinite(frame.depth)
        assert 1_000 < seen.sum() < 60_000
        assert 1 < np.median(frame.depth[seen]) < 60
        assert frame.mount is not None
        assert frame.mount.height is not None
        assert 1.2 < frame.mount.height < 1.6
        assert abs(math.degrees(frame.mount.pitch)) < 3
    # The car stands still.
    assert frames[0].pose is not None
    assert frames[2].pose is not None
    assert np.linalg.norm(frames[2].pose[:3, 3] - frames[0].pose[:3, 3]) < 0.2


# Names


def test_a_world_names_a_drive_for_each_seed() -> None:
    assert sequence_names('world:town:3') == ['world:town:3']
    assert sequence_names('world:town:0-2x60') == [f'world:town:{n}x60' for n in range(3)]
    assert sequence_names('some/folder') == ['some/folder']


@pytest.mark.parametrize(
    'name', ['world:', 'world:town', 'world:town:a', 'world:town:1x', 'world:town:-1', 'world:T:1']
)
def test_a_malformed_world_is_refused(name: str) -> None:
    for function in (sequence_names, open_sequence):
        with pytest.raises(DatasetError, match='world:DOMAIN:SEED'):
            function(name)


@pytest.mark.parametrize('name', ['world:town:3-1', 'world:town:0-99999'])
def test_seeds_out_of_order_or_too_many_are_refused(name: str) -> None:
    with pytest.raises(DatasetError, match='drives'):
        sequence_names(name)


def test_several_drives_are_not_opened_as_one() -> None:
    with pytest.raises(DatasetError, match='is several drives'):
        open_sequence('world:town:0-3')


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('world:moon:1', "there is no domain 'moon'; known are"),
        ('world:town:1x0', 'world:town:1x0'),
        ('world:town:1@9', 'm above the road'),
        ('world:town:1@1.5+.5', 'pitched by -0.2 .. 0.2 rad, got 0.5'),
    ],
)
def test_a_world_that_is_not_there_is_refused(name: str, message: str) -> None:
    pytest.importorskip('torch')
    with pytest.raises(DatasetError, match=message):
        open_sequence(name)


def test_a_world_opens() -> None:
    pytest.importorskip('torch')
    assert len(open_sequence('world:town:1x7')) == 7


def test_a_camera_of_a_world_can_have_a_given_height() -> None:
    pytest.importorskip('torch')
    assert sequence_names('world:town:0-1x5@1.35') == [f'world:town:{n}x5@1.35' for n in (0, 1)]
    drawn, given = open_sequence('world:town:1x3'), open_sequence('world:town:1x3@1.35')
    heights = [mount.height for mount in given.mounts if mount is not None]
    # It shakes by a centimetre.
    assert heights == pytest.approx([1.35] * 3, abs=0.02)
    assert drawn.mounts[0] is not None
    assert drawn.mounts[0].height != pytest.approx(1.35, abs=0.02)
    assert drawn[0].camera == given[0].camera


def test_a_camera_of_a_world_can_have_a_given_pitch() -> None:
    pytest.importorskip('torch')
    assert sequence_names('world:town:0-1@1.5-0.04') == [
        f'world:town:{n}@1.5-0.04' for n in (0, 1)
    ]
    pitches = {}
    for name in ('world:town:1x3@1.5', 'world:town:1x3@1.5-0.04', 'world:town:1x3@1.5+0.00'):
        mounts = open_sequence(name).mounts
        pitches[name] = [mount.pitch for mount in mounts if mount is not None]
    drawn, up, level = pitches.values()
    assert np.mean(up) == pytest.approx(-0.04, abs=0.01)  # it shakes
    assert np.subtract(up, level) == pytest.approx([-0.04] * 3)
    assert np.ptp(np.subtract(drawn, level)) < 1e-9


def test_worlds_without_torch_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith('mono_metric_depth.worlds')]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, 'torch', None)
    with pytest.raises(DatasetError, match=r"worlds need torch: pip install 'mono_metric_depth"):
        open_sequence('world:town:1')


@pytest.mark.parametrize('name', ['missing', '.', 'missing.json', 'missing.json#CAMERA_01'])
def test_what_is_no_drive_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='is no drive: expected a folder with a sequence.json'):
        open_sequence(str(tmp_path / name))


def test_a_folder_may_have_a_hash_in_its_name(tmp_path: Path) -> None:
    assert len(open_sequence(str(_written(tmp_path / 'drive #2')))) == 3


def test_dataset_errors_are_value_errors() -> None:
    assert issubclass(DatasetError, ValueError)
    assert not issubclass(DatasetError, CameraError)

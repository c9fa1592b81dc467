# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI raw and KITTI depth, in small trees of the same layout."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import analytic_scene as scene
import numpy as np
import pytest
from analytic_scene import move, moved, turn

from mono_metric_depth.camera import Camera
from mono_metric_depth.datasets import (
    DamagedFrameError,
    DatasetError,
    drive_files,
    open_sequence,
    sequence_names,
)
from mono_metric_depth.datasets.kitti import KittiDrive
from mono_metric_depth.training.aligned_drive import AlignedDrive
from mono_metric_depth.training.drive_cache import align_drives

DAY = '2011_09_26'
DRIVE = f'{DAY}_drive_0001_sync'
FRAMES = 4
SIZE = (64, 40)
K = (52.0, 53.0, 30.25, 19.5)
EARTH = 6378137.0
LATITUDE, LONGITUDE = 49.015, 8.434
#: Rigid parts of the vehicle, with numbers of the size that KITTI's have.
VELODYNE_FROM_IMU = move(-0.81, 0.32, -0.80) @ turn('z', 0.015) @ turn('x', -0.002)
CAMERA0_FROM_VELODYNE = (
    move(-0.004, -0.076, -0.272)
    @ turn('x', 0.012)
    @ turn('y', 0.008)
    @ np.linalg.inv(scene.OPTICAL)
)
RECTIFIED_FROM_CAMERA0 = turn('y', 0.01) @ turn('z', -0.006)
#: The left colour camera sits 6 cm to the left of camera 00, the right one 47 cm to its right.
SHIFTS = {'02': (0.06, -0.0003, 0.0027), '03': (-0.47, 0.002, 0.003)}
IMU_HEIGHT = 0.93


def imu_pose(index: int) -> np.ndarray:
    """In a world with x east, y north, above the first place of the IMU; it drives east."""
    yaw = 0.02 * index
    attitude = turn('z', yaw) @ turn('y', 0.01) @ turn('x', -0.015)
    return move(1.1 * index, 0.2 * index, 0.01 * index) @ attitude


def camera_pose(index: int, camera: str = '02') -> np.ndarray:
    camera_from_velodyne = move(*SHIFTS[camera]) @ RECTIFIED_FROM_CAMERA0 @ CAMERA0_FROM_VELODYNE
    return imu_pose(index) @ np.linalg.inv(camera_from_velodyne @ VELODYNE_FROM_IMU)


#: The world of the scene has its origin on the road, that of the poses in the IMU.
SCENE = move(0, 0, IMU_HEIGHT)


def expected_depth(index: int, camera: str = '02') -> np.ndarray:
    return scene.seen_depth(SIZE, K, SCENE @ camera_pose(index, camera))


def numbers(values: Any) -> str:
    return ' '.join(f'{value:.12e}' for value in np.ravel(values))


def write_rigid(path: Path, matrix: np.ndarray) -> None:
    path.write_text(
        'calib_time: 15-Mar-2012 11:37:16\n'
        f'R: {numbers(matrix[:3, :3])}\nT: {numbers(matrix[:3, 3])}\n'
    )


def write_kitti(
    root: Path, drive: str = DRIVE, suffix: str = '.png', frames: int = FRAMES
) -> Path:
    """A drive of two cameras with LiDAR, GPS/IMU and stamps; its calibration above."""
    folder = root / DAY / drive
    folder.mkdir(parents=True)
    k = np.array([[K[0], 0, K[2]], [0, K[1], K[3]], [0, 0, 1]])
    lines = ['calib_time: 09-Jan-2012 13:57:47', 'corner_dist: 9.950000e-02']
    for name, shift in {'00': (0, 0, 0), **SHIFTS}.items():
        # The camera before rectification: another size, other intrinsics, a distorting lens.
        raw = np.array([[70.0, 0, 40], [0, 71, 25], [0, 0, 1]])
        lines += [f'S_{name}: 8.0e+01 5.0e+01', f'K_{name}: {numbers(raw)}']
        lines += [f'D_{name}: -3.7e-01 2.0e-01 1.3e-03 1.6e-03 -7.2e-02']
        lines += [f'R_{name}: {numbers(np.eye(3))}', f'T_{name}: {numbers(shift)}']
        lines += [f'S_rect_{name}: {numbers(SIZE)}']
        lines += [f'R_rect_{name}: {numbers(RECTIFIED_FROM_CAMERA0[:3, :3])}']
        projection = k @ np.concatenate([np.eye(3), np.array(shift, float)[:, None]], axis=1)
        lines += [f'P_rect_{name}: {numbers(projection)}']
    (root / DAY / 'calib_cam_to_cam.txt').write_text('\n'.join(lines) + '\n')
    write_rigid(root / DAY / 'calib_velo_to_cam.txt', CAMERA0_FROM_VELODYNE)
    write_rigid(root / DAY / 'calib_imu_to_velo.txt', VELODYNE_FROM_IMU)
    for part in ('velodyne_points/data', 'oxts/data'):
        (folder / part).mkdir(parents=True)
    for index in range(frames):
        for camera, red in (('02', 10), ('03', 90)):
            file = folder / f'image_{camera}' / 'data' / f'{index:010d}{suffix}'
            scene.write_image(file, SIZE, (red, 20, 30 + index))
        seen, hidden = scene.seen_points(SIZE, K, SCENE @ camera_pose(index))
        world = np.concatenate([seen, hidden])
        pose = imu_pose(index) @ np.linalg.inv(VELODYNE_FROM_IMU)
        local = moved(np.linalg.inv(SCENE @ pose), world)
        cloud = np.concatenate([local, np.full((len(local), 1), 0.3)], axis=1)
        cloud.astype('<f4').tofile(folder / f'velodyne_points/data/{index:010d}.bin')
        east, north, up = imu_pose(index)[:3, 3]
        latitude = LATITUDE + math.degrees(north / EARTH)
        longitude = LONGITUDE + math.degrees(east / EARTH / math.cos(math.radians(LATITUDE)))
        attitude = (-0.015, 0.01, 0.02 * index)
        record = f'{latitude:.13f} {longitude:.13f} {112.8 + up:.9f} {numbers(attitude)}'
        record += ' ' + ' '.join(['0.0'] * 19) + ' 4 10 4 4 0\n'
        (folder / f'oxts/data/{index:010d}.txt').write_text(record)
    stamps = [f'2011-09-26 13:02:{25 + i // 10}.{i % 10}64389445\n' for i in range(frames)]
    for camera in ('02', '03'):
        (folder / f'image_{camera}' / 'timestamps.txt').write_text(''.join(stamps))
    return folder


def write_ground_truth(folder: Path, frames: tuple[int, ...] = (1, 2), unit: float = 256) -> None:
    """Improved ground truth, in the layout of the depth benchmark."""
    for index in frames:
        depth = expected_depth(index) + 0.5  # told from LiDAR by half a metre
        depth[depth > 80] = 0
        file = folder / 'proj_depth/groundtruth/image_02' / f'{index:010d}.png'
        scene.write_png16(file, depth * unit)


@pytest.fixture(scope='module')
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('kitti')
    write_kitti(root)
    write_kitti(root, f'{DAY}_drive_0002_sync', '.jpg')
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / 'kitti'))


@pytest.fixture
def drive(root: Path) -> Path:
    return root / DAY / DRIVE


def test_lidar_gives_the_depth_and_the_pose_of_the_rectified_camera(written: Path) -> None:
    sequence = KittiDrive(written / DAY / DRIVE)
    assert (len(sequence), sequence.truth) == (FRAMES, 'velodyne')
    for index, frame in enumerate(sequence):
        # Not K_02 and D_02, which are the camera's before rectification.
        assert (frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy) == K
        assert frame.camera.distortion == ()
        np.testing.assert_array_equal(frame.image[3, 4], (10, 20, 30 + index))
        assert frame.pose is not None
        expected = expected_depth(index)
        found = np.isfinite(frame.depth)
        np.testing.assert_array_equal(found, expected < 60)
        np.testing.assert_allclose(frame.depth[found], expected[found], rtol=1e-4)
        np.testing.assert_allclose(frame.pose, camera_pose(index), atol=1e-4)
        points = (frame.camera.rays() * frame.depth[..., None])[found]
        assert np.quantile(scene.astray(moved(SCENE @ frame.pose, points)), 0.999) < 0.01


def test_the_right_camera_sees_from_its_own_place(written: Path) -> None:
    frame = open_sequence(f'{written / DAY / DRIVE}#image_03')[1]
    assert frame.pose is not None
    assert frame.depth is not None
    np.testing.assert_array_equal(frame.image[3, 4], (90, 20, 31))
    np.testing.assert_allclose(frame.pose, camera_pose(1, '03'), atol=1e-4)
    found = np.isfinite(frame.depth)
    points = (frame.camera.rays() * frame.depth[..., None])[found]
    away = scene.astray(moved(SCENE @ frame.pose, points))
    # Points through the left camera's pixels do not hit the middle of the right one's; some of
    # the hidden ones can be seen from there.
    assert np.median(away) < 0.06


def test_stamps_and_mount_are_those_of_the_drive(written: Path) -> None:
    sequence = KittiDrive(written / DAY / DRIVE)
    stamps = [frame.stamp for frame in sequence]
    # date -u -d '2011-09-26 13:02:25' +%s
    assert stamps[0] == 1317042145 * 10**9 + 64389445
    assert np.diff(stamps).tolist() == [10**8] * 3
    mount = sequence[0].mount
    assert mount is not None
    assert mount.height == 1.65
    assert sequence.mounts == [mount] * FRAMES
    # The camera's axis in the frame of the IMU: downwards is positive pitch, to the left yaw.
    x, y, z = (np.linalg.inv(imu_pose(0)) @ camera_pose(0))[:3, 2]
    assert mount.pitch == pytest.approx(math.asin(-z))
    assert mount.yaw == pytest.approx(math.atan2(y, x))


def test_without_stamps_there_are_ten_frames_a_second(drive: Path) -> None:
    (drive / 'image_02' / 'timestamps.txt').unlink()
    assert [frame.stamp for frame in KittiDrive(drive)] == [0, 10**8, 2 * 10**8, 3 * 10**8]


def test_the_historical_way_stores_velodyne_x_one_pixel_to_the_upper_left(written: Path) -> None:
    drive = written / DAY / DRIVE
    historical = open_sequence(f'{drive}#historical')[2].depth
    depth = open_sequence(f'{drive}#velodyne')[2].depth
    assert historical is not None
    assert depth is not None
    seen, _ = scene.seen_points(SIZE, K, SCENE @ camera_pose(2))
    pose = imu_pose(2) @ np.linalg.inv(VELODYNE_FROM_IMU)
    ahead = moved(np.linalg.inv(SCENE @ pose), seen)[:, 0]
    forward = np.full(SIZE[::-1], np.nan)
    forward[expected_depth(2) < 60] = ahead
    np.testing.assert_allclose(historical[:-1, :-1], forward[1:, 1:], rtol=1e-4)
    # The mistake that it is: a quarter of a metre at all distances.
    offset = historical[:-1, :-1] - depth[1:, 1:]
    assert 0.2 < np.nanmedian(offset) < 0.4


def test_every_drive_has_a_name(root: Path) -> None:
    second = f'{DAY}_drive_0002_sync'
    expected = [f'{root}/{DAY}/{name}#image_02' for name in (DRIVE, second)]
    assert sequence_names(str(root)) == expected
    assert sequence_names(str(root / DAY)) == expected
    assert sequence_names(f'{root / DAY / second}#velodyne,image_03') == [
        f'{root}/{DAY}/{second}#image_03,velodyne'
    ]
    assert sequence_names(expected[0]) == expected[:1]
    for name in expected:
        np.testing.assert_allclose(open_sequence(name)[0].image[0, 0], (10, 20, 30), atol=3)
    with pytest.raises(DatasetError, match='several drives: open each of sequence_names'):
        open_sequence(str(root))


def test_a_list_chooses_frames_in_the_order_of_the_drive(root: Path, tmp_path: Path) -> None:
    listed = tmp_path / 'eigen_test_files.txt'
    listed.write_text(f'{DAY}/{DRIVE} 3 l\n{DAY}/{DRIVE} 1 l\n{DAY}/{DRIVE} 2 r\n\n')
    names = sequence_names(f'{root}#{listed},velodyne')
    drive = root / DAY / DRIVE
    assert names == [f'{drive}#{camera},velodyne,{listed}' for camera in ('image_02', 'image_03')]
    left, right = map(open_sequence, names)
    assert [frame.image[0, 0, 2] for frame in left] == [31, 33]
    assert [frame.image[0, 0, 2] for frame in right] == [32]
    np.testing.assert_allclose(
        np.nan_to_num(left[0].depth),  # type: ignore[arg-type]
        np.where(expected_depth(1) < 60, expected_depth(1), 0),
        rtol=1e-4,
    )
    # Poses still start where the drive does.
    assert left[0].pose is not None
    np.testing.assert_allclose(left[0].pose, camera_pose(1), atol=1e-4)
    assert listed in drive_files(names[0])
    # The other way in which such lists are written.
    listed.write_text(f'{DAY}/{DRIVE}/image_02/data/0000000002.png\n')
    (name,) = sequence_names(f'{root}#{listed}')
    assert [frame.image[0, 0, 2] for frame in open_sequence(name)] == [32]


def test_training_cuts_a_list_where_frames_are_missing(tmp_path: Path) -> None:
    write_kitti(tmp_path / 'kitti', frames=11)
    listed = tmp_path / 'train_files.txt'
    listed.write_text(''.join(f'{DAY}/{DRIVE} {frame} l\n' for frame in (9, 0, 1, 8, 2, 10)))
    canonical = Camera(48, 32, 40.0, 40.0, 23.5, 14.5)

    def align(choice: str) -> list[AlignedDrive]:
        specification = f'{tmp_path}/kitti#{choice}'
        cache = tmp_path / 'cache'
        return align_drives(
            (specification,), canonical, levelled=True, with_depth=True, cache=cache, moving=True
        )

    (whole,) = align('velodyne')
    assert len(whole.images) == 11
    assert np.isfinite(whole.depth).any()
    pieces = align(str(listed))
    assert [piece.images[:, 16, 24, 2].tolist() for piece in pieces] == [
        [30, 31, 32],
        [38, 39, 40],
    ]
    # Another calibration is another drive, although no file of the drive itself has changed.
    path = tmp_path / 'kitti' / DAY / 'calib_velo_to_cam.txt'
    text = path.read_text()
    write_rigid(path, move(0, 0, 1) @ CAMERA0_FROM_VELODYNE)
    os.utime(path, ns=(1, 1))
    assert path.read_text() != text
    (moved_away,) = align('velodyne')
    assert np.nanmedian(moved_away.depth) - np.nanmedian(whole.depth) > 0.5


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (f'{DAY}/{DRIVE} 9 l', 'files.txt: 1 frames that it lists are not in .*, first: 00000000'),
        (f'{DAY}/{DAY}_drive_0009_sync 1 l', 'of its drives are not in .*_drive_0009_sync'),
        ('frame one', "line 1 names no frame: 'frame one'; expected lines such as"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(
    text: str, message: str, root: Path, tmp_path: Path
) -> None:
    listed = tmp_path / 'files.txt'
    listed.write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_sequence(sequence_names(f'{root}#{listed}')[0])


@pytest.mark.parametrize(
    'place', [f'{DAY}/{DRIVE}', f'val/{DRIVE}', f'data_depth_annotated/train/{DRIVE}']
)
def test_improved_ground_truth_is_found_wherever_it_is_unpacked(root: Path, place: str) -> None:
    write_ground_truth(root / place)
    sequence = open_sequence(f'{root / DAY / DRIVE}')
    depths = [frame.depth for frame in sequence]
    # A drive's first and last frames have none.
    assert [depth is None for depth in depths] == [True, False, False, True]
    assert depths[1] is not None
    expected = expected_depth(1) + 0.5
    found = np.isfinite(depths[1])
    np.testing.assert_array_equal(found, expected <= 80)
    np.testing.assert_allclose(depths[1][found], expected[found], atol=1 / 512)
    # LiDAR can still be asked for, and is not mixed with it.
    lidar = open_sequence(f'{root / DAY / DRIVE}#velodyne')[1].depth
    assert lidar is not None
    assert np.nanmax(np.abs(lidar - expected_depth(1))) < 0.01


def test_the_benchmark_may_lie_elsewhere_and_then_chooses_drives(
    root: Path, tmp_path: Path
) -> None:
    write_ground_truth(tmp_path / 'kitti_depth' / 'val' / DRIVE)
    for given in (tmp_path / 'kitti_depth', tmp_path / 'kitti_depth' / 'val'):
        (name,) = sequence_names(f'{root}#{given}')
        assert DRIVE in name
        sequence = open_sequence(name)
        assert isinstance(sequence, KittiDrive)
        assert sequence.truth == 'groundtruth'
        assert sequence[1].depth is not None
        assert any('groundtruth' in str(file) for file in drive_files(name))


def test_ground_truth_of_other_frames_is_refused(drive: Path) -> None:
    write_ground_truth(drive, (1,))
    folder = drive / 'proj_depth/groundtruth/image_02'
    (folder / '0000000001.png').rename(folder / '0000000500.png')
    with pytest.raises(DatasetError, match='none of its 1 depth images belongs to one of the 4'):
        KittiDrive(drive)


def test_ground_truth_that_is_not_there_is_not_replaced(drive: Path) -> None:
    with pytest.raises(DatasetError, match='no improved ground truth; unpack data_depth_annot'):
        open_sequence(f'{drive}#groundtruth')
    shutil.rmtree(drive / 'velodyne_points')
    for way in ('velodyne', 'historical'):
        with pytest.raises(DatasetError, match='no velodyne_points/data; unpack the whole'):
            open_sequence(f'{drive}#{way}')
    assert KittiDrive(drive)[0].depth is None


def _cut(name: str, size: int) -> Callable[[Path], Any]:
    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:size])

    return cut


def _replace(name: str, old: str, new: str) -> Callable[[Path], Any]:
    def replace(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return replace


CLOUD = 'velodyne_points/data/0000000001.bin'
IMAGE = 'image_02/data/0000000001.png'
RECORD = 'oxts/data/0000000001.txt'


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (_cut(CLOUD, 1000), '1000 bytes are no whole number of points of 4 float32'),
        (_cut(CLOUD, 0), '0000000001.bin: damaged point cloud: 0 bytes'),
        (
            lambda d: np.full((9, 4), -5, '<f4').tofile(d / CLOUD),
            'not one of its points falls into the image',
        ),
        (_cut(IMAGE, 60), '0000000001.png: missing or damaged image'),
        (_cut(RECORD, 0), '0000000001.txt: no GPS/IMU record'),
        (lambda d: (d / RECORD).unlink(), '0000000001.txt: cannot read'),
        (lambda d: (d / RECORD).write_text('49 8'), 'line 1 holds 2 numbers, expected 6'),
    ],
)
def test_a_damaged_frame_is_named_and_leaves_the_others(
    damage: Callable[[Path], Any], message: str, drive: Path
) -> None:
    damage(drive)
    sequence = KittiDrive(drive)
    with pytest.raises(DamagedFrameError, match=message):
        sequence[1]
    assert sequence[0].depth is not None
    assert sequence[2].pose is not None


CAMERAS = '../calib_cam_to_cam.txt'


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda d: (d / CAMERAS).unlink(), 'calib_cam_to_cam.txt is missing: unpack the calib'),
        (lambda d: (d.parent / 'calib_velo_to_cam.txt').unlink(), 'calib_velo_to_cam.txt is miss'),
        (lambda d: (d.parent / 'calib_imu_to_velo.txt').unlink(), 'calib_imu_to_velo.txt is miss'),
        (_replace(CAMERAS, 'P_rect_02', 'P_rect_X'), 'no P_rect_02; there are cameras 00, 03'),
        (_replace(CAMERAS, 'S_rect_02', 'S_rect_X'), 'S_rect_02 is missing or damaged'),
        (_replace(CAMERAS, 'R_rect_00: ', 'R_rect_00: 5 '), 'R_rect_00 must hold 9 numbers'),
        (_replace('../calib_velo_to_cam.txt', 'R: ', 'R: x'), 'R is missing or damaged'),
        (lambda d: shutil.rmtree(d / 'image_02/data'), 'no images in'),
        (_cut('oxts/data/0000000000.txt', 0), 'no GPS/IMU record'),
        (_replace('image_02/timestamps.txt', '2011-', '11-'), 'timestamps.txt: damaged'),
    ],
)
def test_a_drive_that_cannot_be_read_is_refused(
    damage: Callable[[Path], Any], message: str, drive: Path
) -> None:
    damage(drive)
    with pytest.raises(DatasetError, match=message):
        KittiDrive(drive)


@pytest.mark.parametrize(
    ('choice', 'message'),
    [
        ('image_07', "'image_07' means nothing here; there is to choose: image_02 or image_03"),
        ('velodyne,historical', "'velodyne' and 'historical' are two choices of one truth"),
        ('missing.txt', 'missing.txt: cannot read'),
    ],
)
def test_what_cannot_be_chosen_is_refused(choice: str, message: str, root: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        sequence_names(f'{root}#{choice}')


def test_resized_images_are_refused(drive: Path) -> None:
    scene.write_image(drive / 'image_02/data/0000000001.png', (32, 20), (1, 2, 3))
    with pytest.raises(DamagedFrameError, match='is 32x20, but the calibration is for 64x40'):
        KittiDrive(drive)[1]


def test_images_that_are_not_rectified_are_refused(root: Path) -> None:
    drive = root / DAY / f'{DAY}_drive_0001_extract'
    shutil.copytree(root / DAY / DRIVE, drive)
    with pytest.raises(DatasetError, match='not rectified; use the drive that ends in _sync'):
        open_sequence(str(drive))
    assert not any('extract' in name for name in sequence_names(str(root)))


def test_depth_of_8_bits_is_no_ground_truth(drive: Path) -> None:
    write_ground_truth(drive)
    file = drive / 'proj_depth/groundtruth/image_02/0000000001.png'
    scene.write_image(file, SIZE, (1, 2, 3))
    with pytest.raises(DamagedFrameError, match='no 16-bit depth image: it has 8 bits'):
        KittiDrive(drive)[1]


def test_a_huge_file_is_refused_unread(drive: Path) -> None:
    with (drive / CLOUD).open('wb') as file:
        file.truncate(1 << 40)  # takes no room on disk
    with pytest.raises(DamagedFrameError, match='it has 1099511627776 bytes, above'):
        KittiDrive(drive)[1]


# The selection of single images


@pytest.fixture
def selection(tmp_path: Path) -> Path:
    folder = tmp_path / 'val_selection_cropped'
    for part in ('image', 'groundtruth_depth', 'velodyne_raw', 'intrinsics'):
        (folder / part).mkdir(parents=True)
    for index, camera in ((1, 'image_02'), (2, 'image_02'), (2, 'image_03')):
        name = f'{DRIVE}_image_{index:010d}_{camera}'
        scene.write_image(folder / 'image' / f'{name}.png', SIZE, (7, 8, index))
        text = numbers([K[0], 0, K[2], 0, K[1], K[3], 0, 0, 1])
        (folder / 'intrinsics' / f'{name}.txt').write_text(text)
        depth = expected_depth(index)
        depth[depth > 80] = 0
        name = f'{DRIVE}_groundtruth_depth_{index:010d}_{camera}.png'
        scene.write_png16(folder / 'groundtruth_depth' / name, depth * 256)
    return folder


def test_selected_images_have_their_own_intrinsics_and_depth(selection: Path) -> None:
    names = sequence_names(str(selection))
    assert names == [f'{selection}#{DRIVE},{camera}' for camera in ('image_02', 'image_03')]
    left, right = map(open_sequence, names)
    assert (len(left), len(right)) == (2, 1)
    for frame, index in zip(left, (1, 2), strict=True):
        assert (frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy) == K
        assert frame.stamp == index * 10**8
        assert frame.depth is not None
        expected = expected_depth(index)
        found = np.isfinite(frame.depth)
        np.testing.assert_array_equal(found, expected <= 80)
        np.testing.assert_allclose(frame.depth[found], expected[found], atol=1 / 512)
    assert len(drive_files(names[0])) == 6
    assert len(open_sequence(str(selection))) == 3


def test_the_test_images_have_no_depth(tmp_path: Path) -> None:
    folder = tmp_path / 'test_depth_prediction_anonymous'
    (folder / 'intrinsics').mkdir(parents=True)
    scene.write_image(folder / 'image' / '0000000000.png', SIZE, (1, 2, 3))
    text = numbers([K[0], 0, K[2], 0, K[1], K[3], 0, 0, 1])
    (folder / 'intrinsics' / '0000000000.txt').write_text(text)
    (name,) = sequence_names(str(folder))
    assert [frame.depth for frame in open_sequence(name)] == [None]


def test_intrinsics_of_another_size_are_refused(selection: Path) -> None:
    file = selection / 'intrinsics' / f'{DRIVE}_image_{1:010d}_image_02.txt'
    file.write_text(numbers([721.5, 0, 596.5, 0, 721.5, 149.8, 0, 0, 1]))
    with pytest.raises(DamagedFrameError, match=r'point \(596.5, 149.8\) does not fit images'):
        open_sequence(f'{selection}#image_02')[0]
    file.unlink()
    with pytest.raises(DatasetError, match=f'{file.name}: cannot read'):
        open_sequence(f'{selection}#image_02')[0]

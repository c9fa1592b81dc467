# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI raw: synchronised, rectified drives, with LiDAR or improved ground truth.

``#`` chooses, in any order: a camera (``image_02``, the default, or ``image_03``); the ground
truth (``groundtruth``, the improved one, where a drive has it, or else ``velodyne``, projected
LiDAR; ``historical`` is LiDAR as old tables took it, see
:func:`~mono_metric_depth.datasets.lidar.historical_depth`); a folder of the depth benchmark, which
also selects its drives; a file that lists frames, as those of the Eigen split do.
"""

from __future__ import annotations

import datetime
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.datasets import DamagedFrameError, DatasetError
from mono_metric_depth.datasets.choices import Kinds, chosen, drive_name
from mono_metric_depth.datasets.documents import read_text
from mono_metric_depth.datasets.image_file import SUFFIXES, read_image
from mono_metric_depth.datasets.kitti_calibration import (
    Matrix,
    imu_pose,
    read_calibration,
    read_oxts,
)
from mono_metric_depth.datasets.kitti_depth import PERIOD, ground_truth_folder, read_depth
from mono_metric_depth.datasets.kitti_frame_list import listed_frames
from mono_metric_depth.datasets.lidar import (
    depth_from_points,
    historical_depth,
    read_bin,
    require_overlap,
)
from mono_metric_depth.frame import Frame

SHAPE = 'KITTI raw (the folder of the days, a day or a drive)'
_LOG = logging.getLogger(__name__)
_DAY = re.compile(r'\d{4}_\d\d_\d\d')
_DRIVE = re.compile(r'\d{4}_\d\d_\d\d_drive_\d{4}_(sync|extract)')
_TRUTHS = ('groundtruth', 'velodyne', 'historical')
_KINDS: Kinds = {
    'camera': re.compile(r'image_0[0-3]').fullmatch,
    'truth': _TRUTHS.__contains__,
    'list': lambda word: word.endswith('.txt'),
    'benchmark': lambda word: Path(word).is_dir(),
}
_DESCRIBED = (
    'image_02 or image_03; groundtruth, velodyne or historical; a .txt file that lists frames; a '
    'folder of the depth benchmark that exists'
)


def is_here(path: Path) -> bool:
    """Whether a path is KITTI raw, a day or a drive of it."""
    if _DRIVE.fullmatch(path.resolve().name):
        return path.is_dir()
    return bool(_drives(path))


def _drives(path: Path) -> list[Path]:
    """The drives in a folder of days, or in a day."""
    if not path.is_dir():
        return []
    days = [path, *(day for day in path.iterdir() if _DAY.fullmatch(day.name) and day.is_dir())]
    return sorted(
        drive
        for day in days
        for drive in day.iterdir()
        if _DRIVE.fullmatch(drive.name) and any(drive.glob('image_0?'))
    )


def drive_names(path: Path, choice: str) -> list[str]:
    """A name for each drive, or for each drive and camera that a list of frames names."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    drives = [path] if _DRIVE.fullmatch(path.resolve().name) else _drives(path)
    synchronised = [drive for drive in drives if drive.resolve().name.endswith('_sync')]
    drives = synchronised or drives
    pairs = [(drive, words.get('camera', 'image_02')) for drive in drives]
    if 'list' in words:
        wanted = listed_frames(Path(words['list']))
        unknown = {drive for drive, _ in wanted} - {drive.resolve().name for drive in drives}
        if unknown and len(drives) > 1:
            msg = (
                f'{words["list"]}: {len(unknown)} of its drives are not in {path}, first: '
                f'{min(unknown)}'
            )
            raise DatasetError(msg)
        cameras = [words['camera']] if 'camera' in words else [f'image_0{n}' for n in range(4)]
        pairs = [(d, c) for d in drives for c in cameras if (d.resolve().name, c[-2:]) in wanted]
    if 'benchmark' in words:
        given = Path(words['benchmark'])
        pairs = [(d, c) for d, c in pairs if ground_truth_folder(d.resolve(), c[-2:], given)]
    if not pairs:
        msg = f'{path}#{choice}: names no drive that is here'
        raise DatasetError(msg)
    others = (words.get('truth'), words.get('list'), words.get('benchmark'))
    return [drive_name(drive, camera, *others) for drive, camera in pairs]


def open_drive(path: Path, choice: str) -> KittiDrive:
    """A drive."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    if not _DRIVE.fullmatch(path.resolve().name):
        msg = f'{path} is several drives: open each of sequence_names({str(path)!r})'
        raise DatasetError(msg)
    return KittiDrive(
        path,
        words.get('camera', 'image_02')[-2:],
        truth=words.get('truth'),
        frames=Path(words['list']) if 'list' in words else None,
        benchmark=Path(words['benchmark']) if 'benchmark' in words else None,
    )


def drive_files(path: Path, choice: str) -> list[Path]:
    """What is read for a drive."""
    sequence = open_drive(path, choice)
    files = [*path.resolve().parent.glob('calib_*.txt')]
    for folder in (f'image_{sequence.camera_name}', 'velodyne_points', 'oxts'):
        files += (path / folder).rglob('*')
    if sequence.truth_folder is not None:
        files += sequence.truth_folder.iterdir()
    words = chosen(choice, _KINDS, _DESCRIBED)
    return [*files, Path(words['list'])] if 'list' in words else files


class KittiDrive:
    """One rectified camera of a drive.

    Frames of a list come in the order of the drive: where it leaves out some, neighbours in the
    sequence are no neighbours in time, as their stamps and poses tell.

    Args:
        path: Such as ``2011_09_26/2011_09_26_drive_0001_sync``; the day's calibration lies above.
        camera: ``00`` to ``03``.
        truth: ``groundtruth``, ``velodyne`` or ``historical``; if left out, the first of
            ``groundtruth`` and ``velodyne`` that the drive has.
        frames: A file that lists frames; all if left out.
        benchmark: The folder of the depth benchmark, if it lies elsewhere.

    Attributes:
        truth: Which ground truth the frames have; None for none.
        truth_folder: Where the improved ground truth lies; None for another.
        camera: The camera of all images.

    Raises:
        DatasetError: If calibration, images or ground truth are missing.
    """

    def __init__(
        self,
        path: Path,
        camera: str = '02',
        *,
        truth: str | None = None,
        frames: Path | None = None,
        benchmark: Path | None = None,
    ) -> None:
        self._folder = path = path.resolve()
        self.name = drive_name(
            path, f'image_{camera}', truth, None if frames is None else str(frames)
        )
        self.camera_name = camera
        if path.name.endswith('_extract'):
            msg = f'{path}: its images are not rectified; use the drive that ends in _sync'
            raise DatasetError(msg)
        calibration = read_calibration(path.parent)
        self.camera: Camera = calibration.camera(camera)
        self._camera_from_velodyne = calibration.camera_from_velodyne(camera)
        self._imu_from_camera = calibration.imu_from_camera(camera)
        self._mount = calibration.mount(camera)
        self._images = self._files(frames)
        stamps = _stamps(path / f'image_{camera}' / 'timestamps.txt')
        last = self._images[-1][0]
        self._stamps = stamps if last < len(stamps) else [n * PERIOD for n in range(last + 1)]
        records = sorted((path / 'oxts' / 'data').glob('*.txt'))
        self._first_record = read_oxts(records[0]) if records else None
        self.truth_folder: Path | None = None
        self.truth = self._truth(truth, benchmark)
        _LOG.info('%s: ground truth: %s', self.name, self.truth)

    def _files(self, frames: Path | None) -> list[tuple[int, Path]]:
        folder = self._folder / f'image_{self.camera_name}' / 'data'
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        images = {
            int(file.stem): file
            for file in files
            if file.suffix in SUFFIXES and file.stem.isdecimal()
        }
        if frames is not None:
            wanted = listed_frames(frames).get((self._folder.name, self.camera_name), set())
            missing = sorted(wanted - images.keys())
            if missing:
                msg = (
                    f'{frames}: {len(missing)} frames that it lists are not in {folder}, first: '
                    f'{missing[0]:010d}'
                )
                raise DatasetError(msg)
            images = {frame: images[frame] for frame in wanted}
        if not images:
            msg = f'{self.name}: no images in {folder}' + (' are listed' if frames else '')
            raise DatasetError(msg)
        return sorted(images.items())

    def _truth(self, asked: str | None, benchmark: Path | None) -> str | None:
        """Which ground truth there is, of what is asked for."""
        folder = ground_truth_folder(self._folder, self.camera_name, benchmark)
        if folder is not None and asked in (None, 'groundtruth'):
            there = {int(file.stem) for file in folder.glob('*.png') if file.stem.isdecimal()}
            images = [frame for frame, _ in self._images]
            if not there.intersection(images):
                msg = (
                    f'{folder}: none of its {len(there)} depth images belongs to one of the '
                    f'{len(images)} images of {self.name} (frames {images[0]} to {images[-1]})'
                )
                raise DatasetError(msg)
            self.truth_folder = folder
            return 'groundtruth'
        if asked == 'groundtruth':
            msg = (
                f'{self.name}: no improved ground truth; unpack data_depth_annotated (train and '
                "val) beside the days, or name its folder behind '#'"
            )
            raise DatasetError(msg)
        if (self._folder / 'velodyne_points' / 'data').is_dir():
            return asked or 'velodyne'
        if asked:
            msg = f'{self.name}: no velodyne_points/data; unpack the whole _sync archive'
            raise DatasetError(msg)
        return None

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @property
    def mounts(self) -> list[Mount | None]:
        """The mount of each frame: all the same."""
        return [self._mount] * len(self)

    def __getitem__(self, index: int, /) -> Frame:
        frame, path = self._images[index]
        image = read_image(path)
        if image.shape[:2] != (self.camera.height, self.camera.width):
            msg = (
                f'{path}: is {image.shape[1]}x{image.shape[0]}, but the calibration is for '
                f'{self.camera.width}x{self.camera.height}; use images that were neither resized '
                'nor cropped'
            )
            raise DamagedFrameError(msg)
        depth, pose = self._depth(frame), self._pose(frame)
        return Frame(self._stamps[frame], image, self.camera, depth, pose, self._mount)

    def _pose(self, frame: int) -> Matrix | None:
        if self._first_record is None:
            return None
        record = read_oxts(self._folder / 'oxts' / 'data' / f'{frame:010d}.txt')
        return imu_pose(record, self._first_record) @ self._imu_from_camera

    def _depth(self, frame: int) -> NDArray[np.float32] | None:
        """True depth; None for frames that KITTI has none of, such as a drive's first and last."""
        if self.truth_folder is not None:
            path = self.truth_folder / f'{frame:010d}.png'
            return (
                read_depth(path, self.camera.height, self.camera.width) if path.exists() else None
            )
        path = self._folder / 'velodyne_points' / 'data' / f'{frame:010d}.bin'
        if self.truth is None or not path.exists():
            return None
        # The cameras are triggered as the LiDAR looks ahead: one pose for both.
        points = read_bin(path, 4)
        matrix = self._camera_from_velodyne
        in_camera = points @ matrix[:3, :3].T + matrix[:3, 3]
        if self.truth == 'historical':
            depth = historical_depth(in_camera, self.camera, points[:, 0])
        else:
            depth = depth_from_points(in_camera, self.camera)
        require_overlap(depth, path)
        return depth


def _stamps(path: Path) -> list[int]:
    """Stamps (ns) of all frames of a drive; none if there is no such file."""
    if not path.is_file():
        return []
    stamps = []
    for line in filter(str.strip, read_text(path).splitlines()):
        whole, _, fraction = line.strip().partition('.')
        try:
            time = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
            stamps.append(int(time.timestamp()) * 10**9 + int(fraction.ljust(9, '0')[:9]))
        except ValueError as err:
            msg = f'{path}: damaged: {err}'
            raise DatasetError(msg) from err
    return stamps

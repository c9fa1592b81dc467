# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""nuScenes: scenes of six rectified cameras, key frames and sweeps, with LiDAR.

``#`` chooses, in any order: a version (``v1.0-mini``; needed where there are several); a camera
(``CAM_FRONT`` if left out); a scene (``scene-0061``); ``keyframes`` for the annotated frames
alone, two per second, which are too far apart to train on.
"""

from __future__ import annotations

import bisect
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, CameraError, Mount, mount_from_transform
from mono_metric_depth.datasets import DamagedFrameError, DatasetError
from mono_metric_depth.datasets.choices import Kinds, chosen, drive_name
from mono_metric_depth.datasets.image_file import read_image
from mono_metric_depth.datasets.lidar import depth_from_points, read_bin, require_overlap
from mono_metric_depth.datasets.nuscenes_tables import (
    LIDAR,
    TABLES,
    Recording,
    read_tables,
    scene_names,
)
from mono_metric_depth.datasets.said_once import said_once
from mono_metric_depth.frame import Frame

SHAPE = 'nuScenes (the folder of v1.0-mini, samples and sweeps)'
_LOG = logging.getLogger(__name__)
_LOG.addFilter(said_once)
_KINDS: Kinds = {
    'version': re.compile(r'v\d\.\d-\w+').fullmatch,
    'camera': re.compile(r'CAM_\w+').fullmatch,
    'scene': re.compile(r'scene-\d+').fullmatch,
    'frames': lambda word: word == 'keyframes',
}
_DESCRIBED = 'a version (v1.0-mini), a camera (CAM_FRONT), a scene (scene-0061), keyframes'
#: LiDAR that is further from the image in time is none of it (us); a turn takes 50 ms.
_MOST_APART = 55_000


def is_here(path: Path) -> bool:
    """Whether a path is the data set's folder."""
    return path.is_dir() and bool(_versions(path))


def _versions(path: Path) -> list[str]:
    return sorted(
        folder.name
        for folder in path.glob('v*-*')
        if _KINDS['version'](folder.name) and (folder / 'scene.json').is_file()
    )


def _version(path: Path, asked: str | None) -> str:
    there = _versions(path)
    if asked is None and len(there) == 1:
        return there[0]
    if asked not in there:
        msg = f'{path}: choose one of the versions behind #: {", ".join(there)}'
        raise DatasetError(msg)
    return asked


def drive_names(path: Path, choice: str) -> list[str]:
    """A name for each scene."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    version = _version(path, words.get('version'))
    camera = words.get('camera', 'CAM_FRONT')
    names = [
        drive_name(path, version, scene, camera, words.get('frames'))
        for scene in scene_names(path / version)
        if words.get('scene', scene) == scene
    ]
    if not names:
        msg = f'{path}#{choice}: names no scene of {version}'
        raise DatasetError(msg)
    return names


def open_drive(path: Path, choice: str) -> NuscenesScene:
    """A scene."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    if 'scene' not in words:
        msg = f'{path} is several drives: open each of sequence_names({str(path)!r})'
        raise DatasetError(msg)
    return NuscenesScene(
        path / _version(path, words.get('version')),
        words['scene'],
        words.get('camera', 'CAM_FRONT'),
        keyframes='frames' in words,
    )


def drive_files(path: Path, choice: str) -> list[Path]:
    """The tables: images and clouds are not listed, they never change."""
    version = _version(path, chosen(choice, _KINDS, _DESCRIBED).get('version'))
    return [path / version / f'{name}.json' for name in TABLES]


class NuscenesScene:
    """One camera of a scene, in order of time.

    Each image has the LiDAR turn nearest in time, if one is near, projected through the vehicle's
    pose at its own time. Without ``sweeps`` on disk there are key frames alone.

    Args:
        tables: The version's folder, such as ``v1.0-mini``.
        scene: Its name.
        camera: Its channel.
        keyframes: Whether to take key frames alone.

    Raises:
        DatasetError: If a table is missing or damaged, or there is no such scene or camera.
    """

    def __init__(
        self, tables: Path, scene: str, camera: str = 'CAM_FRONT', *, keyframes: bool = False
    ) -> None:
        self._root = tables.parent
        chosen_frames = 'keyframes' if keyframes else None
        self.name = drive_name(self._root, tables.name, scene, camera, chosen_frames)
        self._camera = camera
        self._path = tables / 'calibrated_sensor.json'
        self._tables = read_tables(tables, camera)
        if scene not in self._tables.scenes:
            msg = f'{tables}: no {scene!r}; there are {", ".join(sorted(self._tables.scenes)[:5])}'
            raise DatasetError(msg)
        recorded = self._tables.scenes[scene]
        self._images = self._unpacked(recorded.images, camera, keyframes)
        self._clouds = self._unpacked(recorded.clouds, LIDAR, keyframes=False)
        if not self._images:
            msg = f'{self.name}: no images in the tables'
            raise DatasetError(msg)
        self._mounts: dict[str, Mount | None] = {}

    def _unpacked(self, rows: list[Recording], channel: str, keyframes: bool) -> list[Recording]:
        """All of a sensor's recordings, or those at key frames."""
        if not keyframes and not (self._root / 'sweeps' / channel).is_dir():
            keyframes = True
            _LOG.warning('%s: no sweeps/%s, its key frames alone are used', self.name, channel)
        return [row for row in rows if row.key_frame or not keyframes]

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @property
    def mounts(self) -> list[Mount | None]:
        """The mount of each frame; None for cameras that look back."""
        return [self._mount(row.sensor) for row in self._images]

    def _mount(self, sensor: str) -> Mount | None:
        """From the vehicle's frame, whose origin lies on the road below the rear axle."""
        if sensor not in self._mounts:
            try:
                self._mounts[sensor] = mount_from_transform(self._tables.sensors[sensor][0])
            except CameraError as err:
                _LOG.warning('%s: no mount: %s', self.name, err)
                self._mounts[sensor] = None
        return self._mounts[sensor]

    def __getitem__(self, index: int, /) -> Frame:
        row = self._images[index]
        path = self._root / row.filename
        image = read_image(path)
        if image.shape[1::-1] != row.size:
            msg = (
                f'{path}: is {image.shape[1]}x{image.shape[0]}, but sample_data says '
                f'{row.size[0]}x{row.size[1]}; use images that were neither resized nor cropped'
            )
            raise DamagedFrameError(msg)
        camera, pose = self._intrinsics(row), self._tables.pose(row)
        depth = self._depth(row, camera, pose)
        return Frame(row.stamp * 1000, image, camera, depth, pose, self._mount(row.sensor))

    def _intrinsics(self, row: Recording) -> Camera:
        try:
            k = np.array(self._tables.sensors[row.sensor][1], np.float64).reshape(3, 3)
            if k[0, 1] != 0 or k[2].tolist() != [0, 0, 1]:
                msg = f'no pinhole: {k.tolist()}'
                raise CameraError(msg)
            return Camera(*row.size, k[0, 0], k[1, 1], k[0, 2], k[1, 2])
        except (TypeError, ValueError) as err:
            msg = f'{self._path}: {row.sensor}, camera_intrinsic: {err}'
            raise DatasetError(msg) from err

    def _depth(
        self, image: Recording, camera: Camera, pose: NDArray[np.float64]
    ) -> NDArray[np.float32] | None:
        place = bisect.bisect(self._clouds, image.stamp, key=lambda row: row.stamp)
        near = self._clouds[max(place - 1, 0) : place + 1]
        cloud = min(near, key=lambda row: abs(row.stamp - image.stamp), default=None)
        if cloud is None or abs(cloud.stamp - image.stamp) > _MOST_APART:
            return None
        path = self._root / cloud.filename
        camera_from_lidar = np.linalg.inv(pose) @ self._tables.pose(cloud)
        points = read_bin(path, 5) @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
        depth = depth_from_points(points, camera)
        require_overlap(depth, path)
        return depth

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Data in the format of TRI's Dataset Governance Policy (DGP), as DDAD uses it."""

from __future__ import annotations

import datetime
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, CameraError, Mount, mount_from_transform
from mono_metric_depth.datasets import DamagedFrameError, DatasetError
from mono_metric_depth.frame import Frame

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class DgpSequence:
    """One camera of the first scene of a scene data set, with LiDAR as ground truth.

    Stamps count from the scene's first image of this camera: DGP anonymises dates to years that
    neither int64 nanoseconds nor ROS time can hold.

    Args:
        path: ``scene_dataset_*.json`` or ``ddad.json``.
        camera: Name of the camera; case does not matter.
        split: 0 train, 1 validation, 2 test.

    Raises:
        DatasetError: If a file is missing or damaged, or there is no such camera.
    """

    def __init__(self, path: Path, camera: str = 'CAMERA_01', split: int = 0) -> None:
        self.name = f'{path}#{camera}'
        self._camera_name = camera
        document = _json(path)
        try:
            splits = document['scene_splits']
            if str(split) not in splits:
                msg = f'{path}: no split {split}; there are {", ".join(sorted(splits))}'
                raise DatasetError(msg)
            scene_path = path.parent / splits[str(split)]['filenames'][0]
            self._folder = scene_path.parent
            scene = _json(scene_path)
            self._data = {item['key']: item for item in scene['data']}
            self._samples = [
                (
                    self._datum(sample, 'image', camera),
                    self._datum(sample, 'point_cloud', None),
                    sample['calibration_key'],
                )
                for sample in scene['samples']
            ]
            names = {item['id']['name'] for item in scene['data'] if 'image' in item['datum']}
        except (AttributeError, KeyError, IndexError, TypeError) as err:
            msg = f'{path}: not a DGP scene data set: {type(err).__name__}: {err}'
            raise DatasetError(msg) from err
        self._samples = [sample for sample in self._samples if sample[0] is not None]
        if not self._samples:
            msg = f'{path}: no images of {camera!r}; there are {", ".join(sorted(names))}'
            raise DatasetError(msg)
        self._first = _stamp_us(self._samples[0][0])

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @property
    def mounts(self) -> list[Mount | None]:
        """The mount of each frame."""
        # Samples share a few calibrations; their intrinsics fit an image of any size.
        keys = {key for _, _, key in self._samples}
        known = {key: self._mount(self._calibration(key, 1, 1)[1]) for key in keys}
        return [known[key] for _, _, key in self._samples]

    def __getitem__(self, index: int, /) -> Frame:
        datum, cloud, calibration = self._samples[index]
        path = self._folder / datum['datum']['image']['filename']
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            msg = f'{path}: missing or damaged image'
            raise DamagedFrameError(msg)
        camera, vehicle_from_camera = self._calibration(calibration, bgr.shape[1], bgr.shape[0])
        pose = _pose(path, datum['datum']['image'])
        depth = None
        if cloud is not None:
            cloud = cloud['datum']['point_cloud']
            world_from_lidar = _pose(self._folder / cloud['filename'], cloud)
            # Each sensor has its own stamp, and so its own pose.
            points = self._points(cloud)
            camera_from_lidar = np.linalg.inv(pose) @ world_from_lidar
            in_camera = points @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
            depth = depth_from_points(in_camera, camera)
        return Frame(
            stamp=(_stamp_us(datum) - self._first) * 1000,
            image=np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8),
            camera=camera,
            depth=depth,
            pose=pose,
            mount=self._mount(vehicle_from_camera),
        )

    def _mount(self, vehicle_from_camera: NDArray[np.float64]) -> Mount:
        try:
            return mount_from_transform(vehicle_from_camera)
        except CameraError as err:
            msg = f'{self.name}: cameras must look ahead, within a quarter turn: {err}'
            raise DatasetError(msg) from err

    def _datum(self, sample: Any, kind: str, name: str | None) -> Any:
        for key in sample['datum_keys']:
            item = self._data[key]
            if kind in item['datum'] and name in (None, item['id']['name']):
                return item
            if name and kind in item['datum'] and item['id']['name'].lower() == name.lower():
                return item
        return None

    def _calibration(
        self, key: str, width: int, height: int
    ) -> tuple[Camera, NDArray[np.float64]]:
        path = self._folder / 'calibration' / f'{key}.json'
        document = _json(path)
        try:
            names = [name.lower() for name in document['names']]
            index = names.index(self._camera_name.lower())
            k = document['intrinsics'][index]
            camera = Camera(width, height, k['fx'], k['fy'], k['cx'], k['cy'])
            return camera, _matrix(document['extrinsics'][index])
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as err:
            msg = f'{path}: no calibration of {self._camera_name}: {err}'
            raise DatasetError(msg) from err

    def _points(self, cloud: Any) -> NDArray[np.float64]:
        path = self._folder / cloud['filename']
        try:
            with np.load(path, allow_pickle=False) as file:
                data = file['data']
            if data.dtype.names:
                return np.stack([data[axis].astype(np.float64) for axis in 'XYZ'], axis=-1)
            return np.asarray(data[:, :3], np.float64)
        except (
            AttributeError,  # a bare array instead of an archive
            EOFError,
            IndexError,
            KeyError,
            OSError,
            TypeError,
            ValueError,
            zipfile.BadZipFile,
            zlib.error,
        ) as err:
            msg = f'{path}: missing or damaged point cloud: {err}'
            raise DamagedFrameError(msg) from err


def depth_from_points(points: NDArray[np.float64], camera: Camera) -> NDArray[np.float32]:
    """Sparse depth from a point cloud; the nearest point wins a pixel.

    Args:
        points: (n, 3) points in the camera's optical frame (m).
        camera: The camera.

    Returns:
        (height, width) float32 z-depth (m), NaN where no point fell.
    """
    pixel = camera.project(points)
    with np.errstate(invalid='ignore'):
        column, row = np.rint(pixel).T
        inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    depth = np.full((camera.height, camera.width), np.inf, np.float32)
    np.minimum.at(
        depth,
        (row[inside].astype(int), column[inside].astype(int)),
        points[inside, 2].astype('f4'),
    )
    depth[np.isinf(depth)] = np.nan
    return depth


def _matrix(pose: Any) -> NDArray[np.float64]:
    """(4, 4) from a unit quaternion and a translation."""
    rotation, translation = pose['rotation'], pose['translation']
    w, x, y, z = (float(rotation[name]) for name in ('qw', 'qx', 'qy', 'qz'))
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = [float(translation[axis]) for axis in 'xyz']
    return matrix


def _pose(path: Path, datum: Any) -> NDArray[np.float64]:
    try:
        return _matrix(datum['pose'])
    except (KeyError, TypeError, ValueError) as err:
        msg = f'{path}: its pose is missing or damaged: {type(err).__name__}: {err}'
        raise DatasetError(msg) from err


def _stamp_us(datum: Any) -> int:
    try:
        stamp = datetime.datetime.fromisoformat(datum['id']['timestamp'].replace('Z', '+00:00'))
        return (stamp - _EPOCH) // datetime.timedelta(microseconds=1)
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        msg = f'an image without a valid timestamp: {err!r}'
        raise DatasetError(msg) from err


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as err:
        msg = f'{path}: cannot read: {err}'
        raise DatasetError(msg) from err

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration and poses of KITTI (Geiger et al., "Vision meets robotics", IJRR 2013)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, CameraError, Mount, mount_from_transform
from mono_metric_depth.datasets import DamagedFrameError, DatasetError
from mono_metric_depth.datasets.documents import read_text, table_rows, what_is_wrong

#: Of the cameras above the road (m), from the figure of the sensors in Geiger et al. (2013).
CAMERA_HEIGHT = 1.65
#: Radius of the earth that KITTI's development kit uses (m): WGS 84, equator.
_EARTH = 6378137.0

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class KittiCalibration:
    """Calibration of one day.

    Attributes:
        folder: Of the day.
        rectified: Of each camera (``00`` to ``03``), size (px) and (3, 4) projection of the
            rectified image, from the rectified frame of camera 00.
        rectified_from_velodyne: (4, 4) LiDAR to the rectified frame of camera 00 (m).
        velodyne_from_imu: (4, 4) GPS/IMU to LiDAR (m).
    """

    folder: Path
    rectified: dict[str, tuple[tuple[int, int], Matrix]]
    rectified_from_velodyne: Matrix
    velodyne_from_imu: Matrix

    def camera(self, name: str) -> Camera:
        """The pinhole that rectified images of a camera (``02``) are of."""
        (width, height), p = self._of(name)
        return Camera(width, height, p[0, 0], p[1, 1], p[0, 2], p[1, 2])

    def camera_from_velodyne(self, name: str) -> Matrix:
        """(4, 4) LiDAR to the optical frame of a rectified camera (m)."""
        p = self._of(name)[1]
        # P = K [I | t]: the camera is t away from camera 00.
        shift = np.eye(4)
        shift[:3, 3] = np.linalg.solve(p[:, :3], p[:, 3])
        return shift @ self.rectified_from_velodyne

    def imu_from_camera(self, name: str) -> Matrix:
        """(4, 4) optical frame of a rectified camera to the GPS/IMU (m)."""
        camera_from_imu = self.camera_from_velodyne(name) @ self.velodyne_from_imu
        return np.asarray(np.linalg.inv(camera_from_imu), np.float64)

    def mount(self, name: str) -> Mount:
        """How a camera is mounted: attitude against the GPS/IMU, height from the literature."""
        matrix = self.imu_from_camera(name)
        try:
            mount = mount_from_transform(matrix)
        except CameraError as err:
            msg = f'{self.folder}: calibration of camera {name}: {err}'
            raise DatasetError(msg) from err
        return Mount(mount.pitch, mount.roll, mount.yaw, CAMERA_HEIGHT)

    def _of(self, name: str) -> tuple[tuple[int, int], Matrix]:
        if name not in self.rectified:
            msg = (
                f'{self.folder / "calib_cam_to_cam.txt"}: no P_rect_{name}; there are cameras '
                f'{", ".join(sorted(self.rectified))}'
            )
            raise DatasetError(msg)
        return self.rectified[name]


def read_calibration(folder: Path) -> KittiCalibration:
    """The calibration of a day.

    Args:
        folder: Such as ``2011_09_26``, with its three ``calib_*.txt``.

    Returns:
        The calibration.

    Raises:
        DatasetError: If a file or an entry is missing or damaged.
    """
    path = folder / 'calib_cam_to_cam.txt'
    cameras = _entries(path)
    rectified = {}
    for name in ('00', '01', '02', '03'):
        if f'P_rect_{name}' in cameras:
            width, height = _values(path, cameras, f'S_rect_{name}', 2)
            projection = _values(path, cameras, f'P_rect_{name}', 12).reshape(3, 4)
            if not (projection[0, 0] > 0 and projection[1, 1] > 0):
                msg = f'{path}: P_rect_{name} is no projection: {projection.tolist()}'
                raise DatasetError(msg)
            rectified[name] = (round(width), round(height)), projection
    rotation = np.eye(4)
    rotation[:3, :3] = _rotation(path, cameras, 'R_rect_00')
    return KittiCalibration(
        folder,
        rectified,
        rotation @ _rigid(folder / 'calib_velo_to_cam.txt'),
        _rigid(folder / 'calib_imu_to_velo.txt'),
    )


def _rigid(path: Path) -> Matrix:
    entries = _entries(path)
    matrix = np.eye(4)
    matrix[:3, :3] = _rotation(path, entries, 'R')
    matrix[:3, 3] = _values(path, entries, 'T', 3)
    return matrix


def _rotation(path: Path, entries: dict[str, str], key: str) -> Matrix:
    rotation = _values(path, entries, key, 9).reshape(3, 3)
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4):
        msg = f'{path}: {key} is no rotation: {rotation.tolist()}'
        raise DatasetError(msg)
    return rotation


def _entries(path: Path) -> dict[str, str]:
    if not path.is_file():
        msg = (
            f'{path} is missing: unpack the calibration of that day (2011_09_26_calib.zip and so '
            'on) beside its drives'
        )
        raise DatasetError(msg)
    pairs = (line.partition(':') for line in read_text(path).splitlines())
    return {key.strip(): values for key, _, values in pairs}


def _values(path: Path, entries: dict[str, str], key: str, count: int) -> Matrix:
    try:
        values = np.array([float(word) for word in entries[key].split()])
    except (KeyError, ValueError) as err:
        msg = f'{path}: {key} is missing or damaged: {what_is_wrong(err)}'
        raise DatasetError(msg) from err
    if values.shape != (count,) or not np.isfinite(values).all():
        msg = f'{path}: {key} must hold {count} numbers, found {values.tolist()}'
        raise DatasetError(msg)
    return values


def read_oxts(path: Path) -> tuple[float, ...]:
    """Where the vehicle was: the first entries of a file of the GPS/IMU.

    Args:
        path: A file of ``oxts/data``.

    Returns:
        Latitude, longitude (degrees), altitude (m), roll, pitch, yaw (rad; x forward, y left, z
        up, yaw 0 to the east).

    Raises:
        DamagedFrameError: If it is missing or damaged.
    """
    try:
        rows = table_rows(path, 6)
    except DatasetError as err:
        raise DamagedFrameError(str(err)) from err
    if len(rows) != 1 or not all(map(math.isfinite, rows[0][:6])) or abs(rows[0][0]) > 85:
        msg = f'{path}: no GPS/IMU record: expected one line of latitude, longitude, altitude, ...'
        raise DamagedFrameError(msg)
    return tuple(rows[0][:6])


def imu_pose(record: tuple[float, ...], first: tuple[float, ...]) -> Matrix:
    """Pose of the GPS/IMU in a frame with x east, y north, z up, from where a drive began.

    Positions by Mercator's projection with the scale of the drive's first latitude, as KITTI's
    development kit and pykitti have it.

    Args:
        record: See :func:`read_oxts`.
        first: That of the drive's first frame.

    Returns:
        (4, 4), translation in metres.
    """
    scale = math.cos(math.radians(first[0]))
    pose = np.eye(4)
    pose[:3, 3] = _mercator(record, scale) - _mercator(first, scale)
    roll, pitch, yaw = record[3:]
    cr, sr = math.cos(roll), math.sin(roll)
    cp, sp = math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    pose[:3, :3] = about_z @ about_y @ about_x
    return pose


def _mercator(record: tuple[float, ...], scale: float) -> Matrix:
    latitude, longitude, altitude = record[:3]
    north = math.log(math.tan(math.radians(90 + latitude) / 2))
    return np.array(
        [scale * _EARTH * math.radians(longitude), scale * _EARTH * north, altitude], np.float64
    )

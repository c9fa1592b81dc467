# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""LiDAR: clouds on disk, and what a camera sees of them."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera
from mono_metric_depth.datasets import DamagedFrameError
from mono_metric_depth.datasets.documents import read_bytes

#: A turn of the largest LiDARs has 0.3 million points; larger files are refused (bytes).
MAX_BYTES = 1 << 27


def depth_from_points(points: NDArray[np.float64], camera: Camera) -> NDArray[np.float32]:
    """Sparse depth from a point cloud; the nearest point wins a pixel (a z-buffer).

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
    return _nearest(row[inside], column[inside], points[inside, 2], camera)


def historical_depth(
    points: NDArray[np.float64], camera: Camera, forward: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Sparse depth as the tables for KITTI's Eigen split have had it since 2014: not z-depth.

    What is stored is how far ahead of the *LiDAR* a point lies, about 0.27 m more than its depth
    in the camera, one pixel to the upper left of where it is seen (a MATLAB index taken for one
    that counts from 0). Points in one pixel leave the smallest. It serves comparison with these
    tables alone; scaling by the median hid it.

    Args:
        points: (n, 3) points in the camera's optical frame (m).
        camera: The camera.
        forward: (n,) the same points along the LiDAR's x axis (m); points behind it are left out.

    Returns:
        (height, width) float32 (m), NaN where no point fell.
    """
    pixel = camera.project(points)
    with np.errstate(invalid='ignore'):
        column, row = np.rint(pixel).T - 1
        inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
        inside &= forward > 0
    return _nearest(row[inside], column[inside], forward[inside], camera)


def _nearest(
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    depth: NDArray[np.float64],
    camera: Camera,
) -> NDArray[np.float32]:
    image = np.full((camera.height, camera.width), np.inf, np.float32)
    np.minimum.at(image, (row.astype(int), column.astype(int)), depth.astype(np.float32))
    image[np.isinf(image)] = np.nan
    return image


def require_overlap(depth: NDArray[np.float32], path: Path) -> None:
    """Refuse depth without a single point: calibration and cloud do not belong together.

    Args:
        depth: (height, width) projected depth.
        path: The cloud's file.

    Raises:
        DamagedFrameError: If there is none.
    """
    if np.isnan(depth).all():
        msg = (
            f'{path}: not one of its points falls into the image; do calibration and poses belong '
            'to this cloud?'
        )
        raise DamagedFrameError(msg)


def read_bin(path: Path, columns: int) -> NDArray[np.float64]:
    """Points of a raw file of float32, as KITTI and nuScenes have them.

    Args:
        path: The file.
        columns: Values for each point: 4 in KITTI, 5 in nuScenes.

    Returns:
        (n, 3) x, y, z in the LiDAR's frame (m); points that are not finite are left out.

    Raises:
        DamagedFrameError: If it is missing, empty, too large or cut short.
    """
    data = _bytes(path)
    if not data or len(data) % (4 * columns):
        msg = (
            f'{path}: damaged point cloud: {len(data)} bytes are no whole number of points of '
            f'{columns} float32; is the file cut short?'
        )
        raise DamagedFrameError(msg)
    with np.errstate(invalid='ignore'):  # signalling NaN
        points = np.frombuffer(data, '<f4').reshape(-1, columns)[:, :3].astype(np.float64)
    return points[np.isfinite(points).all(axis=1)]


def read_npz(path: Path) -> NDArray[np.float64]:
    """Points of a NumPy archive, as DGP has them: entry ``data``, n x 4 or structured.

    Args:
        path: The file.

    Returns:
        (n, 3) X, Y, Z in the LiDAR's frame (m); points that are not finite are left out.

    Raises:
        DamagedFrameError: If it is missing, too large, cut short or holds something else.
    """
    try:
        with (
            zipfile.ZipFile(io.BytesIO(_bytes(path))) as archive,
            archive.open('data.npy') as file,
        ):
            # What the archive says about sizes need not be true.
            entry = io.BytesIO(file.read(MAX_BYTES + 1))
        _require_whole(entry)
        data = np.load(entry, allow_pickle=False)
        if data.dtype.names:
            points = np.stack([data[axis].astype(np.float64) for axis in 'XYZ'], axis=-1)
        else:
            points = np.asarray(data[:, :3], np.float64)
        return np.asarray(points[np.isfinite(points).all(axis=1)])
    except (
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        NotImplementedError,  # compressed or encrypted in a way that is not known
        RuntimeError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as err:
        if isinstance(err, DamagedFrameError):
            raise
        msg = f'{path}: missing or damaged point cloud: {err}'
        raise DamagedFrameError(msg) from err


def _require_whole(entry: io.BytesIO) -> None:
    """Refuse an array that claims more than is there, before memory is taken for it."""
    version = np.lib.format.read_magic(entry)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(entry)
    count = 1
    for length in shape:
        count *= length
    there = entry.getbuffer().nbytes - entry.tell()
    if dtype.hasobject or not 0 < count * dtype.itemsize == there < MAX_BYTES:
        msg = f'it claims {shape} of {dtype}, and holds {there} bytes'
        raise ValueError(msg)
    entry.seek(0)


def _bytes(path: Path) -> bytes:
    try:
        return read_bytes(path, MAX_BYTES)
    except OSError as err:
        msg = f'{path}: missing or damaged point cloud: {err.strerror}'
        raise DamagedFrameError(msg) from err

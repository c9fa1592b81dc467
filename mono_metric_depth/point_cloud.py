# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Point clouds: organised points of a depth image, written into the bytes of a message."""

from __future__ import annotations

import math
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera
from mono_metric_depth.image import Image

#: Offsets of a point's fields, each FLOAT32; the bytes of rgb are B, G, R, 0.
FIELDS = {'x': 0, 'y': 4, 'z': 8, 'rgb': 12}

#: sensor_msgs/PointField: FLOAT32 and FLOAT64.
_FLOATS = {7: 'f4', 8: 'f8'}

#: A span that holds every point.
EVERYWHERE = (0.0, math.inf)

#: Pixels that are worked on at once: few enough that their scratch stays in a core's cache.
_BLOCK = 32768
_TO_BGRA = {
    'rgb': cv2.COLOR_RGB2BGRA,
    'bgr': cv2.COLOR_BGR2BGRA,
    'rgba': cv2.COLOR_RGBA2BGRA,
    'mono': cv2.COLOR_GRAY2BGRA,
}
#: Clears the last byte of each four, whatever the byte order.
_COLOUR_BYTES = np.frombuffer(b'\xff\xff\xff\x00', np.uint32)[0]


class PointCloudError(ValueError):
    """Arrays that do not fit the camera of a point cloud."""


class PointCloudWriter:
    """Writes the clouds of one camera; holds its rays and the scratch to work in.

    One writer must not be used by two threads at once.
    """

    def __init__(self, camera: Camera, decimation: int = 1) -> None:
        """Takes the rays of a camera, distortion included.

        Args:
            camera: The camera of the depth images to come.
            decimation: Take every n-th column of every n-th row.
        """
        self._shape = (camera.height, camera.width)
        self._every = (slice(None, None, decimation),) * 2
        self._x, self._y = (
            np.ascontiguousarray(plane[self._every]) for plane in camera.ray_planes
        )
        #: Rows and columns of the cloud.
        self.shape: tuple[int, int] = (self._x.shape[0], self._x.shape[1])
        self._has_blind_pixels = bool(np.isnan(self._x).any())
        height, width = self.shape
        self._rows = min(max(_BLOCK // width, 1), height)
        block = (self._rows, width)
        self._scratch = tuple(np.empty(block, np.float32) for _ in range(3))
        self._outside = tuple(np.empty(block, np.bool_) for _ in range(2))
        self._colour = np.zeros((*block, 4), np.uint8)

    def write(
        self,
        depth: NDArray[np.float32],
        image: Image | None,
        out: NDArray[np.float32],
        span: tuple[float, float] = EVERYWHERE,
    ) -> None:
        r"""Writes the points of a depth image.

        Args:
            depth: (height, width) float32, metres along the optical axis. Where it is NaN or
                infinite, or the camera has no ray, the point is NaN.
            image: Of the same size; None for points without colour (0).
            out: (\*shape, 4) float32, C-contiguous: the points x, y, z (m, optical frame)
                and rgb, whose bytes are B, G, R, 0; or (\*shape, 3) without rgb, where ``image``
                must be None. Usually a view onto a message.
            span: Points nearer or further than this along the optical axis (m) are NaN.

        Raises:
            PointCloudError: If an array has another shape or dtype; ``out`` is untouched then.
        """
        _check('depth', depth, self._shape, np.float32)
        channels = 3 if image is None and out.shape[2:] == (3,) else 4
        _check('out', out, (*self.shape, channels), np.float32)
        if not (out.flags.c_contiguous and out.flags.writeable):
            msg = 'out must be C-contiguous and writeable: pass a view onto the whole message'
            raise PointCloudError(msg)
        pixels, code = None, -1
        if image is None:
            self._colour.fill(0)
        else:
            pixels, code = _colours(image)
            _check('image', pixels, (*self._shape, *pixels.shape[2:]), np.uint8)
            pixels = pixels[self._every]
        depth = depth[self._every]
        height = self.shape[0]
        for top in range(0, height, self._rows):
            block = slice(top, min(top + self._rows, height))
            x, y, z = (plane[: block.stop - top] for plane in self._scratch)
            colour = self._colour[: block.stop - top]
            # depth + 0 * depth: the infinite becomes NaN and nothing else changes.
            cv2.scaleAdd(depth[block], 0.0, depth[block], z)
            if span != EVERYWHERE:
                self._clear_outside(z, span)
            np.multiply(z, self._x[block], out=x)
            np.multiply(z, self._y[block], out=y)
            if self._has_blind_pixels:
                cv2.scaleAdd(x, 0.0, z, z)
            if pixels is not None:
                # Adding alpha and clearing it is three times as fast as cv2.mixChannels.
                cv2.cvtColor(pixels[block], code, colour)
                packed = colour.view(np.uint32)
                np.bitwise_and(packed, _COLOUR_BYTES, out=packed)
            planes = (x, y, z, colour.view(np.float32)[..., 0])
            cv2.merge(planes[:channels], out[block])

    def _clear_outside(self, z: NDArray[np.float32], span: tuple[float, float]) -> None:
        near, far = (mask[: len(z)] for mask in self._outside)
        with np.errstate(invalid='ignore'):
            np.less(z, np.float32(span[0]), out=near)
            np.greater(z, np.float32(span[1]), out=far)
        np.logical_or(near, far, out=near)
        np.copyto(z, np.float32(np.nan), where=near)


def valid_points(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The valid points of an organised cloud.

    Args:
        points: (height, width, channels) as :meth:`PointCloudWriter.write` writes them.

    Returns:
        (n, channels) those that have a depth, row by row.
    """
    known = np.flatnonzero(np.isfinite(points[..., 2]))
    # Several times as fast as indexing by the mask.
    return np.take(points.reshape(-1, points.shape[2]), known, axis=0)


def points_of_message(message: Any) -> NDArray[np.float64]:
    """The points of a sensor_msgs/PointCloud2, whichever library made the message.

    Args:
        message: Anything with its fields.

    Returns:
        (n, 3) x, y, z (m) of the points that are finite.

    Raises:
        PointCloudError: If it has no x, y, z of floats, or contradicts itself.
    """
    fields = {field.name: field for field in message.fields}
    width, height = int(message.width), int(message.height)
    step, row = int(message.point_step), int(message.row_step)
    octets = np.frombuffer(message.data, np.uint8)
    columns = []
    for axis in 'xyz':
        field = fields.get(axis)
        dtype = _FLOATS.get(field.datatype) if field is not None else None
        if field is None or dtype is None:
            listed = ', '.join(fields) or 'none'
            msg = f'a cloud without {axis} as FLOAT32 or FLOAT64; its fields are {listed}'
            raise PointCloudError(msg)
        size = np.dtype(dtype).itemsize
        needed = (height - 1) * row + (width - 1) * step + field.offset + size
        narrow = step < field.offset + size or (height > 1 and row < width * step)
        if width and height and (narrow or octets.size < needed):
            msg = (
                f'a cloud of {width}x{height} points of {step} bytes needs {needed} bytes, it has '
                f'{octets.size}'
            )
            raise PointCloudError(msg)
        if not (width and height):
            return np.empty((0, 3))
        order = np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<')
        column: NDArray[Any] = np.ndarray(
            (height, width), order, buffer=octets, offset=field.offset, strides=(row, step)
        )
        columns.append(column.astype(np.float64).ravel())
    points = np.stack(columns, axis=-1)
    return points[np.isfinite(points).all(axis=1)]


def _colours(image: Image) -> tuple[NDArray[np.uint8], int]:
    """Pixels, and OpenCV's conversion of them to BGRA."""
    code = _TO_BGRA.get(image.channels)
    if code is None or image.pixels.dtype != np.uint8:
        return image.as_bgr(), cv2.COLOR_BGR2BGRA
    return cast('NDArray[np.uint8]', image.pixels), code


def _check(
    name: str,
    found: NDArray[np.float32] | NDArray[np.uint8],
    shape: tuple[int, ...],
    dtype: type[np.float32 | np.uint8],
) -> None:
    if found.shape != shape or found.dtype != dtype:
        msg = (
            f'{name} must be {shape} {np.dtype(dtype)} for this camera, got {found.shape} '
            f'{found.dtype}; make a new PointCloudWriter when the camera changes'
        )
        raise PointCloudError(msg)

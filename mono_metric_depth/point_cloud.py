# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Point clouds: organised XYZRGB points of a depth image, written into the bytes of a message."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera

#: Bytes per point: x 0, y 4, z 8 and rgb 12, each FLOAT32; the bytes of rgb are B, G, R, 0.
POINT_STEP = 16

#: Pixels that are worked on at once: few enough that their scratch stays in a core's cache.
_BLOCK = 32768
#: Clears the last byte of each four, whatever the byte order.
_COLOUR_BYTES = np.frombuffer(b'\xff\xff\xff\x00', np.uint32)[0]


class PointCloudError(ValueError):
    """Arrays that do not fit the camera of a point cloud."""


class PointCloudWriter:
    """Writes the clouds of one camera; holds its rays and the scratch to work in.

    One writer must not be used by two threads at once.
    """

    def __init__(self, camera: Camera) -> None:
        """Computes the rays of a camera, distortion included.

        Args:
            camera: The camera of the depth images to come.
        """
        self._shape = (camera.height, camera.width)
        rays = camera.rays()
        self._x: NDArray[np.float32] = rays[..., 0].astype(np.float32)
        self._y: NDArray[np.float32] = rays[..., 1].astype(np.float32)
        self._has_blind_pixels = bool(np.isnan(self._x).any())
        self._rows = min(max(_BLOCK // camera.width, 1), camera.height)
        block = (self._rows, camera.width)
        self._scratch = tuple(np.empty(block, np.float32) for _ in range(3))
        self._colour = np.zeros((*block, 4), np.uint8)

    def write(
        self,
        depth: NDArray[np.float32],
        bgr: NDArray[np.uint8] | None,
        out: NDArray[np.float32],
    ) -> None:
        """Writes the points of a depth image.

        Args:
            depth: (height, width) float32, metres along the optical axis. Where it is NaN or
                infinite, or the camera has no ray, the point is NaN.
            bgr: (height, width, 3) uint8, B, G, R; None for points without colour (0).
            out: (height, width, 4) float32, C-contiguous: the points x, y, z (m, optical frame)
                and rgb, whose bytes are B, G, R, 0. Usually a view onto a message.

        Raises:
            PointCloudError: If an array has another shape or dtype; ``out`` is untouched then.
        """
        _check('depth', depth, self._shape, np.float32)
        _check('out', out, (*self._shape, 4), np.float32)
        if not (out.flags.c_contiguous and out.flags.writeable):
            msg = 'out must be C-contiguous and writeable: pass a view onto the whole message'
            raise PointCloudError(msg)
        if bgr is None:
            self._colour.fill(0)
        else:
            _check('bgr', bgr, (*self._shape, 3), np.uint8)
        height = self._shape[0]
        for top in range(0, height, self._rows):
            block = slice(top, min(top + self._rows, height))
            x, y, z = (plane[: block.stop - top] for plane in self._scratch)
            colour = self._colour[: block.stop - top]
            # depth + 0 * depth: the infinite becomes NaN and nothing else changes.
            cv2.scaleAdd(depth[block], 0.0, depth[block], z)
            np.multiply(z, self._x[block], out=x)
            np.multiply(z, self._y[block], out=y)
            if self._has_blind_pixels:
                cv2.scaleAdd(x, 0.0, z, z)
            if bgr is not None:
                # Adding alpha and clearing it is three times as fast as cv2.mixChannels.
                cv2.cvtColor(bgr[block], cv2.COLOR_BGR2BGRA, colour)
                packed = colour.view(np.uint32)
                np.bitwise_and(packed, _COLOUR_BYTES, out=packed)
            cv2.merge((x, y, z, colour.view(np.float32)[..., 0]), out[block])


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

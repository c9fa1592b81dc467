# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""How depth images hold depth (REP-118): metres as float, or millimetres as 16 bits."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

#: Depth encodings (REP-118) and the type of a pixel: metres, millimetres.
DEPTH_DTYPES: dict[str, np.dtype[Any]] = {
    '32FC1': np.dtype(np.float32),
    '16UC1': np.dtype(np.uint16),
}
#: The furthest depth that 16UC1 holds (m): cameras write 65535 where theirs is saturated.
MAX_16UC1_DEPTH = 65.534
#: No depth (m) is nearer or further than this; simulators put the sky at 65504 at most.
_NEAREST, _FURTHEST = 1e-3, 1e5


class DepthEncodingError(ValueError):
    """A sensor_msgs/Image that does not hold depth."""


def millimetres(depth: NDArray[Any], out: NDArray[Any]) -> None:
    """Depth as 16UC1 holds it.

    Args:
        depth: (height, width) float32, metres.
        out: (height, width) uint16, contiguous: millimetres, to nearest; 0 where the depth is not
            finite, not positive or above :data:`MAX_16UC1_DEPTH`.

    Raises:
        ValueError: If shapes or types do not fit.
    """
    if depth.shape != out.shape or depth.dtype != np.float32 or out.dtype != np.uint16:
        msg = (
            'depth and out must be float32 and uint16 of one shape, got '
            f'{depth.dtype} {depth.shape} and {out.dtype} {out.shape}'
        )
        raise ValueError(msg)
    # 0 * inf is NaN, and NaN and negative numbers saturate to 0.
    cv2.addWeighted(depth, 1000.0, depth, 0.0, 0.0, out, cv2.CV_16U)
    np.multiply(out, depth <= MAX_16UC1_DEPTH, out=out)


def depth_of_message(message: Any) -> NDArray[np.float32]:
    """The depth that a sensor_msgs/Image holds, whichever library made the message.

    Args:
        message: Anything with its fields.

    Returns:
        (height, width) float32 (m). 32FC1 as it is, but NaN for 0, which many write where depth is
        not known; of 16UC1 NaN for 0 (invalid) and 65535 (saturated).

    Raises:
        DepthEncodingError: If it holds no depth, contradicts itself, or holds what no depth is: a
            negative number, or one below 1 mm or above 100 km.
    """
    dtype = DEPTH_DTYPES.get(message.encoding)
    if dtype is None:
        msg = (
            f'its encoding is {message.encoding!r}, depth images are '
            f'{" or ".join(DEPTH_DTYPES)} (REP-118)'
        )
        raise DepthEncodingError(msg)
    height, width, step = int(message.height), int(message.width), int(message.step)
    octets = np.frombuffer(message.data, np.uint8)
    row = width * dtype.itemsize
    # The padding of the last row may be missing.
    if height < 1 or width < 1 or step < row or octets.size < (height - 1) * step + row:
        msg = (
            f'a {width}x{height} {message.encoding} depth image of step {step} needs more than '
            f'its {octets.size} bytes'
        )
        raise DepthEncodingError(msg)
    strides = (step, dtype.itemsize)
    order = dtype.newbyteorder('>' if message.is_bigendian else '<')
    pixels: NDArray[Any] = np.ndarray((height, width), order, buffer=octets, strides=strides)
    depth = pixels.astype(np.float32)
    if message.encoding == '16UC1':
        depth[(pixels == 0) | (pixels == np.iinfo(np.uint16).max)] = np.nan
        depth *= np.float32(1e-3)
        return depth
    depth[depth == 0] = np.nan
    with np.errstate(invalid='ignore'):
        wrong = (depth < _NEAREST) | (depth > _FURTHEST)
    wrong &= np.isfinite(depth)
    if wrong.any():
        msg = (
            f'{int(wrong.sum())} of its pixels are no depth, such as {depth[wrong][0]:g} m: the '
            'message is damaged, or its publisher writes numbers where depth is not known '
            '(REP-118: NaN)'
        )
        raise DepthEncodingError(msg)
    return depth

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""PNG and JPEG files of data sets: images, and 16-bit PNGs of depth or disparity."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.compressed_image import MAX_PIXELS, compressed_size, decode_compressed
from mono_metric_depth.datasets import DamagedFrameError
from mono_metric_depth.datasets.documents import read_bytes
from mono_metric_depth.image import ImageError

#: File names that :func:`read_image` reads.
SUFFIXES = frozenset({'.png', '.jpg', '.jpeg'})
#: No compressed image is larger than the pixels it may have (bytes).
_MAX_BYTES = 3 * MAX_PIXELS


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image.

    Args:
        path: A PNG or JPEG file. The orientation in EXIF is ignored: calibration knows none.

    Returns:
        (height, width, 3) uint8, RGB.

    Raises:
        DamagedFrameError: If it is missing, cut short, damaged or too large.
    """
    data = read_bytes(path, _MAX_BYTES, 'image')
    try:
        compressed_size(data)
        return np.ascontiguousarray(decode_compressed(data, '').as_rgb())
    except ImageError as err:
        msg = f'{path}: missing or damaged image: {err}'
        raise DamagedFrameError(msg) from err


def image_size(path: Path) -> tuple[int, int]:
    """Width and height (px) of an image, by its header alone.

    Raises:
        DamagedFrameError: If it is missing, damaged or too large.
    """
    try:
        return compressed_size(read_bytes(path, _MAX_BYTES, 'image'))
    except ImageError as err:
        msg = f'{path}: missing or damaged image: {err}'
        raise DamagedFrameError(msg) from err


def read_uint16(path: Path, height: int, width: int) -> NDArray[np.uint16]:
    """A 16-bit PNG with one channel.

    Args:
        path: The file.
        height, width: Its image's size (px).

    Returns:
        (height, width) uint16, as stored.

    Raises:
        DamagedFrameError: If it is missing, cut short, of another size or not of 16 bits.
    """
    data = read_bytes(path, _MAX_BYTES, 'image')
    stored = None
    try:
        size = compressed_size(data)
        # The decoder fills what is missing, without a word.
        if size == (width, height) and b'IEND' in data[-16:]:
            stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (ImageError, cv2.error) as err:
        msg = f'{path}: damaged depth image: {err}'
        raise DamagedFrameError(msg) from err
    if stored is None or stored.dtype != np.uint16 or stored.shape != (height, width):
        bits = '' if stored is None else f', {stored.dtype} {stored.shape}'
        msg = (
            f'{path}: damaged, not a 16-bit depth image or of another size: it is '
            f'{size[0]}x{size[1]}{bits}, expected {width}x{height} uint16'
        )
        raise DamagedFrameError(msg)
    return np.asarray(stored, np.uint16)

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
from mono_metric_depth.image_decoding import decode

#: File names that :func:`read_image` reads.
SUFFIXES = frozenset({'.png', '.jpg', '.jpeg'})
_PNG = b'\x89PNG'
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
    data = read_bytes(path, _MAX_BYTES, 'depth image')
    try:
        size = compressed_size(data)
        if size != (width, height):
            msg = (
                f'{path}: of another size: it is {size[0]}x{size[1]}, its image {width}x{height}; '
                'depth must be of the size of its image'
            )
            raise DamagedFrameError(msg)
        # The decoder fills what is missing, without a word.
        whole = b'IEND' in data[-16:] or not data.startswith(_PNG)
        stored, said = decode(data, cv2.IMREAD_UNCHANGED) if whole else (None, 'it is cut short')
    except (ImageError, cv2.error) as err:
        stored, said = None, str(err)
    if stored is None:
        msg = f'{path}: damaged depth image: {said or "it cannot be decoded"}; copy it anew'
        raise DamagedFrameError(msg)
    if stored.dtype != np.uint16 or stored.ndim != 2:
        channels = stored.shape[2] if stored.ndim == 3 else 1
        msg = (
            f'{path}: no 16-bit depth image: it has {8 * stored.itemsize} bits in {channels} '
            f'channel{"s" * (channels > 1)}; store depth as a PNG of 16 bits in one channel'
        )
        raise DamagedFrameError(msg)
    return np.asarray(stored, np.uint16)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Images as engines take them: red, green, blue, and whether the camera saw the pixel, in bytes.

A quarter of the normalised floats that networks take. What normalises them is each engine's own
matter: a GPU does it within the network's graph (:mod:`~mono_metric_depth.engines.built_network`).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.image import Image
from mono_metric_depth.model_card import Normalisation

#: Red, green, blue, seen.
CHANNELS = 4
_TO_RGBA = {
    'rgb': cv2.COLOR_RGB2RGBA,
    'bgr': cv2.COLOR_BGR2RGBA,
    'bgra': cv2.COLOR_BGRA2RGBA,
    'mono': cv2.COLOR_GRAY2RGBA,
}


def write_network_image(
    image: Image, seen: NDArray[np.bool_], out: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Write an aligned image as engines take it.

    Args:
        image: Of the network's size. Alpha is dropped; 16 bits become 8 by 255/65535.
        seen: (height, width) bool.
        out: Where to, (height, width, 4) uint8.

    Returns:
        ``out``: R, G, B, and 1 where seen, else 0.
    """
    pixels: Any = image.pixels
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
    if image.channels == 'rgba':
        np.copyto(out, pixels)
    else:
        cv2.cvtColor(pixels, _TO_RGBA[image.channels], dst=out)
    cv2.insertChannel(seen.view(np.uint8), out, 3)
    return out


class Normaliser:
    """Turns images into what a network takes, on the CPU; allocates nothing large for each.

    Args:
        normalisation: What the network expects.
        size: Height and width of its images.
    """

    def __init__(self, normalisation: Normalisation, size: tuple[int, int]) -> None:
        self._channels = ['rgb'.index(channel) for channel in normalisation.channels]
        # What each byte becomes in each plane: looking up takes a third of the time.
        self._levels = np.empty((3, 1, 256), np.float32)
        for index, levels in enumerate(self._levels):
            factor, offset = factor_and_offset(normalisation, index)
            np.multiply(np.arange(256, dtype=np.uint8), factor, out=levels[0])
            levels -= offset
        self._split = [np.empty(size, np.uint8) for _ in range(CHANNELS)]

    def write(self, images: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Normalise images; what was not seen becomes 0, the mean of what the network knows.

        Args:
            images: (n, height, width, 4), see :func:`write_network_image`.
            out: Where to, (n, 3, height, width) float32.
        """
        for image, planes in zip(images, out, strict=True):
            *colours, seen = cv2.split(image, self._split)
            for plane, channel, levels in zip(planes, self._channels, self._levels, strict=True):
                cv2.LUT(colours[channel], levels, dst=plane)
            if b'\0' in seen.tobytes():  # a tenth of the time of seen.all()
                planes *= seen


def factor_and_offset(normalisation: Normalisation, index: int) -> tuple[np.float32, np.float32]:
    """What a byte of the network's channel is multiplied by, and what is then taken away."""
    mean, std = normalisation.mean[index], normalisation.std[index]
    return np.float32(1 / (255 * std)), np.float32(mean / std)


def normalised(images: NDArray[np.uint8], normalisation: Normalisation) -> NDArray[np.float32]:
    """Images as a network takes them, in an array of their own.

    Args:
        images: (n, height, width, 4), see :func:`write_network_image`.
        normalisation: What the network expects.

    Returns:
        (n, 3, height, width) float32.
    """
    count, *size = images.shape[:3]
    out = np.empty((count, 3, *size), np.float32)
    Normaliser(normalisation, (size[0], size[1])).write(images, out)
    return out

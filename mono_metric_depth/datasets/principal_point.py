# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Whether intrinsics can be those of an image: resized images keep the file of the original."""

from __future__ import annotations

from pathlib import Path

from mono_metric_depth.camera import Camera
from mono_metric_depth.datasets import DamagedFrameError


def require_centred(camera: Camera, path: Path, tolerance: float = 0.25) -> None:
    """Refuse a camera whose principal point is far from the middle of its image.

    Args:
        camera: The camera, with the size of the image on disk.
        path: Where its intrinsics are from.
        tolerance: So far from the middle at most, as a share of the image's width and height.

    Raises:
        DamagedFrameError: Naming both.
    """
    middle = (camera.width - 1) / 2, (camera.height - 1) / 2
    if (
        abs(camera.cx - middle[0]) > tolerance * camera.width
        or abs(camera.cy - middle[1]) > tolerance * camera.height
    ):
        msg = (
            f'{path}: its principal point ({camera.cx:g}, {camera.cy:g}) does not fit images of '
            f'{camera.width}x{camera.height} px; have they been resized or cropped? Use the '
            "data set's own images"
        )
        raise DamagedFrameError(msg)

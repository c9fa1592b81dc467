# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Images whose camera is not known: for looking at what a network puts out, not for metres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.datasets import is_drive
from mono_metric_depth.datasets.image_file import SUFFIXES, read_image
from mono_metric_depth.frame import Frame


class PlainImages:
    """Images as a :class:`~mono_metric_depth.datasets.FrameSequence`.

    Args:
        files: PNG or JPEG files.
        camera: Each is taken for as wide as this one sees, whatever its own size.
    """

    def __init__(self, files: list[Path], camera: Camera) -> None:
        self.name = str(files[0].parent)
        self._files, self._camera = files, camera

    @property
    def mounts(self) -> list[Mount | None]:
        """They are not known."""
        return [None] * len(self)

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int, /) -> Frame:
        pixels = read_image(self._files[index])
        height, width = pixels.shape[:2]
        focal = self._camera.fx * width / self._camera.width
        camera = Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
        return Frame(index, pixels, camera)


def plain_images(name: str, camera: Camera) -> PlainImages | None:
    """The images that a name means where it means no drive.

    Args:
        name: What a person gave: an image, or a folder of images without a ``camera.yaml``.
        camera: As for :class:`PlainImages`.

    Returns:
        The images; None if it means a drive, or nothing.
    """
    path = Path(name)
    if is_drive(name):
        return None
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in files if file.suffix.lower() in SUFFIXES and file.is_file()]
    return PlainImages(files, camera) if files else None

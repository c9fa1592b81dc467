# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A drive as a folder: PNG images and depth beside one JSON file.

``image/000000.png`` is RGB; ``depth/000000.png`` is uint16, metres x 256 as KITTI stores it, 0
where nothing is known, 65535 for sky or beyond 255 m; ``sequence.json`` holds the camera once and
stamp, pose and mount of each frame.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.datasets import DamagedFrameError, DatasetError
from mono_metric_depth.datasets.documents import read_json, what_is_wrong
from mono_metric_depth.datasets.image_file import read_image, read_uint16
from mono_metric_depth.frame import Frame

_DEPTH_UNIT = 256.0
_SKY = 65535
_VERSION = 1


def write_sequence(folder: Path, frames: Iterable[Frame]) -> int:
    """Write a drive; it appears whole or not at all.

    Args:
        folder: Where to; must not exist.
        frames: Frames of one camera.

    Returns:
        How many frames were written.

    Raises:
        DatasetError: If the folder exists, there is no frame, the camera changes, or a frame
            cannot be written.
    """
    if folder.exists():
        msg = f'{folder} exists already; choose another folder or remove it'
        raise DatasetError(msg)
    part = folder.with_name(f'.{folder.name}.part')
    # What a killed run left must not mix with this drive.
    shutil.rmtree(part, ignore_errors=True)
    try:
        count = _write(part, frames)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return count


def _write(folder: Path, frames: Iterable[Frame]) -> int:
    for name in ('image', 'depth'):
        (folder / name).mkdir(parents=True)
    camera = None
    entries = []
    for index, frame in enumerate(frames):
        if camera not in (None, frame.camera):
            msg = f'frame {index} has another camera than the frames before it'
            raise DatasetError(msg)
        camera = frame.camera
        name = f'{index:06d}.png'
        size = (frame.camera.height, frame.camera.width)
        for kind, pixels in (('image', frame.image), ('depth', frame.depth)):
            if pixels is not None and pixels.shape[:2] != size:
                msg = f'frame {index}: {kind} is {pixels.shape[:2]}, its camera is {size}'
                raise DatasetError(msg)
        _write_png(folder / 'image' / name, frame.image[..., ::-1])
        if frame.depth is not None:
            _write_png(folder / 'depth' / name, _stored(frame.depth))
        entries.append(
            {
                'stamp': int(frame.stamp),
                'pose': None if frame.pose is None else frame.pose.tolist(),
                'mount': None if frame.mount is None else dataclasses.asdict(frame.mount),
            }
        )
    if camera is None:
        msg = 'a drive needs at least one frame'
        raise DatasetError(msg)
    document = {'version': _VERSION, 'camera': dataclasses.asdict(camera), 'frames': entries}
    (folder / 'sequence.json').write_text(json.dumps(document, indent=1))
    return len(entries)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    if not cv2.imwrite(str(path), pixels):
        msg = f'{path}: cannot be written; is the disk full?'
        raise DatasetError(msg)


class SequenceFolder:
    """A drive that :func:`write_sequence` wrote.

    Raises:
        DatasetError: If ``sequence.json`` is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = str(folder)
        path = folder / 'sequence.json'
        try:
            document = read_json(path)
            if document['version'] != _VERSION:
                msg = f'{path}: version {document["version"]}, this package reads {_VERSION}'
                raise DatasetError(msg)
            values = document['camera']
            self.camera = Camera(**{**values, 'distortion': tuple(values['distortion'])})
            self._frames = [
                (
                    int(entry['stamp']),
                    None if entry['pose'] is None else _pose(entry['pose']),
                    None if entry['mount'] is None else Mount(**entry['mount']),
                )
                for entry in document['frames']
            ]
        except (KeyError, OverflowError, TypeError, ValueError) as err:
            if isinstance(err, DatasetError):
                raise
            msg = f'{path}: cannot read the drive: {what_is_wrong(err)}'
            raise DatasetError(msg) from err
        if not self._frames:
            msg = f'{path}: the drive has no frames'
            raise DatasetError(msg)

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @property
    def mounts(self) -> list[Mount | None]:
        """The mount of each frame."""
        return [mount for _, _, mount in self._frames]

    def __getitem__(self, index: int, /) -> Frame:
        stamp, pose, mount = self._frames[index]
        name = f'{index % len(self):06d}.png'
        path = self.folder / 'image' / name
        image = read_image(path)
        if image.shape[:2] != (self.camera.height, self.camera.width):
            msg = (
                f'{path}: is {image.shape[1]}x{image.shape[0]}, of another size than the camera '
                f'({self.camera.width}x{self.camera.height}); keep one folder for each size'
            )
            raise DamagedFrameError(msg)
        depth = None
        path = self.folder / 'depth' / name
        if path.is_file():
            stored = read_uint16(path, *image.shape[:2])
            depth = (stored / np.float32(_DEPTH_UNIT)).astype(np.float32)
            depth[stored == 0] = np.nan
            depth[stored == _SKY] = np.inf
        return Frame(stamp, image, self.camera, depth, pose, mount)


def _pose(numbers: Any) -> NDArray[np.float64]:
    pose = np.array(numbers, np.float64).reshape(4, 4)
    if not np.isfinite(pose).all():
        msg = f'a pose that is not finite: {pose.tolist()}'
        raise ValueError(msg)
    return pose


def _stored(depth: np.ndarray) -> np.ndarray:
    scaled = np.nan_to_num(depth, nan=0.0, posinf=_SKY) * _DEPTH_UNIT
    return np.asarray(np.rint(scaled).clip(0, _SKY), np.uint16)

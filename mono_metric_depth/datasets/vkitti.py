# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Virtual KITTI 2: rendered drives with dense depth, unpacked merged or archive by archive.

``#`` chooses, in any order: ``Camera_0`` (the default) or ``Camera_1``; a scene (``Scene01``); a
variation (``clone``, ``fog``, ``15-deg-left``, ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, CameraError, Mount
from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.choices import Kinds, chosen, drive_name
from mono_metric_depth.datasets.documents import table_rows
from mono_metric_depth.datasets.image_file import read_image, read_uint16
from mono_metric_depth.datasets.principal_point import require_centred
from mono_metric_depth.frame import Frame

SHAPE = 'Virtual KITTI 2 (its folder, or a variation of a scene)'
_SCENE = re.compile(r'Scene\d\d')
_ARCHIVE = re.compile(r'(vkitti_[\d.]+_)rgb')
_KINDS: Kinds = {
    'camera': re.compile(r'Camera_\d').fullmatch,
    'scene': _SCENE.fullmatch,
    'variation': re.compile(r'[a-z0-9][a-z0-9-]*').fullmatch,
}
_DESCRIBED = 'Camera_0 or Camera_1, a scene such as Scene01, a variation such as clone'
#: As the cameras of KITTI (ns).
_PERIOD = 100_000_000
_CENTIMETRES = 0.01
_SKY = 65535


def is_here(path: Path) -> bool:
    """Whether a path is the data set, a scene or a variation of one."""
    return bool(_variations(path))


def _variations(path: Path) -> list[Path]:
    """The variations of scenes that have images in a folder."""
    if not path.is_dir():
        return []
    if (path / 'frames' / 'rgb').is_dir():
        return [path]
    if _SCENE.fullmatch(path.name):
        scenes = [path]
    else:
        tops = [path, *(child for child in path.iterdir() if _ARCHIVE.fullmatch(child.name))]
        scenes = [scene for top in tops for scene in top.glob('Scene[0-9][0-9]')]
    return sorted(rgb.parent.parent for scene in scenes for rgb in scene.glob('*/frames/rgb'))


def drive_names(path: Path, choice: str) -> list[str]:
    """A name for each variation of each scene."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    names = [
        drive_name(variation, words.get('camera'))
        for variation in _variations(path)
        if words.get('variation', variation.name) == variation.name
        and words.get('scene', variation.parent.name) == variation.parent.name
    ]
    if not names:
        msg = f'{path}#{choice}: names no variation of a scene that is here'
        raise DatasetError(msg)
    return names


def open_drive(path: Path, choice: str) -> VkittiDrive:
    """A variation of a scene."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    if not (path / 'frames' / 'rgb').is_dir():
        msg = f'{path} is several drives: open each of sequence_names({str(path)!r})'
        raise DatasetError(msg)
    return VkittiDrive(path, words.get('camera', 'Camera_0'))


def drive_files(path: Path, choice: str) -> list[Path]:
    """What is read for a drive."""
    sequence = open_drive(path, choice)
    return [*sequence.tables, *sequence.images.values(), *sequence.depth_folder.glob('*.png')]


def _part(variation: Path, part: str) -> Path:
    """The same variation in the archive of depth or text, if they were not merged."""
    archive = variation.parent.parent
    match = _ARCHIVE.fullmatch(archive.name)
    if match is None:
        return variation
    return archive.with_name(f'{match[1]}{part}') / variation.parent.name / variation.name


class VkittiDrive:
    """One camera of a variation of a scene. Stamps count 0.1 s for each frame.

    Args:
        path: The variation's folder, such as ``Scene01/clone``.
        camera: ``Camera_0`` (left) or ``Camera_1``.

    Attributes:
        images: Files by frame.
        depth_folder: Where depth lies, if it was unpacked.
        tables: The files of intrinsics and extrinsics.

    Raises:
        DatasetError: If images, intrinsics or extrinsics are missing or damaged.
    """

    def __init__(self, path: Path, camera: str = 'Camera_0') -> None:
        self.name = drive_name(path, camera)
        folder = path / 'frames' / 'rgb' / camera
        self.images = {
            int(file.stem.removeprefix('rgb_')): file
            for file in sorted(folder.glob('rgb_*.*'))
            if file.stem.removeprefix('rgb_').isdecimal()
        }
        if not self.images:
            there = sorted(child.name for child in folder.parent.iterdir())
            msg = f'{path}: no images of {camera!r}; there are {", ".join(there) or "none"}'
            raise DatasetError(msg)
        self.depth_folder = _part(path, 'depth') / 'frames' / 'depth' / camera
        texts = _part(path, 'textgt')
        self.tables = texts / 'intrinsic.txt', texts / 'extrinsic.txt'
        number = int(camera.removeprefix('Camera_'))
        self._intrinsics, self._extrinsics = (
            _rows(table, number, columns)
            for table, columns in zip(self.tables, (4, 16), strict=True)
        )
        self._frames = sorted(self.images)
        for table, rows in zip(self.tables, (self._intrinsics, self._extrinsics), strict=True):
            missing = [frame for frame in self._frames if frame not in rows]
            if missing:
                msg = (
                    f'{table}: {len(missing)} frames of {camera} have no line, first: {missing[0]}'
                )
                raise DatasetError(msg)

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @property
    def mounts(self) -> list[Mount | None]:
        """Not known: the data set says nothing about the vehicle."""
        return [None] * len(self)

    def __getitem__(self, index: int, /) -> Frame:
        frame = self._frames[index]
        image = read_image(self.images[frame])
        height, width = image.shape[:2]
        try:
            fx, fy, cx, cy = self._intrinsics[frame]
            camera = Camera(width, height, fx, fy, cx, cy)
        except CameraError as err:
            msg = f'{self.tables[0]}: frame {frame}: {err}'
            raise DatasetError(msg) from err
        # A rendered camera has its principal point in the middle.
        require_centred(camera, self.tables[0], 0.01)
        depth = None
        if self.depth_folder.is_dir():
            stored = read_uint16(self.depth_folder / f'depth_{frame:05d}.png', height, width)
            depth = np.asarray(stored * np.float32(_CENTIMETRES), np.float32)
            depth[stored == _SKY] = np.inf
            depth[stored == 0] = np.nan
        pose = self._pose(frame)
        return Frame(frame * _PERIOD, image, camera, depth, pose)

    def _pose(self, frame: int) -> NDArray[np.float64]:
        """Camera to world; the file has it the other way round."""
        camera_from_world = np.array(self._extrinsics[frame]).reshape(4, 4)
        rotation = camera_from_world[:3, :3]
        if (
            not np.isfinite(camera_from_world).all()
            or camera_from_world[3].tolist() != [0, 0, 0, 1]
            or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
        ):
            msg = f'{self.tables[1]}: frame {frame} has no pose: {camera_from_world.tolist()}'
            raise DatasetError(msg)
        return np.asarray(np.linalg.inv(camera_from_world), np.float64)


def _rows(table: Path, camera: int, columns: int) -> dict[int, list[float]]:
    """The numbers of each frame of a camera, behind frame and camera."""
    if not table.is_file():
        msg = f'{table} is missing: unpack vkitti_2.0.3_textgt.tar beside the images'
        raise DatasetError(msg)
    rows = table_rows(table, 2 + columns, header=1)
    return {int(row[0]): row[2 : 2 + columns] for row in rows if row[1] == camera}

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Cityscapes: rectified left images, single or in snippets of 30, with disparity as ground truth.

A snippet of ``leftImg8bit_sequence`` is a drive; the single images of ``leftImg8bit`` are one
drive for each city, without neighbours to train on. ``#`` chooses, in any order: a split; a city;
where a snippet begins (``000019_000004``: recording and frame). No pose is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, CameraError, Mount
from mono_metric_depth.datasets import DamagedFrameError, DatasetError
from mono_metric_depth.datasets.choices import Kinds, chosen, drive_name
from mono_metric_depth.datasets.documents import read_json, what_is_wrong
from mono_metric_depth.datasets.image_file import read_image, read_uint16
from mono_metric_depth.datasets.principal_point import require_centred
from mono_metric_depth.frame import Frame

SHAPE = 'Cityscapes (its folder, or leftImg8bit, leftImg8bit_sequence, a split or a city in it)'
_SINGLE, _SEQUENCE = 'leftImg8bit', 'leftImg8bit_sequence'
_SPLITS = ('train', 'val', 'test', 'train_extra', 'demoVideo')
_IMAGE = re.compile(r'(?P<city>.+)_(?P<recording>\d{6})_(?P<frame>\d{6})_leftImg8bit')
_KINDS: Kinds = {
    'split': _SPLITS.__contains__,
    'begin': re.compile(r'\d{6}_\d{6}').fullmatch,
    'city': re.compile(r'[A-Za-z0-9-]+').fullmatch,
}
_DESCRIBED = 'a split such as val, a city such as frankfurt, the begin of a snippet'
#: All cameras of the data set (px): disparity and intrinsics are for this size.
_WIDTH, _HEIGHT = 2048, 1024
#: 17 images per second (ns).
_PERIOD = 10**9 / 17


class _Image(NamedTuple):
    recording: int
    frame: int
    file: Path


def is_here(path: Path) -> bool:
    """Whether a path is the data set or a folder of its images."""
    return bool(_cities(path))


def _cities(path: Path) -> list[Path]:
    """The folders of cities at or below a path."""
    if not path.is_dir():
        return []
    for kind in (_SEQUENCE, _SINGLE):
        if (path / kind).is_dir():
            path = path / kind
    parts = path.resolve().parts
    for kind in (_SEQUENCE, _SINGLE):
        if kind in parts:
            below = len(parts) - 1 - parts.index(kind)
            found = {0: path.glob('*/*'), 1: path.glob('*'), 2: iter([path])}.get(below, iter(()))
            return sorted(city for city in found if city.is_dir())
    return []


def drive_names(path: Path, choice: str) -> list[str]:
    """A name for each snippet; of single images, for each city."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    names = []
    for city in _cities(path):
        if (
            words.get('split', city.parent.name) != city.parent.name
            or words.get('city', city.name) != city.name
        ):
            continue
        if _kind(city) == _SINGLE:
            names.append(str(city))
            continue
        begins = [_begin(snippet) for snippet in _snippets(_images(city))]
        names += [drive_name(city, b) for b in begins if words.get('begin', b) == b]
    if not names:
        msg = f'{path}#{choice}: names no images that are here'
        raise DatasetError(msg)
    return names


def open_drive(path: Path, choice: str) -> CityscapesDrive:
    """A snippet, or the single images of a city."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    if _cities(path) != [path]:
        msg = f'{path} is several drives: open each of sequence_names({str(path)!r})'
        raise DatasetError(msg)
    return CityscapesDrive(path, words.get('begin'))


def drive_files(path: Path, choice: str) -> list[Path]:
    """What is read for a drive."""
    sequence = open_drive(path, choice)
    return [file for index in range(len(sequence)) for file in sequence.files(index)]


def _kind(city: Path) -> str:
    """Which kind of images a city's folder holds."""
    return city.resolve().parent.parent.name


def _images(city: Path) -> list[_Image]:
    # A hundred and fifty thousand files in all, and the folder is looked at more than once.
    return _listing(city, city.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _listing(city: Path, _changed: int) -> list[_Image]:
    matches = ((_IMAGE.fullmatch(file.stem), file) for file in city.iterdir())
    return sorted(_Image(int(m['recording']), int(m['frame']), file) for m, file in matches if m)


def _snippets(images: list[_Image]) -> list[list[_Image]]:
    """Runs of frames that follow one another."""
    snippets: list[list[_Image]] = []
    for image in images:
        last = snippets[-1][-1] if snippets else None
        if last is None or (last.recording, last.frame + 1) != (image.recording, image.frame):
            snippets.append([])
        snippets[-1].append(image)
    return snippets


def _begin(snippet: list[_Image]) -> str:
    return f'{snippet[0].recording:06d}_{snippet[0].frame:06d}'


class CityscapesDrive:
    """Left images of a snippet, or of a city, with depth where there is disparity.

    Stamps count 1/17 s for each frame; recordings lie apart.

    Args:
        city: Folder of the city's images.
        begin: Recording and frame that the snippet begins with; a folder of sequences needs it
            where it holds several.

    Raises:
        DatasetError: If there are no images or no calibration, or several snippets.
    """

    def __init__(self, city: Path, begin: str | None = None) -> None:
        self.name = drive_name(city, begin)
        self._city = city
        self._frames = _images(city)
        if _kind(city) == _SEQUENCE:
            snippets = _snippets(self._frames)
            wanted = [s for s in snippets if begin in (None, _begin(s))]
            if len(wanted) != 1:
                msg = f'{self.name} is {len(wanted)} drives: give one of sequence_names({city})'
                raise DatasetError(msg)
            self._frames = wanted[0]
        if not self._frames:
            msg = f'{city}: no images named CITY_000000_000019_leftImg8bit.png'
            raise DatasetError(msg)
        folder = self._beside('camera', '')
        self._calibrations = [
            (int(recording), int(frame), file)
            for file in sorted(folder.glob('*_camera.json'))
            for recording, frame in [file.stem.split('_')[-3:-1]]
        ]
        if not self._calibrations:
            msg = f'{folder}: no calibration; unpack camera_trainvaltest.zip beside the images'
            raise DatasetError(msg)

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @property
    def mounts(self) -> list[Mount | None]:
        """The mount of each frame; None where its calibration is damaged."""
        known: dict[Path, Mount | None] = {}
        files = [self._calibration(frame) for frame in self._frames]
        for file in dict.fromkeys(files):
            try:
                known[file] = _calibration(file)[1]
            except DamagedFrameError:
                known[file] = None
        return [known[file] for file in files]

    def files(self, index: int) -> list[Path]:
        """Image, calibration and disparity of a frame; not all need be there."""
        frame = self._frames[index]
        name = frame.file.stem.removesuffix('_leftImg8bit') + '_disparity.png'
        folders = [self._beside('disparity', '_sequence'), self._beside('disparity', '')]
        disparity = next((f / name for f in folders if (f / name).exists()), folders[1] / name)
        return [frame.file, self._calibration(frame), disparity]

    def _beside(self, kind: str, ending: str) -> Path:
        """The folder of other data of the same city."""
        city = self._city.resolve()
        return city.parents[2] / f'{kind}{ending}' / city.parent.name / city.name

    def _calibration(self, image: _Image) -> Path:
        """The file of the frame itself; of a snippet, one frame alone has one."""
        apart = [
            (abs(recording - image.recording), abs(frame - image.frame), file)
            for recording, frame, file in self._calibrations
        ]
        recordings, frames, file = min(apart)
        if recordings or frames > 30:
            msg = (
                f'{self._city}: no calibration for {image.file.name}; unpack '
                'camera_trainvaltest.zip beside the images'
            )
            raise DatasetError(msg)
        return file

    def __getitem__(self, index: int, /) -> Frame:
        frame = self._frames[index]
        path, calibration, disparity = self.files(index)
        image = read_image(path)
        if image.shape[:2] != (_HEIGHT, _WIDTH):
            msg = (
                f'{path}: is {image.shape[1]}x{image.shape[0]}, but calibration and disparity are '
                f'for {_WIDTH}x{_HEIGHT}; use images that were neither resized nor cropped'
            )
            raise DamagedFrameError(msg)
        camera, mount, baseline = _calibration(calibration)
        depth = _depth(disparity, camera.fx * baseline) if disparity.exists() else None
        stamp = round((frame.recording * 10**6 + frame.frame) * _PERIOD)
        return Frame(stamp, image, camera, depth, None, mount)


def _calibration(path: Path) -> tuple[Camera, Mount, float]:
    """Camera, mount and baseline (m) of a ``_camera.json``.

    The vehicle's frame has x forward, y left, z up (ISO 8855) and its origin on the road.

    Raises:
        DamagedFrameError: If it is missing or damaged.
    """
    try:
        document: Any = read_json(path)
        k, e = document['intrinsic'], document['extrinsic']
        fx, fy, u0, v0 = (float(k[name]) for name in ('fx', 'fy', 'u0', 'v0'))
        camera = Camera(_WIDTH, _HEIGHT, fx, fy, u0, v0)
        mount = Mount(*(float(e[name]) for name in ('pitch', 'roll', 'yaw', 'z')))
        baseline = float(e['baseline'])
        if not 0 < baseline < 10:
            msg = f'a baseline of {baseline} m'
            raise CameraError(msg)
        require_centred(camera, path)
    except DatasetError as err:
        raise DamagedFrameError(str(err)) from err
    except (KeyError, TypeError, ValueError) as err:
        msg = f'{path}: no calibration: {what_is_wrong(err)}'
        raise DamagedFrameError(msg) from err
    return camera, mount, baseline


def _depth(path: Path, focal_baseline: float) -> NDArray[np.float32]:
    """Depth (m) from stored disparity: (p - 1) / 256 px, 0 where there is none."""
    stored = read_uint16(path, _HEIGHT, _WIDTH)
    with np.errstate(divide='ignore'):
        depth = np.float32(focal_baseline * 256) / (stored.astype(np.float32) - 1)
    depth[stored == 0] = np.nan
    return np.asarray(depth, np.float32)

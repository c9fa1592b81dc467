# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A plain folder of images of one camera, with its calibration in ``camera.yaml`` (or ``.json``).

Images (PNG or JPEG) lie in the folder or in ``image/`` within it, in the order of their names;
``depth/`` may hold 16-bit PNGs of the same names: 0 where nothing is known, 65535 for what lies
beyond. ``camera.yaml`` holds ``width, height, fx, fy, cx, cy`` (px), or what ROS's
camera_calibration writes, and further, as far as it is known:

    distortion_model: plumb_bob        # or rational_polynomial, equidistant
    distortion: [-0.1, 0.02, 0, 0, 0]  # left out for rectified images
    rate: 10                           # images per second
    depth_unit: 0.001                  # metres per count of depth/*.png; needed if there are any
    mount: {pitch: 0.02, roll: 0.0, yaw: 0.0, height: 1.5}  # rad, m
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.datasets import DamagedFrameError, DatasetError
from mono_metric_depth.datasets.documents import read_json, read_text, what_is_wrong
from mono_metric_depth.datasets.image_file import SUFFIXES, image_size, read_image, read_uint16
from mono_metric_depth.frame import Frame
from mono_metric_depth.scale import ScaleError, check_depth_unit

SHAPE = 'a folder of images with a camera.yaml'
_FILES = ('camera.yaml', 'camera.yml', 'camera.json')
_NUMBERS = ('fx', 'fy', 'cx', 'cy')
_KNOWN = {'width', 'height', *_NUMBERS, 'distortion_model', 'distortion'}
#: What camera_calibration writes; images are as the camera takes them, not rectified.
_ROS = {'image_width', 'image_height', 'camera_name', 'camera_matrix', 'distortion_model'}
_ROS |= {'distortion_coefficients', 'rectification_matrix', 'projection_matrix'}
_FURTHER = {'rate', 'depth_unit', 'mount'}
_RATE = 10.0
_BEYOND = 65535
_MAX_YAML = 1 << 16
#: A wrong unit is wrong in every image.
_LOOKED_AT = 5


def is_here(path: Path) -> bool:
    """Whether a path is a folder with a camera file."""
    return any((path / name).is_file() for name in _FILES)


def drive_names(path: Path, choice: str) -> list[str]:
    """The folder itself."""
    _require_none(path, choice)
    return [str(path)]


def open_drive(path: Path, choice: str) -> ImageFolder:
    """The folder."""
    _require_none(path, choice)
    return ImageFolder(path)


def drive_files(path: Path, choice: str) -> list[Path]:
    """What lies in the folder."""
    _require_none(path, choice)
    return list(path.rglob('*'))


def _require_none(path: Path, choice: str) -> None:
    if choice:
        msg = f'{path}#{choice}: a folder of images has nothing to choose; leave out #{choice}'
        raise DatasetError(msg)


class ImageFolder:
    """Images of a folder, as neighbours in the order of their names.

    Args:
        path: The folder.

    Attributes:
        camera: The camera of all images.
        mount: How it is mounted; None if it is not said.

    Raises:
        DatasetError: If the camera file is damaged, there are no images or none of the size it
            says, or depth has no unit, cannot be read or belongs to none of the images.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        file = next(path / name for name in _FILES if (path / name).is_file())
        entries = _entries(file)
        try:
            self.camera = _camera(entries)
            self._rate = float(entries.get('rate', _RATE))
            if not 0.01 <= self._rate <= 10_000:
                msg = f'rate must be images per second, got {self._rate}'
                raise ValueError(msg)
            mount = entries.get('mount')
            self.mount = None if mount is None else Mount(**mount)
            self._unit = None
            if 'depth_unit' in entries:
                self._unit = float(entries['depth_unit'])
        except (AttributeError, KeyError, TypeError, ValueError) as err:
            msg = f'{file}: {what_is_wrong(err)}; expected width, height, fx, fy, cx, cy'
            raise DatasetError(msg) from err
        folder = path / 'image' if (path / 'image').is_dir() else path
        images = [image for image in folder.iterdir() if image.suffix.lower() in SUFFIXES]
        self._images = sorted(images, key=_in_order)
        if not self._images:
            msg = f'{folder}: no PNG or JPEG images'
            raise DatasetError(msg)
        self._require_any_of_its_size()
        self._depth_folder = path / 'depth'
        self._with_depth = self._depth_folder.is_dir() and any(self._depth_folder.iterdir())
        if self._with_depth:
            self._require_depth(file)

    def _require_depth(self, file: Path) -> None:
        if self._unit is None or not 1e-5 <= self._unit <= 1:
            msg = (
                f'{file}: depth_unit must say how many metres one count of the PNGs in '
                f'{self._depth_folder} is (0.001 for millimetres, 0.01 for centimetres, '
                f'0.00390625 for 1/256 m), got {self._unit}'
            )
            raise DatasetError(msg)
        with_depth = [image for image in self._images if self._depth_file(image).is_file()]
        if not with_depth:
            msg = (
                f'{self._depth_folder}: none of its files has the name of an image, such as '
                f'{self._depth_file(self._images[0]).name}'
            )
            raise DatasetError(msg)
        medians, wrong = [], []
        for image in _some(with_depth):
            try:
                depth = self._depth(image)
            except DamagedFrameError as err:
                wrong.append(err)
                continue
            if depth is not None and np.isfinite(depth).any():
                medians.append(float(np.median(depth[np.isfinite(depth)])))
        if len(wrong) == len(_some(with_depth)):
            raise wrong[0]
        try:
            if medians:
                check_depth_unit(medians, f'{file}: depth_unit {self._unit:g}')
        except ScaleError as err:
            raise DatasetError(str(err)) from err

    def _require_any_of_its_size(self) -> None:
        """Refuse the folder if none of a few images can be read and fits the camera."""
        wrong = []
        for image in _some(self._images):
            try:
                self._require_size(*image_size(image), image)
            except DamagedFrameError as err:
                wrong.append(err)
            else:
                return
        raise wrong[0]

    def _require_size(self, width: int, height: int, path: Path) -> None:
        if (width, height) != (self.camera.width, self.camera.height):
            msg = (
                f'{path}: is {width}x{height}, of another size than the camera '
                f'({self.camera.width}x{self.camera.height}); resize fx, fy, cx and cy, too'
            )
            raise DamagedFrameError(msg)

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @property
    def mounts(self) -> list[Mount | None]:
        """The mount of each frame: all the same."""
        return [self.mount] * len(self)

    def __getitem__(self, index: int, /) -> Frame:
        path = self._images[index]
        image = read_image(path)
        self._require_size(image.shape[1], image.shape[0], path)
        stamp = round(index % len(self) / self._rate * 1e9)
        return Frame(stamp, image, self.camera, self._depth(path), None, self.mount)

    def _depth_file(self, image: Path) -> Path:
        return self._depth_folder / f'{image.stem}.png'

    def _depth(self, image: Path) -> NDArray[np.float32] | None:
        path = self._depth_file(image)
        if not self._with_depth or not path.is_file():
            return None
        assert self._unit is not None
        stored = read_uint16(path, self.camera.height, self.camera.width)
        depth = np.asarray(stored * np.float32(self._unit), np.float32)
        depth[stored == 0] = np.nan
        depth[stored == _BEYOND] = np.inf
        return depth


def _some(images: list[Path]) -> list[Path]:
    """A few of them, evenly."""
    return images[:: -(-len(images) // _LOOKED_AT)]


def _in_order(path: Path) -> list[tuple[int, str]]:
    """Frame 10 comes after frame 9, however many digits there are."""
    parts = re.split(r'(\d+)', path.stem)
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in parts]


def _entries(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == '.json':
            entries = read_json(path)
        else:
            entries = yaml.safe_load(read_text(path, _MAX_YAML))
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        if isinstance(err, DatasetError):
            raise
        msg = f'{path}: cannot read: {what_is_wrong(err)}'
        raise DatasetError(msg) from err
    known = _ROS if isinstance(entries, dict) and 'camera_matrix' in entries else _KNOWN
    if not isinstance(entries, dict) or not entries.keys() <= known | _FURTHER:
        odd = (
            sorted(map(str, set(entries) - known - _FURTHER)) if isinstance(entries, dict) else []
        )
        msg = f'{path}: {", ".join(odd) or "no entries"}: known are {", ".join(sorted(known))}'
        raise DatasetError(f'{msg}, {", ".join(sorted(_FURTHER))}')
    return entries


def _camera(entries: dict[str, Any]) -> Camera:
    model = str(entries.get('distortion_model', 'plumb_bob'))
    if 'camera_matrix' in entries:
        k = [float(value) for value in entries['camera_matrix']['data']]
        if len(k) != 9 or k[1] != 0:
            msg = f'camera_matrix must be 9 numbers without a skew, got {k}'
            raise ValueError(msg)
        width, height = int(entries['image_width']), int(entries['image_height'])
        distortion = entries.get('distortion_coefficients', {}).get('data', [])
        fx, fy, cx, cy = k[0], k[4], k[2], k[5]
    else:
        width, height = int(entries['width']), int(entries['height'])
        fx, fy, cx, cy = (float(entries[name]) for name in _NUMBERS)
        distortion = entries.get('distortion', [])
    return Camera(width, height, fx, fy, cx, cy, model, tuple(map(float, distortion)))

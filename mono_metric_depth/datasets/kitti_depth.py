# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""KITTI's depth benchmark: improved ground truth, and its selection of single images.

Depth is uint16, metres x 256, 0 where nothing is known (Uhrig et al., "Sparsity invariant CNNs",
3DV 2017). It belongs to the images of KITTI raw: :mod:`mono_metric_depth.datasets.kitti`.
``val_selection_cropped`` and ``test_depth_prediction_anonymous`` have images of their own, each
with its intrinsics; these are single images, not neighbours to train on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, CameraError, Mount
from mono_metric_depth.datasets import DamagedFrameError, DatasetError
from mono_metric_depth.datasets.choices import Kinds, chosen, drive_name
from mono_metric_depth.datasets.documents import table_rows
from mono_metric_depth.datasets.image_file import SUFFIXES, read_image, read_uint16
from mono_metric_depth.datasets.principal_point import require_centred
from mono_metric_depth.frame import Frame

SHAPE = "KITTI's val_selection_cropped"
_UNIT = 256
#: KITTI's cameras take 10 images per second (ns).
PERIOD = 100_000_000
_SELECTED = re.compile(
    r'(?P<drive>\d{4}_\d\d_\d\d_drive_\d{4}_sync)_image_(?P<frame>\d+)_(?P<camera>image_0\d)'
)
_KINDS: Kinds = {
    'drive': re.compile(r'\d{4}_\d\d_\d\d_drive_\d{4}_sync').fullmatch,
    'camera': re.compile(r'image_0[23]').fullmatch,
}
_DESCRIBED = 'a drive such as 2011_09_26_drive_0002_sync, and image_02 or image_03'


def read_depth(path: Path, height: int, width: int) -> NDArray[np.float32]:
    """True depth of the benchmark.

    Args:
        path: Its PNG.
        height, width: Size of the image (px).

    Returns:
        (height, width) float32, metres, NaN where nothing is known.

    Raises:
        DamagedFrameError: If it is missing, damaged, of another size or not of 16 bits.
    """
    stored = read_uint16(path, height, width)
    depth = np.asarray(stored / np.float32(_UNIT), np.float32)
    depth[stored == 0] = np.nan
    return depth


def ground_truth_folder(drive: Path, camera: str, given: Path | None) -> Path | None:
    """Where the improved ground truth of a drive lies.

    Args:
        drive: The drive's folder in KITTI raw.
        camera: ``02`` or ``03``.
        given: The benchmark's folder (with ``train`` and ``val``, or one of them); if left out, it
            is looked for within the drive, and beside the days.

    Returns:
        Its folder of PNGs; None if there is none.
    """
    root = drive.parent.parent
    if given is not None:
        places = [given, given / 'train', given / 'val', given / 'data_depth_annotated' / 'train']
        places += [given / 'data_depth_annotated' / 'val']
        bases = [place / drive.name for place in places]
    else:
        tops = [root, root / 'data_depth_annotated', root / 'depth']
        bases = [drive, *(top / split / drive.name for top in tops for split in ('train', 'val'))]
    for base in bases:
        folder = base / 'proj_depth' / 'groundtruth' / f'image_{camera}'
        if folder.is_dir():
            return folder
    return None


def is_here(path: Path) -> bool:
    """Whether a path is a selection of single images."""
    return (path / 'image').is_dir() and (path / 'intrinsics').is_dir()


def drive_names(path: Path, choice: str) -> list[str]:
    """A name for each drive and camera that images were selected from."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    found = {}
    for file in _images(path):
        drive, _, camera = _origin(file)
        if words.get('drive', drive) == drive and words.get('camera', camera) == camera:
            found[drive_name(path, drive, camera)] = True
    if not found:
        msg = f'{path}#{choice}: no images'
        raise DatasetError(msg)
    return list(found)


def open_drive(path: Path, choice: str) -> SelectedImages:
    """The images selected from a drive and camera."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    return SelectedImages(path, words.get('drive'), words.get('camera'))


def drive_files(path: Path, choice: str) -> list[Path]:
    """What is read for a drive."""
    sequence = open_drive(path, choice)
    return [file for index in range(len(sequence)) for file in sequence.files(index)]


def _images(path: Path) -> list[Path]:
    return sorted(file for file in (path / 'image').iterdir() if file.suffix in SUFFIXES)


def _origin(file: Path) -> tuple[str, int, str]:
    """Drive, frame and camera of a selected image; the test images are anonymous."""
    match = _SELECTED.fullmatch(file.stem)
    if match is None:
        return '', int(file.stem) if file.stem.isdecimal() else 0, ''
    return match['drive'], int(match['frame']), match['camera']


class SelectedImages:
    """Single images of the benchmark, each with its intrinsics; with true depth where it is there.

    Stamps count 0.1 s for each frame of the drive.

    Args:
        path: ``val_selection_cropped`` or ``test_depth_prediction_anonymous``.
        drive: Those of this drive alone; all if left out.
        camera: Those of ``image_02`` or ``image_03`` alone; both if left out.

    Raises:
        DatasetError: If there are none.
    """

    def __init__(self, path: Path, drive: str | None = None, camera: str | None = None) -> None:
        self.name = drive_name(path, drive, camera)
        self._folder = path
        self._frames = []
        for file in _images(path):
            of_drive, frame, of_camera = _origin(file)
            if drive in (None, of_drive) and camera in (None, of_camera):
                self._frames.append((frame, file))
        if not self._frames:
            msg = f'{self.name}: no images'
            raise DatasetError(msg)

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @property
    def mounts(self) -> list[Mount | None]:
        """Not known: the selection has no calibration of the vehicle."""
        return [None] * len(self)

    def files(self, index: int) -> list[Path]:
        """Image, intrinsics and true depth of a frame."""
        image = self._frames[index][1]
        depth = image.name.replace('_sync_image_', '_sync_groundtruth_depth_')
        return [
            image,
            self._folder / 'intrinsics' / f'{image.stem}.txt',
            self._folder / 'groundtruth_depth' / Path(depth).with_suffix('.png'),
        ]

    def __getitem__(self, index: int, /) -> Frame:
        frame, _ = self._frames[index]
        path, intrinsics, truth = self.files(index)
        image = read_image(path)
        height, width = image.shape[:2]
        camera = _camera(intrinsics, width, height)
        require_centred(camera, intrinsics)
        # The test images have none, on purpose.
        depth = None
        if truth.parent.is_dir():
            depth = read_depth(truth, height, width)
        return Frame(frame * PERIOD, image, camera, depth)


def _camera(path: Path, width: int, height: int) -> Camera:
    """The camera of one image, from its file of intrinsics."""
    try:
        k = [value for row in table_rows(path, 1) for value in row]
        if len(k) != 9 or k[6:] != [0, 0, 1]:
            msg = f'{path}: expected the 9 numbers of K, found {k[:12]}'
            raise DatasetError(msg)
        return Camera(width, height, k[0], k[4], k[2], k[5])
    except CameraError as err:
        msg = f'{path}: {err}'
        raise DamagedFrameError(msg) from err
    except DatasetError as err:
        raise DamagedFrameError(str(err)) from err

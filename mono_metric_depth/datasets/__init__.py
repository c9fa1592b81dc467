# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets: each on-disk format in its own module, each a sequence of frames in drive order."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from mono_metric_depth.camera import Mount
from mono_metric_depth.frame import Frame

_LOG = logging.getLogger(__name__)
#: So many damaged frames of a drive are named, the others counted.
_NAMED = 5
_WORLD = re.compile(
    r'world:(?P<domain>[a-z_]+):(?P<first>\d+)(-(?P<last>\d+))?(x(?P<frames>\d+))?'
    r'(@(?P<height>\d\.?\d*)(?P<pitch>[+-]0?\.\d+)?)?'
)
_MAX_DRIVES = 10_000
#: Modules of formats, in the order in which they are asked whether a path is theirs.
_FORMATS = (
    'dgp',
    'kitti',
    'kitti_depth',
    'vkitti',
    'cityscapes',
    'nuscenes',
    'image_folder',
)


class DatasetError(ValueError):
    """Data that cannot be read."""


class DamagedFrameError(DatasetError):
    """One frame that cannot be read; others of its drive can."""


class FrameSequence(Protocol):
    """Frames of one drive, in order of time; rendered or read on demand.

    Attributes:
        name: What to call it.
        mounts: Of each frame, None where it is not known; without reading any image.
    """

    name: str

    @property
    def mounts(self) -> list[Mount | None]:  # noqa: D102
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...

    def __iter__(self) -> Iterator[Frame]: ...


class Format(Protocol):
    """What the module of an on-disk format offers.

    Attributes:
        SHAPE: What a path of it is, in words.
    """

    SHAPE: str

    def is_here(self, path: Path) -> bool:
        """Whether a path is of this format, by what lies there."""
        ...

    def drive_names(self, path: Path, choice: str) -> list[str]:
        """The names of the drives there that a choice (behind ``#``) leaves."""
        ...

    def open_drive(self, path: Path, choice: str) -> FrameSequence:
        """One of these drives."""
        ...

    def drive_files(self, path: Path, choice: str) -> list[Path]:
        """The files that one of these drives depends on."""
        ...


def _formats() -> Iterator[Format]:
    # They import this module.
    for name in _FORMATS:
        module: Any = import_module(f'{__name__}.{name}')
        yield module


def _format_of(path: Path) -> Format | None:
    """The format of what lies at a path; None for bags, what ``drive`` wrote, or nothing."""
    if not path.exists() or (path / 'sequence.json').is_file() or _is_bag(path):
        return None
    return next((known for known in _formats() if known.is_here(path)), None)


def sequence_names(specification: str) -> list[str]:
    """The drives that a specification names.

    Args:
        specification: A path, or ``world:DOMAIN:SEED``. The path is recognised by what lies there:
            a ROS 2 bag (its folder, or one MCAP or sqlite3 file), a folder that the ``drive``
            command wrote, a folder of images with a ``camera.yaml``, a DGP
            ``scene_dataset*.json``, or the folder of KITTI raw, of KITTI's depth selection, of
            Virtual KITTI 2, Cityscapes or nuScenes, or a part of it. Behind ``#`` stands what to
            choose of it, separated by commas: image topic of a bag (all of its cameras if left
            out), and topic of its true depth; a camera, a split, a scene and so on of a data set,
            as its module says.
            With ``world:DOMAIN:FIRST-LAST`` one drive for each seed; ``x60`` at its end sets the
            number of frames of each, ``@1.5`` the height of the camera above the road (m),
            ``@1.5-0.04`` its pitch, too (rad, positive looks down).

    Returns:
        One specification for each drive; :func:`open_sequence` opens it.

    Raises:
        DatasetError: If it is a malformed world, or chooses nothing of a data set.
    """
    if not specification.startswith('world:'):
        path, choice = drive_path(specification)
        known = _format_of(path)
        if known is not None:
            return known.drive_names(path, choice)
        if path.exists() and not (path / 'sequence.json').is_file() and _is_bag(path):
            from mono_metric_depth.datasets.bag_sequence import drive_names

            return drive_names(path, choice)
        return [specification]
    match = _world(specification)
    first = int(match['first'])
    last = int(match['last'] or first)
    if not first <= last < first + _MAX_DRIVES:
        msg = f'{specification!r}: seeds {first}-{last} are not 1..{_MAX_DRIVES} drives'
        raise DatasetError(msg)
    frames = f'x{match["frames"]}' if match['frames'] else ''
    frames += f'@{match["height"]}{match["pitch"] or ""}' if match['height'] else ''
    return [f'world:{match["domain"]}:{seed}{frames}' for seed in range(first, last + 1)]


def open_sequence(name: str, device: str = 'cpu') -> FrameSequence:
    """Open one drive.

    Args:
        name: One of :func:`sequence_names`.
        device: Where a world is rendered, as torch names it.

    Returns:
        Its frames.

    Raises:
        DatasetError: If there is no such drive, or it cannot be read.
    """
    if name.startswith('world:'):
        return _open_world(name, device)
    path, choice = drive_path(name)
    if (path / 'sequence.json').is_file():
        from mono_metric_depth.datasets.sequence_folder import SequenceFolder

        return SequenceFolder(path)
    if _is_bag(path):
        from mono_metric_depth.datasets.bag_sequence import BagSequence

        return BagSequence(path, choice)
    known = _format_of(path)
    if known is not None:
        return known.open_drive(path, choice)
    shapes = ', '.join(known.SHAPE for known in _formats())
    msg = (
        f'{name!r} is no drive: expected a folder with a sequence.json, a ROS 2 bag (folder, '
        f'.mcap or .db3), {shapes}, or world:DOMAIN:SEED'
    )
    if not path.exists():
        msg += f'; nothing lies at {path}'
    if path.is_dir() and any(file.suffix.lower() in {'.png', '.jpg'} for file in path.iterdir()):
        msg += (
            f'. For these images write {path / "camera.yaml"}: width, height, fx, fy, cx, cy (px)'
        )
    raise DatasetError(msg)


def is_drive(name: str) -> bool:
    """Whether something is the name of a drive, or of several, by what lies there."""
    path, _ = drive_path(name)
    return (
        name.startswith('world:')
        or (path / 'sequence.json').is_file()
        or _is_bag(path)
        or _format_of(path) is not None
    )


def drive_files(name: str) -> list[Path]:
    """The files that a drive depends on: where one changes, so do its frames.

    Args:
        name: One of :func:`sequence_names`, but no world.

    Returns:
        Files, and folders among them; not all need be there.

    Raises:
        DatasetError: If there is no such drive.
    """
    path, choice = drive_path(name)
    known = _format_of(path)
    if known is not None:
        return known.drive_files(path, choice)
    return list(path.rglob('*')) if path.is_dir() else [path]


def drive_path(name: str) -> tuple[Path, str]:
    """What on disk a drive's name means.

    Args:
        name: One of :func:`sequence_names`, but no world.

    Returns:
        The path, and the camera or topic behind ``#``; empty if there is none.
    """
    path, mark, choice = name.rpartition('#')
    if mark and not Path(name).exists():
        return Path(path), choice
    return Path(name), ''


def readable_frames(sequence: FrameSequence) -> Iterator[Frame]:
    """The frames of a drive without those that are damaged, which are named in the log.

    Args:
        sequence: The drive.

    Yields:
        Its frames, in order; one at a time is kept.

    Raises:
        DatasetError: If no frame can be read, or for what concerns more than one frame.
    """
    damaged: list[str] = []
    for index in range(len(sequence)):
        try:
            frame = sequence[index]
        except DamagedFrameError as err:
            damaged.append(str(err))
            if len(damaged) <= _NAMED:
                _LOG.warning('skipped: %s', err)
            continue
        yield frame
    if len(damaged) == len(sequence):
        msg = f'{sequence.name}: none of {len(sequence)} frames can be read; first: {damaged[0]}'
        raise DatasetError(msg)
    if damaged:
        _LOG.warning(
            '%s: %d of %d frames are damaged and left out',
            sequence.name,
            len(damaged),
            len(sequence),
        )


def _is_bag(path: Path) -> bool:
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or any(
            file.suffix in {'.mcap', '.db3'} for file in path.iterdir()
        )
    return path.is_file() and path.suffix in {'.mcap', '.db3', '.bag'}


def _open_world(name: str, device: str) -> FrameSequence:
    match = _world(name)
    if match['last'] is not None:
        msg = f'{name!r} is several drives: open each of sequence_names({name!r})'
        raise DatasetError(msg)
    drive = _worlds(name)
    frames = int(match['frames'] or 60)
    try:
        height, pitch = _mount(match)
        seed = int(match['first'])
        world: FrameSequence = drive.Drive(
            match['domain'], seed, frames, height=height, pitch=pitch, device=device
        )
        return world
    except drive.WorldError as err:
        msg = f'{name!r}: {err}'
        raise DatasetError(msg) from err


def _worlds(name: str) -> ModuleType:
    """The module that makes drives of worlds."""
    try:
        # Worlds need torch; data sets do not.
        from mono_metric_depth.worlds import drive
    except ImportError as err:
        msg = f"{name!r}: worlds need {err.name}: pip install 'mono_metric_depth[train]'"
        raise DatasetError(msg) from err
    return drive


def _mount(match: re.Match[str]) -> tuple[float | None, float | None]:
    height, pitch = match['height'], match['pitch']
    return float(height) if height else None, float(pitch) if pitch else None


def require_drive(name: str) -> None:
    """Refuse a drive that cannot be there, without reading or rendering it.

    Args:
        name: One of :func:`sequence_names`.

    Raises:
        DatasetError: Naming it.
    """
    if not name.startswith('world:'):
        if not drive_path(name)[0].exists():
            msg = f'there is no drive {name}'
            raise DatasetError(msg)
        return
    match, drive = _world(name), _worlds(name)
    try:
        drive.check_drive(match['domain'], *_mount(match))
    except drive.WorldError as err:
        msg = f'{name!r}: {err}'
        raise DatasetError(msg) from err


def _world(specification: str) -> re.Match[str]:
    match = _WORLD.fullmatch(specification)
    if match is None:
        msg = (
            f'{specification!r}: a world is world:DOMAIN:SEED or world:DOMAIN:FIRST-LAST, '
            'with x60 at the end for 60 frames and @1.5 for a camera 1.5 m above the road, or '
            '@1.5-0.04 for one that also looks up by 0.04 rad, for example world:town:0-9x60@1.5'
        )
        raise DatasetError(msg)
    return match

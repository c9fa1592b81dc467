# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets: each on-disk format in its own module, each a sequence of frames in drive order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from mono_metric_depth.frame import Frame

_WORLD = re.compile(
    r'world:(?P<domain>[a-z_]+):(?P<first>\d+)(-(?P<last>\d+))?(x(?P<frames>\d+))?'
)
_MAX_DRIVES = 10_000


class DatasetError(ValueError):
    """Data that cannot be read."""


class FrameSequence(Protocol):
    """Frames of one drive, in order of time; rendered or read on demand."""

    name: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...

    def __iter__(self) -> Iterator[Frame]: ...


def sequence_names(specification: str) -> list[str]:
    """The drives that a specification names.

    Args:
        specification: A folder that the ``drive`` command wrote, a DGP ``scene_dataset*.json``
            (``FILE#CAMERA_01`` names the camera), or ``world:DOMAIN:SEED``; with
            ``world:DOMAIN:FIRST-LAST`` one drive for each seed; ``x60`` at its end sets the number
            of frames of each.

    Returns:
        One specification for each drive; :func:`open_sequence` opens it.

    Raises:
        DatasetError: If it is a malformed world.
    """
    if not specification.startswith('world:'):
        return [specification]
    match = _world(specification)
    first = int(match['first'])
    last = int(match['last'] or first)
    if not first <= last < first + _MAX_DRIVES:
        msg = f'{specification!r}: seeds {first}-{last} are not 1..{_MAX_DRIVES} drives'
        raise DatasetError(msg)
    frames = f'x{match["frames"]}' if match['frames'] else ''
    return [f'world:{match["domain"]}:{seed}{frames}' for seed in range(first, last + 1)]


def open_sequence(name: str) -> FrameSequence:
    """Open one drive.

    Args:
        name: One of :func:`sequence_names`.

    Returns:
        Its frames.

    Raises:
        DatasetError: If there is no such drive, or it cannot be read.
    """
    if name.startswith('world:'):
        return _open_world(name)
    path, camera = name, ''
    if '.json#' in name:
        path, _, camera = name.rpartition('#')
    if (Path(path) / 'sequence.json').is_file():
        from mono_metric_depth.datasets.sequence_folder import SequenceFolder

        return SequenceFolder(Path(path))
    if Path(path).is_file() and path.endswith('.json'):
        from mono_metric_depth.datasets.dgp import DgpSequence

        return DgpSequence(Path(path), camera or 'CAMERA_01')
    msg = (
        f'{name!r} is no drive: expected a folder with a sequence.json, a DGP scene_dataset json '
        'or world:DOMAIN:SEED'
    )
    raise DatasetError(msg)


def _open_world(name: str) -> FrameSequence:
    match = _world(name)
    if match['last'] is not None:
        msg = f'{name!r} is several drives: open each of sequence_names({name!r})'
        raise DatasetError(msg)
    try:
        # Worlds need torch; data sets do not.
        from mono_metric_depth.worlds.domain import DOMAINS
        from mono_metric_depth.worlds.drive import Drive, WorldError
    except ImportError as err:
        msg = f"{name!r}: worlds need {err.name}: pip install 'mono_metric_depth[train]'"
        raise DatasetError(msg) from err
    if match['domain'] not in DOMAINS:
        msg = f'{name!r}: unknown domain; known are {", ".join(DOMAINS)}'
        raise DatasetError(msg)
    frames = int(match['frames'] or 60)
    try:
        return Drive(match['domain'], int(match['first']), frames)
    except WorldError as err:
        msg = f'{name!r}: {err}'
        raise DatasetError(msg) from err


def _world(specification: str) -> re.Match[str]:
    match = _WORLD.fullmatch(specification)
    if match is None:
        msg = (
            f'{specification!r}: a world is world:DOMAIN:SEED or world:DOMAIN:FIRST-LAST, '
            'with x60 at the end for 60 frames, for example world:town:0-9x60'
        )
        raise DatasetError(msg)
    return match

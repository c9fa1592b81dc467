# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Which frames of which drives are evaluated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from mono_metric_depth.datasets import (
    DatasetError,
    drive_path,
    open_sequence,
    require_drive,
    sequence_names,
)

#: So many files of a drive tell its version, and so large a description is read for it.
_FILES = 50_000
_DESCRIPTION = 1 << 20


@dataclass(frozen=True)
class DriveFrames:
    """Frames of a drive that are evaluated.

    Attributes:
        name: What opens it.
        version: Of its files.
        indices: Of the frames.
        lost: About how many frames more there were, but for damage, as far as that is known.
        damage: What of its files cannot be read, in words.
        unchecked: Its files that carry no checksums, of a bag.
    """

    name: str
    version: str
    indices: Sequence[int]
    lost: int = 0
    damage: str = ''
    unchecked: Sequence[Path] = ()


def open_drives(
    specifications: Sequence[str], every: int = 1
) -> tuple[list[DriveFrames], dict[str, str]]:
    """Look into drives, so that a missing one is known before any work.

    Args:
        specifications: See :func:`~mono_metric_depth.datasets.sequence_names`.
        every: Only each ``every``-th frame.

    Returns:
        The drives, each once; and those that cannot be opened or have no frames, with the reason.

    Raises:
        DatasetError: If one is not there or misspelt, or none can be opened.
    """
    drives: list[DriveFrames] = []
    failed: dict[str, str] = {}
    names: list[str] = []
    for specification in specifications:
        try:
            names += sequence_names(specification)
        except DatasetError as err:
            # What was chosen is misspelt, or else what lies there is damaged.
            if specification.startswith('world:') or drive_path(specification)[1]:
                raise
            failed[specification] = str(err)
    for name in names:
        require_drive(name)
    for name in dict.fromkeys(names):
        try:
            sequence = open_sequence(name)
            frames = range(0, len(sequence), every)
            if frames:
                lost = -(-getattr(sequence, 'lost', 0) // every)
                damage = getattr(sequence, 'damage', '')
                unchecked = getattr(sequence, 'unchecked', ())
                drives.append(DriveFrames(name, _version(name), frames, lost, damage, unchecked))
            else:
                failed[name] = 'it has no frames'
        except (DatasetError, OSError) as err:
            failed[name] = str(err)
    if not drives:
        name, why = next(iter(failed.items()))
        msg = why if name in why else f'{name}: {why}'
        raise DatasetError(msg)
    return drives, failed


def shard(drives: Sequence[DriveFrames], number: int, count: int) -> list[DriveFrames]:
    """One part of ``count`` of all frames, as neighbours: ``number`` counts from 1."""
    total = sum(len(drive.indices) for drive in drives)
    first, last = total * (number - 1) // count, total * number // count
    parts, before = [], 0
    for drive in drives:
        size = len(drive.indices)
        part = drive.indices[max(first - before, 0) : max(last - before, 0)]
        if len(part):
            parts.append(replace(drive, indices=part))
        before += size
    return parts


def _version(name: str) -> str:
    """Changes when the files of a drive do: their names, sizes and small descriptions."""
    if name.startswith('world:'):
        return ''
    path = drive_path(name)[0]
    files = [path] if path.is_file() else sorted(f for f in islice(path.rglob('*'), _FILES))
    digest = hashlib.sha256()
    for file in files:
        if not file.is_file():
            continue
        size = file.stat().st_size
        digest.update(f'{file.relative_to(path.parent)} {size}\n'.encode())
        if file.suffix in {'.json', '.yaml', '.txt'} and size < _DESCRIPTION:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of images on disk: one line each, appended as it is finished, never mixed up.

A file belongs to one network and one protocol, which its name and first line tell; each line tells
which version of which drive it is of. So a run goes on where an earlier one was stopped, another
one adds drives, and files that several machines wrote are laid side by side.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from mono_metric_depth.evaluation.image_errors import ImageErrors, from_json, to_json
from mono_metric_depth.evaluation.protocol import Protocol

#: Part of the key: raise it when errors come out differently.
_VERSION = 3


class ErrorFileError(ValueError):
    """A file of errors that belongs to something else."""


def errors_key(network: str, protocol: Protocol) -> str:
    """Names the files of one network under one protocol.

    Args:
        network: What identifies the network and its card, such as the hash of its file.
        protocol: The protocol.
    """
    text = repr((_VERSION, network, protocol.key()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_errors(folder: Path, key: str) -> dict[tuple[str, str, int], ImageErrors]:
    """All errors of one key.

    Args:
        folder: Holds ``KEY*.jsonl``, each of which a run or a machine wrote.
        key: Of :func:`errors_key`.

    Returns:
        By drive, version and index of the image. A line that was cut off is left out.

    Raises:
        ErrorFileError: If a file belongs to something else.
    """
    found = {}
    for path in sorted(folder.glob(f'{key}*.jsonl')):
        with path.open(errors='replace') as file:
            for number, line in enumerate(file):
                values = _json(line)
                if number == 0:
                    if not isinstance(values, dict) or values.get('key') != key:
                        msg = f'{path}: belongs to another network or protocol; move it away'
                        raise ErrorFileError(msg)
                    continue
                try:
                    errors = from_json(values)
                except (AttributeError, KeyError, TypeError, ValueError):
                    continue
                found[errors.drive, errors.version, errors.index] = errors
    return found


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class ErrorFile:
    """Appends errors, each in one write.

    Args:
        path: ``KEY.jsonl`` or ``KEY.SHARD.jsonl``.
        key: Of :func:`errors_key`.
        about: What the file is of, in words; goes into its first line.

    Raises:
        OSError: If it cannot be written.
    """

    def __init__(self, path: Path, key: str, about: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        size = os.fstat(self._file).st_size
        if not size:
            self._write(json.dumps({'key': key, **about}))
        elif os.pread(self._file, 1, size - 1) != b'\n':
            os.write(self._file, b'\n')  # a run was killed within a line

    def append(self, errors: ImageErrors) -> None:
        """Write one image."""
        self._write(to_json(errors))

    def _write(self, line: str) -> None:
        data = memoryview(f'{line}\n'.encode())
        while data:  # the whole line at once, but for a full disk
            data = data[os.write(self._file, data) :]

    def __enter__(self) -> ErrorFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

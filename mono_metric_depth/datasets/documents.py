# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Files of data sets, read with a bound on their size: bytes, text and JSON."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from mono_metric_depth.datasets import DamagedFrameError, DatasetError

#: Calibrations, poses and lists of frames are far smaller (bytes).
MAX_TEXT = 1 << 24
#: A scene of DDAD takes 2 MB (bytes).
MAX_JSON = 1 << 27


def read_bytes(path: Path, most: int, kind: str) -> bytes:
    """A file of one frame.

    Args:
        path: Which.
        most: Larger files are refused (bytes).
        kind: What it should be, for errors.

    Returns:
        What it holds.

    Raises:
        DamagedFrameError: If it is missing, too large, or no file.
    """
    try:
        return _file_bytes(path, most)
    except OSError as err:
        msg = f'{path}: missing or damaged {kind}: {err.strerror}'
        raise DamagedFrameError(msg) from err


def _file_bytes(path: Path, most: int) -> bytes:
    """The bytes of a file. Devices, pipes and folders are refused: these may have no end."""
    # A pipe would wait for whoever writes into it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 'rb') as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, 'it is no file', str(path))
        if found.st_size > most:
            msg = f'it has {found.st_size} bytes, above {most}'
            raise OSError(errno.EINVAL, msg, str(path))
        return file.read(most)


def read_text(path: Path, most: int = MAX_TEXT) -> str:
    """A text file.

    Args:
        path: Which.
        most: Larger files are refused (bytes).

    Returns:
        Its text.

    Raises:
        DatasetError: If it is missing, too large or no UTF-8 text.
    """
    try:
        return _file_bytes(path, most).decode()
    except OSError as err:
        msg = f'{path}: cannot read: {err.strerror}'
        raise DatasetError(msg) from err
    except UnicodeDecodeError as err:
        msg = f'{path}: cannot read: it is no UTF-8 text'
        raise DatasetError(msg) from err


def what_is_wrong(err: Exception) -> str:
    """What a document lacks, in a line for the person who has it.

    Args:
        err: What reading it raised.
    """
    if isinstance(err, KeyError):
        return f'it has no {err.args[0]!r}'
    if isinstance(err, IndexError):
        return 'one of its lists is too short'
    if isinstance(err, RecursionError):
        return 'it is nested too deeply'
    if isinstance(err, AttributeError | TypeError):
        return f'one of its entries is of another kind than expected ({err})'
    if isinstance(err, yaml.MarkedYAMLError) and err.problem_mark is not None:
        return f'line {err.problem_mark.line + 1}: {err.problem}'
    return ' '.join(str(err).split())


def read_json(path: Path) -> Any:
    """A JSON file.

    Args:
        path: Which.

    Returns:
        What it holds.

    Raises:
        DatasetError: If it is missing, too large or no JSON.
    """
    text = read_text(path, MAX_JSON)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as err:
        msg = f'{path}: cannot read: {what_is_wrong(err)}'
        raise DatasetError(msg) from err


def table_rows(path: Path, columns: int, header: int = 0) -> list[list[float]]:
    """A text file of numbers.

    Args:
        path: Which.
        columns: How many each line holds, or more.
        header: So many lines before the first.

    Returns:
        A list for each line that is not empty.

    Raises:
        DatasetError: If it cannot be read or a line holds other than so many numbers.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines()[header:], start=header + 1):
        if not line.strip():
            continue
        try:
            row = [float(word) for word in line.split()]
        except ValueError as err:
            msg = f'{path}: line {number}: {err}'
            raise DatasetError(msg) from err
        if len(row) < columns:
            msg = f'{path}: line {number} holds {len(row)} numbers, expected {columns}'
            raise DatasetError(msg)
        rows.append(row)
    return rows

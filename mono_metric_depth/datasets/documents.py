# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Files of data sets, read with a bound on their size: bytes, text and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
        DamagedFrameError: If it is missing or too large.
    """
    try:
        size = path.stat().st_size
        if size > most:
            msg = f'{path}: missing or damaged {kind}: it has {size} bytes, above {most}'
            raise DamagedFrameError(msg)
        return path.read_bytes()
    except OSError as err:
        msg = f'{path}: missing or damaged {kind}: {err.strerror}'
        raise DamagedFrameError(msg) from err


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
        size = path.stat().st_size
        if size > most:
            msg = f'{path}: cannot read: it has {size} bytes, above {most}'
            raise DatasetError(msg)
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as err:
        msg = f'{path}: cannot read: {err}'
        raise DatasetError(msg) from err


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
        msg = f'{path}: cannot read: {err}'
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

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Files that only their owner may have written: read and written so."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from mono_metric_depth.engines import EngineError

#: Engines of large networks take hundreds of megabytes (bytes).
_MOST = 1 << 34


class OpenToOthersError(OSError):
    """One's own file, with a mode that lets others write to it: nobody knows who did."""


def read_own(path: Path, most: int = _MOST) -> bytes:
    """What a file of one's own holds.

    Links are not followed, and pipes and devices refused: these may have no end.

    Args:
        path: The file.
        most: Larger files are refused (bytes).

    Raises:
        EngineError: If it belongs to somebody else.
        OpenToOthersError: If others may write to it.
        OSError: If it is missing, too large, or no file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(_opened(path, flags), 'rb') as file:
        status = os.fstat(file.fileno())
        _require_owner(path, status)
        if status.st_mode & 0o022:
            mode = stat.S_IMODE(status.st_mode)
            raise OpenToOthersError(errno.EPERM, f'others may write to it (mode {mode:o})')
        if status.st_size > most:
            raise OSError(errno.EFBIG, f'it has {status.st_size} bytes, above {most}')
        return file.read(most)


def open_own(path: Path) -> int:
    """A descriptor to read and write a file with; made if it is not there.

    Raises:
        OSError: If it cannot be made or opened, or is no file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return _opened(path, flags)


def _opened(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as err:
        if err.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, 'it is a link, no file') from err
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, 'it is no file')
    return descriptor


def write_own(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all, for its owner alone.

    Raises:
        EngineError: If it cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix='.', suffix='.part')
        try:
            with os.fdopen(descriptor, 'wb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as err:
        msg = f'{path} cannot be kept: {err.strerror}; make room, or set XDG_CACHE_HOME'
        raise EngineError(msg) from err


def require_own_folder(path: Path) -> None:
    """Refuse a folder that somebody else may write to.

    Raises:
        EngineError: If he may.
    """
    status = path.stat()
    _require_owner(path, status)
    if status.st_mode & 0o022:
        msg = f'{path} can be written by others: an engine is machine code; chmod go-w {path}'
        raise EngineError(msg)


def _require_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in {os.getuid(), 0}:
        msg = f'{path} belongs to another user: an engine is machine code; remove it or own it'
        raise EngineError(msg)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Executables: what a person types, one per file."""

from __future__ import annotations

import errno
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from mono_metric_depth.printable import printable

_else = sys.excepthook


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """End in one line, too, where a person ends a command before its work: as modules load."""
    cause: BaseException | None = error
    while cause is not None:  # modules in C make another error of it
        if isinstance(cause, KeyboardInterrupt):
            print('interrupted', file=sys.stderr)
            raise SystemExit(130)
        cause = cause.__cause__ or cause.__context__
    _else(kind, error, trace)


sys.excepthook = _end


def fail(message: str) -> NoReturn:
    """End with a message and exit status 1; what it quotes of strangers does nothing."""
    lines = [printable(line) for line in str(message).split('\n')]
    print('error: ' + '\n'.join(lines), file=sys.stderr)
    raise SystemExit(1)


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End a command with one line where the input, a file or a person ends it.

    Values that the package refuses are ValueErrors; anything else is a defect and keeps its
    traceback.
    """
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            where = f' for {err.filename}' if err.filename else ''
            fail(f'no room{where} ({err.strerror}): make some and run the same command again')
        fail(f'{err.filename}: {err.strerror}' if err.filename and err.strerror else str(err))
    except ValueError as err:
        fail(str(err))
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        raise SystemExit(130) from None


def require_device(name: str) -> None:
    """End with a message unless torch can compute on a device.

    Args:
        name: Such as ``cpu``, ``cuda`` or ``cuda:1``.
    """
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as err:
        fail(f'torch cannot use the device {name!r}: {str(err).splitlines()[0][:120]}')


def configuration_file(name: str) -> Path:
    """A file of config/, from a checkout, a colcon workspace or a pip environment.

    Args:
        name: The file's name.

    Returns:
        Its path.
    """
    package = Path(__file__).resolve().parents[1]
    folders = [package.parent / 'config']
    # colcon: PREFIX/lib/python3.X/site-packages/mono_metric_depth; pip: the environment's prefix.
    prefixes = [*package.parents, Path(sysconfig.get_path('data'))]
    folders += [prefix / 'share' / 'mono_metric_depth' / 'config' for prefix in prefixes]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    fail(f'{name} is not installed with the package; install it again')

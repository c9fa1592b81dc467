# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Executables: what a person types, one per file."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import NoReturn


def fail(message: str) -> NoReturn:
    """End with a message and exit status 1."""
    print(f'error: {message}', file=sys.stderr)
    raise SystemExit(1)


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

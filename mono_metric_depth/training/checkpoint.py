# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import io
import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read."""


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; a crash at any moment leaves the former one or this one.

    Args:
        state: Tensors, numbers and strings.
        path: Where to.

    Raises:
        CheckpointError: If it cannot be written, as on a full disk; the former one stays.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    part = path.with_suffix('.part')
    try:
        with part.open('wb') as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as err:
        part.unlink(missing_ok=True)
        kept = 'the former checkpoint is kept: ' if path.is_file() else ''
        msg = (
            f'cannot write {path}: {err.strerror}; {kept}make room '
            f'({len(buffer.getbuffer()) / 2**20:.0f} MiB) and run the same command again'
        )
        raise CheckpointError(msg) from err


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint.

    Args:
        path: The file.
        device: Where its tensors go.

    Returns:
        What :func:`save_checkpoint` was given.

    Raises:
        CheckpointError: If it is damaged, or holds anything but data.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as err:
        msg = f'{path} is damaged ({str(err).splitlines()[0]}); remove it to start anew'
        raise CheckpointError(msg) from err
    return state

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch


class CheckpointError(ValueError):
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
    damage = 'not what was written'
    try:
        # torch does not look at the checksums of tensors.
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is None:
                state = torch.load(path, map_location=device, weights_only=True)
                if isinstance(state, dict):
                    return state
    except UnpicklingError:
        damage = 'not data alone'  # torch would have it loaded all the same
    except (OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile) as err:
        damage = (str(err).splitlines() or [damage])[0]
    msg = f'{path} is damaged ({damage}); remove it to start anew'
    raise CheckpointError(msg)

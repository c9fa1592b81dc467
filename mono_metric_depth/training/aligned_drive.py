# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Drives brought into the canonical camera, kept in memory and cached on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.datasets import FrameSequence, open_sequence, sequence_names

#: Part of the cache's key: raise it when frames come out differently.
_CACHE_VERSION = 3


@dataclass(frozen=True)
class AlignedDrive:
    """One drive in the canonical camera.

    Attributes:
        name: What it was opened by.
        images: (n, height, width, 3) uint8, RGB.
        depth: (n, height, width) float16 z-depth (m), NaN unknown, +Inf sky; all NaN without
            ground truth.
        seen: (height, width) bool.
        camera_height: Mean height (m) above the road; NaN if it is not known.
    """

    name: str
    images: NDArray[np.uint8]
    depth: NDArray[np.float16]
    seen: NDArray[np.bool_]
    camera_height: float


def align_drive(
    sequence: FrameSequence, canonical: Camera, *, levelled: bool, with_depth: bool
) -> AlignedDrive:
    """Bring a drive into the canonical camera.

    The attitude taken out is the drive's mean: what calibration knows on a robot, without the
    jitter that it does not.

    Args:
        sequence: The drive; all of its frames have one camera.
        canonical: The canonical camera.
        levelled: Whether to take the attitude out.
        with_depth: Whether to read ground truth.

    Returns:
        The aligned drive.
    """
    frames = list(sequence)
    mounts = [frame.mount for frame in frames if frame.mount is not None]
    rotation = None
    if levelled and mounts:
        mean = Mount(*(float(np.mean([getattr(m, n) for m in mounts])) for n in ('pitch', 'roll')))
        rotation = mean.rotation()
    alignment = Alignment(frames[0].camera, canonical, rotation)
    size = (len(frames), canonical.height, canonical.width)
    images = np.empty((*size, 3), np.uint8)
    depth = np.full(size, np.nan, np.float16)
    for index, frame in enumerate(frames):
        alignment.align(frame.image, images[index])
        if with_depth and frame.depth is not None:
            with np.errstate(over='ignore'):
                depth[index] = alignment.align_depth(frame.depth)
    heights = [mount.height for mount in mounts if mount.height is not None]
    height = float(np.mean(heights)) if heights else float('nan')
    return AlignedDrive(sequence.name, images, depth, alignment.seen, height)


def align_drives(
    specifications: tuple[str, ...],
    canonical: Camera,
    *,
    levelled: bool,
    with_depth: bool,
    cache: Path,
    processes: int | None = None,
) -> list[AlignedDrive]:
    """Open and align drives, in parallel, each cached in a file of its own.

    Args:
        specifications: See :func:`~mono_metric_depth.datasets.sequence_names`.
        canonical: The canonical camera.
        levelled: Whether to take the attitude out.
        with_depth: Whether to read ground truth.
        cache: Folder of the cache.
        processes: How many to run; one for each core if left out.

    Returns:
        The drives, in order.
    """
    cache.mkdir(parents=True, exist_ok=True)
    names = [name for specification in specifications for name in sequence_names(specification)]
    jobs = [
        _Job(name, canonical, levelled, with_depth, _cache_file(cache, name, canonical, levelled))
        for name in names
    ]
    missing = [job for job in jobs if not _is_cached(job)]
    read: dict[str, AlignedDrive] = {}
    if missing:
        workers = min(processes or os.cpu_count() or 1, len(missing))
        bar = partial(tqdm, total=len(missing), desc='drives', unit='drive')
        if workers == 1:
            drives = list(bar(map(_align, missing)))
        else:
            with ProcessPoolExecutor(workers, get_context('spawn'), _one_thread) as pool:
                drives = list(bar(pool.map(_align, missing)))
        read = {drive.name: drive for drive in drives}
    return [read[job.name] if job.name in read else _load(job) for job in jobs]


def _one_thread() -> None:
    """In a worker: as many workers as cores leave one thread to each; Ctrl-C is the parent's."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


class _Job(NamedTuple):
    name: str
    canonical: Camera
    levelled: bool
    with_depth: bool
    file: Path


def _cache_file(cache: Path, name: str, canonical: Camera, levelled: bool) -> Path:
    key = repr((_CACHE_VERSION, name, canonical, levelled)).encode()
    return cache / f'{hashlib.sha256(key).hexdigest()[:16]}.npz'


def _is_cached(job: _Job) -> bool:
    # What is on disk may change; what a seed makes does not.
    return job.name.startswith('world:') and job.file.is_file()


def _load(job: _Job) -> AlignedDrive:
    with np.load(job.file, allow_pickle=False) as data:
        depth = data['depth']
        if not job.with_depth:
            depth = np.full_like(depth, np.nan)
        return AlignedDrive(
            job.name, data['images'], depth, data['seen'], float(data['camera_height'])
        )


def _align(job: _Job) -> AlignedDrive:
    """Align one drive, in a process of its own; cached with its depth if a seed made it."""
    world = job.name.startswith('world:')
    sequence = open_sequence(job.name)
    drive = align_drive(
        sequence, job.canonical, levelled=job.levelled, with_depth=job.with_depth or world
    )
    drive = dataclasses.replace(drive, name=job.name)
    if not world:
        return drive
    part = job.file.with_suffix(f'.{os.getpid()}.part')
    with part.open('wb') as file:
        np.savez(
            file,
            images=drive.images,
            depth=drive.depth,
            seen=drive.seen,
            camera_height=drive.camera_height,
        )
    part.replace(job.file)
    return drive if job.with_depth else _load(job)

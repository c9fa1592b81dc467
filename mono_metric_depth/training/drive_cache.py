# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Aligned drives: made once, in parallel, and kept on disk."""

from __future__ import annotations

import hashlib
import math
import os
import time
import zipfile
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.datasets import drive_files, open_sequence, sequence_names
from mono_metric_depth.training import frame_motion
from mono_metric_depth.training.aligned_drive import (
    AlignedDrive,
    align_drive,
    piece_name,
    unknown_depth,
)
from mono_metric_depth.workers import end_with_parent

#: Part of the cache's key: raise it when frames come out differently.
_CACHE_VERSION = 7
#: Processes that render on one GPU at once; each takes memory there.
_ON_A_GPU = 4
#: Processes that make drives while others are trained on.
_MAKERS = 2


def align_drives(
    specifications: tuple[str, ...],
    canonical: Camera,
    *,
    levelled: bool,
    with_depth: bool,
    cache: Path,
    moving: bool = False,
    aligned: bool = True,
    device: str = 'cpu',
    processes: int | None = None,
) -> list[AlignedDrive]:
    """Open and align drives, in parallel, each cached in a file of its own.

    Args:
        specifications: See :func:`~mono_metric_depth.datasets.sequence_names`.
        canonical: The canonical camera.
        levelled: Whether to take the attitude out.
        with_depth: Whether to read ground truth.
        cache: Folder of the cache.
        moving: See :func:`align_drive`; worlds move, and are taken as they are.
        aligned: See :func:`align_drive`.
        device: Where worlds are rendered.
        processes: How many to run; one for each core, or a few on a GPU, if left out.

    Returns:
        The drives, or their pieces, in order.

    Raises:
        DatasetError: If a drive cannot be read.
        MotionError: If ``moving`` and a drive has no motion.
        OSError: If the cache cannot be written.
    """
    cache.mkdir(parents=True, exist_ok=True)
    for part in cache.glob('*.part'):
        # What an interrupted run left; a run beside this one may be writing younger ones.
        if part.stat().st_mtime < time.time() - 3600:
            part.unlink(missing_ok=True)
    names = [name for specification in specifications for name in sequence_names(specification)]
    jobs = [
        _job(cache, name, canonical, levelled, with_depth, moving, aligned, device)
        for name in names
    ]
    missing = [job for job in jobs if not job.file.is_file()]
    if missing:
        cores = os.cpu_count() or 1
        cores = cores if device == 'cpu' else min(cores, _ON_A_GPU)
        workers = min(processes or cores, len(missing))
        bar = partial(tqdm, total=len(missing), desc='drives', unit='drive')
        if workers == 1:
            for _ in bar(map(_align, missing)):
                pass
        else:
            with ProcessPoolExecutor(workers, get_context('spawn'), _one_thread) as pool:
                try:
                    for _ in bar(pool.map(_align, missing)):
                        pass
                except BaseException:
                    # Who interrupts does not wait for the drives at hand.
                    for child in active_children():
                        child.terminate()
                    raise
    return [drive for job in jobs for drive in _load(job)]


def _one_thread() -> None:
    """In a worker: as many workers as cores leave one thread to each."""
    import torch

    end_with_parent()
    torch.set_num_threads(1)


class DriveCacheError(ValueError):
    """A kept drive that cannot be read."""


class _Job(NamedTuple):
    name: str
    canonical: Camera
    levelled: bool
    with_depth: bool
    moving: bool
    aligned: bool
    device: str
    file: Path


def _job(
    cache: Path,
    name: str,
    canonical: Camera,
    levelled: bool,
    with_depth: bool,
    moving: bool,
    aligned: bool,
    device: str,
) -> _Job:
    key: tuple[object, ...] = (_CACHE_VERSION, name, canonical, levelled)
    if not aligned:
        key = (*key, 'not aligned')
    if name.startswith('world:'):
        moving = False  # all of its frames are good
    else:
        motion = (
            [value for entry, value in vars(frame_motion).items() if entry.isupper()]
            if moving
            else None
        )
        key = (*key, with_depth, motion, _file_version(name))
    file = cache / f'{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.npz'
    return _Job(name, canonical, levelled, with_depth, moving, aligned, device, file)


def _file_version(name: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change of a drive's files."""
    return [
        (str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(drive_files(name))
        if file.is_file()
    ]


def _load(job: _Job) -> list[AlignedDrive]:
    try:
        return _read(job)
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as err:
        msg = f'{job.file} ({job.name}) is damaged; remove it and run the same command again'
        raise DriveCacheError(msg) from err


def _read(job: _Job) -> list[AlignedDrive]:
    with np.load(job.file, allow_pickle=False) as data:
        pitch, roll, yaw, height = (float(value) for value in data['mount'])
        mount = None
        if math.isfinite(pitch):
            mount = Mount(pitch, roll, yaw, height if math.isfinite(height) else None)
        fx, fy, cx, cy = (float(value) for value in data['camera'])
        camera = Camera(job.canonical.width, job.canonical.height, fx, fy, cx, cy)
        count = sum(name.startswith('images') for name in data.files)
        pieces = []
        for number in range(count):
            images = data[_entry('images', number)]
            depth = unknown_depth(images.shape[:3])
            if job.with_depth and _entry('depth', number) in data.files:
                depth = data[_entry('depth', number)]
            name = piece_name(job.name, number, count)
            pieces.append(AlignedDrive(name, images, depth, data['seen'], camera, mount))
        return pieces


def _entry(kind: str, number: int) -> str:
    return f'{kind}{number}' if number else kind


def _pieces(job: _Job) -> list[AlignedDrive]:
    return align_drive(
        open_sequence(job.name, job.device),
        job.canonical,
        levelled=job.levelled,
        with_depth=job.with_depth or job.name.startswith('world:'),
        moving=job.moving,
        aligned=job.aligned,
    )


class DriveMaker:
    """Aligns drives in processes of its own, which keep nothing on disk.

    Args:
        canonical, levelled, with_depth, moving, aligned, device: See :func:`align_drives`.
        cache: Names the cache that is not written to.
    """

    def __init__(
        self,
        canonical: Camera,
        *,
        levelled: bool,
        with_depth: bool,
        cache: Path,
        moving: bool = False,
        aligned: bool = True,
        device: str = 'cpu',
    ) -> None:
        self._job = partial(
            _job,
            cache,
            canonical=canonical,
            levelled=levelled,
            with_depth=with_depth,
            moving=moving,
            aligned=aligned,
            device=device,
        )
        self._pool = ProcessPoolExecutor(_MAKERS, get_context('spawn'), _one_thread)

    def make(self, name: str) -> Future[list[AlignedDrive]]:
        """Start to make a drive, or its pieces."""
        return self._pool.submit(_pieces, self._job(name))

    def close(self) -> None:
        """End the processes, whatever they are at."""
        for worker in list(self._pool._processes.values()):
            worker.terminate()
        self._pool.shutdown(cancel_futures=True)


def _align(job: _Job) -> None:
    """Align one drive, in a process of its own, into its file; a world always with its depth."""
    pieces = _pieces(job)
    mount = pieces[0].mount
    camera = pieces[0].camera
    known: tuple[float | None, ...] = (math.nan,) * 4
    if mount is not None:
        known = (mount.pitch, mount.roll, mount.yaw, mount.height)
    arrays: dict[str, NDArray[Any]] = {
        'seen': pieces[0].seen,
        'camera': np.array((camera.fx, camera.fy, camera.cx, camera.cy)),
        # None becomes NaN.
        'mount': np.array(known, float),
    }
    for number, piece in enumerate(pieces):
        arrays[_entry('images', number)] = piece.images
        if any(piece.depth.strides):  # not unknown_depth's
            arrays[_entry('depth', number)] = piece.depth
    part = job.file.with_suffix(f'.{os.getpid()}.part')
    try:
        with part.open('wb') as file:
            np.savez(file, allow_pickle=False, **arrays)
        part.replace(job.file)
    finally:
        part.unlink(missing_ok=True)

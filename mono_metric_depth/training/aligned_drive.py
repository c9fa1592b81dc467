# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Drives brought into the canonical camera, kept in memory and cached on disk."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.datasets import FrameSequence, open_sequence, sequence_names

#: Part of the cache's key: raise it when frames come out differently.
_CACHE_VERSION = 1


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
    jobs = [(name, canonical, levelled, with_depth, cache) for name in names]
    with ProcessPoolExecutor(processes or os.cpu_count(), get_context('spawn')) as pool:
        return list(tqdm(pool.map(_cached, jobs), total=len(jobs), desc='drives', unit='drive'))


def _cached(job: tuple[str, Camera, bool, bool, Path]) -> AlignedDrive:
    name, canonical, levelled, with_depth, cache = job
    key = hashlib.sha256(repr((_CACHE_VERSION, *job[:4])).encode()).hexdigest()[:16]
    path = cache / f'{key}.npz'
    # What is on disk may change; what a seed makes does not.
    worth_keeping = name.startswith('world:')
    if worth_keeping and path.is_file():
        with np.load(path, allow_pickle=False) as data:
            return AlignedDrive(
                name, data['images'], data['depth'], data['seen'], float(data['camera_height'])
            )
    if name.startswith('world:'):
        import torch

        torch.set_num_threads(1)
    drive = align_drive(
        open_sequence(name), canonical, levelled=levelled, with_depth=with_depth
    )
    if worth_keeping:
        part = path.with_suffix(f'.{os.getpid()}.part')
        with part.open('wb') as file:
            np.savez(
                file,
                images=drive.images,
                depth=drive.depth,
                seen=drive.seen,
                camera_height=drive.camera_height,
            )
        part.replace(path)
    return drive

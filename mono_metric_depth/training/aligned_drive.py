# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Drives brought into the canonical camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing import current_process

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.datasets import (
    DatasetError,
    FrameSequence,
    readable_frames,
)
from mono_metric_depth.frame import Frame
from mono_metric_depth.mount_statistics import mean_mount
from mono_metric_depth.training import frame_motion
from mono_metric_depth.training.frame_motion import FrameChooser


@dataclass(frozen=True)
class AlignedDrive:
    """A drive, or an unbroken piece of one, in the canonical camera.

    Attributes:
        name: What it was opened by, and which piece it is if there are several.
        images: (n, height, width, 3) uint8, RGB.
        depth: (n, height, width) float16 z-depth (m), NaN unknown, +Inf sky; all NaN without
            ground truth.
        seen: (height, width) bool.
        camera: Pinhole that they are in.
        mount: Mean attitude and height against the road; None if it is not known.
    """

    name: str
    images: NDArray[np.uint8]
    depth: NDArray[np.float16]
    seen: NDArray[np.bool_]
    camera: Camera
    mount: Mount | None


class MotionError(ValueError):
    """A drive without motion to learn from."""


def align_drive(
    sequence: FrameSequence,
    canonical: Camera,
    *,
    levelled: bool,
    with_depth: bool,
    moving: bool = False,
    aligned: bool = True,
) -> list[AlignedDrive]:
    """Bring a drive into the canonical camera, a frame at a time.

    The attitude taken out is the drive's mean: what calibration knows on a robot, without the
    jitter that it does not. Damaged frames are left out.

    Args:
        sequence: The drive; all of its frames have one camera.
        canonical: The canonical camera.
        levelled: Whether to take the attitude out.
        with_depth: Whether to read ground truth.
        moving: Whether to keep only frames with motion between them to learn from
            (:mod:`~mono_metric_depth.training.frame_motion`), and cut the drive where there is
            none, so that neighbours in a piece are neighbours on the road.
        aligned: If not, only the size is the canonical camera's, not its field of view.

    Returns:
        The aligned drive; if ``moving``, its pieces of at least 3 frames.

    Raises:
        DatasetError: If the drive cannot be read, or its camera changes.
        MotionError: If ``moving`` and nothing remains.
    """
    mount = mean_mount(sequence.mounts)
    rotation = mount.rotation() if levelled and mount is not None else None
    alignment: Alignment | None = None
    pieces: _Pieces | None = None
    chooser: FrameChooser | None = None
    read = still = 0
    for frame in _watched(sequence):
        if alignment is None or pieces is None or chooser is None:
            if not aligned:
                resized = frame.camera.resized(canonical.width, canonical.height)
                canonical = replace(resized, distortion=())
            alignment = Alignment(frame.camera, canonical, rotation)
            pieces = _Pieces(len(sequence), canonical, least=3 if moving else 1)
            chooser = FrameChooser(canonical, alignment.seen)
        _require_camera(sequence.name, frame.camera, alignment.camera)
        read += 1
        image = alignment.align(frame.image, pieces.next_image())
        step = chooser.step(frame.stamp, frame.pose, image) if moving else 'next'
        if step == 'still':
            still += 1
            continue
        depth = None
        if with_depth and frame.depth is not None:
            with np.errstate(over='ignore'):
                depth = alignment.align_depth(frame.depth).astype(np.float16)
        pieces.keep(depth, first=step == 'first')
    assert alignment is not None
    assert pieces is not None
    assert chooser is not None
    bounds = pieces.bounds()
    if moving:
        _report(sequence, read, still, bounds, chooser)
    return [
        AlignedDrive(
            piece_name(sequence.name, number, len(bounds)),
            pieces.images[start:end],
            pieces.depth[start:end],
            alignment.seen,
            alignment.canonical,
            mount,
        )
        for number, (start, end) in enumerate(bounds)
    ]


def _watched(sequence: FrameSequence) -> Iterator[Frame]:
    """The readable frames, under a bar if they take a while and nobody else shows one."""
    yield from tqdm(
        readable_frames(sequence),
        desc=sequence.name,
        total=len(sequence),
        unit='frame',
        leave=False,
        delay=5,
        disable=current_process().name != 'MainProcess',
    )


def _require_camera(name: str, camera: Camera, first: Camera) -> None:
    if camera != first:
        msg = (
            f'{name}: the camera changes within the drive, from {first} to {camera}; split it so '
            'that each drive has one camera'
        )
        raise DatasetError(msg)


def _report(
    sequence: FrameSequence,
    read: int,
    still: int,
    bounds: list[tuple[int, int]],
    chooser: FrameChooser,
) -> None:
    """One line on what became of a drive's frames; an error if none is left."""
    used = sum(end - first for first, end in bounds)
    alone = read - still - used
    parts = [f'{still} moved less than {chooser.least}'] if still else []
    if alone:
        parts.append(f'{alone} in stretches of fewer than 3')
    if len(sequence) > read:
        parts.append(f'{len(sequence) - read} damaged')
    why = [f'{count} x {reason}' for reason, count in chooser.jumps.most_common()]
    breaks = f'; broken by: {", ".join(why)}' if why else ''
    if not used:
        measured = f'{chooser.largest:.2f} {chooser.unit}' if chooser.unit else 'nothing'
        msg = (
            f'{sequence.name}: no 3 frames in a row with enough motion between them, of '
            f'{len(sequence)} frames ({", ".join(parts)}{breaks}). The largest motion measured '
            f'was {measured}, at least {chooser.least} is needed, within '
            f'{frame_motion.MOST_SECONDS:g} s: record while driving straight on (turning on the '
            'spot shows no depth), with at least 5 images per second'
        )
        raise MotionError(msg)
    left_out = f' ({", ".join(parts)})' if parts else ''
    tqdm.write(
        f'{sequence.name}: {used} of {len(sequence)} frames used, in {len(bounds)} '
        f'piece{"s" if len(bounds) > 1 else ""}{left_out}{breaks}'
    )


class _Pieces:
    """Images and depth of the frames kept so far, cut where neighbours are none.

    Args:
        most: So many frames come at most. Memory is taken by those that are kept.
        canonical: The canonical camera.
        least: Shorter pieces are dropped.
    """

    def __init__(self, most: int, canonical: Camera, least: int) -> None:
        size = (canonical.height, canonical.width)
        # A page of memory that is never written to is never taken.
        self.images = np.empty((most, *size, 3), np.uint8)
        self.depth: NDArray[np.float16] = unknown_depth((most, *size))
        self._least = least
        self._starts = [0]
        self._end = 0

    def next_image(self) -> NDArray[np.uint8]:
        """Where the next image is to be written."""
        place: NDArray[np.uint8] = self.images[self._end]
        return place

    def keep(self, depth: NDArray[np.float16] | None, *, first: bool) -> None:
        """Keep what was written there, as the first of a piece or as the next."""
        if first:
            self._cut()
        if depth is not None:
            if not self.depth.flags.writeable:
                self.depth = np.empty(self.depth.shape, np.float16)
                self.depth[: self._end] = np.nan
            self.depth[self._end] = depth
        elif self.depth.flags.writeable:
            self.depth[self._end] = np.nan
        self._end += 1

    def _cut(self) -> None:
        start = self._starts[-1]
        if self._end - start >= self._least:
            self._starts.append(self._end)
        elif self._end > start:
            # Too short: what comes takes its place.
            self.images[start] = self.images[self._end]
            self._end = start

    def bounds(self) -> list[tuple[int, int]]:
        """First frame and end of every piece."""
        ends = [*self._starts[1:], self._end]
        pairs = zip(self._starts, ends, strict=True)
        return [(start, end) for start, end in pairs if end - start >= self._least]


def unknown_depth(shape: tuple[int, ...]) -> NDArray[np.float16]:
    """NaN in any shape, which takes no memory and cannot be written to."""
    return np.broadcast_to(np.float16(np.nan), shape)


def piece_name(name: str, number: int, count: int) -> str:
    """What to call a piece of a drive of so many."""
    return name if count == 1 else f'{name} piece {number}'


def is_piece_of(piece: str, name: str) -> bool:
    """Whether :func:`piece_name` gave this name to a piece of that drive."""
    return piece == name or piece.startswith(piece_name(name, 0, 2)[:-1])

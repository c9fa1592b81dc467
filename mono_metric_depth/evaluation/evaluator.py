# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs models over drives with ground truth, in parallel, and goes on where it was stopped."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from mono_metric_depth.camera import Mount
from mono_metric_depth.datasets import (
    DatasetError,
    FrameSequence,
    open_sequence,
)
from mono_metric_depth.estimator import DepthEstimator, EstimatorError
from mono_metric_depth.evaluation.candidates import Candidate
from mono_metric_depth.evaluation.drive_frames import DriveFrames
from mono_metric_depth.evaluation.error_file import ErrorFile, errors_key, read_errors
from mono_metric_depth.evaluation.image_errors import ImageErrors, NoOverlapError, image_errors
from mono_metric_depth.evaluation.protocol import Protocol
from mono_metric_depth.frame import Frame
from mono_metric_depth.image import Image
from mono_metric_depth.mount_statistics import mean_mount
from mono_metric_depth.scale import ScaleError, check_depth_unit
from mono_metric_depth.workers import work_in_processes

#: Frames of one drive that a worker takes at a time.
_CHUNK = 8
#: After so many images with ground truth it is clear in which unit that is.
_EARLY = 20
#: Ground truth may begin late in a drive; after so many frames without any it has none.
_LATE = 100
#: The reason of images that are damaged, or of another camera than their drive's.
UNREADABLE = 'unreadable'
#: So many of the drives that were left out are named in a line.
_NAMED = 5


@dataclass(frozen=True)
class Skipped:
    """An image that says nothing about a model.

    Attributes:
        candidate: Number of the model.
        drive, index: Which image.
        reason: A short word to count it under.
        message: What was found.
        true_median: Median true depth (m), as read; NaN without any.
    """

    candidate: int
    drive: str
    index: int
    reason: str
    message: str
    true_median: float = math.nan

    @property
    def described(self) -> str:
        """Which image, and what was found."""
        return f'{self.drive} frame {self.index}: {self.message}'


@dataclass
class Evaluation:
    """Errors of several models on the same images.

    Attributes:
        errors: Of each model: its images, in the order of the drives.
        skipped: Images left out, and why.
        failed: Drives left out as a whole, and why.
        reused: How many numbers of images an earlier run had left.
    """

    errors: list[list[ImageErrors]]
    skipped: list[Skipped] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    reused: int = 0

    def reasons(self, drive: str | None = None) -> dict[str, list[Skipped]]:
        """Images that were left out, each once, by reason; of all drives or one.

        Those of drives that were left out as a whole do not count.
        """
        found: dict[str, dict[tuple[str, int], Skipped]] = defaultdict(dict)
        for s in self.skipped:
            if s.drive == drive or drive is None and s.drive not in self.failed:
                found[s.reason].setdefault((s.drive, s.index), s)
        return {reason: list(images.values()) for reason, images in found.items()}

    def require_images(self, drives: Sequence[DriveFrames]) -> None:
        """Leave out drives of which no image could be compared.

        Args:
            drives: What was evaluated, as a whole.

        Raises:
            DatasetError: If none is left.
        """
        for drive in drives:
            if drive.name not in self.failed and not all(
                any(each.drive == drive.name for each in errors) for errors in self.errors
            ):
                reasons = '; '.join(
                    f'{len(images)} {reason}, first frame {images[0].index}: {images[0].message}'
                    for reason, images in self.reasons(drive.name).items()
                )
                why = f'none of its {len(drive.indices)} frames can be compared: {reasons}'
                self.failed[drive.name] = why
        if all(drive.name in self.failed for drive in drives):
            raise DatasetError(failures(self.failed))


def failures(failed: dict[str, str]) -> str:
    """Drives that were left out, in a line: the first few with their reasons."""
    named = [
        why if name.rpartition('#')[0] or name in why else f'{name}: {why}'
        for name, why in list(failed.items())[:_NAMED]
    ]
    more = len(failed) - len(named)
    return '; '.join(named) + (f'; and {more} more' if more else '')


_Frame = tuple[int, tuple[int, ...]]
_Job = tuple[DriveFrames, list[_Frame]]
#: What became of frames, each with the number of the model; or why the drive cannot be read.
_Outcomes = list[tuple[int, ImageErrors | Skipped]] | str


def evaluate(
    candidates: Sequence[Candidate],
    drives: Sequence[DriveFrames],
    protocol: Protocol,
    folder: Path,
    *,
    suffix: str = '',
    processes: int = 1,
    progress: Callable[[int], object] = lambda frames: None,
) -> Evaluation:
    """Evaluate models on drives; what an earlier run finished is not repeated.

    A drive that cannot be read, has no ground truth or none in metres, by all appearances, is left
    out; the others are evaluated.

    Args:
        candidates: The models.
        drives: What is evaluated.
        protocol: The protocol.
        folder: Holds a file of errors for each model.
        suffix: Of this run's files, so that those of several machines fit into one folder.
        processes: How many to run, each with engines of its own.
        progress: Called with how many frames were done; those of an earlier run at once.

    Returns:
        The errors.

    Raises:
        ErrorFileError: If the folder holds something else under a model's name.
        EngineError: If the runtime fails.
        WorkerError: If a process ends before its work.
    """
    keys = [errors_key(candidate.identity, protocol) for candidate in candidates]
    known = [read_errors(folder, key) for key in keys]
    jobs, done = _jobs(drives, known)
    progress(done)
    result = Evaluation([], reused=sum(map(len, known)))
    wanted = [(d.name, d.version, index) for d in drives for index in d.indices]
    check = _TruthCheck(result.failed, [found[k] for found in known for k in wanted if k in found])

    def remaining() -> Iterator[_Job]:
        for job in jobs:
            if job[0].name not in result.failed:
                yield job
            else:
                progress(len(job[1]))

    with ExitStack() as stack:
        files = [
            stack.enter_context(
                ErrorFile(
                    folder / f'{key}{suffix}.jsonl',
                    key,
                    {'model': c.name, 'protocol': protocol.name, 'identity': c.identity},
                )
            )
            for c, key in zip(candidates, keys, strict=True)
        ]
        # Closed at once where something ends this, so that no worker goes on.
        run = _run(remaining(), candidates, protocol, min(processes, len(jobs)))
        for (drive, frames), outcomes in stack.enter_context(closing(run)):
            progress(len(frames))
            if isinstance(outcomes, str):
                result.failed[drive.name] = outcomes
                continue
            for number, outcome in outcomes:
                if isinstance(outcome, Skipped):
                    result.skipped.append(outcome)
                else:
                    files[number].append(outcome)
                    known[number][outcome.drive, outcome.version, outcome.index] = outcome
            check.see(drive.name, len(frames), [outcome for _, outcome in outcomes])
    check.finish()
    result.errors = [
        [found[key] for key in wanted if key in found and key[0] not in result.failed]
        for found in known
    ]
    return result


def _jobs(
    drives: Sequence[DriveFrames], known: Sequence[dict[tuple[str, str, int], ImageErrors]]
) -> tuple[list[_Job], int]:
    """What is missing, in chunks of frames of one drive; how many frames are not."""
    jobs: list[_Job] = []
    done = 0
    for drive in drives:
        missing: list[_Frame] = []
        for index in drive.indices:
            key = (drive.name, drive.version, index)
            lacking = tuple(n for n, found in enumerate(known) if key not in found)
            if lacking:
                missing.append((index, lacking))
            else:
                done += 1
        jobs += [(drive, missing[i : i + _CHUNK]) for i in range(0, len(missing), _CHUNK)]
    return jobs, done


class _TruthCheck:
    """Finds drives without ground truth, or with one that is not in metres, early.

    Args:
        failed: Takes such drives, and why.
        known: What an earlier run has left.
    """

    def __init__(self, failed: dict[str, str], known: Sequence[ImageErrors]) -> None:
        self._failed = failed
        self._frames: Counter[str] = Counter()
        self._medians: dict[str, dict[int, float]] = defaultdict(dict)
        self._checked: set[str] = set()
        for each in known:
            self._medians[each.drive][each.index] = each.true_median

    def see(self, drive: str, frames: int, outcomes: Sequence[ImageErrors | Skipped]) -> None:
        self._frames[drive] += frames
        medians = {o.index: o.true_median for o in outcomes if math.isfinite(o.true_median)}
        self._medians[drive].update(medians)
        if self._frames[drive] >= _LATE and not self._medians[drive]:
            why = next((o.message for o in outcomes if isinstance(o, Skipped)), '')
            self._failed.setdefault(
                drive, f'none of its first {self._frames[drive]} frames has ground truth ({why})'
            )
        if drive not in self._checked and len(self._medians[drive]) >= _EARLY:
            self._check(drive)

    def finish(self) -> None:
        for drive, medians in self._medians.items():
            if medians and drive not in self._checked:
                self._check(drive)

    def _check(self, drive: str) -> None:
        self._checked.add(drive)
        try:
            check_depth_unit(list(self._medians[drive].values()), drive)
        except ScaleError as err:
            self._failed.setdefault(drive, str(err).removeprefix(f'{drive}: '))


def _run(
    jobs: Iterator[_Job], candidates: Sequence[Candidate], protocol: Protocol, processes: int
) -> Generator[tuple[_Job, _Outcomes], None, None]:
    """Each job and its outcomes, in order."""
    if processes > 1:
        yield from work_in_processes(_start_worker, (candidates, protocol), jobs, processes)
        return
    worker: _Worker | None = None
    for job in jobs:
        worker = worker or _Worker(candidates, protocol)
        yield job, worker.work(job)


class _Worker:
    """Models, ready for frames."""

    def __init__(self, candidates: Sequence[Candidate], protocol: Protocol) -> None:
        self._estimators = [candidate.estimator() for candidate in candidates]
        self._protocol = protocol
        self._drive = ''
        self._sequence: FrameSequence | None = None
        self._attitude: Mount | None = None

    def work(self, job: _Job) -> _Outcomes:
        drive, frames = job
        try:
            sequence = self._opened(drive.name)
        except (DatasetError, OSError) as err:
            return str(err)
        outcomes: list[tuple[int, ImageErrors | Skipped]] = []
        for index, lacking in frames:
            try:
                frame = sequence[index]
            except (DatasetError, OSError) as err:
                outcomes += [
                    (n, Skipped(n, drive.name, index, UNREADABLE, str(err))) for n in lacking
                ]
                continue
            outcomes += [(n, self._compare(n, frame, drive, index)) for n in lacking]
        return outcomes

    def _opened(self, name: str) -> FrameSequence:
        if self._sequence is None or self._drive != name:
            self._sequence = None
            sequence = open_sequence(name)
            self._attitude = mean_mount(sequence.mounts)
            self._sequence, self._drive = sequence, name
        return self._sequence

    def _compare(
        self, number: int, frame: Frame, drive: DriveFrames, index: int
    ) -> ImageErrors | Skipped:
        estimator = self._estimators[number]

        def skipped(reason: str, message: str) -> Skipped:
            return Skipped(number, drive.name, index, reason, message, _median(frame.depth))

        if frame.depth is None:
            # By far the most of these are bags.
            why = 'it has no ground truth (of a bag, name its topic: BAG#,/lidar/points)'
            return skipped('no_truth', why)
        try:
            predicted = unscaled_depth(estimator, frame, self._attitude)
        except EstimatorError as err:
            return skipped(err.reason, str(err))
        try:
            protocol = self._protocol.within(estimator.card.depth_range)
            found = image_errors(predicted, frame.depth, estimator.scale, protocol)
        except NoOverlapError as err:
            return skipped(err.reason, str(err))
        return ImageErrors(drive.name, index, drive.version, frame.stamp, **found)


def unscaled_depth(
    estimator: DepthEstimator, frame: Frame, attitude: Mount | None
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(h, w) float32 depth at the frame's pixels before it is scaled; NaN where nothing is seen.

    Raises:
        EstimatorError: As :meth:`DepthEstimator.estimate`.
    """
    estimate = estimator.estimate(Image(frame.image, 'rgb'), frame.camera, attitude)
    depth = estimate.alignment.restore(estimate.inverse_depth, 'input')
    depth /= np.float32(estimator.scale)
    return depth


def _median(depth: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None) -> float:
    if depth is None:
        return math.nan
    with np.errstate(invalid='ignore'):
        known = depth[np.isfinite(depth) & (depth > 0)]
    return float(np.median(known)) if known.size else math.nan


def _start_worker(
    candidates: Sequence[Candidate], protocol: Protocol
) -> Callable[[_Job], _Outcomes]:
    # As many workers as cores leave one thread to each; worlds are rendered by torch.
    os.environ['OMP_NUM_THREADS'] = '1'
    cv2.setNumThreads(1)
    # What is wrong with a bag was said when it was opened for the list of frames.
    logging.getLogger('mono_metric_depth.datasets').setLevel(logging.ERROR)
    return _Worker(candidates, protocol).work

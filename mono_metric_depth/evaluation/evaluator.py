# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Runs models over drives with ground truth, in parallel, and goes on where it was stopped."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context
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
from mono_metric_depth.workers import end_with_parent

#: Frames of one drive that a worker takes at a time.
_CHUNK = 8
#: After so many images it is clear whether there is ground truth, and in which unit.
_EARLY = 20


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


@dataclass
class Evaluation:
    """Errors of several models on the same images.

    Attributes:
        errors: Of each model: its images, in the order of the drives.
        skipped: Images left out, and why.
        reused: How many numbers of images an earlier run had left.
    """

    errors: list[list[ImageErrors]]
    skipped: list[Skipped] = field(default_factory=list)
    reused: int = 0

    def reasons(self) -> dict[str, tuple[int, Skipped]]:
        """How many images were left out for each reason, and the first of them."""
        images = {(s.drive, s.index, s.reason) for s in self.skipped}
        counts = Counter(reason for _, _, reason in images)
        first = {s.reason: s for s in reversed(self.skipped)}
        return {reason: (count, first[reason]) for reason, count in counts.items()}


_Frame = tuple[int, tuple[int, ...]]
_Job = tuple[DriveFrames, list[_Frame]]


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
        DatasetError: If there is no ground truth.
        ScaleError: If ground truth is not in metres, by all appearances.
        ErrorFileError: If the folder holds something else under a model's name.
        EngineError: If the runtime fails.
    """
    keys = [errors_key(candidate.identity, protocol) for candidate in candidates]
    known = [read_errors(folder, key) for key in keys]
    jobs, done = _jobs(drives, known)
    progress(done)
    result = Evaluation([], reused=sum(map(len, known)))
    check = _TruthCheck()
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
        found = stack.enter_context(closing(_run(jobs, candidates, protocol, processes)))
        for (drive, frames), outcomes in zip(jobs, found, strict=True):
            for number, outcome in outcomes:
                if isinstance(outcome, Skipped):
                    result.skipped.append(outcome)
                else:
                    files[number].append(outcome)
                    known[number][outcome.drive, outcome.version, outcome.index] = outcome
            check.see(drive.name, len(frames), [outcome for _, outcome in outcomes])
            progress(len(frames))
    wanted = [(d.name, d.version, index) for d in drives for index in d.indices]
    result.errors = [[found[key] for key in wanted if key in found] for found in known]
    for each in result.errors:
        check.finish(each)
    if not result.errors or not all(result.errors):
        _refuse_nothing(result, candidates, len(wanted))
    return result


def _refuse_nothing(result: Evaluation, candidates: Sequence[Candidate], frames: int) -> None:
    empty = candidates[[not each for each in result.errors].index(True)]
    reasons = '; '.join(
        f'{count} {reason}, first {first.drive} frame {first.index}: {first.message}'
        for reason, (count, first) in result.reasons().items()
    )
    msg = f'{empty.name}: none of {frames} frames can be compared: {reasons}'
    raise DatasetError(msg)


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
    """Refuses drives without ground truth, or with one that is not in metres, early."""

    def __init__(self) -> None:
        self._frames = 0
        self._found = False
        self._medians: dict[str, list[float]] = defaultdict(list)
        self._checked: set[str] = set()

    def see(self, drive: str, frames: int, outcomes: Sequence[ImageErrors | Skipped]) -> None:
        self._frames += frames
        medians = {o.index: o.true_median for o in outcomes if math.isfinite(o.true_median)}
        self._medians[drive] += medians.values()
        self._found |= bool(medians)
        if self._frames >= _EARLY and not self._found:
            why = next((o.message for o in outcomes if isinstance(o, Skipped)), '')
            msg = (
                f'{drive}: none of the first {self._frames} frames has ground truth ({why}); '
                'evaluation needs drives with true depth'
            )
            raise DatasetError(msg)
        if drive not in self._checked and len(self._medians[drive]) >= _EARLY:
            self._check(drive)

    def finish(self, errors: Sequence[ImageErrors]) -> None:
        for each in errors:
            if each.drive not in self._checked:
                self._medians[each.drive].append(each.true_median)
        for drive in [name for name, values in self._medians.items() if values]:
            if drive not in self._checked:
                self._check(drive)

    def _check(self, drive: str) -> None:
        self._checked.add(drive)
        try:
            check_depth_unit(self._medians[drive], drive)
        except ScaleError as err:
            msg = f'{err}. What was finished is kept'
            raise ScaleError(msg) from err


def _run(
    jobs: Sequence[_Job], candidates: Sequence[Candidate], protocol: Protocol, processes: int
) -> Generator[list[tuple[int, ImageErrors | Skipped]], None, None]:
    """Outcomes of each job, in order."""
    processes = min(processes, len(jobs))
    if processes <= 1:
        worker = _Worker(candidates, protocol) if jobs else None
        for job in jobs:
            assert worker is not None
            yield worker.work(job)
        return
    with ProcessPoolExecutor(
        processes, get_context('spawn'), _start_worker, (candidates, protocol)
    ) as pool:
        try:
            yield from pool.map(_work, jobs)
        except BaseException:
            # Who interrupts does not wait for the frames at hand.
            for child in active_children():
                child.terminate()
            raise


class _Worker:
    """Models, ready for frames."""

    def __init__(self, candidates: Sequence[Candidate], protocol: Protocol) -> None:
        self._estimators = [candidate.estimator() for candidate in candidates]
        self._protocol = protocol
        self._drive = ''
        self._sequence: FrameSequence | None = None
        self._attitude: Mount | None = None

    def work(self, job: _Job) -> list[tuple[int, ImageErrors | Skipped]]:
        drive, frames = job
        if self._sequence is None or self._drive != drive.name:
            self._sequence = open_sequence(drive.name)
            self._drive = drive.name
            self._attitude = mean_mount(self._sequence.mounts)
        outcomes: list[tuple[int, ImageErrors | Skipped]] = []
        for index, lacking in frames:
            try:
                frame = self._sequence[index]
            except DatasetError as err:
                outcomes += [
                    (n, Skipped(n, drive.name, index, 'unreadable', str(err))) for n in lacking
                ]
                continue
            outcomes += [(n, self._compare(n, frame, drive, index)) for n in lacking]
        return outcomes

    def _compare(
        self, number: int, frame: Frame, drive: DriveFrames, index: int
    ) -> ImageErrors | Skipped:
        estimator = self._estimators[number]

        def skipped(reason: str, message: str) -> Skipped:
            return Skipped(number, drive.name, index, reason, message, _median(frame.depth))

        if frame.depth is None:
            return skipped('no_truth', 'it has no ground truth')
        try:
            predicted = unscaled_depth(estimator, frame, self._attitude)
        except EstimatorError as err:
            return skipped(err.reason, str(err))
        try:
            found = image_errors(predicted, frame.depth, estimator.scale, self._protocol)
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


_worker: _Worker | None = None


def _start_worker(candidates: Sequence[Candidate], protocol: Protocol) -> None:
    global _worker
    end_with_parent()
    # As many workers as cores leave one thread to each; worlds are rendered by torch.
    os.environ['OMP_NUM_THREADS'] = '1'
    cv2.setNumThreads(1)
    _worker = _Worker(candidates, protocol)


def _work(job: _Job) -> list[tuple[int, ImageErrors | Skipped]]:
    assert _worker is not None
    return _worker.work(job)

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
from pathlib import Path

import cv2

from mono_metric_depth.evaluation.candidates import Candidate
from mono_metric_depth.evaluation.drive_frames import DriveFrames
from mono_metric_depth.evaluation.error_file import ErrorFile, errors_key, read_errors
from mono_metric_depth.evaluation.frame_comparison import FrameComparison, Job, Outcomes
from mono_metric_depth.evaluation.image_errors import ImageErrors
from mono_metric_depth.evaluation.outcomes import Evaluation, Skipped
from mono_metric_depth.evaluation.protocol import Protocol
from mono_metric_depth.scale import ScaleError, check_depth_unit
from mono_metric_depth.workers import work_in_processes

#: Frames of one drive that a worker takes at a time.
_CHUNK = 8
#: After so many images with ground truth it is clear in which unit that is.
_EARLY = 20
#: Ground truth may begin late in a drive; after so many frames without any it has none.
_LATE = 100


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

    def remaining() -> Iterator[Job]:
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
) -> tuple[list[Job], int]:
    """What is missing, in chunks of frames of one drive; how many frames are not."""
    jobs: list[Job] = []
    done = 0
    for drive in drives:
        missing: list[tuple[int, tuple[int, ...]]] = []
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
    jobs: Iterator[Job], candidates: Sequence[Candidate], protocol: Protocol, processes: int
) -> Generator[tuple[Job, Outcomes], None, None]:
    """Each job and its outcomes, in order."""
    if processes > 1:
        yield from work_in_processes(_start_worker, (candidates, protocol), jobs, processes)
        return
    comparison: FrameComparison | None = None
    for job in jobs:
        comparison = comparison or FrameComparison(candidates, protocol)
        yield job, comparison.outcomes(job)


def _start_worker(
    candidates: Sequence[Candidate], protocol: Protocol
) -> Callable[[Job], Outcomes]:
    # As many workers as cores leave one thread to each; worlds are rendered by torch.
    os.environ['OMP_NUM_THREADS'] = '1'
    cv2.setNumThreads(1)
    # What is wrong with a bag was said when it was opened for the list of frames.
    logging.getLogger('mono_metric_depth.datasets').setLevel(logging.ERROR)
    return FrameComparison(candidates, protocol).outcomes

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Models on the frames of drives, compared with ground truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mono_metric_depth.camera import Mount
from mono_metric_depth.datasets import DatasetError, FrameSequence, open_sequence
from mono_metric_depth.datasets.bag_sequence import BagSequence
from mono_metric_depth.depth_estimate import EstimatorError
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.evaluation.candidates import Candidate
from mono_metric_depth.evaluation.drive_frames import DriveFrames
from mono_metric_depth.evaluation.image_errors import ImageErrors, NoOverlapError, image_errors
from mono_metric_depth.evaluation.outcomes import UNREADABLE, Skipped
from mono_metric_depth.evaluation.protocol import Protocol
from mono_metric_depth.frame import Frame
from mono_metric_depth.image import Image
from mono_metric_depth.mount_statistics import mean_mount

#: Frames of a drive, each with the numbers of the models that are to see it.
Job = tuple[DriveFrames, list[tuple[int, tuple[int, ...]]]]
#: What became of frames, each with the number of the model; or why the drive cannot be read.
Outcomes = list[tuple[int, ImageErrors | Skipped]] | str


class FrameComparison:
    """Models, ready for frames; of drives in their order, each is opened once.

    Args:
        candidates: The models.
        protocol: The protocol.
    """

    def __init__(self, candidates: Sequence[Candidate], protocol: Protocol) -> None:
        self._estimators = [candidate.estimator() for candidate in candidates]
        self._protocol = protocol
        self._drive = ''
        self._sequence: FrameSequence | None = None
        self._attitude: Mount | None = None

    def outcomes(self, job: Job) -> Outcomes:
        """What becomes of some frames of a drive."""
        drive, frames = job
        try:
            sequence = self._opened(drive.name)
        except (DatasetError, OSError) as err:
            return str(err)
        found: list[tuple[int, ImageErrors | Skipped]] = []
        for index, lacking in frames:
            try:
                frame = sequence[index]
            except (DatasetError, OSError) as err:
                found += [
                    (n, Skipped(n, drive.name, index, UNREADABLE, str(err))) for n in lacking
                ]
                continue
            found += [(n, self._compare(n, frame, drive, index)) for n in lacking]
        return found

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
            if isinstance(self._sequence, BagSequence) and self._sequence.truth is not None:
                why = self._sequence.truth.problem or why
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

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What a model predicts on drives, beside the truth: a fixed number of pixels of every image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Mount
from mono_metric_depth.datasets import DatasetError, open_sequence, sequence_names
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.frame import Frame
from mono_metric_depth.image import Image
from mono_metric_depth.metrics import valid_pixels
from mono_metric_depth.mount_statistics import mean_mount
from mono_metric_depth.road_plane import RoadPlaneError, RoadView, check_road_height
from mono_metric_depth.scale import Pairs, check_depth_unit

#: Pixels kept of each image, and images kept in all: a random part of more.
PIXELS = 256
MAX_IMAGES = 5000
#: Fewer pixels with ground truth say nothing about an image.
_LEAST_PIXELS = 16
#: After so many images it is clear whether there is ground truth, and in which unit.
_EARLY = 20
_NAMED = 5


@dataclass
class DepthSamples:
    """Samples of drives.

    Attributes:
        source: What the drives are, in words.
        images: Unscaled predicted and true depth (m): up to :data:`PIXELS` pixels of up to
            :data:`MAX_IMAGES` images.
        with_truth: How many images had ground truth.
        true_medians: Median true depth (m) of each, as read.
        heights: Height of the camera above the road (network units) in frames with a road.
        camera_heights: The known height (m) of the same frames.
        refused: Frames without a plausible road, by reason.
        true_heights: The road's distance (m) as ground truth has it, over the known height.
        skipped: Frames that could not be used, by reason.
        named: What was wrong with the first of them.
    """

    source: str
    images: list[Pairs] = field(default_factory=list)
    with_truth: int = 0
    true_medians: list[float] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    camera_heights: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    true_heights: list[float] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)

    def skip(self, reason: str, message: str) -> None:
        """Count a frame that cannot be used; name the first ones."""
        self.skipped[reason] += 1
        if len(self.named) < _NAMED:
            self.named.append(message)


def sample_drives(
    estimator: DepthEstimator,
    specifications: list[str],
    *,
    truth: bool,
    every: int = 1,
    mount: Mount | None = None,
    camera_height: float | None = None,
    progress: Callable[[int, int], object] = lambda frames, more: None,
    seed: int = 0,
) -> DepthSamples:
    """Run a model over drives, one frame at a time.

    Args:
        estimator: The model: frames go the way that they go in the node.
        specifications: See :func:`~mono_metric_depth.datasets.sequence_names`.
        truth: Whether ground truth is required.
        every: Only each ``every``-th frame.
        mount: Attitude of the camera; that of the frames, averaged over the drive, if left out.
        camera_height: Its height above the road (m); that of the frames if left out.
        progress: Called with 1 or 0 frames done and how many more there turned out to be.
        seed: Draws pixels.

    Returns:
        The samples.

    Raises:
        DatasetError: If a drive cannot be opened, no frame can be read, or ground truth is
            required and there is none.
        ScaleError: If ground truth is not in metres, by all appearances.
    """
    samples = DepthSamples(', '.join(specifications))
    sampler = _Sampler(estimator, samples, camera_height, np.random.default_rng(seed))
    read = 0
    names = [name for specification in specifications for name in sequence_names(specification)]
    for name in names:
        sequence = open_sequence(name)
        progress(0, len(range(0, len(sequence), every)))
        attitude = mount or mean_mount(sequence.mounts)
        for index in range(0, len(sequence), every):
            progress(1, 0)
            try:
                frame = sequence[index]
            except DatasetError as err:
                samples.skip('unreadable', str(err))
                continue
            read += 1
            sampler.sample(frame, attitude)
            if read == _EARLY:
                _check_truth(samples, read, truth)
    if not read:
        reason = samples.named[0] if samples.named else 'the drives are empty'
        msg = f'{samples.source}: no frame can be read: {reason}'
        raise DatasetError(msg)
    _check_truth(samples, read, truth)
    return samples


def _check_truth(samples: DepthSamples, read: int, required: bool) -> None:
    """Refuse drives without ground truth where it is required, and ground truth not in metres."""
    if not (samples.with_truth or required):
        return
    if not samples.with_truth:
        why = f'; first of all: {samples.named[0]}' if samples.named else ''
        msg = (
            f'{samples.source}: none of {read} frames has usable ground truth{why}. The scale is '
            'fitted where true depth is known; to fit it from the road plane instead, give these '
            'drives as --target, with --camera-height'
        )
        raise DatasetError(msg)
    check_depth_unit(samples.true_medians, samples.source)
    check_road_height(samples.true_heights, samples.source)


class _Sampler:
    """Takes samples of one frame after the other."""

    def __init__(
        self,
        estimator: DepthEstimator,
        samples: DepthSamples,
        camera_height: float | None,
        rng: np.random.Generator,
    ) -> None:
        self._estimator = estimator
        self._samples = samples
        self._camera_height = camera_height
        self._rng = rng
        self._views: dict[Mount | None, RoadView | None] = {}

    def sample(self, frame: Frame, attitude: Mount | None) -> None:
        samples = self._samples
        try:
            estimate = self._estimator.estimate(Image(frame.image, 'rgb'), frame.camera, attitude)
            alignment = estimate.alignment
            true = None if frame.depth is None else alignment.align_depth(frame.depth)
        except ValueError as err:
            samples.skip(getattr(err, 'reason', 'truth'), str(err))
            return
        card = self._estimator.card
        with np.errstate(divide='ignore', invalid='ignore'):
            predicted = np.reciprocal(estimate.inverse_depth * np.float32(self._estimator.scale))
        predicted[~alignment.seen] = np.nan
        height = self._camera_height
        if height is None and frame.mount is not None:
            height = frame.mount.height
        view = self._view(None if card.levelled else attitude) if height is not None else None
        if height is not None and view is not None:
            self._see_road(view, predicted, true, height)
        if true is not None:
            self._compare(predicted, true)

    def _view(self, attitude: Mount | None) -> RoadView | None:
        if attitude not in self._views:
            self._views.clear()
            rotation = None if attitude is None else attitude.rotation()
            try:
                view = RoadView(self._estimator.card.canonical_camera, rotation)
            except RoadPlaneError:
                view = None
            self._views[attitude] = view
        return self._views[attitude]

    def _see_road(
        self,
        view: RoadView,
        predicted: NDArray[np.float32],
        true: NDArray[np.float32] | None,
        height: float,
    ) -> None:
        samples = self._samples
        try:
            samples.heights.append(view.plane(predicted).height)
        except RoadPlaneError as err:
            samples.refused[err.reason] += 1
        else:
            samples.camera_heights.append(height)
        if true is not None and len(samples.true_heights) < MAX_IMAGES:
            try:
                samples.true_heights.append(view.plane(true).height / height)
            except RoadPlaneError:
                return  # sparse ground truth: nothing to check

    def _compare(self, predicted: NDArray[np.float32], true: NDArray[np.float32]) -> None:
        samples, rng = self._samples, self._rng
        with np.errstate(invalid='ignore'):
            known = true[np.isfinite(true) & (true > 0)]
        if len(known) < _LEAST_PIXELS:
            samples.skip('truth', f'{len(known)} pixels with true depth')
            return
        if len(samples.true_medians) < MAX_IMAGES:
            samples.true_medians.append(float(np.median(known)))
        samples.with_truth += 1
        p, g = valid_pixels(predicted, true, *self._estimator.card.depth_range)
        if len(p) < _LEAST_PIXELS:
            samples.skip('range', f'{len(p)} pixels with true depth within the range of the model')
            return
        if len(p) > PIXELS:
            chosen = rng.choice(len(p), PIXELS, replace=False)
            p, g = p[chosen], g[chosen]
        if len(samples.images) < MAX_IMAGES:
            samples.images.append((p, g))
        elif (place := int(rng.integers(samples.with_truth))) < MAX_IMAGES:
            samples.images[place] = (p, g)

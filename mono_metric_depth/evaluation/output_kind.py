# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a network's output is the kind of depth that its card says, seen on real frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.frame import Frame
from mono_metric_depth.image import Image
from mono_metric_depth.line_fit import spearman

#: Rank correlation of nearness beyond which the output clearly goes with it, or against it.
CLEAR = 0.3
#: Largest share of pixels that may be no depth at all: NaN, infinite or negative.
LARGEST_UNUSABLE = 0.02
_PIXELS = 4000


class OutputKindError(ValueError):
    """Output that is not what the card says."""


@dataclass(frozen=True)
class ObservedOutput:
    """A network's output on frames.

    Attributes:
        frames: How many.
        low, median, high: First percentile, median and last percentile of the raw output.
        unusable: Share of seen pixels that are no depth: NaN, infinite or negative.
        nearness: Median over frames of the rank correlation of the network's inverse depth with
            true inverse depth, or, where no truth is known, with the row (in an image of a road
            what lies lower is nearer). 1 if the kind is right, -1 if it is the reverse.
        with_truth: Whether it was compared with truth.
    """

    frames: int
    low: float
    median: float
    high: float
    unusable: float
    nearness: float
    with_truth: bool


def observe_output(estimator: DepthEstimator, frames: Iterable[Frame]) -> ObservedOutput:
    """Run a network on frames and look at what it puts out.

    Args:
        estimator: The network, unscaled.
        frames: Frames of a road, with or without true depth.

    Returns:
        What was seen.

    Raises:
        EstimatorError: If a frame has no usable depth at all, or cannot be aligned.
        EngineError: If the runtime fails.
        OutputKindError: If there is no frame, or the output is the same everywhere.
    """
    rng = np.random.default_rng(0)
    outputs, unusable, with_rows, with_truth = [], [], [], []
    for frame in frames:
        estimate = estimator.estimate(Image(frame.image, 'rgb'), frame.camera, frame.mount)
        seen = estimate.alignment.seen
        inverse = np.where(seen, estimate.inverse_depth, np.nan)
        raw = estimator.engine.output[0, 0][seen]
        outputs.append(rng.choice(raw, _PIXELS))
        unusable.append(np.mean(~np.isfinite(inverse[seen])))
        rows = np.broadcast_to(np.arange(len(inverse), dtype=float)[:, None], inverse.shape)
        with_rows.append(_rank_correlation(inverse, rows, rng))
        if frame.depth is not None:
            true = estimate.alignment.align_depth(frame.depth)
            with np.errstate(divide='ignore', invalid='ignore'):
                with_truth.append(_rank_correlation(inverse, np.reciprocal(true), rng))
    if not outputs:
        msg = 'no frame to look at the network with'
        raise OutputKindError(msg)
    nearness = [value for value in with_truth if np.isfinite(value)]
    known = bool(nearness)
    nearness = nearness or [value for value in with_rows if np.isfinite(value)]
    raw = np.concatenate(outputs)
    raw = raw[np.isfinite(raw)]
    if not nearness or np.ptp(raw) == 0:
        msg = f'the network puts out {raw[0]:g} everywhere: that is no depth'
        raise OutputKindError(msg)
    low, median, high = np.quantile(raw, [0.01, 0.5, 0.99])
    return ObservedOutput(
        len(outputs),
        float(low),
        float(median),
        float(high),
        float(np.mean(unusable)),
        float(np.median(nearness)),
        known,
    )


def require_kind(observed: ObservedOutput, kind: str) -> list[str]:
    """Refuse output that contradicts its kind.

    Args:
        observed: What the network puts out.
        kind: What it is said to be, one of
            :data:`~mono_metric_depth.model_card.OUTPUT_KINDS`.

    Returns:
        What is doubtful, in words.

    Raises:
        OutputKindError: If the output runs the wrong way.
    """
    against = 'true depth' if observed.with_truth else 'the rows of the image, lower ones nearer'
    if observed.nearness < -CLEAR:
        grows, other = ('with', 'inverse_depth') if kind == 'depth' else ('against', 'depth')
        msg = (
            f'the output is said to be {kind}, but it runs {grows} nearness (rank correlation '
            f'{observed.nearness:+.2f}, compared with {against}): it looks like {other}'
        )
        raise OutputKindError(msg)
    doubts = []
    if observed.nearness < CLEAR:
        doubts.append(
            f'the output hardly goes with nearness (rank correlation {observed.nearness:+.2f}, '
            f'compared with {against}): check channels, mean, std and size'
        )
    if observed.unusable > LARGEST_UNUSABLE:
        doubts.append(
            f'{observed.unusable:.0%} of the pixels are no {kind} (NaN, infinite or negative): '
            'they will be unknown in the depth image'
        )
    return doubts


def _rank_correlation(inverse: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> float:
    both = np.isfinite(inverse) & np.isfinite(other)
    if both.sum() < 2:
        return float('nan')
    chosen = rng.integers(0, both.sum(), _PIXELS)
    return spearman(inverse[both][chosen].astype(float), other[both][chosen].astype(float))

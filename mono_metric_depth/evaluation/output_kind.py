# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a network's output is the kind of depth that its card says, seen on real frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.frame import Frame
from mono_metric_depth.image import Image
from mono_metric_depth.line_fit import spearman

#: Rank correlation of nearness beyond which the output clearly goes with it, or against it.
CLEAR = 0.3
#: Largest share of pixels that may be no depth at all: NaN, infinite or negative.
LARGEST_UNUSABLE = 0.02
#: Largest share of the pixels that show something near enough to have depth, and get none.
LARGEST_MISSING = 0.25
#: A value that so many of these share exactly is no depth of theirs.
_ONE_VALUE = 0.1
#: Output that varies by no more than this share of itself within an image is constant in effect.
_LEAST_VARIATION = 0.01
#: A pixel that varies by no more than this share of itself from image to image is the same in all.
#: Less is allowed than above: a road looks much the same in all images, and is as far away.
_SAME = 1e-3
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
        missing: Of the pixels that must have depth, the share without: by what they have instead,
            ``NaN``, ``infinite``, ``negative``, ``zero``, ``one value``; the mean over frames.
            Those must whose true depth is known; where none is, those below the horizon.
        unchanged: Share of these pixels whose output is the same in all frames, but for 0.1 %; 0
            where these show one and the same image.
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
    missing: Mapping[str, float]
    unchanged: float
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
        OutputKindError: If there is no frame, or the output is the same everywhere in each image,
            but for 1 %.
    """
    rng = np.random.default_rng(0)
    outputs, unusable, with_rows, with_truth, variations = [], [], [], [], []
    missing: list[dict[str, float]] = []
    unchanged = _Unchanged()
    for frame in frames:
        estimate = estimator.estimate(Image(frame.image, 'rgb'), frame.camera, frame.mount)
        seen = estimate.alignment.seen
        inverse = np.where(seen, estimate.inverse_depth, np.nan)
        output = estimator.engine.output[0, 0]
        outputs.append(rng.choice(output[seen], _PIXELS))
        variations.append(_variation(outputs[-1]))
        unusable.append(np.mean(~np.isfinite(inverse[seen])))
        rows = np.broadcast_to(np.arange(len(inverse), dtype=float)[:, None], inverse.shape)
        with_rows.append(_rank_correlation(inverse, rows, rng))
        expected = seen & (rows > estimator.card.canonical_camera.cy)
        if frame.depth is not None:
            true = estimate.alignment.align_depth(frame.depth)
            with np.errstate(divide='ignore', invalid='ignore'):
                with_truth.append(_rank_correlation(inverse, np.reciprocal(true), rng))
            expected = seen & np.isfinite(true) & (true > 0)
        if expected.any():
            missing.append(_missing(output[expected], inverse[expected]))
            unchanged.look(estimate.aligned.pixels, output, expected)
    if not outputs:
        msg = 'no frame to look at the network with'
        raise OutputKindError(msg)
    nearness = [value for value in with_truth if np.isfinite(value)]
    known = bool(nearness)
    nearness = nearness or [value for value in with_rows if np.isfinite(value)]
    raw = np.concatenate(outputs)
    raw = raw[np.isfinite(raw)]
    low, median, high = np.quantile(raw, [0.01, 0.5, 0.99]) if len(raw) else np.full(3, np.nan)
    variation = float(np.median(variations))
    if not nearness or variation <= _LEAST_VARIATION:
        msg = (
            f'the network puts out {low:.6g} .. {high:.6g}, as good as the same everywhere (it '
            f'varies by {variation:.2%} within an image; more than {_LEAST_VARIATION:.0%} is '
            'needed): that is no depth'
        )
        raise OutputKindError(msg)
    return ObservedOutput(
        len(outputs),
        float(low),
        float(median),
        float(high),
        float(np.mean(unusable)),
        {what: float(np.mean([each[what] for each in missing])) for what in (missing or [{}])[0]},
        unchanged.share,
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
        OutputKindError: If the output runs the wrong way, leaves much of the image without depth,
            or has nothing to do with the image.
    """
    against = 'true depth' if observed.with_truth else 'the rows of the image, lower ones nearer'
    if observed.nearness < -CLEAR:
        grows, other = ('with', 'inverse_depth') if kind == 'depth' else ('against', 'depth')
        msg = (
            f'the output is said to be {kind}, but it runs {grows} nearness (rank correlation '
            f'{observed.nearness:+.2f}, compared with {against}): it looks like {other}'
        )
        raise OutputKindError(msg)
    _require_depth(observed, kind)
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


def _require_depth(observed: ObservedOutput, kind: str) -> None:
    where = 'true depth is known' if observed.with_truth else 'there is road'
    without = sum(observed.missing.values())
    if without > LARGEST_MISSING:
        parts = ', '.join(
            f'{share:.0%} {what}' for what, share in observed.missing.items() if share >= 0.005
        )
        msg = (
            f'{without:.0%} of the pixels get no {kind} where {where} ({parts}; at most '
            f'{LARGEST_MISSING:.0%} may): check --output-kind, --output-name, channels, mean, std '
            'and size'
        )
        raise OutputKindError(msg)
    if observed.unchanged > LARGEST_MISSING:
        msg = (
            f'{observed.unchanged:.0%} of the pixels are the same in every image where {where} '
            f'(at most {LARGEST_MISSING:.0%} may): the output does not follow the image'
        )
        raise OutputKindError(msg)


def _variation(output: NDArray[np.float32]) -> float:
    """By what share of itself an image's output varies, from the 1st percentile to the 99th."""
    known = output[np.isfinite(output)]
    low, middle, high = np.quantile(known, [0.01, 0.5, 0.99]) if len(known) else np.zeros(3)
    if low == high:
        return 0.0
    return float((high - low) / abs(middle)) if middle else float('inf')


def _missing(output: NDArray[np.float32], inverse: NDArray[np.float32]) -> dict[str, float]:
    """Share of pixels without depth, by what they have instead."""
    without = ~np.isfinite(inverse) | (inverse == 0)
    with np.errstate(invalid='ignore'):
        found = {
            'NaN': without & np.isnan(output),
            'infinite': without & np.isinf(output),
            'negative': without & (output < 0) & ~np.isinf(output),
            'zero': without & (output == 0),
        }
    values, counts = np.unique(output[~without], return_counts=True)
    often = counts.max(initial=0) > _ONE_VALUE * len(output)
    found['one value'] = output == values[counts.argmax()] if often else np.zeros_like(without)
    return {what: float(np.mean(pixels)) for what, pixels in found.items()}


class _Unchanged:
    """Looks for pixels whose output is the same whatever the image."""

    def __init__(self) -> None:
        self._image: NDArray[Any] = np.empty(0, np.uint8)
        self._output = np.empty(0, np.float32)
        self._counted = self._changed = np.empty(0, np.bool_)
        self._images = 0

    def look(
        self,
        image: NDArray[Any],
        output: NDArray[np.float32],
        counted: NDArray[np.bool_],
    ) -> None:
        """Take a frame into account: the image, what the network made of it, what counts."""
        if not self._images:
            self._image, self._output = image.copy(), output.copy()
            self._counted, self._changed = counted.copy(), np.zeros_like(counted)
        elif np.array_equal(image, self._image):
            return
        self._images += 1
        self._counted |= counted
        self._changed |= ~np.isclose(output, self._output, rtol=_SAME, atol=0)

    @property
    def share(self) -> float:
        """Of what counts; 0 where there was one image."""
        return float(np.mean(~self._changed[self._counted])) if self._images > 1 else 0.0


def _rank_correlation(inverse: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> float:
    both = np.isfinite(inverse) & np.isfinite(other)
    if both.sum() < 2:
        return float('nan')
    chosen = rng.integers(0, both.sum(), _PIXELS)
    return spearman(inverse[both][chosen].astype(float), other[both][chosen].astype(float))

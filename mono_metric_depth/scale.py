# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The one scalar: depth = scale x network output, fitted where ground truth exists."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.doubt import Doubt
from mono_metric_depth.line_fit import LineError, takes_all_pairs, theil_sen_slope

Pairs = tuple[NDArray[np.float64], NDArray[np.float64]]

_SLOPES = 400_000
_BOOTSTRAP_SLOPES = 20_000
_BOOTSTRAP_ROUNDS = 300
_PIXELS = 256

#: How one scalar is fitted.
METHODS = ('median_ratio', 'theil_sen', 'least_squares')
#: Half of a driving image's depth lies within this (m), by a wide margin.
TYPICAL_DEPTH = (2.0, 80.0)
#: What depth is stored in, and how many metres one unit is.
_UNITS = {
    'millimetres': 1e-3,
    'centimetres': 1e-2,
    '1/256 m (KITTI)': 1 / 256,
    'metres already divided by 256': 256.0,
    'kilometres': 1e3,
}


class ScaleError(ValueError):
    """Data from which no scale can be fitted, or a scale that makes no sense."""


@dataclass(frozen=True)
class GlobalScale:
    """One number for every image, with what is known about it.

    Attributes:
        value: Metres per unit of (unscaled) network depth.
        low, high: Bootstrap confidence interval over images.
        confidence: Level of the interval.
        method: One of :data:`METHODS`.
        images: How many images it was fitted on.
        spread: Relative spread between images: 1.4826 median absolute deviation of
            ln(per-image median ratio). A single scale costs about 0.8 of this in AbsRel.
        source: What it was fitted on, in words.
        random_pairs: Of Theil-Sen: over how many random pairs of points its median was taken; 0
            for all pairs (exact). None where that is not recorded, and of other methods.
        doubts: What speaks against it, each kind once; None where nobody looked.
    """

    value: float
    low: float
    high: float
    confidence: float
    method: str
    images: int
    spread: float
    source: str
    random_pairs: int | None = None
    doubts: tuple[Doubt, ...] | None = None

    def __post_init__(self) -> None:
        numbers = (self.value, self.low, self.high, self.spread)
        if not all(math.isfinite(number) for number in numbers):
            msg = f'global scale holds a number that is not finite: {numbers}'
            raise ScaleError(msg)
        if not 0 < self.low <= self.value <= self.high:
            msg = (
                f'global scale {self.value} must be positive and lie within its confidence '
                f'interval, got [{self.low}, {self.high}]'
            )
            raise ScaleError(msg)
        if not (0 < self.confidence < 1 and self.spread >= 0 and self.images > 0):
            msg = (
                f'global scale needs a confidence within 0..1, a spread >= 0 and at least one '
                f'image, got {self.confidence}, {self.spread}, {self.images}'
            )
            raise ScaleError(msg)
        if self.random_pairs is not None and self.random_pairs < 0:
            msg = f'global scale cannot rest on {self.random_pairs} random pairs of points'
            raise ScaleError(msg)
        kinds = [doubt.kind for doubt in self.doubts or ()]
        if len(set(kinds)) < len(kinds):
            msg = f'global scale has a doubt twice: {", ".join(kinds)[:200]}'
            raise ScaleError(msg)


def image_ratios(images: Sequence[Pairs]) -> NDArray[np.float64]:
    """(n,) median of true / predicted depth of each image.

    Raises:
        ScaleError: If depth is not positive and finite, or the two sides of an image differ.
    """
    for index, (predicted, true) in enumerate(images):
        if predicted.shape != true.shape or predicted.ndim != 1:
            msg = (
                f'image {index} has predicted depth of shape {predicted.shape} and true depth of '
                f'shape {true.shape}; both must be (n,)'
            )
            raise ScaleError(msg)
        for side, values in (('predicted', predicted), ('true', true)):
            if not (np.isfinite(values).all() and (values > 0).all()):
                msg = f'image {index} has {side} depth that is not finite and positive'
                raise ScaleError(msg)
    return np.array([np.median(true / predicted) for predicted, true in images])


def fit_scale(
    images: Sequence[Pairs],
    *,
    method: str = METHODS[0],
    source: str,
    confidence: float = 0.95,
    seed: int = 0,
) -> GlobalScale:
    """Fit the one scalar by one method: see :func:`fit_scales`."""
    (scale,) = fit_scales(images, (method,), source=source, confidence=confidence, seed=seed)
    return scale


def fit_scales(
    images: Sequence[Pairs],
    methods: Sequence[str] = METHODS,
    *,
    source: str,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[GlobalScale]:
    """Fit the one scalar by several methods, each as if alone.

    Args:
        images: For each image (n,) predicted unscaled and (n,) true depth (m) of valid pixels.
        methods: ``median_ratio``: median over images of the median ratio; ``theil_sen``: slope of
            true over predicted depth over all images (Dana et al.), over 256 pixels drawn from
            each, which compressed depth of far things bends more (docs/one_scalar);
            ``least_squares``: the line through the origin, true over predicted depth. In each
            every image weighs the same.
        source: What the images are, in words; goes into the model card.
        confidence: Level of the bootstrap interval (over images, not pixels: pixels of an image
            are not independent).
        seed: Draws pixels, pairs and bootstrap samples.

    Returns:
        A scale for each method.

    Raises:
        ScaleError: If there are fewer than two images, or nothing to fit.
    """
    images = [pair for pair in images if len(pair[0])]
    if len(images) < 2:
        msg = f'a scale needs at least 2 images with ground truth, got {len(images)}'
        raise ScaleError(msg)
    if unknown := [method for method in methods if method not in METHODS]:
        msg = f'unknown method {unknown[0]!r}; known are {", ".join(METHODS)}'
        raise ScaleError(msg)
    rng = np.random.default_rng(seed)
    ratios = image_ratios(images)
    x, y = (np.stack(side) for side in zip(*_sampled(images, rng), strict=True))

    def slope(chosen: NDArray[np.int64], slopes: int) -> float:
        try:
            return theil_sen_slope(x[chosen].ravel(), y[chosen].ravel(), rng, slopes)
        except LineError as err:
            msg = 'network output is constant: no line can be fitted (did the training collapse?)'
            raise ScaleError(msg) from err

    # Whatever the method: a ratio there is of constant and of inverse depth, too.
    rising = _with_interval(slope, len(images), rng, confidence)
    if not min(rising[:2]) > 0:
        value, low, high = rising
        msg = (
            f'predicted depth does not rise with true depth: the slope would be {value:.3g}, '
            f'{confidence:.0%} interval {low:.3g} .. {high:.3g}; the network has not learnt depth '
            '(train longer), or its output is inverse depth'
        )
        raise ScaleError(msg)
    products = np.array([[np.mean(p * g), np.mean(p * p)] for p, g in images])

    def line(chosen: NDArray[np.int64], slopes: int) -> float:
        across, along = products[chosen].sum(axis=0)
        return float(across / along)

    def median(chosen: NDArray[np.int64], slopes: int) -> float:
        return float(np.median(ratios[chosen]))

    scales = []
    for method in methods:
        value, low, high = rising
        random_pairs = 0 if takes_all_pairs(x.size, _SLOPES) else _SLOPES
        if method != 'theil_sen':
            estimate, own_rng = median if method == 'median_ratio' else line, copy.deepcopy(rng)
            value, low, high = _with_interval(estimate, len(images), own_rng, confidence)
        scales.append(
            GlobalScale(
                value=value,
                low=min(float(low), value),
                high=max(float(high), value),
                confidence=confidence,
                method=method,
                images=len(images),
                spread=robust_deviation(np.log(ratios)),
                source=source,
                random_pairs=random_pairs if method == 'theil_sen' else None,
            )
        )
    return scales


def _with_interval(
    estimate: Callable[[NDArray[np.int64], int], float],
    images: int,
    rng: np.random.Generator,
    confidence: float,
) -> tuple[float, float, float]:
    """An estimate from all images, and its bootstrap interval over them.

    Args:
        estimate: From numbers of images, and how many slopes it may look at.
        images: How many there are.
        rng: Draws the samples.
        confidence: Level of the interval.
    """
    everything = np.arange(images)
    value = estimate(everything, _SLOPES)
    rounds = [
        estimate(rng.choice(everything, images), _BOOTSTRAP_SLOPES)
        for _ in range(_BOOTSTRAP_ROUNDS)
    ]
    low, high = np.quantile(rounds, [(1 - confidence) / 2, (1 + confidence) / 2])
    return value, float(low), float(high)


def scales_by_count(
    images: Sequence[Pairs],
    counts: Sequence[int] = (10, 50, 200),
    *,
    method: str = METHODS[0],
    source: str,
    seed: int = 0,
) -> list[GlobalScale]:
    """How the interval shrinks with the number of annotated images.

    Args:
        images: As for :func:`fit_scales`.
        counts: How many images to fit on; those that there are not enough images for are left
            out, and all of them come last. Fewer are a random part of more.
        method: As for :func:`fit_scale`.
        source: Likewise.
        seed: Draws the images.

    Returns:
        One scale for each count.

    Raises:
        ScaleError: As :func:`fit_scale`.
    """
    images = [pair for pair in images if len(pair[0])]
    order = np.random.default_rng(seed).permutation(len(images))
    chosen = sorted(count for count in counts if count < len(images))
    parts = [[images[i] for i in order[:count]] for count in chosen]
    return [fit_scale(part, method=method, source=source, seed=seed) for part in (*parts, images)]


def robust_deviation(values: NDArray[np.float64]) -> float:
    """Standard deviation from the median absolute deviation (x 1.4826, as of a Gaussian)."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def check_depth_unit(medians: Sequence[float], source: str) -> float:
    """Refuse ground truth that is not in metres.

    Args:
        medians: Median true depth of each of some driving images, as read (m if all is well);
            before anything is cut off as too far.
        source: What the images are, in words.

    Returns:
        Their median (m).

    Raises:
        ScaleError: If it does not lie within :data:`TYPICAL_DEPTH`; it says what was found and
            which units would explain it, the likeliest first.
    """
    known = [value for value in medians if math.isfinite(value) and value > 0]
    if not known:
        msg = f'{source}: no image has true depth'
        raise ScaleError(msg)
    typical = float(np.median(known))
    nearest, furthest = TYPICAL_DEPTH
    if nearest <= typical <= furthest:
        return typical
    middle = math.sqrt(nearest * furthest)
    fitting = sorted(
        (abs(math.log(typical * unit / middle)), name, typical * unit)
        for name, unit in _UNITS.items()
        if nearest <= typical * unit <= furthest
    )
    explained = ', or '.join(f'{name}, {metres:.3g} m' for _, name, metres in fitting)
    msg = (
        f'{source}: the median true depth is {typical:.4g}, but in metres driving images have '
        f'{nearest:g} .. {furthest:g}; '
        + (f'it would fit if depth were in {explained}' if fitting else 'no known unit fits')
        + '. Convert the ground truth to metres'
    )
    raise ScaleError(msg)


def _sampled(
    images: Sequence[Pairs], rng: np.random.Generator, pixels: int = _PIXELS
) -> list[Pairs]:
    """The same number of pixels of every image, drawn with replacement."""
    result = []
    for predicted, true in images:
        chosen = rng.integers(0, len(predicted), pixels)
        result.append((predicted[chosen], true[chosen]))
    return result

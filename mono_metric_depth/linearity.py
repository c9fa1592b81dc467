# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Whether one scalar is enough: how far predicted depth is proportional to true depth.

The premise of the one scalar (Dana et al., arXiv 2303.07662) is predicted = true / scale, in every
image alike. Here true depth is the abscissa: it is exact, so that errors of the network do not
tilt the line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.doubt import Doubt
from mono_metric_depth.line_fit import (
    least_value,
    pearson,
    relative_deviation,
    reweighted_line,
    robust_line,
    spearman,
)
from mono_metric_depth.scale import Pairs, ScaleError, image_ratios, robust_deviation

#: Bands of true depth (m).
BANDS = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0)

#: Beyond these a finding is worth a word. An offset at zero depth (m).
LARGEST_OFFSET = 0.25
#: Relative spread of the scale between images: costs about 0.8 of it in AbsRel.
LARGEST_SPREAD = 0.10
#: Share of pixels off their image's own line by more than 4 deviations and by 10 %.
LARGEST_OUTLIERS = 0.15
#: Departure of a band of distance from the straight line.
LARGEST_BEND = 0.10
#: Relative deviation of pixels about their image's own line.
LARGEST_NOISE = 0.25
#: What two ways to the scale may differ by, where their intervals lie apart; it costs as much in
#: AbsRel.
LARGEST_DISAGREEMENT = 0.05
#: Between the scales that two distances or two images ask for. Beyond it "so many metres" may
#: mean twice as many: that is no scale.
LARGEST_FACTOR = 2.0

_ROUNDS = 300
_POINTS = 20_000
_PIXELS = 256
_LEAST_IN_BAND = 4

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap confidence interval over images."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Quantiles:
    """Distribution over images: tenth percentile, median, ninetieth."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class DepthBand:
    """A range of true depth.

    Attributes:
        nearest, furthest: The range (m).
        images: How many images have pixels there.
        ratio: Median over images of scaled predicted / true depth.
        within: The same, relative to the ratio of the whole image: its distribution over images.
        bend: Predicted depth relative to the fitted straight line, less 1.
    """

    nearest: float
    furthest: float
    images: int
    ratio: Interval
    within: Quantiles
    bend: float


@dataclass(frozen=True)
class Linearity:
    """How scaled predicted depth goes with true depth.

    Attributes:
        images: How many.
        pearson, spearman, r2: Correlations over the whole set, and the share of variance that the
            least-squares line explains; every image weighs the same.
        image_pearson, image_spearman, image_r2: The same within images.
        gain, offset: The line predicted x scale = gain x true + offset (m), fitted robustly.
        spread: Relative spread between images about that line.
        noise: Relative deviation of pixels about their image's own line.
        outliers: Share of pixels that do not belong to it.
        bands: By distance, nearest first.
    """

    images: int
    pearson: float
    spearman: float
    r2: float
    image_pearson: Quantiles
    image_spearman: Quantiles
    image_r2: Quantiles
    gain: Interval
    offset: Interval
    spread: float
    noise: float
    outliers: float
    bands: tuple[DepthBand, ...]

    @property
    def proportional(self) -> bool:
        """Whether zero lies within the interval of the offset."""
        return self.offset.low <= 0 <= self.offset.high


def measure_linearity(
    images: Sequence[Pairs], scale: float, *, confidence: float = 0.95, seed: int = 0
) -> Linearity:
    """Measure how well one scalar describes images.

    Args:
        images: For each image (n,) predicted unscaled and (n,) true depth (m) of valid pixels.
        scale: The scalar.
        confidence: Level of the bootstrap intervals, over images.
        seed: Draws pixels and bootstrap samples.

    Returns:
        The measures; :func:`findings` puts them into words.

    Raises:
        ScaleError: If there are fewer than two images, or one side is constant.
    """
    images = [pair for pair in images if len(pair[0]) > 1]
    if len(images) < 2:
        msg = f'linearity needs at least 2 images with ground truth, got {len(images)}'
        raise ScaleError(msg)
    image_ratios(images)  # raises where depth is none
    rng = np.random.default_rng(seed)
    chosen = [rng.integers(0, len(p), _PIXELS) for p, _ in images]
    predicted = np.stack([p[i] for (p, _), i in zip(images, chosen, strict=True)]) * scale
    true = np.stack([g[i] for (_, g), i in zip(images, chosen, strict=True)])
    for name, side in (('predicted', predicted), ('true', true)):
        if np.ptp(side) == 0:
            msg = f'{name} depth is constant: no line can be fitted'
            raise ScaleError(msg)
    gain, offset = _line_with_intervals(true, predicted, confidence, rng)
    line = np.maximum(gain.value * true + offset.value, least_value(predicted))
    # Errors about the line; about the image's own line; how images differ.
    error = np.log(predicted / line)
    image_error = np.median(error, axis=1)
    own = error - image_error[:, None]
    noise = robust_deviation(own.ravel())
    within = [(pearson(g, p), spearman(g, p)) for g, p in zip(true, predicted, strict=True)]
    image_pearson, image_spearman = np.array(within).T
    whole = pearson(true.ravel(), predicted.ravel())
    return Linearity(
        images=len(images),
        pearson=whole,
        spearman=spearman(true.ravel(), predicted.ravel()),
        r2=whole**2,
        image_pearson=_quantiles(image_pearson),
        image_spearman=_quantiles(image_spearman),
        image_r2=_quantiles(image_pearson**2),
        gain=gain,
        offset=offset,
        spread=robust_deviation(image_error),
        noise=noise,
        outliers=float(np.mean(np.abs(own) > max(4 * noise, np.log(1.1)))),
        bands=tuple(_bands(true, predicted, error, confidence, rng)),
    )


def findings(linearity: Linearity) -> list[Doubt]:
    """What stands against one scalar.

    Returns:
        A doubt for each of ``offset``, ``bend``, ``spread``, ``noise``, ``outliers``, ``bias``,
        ``distance`` and ``images`` that is beyond its threshold; none where predicted depth is
        proportional to true depth. Where an interval is known, all of it must be beyond.
    """
    found = []
    offset = linearity.offset
    if max(offset.low, -offset.high) > LARGEST_OFFSET:
        found.append(Doubt('offset', offset.value, offset.low, offset.high))
    bent = [band for band in linearity.bands if abs(band.bend) > LARGEST_BEND]
    if bent:
        worst = max(bent, key=lambda band: abs(band.bend))
        found.append(
            Doubt('bend', worst.bend, worst.bend, worst.bend, worst.nearest, worst.furthest)
        )
    for kind, value, limit in (
        ('spread', linearity.spread, LARGEST_SPREAD),
        ('noise', linearity.noise, LARGEST_NOISE),
        ('outliers', linearity.outliers, LARGEST_OUTLIERS),
    ):
        if value > limit:
            found.append(Doubt(kind, value, value, value))
    return [*found, *_by_distance(linearity), *_by_image(linearity)]


def _by_distance(linearity: Linearity) -> list[Doubt]:
    """Whether all bands of distance ask for another scale, or each for its own."""
    found = []
    ratios = [band.ratio for band in linearity.bands]
    if len(ratios) < 2:
        return []
    # All on the same side of 1, with the whole of their intervals.
    one_sided = min(r.low for r in ratios) > 1 or max(r.high for r in ratios) < 1
    least = min(ratios, key=lambda ratio: abs(ratio.value - 1))
    if one_sided and abs(least.value - 1) > LARGEST_DISAGREEMENT:
        found.append(Doubt('bias', *(v - 1 for v in (least.value, least.low, least.high))))
    small, large = (
        choose(linearity.bands, key=lambda band: band.ratio.value) for choose in (min, max)
    )
    if large.ratio.low > LARGEST_FACTOR * small.ratio.high:
        # Named is the one that is further from the scale.
        far = max(small, large, key=lambda band: abs(math.log(band.ratio.value)))
        found.append(
            Doubt(
                'distance',
                large.ratio.value / small.ratio.value,
                large.ratio.low / small.ratio.high,
                large.ratio.high / small.ratio.low,
                far.nearest,
                far.furthest,
            )
        )
    return found


def _by_image(linearity: Linearity) -> list[Doubt]:
    """Whether each image asks for a scale of its own."""
    # Between the tenth and the ninetieth percentile of a normal distribution of ln(scale).
    factor = math.exp(min(2 * 1.2816 * linearity.spread, 20.0))
    return [Doubt('images', factor, factor, factor)] if factor > LARGEST_FACTOR else []


def measure_shift(images: Sequence[Pairs], scale: float, *, seed: int = 0) -> Interval:
    """By how much inverse depth is off, as networks of relative inverse depth leave it open.

    Args:
        images: As for :func:`measure_linearity`.
        scale: The scalar.
        seed: Draws pixels and bootstrap samples.

    Returns:
        The intercept of 1 / (predicted x scale) over 1 / true (1/m), fitted robustly.
    """
    rng = np.random.default_rng(seed)
    chosen = [rng.integers(0, len(p), _PIXELS) for p, _ in images]
    predicted = np.stack([p[i] for (p, _), i in zip(images, chosen, strict=True)]) * scale
    true = np.stack([g[i] for (_, g), i in zip(images, chosen, strict=True)])
    return _line_with_intervals(1 / true, 1 / predicted, 0.95, rng)[1]


def _line_with_intervals(
    true: Array, predicted: Array, confidence: float, rng: np.random.Generator
) -> tuple[Interval, Interval]:
    """Gain and offset of predicted over true depth (n, pixels), bootstrapped over images."""
    line = np.array(robust_line(true.ravel(), predicted.ravel(), rng))
    pixels = max(_LEAST_IN_BAND, min(_PIXELS, _POINTS // len(true)))
    x, y = true[:, :pixels], predicted[:, :pixels]
    floor = least_value(predicted)
    deviation = relative_deviation(true.ravel(), predicted.ravel(), line, floor)
    rounds = np.empty((_ROUNDS, 2))
    for number in range(_ROUNDS):
        chosen = rng.integers(0, len(true), len(true))
        drawn = line
        for _ in range(4):
            drawn = reweighted_line(x[chosen].ravel(), y[chosen].ravel(), drawn, floor, deviation)
        rounds[number] = drawn
    gain, offset = (
        _interval(float(value), column, confidence)
        for value, column in zip(line, rounds.T, strict=True)
    )
    return gain, offset


def _bands(
    true: Array, predicted: Array, error: Array, confidence: float, rng: np.random.Generator
) -> list[DepthBand]:
    """Ratios by distance; bands that fewer than two images see are left out."""
    ratio = predicted / true
    whole = np.median(ratio, axis=1)
    bands = []
    for nearest, furthest in zip(BANDS, BANDS[1:], strict=False):
        inside = (true >= nearest) & (true < furthest)
        enough = inside.sum(axis=1) >= _LEAST_IN_BAND
        if enough.sum() < 2:
            continue
        here = inside[enough]
        ratios, errors = (
            np.nanmedian(np.where(here, values[enough], np.nan), axis=1)
            for values in (ratio, error)
        )
        samples = ratios[rng.integers(0, len(ratios), (_ROUNDS, len(ratios)))]
        bands.append(
            DepthBand(
                nearest,
                furthest,
                len(ratios),
                _interval(float(np.median(ratios)), np.median(samples, axis=1), confidence),
                _quantiles(ratios / whole[enough]),
                float(np.expm1(np.median(errors))),
            )
        )
    return bands


def _interval(value: float, rounds: Array, confidence: float) -> Interval:
    low, high = np.quantile(rounds, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))


def _quantiles(values: Array) -> Quantiles:
    known = values[np.isfinite(values)]
    if not len(known):
        return Quantiles(float('nan'), float('nan'), float('nan'))
    low, median, high = np.quantile(known, [0.1, 0.5, 0.9])
    return Quantiles(float(low), float(median), float(high))

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import SCALE

from mono_metric_depth import scale as scale_module
from mono_metric_depth.line_fit import theil_sen_slope
from mono_metric_depth.scale import (
    METHODS,
    GlobalScale,
    Pairs,
    ScaleError,
    check_depth_unit,
    fit_scale,
    fit_scales,
    image_ratios,
    scales_by_count,
)

seeds = st.integers(0, 2**32 - 1)


def images_of(
    rng: np.random.Generator,
    scale: float,
    *,
    images: int = 15,
    spread: float = 0.0,
    noise: float = 0.0,
    outliers: float = 0.0,
    pixels: int = 200,
) -> list[Pairs]:
    """Predicted and true depth of images: true = scale x predicted, more or less."""
    result = []
    for _ in range(images):
        predicted = rng.uniform(0.5, 40.0, pixels)
        factor = scale * np.exp(rng.normal(0, spread))
        true = factor * predicted * np.exp(rng.normal(0, noise, pixels))
        wrong = rng.random(pixels) < outliers
        true[wrong] = rng.uniform(0.1, 400.0, int(wrong.sum()))
        result.append((predicted, true))
    return result


@given(seed=seeds, count=st.integers(2, 60), decimals=st.sampled_from([0, 1, 15]))
def test_the_slope_is_that_of_scipy(seed: int, count: int, decimals: int) -> None:
    stats = pytest.importorskip('scipy.stats')
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 10, count).round(decimals)  # with ties, too
    y = 3 * x + rng.standard_cauchy(count)
    if (x == x[0]).all():
        return
    expected = stats.theilslopes(y, x).slope
    assert theil_sen_slope(x, y, rng, 400_000) == pytest.approx(expected, rel=1e-9)


def test_random_pairs_come_close_to_all_pairs() -> None:
    stats = pytest.importorskip('scipy.stats')
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 10, 1000)
    y = 3 * x + rng.normal(0, 1, 1000)
    sampled = theil_sen_slope(x, y, rng, 20_000)
    assert sampled == pytest.approx(stats.theilslopes(y, x).slope, rel=0.01)
    assert sampled != theil_sen_slope(x, y, rng, 400_000)


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('scale', [0.03, 1.0, 25.0])
def test_an_exact_scale_is_found_exactly(method: str, scale: float) -> None:
    images = images_of(np.random.default_rng(0), scale)
    fitted = fit_scale(images, method=method, source='planted')
    for value in (fitted.value, fitted.low, fitted.high):
        assert value == pytest.approx(scale, rel=1e-9)
    assert fitted.spread == pytest.approx(0.0, abs=1e-9)
    assert (fitted.method, fitted.images, fitted.source) == (method, 15, 'planted')


def test_several_methods_test_once_that_depth_rises_and_each_fits_as_if_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = images_of(np.random.default_rng(0), 3.0, spread=0.1, noise=0.1)
    slopes: list[int] = []

    def counted(*args: Any) -> float:
        slopes.append(1)
        return theil_sen_slope(*args)

    monkeypatch.setattr(scale_module, 'theil_sen_slope', counted)
    together = fit_scales(images, source='x', seed=4)
    once = len(slopes)
    alone = [fit_scale(images, method=method, source='x', seed=4) for method in METHODS]
    assert together == alone
    assert fit_scales(images, METHODS[::-1], source='x', seed=4) == alone[::-1]
    assert len(slopes) == (1 + len(METHODS) + 1) * once


@pytest.mark.parametrize('method', ['theil_sen', 'median_ratio'])
def test_a_planted_scale_is_found_among_thirty_per_cent_outliers(method: str) -> None:
    # Outliers on both sides of the line, as far as depth allows.
    rng = np.random.default_rng(1)
    images = images_of(rng, 5.0, outliers=0.3, noise=0.02, pixels=2000, images=20)
    fitted = fit_scale(images, method=method, source='planted')
    assert fitted.value == pytest.approx(5.0, rel=0.03)
    x, y = (np.concatenate(side) for side in zip(*images, strict=True))
    least_squares = float(x @ y / (x @ x))
    assert abs(least_squares - 5.0) > 3 * abs(fitted.value - 5.0)  # what robustness is for


@pytest.mark.parametrize('method', METHODS)
def test_the_interval_covers_the_truth_most_of_the_time(method: str) -> None:
    covered, widths = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        images = images_of(rng, 3.0, spread=0.1, noise=0.05, images=25, pixels=60)
        fitted = fit_scale(images, method=method, source='planted', seed=seed)
        covered.append(fitted.low <= 3.0 <= fitted.high)
        widths.append((fitted.high - fitted.low) / fitted.value)
    assert np.mean(covered) >= 0.8
    # And is no wider than 25 images with a spread of 10 % warrant.
    assert 0.04 < np.median(widths) < 0.16


def test_a_higher_confidence_gives_a_wider_interval() -> None:
    images = images_of(np.random.default_rng(0), 3.0, spread=0.1)
    half = fit_scale(images, method='median_ratio', source='x', confidence=0.5)
    most = fit_scale(images, method='median_ratio', source='x', confidence=0.99)
    assert most.low < half.low < half.high < most.high


def test_the_spread_between_images_is_measured() -> None:
    rng = np.random.default_rng(0)
    images = images_of(rng, 3.0, spread=0.2, noise=0.05, images=400, pixels=30)
    fitted = fit_scale(images, method='median_ratio', source='x')
    assert fitted.spread == pytest.approx(0.2, rel=0.15)


def test_every_image_weighs_the_same() -> None:
    rng = np.random.default_rng(0)
    few = images_of(rng, 2.0, images=9, pixels=50)
    many = images_of(rng, 4.0, images=3, pixels=5000)
    fitted = fit_scale(few + many, source='x')
    assert fitted.value == pytest.approx(2.0, rel=0.1)


def test_the_same_seed_gives_the_same_scale() -> None:
    images = images_of(np.random.default_rng(0), 3.0, spread=0.1, noise=0.1)
    assert fit_scale(images, source='x', seed=4) == fit_scale(images, source='x', seed=4)
    assert fit_scale(images, source='x', seed=4) != fit_scale(images, source='x', seed=5)


def test_image_ratios_are_medians() -> None:
    pairs = (np.array([1.0, 2.0, 4.0]), np.array([2.0, 6.0, 40.0]))
    np.testing.assert_allclose(image_ratios([pairs, pairs[::-1]]), [3.0, 1 / 3])


ONES = np.ones(50)
RAMP = np.linspace(1.0, 9.0, 50)


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        ([], 'at least 2 images'),
        ([(RAMP, RAMP)], 'at least 2 images with ground truth, got 1'),
        ([(RAMP, RAMP), (RAMP[:0], RAMP[:0])], 'got 1'),
        ([(ONES, RAMP)] * 5, 'network output is constant'),
        ([(RAMP, RAMP[::-1])] * 5, 'does not rise with true depth'),
        ([(RAMP, RAMP), (RAMP, RAMP[:7])], 'image 1 has predicted depth of shape'),
        ([(RAMP, RAMP), (RAMP - 1, RAMP)], 'image 1 has predicted depth that is not'),
        ([(RAMP, RAMP * math.nan), (RAMP, RAMP)], 'image 0 has true depth that is not'),
        ([(RAMP, RAMP * math.inf), (RAMP, RAMP)], 'image 0 has true depth that is not'),
    ],
)
@pytest.mark.parametrize('method', METHODS)
def test_what_no_scale_fits_is_refused(images: list[Pairs], message: str, method: str) -> None:
    with pytest.raises(ScaleError, match=message):
        fit_scale(images, method=method, source='x')


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ScaleError, match="unknown method 'mean'"):
        fit_scale([(RAMP, RAMP)] * 2, method='mean', source='x')


@pytest.mark.parametrize(
    ('entries', 'message'),
    [
        ({'value': math.nan}, 'not finite'),
        ({'high': math.inf}, 'not finite'),
        ({'spread': math.nan}, 'not finite'),
        ({'value': 0.0, 'low': 0.0}, 'must be positive'),
        ({'low': 2.05}, 'within its confidence interval'),
        ({'high': 1.95}, 'within its confidence interval'),
        ({'confidence': 1.0}, 'confidence within'),
        ({'confidence': math.nan}, 'confidence within'),
        ({'images': 0}, 'at least one image'),
        ({'spread': -0.1}, 'spread >= 0'),
    ],
)
def test_a_scale_that_makes_no_sense_is_refused(entries: dict[str, Any], message: str) -> None:
    values = {name: getattr(SCALE, name) for name in SCALE.__dataclass_fields__}
    with pytest.raises(ScaleError, match=message):
        GlobalScale(**{**values, **entries})


def test_it_is_stated_whether_all_pairs_were_taken() -> None:
    rng = np.random.default_rng(0)
    few, many = images_of(rng, 3.0, images=2), images_of(rng, 3.0, images=12)
    assert fit_scale(few, method='theil_sen', source='x').random_pairs == 0
    assert fit_scale(many, method='theil_sen', source='x').random_pairs == 400_000
    assert fit_scale(many, method='median_ratio', source='x').random_pairs is None
    with pytest.raises(ScaleError, match='-1 random pairs'):
        GlobalScale(2.0, 1.9, 2.1, 0.95, 'theil_sen', 12, 0.05, 'x', -1)


@given(seed=seeds)
def test_least_squares_is_the_line_through_the_origin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = images_of(rng, 3.0, images=4, noise=0.3, pixels=40)
    x, y = (np.concatenate(side) for side in zip(*images, strict=True))
    (expected,), *_ = np.linalg.lstsq(x[:, None], y, rcond=None)
    fitted = fit_scale(images, method='least_squares', source='x')
    assert fitted.value == pytest.approx(expected, rel=1e-9)


def test_the_interval_is_that_of_scipy() -> None:
    stats = pytest.importorskip('scipy.stats')
    images = images_of(np.random.default_rng(3), 3.0, spread=0.2, noise=0.05, images=80)
    fitted = fit_scale(images, method='median_ratio', source='x')
    expected = stats.bootstrap(
        (image_ratios(images),), np.median, method='percentile', n_resamples=2000, rng=0
    ).confidence_interval
    width = expected.high - expected.low
    assert fitted.low == pytest.approx(expected.low, abs=0.2 * width)
    assert fitted.high == pytest.approx(expected.high, abs=0.2 * width)


def test_more_images_give_a_narrower_interval() -> None:
    images = images_of(np.random.default_rng(0), 3.0, spread=0.1, images=260, pixels=40)
    scales = scales_by_count(images, method='median_ratio', source='x')
    assert [scale.images for scale in scales] == [10, 50, 200, 260]
    widths = [scale.high - scale.low for scale in scales]
    assert widths[0] > 1.5 * widths[1] > 1.5 * widths[2]
    # All of them are what fit_scale fits, to the last digit.
    assert scales[-1] == fit_scale(images, method='median_ratio', source='x')
    assert [s.images for s in scales_by_count(images[:30], source='x')] == [10, 30]


TRUE_MEDIANS = np.random.default_rng(0).uniform(8, 25, 30)


@pytest.mark.parametrize(
    ('factor', 'unit'),
    [
        (1000.0, 'millimetres'),
        (100.0, 'centimetres'),
        (256.0, '1/256 m'),
        (1 / 256, 'already divided by 256'),
        (1e-3, 'kilometres'),
    ],
)
def test_depth_in_another_unit_is_refused_and_the_unit_named(factor: float, unit: str) -> None:
    with pytest.raises(ScaleError, match=f'my drive: the median true depth is .*{unit}.*metres'):
        check_depth_unit(list(TRUE_MEDIANS * factor), 'my drive')


def test_depth_in_metres_passes() -> None:
    typical = check_depth_unit([*TRUE_MEDIANS, math.nan, math.inf], 'x')
    assert typical == pytest.approx(float(np.median(TRUE_MEDIANS)))


@pytest.mark.parametrize('medians', [[], [math.nan], [0.0, -1.0]])
def test_no_depth_at_all_is_refused(medians: list[float]) -> None:
    with pytest.raises(ScaleError, match='no image has true depth'):
        check_depth_unit(medians, 'x')


def test_depth_in_no_known_unit_is_refused() -> None:
    with pytest.raises(ScaleError, match='no known unit fits'):
        check_depth_unit([1e9], 'x')

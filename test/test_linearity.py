# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mono_metric_depth.line_fit import (
    LineError,
    least_squares_line,
    pearson,
    robust_line,
    spearman,
)
from mono_metric_depth.linearity import BANDS, findings, measure_linearity
from mono_metric_depth.scale import Pairs, ScaleError, fit_scale

seeds = st.integers(0, 2**32 - 1)
SCALE = 3.0


def drive(
    seed: int = 0,
    *,
    images: int = 50,
    offset: float = 0.0,
    spread: float = 0.0,
    outliers: float = 0.0,
    noise: float = 0.08,
    power: float = 1.0,
) -> list[Pairs]:
    """What a network says of driving images: predicted x 3 = true + offset, more or less."""
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(images):
        true = np.exp(rng.uniform(np.log(3), np.log(rng.uniform(30, 78)), 300))
        curved = 10 * (true / 10) ** power
        metres = (curved * np.exp(rng.normal(0, noise, 300)) + offset) * np.exp(
            rng.normal(0, spread)
        )
        wrong = rng.random(300) < outliers
        metres[wrong] = rng.uniform(1, 90, int(wrong.sum()))
        valid = metres > 0
        result.append((metres[valid] / SCALE, true[valid]))
    return result


def defects(images: list[Pairs]) -> set[str]:
    scale = fit_scale(images, method='median_ratio', source='x').value
    return {doubt.kind for doubt in findings(measure_linearity(images, scale))}


@given(seed=seeds, count=st.integers(3, 60), decimals=st.sampled_from([0, 1, 15]))
def test_correlations_and_lines_are_those_of_scipy(seed: int, count: int, decimals: int) -> None:
    stats = pytest.importorskip('scipy.stats')
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 10, count).round(decimals)  # with ties, too
    y = (x + rng.standard_cauchy(count)).round(decimals)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
    line = stats.linregress(x, y)
    slope, intercept = least_squares_line(x, y)
    assert slope == pytest.approx(line.slope, rel=1e-6, abs=1e-9)
    assert intercept == pytest.approx(line.intercept, rel=1e-6, abs=1e-7)
    assert pearson(x, y) ** 2 == pytest.approx(line.rvalue**2, abs=1e-9)


def test_what_is_constant_correlates_with_nothing() -> None:
    ramp = np.arange(5.0)
    assert np.isnan(pearson(ramp, np.ones(5)))
    assert np.isnan(spearman(np.ones(5), ramp))
    for fit in (least_squares_line, lambda x, y: robust_line(x, y, np.random.default_rng(0))):
        with pytest.raises(LineError, match='all 5 points lie at 2'):
            fit(np.full(5, 2.0), ramp + 1)


@given(seed=seeds, slope=st.floats(0.2, 5.0), offset=st.floats(0.0, 4.0))
def test_a_line_is_found_among_thirty_per_cent_outliers(
    seed: int, slope: float, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(2, 60, 900)
    y = (slope * x + offset) * np.exp(rng.normal(0, 0.02, 900))
    wrong = rng.random(900) < 0.3
    y[wrong] = rng.uniform(0.1, 150, int(wrong.sum()))
    fitted_slope, fitted_offset = robust_line(x, y, rng)
    assert fitted_slope == pytest.approx(slope, rel=0.04)
    assert fitted_offset == pytest.approx(offset, abs=0.35 * slope + 0.1)


@pytest.mark.parametrize('seed', range(3))
def test_nothing_is_found_where_nothing_is_wrong(seed: int) -> None:
    assert defects(drive(seed)) == set()
    assert defects(drive(seed, noise=0.0)) == set()


@pytest.mark.parametrize('seed', range(2))
@pytest.mark.parametrize(
    ('planted', 'found'),
    [
        ({'offset': 1.2}, {'offset'}),
        ({'offset': -1.2}, {'offset'}),
        ({'spread': 0.2}, {'spread'}),
        ({'spread': 0.35}, {'spread', 'images'}),
        ({'power': 0.4}, {'distance', 'bend', 'offset'}),
        ({'outliers': 0.3}, {'outliers'}),
        ({'noise': 0.35}, {'noise'}),
        ({'offset': 1.5, 'spread': 0.2, 'outliers': 0.3}, {'offset', 'spread', 'outliers'}),
    ],
    ids=repr,
)
def test_a_planted_defect_is_reported_for_what_it_is(
    planted: dict[str, float], found: set[str], seed: int
) -> None:
    assert defects(drive(seed, **planted)) == found


def test_what_is_planted_is_measured() -> None:
    def measured(**planted: float):
        return measure_linearity(drive(**planted), SCALE)

    for offset in (1.2, -1.2):
        line = measured(offset=offset)
        assert line.offset.value == pytest.approx(offset, abs=0.1)
        assert line.gain.value == pytest.approx(1.0, abs=0.02)
        assert not line.proportional
        # Seen by distance, too: an offset weighs most where depth is small.
        ratios = [band.ratio.value for band in line.bands]
        assert ratios == sorted(ratios, reverse=offset > 0)
    clean = measured()
    assert clean.proportional
    assert (clean.pearson, clean.spearman) > (0.97, 0.97)
    assert clean.image_pearson.low > 0.95
    assert measured(spread=0.25).spread == pytest.approx(0.25, abs=0.06)
    assert measured(spread=0.25).noise == pytest.approx(0.08, abs=0.01)
    assert 0.2 < measured(outliers=0.3).outliers < 0.31
    assert clean.outliers < 0.01


def test_compressed_far_depth_is_found_by_distance() -> None:
    images = drive(power=0.7)
    line = measure_linearity(images, SCALE)
    ratios = [band.ratio.value for band in line.bands]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] < 0.75
    assert {'bend', 'offset'} & defects(images)


def test_the_spread_between_images_is_not_taken_for_a_bend_within_them() -> None:
    line = measure_linearity(drive(spread=0.3), SCALE)
    for band in line.bands:
        assert band.within.median == pytest.approx(1.0, abs=0.03)
        assert band.ratio.high - band.ratio.low > 0.05


def test_the_interval_of_the_offset_covers_the_truth() -> None:
    covered = [
        interval.low <= 0.5 <= interval.high
        for interval in (
            measure_linearity(drive(seed, images=20, offset=0.5, spread=0.05), SCALE).offset
            for seed in range(15)
        )
    ]
    assert np.mean(covered) >= 0.7


def test_bands_that_nobody_sees_are_left_out() -> None:
    images = [(p, g) for p, g in drive(images=4)]
    near = [(p[g < 9], g[g < 9]) for p, g in images]
    line = measure_linearity(near, SCALE)
    assert [(band.nearest, band.furthest) for band in line.bands] == [BANDS[:2], BANDS[1:3]]


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        ([], 'at least 2 images'),
        ([(np.ones(9), np.ones(9))], 'at least 2 images'),
        ([(np.ones(9), np.arange(1.0, 10))] * 3, 'predicted depth is constant'),
        ([(np.arange(1.0, 10), np.ones(9))] * 3, 'true depth is constant'),
        ([(np.arange(9.0), np.arange(1.0, 10))] * 3, 'not finite and positive'),
    ],
)
def test_what_cannot_be_measured_is_refused(images: list[Pairs], message: str) -> None:
    with pytest.raises(ScaleError, match=message):
        measure_linearity(images, 1.0)

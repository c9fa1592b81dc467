# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import asdict, astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mono_metric_depth.metrics import DepthMetrics, depth_metrics, mean_metrics, valid_pixels

depths = st.floats(0.1, 80.0)


@given(pairs=st.lists(st.tuples(depths, depths), min_size=1, max_size=30))
def test_metrics_follow_their_definitions(pairs: list[tuple[float, float]]) -> None:
    predicted, true = (np.array(side) for side in zip(*pairs, strict=True))
    found = asdict(depth_metrics(predicted, true))
    n = len(pairs)
    expected = {
        'abs_rel': sum(abs(p - g) / g for p, g in pairs) / n,
        'sq_rel': sum((p - g) ** 2 / g for p, g in pairs) / n,
        'rmse': math.sqrt(sum((p - g) ** 2 for p, g in pairs) / n),
        'rmse_log': math.sqrt(sum((math.log(p) - math.log(g)) ** 2 for p, g in pairs) / n),
    }
    for power in (1, 2, 3):
        close = [max(p / g, g / p) < 1.25**power for p, g in pairs]
        expected[f'delta{power}'] = sum(close) / n
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_metrics_of_known_errors() -> None:
    found = depth_metrics(np.array([1.0, 3.0, 4.0]), np.array([2.0, 2.0, 4.0]))
    assert found.abs_rel == pytest.approx(1 / 3)
    assert found.sq_rel == pytest.approx(1 / 3)
    assert found.rmse == pytest.approx(math.sqrt(2 / 3))
    assert (found.delta1, found.delta2, found.delta3) == pytest.approx((1 / 3, 2 / 3, 2 / 3))


def test_perfect_depth_has_no_error() -> None:
    depth = np.linspace(1, 80, 100)
    assert astuple(depth_metrics(depth, depth)) == (0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0)


def test_only_pixels_where_both_are_known_count() -> None:
    nan, inf = math.nan, math.inf
    predicted = np.array([[1, nan, inf, -inf, 0, -1, 2, 3, 4, 5, 6]], np.float32)
    true = np.array([[1, 1, 1, 1, 1, 1, nan, inf, 0, 80, 80.1]], np.float32)
    found = valid_pixels(predicted, true)
    np.testing.assert_array_equal(found, [[1, 5], [1, 80]])
    assert found[0].dtype == found[1].dtype == np.float64
    # The largest float16 is finite, but further than any ground truth that counts.
    np.testing.assert_array_equal(
        valid_pixels(np.ones(3, np.float32), np.array([nan, inf, 7], np.float16))[1], [7]
    )


def test_the_range_of_ground_truth_can_be_set() -> None:
    true = np.array([0.5, 1.0, 50.0, 51.0], np.float32)
    kept = valid_pixels(np.ones(4, np.float32), true, minimum=1.0, maximum=50.0)[1]
    np.testing.assert_array_equal(kept, [1.0, 50.0])


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r'shape \(2, 3\), ground truth \(3, 2\)'):
        valid_pixels(np.ones((2, 3), np.float32), np.ones((3, 2), np.float32))


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match='no valid pixel'):
        depth_metrics(np.empty(0), np.empty(0))
    with pytest.raises(ValueError, match='no image'):
        mean_metrics([])


def test_the_mean_weighs_images_the_same() -> None:
    first = DepthMetrics(1, 2, 3, 4, 0.5, 0.6, 0.7)
    second = DepthMetrics(3, 2, 1, 0, 0.7, 0.8, 0.9)
    assert astuple(mean_metrics([first, second])) == pytest.approx((2, 2, 2, 2, 0.6, 0.7, 0.8))

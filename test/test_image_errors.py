# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of an image agree with formulas written down once more, with masks, ties and holes."""

from __future__ import annotations

import json
from dataclasses import asdict, astuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mono_metric_depth.evaluation.bootstrap import Units, independent_units
from mono_metric_depth.evaluation.comparison import common_images, compare
from mono_metric_depth.evaluation.image_errors import (
    SAMPLE,
    ImageErrors,
    NoOverlapError,
    from_json,
    image_errors,
    to_json,
)
from mono_metric_depth.evaluation.protocol import PROTOCOLS
from mono_metric_depth.evaluation.summary import some_images, summarise

nan, inf = np.nan, np.inf


def reference(p: Any, g: Any) -> dict[str, float]:
    """The metrics over a masked array, by other means than those of the package."""
    p, g = np.ma.compressed(p).astype(np.float64), np.ma.compressed(g).astype(np.float64)
    worse = np.exp(np.abs(np.log(p) - np.log(g)))
    close = [float(stats.percentileofscore(worse, 1.25**k, 'strict')) / 100 for k in (1, 2, 3)]
    return {
        'abs_rel': float(stats.tmean(abs(p / g - 1))),
        'sq_rel': float(stats.tmean((p - g) * (p / g - 1))),
        'rmse': float(stats.moment(np.r_[p - g, g - p], 2, center=0) ** 0.5),
        'rmse_log': float(stats.moment(np.r_[np.log(p / g), np.log(g / p)], 2, center=0) ** 0.5),
        'delta1': close[0],
        'delta2': close[1],
        'delta3': close[2],
    }


def images(seed: int, shape: tuple[int, int] = (24, 40)) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    true = rng.uniform(0.5, 120, shape).astype(np.float32)
    predicted = (true * rng.lognormal(0.3, 0.4, shape) / 3).astype(np.float32)
    ties = rng.random(shape) < 0.2
    predicted[ties] = true[ties] / 2  # exact with a scale of 2
    true[rng.random(shape) < 0.3] = rng.choice([nan, inf, -inf, 0, -1])
    predicted[rng.random(shape) < 0.2] = rng.choice([nan, inf])
    return predicted, true


@given(
    seed=st.integers(0, 2**31),
    name=st.sampled_from(sorted(PROTOCOLS)),
    scale=st.sampled_from([2.0, 3.0, 0.7]),
)
def test_all_scalings_agree_with_the_reference(seed: int, name: str, scale: float) -> None:
    predicted, true = images(seed)
    protocol = PROTOCOLS[name].within((2.0, 60.0))
    height, width = true.shape
    top, bottom, left, right = protocol.crop
    rows, columns = np.indices(true.shape)
    out = ~((true >= protocol.minimum) & (true <= protocol.maximum)) | np.isnan(predicted)
    out |= (rows < int(top * height)) | (rows >= int(bottom * height))
    out |= (columns < int(left * width)) | (columns >= int(right * width))
    found = image_errors(predicted, true, scale, protocol)
    far = np.minimum(predicted.astype(np.float64), 1e6)
    own = np.ma.median(np.ma.array(true.astype(np.float64), mask=out)) / np.ma.median(
        np.ma.array(far, mask=out)
    )
    for scaling, factor in (('transferred', scale), ('oracle_image', own), ('unscaled', 1.0)):
        # What lies out of the model's range is published as infinite.
        low, high = (2.0, 60.0) if scaling == 'transferred' else (0.0, 1e9)
        p = np.maximum(np.minimum(far * factor, min(high, protocol.maximum)), low)
        p = np.maximum(p, protocol.minimum)
        expected = reference(np.ma.array(p, mask=out), np.ma.array(true, mask=out))
        assert asdict(found[scaling]) == pytest.approx(expected, rel=1e-6, abs=1e-6), scaling
    assert found['seen'] == (~out).sum()
    # Parts add up to the whole.
    for parts in (found['bands'], found['regions']):
        assert sum(part.pixels for part in parts) == found['pixels']
        assert sum(part.seen for part in parts) == found['seen']
        whole = sum(part.abs_rel * part.seen for part in parts if part.seen) / found['seen']
        assert whole == pytest.approx(found['transferred'].abs_rel)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda p, g: g.fill(nan), 'no_truth'),
        (lambda p, g: g.fill(inf), 'no_truth'),
        (lambda p, g: g.fill(0), 'no_truth'),
        (lambda p, g: g.fill(5000), 'out_of_range'),
        (lambda p, g: p.fill(nan), 'zero_overlap'),
    ],
)
def test_empty_images_are_refused_by_name(change: Any, reason: str) -> None:
    predicted, true = images(1)
    change(predicted, true)
    with pytest.raises(NoOverlapError) as caught:
        image_errors(predicted, true, 1.0, PROTOCOLS['all_pixels'])
    assert caught.value.reason == reason


def test_an_edge_belongs_to_the_band_beyond_it() -> None:
    true = np.array([[5, 10, 20, 40, 80]], np.float32)
    found = image_errors(true, true, 1.0, PROTOCOLS['all_pixels'])
    assert [part.pixels for part in found['bands']] == [0, 1, 1, 1, 2]


def test_an_error_is_found_in_the_region_where_it_is() -> None:
    true = np.full((30, 60), 10, np.float32)
    predicted = true.copy()
    predicted[:10, 40:] *= 2
    found = image_errors(predicted, true, 1.0, PROTOCOLS['all_pixels'])
    errors = [ImageErrors('drive', 0, '', 0, **found)]
    regions = summarise('model', errors, 1.0, PROTOCOLS['all_pixels']).regions
    wrong = {region.name: region.abs_rel.value for region in regions if region.abs_rel.value}
    assert wrong == {'top right': pytest.approx(1)}


def whole(seed: int, drive: str = 'drive', index: int = 0, **size: Any) -> ImageErrors:
    predicted, true = images(seed, **size)
    found = image_errors(predicted, true, 2.0, PROTOCOLS['all_pixels'])
    return ImageErrors(drive, index, 'version', 10**8 * index, **found)


@pytest.mark.parametrize('shape', [(24, 40), (200, 300)])
def test_what_is_written_is_read(shape: tuple[int, int]) -> None:
    before = whole(3, shape=shape)
    after = from_json(json.loads(to_json(before)))
    for name, value in vars(before).items():
        np.testing.assert_equal(getattr(after, name), value)
    assert len(before.true) == min(before.seen, SAMPLE)


@pytest.mark.parametrize('scale', [1.9, 2.1, 1.05])
def test_another_scale_is_exact_for_few_pixels_and_close_for_many(scale: float) -> None:
    protocol = PROTOCOLS['all_pixels']
    for shape, tolerance in (((24, 40), 1e-6), ((300, 400), 5e-3)):
        exact, found = [], []
        for seed in range(16):
            predicted, true = images(seed, shape)
            exact.append(astuple(image_errors(predicted, true, scale, protocol)['transferred']))
            found.append(astuple(whole(seed, shape=shape).at_scale(scale, 2.0, protocol)))
        np.testing.assert_allclose(np.mean(found, axis=0), np.mean(exact, axis=0), rtol=tolerance)


def test_the_crops_are_those_of_the_field() -> None:
    counted = PROTOCOLS['kitti_eigen'].counted(np.full((375, 1242), 10, np.float32))
    rows, columns = np.nonzero(counted)
    assert (rows.min(), rows.max() + 1) == (153, 371)
    assert (columns.min(), columns.max() + 1) == (44, 1197)
    # With improved ground truth both conventions are there.
    whole = PROTOCOLS['kitti_eigen_improved'].counted(np.full((375, 1242), 10, np.float32))
    assert whole.all()
    garg = PROTOCOLS['kitti_eigen_improved_garg'].counted(np.full((375, 1242), 10, np.float32))
    np.testing.assert_array_equal(garg, counted)
    counted = PROTOCOLS['cityscapes'].counted(np.full((1024, 2048), 10, np.float32))
    rows, columns = np.nonzero(counted)
    assert (rows.min(), rows.max() + 1) == (256, 768)
    assert (columns.min(), columns.max() + 1) == (192, 1856)
    assert PROTOCOLS['ddad'].counted(np.full((2, 2), 199, np.float32)).all()


def test_whole_drives_or_blocks_are_drawn_never_single_neighbours() -> None:
    drives = [whole(n, f'drive{n}', i) for n in range(9) for i in range(3)]
    units = independent_units(drives)
    assert units.description == '9 drives'
    assert units.labels.tolist() == [n for n in range(9) for _ in range(3)]
    one = independent_units([whole(i, index=i) for i in range(50)])
    assert np.unique(one.labels, return_counts=True)[1].tolist() == [5] * 10
    # Neighbours that say the same make the interval no narrower.
    values = np.random.default_rng(0).normal(size=40)
    alone = Units(np.arange(40), '').interval(values)
    twice = Units(np.repeat(np.arange(40), 5), '').interval(np.repeat(values, 5))
    naive = Units(np.arange(200), '').interval(np.repeat(values, 5))
    assert twice.high - twice.low == pytest.approx(alone.high - alone.low)
    assert naive.high - naive.low < 0.6 * (twice.high - twice.low)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(100):
        drives = rng.normal(size=12)
        values = np.repeat(drives, 4) + 0.3 * rng.normal(size=48)
        interval = Units(np.repeat(np.arange(12), 4), '').interval(values)
        inside += interval.low <= 0 <= interval.high
    assert 84 <= inside <= 99


def test_the_mean_over_the_set_is_the_mean_of_the_images() -> None:
    errors = [whole(seed, index=seed) for seed in range(12)]
    summary = summarise('model', errors, 2.0, PROTOCOLS['all_pixels'])
    for metric in ('abs_rel', 'rmse', 'delta1'):
        expected = np.mean([getattr(each.transferred, metric) for each in errors])
        assert summary.scalings['transferred'][metric].value == pytest.approx(expected)
    assert summary.oracle_scale.value == pytest.approx(np.median([e.ratio for e in errors]))


def test_the_interval_of_a_median_is_as_wide_as_theory_has_it() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = Units(np.arange(400), '').median_interval(values)
    assert found.low < found.value < found.high
    # 1.253 standard errors of a mean.
    assert found.high - found.low == pytest.approx(2 * 1.96 * 1.253 / 20, rel=0.3)


def test_a_model_does_not_differ_from_itself() -> None:
    errors = [whole(seed, index=seed) for seed in range(12)]
    found = compare('a', errors, 'b', errors)
    assert found.difference.value == 0
    assert 'cannot be told apart' in found.verdict


def test_many_images_take_no_more_memory_than_some() -> None:
    errors = [whole(0)] * 5000
    assert len(some_images(errors)) == 1667
    assert some_images(errors[:9]) == errors[:9]


def test_models_are_compared_on_what_all_of_them_have() -> None:
    errors = [whole(seed, index=seed) for seed in range(4)]
    first, second = common_images([errors[:3], errors[1:]])
    assert [e.index for e in first] == [e.index for e in second] == [1, 2]

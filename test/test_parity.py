# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The parity gate: an engine that is wrong does not run."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from samples import make_card, random_images, write_model

from mono_metric_depth.camera import Camera
from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.network_image import normalised
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.engines.parity import (
    TOLERANCES,
    Parity,
    measure_parity,
    parity_from_json,
)
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.model_card import ModelCard, read_card
from mono_metric_depth.model_files import DEFAULT_MODEL

KINDS = ('depth', 'inverse_depth', 'disparity')
Change = Callable[[np.ndarray, int], np.ndarray]


class WrongEngine:
    """ONNX Runtime, but what it puts out is changed: (outputs, number of the run) -> outputs."""

    def __init__(self, path: Path, card: ModelCard, change: Change, batch: int = 3) -> None:
        self._engine = OnnxRuntimeEngine(path, card, batch=batch, threads=1)
        self.name, self.provider = 'wrong', 'wrong'
        self.input, self.output = self._engine.input, self._engine.output
        self._change, self.runs = change, 0

    def run(self, images: int) -> None:
        self.runs += 1
        before = self.output.copy()
        self._engine.run(images)
        found = self._change(self.output[:images].copy(), self.runs)
        self.output[:images] = before[:images] if found is None else found

    def warm_up(self) -> None: ...

    def close(self) -> None: ...


class RememberingEngine(OnnxRuntimeEngine):
    """ONNX Runtime that computes each image once: the faults are what is tested."""

    known: ClassVar[dict[bytes, np.ndarray]] = {}

    def run(self, images: int) -> None:
        for place in range(images):
            image = self.input[place].tobytes()
            if image not in self.known:
                self.input[0], first = self.input[place], self.input[0].copy()
                super().run(1)
                self.known[image] = self.output[0].copy()
                self.input[0] = first
        for place in range(images):
            self.output[place] = self.known[self.input[place].tobytes()]


@pytest.fixture
def default_frames(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.setattr(
        'mono_metric_depth.engines.depth_comparison.OnnxRuntimeEngine', RememberingEngine
    )
    monkeypatch.setattr('test_parity.OnnxRuntimeEngine', RememberingEngine)
    monkeypatch.setattr(
        'mono_metric_depth.engines.parity.parity_frames', lambda card, count: default_inputs()
    )
    return default_inputs()


@functools.cache
def default_inputs() -> np.ndarray:
    return parity_frames(read_card(DEFAULT_MODEL))


def check(change: Change, precision: str, frames: np.ndarray) -> Parity:
    """Parity of the shipped model with a fault."""
    card = read_card(DEFAULT_MODEL)
    engine = WrongEngine(DEFAULT_MODEL, card, change)
    return measure_parity(engine, DEFAULT_MODEL, card, frames, precision)


def test_the_stored_frames_are_what_the_network_knows(default_frames: np.ndarray) -> None:
    card = read_card(DEFAULT_MODEL)
    camera = card.canonical_camera
    assert default_frames.shape == (8, camera.height, camera.width, 4)
    inputs = normalised(default_frames, card.normalisation)
    for first in range(8):
        for second in range(first):
            assert np.abs(inputs[first] - inputs[second]).mean() > 0.3
    assert 0.5 < inputs.std() < 1.5
    assert 0.8 < default_frames[..., 3].mean() < 1
    # Fewer of them are of as many domains as can be.
    few = parity_frames(card, 3)
    assert [int(np.abs(default_frames - one).sum((1, 2, 3)).argmin()) for one in few] == [0, 2, 5]
    narrow = dataclasses.replace(card, canonical_camera=Camera(70, 70, 60.0, 60.0, 35.0, 35.0))
    assert parity_frames(narrow).shape == (8, 70, 70, 4)


def test_an_engine_that_is_right_passes() -> None:
    parity = check(lambda out, run: out, 'fp32', default_inputs())
    assert parity.passed
    assert parity.findings == ()
    assert parity.frames == 8
    assert parity.outputs == 8 * 3 + 1 + 2
    assert parity.scale_ratio == pytest.approx(1, abs=1e-5)
    assert 'scale ratio 1.0' in str(parity)


def _noise(out: np.ndarray, run: int) -> np.ndarray:
    return out * np.random.default_rng(run).uniform(0.8, 1.2, out.shape).astype(np.float32)


def _slight_noise(out: np.ndarray, run: int) -> np.ndarray:
    return out * np.exp(np.random.default_rng(1).normal(0, 0.04, out.shape)).astype(np.float32)


def _holes(out: np.ndarray, run: int) -> np.ndarray:
    out[-1, 0, 40, 100] = np.nan
    return out


def _blur(out: np.ndarray, run: int) -> np.ndarray:
    return (out + np.roll(out, 8, 3) + np.roll(out, -8, 3)) / 3


def _negative(out: np.ndarray, run: int) -> np.ndarray:
    out[:, :, 50:52] *= -1
    return out


def _part(factor: float, rows: slice, columns: slice, *, last: bool = False) -> Change:
    """Depth of a part of the image is off: of all places of a batch, or of the last of three."""

    def change(out: np.ndarray, run: int) -> np.ndarray:
        out[2 if last else 0 :, :, rows, columns] *= np.float32(factor)
        return out

    return change


#: What is wrong, and the words that must be in what is found.
FAULTS: dict[str, tuple[Change, str]] = {
    'scaled up': (lambda out, run: out * np.float32(1.03), r'scaled by 1\.03'),
    'scaled down': (lambda out, run: out * np.float32(0.97), r'scaled by 0\.97'),
    'scaled in every third run': (
        lambda out, run: out * np.float32(1.04 if run % 3 == 0 else 1.0),
        r'scale of one frame off by 4\.',
    ),
    'last place of the batch scaled': (
        lambda out, run: out * np.float32([1, 1, 1.04][: len(out)]).reshape(-1, 1, 1, 1),
        'scale of one frame off by 4',
    ),
    'noisy': (_noise, 'median depth error'),
    'blurred': (_blur, '99th percentile'),
    'one pixel NaN': (_holes, '10 pixels without depth'),
    'all NaN': (lambda out, run: out * np.float32(np.nan), 'pixels without depth'),
    'infinite': (lambda out, run: out * np.float32(np.inf), 'pixels without depth'),
    'negative': (_negative, 'pixels without depth'),
    'places of the batch swapped': (lambda out, run: out[::-1], 'depth error'),
    'places of the batch rotated': (lambda out, run: np.roll(out, 1, 0), 'depth error'),
    'first image for all': (lambda out, run: out[:1].repeat(len(out), 0), 'depth error'),
    'nothing written': (lambda out, run: None, 'pixels without depth'),  # type: ignore[dict-item]
    'one depth for all': (lambda out, run: np.full_like(out, np.median(out)), 'depth error'),
    'rows shifted': (lambda out, run: np.roll(out, 2, 2), 'depth error|99th percentile'),
    'one corner': (_part(1.06, slice(80, 96), slice(224, 256)), 'scale of one region off by 6'),
    'a twentieth': (_part(0.94, slice(20, 41), slice(90, 147)), 'scale of one region off by 6'),
    'a corner of the last place': (
        _part(1.05, slice(0, 16), slice(0, 32), last=True),
        'median depth error of one region',
    ),
    'a block nearer': (
        _part(0.35, slice(60, 70), slice(100, 120)),
        r'pixel over all frames 6[45]',
    ),
    'a block further': (_part(2.9, slice(60, 70), slice(100, 120)), 'pixel over all frames 190'),
    'every 144th pixel': (
        _part(1.5, slice(0, 96, 12), slice(0, 256, 12)),
        'pixel over all frames 50',
    ),
    'left third': (_part(1.035, slice(0, 96), slice(0, 85)), r'scale of one third off by 3\.5'),
    'noise of 4 %': (_slight_noise, 'median depth error'),
    'slightly scaled in every third run': (
        lambda out, run: out * np.float32(1.019 if run % 3 == 0 else 1.0),
        r'scale of a repeated run off by 1\.9',
    ),
    'one column': (_part(1.2, slice(0, 96), slice(77, 78)), 'depth error of one pixel'),
    'one row of one run': (
        lambda out, run: _part(3.5, slice(50, 51), slice(0, 256))(out, run) if run == 5 else out,
        'depth error of one pixel',
    ),
}
#: What 8 bits do not tell from their own errors.
IN_HALF = {'blurred', 'rows shifted', 'a corner of the last place'}


@pytest.mark.parametrize(
    ('fault', 'precision'),
    [(name, 'fp16' if name in IN_HALF else 'int8') for name in FAULTS],
)
def test_an_engine_that_is_wrong_is_refused_with_the_figures(
    fault: str, precision: str, default_frames: np.ndarray
) -> None:
    change, words = FAULTS[fault]
    parity = check(change, precision, default_frames)
    assert not parity.passed
    assert re.search(words, '; '.join(parity.findings)), parity.findings


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('factor', [1.03, 1.0])
def test_the_scale_is_that_of_depth_whatever_the_network_puts_out(
    kind: str, factor: float, tmp_path: Path
) -> None:
    path, card = write_model(tmp_path / 'tiny.onnx'), make_card(output_kind=kind)
    frames = random_images((5, 24, 32, 4))
    engine = WrongEngine(path, card, lambda out, run: out * np.float32(factor))
    parity = measure_parity(engine, path, card, frames, 'int8')
    assert parity.scale_ratio == pytest.approx(factor if kind == 'depth' else 1 / factor, rel=1e-3)
    assert parity.passed == (factor == 1.0)


def test_what_is_infinitely_far_in_both_is_equal(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx', low=0.0)
    card = make_card(output_kind='inverse_depth')
    frames = random_images((5, 24, 32, 4))
    frames[:, :8] = 0  # sky
    assert measure_parity(
        WrongEngine(path, card, lambda out, run: out), path, card, frames, 'fp32'
    ).passed

    def lost(out: np.ndarray, run: int) -> np.ndarray:
        out[:, :, -1] = 0.0
        return out

    assert not measure_parity(WrongEngine(path, card, lost), path, card, frames, 'fp32').passed


@pytest.mark.parametrize('precision', TOLERANCES)
def test_sky_stays_sky(tmp_path: Path, precision: str) -> None:
    path = write_model(tmp_path / 'tiny.onnx', low=0.0)
    card = make_card(output_kind='inverse_depth')
    frames = random_images((5, 24, 32, 4))
    frames[:, :8] = 0

    def parity(where: tuple[slice, slice], value: float) -> Parity:
        def change(out: np.ndarray, run: int) -> np.ndarray:
            part = out[(slice(None), slice(None), *where)]
            part[part == 0] = value
            return out

        return measure_parity(WrongEngine(path, card, change), path, card, frames, precision)

    everywhere = (slice(0, 24), slice(0, 32))
    assert parity(everywhere, 0.0).passed
    assert parity(everywhere, 1e-5).passed, 'as far as can be'
    assert parity(everywhere, -1e-5).passed
    found = parity((slice(0, 8), slice(0, 32)), 1.0)
    assert any('depth where there is none' in text for text in found.findings), found.findings
    found = parity((slice(2, 3), slice(4, 7)), 1.0)  # a small thing, in every frame
    assert not found.passed
    found = parity(everywhere, np.nan)
    assert any('pixels without depth' in text for text in found.findings), found.findings


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_a_robot_that_stands_still_does_not_hide_what_is_mixed_up(
    precision: str, default_frames: np.ndarray
) -> None:
    noise = np.random.default_rng(0).integers(-2, 3, (6, *default_frames.shape[1:3], 3))
    frames = default_frames[[0] * 6]
    frames[..., :3] = np.clip(frames[..., :3] + noise, 0, 255)
    for change in (lambda out, run: out[::-1], lambda out, run: out[:1].repeat(len(out), 0)):
        parity = check(change, precision, frames)
        assert not parity.passed
    parity = check(lambda out, run: out, precision, frames)
    assert parity.passed
    assert parity.frames == 8, 'the stored ones: all of these are one of them'


def test_what_int8_is_not_checked_for_is_said(default_frames: np.ndarray) -> None:
    text = str(check(lambda out, run: out, 'int8', default_frames[:1]))
    assert 'int8 is checked more loosely than other precisions: scale to 0.4%' in text
    assert 'loosely' not in str(check(lambda out, run: out, 'fp16', default_frames[:1]))


def test_a_model_without_depth_is_named(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx', weights=(np.nan,) * 3)
    engine = WrongEngine(path, make_card(), lambda out, run: out)
    with pytest.raises(EngineError, match='gives no usable depth on any frame'):
        measure_parity(engine, path, make_card(), parity_frames(make_card()), 'fp32')


@pytest.mark.parametrize('same', [False, True])
def test_every_place_is_checked_with_few_frames_or_the_same_ones(
    tmp_path: Path, same: bool
) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    frames = random_images((2, 24, 32, 4))
    if same:
        frames[:] = frames[0]

    def wrong(out: np.ndarray, place: int) -> np.ndarray:
        out = out.copy()
        out[place:] *= 1.5
        return out

    for fault, passes in (
        (lambda out, run: out, True),
        (lambda out, run: out[::-1], False),
        (lambda out, run: wrong(out, 11), False),
    ):
        engine = WrongEngine(path, make_card(), fault, batch=12)
        assert measure_parity(engine, path, make_card(), frames, 'fp32').passed == passes


def test_a_result_survives_being_stored(default_frames: np.ndarray) -> None:
    parity = check(FAULTS['scaled up'][0], 'fp16', default_frames)
    stored = json.loads(json.dumps(dataclasses.asdict(parity)))
    assert parity_from_json(stored) == parity
    for damaged in ({}, {**stored, 'extra': 1}, {**stored, 'findings': None}):
        with pytest.raises(ValueError, match='not the result of a parity check'):
            parity_from_json(damaged)


def test_no_tolerance_takes_more_than_the_fit_of_the_scale_leaves_open() -> None:
    for tolerance in TOLERANCES.values():
        assert tolerance.frame_scale <= 0.02
        # Of the shipped model's scale, to either side.
        scale = read_card(DEFAULT_MODEL).scale
        assert scale is not None
        assert tolerance.scale <= (scale.high - scale.low) / 2
    limits = [dataclasses.astuple(TOLERANCES[name]) for name in ('cpu', 'fp32', 'fp16', 'int8')]
    assert limits == sorted(limits)
    assert np.all(np.diff(limits, axis=0) >= 0), 'what int8 refuses, all refuse'

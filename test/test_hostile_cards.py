# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Cards and models that strangers made: refused in one line, or harmless."""

from __future__ import annotations

import copy
import json
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from samples import CANONICAL, make_card, write_model

from mono_metric_depth.camera import Camera
from mono_metric_depth.card_description import describe_card
from mono_metric_depth.commands import build_engine, fit_scale, model_card
from mono_metric_depth.depth_estimate import EstimatorError
from mono_metric_depth.doubt import DOUBTS, Doubt
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.image import Image
from mono_metric_depth.model_card import (
    METADATA_KEY,
    ModelCardError,
    card_from_json,
    card_to_json,
    read_card,
    write_card,
)
from mono_metric_depth.onnx_metadata import OnnxFileError, read_metadata, write_metadata
from mono_metric_depth.printable import LONGEST, printable

if TYPE_CHECKING:
    from robot import Robot

    from mono_metric_depth.nodes.depth_node import DepthNode

onnx = pytest.importorskip('onnx')

#: Clears a terminal and renames its window; a line of its own; Hebrew order; half a character.
EVIL = '\x1b[2J\x1b]0;mine\x07\nerror: all is well\r\u202eslanigiro\u200b\x9b31m\ud800 ok'
HARMLESS = printable(EVIL)


def is_harmless(text: str) -> bool:
    return all(line.isprintable() for line in text.splitlines()) and '\r' not in text


def test_nothing_acts_in_a_text_that_is_printable() -> None:
    assert HARMLESS.isprintable()
    assert HARMLESS.startswith(r'\x1b[2J\x1b]0;mine\x07\nerror: all is well\r\u202esl')
    assert r'\ud800 ok' in HARMLESS
    assert printable(HARMLESS) == HARMLESS
    assert printable('größer ∞ 深度') == 'größer ∞ 深度'
    assert len(printable('x' * 10**6)) == LONGEST + 1
    HARMLESS.encode()


def evil_card(**entries: Any) -> str:
    """A card whose every text is hostile."""
    document = json.loads(card_to_json(make_card(**entries)))
    document['name'] = EVIL
    document['scale'] |= {'source': EVIL, 'method': EVIL}
    document['road_scale']['source'] = EVIL
    document['provenance'] = {EVIL: EVIL, 'source': [EVIL, {EVIL: EVIL}], 'x': 'y' * 90_000}
    return json.dumps(document)


def write_text(path: Path, text: str) -> Path:
    write_metadata(write_model(path), {METADATA_KEY: text})
    return path


def test_what_a_card_says_is_shown_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_text(tmp_path / 'evil.onnx', evil_card())
    model_card.main([str(path)])
    shown = capsys.readouterr().out
    assert is_harmless(shown)
    assert shown.count(r'\x1b[2J') >= 7
    assert max(map(len, shown.splitlines())) < LONGEST + 60
    model_card.main([str(path), '--json'])
    assert is_harmless(capsys.readouterr().out)
    # What this package writes back is harmless for others, too.
    write_card(path, read_card(path))
    assert '\x1b' not in json.dumps(read_metadata(path), ensure_ascii=False)


def test_what_a_report_says_is_escaped() -> None:
    """The page takes its texts from the card as it was read, and escapes them for HTML."""
    card = card_from_json(evil_card().replace('all is well', '<script>x</script>'))
    assert is_harmless(describe_card(card))
    for text in (card.name, card.scale.source if card.scale else '', *card.provenance):
        assert is_harmless(text)


def test_the_node_shows_it_escaped_in_its_log_and_diagnostics(
    tmp_path: Path, start: Callable[..., DepthNode], robot: Robot
) -> None:
    path = write_text(tmp_path / 'evil.onnx', evil_card())
    start(model=str(path))

    def values() -> dict[str, str]:
        return {item.key: item.value for status in robot.statuses for item in status.values}

    robot.until(lambda: values().get('model') == HARMLESS, 'the model in the diagnostics')
    robot.until(lambda: any('[2J' in line for line in robot.logged), 'the model in the log')
    assert all(is_harmless(line) for line in robot.logged)
    # A card that is refused is quoted.
    text = evil_card().replace('"depth"', json.dumps(EVIL), 1)
    refused = start(model=str(write_text(tmp_path / 'bad.onnx', text)))
    robot.until(refused.refused.done, 'a refusal')
    assert is_harmless(refused.refused.result())


@pytest.mark.parametrize(
    ('entry', 'value', 'message'),
    [
        ('canonical_camera.fx', 1e-300, 'a focal length of 1e-300 px is too short for'),
        ('canonical_camera.fx', 0.1, 'canonical_camera.fx / its size must lie within'),
        ('canonical_camera.fy', 1e11, 'are beyond 1e+09 px'),
        ('canonical_camera.fy', 1e8, 'canonical_camera.fy / its size must lie within'),
        ('canonical_camera.cx', -1e9, 'canonical_camera.cx / its size must lie within'),
        ('canonical_camera.width', 10**9, 'is not within 1..16384 px'),
        ('canonical_camera.height', 16384, None),
        ('canonical_camera.width', float('nan'), 'holds NaN'),
        ('scale.value', 1e300, 'scale.value must be a finite number'),
        ('scale.high', 1e10, 'scale.high must lie within 1e-09 .. 1e+09'),
        ('scale.low', 1e-12, 'scale.low must lie within'),
        ('scale.images', 10**40, 'scale.images must be a finite number'),
        ('road_scale.high', 1e10, 'road_scale.high must lie within'),
        ('depth_range', [1e-9, 80.0], 'depth_range must lie within'),
        ('depth_range', [0.5, 1e9], 'depth_range must lie within'),
        ('depth_range', [0.5] * 10_000, 'depth_range must be of type tuple'),
        ('normalisation.std', [1e-9, 1, 1], 'normalisation.std must lie within'),
        ('normalisation.mean', [1e9, 0, 0], 'normalisation.mean must lie within'),
        ('input_name', EVIL, 'input_name must be printable and short'),
        ('output_name', 'x' * 500, 'output_name must be printable and short'),
        ('output_kind', EVIL * 1000, 'output_kind must be one of'),
        ('scale.doubts', [{'kind': 'x'}], 'lacks the entry scale.doubts.value'),
        ('scale.doubts', [{}] * 10_000, 'scale.doubts holds 10000'),
        ('scale.doubts', [{'kind': EVIL, 'value': 1, 'low': 1, 'high': 1}], 'unknown doubt'),
        ('scale.doubts', [{'kind': 'bend', 'value': 1e10, 'low': 1, 'high': 1}], 'too large'),
        ('scale.doubts', [{'kind': 'bend', 'value': 1, 'low': 1, 'high': 1}] * 2, 'doubt twice'),
        ('provenance', json.loads('[' * 40 + ']' * 40), 'provenance must be of type'),
        ('provenance', {'a': json.loads('[' * 40 + ']' * 40)}, 'nested deeper than 16 levels'),
    ],
)
def test_extreme_values_are_refused_in_one_line(
    entry: str, value: Any, message: str | None
) -> None:
    document = json.loads(card_to_json(make_card()))
    place = document
    *path, last = entry.split('.')
    for name in path:
        place = place[name]
    place[last] = value
    if message is None:  # within bounds by itself, and beside the others not
        place['width'] = 16384
        message = 'has more than 16777216 pixels'
    with pytest.raises(ModelCardError, match=re.escape(message)) as caught:
        card_from_json(json.dumps(document))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 401


HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -0.0, -1, 1e-300, 5e-324, 1e300, 1e12, -1e12, 10**30, 10**4000),
    *(1e-9, 1e9, 0.5, 2, 255, 16384, EVIL, '', 'x' * 50_000, [], [[]], {}, {EVIL: EVIL}),
    *([1e-6] * 3, [1e12, 1e-12], [0.5, 0.5], ['nan'], [None] * 3),
    *([{'kind': kind, 'value': 1e9, 'low': -1e9, 'high': 1e9}] for kind in DOUBTS),
)


def hostile_cards(count: int) -> list[str]:
    """Cards with up to four entries replaced, taken out, put elsewhere or damaged as text."""
    rng = random.Random(6)
    doubts = tuple(Doubt(kind, 0.5, 0.1, 0.9) for kind in DOUBTS)
    scale = make_card().scale
    assert scale is not None
    texts = []
    for _ in range(count):
        document = json.loads(card_to_json(make_card(scale=replace(scale, doubts=doubts))))
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            place: Any = document
            while True:
                key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
                if not (isinstance(place[key], dict | list) and place[key]) or rng.random() < 0.3:
                    break
                place = place[key]
            action = rng.random()
            if action < 0.8:
                place[key] = copy.deepcopy(rng.choice(HOSTILE))
            elif action < 0.9:
                del place[key]
            elif isinstance(place, dict):
                place[EVIL] = copy.deepcopy(place[key])
            if not document:
                break
        text = json.dumps(document)
        if rng.random() < 0.1:
            at = rng.randrange(len(text))
            text = (
                text[:at] + rng.choice(['NaN', '-Infinity', '\x00', '}', '9' * 5000]) + text[at:]
            )
        texts.append(text)
    return texts


def test_a_hostile_card_is_refused_in_one_line_or_does_no_harm(tmp_path: Path) -> None:
    engine = OnnxRuntimeEngine(write_model(tmp_path / 'tiny.onnx'), make_card(), threads=1)
    camera = Camera(48, 32, 40.0, 40.0, 23.5, 15.5)
    image = Image(np.full((32, 48, 3), 90, np.uint8), 'rgb')
    accepted = estimated = 0
    for text in hostile_cards(1000):
        try:
            card = card_from_json(text)
        except ModelCardError as err:
            assert str(err).isprintable()  # noqa: PT017
            assert len(str(err)) <= 401  # noqa: PT017
            continue
        accepted += 1
        assert is_harmless(describe_card(card))
        assert card_from_json(card_to_json(card)) == card
        assert all(str(doubt).isprintable() for doubt in card.doubts)
        size = (card.canonical_camera.width, card.canonical_camera.height)
        if card.scale is None or size != (CANONICAL.width, CANONICAL.height) or accepted % 3:
            continue
        estimated += 1
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            try:
                estimator = DepthEstimator(engine, card)
                depth = estimator.estimate(image, camera).depth('input')
            except EstimatorError:
                continue
        assert not (depth == 0).any()
    assert 60 < accepted < 940
    assert estimated > 20


# Weights in other files.


def with_external_data(path: Path, where: str, location: str, *, declared: bool = True) -> Path:
    """A model with one tensor, hidden where ``where`` says, whose data lie in another file."""
    from onnx import TensorProto, helper

    tensor = TensorProto(name='w', data_type=TensorProto.FLOAT, dims=[1])
    if declared:
        tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value=location)
    model = onnx.load(write_model(path))
    sparse = onnx.SparseTensorProto(values=tensor, dims=[4])
    constant = helper.make_node('Constant', [], ['c'], value=tensor)
    graph = helper.make_graph([constant], 'inner', [], [])
    if where == 'initialiser':
        model.graph.initializer.append(tensor)
    elif where == 'sparse':
        model.graph.sparse_initializer.append(sparse)
    elif where == 'attribute':
        model.graph.node.append(constant)
    elif where == 'subgraph':
        model.graph.node.append(helper.make_node('If', ['x'], ['y'], then_branch=graph))
    elif where == 'function':
        model.functions.add(name='f', domain='d').node.append(constant)
    elif where == 'training':
        model.training_info.add(initialization=graph)
    path.write_bytes(model.SerializeToString())
    write_metadata(path, {METADATA_KEY: card_to_json(make_card())})
    return path


PLACES = ('initialiser', 'sparse', 'attribute', 'subgraph', 'function', 'training')


@pytest.mark.parametrize('where', PLACES)
def test_a_model_whose_weights_lie_elsewhere_has_no_card(where: str, tmp_path: Path) -> None:
    path = with_external_data(tmp_path / 'n.onnx', where, '../../../etc/passwd')
    with pytest.raises(ModelCardError, match=r'keeps its weights in other files.*onnx\.save'):
        read_card(path)
    plain = with_external_data(tmp_path / 'p.onnx', where, 'x', declared=False)
    with pytest.raises(ModelCardError, match='keeps its weights in other files'):
        read_card(plain)


def test_every_command_refuses_weights_that_lie_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = with_external_data(tmp_path / 'n.onnx', 'initialiser', '/etc/hostname')
    for command, arguments in (
        (model_card, [str(path)]),
        (fit_scale, [str(path), 'world:town:0', '--write']),
        (build_engine, [str(path)]),
    ):
        with pytest.raises(SystemExit):
            command.main(arguments)
        assert 'keeps its weights in other files' in capsys.readouterr().err


def test_what_the_line_says_makes_one_file(tmp_path: Path) -> None:
    """The command that the refusal names is run as it stands."""
    path = write_model(tmp_path / 'n.onnx')
    write_card(path, make_card())
    onnx.save(onnx.load(path), path, save_as_external_data=True, size_threshold=0, location='d')
    with pytest.raises(ModelCardError) as caught:
        read_card(path)
    code = re.search(r'python -c "(.*)"', str(caught.value))
    assert code is not None
    subprocess.run([sys.executable, '-c', code[1]], cwd=tmp_path, check=True)
    # Whether these are the weights that its card was written for, nobody knows.
    with pytest.raises(ModelCardError, match='the network was changed'):
        read_card(tmp_path / 'whole.onnx')
    write_card(tmp_path / 'whole.onnx', make_card())
    assert read_card(tmp_path / 'whole.onnx') == make_card()


@pytest.mark.parametrize(
    'field',
    [
        # Another reader takes the lower 32 bits of a tag: field 14 of a tensor, external.
        b'\xf0\x80\x80\x80\x10\x01',
        b'\x70\x81\x80\x80\x80\x10',  # likewise of the value
    ],
)
def test_a_location_cannot_be_hidden_from_this_reader(field: bytes, tmp_path: Path) -> None:
    def message(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    path = tmp_path / 'n.onnx'
    path.write_bytes(message(7, message(5, field)))
    with pytest.raises(OnnxFileError, match='other files|damaged'):
        read_metadata(path)


def test_a_graph_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mono_metric_depth.onnx_metadata._MAX_GRAPH_FIELDS', 1000)
    path = tmp_path / 'n.onnx'
    path.write_bytes(b'\x3a\xd0\x0f' + b'\x0a\x00' * 1000)
    with pytest.raises(OnnxFileError, match='not an ONNX model'):
        read_metadata(path)


def test_a_camera_at_the_bounds_still_works() -> None:
    card = make_card(canonical_camera=replace(CANONICAL, fx=0.01 * CANONICAL.width))
    assert card_from_json(card_to_json(card)) == card

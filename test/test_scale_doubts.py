# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What speaks against a scale: found, kept in the card, shown by commands and node."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import TINY_CAMERA
from samples import SCALE, make_card
from test_import_model import FOREIGN, canonical, fails, imported, road, write_network

from mono_metric_depth.card_description import describe_card
from mono_metric_depth.commands import evaluate, fit_scale, import_model, model_card
from mono_metric_depth.datasets.sequence_folder import write_sequence
from mono_metric_depth.doubt import DOUBTS, Doubt, DoubtError, disagreement
from mono_metric_depth.frame import Frame
from mono_metric_depth.linearity import measure_linearity
from mono_metric_depth.model_card import card_from_json, card_to_json, read_card, write_card
from mono_metric_depth.scale import METHODS, GlobalScale, Pairs, ScaleError
from mono_metric_depth.scale import fit_scale as fit
from mono_metric_depth.scale_judgement import judged_scale

if TYPE_CHECKING:
    from robot import Robot

    from mono_metric_depth.nodes.depth_node import DepthNode

#: A network of relative inverse depth: Depth Anything with the shift that it leaves open.
RELATIVE = replace(FOREIGN['depth anything'], shift=0.05)


def kinds(images: list[Pairs], method: str = METHODS[0], *, inverse: bool = False) -> set[str]:
    names = (method, *(name for name in METHODS if name != method))
    scale, *others = (fit(images, method=name, source='x') for name in names)
    linearity = measure_linearity(images, scale.value)
    doubts = judged_scale(scale, others, linearity, images, inverse=inverse).doubts
    assert doubts is not None
    return {doubt.kind for doubt in doubts}


def pairs(change: Callable[[Any, Any], Any], images: int = 30, noise: float = 0.05) -> list[Pairs]:
    """True depths from 3 to 78 m, and what ``change`` makes of them."""
    rng = np.random.default_rng(1)
    result = []
    for _ in range(images):
        true = np.exp(rng.uniform(np.log(3), np.log(78), 256))
        result.append((change(true, rng) * np.exp(rng.normal(0, noise, 256)) / 3, true))
    return result


def test_a_scale_that_every_band_of_distance_contradicts_is_biased() -> None:
    images = pairs(lambda true, rng: true)
    scale = fit(images, source='x')
    assert kinds(images) == set()
    # The same images, with the scale of another drive: 17 % short everywhere.
    short = replace(scale, value=0.83 * scale.value, low=0.82 * scale.value)
    short = replace(short, high=0.84 * scale.value)
    linearity = measure_linearity(images, short.value)
    others = [fit(images, method=name, source='x') for name in METHODS[1:]]
    doubts = judged_scale(short, others, linearity, images, inverse=False).doubts
    assert doubts is not None
    found = {doubt.kind: doubt for doubt in doubts}
    assert set(found) == {'bias', 'theil_sen', 'least_squares'}
    assert found['bias'].value == pytest.approx(-0.17, abs=0.015)
    assert 'predicted depth is -1' in str(found['bias'])
    assert 'theil_sen gives a scale +20' in str(found['theil_sen'])


def test_methods_that_disagree_beyond_their_intervals_are_a_doubt() -> None:
    # Predicted depth that begins 2 m too far: the slope and the ratio are different numbers.
    assert 'theil_sen' in kinds(pairs(lambda true, rng: true + 2))
    # The same difference between them, but images that differ as much: not certain.
    few = pairs(lambda true, rng: true * np.exp(rng.normal(0, 0.4)), images=6)
    assert not kinds(few) & {'median_ratio', 'theil_sen', 'least_squares'}


def test_least_squares_that_noise_alone_lowers_is_none() -> None:
    noisy = pairs(lambda true, rng: true, images=60, noise=0.3)
    scale, line = (fit(noisy, method=name, source='x') for name in (METHODS[0], 'least_squares'))
    assert disagreement('least_squares', line, scale, 0.05)
    assert 'least_squares' not in kinds(noisy)
    # A real difference beside the noise stays: things beyond 40 m are seen twice as far.
    bent = pairs(lambda true, rng: np.where(true > 40, 2 * true, true), images=60, noise=0.3)
    assert 'least_squares' in kinds(bent)


@pytest.mark.parametrize(
    ('other', 'found'),
    [
        ((1.2, 1.15, 1.25), True),
        ((0.8, 0.75, 0.85), True),
        ((1.2, 1.05, 1.25), False),  # the intervals meet
        ((1.09, 1.08, 1.095), False),  # too little
    ],
)
def test_intervals_that_meet_are_no_disagreement(
    other: tuple[float, float, float], found: bool
) -> None:
    scale = GlobalScale(1.0, 0.95, 1.06, 0.95, 'theil_sen', 9, 0.1, 'x')
    value, low, high = other
    road = GlobalScale(value, low, high, 0.95, 'median_ratio', 9, 0.1, 'y')
    doubts = disagreement('road', road, scale, 0.10)
    assert bool(doubts) == found
    if found:
        assert doubts[0].value == pytest.approx(value - 1)
        assert not doubts[0].fatal


@pytest.mark.parametrize(
    ('other', 'fatal'),
    [
        ((1.44, 1.40, 1.48), True),
        ((0.7, 0.66, 0.74), True),
        ((1.44, 1.30, 1.60), False),  # the nearest ends are 23 % apart
        ((0.7, 0.6, 0.79), False),
    ],
)
def test_a_road_that_contradicts_by_a_quarter_for_certain_is_grave(
    other: tuple[float, float, float], fatal: bool
) -> None:
    scale = GlobalScale(1.0, 0.98, 1.06, 0.95, 'theil_sen', 9, 0.1, 'x')
    value, low, high = other
    road = GlobalScale(value, low, high, 0.95, 'median_ratio', 9, 0.1, 'y')
    assert [doubt.fatal for doubt in disagreement('road', road, scale, 0.10)] == [fatal]


def test_the_road_speaks_against_the_scale_of_the_card_as_it_is_now() -> None:
    card = make_card()
    assert card.road_scale is not None
    assert card.doubts == ()
    raised = replace(card.road_scale, value=2.4, low=2.3, high=2.5)
    card = replace(card, road_scale=raised)
    (doubt,) = card.doubts
    assert doubt.kind == 'road'
    assert 'doubt             the road plane gives a scale +20.0%' in describe_card(card)
    # Another scale, another judgement.
    near = replace(SCALE, value=2.35, low=2.3, high=2.4)
    assert replace(card, scale=near).doubts == ()
    assert replace(card, scale=None).doubts == ()


def test_every_doubt_is_a_sentence_and_goes_through_the_card() -> None:
    doubts = tuple(Doubt(kind, 0.5, 0.25, 0.75, 5.0, 10.0) for kind in DOUBTS)
    card = make_card(scale=replace(SCALE, doubts=doubts))
    read = card_from_json(card_to_json(card))
    assert read == card
    # Of the road it is judged anew; the gravest come first, what is only scatter last.
    kinds = [doubt.kind for doubt in read.doubts]
    assert sorted(kinds) == sorted(set(DOUBTS) - {'road'})
    assert (kinds[:2], kinds[-2:]) == (['distance', 'images'], ['noise', 'outliers'])
    text = describe_card(card)
    assert all(str(doubt) in text for doubt in doubts if doubt.kind != 'road')
    assert len({str(doubt) for doubt in doubts}) == len(doubts)
    assert [doubt.kind for doubt in doubts if doubt.fatal] == ['distance', 'images']
    assert 'none: nothing was found' in describe_card(make_card(scale=replace(SCALE, doubts=())))
    assert 'doubt' not in describe_card(make_card())  # of a card before there were any
    for kind, value in (('magic', 1.0), ('bend', float('nan'))):
        with pytest.raises(DoubtError):
            Doubt(kind, value, 1.0, 1.0)
    with pytest.raises(ScaleError, match='doubt twice'):
        replace(SCALE, doubts=(doubts[0], doubts[0]))


# Networks of others.


def doubtful_model(tmp_path: Path) -> Path:
    model = imported(tmp_path, RELATIVE)
    fit_scale.main([str(model), str(tmp_path / 'drive'), '--write', '--json', f'{model}.json'])
    return model


def test_a_relative_network_carries_its_shift_in_its_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = doubtful_model(tmp_path)
    out = capsys.readouterr().out
    card = read_card(model)
    found = {doubt.kind: doubt for doubt in card.doubts}
    assert {'offset', 'bend', 'shift'} <= set(found)
    assert not any(doubt.fatal for doubt in card.doubts)
    assert card.scale is not None
    assert found['shift'].value == pytest.approx(0.05 * 20 / card.scale.value, rel=0.02)
    assert found['shift'].low <= found['shift'].value <= found['shift'].high
    report = json.loads(Path(f'{model}.json').read_text())
    assert report['source']['findings'] == {kind: str(doubt) for kind, doubt in found.items()}
    for doubt in card.doubts:
        assert f'found    {doubt}' in out
    model_card.main([str(model)])
    assert f'doubt             {found["shift"]}' in capsys.readouterr().out
    # Whoever evaluates it is told on which scale the figures rest.
    evaluate.main(
        [str(model), '--data', str(tmp_path / 'drive'), '--output', str(tmp_path / 'evaluation')]
    )
    told = f'the scale of model, as it was fitted: {found["shift"]}'
    assert told in capsys.readouterr().out
    pages = [*(tmp_path / 'evaluation').glob('*.html'), *(tmp_path / 'evaluation').glob('*.json')]
    assert any('as it was fitted: inverse depth is off' in page.read_text() for page in pages)


def test_the_node_warns_of_a_doubtful_scale(
    tmp_path: Path, start: Callable[..., DepthNode], robot: Robot
) -> None:
    from diagnostic_msgs.msg import DiagnosticStatus
    from robot import image_message, info_message

    model = doubtful_model(tmp_path)
    doubts = read_card(model).doubts
    shift = next(str(doubt) for doubt in doubts if doubt.kind == 'shift')
    start(model=str(model))
    frame = road(canonical(RELATIVE))
    image = frame.image ^ (np.indices(frame.image.shape).sum(axis=0) % 2 * 64).astype(np.uint8)
    robot.ask(image_message(image), info_message(frame.camera))
    warned = (
        f'the scale of model is doubtful: {doubts[0]} (and {len(doubts) - 1} more: scale doubts)'
    )
    logged = f'the scale of model is doubtful: {"; ".join(map(str, doubts))}'

    def again() -> None:
        robot.send(image_message(image), info_message(frame.camera))

    robot.until(lambda: robot.statuses[-1].message == warned, 'a warning', again)
    status = robot.statuses[-1]
    assert status.level == DiagnosticStatus.WARN
    assert shift in {item.key: item.value for item in status.values}['scale doubts']
    assert robot.logged.count(logged) == 1


@pytest.mark.parametrize('doubts', [(), (Doubt('noise', 0.3, 0.3, 0.3),)])
def test_a_sound_scale_is_no_warning(
    doubts: tuple[Doubt, ...],
    tiny_model: Path,
    tmp_path: Path,
    start: Callable[..., DepthNode],
    robot: Robot,
) -> None:
    from robot import image_message, info_message, noise

    card = read_card(tiny_model)
    assert card.scale is not None
    model = tmp_path / 'sound.onnx'
    model.write_bytes(tiny_model.read_bytes())
    write_card(model, replace(card, scale=replace(card.scale, doubts=doubts)))
    start(model=str(model))
    image = image_message(noise(32, 64))
    robot.ask(image, info_message(TINY_CAMERA))
    robot.until(
        lambda: robot.statuses[-1].message == 'running',
        'running',
        lambda: robot.send(image, info_message(TINY_CAMERA)),
    )
    values = {item.key: item.value for item in robot.statuses[-1].values}
    assert values['scale doubts'] == (str(doubts[0]) if doubts else 'none')


def test_a_scale_that_means_nothing_is_written_only_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = imported(tmp_path, replace(RELATIVE, shift=0.5))
    drive = str(tmp_path / 'drive')
    content = model.read_bytes()
    message = fails(capsys, fit_scale, model, drive, '--write')
    assert message.startswith('error: not written: no scale at all: what fits at one distance')
    assert message.endswith('--force writes it all the same, and the node warns')
    assert model.read_bytes() == content
    fit_scale.main([str(model), drive, '--write', '--force'])
    assert {'distance', 'shift'} <= {doubt.kind for doubt in read_card(model).doubts}
    assert '--force is for --write' in fails(capsys, fit_scale, model, drive, '--force')


def test_a_network_that_stretches_each_image_has_no_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As wrappers of relative networks do: from 0, the furthest, to 1, the nearest."""
    network = replace(FOREIGN['midas'], size=(64, 48), stretched=True)
    write_network(tmp_path / 'network.onnx', network)
    camera = canonical(network)
    frames = []
    for index, nearest in enumerate((255, 60, 200, 45, 120, 30)):
        rows = np.linspace(2, nearest, camera.height)
        red = np.broadcast_to(rows[:, None], (camera.height, camera.width))
        image = np.stack([red, np.full_like(red, 90), 255 - red], axis=-1).astype(np.uint8)
        frames.append(Frame(index * 10**8, image, camera, depth=(510 / red).astype(np.float32)))
    write_sequence(tmp_path / 'drive', frames)
    model = tmp_path / 'model.onnx'
    arguments = [tmp_path / 'network.onnx', tmp_path / 'drive', '--output', model]
    import_model.main([*map(str, arguments), *network.options])
    message = fails(capsys, fit_scale, model, tmp_path / 'drive', '--write')
    assert 'no scale at all' in message
    fit_scale.main([str(model), str(tmp_path / 'drive'), '--write', '--force'])
    assert 'images' in {doubt.kind for doubt in read_card(model).doubts}

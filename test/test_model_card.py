# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import CANONICAL, SCALE, make_card, write_model

from mono_metric_depth.camera import Camera
from mono_metric_depth.card_description import describe_card
from mono_metric_depth.doubt import DOUBTS, Doubt
from mono_metric_depth.model_card import (
    CARD_VERSION,
    METADATA_KEY,
    NETWORK_KEY,
    OUTPUT_KINDS,
    ModelCard,
    ModelCardError,
    Normalisation,
    card_from_json,
    card_to_json,
    owns_card,
    read_card,
    write_card,
)
from mono_metric_depth.mount_statistics import MountStatistics
from mono_metric_depth.onnx_metadata import read_metadata, write_metadata
from mono_metric_depth.road_plane import REASONS, RoadScale
from mono_metric_depth.scale import GlobalScale

positive = st.floats(1e-6, 1e6)
finite = st.floats(-1e6, 1e6)
# Others are escaped when a card is read: test_hostile_cards.py.
printed = st.characters(exclude_categories=['C', 'Z'])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(printed, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(printed, max_size=9), inner)
    ),
    max_leaves=8,
)
triple = st.tuples(finite, finite, finite)


@st.composite
def mount_statistics(draw: st.DrawFn) -> MountStatistics:
    height = tuple(sorted(draw(st.tuples(positive, positive))))
    angles = [(draw(finite), draw(st.floats(0, 90))) for _ in range(2)]
    return MountStatistics(draw(st.none() | st.just(height)), *angles)


@st.composite
def road_scales(draw: st.DrawFn) -> RoadScale:
    low, value, high = sorted(draw(st.tuples(positive, positive, positive)))
    return RoadScale(
        value,
        low,
        high,
        draw(st.floats(0.01, 0.99)),
        draw(positive),
        draw(st.integers(1, 10**6)),
        draw(st.floats(0.0, 10.0)),
        draw(st.text(printed, max_size=30)),
        draw(st.dictionaries(st.sampled_from(REASONS), st.integers(0, 10**6))),
    )


@st.composite
def pinholes(draw: st.DrawFn) -> Camera:
    width, height = draw(st.tuples(st.integers(1, 4096), st.integers(1, 4096)))
    fx, fy = draw(st.tuples(*[st.floats(0.005, 99.0)] * 2))
    cx, cy = draw(st.tuples(*[st.floats(-9.9, 9.9)] * 2))
    return Camera(width, height, fx * width, fy * height, cx * width, cy * height)


def doubts() -> st.SearchStrategy[Doubt]:
    return st.builds(Doubt, st.sampled_from(sorted(DOUBTS)), *[finite] * 5)


@st.composite
def cards(draw: st.DrawFn) -> ModelCard:
    low, value, high = sorted(draw(st.tuples(positive, positive, positive)))
    nearest = draw(st.floats(1e-3, 10.0))
    return ModelCard(
        name=draw(st.text(printed, max_size=20)),
        scale=GlobalScale(
            value,
            low,
            high,
            draw(st.floats(0.01, 0.99)),
            draw(st.sampled_from(['theil_sen', 'median_ratio'])),
            draw(st.integers(1, 10**6)),
            draw(st.floats(0.0, 10.0)),
            draw(st.text(printed, max_size=30)),
            draw(st.none() | st.integers(0, 10**6)),
            draw(
                st.none() | st.lists(doubts(), max_size=4, unique_by=lambda d: d.kind).map(tuple)
            ),
        ),
        canonical_camera=draw(pinholes()),
        depth_range=(nearest, nearest + draw(st.floats(0.1, 1000.0))),
        levelled=draw(st.booleans()),
        output_kind=draw(st.sampled_from(OUTPUT_KINDS)),
        normalisation=Normalisation(
            draw(st.sampled_from(['rgb', 'bgr'])),
            draw(triple),
            draw(st.tuples(positive, positive, positive)),
        ),
        input_name=draw(st.text(printed, min_size=1, max_size=9)),
        output_name=draw(st.text(printed, min_size=1, max_size=9)),
        camera_height=draw(st.none() | positive),
        mounts=draw(st.none() | mount_statistics()),
        road_scale=draw(st.none() | road_scales()),
        provenance=draw(st.dictionaries(st.text(printed, max_size=9), json_values, max_size=4)),
    )


@given(card=cards())
def test_a_card_survives_json(card: ModelCard) -> None:
    text = card_to_json(card)
    assert card_from_json(text) == card
    assert json.loads(text)['version'] == CARD_VERSION
    assert describe_card(card)


@given(card=cards())
def test_a_card_survives_an_onnx_file(
    tmp_path_factory: pytest.TempPathFactory, card: ModelCard
) -> None:
    path = write_model(tmp_path_factory.mktemp('model') / 'tiny.onnx')
    write_card(path, make_card())
    write_card(path, card)
    assert read_card(path) == card


def changed(change: Callable[[dict[str, Any]], Any]) -> str:
    """A valid card's JSON with a change."""
    document = json.loads(card_to_json(make_card()))
    change(document)
    return json.dumps(document)


def entries() -> list[tuple[str, ...]]:
    document = json.loads(card_to_json(make_card()))
    paths: list[tuple[str, ...]] = []
    for name, value in document.items():
        paths.append((name,))
        if isinstance(value, dict) and name != 'provenance':
            paths += [(name, inner) for inner in value]
    return paths


OPTIONAL = {
    'levelled',
    'output_kind',
    'normalisation',
    'input_name',
    'output_name',
    'camera_height',
    'mounts',
    'road_scale',
    'provenance',
}
OPTIONAL_WITHIN = {('scale', 'random_pairs'), ('scale', 'doubts'), ('road_scale', 'refused')}


@pytest.mark.parametrize('entry', entries(), ids='.'.join)
def test_a_missing_entry_is_named_or_has_a_default(entry: tuple[str, ...]) -> None:
    def remove(document: dict[str, Any]) -> None:
        for name in entry[:-1]:
            document = document[name]
        del document[entry[-1]]

    if (len(entry) == 1 and entry[0] in OPTIONAL) or (
        entry[0] == 'normalisation' or entry in OPTIONAL_WITHIN
    ):
        card_from_json(changed(remove))
        return
    message = 'no valid version' if entry == ('version',) else f'lacks the entry {".".join(entry)}'
    with pytest.raises(ModelCardError, match=message):
        card_from_json(changed(remove))


WRONG = (None, True, 'text', [], ['a', 'b', 'c'], {}, {'x': 1}, 1.5, [1.0, 2.0, 3.0, 4.0])
FITTING: dict[str, tuple[Any, ...]] = {
    'str': ('text',),
    'bool': (True,),
    'number': (1.5,),
    'object': ({}, {'x': 1}),
    'none': (None,),
}
KINDS = {
    ('name',): 'str',
    ('scale', 'source'): 'str',
    ('scale', 'method'): 'str',
    ('input_name',): 'str',
    ('output_name',): 'str',
    ('levelled',): 'bool',
    ('provenance',): 'object',
    ('road_scale', 'source'): 'str',
    ('road_scale', 'refused'): 'object',
}
NUMBERS = {'scale', 'canonical_camera', 'camera_height', 'road_scale'}
NONE = {('scale',), ('camera_height',), ('mounts',), ('mounts', 'height'), ('road_scale',)}


@pytest.mark.parametrize('entry', entries(), ids='.'.join)
@pytest.mark.parametrize('value', WRONG, ids=repr)
def test_an_entry_of_the_wrong_type_is_named(entry: tuple[str, ...], value: Any) -> None:
    fitting = list(FITTING.get(KINDS.get(entry, ''), ()))
    if entry[0] in NUMBERS and entry not in KINDS and len(entry) == 2:
        fitting = [1.5]
    if entry == ('camera_height',):
        fitting += [1.5]
    if entry == ('scale', 'doubts'):
        fitting = [[]]
    if entry in NONE or entry in {('scale', 'random_pairs'), ('scale', 'doubts')}:
        fitting += [None]
    if entry == ('road_scale', 'refused'):
        fitting = [{}]
    if entry == ('normalisation',):
        fitting += [{}]
    if any(type(value) is type(item) and value == item for item in fitting):
        return

    def put(document: dict[str, Any]) -> None:
        for name in entry[:-1]:
            document = document[name]
        document[entry[-1]] = value

    with pytest.raises(ModelCardError) as caught:
        card_from_json(changed(put))
    assert entry[-1] in str(caught.value)


@pytest.mark.parametrize(
    'where', ['', 'scale', 'canonical_camera', 'normalisation', 'mounts', 'road_scale']
)
def test_an_unknown_entry_is_named(where: str) -> None:
    def add(document: dict[str, Any]) -> None:
        (document[where] if where else document)['colour'] = 1

    name = f'{where}.colour' if where else 'colour'
    with pytest.raises(ModelCardError, match=f'unknown entry {name}'):
        card_from_json(changed(add))


def test_a_newer_version_is_refused_and_says_how_to_mend_it() -> None:
    text = changed(lambda document: document.update(version=CARD_VERSION + 1, anything='new'))
    with pytest.raises(ModelCardError, match=f'version {CARD_VERSION + 1}.*update'):
        card_from_json(text)


@pytest.mark.parametrize('version', [0, -1, '1', 1.0, None, True, [1]])
def test_a_version_that_is_none_is_refused(version: Any) -> None:
    with pytest.raises(ModelCardError, match='no valid version'):
        card_from_json(changed(lambda document: document.update(version=version)))


@pytest.mark.parametrize('literal', ['NaN', 'Infinity', '-Infinity', '1e999', '9' * 400])
@pytest.mark.parametrize('entry', ['"value": 2.0', '"fx": 30.0', '"camera_height": 1.5'])
def test_numbers_that_are_not_finite_are_refused(entry: str, literal: str) -> None:
    text = card_to_json(make_card())
    assert text.count(entry) == 1
    name = entry.split(':')[0]
    with pytest.raises(ModelCardError, match='not JSON|finite'):
        card_from_json(text.replace(entry, f'{name}: {literal}'))


@pytest.mark.parametrize('literal', ['NaN', 'Infinity', '9' * 5000])
def test_no_number_is_silently_wrong_in_the_provenance_either(literal: str) -> None:
    text = card_to_json(make_card(provenance={'error': 12345}))
    text = text.replace('12345', literal)
    try:
        card = card_from_json(text)
    except ModelCardError as err:
        assert 'not JSON' in str(err)  # noqa: PT017
    else:
        assert card.provenance['error'] == int(literal)


@pytest.mark.parametrize(
    'text', ['', '{', '[]', '3', 'null', '"card"', '{"version": 1', '[' * 99999]
)
def test_text_that_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(ModelCardError):
        card_from_json(text)


@given(text=st.text(max_size=60) | json_values.map(json.dumps))
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ModelCardError):
        card_from_json(text)


@pytest.mark.parametrize(
    ('entries', 'message'),
    [
        ({'depth_range': (0.0, 80.0)}, 'depth_range'),
        ({'depth_range': (80.0, 0.5)}, 'depth_range'),
        ({'depth_range': (0.5, math.nan)}, 'depth_range'),
        ({'depth_range': (0.5, 3.0, 80.0)}, 'depth_range'),
        ({'output_kind': 'log_depth'}, 'output_kind must be one of depth, inverse_depth'),
        ({'camera_height': 0.0}, 'camera_height'),
        ({'camera_height': math.nan}, 'camera_height'),
        ({'canonical_camera': replace(CANONICAL, distortion=(0.1, 0, 0, 0))}, 'without distort'),
    ],
)
def test_values_that_make_no_sense_are_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelCardError, match=message):
        make_card(**entries)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'channels': 'rbg'}, 'channels'),
        ({'mean': (0.0, 0.0)}, 'mean'),
        ({'mean': (0.0, 0.0, math.nan)}, 'mean'),
        ({'std': (1.0, 0.0, 1.0)}, 'std must be positive'),
        ({'std': (1.0, math.inf, 1.0)}, 'std'),
    ],
)
def test_a_normalisation_that_makes_no_sense_is_refused(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelCardError, match=message):
        Normalisation(**arguments)


@pytest.mark.parametrize(
    ('entry', 'value'),
    [
        (('scale', 'value'), -1.0),
        (('scale', 'low'), 99.0),
        (('scale', 'random_pairs'), -1),
        (('canonical_camera', 'fx'), 0.0),
        (('mounts', 'pitch'), [0.0, -1.0]),
        (('mounts', 'roll'), [0.0]),
        (('mounts', 'height'), [2.0, 1.0]),
        (('mounts', 'height'), [0.0, 1.0]),
        (('road_scale', 'value'), 0.0),
        (('road_scale', 'high'), 0.1),
        (('road_scale', 'camera_height'), -1.5),
        (('road_scale', 'frames'), 0),
        (('road_scale', 'refused'), {'tilt': -1}),
        (('road_scale', 'refused'), {'tilt': 10**200}),
        (('road_scale', 'refused'), {'tilt': True}),
        (('road_scale', 'refused'), {'boredom': 1}),
    ],
)
def test_values_in_a_file_that_make_no_sense_are_named(entry: tuple[str, str], value: Any) -> None:
    text = changed(lambda document: document[entry[0]].update({entry[1]: value}))
    with pytest.raises(ModelCardError, match=f'model card entry {entry[0]}'):
        card_from_json(text)


@pytest.mark.parametrize('value', [math.nan, math.inf, {1, 2}, object()])
def test_provenance_that_is_not_json_is_refused_before_the_file_is_touched(
    tmp_path: Path, value: Any
) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    content = path.read_bytes()
    with pytest.raises(ModelCardError, match='provenance must hold JSON values'):
        write_card(path, make_card(provenance={'x': value}))
    assert path.read_bytes() == content


# Files


def test_a_card_replaces_an_earlier_one_and_leaves_the_model_whole(tmp_path: Path) -> None:
    onnx = pytest.importorskip('onnx')
    path = write_model(tmp_path / 'tiny.onnx')
    graph = onnx.load(path).graph.SerializeToString()
    write_metadata(path, {'author': 'jemand'})
    for name in ('first', 'second'):
        write_card(path, make_card(name=name))
    assert read_card(path).name == 'second'
    assert set(read_metadata(path)) == {'author', NETWORK_KEY, METADATA_KEY}
    model = onnx.load(path)
    assert len(model.metadata_props) == 3
    assert model.graph.SerializeToString() == graph
    onnx.checker.check_model(model)
    assert list(tmp_path.iterdir()) == [path]


def test_a_network_that_was_changed_has_no_card(tmp_path: Path) -> None:
    onnx = pytest.importorskip('onnx')
    path = write_model(tmp_path / 'tiny.onnx')
    write_card(path, make_card())
    write_metadata(path, {'author': 'jemand'})  # that does not change the network
    assert read_card(path) == make_card()
    model = onnx.load(path)
    # As a tool leaves it that edits a network and keeps its metadata.
    model.graph.name = 'quantised'
    onnx.save(model, path)
    assert not owns_card(path)
    with pytest.raises(ModelCardError, match=r'tiny\.onnx: the network was changed.*import_model'):
        read_card(path)
    write_card(path, make_card())
    assert read_card(path) == make_card()


def test_a_card_of_an_earlier_version_names_no_network(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    write_metadata(path, {METADATA_KEY: card_to_json(make_card())})
    assert read_card(path) == make_card()


def test_a_model_without_a_card_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    with pytest.raises(ModelCardError, match=r'tiny.onnx: the model has no card.*import_model'):
        read_card(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for act in (read_card, lambda path: write_card(path, make_card())):
        with pytest.raises(ModelCardError, match=r'missing\.onnx: cannot open'):
            act(tmp_path / 'missing.onnx')


def test_a_truncated_file_never_yields_a_card(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    write_card(path, make_card())
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(ModelCardError, match=r'tiny\.onnx: '):
            read_card(path)
    path.write_bytes(content)
    assert read_card(path) == make_card()


def test_a_bad_card_inside_a_file_names_the_file(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    write_metadata(path, {METADATA_KEY: changed(lambda document: document.pop('scale'))})
    with pytest.raises(ModelCardError, match=r'tiny\.onnx: .*lacks the entry scale'):
        read_card(path)


def test_the_description_holds_what_a_person_asks_for() -> None:
    text = describe_card(make_card(camera_height=None))
    for part in (
        'tiny',
        '2, 95% interval 1.9 .. 2.1 (theil_sen, 12 images',
        SCALE.source,
        'scale x output, 0.5 .. 80 m',
        '32x24 px, fx 30',
        '56 degrees wide',
        'looks along the road',
        'not recorded',
        'seed',
    ):
        assert part in text
    assert 'scale / output' in describe_card(make_card(output_kind='disparity'))


def test_where_a_model_comes_from_is_read_without_json() -> None:
    provenance = {
        'source': ['world:town:0-9', 'world:suburb:0'],
        'target_test': {'drives': ['a', 'b'], 'abs_rel': 0.125, 'note': None, 'whole': True},
        'replay': [],
    }
    lines = describe_card(make_card(provenance=provenance)).splitlines()
    said = {line[:16].strip(): line[16:].strip() for line in lines}
    assert said['source'] == 'world:town:0-9, world:suburb:0'
    assert said['target_test'] == 'drives a, b; abs_rel 0.125; note none; whole yes'
    assert said['replay'] == 'none'


def test_a_card_without_a_scale_says_how_to_get_one() -> None:
    card = make_card(scale=None)
    assert card_from_json(card_to_json(card)) == card
    assert card.road_disagreement is None
    text = describe_card(card)
    assert 'not fitted: no metres before `fit_scale MODEL DRIVES --write`' in text
    assert 'from the scale' not in text


def version_1() -> str:
    """The card as the first version of this package wrote it."""

    def older(document: dict[str, Any]) -> None:
        document['version'] = 1
        del document['mounts'], document['road_scale']
        del document['scale']['random_pairs'], document['scale']['doubts']

    return changed(older)


def test_a_card_of_version_1_is_still_read() -> None:
    card = card_from_json(version_1())
    assert card == make_card(mounts=None, road_scale=None)
    assert card.road_disagreement is None
    text = describe_card(card)
    assert 'road' not in text.replace('looks along the road', '')
    assert 'mounting' not in text
    assert '(theil_sen, 12 images' in text


def test_both_scales_are_shown_with_their_disagreement() -> None:
    card = make_card()
    assert card.road_disagreement == pytest.approx(-0.03)
    text = describe_card(card)
    for part in (
        'road plane scale',
        '1.94, 95% interval 1.9 .. 2 (80 frames, 5 refused, spread 0.040, camera 1.60 m high)',
        '-3.0% from the scale',
        'suburb, unlabelled',
        '1.30 .. 1.70 m high, pitch 0.2 +- 1.1, roll -0.1 +- 0.4 degrees',
    ):
        assert part in text
    exact = make_card(scale=replace(SCALE, random_pairs=0))
    assert 'theil_sen over all pairs' in describe_card(exact)
    random = make_card(scale=replace(SCALE, random_pairs=4000))
    assert 'theil_sen over 4000 random pairs' in describe_card(random)
    none = make_card(mounts=MountStatistics(None, (0.0, 0.0), (0.0, 0.0)))
    assert 'mounting          pitch 0.0' in describe_card(none)

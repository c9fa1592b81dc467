# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What is not ONNX Runtime on the CPU is compared with it before it runs a model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from foreign_networks import write_normalised
from samples import make_card, write_model

from mono_metric_depth.engines import EngineError, runtime_parity, selection
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.engines.openvino import OpenVinoEngine
from mono_metric_depth.engines.selection import open_engine
from mono_metric_depth.model_card import ModelCard, Normalisation, read_card, write_card
from mono_metric_depth.model_files import DEFAULT_MODEL

if TYPE_CHECKING:
    from robot import Robot

    from mono_metric_depth.nodes.depth_node import DepthNode

Change = Callable[[np.ndarray, int], np.ndarray]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = write_model(tmp_path / 'tiny.onnx', shape=('batch', 3, 24, 32))
    write_card(path, make_card())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / 'cache'


def replaced(
    monkeypatch: pytest.MonkeyPatch,
    change: Change = lambda out, run: out,
    provider: str = 'CPU f32',
    name: str = 'openvino 1.0',
) -> list[Any]:
    """Put ONNX Runtime, with what it puts out changed, in place of all runtimes; those opened."""
    opened = []

    class Other(OnnxRuntimeEngine):
        def __init__(self, path: Path, card: ModelCard, **options: Any) -> None:
            super().__init__(path, card, **options)
            self.name, self.provider, self.runs, self.closed = name, provider, 0, False
            opened.append(self)

        def run(self, images: int) -> None:
            super().run(images)
            self.runs += 1
            self.output[:images] = change(self.output[:images].copy(), self.runs)

        def close(self) -> None:
            self.closed = True
            super().close()

    monkeypatch.setattr(selection, 'OpenVinoEngine', Other)
    monkeypatch.setattr(selection, 'OnnxRuntimeEngine', Other)
    return opened


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precision of each comparison that is made."""
    made: list[str] = []
    measure = runtime_parity.measure_parity

    def counted(*arguments: Any, **named: Any) -> Any:
        made.append(named['precision'])
        return measure(*arguments, **named)

    monkeypatch.setattr(runtime_parity, 'measure_parity', counted)
    return made


def test_openvino_is_compared_once(model: Path, folder: Path, measured: list[str]) -> None:
    pytest.importorskip('openvino')
    said: list[str] = []

    def opened() -> Any:
        return open_engine(
            *(model, make_card()), engine='openvino', threads=1, cache=folder, say=said.append
        )

    engine = opened()
    assert engine.parity.passed
    assert engine.parity.frames == 3
    assert engine.parity.p99_error < 1e-5
    assert said[0] == f'comparing {engine.name} on CPU f32 with ONNX Runtime on the CPU'
    assert said[1].startswith('parity: scale ratio 1.00000')
    assert opened().parity == engine.parity
    assert measured == ['cpu']
    assert len(said) == 2


def test_the_shipped_model_is_computed_in_32_bits_whatever_the_processor_prefers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('openvino')
    card = read_card(DEFAULT_MODEL)
    engine: Any = open_engine(DEFAULT_MODEL, card, engine='openvino', threads=1, cache=folder)
    assert isinstance(engine, OpenVinoEngine)
    assert engine.parity is not None
    assert (engine.provider, engine.parity.passed) == ('CPU f32', True)
    assert engine.parity.worst_error < 1e-3
    # Where there is bfloat16, the runtime's own choice is refused; elsewhere it has none.
    monkeypatch.setattr('mono_metric_depth.engines.openvino._PRECISION', 'bf16')
    if OpenVinoEngine(DEFAULT_MODEL, card, threads=1).provider == 'CPU bf16':
        with pytest.raises(EngineError, match=r'on CPU bf16 does not give the depth of default'):
            open_engine(DEFAULT_MODEL, card, engine='openvino', threads=1, cache=folder)


def _noise(out: np.ndarray, run: int) -> np.ndarray:
    return out * np.random.default_rng(run).uniform(0.99, 1.01, out.shape).astype(np.float32)


def _as_bfloat16(out: np.ndarray, run: int) -> np.ndarray:
    return (out.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


FAULTS: dict[str, tuple[Change, str]] = {
    'scaled': (lambda out, run: out * np.float32(1.03), r'scaled by 1\.03\d\d \(at most 0\.01%\)'),
    'noisy': (_noise, 'median depth error'),
    'NaN': (lambda out, run: out * np.float32(np.nan), 'pixels without depth'),
    'shuffled': (lambda out, run: out[::-1], 'depth error'),
    'rounded to 8 bits': (_as_bfloat16, 'median depth error'),
    'rounded to 11 bits': (lambda out, run: out.astype(np.float16) + 0.0, 'depth error'),
    'differing from run to run': (
        lambda out, run: out * np.float32(1 + 0.001 * (run % 2)),
        'repeated run',
    ),
}


@pytest.mark.parametrize('engine', ['auto', 'openvino', 'onnxruntime'])
@pytest.mark.parametrize('fault', FAULTS)
def test_a_runtime_that_is_wrong_is_refused_with_the_figures(
    fault: str,
    engine: str,
    model: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change, words = FAULTS[fault]
    if engine == 'auto':
        monkeypatch.setattr(selection, 'find_gpu', _no_gpu)
    opened = replaced(monkeypatch, change)
    for _ in range(2):  # a refusal does not pass for a comparison that was made
        with pytest.raises(EngineError, match=words) as caught:
            open_engine(model, make_card(), engine=engine, batch=3, threads=1, cache=folder)
    message = str(caught.value)
    assert message.startswith('openvino 1.0 on CPU f32 does not give the depth of tiny.onnx')
    assert message.endswith('Take engine onnxruntime, or another version of it')
    assert all(one.closed for one in opened)
    assert not list(folder.glob('*.parity'))


def _no_gpu() -> None:
    msg = 'no GPU of NVIDIA can be used: none is there'
    raise EngineError(msg)


def test_a_gpu_is_compared_each_time(
    model: Path, folder: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its libraries choose kernels anew in each process, by what they measure."""
    replaced(monkeypatch, provider='CUDAExecutionProvider', name='onnxruntime 1.0')
    for _ in range(2):
        engine: Any = open_engine(
            *(model, make_card()), engine='onnxruntime', threads=1, cache=folder
        )
        assert engine.parity.passed
    assert measured == ['fp32', 'fp32']
    replaced(monkeypatch, FAULTS['scaled'][0], 'CUDAExecutionProvider', 'onnxruntime 1.0')
    with pytest.raises(EngineError, match='onnxruntime 1.0 on CUDAExecutionProvider .*hide the'):
        open_engine(model, make_card(), engine='onnxruntime', threads=1, cache=folder)


def test_onnx_runtime_on_the_cpu_is_what_others_are_compared_with(
    model: Path, folder: Path, measured: list[str]
) -> None:
    engine: Any = open_engine(model, make_card(), engine='onnxruntime', threads=1, cache=folder)
    if engine.provider == 'CPUExecutionProvider':
        assert engine.parity is None
        assert measured == []
        assert not folder.exists()


@pytest.mark.parametrize(
    'what',
    ['network', 'camera', 'normalisation', 'kind', 'batch', 'threads', 'version', 'provider']
    + ['reference', 'processor', 'recipe'],
)
def test_what_may_change_the_result_makes_it_compared_again(
    what: str,
    model: Path,
    folder: Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    replaced(monkeypatch)
    card, options = make_card(), {'batch': 2, 'threads': 1}
    monkeypatch.setattr(runtime_parity, '_CPUINFO', tmp_path / 'cpuinfo')
    (tmp_path / 'cpuinfo').write_text('model name\t: A\nflags\t: avx2\ncpu MHz\t: 2000.1\n')

    def opened(card: ModelCard) -> None:
        open_engine(model, card, engine='openvino', cache=folder, **options)

    opened(card)
    # Neither its clock nor the scale of the card.
    (tmp_path / 'cpuinfo').write_text('model name\t: A\nflags\t: avx2\ncpu MHz\t: 2600.2\n')
    assert card.scale is not None
    opened(dataclasses.replace(card, scale=dataclasses.replace(card.scale, source='new')))
    assert measured == ['cpu']
    camera = dataclasses.replace(card.canonical_camera, fx=31.0)
    if what == 'network':
        write_model(model, shape=('batch', 3, 24, 32), weights=(0.5, 0.25, 0.25))
        write_card(model, card)
    elif what in {'camera', 'normalisation', 'kind'}:
        changes: dict[str, Any] = {
            'camera': {'canonical_camera': camera},
            'normalisation': {'normalisation': Normalisation('bgr')},
            'kind': {'output_kind': 'disparity'},
        }
        card = dataclasses.replace(card, **changes[what])
    elif what in options:
        options[what] += 1
    elif what == 'version':
        replaced(monkeypatch, name='openvino 1.1')
    elif what == 'provider':
        replaced(monkeypatch, provider='CPU f16')
    elif what == 'reference':
        monkeypatch.setattr('onnxruntime.__version__', '0.1')
    elif what == 'processor':
        (tmp_path / 'cpuinfo').write_text('model name\t: A\nflags\t: avx2 amx_bf16\n')
    else:
        monkeypatch.setattr(runtime_parity, '_RECIPE', 99)
    opened(card)
    assert measured == ['cpu', 'cpu']


@pytest.mark.parametrize(
    'damage', ['', '[]', '{"key": 1', 'other', 'refused', 'no figure', 'open']
)
def test_what_was_kept_and_cannot_be_relied_on_is_compared_again(
    damage: str,
    model: Path,
    folder: Path,
    measured: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replaced(monkeypatch)
    open_engine(model, make_card(), engine='openvino', threads=1, cache=folder)
    (path,) = folder.glob('*.parity')
    assert path.stat().st_mode & 0o077 == 0
    kept = json.loads(path.read_text())
    if damage == 'other':
        path.write_text(json.dumps({**kept, 'key': {}}))
    elif damage == 'refused':
        kept['parity']['findings'] = ['wrong']
        path.write_text(json.dumps(kept))
    elif damage == 'no figure':
        kept['parity']['scale_ratio'] = 'one'
        path.write_text(json.dumps(kept))
    elif damage == 'open':
        path.chmod(0o666)
    else:
        path.write_text(damage)
    engine: Any = open_engine(model, make_card(), engine='openvino', threads=1, cache=folder)
    assert engine.parity.passed
    assert measured == ['cpu', 'cpu']


def test_where_nothing_can_be_kept_it_is_said_and_the_model_runs(
    model: Path, folder: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(monkeypatch)
    folder.mkdir()
    folder.chmod(0o777)
    said: list[str] = []
    for _ in range(2):
        open_engine(
            *(model, make_card()), engine='openvino', threads=1, cache=folder, say=said.append
        )
    assert measured == ['cpu', 'cpu']
    assert 'the comparison is not kept, and made again next time: ' in said[-1]
    assert 'can be written by others' in said[-1]


# Networks that mix the images of a batch.


@pytest.mark.parametrize('engine', ['auto', 'openvino', 'onnxruntime'])
@pytest.mark.parametrize('batch', ['b', 3])
@pytest.mark.parametrize(
    ('by', 'axes'), [('ReduceMax', [0, 1, 2, 3]), ('ReduceMin', [0, 1, 2, 3]), ('ReduceMean', [0])]
)
def test_a_network_that_mixes_the_images_of_a_batch_is_refused_and_not_its_runtime(
    by: str,
    axes: list[int],
    batch: int | str,
    engine: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selection, 'find_gpu', _no_gpu)
    if engine != 'onnxruntime':
        replaced(monkeypatch)
    model = write_normalised(tmp_path / 'mixing.onnx', by, axes, batch)
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            open_engine(model, make_card(), engine=engine, batch=2, threads=1, cache=folder)
        message = str(caught.value)
        assert message.startswith('the network of mixing.onnx mixes the images of a batch: ')
        assert '(at most 0.' in message
        assert message.endswith('Use one camera, or export it with a batch of 1')
    if batch == 'b':
        open_engine(model, make_card(), engine=engine, batch=1, threads=1, cache=folder)


def test_a_network_that_keeps_images_apart_is_looked_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    look = runtime_parity.require_images_apart

    def counted(*arguments: Any) -> Any:
        looked.append(arguments)
        return look(*arguments)

    monkeypatch.setattr(runtime_parity, 'require_images_apart', counted)
    model = write_normalised(tmp_path / 'apart.onnx', 'ReduceMax', [1, 2, 3])
    for _ in range(2):
        engine: Any = open_engine(
            *(model, make_card()), engine='onnxruntime', batch=2, threads=1, cache=folder
        )
        assert len(engine.input) == 2
    assert len(looked) == 1


# The node.


def test_the_node_shows_how_its_runtime_compares(
    start: Callable[..., DepthNode],
    robot: Robot,
    model: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder))
    replaced(monkeypatch)
    start(engine='openvino', model=str(model))

    def values() -> dict[str, str]:
        return {item.key: item.value for status in robot.statuses for item in status.values}

    robot.until(lambda: 'parity' in values(), 'parity in the diagnostics')
    assert values()['provider'] == 'CPU f32'
    assert values()['parity'].startswith('scale ratio 1.00000')
    assert any('comparing openvino 1.0' in line for line in robot.logged)


def test_the_node_refuses_a_runtime_that_is_wrong(
    start: Callable[..., DepthNode],
    robot: Robot,
    model: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder))
    replaced(monkeypatch, FAULTS['scaled'][0])
    node = start(engine='openvino', model=str(model))
    robot.until(node.refused.done, 'a refusal')
    assert 'is refused: depth scaled by 1.03' in node.refused.result()

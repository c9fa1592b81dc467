# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Which engine runs a model, and what the operator hears of it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from foreign_networks import write_normalised
from samples import make_card, write_model

from mono_metric_depth.commands import build_engine
from mono_metric_depth.engines import EngineError, cuda, selection
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.engines.selection import ENGINES, open_engine
from mono_metric_depth.engines.tensorrt import TensorRTEngine
from mono_metric_depth.engines.tensorrt_bindings import find_bindings
from mono_metric_depth.model_card import write_card

if TYPE_CHECKING:
    from robot import Robot

    from mono_metric_depth.nodes.depth_node import DepthNode


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = write_model(tmp_path / 'tiny.onnx')
    write_card(path, make_card())
    return path


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_gpu() -> None:
        msg = 'no GPU of NVIDIA can be used: none is there'
        raise EngineError(msg)

    monkeypatch.setattr(selection, 'find_gpu', find_gpu)


@pytest.mark.parametrize(('installed', 'name'), [(True, 'openvino'), (False, 'onnxruntime')])
def test_without_a_gpu_a_cpu_runs_the_model_and_that_is_said_once(
    model: Path, no_gpu: None, installed: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed:
        monkeypatch.setattr(selection, 'find_spec', lambda _: None)
    else:
        pytest.importorskip('openvino')
    said: list[str] = []
    engine = open_engine(model, make_card(), batch=2, threads=1, say=said.append)
    assert engine.name.startswith(name)
    assert engine.input.shape[0] == 2
    (line,) = (line for line in said if 'TensorRT' in line)
    assert line == (
        f'{name} runs the model, not TensorRT: no GPU of NVIDIA can be used: none is there'
    )


def test_tensorrt_asked_for_by_name_never_falls_back(model: Path, no_gpu: None) -> None:
    with pytest.raises(EngineError, match=r'no GPU of NVIDIA can be used.*\. .*take engine auto'):
        open_engine(model, make_card(), engine='tensorrt')


@pytest.mark.parametrize(
    ('content', 'why'),
    [
        ("raise ImportError('libopenvino.so: no such file')", 'libopenvino.so: no such file'),
        ("raise RuntimeError('built for another numpy')", 'built for another numpy'),
        ('', "no attribute 'Core'"),
        (
            'class Core:\n    def read_model(self, path): raise RuntimeError("unknown operator")',
            'OpenVINO cannot load the model: unknown operator',
        ),
    ],
)
def test_an_openvino_that_cannot_be_used_is_named_and_onnx_runtime_runs_the_model(
    content: str,
    why: str,
    model: Path,
    no_gpu: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / 'modules').mkdir()
    (tmp_path / 'modules' / 'openvino.py').write_text(content)
    monkeypatch.syspath_prepend(tmp_path / 'modules')
    monkeypatch.delitem(sys.modules, 'openvino', raising=False)
    warned: list[str] = []
    try:
        engine = open_engine(model, make_card(), threads=1, warn=warned.append)
        with pytest.raises(EngineError, match=why):
            open_engine(model, make_card(), engine='openvino', threads=1)
    finally:
        sys.modules.pop('openvino', None)
    assert isinstance(engine, OnnxRuntimeEngine)
    (line,) = (line for line in warned if 'openvino' in line and 'TensorRT' not in line)
    assert line.startswith('onnxruntime runs the model, not openvino: ')
    assert why in line


def test_onnx_runtime_asked_for_by_name_looks_for_no_gpu(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, 'find_gpu', lambda: pytest.fail('it looked for a GPU'))
    said: list[str] = []
    engine = open_engine(model, make_card(), engine='onnxruntime', threads=1, say=said.append)
    assert isinstance(engine, OnnxRuntimeEngine)
    assert said == []


@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (
            {'engine': 'trt'},
            "engine must be one of auto, tensorrt, openvino, onnxruntime, got 'trt'",
        ),
        ({'precision': 'fp8'}, "precision must be one of fp32, fp16, int8, got 'fp8'"),
    ],
)
def test_what_is_not_to_choose_from_is_refused(
    model: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_engine(model, make_card(), **values)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with a GPU and TensorRT 10.16, both simulated."""
    pytest.importorskip('cuda.bindings.runtime', reason="pip install '.[tensorrt]'")
    from simulated_gpu import Cuda, SimulatedTensorRT

    gpu = Cuda()
    trt = SimulatedTensorRT('10.16.1.11', gpu)
    monkeypatch.setattr(cuda, 'runtime', lambda: gpu)
    monkeypatch.setattr('mono_metric_depth.engines.tensorrt.runtime', lambda: gpu)
    monkeypatch.setattr(selection, 'find_bindings', trt.bindings)
    return trt


@pytest.mark.parametrize('engine', ['auto', 'tensorrt'])
def test_with_a_gpu_and_bindings_tensorrt_runs_it(
    model: Path, simulated: Any, engine: str, tmp_path: Path
) -> None:
    opened = open_engine(
        model, make_card(), engine=engine, precision='fp32', batch=2, cache=tmp_path / 'cache'
    )
    assert isinstance(opened, TensorRTEngine)
    assert opened.input.shape[0] == 2
    assert opened.parity is not None


@pytest.mark.parametrize('engine', ['auto', 'tensorrt'])
def test_an_engine_that_is_wrong_is_refused_with_figures_whoever_chose_it(
    model: Path, simulated: Any, engine: str, tmp_path: Path
) -> None:
    simulated.fault = lambda out, run: out * 1.03
    with pytest.raises(EngineError, match=r'refused: depth scaled by 1\.0300 \(at most 0\.10%\)'):
        open_engine(model, make_card(), engine=engine, precision='fp32', cache=tmp_path / 'cache')


def test_a_gpu_that_tensorrt_for_rtx_does_not_know_is_named(
    model: Path, simulated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simulated_gpu import SimulatedTensorRT

    rtx = SimulatedTensorRT('rtx', simulated.cuda)
    monkeypatch.setattr(selection, 'find_bindings', rtx.bindings)
    said: list[str] = []
    engine = open_engine(model, make_card(), threads=1, say=said.append)
    assert engine.provider.startswith('CPU')
    assert 'has no engines for Simulated (compute 8.7)' in said[0]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'TensorRT is not installed: neither tensorrt .* nor tensorrt_rtx'),
        ("__version__ = '8.6.2'", r'cannot be used: tensorrt 8\.6\.2 is older than 10'),
        ("raise ImportError('libnvinfer.so.10: no such file')", 'cannot be used: .*libnvinfer'),
    ],
)
def test_bindings_that_cannot_be_used_are_named(
    content: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {'tensorrt': object()} if content else {}
    monkeypatch.setattr('importlib.util.find_spec', found.get)
    (tmp_path / 'tensorrt.py').write_text(content or '')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'tensorrt', raising=False)
    with pytest.raises(EngineError, match=message):
        find_bindings.__wrapped__()
    sys.modules.pop('tensorrt', None)


def test_nothing_of_tensorrt_is_imported_where_it_is_not_used() -> None:
    code = (
        'import sys\n'
        'from mono_metric_depth.estimator import DepthEstimator\n'
        "DepthEstimator.load(engine='onnxruntime')\n"
        "heavy = {'tensorrt', 'tensorrt_rtx_bindings', 'cuda', 'onnx', 'torch'}\n"
        'assert not heavy & set(sys.modules), heavy & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_build_engine_checks_what_it_builds_on_the_gpu_that_is_there(
    model: Path, simulated: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(model), '--precision', 'fp32', '--cache', str(tmp_path / 'cache')]
    build_engine.main([*arguments, '--batch', '1..2'])
    said = capsys.readouterr().out
    assert 'engine  tensorrt 10.16.1.11 on Simulated' in said
    assert 'parity  scale ratio 1.00000' in said
    (kept,) = (tmp_path / 'cache').glob('*.engine')
    assert f'kept    {kept}' in said
    assert simulated.builds == 1
    simulated.fault = lambda out, run: out * 0.97
    with pytest.raises(SystemExit):
        build_engine.main([*arguments, '--batch', '1..2', '--again'])
    assert 'refused: depth scaled by 0.9700' in capsys.readouterr().err
    assert not kept.exists()


def test_build_engine_refuses_a_network_that_mixes_the_images_of_a_batch(
    simulated: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_normalised(tmp_path / 'mixing.onnx', 'ReduceMax', [0, 1, 2, 3])
    write_card(model, make_card())
    arguments = [str(model), '--precision', 'fp32', '--cache', str(tmp_path / 'cache')]
    with pytest.raises(SystemExit):
        build_engine.main([*arguments, '--batch', '1..3'])
    assert 'mixing.onnx mixes the images of a batch' in capsys.readouterr().err
    assert simulated.builds == 0
    build_engine.main(arguments)
    assert simulated.builds == 1


# The node.


def test_the_node_refuses_to_run_without_the_engine_asked_for(
    start: Callable[..., DepthNode], robot: Robot, no_gpu: None
) -> None:
    node = start(engine='tensorrt')
    robot.until(node.refused.done, 'a refusal')
    assert 'no GPU of NVIDIA can be used' in node.refused.result()


def test_the_node_says_what_it_falls_back_to(
    start: Callable[..., DepthNode], robot: Robot, no_gpu: None
) -> None:
    node = start(engine='auto')
    robot.until(lambda: node.state == 'active', 'an active node')
    robot.until(
        lambda: any('runs the model, not TensorRT' in line for line in robot.logged),
        'a line in the log',
    )


def test_the_node_shows_the_engine_and_its_parity(
    start: Callable[..., DepthNode],
    robot: Robot,
    simulated: Any,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    start(engine='auto', precision='fp32', model=str(model))

    def values() -> dict[str, str]:
        return {item.key: item.value for status in robot.statuses for item in status.values}

    robot.until(lambda: 'parity' in values(), 'parity in the diagnostics')
    assert values()['engine'] == 'tensorrt 10.16.1.11'
    assert values()['provider'] == 'Simulated'
    assert values()['parity'].startswith('scale ratio 1.00000')
    assert any('building the tensorrt 10.16' in line for line in robot.logged)


def test_a_node_that_is_ended_while_it_builds_ends_soon(
    start: Callable[..., DepthNode],
    robot: Robot,
    simulated: Any,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    from rclpy.executors import ExternalShutdownException

    simulated.steps, simulated.step_time = 3000, 0.02
    node = start(engine='auto', model=str(model))
    signal = threading.Timer(2.0, robot.context.try_shutdown)
    signal.start()
    begun = time.monotonic()
    # As when a signal ends ROS: the lifecycle has nobody left to tell.
    with contextlib.suppress(ExternalShutdownException, RuntimeError):
        robot.until(node.refused.done, 'the end')
    signal.join()
    assert time.monotonic() - begun < 20  # a minute without
    assert node._loading is not None
    assert node._loading.wait(60)
    with pytest.raises(RuntimeError, match='ended while its engine was built'):
        node._loading.result()
    assert not list(tmp_path.rglob('*.engine'))


def test_the_nodes_choices_are_those_of_the_engines() -> None:
    pytest.importorskip('rclpy')
    from mono_metric_depth.nodes.parameters import RULES

    assert RULES['engine'].choices == ENGINES

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The TensorRT engine against the real bindings' names, on a simulated GPU."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import CANONICAL, make_card, random_images, write_model

pytest.importorskip('cuda.bindings.runtime', reason="pip install '.[tensorrt]'")

from cuda.bindings import runtime as real_cuda
from foreign_networks import FOREIGN, write_foreign
from simulated_gpu import Cuda, SimulatedTensorRT
from tensorrt_api import VERSIONS, tensorrt_api

from mono_metric_depth.engines import EngineError, cuda
from mono_metric_depth.engines.built_engine import open_built_engine
from mono_metric_depth.engines.built_network import built_network
from mono_metric_depth.engines.cuda import find_gpu
from mono_metric_depth.engines.engine_request import EngineRequest
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.engines.tensorrt import TensorRTEngine
from mono_metric_depth.engines.tensorrt_plan import PlanOptions, build_plan
from mono_metric_depth.model_card import ModelCard, write_card

Open = Callable[..., TensorRTEngine]


@dataclasses.dataclass
class Machine:
    """A robot with a simulated GPU."""

    folder: Path
    model: Path
    cuda: Cuda
    trt: SimulatedTensorRT
    card: ModelCard = dataclasses.field(default_factory=make_card)
    said: list[str] = dataclasses.field(default_factory=list)

    def request(self, **options: Any) -> EngineRequest:
        gpu = find_gpu()
        values = {'precision': 'fp32', 'batch': (1, 3), **options}
        return EngineRequest(
            self.model,
            self.card,
            self.trt.bindings(),
            gpu.compute_capability,
            gpu,
            folder=self.folder / 'cache',
            say=self.said.append,
            progress=False,
            **values,
        )

    def open(self, *, anew: bool = False, **options: Any) -> TensorRTEngine:
        return open_built_engine(self.request(**options), anew=anew)


def tiny_frames(card: ModelCard, count: int | None = None) -> np.ndarray:
    return _tiny_frames()


@functools.cache
def _tiny_frames() -> np.ndarray:
    return parity_frames(make_card())


@pytest.fixture(params=VERSIONS)
def machine(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return make_machine(request.param, tmp_path, monkeypatch)


@pytest.fixture
def robot_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return make_machine('10.16.1.11', tmp_path, monkeypatch)


def make_machine(
    version: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Machine:
    simulated = Cuda(capability=(8, 9), **options)
    monkeypatch.setattr(cuda, 'runtime', lambda: simulated)
    monkeypatch.setattr('mono_metric_depth.engines.tensorrt.runtime', lambda: simulated)
    for module in ('built_engine', 'parity'):
        monkeypatch.setattr(f'mono_metric_depth.engines.{module}.parity_frames', tiny_frames)
    model = write_model(folder / 'tiny.onnx')
    write_card(model, make_card())
    return Machine(folder, model, simulated, SimulatedTensorRT(version, simulated))


def expected(machine: Machine, images: np.ndarray) -> np.ndarray:
    engine = OnnxRuntimeEngine(machine.model, make_card(), batch=len(images))
    engine.input[:] = images
    engine.run(len(images))
    return engine.output


def test_an_engine_runs_any_number_of_images_with_each_generation_of_bindings(
    machine: Machine,
) -> None:
    engine = machine.open()
    assert engine.name in {f'tensorrt{rtx} {machine.trt.__version__}' for rtx in ('', '_rtx')}
    assert engine.provider == 'Simulated'
    assert engine.input.shape == (3, 24, 32, 4)
    assert engine.input.dtype == np.uint8
    assert engine.output.shape == (3, 1, 24, 32)
    assert engine.parity is not None
    assert engine.parity.passed
    for images in (3, 1, 2, 3):
        engine.input[:] = random_images(engine.input.shape, images)
        engine.output.fill(-1)
        engine.run(images)
        np.testing.assert_allclose(
            engine.output[:images], expected(machine, engine.input)[:images], rtol=1e-5
        )
        assert (engine.output[images:] == -1).all()
    for images in (0, 4):
        with pytest.raises(ValueError, match='takes 1 to 3 images'):
            engine.run(images)
    engine.close()
    assert not machine.cuda.memory, 'memory was not given back'
    with pytest.raises(EngineError, match='closed'):
        engine.run(1)
    engine.close()


def test_after_warming_up_a_run_is_one_launch(machine: Machine) -> None:
    engine = machine.open()
    machine.cuda.calls.clear()
    engine.run(2)
    rtx = machine.trt.bindings().rtx
    assert machine.cuda.calls == (
        ['cudaMemcpyAsync', 'cudaMemcpyAsync', 'cudaStreamSynchronize']
        if rtx
        else ['cudaGraphLaunch', 'cudaStreamSynchronize']
    )


def test_what_cannot_be_recorded_runs_all_the_same(robot_machine: Machine) -> None:
    robot_machine.trt.uncapturable = True
    engine = robot_machine.open()
    robot_machine.cuda.calls.clear()
    engine.run(1)
    assert 'cudaGraphLaunch' not in robot_machine.cuda.calls
    assert robot_machine.cuda.calls.count('cudaMemcpyAsync') == 2


@pytest.mark.parametrize(
    'step', ['cudaStreamBeginCapture', 'cudaStreamEndCapture', 'cudaGraphInstantiate']
)
def test_an_engine_of_which_no_graph_can_be_made_runs_without(
    robot_machine: Machine, step: str
) -> None:
    robot_machine.cuda.failing = step
    engine = robot_machine.open()
    assert step in robot_machine.cuda.calls
    robot_machine.cuda.calls.clear()
    engine.input[:] = (51, 51, 51, 1)
    engine.run(2)
    np.testing.assert_allclose(engine.output[:2], 0.2, rtol=1e-5)
    assert 'cudaGraphLaunch' not in robot_machine.cuda.calls
    engine.close()
    assert not robot_machine.cuda.memory


def test_nothing_is_copied_where_gpu_and_cpu_share_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = make_machine('10.3.0', tmp_path, monkeypatch, integrated=True)
    engine = machine.open()
    engine.input[:] = (51, 51, 51, 1)
    engine.run(3)
    np.testing.assert_allclose(engine.output, 0.2, rtol=1e-5)
    assert 'cudaMemcpyAsync' not in machine.cuda.calls
    engine.close()
    assert not machine.cuda.memory


@pytest.mark.parametrize('kind', FOREIGN)
def test_networks_of_others_run_as_on_onnx_runtime(robot_machine: Machine, kind: str) -> None:
    write_card(write_foreign(robot_machine.model, kind), make_card())
    engine = robot_machine.open()
    other = OnnxRuntimeEngine(robot_machine.model, make_card(), batch=3)
    assert engine.output.shape == other.output.shape
    for images in (len(other.input), 1):
        engine.input[:] = other.input[:] = random_images(engine.input.shape, images)
        engine.run(images)
        other.run(images)
        np.testing.assert_allclose(engine.output[:images], other.output[:images], rtol=1e-5)


def test_an_engine_for_two_or_more_runs_two_where_one_is_wanted(machine: Machine) -> None:
    engine = machine.open(batch=(2, 3))
    engine.input[0] = (51, 51, 51, 1)
    engine.run(1)
    np.testing.assert_allclose(engine.output[0], 0.2, rtol=1e-5)
    assert len(engine.input) == 3


def test_what_serves_one_number_of_images_each_shares_its_memory(machine: Machine) -> None:
    engine = machine.open()
    allocated = machine.cuda.calls.count('cudaMalloc')
    assert allocated == 3, 'input, output, and what TensorRT needs while it runs'
    engine.run(1)
    engine.run(2)
    assert machine.cuda.calls.count('cudaMalloc') == allocated


def test_what_rtx_checks_is_what_it_goes_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = make_machine('rtx', tmp_path, monkeypatch)
    engine = machine.open()
    chosen = engine._configuration.dynamic_shapes_kernel_specialization_strategy
    assert chosen.name == 'EAGER'
    assert engine._configuration.cuda_graph_strategy.name == 'WHOLE_GRAPH_CAPTURE'


def test_after_a_fatal_error_an_engine_can_still_be_closed(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    engine = machine.open()
    machine.cuda.broken = True
    with pytest.raises(EngineError, match='cudaErrorIllegalAddress'):
        engine.run(1)
    engine.close()
    assert 'cudaStreamDestroy failed: cudaErrorIllegalAddress' in caplog.text
    with pytest.raises(EngineError, match='closed'):
        engine.run(1)


def test_an_error_does_not_pass_for_that_of_the_next_call(robot_machine: Machine) -> None:
    robot_machine.cuda.full = True
    robot_machine.cuda.calls.clear()
    with pytest.raises(EngineError):
        cuda.call('cudaMalloc', 16)
    assert robot_machine.cuda.calls == ['cudaMalloc', 'cudaGetLastError']


def test_a_runtime_cache_that_cannot_be_kept_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine = make_machine('rtx', tmp_path, monkeypatch)

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('mono_metric_depth.engines.tensorrt.tempfile.mkstemp', full)
    card = make_card()
    content = built_network('tiny', machine.model.read_bytes(), card, (1, 1))
    options = PlanOptions((1, 1), '8.9')
    plan = build_plan(machine.trt.bindings(), content, options, progress=False)
    engine = TensorRTEngine(
        plan.code,
        card,
        bindings=machine.trt.bindings(),
        gpu=find_gpu(),
        runtime_cache=tmp_path / 'x.runtime_cache',
    )
    engine.warm_up()
    assert 'x.runtime_cache cannot be kept: No space left' in caplog.text
    engine.run(1)


@pytest.mark.parametrize('wrong', ['a size', 'a name'])
def test_an_engine_of_another_network_is_refused(robot_machine: Machine, wrong: str) -> None:
    content = robot_machine.model.read_bytes()
    if wrong == 'a size':
        content = built_network('tiny', content, make_card(), (1, 1))
    bindings = robot_machine.trt.bindings()
    plan = build_plan(bindings, content, PlanOptions((1, 1), '8.9'), progress=False)
    card = make_card(canonical_camera=CANONICAL.resized(64, 48))
    with pytest.raises(EngineError, match='the engine has the tensors'):
        TensorRTEngine(plan.code, card, bindings=bindings, gpu=find_gpu())
    assert not robot_machine.cuda.memory


def test_a_static_batch_runs_whole(machine: Machine) -> None:
    engine = machine.open(batch=(2, 2))
    engine.input[0] = (51, 51, 51, 1)
    engine.run(1)
    np.testing.assert_allclose(engine.output[0], 0.2, rtol=1e-5)


@pytest.mark.parametrize('batch', [1, 4])
def test_a_network_with_a_batch_of_its_own_gives_an_engine_of_that(
    robot_machine: Machine, batch: int
) -> None:
    write_card(write_model(robot_machine.model, shape=(batch, 3, 24, 32)), make_card())
    assert len(robot_machine.open(batch=(1, 3)).input) == batch


def test_timing_and_runtime_caches_are_kept(machine: Machine) -> None:
    machine.open()
    (machine.folder / 'cache' / 'x.json').write_text('{}')
    kept = [path for path in (machine.folder / 'cache').iterdir() if path.suffix.endswith('cache')]
    assert len(kept) == 1
    if machine.trt.bindings().rtx:
        assert kept[0].read_bytes() == b'compiled'
        machine.open()
        assert machine.trt.kept == b'compiled'
    else:
        assert kept[0].read_bytes() == b'!'
        machine.open(anew=True)
        assert kept[0].read_bytes() == b'!!'


def test_an_engine_is_built_and_checked_once(machine: Machine) -> None:
    machine.open().close()
    runs = machine.trt.runs
    assert any('checking' in line for line in machine.said)
    machine.said.clear()
    engine = machine.open()
    assert machine.trt.builds == 1
    assert machine.trt.runs - runs < 15  # only warming up
    assert machine.said == []
    assert engine.parity is not None


def test_another_gpu_has_an_engine_of_its_own_where_tensorrt_needs_that(machine: Machine) -> None:
    machine.open()
    machine.cuda.name = b'Another'
    engine = machine.open()
    assert engine.provider == 'Another'
    rtx = machine.trt.bindings().rtx
    assert machine.trt.builds == (1 if rtx else 2)
    assert any('gpu is Another, was Simulated' in line for line in machine.said) != rtx


FAULTS: dict[str, Any] = {
    'scaled': lambda out, run: out * np.float32(1.03),
    'noisy': lambda out, run: out * np.random.default_rng(run).uniform(0.9, 1.1, out.shape),
    'nan': lambda out, run: np.where(np.arange(32) == 5, np.float32(np.nan), out),
    'shuffled': lambda out, run: out[::-1],
    'flickering': lambda out, run: out * np.float32(1.02 if run % 7 == 0 else 1.0),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_an_engine_that_is_wrong_is_refused_and_stays_refused(
    robot_machine: Machine, fault: str
) -> None:
    robot_machine.trt.fault = FAULTS[fault]
    with pytest.raises(EngineError, match='does not give the depth of its model') as caught:
        robot_machine.open()
    assert not robot_machine.cuda.memory
    builds = robot_machine.trt.builds
    with pytest.raises(EngineError) as again:
        robot_machine.open()
    assert str(again.value) == str(caught.value)
    assert robot_machine.trt.builds == builds
    assert not list((robot_machine.folder / 'cache').glob('*.engine'))
    robot_machine.trt.fault = None
    assert robot_machine.open(anew=True).parity is not None


def test_a_kept_engine_that_does_not_load_is_built_anew(robot_machine: Machine) -> None:
    robot_machine.open()
    good, tries = robot_machine.trt._engine, []

    def engine(plan: bytes) -> Any:
        tries.append(plan)
        return good(plan) if len(tries) > 1 else None

    robot_machine.trt._engine = engine  # type: ignore[method-assign]
    robot_machine.open()
    assert robot_machine.trt.builds == 2
    assert any('does not load' in line for line in robot_machine.said)


def test_a_lack_of_memory_is_named_and_nothing_is_kept(robot_machine: Machine) -> None:
    robot_machine.cuda.full = True
    with pytest.raises(EngineError, match='cudaHostAlloc failed: cudaErrorMemoryAllocation'):
        robot_machine.open()
    assert not robot_machine.cuda.memory


@pytest.mark.parametrize(
    ('error', 'message'),
    [
        ('cudaErrorInsufficientDriver', 'driver is not installed here, or is older than CUDA 13,'),
        ('cudaErrorNoDevice', 'the driver shows none; CUDA_VISIBLE_DEVICES may hide it'),
        ('cudaSuccess', 'the driver shows none'),
        ('cudaErrorSystemDriverMismatch', 'of different versions; restart'),
        ('cudaErrorStubLibrary', 'look at LD_LIBRARY_PATH'),
        ('cudaErrorDevicesUnavailable', 'another program keeps it to itself'),
        ('cudaErrorUnknown', 'nvidia-smi may say why'),
    ],
)
def test_why_there_is_no_gpu_is_said_in_one_line(
    robot_machine: Machine, error: str, message: str
) -> None:
    status = getattr(real_cuda.cudaError_t, error)
    robot_machine.cuda.found = (status, 0)
    with pytest.raises(EngineError, match=message) as caught:
        find_gpu()
    name = 'cudaErrorNoDevice' if error == 'cudaSuccess' else error
    assert str(caught.value).endswith(f'({name})')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'input_name': 'picture'}, "names the input 'picture', the model has .*'image'"),
        ({'output_name': 'disparity'}, "names the output 'disparity', the model has .*'depth'"),
    ],
)
def test_a_network_that_is_not_that_of_the_card_is_refused(
    robot_machine: Machine, change: dict[str, Any], message: str
) -> None:
    robot_machine.card = make_card(**change)
    with pytest.raises(EngineError, match=message):
        robot_machine.open()


@pytest.mark.parametrize('version', VERSIONS[:3])
def test_names_that_were_removed_are_not_there(version: str) -> None:
    """That this test can fail: it would if the bindings were not the real ones."""
    classes = tensorrt_api(version)['classes']
    assert tensorrt_api(version)['version'] == version
    for kind, name in (
        ('IBuilderConfig', 'max_workspace_size'),
        ('Builder', 'build_engine'),
        ('ICudaEngine', 'get_binding_name'),
        ('IExecutionContext', 'execute_async_v2'),
    ):
        assert name not in classes[kind]
    assert ('FP16' in classes['BuilderFlag']) == (version < '11')


@pytest.mark.parametrize('name', ['max_workspace_size', 'int8_calibrator'])
def test_a_removed_name_fails_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    machine = make_machine('11.4.0.106', tmp_path, monkeypatch)
    with pytest.raises(AttributeError, match=f'IBuilderConfig has no {name}'):
        getattr(machine.trt._config(), name)
    with pytest.raises(AttributeError, match=f'IBuilderConfig has no {name}'):
        setattr(machine.trt._config(), name, 1)

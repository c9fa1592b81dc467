# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import make_card, random_images, write_model

from mono_metric_depth.camera import Camera
from mono_metric_depth.engines import Engine, EngineError
from mono_metric_depth.engines.network_image import normalised
from mono_metric_depth.engines.onnxruntime import PROVIDERS, OnnxRuntimeEngine, model_tensors
from mono_metric_depth.model_card import read_card, write_card
from mono_metric_depth.model_files import DEFAULT_MODEL

WEIGHTS = (0.25, 0.5, 0.25)


def expected(images: np.ndarray) -> np.ndarray:
    """(b, 1, h, w) what the model of samples.write_model gives."""
    colours = normalised(images, make_card().normalisation)
    return np.clip(np.tensordot(colours, WEIGHTS, ((1,), (0,))), 0.01, 100.0)[:, None]


@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('kind', ['static', 'dynamic batch', 'all dynamic', 'output unknown'])
def test_a_network_is_run_in_its_own_buffers(tmp_path: Path, batch: int, kind: str) -> None:
    shape: dict[str, Any] = {
        'static': {'shape': (batch, 3, 24, 32)},
        'dynamic batch': {'shape': ('batch', 3, 24, 32)},
        'all dynamic': {'shape': ('batch', 3, 'height', 'width')},
        'output unknown': {'shape': ('b', 3, 24, 32), 'output_shape': ('x', 'y', 'z', 'w')},
    }[kind]
    path = write_model(tmp_path / 'tiny.onnx', weights=WEIGHTS, **shape)
    engine = OnnxRuntimeEngine(path, make_card(), batch=batch, threads=1)
    buffers = engine.input, engine.output
    assert engine.input.shape == (batch, 24, 32, 4)
    assert engine.output.shape == (batch, 1, 24, 32)
    assert (engine.input.dtype, engine.output.dtype) == (np.uint8, np.float32)
    engine.warm_up()
    for seed in range(3):
        engine.input[:] = random_images(engine.input.shape, seed)
        engine.run(batch)
        np.testing.assert_allclose(engine.output, expected(engine.input), rtol=1e-5)
    assert (engine.input, engine.output)[0] is buffers[0]
    assert engine.output is buffers[1]


@pytest.mark.parametrize('free', [True, False])
@pytest.mark.parametrize('axes', [(1,), (0, 1)])
def test_outputs_without_a_channel_or_a_batch_land_in_the_same_buffer(
    tmp_path: Path, axes: tuple[int, ...], free: bool
) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    shape: list[Any] = ['b', 1, 'h', 'w'] if free else [1, 1, 24, 32]
    graph = helper.make_graph(
        [
            helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
            helper.make_node('Squeeze', ['mean', 'axes'], ['depth']),
        ],
        'bare',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, [shape[0], 3, *shape[2:]])],
        [
            helper.make_tensor_value_info(
                'depth', TensorProto.FLOAT, [s for i, s in enumerate(shape) if i not in axes]
            )
        ],
        [numpy_helper.from_array(np.array(axes, np.int64), 'axes')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    save(model, tmp_path / 'bare.onnx')
    engine = OnnxRuntimeEngine(tmp_path / 'bare.onnx', make_card(), threads=1)
    engine.input[:] = random_images(engine.input.shape)
    engine.run(1)
    assert engine.output.shape == (1, 1, 24, 32)
    mean = engine.input[:, None, ..., :3].mean(-1) / 255
    np.testing.assert_allclose(engine.output, mean, rtol=1e-5)
    inputs, outputs = model_tensors(tmp_path / 'bare.onnx')
    size = (None, None) if free else (24, 32)
    assert inputs['image'].shape == (None if free else 1, 3, *size)
    assert outputs['depth'].shape == ((None if free else 1, *size) if len(axes) == 1 else size)
    assert outputs['depth'].kind == 'tensor(float)'
    # Without a batch in its output it takes one image at a time.
    batch = 2 if free and len(axes) == 1 else 1
    assert len(OnnxRuntimeEngine(tmp_path / 'bare.onnx', make_card(), batch=2).input) == batch


@pytest.mark.parametrize('shape', [(3, 3, 24, 32), ('batch', 3, 24, 32)])
def test_the_first_images_of_a_batch_are_run_alone(tmp_path: Path, shape: tuple[Any, ...]) -> None:
    path = write_model(tmp_path / 'tiny.onnx', shape=shape, weights=WEIGHTS)
    engine = OnnxRuntimeEngine(path, make_card(), batch=3, threads=1)
    engine.warm_up()
    for seed, images in enumerate((1, 3, 2, 1)):
        engine.input[:] = random_images(engine.input.shape, seed)
        engine.output[:] = np.nan
        engine.run(images)
        wanted = expected(engine.input)[:images]
        np.testing.assert_allclose(engine.output[:images], wanted, rtol=1e-5)
        if shape[0] == 'batch':  # and nothing else is computed
            assert np.isnan(engine.output[images:]).all()
    for images in (0, 4, -1):
        with pytest.raises(ValueError, match=f'takes 1 to 3 images at once, got {images}'):
            engine.run(images)


@pytest.mark.parametrize(
    ('shapes', 'batch'),
    [
        ({'shape': (1, 3, 24, 32)}, 1),
        ({'shape': ('b', 3, 24, 32), 'output_shape': (1, 1, 24, 32)}, 1),
        ({'shape': (2, 3, 24, 32)}, 2),
        ({'shape': (6, 3, 24, 32), 'output_shape': ('b', 1, 24, 32)}, 6),
    ],
)
def test_a_network_with_a_batch_of_its_own_gives_an_engine_of_that(
    tmp_path: Path, shapes: dict[str, Any], batch: int
) -> None:
    path = write_model(tmp_path / 'tiny.onnx', weights=WEIGHTS, **shapes)
    engine = OnnxRuntimeEngine(path, make_card(), batch=4, threads=1)
    assert (len(engine.input), len(engine.output)) == (batch, batch)
    engine.input[:] = (51, 51, 51, 1)
    engine.run(1)
    np.testing.assert_allclose(engine.output[0], 0.2, rtol=1e-5)


def test_the_shipped_network_takes_several_images_at_once() -> None:
    card = read_card(DEFAULT_MODEL)
    engine = OnnxRuntimeEngine(DEFAULT_MODEL, card, batch=3, threads=1)
    engine.input[:] = random_images(engine.input.shape)
    engine.run(3)
    together = engine.output.copy()
    for index in (2, 1):
        engine.input[0] = engine.input[index]
        engine.run(1)
        np.testing.assert_allclose(engine.output[0], together[index], rtol=1e-4)
    assert np.abs(together[1] / together[2] - 1).max() > 0.01


def test_the_runtime_and_the_provider_in_use_are_reported(tmp_path: Path) -> None:
    import onnxruntime

    engine: Engine = OnnxRuntimeEngine(write_model(tmp_path / 'tiny.onnx'), make_card())
    assert engine.name == f'onnxruntime {onnxruntime.__version__}'
    assert engine.provider in onnxruntime.get_available_providers()
    # What is not installed is passed over, not claimed.
    engine = OnnxRuntimeEngine(
        write_model(tmp_path / 'tiny.onnx'),
        make_card(),
        providers=(('NoSuchExecutionProvider', {}), ('CPUExecutionProvider', {})),
    )
    assert engine.provider == 'CPUExecutionProvider'


def test_nothing_that_rounds_or_rebuilds_the_network_by_itself_is_asked_for() -> None:
    # TensorRT's provider builds an engine that nobody compared; CUDA's own default is TF32.
    assert [name for name, _ in PROVIDERS] == ['CUDAExecutionProvider', 'CPUExecutionProvider']
    assert dict(PROVIDERS)['CUDAExecutionProvider'] == {'use_tf32': '0'}


def test_providers_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    with pytest.raises(EngineError, match='none of the providers .*NoSuch'):
        OnnxRuntimeEngine(path, make_card(), providers=(('NoSuchExecutionProvider', {}),))


@pytest.mark.parametrize(
    ('model', 'card', 'message'),
    [
        ({'input_name': 'x'}, {}, r"the card names the input 'image', the model has \['x'\]"),
        ({'output_name': 'y'}, {}, r"the card names the output 'depth', the model has \['y'\]"),
        ({}, {'canonical_camera': Camera(64, 24, 30, 30, 15, 11)}, r'\[1, 3, 24, 64\]'),
        ({'shape': (1, 1, 24, 32), 'weights': (1.0,)}, {}, r'asks for float32 \[1, 3, 24, 32\]'),
        ({'dtype': np.float16}, {}, r"input 'image' is tensor\(float16\)"),
        ({'extra_input': True}, {}, r"only input, it has \['image', 'intrinsics'\]"),
    ],
)
def test_a_model_that_is_not_that_of_the_card_is_refused(
    tmp_path: Path, model: dict[str, Any], card: dict[str, Any], message: str
) -> None:
    path = write_model(tmp_path / 'tiny.onnx', **model)
    with pytest.raises(EngineError, match=message) as caught:
        OnnxRuntimeEngine(path, make_card(**card))
    assert str(path) in str(caught.value)


def test_a_model_whose_free_sizes_turn_out_otherwise_fails_by_name(tmp_path: Path) -> None:
    # The network halves its output, which its declared, free shape does not tell.
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [
            helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
            helper.make_node('MaxPool', ['mean'], ['depth'], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        'half',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 3, 'h', 'w'])],
        [helper.make_tensor_value_info('depth', TensorProto.FLOAT, [1, 1, 'a', 'b'])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    save(model, tmp_path / 'half.onnx')
    engine = OnnxRuntimeEngine(tmp_path / 'half.onnx', make_card())
    with pytest.raises(EngineError, match='ONNX Runtime failed'):
        engine.warm_up()


@pytest.mark.parametrize('content', [b'', b'no model', b'\x08\x08\x3a\x00'])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'bad.onnx'
    path.write_bytes(content)
    with pytest.raises(EngineError, match=r'bad\.onnx: '):
        OnnxRuntimeEngine(path, make_card()).warm_up()


def test_a_truncated_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    content = path.read_bytes()
    for size in (1, len(content) // 3, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:size])
        with pytest.raises(EngineError, match=r'tiny\.onnx: ONNX Runtime cannot load'):
            OnnxRuntimeEngine(path, make_card())
    with pytest.raises(EngineError, match='cannot load'):
        OnnxRuntimeEngine(tmp_path / 'missing.onnx', make_card())


def test_a_closed_engine_says_so(tmp_path: Path) -> None:
    engine = OnnxRuntimeEngine(write_model(tmp_path / 'tiny.onnx'), make_card())
    engine.close()
    with pytest.raises(EngineError, match='closed'):
        engine.run(1)


def test_memory_does_not_grow_with_frames(tmp_path: Path) -> None:
    status = Path('/proc/self/statm')
    if not status.exists():
        pytest.skip('no /proc')
    shape = (1, 3, 96, 256)
    path = write_model(tmp_path / 'tiny.onnx', shape=shape)
    card = make_card(canonical_camera=Camera(256, 96, 205.0, 205.0, 127.5, 40.0))
    engine = OnnxRuntimeEngine(path, card, threads=1)

    def resident() -> int:
        return int(status.read_text().split()[1]) * 4096

    for _ in range(50):
        engine.run(1)
    before = resident()
    for _ in range(400):
        engine.run(1)
    # 400 outputs alone would be 39 MB.
    assert resident() - before < 8_000_000


def test_runtimes_report_nothing_and_leave_no_files(tmp_path: Path) -> None:
    """ONNX Runtime writes an identifier and a database as it is imported, unless forbidden."""
    model = write_model(tmp_path / 'tiny.onnx')
    write_card(model, make_card())
    home = tmp_path / 'home'
    home.mkdir()
    code = (
        'import importlib.util\n'
        'from pathlib import Path\n'
        'from mono_metric_depth.engines.selection import open_engine\n'
        'from mono_metric_depth.engines.precision import convert_model\n'
        'from mono_metric_depth.model_card import read_card\n'
        f'model = Path({str(model)!r})\n'
        'card = read_card(model)\n'
        'for name in ("onnxruntime", "openvino"):\n'
        '    if importlib.util.find_spec(name):\n'
        '        open_engine(model, card, engine=name, threads=1)\n'
        'if importlib.util.find_spec("onnx"):\n'
        f'    convert_model(model, Path({str(tmp_path / "half.onnx")!r}), card, "fp16")\n'
    )
    # What a build server sets would keep the runtime quiet, too.
    unset = ('ORT_DISABLE_TELEMETRY', 'ORT_RUNNING_UNIT_TESTS', 'CI', 'GITHUB_ACTIONS')
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {'HOME': str(home), 'XDG_CACHE_HOME': str(home / 'cache')}
    subprocess.run([sys.executable, '-c', code], env=environment, check=True)
    # But this package itself keeps how OpenVINO compares.
    ours = home / 'cache' / 'mono_metric_depth' / 'engines'
    others = {*home.rglob('*')} - {ours, *ours.parents, *ours.glob('tiny-*.parity')}
    assert others == set()

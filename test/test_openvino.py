# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import make_card, random_images, write_model

from mono_metric_depth.camera import Camera
from mono_metric_depth.engines import Engine, EngineError
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.engines.openvino import OpenVinoEngine
from mono_metric_depth.model_card import read_card
from mono_metric_depth.model_files import DEFAULT_MODEL

openvino = pytest.importorskip('openvino')


@pytest.mark.parametrize('batch', [1, 3])
def test_the_shipped_network_gives_the_same_depth_as_on_onnx_runtime(batch: int) -> None:
    card = read_card(DEFAULT_MODEL)
    engine: Engine = OpenVinoEngine(DEFAULT_MODEL, card, batch=batch, threads=1)
    other = OnnxRuntimeEngine(DEFAULT_MODEL, card, batch=batch, threads=1)
    buffers = engine.input, engine.output
    engine.warm_up()
    for images in (batch, 1):
        engine.input[:] = random_images(engine.input.shape, images)
        other.input[:] = engine.input
        engine.output[:] = np.nan
        engine.run(images)
        other.run(images)
        # bfloat16, its default where the processor has it, is off by 1 % and more.
        np.testing.assert_allclose(engine.output[:images], other.output[:images], rtol=3e-4)
        assert np.isnan(engine.output[images:]).all()
    assert (engine.input, engine.output)[0] is buffers[0]
    assert engine.output is buffers[1]
    for images in (0, batch + 1):
        with pytest.raises(ValueError, match='images at once'):
            engine.run(images)


def test_what_runs_it_is_reported_with_its_precision(tmp_path: Path) -> None:
    engine = OpenVinoEngine(write_model(tmp_path / 'tiny.onnx'), make_card())
    assert engine.name == f'openvino {openvino.__version__.split("-")[0]}'
    assert engine.provider == 'CPU f32'


@pytest.mark.parametrize('kind', ['static', 'all free', 'no channel', 'no batch'])
def test_networks_of_others_are_run(tmp_path: Path, kind: str) -> None:
    from onnx import TensorProto, helper, numpy_helper, save

    shape: list[Any] = [1, 3, 24, 32] if kind == 'static' else ['b', 3, 'h', 'w']
    axes = {'no channel': [1], 'no batch': [0, 1]}.get(kind, [])
    nodes = [helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1)]
    constants = [numpy_helper.from_array(np.array(axes, np.int64), 'axes')]
    if axes:
        nodes.append(helper.make_node('Squeeze', ['mean', 'axes'], ['depth']))
    else:
        nodes.append(helper.make_node('Identity', ['mean'], ['depth']))
    sizes = [size for index, size in enumerate([shape[0], 1, *shape[2:]]) if index not in axes]
    graph = helper.make_graph(
        nodes,
        'foreign',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info('depth', TensorProto.FLOAT, sizes)],
        constants if axes else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    save(model, tmp_path / 'foreign.onnx')
    engine = OpenVinoEngine(tmp_path / 'foreign.onnx', make_card(), batch=2, threads=1)
    batch = 1 if kind in {'static', 'no batch'} else 2
    assert engine.output.shape == (batch, 1, 24, 32)
    engine.input[:] = random_images(engine.input.shape)
    engine.run(batch)
    mean = engine.input[:, None, ..., :3].mean(-1) / 255
    np.testing.assert_allclose(engine.output, mean, rtol=1e-5)


@pytest.mark.parametrize(
    ('model', 'card', 'message'),
    [
        ({'input_name': 'x'}, {}, r"the card names the input 'image', the model has \['x'\]"),
        ({'output_name': 'y'}, {}, r"the card names the output 'depth', the model has \['y'\]"),
        (
            {'shape': (1, 3, 24, 32)},
            {'canonical_camera': Camera(64, 24, 30, 30, 15, 11)},
            r'\[1, 3, 24, 64\]',
        ),
        ({'shape': (1, 1, 24, 32), 'weights': (1.0,)}, {}, r'asks for float32 \[1, 3, 24, 32\]'),
        ({'dtype': np.float16}, {}, r"input 'image' is tensor\(float16\)"),
        ({'extra_input': True}, {}, r'only input'),
    ],
)
def test_a_model_that_is_not_that_of_the_card_is_refused(
    tmp_path: Path, model: dict[str, Any], card: dict[str, Any], message: str
) -> None:
    path = write_model(tmp_path / 'tiny.onnx', **model)
    with pytest.raises(EngineError, match=message) as caught:
        OpenVinoEngine(path, make_card(**card))
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    content = path.read_bytes()
    for damaged in (b'', b'no model', content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(EngineError, match=r'tiny\.onnx: '):
            OpenVinoEngine(path, make_card())
    with pytest.raises(EngineError, match='cannot load'):
        OpenVinoEngine(tmp_path / 'missing.onnx', make_card())


def test_a_closed_engine_says_so(tmp_path: Path) -> None:
    engine = OpenVinoEngine(write_model(tmp_path / 'tiny.onnx'), make_card())
    engine.close()
    with pytest.raises(EngineError, match='closed'):
        engine.run(1)


def test_without_openvino_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__('sys').modules, 'openvino', None)
    with pytest.raises(EngineError, match=r"pip install 'mono_metric_depth\[openvino\]'"):
        OpenVinoEngine(write_model(tmp_path / 'tiny.onnx'), make_card())

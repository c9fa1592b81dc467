# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What TensorRT is given computes what the model computes, whatever its own tensors are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from foreign_networks import FOREIGN, write_foreign
from samples import CANONICAL, make_card, random_images, write_model
from tensorrt_api import require_rtx

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera
from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.built_network import INPUT, OUTPUT, built_network
from mono_metric_depth.engines.network_image import write_network_image
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.engines.tensorrt_bindings import find_bindings
from mono_metric_depth.engines.tensorrt_plan import PlanOptions, build_plan
from mono_metric_depth.image import Image
from mono_metric_depth.model_card import Normalisation, read_card
from mono_metric_depth.model_files import DEFAULT_MODEL

onnx = pytest.importorskip('onnx')


def compute(content: bytes, images: np.ndarray) -> np.ndarray:
    """What a built network puts out."""
    session = ort.InferenceSession(content)
    assert [tensor.name for tensor in session.get_inputs()] == [INPUT]
    assert [tensor.name for tensor in session.get_outputs()] == [OUTPUT]
    return np.asarray(session.run(None, {INPUT: images})[0])


@pytest.mark.parametrize('kind', FOREIGN)
def test_networks_of_others_get_one_form_that_tensorrt_builds(tmp_path: Path, kind: str) -> None:
    path = write_foreign(tmp_path / 'foreign.onnx', kind)
    card = make_card(normalisation=Normalisation('bgr', (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)))
    engine = OnnxRuntimeEngine(path, card, batch=3)
    content = built_network('foreign', path.read_bytes(), card, (1, 3))
    engine.input[:] = random_images(engine.input.shape)
    engine.input[..., :9, 3] = 0
    engine.run(len(engine.input))
    found = compute(content, engine.input)
    assert found.shape == engine.output.shape
    np.testing.assert_allclose(found, engine.output, rtol=1e-5, atol=1e-6)
    require_rtx()
    bindings = find_bindings()
    if bindings.rtx:
        assert build_plan(bindings, content, PlanOptions((1, 3), '8.9'), progress=False).code


def test_the_shipped_network_gives_the_same_depth() -> None:
    card = read_card(DEFAULT_MODEL)
    images = parity_frames(card)[5:8]
    assert not images[..., 3].all(), 'there must be pixels that no camera saw'
    engine = OnnxRuntimeEngine(DEFAULT_MODEL, card, batch=3, threads=1)
    engine.input[:] = images
    engine.run(3)
    found = compute(built_network('default', DEFAULT_MODEL.read_bytes(), card, (1, 3)), images)
    np.testing.assert_allclose(found, engine.output, rtol=1e-5)


@pytest.mark.parametrize('channels', ['rgb', 'bgr'])
@pytest.mark.parametrize('pixels', ['rgb', 'bgr', 'rgba', 'bgra', 'mono', 'mono16'])
def test_any_image_is_normalised_in_the_graph_and_unseen_pixels_are_zero(
    tmp_path: Path, channels: str, pixels: str
) -> None:
    normalisation = Normalisation(channels, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
    weights = (0.2, 0.3, 0.5)
    # Nothing is clipped: what the network is given comes out.
    path = write_model(tmp_path / 'tiny.onnx', weights=weights, low=-99.0)
    colours = np.random.default_rng(0).integers(0, 256, (24, 32, 4), np.uint8)
    image: Any = colours[..., : len(pixels)]
    if pixels.startswith('mono'):
        image = colours[..., 0]
        colours = np.dstack([image] * 3)
    elif pixels.startswith('bgr'):
        colours = colours[..., 2::-1]
    if pixels == 'mono16':
        image = image.astype(np.uint16) * 257
    seen = np.random.default_rng(1).random((24, 32)) < 0.8
    packed = np.full((1, 24, 32, 4), 99, np.uint8)
    write_network_image(Image(image, pixels.removesuffix('16')), seen, packed[0])
    order = ['rgb'.index(channel) for channel in channels]
    value = (colours[..., order] / 255 - normalisation.mean) / normalisation.std
    expected = np.where(seen, value @ weights, 0.0)
    card = make_card(normalisation=normalisation)
    found = compute(built_network('tiny', path.read_bytes(), card, (1, 1)), packed)
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-5, atol=1e-5)
    engine = OnnxRuntimeEngine(path, card)
    engine.input[:] = packed
    engine.run(1)
    np.testing.assert_allclose(engine.output, found, rtol=1e-5, atol=1e-6)


def test_what_was_not_seen_is_what_alignment_says(tmp_path: Path) -> None:
    narrow = Camera(20, 16, 30.0, 30.0, 9.5, 7.5)
    alignment = Alignment(narrow, CANONICAL)
    image = Image(np.full((16, 20, 3), 200, np.uint8), 'rgb')
    out = np.zeros((24, 32, 4), np.uint8)
    aligned = Image(alignment.align(image.pixels), 'rgb')
    assert write_network_image(aligned, alignment.seen, out) is out
    np.testing.assert_array_equal(out[..., 3].astype(bool), alignment.seen)
    assert 0 < alignment.seen.mean() < 1


@pytest.mark.parametrize(
    ('model', 'card', 'message'),
    [
        ({'output_name': 'y'}, {}, r"m: the card names the output 'depth', the model has \['y'\]"),
        ({'input_name': 'x'}, {}, r"m: the card names the input 'image', the model has \['x'\]"),
        ({'extra_input': True}, {}, r"m: .* only input, it has \['image', 'intrinsics'\]"),
        ({'dtype': np.float16}, {}, r"m: input 'image' is tensor\(float16\)"),
        ({'dtype': np.float64}, {}, r"m: input 'image' is tensor\(double\)"),
        ({'output_shape': ('b', 2, 24, 32)}, {}, r"m: output 'depth' is .*2, 24, 32\]"),
        (
            {'shape': (1, 3, 24, 32)},
            {'canonical_camera': dataclasses.replace(CANONICAL, width=64)},
            r'm: input .* asks for float32 \[1, 3, 24, 64\]',
        ),
    ],
)
def test_what_cannot_be_built_is_named_before(
    tmp_path: Path, model: dict[str, Any], card: dict[str, Any], message: str
) -> None:
    path = write_model(tmp_path / 'tiny.onnx', **model)
    with pytest.raises(EngineError, match=message):
        built_network('m', path.read_bytes(), make_card(**card), (1, 3))


def test_an_old_network_is_named(tmp_path: Path) -> None:
    model = onnx.load(write_model(tmp_path / 'tiny.onnx'))
    model.opset_import[0].version = 6
    with pytest.raises(EngineError, match='of ONNX opset 6, TensorRT engines need 7'):
        built_network('m', model.SerializeToString(), make_card(), (1, 1))


def test_an_output_of_another_size_does_not_pass_for_more_images(tmp_path: Path) -> None:
    """Four images of half the width and height have the pixels of one."""
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node('ReduceMax', ['image'], ['one'], axes=[1], keepdims=1),
            helper.make_node('MaxPool', ['one'], ['depth'], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        'half',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, ['b', 3, 'h', 'w'])],
        [helper.make_tensor_value_info('depth', TensorProto.FLOAT, ['b', 1, 'x', 'y'])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    content = built_network('half', model.SerializeToString(), make_card(), (4, 4))
    require_rtx()
    bindings = find_bindings()
    if bindings.rtx:
        with pytest.raises(EngineError, match='cannot (read|build)'):
            build_plan(bindings, content, PlanOptions((4, 4), '8.9'), progress=False)
    with pytest.raises(Exception, match='reshape'):
        compute(content, random_images((4, 24, 32, 4)))


def test_what_computes_with_sizes_is_built_for_static_and_ranged_batches(
    tmp_path: Path,
) -> None:
    """Some exports bring depth to the size of the image, whatever that is."""
    from onnx import TensorProto, helper, numpy_helper

    plane = {'axes': [2, 3], 'mode': 'linear'}
    constants = {
        'half': np.array([12, 16], np.int64),
        'weights': np.float32([0.2, 0.3, 0.5]).reshape(1, 3, 1, 1),
        'one': np.array([1], np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node('Resize', ['image', '', '', 'half'], ['small'], **plane),
            helper.make_node('Conv', ['small', 'weights'], ['mean']),
            helper.make_node('Shape', ['image'], ['size'], start=2, end=4),
            helper.make_node('Resize', ['mean', '', '', 'size'], ['whole'], **plane),
            helper.make_node('Squeeze', ['whole', 'one'], ['depth']),
        ],
        'resized',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, ['b', 3, 'h', 'w'])],
        [helper.make_tensor_value_info('depth', TensorProto.FLOAT, ['b', 'h', 'w'])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=8)
    onnx.save(model, tmp_path / 'resized.onnx')
    engine = OnnxRuntimeEngine(tmp_path / 'resized.onnx', make_card(), batch=3)
    for batch, size in (((1, 1), 1), ((3, 3), 3), ((1, 3), 'batch')):
        content = built_network('resized', model.SerializeToString(), make_card(), batch)
        built = onnx.load_model_from_string(content).graph
        for tensor in (built.input[0], built.output[0]):
            first = tensor.type.tensor_type.shape.dim[0]
            assert (first.dim_value or first.dim_param) == size
        engine.input[:] = random_images(engine.input.shape, batch[1])
        engine.run(3)
        images = engine.input[: batch[1]]
        np.testing.assert_allclose(compute(content, images), engine.output[: batch[1]], rtol=1e-4)
        require_rtx()
        bindings = find_bindings()
        if bindings.rtx:
            assert build_plan(bindings, content, PlanOptions(batch, '8.9'), progress=False).code

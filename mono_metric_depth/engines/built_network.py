# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The network that TensorRT is given: bytes of images in, depth of one shape out.

Whatever a network's own tensors are, an engine has one input and one output: what the card says of
them is put into the graph, in float32 and before anything else, so that the GPU normalises and one
upload of bytes is enough. The model's file stays as it is.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from mono_metric_depth.engines import EngineError, Tensor, plan_batch
from mono_metric_depth.engines.network_image import CHANNELS, factor_and_offset
from mono_metric_depth.model_card import ModelCard

#: Begins the names of what is added; the first two are the built network's tensors.
_OURS = 'mono_metric_depth.'
INPUT, OUTPUT = f'{_OURS}images', f'{_OURS}output'
#: Since then factors are broadcast.
_OLDEST_OPSET = 7


def built_network(what: str, content: bytes, card: ModelCard, batch: tuple[int, int]) -> bytes:
    """Put what a card says of a network's tensors into its graph.

    Args:
        what: Names the network in errors.
        content: Its ONNX file.
        card: Its card.
        batch: Least and largest number of images at once; equal for a static batch.

    Returns:
        The ONNX file of a network that takes (b, height, width, 4) uint8 as
        :func:`~mono_metric_depth.engines.network_image.write_network_image` writes it, and puts
        out (b, 1, height, width) float32. b is the batch where that is static, the network's own
        where it has one, else free.

    Raises:
        EngineError: If its tensors are not those of the card, or it cannot be read.
    """
    try:
        onnx: Any = importlib.import_module('onnx')
    except ImportError as err:
        msg = f"TensorRT engines need onnx ({err}): pip install 'mono_metric_depth[tensorrt]'"
        raise EngineError(msg) from err
    try:
        model = onnx.load_model_from_string(content)
    except Exception as err:  # protobuf's own classes
        msg = f'{what}: the network cannot be read: {err}'
        raise EngineError(msg) from err
    graph = model.graph
    opset = max((entry.version for entry in model.opset_import if not entry.domain), default=0)
    if opset < _OLDEST_OPSET:
        msg = (
            f'{what}: the network is of ONNX opset {opset}, TensorRT engines need {_OLDEST_OPSET} '
            'or newer: export it anew, or bring it up to date with onnx.version_converter'
        )
        raise EngineError(msg)
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    plan = plan_batch(what, _tensors(onnx, inputs), _tensors(onnx, graph.output), card, batch[1])
    # TensorRT cannot read some networks that compute with sizes while one of them is free.
    static = plan.fixed or batch[0] == batch[1]
    images = plan.batch if static else 'batch'
    if not static:
        _give_whole_sizes(onnx, graph)
    _prepend(onnx, graph, card, images)
    _append(onnx, graph, card, images, has_batch=plan.has_batch)
    graph.ClearField('value_info')  # free sizes are chosen now
    try:
        return bytes(model.SerializeToString())
    except Exception as err:  # of more than 2 GiB
        msg = f'{what}: the network cannot be written: {err}'
        raise EngineError(msg) from err


def _tensors(onnx: Any, items: Any) -> dict[str, Tensor]:
    """Tensors as ONNX Runtime names them."""
    kinds = {onnx.TensorProto.FLOAT: 'float', onnx.TensorProto.DOUBLE: 'double'}
    found = {}
    for item in items:
        kind = item.type.tensor_type
        shape = tuple(
            size.dim_value if size.HasField('dim_value') else None for size in kind.shape.dim
        )
        name = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        found[item.name] = Tensor(shape, f'tensor({kinds.get(kind.elem_type, name)})')
    return found


def _give_whole_sizes(onnx: Any, graph: Any) -> None:
    """Say the sizes of all axes where a Resize says those of height and width alone.

    TensorRT takes the others for negative where the batch is free and these are constants.
    """
    nodes: list[Any] = []
    for number, node in enumerate(graph.node):
        attributes = {item.name: item for item in node.attribute}
        axes = attributes.get('axes')
        kept_ratio = attributes.get('keep_aspect_ratio_policy')
        if (
            node.op_type == 'Resize'
            and axes is not None
            and [*axes.ints] == [2, 3]
            and len(node.input) == 4
            and not node.input[1]
            and (kept_ratio is None or kept_ratio.s == b'stretch')
        ):
            first, whole = (f'{_OURS}{name}_{number}' for name in ('batch_channels', 'sizes'))
            make = onnx.helper.make_node
            nodes.append(make('Shape', [node.input[0]], [first], start=0, end=2))
            nodes.append(make('Concat', [first, node.input[3]], [whole], axis=0))
            node.input[3] = whole
            node.attribute.remove(axes)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _prepend(onnx: Any, graph: Any, card: ModelCard, batch: int | str) -> None:
    """Normalise in front of the network's own input."""
    camera, normalisation = card.canonical_camera, card.normalisation
    pairs = [factor_and_offset(normalisation, index) for index in range(3)]
    order = ['rgb'.index(channel) for channel in normalisation.channels]
    constants = {
        'colours': np.array(order, np.int64),
        'seen': np.array([3], np.int64),
        'factors': np.array([factor for factor, _ in pairs]).reshape(1, 3, 1, 1),
        'offsets': np.array([offset for _, offset in pairs]).reshape(1, 3, 1, 1),
    }
    names = {name: f'{_OURS}{name}' for name in constants}
    graph.initializer.extend(
        onnx.numpy_helper.from_array(value, names[name]) for name, value in constants.items()
    )
    node, kind = onnx.helper.make_node, onnx.TensorProto.FLOAT
    part = iter(f'{_OURS}{number}' for number in range(9))
    floats, planes, colours, seen, scaled, shifted = (next(part) for _ in range(6))
    front = [
        # First: TensorRT lets nothing but a cast read bytes (NVIDIA/TensorRT issue 3985).
        node('Cast', [INPUT], [floats], to=kind),
        node('Transpose', [floats], [planes], perm=[0, 3, 1, 2]),
        node('Gather', [planes, names['colours']], [colours], axis=1),
        node('Gather', [planes, names['seen']], [seen], axis=1),
        node('Mul', [colours, names['factors']], [scaled]),
        node('Sub', [scaled, names['offsets']], [shifted]),
        node('Mul', [shifted, seen], [card.input_name]),
    ]
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    size = (camera.height, camera.width)
    constant_inputs = [item for item in graph.input if item.name != card.input_name]
    del graph.input[:]
    graph.input.append(
        onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.UINT8, [batch, *size, CHANNELS])
    )
    graph.input.extend(constant_inputs)  # old files list their weights there


def _append(onnx: Any, graph: Any, card: ModelCard, batch: int | str, *, has_batch: bool) -> None:
    """Give the card's output a batch and a channel, and leave out all others."""
    camera = card.canonical_camera
    size = (camera.height, camera.width)
    # 0 keeps the batch as it is: an output of another size cannot pass for one of more images.
    shape = np.array([0 if has_batch else 1, 1, *size], np.int64)
    name = f'{_OURS}shape'
    graph.initializer.append(onnx.numpy_helper.from_array(shape, name))
    graph.node.append(onnx.helper.make_node('Reshape', [card.output_name, name], [OUTPUT]))
    del graph.output[:]
    graph.output.append(
        onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [batch, 1, *size])
    )

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Small networks with tensors as others export them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

#: Networks of others: sizes of the input, sizes of the output, what is left out of the latter.
FOREIGN: dict[str, tuple[list[Any], list[Any], list[int]]] = {
    'static': ([1, 3, 24, 32], [1, 1, 24, 32], []),
    'static batch': ([3, 3, 24, 32], [3, 1, 24, 32], []),
    'free': (['b', 3, 'h', 'w'], ['b', 1, 'h', 'w'], []),
    'fixed batch of free size': ([1, 3, 'h', 'w'], [1, 1, 'h', 'w'], []),
    'no channel': (['b', 3, 'h', 'w'], ['b', 'h', 'w'], [1]),
    'no channel, static': ([1, 3, 24, 32], [1, 24, 32], [1]),
    'no batch': (['b', 3, 'h', 'w'], ['h', 'w'], [0, 1]),
    'no batch, static': ([1, 3, 24, 32], [24, 32], [0, 1]),
    'two outputs': (['b', 3, 24, 32], ['b', 1, 24, 32], []),
}


def write_normalised(path: Path, by: str, axes: list[int], batch: int | str = 'b') -> Path:
    """A network that divides by what an operator such as ``ReduceMax`` finds along axes."""
    from onnx import TensorProto, helper, numpy_helper, save

    constants = {
        'weights': np.float32([0.2, 0.3, 0.5]).reshape(1, 3, 1, 1),
        'least': np.float32([0.1]),
    }
    graph = helper.make_graph(
        [
            helper.make_node('Conv', ['image', 'weights', 'least'], ['mean']),
            helper.make_node(by, ['mean'], ['whole'], axes=axes),
            helper.make_node('Div', ['mean', 'whole'], ['depth']),
        ],
        'normalised',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, [batch, 3, 24, 32])],
        [helper.make_tensor_value_info('depth', TensorProto.FLOAT, [batch, 1, 24, 32])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid('', 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def write_foreign(path: Path, kind: str) -> Path:
    """A network that puts out the weighted mean of channels, as ``depth``."""
    from onnx import TensorProto, helper, numpy_helper, save

    shape, output_shape, left_out = FOREIGN[kind]
    constants = {'weights': np.float32([0.2, 0.3, 0.5]).reshape(1, 3, 1, 1)}
    nodes = [helper.make_node('Conv', ['image', 'weights'], ['mean'])]
    if left_out:
        constants['axes'] = np.array(left_out, np.int64)
        nodes.append(helper.make_node('Squeeze', ['mean', 'axes'], ['depth']))
    else:
        nodes.append(helper.make_node('Identity', ['mean'], ['depth']))
    outputs = [helper.make_tensor_value_info('depth', TensorProto.FLOAT, output_shape)]
    if kind == 'two outputs':
        nodes.append(helper.make_node('Neg', ['mean'], ['other']))
        outputs.insert(0, helper.make_tensor_value_info('other', TensorProto.FLOAT, output_shape))
    graph = helper.make_graph(
        nodes,
        'foreign',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, shape)],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid('', 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A small model card, ONNX model and CameraInfo; every entry can be replaced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mono_metric_depth.camera import Camera
from mono_metric_depth.model_card import ModelCard, Normalisation
from mono_metric_depth.mount_statistics import MountStatistics
from mono_metric_depth.road_plane import RoadScale
from mono_metric_depth.scale import GlobalScale

SCALE = GlobalScale(2.0, 1.9, 2.1, 0.95, 'theil_sen', 12, 0.05, 'procedural town')
ROAD_SCALE = RoadScale(
    1.94, 1.9, 2.0, 0.95, 1.6, 80, 0.04, 'suburb, unlabelled', {'clutter': 3, 'tilt': 2}
)
CANONICAL = Camera(32, 24, 30.0, 30.0, 15.5, 11.5)


def make_card(**entries: Any) -> ModelCard:
    values: dict[str, Any] = {
        'name': 'tiny',
        'scale': SCALE,
        'canonical_camera': CANONICAL,
        'depth_range': (0.5, 80.0),
        'normalisation': Normalisation('rgb', (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        'camera_height': 1.5,
        'mounts': MountStatistics((1.3, 1.7), (0.2, 1.1), (-0.1, 0.4)),
        'road_scale': ROAD_SCALE,
        'provenance': {'seed': 7, 'drives': ['a', 'b']},
    }
    return ModelCard(**{**values, **entries})


def random_images(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """(n, h, w, 4) uint8 as engines take it: each pixel another colour, all of them seen."""
    images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    images[..., 3] = 1
    return images


def write_model(
    path: Path,
    *,
    shape: tuple[int | str, ...] = ('batch', 3, 24, 32),
    output_shape: tuple[int | str, ...] | None = None,
    weights: tuple[float, ...] = (0.25, 0.5, 0.25),
    low: float = 0.01,
    high: float = 100.0,
    dtype: Any = np.float32,
    input_name: str = 'image',
    output_name: str = 'depth',
    extra_input: bool = False,
) -> Path:
    """An ONNX model without a card: output = clip(channel weights . input, low, high).

    Named dimensions are dynamic.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    constants = {
        'weights': np.array(weights, dtype).reshape(1, -1, 1, 1),
        'low': np.array(low, dtype),
        'high': np.array(high, dtype),
    }
    nodes = [
        helper.make_node('Conv', [input_name, 'weights'], ['mean']),
        helper.make_node('Clip', ['mean', 'low', 'high'], [output_name]),
    ]
    inputs = [helper.make_tensor_value_info(input_name, kind, shape)]
    if extra_input:
        inputs.append(helper.make_tensor_value_info('intrinsics', TensorProto.FLOAT, [4]))
        nodes.append(helper.make_node('Identity', ['intrinsics'], ['unused']))
    output_shape = output_shape or (shape[0], 1, *shape[2:])
    graph = helper.make_graph(
        nodes,
        'tiny',
        inputs,
        [helper.make_tensor_value_info(output_name, kind, output_shape)],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    save(model, path)
    return path


def make_info(**entries: Any) -> SimpleNamespace:
    """The fields of a sensor_msgs/CameraInfo."""
    roi = {'x_offset': 0, 'y_offset': 0, 'width': 0, 'height': 0, **entries.pop('roi', {})}
    values: dict[str, Any] = {
        'width': 640,
        'height': 480,
        'distortion_model': 'plumb_bob',
        'd': [-0.3, 0.1, 0.001, -0.0005, 0.0],
        'k': [500.0, 0.0, 321.5, 0.0, 510.0, 242.25, 0.0, 0.0, 1.0],
        'p': [450.0, 0.0, 318.0, -54.0, 0.0, 455.0, 239.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        'binning_x': 0,
        'binning_y': 0,
    }
    return SimpleNamespace(**{**values, **entries}, roi=SimpleNamespace(**roi))

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""From a trained network to one ONNX file with its card."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import numpy as np
import torch

from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.model_card import ModelCard, write_card
from mono_metric_depth.training.depth_network import DepthNetwork, FullDepth

_OPSET = 18
_TOLERANCE = 1e-3


class ExportError(RuntimeError):
    """A network that does not survive its export."""


def export_onnx(network: DepthNetwork, card: ModelCard, path: Path) -> None:
    """Write a network and its card; batch size stays free. The file appears whole or not at all.

    Args:
        network: The trained network.
        card: Its card.
        path: Where to write.

    Raises:
        ExportError: If ONNX Runtime does not reproduce the network's depth to 0.1 %.
    """
    camera = card.canonical_camera
    # The exporter writes the tensors' formats down: export from plain ones, on the CPU.
    copy = DepthNetwork(network.scales)
    copy.load_state_dict(network.state_dict())
    model = FullDepth(copy).eval()
    example = torch.rand(2, 3, camera.height, camera.width) * 4 - 2
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f'.{os.getpid()}.part')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            logging.getLogger('torch.onnx').setLevel(logging.ERROR)
            torch.onnx.export(
                model,
                (example,),
                part,
                input_names=[card.input_name],
                output_names=[card.output_name],
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                dynamic_shapes={'image': {0: torch.export.Dim('batch', min=1, max=64)}},
                verbose=False,
            )
        write_card(part, card)
        _check(model, card, part, example)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _check(model: FullDepth, card: ModelCard, path: Path, example: torch.Tensor) -> None:
    engine = OnnxRuntimeEngine(path, card, batch=len(example))
    engine.input[:] = example.numpy()
    engine.run()
    with torch.inference_mode():
        expected = model(example).numpy()
    error = float(np.max(np.abs(engine.output - expected) / expected))
    if not error < _TOLERANCE:
        msg = f'the exported network differs from the trained one by {error:.2%} of depth'
        raise ExportError(msg)

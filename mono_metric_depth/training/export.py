# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""From a trained network to one ONNX file with its card."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxscript import optimizer

from mono_metric_depth.engines.network_image import normalised
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.model_card import ModelCard, write_card
from mono_metric_depth.training.networks import DepthNetwork, build_depth_network
from mono_metric_depth.training.networks.onnx_weights import stored_tensors

_OPSET = 18
_TOLERANCE = 1e-3


class ExportError(RuntimeError):
    """A network that does not survive its export."""


def export_onnx(network: DepthNetwork, card: ModelCard, path: Path, *, new: bool = False) -> None:
    """Write a network and its card; batch size stays free. The file appears whole or not at all.

    The file holds all of the network's weights under their own names, batch normalisation unfolded
    and the heads of coarser scales among them, so that training can go on from the file alone.
    Runtimes fold what is left to fold.

    Args:
        network: The trained network.
        card: Its card.
        path: Where to write.
        new: Whether a file that is already there stays as it is.

    Raises:
        ExportError: If ONNX Runtime does not reproduce the network's depth to 0.1 %, or, if
            ``new``, there is such a file.
    """
    camera = card.canonical_camera
    # The exporter writes the tensors' formats down: export from plain ones, on the CPU.
    model = build_depth_network(network.name).eval()
    model.load_state_dict({name: network.state_dict()[name] for name in model.state_dict()})
    example = torch.rand(2, 3, camera.height, camera.width) * 4 - 2
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f'.{os.getpid()}.part')
    try:
        proto = _graph(model, card, example)
        _store(proto, network)
        onnx.save_model(proto, part)
        write_card(part, card)
        _check(model, card, part)
        if new:
            try:
                os.link(part, path)  # unlike a rename, never in place of another file
            except FileExistsError as err:
                msg = (
                    f'{path} has appeared during training and stays as it is; move it and run the '
                    'same command again: nothing is lost'
                )
                raise ExportError(msg) from err
        else:
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _graph(model: DepthNetwork, card: ModelCard, example: torch.Tensor) -> onnx.ModelProto:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        logging.getLogger('torch.onnx').setLevel(logging.ERROR)
        program = torch.onnx.export(
            model,
            (example,),
            input_names=[card.input_name],
            output_names=[card.output_name],
            opset_version=_OPSET,
            dynamo=True,
            dynamic_shapes={'image': {0: torch.export.Dim('batch', min=1, max=64)}},
            verbose=False,
            # Its optimiser folds batch normalisation, and the weights are lost: only constants are
            # folded here.
            optimize=False,
        )
    assert program is not None
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    return program.model_proto


def _store(proto: onnx.ModelProto, network: DepthNetwork) -> None:
    """Complete a graph's weights; take out what the exporter wrote about this machine's files."""
    graph = proto.graph
    present = {tensor.name for tensor in graph.initializer}
    for name, value in stored_tensors(network).items():
        if name not in present:
            graph.initializer.append(onnx.numpy_helper.from_array(value.cpu().numpy(), name))
    for item in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        item.ClearField('metadata_props')
        item.ClearField('doc_string')


def _check(model: DepthNetwork, card: ModelCard, path: Path) -> None:
    engine = OnnxRuntimeEngine(path, card, batch=2)
    engine.input[:] = np.random.default_rng(0).integers(0, 256, engine.input.shape)
    engine.input[..., 3] = 1
    engine.run(2)
    with torch.inference_mode():
        images = torch.from_numpy(normalised(engine.input, card.normalisation))
        expected = model(images)[0].numpy()
    error = float(np.max(np.abs(engine.output - expected) / expected))
    if not error < _TOLERANCE:
        msg = f'the exported network differs from the trained one by {error:.2%} of depth'
        raise ExportError(msg)

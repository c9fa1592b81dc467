# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Precision: a model's ONNX file with its network in half floats or with 8-bit convolutions.

TensorRT 11 takes precision from the network alone, and TensorRT 10 can, so the ONNX file is
converted before an engine is built. Input and output stay float32, and so do the last convolution
and what turns it into depth: far depth is a small difference there. ONNX Runtime's own tools do
the converting. What is converted has no card, so that nobody runs it with an older scale than that
of its model, and says what it was made from.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.network_image import normalised
from mono_metric_depth.model_card import ModelCard
from mono_metric_depth.onnx_metadata import network_sha256, read_metadata, write_metadata

PRECISIONS = ('fp32', 'fp16', 'int8')
#: In the metadata of a converted file: what it was made from and how.
CONVERSION_KEY = 'mono_metric_depth.conversion'
_WEIGHTED = {'Conv', 'ConvTranspose', 'Gemm', 'MatMul'}


def convert_model(
    source: Path,
    target: Path,
    card: ModelCard,
    precision: str,
    frames: NDArray[np.uint8] | None = None,
) -> None:
    """Write a model in another precision. It appears whole or not at all, for its owner alone.

    Args:
        source: The ONNX file.
        target: Where to write.
        card: The model's card.
        precision: ``fp16``, or ``int8``: 8-bit convolutions between float32, by one scale per
            tensor of activations and per channel of weights, symmetric as TensorRT asks.
        frames: (n, height, width, 4) uint8, images that show int8 the range of each activation.

    Raises:
        EngineError: If the network cannot be converted or written, or what converts it is not
            installed.
    """
    try:
        importlib.import_module('onnx')
    except ImportError as err:
        msg = f"precision {precision} needs onnx: pip install 'mono_metric_depth[tensorrt]'"
        raise EngineError(msg) from err
    if precision not in {'fp16', 'int8'} or (precision == 'int8' and frames is None):
        msg = f'precision must be fp16, or int8 with frames to calibrate on, got {precision!r}'
        raise ValueError(msg)
    conversion = {
        'precision': precision,
        'model_sha256': network_sha256(source),
        'onnxruntime': ort.__version__,
    }
    if frames is not None:
        conversion |= {'frames': len(frames), 'frames_sha256': _digest(frames)}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f'.{target.stem}.') as folder:
            part = Path(folder) / 'converted.onnx'
            try:
                folded = _folded(source, Path(folder) / 'folded.onnx')
                if precision == 'fp16':
                    _to_half(folded, part)
                else:
                    assert frames is not None
                    _to_int8(folded, part, card, frames)
                write_metadata(part, {CONVERSION_KEY: json.dumps(conversion)})
                part.chmod(0o600)  # whatever the umask: others may not have written it
                part.replace(target)
            except Exception as err:  # the tools raise whatever goes wrong inside
                full = _full_disk(err, source, (target.parent, Path(tempfile.gettempdir())))
                reason = f'no space left in {full}; make room' if full else err
                msg = f'{source}: the network cannot be converted to {precision}: {reason}'
                raise EngineError(msg) from err
    except OSError as err:
        msg = f'{target} cannot be kept: {err.strerror}; make room, or set XDG_CACHE_HOME'
        raise EngineError(msg) from err


def _full_disk(err: Exception, source: Path, folders: tuple[Path, ...]) -> Path | None:
    """The folder without room for another copy of a model, if that is why it was not converted.

    ONNX Runtime only says that it could not write.
    """
    if isinstance(err, OSError) and err.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return None
    needed = source.stat().st_size
    short = [folder for folder in folders if shutil.disk_usage(folder).free < needed]
    if isinstance(err, OSError):
        short += [folders[0]]
    return short[0] if short else None


def conversion_of(path: Path) -> Mapping[str, Any]:
    """What a converted file was made from; empty if it is none, or cannot be read."""
    try:
        found = json.loads(read_metadata(path)[CONVERSION_KEY])
    except (KeyError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(frames: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(frames).data).hexdigest()


def _folded(source: Path, target: Path) -> Any:
    """The network with its constants and batch normalisations folded, in standard operators.

    Half a float holds no small variance; and int8 is fitted to what the convolutions put out.
    """
    import onnx

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    ort.InferenceSession(str(source), options, providers=['CPUExecutionProvider'])
    model = onnx.load(target)
    del model.metadata_props[:]  # the card
    # ONNX Runtime lists every operator set that it knows.
    used = {node.domain for node in model.graph.node}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f'node_{number}'
    return model


def _head(model: Any) -> list[str]:
    """Names of the nodes from the last convolutions on."""
    makers = {name: node for node in model.graph.node for name in node.output}
    head, waiting = [], [tensor.name for tensor in model.graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in head:
            head.append(node.name)
            if node.op_type not in _WEIGHTED:
                waiting.extend(node.input)
    return head


def _stem(model: Any, image: str) -> list[str]:
    """Names of the nodes up to the first convolutions."""
    stem: list[str] = []
    reached = {image}
    while True:
        found = [
            node
            for node in model.graph.node
            if node.name not in stem and reached.intersection(node.input)
        ]
        if not found:
            return stem
        stem += [node.name for node in found]
        reached = {name for node in found if node.op_type not in _WEIGHTED for name in node.output}


def _to_half(model: Any, target: Path) -> None:
    """Convert all but the head.

    The converter rounds to half floats between any two nodes that it is told to leave alone, and
    the output, too. So the head is cut off first, and put back as it was.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    head, graph = _head(model), model.graph
    head_nodes = [node for node in graph.node if node.name in head]
    body_nodes = [node for node in graph.node if node.name not in head]
    made = {name for node in body_nodes for name in node.output}
    cut = sorted({name for node in head_nodes for name in node.input} & made)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    head_constants = []
    for node in head_nodes:
        for index, name in enumerate(node.input):
            if name in constants:  # the body may have it, too, as a half float
                node.input[index] = f'head.{name}'
                tensor = onnx.TensorProto.FromString(constants[name].SerializeToString())
                tensor.name = node.input[index]
                head_constants.append(tensor)
    unique = {tensor.name: tensor for tensor in head_constants}
    used = {name for node in body_nodes for name in node.input}
    outputs = list(graph.output)
    body = onnx.helper.make_graph(
        body_nodes,
        graph.name,
        graph.input,
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in cut],
        [tensor for name, tensor in constants.items() if name in used],
    )
    half = onnx.helper.make_model(body, opset_imports=model.opset_import)
    half.ir_version = model.ir_version
    if cut:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of numbers too small for half a float
            half = convert_float_to_float16(half, keep_io_types=True)
    half.graph.node.extend(head_nodes)
    half.graph.initializer.extend(unique.values())
    del half.graph.output[:]
    half.graph.output.extend(outputs)
    half.graph.ClearField('value_info')
    _sort_nodes(half.graph)
    onnx.checker.check_model(half)
    onnx.save(half, target)


def _sort_nodes(graph: Any) -> None:
    """Put nodes after those that make their inputs: the converter appends its casts."""
    ready = {tensor.name for tensor in (*graph.input, *graph.initializer)} | {''}
    waiting: list[Any] = list(graph.node)
    ordered: list[Any] = []
    while waiting:
        now: list[Any] = []
        later: list[Any] = []
        for node in waiting:
            (now if ready.issuperset(node.input) else later).append(node)
        if not now:
            msg = 'its graph has a loop or lacks a tensor'
            raise ValueError(msg)
        ready |= {name for node in now for name in node.output}
        ordered, waiting = ordered + now, later
    del graph.node[:]
    graph.node.extend(ordered)


def _to_int8(model: Any, target: Path, card: ModelCard, frames: NDArray[np.uint8]) -> None:
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)  # it recommends what _folded has done
    try:
        quantize_static(
            model,
            target,
            _Frames(card, frames),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=['Conv'],
            nodes_to_exclude=[*_stem(model, card.input_name), *_head(model)],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                'ActivationSymmetric': True,
                'WeightSymmetric': True,
                'QuantizeBias': False,  # TensorRT takes a float32 bias
            },
        )
    finally:
        root.setLevel(level)


class _Frames:
    """What ONNX Runtime's calibration reads: one input at a time."""

    def __init__(self, card: ModelCard, frames: NDArray[np.uint8]) -> None:
        self._frames: Iterator[NDArray[np.uint8]] = iter(frames[:, None])
        self._card = card

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input; None at the end."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        return {self._card.input_name: normalised(frame, self._card.normalisation)}

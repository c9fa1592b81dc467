# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a runtime that compiles a network for itself, as it loads it, gives the model's depth.

ONNX Runtime on the CPU is what everything is compared with. OpenVINO, and ONNX Runtime on a GPU,
choose their own kernels and precision, and may get it wrong as a TensorRT engine may. On a CPU
the choice depends on the model, the runtime's version and the processor alone: what was compared
once holds, and is kept beside the engines.

With several images at once the network itself is looked at first, on ONNX Runtime as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort

from mono_metric_depth.engines import Engine, EngineError
from mono_metric_depth.engines.batch_mixing import require_images_apart
from mono_metric_depth.engines.engine_cache import EngineCache
from mono_metric_depth.engines.onnxruntime import REFERENCE
from mono_metric_depth.engines.own_files import read_own, write_own
from mono_metric_depth.engines.parity import Parity, measure_parity, parity_from_json
from mono_metric_depth.model_card import ModelCard
from mono_metric_depth.onnx_metadata import OnnxFileError, network_sha256

#: Changes with what is compared, and how.
_RECIPE = 2
#: Of the stored frames, one of each domain: each costs about as much as three runs.
_FRAMES = 3
_LARGEST = 1 << 20
_CPUINFO = Path('/proc/cpuinfo')
#: What tells processors apart there, on x86 and on ARM; the rest differs from core to core.
_PROCESSOR = {
    *('vendor_id', 'cpu family', 'model', 'model name', 'stepping', 'flags'),
    *(
        'CPU implementer',
        'CPU architecture',
        'CPU variant',
        'CPU part',
        'CPU revision',
        'Features',
    ),
}


def runtime_parity(
    engine: Engine,
    model: Path | str,
    card: ModelCard,
    *,
    threads: int,
    folder: Path,
    say: Callable[[str], object],
) -> Parity:
    """How a loaded runtime compares with the model on ONNX Runtime's CPU.

    Args:
        engine: The runtime, warm.
        model: The ONNX file.
        card: Its card.
        threads: Of the runtime, as asked for.
        folder: Where what was compared is kept.
        say: Tells the operator what is done.

    Returns:
        The figures, within their tolerance. Those of ONNX Runtime on the CPU are of images in
        company beside the same images alone.

    Raises:
        EngineError: If they are not, with what was found; if the network mixes the images of a
            batch; or if the engine fails.
    """
    on_cpu = engine.provider.startswith('CPU')
    key = _key(engine, model, card, threads)
    if on_cpu:
        found = _kept(folder, key, model)
        if found is not None:
            return found
    apart = require_images_apart(model, card, len(engine.input), say)
    if engine.provider == REFERENCE and apart is not None:
        _keep(folder, key, model, apart, say)
        return apart
    say(f'comparing {engine.name} on {engine.provider} with ONNX Runtime on the CPU')
    precision = 'cpu' if on_cpu else 'fp32'
    parity = measure_parity(engine, model, card, precision=precision, stored=_FRAMES)
    say(f'parity: {parity}')
    if not parity.passed:
        other = 'engine onnxruntime' if on_cpu else 'engine openvino, or hide the GPU from it'
        msg = (
            f'{engine.name} on {engine.provider} does not give the depth of {Path(model).name} '
            f'and is refused: {"; ".join(parity.findings)}. Take {other}, or another version of it'
        )
        raise EngineError(msg)
    if on_cpu:  # a GPU's libraries may choose otherwise each time
        _keep(folder, key, model, parity, say)
    return parity


def _key(engine: Engine, model: Path | str, card: ModelCard, threads: int) -> dict[str, Any]:
    """Everything that a comparison depends on."""
    try:
        network = network_sha256(Path(model))
    except OnnxFileError as err:
        raise EngineError(str(err)) from err
    values = {
        'recipe': _RECIPE,
        'model_sha256': network,
        'runtime': engine.name,
        'provider': engine.provider,
        'reference': ort.__version__,
        'processor': _processor(),
        'threads': threads or os.cpu_count(),
        'batch': len(engine.input),
        'camera': dataclasses.astuple(card.canonical_camera),
        'normalisation': dataclasses.astuple(card.normalisation),
        'tensors': (card.input_name, card.output_name, card.output_kind),
    }
    found: dict[str, Any] = json.loads(json.dumps(values))  # as it comes back
    return found


def _processor() -> str:
    """What a processor can do, in a word."""
    try:
        lines = _CPUINFO.read_text(errors='replace').splitlines()
    except OSError:
        lines = []
    entries = [line.partition(':') for line in lines]
    told = {(name.strip(), value.strip()) for name, _, value in entries}
    known = sorted(entry for entry in told if entry[0] in _PROCESSOR)
    return _digest([platform.machine(), platform.processor(), known])


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _file(folder: Path, key: dict[str, Any], model: Path | str) -> Path:
    return EngineCache(folder, Path(model).stem).file(f'{_digest(key)[:16]}.parity')


def _kept(folder: Path, key: dict[str, Any], model: Path | str) -> Parity | None:
    """What was compared before; None where that is not there, or cannot be relied on."""
    try:
        found = json.loads(read_own(_file(folder, key, model), _LARGEST))
        if found['key'] != key:
            return None
        parity = parity_from_json(found['parity'])
        str(parity)  # fails where a figure is none
    except (EngineError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return parity if parity.passed else None


def _keep(
    folder: Path,
    key: dict[str, Any],
    model: Path | str,
    parity: Parity,
    say: Callable[[str], object],
) -> None:
    content = {'key': key, 'parity': dataclasses.asdict(parity)}
    try:
        write_own(_file(folder, key, model), json.dumps(content, indent=1).encode())
    except EngineError as err:
        say(f'the comparison is not kept, and made again next time: {err}')

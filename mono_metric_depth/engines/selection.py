# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The engine for a model: TensorRT where there is a GPU and the bindings, else one on CPUs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import onnxruntime as ort

from mono_metric_depth.engines import Engine, EngineError
from mono_metric_depth.engines.built_engine import open_built_engine
from mono_metric_depth.engines.cuda import Gpu, find_gpu
from mono_metric_depth.engines.engine_cache import default_cache, has_engines
from mono_metric_depth.engines.engine_request import EngineRequest
from mono_metric_depth.engines.onnxruntime import REFERENCE, OnnxRuntimeEngine
from mono_metric_depth.engines.openvino import OpenVinoEngine
from mono_metric_depth.engines.precision import PRECISIONS
from mono_metric_depth.engines.runtime_parity import runtime_parity
from mono_metric_depth.engines.tensorrt_bindings import Bindings, find_bindings
from mono_metric_depth.engines.tensorrt_plan import buildable_capabilities
from mono_metric_depth.model_card import ModelCard

ENGINES = ('auto', 'tensorrt', 'openvino', 'onnxruntime')
_LOG = logging.getLogger(__name__)
#: NVIDIA's drivers make these: on a desktop, on a Jetson, within Windows.
_GPU_DEVICES = ('/dev/nvidia0', '/dev/nvidiactl', '/dev/nvhost-gpu', '/dev/nvgpu', '/dev/dxg')


def open_engine(
    path: Path | str,
    card: ModelCard,
    *,
    engine: str = 'auto',
    precision: str = 'fp16',
    batch: int = 1,
    threads: int = 0,
    cache: Path | None = None,
    say: Callable[[str], object] = _LOG.info,
    warn: Callable[[str], object] = _LOG.warning,
    on_step: Callable[[], object] = lambda: None,
) -> Engine:
    """Load a model and warm it up.

    A TensorRT engine that is not in the cache is built, which can take minutes. Whatever is not
    ONNX Runtime on the CPU is compared with that. What gives other depth is refused, with
    ``auto``, too: nobody would see it. So is, on every engine, a network that mixes the images of
    a batch where it is given several.

    Args:
        path: ONNX file.
        card: Its card.
        engine: One of :data:`ENGINES`. ``auto`` takes TensorRT where a GPU and the bindings are
            there, else OpenVINO where it is installed, loads the model and ONNX Runtime knows no
            GPU, else ONNX Runtime; the others never fall back.
        precision: Of a TensorRT engine, one of :data:`PRECISIONS`.
        batch: Most images at once; a TensorRT engine takes any number up to it.
        threads: Of an engine on CPUs; 0 for as many as there are cores.
        cache: Folder of TensorRT engines and comparisons; the user's own cache if left out.
        say: Tells the operator what is done, and what runs a model where there is no GPU.
        warn: Says so where there is one, or where engines for one were built; and where OpenVINO
            is installed and cannot be used.
        on_step: Called now and then while an engine is built; what it raises ends that.

    Returns:
        The engine.

    Raises:
        EngineError: If the model cannot be loaded, or what runs it is refused.
        ValueError: If ``engine`` or ``precision`` is not among its values.
    """
    for name, value, allowed in (
        ('engine', engine, ENGINES),
        ('precision', precision, PRECISIONS),
    ):
        if value not in allowed:
            msg = f'{name} must be one of {", ".join(allowed)}, got {value!r}'
            raise ValueError(msg)
    folder, chosen_here = cache or default_cache(), engine == 'auto'
    if engine in {'auto', 'tensorrt'}:
        try:
            bindings, gpu = usable_tensorrt()
        except EngineError as err:
            if engine == 'tensorrt':
                msg = f'{err}. Until that is mended take engine auto, which runs on what is there'
                raise EngineError(msg) from err
            engine = _without_tensorrt()
            wanted = gpu_devices() or has_engines(folder, Path(path).stem)
            (warn if wanted else say)(f'{engine} runs the model, not TensorRT: {err}')
        else:
            request = EngineRequest(
                Path(path),
                card,
                bindings,
                gpu.compute_capability,
                gpu,
                precision,
                (1, batch),
                folder=folder,
                say=say,
                progress=False,
                on_step=on_step,
            )
            return open_built_engine(request)
    try:
        runtime = _loaded(engine, path, card, batch, threads)
    except EngineError as err:
        if not (chosen_here and engine == 'openvino'):
            raise
        warn(f'onnxruntime runs the model, not openvino: {err}')
        runtime = _loaded('onnxruntime', path, card, batch, threads)
    if runtime.provider != REFERENCE or len(runtime.input) > 1:
        try:
            parity = runtime_parity(runtime, path, card, threads=threads, folder=folder, say=say)
        except BaseException:
            runtime.close()
            raise
        if runtime.provider != REFERENCE:
            runtime.parity = parity
    return runtime


def _loaded(
    engine: str, path: Path | str, card: ModelCard, batch: int, threads: int
) -> OpenVinoEngine | OnnxRuntimeEngine:
    kind = OpenVinoEngine if engine == 'openvino' else OnnxRuntimeEngine
    runtime = kind(path, card, batch=batch, threads=threads)
    runtime.warm_up()
    return runtime


def _without_tensorrt() -> str:
    on_gpu = 'CUDAExecutionProvider' in ort.get_available_providers()
    return 'onnxruntime' if on_gpu or find_spec('openvino') is None else 'openvino'


def gpu_devices() -> list[str]:
    """Device files of NVIDIA's GPUs, whether or not anything here can use them."""
    return [path for path in _GPU_DEVICES if Path(path).exists()]


def usable_tensorrt() -> tuple[Bindings, Gpu]:
    """TensorRT and the GPU that it can be used on.

    Raises:
        EngineError: If either is not there, or one does not go with the other.
    """
    gpu = find_gpu()  # first: loading TensorRT takes its time
    bindings = find_bindings()
    if bindings.rtx and gpu.compute_capability not in buildable_capabilities(bindings):
        msg = f'{bindings} has no engines for {gpu.name} (compute {gpu.compute_capability})'
        raise EngineError(msg)
    return bindings, gpu

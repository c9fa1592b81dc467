# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Networks run by TensorRT 10 or 11, or TensorRT for RTX."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.engines import EngineError, require_images
from mono_metric_depth.engines.built_network import INPUT, OUTPUT
from mono_metric_depth.engines.cuda import Gpu, SharedArray, call, release, runtime
from mono_metric_depth.engines.network_image import CHANNELS
from mono_metric_depth.engines.parity import Parity
from mono_metric_depth.engines.tensorrt_bindings import Bindings
from mono_metric_depth.model_card import ModelCard

_LOG = logging.getLogger(__name__)
_WARM_UP_RUNS = 3


@dataclass
class _Lane:
    """What runs one number of images: a graph's addresses and shapes hold for ever.

    Attributes:
        context: TensorRT's, with its scratch memory.
        graph: The whole run as one launch, once recorded; None before, and where there is none.
    """

    context: Any
    graph: Any = None


class TensorRTEngine:
    """An :class:`~mono_metric_depth.engines.Engine` on TensorRT.

    One stream; one upload and one download of pinned memory, or none on a GPU that shares the
    CPU's. Each number of images is recorded as a CUDA graph when it is warmed up. The GPU
    normalises; images are aligned on the CPU, which takes about as long as copying the whole image
    to where the GPU could read it (docs/hot_path.md).

    Args:
        plan: The serialised engine. It is machine code: only load one that this machine built.
        card: The model's card.
        bindings: TensorRT.
        gpu: The GPU.
        runtime_cache: File in which TensorRT for RTX keeps what it compiles for this very GPU.

    Attributes:
        parity: How it compares with the model on ONNX Runtime; None while that is not known.
        precision: What it was built in, as ``fp16``; empty while that is not known.

    Raises:
        EngineError: If TensorRT cannot load the plan, its tensors are not those of the card, or
            there is no memory left.
    """

    def __init__(
        self,
        plan: bytes,
        card: ModelCard,
        *,
        bindings: Bindings,
        gpu: Gpu,
        runtime_cache: Path | None = None,
    ) -> None:
        self.name = str(bindings)
        self.provider = gpu.name
        self.parity: Parity | None = None
        self.precision = ''
        self._bindings, self._cache_file = bindings, runtime_cache
        self._errors: list[str] = []
        self._log = bindings.logger(self._errors)
        # TensorRT's objects refer to one another: the logger outlives the runtime, and so on.
        self._runtime = bindings.trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            msg = f'{bindings} cannot load the engine: {self._last_error()}'
            raise EngineError(msg)
        camera = card.canonical_camera
        size = (camera.height, camera.width)
        self._least, batch = check_tensors(bindings, self._engine, size)
        self._lanes: dict[int, _Lane] = {}
        self._shared: list[SharedArray] = []
        self._scratch = 0
        self._stream = call('cudaStreamCreateWithFlags', runtime().cudaStreamNonBlocking)
        try:
            self._shared.append(SharedArray((batch, *size, CHANNELS), np.uint8, gpu))
            self._shared.append(SharedArray((batch, 1, *size), np.float32, gpu))
            self._scratch_size = max(1, int(self._engine.device_memory_size_v2))
            self._scratch = int(call('cudaMalloc', self._scratch_size))
            self._configuration, self._cache = self._runtime_configuration()
        except BaseException:
            self.close()
            raise
        self.input: NDArray[np.uint8] = self._shared[0].host
        self.output: NDArray[np.float32] = self._shared[1].host

    def run(self, images: int) -> None:
        """Compute ``output[:images]`` from ``input[:images]``.

        Args:
            images: How many, from 1 to ``batch``.

        Raises:
            ValueError: If there are none, or more than ``batch``.
            EngineError: If TensorRT or CUDA fails.
        """
        if self._engine is None:
            msg = 'the engine is closed'
            raise EngineError(msg)
        require_images(images, len(self.input))
        count = max(images, self._least)
        lane = self._lanes.get(count) or self._new_lane(count)
        if lane.graph is None:
            self._enqueue(lane, count)
        else:
            call('cudaGraphLaunch', lane.graph, self._stream)
        call('cudaStreamSynchronize', self._stream)

    def warm_up(self) -> None:
        """Run every number of images, then record each as a CUDA graph."""
        for images in range(self._least, len(self.input) + 1):
            for _ in range(_WARM_UP_RUNS):
                self.run(images)
            if not self._bindings.rtx:  # which records by itself
                self._record(self._lanes[images], images)
                self.run(images)
        self._keep_runtime_cache()

    def close(self) -> None:
        """Free the network; the buffers must not be used any more."""
        if self._engine is None:
            return
        release('cudaStreamSynchronize', self._stream)
        for lane in self._lanes.values():
            if lane.graph is not None:
                release('cudaGraphExecDestroy', lane.graph)
        self._lanes = {}
        # In this order: TensorRT frees what an object refers to with it.
        self._configuration = self._cache = None
        self._engine = None
        self._runtime = None
        self.input = np.zeros((0, 1, 1, CHANNELS), np.uint8)
        self.output = np.zeros((0, 1, 1, 1), np.float32)
        while self._shared:
            self._shared.pop().free()
        if self._scratch:
            release('cudaFree', self._scratch)
        release('cudaStreamDestroy', self._stream)

    def _new_lane(self, count: int) -> _Lane:
        shape = (count, *self.input.shape[1:])
        managed = self._bindings.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        strategy = managed if self._configuration is None else self._configuration
        context = self._engine.create_execution_context(strategy)
        # One runs at a time: all share one scratch memory, of the size that the largest needs.
        if context is not None:
            context.set_device_memory(self._scratch, self._scratch_size)
        if (
            context is None
            or not context.set_input_shape(INPUT, shape)
            or not context.set_tensor_address(INPUT, self._shared[0].device)
            or not context.set_tensor_address(OUTPUT, self._shared[1].device)
            or tuple(context.get_tensor_shape(OUTPUT)) != (count, *self.output.shape[1:])
        ):
            msg = f'{self.name} cannot run {count} images: {self._last_error()}'
            raise EngineError(msg)
        self._lanes[count] = _Lane(context)
        return self._lanes[count]

    def _enqueue(self, lane: _Lane, count: int) -> None:
        self._shared[0].upload(self._stream, count)
        if not lane.context.execute_async_v3(int(self._stream)):
            msg = f'{self.name} failed: {self._last_error()}'
            raise EngineError(msg)
        self._shared[1].download(self._stream, count)

    def _record(self, lane: _Lane, count: int) -> None:
        """Record a run; it runs as well without a graph, only later, where any of that fails."""
        mode = runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        try:
            call('cudaStreamBeginCapture', self._stream, mode)
        except EngineError as err:
            _LOG.info('%s runs without a CUDA graph: %s', self.name, err)
            return
        failure, graph = None, None
        try:
            self._enqueue(lane, count)
        except EngineError as err:
            failure = err
        try:  # whatever failed: the stream records until then
            graph = call('cudaStreamEndCapture', self._stream)
            if failure is None:
                lane.graph = call('cudaGraphInstantiate', graph, 0)
        except EngineError as err:
            failure = failure or err
        finally:
            if graph is not None and int(graph):
                release('cudaGraphDestroy', graph)
        if failure is not None:
            _LOG.info('%s runs without a CUDA graph: %s', self.name, failure)

    def _runtime_configuration(self) -> tuple[Any, Any]:
        """TensorRT for RTX compiles for this very GPU at first; that is kept from run to run."""
        if not self._bindings.rtx:
            return None, None
        trt, configuration = self._bindings.trt, self._engine.create_runtime_config()
        configuration.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        # By default kernels for a shape are put in place while others run: not what was checked.
        specialization = trt.DynamicShapesKernelSpecializationStrategy
        configuration.dynamic_shapes_kernel_specialization_strategy = specialization.EAGER
        configuration.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        cache = configuration.create_runtime_cache()
        if self._cache_file is not None and self._cache_file.is_file():
            cache.deserialize(self._cache_file.read_bytes())  # refuses what does not fit
        configuration.set_runtime_cache(cache)
        return configuration, cache

    def _keep_runtime_cache(self) -> None:
        if self._cache is None or self._cache_file is None:
            return
        content = bytes(self._cache.serialize())
        try:
            descriptor, name = tempfile.mkstemp(dir=self._cache_file.parent, suffix='.part')
            try:
                with os.fdopen(descriptor, 'wb') as file:
                    file.write(content)
                Path(name).replace(self._cache_file)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as err:  # it is compiled again next time
            _LOG.warning('%s cannot be kept: %s', self._cache_file, err.strerror)

    def _last_error(self) -> str:
        return self._errors[-1] if self._errors else 'it does not say why'


def check_tensors(bindings: Bindings, engine: Any, size: tuple[int, int]) -> tuple[int, int]:
    """Refuse an engine that was not made of a built network of this size.

    Args:
        bindings: TensorRT.
        engine: The deserialised engine.
        size: Height and width of the model's images.

    Returns:
        Least and largest number of images that the engine takes.

    Raises:
        EngineError: If names, types or shapes differ.
    """
    trt = bindings.trt
    found = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = tuple(engine.get_tensor_shape(name))
        kinds = engine.get_tensor_mode(name), engine.get_tensor_dtype(name)
        found[name] = (*kinds, shape[1:])
        if name == INPUT:
            batch = shape[0]
    expected = {
        INPUT: (trt.TensorIOMode.INPUT, trt.DataType.UINT8, (*size, CHANNELS)),
        OUTPUT: (trt.TensorIOMode.OUTPUT, trt.DataType.FLOAT, (1, *size)),
    }
    if found != expected:
        msg = f'the engine has the tensors {found}, not {expected}'
        raise EngineError(msg)
    if batch != -1:
        return batch, batch
    low, _, high = engine.get_tensor_profile_shape(INPUT, 0)
    return int(tuple(low)[0]), int(tuple(high)[0])

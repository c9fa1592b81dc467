# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The GPU through NVIDIA's own Python bindings: what it is, and memory that it shares with us."""

from __future__ import annotations

import ctypes
import importlib
import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mono_metric_depth.engines import EngineError

_LOG = logging.getLogger(__name__)


#: Why CUDA finds no GPU, by its error.
_CAUSES = {
    'cudaErrorInsufficientDriver': (
        "NVIDIA's driver is not installed here, or is older than CUDA {}, which the installed "
        'cuda-bindings are for'
    ),
    'cudaErrorNoDevice': (
        'the driver shows none; CUDA_VISIBLE_DEVICES may hide it, and a container must be '
        'started with it (--gpus all, --runtime nvidia)'
    ),
    'cudaErrorSystemDriverMismatch': (
        "parts of NVIDIA's driver are of different versions; restart after an update"
    ),
    'cudaErrorStubLibrary': (
        "a stub of libcuda.so is found before the driver's own; look at LD_LIBRARY_PATH"
    ),
    'cudaErrorDevicesUnavailable': 'another program keeps it to itself',
}


@dataclass(frozen=True)
class Gpu:
    """The GPU in use, the first one that CUDA shows.

    Attributes:
        name: Such as ``Orin`` or ``NVIDIA GeForce RTX 4090``.
        compute_capability: Such as ``8.7``.
        integrated: Whether it shares its memory with the CPU, as on a Jetson.
        processors: How many multiprocessors it has: Jetsons of one generation share a name.
        memory_class: Its memory (GiB), up to the next power of two: what a system keeps for
            itself varies.
        driver: Newest CUDA that the driver knows, such as ``12.6``.
        cuda: CUDA's runtime in use, such as ``12.6``.
    """

    name: str
    compute_capability: str
    integrated: bool
    processors: int
    memory_class: int
    driver: str
    cuda: str


def runtime() -> Any:
    """The module ``cuda.bindings.runtime``.

    Raises:
        EngineError: If it cannot be imported.
    """
    try:
        return importlib.import_module('cuda.bindings.runtime')
    except ImportError as err:
        msg = (
            f'cuda-bindings cannot be imported ({err}): pip install cuda-bindings, of the same '
            'major version as CUDA (12 on JetPack 6)'
        )
        raise EngineError(msg) from err


def call(name: str, *arguments: Any) -> Any:
    """Call a function of CUDA's runtime.

    Args:
        name: Such as ``cudaMalloc``.
        arguments: Its arguments.

    Returns:
        Its result, if it has one.

    Raises:
        EngineError: If it fails.
    """
    status, *results = getattr(runtime(), name)(*arguments)
    if int(status) != 0:
        # Else the next who asks what went wrong, as TensorRT does, takes it for its own.
        runtime().cudaGetLastError()
        msg = f'CUDA: {name} failed: {getattr(status, "name", status)}'
        raise EngineError(msg)
    return results[0] if results else None


def release(name: str, *arguments: Any) -> None:
    """Call a function that frees something. What fails is logged: after a fatal error all do."""
    try:
        call(name, *arguments)
    except EngineError as err:
        _LOG.warning('%s', err)


def find_gpu() -> Gpu:
    """The GPU.

    Raises:
        EngineError: If there is none, or no driver for it.
    """
    attributes = runtime().cudaDeviceAttr
    try:
        status, count = runtime().cudaGetDeviceCount()
    except RuntimeError as err:  # a library of CUDA is missing
        msg = f'no GPU of NVIDIA can be used: {err}'
        raise EngineError(msg) from err
    if int(status) != 0 or not count:
        name = getattr(status, 'name', str(status)) if int(status) else 'cudaErrorNoDevice'
        cause = _CAUSES.get(name, 'nvidia-smi may say why')
        if '{}' in cause:
            cause = cause.format(call('cudaRuntimeGetVersion') // 1000)
        msg = f'no GPU of NVIDIA can be used: {cause} ({name})'
        raise EngineError(msg)
    properties = call('cudaGetDeviceProperties', 0)
    major, minor, integrated = (
        call('cudaDeviceGetAttribute', attribute, 0)
        for attribute in (
            attributes.cudaDevAttrComputeCapabilityMajor,
            attributes.cudaDevAttrComputeCapabilityMinor,
            attributes.cudaDevAttrIntegrated,
        )
    )
    name = properties.name
    text = name.decode(errors='replace') if isinstance(name, bytes) else str(name)
    return Gpu(
        text.rstrip('\0'),
        f'{major}.{minor}',
        bool(integrated),
        int(properties.multiProcessorCount),
        1 << max(0, math.ceil(math.log2(int(properties.totalGlobalMem) / (1 << 30)))),
        _version(call('cudaDriverGetVersion')),
        _version(call('cudaRuntimeGetVersion')),
    )


def _version(number: int) -> str:
    """As CUDA writes it: 12060 is 12.6."""
    return f'{number // 1000}.{number % 1000 // 10}'


class SharedArray:
    """An array that the GPU can read and write.

    On a GPU with memory of its own there are two copies, in pinned and in device memory, and
    :meth:`upload` and :meth:`download` bring one to the other. On an integrated GPU both are the
    same memory, and nothing is copied.

    Args:
        shape: Its shape.
        dtype: Its type.
        gpu: The GPU.

    Attributes:
        host: The array, zeros at first.
        device: Its address on the GPU.

    Raises:
        EngineError: If there is no memory left.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, gpu: Gpu) -> None:
        self._cuda = runtime()
        self._bytes = np.dtype(dtype).itemsize * math.prod(shape)
        self._mapped = gpu.integrated
        flags = self._cuda.cudaHostAllocMapped if gpu.integrated else 0
        self._pinned = int(call('cudaHostAlloc', self._bytes, flags))
        memory = memoryview((ctypes.c_char * self._bytes).from_address(self._pinned))
        self.host: NDArray[Any] = np.frombuffer(memory, dtype).reshape(shape)
        self.host.fill(0)
        try:
            if gpu.integrated:
                self.device = int(call('cudaHostGetDevicePointer', self._pinned, 0))
            else:
                self.device = int(call('cudaMalloc', self._bytes))
        except EngineError:
            release('cudaFreeHost', self._pinned)
            raise

    def upload(self, stream: Any, images: int) -> None:
        """Bring the first images to the GPU, in the stream's order."""
        self._copy(self.device, self._pinned, 'cudaMemcpyHostToDevice', stream, images)

    def download(self, stream: Any, images: int) -> None:
        """Bring the first images from the GPU, in the stream's order."""
        self._copy(self._pinned, self.device, 'cudaMemcpyDeviceToHost', stream, images)

    def free(self) -> None:
        """Give the memory back; the array must not be used any more."""
        if not self._mapped:
            release('cudaFree', self.device)
        release('cudaFreeHost', self._pinned)

    def _copy(self, target: int, source: int, kind: str, stream: Any, images: int) -> None:
        if not self._mapped:
            size = self._bytes // len(self.host) * images
            kinds = self._cuda.cudaMemcpyKind
            call('cudaMemcpyAsync', target, source, size, getattr(kinds, kind), stream)

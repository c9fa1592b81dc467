# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT and CUDA as their bindings have them, with ONNX Runtime in place of the GPU.

No GPU is needed, and none is shown to work. What is shown: every name and argument that this
package uses is one of the real bindings (:mod:`tensorrt_api`, ``cuda.bindings``); and buffers,
batches, recorded graphs and the ways of failing are put together as they should be.
"""

from __future__ import annotations

import base64
import ctypes
import enum
import inspect
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from cuda.bindings import runtime as real_cuda
from tensorrt_api import tensorrt_api

from mono_metric_depth.engines.tensorrt_bindings import Bindings

#: Bytes that a network needs while it runs.
SCRATCH = 12345
#: Changes outputs of the simulated GPU: (outputs, number of the run) -> outputs.
Fault = Callable[[np.ndarray, int], np.ndarray]


class Cuda:
    """CUDA's runtime: the real enumerations, its own memory, the real functions' arguments."""

    def __init__(self, *, integrated: bool = False, capability: tuple[int, int] = (8, 7)) -> None:
        self.memory: dict[int, Any] = {}
        self.calls: list[str] = []
        self.recording: list[Callable[[], None]] | None = None
        self.full = self.broken = False
        self.failing = ''
        self.found: tuple[Any, int] = (real_cuda.cudaError_t.cudaSuccess, 1)
        self.name, self.processors, self.memory_size = b'Simulated', 16, 31 << 30
        self.driver_version = 13020
        attributes = real_cuda.cudaDeviceAttr
        self._attributes = {
            attributes.cudaDevAttrComputeCapabilityMajor: capability[0],
            attributes.cudaDevAttrComputeCapabilityMinor: capability[1],
            attributes.cudaDevAttrIntegrated: int(integrated),
        }

    def __getattr__(self, name: str) -> Any:
        real = getattr(real_cuda, name)
        if not callable(real) or isinstance(real, type):
            return real

        def call(*arguments: Any) -> tuple[Any, ...]:
            inspect.signature(real).bind(*arguments)
            self.calls.append(name)
            if name in {'cudaMalloc', 'cudaHostAlloc'} and self.full:
                return (real_cuda.cudaError_t.cudaErrorMemoryAllocation, None)
            if self.broken:
                return (real_cuda.cudaError_t.cudaErrorIllegalAddress, None)
            if name == self.failing:
                self.recording = None  # CUDA ends what it cannot go on with
                return (real_cuda.cudaError_t.cudaErrorNotSupported, None)
            result = getattr(self, f'_{name}')(*arguments)
            done = real_cuda.cudaError_t.cudaSuccess
            return (done,) if result is None else (done, result)

        return call

    def enqueue(self, work: Callable[[], None]) -> None:
        """Do something in the stream's order: now, or when the recording is launched."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def _allocate(self, size: int, flags: int = 0) -> int:
        block = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def _free(self, address: int) -> None:
        del self.memory[address]

    _cudaMalloc = _cudaHostAlloc = _allocate  # noqa: N815
    _cudaFree = _cudaFreeHost = _free  # noqa: N815

    def _cudaGetLastError(self) -> None:  # noqa: N802
        pass

    def cudaGetDeviceCount(self) -> tuple[Any, int]:  # noqa: N802
        return self.found

    def _cudaRuntimeGetVersion(self) -> int:  # noqa: N802
        return 13020

    def _cudaGetDeviceProperties(self, device: int) -> Any:  # noqa: N802
        found = {
            'name': self.name,
            'multiProcessorCount': self.processors,
            'totalGlobalMem': self.memory_size,
        }
        assert all(hasattr(real_cuda.cudaDeviceProp, name) for name in found)
        return SimpleNamespace(**found)

    def _cudaDriverGetVersion(self) -> int:  # noqa: N802
        return self.driver_version

    def _cudaDeviceGetAttribute(self, attribute: Any, device: int) -> int:  # noqa: N802
        return self._attributes[attribute]

    def _cudaHostGetDevicePointer(self, address: int, flags: int) -> int:  # noqa: N802
        return address

    def _cudaMemcpyAsync(  # noqa: N802
        self, target: int, source: int, size: int, kind: Any, stream: Any
    ) -> None:
        self.enqueue(lambda: ctypes.memmove(target, source, size) and None)

    def _cudaStreamCreateWithFlags(self, flags: int) -> int:  # noqa: N802
        return 77

    def _cudaStreamSynchronize(self, stream: int) -> None:  # noqa: N802
        assert stream == 77

    _cudaStreamDestroy = _cudaStreamSynchronize  # noqa: N815

    def _cudaStreamBeginCapture(self, stream: int, mode: Any) -> None:  # noqa: N802
        self.recording = []

    def _cudaStreamEndCapture(self, stream: int) -> Any:  # noqa: N802
        recorded, self.recording = self.recording, None
        assert recorded is not None, 'nothing was being recorded'
        return _Graph(recorded)

    def _cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:  # noqa: N802
        return graph

    def _cudaGraphLaunch(self, graph: Any, stream: int) -> None:  # noqa: N802
        for work in graph.recorded:
            work()

    def _cudaGraphDestroy(self, graph: Any) -> None:  # noqa: N802
        pass

    _cudaGraphExecDestroy = _cudaGraphDestroy  # noqa: N815


class _Graph:
    def __init__(self, recorded: Any) -> None:
        self.recorded = recorded

    def __int__(self) -> int:
        return 1


class _Checked:
    """An object of a class of the bindings: what the class lacks is not there, nor called."""

    def __init__(self, api: dict[str, Any], kind: str, has: dict[str, Any]) -> None:
        vars(self).update(_api=api, _kind=kind, _has=has)

    def __getattr__(self, name: str) -> Any:
        overloads = self._member(name)
        value = self._has.get(name)
        return value if overloads is None else _checked_call(name, overloads, value)

    def __setattr__(self, name: str, value: Any) -> None:
        assert self._member(name) is None, f'{self._kind}.{name} is a method'
        self._has[name] = value

    def __bytes__(self) -> bytes:
        return bytes(self._has['content'])

    def _member(self, name: str) -> Any:
        if name not in self._api[self._kind]:
            msg = f'{self._kind} has no {name}'
            raise AttributeError(msg)
        return self._api[self._kind][name]


def _checked_call(name: str, overloads: list[Any], value: Any) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        assert any(_fits(overload, arguments, named) for overload in overloads), (
            f'{name}{arguments} {named} fits none of {overloads}'
        )
        return value(*arguments, **named) if callable(value) else value

    return call


_KINDS = {
    'int': int,
    'typing.SupportsInt': int,
    'str': str,
    'bool': bool,
    'tuple': tuple,
    'list': list,
    'buffer': (bytes, bytearray, memoryview),
    'typing_extensions.Buffer': (bytes, bytearray, memoryview),
}


def _fits(overload: list[Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    names = [name for name, _, _ in overload]
    if len(arguments) > len(overload) or not set(named) <= set(names):
        return False
    given = {**dict(zip(names, arguments, strict=False)), **named}
    if any(not default and name not in given for name, _, default in overload):
        return False
    return all(
        isinstance(given[name], _KINDS.get(kind, object))
        for name, kind, _ in overload
        if name in given
    )


class SimulatedTensorRT:
    """A module like TensorRT's.

    Args:
        version: Of the bindings whose names it has: one of ``tensorrt_api.VERSIONS``.
        cuda: The simulated CUDA.
        fault: What is wrong with the GPU.
    """

    def __init__(self, version: str, cuda: Cuda, fault: Fault | None = None) -> None:
        found = tensorrt_api(version)
        self.__version__ = found['version']
        self.api: dict[str, Any] = found['classes']
        self.cuda, self.fault = cuda, fault
        self.runs = self.builds = 0
        self.kept = b''
        self.uncapturable = False
        self.steps, self.step_time = 2, 0.0

    def bindings(self) -> Bindings:
        """As the package takes it."""
        name = 'tensorrt_rtx' if 'IRuntimeCache' in self.api else 'tensorrt'
        return Bindings(self, name, self.__version__)

    def __getattr__(self, name: str) -> Any:
        members = self.api.get(name)
        if members is None:
            msg = f'TensorRT {self.__version__} has no {name}'
            raise AttributeError(msg)
        if name == 'ILogger':
            severity = enum.IntEnum('Severity', self.api['ILogger.Severity'])  # type: ignore[misc]
            return type(name, (), {'Severity': severity})
        if name == 'IProgressMonitor':
            return type(name, (), {})
        make = getattr(self, f'_{name}', None)
        if make is None:
            return enum.IntEnum(name, members)
        initialiser = members['__init__']
        return lambda *arguments: (
            make(*arguments)
            if any(_fits(overload, arguments, {}) for overload in initialiser)
            else pytest.fail(f'{name}{arguments} fits none of {initialiser}')
        )

    def _made(self, kind: str, **has: Any) -> Any:
        return _Checked(self.api, kind, has)

    def _Builder(self, logger: Any) -> Any:  # noqa: N802
        return self._made(
            'Builder',
            create_network=lambda flags: self._made('INetworkDefinition', flags=flags),
            create_builder_config=self._config,
            create_optimization_profile=self._profile,
            build_serialized_network=self._build,
        )

    def _OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802
        def parse(model: bytes) -> bool:
            try:
                session = _session(model)
            except Exception:
                return False
            tensor = session.get_inputs()[0]
            shape = [size if isinstance(size, int) else -1 for size in tensor.shape]
            found = self._made('ITensor', name=tensor.name, shape=shape)
            network._has.update(
                onnx=model, num_inputs=len(session.get_inputs()), get_input=lambda index: found
            )
            return True

        error = self._made('ParserError', desc=lambda: 'unreadable')
        return self._made('OnnxParser', parse=parse, num_errors=1, get_error=lambda index: error)

    def _config(self) -> Any:
        profiles: list[Any] = []

        def cache(content: bytes) -> Any:
            return self._made('ITimingCache', serialize=lambda: content + b'!')

        config = self._made(
            'IBuilderConfig',
            profiles=profiles,
            flags=set(),
            create_timing_cache=cache,
            set_timing_cache=lambda cache, ignore_mismatch: not ignore_mismatch,
            set_compute_capability=lambda capability, index: True,
        )
        config._has['set_flag'] = config._has['flags'].add
        config._has['add_optimization_profile'] = lambda profile: profiles.append(profile) or 0
        return config

    def _profile(self) -> Any:
        profile = self._made('IOptimizationProfile')

        def set_shape(name: str, low: Any, best: Any, high: Any) -> None:
            profile._has['shapes'] = {name: [low, best, high]}

        profile._has['set_shape'] = set_shape
        return profile

    def _build(self, network: Any, config: Any) -> bytes | None:
        assert network._has['flags'] == 1 << self.api['NetworkDefinitionCreationFlag'].get(
            'STRONGLY_TYPED', -1
        )
        self.builds += 1
        monitor = config.progress_monitor
        for method, arguments in (
            ('phase_start', ('building', None, 2)),
            *[('step_complete', ('building', step)) for step in range(self.steps)],
            ('phase_finish', ('building',)),
        ):
            (overload,) = self.api['IProgressMonitor'][method]
            parameters = list(inspect.signature(getattr(monitor, method)).parameters)
            assert parameters == [name for name, _, _ in overload]
            if getattr(monitor, method)(*arguments) is False:
                return None
            time.sleep(self.step_time)
        shapes = [profile._has['shapes'] for profile in config._has['profiles']]
        plan = {'onnx': base64.b64encode(network._has['onnx']).decode(), 'shapes': shapes}
        return json.dumps(plan).encode()

    def _Runtime(self, logger: Any) -> Any:  # noqa: N802
        return self._made('Runtime', deserialize_cuda_engine=self._engine)

    def _engine(self, plan: bytes) -> Any:
        try:
            found = json.loads(plan)
        except ValueError:
            return None
        session = _session(base64.b64decode(found['onnx']))
        tensors = [*session.get_inputs(), *session.get_outputs()]
        shapes = {
            tensor.name: [size if isinstance(size, int) else -1 for size in tensor.shape]
            for tensor in tensors
        }
        modes = enum.IntEnum('TensorIOMode', self.api['TensorIOMode'])  # type: ignore[misc]
        types = enum.IntEnum('DataType', self.api['DataType'])  # type: ignore[misc]
        inputs = {tensor.name for tensor in session.get_inputs()}
        names = [tensor.name for tensor in tensors]
        kinds = {tensor.name: tensor.type for tensor in tensors}
        return self._made(
            'ICudaEngine',
            num_io_tensors=len(names),
            get_tensor_name=lambda index: names[index],
            get_tensor_mode=lambda name: modes.INPUT if name in inputs else modes.OUTPUT,
            get_tensor_dtype=lambda name: types[
                {'float': 'FLOAT', 'uint8': 'UINT8'}[kinds[name][7:-1]]
            ],
            get_tensor_shape=lambda name: shapes[name],
            get_tensor_profile_shape=lambda name, index: found['shapes'][index][name],
            device_memory_size_v2=SCRATCH,
            create_execution_context=lambda strategy: self._context(session, strategy, found),
            create_runtime_config=self._runtime_config,
        )

    def _runtime_config(self) -> Any:
        cache = self._made(
            'IRuntimeCache',
            serialize=lambda: b'compiled',
            deserialize=lambda content: setattr(self, 'kept', content),
        )
        strategies: list[Any] = []
        return self._made(
            'IRuntimeConfig',
            create_runtime_cache=lambda: cache,
            set_runtime_cache=lambda cache: True,
            set_execution_context_allocation_strategy=strategies.append,
            strategies=strategies,
        )

    def _context(self, session: ort.InferenceSession, strategy: Any, plan: Any) -> Any:
        if not isinstance(strategy, enum.IntEnum):  # of the runtime's configuration
            (strategy,) = strategy._has['strategies']
        assert strategy.name == 'USER_MANAGED'
        scratch: list[int] = []
        ranges = [
            ({name: low}, {name: high})
            for shapes_of in plan['shapes']
            for name, (low, _, high) in shapes_of.items()
        ]
        addresses: dict[str, int] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        (output,) = session.get_outputs()

        def execute(stream: int) -> bool:
            if self.cuda.recording is not None and self.uncapturable:
                return False
            (memory,) = scratch
            assert self.cuda.memory[memory], 'its scratch memory was given back'
            self.cuda.enqueue(compute)
            return True

        def compute() -> None:
            ((name, shape),) = shapes.items()
            images = _at(addresses[name], shape, np.uint8)
            (found,) = session.run(None, {name: images})
            self.runs += 1
            if self.fault is not None:
                found = self.fault(found, self.runs)
            _at(addresses[output.name], found.shape, np.float32)[:] = found

        def output_shape(name: str) -> list[int]:
            assert name == output.name
            ((_, shape),) = shapes.items()
            return [shape[0], *output.shape[1:]]

        def set_shape(name: str, shape: tuple[int, ...]) -> bool:
            if any(not low[name][0] <= shape[0] <= high[name][0] for low, high in ranges):
                return False
            shapes[name] = shape
            return True

        def take_memory(memory: int, size: int) -> None:
            assert size == SCRATCH
            assert len(self.cuda.memory[memory]) >= size
            scratch[:] = [memory]

        def keep(values: dict[str, Any]) -> Callable[[str, Any], bool]:
            return lambda name, value: values.update({name: value}) is None

        return self._made(
            'IExecutionContext',
            set_device_memory=take_memory,
            get_tensor_shape=output_shape,
            set_input_shape=set_shape,
            set_tensor_address=keep(addresses),
            execute_async_v3=execute,
        )


def _session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # others would spin while they wait
    return ort.InferenceSession(model, options)


def _at(address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    memory = (ctypes.c_char * size).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)

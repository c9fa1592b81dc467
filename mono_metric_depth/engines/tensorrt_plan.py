# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT plans: a network compiled for one GPU, or for one compute capability."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.tensorrt_bindings import Bindings

#: Memory that a layer may take for itself while it runs (bytes).
WORKSPACE = 1 << 30


@dataclass(frozen=True)
class PlanOptions:
    """What is asked of the builder, besides the network.

    Attributes:
        batch: Least and largest number of images at once; equal for a static batch.
        compute_capability: Of the GPU, such as ``8.7``.
        workspace: Memory that a layer may take for itself (bytes).
    """

    batch: tuple[int, int]
    compute_capability: str
    workspace: int = WORKSPACE


@dataclass(frozen=True)
class Plan:
    """A compiled network.

    Attributes:
        code: The serialised engine: machine code for the GPU.
        timing_cache: What the builder measured, for the next build; empty where there is none.
        seconds: How long it took.
    """

    code: bytes
    timing_cache: bytes
    seconds: float


def build_plan(
    bindings: Bindings,
    network: bytes,
    options: PlanOptions,
    *,
    timing_cache: bytes = b'',
    progress: bool = True,
    on_step: Callable[[], object] = lambda: None,
) -> Plan:
    """Compile a network; each tensor has the type that the ONNX file gives it.

    Args:
        bindings: TensorRT.
        network: An ONNX file's content, as
            :func:`~mono_metric_depth.engines.built_network.built_network` leaves it.
        options: What else is asked of the builder.
        timing_cache: Of an earlier build on this GPU.
        progress: Whether to show a progress bar.
        on_step: Called at each step of the builder; what it raises ends the build.

    Returns:
        The plan.

    Raises:
        EngineError: If the network cannot be compiled; the message says why.
        KeyboardInterrupt: If a person interrupted it.
    """
    with _interrupts_noted() as interrupts:
        return _build(bindings, network, options, timing_cache, progress, on_step, interrupts)


def _build(
    bindings: Bindings,
    network: bytes,
    options: PlanOptions,
    timing_cache: bytes,
    progress: bool,
    on_step: Callable[[], object],
    interrupts: list[int],
) -> Plan:
    trt, start = bindings.trt, time.monotonic()
    errors: list[str] = []
    log = bindings.logger(errors)
    builder = trt.Builder(log)
    flags = 0
    typed = getattr(trt.NetworkDefinitionCreationFlag, 'STRONGLY_TYPED', None)
    if typed is not None:
        flags = 1 << int(typed)
    definition = builder.create_network(flags)
    parser = trt.OnnxParser(definition, log)
    parsed = parser.parse(network)
    _raise_failure(log, interrupts)
    if not parsed:
        found = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        msg = f'{bindings} cannot read the network: {"; ".join(found or errors)[:1000]}'
        raise EngineError(msg)
    config = _configuration(bindings, builder, options)
    _set_batch(builder, definition, config, options.batch)
    cache = None
    if not bindings.rtx:  # which measures nothing while it builds
        cache = _timing_cache(config, timing_cache)
    with tqdm(desc='build', unit='step', disable=not progress, leave=False) as bar:
        monitor = _progress_monitor(trt, bar, on_step, log, interrupts)
        config.progress_monitor = monitor
        memory = builder.build_serialized_network(definition, config)
    if monitor.failure is not None:
        raise monitor.failure
    _raise_failure(log, interrupts)
    if memory is None:
        msg = f'{bindings} cannot build the engine: {"; ".join(errors[-3:])[:1000]}'
        raise EngineError(msg)
    measured = b'' if cache is None else bytes(cache.serialize())
    return Plan(bytes(memory), measured, time.monotonic() - start)


def buildable_capabilities(bindings: Bindings) -> tuple[str, ...]:
    """Compute capabilities that an engine can be built for without such a GPU."""
    if not bindings.rtx:
        return ()
    names = [name[2:] for name in bindings.trt.ComputeCapability.__members__ if name[:2] == 'SM']
    return tuple(f'{name[:-1]}.{name[-1]}' for name in names)


def _configuration(bindings: Bindings, builder: Any, options: PlanOptions) -> Any:
    trt = bindings.trt
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    # On by default: it rounds float32 to 10 bits. Who wants that takes fp16.
    config.clear_flag(trt.BuilderFlag.TF32)
    if bindings.rtx:
        name = f'SM{options.compute_capability.replace(".", "")}'
        capability = getattr(trt.ComputeCapability, name, None)
        if capability is None:
            msg = (
                f'{bindings} builds for compute capability '
                f'{", ".join(buildable_capabilities(bindings))}, not {options.compute_capability}'
            )
            raise EngineError(msg)
        config.num_compute_capabilities = 1
        config.set_compute_capability(capability, 0)
    elif hasattr(trt.BuilderFlag, 'EDITABLE_TIMING_CACHE'):
        config.set_flag(trt.BuilderFlag.EDITABLE_TIMING_CACHE)
    return config


def _set_batch(builder: Any, network: Any, config: Any, batch: tuple[int, int]) -> None:
    """Tell the builder how many images there will be, where the network leaves that open."""
    tensor = network.get_input(0)
    free, *image = tensor.shape
    if free != -1:
        return
    low, high = batch
    profile = builder.create_optimization_profile()
    profile.set_shape(tensor.name, (low, *image), (high, *image), (high, *image))
    if config.add_optimization_profile(profile) < 0:
        msg = f'TensorRT refuses a batch of {batch_text(batch)} images'
        raise EngineError(msg)


def batch_text(batch: tuple[int, int]) -> str:
    """A batch as it is typed: ``3`` or ``1..4``."""
    return str(batch[0]) if batch[0] == batch[1] else f'{batch[0]}..{batch[1]}'


def _timing_cache(config: Any, content: bytes) -> Any:
    """A timing cache in use; an empty one where that of before does not fit."""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b'')
        config.set_timing_cache(cache, False)
    return cache


@contextmanager
def _interrupts_noted() -> Iterator[list[int]]:
    """Ctrl-C ends what is done here when that looks at the list, and at its end.

    Python raises KeyboardInterrupt in whatever of its code runs next. While TensorRT builds, that
    is a callback, through which TensorRT lets no exception pass.
    """
    interrupts: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    # Elsewhere none is raised; nor where Ctrl-C is ignored, or not Python's.
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield interrupts
        return
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
        if interrupts:
            signal.raise_signal(signal.SIGINT)


def _raise_failure(log: Any, interrupts: list[int]) -> None:
    if interrupts:
        raise KeyboardInterrupt
    if log.failure is not None:
        raise log.failure


def _progress_monitor(
    trt: Any, bar: Any, on_step: Callable[[], object], log: Any, interrupts: list[int]
) -> Any:
    """Shows the builder's steps; an error or a person's interrupt stops the build at the next."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.failure: BaseException | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            bar.total = (bar.total or 0) + num_steps
            self._guard(lambda: bar.set_postfix_str(phase_name, refresh=True))

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._guard(bar.update)
            self._guard(on_step)
            self._guard(lambda: _raise_failure(log, interrupts))
            return self.failure is None

        def phase_finish(self, phase_name: str) -> None:
            pass

        def _guard(self, work: Callable[[], object]) -> None:
            """Do something; nothing that is raised may pass through the builder."""
            try:
                work()
            except BaseException as err:
                self.failure = err

    return Monitor()

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines of a model: found in the cache, or converted, built, checked and kept there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.batch_mixing import require_images_apart
from mono_metric_depth.engines.built_network import built_network
from mono_metric_depth.engines.converted_network import (
    converted_path,
    kept_network,
    network_to_build,
)
from mono_metric_depth.engines.engine_cache import (
    EngineCache,
    EngineKey,
    StoredEngine,
    parity_subject,
)
from mono_metric_depth.engines.engine_request import EngineRequest, engine_key
from mono_metric_depth.engines.own_files import read_own, write_own
from mono_metric_depth.engines.parity import Parity, measure_parity
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.engines.tensorrt import TensorRTEngine
from mono_metric_depth.engines.tensorrt_plan import PlanOptions, build_plan


def stored_engine(
    request: EngineRequest, *, anew: bool = False
) -> tuple[EngineCache, EngineKey, StoredEngine]:
    """The engine from the cache, built first if it is not there or is not what it should be.

    Nothing is written where it is there: the cache may be read-only then.

    Args:
        request: Which one.
        anew: Whether to build it whatever the cache holds.

    Returns:
        The cache, the engine's key, and the engine; it may not have been checked yet.

    Raises:
        EngineError: If it cannot be built or kept, or its network mixes the images of a batch.
    """
    cache = EngineCache(request.folder, request.model.stem)
    if not anew and request.calibration is None:
        network, _ = kept_network(request, cache)
        if network is not None:
            key = engine_key(request, network)
            stored, _ = cache.find(key, request.gpu)
            if stored is not None:
                return cache, key, stored
    with cache.building(f'the {request}', request.say, request.on_step):
        network = network_to_build(request, cache, anew)
        key = engine_key(request, network)
        stored, why = (None, 'as asked for') if anew else cache.find(key, request.gpu)
        if stored is None:
            require_images_apart(request.model, request.card, request.batch[1], request.say)
            content = built_network(
                str(request.model), network.read_bytes(), request.card, request.batch
            )
            request.say(f'building the {request}: {why}. This can take minutes')
            timing = cache.file(_timing_name(request))
            plan = build_plan(
                request.bindings,
                content,
                PlanOptions(request.batch, request.compute_capability, request.workspace),
                timing_cache=_timings(timing),
                progress=request.progress,
                on_step=request.on_step,
            )
            stored = StoredEngine(plan.code, None, plan.seconds)
            cache.store(key, stored)
            if plan.timing_cache:
                write_own(timing, plan.timing_cache)
            request.say(f'built it in {plan.seconds:.1f} s: {cache.path(key)}')
    return cache, key, stored


def open_built_engine(
    request: EngineRequest,
    *,
    frames: NDArray[np.uint8] | None = None,
    checked_on: str = '',
    anew: bool = False,
) -> TensorRTEngine:
    """An engine that runs as its model does; found or built, loaded, warmed up and checked.

    Args:
        request: Which one; its GPU must be at hand.
        frames: (n, height, width, 4) uint8, images to check it on, whether or not it was checked
            before; if left out, those that come with the package, unless it was.
        checked_on: What these are, in words.
        anew: Whether to build and check it whatever the cache holds.

    Returns:
        The engine.

    Raises:
        EngineError: If it cannot be built or run, or its depth is not that of the model.
    """
    assert request.gpu is not None
    cache, key, stored = stored_engine(request, anew=anew)
    built = stored.code
    if built is None:
        _refuse(request, stored.parity)
    try:
        engine = _loaded(request, cache, key, stored)
    except EngineError as err:
        if anew or stored.parity is None:  # it was built just now
            raise
        # Nothing that is checked here has changed, but a driver may have.
        request.say(f'the kept engine does not load: {err}')
        return open_built_engine(request, frames=frames, checked_on=checked_on, anew=True)
    parity = stored.parity
    if parity is None or frames is not None:
        request.say('checking the engine against ONNX Runtime on the CPU')
        if frames is None:
            frames, checked_on = parity_frames(request.card), 'the frames of the package'
        try:
            parity = measure_parity(engine, request.model, request.card, frames, request.precision)
            request.say(f'parity: {parity}')
            checked = dataclasses.replace(
                stored,
                code=built if parity.passed else None,
                parity=parity,
                subject=parity_subject(key, built, request.gpu),
                checked_on=f'{checked_on} ({len(frames)})',
            )
            _keep_checked(request, cache, key, checked)
        except BaseException:
            engine.close()
            raise
    if not parity.passed:
        engine.close()
        _refuse(request, parity)
    engine.parity, engine.precision = parity, request.precision
    return engine


def _keep_checked(
    request: EngineRequest, cache: EngineCache, key: EngineKey, checked: StoredEngine
) -> None:
    """Keep how an engine compares. Where that cannot be kept, it is compared again next time."""
    try:
        with cache.building(f'the check of the {request}', request.say, request.on_step):
            cache.store(key, checked)
    except EngineError as err:
        request.say(f'the result of the check is not kept: {err}')


def _loaded(
    request: EngineRequest, cache: EngineCache, key: EngineKey, stored: StoredEngine
) -> TensorRTEngine:
    assert request.gpu is not None
    assert stored.code is not None
    # What was compiled for another engine, library or GPU, or is damaged, is not loaded.
    path = cache.path(key).with_suffix('.runtime_cache')
    compiled: Path | None = path
    made_of = parity_subject(key, stored.code, request.gpu)
    usable, _ = cache.holds(path, made_of)
    if not usable:
        try:
            path.unlink(missing_ok=True)
        except OSError as err:  # such as that of a read-only disk
            request.say(f'{path} is not used: {err.strerror}')
            compiled = None
    engine = TensorRTEngine(
        stored.code,
        request.card,
        bindings=request.bindings,
        gpu=request.gpu,
        runtime_cache=compiled,
    )
    try:
        engine.warm_up()
    except EngineError:
        engine.close()
        raise
    # Another that starts now may remove or replace it: then what is described here does not count.
    if compiled and path.exists() and not cache.holds(path, made_of)[0]:
        try:
            cache.describe(path, made_of)
        except EngineError as err:  # it is compiled again next time
            request.say(str(err))
    return engine


def _refuse(request: EngineRequest, parity: Parity | None) -> NoReturn:
    assert parity is not None
    msg = (
        f'the {request} does not give the depth of its model and is refused: '
        f'{"; ".join(parity.findings)}. Take another precision, another TensorRT (10.3 is known '
        f'for it) or engine onnxruntime; build_engine --again tries once more'
    )
    raise EngineError(msg)


def engine_files(request: EngineRequest, cache: EngineCache, key: EngineKey) -> list[Path]:
    """What a machine without the means to build an engine needs of a cache to find it there."""
    converted = None if request.precision == 'fp32' else converted_path(request, cache)
    return cache.files(key, converted)


def _timings(path: Path) -> bytes:
    """What an earlier build measured; nothing where that cannot be read."""
    try:
        return read_own(path)
    except OSError:
        return b''


def _timing_name(request: EngineRequest) -> str:
    gpu = request.gpu.name if request.gpu else request.compute_capability
    place = ''.join(c if c.isalnum() else '_' for c in f'{gpu}-{request.bindings.version}')
    return f'{place}.timing_cache'

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines of a model: found in the cache, or converted, built, checked and kept there."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.batch_mixing import require_images_apart
from mono_metric_depth.engines.built_network import built_network
from mono_metric_depth.engines.cuda import Gpu
from mono_metric_depth.engines.engine_cache import (
    EngineCache,
    EngineKey,
    StoredEngine,
    default_cache,
    parity_subject,
    sha256,
)
from mono_metric_depth.engines.own_files import read_own, write_own
from mono_metric_depth.engines.parity import Parity, measure_parity
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.engines.precision import convert_model
from mono_metric_depth.engines.tensorrt import TensorRTEngine
from mono_metric_depth.engines.tensorrt_bindings import Bindings
from mono_metric_depth.engines.tensorrt_plan import (
    WORKSPACE,
    PlanOptions,
    batch_text,
    build_plan,
)
from mono_metric_depth.model_card import ModelCard
from mono_metric_depth.onnx_metadata import OnnxFileError, network_sha256

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineRequest:
    """Which engine is wanted.

    Attributes:
        model: The ONNX file.
        card: Its card.
        bindings: TensorRT.
        compute_capability: Of the GPU that it is for, such as ``8.7``.
        gpu: That GPU; None where it is not at hand.
        precision: ``fp32``: each tensor as the ONNX file has it; ``fp16`` or ``int8``: converted.
        batch: Least and largest number of images at once.
        calibration: (n, height, width, 4) uint8, images to calibrate int8 on; None to take what
            an earlier calibration of this model left in the cache.
        workspace: Memory that a layer may take for itself (bytes).
        folder: The cache.
        say: Tells the operator what is done.
        progress: Whether to show progress bars.
        on_step: Called now and then while an engine is built; what it raises ends that.
    """

    model: Path
    card: ModelCard
    bindings: Bindings
    compute_capability: str
    gpu: Gpu | None = None
    precision: str = 'fp16'
    batch: tuple[int, int] = (1, 1)
    calibration: NDArray[np.uint8] | None = None
    workspace: int = WORKSPACE
    folder: Path = field(default_factory=default_cache)
    say: Callable[[str], object] = _LOG.info
    progress: bool = True
    on_step: Callable[[], object] = lambda: None

    @functools.cached_property
    def model_sha256(self) -> str:
        """Of the model's network, without its card; read once."""
        try:
            return network_sha256(self.model)
        except OnnxFileError as err:
            raise EngineError(str(err)) from err

    def __str__(self) -> str:
        place = self.gpu.name if self.gpu else f'compute capability {self.compute_capability}'
        return (
            f'{self.bindings} engine of {self.model.name} ({self.precision}, batch '
            f'{batch_text(self.batch)}) for {place}'
        )


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
        network, _ = _kept_network(request, cache)
        if network is not None:
            key = _key(request, network)
            stored, _ = cache.find(key, request.gpu)
            if stored is not None:
                return cache, key, stored
    with cache.building(f'the {request}', request.say, request.on_step):
        network = _network(request, cache, anew)
        key = _key(request, network)
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
    converted = None if request.precision == 'fp32' else _converted_path(request, cache)
    return cache.files(key, converted)


def _kept_network(request: EngineRequest, cache: EngineCache) -> tuple[Path | None, str]:
    """The ONNX file to build from, if it is there; else what is wrong with it, if something is.

    What was converted counts as long as it is what was written then, byte by byte.
    """
    if request.precision == 'fp32':
        return request.model, ''
    path = _converted_path(request, cache)
    usable, why = cache.holds(path, _converted_from(request))
    return path if usable else None, why


def _network(request: EngineRequest, cache: EngineCache, anew: bool) -> Path:
    """The ONNX file to build from: the model, or what was or is now converted from it.

    What was calibrated is only made anew with frames to calibrate it on.
    """
    kept, why = _kept_network(request, cache)
    again = request.calibration is not None or (anew and request.precision == 'fp16')
    if kept is not None and not again:
        return kept
    found = f' ({why})' if why else ''
    if request.precision == 'int8' and request.calibration is None:
        msg = (
            f'int8 must be calibrated on images first{found}: build_engine {request.model} '
            '--precision int8 --calibrate DRIVE'
        )
        raise EngineError(msg)
    request.say(f'converting {request.model.name} to {request.precision}{found}')
    path = _converted_path(request, cache)
    convert_model(request.model, path, request.card, request.precision, request.calibration)
    cache.describe(path, _converted_from(request))
    return path


def _converted_path(request: EngineRequest, cache: EngineCache) -> Path:
    return cache.file(f'{request.model_sha256[:16]}-{request.precision}.onnx')


def _converted_from(request: EngineRequest) -> dict[str, str]:
    made_of = {
        'precision': request.precision,
        'model_sha256': request.model_sha256,
    }
    if request.precision == 'int8':  # it was shown images as the card says
        card = request.card
        shown = (card.input_name, card.normalisation, card.canonical_camera)
        made_of['calibrated_through'] = sha256(repr(shown).encode())
    return made_of


def _key(request: EngineRequest, network: Path) -> EngineKey:
    card, camera = request.card, request.card.canonical_camera
    size, normalisation = (camera.height, camera.width), request.card.normalisation
    gpu = None if request.bindings.rtx else request.gpu
    return EngineKey(
        model_sha256=request.model_sha256,
        network_sha256=(
            request.model_sha256 if network == request.model else network_sha256(network)
        ),
        precision=request.precision,
        runtime=request.bindings.name,
        runtime_version=request.bindings.version,
        gpu='' if gpu is None else gpu.name,
        processors=0 if gpu is None else gpu.processors,
        memory_class=0 if gpu is None else gpu.memory_class,
        compute_capability=request.compute_capability,
        batch=request.batch,
        input=(card.input_name, 3, *size),
        output=(card.output_name, 1, *size),
        camera=(camera.fx, camera.fy, camera.cx, camera.cy),
        output_kind=card.output_kind,
        normalisation=(normalisation.channels, *normalisation.mean, *normalisation.std),
        workspace=request.workspace,
    )


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

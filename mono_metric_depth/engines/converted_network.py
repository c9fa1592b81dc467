# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The ONNX file that a TensorRT engine is built from: the model, or what was converted from it."""

from __future__ import annotations

from pathlib import Path

from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.engine_cache import EngineCache, sha256
from mono_metric_depth.engines.engine_request import EngineRequest
from mono_metric_depth.engines.precision import convert_model


def kept_network(request: EngineRequest, cache: EngineCache) -> tuple[Path | None, str]:
    """The ONNX file to build from, if it is there; else what is wrong with it, if something is.

    What was converted counts as long as it is what was written then, byte by byte.
    """
    if request.precision == 'fp32':
        return request.model, ''
    path = converted_path(request, cache)
    usable, why = cache.holds(path, _converted_from(request))
    return path if usable else None, why


def network_to_build(request: EngineRequest, cache: EngineCache, anew: bool) -> Path:
    """The ONNX file to build from: the model, or what was or is now converted from it.

    What was calibrated is only made anew with frames to calibrate it on.

    Raises:
        EngineError: If it cannot be converted or kept, or there is nothing to calibrate it on.
    """
    kept, why = kept_network(request, cache)
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
    path = converted_path(request, cache)
    convert_model(request.model, path, request.card, request.precision, request.calibration)
    cache.describe(path, _converted_from(request))
    return path


def converted_path(request: EngineRequest, cache: EngineCache) -> Path:
    """Where the cache keeps the model's network in another precision."""
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

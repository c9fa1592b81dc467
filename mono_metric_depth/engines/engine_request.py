# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Which TensorRT engine of a model is wanted, and what it depends on."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.cuda import Gpu
from mono_metric_depth.engines.engine_cache import EngineKey, default_cache
from mono_metric_depth.engines.tensorrt_bindings import Bindings
from mono_metric_depth.engines.tensorrt_plan import WORKSPACE, batch_text
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


def engine_key(request: EngineRequest, network: Path) -> EngineKey:
    """Everything that the engine of a request depends on.

    Args:
        request: Which engine.
        network: The ONNX file that it is built from.
    """
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

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Networks run by OpenVINO: the faster one on CPUs, in 32 bits (docs/cpu_engines.md)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mono_metric_depth.engines import EngineError, Tensor, plan_batch, require_images
from mono_metric_depth.engines.network_image import CHANNELS, Normaliser
from mono_metric_depth.engines.parity import Parity
from mono_metric_depth.model_card import ModelCard

_WARM_UP_RUNS = 3
#: By default OpenVINO computes in bfloat16 where a processor can: depth is then off by a per cent.
_PRECISION = 'f32'


class OpenVinoEngine:
    """An :class:`~mono_metric_depth.engines.Engine` on OpenVINO, on the CPU.

    Args:
        path: The ONNX file.
        card: Its card: names and size of the tensors.
        batch: Images per run at most; the model's own batch size where that is fixed.
        threads: Threads; 0 for as many as there are cores.

    Attributes:
        parity: How it compares with the model on ONNX Runtime; None while that is not known.

    Raises:
        EngineError: If OpenVINO is not installed, or the file cannot be loaded, or its tensors are
            not those of the card.
    """

    def __init__(
        self, path: Path | str, card: ModelCard, *, batch: int = 1, threads: int = 0
    ) -> None:
        openvino = _openvino()
        settings: dict[str, Any] = {
            'INFERENCE_PRECISION_HINT': _PRECISION,
            # One image as fast as it goes; the other choice runs several side by side.
            'PERFORMANCE_HINT': 'LATENCY',
            **({'INFERENCE_NUM_THREADS': threads} if threads else {}),
        }
        size = (card.canonical_camera.height, card.canonical_camera.width)
        try:
            core = openvino.Core()
            network = core.read_model(str(path))
            plan = plan_batch(
                path, _tensors(network.inputs), _tensors(network.outputs), card, batch
            )
            # One for each number of images: fixed sizes are planned ahead, free ones in each run.
            compiled = {}
            for images in set(plan.sizes):
                network.reshape({card.input_name: [images, 3, *size]})
                compiled[images] = core.compile_model(network, 'CPU', settings)
            requests = {
                images: network.create_infer_request() for images, network in compiled.items()
            }
        except EngineError:
            raise
        except Exception as err:  # a damaged installation lacks names, too
            msg = f'{path}: OpenVINO cannot load the model: {_line(err)}'
            raise EngineError(msg) from err
        self.name = f'openvino {openvino.__version__.split("-")[0]}'
        used = compiled[plan.batch].get_property('INFERENCE_PRECISION_HINT').to_string()
        self.provider: str = f'CPU {used}'
        self.parity: Parity | None = None
        self.input = np.zeros((plan.batch, *size, CHANNELS), np.uint8)
        self._normaliser = Normaliser(card.normalisation, size)
        self._normalised = np.zeros((plan.batch, 3, *size), np.float32)
        self.output = np.zeros((plan.batch, 1, *size), np.float32)
        try:
            for images, request in requests.items():
                output = self.output[:images].reshape(plan.output_shape(images))
                for name, array in (
                    (card.input_name, self._normalised[:images]),
                    (card.output_name, output),
                ):
                    request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        except RuntimeError as err:
            msg = f"{path}: its output has not the size of the card's camera: {_line(err)}"
            raise EngineError(msg) from err
        self._requests = [requests[images] for images in plan.sizes]

    def run(self, images: int) -> None:
        """Compute ``output[:images]`` from ``input[:images]``.

        Args:
            images: How many, from 1 to ``batch``.

        Raises:
            ValueError: If there are none, or more than ``batch``.
            EngineError: If the runtime fails.
        """
        if not self._requests:
            msg = 'the engine is closed'
            raise EngineError(msg)
        require_images(images, len(self.input))
        self._normaliser.write(self.input[:images], self._normalised[:images])
        try:
            self._requests[images - 1].infer()
        except RuntimeError as err:
            msg = f'OpenVINO failed: {_line(err)}'
            raise EngineError(msg) from err

    def warm_up(self) -> None:
        """Run every number of images until the runtime has allocated what it needs."""
        for images in range(1, len(self.input) + 1):
            for _ in range(_WARM_UP_RUNS):
                self.run(images)

    def close(self) -> None:
        """Free the network."""
        self._requests = []


def _openvino() -> Any:
    """The module, as it is where nobody installed what reports on its users.

    Else importing it writes ~/intel/openvino_ga_cid.
    """
    modules: dict[str, Any] = sys.modules  # type: ignore[assignment]
    hidden = modules.setdefault('openvino_telemetry', None)
    try:
        return importlib.import_module('openvino')
    except Exception as err:  # a damaged installation raises whatever it stumbles over
        msg = f"OpenVINO is not here ({err}): pip install 'mono_metric_depth[openvino]'"
        raise EngineError(msg) from err
    finally:
        if hidden is None:
            modules.pop('openvino_telemetry', None)


def _tensors(ports: Any) -> dict[str, Tensor]:
    kinds = {'f32': 'float', 'f16': 'float16', 'f64': 'double'}
    result = {}
    for port in ports:
        sizes = port.partial_shape
        shape = tuple(size.get_length() if size.is_static else None for size in sizes)
        kind = port.element_type.get_type_name()
        for name in port.names:
            result[name] = Tensor(shape, f'tensor({kinds.get(kind, kind)})')
    return result


def _line(err: Exception) -> str:
    """The last line of an error, which says what is wrong; the others say where."""
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return lines[-1] if lines else type(err).__name__

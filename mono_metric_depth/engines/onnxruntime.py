# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Networks run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from mono_metric_depth.engines import (
    BatchPlan,
    EngineError,
    Tensor,
    plan_batch,
    require_images,
)
from mono_metric_depth.engines.network_image import CHANNELS, Normaliser
from mono_metric_depth.model_card import ModelCard

if TYPE_CHECKING:
    from mono_metric_depth.engines.parity import Parity

#: What everything else is compared with.
REFERENCE = 'CPUExecutionProvider'
#: Asked for in this order, as far as the installed runtime has them, with their settings.
#: TensorRT is not among them: who is refused an engine of TensorRT's is told to take ONNX Runtime
#: instead, and would get the same TensorRT again, which builds its engine anew at each start.
PROVIDERS: tuple[tuple[str, dict[str, str]], ...] = (
    # Its default rounds convolutions to TF32's 10 bits.
    ('CUDAExecutionProvider', {'use_tf32': '0'}),
    (REFERENCE, {}),
)
_WARM_UP_RUNS = 3
# Where it was imported before this package could forbid it (engines/__init__.py).
if hasattr(ort, 'disable_telemetry_events'):
    ort.disable_telemetry_events()


def session_options(threads: int) -> ort.SessionOptions:
    """The runtime's settings, as docs/cpu_engines.md measures them.

    Its own choices stand where no other was faster: every graph optimisation, memory arena and
    pattern, threads that spin while they wait. Sleeping threads took a sixth less processor time
    on two cores, and 4 % longer.

    Args:
        threads: Threads within an operator; 0 for as many as there are cores.

    Returns:
        Options of a session.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Operators of a depth network follow one another: a second pool would only take cores.
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, with the same text
    return options


def model_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs and outputs of a network, by name.

    Args:
        path: The ONNX file.

    Returns:
        Its inputs, its outputs.

    Raises:
        EngineError: If the file cannot be loaded.
    """
    return _tensors(_session(path, session_options(1), [(REFERENCE, {})]))


def _tensors(session: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    inputs, outputs = (
        {
            tensor.name: Tensor(
                tuple(size if isinstance(size, int) else None for size in tensor.shape),
                tensor.type,
            )
            for tensor in side
        }
        for side in (session.get_inputs(), session.get_outputs())
    )
    return inputs, outputs


def _session(path: Path | str, options: ort.SessionOptions, providers: Sequence[Any]) -> Any:
    try:
        return ort.InferenceSession(str(path), options, providers=list(providers))
    except Exception as err:  # the runtime raises classes of its own for every status
        msg = f'{path}: ONNX Runtime cannot load the model: {err}'
        raise EngineError(msg) from err


class OnnxRuntimeEngine:
    """An :class:`~mono_metric_depth.engines.Engine` on ONNX Runtime.

    Args:
        path: The ONNX file.
        card: Its card: names and size of the tensors.
        batch: Images per run at most; the model's own batch size where that is fixed.
        threads: Threads within an operator; 0 for as many as there are cores.
        providers: Execution providers in order of preference, with their settings.

    Attributes:
        parity: How it compares with the model on the CPU; None there, and while it is not known.

    Raises:
        EngineError: If the file cannot be loaded or its tensors are not those of the card.
    """

    def __init__(
        self,
        path: Path | str,
        card: ModelCard,
        *,
        batch: int = 1,
        threads: int = 0,
        providers: Sequence[tuple[str, dict[str, str]]] = PROVIDERS,
    ) -> None:
        available = ort.get_available_providers()
        chosen = [provider for provider in providers if provider[0] in available]
        if not chosen:
            asked = [name for name, _ in providers]
            msg = f'ONNX Runtime has none of the providers {asked}; it has {available}'
            raise EngineError(msg)
        self._session = _session(path, session_options(threads), chosen)
        self.name = f'onnxruntime {ort.__version__}'
        self.provider: str = self._session.get_providers()[0]
        self.parity: Parity | None = None
        plan = plan_batch(path, *_tensors(self._session), card, batch)
        batch, size = plan.batch, (card.canonical_camera.height, card.canonical_camera.width)
        self.input = np.zeros((batch, *size, CHANNELS), np.uint8)
        self._normaliser = Normaliser(card.normalisation, size)
        self._normalised = np.zeros((batch, 3, *size), np.float32)
        self.output = np.zeros((batch, 1, *size), np.float32)
        self._bindings = [self._bound(card, plan, images) for images in plan.sizes]

    def _bound(self, card: ModelCard, plan: BatchPlan, images: int) -> Any:
        """What binds the network to the first images of the buffers."""
        binding = self._session.io_binding()
        output = self.output[:images].reshape(plan.output_shape(images))
        for bind, name, array in (
            (binding.bind_input, card.input_name, self._normalised[:images]),
            (binding.bind_output, card.output_name, output),
        ):
            bind(name, 'cpu', 0, np.float32, array.shape, array.ctypes.data)
        return binding

    def run(self, images: int) -> None:
        """Compute ``output[:images]`` from ``input[:images]``.

        Args:
            images: How many, from 1 to ``batch``.

        Raises:
            ValueError: If there are none, or more than ``batch``.
            EngineError: If the runtime fails.
        """
        if self._session is None:
            msg = 'the engine is closed'
            raise EngineError(msg)
        require_images(images, len(self.input))
        self._normaliser.write(self.input[:images], self._normalised[:images])
        try:
            self._session.run_with_iobinding(self._bindings[images - 1])
        except Exception as err:
            msg = f'ONNX Runtime failed: {err}'
            raise EngineError(msg) from err

    def warm_up(self) -> None:
        """Run every number of images until the runtime has allocated what it needs."""
        for images in range(1, len(self.input) + 1):
            for _ in range(_WARM_UP_RUNS):
                self.run(images)

    def close(self) -> None:
        """Free the network."""
        self._session = None
        self._bindings = []

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Networks run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from mono_metric_depth.engines import EngineError, require_images
from mono_metric_depth.model_card import ModelCard

#: Asked for in this order, as far as the installed runtime has them.
PROVIDERS = ('CUDAExecutionProvider', 'CPUExecutionProvider')
_WARM_UP_RUNS = 3


class OnnxRuntimeEngine:
    """An :class:`~mono_metric_depth.engines.Engine` on ONNX Runtime.

    Args:
        path: The ONNX file.
        card: Its card: names and size of the tensors.
        batch: Images per run at most. A model whose own batch size is fixed at 1 gives an engine
            of batch 1; fixed at another size, it must be this one, and every run computes all.
        threads: Threads within an operator; 0 for as many as there are cores.
        providers: Execution providers in order of preference.

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
        providers: Sequence[str] = PROVIDERS,
    ) -> None:
        available = ort.get_available_providers()
        chosen = [provider for provider in providers if provider in available]
        if not chosen:
            msg = f'ONNX Runtime has none of the providers {providers}; it has {available}'
            raise EngineError(msg)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = ort.InferenceSession(str(path), options, providers=chosen)
        except Exception as err:  # the runtime raises classes of its own for every status
            msg = f'{path}: ONNX Runtime cannot load the model: {err}'
            raise EngineError(msg) from err
        self.name = f'onnxruntime {ort.__version__}'
        self.provider: str = self._session.get_providers()[0]
        camera = card.canonical_camera
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) > 1:
            names = [tensor.name for tensor in inputs]
            msg = f'{path}: the model must have the image as its only input, it has {names}'
            raise EngineError(msg)
        fixed = {
            tensor.shape[0]
            for tensor in (*inputs, *outputs)
            if tensor.shape and isinstance(tensor.shape[0], int)
        }
        if 1 in fixed:
            batch = 1
        self._check(path, 'input', inputs, card.input_name, batch, 3, camera)
        self._check(path, 'output', outputs, card.output_name, batch, 1, camera)
        self.input = np.zeros((batch, 3, camera.height, camera.width), np.float32)
        self.output = np.zeros((batch, 1, camera.height, camera.width), np.float32)
        sizes = [batch] * batch if fixed else range(1, batch + 1)
        self._bindings = [self._bound(card, size) for size in sizes]

    def _bound(self, card: ModelCard, images: int) -> Any:
        """What binds the network to the first images of the buffers."""
        binding = self._session.io_binding()
        for bind, name, array in (
            (binding.bind_input, card.input_name, self.input[:images]),
            (binding.bind_output, card.output_name, self.output[:images]),
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

    @staticmethod
    def _check(
        path: Path | str,
        side: str,
        tensors: Sequence[Any],
        name: str,
        batch: int,
        channels: int,
        camera: Any,
    ) -> None:
        found = {tensor.name: tensor for tensor in tensors}
        if name not in found:
            msg = f'{path}: the card names the {side} {name!r}, the model has {sorted(found)}'
            raise EngineError(msg)
        expected = (batch, channels, camera.height, camera.width)
        shape, kind = found[name].shape, found[name].type
        fits = len(shape) == 4 and all(
            not isinstance(have, int) or have == want
            for have, want in zip(shape, expected, strict=True)
        )
        if kind != 'tensor(float)' or not fits:
            msg = (
                f'{path}: {side} {name!r} is {kind} {shape}, the card asks for float32 '
                f'{list(expected)}'
            )
            raise EngineError(msg)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Networks run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from mono_metric_depth.engines import EngineError
from mono_metric_depth.model_card import ModelCard

#: Asked for in this order, as far as the installed runtime has them, with their settings.
#: TensorRT is not among them: as a provider it builds an engine of its own, which nothing compares
#: with the network before it runs; engines/tensorrt.py does.
PROVIDERS: tuple[tuple[str, dict[str, str]], ...] = (
    # Its default rounds convolutions to TF32's 10 bits.
    ('CUDAExecutionProvider', {'use_tf32': '0'}),
    ('CPUExecutionProvider', {}),
)
_WARM_UP_RUNS = 3


def session_options(threads: int) -> ort.SessionOptions:
    """The runtime's settings; measured in docs/cpu_engines.md.

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


@dataclass(frozen=True)
class Tensor:
    """An input or output of a network.

    Attributes:
        shape: Its sizes; None where a size is free.
        kind: Its type, such as ``tensor(float)``.
    """

    shape: tuple[int | None, ...]
    kind: str


def model_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs and outputs of a network, by name.

    Args:
        path: The ONNX file.

    Returns:
        Its inputs, its outputs.

    Raises:
        EngineError: If the file cannot be loaded.
    """
    session = _session(path, session_options(1), ['CPUExecutionProvider'])
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
        batch: Images per run.
        threads: Threads within an operator; 0 for as many as there are cores.
        providers: Execution providers in order of preference, with their settings.

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
        camera = card.canonical_camera
        inputs = [tensor.name for tensor in self._session.get_inputs()]
        if len(inputs) > 1:
            msg = f'{path}: the model must have the image as its only input, it has {inputs}'
            raise EngineError(msg)
        size = (camera.height, camera.width)
        self._check(
            path, 'input', self._session.get_inputs(), card.input_name, [(batch, 3, *size)]
        )
        # Networks of others leave out the channel, or the batch as well: the memory is the same.
        shapes = [(batch, 1, *size), (batch, *size), *([size] if batch == 1 else [])]
        shape = self._check(path, 'output', self._session.get_outputs(), card.output_name, shapes)
        self.input = np.zeros((batch, 3, *size), np.float32)
        self.output = np.zeros((batch, 1, *size), np.float32)
        self._binding = self._session.io_binding()
        for bind, name, array in (
            (self._binding.bind_input, card.input_name, self.input),
            (self._binding.bind_output, card.output_name, self.output.reshape(shape)),
        ):
            bind(name, 'cpu', 0, np.float32, array.shape, array.ctypes.data)

    def run(self) -> None:
        """Compute ``output`` from ``input``.

        Raises:
            EngineError: If the runtime fails.
        """
        if self._session is None:
            msg = 'the engine is closed'
            raise EngineError(msg)
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as err:
            msg = f'ONNX Runtime failed: {err}'
            raise EngineError(msg) from err

    def warm_up(self) -> None:
        """Run until the runtime has allocated what it needs."""
        for _ in range(_WARM_UP_RUNS):
            self.run()

    def close(self) -> None:
        """Free the network."""
        self._binding = self._session = None

    @staticmethod
    def _check(
        path: Path | str,
        side: str,
        tensors: Sequence[Any],
        name: str,
        allowed: Sequence[tuple[int, ...]],
    ) -> tuple[int, ...]:
        """The one of the allowed shapes that a tensor has, its free sizes chosen."""
        found = {tensor.name: tensor for tensor in tensors}
        if name not in found:
            msg = f'{path}: the card names the {side} {name!r}, the model has {sorted(found)}'
            raise EngineError(msg)
        shape, kind = found[name].shape, found[name].type
        for expected in allowed if kind == 'tensor(float)' else ():
            if len(shape) == len(expected) and all(
                not isinstance(have, int) or have == want
                for have, want in zip(shape, expected, strict=True)
            ):
                return expected
        msg = (
            f'{path}: {side} {name!r} is {kind} {shape}, the card asks for float32 '
            f'{" or ".join(str(list(expected)) for expected in allowed)}'
        )
        raise EngineError(msg)

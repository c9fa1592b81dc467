# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Engines: what runs a network. Each lives in its own module and follows :class:`Engine`."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class EngineError(RuntimeError):
    """A network that cannot be loaded or run."""


def require_images(images: int, batch: int) -> None:
    """Refuse a number of images that an engine does not take.

    Raises:
        ValueError: If it is below 1 or above ``batch``.
    """
    if not 1 <= images <= batch:
        msg = f'the engine takes 1 to {batch} images at once, got {images}'
        raise ValueError(msg)


class Engine(Protocol):
    """A loaded network with its own input and output buffers.

    Fill the first images of :attr:`input`, call :meth:`run`, read as many of :attr:`output`;
    nothing is allocated or copied in between. Use an engine from one thread at a time.

    ``batch`` is what the engine was made for at most: 1 where the network's batch size is fixed
    at 1, whatever was asked for.

    Attributes:
        name: The runtime and its version, e.g. ``onnxruntime 1.20``.
        provider: What really runs the network, e.g. ``CPUExecutionProvider``.
        input: (batch, 3, height, width) float32, normalised channels.
        output: (batch, 1, height, width) float32, the network's raw output.
    """

    name: str
    provider: str
    input: NDArray[np.float32]
    output: NDArray[np.float32]

    def run(self, images: int) -> None:
        """Compute ``output[:images]`` from ``input[:images]``; what lies behind is undefined.

        Args:
            images: How many, from 1 to ``batch``.

        Raises:
            ValueError: If there are none, or more than ``batch``.
            EngineError: If the runtime fails.
        """

    def warm_up(self) -> None:
        """Run until the runtime has allocated and tuned what it needs."""

    def close(self) -> None:
        """Free the network; the engine cannot be used afterwards."""

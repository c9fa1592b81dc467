# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Engines: what runs a network. Each lives in its own module and follows :class:`Engine`."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class EngineError(RuntimeError):
    """A network that cannot be loaded or run."""


class Engine(Protocol):
    """A loaded network with its own input and output buffers.

    Fill :attr:`input`, call :meth:`run`, read :attr:`output`; nothing is allocated or copied in
    between. Use an engine from one thread at a time.

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

    def run(self) -> None:
        """Compute :attr:`output` from :attr:`input`.

        Raises:
            EngineError: If the runtime fails.
        """

    def warm_up(self) -> None:
        """Run until the runtime has allocated and tuned what it needs."""

    def close(self) -> None:
        """Free the network; the engine cannot be used afterwards."""

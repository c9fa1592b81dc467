# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Loads a model in a thread of its own: building an engine may take minutes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.model_files import model_file
from mono_metric_depth.nodes.parameters import Parameters

#: Name of the thread that loads a model.
LOADING = 'load'
#: How long the executor's thread waits at a time (s): it serves others in between.
_TURN = 0.02


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready.

    Attributes:
        path: Its file.
        sha256: Of the file, in hexadecimal.
        estimator: The network, warm.
    """

    path: Path
    sha256: str
    estimator: DepthEstimator


class ModelLoading:
    """A model that is being loaded.

    Args:
        values: The parameters that name it.
        say: Tells the operator what is done.
        warn: Tells the operator what is not as it should be.
        on_step: Called now and then while an engine is built; what it raises ends that.

    Attributes:
        path: Its file; as the parameters have it where that is none.
    """

    def __init__(
        self,
        values: Parameters,
        say: Callable[[str], object],
        warn: Callable[[str], object],
        on_step: Callable[[], object],
    ) -> None:
        self._error: Exception | None = None
        self.path = Path(values.model)
        try:
            self.path = model_file(values.model)
        except ValueError as err:
            self._error = err
        self._values = values
        self._say, self._warn, self._on_step = say, warn, on_step
        self._model: LoadedModel | None = None
        # A daemon: what takes minutes must not hold up the end of the process.
        self._thread = threading.Thread(target=self._load, name=LOADING, daemon=True)
        self._thread.start()

    def _load(self) -> None:
        if self._error is not None:
            return
        try:
            cameras = max(1, len(self._values.cameras))
            estimator = DepthEstimator.load(
                self.path,
                engine=self._values.engine,
                precision=self._values.precision,
                threads=self._values.threads,
                cameras=cameras,
                say=self._say,
                warn=self._warn,
                on_step=self._on_step,
            )
            digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
            self._model = LoadedModel(self.path, digest, estimator)
        except Exception as err:
            self._error = err

    def __await__(self) -> Generator[None, None, None]:
        """Wait in a callback of rclpy's executor, which serves others meanwhile."""
        # An executor asks again at once: without this wait it would keep a core busy.
        while not self.wait(_TURN):
            yield

    def wait(self, patience: float) -> bool:
        """Wait until it is loaded or has failed (s); says whether it has ended."""
        self._thread.join(patience)
        return not self._thread.is_alive()

    def result(self) -> LoadedModel:
        """The model, once it is loaded.

        Raises:
            Exception: Whatever kept it from being loaded.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._model is not None
        return self._model

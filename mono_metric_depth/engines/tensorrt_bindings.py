# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT's Python bindings: TensorRT 10 or 11, or TensorRT for RTX, whichever is installed."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mono_metric_depth.engines import EngineError

_LOG = logging.getLogger(__name__)
#: The first whose networks can be strongly typed, with the calls that are made here.
_OLDEST = 10
#: PyPI has TensorRT for RTX in two parts: the bindings, and a package with the libraries.
_RTX_BINDINGS = 'tensorrt_rtx_bindings'
_RTX_LIBRARIES = 'onnxruntime_ep_nv_tensorrt_rtx'
_KEPT_ERRORS = 20
_PRELOADED = ('libcudart.so.', 'libtensorrt_rtx.so.', 'libtensorrt_onnxparser_rtx.so.')


@dataclass(frozen=True)
class Bindings:
    """One of TensorRT's Python modules.

    Attributes:
        trt: The module.
        name: ``tensorrt`` or ``tensorrt_rtx``.
        version: Of the library.
    """

    trt: Any
    name: str
    version: str

    @property
    def rtx(self) -> bool:
        """Whether this is TensorRT for RTX: engines for any GPU of a compute capability."""
        return self.name == 'tensorrt_rtx'

    def __str__(self) -> str:
        return f'{self.name} {self.version}'

    def logger(self, errors: list[str] | None = None) -> Any:
        """TensorRT's messages in Python's log.

        Args:
            errors: Takes the errors among them.

        Returns:
            An ``ILogger``; it has to outlive whatever is made with it. What goes wrong as it
            logs is in its ``failure``: TensorRT would drop it on the way.
        """
        severity = self.trt.ILogger.Severity
        verbose = severity.VERBOSE
        levels = {
            severity.INTERNAL_ERROR: logging.ERROR,
            severity.ERROR: logging.ERROR,
            severity.WARNING: logging.WARNING,
        }

        class Log(self.trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.failure: BaseException | None = None

            def log(self, severity: Any, msg: str) -> None:
                if severity == verbose:  # thousands, of each layer
                    return
                try:
                    level = levels.get(severity, logging.DEBUG)
                    if level == logging.ERROR and errors is not None:
                        errors.append(msg)
                        del errors[:-_KEPT_ERRORS]
                    _LOG.log(level if errors is None else min(level, logging.INFO), '%s', msg)
                except BaseException as err:
                    self.failure = err

        return Log()


@functools.cache
def find_bindings() -> Bindings:
    """The installed bindings; TensorRT before TensorRT for RTX.

    Raises:
        EngineError: If there are none, or they cannot be loaded.
    """
    failures = []
    for name, module in (
        ('tensorrt', 'tensorrt'),
        ('tensorrt_rtx', 'tensorrt_rtx'),
        ('tensorrt_rtx', _RTX_BINDINGS),
    ):
        if importlib.util.find_spec(module) is None:
            continue
        try:
            if module == _RTX_BINDINGS:
                _load_rtx_libraries()
            trt = importlib.import_module(module)
            if name == 'tensorrt' and int(trt.__version__.partition('.')[0]) < _OLDEST:
                failures.append(f'{module} {trt.__version__} is older than {_OLDEST}')
                continue
            return Bindings(trt, name, trt.__version__)
        except (ImportError, OSError, AttributeError) as err:
            failures.append(f'{module}: {err}')
    if failures:
        msg = f'TensorRT is installed but cannot be used: {"; ".join(failures)}'
    else:
        msg = (
            'TensorRT is not installed: neither tensorrt (10 or 11, part of JetPack) nor '
            "tensorrt_rtx (pip install 'mono_metric_depth[rtx]') can be imported"
        )
    raise EngineError(msg)


def _load_rtx_libraries() -> None:
    """Load the libraries that lie in a Python package, where the linker does not look."""
    spec = importlib.util.find_spec(_RTX_LIBRARIES)
    if spec is None or spec.origin is None:
        return  # they may be where the linker looks
    files = sorted(Path(spec.origin).parent.iterdir())
    for prefix in _PRELOADED:
        for file in files:
            if file.name.startswith(prefix) and file.stat().st_size > 4096:
                ctypes.CDLL(str(file), ctypes.RTLD_GLOBAL)
                break

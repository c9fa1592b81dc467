# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Processor time by stage, and whose it is."""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Rounds that do not count.
WARM_UP = 5


class Stages:
    """Seconds of processor time by stage, one number for each round."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        start = time.thread_time()
        yield
        self.seconds[name].append(time.thread_time() - start)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def call(*arguments: Any) -> Any:
            start = time.thread_time()
            found = function(*arguments)
            self.seconds[name].append(time.thread_time() - start)
            return found

        return call

    def least(self) -> dict[str, float]:
        """The least of each stage, warm-up left out."""
        return {name: min(found[WARM_UP:]) for name, found in self.seconds.items()}


def processor() -> str:
    """The processor's name."""
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    names = (line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.processor())

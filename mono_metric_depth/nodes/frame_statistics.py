# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What became of the frames: counts by outcome, rate, times, the last problem."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque

import numpy as np

_RECENT = 100
_RATE_OVER = 5.0
_RECENT_PROBLEM = 5.0


class FrameStatistics:
    """Counts frames; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._durations: deque[float] = deque(maxlen=_RECENT)
        self._latencies: deque[float] = deque(maxlen=_RECENT)
        self._finished: deque[float] = deque(maxlen=_RECENT)
        self._problem, self._failed = '', -math.inf
        self._arrived: float | None = None

    def receive(self) -> None:
        """Count a frame that has arrived."""
        with self._lock:
            self._counts['received'] += 1
            self._arrived = time.monotonic()

    def silent(self) -> float | None:
        """How long no frame has arrived (s); None if none ever has."""
        with self._lock:
            return None if self._arrived is None else time.monotonic() - self._arrived

    def forget_arrival(self) -> None:
        """From now on it counts whether any frame arrives."""
        with self._lock:
            self._arrived = None

    def count(self, outcome: str) -> None:
        """Count a frame's outcome, such as ``published`` or ``dropped: superseded``."""
        with self._lock:
            self._counts[outcome] += 1

    def finish(self, duration: float, latency: float) -> None:
        """A frame was published: time of the work, and since the image's stamp (s)."""
        with self._lock:
            self._durations.append(duration)
            self._latencies.append(latency)
            self._finished.append(time.monotonic())

    def fail(self, problem: str) -> None:
        """A frame was dropped for this."""
        with self._lock:
            self._problem, self._failed = problem, time.monotonic()

    def problem(self) -> str:
        """The last problem, while it is recent or nothing was published since; '' if none."""
        with self._lock:
            last = self._finished[-1] if self._finished else -math.inf
            recent = self._failed > time.monotonic() - _RECENT_PROBLEM
            return self._problem if recent or self._failed > last else ''

    def values(self) -> dict[str, str]:
        """The figures, as diagnostics show them."""
        with self._lock:
            recent = [m for m in self._finished if m > time.monotonic() - _RATE_OVER]
            return {
                'rate (Hz)': f'{len(recent) / _RATE_OVER:.1f}',
                'processing p50 (ms)': _milliseconds(self._durations, 50),
                'processing p99 (ms)': _milliseconds(self._durations, 99),
                'latency p50 (ms)': _milliseconds(self._latencies, 50),
                'latency p99 (ms)': _milliseconds(self._latencies, 99),
                **{f'frames {name}': str(n) for name, n in sorted(self._counts.items())},
            }


def _milliseconds(seconds: deque[float], percentile: float) -> str:
    return f'{1e3 * np.percentile(seconds, percentile):.1f}' if seconds else 'none yet'

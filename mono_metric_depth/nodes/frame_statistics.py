# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What became of the frames: counts by outcome, rates, times, stamps, the last problem."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque

import numpy as np

#: What rates and times are taken over (s), and how many frames of it at most.
_OVER = 5.0
_MOST = 10_000
_RECENT_PROBLEM = 5.0
#: Stamps further from the clock (s) are not of this clock.
_OLD, _FUTURE = 10.0, 0.1
#: The stamps of two images may be this much (s) further apart than their arrivals.
_JUMP = 1.0
_UNUSABLE = {
    'zero': 'are 0',
    'future': 'lie in the future',
    'old': f'are more than {_OLD:g} s old',
}


class FrameStatistics:
    """Counts frames; safe from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._stamps: Counter[str] = Counter()
        self._arrivals: deque[float] = deque(maxlen=_MOST)
        #: When, time of the work, latency or None (s).
        self._finished: deque[tuple[float, float, float | None]] = deque(maxlen=_MOST)
        self._last_finish = -math.inf
        self._problem, self._failed = '', -math.inf
        self._unusable, self._seen_unusable = '', -math.inf
        self._arrived: float | None = None
        self._stamp: int | None = None
        self._sequence: int | None = None
        self._lost: int | None = None

    def receive(self, stamp: int, clock: int, sequence: int | None = None) -> None:
        """Count a frame that has arrived.

        Args:
            stamp: The image's (ns).
            clock: What the node's clock says (ns).
            sequence: The message's number among those of the only publisher; None if it is not
                known.
        """
        now = time.monotonic()
        with self._lock:
            self._counts['received'] += 1
            self._judge_stamp(stamp, clock, now)
            if sequence is not None:
                # Numbers that fall are of a publisher that has started anew.
                missed = 0 if self._sequence is None else sequence - self._sequence - 1
                self._lost = (self._lost or 0) + max(missed, 0)
            self._sequence = sequence
            self._arrived = now
            self._arrivals.append(now)

    def _judge_stamp(self, stamp: int, clock: int, now: float) -> None:
        age = (clock - stamp) * 1e-9
        unusable = (
            'zero' if stamp == 0 else 'future' if age < -_FUTURE else 'old' if age > _OLD else ''
        )
        if unusable:
            self._stamps[unusable] += 1
            self._unusable, self._seen_unusable = unusable, now
        if self._stamp is not None and self._arrived is not None:
            step = (stamp - self._stamp) * 1e-9
            if step < 0:
                self._stamps['backwards'] += 1
            elif step > now - self._arrived + _JUMP:
                self._stamps['jumped'] += 1
        self._stamp = stamp

    def silent(self) -> float | None:
        """How long no frame has arrived (s); None if none ever has."""
        with self._lock:
            return None if self._arrived is None else time.monotonic() - self._arrived

    def forget_arrival(self) -> None:
        """From now on it counts whether any frame arrives."""
        with self._lock:
            self._arrived = self._stamp = self._sequence = None

    def count(self, outcome: str) -> None:
        """Count a frame's outcome, such as ``published`` or ``dropped: superseded``."""
        with self._lock:
            self._counts[outcome] += 1

    def finish(self, duration: float, latency: float) -> None:
        """A frame was published: time of the work, and since the image's stamp (s).

        A latency that no camera has, for a stamp that is not of this clock, is not kept.
        """
        with self._lock:
            self._last_finish = time.monotonic()
            told = latency if -_FUTURE <= latency <= _OLD else None
            self._finished.append((self._last_finish, duration, told))

    def fail(self, problem: str) -> None:
        """A frame was dropped for this."""
        with self._lock:
            self._problem, self._failed = problem, time.monotonic()

    def problem(self) -> str:
        """The last problem, while it is recent or nothing was published since; '' if none."""
        with self._lock:
            recent = self._failed > time.monotonic() - _RECENT_PROBLEM
            return self._problem if recent or self._failed > self._last_finish else ''

    def stamp_problem(self) -> str:
        """What is wrong with the stamps of images that came just now; '' if nothing."""
        with self._lock:
            if self._seen_unusable <= time.monotonic() - _RECENT_PROBLEM:
                return ''
            return (
                f'stamps of images {_UNUSABLE[self._unusable]} by the clock of the node: set them '
                'to the time of exposure, or use_sim_time where a bag is played'
            )

    def values(self) -> dict[str, str]:
        """The figures, as diagnostics show them."""
        with self._lock:
            since = time.monotonic() - _OVER
            finished = [found for found in self._finished if found[0] > since]
            arrived = sum(moment > since for moment in self._arrivals)
            durations = [duration for _, duration, _ in finished]
            latencies = [latency for *_, latency in finished if latency is not None]
            stamps = ', '.join(f'{name} {count}' for name, count in sorted(self._stamps.items()))
            return {
                'input rate (Hz)': f'{arrived / _OVER:.1f}',
                'rate (Hz)': f'{len(finished) / _OVER:.1f}',
                'processing p50 (ms)': _milliseconds(durations, 50),
                'processing p99 (ms)': _milliseconds(durations, 99),
                'latency p50 (ms)': _milliseconds(latencies, 50),
                'latency p99 (ms)': _milliseconds(latencies, 99),
                'stamps in doubt': stamps or 'none',
                'images lost before the node': 'not known'
                if self._lost is None
                else f'{self._lost}',
                **{f'frames {name}': str(n) for name, n in sorted(self._counts.items())},
            }


def _milliseconds(seconds: list[float], percentile: float) -> str:
    return f'{1e3 * np.percentile(seconds, percentile):.1f}' if seconds else 'none'

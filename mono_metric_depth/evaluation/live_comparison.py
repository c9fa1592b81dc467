# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Depth and ground truth as they arrive: paired by stamp, compared, summed up.

The rules are those of :mod:`mono_metric_depth.evaluation.protocol`, so that a robot and
``evaluate`` say the same of the same frames.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import astuple, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.evaluation.protocol import Protocol
from mono_metric_depth.metrics import DepthMetrics, depth_metrics
from mono_metric_depth.scale import robust_deviation

#: Stamps that go back by more than this (ns) begin anew: a bag is played again.
_BACK = 10**9
#: Fewer pixels with both say nothing about an image.
LEAST_PIXELS = 20
_METRICS = len(fields(DepthMetrics))


class StampPairs:
    """Pairs messages of two streams by their stamps; a few wait at most.

    Args:
        tolerance: Furthest stamps of a pair (ns).
        waiting: So many of each stream wait at most.

    Attributes:
        unused: How many truths went by without a message to be paired with.
        nearest: How far the truth nearest to the last unpaired message was (s); NaN without any.
    """

    def __init__(self, tolerance: int, waiting: int) -> None:
        self._tolerance, self._waiting = tolerance, waiting
        self._depths: deque[tuple[int, Any]] = deque()
        self._truths: deque[tuple[int, Any]] = deque()
        self._used: set[int] = set()
        self.unused = 0
        self.nearest = float('nan')

    def add_depth(self, stamp: int, message: Any) -> Iterator[tuple[Any, Any | None]]:
        """Take in a message to be paired; yields what this settles: message, truth or None."""
        if self._depths and stamp < self._depths[-1][0] - _BACK:
            yield from self._settled(everything=True)
            self._forget(len(self._truths))
        self._depths.append((stamp, message))
        yield from self._settled()

    def add_truth(self, stamp: int, message: Any) -> Iterator[tuple[Any, Any | None]]:
        """Take in a truth; yields what this settles."""
        if self._truths and stamp < self._truths[-1][0] - _BACK:
            self._forget(len(self._truths))
        self._forget(len(self._truths) + 1 - self._waiting)
        self._truths.append((stamp, message))
        yield from self._settled()

    def waiting(self) -> tuple[int, int]:
        """How many messages, and truths that none was paired with, still wait."""
        unused = sum(stamp not in self._used for stamp, _ in list(self._truths))
        return len(self._depths), unused

    def _forget(self, count: int) -> None:
        """Let the oldest truths go."""
        for _ in range(count):
            stamp, _ = self._truths.popleft()
            self.unused += stamp not in self._used
            self._used.discard(stamp)

    def _settled(self, *, everything: bool = False) -> Iterator[tuple[Any, Any | None]]:
        while self._depths:
            stamp, message = self._depths[0]
            best = min(self._truths, key=lambda truth: abs(truth[0] - stamp), default=None)
            off = None if best is None else abs(best[0] - stamp)
            newest = self._truths[-1][0] if self._truths else -1
            # Nothing nearer can come any more, or it has waited long enough.
            due = everything or off == 0 or newest >= stamp + self._tolerance
            if not due and len(self._depths) <= self._waiting:
                return
            self._depths.popleft()
            if best is not None and off is not None and off <= self._tolerance:
                self._used.add(best[0])
                yield message, best[1]
            else:
                self.nearest = float('nan') if off is None else off * 1e-9
                yield message, None


class LiveComparison:
    """Metrics of the images of late, and of all.

    Args:
        window: How many images are of late.
        protocol: The protocol, with the model's range.

    Attributes:
        images: How many were compared.
        dropped: How many were not, by reason.
    """

    def __init__(self, window: int, protocol: Protocol) -> None:
        self._protocol = protocol
        self._recent: deque[tuple[float, ...]] = deque(maxlen=window)
        self._sums = np.zeros(_METRICS)
        self._coverage = [0.0, 0]
        self._ratios = array('d')
        self.images = 0
        self.dropped: Counter[str] = Counter()

    def add(
        self,
        published: NDArray[np.float32],
        true: NDArray[np.float32],
        *,
        all_in_view: bool = True,
    ) -> int:
        """Compare an image.

        Args:
            published: (n,) depth (m) where true depth counts, as REP-117 has it: NaN unseen, +Inf
                and -Inf beyond and before the model's range.
            true: (n,) true depth (m).
            all_in_view: Whether the camera is known to see all of these; if not, the share that
                was given depth means nothing.

        Returns:
            How many pixels were seen; it is compared if these are :data:`LEAST_PIXELS`.
        """
        seen = ~np.isnan(published) & (published != 0)  # 0 is no depth to other drivers
        if (count := int(seen.sum())) < LEAST_PIXELS:
            return count
        measured = true[seen].astype(np.float64)
        predicted = self._protocol.as_published(published[seen].astype(np.float64))
        metrics = depth_metrics(predicted, measured)
        # Nobody knows by how much infinite depth is wrong: it says nothing about the scale.
        known = np.isfinite(published[seen])
        known |= not known.any()
        ratio = float(np.median(measured[known] / predicted[known]))
        coverage = count / len(published) if all_in_view else float('nan')
        figures = (*astuple(metrics), coverage)
        self._recent.append((*figures, ratio))
        self._sums += figures[:_METRICS]
        if all_in_view:
            self._coverage[0] += coverage
            self._coverage[1] += 1
        self._ratios.append(ratio)
        self.images += 1
        return count

    def recent(self) -> dict[str, float]:
        """Figures of the images of late; empty before the first."""
        if not self._recent:
            return {}
        *figures, ratios = np.array(self._recent).T
        *metrics, coverage = figures
        known = coverage[~np.isnan(coverage)]
        share = float(known.mean()) if known.size else float('nan')
        return _figures([*(float(values.mean()) for values in metrics), share], ratios)

    def overall(self) -> dict[str, float]:
        """Figures of all images; empty before the first."""
        if not self.images:
            return {}
        total, count = self._coverage
        share = total / count if count else float('nan')
        return _figures([*(self._sums / self.images).tolist(), share], np.array(self._ratios))


def _figures(means: list[float], ratios: NDArray[np.float64]) -> dict[str, float]:
    metrics = DepthMetrics(*means[:_METRICS])
    ratio = float(np.median(ratios))
    return {
        'AbsRel': metrics.abs_rel,
        'SqRel (m)': metrics.sq_rel,
        'RMSE (m)': metrics.rmse,
        'RMSElog': metrics.rmse_log,
        'delta1': metrics.delta1,
        'delta2': metrics.delta2,
        'delta3': metrics.delta3,
        'coverage': means[_METRICS],
        'scale ratio (true / published)': ratio,
        'scale error (published / true - 1)': 1 / ratio - 1,
        'scale spread': robust_deviation(np.log(ratios)),
    }

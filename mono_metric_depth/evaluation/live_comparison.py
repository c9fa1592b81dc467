# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Depth and ground truth as they arrive: paired by stamp, compared, summed up."""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from mono_metric_depth.metrics import DepthMetrics, depth_metrics, mean_metrics
from mono_metric_depth.scale import Pairs, image_ratios, robust_deviation

#: Stamps that go back by more than this (ns) begin anew: a bag is played again.
_BACK = 10**9
#: Fewer pixels with both say nothing about an image.
LEAST_PIXELS = 20


class StampPairs:
    """Pairs messages of two streams by their stamps; a few wait at most.

    Args:
        tolerance: Furthest stamps of a pair (ns).
        waiting: So many of each stream wait at most.

    Attributes:
        nearest: How far the truth nearest to the last unpaired message was (s); NaN without any.
    """

    def __init__(self, tolerance: int, waiting: int) -> None:
        self._tolerance, self._waiting = tolerance, waiting
        self._depths: deque[tuple[int, Any]] = deque()
        self._truths: deque[tuple[int, Any]] = deque(maxlen=waiting)
        self.nearest = float('nan')

    def add_depth(self, stamp: int, message: Any) -> Iterator[tuple[Any, Any | None]]:
        """Take in a message to be paired; yields what this settles: message, truth or None."""
        if self._depths and stamp < self._depths[-1][0] - _BACK:
            yield from self._settled(everything=True)
            self._truths.clear()
        self._depths.append((stamp, message))
        yield from self._settled()

    def add_truth(self, stamp: int, message: Any) -> Iterator[tuple[Any, Any | None]]:
        """Take in a truth; yields what this settles."""
        if self._truths and stamp < self._truths[-1][0] - _BACK:
            self._truths.clear()
        self._truths.append((stamp, message))
        yield from self._settled()

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
                yield message, best[1]
            else:
                self.nearest = float('nan') if off is None else off * 1e-9
                yield message, None


class LiveComparison:
    """Metrics of the images of late, and of all.

    Args:
        window: How many images are of late.

    Attributes:
        images: How many were compared.
        dropped: How many were not, by reason.
    """

    def __init__(self, window: int) -> None:
        self._recent: deque[tuple[DepthMetrics, float]] = deque(maxlen=window)
        self._sums = np.zeros(7)
        self._ratios = array('d')
        self.images = 0
        self.dropped: Counter[str] = Counter()

    def add(self, pairs: Pairs) -> bool:
        """Compare an image; says whether it has enough pixels for that."""
        predicted, true = pairs
        if len(true) < LEAST_PIXELS:
            return False
        metrics = depth_metrics(predicted, true)
        (ratio,) = image_ratios([pairs])
        self._recent.append((metrics, float(ratio)))
        self._sums += list(vars(metrics).values())
        self._ratios.append(float(ratio))
        self.images += 1
        return True

    def recent(self) -> dict[str, float]:
        """Figures of the images of late; empty before the first."""
        if not self._recent:
            return {}
        metrics = mean_metrics([metrics for metrics, _ in self._recent])
        return _figures(metrics, np.array([ratio for _, ratio in self._recent]))

    def overall(self) -> dict[str, float]:
        """Figures of all images; empty before the first."""
        if not self.images:
            return {}
        metrics = DepthMetrics(*map(float, self._sums / self.images))
        return _figures(metrics, np.array(self._ratios))


def _figures(metrics: DepthMetrics, ratios: np.ndarray) -> dict[str, float]:
    ratio = float(np.median(ratios))
    return {
        'AbsRel': metrics.abs_rel,
        'RMSE (m)': metrics.rmse,
        'delta1': metrics.delta1,
        'scale ratio (true / published)': ratio,
        'scale error (published / true - 1)': 1 / ratio - 1,
        'scale spread': robust_deviation(np.log(ratios)),
    }

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Means and medians over images with intervals, drawn over what is independent of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.evaluation.image_errors import ImageErrors
from mono_metric_depth.linearity import Interval

#: Enough drives to draw whole drives from.
_DRIVES = 8
#: Else each drive is cut into so many blocks of neighbouring frames, none of them shorter.
_BLOCKS = 10
_SHORTEST = 4
_ROUNDS = 2000
_PARTS = 40
_CONFIDENCE = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """What the bootstrap draws: frames of one drive are not independent, so not single images.

    Attributes:
        labels: (n,) number of each image's unit.
        description: What they are, in words.
    """

    labels: NDArray[np.int64]
    description: str

    def rounds(self, seed: int = 0) -> NDArray[np.int64]:
        """(rounds, units) how often each unit is drawn; always the same for the same count."""
        count = int(self.labels.max()) + 1
        rng = np.random.default_rng(seed)
        return rng.multinomial(count, np.full(count, 1 / count), _ROUNDS)

    def interval(self, values: Array) -> Interval:
        """Mean over images with its interval.

        Args:
            values: (n,) one for each image; NaN where it says nothing.
        """
        known = np.isfinite(values)
        if not known.any():
            return Interval(float('nan'), float('nan'), float('nan'))
        labels, values = self.labels[known], values[known]
        size = int(self.labels.max()) + 1
        sums = np.bincount(labels, values, size)
        counts = np.bincount(labels, minlength=size)
        drawn = self.rounds()
        total = drawn @ counts
        means = (drawn @ sums)[total > 0] / total[total > 0]
        return _interval(float(values.mean()), means, int((counts > 0).sum()))

    def median_interval(self, values: Array) -> Interval:
        """Median over images with its interval."""
        order = np.argsort(values)
        place = []
        # A few rounds at a time: all of them take 48 kB for each image.
        for drawn in np.array_split(self.rounds(), _PARTS):
            weights = np.cumsum(drawn[:, self.labels[order]], axis=1)
            place.append((weights * 2 >= weights[:, -1:]).argmax(axis=1))
        count = len(np.unique(self.labels))
        return _interval(float(np.median(values)), values[order][np.concatenate(place)], count)


def independent_units(errors: Sequence[ImageErrors]) -> Units:
    """What may be drawn as if independent: drives where there are enough, else blocks of frames.

    Args:
        errors: Images, in the order of the drives.
    """
    names = list(dict.fromkeys(each.drive for each in errors))
    drive = np.array([names.index(each.drive) for each in errors])
    if len(names) >= _DRIVES:
        return Units(drive, f'{len(names)} drives')
    labels = np.empty(len(errors), np.int64)
    count, longest = 0, 0
    for number in range(len(names)):
        frames = np.nonzero(drive == number)[0]
        size = max(-(-len(frames) // _BLOCKS), _SHORTEST)
        longest = max(longest, size)
        labels[frames] = count + np.arange(len(frames)) // size
        count = int(labels[frames[-1]]) + 1
    blocks = f'{count} block{"s" * (count > 1)} of up to {longest} neighbouring images'
    drives = 'one drive' if len(names) == 1 else f'{len(names)} drives'
    return Units(
        labels, f'{blocks} of {drives}: how much other drives would differ is not in them'
    )


def _interval(value: float, rounds: Array, units: int) -> Interval:
    """With what was drawn; not a number for a single unit, which says nothing of others."""
    if units < 2:
        return Interval(value, float('nan'), float('nan'))
    low, high = np.quantile(rounds, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""More drives than are held at once: new ones are made while others are trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import lru_cache

from mono_metric_depth.training.aligned_drive import AlignedDrive

#: So many drives are asked for before they are due.
_AHEAD = 3


class FreshDrives:
    """Drives of a domain, some at a time; the oldest gives way to the next every so many steps.

    Which are there depends on the step alone, so that a training that goes on sees what it would
    have seen.

    Args:
        names: Of all drives, in turn; after the last comes the first.
        held: How many are there at once.
        every: Steps after which one gives way.
        first: The first ``held`` of them.
        make: Starts to make one, elsewhere.
    """

    def __init__(
        self,
        names: Sequence[str],
        held: int,
        every: int,
        first: Sequence[Sequence[AlignedDrive]],
        make: Callable[[str], Future[list[AlignedDrive]]],
    ) -> None:
        self._names, self._held, self._every = names, held, every
        self._make = make
        self._made: dict[int, Sequence[AlignedDrive]] = dict(enumerate(first))
        self._coming: dict[int, Future[list[AlignedDrive]]] = {}
        self._window = lru_cache(maxsize=1)(self._drives_from)

    def at(self, step: int) -> list[AlignedDrive]:
        """The drives of a step; waits for those that are not there yet. Steps must not go back."""
        return self._window(step // self._every)

    def _drives_from(self, start: int) -> list[AlignedDrive]:
        window = range(start, start + self._held)
        for gone in [number for number in self._made if number < start]:
            del self._made[gone]
        for number in range(start, window.stop + _AHEAD):
            if number not in self._made and number not in self._coming:
                self._coming[number] = self._make(self._names[number % len(self._names)])
        for number in window:
            if number not in self._made:
                self._made[number] = self._coming.pop(number).result()
        return [drive for number in window for drive in self._made[number]]

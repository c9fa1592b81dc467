# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of one topic of a bag by number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mono_metric_depth.datasets.bag_storage import bag_messages
from mono_metric_depth.image import ImageError


class BagMessageList:
    """Messages of one topic by number; fast in order, one look-up otherwise.

    Args:
        storage: The bag.
        topic: The topic.
        times: When each was received (ns), in the bag's order.
    """

    def __init__(self, storage: Path, topic: str, times: list[int]) -> None:
        self._storage, self._topic = storage, topic
        self._times = np.array(times, np.int64)
        self._next: Iterator[tuple[int, tuple[str, bytes | memoryview]]] = iter(())
        self._place = len(times)
        self._last: tuple[int, tuple[str, bytes | memoryview]] | None = None

    def __getitem__(self, number: int) -> tuple[str, bytes | memoryview]:
        """Type and CDR bytes."""
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        if number < self._place:
            self._next = self._from(number)
        for place, message in self._next:
            self._place = place + 1
            if place == number:
                self._last = number, message
                return message
            if place > number:
                break
        self._place = len(self._times)  # look it up anew
        msg = 'the bag is damaged there, or has changed while it was read'
        raise ImageError(msg, reason='message')

    def _from(self, number: int) -> Iterator[tuple[int, tuple[str, bytes | memoryview]]]:
        """Messages with their numbers, from the first that was received when this one was."""
        start = int(self._times[number])
        numbers = np.nonzero(self._times >= start)[0]
        for _, time, kind, data in bag_messages(self._storage, {self._topic}, start=start):
            # Past damage, one reading may find messages that another did not.
            found = 0
            if not len(numbers) or self._times[numbers[0]] != time:
                (places,) = np.nonzero(self._times[numbers] == time)
                if not len(places):
                    continue
                found = int(places[0])
            place, numbers = int(numbers[found]), numbers[found + 1 :]
            yield place, (kind, data)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Stages of work that overlap: each in a thread of its own, in order, a little ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import TypeVar

T = TypeVar('T')
#: How often a thread that waits looks whether it is still wanted (s).
_LOOK = 0.1


def prefetched(items: Generator[T, None, None], ahead: int = 2) -> Generator[T, None, None]:
    """The same items in the same order, made by a thread of its own.

    Args:
        items: Used by that thread alone, and closed by it.
        ahead: So many wait at most.

    Yields:
        The items; what making them raises is raised here.
    """
    waiting: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(ahead)
    unwanted = threading.Event()

    def put(item: T | None, problem: BaseException | None) -> bool:
        while not unwanted.is_set():
            try:
                waiting.put((item, problem), timeout=_LOOK)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item, None):
                    return
            put(None, StopIteration())
        except BaseException as err:
            put(None, err)
        finally:
            items.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, problem = waiting.get()
            if isinstance(problem, StopIteration):
                return
            if problem is not None:
                raise problem
            yield item  # type: ignore[misc]
    finally:
        unwanted.set()
        thread.join()

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A lock between processes; who waits for it says so, and for whom."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.own_files import open_own
from mono_metric_depth.printable import printable

#: How often one that waits for another looks again (s), and says so again.
_LOOK, _SAY_AGAIN = 0.2, 60.0


@contextmanager
def held_lock(
    path: Path, what: str, say: Callable[[str], object], on_step: Callable[[], object]
) -> Iterator[None]:
    """Wait until nobody else holds a lock, and keep others waiting.

    Args:
        path: The lock's file.
        what: What is done meanwhile; others that wait are told.
        say: Is told whom this waits for.
        on_step: Called now and then while it waits; what it raises ends that.

    Raises:
        EngineError: If the file cannot be written.
    """
    # Not truncated by opening it: it holds who has it.
    try:
        descriptor = open_own(path)
    except OSError as err:
        msg = f'{path}: no engine can be kept there: {err.strerror}; set XDG_CACHE_HOME'
        raise EngineError(msg) from err
    with os.fdopen(descriptor, 'r+', errors='replace') as lock:
        start, told = time.monotonic(), -_SAY_AGAIN
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                on_step()
            waited = time.monotonic() - start
            if waited - told >= _SAY_AGAIN:
                told = waited
                lock.seek(0)
                say(
                    f'waiting for {printable(lock.read(500)) or "another process"}, which '
                    f'uses {path.parent}'
                )
            time.sleep(_LOOK)
        lock.truncate(0)
        lock.seek(0)
        lock.write(f'process {os.getpid()} ({what})')
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Processes that work for another one."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

Job = TypeVar('Job')
Result = TypeVar('Result')


class WorkerError(RuntimeError):
    """A process that ended before its work, or what went wrong in it."""


def end_with_parent() -> None:
    """In a worker: end when the parent does, however it ends; Ctrl-C is the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Not what the parent may have set: it ends this process, at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name='parent', daemon=True).start()


def work_in_processes(
    start: Callable[..., Callable[[Job], Result]],
    arguments: tuple[Any, ...],
    jobs: Iterable[Job],
    processes: int,
) -> Generator[tuple[Job, Result], None, None]:
    """Do jobs in processes of their own, in order.

    There is no thread beside the caller's, so that whatever interrupts it ends everything, at any
    moment and without a word from anybody else. Close the generator to end the processes.

    Args:
        start: Makes in each process what does a job.
        arguments: Of ``start``.
        jobs: Each is taken when a process is free for it.
        processes: How many to start.

    Yields:
        Each job and its result, in the order of the jobs.

    Raises:
        WorkerError: If a process ends before its work.
        Exception: What a job, or ``start``, raises.
    """
    pool: list[tuple[Any, Connection]] = []
    try:
        _start_processes(pool, processes)
        for _, connection in pool:
            _send(connection, (start, arguments))
        yield from _in_order([connection for _, connection in pool], iter(jobs))
    finally:
        # Who interrupts does not wait for the jobs at hand.
        for process, connection in pool:
            process.terminate()
            connection.close()
        for process, _ in pool:
            process.join()


def _start_processes(pool: list[tuple[Any, Connection]], count: int) -> None:
    context = get_context('spawn')
    # As it starts, it lets signals through again.
    resource_tracker.ensure_running()
    with _without_interruption():
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            pool.append((process, ours))


@contextmanager
def _without_interruption() -> Iterator[None]:
    """Ctrl-C comes afterwards here, and never in processes that are started meanwhile."""
    # They inherit the mask. Here it may still come by way of another thread.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    here = threading.current_thread() is threading.main_thread()
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if here else None
    try:
        yield
    finally:
        if here:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if came:
            signal.raise_signal(signal.SIGINT)


def _in_order(
    connections: list[Connection], jobs: Iterator[Job]
) -> Generator[tuple[Job, Any], None, None]:
    numbered = enumerate(jobs)
    idle, running = list(connections), dict[Connection, tuple[int, Job]]()
    done: dict[int, tuple[Job, Any]] = {}
    shown = 0
    while True:
        while idle and (numbered_job := next(numbered, None)) is not None:
            _send(idle[-1], numbered_job[1])
            running[idle.pop()] = numbered_job
        while shown in done:
            yield done.pop(shown)
            shown += 1
        if not running:
            return
        for ready in wait(list(running)):
            assert isinstance(ready, Connection)
            number, job = running.pop(ready)
            done[number] = job, _received(ready)
            idle.append(ready)


def _send(connection: Connection, what: Any) -> None:
    try:
        connection.send(what)
    except OSError as err:
        msg = 'a process ended before its work'
        raise WorkerError(msg) from err


def _received(connection: Connection) -> Any:
    try:
        result, error, trace = connection.recv()
    except (EOFError, OSError) as err:
        msg = 'a process ended before its work'
        raise WorkerError(msg) from err
    if error is not None:
        raise error from WorkerError(trace)
    return result


def _serve(connection: Connection) -> None:
    """What a process does: a job at a time, until nobody asks any more."""
    end_with_parent()
    with suppress(EOFError, OSError):
        start, arguments = connection.recv()
        work, error, trace = _tried(start, *arguments)
        while True:
            job = connection.recv()
            # Where it could not start, it says why with the first job.
            connection.send((None, error, trace) if work is None else _tried(work, job))


def _tried(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Exception | None, str]:
    """What a function returns, or raises, and where it did."""
    try:
        return function(*arguments), None, ''
    except Exception as err:
        trace = traceback.format_exc()
        try:
            pickle.loads(pickle.dumps(err))
        except Exception:
            return None, WorkerError(f'{type(err).__name__}: {err}'), trace
        return None, err, trace

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The messages of an sqlite3 file of a bag, past what is damaged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path

from rosbags.rosbag2 import Reader

from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.stored_topic import StoredTopic

#: Past damage, reading goes on after so long (ns), then twice, four times, ... as long.
_FIRST_STRIDE = 10**7


class SqliteFile:
    """An sqlite3 file of a bag; damage is seen where its structure suffers.

    Args:
        path: The file.
        stack: Closes it.

    Attributes:
        topics: Its topics.
        cut: What is missing, in words; empty if nothing is.
        unchecked: Always: it carries no checksums.

    Raises:
        DatasetError: If it is empty.
        Exception: Whatever SQLite, rosbags or text decoding say of a file that is damaged.
    """

    unchecked = True

    def __init__(self, path: Path, stack: ExitStack) -> None:
        if not path.stat().st_size:
            msg = f'{path}: cannot read the bag: the file is empty; record it again'
            raise DatasetError(msg)
        self._reader = Reader(path)
        self._reader.open()
        stack.callback(self._reader.close)
        self.topics = [
            StoredTopic(
                c.topic,
                c.msgtype,
                c.msgdef.data,
                c.digest,
                tuple(getattr(c.ext, 'offered_qos_profiles', ())),
                c.msgcount,
            )
            for c in self._reader.connections
            if c.topic.isprintable() and getattr(c.ext, 'serialization_format', '') == 'cdr'
        ]
        log = path.with_name(f'{path.name}-wal')
        self.cut = ''
        if log.is_file() and log.stat().st_size:
            self.cut = (
                f'its last messages lie in {log.name} and are not read; take them in with: '
                f'sqlite3 {path} "PRAGMA wal_checkpoint"'
            )

    def messages(
        self, topics: Collection[str], start: int | None, damaged: Callable[[str], object]
    ) -> Iterator[tuple[str, int, str, bytes]]:
        """As :meth:`~mono_metric_depth.datasets.mcap_file.McapFile.messages`."""
        wanted = [c for c in self._reader.connections if c.topic in topics]
        if not wanted:
            return
        reached = self._reader.start_time if start is None else start
        stride, told = _FIRST_STRIDE, False
        while True:
            try:
                for c, time, data in self._reader.messages(wanted, start=start):
                    if not (isinstance(time, int) and isinstance(data, bytes) and time >= 0):
                        damaged(f'a message of {c.topic} is left out: its row is damaged')
                        continue
                    yield c.topic, time, c.msgtype, data
                    reached, stride, told = time, _FIRST_STRIDE, False
            except Exception as err:
                # Damage has no common base: errors of SQLite, of types, of text come through.
                if not told:
                    damaged(f'damaged after {reached * 1e-9:.3f} s: {err or repr(err)}')
                told = True
                start, stride = reached + stride, stride * 2
                if start < self._reader.end_time:
                    continue
            return

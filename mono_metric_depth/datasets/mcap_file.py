# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The messages of an MCAP file: in order of time, in bounded memory, past what is damaged."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.decompression import DecompressionError
from mono_metric_depth.datasets.mcap_index import mcap_contents
from mono_metric_depth.datasets.mcap_records import (
    Chunk,
    McapError,
    chunk_messages,
    has_checksum,
)

#: Most of the chunks that are open at a time (bytes).
_MOST_OPEN = 1 << 30
#: So many chunks, about, tell whether a file carries checksums.
_LOOKED_AT = 20


class McapFile:
    """An MCAP file.

    Args:
        path: The file.

    Attributes:
        topics: Its topics.
        cut: What is missing at its end, in words; empty if nothing is.

    Raises:
        DatasetError: If it is no MCAP file, or no message of it is whole.
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._channels, self._chunks, self.cut = mcap_contents(path)
        self.topics = list(self._channels.values())

    @property
    def unchecked(self) -> bool:
        """Whether it carries no checksums, by some of its chunks: its recorder leaves out all."""
        some = self._chunks[:: -(-len(self._chunks) // _LOOKED_AT) or 1]
        with self._path.open('rb') as file:
            return not all(has_checksum(file, chunk) for chunk in some)

    def messages(
        self,
        topics: Collection[str],
        start: int | None = None,
        damaged: Callable[[str], object] = lambda line: None,
        *,
        as_written: bool = False,
    ) -> Iterator[tuple[str, int, str, bytes | memoryview]]:
        """Messages in order of time; those of one time as they were written.

        Args:
            topics: Only these.
            start: Only what was received then or later (ns).
            damaged: Called with a line for each part that is left out.
            as_written: In the order of the file instead.

        Yields:
            Topic, time of receipt (ns), type, CDR bytes.
        """
        wanted = {key: (c.name, c.kind) for key, c in self._channels.items() if c.name in topics}
        chunks = [
            chunk
            for chunk in self._chunks
            if (not chunk.channels or not chunk.channels.isdisjoint(wanted))
            and (start is None or chunk.end >= start)
        ]
        with self._path.open('rb') as file:
            if as_written:
                for chunk in sorted(chunks, key=lambda chunk: chunk.offset):
                    for time, channel, view in _messages(file, chunk, wanted, start, damaged):
                        yield wanted[channel][0], time, wanted[channel][1], _kept(view)
                return
            for time, channel, data in self._in_order(file, chunks, wanted, start, damaged):
                yield wanted[channel][0], time, wanted[channel][1], data

    def _in_order(
        self,
        file: BinaryIO,
        chunks: list[Chunk],
        wanted: Collection[int],
        start: int | None,
        damaged: Callable[[str], object],
    ) -> Iterator[tuple[int, int, bytes | memoryview]]:
        ready: list[tuple[int, int, int, int, memoryview]] = []
        held: dict[int, list[int]] = {}  # messages left, and bytes, of each open chunk
        place = 0
        while place < len(chunks) or ready:
            while place < len(chunks) and (not ready or chunks[place].start <= ready[0][0]):
                chunk = chunks[place]
                place += 1
                found = _messages(file, chunk, wanted, start, damaged)
                last = max((message[0] for message in found), default=0)
                if not ready and (place == len(chunks) or chunks[place].start > last):
                    # The usual case: no other chunk reaches into this one's time.
                    for message in sorted(found, key=itemgetter(0)):
                        yield message[0], message[1], _kept(message[2])
                    continue
                for number, message in enumerate(found):
                    heapq.heappush(ready, (message[0], chunk.offset, number, *message[1:]))
                if found:
                    # All of them show one piece of memory.
                    held[chunk.offset] = [len(found), memoryview(found[0][2].obj).nbytes]
                    self._require_little(held)
            if ready:
                time, offset, _, channel, data = heapq.heappop(ready)
                held[offset][0] -= 1
                if not held[offset][0]:
                    del held[offset]
                yield time, channel, _kept(data)

    def _require_little(self, held: dict[int, list[int]]) -> None:
        if sum(size for _, size in held.values()) > _MOST_OPEN:
            msg = (
                f'{self._path}: its chunks overlap in time, more than {_MOST_OPEN >> 20} MiB at '
                'once; mend it with "mcap sort"'
            )
            raise DatasetError(msg)


def _kept(data: memoryview) -> bytes | memoryview:
    """A message that keeps no more than twice its memory: its chunk, or a copy."""
    return data if 2 * len(data) >= memoryview(data.obj).nbytes else bytes(data)


def _messages(
    file: BinaryIO,
    chunk: Chunk,
    wanted: Collection[int],
    start: int | None,
    damaged: Callable[[str], object],
) -> list[tuple[int, int, memoryview]]:
    """Time, channel and data of a chunk's messages; none if it is damaged."""
    found: list[tuple[int, int, memoryview]] = []
    try:
        for time, channel, data in chunk_messages(file, chunk):
            if channel in wanted and (start is None or time >= start):
                found.append((time, channel, data))
    except (McapError, DecompressionError) as err:
        first, last = f'{chunk.start * 1e-9:.3f}', f'{chunk.end * 1e-9:.3f}'
        span, verb = (first, 'is') if first == last else (f'{first} .. {last}', 'are')
        damaged(
            f'{file.name.rpartition("/")[2]}: damaged, {span} s (the chunk at byte '
            f'{chunk.offset}) {verb} left out: {err}; "mcap recover" saves the rest of the file'
        )
        return []
    return found

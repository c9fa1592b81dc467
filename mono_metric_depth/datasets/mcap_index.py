# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Where the messages of an MCAP file lie: of its summary, or of a pass over the file."""

from __future__ import annotations

import struct
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32

from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.decompression import DecompressionError
from mono_metric_depth.datasets.mcap_records import (
    CHANNEL,
    CHUNK,
    CHUNK_INDEX,
    CHUNK_INDEX_HEAD,
    DATA_END,
    FOOTER,
    HEADER,
    MAGIC,
    MESSAGE,
    MESSAGE_HEAD,
    MOST_SUMMARY,
    RECORD,
    SCHEMA,
    STATISTICS,
    Chunk,
    McapError,
    Topics,
    chunk_data,
    message_of,
    records,
)
from mono_metric_depth.datasets.stored_topic import StoredTopic

#: A footer and the magic behind it.
_TAIL = struct.Struct('<BQQQI8s')
#: Messages outside of chunks are taken together up to so many bytes.
_LOOSE = 1 << 20


class Contents(NamedTuple):
    """What a file holds.

    Attributes:
        channels: Topics by number.
        chunks: In order of time.
        cut: What is missing at its end, in words; empty if nothing is.
    """

    channels: dict[int, StoredTopic]
    chunks: list[Chunk]
    cut: str = ''


def mcap_contents(path: Path) -> Contents:
    """Find out where the messages of a file lie.

    Args:
        path: The file.

    Returns:
        What it holds; if its recording was cut short, up to its last whole chunk.

    Raises:
        DatasetError: If it is no MCAP file, or no message of it is whole.
        OSError: If it cannot be opened.
    """
    stat = path.stat()
    return _contents(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _contents(path: Path, size: int, changed: int) -> Contents:
    with path.open('rb') as file:
        start = _data_start(path, file)
        try:
            found = _of_summary(file, size, start)
        except (McapError, struct.error, UnicodeDecodeError):
            found = None
        found = found or _Scan(file, size, start).contents()
    if found.cut and not found.chunks:
        msg = (
            f'{path}: cannot read the bag: {found.cut}, and nothing before is whole; record it '
            'again'
        )
        raise DatasetError(msg)
    return found


def _data_start(path: Path, file: BinaryIO) -> int:
    head = file.read(17)
    if not head:
        msg = f'{path}: cannot read the bag: the file is empty; record it again'
        raise DatasetError(msg)
    if head[:8] != MAGIC:
        msg = f'{path}: cannot read the bag: it is no MCAP file, by its first bytes'
        raise DatasetError(msg)
    opcode, length = RECORD.unpack(head[8:].ljust(9, b'\0'))
    if opcode != HEADER or length > _LOOSE:
        msg = (
            f'{path}: cannot read the bag: it has no MCAP header; mend it with "mcap recover", or '
            'record it again'
        )
        raise DatasetError(msg)
    profile = file.read(length)[4:8]
    if profile == b'ros1':
        msg = f'{path}: a ROS 1 bag; convert it with rosbags-convert'
        raise DatasetError(msg)
    return 17 + int(length)


def _of_summary(file: BinaryIO, size: int, data_start: int) -> Contents | None:
    """What the summary tells; None if there is none, or it does not tell where chunks lie."""
    file.seek(max(size - _TAIL.size, data_start))
    tail = file.read(_TAIL.size)
    if len(tail) < _TAIL.size:
        return None
    opcode, length, start, _, checksum, magic = _TAIL.unpack(tail)
    end = size - _TAIL.size
    if (opcode, length, magic) != (FOOTER, 20, MAGIC) or not data_start <= start <= end:
        return None
    if end - start > MOST_SUMMARY:
        return None
    file.seek(start)
    summary = memoryview(file.read(end - start))
    if checksum and crc32(tail[:25], crc32(summary)) != checksum:
        return None
    topics, chunks, counts, total = Topics(), [], Counter[int](), -1
    for opcode, content in records(summary):
        topics.add(opcode, content)
        if opcode == CHUNK_INDEX:
            chunks.append(_indexed(content))
        elif opcode == STATISTICS:
            (total,) = struct.unpack_from('<I', content, 22)
            pairs = struct.iter_unpack('<HQ', content[46:])
            counts.update(dict(pairs))
    place = data_start
    for chunk in sorted(chunks, key=lambda chunk: chunk.offset):
        if chunk.offset < place or chunk.offset + chunk.length > start:
            return None
        place = chunk.offset + chunk.length
    if total != len(chunks) or not chunks:
        return None
    return Contents(topics.counted(counts), sorted(chunks))


def _indexed(content: memoryview) -> Chunk:
    start, end, offset, length, size = CHUNK_INDEX_HEAD.unpack_from(content)
    channels = (channel for channel, _ in struct.iter_unpack('<HQ', content[36 : 36 + size]))
    return Chunk(start, end, offset, length, frozenset(channels))


class _Scan:
    """A pass over a file without a usable summary."""

    def __init__(self, file: BinaryIO, size: int, start: int) -> None:
        self._file, self._size, self._start = file, size, start
        self._topics = Topics()
        self._counts: Counter[int] = Counter()
        self._chunks: list[Chunk] = []
        self._loose: Chunk | None = None
        self._cut = ''

    def contents(self) -> Contents:
        place = self._start
        while not self._cut:
            self._file.seek(place)
            head = self._file.read(RECORD.size)
            opcode, length = RECORD.unpack(head.ljust(RECORD.size, b'\0'))
            if opcode in {DATA_END, FOOTER}:
                break
            if not opcode or length > self._size - place - RECORD.size:
                self._cut = self._missing(place)
                break
            end = place + RECORD.size + length
            self._take(opcode, place, end)
            place = end
        self._end_loose()
        return Contents(self._topics.counted(self._counts), sorted(self._chunks), self._cut)

    def _take(self, opcode: int, place: int, end: int) -> None:
        if opcode == CHUNK:
            self._end_loose()
            self._add_chunk(place, end)
        elif opcode == MESSAGE:
            self._add_loose(place, end)
        elif opcode not in {SCHEMA, CHANNEL}:
            self._end_loose()
        elif end - place <= MOST_SUMMARY:
            content = memoryview(self._file.read(end - place - RECORD.size))
            try:
                self._topics.add(opcode, content)
            except (McapError, struct.error, UnicodeDecodeError):
                self._cut = self._missing(place)

    def _add_chunk(self, place: int, end: int) -> None:
        head = self._file.read(16).ljust(16, b'\0')
        start, last = struct.unpack('<QQ', head)
        chunk = Chunk(start, last, place, end - place, frozenset())
        counts: Counter[int] = Counter()
        first, latest = None, 0
        try:
            for opcode, content in records(chunk_data(self._file, chunk)):
                self._topics.add(opcode, content)
                if opcode == MESSAGE:
                    channel, time, _ = message_of(content)
                    counts[channel] += 1
                    first, latest = time if first is None else min(first, time), max(latest, time)
        except (McapError, DecompressionError, struct.error, UnicodeDecodeError):
            pass  # said when it is read
        else:
            if first is not None:
                chunk = chunk._replace(start=first, end=latest)
            chunk = chunk._replace(channels=frozenset(counts))
        self._counts.update(counts)
        self._chunks.append(chunk)

    def _add_loose(self, place: int, end: int) -> None:
        head = self._file.read(MESSAGE_HEAD.size)
        if len(head) < MESSAGE_HEAD.size or end - place < RECORD.size + MESSAGE_HEAD.size:
            self._cut = self._missing(place)
            return
        channel, _, time, _ = MESSAGE_HEAD.unpack(head)
        self._counts[channel] += 1
        before = self._loose
        if before is not None and before.length > _LOOSE:
            self._end_loose()
            before = None
        if before is None:
            self._loose = Chunk(time, time, place, end - place, frozenset({channel}), loose=True)
            return
        self._loose = before._replace(
            start=min(before.start, time),
            end=max(before.end, time),
            length=end - before.offset,
            channels=before.channels | {channel},
        )

    def _end_loose(self) -> None:
        if self._loose is not None:
            self._chunks.append(self._loose)
            self._loose = None

    def _missing(self, place: int) -> str:
        self._end_loose()
        lost = f'its recording was cut short: the last {self._size - place} bytes cannot be read'
        last = max((chunk.end for chunk in self._chunks), default=0)
        return f'{lost}, what was recorded after {last * 1e-9:.3f} s' if last else lost

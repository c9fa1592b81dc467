# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The records of an MCAP file, read without trusting them.

By the specification (mcap.dev/spec). Nothing that a file claims is used before it is checked
against the file's size and its checksums.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple
from zlib import crc32

import yaml
from rosbags.interfaces import Qos
from rosbags.rosbag2.metadata import parse_qos

from mono_metric_depth.datasets.decompression import decompressed
from mono_metric_depth.datasets.stored_topic import StoredTopic

MAGIC = b'\x89MCAP0\r\n'
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 1, 2, 3, 4, 5, 6
MESSAGE_INDEX, CHUNK_INDEX, STATISTICS, DATA_END = 7, 8, 11, 15
#: A record's opcode and length; a chunk's numbers; a message's.
RECORD = struct.Struct('<BQ')
CHUNK_HEAD, MESSAGE_HEAD = struct.Struct('<QQQII'), struct.Struct('<HIQQ')
#: Of an index of a chunk, up to the places of its indices of messages.
CHUNK_INDEX_HEAD = struct.Struct('<QQQQI')
#: Most of a chunk or of a record, and of a file's summary (bytes).
_MOST, MOST_SUMMARY = 1 << 29, 1 << 28
#: Most messages in one chunk: rosbag2 makes chunks of 768 KiB, others of 4 MiB.
_MOST_MESSAGES = 1 << 20
_LAST_TIME = 2**63 - 1
#: Most of a description of QoS (characters); one publisher's takes 500.
_MOST_QOS = 100_000


class McapError(ValueError):
    """A part of a file that cannot be read."""


class Chunk(NamedTuple):
    """Where messages lie: a chunk, or some records outside of chunks.

    Attributes:
        start, end: When the first and the last were received (ns).
        offset, length: Place in the file (bytes).
        channels: Numbers of their topics; empty if they are not known.
        loose: Whether the records lie outside of chunks.
    """

    start: int
    end: int
    offset: int
    length: int
    channels: frozenset[int]
    loose: bool = False


def chunk_messages(file: BinaryIO, chunk: Chunk) -> Iterator[tuple[int, int, memoryview]]:
    """Time (ns), channel and data of a chunk's messages, as they were written.

    Raises:
        McapError, DecompressionError: If it is damaged; without a checksum, where damage is seen.
    """
    count = 0
    for opcode, content in records(chunk_data(file, chunk)):
        if opcode == MESSAGE:
            count += 1
            channel, time, data = message_of(content)
            if count > _MOST_MESSAGES:
                msg = f'it holds more than {_MOST_MESSAGES} messages'
                raise McapError(msg)
            yield time, channel, data


def has_checksum(file: BinaryIO, chunk: Chunk) -> bool:
    """Whether damage in a chunk is seen by its checksum; of no chunk, it is seen anyway."""
    if chunk.loose:
        return False
    file.seek(chunk.offset)
    head = file.read(RECORD.size + CHUNK_HEAD.size)
    if len(head) < RECORD.size + CHUNK_HEAD.size or head[0] != CHUNK:
        return True
    _, _, size, checksum, _ = CHUNK_HEAD.unpack_from(head, RECORD.size)
    return bool(checksum) or not size


def message_of(content: memoryview) -> tuple[int, int, memoryview]:
    """Channel, time (ns) and data of a message."""
    if len(content) < MESSAGE_HEAD.size:
        msg = 'a message of it is damaged'
        raise McapError(msg)
    channel, _, time, _ = MESSAGE_HEAD.unpack_from(content)
    if time > _LAST_TIME:
        msg = f'a message of it has the time {time} ns'
        raise McapError(msg)
    return channel, time, content[MESSAGE_HEAD.size :]


def chunk_data(file: BinaryIO, chunk: Chunk) -> memoryview:
    """The records of a chunk, once its size and checksum are known to be right."""
    if chunk.length > _MOST:
        msg = f'it claims {chunk.length >> 20} MiB'
        raise McapError(msg)
    file.seek(chunk.offset)
    record = memoryview(file.read(chunk.length))
    if len(record) != chunk.length:
        msg = 'it reaches beyond the end of the file'
        raise McapError(msg)
    if chunk.loose:
        return record
    if len(record) < 9 + 40 or RECORD.unpack_from(record) != (CHUNK, chunk.length - 9):
        msg = 'there is no chunk'
        raise McapError(msg)
    content = record[9:]
    _, _, size, checksum, letters = CHUNK_HEAD.unpack_from(content)
    if letters > 16 or size > _MOST:
        msg = f'it claims {size >> 20} MiB'
        raise McapError(msg)
    name = bytes(content[32 : 32 + letters])
    (stored,) = struct.unpack_from('<Q', content, 32 + letters)
    body = content[40 + letters :]
    if stored != len(body):
        msg = f'{len(body)} bytes where it claims {stored}'
        raise McapError(msg)
    data = decompressed(body, name.decode('ascii', 'replace'), size)
    if checksum and crc32(data) != checksum:
        msg = 'its checksum is wrong'
        raise McapError(msg)
    return data


def records(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Opcode and content of the records in a piece of a file."""
    place = 0
    while place < len(data):
        if len(data) - place < RECORD.size:
            msg = 'a record of it is damaged'
            raise McapError(msg)
        opcode, length = RECORD.unpack_from(data, place)
        place += RECORD.size
        if not opcode or length > len(data) - place:
            msg = 'a record of it is damaged'
            raise McapError(msg)
        yield opcode, data[place : place + length]
        place += length


class Topics:
    """Topics, as their records go by."""

    def __init__(self) -> None:
        self._schemas: dict[int, tuple[str, str]] = {}
        self._channels: dict[int, StoredTopic] = {}

    def add(self, opcode: int, content: memoryview) -> None:
        """Take in a record."""
        if opcode == SCHEMA:
            (number,) = struct.unpack_from('<H', content)
            kind, place = _text(content, 2)
            _, place = _text(content, place)
            self._schemas[number] = kind, _text(content, place)[0]
        elif opcode == CHANNEL:
            number, schema = struct.unpack_from('<HH', content)
            name, place = _text(content, 4)
            encoding, place = _text(content, place)
            kind, definition = self._schemas.get(schema, ('', ''))
            # A name with line ends or the like is nobody's topic.
            if encoding == 'cdr' and name.isprintable() and kind.isprintable():
                qos = _qos(content, place + 4)
                self._channels[number] = StoredTopic(name, kind, definition, qos=qos)

    def counted(self, counts: Counter[int]) -> dict[int, StoredTopic]:
        """The topics by channel, with so many messages each."""
        return {n: c._replace(messages=counts[n]) for n, c in sorted(self._channels.items())}


def _qos(content: memoryview, place: int) -> tuple[Qos, ...]:
    while place < len(content):
        key, place = _text(content, place)
        value, place = _text(content, place)
        if key == 'offered_qos_profiles':
            try:
                # Loaded here: where rosbags uses a parser in C, deep nesting ends the process.
                return tuple(parse_qos(yaml.safe_load(value[:_MOST_QOS])))
            except Exception:  # whatever a stranger wrote; it decides nothing but QoS
                return ()
    return ()


def _text(content: memoryview, place: int) -> tuple[str, int]:
    """A string, and where what follows begins."""
    (length,) = struct.unpack_from('<I', content, place)
    end = place + 4 + length
    if end > len(content):
        msg = 'a record of it is damaged'
        raise McapError(msg)
    return bytes(content[place + 4 : end]).decode(), end

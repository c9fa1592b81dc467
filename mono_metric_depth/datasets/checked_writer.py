# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Writes bags whose MCAP files hold checksums, so that damage is not taken for depth."""

from __future__ import annotations

import struct
from collections import defaultdict
from io import BytesIO
from pathlib import Path
from zlib import crc32

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter, PendingChunk

from mono_metric_depth.datasets.mcap_records import (
    CHUNK,
    CHUNK_HEAD,
    CHUNK_INDEX_HEAD,
    MESSAGE,
    MESSAGE_HEAD,
    MESSAGE_INDEX,
    RECORD,
)

#: A chunk ends once it holds more (bytes).
_CHUNK_SIZE = 1 << 20
#: A footer's place of the summary, from the end of the file; its checksum, likewise.
_SUMMARY_START, _SUMMARY_CRC = 28, 12
_LAST_TIME = 2**63 - 1


class _CheckedMcapWriter(McapWriter):
    """Writes the bytes that rosbags writes, with checksums and without copies of large messages.

    Checksums are those of the chunks and of the summary, which rosbags leaves at 0.
    """

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        """Write a message.

        Args:
            connection: Its topic.
            timestamp: When it was received (ns).
            data: CDR bytes.
        """
        self.message_start_time = min(timestamp, self.message_start_time)
        self.message_end_time = max(timestamp, self.message_end_time)
        self.channel_stats[connection.id] += 1
        chunk = self.chunk
        chunk.message_start_time = min(timestamp, chunk.message_start_time)
        chunk.message_end_time = max(timestamp, chunk.message_end_time)
        chunk.msgs[connection.id].append((timestamp, chunk.bio.tell()))
        chunk.bio.write(RECORD.pack(MESSAGE, MESSAGE_HEAD.size + len(data)))
        chunk.bio.write(MESSAGE_HEAD.pack(connection.id, 0, timestamp, timestamp))
        if len(data) > _CHUNK_SIZE:
            self._end_chunk(data)
            return
        chunk.bio.write(data)
        if chunk.bio.tell() > _CHUNK_SIZE:
            self._end_chunk(b'')

    def close_chunk(self) -> None:
        """Write the chunk at hand."""
        self._end_chunk(b'')

    def _end_chunk(self, last: bytes | memoryview) -> None:
        """Write the chunk at hand, with a last message's data that it does not hold yet."""
        chunk = self.chunk
        with chunk.bio.getbuffer() as held:
            size = len(held) + len(last)
            checksum = crc32(last, crc32(held))
            times = chunk.message_start_time, chunk.message_end_time
            # The compression has no name, and so no letters; then the size follows once more.
            head = CHUNK_HEAD.pack(*times, size, checksum, 0) + struct.pack('<Q', size)
            start = self.bio.tell()
            self.bio.write(RECORD.pack(CHUNK, len(head) + size) + head)
            self.bio.write(held)
            self.bio.write(last)
        end = self.bio.tell()
        places = bytearray()
        for number, messages in chunk.msgs.items():
            places += struct.pack('<HQ', number, self.bio.tell())
            entries = b''.join(struct.pack('<QQ', *message) for message in messages)
            record = struct.pack('<HI', number, len(entries)) + entries
            self.bio.write(RECORD.pack(MESSAGE_INDEX, len(record)) + record)
        index = BytesIO()
        index.write(CHUNK_INDEX_HEAD.pack(*times, start, end - start, len(places)))
        index.write(places)
        index.write(struct.pack('<QIQQ', self.bio.tell() - end, 0, size, size))
        self.chunks.append(index)
        self.chunk = PendingChunk(_LAST_TIME, 0, BytesIO(), defaultdict(list))

    def close(self, version: int, metadata: str) -> None:
        """Finish the file."""
        super().close(version, metadata)
        with self.path.open('r+b') as file:
            end = file.seek(-_SUMMARY_START, 2)
            (start,) = struct.unpack('<Q', file.read(8))
            file.seek(start)
            checksum = crc32(file.read(end + _SUMMARY_START - _SUMMARY_CRC - start))
            file.seek(-_SUMMARY_CRC, 2)
            file.write(struct.pack('<I', checksum))


class CheckedWriter(Writer):
    """The writer of rosbags; MCAP files have checksums."""

    STORAGE_PLUGINS = {**Writer.STORAGE_PLUGINS, StoragePlugin.MCAP: _CheckedMcapWriter}

    def __init__(self, path: Path, storage: StoragePlugin = StoragePlugin.MCAP) -> None:
        super().__init__(path, version=9, storage_plugin=storage)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Writes bags whose MCAP files hold checksums, so that damage is not taken for depth."""

from __future__ import annotations

import struct
from pathlib import Path
from zlib import crc32

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter

from mono_metric_depth.datasets.mcap_records import RECORD

#: Of a chunk's checksum in its record: behind both times and the size.
_CHUNK_CRC = RECORD.size + 24
#: A footer's place of the summary, from the end of the file; its checksum, likewise.
_SUMMARY_START, _SUMMARY_CRC = 28, 12


class _CheckedMcapWriter(McapWriter):
    """Fills in what rosbags leaves at 0: checksums of the chunks and of the summary."""

    def close_chunk(self) -> None:
        """Write the chunk at hand, with its checksum."""
        place, checksum = self.bio.tell(), crc32(self.chunk.bio.getbuffer())
        super().close_chunk()
        end = self.bio.tell()
        self.bio.seek(place + _CHUNK_CRC)
        self.bio.write(struct.pack('<I', checksum))
        self.bio.seek(end)

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

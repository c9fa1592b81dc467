# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What bags compress, unpacked without trusting it: never to more than was said."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lz4.frame import LZ4FrameDecompressor  # type: ignore[import-untyped]

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_BLOCK = 1 << 20
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    'lz4': LZ4FrameDecompressor,
    'zstd': zstd.ZstdDecompressor,
}


class DecompressionError(ValueError):
    """Compressed data that are damaged, or too large."""


def decompressed(data: memoryview, compression: str, size: int) -> memoryview:
    """Unpack data that become exactly so long.

    Args:
        data: Compressed bytes.
        compression: ``lz4``, ``zstd``, or empty if they are not compressed.
        size: How long they become (bytes); no more is ever unpacked.

    Returns:
        The bytes.

    Raises:
        DecompressionError: If they become shorter or longer, or are damaged.
    """
    found = data
    if compression:
        found = memoryview(_unpacked(data, compression, size))
    if len(found) != size:
        more = 'more than ' if len(found) > size else ''
        msg = f'it holds {more}{min(len(found), size)} bytes where it claims {size}'
        raise DecompressionError(msg)
    return found


def decompressed_message(data: bytes | memoryview, most: int) -> bytes:
    """Unpack a message of a bag that is compressed message by message (zstd).

    Args:
        data: Compressed bytes.
        most: How long they become at most (bytes).

    Raises:
        DecompressionError: If they become longer, or are damaged.
    """
    found = _unpacked(memoryview(data), 'zstd', most)
    if len(found) > most:
        msg = f'a message of more than {most >> 20} MiB'
        raise DecompressionError(msg)
    return found


def _unpacked(data: memoryview, compression: str, most: int) -> bytes:
    """At most one byte more than ``most``."""
    if compression not in _DECOMPRESSORS:
        msg = f'its compression {compression!r} is not known; there are lz4 and zstd'
        raise DecompressionError(msg)
    decompressor = _DECOMPRESSORS[compression]()
    try:
        found: bytes = decompressor.decompress(data, max_length=most + 1)
    except (RuntimeError, ValueError, EOFError, MemoryError, zstd.ZstdError) as err:
        msg = f'it cannot be decompressed ({" ".join(str(err).split()) or repr(err)})'
        raise DecompressionError(msg) from err
    if not decompressor.eof and len(found) <= most:
        msg = 'its compressed data end too early'
        raise DecompressionError(msg)
    return found


def decompressed_file(path: Path, target: Path, most: int) -> None:
    """Unpack a file (zstd) into another.

    Args:
        path: The compressed file.
        target: The new file.
        most: How large it may become (bytes).

    Raises:
        DecompressionError: If it becomes larger, or is damaged.
    """
    try:
        with zstd.open(path, 'rb') as packed, target.open('wb') as file:
            while block := packed.read(_BLOCK):
                most -= len(block)
                if most < 0:
                    msg = 'unpacked, it is far larger than bags are, or leaves no room on the disk'
                    raise DecompressionError(msg)
                file.write(block)
    except (EOFError, zstd.ZstdError) as err:
        msg = f'it cannot be decompressed ({" ".join(str(err).split())})'
        raise DecompressionError(msg) from err

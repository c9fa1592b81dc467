# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Metadata of ONNX files, read and written without loading the network.

An ONNX file is one protobuf message, ModelProto; its ``metadata_props`` are field 14, each entry a
message of ``key`` (1) and ``value`` (2) (onnx.proto3). Only top-level field headers are read here
and everything else is skipped by seeking, so that a robot needs no onnx package, a file of any
size costs nothing, and a damaged file is named as such before any engine sees it.

Reading also looks through the graph for tensors that lie in other files. Such a model is refused:
its card would not go with those weights, no hash would cover them, and a stranger's file could
name any other file.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

_METADATA_PROPS = 14
_GRAPH = 7
_MAX_ENTRY = 1 << 20
_MAX_FIELDS = 10_000
_COPY_CHUNK = 1 << 20
#: Fields of a graph: more than a hundred times those of large networks.
_MAX_GRAPH_FIELDS = 4_000_000
#: Where tensors lie within a model: messages by field number (onnx.proto).
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    'model': {_GRAPH: 'graph', 20: 'training', 25: 'function'},
    'training': {1: 'graph', 2: 'graph'},
    'graph': {1: 'node', 5: 'tensor', 15: 'sparse'},
    'function': {7: 'node', 11: 'attribute'},
    'node': {5: 'attribute'},
    'attribute': {5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse'},
    'sparse': {1: 'tensor', 2: 'tensor'},
    'tensor': {},
}
#: Of a tensor: where it lies outside, and that it does.
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


class OnnxFileError(ValueError):
    """A file that is missing, unreadable or no ONNX model."""


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of an ONNX file.

    Args:
        path: The file.

    Returns:
        Keys and values of ``metadata_props``.

    Raises:
        OnnxFileError: If the file is missing, truncated or no ONNX model, or keeps its weights
            in other files.
    """
    metadata = {}
    for number, start, end, content in _fields(path):
        if number in _MESSAGES['model']:
            _require_whole(path, start, end)
        if number == _METADATA_PROPS:
            if end - start > _MAX_ENTRY:
                msg = f'{path}: a metadata entry of {end - start} bytes is beyond {_MAX_ENTRY}'
                raise OnnxFileError(msg)
            key, value = _entry(path, content)
            metadata[key] = value
    return metadata


def network_sha256(path: Path) -> str:
    """SHA-256 of an ONNX file without its metadata: of the network, whatever its card says.

    Args:
        path: The file.

    Returns:
        Of all other fields, as they lie in the file; in hexadecimal.

    Raises:
        OnnxFileError: If the file is missing, truncated or no ONNX model.
    """
    digest = hashlib.sha256()
    kept = [(start, end) for number, start, end, _ in _fields(path) if number != _METADATA_PROPS]
    with path.open('rb') as file:
        for start, end in kept:
            file.seek(start)
            for position in range(start, end, _COPY_CHUNK):
                digest.update(file.read(min(_COPY_CHUNK, end - position)))
    return digest.hexdigest()


def _require_whole(path: Path, start: int, end: int) -> None:
    """Refuse a field of the model in which a tensor lies in another file."""
    waiting, fields = [('model', start, end)], 0
    with path.open('rb') as file:
        while waiting:
            kind, position, end = waiting.pop()
            while position < end:
                file.seek(position)
                tag = _varint(path, file)
                number, wire = tag >> 3, tag & 7
                value = _varint(path, file) if wire in {0, 2} else 0
                body = file.tell()
                length = {0: 0, 1: 8, 2: value, 5: 4}.get(wire, end)
                position, fields = body + length, fields + 1
                # Others read only the lower 32 bits of a tag: it would mean something else there.
                if position > end or tag >> 32 or number == 0 or fields > _MAX_GRAPH_FIELDS:
                    msg = f'{path}: not an ONNX model, or damaged at byte {body}'
                    raise OnnxFileError(msg)
                if kind == 'tensor' and (
                    number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)
                ):
                    msg = (
                        f'{path} keeps its weights in other files; a model is one file. Merge '
                        f"them: python -c \"import onnx; onnx.save(onnx.load('{path}'), "
                        "'whole.onnx')\""
                    )
                    raise OnnxFileError(msg)
                if wire == 2 and number in _MESSAGES[kind]:
                    waiting.append((_MESSAGES[kind][number], body, position))


def write_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Set metadata of an ONNX file; other entries stay. The file is replaced atomically.

    Args:
        path: The file.
        metadata: Keys and values to set.

    Raises:
        OnnxFileError: If the file is missing, truncated or no ONNX model, an entry is too large
            to be read again, or the file cannot be written.
    """
    path = path.resolve()
    entries = []
    for key, value in metadata.items():
        entry = _length_delimited(1, key.encode()) + _length_delimited(2, value.encode())
        if len(entry) > _MAX_ENTRY:
            msg = f'{path}: metadata {key} of {len(entry)} bytes is beyond {_MAX_ENTRY}'
            raise OnnxFileError(msg)
        entries.append(_length_delimited(_METADATA_PROPS, entry))
    keep = [
        (start, end)
        for number, start, end, content in _fields(path)
        if number != _METADATA_PROPS or _entry(path, content)[0] not in metadata
    ]
    try:
        _replace(path, keep, entries)
    except OSError as err:
        msg = f'{path}: cannot write the model file: {err.strerror}'
        raise OnnxFileError(msg) from err


def _replace(path: Path, keep: list[tuple[int, int]], entries: list[bytes]) -> None:
    """Replace a file by ranges of itself followed by entries; at once, or not at all."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(descriptor, 'wb') as target, path.open('rb') as source:
            for start, end in keep:
                source.seek(start)
                _copy(source, target, end - start)
            target.writelines(entries)
            target.flush()
            os.fsync(target.fileno())
        Path(name).chmod(path.stat().st_mode & 0o777)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _fields(path: Path) -> Iterator[tuple[int, int, int, bytes]]:
    """Top-level fields: number, where it starts (tag included) and ends, content of metadata."""
    try:
        status = path.stat()
        # Opening a pipe would wait for someone to write to it.
        if not stat.S_ISREG(status.st_mode):
            msg = f'{path}: cannot open the model file: not a regular file'
            raise OnnxFileError(msg)
        size = status.st_size
        file = path.open('rb')
    except OSError as err:
        msg = f'{path}: cannot open the model file: {err.strerror}'
        raise OnnxFileError(msg) from err
    with file:
        graph = False
        for _ in range(_MAX_FIELDS):
            start = file.tell()
            if start == size:
                break
            tag = _varint(path, file)
            number, wire = tag >> 3, tag & 7
            length = {1: 8, 5: 4}.get(wire, 0)
            if wire == 2:
                length = _varint(path, file)
            elif wire not in {0, 1, 5} or number in {_METADATA_PROPS, _GRAPH}:
                msg = f'{path}: not an ONNX model (or damaged at byte {start})'
                raise OnnxFileError(msg)
            elif wire == 0:
                _varint(path, file)
            if number == 0 or tag >> 32 or file.tell() + length > size:
                msg = (
                    f'{path}: truncated or not an ONNX model: a field at byte {start} needs '
                    f'{file.tell() + length} bytes, the file has {size}; copy or export it again'
                )
                raise OnnxFileError(msg)
            content = b''
            if number == _METADATA_PROPS and length <= _MAX_ENTRY:
                content = file.read(length)
            else:
                file.seek(length, os.SEEK_CUR)
            graph |= number == _GRAPH
            yield number, start, file.tell(), content
        else:
            msg = f'{path}: not an ONNX model (more than {_MAX_FIELDS} fields)'
            raise OnnxFileError(msg)
        if not graph:
            msg = f'{path}: not an ONNX model, or truncated: it holds no graph'
            raise OnnxFileError(msg)


def _entry(path: Path, content: bytes) -> tuple[str, str]:
    found = {1: '', 2: ''}
    position = 0
    try:
        while position < len(content):
            tag, position = _varint_at(content, position)
            length, position = _varint_at(content, position)
            if tag & 7 != 2 or position + length > len(content):
                raise IndexError
            found[tag >> 3] = content[position : position + length].decode()
            position += length
    except (IndexError, UnicodeDecodeError) as err:
        msg = f'{path}: damaged metadata entry'
        raise OnnxFileError(msg) from err
    return found[1], found[2]


def _varint_at(content: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise IndexError


def _varint(path: Path, file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            msg = f'{path}: truncated at byte {file.tell()}; copy or export it again'
            raise OnnxFileError(msg)
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    msg = f'{path}: not an ONNX model (bad number at byte {file.tell()})'
    raise OnnxFileError(msg)


def _length_delimited(number: int, content: bytes) -> bytes:
    return _varint_bytes(number << 3 | 2) + _varint_bytes(len(content)) + content


def _varint_bytes(value: int) -> bytes:
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)


def _copy(source: BinaryIO, target: BinaryIO, length: int) -> None:
    while length > 0:
        chunk = source.read(min(length, _COPY_CHUNK))
        if not chunk:
            msg = 'the model file shrank while it was being copied'
            raise OnnxFileError(msg)
        target.write(chunk)
        length -= len(chunk)

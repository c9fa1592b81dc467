# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import write_model

from mono_metric_depth.onnx_metadata import (
    OnnxFileError,
    network_sha256,
    read_metadata,
    write_metadata,
)

onnx = pytest.importorskip('onnx')


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / 'tiny.onnx')


def varint(value: int) -> bytes:
    result = b''
    while value >= 0x80:
        result += bytes([value & 0x7F | 0x80])
        value >>= 7
    return result + bytes([value])


def test_a_model_without_metadata_has_none(model: Path) -> None:
    assert read_metadata(model) == {}


def test_metadata_written_by_the_onnx_package_is_read(model: Path) -> None:
    proto = onnx.load(model)
    onnx.helper.set_model_props(proto, {'author': 'jemand', 'empty': '', 'Länge': 'größer ∞'})
    onnx.save(proto, model)
    assert read_metadata(model) == {'author': 'jemand', 'empty': '', 'Länge': 'größer ∞'}


# A file of its own for each example: hypothesis runs them all in one tmp_path.
@given(entries=st.dictionaries(st.text(max_size=20), st.text(max_size=300), max_size=5))
def test_metadata_written_is_read_back_and_the_graph_stays(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, str]
) -> None:
    path = write_model(tmp_path_factory.mktemp('model') / 'tiny.onnx')
    before = onnx.load(path)
    write_metadata(path, {'kept': 'x', **dict.fromkeys(entries, 'earlier')})
    write_metadata(path, entries)
    assert read_metadata(path) == {'kept': 'x', **entries}
    after = onnx.load(path)
    # Each once: nothing of an earlier value stays in the file.
    found = sorted((prop.key, prop.value) for prop in after.metadata_props)
    assert found == sorted({'kept': 'x', **entries}.items())
    assert after.graph.SerializeToString() == before.graph.SerializeToString()
    del after.metadata_props[:]
    assert after == before
    onnx.checker.check_model(after)


def test_bytes_of_the_graph_are_copied_as_they_are(model: Path) -> None:
    content = model.read_bytes()
    write_metadata(model, {'key': 'value'})
    assert model.read_bytes().startswith(content)


def test_truncated_anywhere_it_is_refused_or_lacks_the_last_entry(model: Path) -> None:
    plain = model.read_bytes()
    write_metadata(model, {'key': 'value' * 40})
    content = model.read_bytes()
    boundaries = set()
    for size in range(len(content)):
        model.write_bytes(content[:size])
        try:
            assert read_metadata(model) == {}
            boundaries.add(size)
        except OnnxFileError as err:
            assert str(model) in str(err)  # noqa: PT017
    # Only what ends with a whole field passes: the graph, and what onnx writes behind it.
    assert len(plain) in boundaries
    assert len(boundaries) <= 3


@given(content=st.binary(max_size=200))
def test_random_bytes_are_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp('random') / 'random.onnx'
    path.write_bytes(content)
    with pytest.raises(OnnxFileError):
        read_metadata(path)
    with pytest.raises(OnnxFileError):
        write_metadata(path, {'a': 'b'})
    assert path.read_bytes() == content


@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1))
def test_a_damaged_file_is_read_or_refused_but_never_more_than_that(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    path = write_model(tmp_path_factory.mktemp('damaged') / 'tiny.onnx')
    write_metadata(path, {'key': 'value'})
    content = bytearray(path.read_bytes())
    for position, mask in flips:
        content[position % len(content)] ^= mask
    path.write_bytes(content)
    with contextlib.suppress(OnnxFileError):
        read_metadata(path)


GRAPH = b'\x3a\x00'
METADATA = varint(14 << 3 | 2)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'no graph'),
        (b'\x08\x09', 'no graph'),
        (b'\x3a' + varint(2**62) + b'xx', 'truncated'),
        (GRAPH + METADATA + varint(2**63 - 1), 'truncated'),
        (b'\x3a' + b'\xff' * 9 + b'\x7f', 'truncated'),
        (b'\xff' * 11, 'bad number'),
        (b'\x3a', 'truncated at byte 1'),
        (b'\x00\x00' + GRAPH, 'not an ONNX model'),
        (b'\x3b\x00', 'not an ONNX model'),
        (b'\x38\x01', 'not an ONNX model'),  # a graph that is a number
        (GRAPH + b'\x70\x01', 'not an ONNX model'),  # metadata that is a number
        (GRAPH + METADATA + b'\x03\x0a\x05a', 'damaged metadata'),
        (GRAPH + METADATA + b'\x03\x0a\x01\xff', 'damaged metadata'),
        (GRAPH + METADATA + b'\x02\x0a\xff', 'damaged metadata'),
        (b'\x08\x01' * 10_001 + GRAPH, 'more than 10000 fields'),
        (b'PK\x03\x04 a zip file of some kind', 'ONNX model'),
        (b'<html>404 not found</html>', 'ONNX model'),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / 'bad.onnx'
    path.write_bytes(content)
    with pytest.raises(OnnxFileError, match=message) as caught:
        read_metadata(path)
    assert str(path) in str(caught.value)


def test_an_entry_too_large_is_refused_on_both_sides(model: Path) -> None:
    content = model.read_bytes()
    with pytest.raises(OnnxFileError, match='metadata key of .* bytes is beyond'):
        write_metadata(model, {'key': 'x' * (1 << 20)})
    assert model.read_bytes() == content
    proto = onnx.load(model)
    onnx.helper.set_model_props(proto, {'key': 'x' * (1 << 20)})
    onnx.save(proto, model)
    with pytest.raises(OnnxFileError, match='a metadata entry of'):
        read_metadata(model)


def test_files_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / 'missing.onnx', tmp_path):
        for act in (read_metadata, lambda path: write_metadata(path, {'a': 'b'})):
            with pytest.raises(OnnxFileError, match='cannot open the model file') as caught:
                act(path)
            assert str(path) in str(caught.value)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes')
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / 'pipe.onnx')
    with pytest.raises(OnnxFileError, match='not a regular file'):
        read_metadata(tmp_path / 'pipe.onnx')


@pytest.mark.parametrize('call', ['fsync', 'replace'])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    model: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    content = model.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(*((os, 'fsync') if call == 'fsync' else (Path, 'replace')), fail)
    with pytest.raises(OnnxFileError, match='cannot write the model file: No space left'):
        write_metadata(model, {'a': 'b'})
    assert model.read_bytes() == content
    assert list(model.parent.iterdir()) == [model]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = model.read_bytes()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'fsync', interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_metadata(model, {'a': 'b'})
    assert model.read_bytes() == content
    assert list(model.parent.iterdir()) == [model]


def test_permissions_and_links_survive_a_write(model: Path) -> None:
    model.chmod(0o640)
    link = model.with_name('link.onnx')
    link.symlink_to(model.name)
    write_metadata(link, {'a': 'b'})
    assert link.is_symlink()
    assert read_metadata(model) == {'a': 'b'}
    assert model.stat().st_mode & 0o777 == 0o640


def test_the_hash_of_a_network_is_that_of_all_but_its_metadata(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    before = network_sha256(path)
    write_metadata(path, {'card': 'x' * 1000})
    assert network_sha256(path) == before
    write_metadata(path, {'card': 'y'})
    assert network_sha256(path) == before
    write_model(path, weights=(0.3, 0.4, 0.3))
    assert network_sha256(path) != before
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(OnnxFileError, match='truncated'):
        network_sha256(path)

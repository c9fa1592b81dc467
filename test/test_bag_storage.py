# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Bags that are damaged, cut short, or made to harm: what is read of them is right, or nothing."""

from __future__ import annotations

import logging
import random
import re
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from bags import CAMERA, FIRST, STORE, Message, info, picture, raw, write_bag
from lz4.frame import compress as lz4_compress  # type: ignore[import-untyped]
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from mono_metric_depth.datasets import (
    DamagedFrameError,
    DatasetError,
    bag_sequence,
    open_sequence,
    said_once,
)
from mono_metric_depth.datasets.bag import new_bag, read_messages, write_drive
from mono_metric_depth.datasets.bag_storage import bag_messages, bag_topics, without_checksums
from mono_metric_depth.datasets.checked_writer import CheckedWriter
from mono_metric_depth.datasets.decompression import zstd
from mono_metric_depth.frame import Frame

STEP = 10**8
TOPIC, KIND = '/camera/image_raw', 'sensor_msgs/msg/Image'
MAGIC = b'\x89MCAP0\r\n'


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def frames(count: int) -> list[Frame]:
    """Frames whose true depth is their number, and 1 m."""
    return [
        Frame(
            FIRST + number * STEP,
            picture(number),
            CAMERA,
            np.full((24, 40), number + 1, np.float32),
        )
        for number in range(count)
    ]


def small_chunks(path: Path, count: int = 40) -> Path:
    """The file of a drive of few KB a chunk: the writer ends a chunk above 1 MiB."""
    write_drive(path, frames(count))
    (file,) = path.glob('*.mcap')
    return file


# Checksums.


def test_what_is_written_has_checksums_that_hold(tmp_path: Path) -> None:
    from mcap.reader import make_reader
    from mcap.records import Chunk, Footer
    from mcap.stream_reader import StreamReader

    file = small_chunks(tmp_path / 'bag')
    with file.open('rb') as stream:
        records = list(StreamReader(stream, emit_chunks=True, validate_crcs=True).records)
    assert [r.uncompressed_crc for r in records if isinstance(r, Chunk)] == [
        crc32(r.data) for r in records if isinstance(r, Chunk)
    ]
    (footer,) = (r for r in records if isinstance(r, Footer))
    data = file.read_bytes()
    assert footer.summary_crc == crc32(data[footer.summary_start : -12])
    with file.open('rb') as stream:
        assert len(list(make_reader(stream, validate_crcs=True).iter_messages())) == 120


def _chunked(path: Path) -> Path:
    return small_chunks(path)


def _without_chunks(path: Path) -> Path:
    file = small_chunks(path)
    file.write_bytes(without_chunks(file.read_bytes()))
    return file


def _without_checksums(path: Path, storage: StoragePlugin = StoragePlugin.MCAP) -> Path:
    messages = [m for i in range(9) for m in (info(FIRST), raw(FIRST + i, picture(i)))]
    return next(write_bag(path, messages, storage).glob('bag.*'))


def _sqlite(path: Path) -> Path:
    return _without_checksums(path, StoragePlugin.SQLITE3)


@pytest.mark.parametrize(
    ('write', 'told'),
    [(_chunked, False), (_without_chunks, True), (_without_checksums, True), (_sqlite, True)],
)
def test_a_file_without_checksums_is_told(
    write: Callable[[Path], Path], told: bool, tmp_path: Path
) -> None:
    file = write(tmp_path / 'bag')
    found: list[Path] = []
    damage: list[str] = []
    list(bag_messages(tmp_path / 'bag', {TOPIC}, damage=damage, unchecked=found))
    assert found == ([file] if told else [])
    assert not damage
    said = f'{file} carries no checksums: damage within its messages cannot be seen'
    assert without_checksums(found) == (said if told else '')


def test_what_is_written_is_what_rosbags_writes_but_for_the_checksums(tmp_path: Path) -> None:
    from mcap.records import Chunk, Footer
    from mcap.stream_reader import StreamReader

    draw = random.Random(0)
    sizes = [0, 4, 2**20 - 9, 2**20, 2**20 + 1, 3 * 2**20, 300_000, 700_000, 800_000, 2**21, 10]
    sizes += [draw.randrange(2_000_000) for _ in range(20)]
    messages = [
        (FIRST + draw.randrange(10**9), f'/topic_{draw.randrange(3)}', draw.randbytes(size))
        for size in sizes
    ]
    files = []
    theirs_at, ours_at = tmp_path / 'theirs' / 'bag', tmp_path / 'ours' / 'bag'
    plugin = StoragePlugin.MCAP
    for made in (Writer(theirs_at, version=9, storage_plugin=plugin), CheckedWriter(ours_at)):
        with made as writer:
            topics: dict[str, Any] = {}
            for time, topic, data in messages:
                if topic not in topics:
                    topics[topic] = writer.add_connection(
                        topic, 'std_msgs/msg/ByteMultiArray', typestore=STORE
                    )
                writer.write(topics[topic], time, memoryview(data))
        files.append(bytearray((writer.path / 'bag.mcap').read_bytes()))
    theirs, ours = files
    with (ours_at / 'bag.mcap').open('rb') as stream:
        place = 0
        for record in StreamReader(stream, emit_chunks=True, validate_crcs=True).records:
            if isinstance(record, Chunk):
                place = theirs.index(struct.pack('<QI', len(record.data), 0), place) + 8
                theirs[place : place + 4] = struct.pack('<I', crc32(record.data))
            if isinstance(record, Footer):
                theirs[-12:-8] = struct.pack('<I', record.summary_crc)
    assert ours == theirs


def test_a_large_message_is_written_without_a_copy(tmp_path: Path) -> None:
    data = bytes(20_000_000)
    with new_bag(tmp_path / 'bag') as bag:
        tracemalloc.start()
        for number in range(3):
            bag.write('/topic', 'std_msgs/msg/ByteMultiArray', FIRST + number, data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2_000_000


def test_a_large_message_is_read_without_a_copy_and_a_small_one_keeps_no_chunk(
    tmp_path: Path,
) -> None:
    kind = 'std_msgs/msg/ByteMultiArray'
    with new_bag(tmp_path / 'bag') as bag:
        bag.write('/large', kind, FIRST, bytes(20_000_000))
        for number in range(1, 2001):
            bag.write('/large', kind, FIRST + number, bytes(10_000))
            bag.write('/small', kind, FIRST + number, bytes(100))
    file = tmp_path / 'bag' / 'bag.mcap'
    messages = bag_messages(file, {'/large'})
    tracemalloc.start()
    *_, data = next(messages)
    _, peak = tracemalloc.get_traced_memory()
    assert len(data) == 20_000_000
    assert peak < 22_000_000
    messages.close()
    del data
    kept = list(bag_messages(file, {'/small'}))
    now, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == 2000
    assert now < 4_000_000


def test_no_damaged_byte_becomes_depth_or_an_image(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = small_chunks(tmp_path / 'bag', 200)
    whole = file.read_bytes()
    draw = random.Random(0)
    for _ in range(12):
        data = bytearray(whole)
        data[draw.randrange(len(data) * 9 // 10)] ^= 1 << draw.randrange(8)
        file.write_bytes(data)
        caplog.clear()
        said_once._SAID.clear()
        sequence = open_sequence(str(tmp_path / 'bag'))
        for frame in sequence:
            number = (frame.stamp - FIRST) // STEP
            np.testing.assert_array_equal(frame.image, picture(number))
            assert frame.depth is None or (frame.depth == number + 1).all()
        if len(sequence) < 200:
            assert 'drive.mcap' not in caplog.text
            assert 'bag.mcap: damaged, 17000000' in caplog.text
            assert 'its checksum is wrong; "mcap recover" saves the rest' in caplog.text
            assert f'messages of {TOPIC} are read, {200 - len(sequence)} are lost' in caplog.text


def test_a_reader_that_is_to_be_exact_refuses_damage(tmp_path: Path) -> None:
    file = small_chunks(tmp_path / 'bag')
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(DatasetError, match='bag: cannot read the bag: bag.mcap: damaged, 17'):
        list(read_messages(tmp_path / 'bag'))


# Cut short.


@pytest.mark.parametrize('chunked', [True, False])
def test_what_is_whole_of_a_recording_that_was_cut_short_is_read(
    chunked: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = small_chunks(tmp_path / 'bag', 200)
    if not chunked:
        file.write_bytes(without_chunks(file.read_bytes()))
        assert len(open_sequence(str(tmp_path / 'bag'))) == 200
    whole = file.read_bytes()
    end = next(place for place, opcode, _ in records_of(whole) if opcode == 15)
    lengths = [len(whole) - 1, end + 3, *range(end - 1, 1_100_000, -120_000)]
    before = 201
    for length in lengths:
        # A file system may leave zeros where it had no time to write.
        for tail in (b'', bytes(5000)):
            file.write_bytes(whole[:length] + tail)
            caplog.clear()
            sequence = open_sequence(str(tmp_path / 'bag'))
            assert [f.stamp for f in sequence] == [f.stamp for f in frames(len(sequence))]
            cut = 'its recording was cut short: the last' in caplog.text
            assert cut == (length < end)
            if cut:
                match = re.search(r'the last (\d+) bytes', caplog.text)
                assert match is not None
                assert int(match[1]) > (9 if tail else 0)
                # How many there were is known from metadata.yaml.
                assert sequence.lost == 200 - len(sequence)
        assert len(sequence) <= before
        before = len(sequence)
        lost = (len(whole) - length) / len(whole) * 200
        assert len(sequence) >= 200 - lost - (75 if chunked else 1)


def records_of(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Place, opcode and content of the records of a file."""
    place = len(MAGIC)
    while place < len(data) - len(MAGIC):
        opcode, length = struct.unpack_from('<BQ', data, place)
        yield place, opcode, bytes(data[place + 9 : place + 9 + length])
        place += 9 + length


def without_chunks(data: bytes) -> bytes:
    """The same file without chunks, as rosbag2 writes it to save time, and without an index."""
    kept = [MAGIC]
    for place, opcode, content in records_of(data):
        if opcode == 15:
            break
        if opcode == 6:
            kept.append(content[40:])
        elif opcode != 7:
            kept.append(data[place : place + 9 + len(content)])
    end = struct.pack('<BQI', 15, 4, 0), struct.pack('<BQQQI', 2, 20, 0, 0, 0), MAGIC
    return b''.join([*kept, *end])


def test_of_several_files_those_that_are_whole_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / 'bag'
    write_bag(path, [m for i in range(3) for m in (info(FIRST), raw(FIRST + i, picture(i)))])
    metadata = (path / 'metadata.yaml').read_text()
    assert '- bag.mcap' in metadata
    names = '- gone.mcap\n  - bag.mcap\n  - empty.mcap'
    (path / 'metadata.yaml').write_text(metadata.replace('- bag.mcap', names, 1))
    (path / 'empty.mcap').write_bytes(b'')
    assert len(open_sequence(str(path))) == 3
    assert 'gone.mcap is missing' in caplog.text
    assert 'empty.mcap: cannot read the bag: the file is empty' in caplog.text


def test_damage_is_told_once_and_only_its_first_places(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = small_chunks(tmp_path / 'bag', 12)
    data = bytearray(file.read_bytes())
    (place,) = (place for place, opcode, _ in records_of(data) if opcode == 6)
    data[place + 100] ^= 1
    file.write_bytes(data)
    for _ in range(3):
        with pytest.raises(DatasetError, match='image_raw holds no message that can be read'):
            open_sequence(str(tmp_path / 'bag'))
    (line,) = (r.getMessage() for r in caplog.records if 'checksum' in r.getMessage())
    assert line.startswith(f'{tmp_path / "bag"}: bag.mcap: damaged')


def test_what_lies_where_a_new_bag_would_is_not_touched(tmp_path: Path) -> None:
    mine = tmp_path / 'bag.part' / 'thesis.txt'
    mine.parent.mkdir()
    mine.write_text('mine')
    with pytest.raises(DatasetError, match=r'thesis.txt is in the way'):
        write_drive(tmp_path / 'bag', frames(1))
    assert mine.read_text() == 'mine'


# Made to harm.


def mcap(*records: tuple[int, bytes], tail: bytes = b'') -> bytes:
    """A file of records, without a summary."""
    head = struct.pack('<I', 4) + b'ros2' + struct.pack('<I', 0)
    body = [struct.pack('<BQ', opcode, len(c)) + c for opcode, c in ((1, head), *records)]
    return b''.join([MAGIC, *body, tail])


def text(value: str) -> bytes:
    return struct.pack('<I', len(value.encode())) + value.encode()


def channel(number: int, topic: str) -> bytes:
    return struct.pack('<HH', number, 1) + text(topic) + text('cdr') + struct.pack('<I', 0)


SCHEMA = 3, struct.pack('<H', 1) + text(KIND) + text('ros2msg') + text('')


def chunk(data: bytes, compression: str, size: int, stored: bytes) -> tuple[int, bytes]:
    head = struct.pack('<QQQI', FIRST, FIRST, size, crc32(data))
    return 6, head + text(compression) + struct.pack('<Q', len(stored)) + stored


def test_a_chunk_that_unpacks_to_more_than_it_says_takes_no_memory(tmp_path: Path) -> None:
    packed = zstd.compress(bytes(1 << 28))
    lz4 = lz4_compress(bytes(1 << 28))[:1000]
    records = [
        SCHEMA,
        (4, channel(1, TOPIC)),
        chunk(b'', 'zstd', 1000, packed),
        chunk(b'', 'zstd', 1 << 62, packed),
        chunk(b'', 'zstd', 1 << 31, packed),
        chunk(b'', 'lz4', 1 << 28, lz4),
        chunk(b'', 'zstd', 1000, b'rubbish'),
        chunk(b'', 'brotli', 10, b'0123456789'),
        (5, struct.pack('<HIQQ', 1, 0, FIRST, FIRST) + b'whole'),
    ]
    file = tmp_path / 'bag.mcap'
    file.write_bytes(mcap(*records, tail=struct.pack('<BQ', 6, 1 << 62)))
    program = (
        'import resource, sys\n'
        'from pathlib import Path\n'
        'from mono_metric_depth.datasets.bag_storage import bag_messages\n'
        'before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
        'damage = []\n'
        'found = list(bag_messages(Path(sys.argv[1]), {"/camera/image_raw"}, damage=damage))\n'
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n'
        'print(found[0][3], *damage, sep="\\n")\n'
    )
    command = [sys.executable, '-c', program, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    more, message, cut, *lines = done.stdout.splitlines()
    assert int(more) < 50_000  # kB
    assert message == "b'whole'"
    assert 'its recording was cut short' in cut
    expected = ['more than 1000 bytes', 'it claims 4398046511104 MiB', 'it claims 2048 MiB']
    expected += ['end too early', 'cannot be decompressed', 'not known']
    for line, words in zip(lines, expected, strict=True):
        assert words in line


def test_of_a_chunk_without_a_checksum_nothing_is_read_if_its_records_are_damaged(
    tmp_path: Path,
) -> None:
    message = struct.pack('<BQHIQQ', 5, 26, 1, 0, FIRST, FIRST) + b'data'
    records = [SCHEMA, (4, channel(1, TOPIC))]
    for data in (message * 3, message * 2 + bytes(20) + message, message * 2):
        head = struct.pack('<QQQII', FIRST, FIRST, len(data), 0, 0)
        records.append((6, head + struct.pack('<Q', len(data)) + data))
    file = tmp_path / 'bag.mcap'
    file.write_bytes(mcap(*records))
    damage: list[str] = []
    assert len(list(bag_messages(file, {TOPIC}, damage=damage))) == 5
    assert 'a record of it is damaged' in damage[-1]


def test_an_index_that_names_a_chunk_twice_is_not_believed(tmp_path: Path) -> None:
    file = small_chunks(tmp_path / 'bag', 200)
    data = bytearray(file.read_bytes())
    start = struct.unpack_from('<Q', data, len(data) - 28)[0]
    first, second = (place for place, opcode, _ in records_of(data) if opcode == 8)
    data[second + 25 : second + 41] = data[first + 25 : first + 41]
    data[-12:-8] = struct.pack('<I', crc32(data[start:-12]))
    file.write_bytes(data)
    assert [f.stamp for f in open_sequence(str(file))] == [f.stamp for f in frames(200)]


def test_chunks_that_all_overlap_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mono_metric_depth.datasets import mcap_file

    monkeypatch.setattr(mcap_file, '_MOST_OPEN', 2_500_000)
    with new_bag(tmp_path / 'bag') as bag:
        for number in range(300):  # each chunk holds messages of all times
            _, kind, _, message = raw(FIRST + number, picture(0, 160, 60))
            bag.write(TOPIC, kind, FIRST + number % 7, message)
    with pytest.raises(DatasetError, match='its chunks overlap in time.*"mcap sort"'):
        list(bag_messages(tmp_path / 'bag', {TOPIC}))


def test_thousands_of_topics_and_hostile_names_are_only_topics(tmp_path: Path) -> None:
    names = [f'/topic_{number}' for number in range(5000)]
    hostile = ['/\x1b[2J', '/a\nerror: b', '', '/camera/image_raw']
    records = [(4, channel(n, name)) for n, name in enumerate([*names, *hostile])]
    records.append((5, struct.pack('<HIQQ', 5003, 0, FIRST, FIRST) + b'data'))
    file = tmp_path / 'bag.mcap'
    file.write_bytes(mcap(SCHEMA, *records))
    topics = bag_topics(file)
    assert set(topics) == {*names, '', TOPIC}
    assert topics[TOPIC].messages == 1
    with pytest.raises(DatasetError) as error:
        open_sequence(str(file))
    assert '\n' not in str(error.value)
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize('mode', [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_compressed_messages_and_files_unpack_to_what_there_is_room_for(
    mode: CompressionMode,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from mono_metric_depth.datasets import bag_storage

    writer = Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.SQLITE3)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        for topic, kind, stamp, message in (info(FIRST), raw(FIRST, picture(0))):
            connection = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connection, stamp, bytes(STORE.serialize_cdr(message, kind)))
    np.testing.assert_array_equal(open_sequence(str(tmp_path / 'bag'))[0].image, picture(0))
    monkeypatch.setattr(bag_storage, '_MOST', 2000)
    monkeypatch.setattr(bag_storage.shutil, 'disk_usage', lambda _: type('', (), {'free': 9000}))
    expected = 'a message of more than' if mode is CompressionMode.MESSAGE else 'unpack it with'
    with pytest.raises(DatasetError) as error:
        open_sequence(str(tmp_path / 'bag'))
    assert expected in f'{error.value} {caplog.text}'


YAML_BOMB = 'a: &a [x, x]\n' + ''.join(
    f'{b}: &{b} [{", ".join([f"*{a}"] * 9)}]\n'
    for a, b in zip('abcdefgh', 'bcdefghi', strict=True)
)


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda text: text[: len(text) // 2] + '\t{', 'metadata.yaml is damaged'),
        (lambda text: 'nothing', 'it is no description of a bag'),
        (lambda text: '', 'it is no description of a bag'),
        (lambda text: text.replace('version: 9', 'version: nine'), 'no description of a bag'),
        (lambda text: text.replace('version: 9', 'version: 99'), 'version 99 of bags'),
        (lambda text: text.replace('topics_with', 'topic'), 'it is no description of a bag'),
        (
            lambda text: YAML_BOMB + text.replace('- bag.mcap', '- *i', 1),
            'no description of a bag',
        ),
        (lambda text: '[' * 400, 'metadata.yaml is damaged'),
        (lambda text: '\x00\udcff', 'metadata.yaml is damaged'),
    ],
)
def test_damaged_metadata_are_said_in_one_line_and_not_needed_for_one_file(
    change: Callable[[str], str],
    reason: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = write_bag(tmp_path / 'bag', [info(FIRST), raw(FIRST, picture(0))])
    place = path / 'metadata.yaml'
    place.write_text(change(place.read_text()), errors='surrogateescape')
    assert len(open_sequence(str(path))) == 1
    assert reason in caplog.text
    assert all('\n' not in record.getMessage() for record in caplog.records)
    (path / 'second.mcap').write_bytes((path / 'bag.mcap').read_bytes())
    with pytest.raises(DatasetError, match='2 bag files but .*; run: ros2 bag reindex') as error:
        open_sequence(str(path))
    assert '\n' not in str(error.value)


def test_metadata_that_lie_about_messages_are_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_bag(tmp_path / 'bag', [info(FIRST), raw(FIRST, picture(0))])
    place = path / 'metadata.yaml'
    lies = place.read_text().replace('message_count: 1', 'message_count: 999999999999')
    place.write_text(lies.replace('nanoseconds_since_epoch: 17', 'nanoseconds_since_epoch: -9'))
    assert len(open_sequence(str(path))) == 1
    assert bag_topics(path)[TOPIC].messages == 1
    place.write_text(lies.replace('- bag.mcap', '- ../../../../dev/zero', 1))
    assert len(open_sequence(str(path))) == 1
    assert "its file 'zero' is neither MCAP nor sqlite3" in caplog.text


@pytest.mark.parametrize(
    ('name', 'content', 'hint'),
    [
        ('missing', None, 'is no drive: .*; nothing lies at .*missing'),
        ('a.db3', b'rubbish' * 1000, 'mend it with sqlite3\'s ".recover"'),
        ('a.db3', b'', 'the file is empty'),
        ('a.mcap', b'rubbish', 'it is no MCAP file'),
        ('a.mcap', MAGIC, 'it has no MCAP header'),
        ('a.mcap', MAGIC + b'\x01' + bytes(8), 'recording was cut short|no topic|no images'),
    ],
)
def test_the_way_to_mend_a_file_is_that_of_its_kind(
    name: str, content: bytes | None, hint: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=hint) as error:
        open_sequence(str(tmp_path / name))
    assert ('mcap recover' in str(error.value)) == (content == MAGIC)


def test_a_row_of_the_wrong_type_is_left_out(tmp_path: Path) -> None:
    import sqlite3

    messages: list[Message] = [info(FIRST)]
    messages += [raw(FIRST + n * STEP, picture(n)) for n in range(4)]
    path = write_bag(tmp_path / 'bag', messages, StoragePlugin.SQLITE3)
    database = sqlite3.connect(path / 'bag.db3')
    with database:
        database.execute("UPDATE messages SET data = 'text' WHERE id = 3")
        database.execute('UPDATE messages SET timestamp = -5 WHERE id = 4')
    database.close()
    sequence = open_sequence(str(path))
    assert [f.stamp for f in sequence] == [FIRST, FIRST + 3 * STEP]


def test_a_database_says_when_its_log_holds_messages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_bag(
        tmp_path / 'bag', [info(FIRST), raw(FIRST, picture(0))], StoragePlugin.SQLITE3
    )
    (path / 'bag.db3-wal').write_bytes(b'log')
    with pytest.raises(IndexError):
        open_sequence(str(path))[1]
    assert 'its last messages lie in bag.db3-wal' in caplog.text


def test_a_bag_that_changes_while_it_is_read_is_no_crash(tmp_path: Path) -> None:
    file = small_chunks(tmp_path / 'bag', 100)
    sequence = open_sequence(str(tmp_path / 'bag'))
    file.write_bytes(file.read_bytes()[:30_000])
    with pytest.raises((DamagedFrameError, DatasetError)):
        sequence[90]


def test_messages_without_end_are_not_listed_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bag_sequence, '_MOST_MESSAGES', 20)
    small_chunks(tmp_path / 'bag', 20)
    assert len(open_sequence(str(tmp_path / 'bag'))) == 20
    small_chunks(tmp_path / 'long', 21)
    with pytest.raises(DatasetError, match='more than 20 messages of /camera/'):
        open_sequence(str(tmp_path / 'long'))

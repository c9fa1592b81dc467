# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a ROS 2 bag, MCAP or sqlite3, and their messages; past what is damaged."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol
from urllib.parse import quote

from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.bag_metadata import STORAGES, BagMetadata, bag_metadata
from mono_metric_depth.datasets.decompression import (
    DecompressionError,
    decompressed_file,
    decompressed_message,
)
from mono_metric_depth.datasets.mcap_file import McapFile
from mono_metric_depth.datasets.said_once import said_once
from mono_metric_depth.datasets.sqlite_file import SqliteFile
from mono_metric_depth.datasets.stored_topic import StoredTopic

_LOG = logging.getLogger(__name__)
_LOG.addFilter(said_once)

#: Most of a message (bytes).
_MOST = 1 << 29
#: Nothing that a robot records compresses better than this.
_RATIO = 100
_MEND = {
    '.mcap': 'mend it with "mcap recover"',
    '.db3': 'mend it with sqlite3\'s ".recover", then "ros2 bag reindex"',
}


class _File(Protocol):
    """A file of a bag."""

    topics: list[StoredTopic]
    cut: str

    @property
    def unchecked(self) -> bool: ...

    def messages(
        self, topics: Collection[str], start: int | None, damaged: Callable[[str], object]
    ) -> Iterator[tuple[str, int, str, bytes | memoryview]]: ...


def storage_of(path: Path) -> Path:
    """What to open of a bag: the folder, or its one file where the metadata are of no use.

    Args:
        path: A bag's folder or file.

    Returns:
        The folder or the file.

    Raises:
        DatasetError: If it is no ROS 2 bag.
    """
    if not path.exists():
        msg = f'there is no bag {path}'
        raise DatasetError(msg)
    if path.suffix == '.bag' and path.is_file():
        msg = f'{path}: a ROS 1 bag; convert it with rosbags-convert'
        raise DatasetError(msg)
    if not path.is_dir():
        if path.suffix not in STORAGES or not path.is_file():
            msg = f'{path}: no ROS 2 bag; that is a folder, or a file named .mcap or .db3'
            raise DatasetError(msg)
        return path
    problem = 'no metadata.yaml'
    if (path / 'metadata.yaml').is_file():
        try:
            bag_metadata(path)
        except DatasetError as err:
            problem = str(err)
        else:
            return path
    files = sorted(file for file in path.iterdir() if file.suffix in STORAGES)
    if not files:
        msg = f'{path}: no ROS 2 bag; it holds no .mcap or .db3 file'
        raise DatasetError(msg)
    if len(files) != 1:
        msg = f'{path}: {len(files)} bag files but {problem}; run: ros2 bag reindex {path}'
        raise DatasetError(msg)
    if problem != 'no metadata.yaml':
        _LOG.warning('%s: %s; %s is read without it', path, problem, files[0].name)
    return files[0]


def bag_topics(storage: Path) -> dict[str, StoredTopic]:
    """The topics of a bag by name; of several types under one name, the first.

    Where a file is cut short, there are as many messages as metadata.yaml says, if that is more.

    Args:
        storage: See :func:`storage_of`.

    Raises:
        DatasetError: If the bag cannot be opened.
    """
    topics: dict[str, StoredTopic] = {}
    with _opened(storage, None) as (description, files):
        for topic in _topics(description, files):
            before = topics.get(topic.name)
            count = topic.messages + (before.messages if before else 0)
            topics[topic.name] = (before or topic)._replace(messages=count)
        if any(file.cut for file in files.values()):
            for name, topic in topics.items():
                count = max(topic.messages, description.counts.get(name, 0))
                topics[name] = topic._replace(messages=count)
    return topics


def declared_topics(storage: Path) -> list[StoredTopic]:
    """The topics of a bag, each once, to be declared anew.

    Raises:
        DatasetError: If a topic has two types.
    """
    found: dict[str, StoredTopic] = {}
    with _opened(storage, None) as (description, files):
        declared = _topics(description, files)
    for topic in declared:
        first = found.setdefault(topic.name, topic)
        if first.kind != topic.kind:
            msg = (
                f'{storage}: {topic.name} has two types, {first.kind} and {topic.kind}; leave it '
                'out'
            )
            raise DatasetError(msg)
    return list(found.values())


def _topics(description: BagMetadata, files: Mapping[Path, _File]) -> list[StoredTopic]:
    return [
        topic._replace(digest=topic.digest or description.digests.get(topic.name, ''))
        for file in files.values()
        for topic in file.topics
    ]


def bag_messages(
    storage: Path,
    topics: Collection[str],
    *,
    start: int | None = None,
    damage: list[str] | None = None,
    unchecked: list[Path] | None = None,
) -> Generator[tuple[str, int, str, bytes | memoryview], None, None]:
    """Messages of a bag in its order; what is damaged is stepped over.

    Args:
        storage: See :func:`storage_of`.
        topics: Only these.
        start: Only what was received then or later (ns).
        damage: Takes a line for each place that could not be read.
        unchecked: Takes the files that carry no checksums.

    Yields:
        Topic, time of receipt (ns), type, CDR bytes.

    Raises:
        DatasetError: If the bag cannot be opened.
    """
    lines = [] if damage is None else damage
    with _opened(storage, lines) as (description, files):
        if unchecked is not None:
            unchecked += [path for path, file in files.items() if file.unchecked]
        for file in files.values():
            for topic, time, kind, data in file.messages(topics, start, lines.append):
                message = data
                if description.mode == 'message':
                    try:
                        message = decompressed_message(data, _MOST)
                    except DecompressionError as err:
                        lines.append(f'{topic} at {time * 1e-9:.3f} s is left out: {err}')
                        continue
                yield topic, time, kind, message


def without_checksums(files: Collection[Path]) -> str:
    """What it means that files carry no checksums, in words; empty without any.

    Args:
        files: As :func:`bag_messages` tells them.
    """
    if not files:
        return ''
    first, *more = map(str, files)
    if not more:
        return f'{first} carries no checksums: damage within its messages cannot be seen'
    others = f'{len(more)} more file{"s" * (len(more) > 1)}'
    return f'{first} and {others} carry no checksums: damage within their messages cannot be seen'


def messages_as_written(file: Path) -> Iterator[tuple[str, int, bytes | memoryview]]:
    """Messages of one of this package's own files, in the order in which they were written.

    Args:
        file: MCAP or sqlite3.

    Yields:
        Topic, time of receipt (ns), CDR bytes.

    Raises:
        DatasetError: If it is damaged.
    """
    if file.suffix == '.mcap':
        damage: list[str] = []
        stored = McapFile(file)
        topics = {topic.name for topic in stored.topics}
        for topic, time, _, data in stored.messages(topics, None, damage.append, as_written=True):
            yield topic, time, data
        if damage or stored.cut:
            raise DatasetError([*damage, stored.cut][0])
        return
    try:
        with closing(sqlite3.connect(f'file:{quote(str(file))}?mode=ro', uri=True)) as database:
            yield from database.execute(
                'SELECT topics.name, timestamp, data FROM messages '
                'JOIN topics ON topics.id = topic_id ORDER BY messages.id'
            )
    except sqlite3.Error as err:
        msg = f'{file}: {err}'
        raise DatasetError(msg) from err


@contextmanager
def _opened(
    storage: Path, damage: list[str] | None
) -> Iterator[tuple[BagMetadata, dict[Path, _File]]]:
    """The files of a bag that can be read; what cannot is told, or raised if it is all."""
    described = storage.is_dir()
    description = bag_metadata(storage) if described else BagMetadata([storage])
    files: dict[Path, _File] = {}
    problems = []
    with ExitStack() as stack:
        for path in description.files:
            try:
                if not path.is_file():
                    msg = f'{path} is missing'
                    raise DatasetError(msg)
                unpacked = _unpacked(path, stack) if description.mode == 'file' else path
                files[path] = _file(unpacked, stack)
            except DatasetError as err:
                problems.append(str(err))
                continue
            if files[path].cut:
                problems.append(f'{unpacked.name}: {files[path].cut}')
        if not files:
            msg = problems[0] if problems else f'{storage}: its metadata.yaml names no files'
            raise DatasetError(msg)
        if damage is not None:
            damage += problems
        yield description, files


def _file(path: Path, stack: ExitStack) -> _File:
    try:
        return McapFile(path) if path.suffix == '.mcap' else SqliteFile(path, stack)
    except DatasetError:
        raise
    except Exception as err:  # see SqliteFile.messages
        reason = ' '.join(str(err).split()) or repr(err)
        msg = f'{path}: cannot read the bag: {reason}; {_MEND[path.suffix]}'
        raise DatasetError(msg) from err


def _unpacked(path: Path, stack: ExitStack) -> Path:
    """A file that was compressed whole, unpacked for as long as it is read."""
    folder = Path(stack.enter_context(TemporaryDirectory()))
    target = folder / path.stem
    if target.suffix not in STORAGES:
        msg = f'{path}: neither MCAP nor sqlite3'
        raise DatasetError(msg)
    try:
        most = _MOST + _RATIO * path.stat().st_size
        decompressed_file(path, target, min(most, shutil.disk_usage(folder).free // 2))
    except DecompressionError as err:
        msg = f'{path}: {err}; unpack it with: zstd -d {path}'
        raise DatasetError(msg) from err
    return target

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A ROS 2 bag that is written file by file: what was finished is kept if the writing ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from rosbags.rosbag2 import StoragePlugin, Writer

from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.bag_storage import messages_as_written
from mono_metric_depth.datasets.checked_writer import CheckedWriter
from mono_metric_depth.datasets.stored_topic import StoredTopic

_LOG = logging.getLogger(__name__)

_JOURNAL = 'progress.json'
_LOCK = 'lock'
_STEM = 'replay'
_INFORMATION = 'rosbag2_bagfile_information'


class SplitBag:
    """Writes a bag of one file after the other (as ``ros2 bag record --max-bag-size`` does).

    Until it is finished it lies in ``PATH.part``, where another writer with the same key goes on:
    after the last file that was finished, or where :meth:`suspend` was called. Files are named
    alike whatever the bag's name, and hold nothing but what was written: their bytes depend on the
    messages alone. What was suspended is therefore written anew, message by message.

    Args:
        path: The bag's folder.
        topics: Its topics.
        key: What makes its content; JSON values.
        storage: Of its files.

    Attributes:
        note: What the last file was ended or suspended with; None if there is none.
        written: Bytes of messages in the present file.

    Raises:
        DatasetError: If the folder exists or cannot be made, or what is unfinished was made of
            something else.
    """

    def __init__(
        self,
        path: Path,
        topics: Sequence[StoredTopic],
        key: Mapping[str, Any],
        storage: StoragePlugin,
    ) -> None:
        self._path, self._topics, self._storage = path, topics, storage
        self._part = path.with_name(f'{path.name}.part')
        self._writer: Writer | None = None
        self._connections: dict[str, Any] = {}
        self.written = 0
        if path.exists():
            msg = f'{path} exists already; choose another folder or remove it'
            raise DatasetError(msg)
        folder = self._part.is_dir()
        ours = not any(self._part.iterdir()) or (self._part / _LOCK).exists() if folder else False
        if self._part.exists() and not ours:
            msg = f'{self._part} is in the way, and none of this; remove it or choose another name'
            raise DatasetError(msg)
        try:
            self._part.mkdir(parents=True, exist_ok=True)
            self._lock = (self._part / _LOCK).open('w')
        except OSError as err:
            msg = f'{path} cannot be written ({err.strerror}); choose another folder'
            raise DatasetError(msg) from err
        try:
            self._take_lock()
            key = json.loads(json.dumps(key))
            self._journal: dict[str, Any] = self._read_journal(key)
            self._tidy()
            self._take_up()
        except BaseException:
            self._lock.close()
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            msg = f'{self._part} is being written by another process'
            raise DatasetError(msg) from err

    def _tidy(self) -> None:
        """Remove what an earlier run did not finish."""
        files = {name for file in self._files for name in file['relative_file_paths']}
        kept = {*files, self._suspended, _JOURNAL, _LOCK}
        for place in self._part.iterdir():
            if place.is_dir():
                _LOG.warning(
                    '%s: its file %s was not finished and is redone', self._path, place.stem
                )
                shutil.rmtree(place)
            elif place.name not in kept:
                place.unlink()

    def _take_up(self) -> None:
        """Write anew what the file that was suspended holds."""
        if self._suspended:
            try:
                for topic, time, data in messages_as_written(self._part / self._suspended):
                    self.write(topic, time, data)
            except (DatasetError, KeyError) as err:
                msg = f'{self._part} is damaged ({err}); remove it to start anew'
                raise DatasetError(msg) from err

    @property
    def _suspended(self) -> str:
        """The file that was suspended; empty if none was."""
        return str(self._journal['suspended']['file']) if 'suspended' in self._journal else ''

    @property
    def _files(self) -> list[dict[str, Any]]:
        return [entry['metadata'] for entry in self._journal['files']]

    @property
    def note(self) -> Any:  # noqa: D102 (an attribute to its users)
        if self._suspended:
            return self._journal['suspended']['note']
        return self._journal['files'][-1]['note'] if self._journal['files'] else None

    def _read_journal(self, key: Any) -> dict[str, Any]:
        place = self._part / _JOURNAL
        if not place.exists():
            return {'key': key, 'files': []}
        try:
            journal: dict[str, Any] = json.loads(place.read_text())
            before = journal['key']
            files = [
                name for e in journal['files'] for name in e['metadata']['relative_file_paths']
            ]
            files += [journal['suspended']['file']] if 'suspended' in journal else []
        except (KeyError, TypeError, ValueError) as err:
            msg = f'{place} is damaged ({err!r}); remove {self._part} to start anew'
            raise DatasetError(msg) from err
        if before != key:
            changed = sorted(name for name in {*before, *key} if before.get(name) != key.get(name))
            msg = (
                f'{self._part} was begun with another {", ".join(changed)}; give the same to go '
                'on, or remove it to start anew'
            )
            raise DatasetError(msg)
        missing = [name for name in files if not (self._part / name).is_file()]
        if missing:
            msg = f'{self._part / missing[0]} is gone; remove {self._part} to start anew'
            raise DatasetError(msg)
        return journal

    def write(self, topic: str, time: int, data: bytes | memoryview) -> None:
        """Write a message.

        Args:
            topic: Its topic.
            time: When it was received (ns).
            data: CDR bytes.
        """
        if self._writer is None:
            folder = self._part / f'{_STEM}_{len(self._journal["files"])}'
            self._writer = CheckedWriter(folder, self._storage)
            self._writer.open()
            self._connections = {
                t.name: self._writer.add_connection(
                    t.name,
                    t.kind,
                    msgdef=t.definition,
                    rihs01=t.digest,
                    offered_qos_profiles=t.qos,
                )
                for t in self._topics
            }
        with self._errors_as_os_errors():
            self._writer.write(self._connections[topic], time, data)
        self.written += len(data)

    @contextmanager
    def _errors_as_os_errors(self) -> Iterator[None]:
        """A full disk is one, whichever the storage."""
        try:
            yield
        except sqlite3.Error as err:
            msg = f'{self._part}: cannot write: {err}'
            raise OSError(msg) from err

    def end_file(self, note: Any) -> None:
        """Finish the present file; what follows goes into the next.

        Args:
            note: JSON values, for whoever goes on.
        """
        if self._writer is None:
            return
        folder, metadata = self._close_file()
        for name in metadata['relative_file_paths']:
            (folder / name).replace(self._part / name)
        self._journal['files'].append({'metadata': metadata, 'note': note})
        before = self._suspended
        self._journal.pop('suspended', None)
        self._write_journal()
        shutil.rmtree(folder)
        if before:
            (self._part / before).unlink()

    def suspend(self, note: Any) -> None:
        """Keep what there is of the present file; another writer goes on behind it.

        Args:
            note: JSON values, for whoever goes on.
        """
        if self._writer is None:
            return
        folder, metadata = self._close_file()
        (name,) = metadata['relative_file_paths']
        before = self._suspended
        kept = f'suspended_{int(before.startswith("suspended_0"))}{Path(name).suffix}'
        (folder / name).replace(self._part / kept)
        self._journal['suspended'] = {'file': kept, 'note': note}
        self._write_journal()
        shutil.rmtree(folder)
        if before:
            (self._part / before).unlink()

    def _close_file(self) -> tuple[Path, dict[str, Any]]:
        """Where the present file lies from now on, and what its metadata say."""
        assert self._writer is not None
        with self._errors_as_os_errors():
            self._writer.close()
        folder = self._writer.path
        self._writer, self.written = None, 0
        metadata = yaml.safe_load((folder / 'metadata.yaml').read_text())[_INFORMATION]
        return folder, metadata

    def _write_journal(self) -> None:
        place = self._part / _JOURNAL
        new = place.with_suffix('.new')
        new.write_text(json.dumps(self._journal))
        new.replace(place)

    def finish(self, note: Any) -> None:
        """Finish the bag: from now on it lies where it is to lie."""
        self.end_file(note)
        text = yaml.safe_dump({_INFORMATION: _whole(self._files)}, sort_keys=False)
        (self._part / 'metadata.yaml').write_text(text)
        self._part.rename(self._path)
        for name in (_JOURNAL, _LOCK):
            (self._path / name).unlink()

    def close(self) -> None:
        """Give up the file that is not finished, if any."""
        if self._writer is not None:
            # Whatever ails it has been raised already, and the file is given up.
            with contextlib.suppress(OSError, sqlite3.Error, ValueError):
                self._writer.abort()
            shutil.rmtree(self._writer.path)
            self._writer = None
        if self._part.is_dir() and self.note is None:
            shutil.rmtree(self._part)
        self._lock.close()

    def __enter__(self) -> SplitBag:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _whole(files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Metadata of a bag of several files, from those of each."""
    starts = [file['starting_time']['nanoseconds_since_epoch'] for file in files]
    ends = [
        start + file['duration']['nanoseconds'] for start, file in zip(starts, files, strict=True)
    ]
    topics = [
        {
            **columns[0],
            'message_count': sum(column['message_count'] for column in columns),
        }
        for columns in zip(*(file['topics_with_message_count'] for file in files), strict=True)
    ]
    return {
        **files[0],
        'relative_file_paths': [name for file in files for name in file['relative_file_paths']],
        'duration': {'nanoseconds': max(ends) - min(starts)},
        'starting_time': {'nanoseconds_since_epoch': min(starts)},
        'message_count': sum(file['message_count'] for file in files),
        'topics_with_message_count': topics,
        'files': [entry for file in files for entry in file['files']],
    }

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What the metadata.yaml of a bag tells that its files themselves do not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import yaml

from mono_metric_depth.datasets import DatasetError

STORAGES = {'.mcap': 'mcap', '.db3': 'sqlite3'}
#: Most of a description (bytes), and the newest version that is known.
_MOST, _NEWEST = 1 << 22, 9


class BagMetadata(NamedTuple):
    """What a metadata.yaml tells.

    Attributes:
        files: Of the bag, in order.
        mode: Of its compression: ``file``, ``message``, or empty.
        digests: Of the types of its topics (RIHS01).
        counts: Messages of its topics, as they were recorded.
    """

    files: list[Path]
    mode: str = ''
    digests: Mapping[str, str] = {}
    counts: Mapping[str, int] = {}


def bag_metadata(folder: Path) -> BagMetadata:
    """Read the metadata.yaml of a bag.

    Raises:
        DatasetError: If it is damaged, or the bag is compressed or stored as nothing here reads.
    """
    stat = (folder / 'metadata.yaml').stat()
    return _loaded(folder, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _loaded(folder: Path, size: int, changed: int) -> BagMetadata:
    place = folder / 'metadata.yaml'
    try:
        if size > _MOST:
            msg = f'it is larger than {_MOST >> 20} MiB'
            raise ValueError(msg)
        loaded: Any = yaml.safe_load(place.read_text(encoding='utf-8'))
        information = loaded['rosbag2_bagfile_information']
        version, names = information['version'], information['relative_file_paths']
        if not isinstance(version, int) or not isinstance(names, list):
            raise TypeError
        if version > _NEWEST:
            msg = f'{place}: version {version} of bags is not known; 1 to {_NEWEST} are'
            raise DatasetError(msg)
        mode = (information.get('compression_mode') or '').lower()
        form = information.get('compression_format') or ''
        counted = information['topics_with_message_count']
        topics = [topic['topic_metadata'] for topic in counted]
        digests = {topic['name']: topic.get('type_description_hash') or '' for topic in topics}
        counts = {
            topic['topic_metadata']['name']: topic.get('message_count', 0) for topic in counted
        }
        if not all(isinstance(text, str) for text in (form, *digests, *digests.values())):
            raise TypeError
        if not all(isinstance(count, int) for count in counts.values()):
            raise TypeError
        # Older bags name the folder, too; nothing outside of it is read.
        files = [folder / PurePath(name).name for name in names]
    except DatasetError:
        raise
    except (OSError, RecursionError, ValueError, yaml.YAMLError) as err:
        reason = ' '.join(str(err).split())[:120]
        msg = f'{place.name} is damaged ({reason})'
        raise DatasetError(msg) from err
    except (AttributeError, KeyError, TypeError) as err:
        msg = f'{place.name} is damaged: it is no description of a bag'
        raise DatasetError(msg) from err
    mode = '' if mode == 'none' else mode
    known = {'.zstd' if mode == 'file' else suffix for suffix in STORAGES}
    if mode not in {'', 'file', 'message'} or (mode and form != 'zstd'):
        msg = f'{folder}: it is compressed by {mode} with {form!r}; only zstd is read'
        raise DatasetError(msg)
    if strange := [file.name for file in files if file.suffix not in known]:
        msg = f'{folder}: its file {strange[0]!r} is neither MCAP nor sqlite3'
        raise DatasetError(msg)
    return BagMetadata(files, mode, digests, counts)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What stands behind ``#`` in the name of a drive: words, separated by commas, in any order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mono_metric_depth.datasets import DatasetError

#: Tells of a word whether it is of a kind, by kind.
Kinds = Mapping[str, Callable[[str], object]]


def chosen(text: str, kinds: Kinds, described: str) -> dict[str, str]:
    """The words of a choice by what they choose.

    Args:
        text: Such as ``image_02,velodyne``; empty for none.
        kinds: What words there may be.
        described: What there is to choose, for the error.

    Returns:
        At most one word for each kind.

    Raises:
        DatasetError: If a word is of no kind, or two are of the same.
    """
    found: dict[str, str] = {}
    for word in filter(None, (part.strip() for part in text.split(','))):
        kind = next((kind for kind, matches in kinds.items() if matches(word)), None)
        if kind is None:
            msg = f'#{text}: {word!r} means nothing here; there is to choose: {described}'
            raise DatasetError(msg)
        if kind in found:
            msg = f'#{text}: {found[kind]!r} and {word!r} are two choices of one {kind}'
            raise DatasetError(msg)
        found[kind] = word
    return found


def drive_name(path: object, *words: str | None) -> str:
    """The name of a drive with these choices; those that are None or empty are left out."""
    choice = ','.join(word for word in words if word)
    return f'{path}#{choice}' if choice else str(path)

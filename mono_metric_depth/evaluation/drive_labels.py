# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Short names of drives, for a plot or a heading: what tells each from the others."""

from __future__ import annotations

import re
from collections.abc import Sequence


def drive_labels(names: Sequence[str]) -> dict[str, str]:
    """The parts of each name that are needed to tell it from the others, the shortest that do.

    Args:
        names: Of drives: a path, and behind ``#`` a camera or topics.

    Returns:
        A label for each name: ``camera_01`` and ``camera_05`` for two cameras of a bag.
    """
    names = list(dict.fromkeys(names))
    if len(names) == 1:
        return {names[0]: _alone(names[0])}
    parts = [re.split('[/#,]', name) for name in names]
    if len({len(each) for each in parts}) != 1:
        return _without_common_start(names, parts)
    columns = list(zip(*parts, strict=True))
    chosen = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    for place in sorted(chosen, key=lambda place: -max(map(len, columns[place]))):
        fewer = [other for other in chosen if other != place]
        if len({tuple(each[other] for other in fewer) for each in parts}) == len(names):
            chosen = fewer
    return {
        name: ' '.join(each[place] for place in chosen)
        for name, each in zip(names, parts, strict=True)
    }


def _alone(name: str) -> str:
    path, mark, choice = name.rpartition('#')
    last = (path if mark else name).rstrip('/').rpartition('/')[2]
    return f'{last} {choice}' if mark else last


def _without_common_start(names: list[str], parts: list[list[str]]) -> dict[str, str]:
    """Names of several shapes: what they begin with, all of them, is left out."""
    same = 0
    while all(len(each) > same + 1 and each[same] == parts[0][same] for each in parts):
        same += 1
    return {
        name: ' '.join(filter(None, each[same:])) for name, each in zip(names, parts, strict=True)
    }

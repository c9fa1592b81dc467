# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Short names of drives, for a plot or a heading: what tells each from the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise


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
    # Parts, with what stands between them.
    parts = [re.split('([/#,])', name) for name in names]
    if len({tuple(each[1::2]) for each in parts}) != 1:
        return _without_common_start(names, parts)
    columns = list(zip(*parts, strict=True))
    chosen = [place for place, column in enumerate(columns) if len(set(column)) > 1]
    for place in sorted(chosen, key=lambda place: -max(map(len, columns[place]))):
        fewer = [other for other in chosen if other != place]
        if len({tuple(each[other] for other in fewer) for each in parts}) == len(names):
            chosen = fewer
    return {name: _shown(each, chosen) for name, each in zip(names, parts, strict=True)}


def _shown(parts: list[str], chosen: list[int]) -> str:
    """The chosen parts as they stand in the name; dots for what is left out between them."""
    label = parts[chosen[0]]
    for before, place in pairwise(chosen):
        between = ''.join(parts[before + 1 : place])
        if len(between) > len('/.../'):
            between = f'{parts[before + 1]}...{parts[place - 1]}'
        label += between + parts[place]
    return label


def _alone(name: str) -> str:
    path, mark, choice = name.rpartition('#')
    last = (path if mark else name).rstrip('/').rpartition('/')[2]
    return last + mark + choice if mark else last


def _without_common_start(names: list[str], parts: list[list[str]]) -> dict[str, str]:
    """Names of several shapes: what they begin with, all of them, is left out."""
    same = 0
    while all(len(each) > same + 2 and each[same] == parts[0][same] for each in parts):
        same += 1
    same -= same % 2  # no name begins with what stands between parts
    return {name: ''.join(each[same:]) for name, each in zip(names, parts, strict=True)}

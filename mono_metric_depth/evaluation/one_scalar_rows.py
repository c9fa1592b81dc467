# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of the results on the one scalar: which they are, and their numbers as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]

#: What the package promises of a pair of domains.
LARGEST_SCALE_ERROR = 0.05
LARGEST_EXCESS = 0.02

#: Rows of the main table, and what they are.
MAIN = {
    'mixed': '(a) **mixed and aligned, one scalar**: ours, trained as in the paper',
    'unaligned': '(b) mixed, field of view not aligned',
    'target_only': "(c) target alone, with a separate source network's scalar",
    'source_only': '(d) source alone, applied to the target',
    'source_supervised': '(g) source-supervised: ours, trained on source depth, too',
    'source_supervision_alone': '(g) source supervision alone',
    'target_supervised': '(f) supervised on the target itself: what could be had with labels',
}
#: What ought to fail, where the domains differ.
CONTROLS = {
    'unaligned': '(b) without one field of view',
    'target_only': '(c) with two networks, each trained alone',
    'source_only': '(d) without images of the target',
}


def pairs_of(rows: list[Row]) -> list[tuple[str, str]]:
    """Source and target of every pair of domains that the main table shows."""
    pairs: list[tuple[str, str]] = []
    for row in rows:
        pair = domains(row)
        if row['variant'] in MAIN and pair not in pairs:
            pairs.append(pair)
    return pairs


def domains(row: Row) -> tuple[str, str]:
    """Names of the source and the target of a row."""
    return row['source']['name'], row['target']['name']


def first_pair(rows: list[Row]) -> tuple[str, str]:
    """The pair that the sweeps are made with."""
    for row in rows:
        if row['variant'] == 'geometry' or row['variant'].startswith('height_'):
            return domains(row)
    return pairs_of(rows)[0] if pairs_of(rows) else ('', '')


def rows_of(rows: list[Row], variant: str, source: str, target: str) -> list[Row]:
    """The rows of a variant and a pair."""
    return [row for row in rows if row['variant'] == variant and domains(row) == (source, target)]


def sweep(rows: list[Row], prefix: str) -> list[tuple[str, list[Row]]]:
    """Rows of a sweep by its value, in rising order."""
    values = {
        row['variant'].removeprefix(prefix) for row in rows if row['variant'].startswith(prefix)
    }
    return [
        (value, [row for row in rows if row['variant'] == f'{prefix}{value}'])
        for value in sorted(values, key=float)
    ]


def scale_error(row: Row) -> float:
    """Transferred scalar / oracle scalar - 1; both are median ratios."""
    return float(row['target']['transferred']['scale_error'])


def theil_sen_error(row: Row) -> float:
    """The same of the scalar by Theil-Sen, as in the paper."""
    return float(row['target']['theil_sen']['scale_error'])


def abs_rel(row: Row, kind: str) -> float:
    """AbsRel on the target with one of the scalings; ``theil_sen`` is that of the paper."""
    return float(row['target'][kind]['abs_rel'])


def within(row: Row) -> bool:
    """Whether the transferred scalar is as near to the oracle's as the package promises."""
    return abs(scale_error(row)) <= LARGEST_SCALE_ERROR


def covers(scale: Row, own_scale: Row) -> bool:
    """Whether the interval of a scalar holds the target's own."""
    return bool(scale['low'] <= own_scale['value'] <= scale['high'])


def transferred(row: Row) -> float:
    """AbsRel with the transferred scalar."""
    return abs_rel(row, 'transferred')


def control_abs_rel(row: Row) -> float:
    """AbsRel of the control without a network."""
    return float(row['control']['transferred']['abs_rel'])


def width(scale: Row) -> float:
    """Of the interval of a scalar, relative to it."""
    return float((scale['high'] - scale['low']) / scale['value'])


def band_ratios(rows: Iterable[Row], part: str) -> dict[tuple[float, float], list[float]]:
    """Predicted over true depth of rows by limits of true depth (m), the nearest first.

    Args:
        rows: What is taken together.
        part: ``source`` or ``target``.
    """
    ratios: dict[tuple[float, float], list[float]] = {}
    for row in rows:
        for band in row[part]['bands']:
            ratios.setdefault((band['nearest'], band['furthest']), []).append(band['ratio'])
    return dict(sorted(ratios.items()))


def control_scale_error(row: Row) -> float:
    """Scale error of the control without a network."""
    return float(row['control']['scale_error'])


def mean(values: Iterable[float]) -> float:
    """Of some numbers."""
    return float(np.mean(list(values)))


def ranged(values: Iterable[float], text: Callable[[float], str]) -> str:
    """Mean, and the range where there are several."""
    found = list(values)
    if not found:
        return ''
    if len(found) == 1:
        return text(found[0])
    return f'{text(mean(found))} ({text(min(found))} .. {text(max(found))})'


def percent(value: float) -> str:
    """+1.2 %."""
    return f'{round(value, 3) + 0.0:+.1%}'.replace('%', ' %')


def size(value: float) -> str:
    """1.2 %; for what has no sign."""
    return percent(abs(value))[1:]


def mrad(pitch: str) -> str:
    """-40 mrad, of a pitch in rad as variants are named."""
    return f'{float(pitch) * 1e3:+.0f} mrad'


def two(value: float) -> str:
    """1.23."""
    return f'{value:.2f}'


def three(value: float) -> str:
    """1.234."""
    return f'{value:.3f}'


def counted(items: Sequence[Any], noun: str) -> str:
    """A number of things, in words."""
    return f'{len(items)} {noun}' + ('' if len(items) == 1 else 's')

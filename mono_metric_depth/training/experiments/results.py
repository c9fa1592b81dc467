# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The file of results: every number of the page comes from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ResultsError(ValueError):
    """A file that does not hold results."""


@dataclass(frozen=True)
class Results:
    """What was fixed, and what came of it.

    Attributes:
        settings: As in config/experiments.yaml.
        rows: Measures by name of the row, in the order of the plan.
    """

    settings: dict[str, Any]
    rows: dict[str, dict[str, Any]]


def read_results(path: Path) -> Results:
    """Results of a file; empty where there is none yet.

    Raises:
        ResultsError: If the file holds something else.
    """
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return Results({}, {})
    except (ValueError, RecursionError) as err:
        msg = f'{path} holds no results: {err}'
        raise ResultsError(msg) from err
    if (
        not isinstance(document, dict)
        or document.keys() != {'settings', 'rows'}
        or not all(isinstance(part, dict) for part in document.values())
        or not all(isinstance(row, dict) for row in document['rows'].values())
    ):
        msg = f'{path} holds no results: expected settings and rows'
        raise ResultsError(msg)
    return Results(document['settings'], document['rows'])


def write_results(results: Results, path: Path) -> None:
    """Write results, one line for each row, whole or not at all."""
    lines = [
        f'{json.dumps(name)}: {json.dumps(_rounded(row))}' for name, row in results.rows.items()
    ]
    text = f'{{"settings": {json.dumps(results.settings)},\n"rows": {{\n'
    text += ',\n'.join(lines) + '\n}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    part.write_text(text)
    part.replace(path)


def _rounded(value: Any) -> Any:
    """Numbers to six significant digits: what is beyond is noise of the processor."""
    if isinstance(value, float):
        return float(f'{value:.6g}')
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value

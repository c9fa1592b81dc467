# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of an evaluation: for machines one line per image, for people one per scaling."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from mono_metric_depth.evaluation.comparison import Comparison
from mono_metric_depth.evaluation.image_errors import GRID, ImageErrors
from mono_metric_depth.evaluation.protocol import Protocol
from mono_metric_depth.evaluation.summary import (
    METRICS,
    SCALINGS,
    PartSummary,
    Summary,
    scaling_errors,
)
from mono_metric_depth.linearity import Interval

#: The metrics as the field writes them.
TITLES = {
    'abs_rel': 'AbsRel',
    'sq_rel': 'SqRel',
    'rmse': 'RMSE',
    'rmse_log': 'RMSElog',
    'delta1': 'd1',
    'delta2': 'd2',
    'delta3': 'd3',
}
#: The scalings likewise.
SCALING_TITLES = {
    'transferred': 'transferred',
    'oracle_global': 'oracle, global',
    'oracle_image': 'oracle, per image',
    'unscaled': 'unscaled',
}


def write_images(
    path: Path,
    models: Sequence[tuple[str, float, Protocol, Sequence[ImageErrors]]],
) -> None:
    """Write one line for each model and image.

    Args:
        path: CSV.
        models: Name, stored scalar, protocol with the model's range and images of each.
    """
    columns = ['model', 'drive', 'frame', 'stamp_ns', 'pixels', 'coverage', 'scale']
    columns += [f'{metric}_{scaling}' for scaling in SCALINGS for metric in METRICS]
    with path.open('w', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for name, stored, protocol, errors in models:
            scaled = scaling_errors(errors, stored, protocol)
            for number, each in enumerate(errors):
                writer.writerow(
                    [
                        name,
                        each.drive,
                        each.index,
                        each.stamp,
                        each.pixels,
                        f'{each.coverage:.6g}',
                        f'{each.ratio:.6g}',
                        *(f'{value:.6g}' for s in SCALINGS for value in scaled[s][number]),
                    ]
                )


def describe(summary: Summary) -> str:
    """A model's errors in lines that a person reads."""
    lines = [
        f'{summary.name}: {summary.images} images of {summary.drives} '
        f'drive{"s" * (summary.drives > 1)}, coverage {summary.coverage:.1%}',
        f'  {"":18}' + ''.join(f'{TITLES[metric]:>9}' for metric in METRICS),
    ]
    for scaling, metrics in summary.scalings.items():
        values = ''.join(f'{metrics[metric].value:9.3f}' for metric in METRICS)
        interval = metrics['abs_rel']
        told = ''
        if math.isfinite(interval.low):
            told = f'   AbsRel {with_interval(interval)[6:]}'
        lines.append(f'  {SCALING_TITLES[scaling]:18}{values}{told}')
    lines += [
        f'  scale             stored {summary.stored_scale:.4g}, oracle '
        f'{with_interval(summary.oracle_scale, ".4g")}; stored / oracle - 1 = '
        f'{with_interval(summary.scale_error, "+.1%")}; spread {summary.spread:.1%}',
        '  intervals         '
        + (
            f'95 %, over {summary.independent}'
            if summary.units > 1
            else 'none: so few images of one drive tell nothing of others'
        ),
        '  by distance       ' + '; '.join(map(_part, summary.bands)),
    ]
    for row in range(GRID):
        # As they lie in the image.
        cells = (_value(part) for part in summary.regions[row * GRID : (row + 1) * GRID])
        title = '' if row else 'by region'
        lines.append(f'  {title:18}' + ''.join(f'{cell:22}' for cell in cells).rstrip())
    lines += [f'  found             {sentence}' for sentence in summary.findings.values()]
    return '\n'.join(lines)


def describe_comparison(comparison: Comparison) -> str:
    """A comparison in a line that a person reads."""
    return (
        f'{comparison.verdict}: AbsRel {with_interval(comparison.difference, "+.4f")}, delta1 '
        f'{with_interval(comparison.delta1, "+.4f")}, better in {comparison.better:.0%} of the '
        'images'
    )


def with_interval(interval: Interval, form: str = '.3f') -> str:
    """A value and its interval, if there is one."""
    if not math.isfinite(interval.low):
        return f'{interval.value:{form}}'
    return f'{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]'


def _part(part: PartSummary) -> str:
    return f'{part.name} {_value(part)}'


def _value(part: PartSummary) -> str:
    if not part.images:
        return 'none'
    if not math.isfinite(part.abs_rel.value):
        return 'unseen'
    seen = '' if part.coverage > 0.995 else f' ({part.coverage:.0%} seen)'
    return f'{part.abs_rel.value:.3f}{seen}'

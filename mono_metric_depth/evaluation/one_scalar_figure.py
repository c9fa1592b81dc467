# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The figure of the page on the one scalar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mono_metric_depth.evaluation.one_scalar_rows import (
    LARGEST_SCALE_ERROR,
    MAIN,
    Row,
    band_ratios,
    control_abs_rel,
    first_pair,
    mean,
    pairs_of,
    rows_of,
    scale_error,
    sweep,
    transferred,
)
from mono_metric_depth.training.experiments.results import Results


def draw_results(results: Results, path: Path) -> None:
    """Draw the scale errors of every row of the main table, and the sweep over heights."""
    from matplotlib.figure import Figure

    rows = [row for row in results.rows.values() if 'failed' not in row]
    figure = Figure(figsize=(10, 7.2), layout='constrained')
    errors_axes, abs_axes, height_axes, band_axes = figure.subplots(2, 2).ravel()
    variants = [name for name in MAIN if any(row['variant'] == name for row in rows)]
    labels = [name.replace('_', ' ') for name in variants]
    for number, (source, target) in enumerate(pairs_of(rows)):
        shift, colour = 0.2 * (number - 1), f'C{number}'
        for axes, value, factor in (
            (errors_axes, scale_error, 100),
            (abs_axes, transferred, 1),
        ):
            points = [
                (place + shift, factor * value(row))
                for place, variant in enumerate(variants)
                for row in rows_of(rows, variant, source, target)
            ]
            if points:
                label = f'{source} to {target}'
                axes.plot(*zip(*points, strict=True), 'o', ms=4, color=colour, label=label)
        control = rows_of(rows, 'mixed', source, target)
        if control:
            abs_axes.axhline(control_abs_rel(control[0]), color=colour, ls=':', lw=1)
    errors_axes.axhspan(
        -100 * LARGEST_SCALE_ERROR, 100 * LARGEST_SCALE_ERROR, color='0.9', zorder=0
    )
    errors_axes.set_ylabel('scale error (%)')
    abs_axes.set_yscale('log')
    abs_axes.set_yticks([0.1, 0.2, 0.5, 1], ['0.1', '0.2', '0.5', '1'])
    abs_axes.minorticks_off()
    abs_axes.set_ylabel('AbsRel, transferred (dotted: control)')
    for axes in (errors_axes, abs_axes):
        axes.set_xticks(range(len(variants)), labels, rotation=30, ha='right', fontsize=8)
    if variants:
        errors_axes.legend(fontsize=8)
    _draw_heights(height_axes, rows)
    _draw_bands(band_axes, rows)
    figure.savefig(path, dpi=110, metadata={'Software': None})


def _draw_heights(axes: Any, rows: list[Row]) -> None:
    source, target = first_pair(rows)
    points = [row for _, group in sweep(rows, 'height_') for row in group]
    points += rows_of(rows, 'mixed', source, target)
    axes.plot(
        [row['target']['height'] for row in points],
        [100 * scale_error(row) for row in points],
        'o',
        ms=4,
        label='transferred',
    )
    roads = [row for row in points if row['target']['road']]
    axes.plot(
        [row['target']['height'] for row in roads],
        [100 * row['target']['road']['scale_error'] for row in roads],
        's',
        ms=4,
        label='road plane',
    )
    if points:
        heights = np.linspace(1.2, 1.8, 20)
        law = 100 * (points[0]['source']['height'] / heights - 1)
        axes.plot(heights, law, '0.5', lw=1, label='height law')
    axes.set_xlabel('height of the target camera (m)')
    axes.set_ylabel('scale error (%)')
    axes.legend(fontsize=8)


def _draw_bands(axes: Any, rows: list[Row]) -> None:
    for number, (source, target) in enumerate(pairs_of(rows)):
        for part, style in (('source', ':'), ('target', '-')):
            ratios = band_ratios(rows_of(rows, 'mixed', source, target), part)
            bands = list(ratios.items())[1:]  # the nearest holds few things
            if bands:
                middles = [mean(limits) for limits, _ in bands]
                means = [mean(found) for _, found in bands]
                label = f'{source} to {target}' if part == 'target' else '_'
                axes.plot(middles, means, f'o{style}', ms=3, lw=1, color=f'C{number}', label=label)
    axes.axhline(1, color='0.5', lw=1)
    axes.set_xlabel('true depth (m)')
    axes.set_ylabel('(a): predicted / true (dotted: source)')
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)

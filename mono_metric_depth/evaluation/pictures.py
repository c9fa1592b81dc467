# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures: published depth beside its image and cloud; the course of a training."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mono_metric_depth.evaluation.bag_depth import PublishedFrame

_WIDEST = 40.0
_HIGHEST = 2.5


def draw_frames(
    frames: Sequence[PublishedFrame], captions: Sequence[str], path: Path, furthest: float = 60.0
) -> None:
    """Draw one row for each frame: image | depth in metres | cloud from above.

    Args:
        frames: What to draw.
        captions: A line for each.
        path: PNG to write.
        furthest: End of the depth scale (m).
    """
    figure = Figure(figsize=(15, 3.9 * len(frames)), layout='constrained')
    axes = figure.subplots(
        len(frames), 3, squeeze=False, gridspec_kw={'width_ratios': (1.35, 1.5, 1)}
    )
    colours = mpl.colormaps['turbo_r'].copy()
    colours.set_bad('0.75')
    for (left, middle, right), frame, caption in zip(axes, frames, captions, strict=True):
        left.imshow(frame.image)
        left.set_title(caption, fontsize=10, loc='left')
        left.axis('off')
        depth = np.where(np.isposinf(frame.depth), furthest, frame.depth)
        drawn = middle.imshow(
            np.ma.masked_invalid(depth), cmap=colours, norm=mpl.colors.LogNorm(3.0, furthest)
        )
        middle.set_title('published depth (grey: unseen)', fontsize=10, loc='left')
        middle.axis('off')
        ticks = [value for value in (3, 5, 10, 20, 40, 60, 80) if value <= furthest]
        bar = figure.colorbar(drawn, ax=middle, ticks=ticks, shrink=0.8, label='m')
        bar.ax.set_yticklabels([f'{value}' for value in ticks])
        bar.ax.minorticks_off()
        bar.ax.invert_yaxis()
        _draw_from_above(right, frame.points, furthest)
    figure.savefig(path, dpi=80)


def draw_training(log: Path, path: Path) -> None:
    """Draw losses and held-out errors of a training.

    Args:
        log: The ``log.csv`` of the training's folder.
        path: PNG to write.
    """
    with log.open(newline='') as file:
        rows = list(csv.DictReader(file))

    def column(name: str) -> tuple[list[int], list[float]]:
        known = [(int(row['step']), float(row[name])) for row in rows if row[name]]
        return [step for step, _ in known], [value for _, value in known]

    figure = Figure(figsize=(11, 3.4), layout='constrained')
    losses, errors, scales = figure.subplots(1, 3)
    drawn: tuple[tuple[Any, tuple[str, ...], dict[str, Any]], ...] = (
        (losses, ('source_photometric', 'target_photometric', 'source_log_depth'), {'lw': 0.8}),
        (errors, ('abs_rel', 'target_abs_rel'), {'marker': 'o'}),
        (scales, ('median_ratio', 'target_median_ratio'), {'marker': 'o'}),
    )
    titles = (
        'training losses',
        'held-out AbsRel, scaled by the source',
        'median true / predicted depth',
    )
    for (axes, names, style), title in zip(drawn, titles, strict=True):
        for name in names:
            steps, values = column(name)
            if steps:
                axes.plot(steps, values, label=_LABELS.get(name, name.replace('_', ' ')), **style)
        axes.set_title(title, fontsize=10, loc='left')
        axes.set_xlabel('step')
        axes.grid(True, color='0.9')
        if axes.lines:
            axes.legend(fontsize=8)
    losses.set_yscale('log')
    errors.set_ylim(bottom=0)
    figure.savefig(path, dpi=80)


_LABELS = {
    'abs_rel': 'source_validation',
    'target_abs_rel': 'target_test (reported only)',
    'median_ratio': 'source_validation',
    'target_median_ratio': 'target_test (reported only)',
}


def _draw_from_above(axes: mpl.axes.Axes, points: NDArray[np.float32], furthest: float) -> None:
    """The cloud's points below a person's height and above ground, x against z."""
    x, y, z = (points[..., axis].ravel() for axis in range(3))
    colour = points[..., 3].ravel().view(np.uint8).reshape(-1, 4)[:, 2::-1] / 255.0
    with np.errstate(invalid='ignore'):
        shown = (z < furthest) & (y > -_HIGHEST)
    axes.scatter(x[shown], z[shown], c=colour[shown], s=1.2, linewidths=0)
    axes.set_xlim(-_WIDEST / 2, _WIDEST / 2)
    axes.set_ylim(0, furthest)
    axes.set_aspect('equal')
    axes.set_facecolor('0.93')
    axes.set_xlabel('x (m)')
    axes.set_ylabel('z (m)')
    axes.set_title('cloud from above', fontsize=10, loc='left')
    axes.grid(True, color='1.0', linewidth=0.6)

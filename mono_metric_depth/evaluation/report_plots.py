# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Plots of an evaluation, as SVG that a page holds inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mono_metric_depth.evaluation.drive_labels import drive_labels
from mono_metric_depth.evaluation.image_errors import ImageErrors
from mono_metric_depth.evaluation.results import ModelResult, Results
from mono_metric_depth.evaluation.summary import SCALINGS, some_images
from mono_metric_depth.evaluation.tables import SCALING_TITLES

#: Sizes of a plot (inches): on a phone, and over the whole width of a page.
NARROW = (4.6, 3.4)
WIDE = (9.6, 3.0)
_BINS = 80
#: Letters of a drive's name in an inch, and the fewest that are worth it.
_LETTERS, _FEWEST = 12, 12
_COLOURS = ('#1b6ca8', '#d1751f', '#2c8a4b', '#8a4bb0', '#a33b3b', '#6b6b2a')
_CONTROL = '0.6'


def embedded(figure: Figure) -> str:
    """A figure as a data URI; the same bytes for the same figure."""
    buffer = io.BytesIO()
    with mpl.rc_context({'svg.hashsalt': 'mono_metric_depth'}):
        figure.savefig(buffer, format='svg', dpi=150, metadata={'Date': None, 'Creator': None})
    return 'data:image/svg+xml;base64,' + base64.b64encode(buffer.getvalue()).decode()


def scatter(model: ModelResult) -> Figure:
    """Predicted against true depth, as a histogram, with the line of perfect depth."""
    figure, axes = _panel(NARROW)
    predicted, true = (np.concatenate(side) for side in zip(*_samples(model), strict=True))
    furthest = float(np.quantile(true, 0.995))
    image = axes.hist2d(
        true,
        predicted * model.stored,
        bins=_BINS,
        range=((0, furthest), (0, 1.15 * furthest)),
        norm=mpl.colors.LogNorm(),
        cmap='Blues',
        rasterized=True,
    )[3]
    axes.plot([0, furthest], [0, furthest], color='#b3261e', label='predicted = true')
    line = model.summary.linearity
    if line is not None:
        ends = np.array([0.0, furthest])
        axes.plot(
            ends,
            line.gain.value * ends + line.offset.value,
            color='black',
            linestyle='--',
            label=f'fitted: {line.gain.value:.2f} x true {line.offset.value:+.1f} m',
        )
    axes.set_xlim(0, furthest)
    axes.set_ylim(0, 1.15 * furthest)
    axes.set_xlabel('true depth (m)')
    axes.set_ylabel('predicted depth (m)')
    axes.legend(fontsize=8, loc='upper left')
    figure.colorbar(image, ax=axes, label='pixels')
    return figure


def by_distance(results: Results, value: str) -> Figure:
    """AbsRel, or predicted / true depth, over true depth.

    Args:
        results: The evaluation.
        value: ``abs_rel`` or ``ratio``.
    """
    figure, axes = _panel(NARROW)
    edges = [*(low for low, _ in results.protocol.bands), results.protocol.maximum]
    everything = _all(results)
    for number, (result, colour, label) in enumerate(everything):
        # Side by side, so that the intervals of all can be told apart.
        aside = 0.03 * results.protocol.maximum * ((number + 0.5) / len(everything) - 0.5)
        shown = [
            (0.5 * (low + high) + aside, part)
            for (low, high), part in zip(results.protocol.bands, result.summary.bands, strict=True)
            if np.isfinite(getattr(part, value).value)
        ]
        if not shown:
            continue
        middle = [x for x, _ in shown]
        intervals = [getattr(part, value) for _, part in shown]
        values = [interval.value for interval in intervals]
        bars = [
            [np.nan_to_num(i.value - i.low) for i in intervals],
            [np.nan_to_num(i.high - i.value) for i in intervals],
        ]
        axes.errorbar(middle, values, bars, marker='o', capsize=3, color=colour, label=label)
    for edge in edges:
        axes.axvline(edge, color='0.9', linewidth=0.8, zorder=0)
    axes.set_xlim(0, results.protocol.maximum)
    axes.set_xlabel('true depth (m)')
    if value == 'ratio':
        axes.axhline(1.0, color='#b3261e', linewidth=1)
        axes.set_ylabel('predicted / true depth')
    else:
        # Near things may be off many times over, far ones by little: both are to be read.
        axes.set_yscale('log')
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda tick, _: f'{tick:g}'))
        axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        axes.set_ylabel('AbsRel, transferred')
    axes.legend(fontsize=8)
    return figure


def timeline(
    model: ModelResult, marked: Sequence[tuple[int, str]], size: tuple[float, float] = WIDE
) -> Figure:
    """AbsRel of every frame, the shown ones marked.

    Args:
        model: The model.
        marked: Number of an image among the model's, and its label.
        size: Of the figure (inches).
    """
    figure, axes = _panel(size)
    number = np.arange(1, len(model.errors) + 1)
    transferred = np.array([each.transferred.abs_rel for each in model.errors])
    scaled = np.array([each.oracle_image.abs_rel for each in model.errors])
    style: dict[str, Any] = {'marker': 'o', 'markersize': 3} if len(number) < 60 else {}
    axes.plot(number, transferred, color=_COLOURS[0], label='transferred', linewidth=1, **style)
    axes.plot(
        number, scaled, color='0.55', label='each image by its own truth', linewidth=0.8, **style
    )
    for index, label in marked:
        axes.annotate(
            label,
            (number[index], transferred[index]),
            xytext=(0, 7),
            textcoords='offset points',
            ha='center',
            fontsize=8,
            fontweight='bold',
        )
        axes.plot(number[index], transferred[index], 'o', color='#b3261e', markersize=5)
    _name_drives(axes, model.errors, size)
    axes.set_xlim(0.5, len(number) + 0.5)
    axes.set_ylim(0, 1.15 * float(max(transferred.max(), scaled.max())))
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    axes.set_xlabel('image')
    axes.set_ylabel('AbsRel')
    figure.legend(fontsize=8, ncols=2, loc='outside upper center')
    return figure


def _name_drives(axes: Axes, errors: Sequence[ImageErrors], size: tuple[float, float]) -> None:
    """Lines between drives, and above each its name where there is room for it."""
    starts = [*_starts(errors), len(errors)]
    labels = drive_labels([each.drive for each in errors])
    for first, last in zip(starts, starts[1:], strict=False):
        if first:
            axes.axvline(first + 0.5, color='0.85', linewidth=0.8, zorder=0)
        letters = int(_LETTERS * size[0] * (last - first) / len(errors))
        name = _short(labels[errors[first].drive], letters)
        if letters >= _FEWEST:
            place = (0.5 * (first + last) + 0.5, 1.0)
            transform = axes.get_xaxis_transform()
            axes.text(*place, name, transform=transform, ha='center', va='bottom', fontsize=7)


def scale_over_time(model: ModelResult, size: tuple[float, float] = WIDE) -> Figure:
    """The scale that each image would have wanted, over the time of its drive.

    Args:
        model: The model.
        size: Of the figure (inches).
    """
    figure, axes = _panel(size)
    starts = [*_starts(model.errors), len(model.errors)]
    many = len(starts) > 7
    labels = drive_labels([each.drive for each in model.errors])
    for number, (first, last) in enumerate(zip(starts, starts[1:], strict=False)):
        part = model.errors[first:last]
        time = _seconds(part)
        wanted = [each.ratio / model.stored for each in part]
        axes.plot(
            time,
            wanted,
            color=_COLOURS[number % len(_COLOURS)],
            linewidth=0.8 if many else 1.2,
            alpha=0.6 if many else 1.0,
            marker='o' if last - first < 60 else '',
            markersize=2.5,
            label=None if many else _short(labels[part[0].drive]),
        )
    low, high = (bound / model.stored for bound in _card_interval(model))
    axes.axhspan(low, high, color='#b3261e', alpha=0.15, zorder=0)
    axes.axhline(1.0, color='#b3261e', linewidth=1, label='stored scale, its interval')
    axes.set_xlabel('time since the drive began (s)')
    axes.set_ylabel("image's own scale / stored")
    figure.legend(fontsize=8, loc='outside upper center', ncols=3 if size == WIDE else 1)
    return figure


def scalings(results: Results) -> Figure:
    """AbsRel of every model by scaling, with intervals."""
    everything = _all(results)
    figure, axes = _panel((NARROW[0], 1.4 + 0.6 * len(everything)))
    for row, (result, colour, _) in enumerate(everything):
        for place, scaling in enumerate(SCALINGS):
            found = result.summary.scalings[scaling]['abs_rel']
            if scaling == 'unscaled' and found.value > 1:
                continue
            y = row + 0.18 * (place - 1.5)
            error = np.nan_to_num([[found.value - found.low], [found.high - found.value]])
            marker = 'osD^'[place]
            label = SCALING_TITLES[scaling] if row == 0 else None
            axes.errorbar(
                found.value, y, xerr=error, marker=marker, color=colour, capsize=2, label=label
            )
    axes.set_yticks(range(len(everything)), [_short(label) for _, _, label in everything])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel('AbsRel')
    figure.legend(fontsize=8, loc='outside upper center', ncols=2)
    return figure


def _panel(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout='constrained')
    axes = figure.subplots()
    axes.tick_params(labelsize=9)
    axes.grid(True, color='0.93', linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    return figure, axes


def _all(results: Results) -> list[tuple[ModelResult, str, str]]:
    """Models and control, each with its colour and label."""
    found = [
        (result, _COLOURS[number % len(_COLOURS)], _short(result.candidate.name))
        for number, result in enumerate(results.models)
    ]
    if results.control is not None:
        found.append((results.control, _CONTROL, 'control, no network'))
    return found


def _samples(model: ModelResult) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    return [each.sample for each in some_images(model.errors)]


def _starts(errors: Sequence[ImageErrors]) -> list[int]:
    """Where each drive begins."""
    return [i for i, each in enumerate(errors) if not i or errors[i - 1].drive != each.drive]


def _seconds(errors: Sequence[ImageErrors]) -> NDArray[np.float64]:
    return np.array([each.stamp - errors[0].stamp for each in errors]) * 1e-9


def _card_interval(model: ModelResult) -> tuple[float, float]:
    scale = model.candidate.scale
    return scale.low, scale.high


def _short(name: str, most: int = 28) -> str:
    """A label that fits into a plot; a dollar sign is no formula."""
    # Models differ where their names begin, drives where they end.
    half = max(most - 3, 2) // 2
    cut = name if len(name) <= most else f'{name[:half]}...{name[-half:]}'
    return cut.replace('$', r'\$')

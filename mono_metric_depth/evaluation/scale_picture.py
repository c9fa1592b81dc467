# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Predicted against true depth of source and target, on one line (as in Dana et al., 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from mono_metric_depth.evaluation.depth_samples import DepthSamples
from mono_metric_depth.linearity import measure_linearity
from mono_metric_depth.scale import GlobalScale, Pairs, image_ratios

_COLOURS = ('tab:blue', 'tab:orange')
_BINS = 90


def draw_scale(
    source: DepthSamples, target: DepthSamples | None, scale: GlobalScale, path: Path
) -> None:
    """Draw unscaled predicted against true depth, the images' ratios and the ratio by distance.

    Args:
        source: Drives that the scale was fitted on.
        target: Drives that it is carried over to; drawn where they have ground truth.
        scale: The scale.
        path: PNG to write.
    """
    drives = [('source', source.source, source.images)]
    if target is not None and len(target.images) > 1:
        drives.append(('target', target.source, target.images))
    figure = Figure(figsize=(4.6 * (len(drives) + 2), 4.4), layout='constrained')
    axes = figure.subplots(1, len(drives) + 2)
    furthest = max(float(np.quantile(np.concatenate([g for _, g in x]), 0.99)) for *_, x in drives)
    for panel, (name, drawn, images) in zip(axes, drives, strict=False):
        _draw_density(panel, images, scale.value, furthest)
        panel.set_title(f'{name}: {drawn[:44]}', fontsize=10, loc='left')
    _draw_ratios(axes[-2], [(name, images) for name, _, images in drives], scale)
    _draw_bands(axes[-1], [(name, images) for name, _, images in drives], scale.value)
    figure.savefig(path, dpi=90, format='png')


def _draw_density(
    axes: mpl.axes.Axes, images: Sequence[Pairs], scale: float, furthest: float
) -> None:
    predicted, true = (np.concatenate(side) for side in zip(*images, strict=True))
    highest = 1.15 * furthest / scale
    axes.hist2d(
        true,
        predicted,
        bins=_BINS,
        range=((0, furthest), (0, highest)),
        norm=mpl.colors.LogNorm(),
        cmap='Greys',
    )
    ends = np.array([0.0, furthest])
    low, high = np.quantile(image_ratios(images), [0.1, 0.9])
    axes.fill_between(
        ends, ends / high, ends / low, color='tab:red', alpha=0.15, label='80 % of images'
    )
    axes.plot(ends, ends / scale, color='tab:red', label=f'true / scale, scale {scale:.4g}')
    linearity = measure_linearity(images, scale)
    gain, offset = linearity.gain.value, linearity.offset.value
    axes.plot(
        ends,
        (gain * ends + offset) / scale,
        color='tab:cyan',
        linestyle='--',
        label=f'affine: {offset:+.2f} m at zero',
    )
    axes.set_xlim(0, furthest)
    axes.set_ylim(0, highest)
    axes.set_xlabel(f'true depth (m)   Pearson {linearity.pearson:.3f}')
    axes.set_ylabel('predicted, unscaled')
    axes.legend(fontsize=8, loc='upper left')


def _draw_ratios(
    axes: mpl.axes.Axes, drives: Sequence[tuple[str, Sequence[Pairs]]], scale: GlobalScale
) -> None:
    """How the scale of one image is spread about the one scalar."""
    ratios = [image_ratios(images) for _, images in drives]
    low, high = np.quantile(np.concatenate(ratios), [0.005, 0.995])
    edges = np.linspace(float(low), float(high), 31).tolist()
    for (name, _), values, colour in zip(drives, ratios, _COLOURS, strict=False):
        axes.hist(values, edges, alpha=0.55, color=colour, density=True, label=name)
        axes.axvline(float(np.median(values)), color=colour, linestyle=':')
    axes.axvspan(scale.low, scale.high, color='tab:red', alpha=0.25, label='scale, interval')
    axes.axvline(scale.value, color='tab:red')
    axes.set_xlabel('median true / predicted depth of an image')
    axes.set_yticks([])
    axes.set_title('spread between images (dotted: median)', fontsize=10, loc='left')
    axes.legend(fontsize=8)


def _draw_bands(
    axes: mpl.axes.Axes, drives: Sequence[tuple[str, Sequence[Pairs]]], scale: float
) -> None:
    """Scaled predicted / true depth by distance."""
    for number, (name, images) in enumerate(drives):
        bands = measure_linearity(images, scale).bands
        places = np.arange(len(bands)) + 0.12 * (number - 0.5)
        values = np.array([(b.ratio.value, b.ratio.low, b.ratio.high) for b in bands])
        errors = [values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]]
        axes.errorbar(
            places, values[:, 0], errors, marker='o', capsize=3, color=_COLOURS[number], label=name
        )
        axes.set_xticks(range(len(bands)), [f'{b.nearest:g}-{b.furthest:g}' for b in bands])
    axes.axhline(1.0, color='tab:red')
    axes.set_xlabel('true depth (m)')
    axes.set_title('scaled predicted / true depth', fontsize=10, loc='left')
    axes.grid(True, axis='y', color='0.9')
    axes.legend(fontsize=8)

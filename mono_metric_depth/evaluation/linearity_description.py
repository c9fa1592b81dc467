# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""How far depth is proportional to the truth, in lines that a person reads."""

from __future__ import annotations

from collections.abc import Sequence

from mono_metric_depth.doubt import Doubt
from mono_metric_depth.linearity import Linearity


def describe_linearity(linearity: Linearity, found: Sequence[Doubt]) -> str:
    """Correlations, the fitted line, what lies about it, bands of distance, and doubts.

    Args:
        linearity: What was measured.
        found: What speaks against one scalar.
    """
    within = [linearity.image_pearson, linearity.image_spearman, linearity.image_r2]
    shown = ', '.join(
        f'{name} {q.median:.3f} ({q.low:.3f} .. {q.high:.3f})'
        for name, q in zip(('Pearson', 'Spearman', 'R2'), within, strict=True)
    )
    gain, offset = linearity.gain, linearity.offset
    lines = [
        '  linearity of predicted x scale against true depth',
        f'    whole set    Pearson {linearity.pearson:.3f}, Spearman {linearity.spearman:.3f}, '
        f'R2 {linearity.r2:.3f}',
        f'    in images    {shown}: median (tenth .. ninetieth percentile)',
        f'    line         {gain.value:.3f} [{gain.low:.3f}, {gain.high:.3f}] x true '
        f'{offset.value:+.2f} m [{offset.low:.2f}, {offset.high:.2f}]; zero lies '
        f'{"within" if linearity.proportional else "outside of"} the interval',
        f'    about it     images spread by {linearity.spread:.1%}, pixels by '
        f'{linearity.noise:.1%}, {linearity.outliers:.1%} outliers',
        '    true depth   predicted / true (whole set)   relative to its image   images',
    ]
    for band in linearity.bands:
        ratio, inside = band.ratio, band.within
        lines.append(
            f'    {f"{band.nearest:g}-{band.furthest:g} m":12} {ratio.value:.3f} '
            f'[{ratio.low:.3f}, {ratio.high:.3f}]{"":12} {inside.median:.3f} '
            f'({inside.low:.3f} .. {inside.high:.3f})  {band.images:6d}'
        )
    lines += [f'  found    {doubt}' for doubt in found]
    return '\n'.join(lines if found else [*lines, '  found    nothing against one scalar'])

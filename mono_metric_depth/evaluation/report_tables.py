# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The tables of the report, as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from mono_metric_depth.evaluation.comparison import leaders
from mono_metric_depth.evaluation.drive_labels import drive_labels
from mono_metric_depth.evaluation.image_errors import GRID
from mono_metric_depth.evaluation.results import Results
from mono_metric_depth.evaluation.summary import METRICS, SCALINGS, PartSummary, Summary
from mono_metric_depth.evaluation.tables import SCALING_TITLES, with_interval
from mono_metric_depth.linearity import Interval

_METRICS = {
    'abs_rel': 'AbsRel',
    'sq_rel': 'SqRel (m)',
    'rmse': 'RMSE (m)',
    'rmse_log': 'RMSElog',
    'delta1': '&delta; &lt; 1.25',
    'delta2': '&delta; &lt; 1.25&sup2;',
    'delta3': '&delta; &lt; 1.25&sup3;',
}


def scaling_tables(results: Results) -> str:
    """All metrics of each model by scaling, and what the scalings are."""
    tables = []
    for result in results.models:
        summary = result.summary
        head = ''.join(f'<th scope="col">{SCALING_TITLES[s]}</th>' for s in SCALINGS)
        rows = ''.join(
            f'<tr><th scope="row">{_METRICS[m]}</th>'
            + ''.join(
                f'<td>{summary.scalings[s][m].value:.3f}'
                + f'<small>{_narrow_range(summary.scalings[s][m])}</small>'
                + '</td>'
                for s in SCALINGS
            )
            + '</tr>'
            for m in METRICS
        )
        tables.append(
            f'<h3>{escape(result.candidate.name)}</h3>'
            f'<table class="scalings"><thead><tr><td></td>{head}</tr></thead>'
            f'<tbody>{rows}</tbody></table>'
            f'<p>Scale: stored {summary.stored_scale:.4g}, oracle '
            f'{with_interval(summary.oracle_scale, ".4g")}; between images it spreads by '
            f'{summary.spread:.1%}. The network saw {summary.coverage:.1%} of the true pixels.</p>'
        )
    notes = ''.join(
        f'<li><b>{SCALING_TITLES[name]}</b>: {escape(text)}</li>'
        for name, text in SCALINGS.items()
    )
    return (
        ''.join(tables)
        + f'<ul class="notes">{notes}</ul><p class="notes">Means over images; 95 % intervals over '
        f'{escape(results.models[0].summary.independent)}.</p>'
    )


def leading(results: Results) -> list[str]:
    """The names of the models that may be the best, by AbsRel."""
    return leaders([(result.candidate.name, result.errors) for result in results.models])


def comparison_table(results: Results) -> str:
    """A line for each model, with the stored scalars; those that may be the best stand out."""
    everything = [*results.models, *([results.control] if results.control else [])]
    transferred = [result.summary.scalings['transferred'] for result in everything]
    least = min(metrics['abs_rel'].value for metrics in transferred)
    first = set(leading(results))
    rows = ''
    for result, metrics in zip(everything, transferred, strict=True):
        error = metrics['abs_rel'].value
        kind = ' class="best"' if error == least or result.candidate.name in first else ''
        rows += (
            f'<tr><th scope="row">{escape(result.candidate.name)}</th><td{kind}>{error:.3f}</td>'
            f'<td>{metrics["delta1"].value:.1%}</td><td>{metrics["rmse"].value:.2f}</td>'
            f'<td>{result.summary.scale_error.value:+.1%}</td></tr>'
        )
    return (
        '<table class="drives"><thead><tr><th>model</th><th>AbsRel</th><th>&delta;&lt;1.25</th>'
        '<th>RMSE (m)</th><th>scale</th></tr></thead>'
        f'<tbody>{rows}</tbody></table>'
    )


def band_table(bands: Sequence[PartSummary]) -> str:
    """Errors by true depth."""
    rows = ''.join(
        f'<tr><th scope="row">{escape(band.name)}</th><td>{_number(band.abs_rel)}</td>'
        f'<td>{_number(band.ratio)}</td><td>{_number(band.delta1)}</td>'
        f'<td>{_share(band.coverage)}</td><td>{band.images}</td></tr>'
        for band in bands
    )
    return (
        '<table><thead><tr><th>true depth</th><th>AbsRel</th><th>pred. / true</th>'
        '<th>&delta;&lt;1.25</th><th>seen</th><th>images</th></tr></thead>'
        f'<tbody>{rows}</tbody></table>'
    )


def region_table(summary: Summary) -> str:
    """AbsRel of each region, as it lies in the image."""
    known = [r.abs_rel.value for r in summary.regions if math.isfinite(r.abs_rel.value)]
    largest = max(known, default=1.0)
    cells = []
    for number, region in enumerate(summary.regions):
        value = region.abs_rel.value
        shade, text = 0.0, '<b>unseen</b>' if region.images else '<b>-</b>'
        if math.isfinite(value):
            shade, text = 0.08 + 0.5 * value / largest, f'<b>{value:.3f}</b>'
        if region.images:
            text += f'<small>{_share(region.coverage)} seen</small>'
        start = '<tr>' if number % GRID == 0 else ''
        cells.append(f'{start}<td style="background:rgba(179,38,30,{shade:.2f})">{text}</td>')
    return (
        f'<table class="regions"><caption>AbsRel in ninths of the image, {escape(summary.name)}; '
        'share of the true pixels that the network saw</caption><tbody>'
        + ''.join(cells)
        + '</tbody></table>'
    )


def drive_table(summary: Summary) -> str:
    """A line for each drive."""
    labels = drive_labels(list(summary.by_drive))
    rows = ''.join(
        f'<tr><th scope="row"><b>{escape(labels[name])}</b>'
        + (f'<small>{escape(name)}</small>' if name != labels[name] else '')
        + f'</th><td>{values["images"]:g}</td>'
        f'<td>{values["abs_rel"]:.3f}</td>'
        f'<td>{values["scale"] / summary.stored_scale:.3f}</td></tr>'
        for name, values in summary.by_drive.items()
    )
    return (
        '<table class="drives"><thead><tr><th>drive</th><th>images</th><th>AbsRel</th>'
        f'<th>own / stored scale</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _narrow_range(interval: Interval) -> str:
    if not math.isfinite(interval.low):
        return ''
    return '&ndash;'.join(
        f'{value:.3f}' if value < 10 else f'{value:.1f}' for value in (interval.low, interval.high)
    )


def _number(interval: Interval) -> str:
    return f'{interval.value:.3f}' if math.isfinite(interval.value) else '-'


def _share(value: float) -> str:
    return f'{value:.0%}' if math.isfinite(value) else '-'

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that stands alone, for a screen, a phone or a printer.

Whatever comes from files or a command line (names, provenance, messages) passes through
``html.escape``; no script is in the page, and its policy allows none.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from html import escape

from mono_metric_depth.card_description import describe_card
from mono_metric_depth.evaluation import report_plots as plots
from mono_metric_depth.evaluation.drive_labels import drive_labels
from mono_metric_depth.evaluation.outcomes import failures
from mono_metric_depth.evaluation.report_page import PAGE, STYLE
from mono_metric_depth.evaluation.report_pictures import (
    DEPTHS,
    ERROR_COLOURS,
    LARGEST_ERROR,
    ShownFrame,
    chosen_frames,
    shown_frames,
)
from mono_metric_depth.evaluation.report_tables import (
    band_table,
    comparison_table,
    drive_table,
    leading,
    region_table,
    scaling_tables,
)
from mono_metric_depth.evaluation.results import ModelResult, Results
from mono_metric_depth.evaluation.summary import advice
from mono_metric_depth.evaluation.tables import describe_comparison
from mono_metric_depth.linearity import Interval


def report(results: Results, command: str = '') -> str:
    """The whole page.

    Args:
        results: The evaluation.
        command: What was typed.

    Returns:
        HTML.
    """
    first = results.models[0]
    chosen = chosen_frames(first.errors)
    shown = shown_frames(first, chosen)
    title = ' / '.join(result.candidate.name for result in results.models)
    parts = [
        _headline(results),
        _warnings(results),
        _section('Which model is better', _comparisons(results)) if results.comparisons else '',
        _section('Predicted against true', _against_true(results)),
        _section('Over time', _over_time(first, [(f.number, f.label) for f in shown])),
        _section('Worst and best frames', _frames(first, shown)),
        _section('Errors by scaling', scaling_tables(results)),
        _section('What was evaluated', _data(results, command)),
    ]
    return PAGE.format(
        title=escape(title),
        style=STYLE,
        date=datetime.date.today().isoformat(),
        body='\n'.join(part for part in parts if part),
    )


def _section(title: str, body: str) -> str:
    return f'<section><h2>{title}</h2>\n{body}\n</section>'


def _headline(results: Results) -> str:
    """The numbers that decide, and what they mean in one sentence."""
    summary = results.models[0].summary
    metric = summary.scalings['transferred']
    best = summary.scalings['oracle_global']
    tiles = [
        ('AbsRel', f'{metric["abs_rel"].value:.3f}', _range(metric['abs_rel'])),
        ('&delta; &lt; 1.25', f'{metric["delta1"].value:.1%}', _range(metric['delta1'], '.1%')),
        ('RMSE', f'{metric["rmse"].value:.2f} m', _range(metric['rmse'], '.2f')),
        (
            'Stored scale against oracle',
            f'{summary.scale_error.value:+.1%}',
            _range(summary.scale_error, '+.1%'),
        ),
        ('AbsRel with the oracle scale', f'{best["abs_rel"].value:.3f}', _range(best['abs_rel'])),
    ]
    if results.control is not None:
        control = results.control.summary.scalings['transferred']['abs_rel']
        tiles.append(('AbsRel without a network', f'{control.value:.3f}', _range(control)))
    cells = '\n'.join(
        f'<div class="tile"><span>{name}</span><strong>{value}</strong><small>{interval}</small>'
        '</div>'
        for name, value, interval in tiles
    )
    return f'<p class="lead">{_sentence(results)}</p>\n<div class="tiles">{cells}</div>'


def _sentence(results: Results) -> str:
    summary = results.models[0].summary
    metric = summary.scalings['transferred']
    name = escape(summary.name)
    images = f'{summary.images} image{"s" * (summary.images > 1)}'
    text = (
        f'Metric depth of <b>{name}</b>, as it would be published, is off by '
        f'{metric["abs_rel"].value:.0%} on average over {images} of '
        f'{summary.drives} drive{"s" * (summary.drives > 1)}; its stored scale is '
        f'{abs(summary.scale_error.value):.1%} '
        f'{"above" if summary.scale_error.value > 0 else "below"} what fits these images best.'
    )
    if len(results.models) > 1:
        error = {result.candidate.name: _transferred(result) for result in results.models}
        best, *rivals = (f'<b>{escape(name)}</b> ({error[name]:.3f})' for name in leading(results))
        count = len(results.models)
        text += (
            f' These images cannot tell which of {count} models is the best: '
            f'{", ".join([best, *rivals[:-1]])} or {rivals[-1]}.'
            if rivals
            else f' Of {count} models, {best} has the smallest error.'
        )
    if results.control is not None:
        control = results.control.summary.scalings['transferred']['abs_rel'].value
        ratio = metric['abs_rel'].value / control
        text += (
            f' The error of {name} is {ratio:.2f} times that of a fixed depth image that sees '
            'nothing.'
            if ratio < 1
            else f' <b>A fixed depth image that sees nothing does no worse than {name}.</b>'
        )
    return text


def _transferred(result: ModelResult) -> float:
    return result.summary.scalings['transferred']['abs_rel'].value


def _warnings(results: Results) -> str:
    lines = [f'drive left out: {failures({name: why})}' for name, why in results.failed.items()]
    findings = results.models[0].summary.findings
    lines += [*findings.values()]
    if todo := advice(list(findings)):
        lines.append(f'what to do about {"these" if len(findings) > 1 else "this"}: {todo}')
    lines += results.warnings
    lines += [
        f'{count} image{"s" * (count > 1)} left out ({reason}); first of all {first}'
        for reason, (count, first) in results.skipped.items()
    ]
    if results.control is None:
        lines.append(
            'there is no control without a network beside these numbers: give --control with '
            'drives of the source, with ground truth'
        )
    if not lines:
        return ''
    return '<ul class="mind">' + ''.join(f'<li>{escape(line)}</li>' for line in lines) + '</ul>'


def _comparisons(results: Results) -> str:
    said = ''.join(f'<li>{escape(describe_comparison(c))}</li>' for c in results.comparisons)
    return (
        f'<div class="pair"><div>{comparison_table(results)}<p class="notes">With the stored '
        'scalars; scale: stored / oracle - 1. Below, paired differences on the same images, with '
        '95 % intervals.</p>'
        f'<ul>{said}</ul></div>'
        + _plot(plots.embedded(plots.scalings(results)), 'AbsRel of every model by scaling')
        + '</div>'
    )


def _against_true(results: Results) -> str:
    first = results.models[0]
    line = first.summary.linearity
    words = '' if line is None else f', Pearson {line.pearson:.3f}'
    bands = band_table(first.summary.bands)
    return (
        '<div class="pair">'
        + _plot(
            plots.embedded(plots.scatter(first)),
            f'Predicted against true depth of {first.candidate.name}{words}',
        )
        + _plot(plots.embedded(plots.by_distance(results, 'abs_rel')), 'AbsRel by true depth')
        + _plot(
            plots.embedded(plots.by_distance(results, 'ratio')),
            'Median predicted / true depth by true depth: below 1 is too near',
        )
        + f'<div>{bands}{region_table(first.summary)}</div></div>'
    )


def _over_time(model: ModelResult, marked: Sequence[tuple[int, str]]) -> str:
    name = model.candidate.name
    return _plot(
        plots.embedded(plots.timeline(model, marked)),
        f'AbsRel of every image, {name}; W worst, B best of the frames below',
        narrow=plots.embedded(plots.timeline(model, marked, plots.NARROW)),
    ) + _plot(
        plots.embedded(plots.scale_over_time(model)),
        f'The scale that each image would have wanted, relative to the stored one, {name}',
        narrow=plots.embedded(plots.scale_over_time(model, plots.NARROW)),
    )


def _frames(model: ModelResult, shown: Sequence[ShownFrame]) -> str:
    if not shown:
        return '<p>None of the frames can be read any more.</p>'
    red, white, blue = (f'rgb({c[2]},{c[1]},{c[0]})' for c in ERROR_COLOURS)
    errors = f'linear-gradient(90deg,{red},{white},{blue})'
    legend = (
        '<p class="notes">Depth: <span class="turbo bar"></span> '
        f'{DEPTHS[0]:g} m to {DEPTHS[1]:g} m, grey unseen. Error: '
        f'<span class="bar" style="background:{errors}"></span> '
        f'{LARGEST_ERROR:.0%} too near to {LARGEST_ERROR:.0%} too far. From above, the camera on '
        'the left; where its mounting height is known, what lies on the road is left out. By '
        'AbsRel over all drives; of neighbours in a drive, the first alone where there are '
        'others.</p>'
    )
    blocks = []
    labels = drive_labels([each.drive for each in model.errors])
    for frame in shown:
        each = model.errors[frame.number]
        what = f'{labels[each.drive]}, frame {each.index}'
        pictures = ''.join(
            f'<figure><img src="{uri}" alt="{escape(f"{title} of {what}")}">'
            f'<figcaption>{title}</figcaption></figure>'
            for title, uri in frame.pictures.items()
        )
        blocks.append(
            f'<div class="frame"><h3>{frame.label}: AbsRel {each.transferred.abs_rel:.3f}, '
            f'{each.oracle_image.abs_rel:.3f} if scaled by its own truth</h3>'
            f'<p class="notes">{escape(what)}</p><div class="pictures">{pictures}</div></div>'
        )
    return legend + '\n'.join(blocks)


def _data(results: Results, command: str) -> str:
    cards = ''.join(
        f'<h3>{escape(result.candidate.name)}</h3><pre>{escape(describe_card(result.candidate.card))}'
        f'\nfile hash         {result.candidate.identity[:16]}</pre>'
        for result in results.models
    )
    control = results.control
    if control is not None:
        cards += f'<p>Control: {escape(control.candidate.scale.source)}.</p>'
    typed = f'<pre>{escape(command)}</pre>' if command else ''
    return (
        f'<p>{escape(results.protocol.describe())}. Scaled depth is clamped to that range, metric '
        "depth to the model's first, as it is published; pixels that the network did not see are "
        'left out and counted.</p>'
        f'{drive_table(results.models[0].summary)}{typed}{cards}'
    )


def _plot(uri: str, caption: str, narrow: str = '') -> str:
    """A plot; on a phone the narrow one, if there is one."""
    text = escape(caption)
    source = f'<source media="screen and (max-width: 30rem)" srcset="{narrow}">' if narrow else ''
    kind = ' class="wide"' if narrow else ''
    return (
        f'<figure{kind}><picture>{source}<img src="{uri}" alt="{text}"></picture>'
        f'<figcaption>{text}</figcaption></figure>'
    )


def _range(interval: Interval, form: str = '.3f') -> str:
    if not math.isfinite(interval.low):
        return ''
    return f'{interval.low:{form}} to {interval.high:{form}}'

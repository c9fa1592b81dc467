# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The page that tells whether one scalar is enough: generated, so that it says what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mono_metric_depth.training.experiments.results import Results

Row = dict[str, Any]

#: What the package promises of a pair of domains.
LARGEST_SCALE_ERROR = 0.05
LARGEST_EXCESS = 0.02

#: Rows of the main table, and what they are.
_MAIN = {
    'mixed': '(a) **mixed and aligned, one scalar**: ours, as in the paper',
    'unaligned': '(b) mixed, field of view not aligned',
    'target_only': "(c) target alone, with a separate source network's scalar",
    'source_only': '(d) source alone, applied to the target',
    'source_supervised': '(g) source-supervised: ours, trained on source depth, too',
    'source_supervision_alone': '(g) source supervision alone',
    'target_supervised': '(f) supervised on the target itself: what could be had with labels',
}

_COMMAND = 'experiments'


def write_page(results: Results, folder: Path) -> None:
    """Write README.md and its figure.

    Args:
        results: What was measured.
        folder: Where to; holds results.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw_results(results, folder / 'scale_errors.png')
    (folder / 'README.md').write_text(page(results))


def page(results: Results) -> str:
    """The page, in Markdown; every number follows from the results."""
    rows = [row for row in results.rows.values() if 'failed' not in row]
    failed = {name: row['failed'] for name, row in results.rows.items() if 'failed' in row}
    parts = [
        _introduction(results.settings, rows),
        _summary(rows),
        '![Scale errors](scale_errors.png)',
        *(_pair(rows, source, target) for source, target in _pairs(rows)),
        _image_scale(rows),
        _heights(rows),
        _pitches(rows),
        _own_mounts(rows),
        _annotated(rows),
        _geometry(rows),
        _continual(rows),
        _advice(rows),
    ]
    if failed:
        lines = '\n'.join(f'- {name}: {why}' for name, why in failed.items())
        parts.append(f'## Trainings that failed\n\n{lines}')
    return '\n\n'.join(part for part in parts if part) + '\n'


def _introduction(settings: dict[str, Any], rows: list[Row]) -> str:
    recipe = settings.get('recipe', {})
    camera = recipe.get('canonical_camera', {})
    seeds = sorted({row['seed'] for row in rows})
    planned, here = settings.get('rows', len(rows)), len(rows)
    missing = f'\n\n**{here} of {planned} rows are measured so far.**' if here < planned else ''
    return f"""\
# Is one scalar enough?

Written by `{_COMMAND}` from [results.json](results.json), which also holds the settings, fixed
before anything was run. Domains are procedural worlds that differ in looks, layout, lens and
speed; test drives have layouts and textures that no training has seen.

Network `{recipe.get('network')}`, {camera.get('width')}x{camera.get('height')} px,
{recipe.get('steps')} steps of {recipe.get('source_batch')} + {recipe.get('target_batch')} images,
learning rate {recipe.get('learning_rate')}: small, so that it can be repeated on two cores;
errors are larger than those of the shipped models, and what is compared is compared at equal cost.
Numbers are means over {_count(seeds, 'seed')}, with the range where there are several.{missing}

*Scale error* is transferred scalar / oracle scalar - 1: the scalar fitted by Theil-Sen on held-out
**source** drives, against the median ratio on the target's own truth; *by medians*: the median
ratio on both sides, so that how far depth is bent does not enter. *Transferred* is AbsRel with
the former, *oracle* with the latter, *per image* with each image's own median ratio (both need the
truth that a robot does not have), *unscaled* as the network gives it. *Spread* is the relative
spread of the per-image ratio. The *control* is no network at all: the median true depth of the
source at each pixel. What does not beat it shows nothing."""


def _summary(rows: list[Row]) -> str:
    lines = []
    for source, target in _pairs(rows):
        for variant, name in (('mixed', 'one scalar'), ('source_supervised', 'source-supervised')):
            found = _of(rows, variant, source, target)
            if not found:
                continue
            good = sum(abs(_scale_error(row)) <= LARGEST_SCALE_ERROR for row in found)
            near = sum(
                _abs_rel(row, 'transferred') <= _abs_rel(row, 'oracle_per_image') + LARGEST_EXCESS
                for row in found
            )
            ahead = sum(_abs_rel(row, 'transferred') < 0.8 * _control(row) for row in found)
            of = len(found)
            lines.append(
                f'| {source} to {target} | {name} | {good} of {of} | {near} of {of} '
                f'| {ahead} of {of} | {_range(map(_scale_error, found), _percent)} '
                f'| {_range(map(_median_error, found), _percent)} |'
            )
    if not lines:
        return ''
    return (
        '## In short\n\n'
        f'Seeds for which the claim holds: scale error within {LARGEST_SCALE_ERROR:.0%}; '
        f'transferred AbsRel at most {LARGEST_EXCESS} above that with every image scaled by its '
        'own truth; transferred AbsRel at most 0.8 times that of the control.\n\n'
        '| domains | recipe | scale | as good as per image | ahead of control | scale error '
        '| by medians |\n|---|---|---|---|---|---|---|\n' + '\n'.join(lines)
    )


def _pair(rows: list[Row], source: str, target: str) -> str:
    lines = []
    for variant, name in _MAIN.items():
        found = _of(rows, variant, source, target)
        if not found:
            continue
        cells = [
            _range(map(_scale_error, found), _percent),
            _range(map(_median_error, found), _percent),
            *(
                _range((_abs_rel(row, kind) for row in found), _three)
                for kind in ('transferred', 'oracle_global', 'oracle_per_image', 'unscaled')
            ),
            *(
                _range((row['target'][name] for row in found), _two)
                for name in ('spread', 'pearson')
            ),
            _range((row['target']['transferred']['delta1'] for row in found), _two),
        ]
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    if not lines:
        return ''
    control = _of(rows, 'mixed', source, target)
    if control:
        c = control[0]['control']
        cells = [
            _percent(c['scale_error']),
            '',
            *(_three(c[kind]['abs_rel']) for kind in ('transferred', 'oracle_global')),
            _three(c['oracle_per_image']['abs_rel']),
            '',
            _two(c['spread']),
            '',
            _two(c['transferred']['delta1']),
        ]
        lines.append('| control without a network | ' + ' | '.join(cells) + ' |')
    law = (
        'Were scale to go with camera height alone, the scale error would be '
        f'{_percent(control[0]["height_law"])}. '
        if control
        else ''
    )
    text = (
        f'## {source.capitalize()} to {target}\n\n'
        '| | scale error | by medians | transferred | oracle | per image | unscaled | spread | r '
        '| delta1 |\n|---|---|---|---|---|---|---|---|---|---|\n' + '\n'.join(lines)
    )
    return (
        f'{text}\n\n{law}(a) uses depth of the source for one number, (g) for training, '
        'too; neither ever sees '
        f'depth of the target. {_controls_found(rows, source, target)}'
    )


def _controls_found(rows: list[Row], source: str, target: str) -> str:
    """Whether what ought to fail does, in words."""
    words = []
    for variant, letter in (('unaligned', '(b)'), ('target_only', '(c)'), ('source_only', '(d)')):
        found = _of(rows, variant, source, target)
        ours = {row['seed']: row for row in _of(rows, 'mixed', source, target)}
        pairs = [(row, ours[row['seed']]) for row in found if row['seed'] in ours]
        if not pairs:
            continue
        off = [abs(_scale_error(row)) > LARGEST_SCALE_ERROR for row, _ in pairs]
        worse = [_abs_rel(a, 'transferred') > _abs_rel(b, 'transferred') for a, b in pairs]
        words.append(
            f'{letter} misses the scale by more than {LARGEST_SCALE_ERROR:.0%} in {sum(off)} of '
            f'{len(off)} and has a larger error than (a) in {sum(worse)} of {len(worse)}'
        )
    return ('As found: ' + '; '.join(words) + '.') if words else ''


def _image_scale(rows: list[Row]) -> str:
    lines = []
    for source, target in _pairs(rows):
        found = [
            row
            for row in _of(rows, 'mixed', source, target)
            if 'image_scale_network' in row['target']
        ]
        if found:
            cells = [
                _range((row['target']['image_scale_network']['abs_rel'] for row in found), _three),
                _range((_abs_rel(row, 'transferred') for row in found), _three),
                _range((_abs_rel(row, 'oracle_per_image') for row in found), _three),
            ]
            worse = sum(
                row['target']['image_scale_network']['abs_rel'] > _abs_rel(row, 'transferred')
                for row in found
            )
            cells.append(f'{worse} of {len(found)}')
            lines.append(f'| {source} to {target} | ' + ' | '.join(cells) + ' |')
    if not lines:
        return ''
    return (
        '## (e) A network that predicts one scale per image\n\n'
        'Trained on the source: from the image and its predicted depth, to the ratio that it '
        'needs. AbsRel on the target:\n\n'
        '| | scale network | one scalar | oracle per image | scale network is worse |\n'
        '|---|---|---|---|---|\n' + '\n'.join(lines)
    )


def _heights(rows: list[Row]) -> str:
    found = _sweep(rows, 'height_')
    if not found:
        return ''
    lines = []
    for height, group in found:
        heights = [row['target']['height'] / row['source']['height'] for row in group]
        errors = [_scale_error(row) for row in group]
        corrected = [(1 + error) * ratio - 1 for error, ratio in zip(errors, heights, strict=True)]
        roads = [row['target']['road'] for row in group if row['target']['road']]
        cells = [
            f'{height} m',
            _range(errors, _percent),
            _range((row['height_law'] for row in group), _percent),
            _range(corrected, _percent),
            _range((road['scale_error'] for road in roads), _percent),
            _range((_abs_rel(row, 'transferred') for row in group), _three),
            _range((road['abs_rel'] for road in roads), _three),
        ]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return (
        '## (h) The target camera at another height\n\n'
        'The source camera stays where it is. *Corrected*: multiplied by the ratio of the two '
        "known mounting heights. *Road plane*: the scalar from the target's own road and its "
        'known mounting height, without any truth of depth.\n\n'
        '| target camera | scale error | height law predicts | corrected | road plane '
        '| AbsRel transferred | AbsRel road plane |\n|---|---|---|---|---|---|---|\n'
        + '\n'.join(lines)
        + f'\n\n{_height_exponent(rows)}'
    )


def _height_exponent(rows: list[Row]) -> str:
    """How the target's oracle scale goes with its camera's height, from the sweep."""
    points = [
        (np.log(row['target']['height'] / row['source']['height']), np.log1p(_scale_error(row)))
        for _, group in _sweep(rows, 'height_')
        for row in group
    ]
    x, y = np.array(points).T
    if np.ptp(x) == 0:
        return ''
    exponent = -np.polyfit(x, y, 1)[0]
    verdict = (
        'the correction by heights helps'
        if exponent > 0.5
        else 'multiplying by the ratio of heights makes things worse'
    )
    return (
        "The target's scale, relative to the source's, goes with height^"
        f'{exponent:.2f} over these trainings (1 would be the height law): {verdict}.'
    )


def _pitches(rows: list[Row]) -> str:
    found = _sweep(rows, 'pitch_')
    if not found:
        return ''
    lines = [
        f'| {float(pitch) * 1e3:+.0f} mrad | {_range(map(_scale_error, group), _percent)} '
        f'| {_range((_abs_rel(row, "transferred") for row in group), _three)} '
        f'| {_range((_abs_rel(row, "oracle_global") for row in group), _three)} |'
        for pitch, group in found
    ]
    level = _of(rows, 'mixed', *_first_pair(rows))
    if level:
        lines.append(
            f'| known and taken out | {_range(map(_scale_error, level), _percent)} '
            f'| {_range((_abs_rel(row, "transferred") for row in level), _three)} '
            f'| {_range((_abs_rel(row, "oracle_global") for row in level), _three)} |'
        )
    return (
        '## (h) The target camera pitched, and nobody knows\n\n'
        'Positive looks down. The source camera looks along the road; no attitude is taken '
        'out.\n\n'
        '| pitch | scale error | AbsRel transferred | AbsRel oracle |\n|---|---|---|---|\n'
        + '\n'.join(lines)
    )


def _own_mounts(rows: list[Row]) -> str:
    source, target = _first_pair(rows)
    unknown = _of(rows, 'own_mounts', source, target)
    levelled = _of(rows, 'own_mounts_levelled', source, target)
    lines = []
    if unknown:
        lines.append(_mount_line('field of view', unknown, _as_transferred))
    if levelled:
        lines.append(_mount_line('and attitude', levelled, _as_transferred))
        lines.append(_mount_line('and height', levelled, lambda row: row['at_one_height']))
        lines.append(
            _mount_line(
                'attitude; scalar of the road plane', levelled, lambda r: r['target']['road']
            )
        )
    lines = [line for line in lines if line]
    if not lines:
        return ''
    covered = sum(_covers(row) for row in levelled)
    return (
        '## (j) Every camera at its own height, pitch and roll\n\n'
        'From 1.2 to 1.8 m in every domain. What the canonical camera takes out:\n\n'
        '| taken out | scale error | AbsRel | spread of the target |\n|---|---|---|---|\n'
        + '\n'.join(lines)
        + (
            "\n\nThe transferred scalar's 95 % interval holds the target's own scalar in "
            f'{covered} of {len(levelled)}: it tells how well the source is known, not how far '
            'the target is off.'
            if levelled
            else ''
        )
    )


def _as_transferred(row: Row) -> Row:
    target = row['target']
    return {
        **target['transferred'],
        'scale_error': target['scale_error'],
        'spread': target['spread'],
    }


def _mount_line(name: str, rows: list[Row], part: Callable[[Row], Row | None]) -> str:
    parts = [found for row in rows if (found := part(row))]
    if not parts:
        return ''
    cells = [
        _range((found['scale_error'] for found in parts), _percent),
        _range((found['abs_rel'] for found in parts), _three),
        _range((found['spread'] for found in parts), _two),
    ]
    return f'| {name} | ' + ' | '.join(cells) + ' |'


def _covers(row: Row) -> bool:
    scale, own = row['scale'], row['target']['own_scale']
    return bool(scale['low'] <= own['value'] <= scale['high'])


def _annotated(rows: list[Row]) -> str:
    found = [row for row in rows if row['variant'] == 'mixed']
    counts = sorted({part['images'] for row in found for part in row['annotated']})
    lines = []
    for count in counts:
        parts = [part for row in found for part in row['annotated'] if part['images'] == count]
        widths = [(part['high'] - part['low']) / part['value'] for part in parts]
        errors = [abs(part['scale_error']) for part in parts]
        lines.append(f'| {count} | {np.mean(widths):.1%} | {np.mean(errors):.1%} |')
    if not lines:
        return ''
    return (
        '## (i) How many annotated source images\n\n'
        f'Mean over {_count(found, "training")} of (a), of all pairs and seeds.\n\n'
        '| images | width of the 95 % interval | size of the scale error on the target |\n'
        '|---|---|---|\n' + '\n'.join(lines)
    )


def _geometry(rows: list[Row]) -> str:
    source, target = _first_pair(rows)
    without = {row['seed']: row for row in _of(rows, 'mixed', source, target)}
    pairs = [
        (without[row['seed']], row)
        for row in _of(rows, 'geometry', source, target)
        if row['seed'] in without
    ]
    if not pairs:
        return ''
    lines = [
        f'| {name} | {_range((row["target"]["spread"] for row in group), _three)} '
        f'| {_range((row["source"]["spread"] for row in group), _three)} '
        f'| {_range((_abs_rel(row, "transferred") for row in group), _three)} |'
        for name, group in zip(('without', 'with'), zip(*pairs, strict=True), strict=True)
    ]
    lower = sum(b['target']['spread'] < a['target']['spread'] for a, b in pairs)
    return (
        '## Consistency of depth between frames\n\n'
        f'{source.capitalize()} to {target}, with and without the geometry consistency loss: the '
        f'spread on the target falls in {lower} of {_count(pairs, "seed")}.\n\n'
        '| | spread of the target | spread of the source | AbsRel transferred |\n'
        '|---|---|---|---|\n' + '\n'.join(lines)
    )


def _continual(rows: list[Row]) -> str:
    names = {
        'continual_before': 'third domain, before',
        'continual': 'third domain, after',
        'continual_without_replay': 'third domain, after, without replay',
        'continual_kept': 'second domain, after',
        'continual_without_replay_kept': 'second domain, after, without replay',
    }
    lines = []
    for variant, name in names.items():
        found = [row for row in rows if row['variant'] == variant]
        if found:
            lines.append(
                f'| {name} ({found[0]["target"]["name"]}) '
                f'| {_range(map(_scale_error, found), _percent)} '
                f'| {_range((_abs_rel(row, "transferred") for row in found), _three)} '
                f'| {_range((_abs_rel(row, "oracle_global") for row in found), _three)} |'
            )
    if not lines:
        return ''
    return (
        '## (k) On to a third domain, without labels\n\n'
        'From (a), trained on with the images of a third domain in place of the second; with a '
        'quarter of the target half replayed from the second, or without.\n\n'
        '| tested on | scale error | AbsRel transferred | AbsRel oracle |\n|---|---|---|---|\n'
        + '\n'.join(lines)
    )


def _advice(rows: list[Row]) -> str:
    main = [row for row in rows if row['variant'] in ('mixed', 'source_supervised')]
    if not main:
        return ''
    worst = max(main, key=lambda row: abs(_scale_error(row)))
    return (
        '## Before you trust metres on your robot\n\n'
        f'- The largest scale error above, at equal camera height, is '
        f'{_percent(_scale_error(worst))} ({" to ".join(_names(worst))}, '
        f'{worst["variant"].replace("_", "-")}, seed {worst["seed"]}). Nothing in the loss ties '
        'the two domains to one scale: that it comes near is an observation, to be made again '
        'for every pair.\n'
        '- Give the mounting height, pitch and roll of your camera, and let `fit_scale` compare '
        'the stored scalar with the road plane over many frames: it needs no truth.\n'
        '- Measure one thing whose distance you know. One scalar has one error: what is right at '
        '10 m is right elsewhere, up to the bends by distance that `fit_scale` shows.\n'
        '- The interval beside the scalar is that of the source. It says nothing about the step '
        'to the target.'
    )


def draw_results(results: Results, path: Path) -> None:
    """Draw the scale errors of every row of the main table, and the sweep over heights."""
    from matplotlib.figure import Figure

    rows = [row for row in results.rows.values() if 'failed' not in row]
    figure = Figure(figsize=(10, 7.2), layout='constrained')
    errors_axes, abs_axes, height_axes, band_axes = figure.subplots(2, 2).ravel()
    variants = [name for name in _MAIN if any(row['variant'] == name for row in rows)]
    labels = [name.replace('_', ' ') for name in variants]
    for number, (source, target) in enumerate(_pairs(rows)):
        shift, colour = 0.2 * (number - 1), f'C{number}'
        for axes, value, factor in (
            (errors_axes, _scale_error, 100),
            (abs_axes, _transferred, 1),
        ):
            points = [
                (place + shift, factor * value(row))
                for place, variant in enumerate(variants)
                for row in _of(rows, variant, source, target)
            ]
            if points:
                label = f'{source} to {target}'
                axes.plot(*zip(*points, strict=True), 'o', ms=4, color=colour, label=label)
        control = _of(rows, 'mixed', source, target)
        if control:
            abs_axes.axhline(_control(control[0]), color=colour, ls=':', lw=1)
    errors_axes.axhspan(
        -100 * LARGEST_SCALE_ERROR, 100 * LARGEST_SCALE_ERROR, color='0.9', zorder=0
    )
    errors_axes.set_ylabel('scale error (%)')
    abs_axes.set_ylabel('AbsRel, transferred (dotted: control)')
    for axes in (errors_axes, abs_axes):
        axes.set_xticks(range(len(variants)), labels, rotation=30, ha='right', fontsize=8)
    if variants:
        errors_axes.legend(fontsize=8)
    _draw_heights(height_axes, rows)
    _draw_bands(band_axes, rows)
    figure.savefig(path, dpi=110, metadata={'Software': None})


def _draw_heights(axes: Any, rows: list[Row]) -> None:
    source, target = _first_pair(rows)
    points = [row for _, group in _sweep(rows, 'height_') for row in group]
    points += _of(rows, 'mixed', source, target)
    axes.plot(
        [row['target']['height'] for row in points],
        [100 * _scale_error(row) for row in points],
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
    source, target = _first_pair(rows)
    for number, variant in enumerate(('mixed', 'source_supervised', 'target_supervised')):
        for row in _of(rows, variant, source, target):
            bands = row['target']['bands']
            axes.plot(
                [(band['nearest'] + band['furthest']) / 2 for band in bands],
                [band['ratio'] for band in bands],
                'o-',
                ms=3,
                lw=1,
                color=f'C{number}',
                label=variant.replace('_', ' ') if row['seed'] == 0 else '_',
            )
    axes.axhline(1, color='0.5', lw=1)
    axes.set_xlabel(f'true depth (m), {source} to {target}')
    axes.set_ylabel('predicted / true, transferred')
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _pairs(rows: list[Row]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for row in rows:
        pair = _names(row)
        if row['variant'] in _MAIN and pair not in pairs:
            pairs.append(pair)
    return pairs


def _names(row: Row) -> tuple[str, str]:
    return row['source']['name'], row['target']['name']


def _first_pair(rows: list[Row]) -> tuple[str, str]:
    """The pair that the sweeps are made with."""
    for row in rows:
        if row['variant'] == 'geometry' or row['variant'].startswith('height_'):
            return _names(row)
    return _pairs(rows)[0] if _pairs(rows) else ('', '')


def _of(rows: list[Row], variant: str, source: str, target: str) -> list[Row]:
    return [row for row in rows if row['variant'] == variant and _names(row) == (source, target)]


def _sweep(rows: list[Row], prefix: str) -> list[tuple[str, list[Row]]]:
    """Rows of a sweep by its value, in rising order."""
    values = {
        row['variant'].removeprefix(prefix) for row in rows if row['variant'].startswith(prefix)
    }
    return [
        (value, [row for row in rows if row['variant'] == f'{prefix}{value}'])
        for value in sorted(values, key=float)
    ]


def _scale_error(row: Row) -> float:
    return float(row['target']['scale_error'])


def _median_error(row: Row) -> float:
    return float(row['target']['transferred_median']['scale_error'])


def _abs_rel(row: Row, kind: str) -> float:
    return float(row['target'][kind]['abs_rel'])


def _transferred(row: Row) -> float:
    return _abs_rel(row, 'transferred')


def _control(row: Row) -> float:
    return float(row['control']['transferred']['abs_rel'])


def _range(values: Iterable[float], text: Callable[[float], str]) -> str:
    """Mean, and the range where there are several."""
    found = list(values)
    if not found:
        return ''
    if len(found) == 1:
        return text(found[0])
    return f'{text(float(np.mean(found)))} ({text(min(found))} .. {text(max(found))})'


def _percent(value: float) -> str:
    return f'{value:+.1%}'.replace('%', ' %')


def _two(value: float) -> str:
    return f'{value:.2f}'


def _three(value: float) -> str:
    return f'{value:.3f}'


def _count(items: Sequence[Any], noun: str) -> str:
    return f'{len(items)} {noun}' + ('' if len(items) == 1 else 's')

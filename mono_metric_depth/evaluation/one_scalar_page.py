# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The page that tells whether one scalar is enough: generated, so that it says what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mono_metric_depth.evaluation.one_scalar_figure import draw_results
from mono_metric_depth.evaluation.one_scalar_rows import (
    LARGEST_EXCESS,
    LARGEST_SCALE_ERROR,
    MAIN,
    Row,
    abs_rel,
    control_abs_rel,
    counted,
    covers,
    domains,
    pairs_of,
    percent,
    ranged,
    rows_of,
    scale_error,
    theil_sen_error,
    three,
    two,
)
from mono_metric_depth.evaluation.one_scalar_studies import studies
from mono_metric_depth.training.experiments.results import Results

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
        *(_pair(rows, source, target) for source, target in pairs_of(rows)),
        _why_controls_pass(rows),
        _image_scale(rows),
        *studies(rows),
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
    code = ', '.join(sorted({row['code'] for row in rows}))
    return f"""\
# Is one scalar enough?

Written by `{_COMMAND}` from [results.json](results.json), which also holds the settings, fixed
before anything was run. Domains are procedural worlds that differ in looks, layout, lens and
speed; test drives have layouts and textures that no training has seen.

Network `{recipe.get('network')}`, {camera.get('width')}x{camera.get('height')} px,
{recipe.get('steps')} steps of {recipe.get('source_batch')} + {recipe.get('target_batch')} images,
learning rate {recipe.get('learning_rate')}: small, so that it can be repeated on two cores;
errors are larger than those of the shipped models, and what is compared is compared at equal cost.
Trained by the code of {code}.
Numbers are means over {counted(seeds, 'seed')}, with the range where there are several.{missing}

*Scale error* is transferred scalar / oracle scalar - 1: the median ratio of true and predicted
depth on held-out **source** drives, against that on the target's own truth. *Theil-Sen*: the same
with the paper's estimator on the source. *Transferred* is AbsRel with the former scalar,
*by Theil-Sen* with the latter, *oracle* with the target's, *per image* with each image's own (both
need the truth that a robot does not have), *unscaled* as the network gives it. *Spread* is the
relative spread of the per-image ratio. The *control* is no network at all: the median true depth
of the source at each pixel. What does not beat it shows nothing."""


def _summary(rows: list[Row]) -> str:
    lines = []
    for source, target in pairs_of(rows):
        for variant, name in (('mixed', 'one scalar'), ('source_supervised', 'source-supervised')):
            found = rows_of(rows, variant, source, target)
            if not found:
                continue
            good = sum(abs(scale_error(row)) <= LARGEST_SCALE_ERROR for row in found)
            near = sum(
                abs_rel(row, 'transferred') <= abs_rel(row, 'oracle_per_image') + LARGEST_EXCESS
                for row in found
            )
            ahead = sum(abs_rel(row, 'transferred') < 0.8 * control_abs_rel(row) for row in found)
            of = len(found)
            lines.append(
                f'| {source} to {target} | {name} | {good} of {of} | {near} of {of} '
                f'| {ahead} of {of} | {ranged(map(scale_error, found), percent)} '
                f'| {ranged(map(theil_sen_error, found), percent)} |'
            )
    if not lines:
        return ''
    return (
        '## In short\n\n'
        f'Seeds for which the claim holds: scale error within {LARGEST_SCALE_ERROR:.0%}; '
        f'transferred AbsRel at most {LARGEST_EXCESS} above that with every image scaled by its '
        'own truth; transferred AbsRel at most 0.8 times that of the control.\n\n'
        '| domains | recipe | scale | as good as per image | ahead of control | scale error '
        '| Theil-Sen |\n|---|---|---|---|---|---|---|\n'
        + '\n'.join(lines)
        + _estimators(rows)
        + _intervals(rows)
    )


def _estimators(rows: list[Row]) -> str:
    """Where the package departs from the paper, and whether later seeds bear it out."""
    mixed = [row for row in rows if row['variant'] == 'mixed']
    first = min(row['seed'] for row in mixed) if mixed else 0
    words = []
    for seeds, found in (
        ('the first seed', [row for row in mixed if row['seed'] == first]),
        ('the others', [row for row in mixed if row['seed'] != first]),
    ):
        if found:
            ours, paper = (
                float(np.mean([abs(error(row)) for row in found]))
                for error in (scale_error, theil_sen_error)
            )
            words.append(f'{ours:.1%} against {paper:.1%} on {seeds}')
    if not words:
        return ''
    return (
        '\n\nHere we depart from the paper, which fits its scalar by Theil-Sen. Depth of far '
        'things is compressed, in one domain more than in the other, and bends a slope through '
        'all pixels; the median ratio is bent less. Mean size of the scale error of one scalar, '
        f'medians against Theil-Sen: {"; ".join(words)}. Medians were chosen on the first seed: '
        'the others test that choice.'
    )


def _intervals(rows: list[Row]) -> str:
    """Whether the interval beside the scalar says how far the target is off."""
    words = []
    for variant, letter in (('mixed', '(a)'), ('source_supervised', '(g)')):
        found = [row for row in rows if row['variant'] == variant]
        if found:
            held = sum(covers(row['scale'], row['target']['own_scale']) for row in found)
            sizes = [abs(scale_error(row)) for row in found]
            words.append(
                f'in {held} of {counted(found, "training")} of {letter}, whose scalars are '
                f'{np.mean(sizes):.1%} off on average, {max(sizes):.1%} at most'
            )
    if not words:
        return ''
    return (
        "\n\nThe 95 % interval of the source's scalar holds the target's own scalar "
        f'{"; ".join(words)}. It tells how well the source is known, not the step to the target.'
    )


def _pair(rows: list[Row], source: str, target: str) -> str:
    lines = []
    for variant, name in MAIN.items():
        found = rows_of(rows, variant, source, target)
        if not found:
            continue
        cells = [
            ranged(map(scale_error, found), percent),
            ranged(map(theil_sen_error, found), percent),
            *(
                ranged((abs_rel(row, kind) for row in found), three)
                for kind in (
                    *('transferred', 'theil_sen'),
                    *('oracle_global', 'oracle_per_image', 'unscaled'),
                )
            ),
            *(
                ranged((row['target'][name] for row in found), two)
                for name in ('spread', 'pearson')
            ),
            ranged((row['target']['transferred']['delta1'] for row in found), two),
        ]
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    if not lines:
        return ''
    control = rows_of(rows, 'mixed', source, target)
    if control:
        c = control[0]['control']
        cells = [
            percent(c['scale_error']),
            '',
            three(c['transferred']['abs_rel']),
            '',
            *(three(c[kind]['abs_rel']) for kind in ('oracle_global', 'oracle_per_image')),
            '',
            two(c['spread']),
            '',
            two(c['transferred']['delta1']),
        ]
        lines.append('| control without a network | ' + ' | '.join(cells) + ' |')
    law = (
        'Were scale to go with camera height alone, the scale error would be '
        f'{percent(control[0]["height_law"])}. '
        if control
        else ''
    )
    text = (
        f'## {source.capitalize()} to {target}\n\n'
        '| | scale error | Theil-Sen | transferred | by Theil-Sen | oracle | per image | unscaled '
        '| spread | r | delta1 |\n|---|---|---|---|---|---|---|---|---|---|---|\n'
        + '\n'.join(lines)
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
        found = rows_of(rows, variant, source, target)
        ours = {row['seed']: row for row in rows_of(rows, 'mixed', source, target)}
        pairs = [(row, ours[row['seed']]) for row in found if row['seed'] in ours]
        if not pairs:
            continue
        off = [abs(scale_error(row)) > LARGEST_SCALE_ERROR for row, _ in pairs]
        worse = [abs_rel(a, 'transferred') > abs_rel(b, 'transferred') for a, b in pairs]
        words.append(
            f'{letter} misses the scale by more than {LARGEST_SCALE_ERROR:.0%} in {sum(off)} of '
            f'{len(off)} and has a larger error than (a) in {sum(worse)} of {len(worse)}'
        )
    return ('As found: ' + '; '.join(words) + '.') if words else ''


def _why_controls_pass(rows: list[Row]) -> str:
    """What keeps a control from failing, with the numbers that show it."""
    scalars: dict[str, list[float]] = {}
    for row in rows:
        if row['variant'] == 'target_only':
            own = row['target']['own_scale']['value']
            scalars.setdefault(row['target']['name'], []).append(own)
    applied = {
        (row['seed'], *domains(row)): row for row in rows if row['variant'] == 'source_only'
    }
    ours = {(row['seed'], *domains(row)): row for row in rows if row['variant'] == 'mixed'}
    both = [(applied[key], ours[key]) for key in applied.keys() & ours.keys()]
    if not scalars or not both:
        return ''
    each = '; '.join(f'{name} {ranged(sorted(found), two)}' for name, found in scalars.items())
    held = sum(abs(scale_error(row)) <= LARGEST_SCALE_ERROR for row, _ in both)
    excess = np.mean([abs_rel(a, 'transferred') / abs_rel(b, 'transferred') for a, b in both])
    return (
        '## Where a control does not fail\n\n'
        f'(c) Metres for a unit of a network trained on one domain alone: {each}. A scalar is its '
        "training's: where two trainings come out alike, the one's serves the other by accident.\n"
        '\n'
        '(d) Both cameras are equally high and brought into one canonical camera, and the road is '
        'alike: a network keeps its scale on images that it was not trained on in '
        f'{held} of {len(both)} trainings. What it loses is depth: its AbsRel is '
        f'{excess:.2f} times that of (a).'
    )


def _image_scale(rows: list[Row]) -> str:
    lines = []
    for source, target in pairs_of(rows):
        found = [
            row
            for row in rows_of(rows, 'mixed', source, target)
            if 'image_scale_network' in row['target']
        ]
        if found:
            cells = [
                ranged(
                    (row['target']['image_scale_network']['abs_rel'] for row in found),
                    three,
                ),
                ranged((abs_rel(row, 'transferred') for row in found), three),
                ranged((abs_rel(row, 'oracle_per_image') for row in found), three),
            ]
            worse = sum(
                row['target']['image_scale_network']['abs_rel'] > abs_rel(row, 'transferred')
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


def _advice(rows: list[Row]) -> str:
    main = [row for row in rows if row['variant'] in ('mixed', 'source_supervised')]
    if not main:
        return ''
    worst = max(main, key=lambda row: abs(scale_error(row)))
    return (
        '## Before you trust metres on your robot\n\n'
        f'- The largest scale error above, at equal camera height, is '
        f'{percent(scale_error(worst))} ({" to ".join(domains(worst))}, '
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

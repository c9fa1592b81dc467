# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The page that tells whether one scalar is enough: generated, so that it says what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mono_metric_depth.evaluation.one_scalar_figure import draw_results
from mono_metric_depth.evaluation.one_scalar_rows import (
    CONTROLS,
    LARGEST_SCALE_ERROR,
    MAIN,
    Row,
    abs_rel,
    control_abs_rel,
    control_scale_error,
    counted,
    domains,
    mean,
    pairs_of,
    percent,
    ranged,
    rows_of,
    scale_error,
    size,
    theil_sen_error,
    three,
    two,
    within,
)
from mono_metric_depth.evaluation.one_scalar_studies import studies
from mono_metric_depth.evaluation.one_scalar_verdicts import advice, summary, verdicts
from mono_metric_depth.training.experiments.results import Results, ResultsError

_COMMAND = 'experiments'
_SCALINGS = ('transferred', 'oracle_global', 'oracle_per_image', 'unscaled')
_SHAPE = ('spread', 'pearson', 'gain', 'offset')


def write_page(results: Results, folder: Path) -> None:
    """Write README.md and its figure.

    Args:
        results: What was measured.
        folder: Where to; holds results.json.

    Raises:
        ResultsError: If a row lacks what the page tells.
    """
    if not results.rows:
        msg = f'{folder / "results.json"} holds no rows; run experiments without --page first'
        raise ResultsError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        text = page(results)
        draw_results(results, folder / 'scale_errors.png')
    except (KeyError, TypeError) as err:
        msg = (
            f'{folder / "results.json"}: a row is not as this version measures it ({err!r}); run '
            'experiments without --page, which measures such rows again, or with another --output'
        )
        raise ResultsError(msg) from err
    (folder / 'README.md').write_text(text)


def page(results: Results) -> str:
    """The page, in Markdown; every number follows from the results."""
    rows = [row for row in results.rows.values() if 'failed' not in row]
    failed = [row for row in results.rows.values() if 'failed' in row]
    parts = [
        _introduction(results.settings, rows, len(failed)),
        verdicts(rows, failed),
        summary(rows, failed),
        '![Scale errors](scale_errors.png)',
        *(_pair(rows, source, target) for source, target in pairs_of(rows)),
        _why_controls_pass(rows),
        _image_scale(rows),
        *studies(rows),
        advice(rows),
        _everything(rows),
    ]
    if failed:
        lines = '\n'.join(
            f'- {name}: {row["failed"]}' for name, row in results.rows.items() if row in failed
        )
        parts.append(f'## Trainings that failed\n\n{lines}')
    return '\n\n'.join(part for part in parts if part) + '\n'


def _introduction(settings: dict[str, Any], rows: list[Row], failed: int) -> str:
    recipe = settings.get('recipe', {})
    camera = recipe.get('canonical_camera', {})
    seeds = sorted({row['seed'] for row in rows})
    here = len(rows) + failed
    planned = settings.get('rows', here)
    missing = f'\n\n**{here} of {planned} rows are done so far.**' if here < planned else ''
    if failed:
        missing += f'\n\n**{failed} of {here} failed: their trainings are named at the end.**'
    code = ', '.join(sorted({row['code'] for row in rows}))
    return f"""\
# Is one scalar enough?

Written by `{_COMMAND}` from [results.json](results.json), which also holds the settings. The
same drives, seeds and stopping time hold for every row, and no row was chosen by its outcome; what
was changed on the way, and why, is said at the top of config/experiments.yaml. Domains are
procedural worlds that differ in looks, layout, lens and speed; test drives have layouts and
textures that no training has seen.

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
    for variant, name in CONTROLS.items():
        found = rows_of(rows, variant, source, target)
        ours = {row['seed']: row for row in rows_of(rows, 'mixed', source, target)}
        pairs = [(row, ours[row['seed']]) for row in found if row['seed'] in ours]
        if not pairs:
            continue
        off = [not within(row) for row, _ in pairs]
        worse = [abs_rel(a, 'transferred') > abs_rel(b, 'transferred') for a, b in pairs]
        words.append(
            f'{name[:3]} misses the scale by more than {size(LARGEST_SCALE_ERROR)} in '
            f'{sum(off)} of {len(off)} and has a larger error than (a) in '
            f'{sum(worse)} of {len(worse)}'
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
    held = sum(within(row) for row, _ in both)
    excess = mean(abs_rel(a, 'transferred') / abs_rel(b, 'transferred') for a, b in both)
    return (
        '## Where a control does not fail\n\n'
        f'(c) Metres for a unit of a network trained on one domain alone: {each}. A scalar is its '
        "training's: where two trainings come out alike, the one's serves the other by accident.\n"
        '\n'
        '(d) Both cameras are equally high and brought into one canonical camera, and the road is '
        'alike: a network keeps its scale on images that it was not trained on in '
        f'{held} of {len(both)} trainings. Its AbsRel is {excess:.2f} times that of (a).'
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


def _everything(rows: list[Row]) -> str:
    """Every variant and pair with all scalings, beside the control and the height law."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((*domains(row), row['variant']), []).append(row)
    lines = []
    for (source, target, variant), found in groups.items():
        cells = [
            percent(mean(map(scale_error, found))),
            percent(mean(row['height_law'] for row in found)),
            *(three(mean(abs_rel(row, kind) for row in found)) for kind in _SCALINGS),
            three(mean(map(control_abs_rel, found))),
            percent(mean(map(control_scale_error, found))),
            *(three(mean(row['target'][name] for row in found)) for name in _SHAPE),
        ]
        lines.append(f'| {source} to {target}, {variant} | ' + ' | '.join(cells) + ' |')
    if not lines:
        return ''
    return (
        '## Everything\n\n'
        'Mean over seeds: scale error, what the height law predicts of it, AbsRel with the four '
        'scalings and of the control without a network, with its scale error, spread over '
        'images, and linearity of '
        'depth (Pearson; transferred = gain x true + offset in metres).\n\n'
        '| | scale error | height law | transferred | oracle | per image | unscaled | control '
        '| its scale error | spread | r | gain | offset |\n'
        '|---|---|---|---|---|---|---|---|---|---|---|---|---|\n' + '\n'.join(lines)
    )

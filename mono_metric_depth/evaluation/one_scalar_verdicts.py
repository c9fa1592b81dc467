# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What the page on the one scalar concludes: what holds, what does not, what to check."""

from __future__ import annotations

from mono_metric_depth.evaluation.one_scalar_rows import (
    CONTROLS,
    LARGEST_EXCESS,
    LARGEST_SCALE_ERROR,
    Row,
    abs_rel,
    band_ratios,
    control_abs_rel,
    control_scale_error,
    counted,
    covers,
    domains,
    mean,
    mrad,
    pairs_of,
    percent,
    ranged,
    rows_of,
    scale_error,
    size,
    sweep,
    theil_sen_error,
    three,
    two,
    width,
    within,
)
from mono_metric_depth.linearity import LARGEST_BEND

_NEAR = (5, 20)  # m


def verdicts(rows: list[Row], failed: list[Row]) -> str:
    """What holds, and what does not, in plain words; a training that failed holds nothing."""
    lines = []
    for variant, name in (
        ('mixed', '(a), one scalar, trained as in the paper'),
        ('source_supervised', '(g), trained by depth of the source as well'),
    ):
        groups = {pair: rows_of(rows, variant, *pair) for pair in pairs_of(rows + failed)}
        lost = {pair: len(rows_of(failed, variant, *pair)) for pair in groups}
        groups = {pair: found for pair, found in groups.items() if found or lost[pair]}
        missed = {
            pair: found
            for pair, found in groups.items()
            if lost[pair] or not all(map(within, found))
        }
        if not groups:
            continue
        line = (
            f'- **{name}**: the scale of the target is within {size(LARGEST_SCALE_ERROR)} with '
            f'every seed in {len(groups) - len(missed)} of {counted(list(groups), "pair")} of '
            'domains'
        )
        for (source, target), found in missed.items():
            good = sum(map(within, found))
            errors = ranged(map(scale_error, found), percent) or 'all trainings failed'
            of = len(found) + lost[source, target]
            line += f'; from {source} to {target} with {good} of {of}: {errors}'
        lines.append(f'{line}.')
        lines += [_one_line(*pair, found) for pair, found in missed.items() if found]
    controls = []
    for variant, name in CONTROLS.items():
        found = [row for row in rows if row['variant'] == variant]
        if found:
            off = len(found) - sum(map(within, found))
            controls.append(f'{name} in {off} of {len(found)}')
    if controls:
        lines.append(
            f'- **Without one of its parts** it misses the scale by more than '
            f'{size(LARGEST_SCALE_ERROR)}: {"; ".join(controls)}. Errors of depth are told below, '
            'pair by pair, and why some controls keep the scale.'
        )
    more = (_control(rows), _image_scale(rows), _linear(rows), _geometry(rows), _own_mounts(rows))
    lines += [line for line in more if line]
    return '## What holds, and what does not\n\n' + '\n'.join(lines) if lines else ''


def _one_line(source: str, target: str, rows: list[Row]) -> str:
    """Whether both domains share one line of predicted over true depth, as the paper has it."""
    source_ratio, target_ratio = (_near_ratio(rows, part) for part in ('source', 'target'))
    apart = abs(target_ratio / source_ratio - 1) > LARGEST_SCALE_ERROR
    verdict = (
        'the two do not share one line, though the paper says that they do'
        if apart
        else 'the two share one line there, and the scale is lost further away'
    )
    return (
        f'- **From {source} to {target}**, at {_NEAR[0]} to {_NEAR[1]} m predicted '
        f'depth is {two(source_ratio)} times the true one on the source and '
        f'{two(target_ratio)} times on the target: {verdict}.'
    )


def _near_ratio(rows: list[Row], part: str) -> float:
    """Predicted over true depth where it is near, mean over bands of distance and trainings."""
    nearest, furthest = _NEAR
    return mean(
        ratio
        for (start, end), found in band_ratios(rows, part).items()
        if start >= nearest and end <= furthest
        for ratio in found
    )


def _control(rows: list[Row]) -> str:
    """Where scale alone shows nothing."""
    errors = [
        f'{percent(mean(map(control_scale_error, found)))} from {source} to {target}'
        for source, target in pairs_of(rows)
        if (found := rows_of(rows, 'mixed', source, target))
    ]
    if not errors:
        return ''
    return (
        f'- **The control without a network** is off in scale by {"; ".join(errors)}. Where that '
        'is little, the two domains are alike in depth, and the right scale alone shows nothing: '
        'look at AbsRel there.'
    )


def _image_scale(rows: list[Row]) -> str:
    """Whether one scalar does better than a network of image scales, as the paper has it."""
    pairs: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row['variant'] == 'mixed' and 'image_scale_network' in row['target']:
            network = row['target']['image_scale_network']['abs_rel']
            found = pairs.setdefault(' to '.join(domains(row)), [])
            found.append((network, abs_rel(row, 'transferred')))
    if not pairs:
        return ''
    each = '; '.join(
        f'{pair} in {sum(network > scalar for network, scalar in found)} of {len(found)} '
        f'({" against ".join(three(mean(values)) for values in zip(*found, strict=True))})'
        for pair, found in pairs.items()
    )
    return (
        '- **(e), a network that predicts one scale per image**, which the paper compares with, '
        f'has a larger error than the one scalar: {each}.'
    )


def _linear(rows: list[Row]) -> str:
    """How far depth is linear in true depth on the target."""
    ratios = band_ratios((row for row in rows if row['variant'] == 'mixed'), 'target')
    if not ratios:
        return ''
    means = {limits: mean(found) for limits, found in ratios.items()}
    straight, bent = (
        ', '.join(
            f'{near:g} to {far:g} m ({two(ratio)})'
            for (near, far), ratio in means.items()
            if (abs(ratio - 1) <= LARGEST_BEND) == holds
        )
        for holds in (True, False)
    )
    line = (
        '- **Depth proportional to true depth**, as the paper has it: predicted over true depth '
        f'of (a) on the target, by the transferred scalar, is within {size(LARGEST_BEND)} of 1 '
        f'at {straight or "no distance"}'
    )
    return f'{line}, and not at {bent}.' if bent else f'{line}.'


def _geometry(rows: list[Row]) -> str:
    """What cameras that are mounted otherwise do to the scale."""
    words = []
    for prefix, name in (
        ('height_', '(h) at another height'),
        ('pitch_', 'at a pitch that nobody knows'),
        ('known_pitch_', 'at one that is known and taken out (network of (a))'),
    ):
        errors = [
            f'{percent(mean(map(scale_error, group)))} at '
            + (f'{value} m' if prefix == 'height_' else mrad(value))
            for value, group in sweep(rows, prefix)
        ]
        if errors:
            words.append(f'{name} {", ".join(errors)}')
    if not words:
        return ''
    name = "A camera mounted otherwise than the source's"
    return f'- **{name}** has another scale: {"; ".join(words)}.'


def _own_mounts(rows: list[Row]) -> str:
    """What cameras do that are mounted differently within each domain, attitude taken out."""
    words = []
    for variant, letter in (
        ('own_mounts_levelled', '(a)'),
        ('own_mounts_source_supervised', '(g)'),
    ):
        found = [row for row in rows if row['variant'] == variant]
        if found:
            held = sum(covers(row['scale'], row['target']['own_scale']) for row in found)
            wide = size(mean(width(row['scale']) for row in found))
            words.append(
                f'the scalar of {letter} is off by {ranged(map(scale_error, found), percent)}, '
                f"and its interval, {wide} wide, holds the target's own in {held} of {len(found)}"
            )
    if not words:
        return ''
    return f'- **(j) Every camera at a height of its own**, in both domains: {"; ".join(words)}.'


def summary(rows: list[Row], failed: list[Row]) -> str:
    """Seeds for which the claim holds, by pair of domains, and how sure the scalar is."""
    lines = []
    for source, target in pairs_of(rows):
        for variant, name in (('mixed', 'one scalar'), ('source_supervised', 'source-supervised')):
            found = rows_of(rows, variant, source, target)
            if not found:
                continue
            good = sum(map(within, found))
            near = sum(
                abs_rel(row, 'transferred') <= abs_rel(row, 'oracle_per_image') + LARGEST_EXCESS
                for row in found
            )
            ahead = sum(abs_rel(row, 'transferred') < 0.8 * control_abs_rel(row) for row in found)
            of = len(found) + len(rows_of(failed, variant, source, target))
            lines.append(
                f'| {source} to {target} | {name} | {good} of {of} | {near} of {of} '
                f'| {ahead} of {of} | {ranged(map(scale_error, found), percent)} '
                f'| {ranged(map(theil_sen_error, found), percent)} |'
            )
    if not lines:
        return ''
    return (
        '## Seeds for which it holds\n\n'
        f'Scale error within {size(LARGEST_SCALE_ERROR)}; '
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
                mean(abs(error(row)) for row in found) for error in (scale_error, theil_sen_error)
            )
            words.append(f'{size(ours)} against {size(paper)} on {seeds}')
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
                f'{size(mean(sizes))} off on average, {size(max(sizes))} at most'
            )
    if not words:
        return ''
    return (
        "\n\nThe 95 % interval of the source's scalar holds the target's own scalar "
        f'{"; ".join(words)}. It tells how well the source is known, not the step to the target.'
    )


def advice(rows: list[Row]) -> str:
    """What to check before trusting metres."""
    main = [row for row in rows if row['variant'] in ('mixed', 'source_supervised')]
    if not main:
        return ''
    worst = max(main, key=lambda row: abs(scale_error(row)))
    return (
        '## Before you trust metres on your robot\n\n'
        '- The largest scale error of (a) and (g), at equal camera height and on the domains of '
        'their training, is '
        f'{percent(scale_error(worst))} ({" to ".join(domains(worst))}, '
        f'{worst["variant"].replace("_", "-")}, seed {worst["seed"]}). Nothing in the loss ties '
        'the two domains to one scale: that it comes near is an observation, to be made again '
        'for every pair.\n'
        '- Give the mounting height, pitch and roll of your camera, and let `fit_scale` compare '
        'the stored scalar with the road plane over many frames: it needs no truth. A '
        'disagreement asks for the next check; it does not say which of the two is wrong.\n'
        '- Measure things whose distance you know, as near and as far as you need metres: one '
        'scalar does not mend depth that bends. `evaluate` tells errors by distance, `fit_scale` '
        'the bend.\n'
        '- The interval beside the scalar is that of the source. It says nothing about the step '
        'to the target.'
    )

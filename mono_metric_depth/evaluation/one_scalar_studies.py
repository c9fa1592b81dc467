# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What the page on the one scalar says beside its main tables: sweeps and variants."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mono_metric_depth.evaluation.one_scalar_rows import (
    Row,
    abs_rel,
    band_ratios,
    counted,
    covers,
    domains,
    first_pair,
    mean,
    mrad,
    pairs_of,
    percent,
    ranged,
    rows_of,
    scale_error,
    size,
    sweep,
    three,
    two,
    width,
)


def studies(rows: list[Row]) -> list[str]:
    """The sections in Markdown; empty where nothing was measured."""
    sections = (
        *(_bands, _roads, _heights, _pitches, _annotated),
        *(_own_mounts, _continual, _geometry),
    )
    return [section(rows) for section in sections]


def _bands(rows: list[Row]) -> str:
    """Predicted over true depth by distance, on the source and on the target."""
    ratios = {
        f'{source} to {target}: {part}': band_ratios(found, part)
        for source, target in pairs_of(rows)
        if (found := rows_of(rows, 'mixed', source, target))
        for part in ('source', 'target')
    }
    if not ratios:
        return ''
    ranges = sorted({limits for of_part in ratios.values() for limits in of_part})
    lines = []
    for name, of_part in ratios.items():
        means = (two(mean(of_part[r])) if r in of_part else '' for r in ranges)
        lines.append(f'| {name} | ' + ' | '.join(means) + ' |')
    return (
        '## Where in depth the scalar is off\n\n'
        'Predicted over true depth by distance, with the transferred scalar of (a), mean over '
        'seeds. Were depth linear in true depth, and in both domains alike, all would be 1. The '
        'road comes into view beyond the first band, which holds but the few things beside it.\n\n'
        f'| | {" | ".join(f"{near:g} to {far:g} m" for near, far in ranges)} |\n'
        f'|---|{"---|" * len(ranges)}\n' + '\n'.join(lines)
    )


def _roads(rows: list[Row]) -> str:
    """The scalar of the target's road plane beside the transferred one."""
    lines, nearer, count = [], 0, 0
    for source, target in pairs_of(rows):
        for variant, letter in (('mixed', '(a)'), ('source_supervised', '(g)')):
            found = [
                row for row in rows_of(rows, variant, source, target) if row['target']['road']
            ]
            if not found:
                continue
            roads = [row['target']['road']['scale_error'] for row in found]
            nearer += sum(
                abs(road) < abs(scale_error(row)) for road, row in zip(roads, found, strict=True)
            )
            count += len(found)
            lines.append(
                f'| {source} to {target} {letter} | {ranged(map(scale_error, found), percent)} '
                f'| {ranged(roads, percent)} |'
            )
    if not lines:
        return ''
    return (
        "## The target's own road plane\n\n"
        'It gives a scalar, too: from depth of the road and the known height of the camera, '
        f'without any truth. It is the nearer one of the two in {nearer} of {count} trainings. '
        'Where the two disagree, one is wrong, and neither says '
        'which.\n\n'
        '| | scale error, transferred | by the road plane |\n|---|---|---|\n' + '\n'.join(lines)
    )


def _heights(rows: list[Row]) -> str:
    found = sweep(rows, 'height_')
    if not found:
        return ''
    lines = []
    for height, group in found:
        heights = [row['target']['height'] / row['source']['height'] for row in group]
        errors = [scale_error(row) for row in group]
        corrected = [(1 + error) * ratio - 1 for error, ratio in zip(errors, heights, strict=True)]
        roads = [row['target']['road'] for row in group if row['target']['road']]
        cells = [
            f'{height} m',
            ranged(errors, percent),
            ranged((row['height_law'] for row in group), percent),
            ranged(corrected, percent),
            ranged((road['scale_error'] for road in roads), percent),
            ranged((abs_rel(row, 'transferred') for row in group), three),
            ranged((road['abs_rel'] for road in roads), three),
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
        (np.log(row['target']['height'] / row['source']['height']), np.log1p(scale_error(row)))
        for _, group in sweep(rows, 'height_')
        for row in group
    ]
    x, y = np.array(points).T
    if np.ptp(x) == 0:
        return ''
    exponent = -np.polyfit(x, y, 1)[0]
    verdict = (
        'the correction by heights helps, and leaves what the table shows'
        if exponent > 0.5
        else 'multiplying by the ratio of heights makes things worse'
    )
    return (
        "The target's scale, relative to the source's, goes with height^"
        f'{exponent:.2f} over these trainings (1 would be the height law): {verdict}.'
    )


def _pitches(rows: list[Row]) -> str:
    found = sweep(rows, 'pitch_')
    if not found:
        return ''
    known = sweep(rows, 'known_pitch_')
    unknown = [(mrad(pitch), group) for pitch, group in found]
    level = [('none: (a)', rows_of(rows, 'mixed', *first_pair(rows)))]
    taken_out = [(f'{mrad(pitch)}, taken out', group) for pitch, group in known]
    lines = [
        f'| {name} | {ranged(map(scale_error, group), percent)} '
        f'| {ranged((abs_rel(row, "transferred") for row in group), three)} '
        f'| {ranged((abs_rel(row, "oracle_global") for row in group), three)} |'
        for name, group in (*unknown, *level, *taken_out)
        if group
    ]
    return (
        '## (h) The target camera pitched\n\n'
        'Positive looks down. The source camera looks along the road; networks trained with such '
        'a target, no attitude taken out. *Taken out*: the network of (a) and the same cameras, '
        'their pitch known and rotated out.\n\n'
        '| pitch | scale error | AbsRel transferred | AbsRel oracle |\n|---|---|---|---|\n'
        + '\n'.join(lines)
    )


def _own_mounts(rows: list[Row]) -> str:
    source, target = first_pair(rows)
    unknown = rows_of(rows, 'own_mounts', source, target)
    levelled = rows_of(rows, 'own_mounts_levelled', source, target)
    guided = rows_of(rows, 'own_mounts_source_supervised', source, target)
    lines = [
        _mount_line('field of view', unknown, _as_transferred),
        _mount_line('and attitude', levelled, _as_transferred),
        _mount_line('and height', levelled, lambda row: row['at_one_height']),
        _mount_line("attitude; scalar of the target's road plane", levelled, _as_road_plane),
        _mount_line('(g), field of view and attitude', guided, _as_transferred),
        _mount_line('(g), and height', guided, lambda row: row['at_one_height']),
    ]
    if not any(lines):
        return ''
    return (
        '## (j) Every camera at its own height, pitch and roll\n\n'
        'From 1.2 to 1.8 m in every domain. What the canonical camera takes out, of (a), and of '
        '(g), which is trained by depth of the source as well; *covered*: the '
        "scalar's 95 % interval holds the target's own scalar.\n\n"
        '| taken out | scale error | covered | AbsRel | spread of the target |\n'
        '|---|---|---|---|---|\n'
        + '\n'.join(line for line in lines if line)
        + (_what_height_does(unknown, levelled) if unknown else '')
    )


def _what_height_does(before: list[Row], levelled: list[Row]) -> str:
    """How far known geometry makes images agree, and the two domains."""
    parts = [row['at_one_height'] for row in levelled if row['at_one_height']]
    if not parts:
        return ''
    aligned, level = (mean(row['target']['spread'] for row in part) for part in (before, levelled))
    spread = mean(part['spread'] for part in parts)
    covered = sum(covers(part, part['own_scale']) for part in parts)
    verdict = (
        ' Height makes its images agree with each other, not the two domains.'
        if spread < level and not covered
        else ''
    )
    return (
        f'\n\nOf (a), the spread over images is {three(aligned)} with one field of view, '
        f'{three(level)} with attitude taken out and {three(spread)} with height, too. The scale '
        f'error is {percent(mean(part["scale_error"] for part in parts))} then, and the interval '
        f'holds the target in {covered} of {len(parts)}.{verdict}'
    )


def _as_transferred(row: Row) -> Row:
    target = row['target']
    of_target = {name: target[name] for name in ('spread', 'own_scale')}
    return {**row['scale'], **target['transferred'], **of_target}


def _as_road_plane(row: Row) -> Row | None:
    target = row['target']
    of_target = {name: target[name] for name in ('spread', 'own_scale')}
    return target['road'] and {**target['road'], **of_target}


def _mount_line(name: str, rows: list[Row], part: Callable[[Row], Row | None]) -> str:
    parts = [found for row in rows if (found := part(row))]
    if not parts:
        return ''
    covered = sum(covers(found, found['own_scale']) for found in parts)
    cells = [
        ranged((found['scale_error'] for found in parts), percent),
        f'{covered} of {len(parts)}',
        ranged((found['abs_rel'] for found in parts), three),
        ranged((found['spread'] for found in parts), three),
    ]
    return f'| {name} | ' + ' | '.join(cells) + ' |'


def _annotated(rows: list[Row]) -> str:
    found = [row for row in rows if row['variant'] == 'mixed']
    counts = sorted({part['images'] for row in found for part in row['annotated']})
    lines = []
    for count in counts:
        parts = [part for row in found for part in row['annotated'] if part['images'] == count]
        errors = [abs(part['scale_error']) for part in parts]
        lines.append(f'| {count} | {size(mean(map(width, parts)))} | {size(mean(errors))} |')
    if not lines:
        return ''
    return (
        '## (i) How many annotated source images\n\n'
        f'Mean over {counted(found, "training")} of (a), of all pairs and seeds.\n\n'
        '| images | width of the 95 % interval | size of the scale error on the target |\n'
        '|---|---|---|\n' + '\n'.join(lines)
    )


def _geometry(rows: list[Row]) -> str:
    source, target = first_pair(rows)
    without = {row['seed']: row for row in rows_of(rows, 'mixed', source, target)}
    pairs = [
        (without[row['seed']], row)
        for row in rows_of(rows, 'geometry', source, target)
        if row['seed'] in without
    ]
    if not pairs:
        return ''
    lines = [
        f'| {name} | {ranged((row["target"]["spread"] for row in group), three)} '
        f'| {ranged((row["source"]["spread"] for row in group), three)} '
        f'| {ranged((abs_rel(row, "transferred") for row in group), three)} |'
        for name, group in zip(('without', 'with'), zip(*pairs, strict=True), strict=True)
    ]
    lower = sum(b['target']['spread'] < a['target']['spread'] for a, b in pairs)
    higher = sum(abs_rel(b, 'transferred') > abs_rel(a, 'transferred') for a, b in pairs)
    return (
        '## Consistency of depth between frames\n\n'
        f'{source.capitalize()} to {target}, with and without the geometry consistency loss: the '
        f'spread on the target falls in {lower} of {counted(pairs, "seed")}, and AbsRel rises in '
        f'{higher}.\n\n'
        '| | spread of the target | spread of the source | AbsRel transferred |\n'
        '|---|---|---|---|\n' + '\n'.join(lines)
    )


def _continual(rows: list[Row]) -> str:
    names = {
        'continual_before': 'third domain, before',
        'continual': 'third domain, after',
        'continual_without_replay': 'third domain, after, without replay',
        'mixed': 'second domain, before',
        'continual_kept': 'second domain, after',
        'continual_without_replay_kept': 'second domain, after, without replay',
    }
    lines = []
    second = {domains(row) for row in rows if row['variant'] == 'continual_kept'}
    for variant, name in names.items():
        found = [row for row in rows if row['variant'] == variant]
        if variant == 'mixed':
            found = [row for row in found if domains(row) in second]
        if found:
            lines.append(
                f'| {name} ({found[0]["target"]["name"]}) '
                f'| {ranged(map(scale_error, found), percent)} '
                f'| {ranged((abs_rel(row, "transferred") for row in found), three)} '
                f'| {ranged((abs_rel(row, "oracle_global") for row in found), three)} |'
            )
    if not lines:
        return ''
    return (
        '## (k) On to a third domain, without labels\n\n'
        'From (a), trained on with the images of a third domain in place of the second; with a '
        'quarter of the target half replayed from the second, or without.\n\n'
        '| tested on | scale error | AbsRel transferred | AbsRel oracle |\n|---|---|---|---|\n'
        + '\n'.join(lines)
        + _what_replay_does(rows)
    )


def _what_replay_does(rows: list[Row]) -> str:
    """Whether the second domain is kept better with replay, seed by seed."""
    with_replay, without = (
        {row['seed']: row for row in rows if row['variant'] == variant}
        for variant in ('continual_kept', 'continual_without_replay_kept')
    )
    seeds = with_replay.keys() & without.keys()
    if not seeds:
        return ''
    pairs = [(with_replay[seed], without[seed]) for seed in seeds]
    depth = sum(abs_rel(a, 'transferred') < abs_rel(b, 'transferred') for a, b in pairs)
    scale = sum(abs(scale_error(a)) < abs(scale_error(b)) for a, b in pairs)
    return (
        f'\n\nOn the second domain, after it, replay makes AbsRel smaller in {depth} of '
        f'{counted(pairs, "seed")}, and the scale error in {scale}.'
    )

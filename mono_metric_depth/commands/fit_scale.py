# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``fit_scale``: fit the one scalar of a model, show how far one scalar carries, write it."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mono_metric_depth.camera import Mount
from mono_metric_depth.commands import errors_in_one_line, fail
from mono_metric_depth.doubt import Doubt
from mono_metric_depth.engines import EngineError
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.evaluation.depth_samples import DepthSamples, sample_drives
from mono_metric_depth.evaluation.linearity_description import describe_linearity
from mono_metric_depth.evaluation.output_files import appearing, json_text
from mono_metric_depth.linearity import findings, measure_linearity
from mono_metric_depth.metrics import depth_metrics, mean_metrics
from mono_metric_depth.model_card import ROAD_AGREEMENT, ModelCard, write_card
from mono_metric_depth.road_plane import RoadPlaneError, RoadScale, fit_road_scale
from mono_metric_depth.scale import METHODS, GlobalScale, fit_scales, image_ratios, scales_by_count
from mono_metric_depth.scale_judgement import judged_scale

#: A new scale that differs from the card's by more than this factor deserves a warning.
_JUMP = 1.3


def main(arguments: list[str] | None = None) -> None:
    """Fit a scale."""
    try:
        with errors_in_one_line():
            _fit(arguments)
    except EngineError as err:
        fail(str(err))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='fit_scale', description=__doc__)
    parser.add_argument('model', type=Path, help='ONNX file with a card')
    parser.add_argument(
        'data', nargs='*', help='drives with ground truth: folders, DGP json, world:town:0-5'
    )
    parser.add_argument('--method', choices=METHODS, default=METHODS[0])
    parser.add_argument(
        '--target', nargs='+', default=[], help='drives that the scale is carried over to'
    )
    parser.add_argument(
        '--camera-height', type=float, help='m above the road; that of the data if left out'
    )
    parser.add_argument('--camera-pitch', type=float, help='rad, positive down; likewise')
    parser.add_argument('--camera-roll', type=float, help='rad, positive lifts its left; likewise')
    parser.add_argument('--every', type=int, default=1, help='use only each N-th frame')
    parser.add_argument('--figure', type=Path, help='PNG: predicted against true depth')
    parser.add_argument('--json', type=Path, help='everything measured')
    parser.add_argument('--write', action='store_true', help="into the model's card")
    parser.add_argument(
        '--force',
        action='store_true',
        help='write a scale that means nothing, too, or that the road contradicts',
    )
    options = parser.parse_args(arguments)
    if options.force and not options.write:
        fail('--force is for --write')
    if not (options.data or options.target):
        fail('give drives with ground truth, or --target drives with --camera-height')
    if options.every < 1:
        fail(f'--every must be at least 1, got {options.every}')
    for path in (options.figure, options.json):
        if path is None:
            continue
        folder = path.absolute().parent
        if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            fail(f'{path} cannot be written: it must be a file in a folder that can be written to')
    if options.figure and not options.data:
        fail('--figure shows predicted against true depth: give drives with ground truth')
    return options


def _fit(arguments: list[str] | None) -> None:
    options = _options(arguments)
    draw = _drawing() if options.figure else None
    mount = None
    angles = (options.camera_pitch, options.camera_roll)
    if angles != (None, None) or options.camera_height is not None:
        mount = Mount(angles[0] or 0.0, angles[1] or 0.0, height=options.camera_height)
    # What is known of the camera belongs to the target where there is one.
    known = {
        'mount': mount if angles != (None, None) else None,
        'camera_height': None if mount is None else mount.height,
    }
    estimator = DepthEstimator.load(options.model, unscaled=True)
    card = estimator.card
    if card.scale is None and not options.data:
        fail(
            f'{options.model} has no scale yet, and the road plane only checks one: give drives '
            'with ground truth'
        )
    report: dict[str, Any] = {'model': str(options.model), 'card_scale': card.scale}
    source = target = None
    scale = card.scale
    if options.data:
        source = _samples(
            estimator, options.data, True, options.every, {} if options.target else known
        )
        scale, report['source'] = _fitted(source, card, options.method)
    assert scale is not None
    if options.target:
        target = _samples(estimator, options.target, False, options.every, known)
        if len(target.images) > 1:
            report['target'] = _transferred(target, scale)
    road, failure = _road_scale(target or source, scale)
    report['road_scale'] = road
    if options.data:
        card = _with_scale(card, scale)
    card = dataclasses.replace(card, road_scale=road or card.road_scale)
    if draw is not None and source is not None:
        with appearing(options.figure) as part:
            draw(source, target, scale, part)
        print(f'wrote {options.figure}')
    if options.json:
        with appearing(options.json) as part:
            part.write_text(json_text(report))
        print(f'wrote {options.json}')
    if options.write:
        # Without a new scale there is only the road to write, which makes the card more honest.
        fatal = [doubt for doubt in card.doubts if doubt.fatal and options.data]
        if fatal and not options.force:
            fail(
                f'not written: {_remedy(fatal[0], card)}; --force writes it all the same, and '
                'the node warns'
            )
        write_card(options.model, card)
        print(
            f'wrote the card of {options.model}: scale {_value(estimator.card.scale)} -> '
            f'{_value(card.scale)}, road plane scale {_value(estimator.card.road_scale)} -> '
            f'{_value(card.road_scale)}'
        )
    if failure and options.camera_height is not None:
        fail(failure)


def _drawing() -> Callable[..., None]:
    try:
        from mono_metric_depth.evaluation.scale_picture import draw_scale
    except ImportError as err:
        fail(f"--figure needs {err.name}: pip install 'mono_metric_depth[demo]'")
    return draw_scale


def _samples(
    estimator: DepthEstimator, drives: list[str], truth: bool, every: int, known: dict[str, Any]
) -> DepthSamples:
    """Run the model, with a progress bar; say what was skipped."""
    with tqdm(desc=drives[0], unit='frame', total=0) as bar:

        def progress(frames: int, more: int) -> None:
            bar.total += more
            bar.update(frames)

        samples = sample_drives(
            estimator, drives, truth=truth, every=every, progress=progress, **known
        )
    for reason, count in samples.skipped.items():
        print(f'skipped {count} frames: {reason}')
    for message in samples.named:
        print(f'  {message}')
    return samples


def _fitted(
    source: DepthSamples, card: ModelCard, method: str
) -> tuple[GlobalScale, dict[str, Any]]:
    """Fit the scale, and print what drives with ground truth say of it."""
    names = (method, *(name for name in METHODS if name != method))
    scale, *others = fit_scales(source.images, names, source=source.source)
    linearity = measure_linearity(source.images, scale.value)
    scale = judged_scale(
        scale, others, linearity, source.images, inverse=card.output_kind != 'depth'
    )
    _print_scales(source, [scale, *others], card)
    counts = scales_by_count(source.images, method=method, source=source.source)
    print('  interval by number of annotated images')
    for fitted in counts:
        width = (fitted.high - fitted.low) / fitted.value
        print(f'  {fitted.images:8d} {_with_interval(fitted)}  {width:.2%} wide')
    print(describe_linearity(linearity, scale.doubts or ()))
    return scale, {
        'images': scale.images,
        'scales': [scale, *others],
        'by_count': counts,
        'linearity': linearity,
        'findings': {doubt.kind: str(doubt) for doubt in scale.doubts or ()},
        'median_true_depth': float(np.median(source.true_medians)),
        'road_by_truth': float(np.median(source.true_heights)) if source.true_heights else None,
        'skipped': dict(source.skipped),
    }


def _print_scales(source: DepthSamples, scales: list[GlobalScale], card: ModelCard) -> None:
    scale = scales[0]
    depth = float(np.median(source.true_medians))
    print(f'{source.source}: {scale.images} images, median true depth {depth:.1f} m')
    if len(source.true_heights) < 5:
        print(
            '  the unit of true depth was not checked against a mounting height (none is known, '
            'or no road is seen): is that median plausible?'
        )
    for number, fitted in enumerate(scales):
        how = {None: '', 0: ', over all pairs'}.get(
            fitted.random_pairs, f', over {fitted.random_pairs} random pairs'
        )
        print(
            f'  {"scale" if not number else "":8} {_with_interval(fitted)}  {fitted.method}{how}'
        )
    print(f'  spread   {scale.spread:.1%} between images')
    if card.scale is None:
        print('  card     none yet')
    else:
        change = scale.value / card.scale.value
        print(f'  card     {_with_interval(card.scale)}  new / old - 1 = {change - 1:+.2%}')
        if not 1 / _JUMP < change < _JUMP:
            print(
                f'  found    a scale {change:.2f} times that of the card: check the unit of the '
                'ground truth and the calibration before you --write it'
            )


def _transferred(target: DepthSamples, scale: GlobalScale) -> dict[str, Any]:
    """Print what the scale is worth on drives that it was not fitted on."""
    oracle = float(np.median(image_ratios(target.images)))
    errors = {
        name: mean_metrics([depth_metrics(p * value, g) for p, g in target.images])
        for name, value in (('transferred', scale.value), ('oracle', oracle))
    }
    print(f'{target.source}: {len(target.images)} images with ground truth, not used for fitting')
    print(
        f'  oracle   {oracle:#.5g}  its own median ratio; transferred / oracle - 1 = '
        f'{scale.value / oracle - 1:+.2%}'
    )
    print(
        f'  AbsRel   {errors["transferred"].abs_rel:.3f} transferred, '
        f'{errors["oracle"].abs_rel:.3f} oracle'
    )
    linearity = measure_linearity(target.images, scale.value)
    found = findings(linearity)
    print(describe_linearity(linearity, found))
    return {
        'images': len(target.images),
        'oracle': oracle,
        **errors,
        'linearity': linearity,
        'findings': {doubt.kind: str(doubt) for doubt in found},
    }


def _road_scale(samples: DepthSamples | None, scale: GlobalScale) -> tuple[RoadScale | None, str]:
    """Fit and print the road plane's scale; None, and why, where no height or road is known."""
    assert samples is not None
    if not (samples.heights or samples.refused):
        print(f'{samples.source}: no road plane scale; give --camera-height to fit one')
        return None, 'no camera height is known'
    try:
        road = fit_road_scale(
            samples.heights, samples.camera_heights, samples.refused, source=samples.source
        )
    except RoadPlaneError as err:
        print(f'no road plane scale: {err}')
        return None, f'no road plane scale: {err}'
    disagreement = road.value / scale.value - 1
    refused = ', '.join(f'{reason} {count}' for reason, count in road.refused.items())
    print(f'{samples.source}: road plane of {road.frames} frames, camera ', end='')
    print(f'{road.camera_height:.2f} m high; refused {refused or "none"}')
    print(f'  scale    {_with_interval(road)}  without any depth truth; spread {road.spread:.1%}')
    print(f'  road plane / scale - 1 = {disagreement:+.1%}', end='')
    print(
        ''
        if abs(disagreement) <= ROAD_AGREEMENT
        else f': more than {ROAD_AGREEMENT:.0%}, find out why'
    )
    return road, ''


def _with_scale(card: ModelCard, scale: GlobalScale) -> ModelCard:
    """The card with another scale; its range stays the same in the network's own units."""
    if card.scale is None:  # its range is in metres, as import_model was told
        return dataclasses.replace(card, scale=scale)
    factor = scale.value / card.scale.value
    nearest, furthest = card.depth_range
    earlier = {'value': card.scale.value, 'source': card.scale.source}
    return dataclasses.replace(
        card,
        scale=scale,
        depth_range=(nearest * factor, furthest * factor),
        provenance={**card.provenance, 'earlier_scale': earlier},
    )


def _remedy(doubt: Doubt, card: ModelCard) -> str:
    """A grave doubt, and what can be done about it."""
    if doubt.kind == 'road':
        assert card.road_scale is not None
        return (
            f'{doubt}. With this scale depth is wrong by that on the camera of '
            f'{card.road_scale.source}: check its height ({card.road_scale.camera_height:.2f} m), '
            'pitch, roll and calibration, and the unit of the ground truth'
        )
    return (
        f'{doubt}; one scalar gives no metres with this network. Take a metric network or train '
        'one'
    )


def _with_interval(scale: GlobalScale | RoadScale) -> str:
    return f'{scale.value:#.5g} [{scale.low:#.5g}, {scale.high:#.5g}]'


def _value(scale: GlobalScale | RoadScale | None) -> str:
    return 'none' if scale is None else f'{scale.value:.5g}'


if __name__ == '__main__':
    main()

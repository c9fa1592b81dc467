# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The model card in lines that a person reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mono_metric_depth.model_card import ModelCard
from mono_metric_depth.printable import printable
from mono_metric_depth.scale import GlobalScale

_LONGEST_KEY = 40


def describe_card(card: ModelCard) -> str:
    """The card in lines that a person reads, each entry in one, and none too long."""
    camera = card.canonical_camera
    formula = {'depth': 'scale x output'}.get(card.output_kind, 'scale / output')
    lines = [
        ('model', card.name),
        *_scale_lines(card.scale),
        *_doubt_lines(card),
        ('depth', f'{formula}, {card.depth_range[0]:g} .. {card.depth_range[1]:g} m'),
        (
            'canonical camera',
            f'{camera.width}x{camera.height} px, fx {camera.fx:g}, fy {camera.fy:g}, '
            f'cx {camera.cx:g}, cy {camera.cy:g}, '
            f'{math.degrees(camera.horizontal_fov):.0f} degrees wide, '
            f'{"looks along the road" if card.levelled else "as mounted"}',
        ),
        (
            'camera height',
            'not recorded' if card.camera_height is None else f'{card.camera_height:.2f} m',
        ),
        *_optional_lines(card),
        ('input', f'{card.input_name} {card.normalisation.channels}'),
        ('output', f'{card.output_name} {card.output_kind}'),
    ]
    lines += [(key, _plain(value)) for key, value in card.provenance.items()]
    # Whoever wrote the card, it writes nothing to a terminal but text.
    shown = [(printable(key, _LONGEST_KEY), printable(value)) for key, value in lines]
    width = max(len(key) for key, _ in shown)
    return '\n'.join(f'{key:{width}}  {value}' for key, value in shown)


def _scale_lines(scale: GlobalScale | None) -> list[tuple[str, str]]:
    if scale is None:
        return [('scale', 'not fitted: no metres before `fit_scale MODEL DRIVES --write`')]
    pairs = {None: '', 0: ' over all pairs'}.get(
        scale.random_pairs, f' over {scale.random_pairs} random pairs'
    )
    return [
        (
            'scale',
            f'{scale.value:.4g}, {scale.confidence:.0%} interval {scale.low:.4g} .. '
            f'{scale.high:.4g} ({scale.method}{pairs}, {scale.images} images, '
            f'spread {scale.spread:.3f})',
        ),
        ('fitted on', scale.source),
    ]


def _doubt_lines(card: ModelCard) -> list[tuple[str, str]]:
    if card.scale is not None and card.scale.doubts == () and not card.doubts:
        return [('doubts', 'none: nothing was found against one scalar')]
    return [('doubt', str(doubt)) for doubt in card.doubts]


def _optional_lines(card: ModelCard) -> list[tuple[str, str]]:
    """What only some cards know."""
    lines = []
    if card.mounts is not None:
        mounts = card.mounts
        height = ''
        if mounts.height is not None:
            height = f'{mounts.height[0]:.2f} .. {mounts.height[1]:.2f} m high, '
        (pitch, pitch_deviation), (roll, roll_deviation) = mounts.pitch, mounts.roll
        angles = (
            f'pitch {pitch:.1f} +- {pitch_deviation:.1f}, '
            f'roll {roll:.1f} +- {roll_deviation:.1f} degrees'
        )
        lines.append(('mounting', height + angles))
    if card.road_scale is not None:
        road, off = card.road_scale, card.road_disagreement
        lines.append(
            (
                'road plane scale',
                f'{road.value:.4g}, {road.confidence:.0%} interval {road.low:.4g} .. '
                f'{road.high:.4g} ({road.frames} frames, {sum(road.refused.values())} refused, '
                f'spread {road.spread:.3f}, camera {road.camera_height:.2f} m high)'
                + ('' if off is None else f': {off:+.1%} from the scale'),
            )
        )
        lines.append(('road seen in', road.source))
    return lines


def _plain(value: Any) -> str:
    """A JSON value of the provenance as a person writes it; there are few levels of it."""
    if isinstance(value, Mapping):
        return '; '.join(f'{key} {_plain(item)}' for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ', '.join(map(_plain, value)) or 'none'
    if value is None or isinstance(value, bool):
        return {None: 'none', False: 'no', True: 'yes'}[value]
    return str(value)

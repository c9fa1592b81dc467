# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What the errors of many images say of a model, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.doubt import Doubt
from mono_metric_depth.evaluation.bootstrap import Units, independent_units
from mono_metric_depth.evaluation.image_errors import GRID, ImageErrors, Part
from mono_metric_depth.evaluation.protocol import Protocol
from mono_metric_depth.linearity import Interval, Linearity, findings, measure_linearity
from mono_metric_depth.metrics import DepthMetrics
from mono_metric_depth.scale import ScaleError, robust_deviation

#: How prediction becomes metres, and what that takes.
SCALINGS = {
    'transferred': 'with the scalar stored in the model',
    'oracle_global': 'with the median ratio of these very images (needs their truth)',
    'oracle_image': "with each image's own median true / median predicted depth (likewise)",
    'unscaled': 'as the network puts it out',
}
METRICS = tuple(field.name for field in fields(DepthMetrics))

_NO_METRES = (
    'do not use its metres on such data: take a model that was trained on data like these, or '
    'train this one on them (finetune)'
)
_NO_SCALAR = 'no other scalar mends that: train the model on data like these (finetune)'
#: What to do about a finding.
_ADVICE = {
    'distance': _NO_METRES,
    'images': _NO_METRES,
    'offset': _NO_SCALAR,
    'bend': _NO_SCALAR,
    'spread': _NO_SCALAR,
    'bias': 'fit the scale on data like these (fit_scale)',
}
#: Most images of which each pixel takes memory.
_MOST = 2000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PartSummary:
    """Pixels at one distance or in one region, over images.

    Attributes:
        name: Which.
        images: How many have true depth there.
        pixels: With true depth.
        coverage: Share of them that the network saw.
        abs_rel, ratio, delta1: Means over images of AbsRel, of the median of predicted / true
            depth, and of delta1.
    """

    name: str
    images: int
    pixels: int
    coverage: float
    abs_rel: Interval
    ratio: Interval
    delta1: Interval


@dataclass(frozen=True)
class Summary:
    """What a model is worth on a set of images.

    Attributes:
        name: The model.
        images, drives: How many.
        coverage: Share of pixels with true depth that the network saw, mean over images; errors
            are over these alone.
        least_coverage: Of any image.
        stored_scale: The scalar of the model.
        oracle_scale: Median over these images of median true / predicted depth.
        scale_error: Stored / oracle - 1.
        spread: Relative spread of the images' own scales.
        scalings: Means over images of each metric, by scaling.
        bands, regions: By distance, and by place in the image, transferred.
        by_drive: AbsRel and own scale of each drive.
        linearity: How far predicted depth is proportional to true depth; None for few images.
        findings: What speaks against one scalar, in words, the gravest first.
        units: How many independent units the intervals were drawn over.
        independent: What the intervals were drawn over.
    """

    name: str
    images: int
    drives: int
    coverage: float
    least_coverage: float
    stored_scale: float
    oracle_scale: Interval
    scale_error: Interval
    spread: float
    scalings: dict[str, dict[str, Interval]]
    bands: tuple[PartSummary, ...]
    regions: tuple[PartSummary, ...]
    by_drive: dict[str, dict[str, float]]
    linearity: Linearity | None
    findings: dict[str, str]
    units: int
    independent: str


def scaling_errors(
    errors: Sequence[ImageErrors], stored: float, protocol: Protocol
) -> dict[str, Array]:
    """(n, 7) metrics of each image, by scaling; metrics in the order of :data:`METRICS`."""
    oracle = float(np.median([each.ratio for each in errors]))
    rows = {
        'transferred': [each.transferred for each in errors],
        'oracle_global': [each.at_scale(oracle, stored, protocol) for each in errors],
        'oracle_image': [each.oracle_image for each in errors],
        'unscaled': [each.unscaled for each in errors],
    }
    return {name: np.array([astuple(row) for row in found]) for name, found in rows.items()}


def summarise(
    name: str, errors: Sequence[ImageErrors], stored: float, protocol: Protocol
) -> Summary:
    """Summarise one model.

    Args:
        name: The model.
        errors: Its images, at least one, in the order of the drives.
        stored: Its scalar.
        protocol: The protocol.
    """
    units = independent_units(errors)
    ratios = np.array([each.ratio for each in errors])
    oracle = units.median_interval(ratios)
    scalings = {
        scaling: {
            metric: units.interval(column) for metric, column in zip(METRICS, rows.T, strict=True)
        }
        for scaling, rows in scaling_errors(errors, stored, protocol).items()
    }
    linearity = None
    with suppress(ScaleError):  # one image, or depth that is the same everywhere
        linearity = measure_linearity([each.sample for each in some_images(errors)], stored)
    doubts = [] if linearity is None else findings(linearity)
    by_drive = {}
    for drive in dict.fromkeys(each.drive for each in errors):
        own = [each for each in errors if each.drive == drive]
        by_drive[drive] = {
            'images': len(own),
            'abs_rel': float(np.mean([each.transferred.abs_rel for each in own])),
            'scale': float(np.median([each.ratio for each in own])),
        }
    bands = [f'{low:g}-{high:g} m' for low, high in protocol.bands]
    coverages = [each.coverage for each in errors]
    return Summary(
        name=name,
        images=len(errors),
        drives=len(by_drive),
        coverage=float(np.mean(coverages)),
        least_coverage=min(coverages),
        stored_scale=stored,
        oracle_scale=oracle,
        scale_error=Interval(
            stored / oracle.value - 1, stored / oracle.high - 1, stored / oracle.low - 1
        ),
        spread=robust_deviation(np.log(ratios)),
        scalings=scalings,
        bands=_parts(bands, [each.bands for each in errors], units),
        regions=_parts(_REGIONS, [each.regions for each in errors], units),
        by_drive=by_drive,
        linearity=linearity,
        findings={doubt.kind: str(doubt) for doubt in sorted(doubts, key=_gravity)},
        units=int(units.labels.max()) + 1,
        independent=units.description,
    )


def _gravity(doubt: Doubt) -> tuple[bool, bool]:
    """What makes metres mean nothing comes first, what makes them less certain last."""
    return not doubt.fatal, doubt.scatter


def advice(kinds: Sequence[str]) -> str:
    """What to do about findings, by the gravest of them; empty without any.

    Args:
        kinds: Of the findings, the gravest first.
    """
    if not kinds:
        return ''
    return _ADVICE.get(kinds[0], 'look at the worst frames below before this model is relied on')


def some_images(errors: Sequence[ImageErrors]) -> Sequence[ImageErrors]:
    """All images, or a few thousand evenly out of more: what takes memory for each pixel."""
    return errors[:: -(-len(errors) // _MOST)]


_REGIONS = [
    f'{row} {column}' if (row, column) != ('middle', 'centre') else 'centre'
    for row in ('top', 'middle', 'bottom')
    for column in ('left', 'centre', 'right')
]
assert len(_REGIONS) == GRID * GRID


def _parts(
    names: Sequence[str], images: Sequence[Sequence[Part]], units: Units
) -> tuple[PartSummary, ...]:
    found = []
    for number, name in enumerate(names):
        parts = [image[number] for image in images]
        pixels = sum(part.pixels for part in parts)
        found.append(
            PartSummary(
                name,
                sum(part.pixels > 0 for part in parts),
                pixels,
                sum(part.seen for part in parts) / pixels if pixels else float('nan'),
                *(
                    units.interval(np.array([getattr(part, value) for part in parts]))
                    for value in ('abs_rel', 'ratio', 'delta1')
                ),
            )
        )
    return tuple(found)

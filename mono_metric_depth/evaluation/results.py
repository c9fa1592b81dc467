# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation as a whole: every model, the control, how they compare, and what to mind."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mono_metric_depth.datasets import DatasetError, sequence_names
from mono_metric_depth.datasets.bag_storage import without_checksums
from mono_metric_depth.evaluation.candidates import CONTROL, Candidate
from mono_metric_depth.evaluation.comparison import Comparison, common_images, compare
from mono_metric_depth.evaluation.drive_frames import DriveFrames
from mono_metric_depth.evaluation.image_errors import ImageErrors
from mono_metric_depth.evaluation.outcomes import Evaluation
from mono_metric_depth.evaluation.protocol import Protocol
from mono_metric_depth.evaluation.summary import SCALINGS, Summary, summarise

#: Fewer independent units say little; intervals over them are too narrow.
_UNITS = 8
#: Fewer of the true pixels seen deserves a word.
_COVERAGE = 0.98


@dataclass(frozen=True)
class ModelResult:
    """One model's errors, image by image and over the set.

    Attributes:
        protocol: With the model's range.
    """

    candidate: Candidate
    protocol: Protocol
    errors: list[ImageErrors]
    summary: Summary

    @property
    def stored(self) -> float:
        """The scalar of the model."""
        return self.candidate.scale.value


@dataclass(frozen=True)
class Results:
    """What was evaluated and what came out.

    Attributes:
        protocol: The protocol.
        drives: What was evaluated.
        models: The models, the first one the reference.
        control: Depth that knows no image; None where none could be made.
        comparisons: Each further model with the first, and the first with the control.
        warnings: What to mind before these numbers are set beside others.
        skipped: How many images were left out by reason, and the first of each in words.
        failed: Drives left out as a whole, and why.
    """

    protocol: Protocol
    drives: list[DriveFrames]
    models: list[ModelResult]
    control: ModelResult | None
    comparisons: list[Comparison]
    warnings: list[str]
    skipped: dict[str, tuple[int, str]]
    failed: dict[str, str]


def gather(
    candidates: Sequence[Candidate],
    evaluation: Evaluation,
    drives: Sequence[DriveFrames],
    protocol: Protocol,
) -> Results:
    """Put an evaluation together; models are compared on the images that all of them have.

    Args:
        candidates: What was evaluated.
        evaluation: Their errors.
        drives: The drives.
        protocol: The protocol.

    Raises:
        ValueError: If no image is shared.
    """
    drives = [drive for drive in drives if drive.name not in evaluation.failed]
    shared = common_images(evaluation.errors)
    if not shared[0]:
        msg = 'the models have no image in common'
        raise ValueError(msg)
    found = []
    for candidate, errors in zip(candidates, shared, strict=True):
        own = protocol.within(candidate.card.depth_range)
        summary = summarise(candidate.name, errors, candidate.scale.value, own)
        found.append(ModelResult(candidate, own, errors, summary))
    models = [result for result in found if result.candidate.name != CONTROL]
    control = next((result for result in found if result.candidate.name == CONTROL), None)
    first = models[0]
    pairs = [(other, first) for other in models[1:]]
    if control is not None:
        pairs.append((first, control))
    comparisons = [
        compare(a.candidate.name, a.errors, b.candidate.name, b.errors) for a, b in pairs
    ]
    skipped = {
        reason: (len(images), images[0].described)
        for reason, images in evaluation.reasons().items()
    }
    warnings = _warnings(evaluation, first, drives, protocol)
    for result in models:
        warnings += [
            f'the scale of {result.candidate.name}, as it was fitted: {doubt}'
            for doubt in result.candidate.card.doubts
        ]
        warnings += seen_before(result.candidate, [drive.name for drive in drives])
    return Results(
        protocol, drives, models, control, comparisons, warnings, skipped, evaluation.failed
    )


def _warnings(
    evaluation: Evaluation, first: ModelResult, drives: Sequence[DriveFrames], protocol: Protocol
) -> list[str]:
    summary = first.summary
    found = [
        f'{drive.name}: {drive.damage}; images may be lost there'
        for drive in drives
        if drive.damage
    ]
    files = dict.fromkeys(file for drive in drives for file in drive.unchecked)
    found += filter(None, [without_checksums(files)])
    found += protocol.warnings(summary.images, {each.size for each in first.errors})
    if summary.units < _UNITS:
        found.append(
            f'{summary.images} image{"s" * (summary.images > 1)} in {summary.units} independent '
            f'part{"s" * (summary.units > 1)} say little: the intervals are too narrow, and what '
            'was found may be chance; evaluate more drives'
        )
    if summary.coverage < _COVERAGE:
        found.append(
            f'the network saw {summary.coverage:.1%} of the pixels with true depth (least '
            f'{summary.least_coverage:.1%} of an image); errors are over these, published ones '
            'over all'
        )
    most = max(len(each) for each in evaluation.errors)
    if most > summary.images:
        found.append(
            f'{most - summary.images} images that not every model could be compared on are left '
            'out for all'
        )
    return found


def seen_before(candidate: Candidate, drives: Sequence[str]) -> list[str]:
    """Say so where a model has seen drives that it is evaluated on, as far as names tell.

    Args:
        candidate: The model.
        drives: Names of drives.

    Returns:
        A warning for what it was trained on, and one for what its scale was fitted on.
    """
    found = []
    trained = [candidate.card.provenance.get(entry) for entry in ('source', 'target', 'replay')]
    listed = [name for names in trained if isinstance(names, list) for name in names]
    fitted = candidate.scale.source.removeprefix('held-out ').split(', ')
    for what, names in (('was trained on', listed), ('has its scale from', fitted)):
        known = {_world(each) for name in names for each in _names(str(name))}
        seen = [drive for drive in drives if _world(drive) in known]
        if seen:
            found.append(
                f'{candidate.name} {what} {len(seen)} of these {len(drives)} drives, such as '
                f'{seen[0]}: errors on others are larger'
            )
    return found


def _names(specification: str) -> list[str]:
    try:
        return sequence_names(specification)
    except DatasetError:  # of data that are not here
        return [specification]


def _world(drive: str) -> str:
    """A drive's name without number of frames and mount, which change little of a world."""
    return re.sub(r'^(world:\w+:\d+)(x\d+)?(@.*)?$', r'\1', drive)


def as_json(results: Results) -> dict[str, Any]:
    """Everything but single images, for JSON."""

    def model(result: ModelResult) -> dict[str, Any]:
        candidate = result.candidate
        return {
            'identity': candidate.identity,
            'card': {
                'name': candidate.card.name,
                'scale': candidate.card.scale,
                'provenance': dict(candidate.card.provenance),
            },
            **{f.name: getattr(result.summary, f.name) for f in dataclasses.fields(Summary)},
        }

    return {
        'protocol': results.protocol,
        'scalings': SCALINGS,
        'drives': [
            {'name': d.name, 'version': d.version, 'frames': len(d.indices)}
            for d in results.drives
        ],
        'models': [model(result) for result in results.models],
        'control': None if results.control is None else model(results.control),
        'comparisons': results.comparisons,
        'warnings': results.warnings,
        'skipped': {
            reason: {'images': count, 'first': first}
            for reason, (count, first) in results.skipped.items()
        },
        'failed': results.failed,
    }

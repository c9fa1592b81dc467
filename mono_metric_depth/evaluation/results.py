# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation as a whole: every model, the control, how they compare, and what to mind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mono_metric_depth.evaluation.candidates import CONTROL, Candidate
from mono_metric_depth.evaluation.drive_frames import DriveFrames
from mono_metric_depth.evaluation.evaluator import Evaluation
from mono_metric_depth.evaluation.image_errors import ImageErrors
from mono_metric_depth.evaluation.protocol import Protocol
from mono_metric_depth.evaluation.summary import (
    SCALINGS,
    Comparison,
    Summary,
    common_images,
    compare,
    summarise,
)

#: Fewer of the true pixels seen deserves a word.
_COVERAGE = 0.98


@dataclass(frozen=True)
class ModelResult:
    """One model's errors, image by image and over the set."""

    candidate: Candidate
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
    """

    protocol: Protocol
    drives: list[DriveFrames]
    models: list[ModelResult]
    control: ModelResult | None
    comparisons: list[Comparison]
    warnings: list[str]
    skipped: dict[str, tuple[int, str]]


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
    shared = common_images(evaluation.errors)
    if not shared[0]:
        msg = 'the models have no image in common'
        raise ValueError(msg)
    found = [
        ModelResult(
            candidate,
            errors,
            summarise(candidate.name, errors, candidate.scale.value, protocol),
        )
        for candidate, errors in zip(candidates, shared, strict=True)
    ]
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
        reason: (count, f'{one.drive} frame {one.index}: {one.message}')
        for reason, (count, one) in evaluation.reasons().items()
    }
    warnings = _warnings(evaluation, first, drives, protocol)
    return Results(protocol, list(drives), models, control, comparisons, warnings, skipped)


def _warnings(
    evaluation: Evaluation, first: ModelResult, drives: Sequence[DriveFrames], protocol: Protocol
) -> list[str]:
    summary = first.summary
    found = protocol.warnings(summary.images, {each.size for each in first.errors})
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
    empty = [d.name for d in drives if d.name not in summary.by_drive]
    if empty:
        found.append(f'no image could be compared of {", ".join(empty)}')
    return found


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
    }

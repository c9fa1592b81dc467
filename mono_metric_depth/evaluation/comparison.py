# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Which of several models is better, by the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mono_metric_depth.evaluation.bootstrap import independent_units
from mono_metric_depth.evaluation.image_errors import ImageErrors
from mono_metric_depth.linearity import Interval


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images: paired differences of AbsRel, transferred.

    Attributes:
        name, reference: The models.
        difference: Mean over images of AbsRel of ``name`` less that of ``reference``.
        delta1: The same of delta1.
        better: Share of the images where ``name`` has the smaller AbsRel.
        verdict: In words.
    """

    name: str
    reference: str
    difference: Interval
    delta1: Interval
    better: float
    verdict: str


def compare(
    name: str, errors: Sequence[ImageErrors], reference: str, others: Sequence[ImageErrors]
) -> Comparison:
    """Compare two models on the same images.

    Args:
        name: One model.
        errors: Its images.
        reference: The other.
        others: Its errors on the same images, in the same order.
    """
    units = independent_units(errors)
    pairs = [(a.transferred, b.transferred) for a, b in zip(errors, others, strict=True)]
    difference = units.interval(np.array([a.abs_rel - b.abs_rel for a, b in pairs]))
    delta1 = units.interval(np.array([a.delta1 - b.delta1 for a, b in pairs]))
    if not np.isfinite(difference.low):
        verdict = f'too few images to tell {name} from {reference}'
    elif difference.high < 0:
        verdict = f'{name} is better than {reference}'
    elif difference.low > 0:
        verdict = f'{name} is worse than {reference}'
    else:
        verdict = f'{name} and {reference} cannot be told apart by these images'
    better = float(np.mean([a.abs_rel < b.abs_rel for a, b in pairs]))
    return Comparison(name, reference, difference, delta1, better, verdict)


def common_images(errors: Sequence[Sequence[ImageErrors]]) -> list[list[ImageErrors]]:
    """Of each model, the images that all of them have."""
    shared = set.intersection(*({(e.drive, e.index) for e in each} for each in errors))
    return [[e for e in each if (e.drive, e.index) in shared] for each in errors]


def leaders(models: Sequence[tuple[str, Sequence[ImageErrors]]]) -> list[str]:
    """The model with the smallest AbsRel, and those that the images cannot tell from it.

    Args:
        models: Name and images of each, the same images in the same order.
    """
    means = [float(np.mean([e.transferred.abs_rel for e in errors])) for _, errors in models]
    order = [models[number] for number in np.argsort(means, kind='stable')]
    best, least = order[0]
    return [best] + [
        name
        for name, errors in order[1:]
        if not compare(best, least, name, errors).difference.high < 0
    ]

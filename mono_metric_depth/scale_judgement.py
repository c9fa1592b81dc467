# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a fitted scale deserves to be believed: by linearity, by other methods, by a shift."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mono_metric_depth.doubt import Doubt, disagreement
from mono_metric_depth.linearity import (
    LARGEST_BEND,
    LARGEST_DISAGREEMENT,
    Linearity,
    findings,
    measure_shift,
)
from mono_metric_depth.scale import GlobalScale, Pairs


def judged_scale(
    scale: GlobalScale,
    others: Sequence[GlobalScale],
    linearity: Linearity,
    images: Sequence[Pairs],
    *,
    inverse: bool,
) -> GlobalScale:
    """A scale with what speaks against it.

    Args:
        scale: The scale.
        others: The same by other methods.
        linearity: Of the same images, by this scale.
        images: What it was fitted on, as for :func:`~mono_metric_depth.scale.fit_scales`.
        inverse: Whether the network puts out inverse depth, whose zero may be anywhere.

    Returns:
        The scale with its doubts; an empty tuple where nothing speaks against it.
    """
    doubts = findings(linearity)
    for other in others:
        if other.method == 'least_squares':
            other = _undiluted(other, scale.value, images)
        doubts += disagreement(other.method, other, scale, LARGEST_DISAGREEMENT)
    if inverse:
        doubts += _shift(images, scale.value)
    return dataclasses.replace(scale, doubts=tuple(doubts))


def _undiluted(line: GlobalScale, scale: float, images: Sequence[Pairs]) -> GlobalScale:
    """Least squares without regression dilution, which says nothing against another scale.

    The line of true over predicted depth is lower by the share of noise in what is predicted,
    noise^2 / predicted^2 (Fuller, "Measurement Error Models", 1987, section 1.1).
    """
    if line.value >= scale:
        return line
    noise = sum(float(np.mean((p * scale - g) ** 2)) for p, g in images)
    share = noise / sum(float(np.mean((p * scale) ** 2)) for p, _ in images)
    factor = min(scale / line.value, 1 / max(1 - share, 1e-9))
    return dataclasses.replace(
        line, value=line.value * factor, low=line.low * factor, high=line.high * factor
    )


def _shift(images: Sequence[Pairs], scale: float) -> list[Doubt]:
    shift = measure_shift(images, scale)
    typical = float(np.median([np.median(true) for _, true in images]))
    # Depth at the median is off by this much, whichever end of the interval is right.
    certain = max(shift.low, -shift.high) * typical
    return [Doubt('shift', shift.value, shift.low, shift.high)] if certain > LARGEST_BEND else []

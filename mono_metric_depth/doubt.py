# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What speaks against a scale: a figure, and the sentence that a person reads.

Figures are kept in the model card rather than sentences: a card cannot grow, nor say anything that
is not said here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

_LARGEST = 1e9

_METHOD = (
    'methods disagree: {kind} gives a scale {value:+.1%} from this one '
    '({low:+.1%} .. {high:+.1%}), their intervals lie apart'
)
#: What may speak against a scale, and what the figure is.
DOUBTS = {
    'offset': (
        'affine, not proportional: predicted depth is off by {value:+.2f} m at zero (interval '
        '{low:.2f} .. {high:.2f})'
    ),
    'bend': (
        'not straight: off the fitted line by {value:+.0%} at {nearest:g}-{furthest:g} m of depth'
    ),
    'spread': (
        'images differ: their scales spread by {value:.1%}, which costs one scalar about as much '
        'in AbsRel'
    ),
    'noise': 'noisy: pixels deviate by {value:.0%} from the line of their own image',
    'outliers': (
        'outliers: {value:.0%} of the pixels do not belong to the line of their own image'
    ),
    'bias': (
        'biased: predicted depth is {value:+.0%} off or more in every band of distance; another '
        'scalar fits all of them better'
    ),
    'shift': (
        'inverse depth is off by {value:+.3f} 1/m (interval {low:.3f} .. {high:.3f}): networks of '
        'relative inverse depth leave a shift open, and no scalar mends it; take a metric '
        'network, or train one'
    ),
    'theil_sen': _METHOD,
    'median_ratio': _METHOD,
    'least_squares': _METHOD,
    'road': (
        'the road plane gives a scale {value:+.1%} from this one ({low:+.1%} .. {high:+.1%}), '
        'their intervals lie apart'
    ),
    'distance': (
        'no scale at all: what fits at one distance is wrong by a factor of {value:.1f} at '
        '{nearest:g}-{furthest:g} m'
    ),
    'images': (
        'no scale at all: a tenth of the images ask for more than {value:.1f} times the scale of '
        'another tenth'
    ),
}
#: With these, metres mean nothing.
_FATAL = {'distance', 'images'}
#: A road that asks for more than so many times the scale, or less than its inverse, contradicts
#: it: nobody wants metres that are wrong by a quarter on the camera that they are for.
_CONTRADICTION = 1.25
#: These make depth uncertain, not wrong on the whole.
_SCATTER = {'noise', 'outliers'}


class DoubtError(ValueError):
    """Not something that speaks against a scale."""


@dataclass(frozen=True)
class Doubt:
    """One thing that speaks against a scale.

    Attributes:
        kind: One of :data:`DOUBTS`.
        value: Its figure: ``offset`` in m, ``shift`` in 1/m, ``distance`` and ``images`` a factor,
            the others relative.
        low, high: Its interval; the figure itself where none is known.
        nearest, furthest: The band of true depth (m) that it was found in; 0 and 0 for all.
    """

    kind: str
    value: float
    low: float
    high: float
    nearest: float = 0.0
    furthest: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in DOUBTS:
            msg = f'unknown doubt {self.kind[:40]!r}; known are {", ".join(DOUBTS)}'
            raise DoubtError(msg)
        numbers = (self.value, self.low, self.high, self.nearest, self.furthest)
        if not all(math.isfinite(number) and abs(number) <= _LARGEST for number in numbers):
            msg = f'doubt {self.kind} holds a number that is not finite or too large: {numbers}'
            raise DoubtError(msg)

    @property
    def fatal(self) -> bool:
        """Whether the scale means nothing, or its camera's road contradicts it for certain."""
        if self.kind == 'road':  # whichever end of the interval is right
            return 1 + self.low > _CONTRADICTION or 1 + self.high < 1 / _CONTRADICTION
        return self.kind in _FATAL

    @property
    def scatter(self) -> bool:
        """Whether depth is only less certain, and right on the whole."""
        return self.kind in _SCATTER

    def __str__(self) -> str:
        return DOUBTS[self.kind].format(**vars(self))


class Estimate(Protocol):
    """A positive number with its confidence interval."""

    @property
    def value(self) -> float:
        """The number."""

    @property
    def low(self) -> float:
        """Lower end of the interval."""

    @property
    def high(self) -> float:
        """Upper end of the interval."""


def disagreement(kind: str, other: Estimate, scale: Estimate, limit: float) -> list[Doubt]:
    """A doubt where another way leads to another scale.

    Args:
        kind: Of the doubt.
        other: What the other way leads to.
        scale: The scale.
        limit: Relative difference that is not worth a word.

    Returns:
        None unless the two intervals lie apart and the values differ by more than the limit.
    """
    apart = other.low > scale.high or other.high < scale.low
    difference, low, high = (
        min(ratio - 1, _LARGEST)
        for ratio in (
            other.value / scale.value,
            other.low / scale.high,
            other.high / scale.low,
        )
    )
    return [Doubt(kind, difference, low, high)] if apart and abs(difference) > limit else []

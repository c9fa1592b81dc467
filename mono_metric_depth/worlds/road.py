# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The road: a gently bending centre line on the plane z = 0 and the strips beside it.

World frame: x along the road at its start, y left, z up (m). Traffic keeps to the right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mono_metric_depth.worlds.domain import Domain

#: Distance over which the camera changes its line to pass something (m).
_SWERVE = 28.0


@dataclass(frozen=True)
class Road:
    """A road of two lanes.

    Attributes:
        waves: (n, 3) amplitude (m), wave number (rad/m) and phase (rad) of the centre line.
        lane, parking, verge, pavement: Widths on each side (m).
        crossings: (n,) x of zebra crossings (m).
        side_streets: (n, 2) x of side streets (m), and +1 (left) or -1 (right).
        crossroads: (n,) x where side streets lie on both sides (m).
        side_width: Half the width of a side street (m).
        start, end: Range of x that the world fills (m).
    """

    waves: np.ndarray
    lane: float
    parking: float
    verge: float
    pavement: float
    crossings: np.ndarray
    side_streets: np.ndarray
    crossroads: np.ndarray
    side_width: float
    start: float
    end: float

    @property
    def half_width(self) -> float:
        """From the centre line to the kerb (m)."""
        return self.lane + self.parking

    @property
    def plot(self) -> float:
        """From the centre line to where the plots begin (m)."""
        return self.half_width + self.verge + self.pavement

    def centre(self, x: Any) -> Any:
        """Offset of the centre line from the x axis at x (m)."""
        return sum(a * np.sin(k * x + phase) - a * math.sin(phase) for a, k, phase in self.waves)

    def heading(self, x: Any) -> Any:
        """Angle of the centre line against the x axis (rad)."""
        return np.arctan(sum(a * k * np.cos(k * x + phase) for a, k, phase in self.waves))

    def place(self, x: float, offset: float) -> tuple[float, float, float]:
        """World x, y (m) and heading (rad) at an offset to the left of the centre line (m)."""
        heading = float(self.heading(x))
        y = float(self.centre(x)) + offset * math.cos(heading)
        return x - offset * math.sin(heading), y, heading

    def in_side_street(self, x: float, side: int, margin: float) -> bool:
        """Whether x lies within a side street on that side, or within a margin of it (m)."""
        streets = self.side_streets[self.side_streets[:, 1] == side, 0]
        return bool((np.abs(streets - x) < self.side_width + margin).any())


@dataclass(frozen=True)
class Track:
    """The line that the camera follows on its lane.

    Attributes:
        base: Offset to the left of the centre line (m).
        weave: Amplitude (m), wave number (rad/m) and phase (rad) of its weaving.
        swerves: (n, 3) first and last x of what it passes by, and the offset there (m).
        corridor: What it keeps clear on either side (m).
    """

    base: float
    weave: tuple[float, float, float]
    swerves: np.ndarray
    corridor: float

    def lateral(self, x: Any) -> Any:
        """Offset to the left of the centre line at x (m)."""
        amplitude, wave, phase = self.weave
        offset = self.base + amplitude * np.sin(wave * np.asarray(x) + phase)
        for first, last, aside in self.swerves:
            outside = np.maximum(first - x, x - last).clip(0, _SWERVE) / _SWERVE
            share = 1 - outside * outside * (3 - 2 * outside)
            offset = offset + share * np.maximum(aside - offset, 0)
        return offset


@dataclass(frozen=True)
class Trip:
    """When the camera is where.

    Attributes:
        track: The line it follows.
        seconds: (n,) times in even steps (s).
        x: (n,) how far it has come along the road then (m).
        fastest: Its highest speed (m/s).
    """

    track: Track
    seconds: np.ndarray
    x: np.ndarray
    fastest: float


def road_of(domain: Domain, rng: np.random.Generator, end: float) -> Road:
    """A road of that domain, long enough for a drive that sees as far as x = end (m)."""
    waves = np.stack(
        [
            rng.uniform(*domain.bend) * np.array([1.0, 0.35]) * rng.choice([-1, 1], 2),
            2 * math.pi / rng.uniform((160, 90), (320, 150)),
            rng.uniform(0, 2 * math.pi, 2),
        ],
        axis=1,
    )
    start = -14.0
    streets = []
    crossroads = []
    x = start + rng.uniform(5, domain.side_street[1])
    while x < end:
        sides = ((-1, 1), (-1,), (1,))[rng.choice(3, p=(0.4, 0.3, 0.3))]
        streets += [(x, side) for side in sides]
        crossroads += [x] if len(sides) == 2 else []
        x += rng.uniform(*domain.side_street)
    crossings = rng.uniform(15, end, 0 if domain.fields else max(1, round(end / 90)))
    return Road(
        waves=waves,
        lane=rng.uniform(*domain.lane_width),
        parking=rng.uniform(*domain.parking),
        verge=rng.uniform(*domain.verge),
        pavement=rng.uniform(*domain.pavement),
        crossings=crossings,
        side_streets=np.array(streets).reshape(-1, 2),
        crossroads=np.array(crossroads),
        side_width=rng.uniform(3.0, 4.2),
        start=start,
        end=end,
    )

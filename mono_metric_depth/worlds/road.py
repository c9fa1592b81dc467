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


@dataclass(frozen=True)
class Road:
    """A road of two lanes.

    Attributes:
        waves: (n, 3) amplitude (m), wave number (rad/m) and phase (rad) of the centre line.
        lane, parking, verge, pavement: Widths on each side (m).
        crossings: (n,) x of zebra crossings (m).
        side_streets: (n, 2) x of side streets (m), and +1 (left) or -1 (right).
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
    for side in (-1, 1):
        x = start + rng.uniform(5, domain.side_street[1])
        while x < end:
            streets.append((x, side))
            x += rng.uniform(*domain.side_street)
    crossings = rng.uniform(15, end, max(1, round(end / 90)))
    return Road(
        waves=waves,
        lane=rng.uniform(*domain.lane_width),
        parking=rng.uniform(*domain.parking),
        verge=rng.uniform(*domain.verge),
        pavement=rng.uniform(*domain.pavement),
        crossings=crossings,
        side_streets=np.array(streets).reshape(-1, 2),
        side_width=rng.uniform(3.0, 4.2),
        start=start,
        end=end,
    )

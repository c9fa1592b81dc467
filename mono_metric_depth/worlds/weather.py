# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Weather: where the sun stands, how much of it comes through, how wet and how hazy it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mono_metric_depth.worlds.domain import Domain

#: How often each kind of weather comes.
KINDS: dict[str, float] = {
    'clear': 0.34,
    'low sun': 0.14,
    'overcast': 0.2,
    'dusk': 0.1,
    'fog': 0.1,
    'rain': 0.12,
}


@dataclass(frozen=True)
class Weather:
    """The weather of one drive.

    Attributes:
        kind: A key of :data:`KINDS`.
        elevation, azimuth: Of the sun, azimuth against the x axis of the world (rad).
        sun: Share of the sun's light that comes through, 0..1.
        cloud: Share of the sky under clouds, 0..1.
        day: Brightness of the sky against that of a bright day, 0..1.
        haze: Distance at which haze hides 63 % of the contrast (m).
        wet: How much of the paved ground is under water, 0..1.
        veil: Share of the image that stray light fills, 0..1.
    """

    kind: str
    elevation: float
    azimuth: float
    sun: float
    cloud: float
    day: float
    haze: float
    wet: float
    veil: float


def weather_of(domain: Domain, rng: np.random.Generator) -> Weather:
    """The weather of one drive in a domain."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    height, azimuth = rng.uniform(16, 68), rng.uniform(0, 2 * math.pi)
    cloud, sun, day = rng.uniform(0, 0.62), rng.uniform(0.75, 1.0), 1.0
    haze, wet, veil = rng.uniform(*domain.haze), 0.0, rng.uniform(0, 0.03)
    if kind == 'low sun':
        height, haze = rng.uniform(5, 15), haze * rng.uniform(0.5, 1.0)
        # Half of them ahead, where it blinds.
        azimuth = rng.uniform(-0.7, 0.7) if rng.random() < 0.5 else azimuth
    elif kind == 'overcast':
        cloud, sun, haze = rng.uniform(0.85, 1.0), rng.uniform(0, 0.12), haze * 0.7
        wet = max(0.0, rng.uniform(-1.2, 0.7))
    elif kind == 'dusk':
        height, cloud, sun = rng.uniform(3, 8), rng.uniform(0, 0.9), rng.uniform(0, 0.06)
        day, wet = rng.uniform(0.15, 0.45), max(0.0, rng.uniform(-1.0, 0.8))
    elif kind == 'fog':
        cloud, sun, haze = rng.uniform(0.9, 1.0), rng.uniform(0, 0.08), rng.uniform(35, 130)
        wet, veil = rng.uniform(0, 0.4), rng.uniform(0.02, 0.08)
    elif kind == 'rain':
        cloud, sun, day = rng.uniform(0.9, 1.0), 0.0, rng.uniform(0.5, 0.9)
        haze, wet, veil = rng.uniform(90, 260), rng.uniform(0.6, 1.0), rng.uniform(0.04, 0.14)
    return Weather(kind, math.radians(height), azimuth, sun, cloud, day, haze, wet, veil)

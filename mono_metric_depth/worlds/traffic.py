# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Traffic: what moves on the road, and what stands in the camera's lane.

Nothing here ever comes nearer to the camera than a few metres ahead or a corridor beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mono_metric_depth.worlds import objects, vehicles
from mono_metric_depth.worlds.domain import Domain
from mono_metric_depth.worlds.road import Road, Trip
from mono_metric_depth.worlds.solids import WIDTH, Rows, moved

#: Least free road between the camera and what is in its way (m).
_AHEAD = 3.4
#: How fast vehicles gather and lose speed (m/s²).
_GATHER, _BRAKE = 4.0, 3.0


@dataclass(frozen=True)
class Mover:
    """Something on its way: between the given times it moves straight along the road.

    Attributes:
        rows: Its solids, about the origin, body first.
        seconds: (n,) times (s).
        x: (n,) where it is along the road then (m).
        offset: (n,) how far to the left of the centre line (m).
        yaw: Where it looks, against the heading of the road (rad).
    """

    rows: Rows
    seconds: np.ndarray
    x: np.ndarray
    offset: np.ndarray
    yaw: float

    def at(self, road: Road, seconds: float) -> Rows:
        """Its rows in the world at that time."""
        x, offset = (
            float(np.interp(seconds, self.seconds, values)) for values in (self.x, self.offset)
        )
        px, py, heading = road.place(x, offset)
        return moved(self.rows, px, py, heading + self.yaw)

    def course(self, seconds: np.ndarray) -> np.ndarray:
        """(n, 4) x, offset, and half its extent along and across the road at those times (m)."""
        along, across = vehicles.footprint(self.rows)
        cosine, sine = abs(math.cos(self.yaw)), abs(math.sin(self.yaw))
        half = cosine * along + sine * across, sine * along + cosine * across
        x, offset = (np.interp(seconds, self.seconds, values) for values in (self.x, self.offset))
        return np.stack(np.broadcast_arrays(x, offset, *half), axis=1)


@dataclass(frozen=True)
class Obstacle:
    """A vehicle that stands in part of the camera's lane.

    Attributes:
        rows: Its solids, about the origin.
        x, offset: Where it stands (m).
        half: Half its length and width (m).
    """

    rows: Rows
    x: float
    offset: float
    half: tuple[float, float]


def obstacles_of(
    domain: Domain, road: Road, rng: np.random.Generator, length: float
) -> tuple[Obstacle, ...]:
    """What stands in the camera's lane along a drive of that length (m); mostly nothing."""
    if rng.random() > domain.obstructed:
        return ()
    obstacles = []
    x = rng.uniform(14, 45)
    while x < length + 60:
        rows = vehicles.vehicle(domain, rng)
        half = vehicles.footprint(rows)
        offset = -road.lane + rng.uniform(0.3, 1.2) - half[1]
        obstacles.append(Obstacle(rows, x, offset, half))
        x += rng.uniform(100, 220)
    return tuple(obstacles)


def traffic_of(
    domain: Domain,
    road: Road,
    trip: Trip,
    obstacles: tuple[Obstacle, ...],
    rng: np.random.Generator,
) -> tuple[Mover, ...]:
    """What moves while the camera is on its trip."""
    accepted: list[Mover] = []
    seconds = trip.seconds
    camera = np.stack([trip.x, trip.track.lateral(trip.x)], axis=1)
    courses = [
        np.broadcast_to(np.array([o.x, o.offset, *o.half]), (len(seconds), 4)) for o in obstacles
    ]
    for mover in _candidates(domain, road, trip, rng, alone=not obstacles):
        course = mover.course(seconds)
        if _meets_camera(course, camera, trip.track.corridor):
            continue
        if any(_meet(course, other) for other in courses):
            continue
        accepted.append(mover)
        courses.append(course)
    return tuple(accepted)


def _meets_camera(course: np.ndarray, camera: np.ndarray, corridor: float) -> bool:
    """Whether something (n, 4) gets into the way of a camera (n, 2)."""
    gap = np.abs(course[:, :2] - camera) - course[:, 2:]
    passed = course[:, 0] + course[:, 2] < camera[:, 0] - 1.0
    return bool(((gap[:, 0] < _AHEAD) & (gap[:, 1] < corridor) & ~passed).any())


def _meet(course: np.ndarray, other: np.ndarray) -> bool:
    gap = np.abs(course[:, :2] - other[:, :2]) - course[:, 2:] - other[:, 2:]
    return bool(((gap[:, 0] < 1.0) & (gap[:, 1] < 0.25)).any())


def _candidates(
    domain: Domain, road: Road, trip: Trip, rng: np.random.Generator, *, alone: bool
) -> Iterator[Mover]:
    ahead = rng.random()
    if alone and ahead < domain.leads:
        course = _following if rng.random() < 0.55 else _stop_and_go
        rows = vehicles.vehicle(domain, rng)
        x = course(trip, vehicles.footprint(rows)[0], rng)
        lane = -road.lane / 2 + rng.uniform(-0.2, 0.2)
        yield Mover(rows, trip.seconds, x, np.full_like(x, lane), 0.0)
    if rng.random() < domain.cyclists:
        rows = vehicles.cyclist(rng)
        x = _following(trip, 0.9, rng) + rng.uniform(2, 10)
        yield Mover(rows, trip.seconds, x, np.full_like(x, -road.lane + 0.45), 0.0)
    yield from _oncoming(domain, road, trip, rng)
    yield from _crossing(domain, road, trip, rng)
    yield from _on_foot(domain, road, trip, rng)


def _following(trip: Trip, half: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) x of something ahead that keeps about the speed of the camera."""
    gap = math.exp(rng.uniform(math.log(4.5), math.log(26)))
    wave = 0.25 * np.sin(rng.uniform(0.2, 0.5) * trip.seconds + rng.uniform(0, 6))
    return np.asarray(trip.x + half + np.maximum(gap * (1 + wave), _AHEAD + 0.4))


def _stop_and_go(trip: Trip, half: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) x of something ahead that stands until the camera comes near, then drives on."""
    step = float(trip.seconds[1] - trip.seconds[0])
    # What the gap loses while the one ahead gathers speed.
    reaction = trip.fastest**2 / (2 * _GATHER) + 4.2
    widest = reaction + rng.uniform(6, 20)
    position, pace, stopping = trip.x[0] + reaction + rng.uniform(0, 16), 0.0, True
    result = np.empty_like(trip.x)
    for number, camera in enumerate(trip.x):
        gap = position - camera
        stopping = gap > widest or (stopping and gap > reaction)
        change = -_BRAKE if stopping else _GATHER
        pace = min(max(pace + change * step, 0.0), 1.3 * trip.fastest)
        position += pace * step
        result[number] = position + half
    return result


def _oncoming(domain: Domain, road: Road, trip: Trip, rng: np.random.Generator) -> Iterator[Mover]:
    duration = float(trip.seconds[-1])
    ends = np.array([0.0, duration])
    count = rng.integers(domain.movers[0], domain.movers[1] + 1) * max(1, round(duration / 6))
    for _ in range(int(count)):
        cycles = rng.random() < 0.5 * domain.cyclists
        rows = vehicles.cyclist(rng) if cycles else vehicles.vehicle(domain, rng)
        pace = rng.uniform(4, 6.5) if cycles else rng.uniform(0.8, 1.1) * trip.fastest
        pace = 0.0 if rng.random() < 0.15 else pace
        when = rng.uniform(0, duration + 3)
        meeting = float(np.interp(when, trip.seconds, trip.x)) + rng.uniform(0, 20)
        side = road.lane - 0.5 if cycles else road.lane / 2 + rng.uniform(0.1, 0.3)
        x = meeting + pace * (when - ends)
        yield Mover(rows, ends, x, np.full(2, side), math.pi)


def _crossing(domain: Domain, road: Road, trip: Trip, rng: np.random.Generator) -> Iterator[Mover]:
    """Vehicles that cross at crossroads, before the camera gets there."""
    for place in road.crossroads:
        if rng.random() < 0.3 or not 0 < place < trip.x[-1] + 60:
            continue
        rows = vehicles.vehicle(domain, rng)
        pace, way = rng.uniform(5, 10), rng.choice([-1, 1])
        late = place - rng.uniform(9, 24)
        # The camera's speed is about even; before and after its trip it is taken to go on.
        when = float(np.interp(late, trip.x, trip.seconds))
        when += min(0.0, late - float(trip.x[0])) / trip.fastest
        times = when + np.array([-8.0, 8.0])
        x = np.full(2, place - 1.6 * way * (road.side_width > 3))
        yield Mover(rows, times, x, way * pace * (times - when) * 1.0, way * math.pi / 2)


def _on_foot(domain: Domain, road: Road, trip: Trip, rng: np.random.Generator) -> Iterator[Mover]:
    """Pedestrians who cross the road, and are across before the camera gets there."""
    length = float(trip.x[-1])
    places = [float(x) for x in road.crossings]
    places += list(rng.uniform(10, length + 30, rng.poisson(length * domain.pedestrians / 500)))
    for place in places:
        way, pace = rng.choice([-1, 1]), rng.uniform(1.1, 1.8)
        late = place - rng.uniform(6, 12)
        when = float(np.interp(late, trip.x, trip.seconds))
        lane = float(trip.track.lateral(place))
        across = lane + way * (trip.track.corridor + rng.uniform(0.3, 0.7))
        first, last = -way * (road.half_width + 0.6), way * (road.half_width + 0.6)
        before, after = abs(across - first) / pace, abs(last - across) / pace
        times = np.array([when - before, when, when + after])
        x = np.full(3, place) + rng.uniform(-1, 1)
        yield Mover(
            objects.pedestrian(rng), times, x, np.array([first, across, last]), way * math.pi / 2
        )


def bodies_at(movers: tuple[Mover, ...], road: Road, seconds: float) -> tuple[Rows, Rows]:
    """(n, WIDTH) rows of all movers at a time (s), and (m, WIDTH) the bodies among them."""
    empty = np.empty((0, WIDTH))
    rows = [mover.at(road, seconds) for mover in movers]
    return np.concatenate([empty, *rows]), np.concatenate([empty, *(row[:1] for row in rows)])

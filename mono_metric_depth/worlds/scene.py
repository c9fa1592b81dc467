# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Scenes: what stands and what moves along a road."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mono_metric_depth.worlds import objects
from mono_metric_depth.worlds.domain import Domain
from mono_metric_depth.worlds.road import Road
from mono_metric_depth.worlds.solids import WIDTH, Material, Rows, moved, solid


@dataclass(frozen=True)
class Mover:
    """A car on its way: at t (s) it is at x = start + speed * t (m), offset from the centre."""

    rows: Rows
    start: float
    offset: float
    speed: float

    def at(self, road: Road, seconds: float) -> Rows:
        """Its rows in the world at that time."""
        x, y, heading = road.place(self.start + self.speed * seconds, self.offset)
        return moved(self.rows, x, y, heading + (math.pi if self.speed < 0 else 0.0))


@dataclass(frozen=True)
class Scene:
    """Everything above the ground.

    Attributes:
        static: (n, WIDTH) rows that stand still, in the world frame.
        movers: What drives.
    """

    static: Rows
    movers: tuple[Mover, ...]

    def at(self, road: Road, seconds: float) -> tuple[Rows, Rows]:
        """(n, WIDTH) all rows at a time (s), and (m, WIDTH) the bodies among those that move."""
        moving = [mover.at(road, seconds) for mover in self.movers]
        bodies = np.concatenate([np.empty((0, WIDTH)), *(rows[:1] for rows in moving)])
        return np.concatenate([self.static, *moving]), bodies


def scene_of(domain: Domain, road: Road, rng: np.random.Generator, speed: float) -> Scene:
    """A scene along a road.

    Args:
        domain: What it should look like.
        road: The road it stands along.
        rng: Source of everything that varies.
        speed: Of the camera (m/s): nothing in its lane drives slower.
    """
    rows: list[Rows] = []
    parked: list[Rows] = []
    for side in (-1, 1):
        taken = np.array(list(_steps(road, rng, domain.parked_spacing)))
        parked += _parked(domain, road, side, rng, taken)
        rows += _buildings(domain, road, side, rng)
        rows += _boundaries(domain, road, side, rng)
        # Where there is no parking lane, cars stand where trees and signs would.
        taken = taken[:0] if road.parking else taken
        rows += _greenery(domain, road, side, rng, taken)
        rows += _furniture(domain, road, side, rng, taken)
    movers = tuple(_movers(domain, road, rng, speed))[: max(1, len(parked) // 7)]
    return Scene(np.concatenate([np.empty((0, WIDTH)), *rows, *parked]), movers)


def _beside(rows: Rows, road: Road, x: float, offset: float, yaw: float = 0.0) -> Rows:
    """Rows at an offset to the left of the centre line, turned against the road by yaw (rad)."""
    px, py, heading = road.place(x, offset)
    return moved(rows, px, py, heading + yaw)


def _facing(side: int) -> float:
    """Yaw with which a thing on that side turns its negative y face to the road (rad)."""
    return 0.0 if side > 0 else math.pi


def _steps(road: Road, rng: np.random.Generator, spacing: tuple[float, float]) -> Iterator[float]:
    x = road.start + rng.uniform(0, spacing[1])
    while x < road.end:
        yield x
        x += rng.uniform(*spacing)


def _buildings(domain: Domain, road: Road, side: int, rng: np.random.Generator) -> Iterator[Rows]:
    x = road.start - 10.0
    while x < road.end:
        width = rng.uniform(*domain.building_width)
        middle = x + width / 2
        if road.in_side_street(middle, side, width / 2 + 1.0):
            x += 1.0
            continue
        depth = rng.uniform(8, 14)
        height = rng.uniform(*domain.building_height)
        offset = side * (road.plot + rng.uniform(*domain.setback))
        colours = (domain.walls, domain.roofs)
        rows = objects.building(width, depth, height, rng.random() < domain.gabled, colours, rng)
        yield _beside(rows, road, middle, offset, _facing(side))
        x += width + rng.uniform(*domain.building_gap)
    for x in _steps(road, rng, (16, 40)):
        height = rng.uniform(*domain.building_height) * 1.15
        colours = (domain.walls, domain.roofs)
        rows = objects.building(rng.uniform(10, 18), 9.0, height, True, colours, rng)
        yield _beside(rows, road, x, side * (road.plot + rng.uniform(30, 45)), _facing(side))


def _boundaries(domain: Domain, road: Road, side: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Hedges, fences and garden walls along the plots, in pieces that follow the road."""
    x = road.start
    while x < road.end:
        length, kind = rng.uniform(8, 18), rng.random()
        height, seed = rng.uniform(0.7, 1.7), rng.random()
        leaves = objects.pick(domain.foliage, rng, 0.1)
        wood = objects.pick(((150, 120, 86), (200, 196, 186), (110, 84, 62), (90, 96, 88)), rng)
        offset = side * (road.plot + 0.5)
        for piece in range(int(length / 2.5)):
            middle = x + 2.5 * (piece + 0.5)
            if road.in_side_street(middle, side, 2.5) or kind > domain.hedges + domain.fences:
                continue
            if kind < domain.hedges:
                row = solid(
                    (0, 0, height / 2),
                    (1.3, 0.42, height / 2),
                    Material.LEAVES,
                    leaves,
                    taper=(0.0, 0.0, rng.uniform(0.1, 0.3)),
                    seed=(seed + piece * 0.37) % 1.0,
                )
            else:
                row = solid(
                    (0, 0, height * 0.4),
                    (1.26, 0.05, height * 0.4),
                    Material.PLANKS,
                    wood,
                    seed=seed,
                )
            yield _beside(row, road, middle, offset)
        x += length + rng.uniform(2.5, 5)


def _greenery(
    domain: Domain, road: Road, side: int, rng: np.random.Generator, taken: np.ndarray
) -> Iterator[Rows]:
    kerb = road.half_width
    for x in _steps(road, rng, domain.tree_spacing):
        if road.in_side_street(x, side, 1.0) or (np.abs(taken - x) < 3.2).any():
            continue
        in_garden = domain.setback[1] > 3 and rng.random() < 0.5
        offset = (
            road.plot + rng.uniform(1.5, 3.5) if in_garden else kerb + max(0.8, road.verge / 2)
        )
        rows = objects.tree(rng.uniform(*domain.tree_height), domain.foliage, rng)
        yield _beside(rows, road, x, side * offset, rng.uniform(0, 6))
    for x in _steps(road, rng, (18, 30)):
        rows = objects.tree(rng.uniform(7, 13), domain.foliage, rng)
        yield _beside(rows, road, x, side * (road.plot + rng.uniform(20, 30)))
    if domain.setback[1] > 3:
        for x in _steps(road, rng, (4, 12)):
            if not road.in_side_street(x, side, 1.0):
                offset = side * (road.plot + rng.uniform(1.2, 4.0))
                yield _beside(objects.bush(rng, domain.foliage), road, x, offset)


def _furniture(
    domain: Domain, road: Road, side: int, rng: np.random.Generator, taken: np.ndarray
) -> Iterator[Rows]:
    """Lamp posts, signs, bollards, bins and pedestrians."""
    kerb = road.half_width + 0.45
    if side == rng.choice([-1, 1]) or domain.lamps < 30:
        for x in _steps(road, rng, (domain.lamps * 0.8, domain.lamps * 1.2)):
            if not road.in_side_street(x, side, 0.5):
                yield _beside(objects.lamp_post(rng), road, x, side * kerb, _facing(side))
    for x in _steps(road, rng, (20, 60)):
        if (np.abs(taken - x) < 3.0).any():
            continue
        yield _beside(objects.sign(rng), road, x, side * kerb, 0.0 if side < 0 else math.pi)
    for x in _steps(road, rng, (12, 40)):
        grey = np.full(3, rng.uniform(0.2, 0.5)) * rng.uniform(0.92, 1.08, 3)
        size = (rng.uniform(0.2, 0.35), rng.uniform(0.2, 0.35), rng.uniform(0.4, 0.65))
        row = solid((0, 0, size[2]), size, Material.PLAIN, grey, seed=rng.random())
        yield _beside(row, road, x, side * (road.plot - 0.5))
    walkway = (road.half_width + road.verge + 0.4, road.plot - 0.4)
    for x in _steps(road, rng, (100 / domain.pedestrians, 300 / domain.pedestrians)):
        yaw = rng.choice([0, math.pi]) + rng.normal(0, 0.4)
        yield _beside(objects.pedestrian(rng), road, x, side * rng.uniform(*walkway), yaw)


def _parked(
    domain: Domain, road: Road, side: int, rng: np.random.Generator, places: np.ndarray
) -> Iterator[Rows]:
    for x in places:
        if road.in_side_street(x, side, 3.0) or (np.abs(road.crossings - x) < 5).any():
            continue
        rows = objects.car(domain.cars, rng)
        if road.parking:
            offset = road.half_width - 1.08
            yaw = math.pi * (side > 0) + rng.normal(0, 0.015)
        elif rng.random() < 0.45:
            offset = road.half_width + rng.uniform(0.4, 0.8)
            yaw = math.pi * (side > 0) + rng.normal(0, 0.02)
        else:
            offset = road.plot + rng.uniform(3.0, 4.0)
            yaw = rng.choice([-1, 1]) * math.pi / 2 + rng.normal(0, 0.1)
        yield _beside(rows, road, x, side * offset, yaw)


def _movers(domain: Domain, road: Road, rng: np.random.Generator, speed: float) -> Iterator[Mover]:
    count = int(rng.integers(domain.movers[0], domain.movers[1] + 1))
    lane = road.lane / 2
    for number in range(count):
        rows = objects.car(domain.cars, rng)
        if number == 1:
            pace = speed * rng.uniform(1.05, 1.4)
            yield Mover(rows, rng.uniform(10, 35), -lane, pace)
        else:
            yield Mover(rows, rng.uniform(25, road.end), lane, -rng.uniform(6, 12))

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Scenes: what stands and what moves along a road."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mono_metric_depth.worlds import objects, vehicles
from mono_metric_depth.worlds.domain import Domain
from mono_metric_depth.worlds.road import Road, Track, Trip
from mono_metric_depth.worlds.solids import (
    MATERIAL,
    WIDTH,
    YAW,
    Material,
    Rows,
    moved,
    solid,
)
from mono_metric_depth.worlds.traffic import Mover, Obstacle, bodies_at, traffic_of

#: Over the road nothing hangs lower than this (m).
_HEADROOM = 3.0
#: Leaves stay this far from the lanes (m).
_LEAFLESS = 1.5


@dataclass(frozen=True)
class Scene:
    """Everything above the ground.

    Attributes:
        static: (n, WIDTH) rows that stand still, in the world frame.
        movers: What moves.
        obstacles: What stands in the camera's lane; its rows are among the static ones.
    """

    static: Rows
    movers: tuple[Mover, ...]
    obstacles: tuple[Obstacle, ...]

    def at(self, road: Road, seconds: float) -> tuple[Rows, Rows]:
        """(n, WIDTH) all rows at a time (s), and (m, WIDTH) the bodies among those that move."""
        moving, bodies = bodies_at(self.movers, road, seconds)
        return np.concatenate([self.static, moving]), bodies


def scene_of(
    domain: Domain,
    road: Road,
    trip: Trip,
    obstacles: tuple[Obstacle, ...],
    rng: np.random.Generator,
) -> Scene:
    """A scene along a road.

    Args:
        domain: What it should look like.
        road: The road it stands along.
        trip: Of the camera.
        obstacles: What the camera passes by.
        rng: Source of everything that varies.
    """
    groups: list[Rows] = []
    for side in (-1, 1):
        taken = np.array(list(_steps(road, rng, domain.parked_spacing)))
        groups += _parked(domain, road, side, rng, taken)
        groups += _waiting(domain, road, side, rng)
        groups += _buildings(domain, road, side, rng)
        groups += _boundaries(domain, road, side, rng)
        groups += _rails(domain, road, side, rng, taken)
        # Where there is no parking lane, cars stand where trees and signs would.
        taken = taken[:0] if road.parking else taken
        groups += _greenery(domain, road, side, rng, taken)
        groups += _furniture(domain, road, side, rng, taken)
    kept = _out_of_the_way(groups, road, trip.track, obstacles)
    kept += [_beside(o.rows, road, o.x, o.offset) for o in obstacles]
    movers = traffic_of(domain, road, trip, obstacles, rng)
    return Scene(np.concatenate([np.empty((0, WIDTH)), *kept]), movers, obstacles)


def _out_of_the_way(
    groups: list[Rows], road: Road, track: Track, obstacles: tuple[Obstacle, ...]
) -> list[Rows]:
    """The groups that leave free the lanes, the camera's corridor and what stands in its lane."""
    if not groups:
        return []
    rows = np.concatenate(groups)
    number = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    x = rows[:, 0]
    heading = road.heading(x)
    cosine, sine = np.abs(np.cos(rows[:, YAW] - heading)), np.abs(np.sin(rows[:, YAW] - heading))
    along = cosine * rows[:, 3] + sine * rows[:, 4]
    across = sine * rows[:, 3] + cosine * rows[:, 4]
    offset = (rows[:, 1] - road.centre(x)) * np.cos(heading)
    x = x + offset * np.sin(heading)
    lines = np.stack([track.lateral(x + share * along) for share in (-1, 0, 1)])
    margin = _LEAFLESS * (rows[:, MATERIAL] == Material.LEAVES)
    left = np.maximum(road.lane + margin, lines.max(0) + track.corridor)
    right = np.minimum(-road.lane - margin, lines.min(0) - track.corridor)
    low = rows[:, 2] - rows[:, 5] < _HEADROOM
    hit = low & (offset + across > right) & (offset - across < left)
    for obstacle in obstacles:
        near = np.abs(x - obstacle.x) < along + obstacle.half[0] + 0.8
        hit |= near & low & (np.abs(offset - obstacle.offset) < across + obstacle.half[1] + 0.3)
    bad = np.bincount(number, weights=hit, minlength=len(groups)) > 0
    return [group for group, drop in zip(groups, bad, strict=True) if not drop]


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
    for x in _steps(road, rng, domain.back_row):
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
        clearance = 0.0 if in_garden else rng.uniform(3.2, 4.2)
        rows = objects.tree(rng.uniform(*domain.tree_height), domain.foliage, rng, clearance)
        yield _beside(rows, road, x, side * offset, rng.uniform(0, 6))
    for x in _steps(road, rng, (18, 30)):
        rows = objects.tree(rng.uniform(7, 13), domain.foliage, rng)
        yield _beside(rows, road, x, side * (road.plot + rng.uniform(20, 30)))
    if domain.fields:
        for x in _steps(road, rng, (4, 14)):
            rows = objects.tree(rng.uniform(6, 12), domain.foliage, rng)
            yield _beside(rows, road, x, side * (road.plot + rng.uniform(35, 70)))
        for x in _steps(road, rng, (0.8, 5)):
            offset = road.half_width + rng.uniform(1.9, 4.5)
            if not road.in_side_street(x, side, 1.0):
                yield _beside(objects.tuft(rng, domain.foliage), road, x, side * offset)
    if domain.setback[1] > 3:
        for x in _steps(road, rng, (4, 12)):
            if not road.in_side_street(x, side, 1.0):
                offset = side * (road.plot + rng.uniform(1.2, 4.0))
                yield _beside(objects.bush(rng, domain.foliage), road, x, offset)


def _furniture(
    domain: Domain, road: Road, side: int, rng: np.random.Generator, taken: np.ndarray
) -> Iterator[Rows]:
    """Lamp posts, signs, boards, marker posts, bins and pedestrians."""
    kerb = road.half_width + 0.45
    if side == rng.choice([-1, 1]) or domain.lamps < 30:
        for x in _steps(road, rng, (domain.lamps * 0.8, domain.lamps * 1.2)):
            if not road.in_side_street(x, side, 0.5):
                yield _beside(objects.lamp_post(rng), road, x, side * kerb, _facing(side))
    kerb += 0.6 * domain.fields
    for x in _steps(road, rng, (20, 60)):
        if (np.abs(taken - x) < 3.0).any() or road.in_side_street(x, side, 0.5):
            continue
        yield _beside(objects.sign(rng), road, x, side * kerb, 0.0 if side < 0 else math.pi)
    for x in _steps(road, rng, (60, 260)):
        offset = side * (road.plot + 1.5 if domain.fields else road.plot - 0.6)
        if not road.in_side_street(x, side, 2.0):
            yield _beside(objects.board(rng), road, x, offset, 0.0 if side < 0 else math.pi)
    if domain.fields:
        for x in np.arange(road.start, road.end, 50.0 if side < 0 else 51.0):
            if not road.in_side_street(x, side, 0.5):
                yield _beside(objects.marker_post(), road, float(x), side * (kerb - 0.2))
        return
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
        heavy = rng.random() < 0.3 * domain.heavy
        rows = vehicles.vehicle(domain, rng) if heavy else vehicles.car(domain.cars, rng)
        if road.parking:
            offset = road.half_width - 1.0
            yaw = math.pi * (side > 0) + rng.normal(0, 0.015)
        elif rng.random() < 0.45:
            offset = road.half_width + rng.uniform(1.3, 1.7)
            yaw = math.pi * (side > 0) + rng.normal(0, 0.02)
        else:
            offset = road.plot + rng.uniform(3.0, 4.0)
            yaw = rng.choice([-1, 1]) * math.pi / 2 + rng.normal(0, 0.1)
        yield _beside(rows, road, x, side * offset, yaw)


def _waiting(domain: Domain, road: Road, side: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Vehicles that wait in side streets, seen from the front and the side."""
    for x in road.side_streets[road.side_streets[:, 1] == side, 0]:
        if rng.random() < 0.5:
            rows = vehicles.vehicle(domain, rng)
            out = road.half_width + vehicles.footprint(rows)[0] + rng.uniform(0.8, 6)
            lane = -side * road.side_width * 0.5
            yield _beside(rows, road, float(x) + lane, side * out, -side * math.pi / 2)


def _rails(
    domain: Domain, road: Road, side: int, rng: np.random.Generator, taken: np.ndarray
) -> Iterator[Rows]:
    """Guard rails, in pieces that follow the road."""
    x, offset = road.start, side * (road.half_width + rng.uniform(1.1, 1.6))
    while domain.rails and x < road.end:
        length = rng.uniform(30, 90)
        if rng.random() < domain.rails:
            for piece in range(int(length / 4)):
                middle = x + 4 * (piece + 0.5)
                if road.in_side_street(middle, side, 3.5) or (np.abs(taken - middle) < 6).any():
                    continue
                rail = solid((0, 0, 0.6), (2.02, 0.04, 0.16), Material.PLAIN, (0.62, 0.63, 0.64))
                post = solid(
                    (0, side * 0.1, 0.33), (0.05, 0.05, 0.33), Material.PLAIN, (0.45, 0.45, 0.45)
                )
                yield _beside(np.concatenate([rail, post]), road, middle, offset)
        x += length + rng.uniform(5, 30)

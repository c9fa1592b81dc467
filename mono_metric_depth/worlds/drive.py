# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Drives: sequences of frames through a procedural world, rendered on demand."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from mono_metric_depth.camera import OPTICAL_FROM_BODY, Camera, Mount
from mono_metric_depth.frame import Frame
from mono_metric_depth.worlds.domain import DOMAINS, Domain
from mono_metric_depth.worlds.render import Sensor, World
from mono_metric_depth.worlds.road import Road, Track, Trip, road_of
from mono_metric_depth.worlds.scene import scene_of
from mono_metric_depth.worlds.traffic import Obstacle, obstacles_of
from mono_metric_depth.worlds.weather import weather_of

#: How far ahead of the camera the world is filled (m).
_VIEW = 170.0
#: Nothing but the road comes nearer to the camera, where it sees it, than about this (m).
_CLEAR = 2.5

#: Drives with the same camera share its rays.
_sensor = lru_cache(maxsize=8)(Sensor)


class WorldError(ValueError):
    """A drive that cannot be made."""


def check_drive(domain: Domain | str, height: float | None, pitch: float | None) -> None:
    """Refuse what no drive can be made of, before any is.

    Args:
        domain, height, pitch: As of :class:`Drive`.

    Raises:
        WorldError: Saying what is wrong.
    """
    if isinstance(domain, str) and domain not in DOMAINS:
        msg = f'there is no domain {domain!r}; known are {", ".join(DOMAINS)}'
        raise WorldError(msg)
    if height is not None and not 0.8 <= height <= 3.0:
        msg = f'the camera must be 0.8 .. 3 m above the road, got {height}'
        raise WorldError(msg)
    if pitch is not None and not abs(pitch) <= 0.2:
        msg = f'the camera must be pitched by -0.2 .. 0.2 rad, got {pitch}'
        raise WorldError(msg)


@dataclass(frozen=True)
class Pose:
    """Where the camera is at one frame.

    Attributes:
        matrix: (4, 4) optical frame to world (m).
        mount: Attitude and height against the road at this place.
        seconds: Time since the start of the drive (s).
    """

    matrix: NDArray[np.float64]
    mount: Mount
    seconds: float


class Drive:
    """A sequence of frames, the same for the same domain and seed.

    Args:
        domain: The domain or its name.
        seed: Which of its worlds; any integer that is not negative.
        frames: Number of frames.
        camera: Instead of the drive's own, which is the domain's with a focal length of its own.
        height: Of the camera above the road (m), instead of one drawn from the domain's range.
        pitch: Mean pitch of the camera (rad, positive looks down), likewise.
        device: Where to render.
        supersample: Side of the grid of samples averaged in each pixel. Depth is always that of
            the pixel's centre.

    Attributes:
        camera: Of its frames.
        road, scene, weather: What they show.

    Raises:
        WorldError: If there is no such domain, or a number is out of range.
    """

    def __init__(
        self,
        domain: Domain | str,
        seed: int,
        frames: int = 60,
        *,
        camera: Camera | None = None,
        height: float | None = None,
        pitch: float | None = None,
        device: str | torch.device = 'cpu',
        supersample: int = 1,
    ) -> None:
        check_drive(domain, height, pitch)
        if seed < 0 or frames < 1 or supersample < 1:
            msg = (
                'a drive needs seed >= 0, frames >= 1 and supersample >= 1, '
                f'got {seed}, {frames} and {supersample}'
            )
            raise WorldError(msg)
        self.domain = DOMAINS[domain] if isinstance(domain, str) else domain
        if height is not None:
            self.domain = replace(self.domain, height=(height, height))
        self.name = f'{self.domain.name}-{seed:04d}'
        rng = np.random.default_rng([seed, zlib.crc32(self.domain.name.encode())])
        zoom = rng.uniform(*self.domain.focal)
        own = replace(
            self.domain.camera, fx=zoom * self.domain.camera.fx, fy=zoom * self.domain.camera.fy
        )
        self.camera = camera or own
        speed, phase = rng.uniform(*self.domain.speed), rng.uniform(0, 6)

        def travelled(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
            # The speed swells and ebbs by a tenth.
            swell = 0.1 / 0.8 * (np.sin(0.8 * seconds + phase) - math.sin(phase))
            return np.asarray(speed * (seconds + swell))

        seconds = np.arange(frames) / self.domain.rate
        length = float(travelled(seconds)[-1])
        self.road = road_of(self.domain, rng, length + _VIEW)
        obstacles = obstacles_of(self.domain, self.road, rng, length)
        track = _track(self.domain, self.road, obstacles, rng)
        self._poses = _poses(
            self.domain, self.road, track, travelled(seconds), seconds, rng, pitch
        )
        clock = np.arange(0.0, seconds[-1] + 0.3, 0.1)
        trip = Trip(track, clock, travelled(clock), 1.1 * speed)
        self.scene = scene_of(self.domain, self.road, trip, obstacles, rng)
        self.weather = weather_of(self.domain, rng)
        self._world = World(
            self.domain, self.road, self.scene, self.weather, rng, length, torch.device(device)
        )
        self._sensor = _sensor(self.camera, supersample, torch.device(device))
        self._noise_seed = int(rng.integers(2**31))

    def __len__(self) -> int:
        return len(self._poses)

    @property
    def mounts(self) -> list[Mount | None]:
        """The mount at each frame."""
        return [pose.mount for pose in self._poses]

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Frame:
        if not -len(self) <= index < len(self):
            msg = f'frame {index} of a drive of {len(self)} frames'
            raise IndexError(msg)
        index %= len(self)
        pose = self._poses[index]
        image, depth = self._world.render(
            self._sensor, pose.matrix, pose.seconds, self._noise_seed + index
        )
        return Frame(
            stamp=round(pose.seconds * 1e9),
            image=image.cpu().numpy(),
            camera=self.camera,
            depth=depth.cpu().numpy(),
            pose=pose.matrix.copy(),
            mount=pose.mount,
        )


def _track(
    domain: Domain, road: Road, obstacles: tuple[Obstacle, ...], rng: np.random.Generator
) -> Track:
    """The camera's line in the right lane: it weaves a little and passes by what stands there."""
    # Things beside the camera come into view where the image's edge meets them.
    edge = domain.camera.horizontal_fov / 2 / domain.focal[0] + 0.03
    corridor = _CLEAR * math.sin(edge)
    swerves = [
        (o.x - o.half[0] - 5.0, o.x + o.half[0], o.offset + o.half[1] + corridor + 0.1)
        for o in obstacles
    ]
    return Track(
        base=-road.lane / 2 + rng.uniform(-0.05, 0.25),
        weave=(rng.uniform(0.03, 0.15), 2 * math.pi / rng.uniform(40, 90), rng.uniform(0, 6)),
        swerves=np.array(swerves).reshape(-1, 3),
        corridor=corridor,
    )


def _poses(
    domain: Domain,
    road: Road,
    track: Track,
    travelled: np.ndarray,
    seconds: np.ndarray,
    rng: np.random.Generator,
    mean_pitch: float | None,
) -> list[Pose]:
    """Poses along a track; mounts shake smoothly."""

    def shaking(amplitude: float) -> np.ndarray:
        waves = [
            np.sin(rate * seconds + rng.uniform(0, 2 * math.pi))
            for rate in rng.uniform((1.5, 6), (4, 11))
        ]
        return amplitude * np.asarray(0.6 * waves[0] + 0.4 * waves[1])

    height = rng.uniform(*domain.height) + shaking(0.012)
    drawn = rng.uniform(-domain.pitch, domain.pitch)
    pitch = (drawn if mean_pitch is None else mean_pitch) + shaking(domain.jitter)
    roll = rng.uniform(-domain.roll, domain.roll) + shaking(domain.jitter * 0.7)
    offset = track.lateral(travelled)
    drift = np.arctan((track.lateral(travelled + 0.1) - track.lateral(travelled - 0.1)) / 0.2)
    yaw = drift + rng.uniform(-0.02, 0.02) + shaking(domain.jitter * 0.7)
    poses = []
    for number in range(len(seconds)):
        x, y, heading = road.place(float(travelled[number]), float(offset[number]))
        mount = Mount(
            float(pitch[number]), float(roll[number]), float(yaw[number]), float(height[number])
        )
        cosine, sine = math.cos(heading), math.sin(heading)
        turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        matrix = np.eye(4)
        matrix[:3, :3] = turn @ OPTICAL_FROM_BODY.T @ mount.rotation()
        matrix[:3, 3] = x, y, height[number]
        poses.append(Pose(matrix, mount, float(seconds[number])))
    return poses

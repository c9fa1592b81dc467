# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The road plane: how high above the road a camera stands, in the network's own units.

With a known mounting height that is one scalar without any depth truth, from many frames. On the
plane n . x = h inverse depth is linear in the ray, 1 / z = (n / h) . ray, and z (n / h) . ray - 1
is how far a point lies above (negative) or below the road, in camera heights: that is what decides
what belongs to the road.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera
from mono_metric_depth.scale import ScaleError, robust_deviation

#: Looked at on the road, in camera heights: from the nearest row to so far ahead, so far aside.
_AHEAD = 20.0
_ASIDE = 1.6
#: Nearer to the road than this (camera heights) is the road: below the height of a kerb.
_TOLERANCE = 0.07
_NARROWEST, _WIDEST = 0.02, 0.2
_PIXELS = 2048
_CANDIDATES = 96
_SCORED = 384
_ITERATIONS = 10
_ROUNDS = 500
_LEAST_FRAMES = 5

#: Refused are frames whose road tilts more than this against the level (rad),
MAX_TILT = math.radians(6.0)
#: where less than this share of what is looked at is road,
MIN_INLIERS = 0.45
#: or less than this share of it has depth.
MIN_KNOWN = 0.5

REASONS = ('unseen', 'tilt', 'clutter')


class RoadPlaneError(ValueError):
    """A frame without a plausible road, or frames that no scale can be fitted to.

    Attributes:
        reason: One of :data:`REASONS` for a frame: too little depth, a tilted plane, too much that
            is not road; ``frames`` where there are too few.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class RoadPlane:
    """The road as one frame's depth has it.

    Attributes:
        height: Of the camera above it, in the unit of the depth.
        pitch, roll: Of the camera against it, what is left beside the known attitude (rad);
            positive as in :class:`~mono_metric_depth.camera.Mount`.
        inliers: Share of the pixels looked at that belong to it.
    """

    height: float
    pitch: float
    roll: float
    inliers: float


class RoadView:
    """Where a camera sees the road ahead, and the planes of its depth.

    Everything that depends on the camera alone is made once; a frame costs well under a
    millisecond.

    Args:
        camera: A pinhole, such as the canonical camera.
        rotation: (3, 3) from the camera to one that looks along the road
            (:meth:`~mono_metric_depth.camera.Mount.rotation`), None if it does so itself.

    Raises:
        RoadPlaneError: If the camera does not see the road.
    """

    def __init__(self, camera: Camera, rotation: NDArray[np.float64] | None = None) -> None:
        rays = camera.rays().reshape(-1, 3)
        levelled = rays if rotation is None else rays @ np.asarray(rotation).T
        # The ground below a level camera lies at depth h / y along the axis.
        with np.errstate(invalid='ignore', divide='ignore'):
            ahead, aside = levelled[:, 2] / levelled[:, 1], levelled[:, 0] / levelled[:, 1]
            road = (levelled[:, 1] > 0) & (ahead > 0) & (ahead < _AHEAD) & (abs(aside) < _ASIDE)
        (pixels,) = np.nonzero(road)
        if len(pixels) < 100:
            msg = f'the {camera.width}x{camera.height} camera sees no road ahead: {len(pixels)} px'
            raise RoadPlaneError('frames', msg)
        rng = np.random.default_rng(0)
        if len(pixels) > _PIXELS:
            pixels = np.sort(rng.choice(pixels, _PIXELS, replace=False))
        self._size = (camera.height, camera.width)
        self._pixels = pixels
        self._rays = np.ascontiguousarray(levelled[pixels])
        self._products = np.einsum('ni,nj->nij', self._rays, self._rays).reshape(-1, 9)
        self._scored = rng.choice(len(pixels), min(_SCORED, len(pixels)), replace=False)
        self._triples, self._inverses = self._candidates(rng)

    def _candidates(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Triples of pixels that fix a plane well, and the inverses of their rays."""
        triples = rng.integers(0, len(self._rays), (40 * _CANDIDATES, 3))
        rays = self._rays[triples]
        with np.errstate(divide='ignore', invalid='ignore'):
            condition = np.nan_to_num(np.linalg.cond(rays), nan=np.inf)
        best = np.argsort(condition)[: 4 * _CANDIDATES]
        chosen = rng.choice(best, _CANDIDATES, replace=False)
        return triples[chosen], np.linalg.inv(rays[chosen])

    def plane(self, depth: NDArray[np.float32]) -> RoadPlane:
        """The road plane of a frame.

        Args:
            depth: (height, width) z-depth of the camera in any unit; pixels that are not finite
                and positive are left out.

        Returns:
            The plane.

        Raises:
            RoadPlaneError: If there is no plausible road; see ``reason``.
            ValueError: If the depth has another size than the camera.
        """
        if depth.shape != self._size:
            msg = f'depth has shape {depth.shape}, its camera {self._size}'
            raise ValueError(msg)
        seen = depth.ravel()[self._pixels].astype(np.float64)
        known = np.isfinite(seen) & (seen > 0)
        share = float(np.mean(known))
        if share < MIN_KNOWN:
            msg = f'depth is known for {share:.0%} of the road ahead (at least {MIN_KNOWN:.0%})'
            raise RoadPlaneError('unseen', msg)
        seen[~known] = 1.0
        plane = self._consensus(seen, known)
        for _ in range(_ITERATIONS):
            straight = self._rays @ plane
            error = seen * straight - 1
            # Tukey's biweight, as narrow as the noise allows: what touches the road is not road.
            width = 4.685 * 1.4826 * float(np.median(np.abs(error[known])))
            error /= min(max(width, _NARROWEST), _WIDEST)
            weight = np.where(known, np.maximum(1 - error**2, 0) ** 2, 0)
            # The plane's own depth as instrument: measured depth alone would make noise tilt it.
            weight /= np.maximum(straight, 1e-9)
            normal = ((weight * seen) @ self._products).reshape(3, 3)
            try:
                plane = np.linalg.solve(normal, weight @ self._rays)
            except np.linalg.LinAlgError:
                msg = 'what could be road does not span a plane'
                raise RoadPlaneError('clutter', msg) from None
        error = np.abs(seen * (self._rays @ plane) - 1)
        inliers = float(np.mean((error < _TOLERANCE)[known]))
        if inliers < MIN_INLIERS:
            msg = f'{inliers:.0%} of what lies ahead is flat road (at least {MIN_INLIERS:.0%})'
            raise RoadPlaneError('clutter', msg)
        return _plane(plane, inliers)

    def _consensus(
        self, seen: NDArray[np.float64], known: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """The level enough plane through three pixels that most others agree with."""
        usable = known[self._triples].all(axis=1)
        planes = np.einsum('nij,nj->ni', self._inverses, 1 / seen[self._triples])
        level = np.cos(MAX_TILT) * np.linalg.norm(planes, axis=1)
        usable &= planes[:, 1] >= level
        if not usable.any():
            msg = f'no plane ahead is within {math.degrees(MAX_TILT):.0f} degrees of the level'
            raise RoadPlaneError('tilt', msg)
        planes = planes[usable]
        errors = np.abs(planes @ self._rays[self._scored].T * seen[self._scored] - 1)
        agree = (errors < _TOLERANCE) & known[self._scored]
        return np.asarray(planes[int(np.argmax(agree.sum(axis=1)))])


def _plane(plane: NDArray[np.float64], inliers: float) -> RoadPlane:
    height = 1 / float(np.linalg.norm(plane))
    right, down, forward = plane * height
    tilt = math.acos(min(down, 1.0))
    if tilt > MAX_TILT:
        msg = (
            f'the road tilts by {math.degrees(tilt):.1f} degrees (at most '
            f'{math.degrees(MAX_TILT):.0f}); is the pitch and roll of the camera right?'
        )
        raise RoadPlaneError('tilt', msg)
    # The forward axis of a camera that looks down has a downward part; likewise its right one.
    return RoadPlane(height, math.atan2(forward, down), math.atan2(right, down), inliers)


@dataclass(frozen=True)
class RoadScale:
    """The one scalar from the road plane, without any depth truth.

    Attributes:
        value: Metres per unit of (unscaled) network depth: median of mounting height / height in
            network units.
        low, high: Bootstrap confidence interval over frames.
        confidence: Level of the interval.
        camera_height: The known mounting height (m); the mean where it differs between frames.
        frames: How many frames it was fitted on.
        refused: Frames without a plausible road, by reason.
        spread: Relative spread between frames, as of
            :class:`~mono_metric_depth.scale.GlobalScale`.
        source: What it was fitted on, in words.
    """

    value: float
    low: float
    high: float
    confidence: float
    camera_height: float
    frames: int
    spread: float
    source: str
    refused: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = (self.value, self.low, self.high, self.camera_height, self.spread)
        if not all(math.isfinite(number) for number in numbers):
            msg = f'road scale holds a number that is not finite: {numbers}'
            raise RoadPlaneError('frames', msg)
        if not 0 < self.low <= self.value <= self.high:
            msg = (
                f'road scale {self.value} must be positive and lie within its confidence '
                f'interval, got [{self.low}, {self.high}]'
            )
            raise RoadPlaneError('frames', msg)
        if not (
            0 < self.confidence < 1
            and self.spread >= 0
            and self.frames > 0
            and self.camera_height > 0
        ):
            msg = (
                'road scale needs a confidence within 0..1, a spread >= 0, at least one frame '
                f'and a positive camera_height (m), got {self.confidence}, {self.spread}, '
                f'{self.frames}, {self.camera_height}'
            )
            raise RoadPlaneError('frames', msg)
        for reason, count in self.refused.items():
            if reason not in REASONS or type(count) is not int or not 0 <= count < 1 << 40:
                msg = f'road scale: refused holds {reason!r}: {count!r}; reasons are {REASONS}'
                raise RoadPlaneError('frames', msg)


def check_road_height(ratios: Sequence[float], source: str) -> bool:
    """Refuse ground truth that contradicts the mounting height: a wrong unit, or a wrong height.

    Args:
        ratios: Height of the camera above the road plane in true depth, over the mounting height,
            of some frames.
        source: What the frames are, in words.

    Returns:
        Whether there were enough frames to tell.

    Raises:
        ScaleError: If the road lies elsewhere than the mounting height says.
    """
    if len(ratios) < 5:
        return False
    ratio = float(np.median(ratios))
    if not 0.7 < ratio < 1.4:
        msg = (
            f'{source}: by its ground truth the road lies {ratio:.2f} times as far below the '
            'camera as the mounting height says; one of the two is wrong. Is the ground truth in '
            'metres?'
        )
        raise ScaleError(msg)
    return True


def fit_road_scale(
    heights: Sequence[float],
    camera_heights: Sequence[float],
    refused: Mapping[str, int],
    *,
    source: str,
    confidence: float = 0.95,
    seed: int = 0,
) -> RoadScale:
    """Fit the one scalar from the road planes of many frames.

    Args:
        heights: (n,) height of the camera above the road in network units
            (:attr:`RoadPlane.height`).
        camera_heights: (n,) known mounting height of each frame's camera (m).
        refused: Frames that :meth:`RoadView.plane` refused, by reason.
        source: What the frames are, in words; goes into the model card.
        confidence: Level of the bootstrap interval.
        seed: Draws the bootstrap samples.

    Returns:
        The scale.

    Raises:
        RoadPlaneError: If there are fewer than 5 frames, or fewer than a quarter has a road.
    """
    count, others = len(heights), sum(refused.values())
    enough = count >= 0.25 * (count + others)
    if count < _LEAST_FRAMES or not enough:
        why = ', '.join(f'{reason} {number}' for reason, number in sorted(refused.items()))
        remedy = (
            'More frames are needed: longer drives, or a smaller --every'
            if enough and count
            else 'Check pitch, roll and intrinsics of the camera, and that it looks along a road'
        )
        msg = (
            f'{source}: {count} of {count + others} frames show a plausible road (refused: '
            f'{why or "none"}); at least {_LEAST_FRAMES} and a quarter are needed. {remedy}'
        )
        raise RoadPlaneError('frames', msg)
    known = np.asarray(camera_heights, np.float64)
    ratios = known / np.asarray(heights, np.float64)
    value = float(np.median(ratios))
    rng = np.random.default_rng(seed)
    rounds = [np.median(rng.choice(ratios, count)) for _ in range(_ROUNDS)]
    low, high = np.quantile(rounds, [(1 - confidence) / 2, (1 + confidence) / 2])
    return RoadScale(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        confidence=confidence,
        camera_height=float(known.mean()),
        frames=count,
        spread=robust_deviation(np.log(ratios)),
        source=source,
        refused={reason: int(number) for reason, number in sorted(refused.items()) if number},
    )

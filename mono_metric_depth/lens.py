# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Lens distortion: the models of sensor_msgs/CameraInfo, one to one or not at all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Distortion models of sensor_msgs/CameraInfo and how many coefficients each may have.
COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}

#: Rays further than this from the optical axis have no useful z-depth.
MAX_ANGLE = math.radians(89.0)
#: No lens has a coefficient beyond this, and what follows from them overflows nowhere.
MAX_COEFFICIENT = 1e9
_TABLE = 513
_DIRECTIONS = 73
_NEWTON_STEPS = 50
_HELD_STEPS = 4
#: Radii below this are the centre of the image.
_CENTRE = 1e-12


class LensError(ValueError):
    """Coefficients that do not describe a lens."""


@dataclass(frozen=True)
class Lens:
    """Where a lens moves points of the normalised image plane.

    Attributes:
        model: ``plumb_bob``, ``rational_polynomial`` or ``equidistant``.
        coefficients: In the order of sensor_msgs/CameraInfo.D (that of OpenCV).

    Raises:
        LensError: If the model is unknown, has another number of coefficients, has one beyond
            :data:`MAX_COEFFICIENT`, or folds the image at its centre.
    """

    model: str
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.model not in COEFFICIENTS:
            msg = f'unknown distortion model {self.model!r}; known are {", ".join(COEFFICIENTS)}'
            raise LensError(msg)
        if len(self.coefficients) not in COEFFICIENTS[self.model]:
            allowed = ' or '.join(map(str, COEFFICIENTS[self.model]))
            msg = (
                f'distortion model {self.model} takes {allowed} coefficients, '
                f'got {len(self.coefficients)}; check the calibration file'
            )
            raise LensError(msg)
        absurd = [value for value in self.coefficients if not abs(value) <= MAX_COEFFICIENT]
        if absurd:
            msg = (
                f'distortion coefficient {absurd[0]:g} is beyond {MAX_COEFFICIENT:g}, which no '
                'lens has; check the calibration file'
            )
            raise LensError(msg)
        if len(self.coefficients) == 14 and any(self.coefficients[12:]):
            msg = (
                'a tilted sensor (rational_polynomial with tauX, tauY) is not supported; rectify '
                'the image first and declare it rectified'
            )
            raise LensError(msg)
        _ = self._limits  # raises

    @property
    def _is_radial(self) -> bool:
        """Whether the lens moves points straight towards the centre or away from it."""
        return self.model == 'equidistant' or not any(
            (*self.coefficients[2:4], *self.coefficients[8:12])
        )

    @cached_property
    def _radii(self) -> NDArray[np.float64]:
        """(n,) undistorted radii (tan of the angle) on which the radial part rises."""
        radii = np.tan(np.linspace(0.0, MAX_ANGLE, _TABLE))
        folded = self._radial(radii)[1] <= 0
        return radii[: int(np.argmax(folded))] if folded.any() else radii

    @cached_property
    def _limits(self) -> NDArray[np.float64]:
        """(n,) largest undistorted radius in directions spread evenly over -pi..pi.

        Up to there the model is one to one: its Jacobian does not fold the plane over.
        """
        direction = np.linspace(-np.pi, np.pi, 2 if self._is_radial else _DIRECTIONS)
        radii = self._radii
        if len(radii) > 1:
            unit = np.stack([np.cos(direction), np.sin(direction)], axis=-1)
            a, b, c, d = self._jacobian(unit[:, None] * radii[:, None])
            folded = a * d - b * c <= 0
            last = np.where(folded.any(axis=1), np.argmax(folded, axis=1), len(radii)) - 1
        if len(radii) < 3 or last.min() < 2:
            msg = (
                f'distortion {self.coefficients} folds the image at its centre; check the '
                'calibration file, or calibrate the camera again'
            )
            raise LensError(msg)
        return np.asarray(radii[last])

    def _limit(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """(...) largest undistorted radius in the direction of (..., 2) points."""
        limits = self._limits
        if len(limits) == 2:
            return np.asarray(limits[0])
        # The smaller of the two neighbours; where there is no direction any will do.
        turn = (np.arctan2(point[..., 1], point[..., 0]) / np.pi + 1) / 2 * (len(limits) - 1)
        index = np.clip(np.nan_to_num(turn).astype(int), 0, len(limits) - 2)
        return np.asarray(np.minimum(limits[index], limits[index + 1]))

    def _radial(
        self, radius: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Distorted radius (normalised image plane) of an undistorted one, and its derivative."""
        if self.model == 'equidistant':
            k1, k2, k3, k4 = self.coefficients
            theta = np.arctan(radius)
            t2 = theta * theta
            distorted = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
            slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
            return distorted, slope / (1 + radius * radius)
        k = (*self.coefficients, *(0.0,) * 8)[:8]
        r2 = radius * radius
        above = 1 + r2 * (k[0] + r2 * (k[1] + r2 * k[4]))
        below = 1 + r2 * (k[5] + r2 * (k[6] + r2 * k[7]))
        above_slope = 2 * (k[0] + r2 * (2 * k[1] + r2 * 3 * k[4]))
        below_slope = 2 * (k[5] + r2 * (2 * k[6] + r2 * 3 * k[7]))
        # Past a pole of the rational model nothing is valid: a falling radius says so.
        valid = below > 1e-9
        below = np.where(valid, below, 1.0)
        slope = (above + r2 * (above_slope - above / below * below_slope)) / below
        return radius * above / below, np.where(valid, slope, -1.0)

    def distort(self, normalised: ArrayLike) -> NDArray[np.float64]:
        """Where the lens moves points of the normalised image plane.

        Args:
            normalised: (..., 2) undistorted x/z, y/z.

        Returns:
            (..., 2) distorted coordinates; NaN where the model is not one to one or the ray is
            further than :data:`MAX_ANGLE` from the axis. Formulas as in OpenCV's camera
            calibration and fisheye modules, which CameraInfo refers to.
        """
        point = np.asarray(normalised, dtype=np.float64)
        x, y = point[..., 0], point[..., 1]
        with np.errstate(invalid='ignore', over='ignore'):
            radius = np.hypot(x, y)
            inside = radius <= self._limit(point)
            safe = np.where(inside & (radius > _CENTRE), radius, 1.0)
            gain = np.where(radius > _CENTRE, self._radial(safe)[0] / safe, 1.0)
            gain = np.where(inside, gain, np.nan)
            result = np.stack([x * gain, y * gain], axis=-1)
            if not self._is_radial:
                r2 = radius * radius
                p1, p2 = self.coefficients[2:4]
                s1, s2, s3, s4 = self._thin_prism
                result[..., 0] += 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + r2 * s2)
                result[..., 1] += p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + r2 * (s3 + r2 * s4)
        return np.asarray(result)

    @property
    def _thin_prism(self) -> tuple[float, ...]:
        return (*self.coefficients[8:12], 0.0, 0.0, 0.0, 0.0)[:4]

    def undistort(self, distorted: ArrayLike) -> NDArray[np.float64]:
        """The inverse of :meth:`distort`.

        Args:
            distorted: (..., 2) distorted coordinates on the normalised image plane.

        Returns:
            (..., 2) undistorted coordinates, exact to 1e-10 where they are distorted again; NaN
            where no point maps there.
        """
        goal = np.asarray(distorted, dtype=np.float64)
        goal, shape = goal.reshape(-1, 2), goal.shape
        # The radial part inverts by table; Newton's method does the rest.
        radius = np.hypot(goal[:, 0], goal[:, 1])
        start = np.interp(radius, self._radial(self._radii)[0], self._radii)
        point = self._within_limit(
            goal * np.where(radius > _CENTRE, start / np.maximum(radius, _CENTRE), 1.0)[:, None]
        )
        point[~np.isfinite(radius)] = np.nan
        left = np.flatnonzero(np.isfinite(radius))
        held = np.zeros(len(point), np.int8)
        for _ in range(_NEWTON_STEPS):
            error = self.distort(point[left]) - goal[left]
            unsolved = np.abs(error).max(axis=1) > 1e-13
            # What the limit keeps holding back lies beyond what the lens reaches.
            unsolved &= held[left] < _HELD_STEPS
            left, error = left[unsolved], error[unsolved]
            if not left.size:
                break
            step = _solve2(self._jacobian(point[left]), error)
            free = point[left] - step
            point[left] = self._within_limit(free)
            held[left] += (point[left] != free).any(axis=1)
        error = np.abs(self.distort(point) - goal).max(axis=1, keepdims=True)
        return np.asarray(np.where(error < 1e-10, point, np.nan).reshape(shape))

    def error(self, point: NDArray[np.float64], goal: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far (..., 2) points are from those that the lens moves to (..., 2) goals.

        Of the first order; NaN beyond what the lens maps.
        """
        step = _solve2(self._jacobian(point), self.distort(point) - goal)
        return np.asarray(np.abs(step).max(axis=-1))

    def _within_limit(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) points, those that the model does not map moved towards the centre."""
        radius = np.maximum(np.hypot(point[:, 0], point[:, 1]), _CENTRE)
        # A little less, or rounding would leave them outside.
        limit = self._limit(point) * (1 - 1e-12)
        return np.where((radius > limit)[:, None], point * (limit / radius)[:, None], point)

    def _jacobian(self, point: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """The derivative of :meth:`distort` at (..., 2) points: dx/dx, dx/dy, dy/dx, dy/dy."""
        x, y = point[..., 0], point[..., 1]
        radius = np.hypot(x, y)
        safe = np.where(radius > _CENTRE, radius, 1.0)
        distorted, slope = self._radial(safe)
        gain = np.where(radius > _CENTRE, distorted / safe, 1.0)
        stretch = np.where(radius > _CENTRE, (slope - gain) / (safe * safe), 0.0)
        a, b, d = gain + stretch * x * x, stretch * x * y, gain + stretch * y * y
        if self._is_radial:
            return a, b, b, d
        p1, p2 = self.coefficients[2:4]
        s1, s2, s3, s4 = self._thin_prism
        r2 = radius * radius
        across, down = 2 * (s1 + 2 * s2 * r2), 2 * (s3 + 2 * s4 * r2)
        both = b + 2 * (p1 * x + p2 * y)
        return (
            a + 2 * p1 * y + 6 * p2 * x + across * x,
            both + across * y,
            both + down * x,
            d + 6 * p1 * y + 2 * p2 * x + down * y,
        )


def _solve2(
    matrix: tuple[NDArray[np.float64], ...], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solutions (..., 2) of 2x2 systems a, b, c, d for right sides (..., 2); 0 where singular."""
    a, b, c, d = matrix
    x, y = right[..., 0], right[..., 1]
    determinant = a * d - b * c
    regular = np.abs(determinant) > 1e-300
    solution = np.stack([d * x - b * y, a * y - c * x], axis=-1)
    divisor = np.where(regular, determinant, 1.0)
    return np.asarray(np.where(regular, 1.0, 0.0)[..., None] * solution / divisor[..., None])

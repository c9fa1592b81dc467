# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras: intrinsics, lens distortion, region of interest, binning and mounting attitude.

Pixel coordinates name pixel centres by integers: the upper left pixel covers [-0.5, 0.5] in both
directions. Camera frames are optical frames (REP-103): x right, y down, z forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Distortion models of sensor_msgs/CameraInfo and how many coefficients each may have.
COEFFICIENTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}

#: OpenCV's remap counts pixels in 16 bits.
MAX_SIZE = 16384
#: Rays further than this from the optical axis have no useful z-depth.
MAX_ANGLE = math.radians(89.0)
_TABLE = 513
_DIRECTIONS = 73
_NEWTON_STEPS = 50
_HELD_STEPS = 4
#: Radii below this are the centre of the image.
_CENTRE = 1e-12


class CameraError(ValueError):
    """A calibration that does not describe a camera."""


class RegionOfInterest(Protocol):
    """The fields of sensor_msgs/RegionOfInterest, in unbinned pixels."""

    x_offset: int
    y_offset: int
    width: int
    height: int


@dataclass(frozen=True)
class Camera:
    """A camera as an image sees it: after region of interest and binning.

    Attributes:
        width, height: Size of the image (px).
        fx, fy, cx, cy: Intrinsics (px).
        distortion_model: ``plumb_bob``, ``rational_polynomial`` or ``equidistant``.
        distortion: Coefficients in the order of sensor_msgs/CameraInfo.D (that of OpenCV); empty
            for a rectified or ideal camera.

    Raises:
        CameraError: Where the numbers do not describe a camera.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: str = 'plumb_bob'
    distortion: tuple[float, ...] = field(default=())

    def __post_init__(self) -> None:
        if not (0 < self.width <= MAX_SIZE and 0 < self.height <= MAX_SIZE):
            msg = f'camera size {self.width}x{self.height} is not within 1..{MAX_SIZE} px'
            raise CameraError(msg)
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not all(math.isfinite(value) for value in numbers):
            msg = f'camera calibration holds a value that is not finite: {numbers}'
            raise CameraError(msg)
        if self.fx <= 0 or self.fy <= 0:
            msg = f'focal lengths must be positive, got fx={self.fx}, fy={self.fy}'
            raise CameraError(msg)
        if self.distortion_model not in COEFFICIENTS:
            msg = (
                f'unknown distortion model {self.distortion_model!r}; '
                f'known are {", ".join(COEFFICIENTS)}'
            )
            raise CameraError(msg)
        if not any(self.distortion):
            object.__setattr__(self, 'distortion', ())
        elif len(self.distortion) not in COEFFICIENTS[self.distortion_model]:
            allowed = ' or '.join(map(str, COEFFICIENTS[self.distortion_model]))
            msg = (
                f'distortion model {self.distortion_model} takes {allowed} coefficients, '
                f'got {len(self.distortion)}'
            )
            raise CameraError(msg)
        if len(self.distortion) == 14 and any(self.distortion[12:]):
            msg = (
                'a tilted sensor (rational_polynomial with tauX, tauY) is not supported; rectify '
                'the image first and declare it rectified'
            )
            raise CameraError(msg)
        if self.distortion:
            _ = self._limits  # raises

    @property
    def _is_radial(self) -> bool:
        """Whether the lens moves points straight towards the centre or away from it."""
        return self.distortion_model == 'equidistant' or not any(
            (*self.distortion[2:4], *self.distortion[8:12])
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
            msg = f'distortion {self.distortion} folds the image at its centre'
            raise CameraError(msg)
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
        if self.distortion_model == 'equidistant':
            k1, k2, k3, k4 = self.distortion
            theta = np.arctan(radius)
            t2 = theta * theta
            distorted = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
            slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
            return distorted, slope / (1 + radius * radius)
        k = (*self.distortion, *(0.0,) * 8)[:8]
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
        if not self.distortion:
            return np.array(point)
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
                p1, p2 = self.distortion[2:4]
                s1, s2, s3, s4 = self._thin_prism
                result[..., 0] += 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + r2 * s2)
                result[..., 1] += p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + r2 * (s3 + r2 * s4)
        return np.asarray(result)

    @property
    def _thin_prism(self) -> tuple[float, ...]:
        return (*self.distortion[8:12], 0.0, 0.0, 0.0, 0.0)[:4]

    def undistort(self, distorted: ArrayLike) -> NDArray[np.float64]:
        """The inverse of :meth:`distort`.

        Args:
            distorted: (..., 2) distorted coordinates on the normalised image plane.

        Returns:
            (..., 2) undistorted coordinates, exact to 1e-10 where they are distorted again; NaN
            where no point maps there.
        """
        goal = np.asarray(distorted, dtype=np.float64)
        if not self.distortion:
            return np.array(goal)
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
        p1, p2 = self.distortion[2:4]
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

    def project(self, points: ArrayLike) -> NDArray[np.float64]:
        """Pixel coordinates of points.

        Args:
            points: (..., 3) points or rays in the optical frame, any unit of length.

        Returns:
            (..., 2) u, v (px), outside of the image too; NaN behind the camera and where the lens
            model is not one to one.
        """
        point = np.asarray(points, dtype=np.float64)
        ahead = point[..., 2:] > 0
        with np.errstate(invalid='ignore', divide='ignore', over='ignore'):
            normalised = np.where(ahead, point[..., :2] / point[..., 2:], np.nan)
            return self.distort(normalised) * (self.fx, self.fy) + (self.cx, self.cy)

    def rays(self, pixels: ArrayLike | None = None) -> NDArray[np.float64]:
        """Rays through pixels, as points at z = 1.

        Args:
            pixels: (..., 2) pixel coordinates u, v; every pixel of the image, (height, width, 2),
                if left out.

        Returns:
            (..., 3) x, y, 1 in the optical frame; NaN where no ray with z > 0 meets the pixel.
        """
        if pixels is None:
            pixels = np.stack(np.meshgrid(np.arange(self.width), np.arange(self.height)), axis=-1)
        pixel = np.asarray(pixels, dtype=np.float64)
        normalised = self.undistort((pixel - (self.cx, self.cy)) / (self.fx, self.fy))
        last = np.where(np.isnan(normalised[..., :1]), np.nan, 1.0)
        return np.concatenate([normalised, last], axis=-1)

    @property
    def K(self) -> tuple[float, ...]:  # noqa: N802 (the field's name)
        """The 3x3 intrinsic matrix, row-major."""
        return (self.fx, 0.0, self.cx, 0.0, self.fy, self.cy, 0.0, 0.0, 1.0)

    @property
    def horizontal_fov(self) -> float:
        """Angle between the left and right edges of the image (rad), through the centre row."""
        edges = [(-0.5, self.cy), (self.width - 0.5, self.cy)]
        angles = np.arctan(self.rays(edges)[:, 0])
        left, right = np.where(np.isnan(angles), (-MAX_ANGLE, MAX_ANGLE), angles)
        return float(right - left)

    def resized(self, width: int, height: int) -> Camera:
        """The same camera after its image is resized to another size (px)."""
        sx, sy = width / self.width, height / self.height
        return Camera(
            width,
            height,
            self.fx * sx,
            self.fy * sy,
            (self.cx + 0.5) * sx - 0.5,
            (self.cy + 0.5) * sy - 0.5,
            self.distortion_model,
            self.distortion,
        )


@dataclass(frozen=True)
class Mount:
    """How a camera is mounted: its attitude against the road and its height above it.

    Angles follow REP-103 for a vehicle with x forward, y left, z up, applied as yaw, pitch, roll:
    positive pitch looks down at the road, positive roll lifts the left side of the camera,
    positive yaw looks to the left.

    Attributes:
        pitch, roll, yaw: Attitude (rad), each within a quarter turn.
        height: Optical centre above the road (m); None if it is not known.
    """

    pitch: float = 0.0
    roll: float = 0.0
    yaw: float = 0.0
    height: float | None = None

    def __post_init__(self) -> None:
        for name in ('pitch', 'roll', 'yaw'):
            value = getattr(self, name)
            if not (math.isfinite(value) and abs(value) < math.pi / 2):
                msg = f'mount {name} must lie within -pi/2..pi/2 rad, got {value}'
                raise CameraError(msg)
        if self.height is not None and not (math.isfinite(self.height) and self.height > 0):
            msg = f'mount height must be positive (m), got {self.height}'
            raise CameraError(msg)

    @property
    def level(self) -> bool:
        """Whether the camera looks exactly along the road."""
        return self.pitch == self.roll == self.yaw == 0.0

    def rotation(self) -> NDArray[np.float64]:
        """(3, 3) rotation from the camera's optical frame to one that looks along the road."""
        cp, sp = math.cos(self.pitch), math.sin(self.pitch)
        cr, sr = math.cos(self.roll), math.sin(self.roll)
        cy, sy = math.cos(self.yaw), math.sin(self.yaw)
        yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        pitch = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        roll = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        optical_from_body = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
        return np.asarray(optical_from_body @ yaw @ pitch @ roll @ optical_from_body.T)


def mount_from_transform(vehicle_from_optical: ArrayLike, *, above_road: float = 0.0) -> Mount:
    """The mount that a calibrated transform describes.

    Args:
        vehicle_from_optical: (4, 4) optical frame to a vehicle frame with x forward, y left, z up
            (REP-103), for example ``base_link`` to the camera's optical frame from tf (m).
        above_road: Height of the vehicle frame's origin above the road (m).

    Returns:
        The mount. Its height is None if the camera would lie below the road.

    Raises:
        CameraError: If the rotation is no rotation, or the camera looks backwards.
    """
    matrix = np.asarray(vehicle_from_optical, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        msg = f'a transform is a 4x4 matrix of finite numbers, got {matrix.tolist()}'
        raise CameraError(msg)
    rotation = matrix[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
        msg = f'not a rotation: {rotation.tolist()}'
        raise CameraError(msg)
    body = rotation @ np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    pitch = math.asin(float(np.clip(-body[2, 0], -1, 1)))
    roll = math.atan2(body[2, 1], body[2, 2])
    yaw = math.atan2(body[1, 0], body[0, 0])
    height = float(matrix[2, 3]) + above_road
    return Mount(pitch, roll, yaw, height if height > 0 else None)


def camera_from_info(info: Any, *, rectified: bool = False) -> Camera:
    """The camera that a CameraInfo message describes.

    Region of interest and binning are taken into account as image_geometry does it: intrinsics
    belong to the full, unbinned sensor, and a binned pixel has the coordinates of its first pixel
    divided by the binning.

    Args:
        info: Anything with the fields of sensor_msgs/CameraInfo: ``width, height, k, d, p,
            distortion_model, binning_x, binning_y, roi`` (upper-case ``K, D, P`` are read too).
        rectified: Whether the image is already rectified (``image_rect``); its intrinsics are then
            those of P, without distortion.

    Returns:
        The camera of the image.

    Raises:
        CameraError: If the message is uncalibrated or contradicts itself.
    """
    k, d, p = (_numbers(info, name) for name in 'kdp')
    if not any(k):
        msg = (
            'camera_info is uncalibrated (K is all zero); calibrate the camera, for example with '
            'camera_calibration, and let its driver publish the result'
        )
        raise CameraError(msg)
    if len(k) != 9 or (k[3], *k[6:]) != (0.0, 0.0, 0.0, 1.0):
        msg = (
            f'camera_info.k must be fx, skew, cx, 0, fy, cy, 0, 0, 1, got {k}; check the '
            'calibration file'
        )
        raise CameraError(msg)
    fx, fy, cx, cy = k[0], k[4], k[2], k[5]
    if rectified:
        if not any(p):
            msg = 'the image is declared rectified but camera_info.p is all zero'
            raise CameraError(msg)
        if len(p) != 12 or (p[1], p[4], *p[8:11]) != (0.0, 0.0, 0.0, 0.0, 1.0):
            msg = (
                f"camera_info.p must be fx', 0, cx', Tx, 0, fy', cy', Ty, 0, 0, 1, 0, got {p}; "
                'check the calibration file'
            )
            raise CameraError(msg)
        fx, fy, cx, cy, d = p[0], p[5], p[2], p[6], ()
    elif k[1] != 0.0:
        msg = f'camera_info has a skew of {k[1]}, which is not supported; rectify the image first'
        raise CameraError(msg)
    model = info.distortion_model
    if not any(d) and model not in COEFFICIENTS:
        model = 'plumb_bob'
    width, height = int(info.width), int(info.height)
    if not (width > 0 and height > 0):
        msg = f'camera_info has the size {width}x{height}; let the driver fill it in'
        raise CameraError(msg)
    bin_x, bin_y = max(int(info.binning_x), 1), max(int(info.binning_y), 1)
    roi: RegionOfInterest = info.roi
    x0, y0 = int(roi.x_offset), int(roi.y_offset)
    roi_width, roi_height = int(roi.width) or width - x0, int(roi.height) or height - y0
    if not (0 <= x0 < x0 + roi_width <= width and 0 <= y0 < y0 + roi_height <= height):
        msg = (
            f'camera_info region of interest {roi_width}x{roi_height} at ({x0}, {y0}) leaves the '
            f'{width}x{height} sensor'
        )
        raise CameraError(msg)
    if bin_x > roi_width or bin_y > roi_height:
        msg = f'camera_info binning {bin_x}x{bin_y} leaves nothing of {roi_width}x{roi_height} px'
        raise CameraError(msg)
    return Camera(
        roi_width // bin_x,
        roi_height // bin_y,
        fx / bin_x,
        fy / bin_y,
        (cx - x0) / bin_x,
        (cy - y0) / bin_y,
        model,
        tuple(d),
    )


def _numbers(info: Any, name: str) -> Sequence[float]:
    values = getattr(info, name, None)
    if values is None:
        values = getattr(info, name.upper())
    return tuple(float(value) for value in values)


def _solve2(
    matrix: tuple[NDArray[np.float64], ...], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solutions (n, 2) of 2x2 systems a, b, c, d with right sides (n, 2); 0 where singular."""
    a, b, c, d = matrix
    x, y = right[..., 0], right[..., 1]
    determinant = a * d - b * c
    regular = np.abs(determinant) > 1e-300
    solution = np.stack([d * x - b * y, a * y - c * x], axis=-1)
    divisor = np.where(regular, determinant, 1.0)
    return np.asarray(np.where(regular, 1.0, 0.0)[:, None] * solution / divisor[:, None])

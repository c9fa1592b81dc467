# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Cameras: intrinsics, region of interest, binning and mounting attitude.

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

from mono_metric_depth.lens import COEFFICIENTS, MAX_ANGLE, Lens, LensError
from mono_metric_depth.lens_grid import LensGrid

#: OpenCV's remap counts pixels in 16 bits.
MAX_SIZE = 16384
#: A pinhole with a smaller focal length, in sides of its image, sees more than 179.8 degrees, and
#: all that others see would be the same few pixels of it.
_LEAST_FOCAL_LENGTH = 1e-3
#: No camera has intrinsics beyond this (px), and what follows from them overflows nowhere.
_MOST_INTRINSICS = 1e9
#: Rows of an image whose rays are made at once: they stay in a core's cache.
_ROWS = 64

#: (3, 3) axes of a vehicle (x forward, y left, z up) to those of an optical frame (REP-103).
OPTICAL_FROM_BODY = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])


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
            msg = (
                f'camera size {self.width}x{self.height} is not within 1..{MAX_SIZE} px; check '
                'its width and height'
            )
            raise CameraError(msg)
        self._require_usual_intrinsics()
        if self.distortion_model not in COEFFICIENTS:
            msg = (
                f'unknown distortion model {self.distortion_model!r}; known are '
                f'{", ".join(COEFFICIENTS)}; rectify the image first and declare it rectified'
            )
            raise CameraError(msg)
        if not any(self.distortion):
            object.__setattr__(self, 'distortion', ())
        _ = self._lens  # raises

    def _require_usual_intrinsics(self) -> None:
        intrinsics = (self.fx, self.fy, self.cx, self.cy)
        numbers = (*intrinsics, *self.distortion)
        if not all(math.isfinite(value) for value in numbers):
            msg = (
                f'camera calibration holds a value that is not finite: {numbers}; check the '
                'calibration file, or calibrate the camera again'
            )
            raise CameraError(msg)
        if self.fx <= 0 or self.fy <= 0:
            msg = (
                f'focal lengths must be positive, got fx={self.fx}, fy={self.fy}; check the '
                'calibration file'
            )
            raise CameraError(msg)
        for focal, side in ((self.fx, self.width), (self.fy, self.height)):
            if focal < _LEAST_FOCAL_LENGTH * side:
                msg = (
                    f'a focal length of {focal:g} px is too short for {side} px; check the '
                    'calibration file: focal lengths are in pixels'
                )
                raise CameraError(msg)
        if max(map(abs, intrinsics)) > _MOST_INTRINSICS:
            msg = (
                f'camera intrinsics {intrinsics} are beyond {_MOST_INTRINSICS:g} px; check the '
                'calibration file'
            )
            raise CameraError(msg)

    @cached_property
    def _lens(self) -> Lens | None:
        if not self.distortion:
            return None
        try:
            return Lens(self.distortion_model, self.distortion)
        except LensError as err:
            raise CameraError(str(err)) from err

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
            moved = normalised if self._lens is None else self._lens.distort(normalised)
            return np.asarray(moved * (self.fx, self.fy) + (self.cx, self.cy))

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
        normalised = (pixel - (self.cx, self.cy)) / (self.fx, self.fy)
        if self._lens is not None:
            normalised = self._lens.undistort(normalised)
        last = np.where(np.isnan(normalised[..., :1]), np.nan, 1.0)
        return np.concatenate([normalised, last], axis=-1)

    def grid_rays(
        self, u: NDArray[Any], v: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rays through the pixels of some columns and rows: :meth:`rays`, in less time.

        Args:
            u: (w,) columns (px), at most 8 px outside of the image.
            v: (h,) rows, likewise.

        Returns:
            x and y at z = 1, each (h, w), as exact as float32; NaN where there is no ray.
        """
        if self._lens_grid is None:
            x, y = np.meshgrid((u - self.cx) / self.fx, (v - self.cy) / self.fy)
        else:
            x, y = self._lens_grid(u, v)
        return x, y

    @cached_property
    def _lens_grid(self) -> LensGrid | None:
        if self._lens is None:
            return None
        return LensGrid(
            self._lens, (self.width, self.height), (self.fx, self.fy), (self.cx, self.cy)
        )

    @property
    def ray_planes(self) -> NDArray[np.float32]:
        """(2, height, width) float32 x and y of every pixel's ray at z = 1; NaN without one.

        Those of a lens are kept, for all that needs them; read them only.
        """
        if self._lens is not None:
            return self._lens_planes
        planes = np.empty((2, self.height, self.width), np.float32)
        planes[0] = (np.arange(self.width) - self.cx) / self.fx
        planes[1] = ((np.arange(self.height) - self.cy) / self.fy)[:, None]
        return planes

    @cached_property
    def _lens_planes(self) -> NDArray[np.float32]:
        assert self._lens_grid is not None
        planes = np.empty((2, self.height, self.width), np.float32)
        for first in range(0, self.height, _ROWS):
            rows = np.arange(first, min(first + _ROWS, self.height))
            planes[:, rows[0] : rows[-1] + 1] = self._lens_grid(np.arange(self.width), rows)
        planes.flags.writeable = False
        return planes

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
        return np.asarray(OPTICAL_FROM_BODY @ yaw @ pitch @ roll @ OPTICAL_FROM_BODY.T)


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
    body = rotation @ OPTICAL_FROM_BODY
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
            msg = (
                'the image is declared rectified but camera_info.p is all zero; let its publisher '
                'fill in P, or declare the image as not rectified'
            )
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
            f'{width}x{height} sensor; let its publisher fill in what the image shows of it'
        )
        raise CameraError(msg)
    if bin_x > roi_width or bin_y > roi_height:
        msg = (
            f'camera_info binning {bin_x}x{bin_y} leaves nothing of {roi_width}x{roi_height} px; '
            'let its publisher fill in that of the image'
        )
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

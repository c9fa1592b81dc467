# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Alignment: every camera's image resampled into one canonical camera, and depth carried back.

A network's up-to-scale depth goes with apparent size, so two cameras share one scale only if the
network sees both through the same intrinsics (Dana et al., arXiv 2303.07662). The canonical camera
is a pinhole; where it is *levelled* it looks along the road, and the known attitude of the mount
is taken out in the same resampling.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera

Resolution = Literal['input', 'network']

#: Shrinking by more than this is treated as if it were this much.
MAX_SHRINK = 16
#: OpenCV interpolates at 1/32 px. Near the horizon that is too coarse: a road 1 m below the camera
#: would be off by 0.6 % at 75 m. Inverse depth is refined by this first, which is exact.
_REFINE = 4
#: Less than the smallest weight that a neighbour then has.
_LEAST_WEIGHT = 0.5 / (32 * _REFINE) ** 2
#: Pixels may lie outside of an image by this much (px): rounding.
_TOLERANCE = 1e-6
#: Maps are made in blocks of about so many pixels, to keep memory small.
_BLOCK = 1 << 18


class Alignment:
    """Resampling between one camera and the canonical camera.

    The maps are made once, on first use; :meth:`align` and :meth:`restore` allocate nothing large.
    An alignment holds scratch buffers: use each method from one thread at a time;
    :meth:`align` and :meth:`restore` share none.

    Attributes:
        camera: The camera that images come from.
        canonical: The canonical camera: pinhole, no distortion.
        rotation: (3, 3) rotation from the camera's optical frame to the canonical one
            (:meth:`Mount.rotation`), or None where both look the same way.
        seen: (height, width) bool of the canonical camera: what the camera saw.
    """

    def __init__(
        self, camera: Camera, canonical: Camera, rotation: NDArray[np.float64] | None = None
    ) -> None:
        if canonical.distortion:
            msg = 'the canonical camera must be a pinhole without distortion'
            raise ValueError(msg)
        self.camera = camera
        self.canonical = canonical
        self.rotation = rotation
        self._shrink = self._shrink_factors()
        pixel, self.seen = self._source_pixels()
        self._maps = _fixed_point(pixel)
        self._unseen = np.nonzero(~self.seen)
        self._fine: NDArray[Any] | None = None

    @property
    def coverage(self) -> float:
        """Share of the canonical camera's pixels that the camera sees."""
        return float(self.seen.mean())

    def align(self, pixels: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """An image as the canonical camera would have taken it.

        One interpolation: the image is sampled once, bilinearly, at sub-pixels of the canonical
        camera as fine as the image's own pixels, and these are averaged (an area filter, so that
        shrinking does not alias).

        Args:
            pixels: (h, w) or (h, w, c) uint8, uint16 or float32, of the camera's size.
            out: Where to write: canonical size, same channels and dtype.

        Returns:
            The canonical image; 0 where the camera did not see.

        Raises:
            ValueError: If the image has another size than the camera, or ``out`` does not fit.
        """
        _require_size('image', pixels, self.camera)
        shape = (self.canonical.height, self.canonical.width, *pixels.shape[2:])
        out = _output(out, shape, pixels.dtype)
        fine = out
        if self._shrink != (1, 1):
            fine_shape = (shape[0] * self._shrink[1], shape[1] * self._shrink[0], *shape[2:])
            if (
                self._fine is None
                or self._fine.shape != fine_shape
                or self._fine.dtype != pixels.dtype
            ):
                self._fine = np.empty(fine_shape, pixels.dtype)
            fine = self._fine
        cv2.remap(pixels, *self._maps, cv2.INTER_LINEAR, dst=fine, borderMode=cv2.BORDER_REPLICATE)
        if fine is not out:
            cv2.resize(fine, shape[1::-1], dst=out, interpolation=cv2.INTER_AREA)
        out[self._unseen] = 0
        return out

    def align_depth(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Ground-truth depth as the canonical camera sees it; nearest pixel, nothing averaged.

        Args:
            depth: (h, w) float32 z-depth of the camera (m), NaN or +-Inf where there is none.

        Returns:
            (height, width) float32 z-depth along the canonical camera's axis; NaN if unseen.

        Raises:
            ValueError: If the depth has another size than the camera.
        """
        _require_size('depth', depth, self.camera)
        rays = self._canonical_rays_in_camera(self.canonical.rays())
        pixel = np.where(self.seen[..., None], self.camera.project(rays), 0.0)
        # The outer edge of the image belongs to its outermost pixel.
        last = (self.camera.width - 1, self.camera.height - 1)
        nearest = np.clip(np.rint(pixel).astype(int), 0, last)
        found = np.where(self.seen, depth[nearest[..., 1], nearest[..., 0]], np.nan)
        # The point z_camera / rays.z * canonical ray has z = z_camera / rays.z.
        return (found / rays[..., 2]).astype(np.float32)

    def output_camera(self, resolution: Resolution) -> Camera:
        """The camera whose pixels :meth:`restore` fills, in the *input's* optical frame.

        Raises:
            ValueError: If the resolution is unknown.
        """
        if resolution not in {'input', 'network'}:
            msg = f"resolution must be 'input' or 'network', got {resolution!r}"
            raise ValueError(msg)
        return self.camera if resolution == 'input' else self.canonical

    def restore(
        self,
        inverse_depth: NDArray[np.float32],
        resolution: Resolution,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Depth per pixel of the input image, or per pixel of an unrotated canonical camera.

        Inverse depth is what gets interpolated: on a plane it is linear in the pixel, so that
        planes stay exact.

        Args:
            inverse_depth: (height, width) float32 of the canonical camera (1/m).
            resolution: ``input``: the input's own pixels, its distortion included; ``network``: a
                pinhole with the canonical intrinsics. Both in the input's optical frame.
            out: Where to write, float32.

        Returns:
            (h, w) float32 z-depth (m) along the input's optical axis; NaN where the network did
            not see (nothing is extrapolated: the outer half pixel of the canonical image has no
            neighbour to interpolate with); +Inf where inverse depth is 0.

        Raises:
            ValueError: If ``inverse_depth`` has another size than the canonical camera, or ``out``
                does not fit.
        """
        camera = self.output_camera(resolution)
        _require_size('inverse depth', inverse_depth, self.canonical)
        out = _output(out, (camera.height, camera.width), np.dtype(np.float32))
        if resolution == 'network' and self.rotation is None:
            source: NDArray[np.float32] = inverse_depth
            factor = self._network_factor
        else:
            back = self._input_back if resolution == 'input' else self._network_back
            maps, factor = back
            source = self._interpolated(inverse_depth, maps, out)
        with np.errstate(divide='ignore', invalid='ignore'):
            np.divide(factor, source, out=out)
        return out

    @cached_property
    def _network_factor(self) -> NDArray[np.float32]:
        return np.where(self.seen, 1.0, np.nan).astype(np.float32)

    @cached_property
    def _input_back(self) -> tuple[tuple[Any, Any], NDArray[np.float32]]:
        return self._back_maps(self.camera)

    @cached_property
    def _network_back(self) -> tuple[tuple[Any, Any], NDArray[np.float32]]:
        return self._back_maps(self.canonical)

    def _back_maps(self, camera: Camera) -> tuple[tuple[Any, Any], NDArray[np.float32]]:
        """The way back to a camera in the input's frame.

        Returns:
            Where each of its pixels lies in the canonical image, and (h, w) the factor
            z_camera / z_canonical of its ray; NaN where the network did not see.
        """
        pixel = np.empty((camera.height, camera.width, 2), np.float32)
        factor = np.empty((camera.height, camera.width), np.float32)
        for rows in _blocks(camera.height, camera.width):
            rays = camera.rays(_grid(np.arange(camera.width), np.arange(camera.height)[rows]))
            if self.rotation is not None:
                rays = rays @ self.rotation.T
            found = self.canonical.project(rays)
            inside = _inside(found, self.canonical, 0.0)
            pixel[rows] = _or_outside(found, inside)
            with np.errstate(invalid='ignore', divide='ignore'):
                factor[rows] = np.where(inside, 1.0 / rays[..., 2], np.nan)
        maps = _fixed_point(pixel * _REFINE)
        seen = self._interpolated(self.seen.astype(np.float32), maps, np.empty_like(factor))
        factor[seen < 1 - _LEAST_WEIGHT] = np.nan
        return maps, factor

    def _interpolated(
        self, values: NDArray[np.float32], maps: tuple[Any, Any], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Values of the canonical image where the maps of :meth:`_back_maps` say."""
        refining, refined = self._refining
        for source, target, (first, second) in ((values, refined, refining), (refined, out, maps)):
            cv2.remap(
                source,
                first,
                second,
                cv2.INTER_LINEAR,
                dst=target,
                borderMode=cv2.BORDER_REPLICATE,
            )
        return out

    @cached_property
    def _refining(self) -> tuple[tuple[Any, Any], NDArray[np.float32]]:
        """Maps to a grid that is finer by _REFINE and keeps its pixels, and where to write it."""
        u, v = (
            np.arange((size - 1) * _REFINE + 1) / _REFINE
            for size in (self.canonical.width, self.canonical.height)
        )
        return _fixed_point(_grid(u, v).astype(np.float32)), np.empty((len(v), len(u)), np.float32)

    def _canonical_rays_in_camera(self, rays: NDArray[np.float64]) -> NDArray[np.float64]:
        return rays if self.rotation is None else rays @ self.rotation

    def _shrink_factors(self) -> tuple[int, int]:
        """Input pixels per canonical pixel, at most, over the image: (x, y), whole numbers."""
        pixel = self.camera.project(self._canonical_rays_in_camera(self.canonical.rays()))
        pixel[~_inside(pixel, self.camera, 0.5)] = np.nan
        factors = []
        for axis in (1, 0):
            if pixel.shape[axis] < 2:
                factors.append(1)
                continue
            steps = np.linalg.norm(np.diff(pixel, axis=axis), axis=-1)
            steps = steps[np.isfinite(steps)]
            # A few per cent of shrinking do not alias visibly.
            largest = float(np.quantile(steps, 0.99)) if steps.size else 1.0
            factors.append(min(max(math.ceil(largest - 0.05), 1), MAX_SHRINK))
        return factors[0], factors[1]

    def _source_pixels(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Input pixel of every sub-pixel of the canonical camera, and what was seen in full."""
        kx, ky = self._shrink
        width, height = self.canonical.width, self.canonical.height
        u = (np.arange(width * kx) + 0.5) / kx - 0.5
        v = (np.arange(height * ky) + 0.5) / ky - 0.5
        pixel = np.empty((height * ky, width * kx, 2), np.float32)
        inside = np.empty((height * ky, width * kx), np.bool_)
        for rows in _blocks(*inside.shape):
            rays = self.canonical.rays(_grid(u, v[rows]))
            found = self.camera.project(self._canonical_rays_in_camera(rays))
            inside[rows] = _inside(found, self.camera, 0.5)
            pixel[rows] = _or_outside(found, inside[rows])
        seen: NDArray[np.bool_] = np.all(inside.reshape(height, ky, width, kx), axis=(1, 3))
        return pixel, seen


def _require_size(name: str, array: NDArray[Any], camera: Camera) -> None:
    if array.shape[:2] != (camera.height, camera.width):
        size = 'x'.join(map(str, array.shape[1::-1]))
        msg = f'{name} is {size} but its camera is {camera.width}x{camera.height}'
        raise ValueError(msg)


def _output(
    out: NDArray[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The array to write into; OpenCV would leave one that does not fit as it is."""
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype:
        msg = f'out must be {dtype} of shape {shape}, got {out.dtype} of shape {out.shape}'
        raise ValueError(msg)
    return out


def _blocks(height: int, width: int) -> Iterator[slice]:
    """Rows of an image in blocks."""
    step = max(1, _BLOCK // width)
    return (slice(first, first + step) for first in range(0, height, step))


def _grid(u: NDArray[Any], v: NDArray[Any]) -> NDArray[np.float64]:
    """(len(v), len(u), 2) pixel coordinates."""
    return np.stack(np.meshgrid(u, v), axis=-1).astype(np.float64)


def _inside(pixel: NDArray[np.float64], camera: Camera, margin: float) -> NDArray[np.bool_]:
    """Whether pixels lie within the centres of an image's outermost pixels, and a margin (px)."""
    u, v = pixel[..., 0], pixel[..., 1]
    margin += _TOLERANCE
    across = (u >= -margin) & (u <= camera.width - 1 + margin)
    return np.asarray(across & (v >= -margin) & (v <= camera.height - 1 + margin))


def _or_outside(pixel: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Pixel coordinates, (-1, -1) where they are not inside an image."""
    return np.asarray(np.where(inside[..., None], pixel, -1.0), dtype=np.float32)


def _fixed_point(pixel: NDArray[np.float32]) -> tuple[Any, Any]:
    """The (h, w, 2) map in the form that OpenCV resamples fastest (1/32 px)."""
    columns, rows = (np.ascontiguousarray(pixel[..., axis]) for axis in range(2))
    first, second = cv2.convertMaps(columns, rows, cv2.CV_16SC2)
    return first, second

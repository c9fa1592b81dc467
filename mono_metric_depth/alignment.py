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
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera

Resolution = Literal['input', 'network']

#: Shrinking by more than this is treated as if it were this much.
MAX_SHRINK = 16
#: A canonical pixel weighs in if at least this share of it was seen.
_SEEN = 0.999


class Alignment:
    """Resampling between one camera and the canonical camera.

    The maps are made once, on first use; :meth:`align` and :meth:`restore` allocate nothing large.
    An alignment holds scratch buffers: use each from one thread at a time.

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
            ValueError: If the image has another size than the camera.
        """
        if pixels.shape[:2] != (self.camera.height, self.camera.width):
            msg = (
                f'image is {pixels.shape[1]}x{pixels.shape[0]} but its camera is '
                f'{self.camera.width}x{self.camera.height}'
            )
            raise ValueError(msg)
        shape = (self.canonical.height, self.canonical.width, *pixels.shape[2:])
        if out is None:
            out = np.empty(shape, pixels.dtype)
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
        cv2.remap(
            pixels, *self._maps, cv2.INTER_LINEAR, dst=fine, borderMode=cv2.BORDER_REPLICATE
        )
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
        """
        rays = self._canonical_rays_in_camera(self.canonical.rays())
        pixel = self.camera.project(rays)
        inside = self._inside(pixel, self.camera)
        columns, rows = np.rint(np.where(inside[..., None], pixel, 0)).astype(int).T
        found = np.where(inside.T, depth[rows, columns], np.nan).T
        # The point z_camera / rays.z * canonical ray has z = z_camera / rays.z.
        return (found / rays[..., 2]).astype(np.float32)

    def output_camera(self, resolution: Resolution) -> Camera:
        """The camera whose pixels :meth:`restore` fills, in the *input's* optical frame."""
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
            not see; +Inf where inverse depth is 0.
        """
        camera = self.output_camera(resolution)
        if out is None:
            out = np.empty((camera.height, camera.width), np.float32)
        if resolution == 'network' and self.rotation is None:
            source: NDArray[np.float32] = inverse_depth
            factor = self._network_factor
        else:
            back = self._input_back if resolution == 'input' else self._network_back
            maps, factor = back
            cv2.remap(
                inverse_depth, *maps, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REPLICATE
            )
            source = out
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
        """Where each pixel of a camera in the input's frame lies in the canonical image, and the
        factor z_camera / z_canonical of its ray; NaN where the network did not see."""
        rays = camera.rays()
        if self.rotation is not None:
            rays = rays @ self.rotation.T
        pixel = self.canonical.project(rays)
        inside = self._inside(pixel, self.canonical)
        pixel = _or_outside(pixel, inside)
        maps = _fixed_point(pixel)
        seen = cv2.remap(
            self.seen.astype(np.float32), *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        with np.errstate(invalid='ignore', divide='ignore'):
            factor = np.where(inside & (seen > _SEEN), 1.0 / rays[..., 2], np.nan)
        return maps, factor.astype(np.float32)

    def _canonical_rays_in_camera(self, rays: NDArray[np.float64]) -> NDArray[np.float64]:
        return rays if self.rotation is None else rays @ self.rotation

    def _shrink_factors(self) -> tuple[int, int]:
        """Input pixels per canonical pixel, at most, over the image: (x, y), whole numbers."""
        pixel = self.camera.project(self._canonical_rays_in_camera(self.canonical.rays()))
        pixel[~self._inside(pixel, self.camera)] = np.nan
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
        rays = self.canonical.rays(np.stack(np.meshgrid(u, v), axis=-1))
        pixel = self.camera.project(self._canonical_rays_in_camera(rays))
        inside = self._inside(pixel, self.camera)
        seen: NDArray[np.bool_] = np.all(inside.reshape(height, ky, width, kx), axis=(1, 3))
        pixel = _or_outside(pixel, inside)
        return pixel, seen

    @staticmethod
    def _inside(pixel: NDArray[np.float64], camera: Camera) -> NDArray[np.bool_]:
        u, v = pixel[..., 0], pixel[..., 1]
        edge = 0.5 + 1e-6
        return (u >= -edge) & (u <= camera.width - 1 + edge) & (v >= -edge) & (
            v <= camera.height - 1 + edge
        )


def _or_outside(pixel: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Pixel coordinates, (-1, -1) where they are not inside an image."""
    return np.asarray(np.where(inside[..., None], pixel, -1.0), dtype=np.float32)


def _fixed_point(pixel: NDArray[np.float32]) -> tuple[Any, Any]:
    """The (h, w, 2) map in the form that OpenCV resamples fastest (1/32 px)."""
    columns, rows = (np.ascontiguousarray(pixel[..., axis]) for axis in range(2))
    first, second = cv2.convertMaps(columns, rows, cv2.CV_16SC2)
    return first, second

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
from mono_metric_depth.restoration import Restoration, mark_beyond

Resolution = Literal['input', 'network']

#: Shrinking by more than this is treated as if it were this much.
MAX_SHRINK = 16
#: Samples of a canonical pixel lie at most this far apart (px of the image, halved or not): a
#: sample is bilinear, and so covers two pixels.
_SAMPLE_SPACING = 1.3
#: What blurring and interpolation take from beyond the pixels that are sampled (halved px).
_MARGIN = 3
#: Colours share the image that was halved for the network where that makes its part of the image
#: grow to this much of itself at most, and where they would have been blurred alike (halved px).
_MOST_SHARED = 1.25
_ALIKE = 0.05
#: A few per cent of shrinking do not alias visibly.
_HARMLESS = 0.05
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
        shared: Rows and columns of the halved image that :meth:`align` can leave for
            :meth:`unrotate`; None where there is nothing to share.
    """

    def __init__(
        self,
        camera: Camera,
        canonical: Camera,
        rotation: NDArray[np.float64] | None = None,
        unrotated: Alignment | None = None,
    ) -> None:
        """Makes the maps.

        Args:
            camera: The camera that images come from.
            canonical: The canonical camera.
            rotation: (3, 3) from the camera's optical frame to the canonical one; None for none.
            unrotated: The alignment of the same cameras without rotation, for :meth:`unrotate`.

        Raises:
            ValueError: If the canonical camera has distortion.
        """
        if canonical.distortion:
            msg = 'the canonical camera must be a pinhole without distortion'
            raise ValueError(msg)
        self.camera = camera
        self.canonical = canonical
        self.rotation = rotation
        shrink = self._shrink_factors()
        #: How often the image is halved before it is sampled.
        self._halvings = max(0, math.floor(math.log2((min(shrink) + _HARMLESS) / 2)))
        left = [factor / 2**self._halvings for factor in shrink]
        # Samples of what was halved need no company if its neighbours are mixed in beforehand: as
        # smooth as their mean over a canonical pixel, for half the time.
        self._blur = tuple(math.sqrt(max(factor**2 - 1, 0) / 12) for factor in left)
        self._samples = (1, 1) if self._halvings else tuple(_samples(factor) for factor in left)
        whole = [min(max(math.ceil(factor - _HARMLESS), 1), MAX_SHRINK) for factor in shrink]
        inside = self._source_pixels(whole[0], whole[1])[1]
        self.seen: NDArray[np.bool_] = np.all(inside, axis=(1, 3))
        pixel = self._source_pixels(*self._samples)[0]
        self._unrotated = unrotated
        self._source = self._part(pixel)
        self.shared = self._share(unrotated)
        self._maps = _fixed_point(self._halved(pixel))
        self._unseen = np.nonzero(~self.seen)
        self._scratch: list[NDArray[Any]] = []

    @cached_property
    def coverage(self) -> float:
        """Share of the canonical camera's pixels that the camera sees."""
        return float(self.seen.mean())

    def align(
        self,
        pixels: NDArray[Any],
        out: NDArray[Any] | None = None,
        shared: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """An image as the canonical camera would have taken it.

        One interpolation: the image is sampled bilinearly, at sub-pixels of the canonical camera
        about as fine as the image's own pixels, and these are averaged (an area filter, so that
        shrinking does not alias). Of an image four times as fine or more, the means of 2 x 2
        pixels are sampled (4 x 4 if eight times), once for each canonical pixel and after a
        Gaussian as wide as what is left to average.

        Args:
            pixels: (h, w) or (h, w, c) uint8, uint16 or float32, of the camera's size.
            out: Where to write: canonical size, same channels and dtype.
            shared: Where to leave the halved image for :meth:`unrotate`: of the size
                :attr:`shared`, same channels and dtype.

        Returns:
            The canonical image; 0 where the camera did not see.

        Raises:
            ValueError: If the image has another size than the camera, or ``out`` or ``shared``
                does not fit.
        """
        _require_size('image', pixels, self.camera)
        scratch = self._scratch_like(pixels)
        smooth = (
            scratch[-1] if shared is None else _output(shared, scratch[-1].shape, pixels.dtype)
        )
        pixels = pixels[self._source]
        for halved in scratch[: self._halvings]:
            size = halved.shape[1::-1]
            cv2.resize(pixels, size, dst=halved, interpolation=cv2.INTER_AREA)
            pixels = halved
        if self._halvings:
            across, down = self._blur
            size = tuple(2 * max(1, round(1.7 * sigma)) + 1 for sigma in self._blur)
            cv2.GaussianBlur(pixels, size, across, dst=smooth, sigmaY=down)
            pixels = smooth
        return self._sampled(pixels, out, scratch[-1])

    def unrotate(
        self,
        pixels: NDArray[Any],
        shared: NDArray[Any] | None = None,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """An image as an unrotated canonical camera would have taken it, as :meth:`align` does it.

        Args:
            pixels: As :meth:`align` has them.
            shared: What :meth:`align` left of the same pixels; saves most of the time.
            out: Where to write: canonical size, same channels and dtype.

        Returns:
            The image, pixel by pixel beside depth of the ``network``'s resolution.

        Raises:
            ValueError: As :meth:`align`, or if there is no unrotated alignment.
        """
        if self._unrotated is None:
            msg = 'this alignment was made without its unrotated one'
            raise ValueError(msg)
        if shared is None or self.shared is None:
            return self._unrotated.align(pixels, out)
        factor = 2**self._halvings
        part = tuple(
            slice((inner.start - outer.start) // factor, (inner.stop - outer.start) // factor)
            for inner, outer in zip(self._unrotated._source, self._source, strict=True)
        )
        return self._unrotated._sampled(shared[part], out)

    def _sampled(
        self, pixels: NDArray[Any], out: NDArray[Any] | None, scratch: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """The canonical image, of the part of the image that is needed.

        Args:
            pixels: The part, halved.
            out: Where to write.
            scratch: For several samples of a pixel.
        """
        shape = (self.canonical.height, self.canonical.width, *pixels.shape[2:])
        out = _output(out, shape, pixels.dtype)
        fine = out if self._samples == (1, 1) else scratch
        cv2.remap(pixels, *self._maps, cv2.INTER_LINEAR, dst=fine, borderMode=cv2.BORDER_REPLICATE)
        if fine is not None and fine is not out:
            cv2.resize(fine, shape[1::-1], dst=out, interpolation=cv2.INTER_AREA)
        if self._unseen[0].size:
            out[self._unseen] = 0
        return out

    def _scratch_like(self, pixels: NDArray[Any]) -> list[NDArray[Any]]:
        """The halved images and the samples; made anew only for another kind of image."""
        kind = (pixels.shape[2:], pixels.dtype)
        if not self._scratch or (self._scratch[-1].shape[2:], self._scratch[-1].dtype) != kind:
            rows, columns = (side.stop - side.start for side in self._source)
            sizes = [(rows >> n, columns >> n) for n in range(1, self._halvings + 1)]
            sizes.append(sizes[-1] if sizes else self._maps[0].shape[:2])
            self._scratch = [np.empty((*size, *kind[0]), kind[1]) for size in sizes]
        return self._scratch

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
        span: tuple[float, float] = (0.0, math.inf),
        *,
        kept: bool = False,
    ) -> NDArray[np.float32]:
        """Depth per pixel of the input image, or per pixel of an unrotated canonical camera.

        Inverse depth is what gets interpolated: on a plane it is linear in the pixel, so that
        planes stay exact.

        Args:
            inverse_depth: (height, width) float32 of the canonical camera (1/m), not negative, NaN
                where it is not known.
            resolution: ``input``: the input's own pixels, its distortion included; ``network``: a
                pinhole with the canonical intrinsics. Both in the input's optical frame.
            out: Where to write, float32, C-contiguous.
            span: Nearest and furthest depth (m).
            kept: Whether ``out`` is as the last call with this resolution left it: pixels that
                never get depth are not written once more.

        Returns:
            (h, w) float32 z-depth (m) along the input's optical axis; NaN where the network did
            not see (nothing is extrapolated: the outer half pixel of the canonical image has no
            neighbour to interpolate with); +Inf where it is further, -Inf where it is nearer than
            the span.

        Raises:
            ValueError: If ``inverse_depth`` has another size than the canonical camera, or ``out``
                does not fit.
        """
        camera = self.output_camera(resolution)
        _require_size('inverse depth', inverse_depth, self.canonical)
        out = _output(out, (camera.height, camera.width), np.dtype(np.float32))
        if not out.flags.c_contiguous:
            msg = 'out must be C-contiguous'
            raise ValueError(msg)
        if resolution == 'input':
            self._to_input(inverse_depth, out, span, kept=kept)
        elif self.rotation is not None:
            self._to_network(inverse_depth, out, span, kept=kept)
        else:
            extremes = (float(inverse_depth.min()), float(inverse_depth.max()))
            mark_beyond(inverse_depth, out, span, extremes)
            with np.errstate(divide='ignore', over='ignore'):
                np.divide(np.float32(1), out, out=out)
            if self._unseen[0].size:
                out[self._unseen] = np.nan
        return out

    @cached_property
    def _to_input(self) -> Restoration:
        return Restoration(self.canonical, self.seen, self.camera, self.rotation)

    @cached_property
    def _to_network(self) -> Restoration:
        return Restoration(self.canonical, self.seen, self.canonical, self.rotation)

    def _canonical_rays_in_camera(self, rays: NDArray[np.float64]) -> NDArray[np.float64]:
        return rays if self.rotation is None else rays @ self.rotation

    def _shrink_factors(self) -> tuple[float, float]:
        """Input pixels per canonical pixel, at most, over the image: (x, y)."""
        pixel = self.camera.project(self._canonical_rays_in_camera(self.canonical.rays()))
        pixel[~_inside(pixel, self.camera, 0.5)] = np.nan
        factors = []
        for axis in (1, 0):
            if pixel.shape[axis] < 2:
                factors.append(1.0)
                continue
            steps = np.linalg.norm(np.diff(pixel, axis=axis), axis=-1)
            steps = steps[np.isfinite(steps)]
            factors.append(float(np.quantile(steps, 0.99)) if steps.size else 1.0)
        return factors[0], factors[1]

    def _source_pixels(
        self, across: int, down: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Input pixels of the sub-pixels of the canonical camera.

        Args:
            across, down: Sub-pixels of each canonical pixel.

        Returns:
            (height * down, width * across, 2) px, and (height, down, width, across) whether it
            lies in the image.
        """
        width, height = self.canonical.width, self.canonical.height
        u = (np.arange(width * across) + 0.5) / across - 0.5
        v = (np.arange(height * down) + 0.5) / down - 0.5
        pixel = np.empty((height * down, width * across, 2), np.float32)
        inside = np.empty((height * down, width * across), np.bool_)
        for rows in _blocks(*inside.shape):
            rays = self.canonical.rays(_grid(u, v[rows]))
            found = self.camera.project(self._canonical_rays_in_camera(rays))
            inside[rows] = _inside(found, self.camera, 0.5)
            pixel[rows] = _or_outside(found, inside[rows])
        return pixel, inside.reshape(height, down, width, across)

    def _part(self, pixel: NDArray[np.float32]) -> tuple[slice, slice]:
        """Rows and columns of the image that are needed to sample it at these pixels.

        The last row and column of an odd number are left out, their neighbours stand for them.
        """
        factor = 2**self._halvings
        parts = []
        for axis, size in ((1, self.camera.height), (0, self.camera.width)):
            needed = pixel[..., axis][pixel[..., axis] > -1]
            low, high = (needed.min(), needed.max()) if needed.size else (0, 0)
            first = max(int(low) // factor - _MARGIN, 0)
            last = min(int(high) // factor + 1 + _MARGIN, size // factor)
            parts.append(slice(factor * first, factor * max(last, first + 1)))
        return parts[0], parts[1]

    def _share(self, other: Alignment | None) -> tuple[int, int] | None:
        """Grows the part of the image to what another alignment needs, if that pays.

        Returns:
            Its rows and columns, halved; None if nothing is shared.
        """
        if other is None or not self._halvings or self._halvings != other._halvings:
            return None
        if not np.allclose(self._blur, other._blur, rtol=0, atol=_ALIKE):
            return None
        rows, columns = (
            slice(min(own.start, theirs.start), max(own.stop, theirs.stop))
            for own, theirs in zip(self._source, other._source, strict=True)
        )
        if _area(rows, columns) > _MOST_SHARED * _area(*self._source):
            return None
        self._source = (rows, columns)
        factor = 2**self._halvings
        return (rows.stop - rows.start) // factor, (columns.stop - columns.start) // factor

    def _halved(self, pixel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pixels of the image as those of its part, halved so often."""
        rows, columns = self._source
        origin = np.array([columns.start, rows.start], np.float32)
        return np.asarray((pixel - origin + 0.5) / 2**self._halvings - 0.5, np.float32)


def _area(rows: slice, columns: slice) -> int:
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def _samples(shrink: float) -> int:
    """Samples of a canonical pixel along an axis on which it spans so many of the image's."""
    if shrink <= 1 + _HARMLESS:
        return 1
    return min(max(math.ceil(shrink / _SAMPLE_SPACING - 1e-3), 2), MAX_SHRINK)


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

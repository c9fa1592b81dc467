# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Depth of one frame, the memory it is made in, and why a frame may have none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.alignment import Alignment, Resolution
from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.image import Image

#: Less of the canonical camera than this is too little for depth.
LEAST_COVERAGE = 0.05
#: Below this, the node and ``replay`` warn.
_GOOD_COVERAGE = 0.5
#: A camera that is turned by so much sees little for that reason.
ASIDE_DEGREES = 10.0


class EstimatorError(ValueError):
    """A frame that no depth can be estimated for.

    Attributes:
        reason: A short word to count it under.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def coverage_warning(coverage: float, mount: Mount | None) -> str:
    """What speaks against a camera that sees little of the canonical camera.

    Args:
        coverage: Share of the canonical camera's pixels that it sees.
        mount: Its attitude, where known.

    Returns:
        A warning in words; '' if it sees enough.
    """
    if coverage >= _GOOD_COVERAGE:
        return ''
    text = f'the camera sees {coverage:.0%} of what the network was trained on'
    degrees = 0.0 if mount is None else math.degrees(mount.yaw)
    if abs(degrees) >= ASIDE_DEGREES:
        side = 'left' if degrees > 0 else 'right'
        return (
            f'{text}: it looks {abs(degrees):.0f} degrees to the {side}, the network along the '
            'road, and where they do not overlap there is no depth'
        )
    if coverage < LEAST_COVERAGE:
        return f'{text}, too little for depth; check its calibration and mounting angles'
    return f'{text}, depth may be less exact: check its calibration and mounting angles'


class PixelBuffer:
    """Pixels, allocated anew only when their kind changes."""

    def __init__(self) -> None:
        self._pixels: NDArray[Any] = np.empty((0,), np.uint8)

    def like(self, pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        """The buffer, of a height and width, with the channels and type of an image's pixels."""
        shape = (*size, *pixels.shape[2:])
        if self._pixels.shape != shape or self._pixels.dtype != pixels.dtype:
            self._pixels = np.empty(shape, pixels.dtype)
        return self._pixels


class DepthEstimate:
    """Depth of one frame, not yet brought to any output resolution.

    Valid until its buffer takes another frame. A thread of its own may use it while the estimator
    goes on with other buffers.

    Attributes:
        image: The frame's image.
        alignment: How the frame's camera relates to the canonical camera.
        aligned: The image as the network saw it, 0 where it saw nothing.
        inverse_depth: (height, width) float32 of the canonical camera (1/m), scaled.
        depth_range: The model's (m).
    """

    def __init__(
        self,
        image: Image,
        alignment: Alignment,
        aligned: Image,
        inverse_depth: NDArray[np.float32],
        depth_range: tuple[float, float],
        network_image: Callable[[], Image],
    ) -> None:
        self.image = image
        self.alignment = alignment
        self.aligned = aligned
        self._network_image = network_image
        self._network_colour: Image | None = None
        self.inverse_depth = inverse_depth
        self.depth_range = depth_range

    def camera(self, resolution: Resolution) -> Camera:
        """The camera that :meth:`depth` belongs to."""
        return self.alignment.output_camera(resolution)

    def depth(
        self,
        resolution: Resolution,
        out: NDArray[np.float32] | None = None,
        *,
        kept: bool = False,
    ) -> NDArray[np.float32]:
        """Metric depth in the input's optical frame.

        Args:
            resolution: Per pixel of the ``input`` or of the ``network``.
            out: Where to write, float32, C-contiguous.
            kept: Whether ``out`` is as an estimate with the same :attr:`alignment` left it at this
                resolution; takes less time.

        Returns:
            (h, w) float32 z-depth (m). As REP-117 has it: NaN where the network did not see, +Inf
            beyond the model's range, -Inf nearer than its range; never 0.
        """
        return self.alignment.restore(
            self.inverse_depth, resolution, out, self.depth_range, kept=kept
        )

    def colour(self, resolution: Resolution) -> Image:
        """The image, pixel by pixel beside :meth:`depth`; made once.

        It may be the image's own memory, or the estimator's.
        """
        if resolution == 'input':
            return self.image
        if self._network_colour is None:
            self._network_colour = self._network_image()
        return self._network_colour


class FrameBuffer:
    """Memory of one frame's estimate, used again and again.

    Args:
        canonical: The network's canonical camera.
    """

    def __init__(self, canonical: Camera) -> None:
        self.aligned, self.unrotated, self.shared = (PixelBuffer() for _ in range(3))
        self.inverse_depth = np.empty((canonical.height, canonical.width), np.float32)


def require_same_size(width: int, height: int, camera: Camera) -> None:
    """Refuse an image that is not its camera's.

    Raises:
        EstimatorError: If they differ in size.
    """
    if (width, height) != (camera.width, camera.height):
        msg = (
            f'image is {width}x{height} but camera_info describes '
            f'{camera.width}x{camera.height}; publish the camera_info of this image, with its '
            'binning and region of interest'
        )
        raise EstimatorError('size', msg)

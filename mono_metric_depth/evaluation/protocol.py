# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation protocols: which pixels of which images count, and within which range of depth.

Numbers under different protocols never compare. All of them compare at the resolution of the
ground truth, to which prediction is brought; nothing is flipped and averaged. Metric depth is
judged as it is published: what lies out of the range of the model counts as the end of it. Pixels
that the network did not see are left out, and counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.linearity import BANDS


@dataclass(frozen=True)
class Protocol:
    """How predicted depth is compared with the truth.

    Attributes:
        name: What the field calls it.
        minimum, maximum: True depth (m) that counts; scaled prediction is clamped to it.
        crop: Rows and columns that count: top, bottom, left and right as shares of the image.
        images: How many images the set has; None if that is open.
        size: Width and height (px) of the ground truth; None if it differs between images.
        source: Where the rule comes from.
        depth_range: Of the model (m): +Inf stands for more, -Inf for less.
    """

    name: str
    minimum: float
    maximum: float
    crop: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 1.0)
    images: int | None = None
    size: tuple[int, int] | None = None
    source: str = ''
    depth_range: tuple[float, float] = (0.0, math.inf)

    def within(self, depth_range: tuple[float, float]) -> Protocol:
        """The same for a model with this range (m)."""
        return replace(self, depth_range=depth_range)

    def counted(self, true: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Pixels that count.

        Args:
            true: (h, w) float32 ground truth (m).

        Returns:
            (h, w) bool: within the crop and the range.
        """
        height, width = true.shape
        top, bottom, left, right = self.crop
        # Whole pixels as the field's scripts have them: cut off, not rounded.
        rows = slice(int(top * height), int(bottom * height))
        columns = slice(int(left * width), int(right * width))
        counted = np.zeros(true.shape, np.bool_)
        part = true[rows, columns]
        with np.errstate(invalid='ignore'):
            counted[rows, columns] = (part >= self.minimum) & (part <= self.maximum)
        return counted

    def clamped(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scaled prediction (m), clamped to the protocol's range."""
        return np.clip(predicted, self.minimum, self.maximum)

    def as_published(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Depth as the model publishes it, clamped to the protocol's range.

        Args:
            predicted: (n,) metric depth (m), whether or not what is out of the model's range is
                infinite (REP-117) already: it counts as the end of the range.
        """
        return self.clamped(np.clip(predicted, *self.depth_range))

    @property
    def bands(self) -> tuple[tuple[float, float], ...]:
        """Bands of true depth (m) up to the maximum."""
        edges = [edge for edge in BANDS if edge < self.maximum] + [self.maximum]
        return tuple(zip(edges, edges[1:], strict=False))

    def warnings(self, images: int, sizes: set[tuple[int, int]]) -> list[str]:
        """What makes numbers differ from those that others published.

        Args:
            images: How many were compared.
            sizes: Width and height (px) of their ground truth.
        """
        found = []
        if self.images is not None and images != self.images:
            found.append(
                f'{self.name} has {self.images} images, {images} were compared: do not set these '
                'numbers beside published ones'
            )
        if self.size is not None and (other := sorted(sizes - {self.size})):
            found.append(
                f'{self.name} compares at {self.size[0]}x{self.size[1]}, there is ground truth of '
                f'{", ".join(f"{w}x{h}" for w, h in other)}'
            )
        return found

    def describe(self) -> str:
        """The protocol in a line that a person reads."""
        top, bottom, left, right = self.crop
        crop = 'whole image'
        if self.crop != (0.0, 1.0, 0.0, 1.0):
            crop = f'rows {top:.3f} .. {bottom:.3f} and columns {left:.3f} .. {right:.3f} of it'
        return (
            f'{self.name}: true depth {self.minimum:g} .. {self.maximum:g} m, {crop}, compared '
            f'per pixel of the ground truth{f"; {self.source}" if self.source else ""}'
        )

    def key(self) -> tuple[Any, ...]:
        """What decides about a number of one image."""
        return (self.minimum, self.maximum, self.crop)  # the range is the model's


#: With KITTI's improved ground truth there are two conventions. Those who train without ground
#: truth compare on the whole image, as Monodepth2's evaluate_depth.py with its eigen_benchmark;
#: those who train with it crop as for raw LiDAR, as BTS's eval_with_pngs.py with --garg_crop,
#: AdaBins and DPT. Papers rarely say which.
_GARG = (0.40810811, 0.99189189, 0.03594771, 0.96405229)

#: By name.
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol('all_pixels', 1e-3, 80.0),
        Protocol(
            'kitti_eigen',
            1e-3,
            80.0,
            crop=_GARG,
            images=697,
            source='Eigen split, projected LiDAR, crop of Garg et al. (ECCV 2016)',
        ),
        Protocol(
            'kitti_eigen_improved',
            1e-3,
            80.0,
            images=652,
            source='Eigen split, improved ground truth of Uhrig et al. (3DV 2017), whole image as '
            'in Godard et al. (ICCV 2019)',
        ),
        Protocol(
            'kitti_eigen_improved_garg',
            1e-3,
            80.0,
            crop=_GARG,
            images=652,
            source='Eigen split, improved ground truth of Uhrig et al. (3DV 2017), crop of Garg '
            'et al. (ECCV 2016) as in Lee et al. (2019)',
        ),
        Protocol(
            'ddad',
            1e-3,
            200.0,
            images=3950,
            size=(1936, 1216),
            source='front camera of the validation split, Guizilini et al. (CVPR 2020)',
        ),
        Protocol(
            'cityscapes',
            1e-3,
            80.0,
            # Of 2048x1024: rows 256 .. 768 (the car below them is left out), columns 192 .. 1856.
            crop=(0.25, 0.75, 0.09375, 0.90625),
            images=1525,
            size=(2048, 1024),
            source='test split, crop of Watson et al. (CVPR 2021)',
        ),
    )
}

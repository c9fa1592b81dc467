# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What a trained network is worth on a target, in every way that tells."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mono_metric_depth.linearity import Linearity, measure_linearity
from mono_metric_depth.metrics import depth_metrics, mean_metrics, valid_pixels
from mono_metric_depth.road_plane import RoadPlaneError, RoadView, fit_road_scale
from mono_metric_depth.scale import (
    Pairs,
    fit_scale,
    fit_scales,
    image_ratios,
    robust_deviation,
    scales_by_count,
)
from mono_metric_depth.training.aligned_drive import AlignedDrive
from mono_metric_depth.training.held_out import median_depth, predicted_depth

#: Raise it when a measure changes: rows are then measured again.
MEASURES_VERSION = 3
#: Every so many frames of a drive are measured: neighbours say nearly the same.
_EVERY = 2


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Unscaled depth of frames of drives.

    Attributes:
        pairs: For each frame, (n,) predicted and true depth of the valid pixels.
        frames: Number of the drive, and of the frame in it, of each.
        heights: (drives,) of the cameras above the road (m); NaN where it is not known.
        road: Scale of the road plane, and how it was fitted; None where none was found.
    """

    pairs: list[Pairs]
    frames: list[tuple[int, int]]
    heights: NDArray[np.float64]
    road: dict[str, float] | None

    def at_one_height(self) -> list[Pairs]:
        """The pairs, with predicted depth multiplied by the mounting height (m) of its drive.

        Scale goes with the height of the camera; so treated, one scalar is per metre of height.
        """
        return [
            (predicted * self.heights[drive], true)
            for (predicted, true), (drive, _) in zip(self.pairs, self.frames, strict=True)
        ]


def predictions(
    network: nn.Module,
    drives: Sequence[AlignedDrive],
    depth_range: tuple[float, float],
    levelled: bool,
) -> Predictions:
    """Predict every other frame of drives.

    Args:
        network: The depth network.
        drives: With ground truth.
        depth_range: Nearest and furthest true depth (m) that counts.
        levelled: Whether the drives' attitude was taken out.

    Returns:
        The predictions.
    """
    pairs, frames, heights = [], [], []
    road_heights, camera_heights = [], []
    refused: Counter[str] = Counter()
    for number, drive in enumerate(drives):
        mount = drive.mount
        known = mount is not None and mount.height is not None
        heights.append(mount.height if mount is not None and mount.height else np.nan)
        view = None
        if mount is not None and known:
            try:
                view = RoadView(drive.camera, None if levelled else mount.rotation())
            except RoadPlaneError as err:
                refused[err.reason] += 1
        for index in range(0, len(drive.images), _EVERY):
            depth = predicted_depth(network, drive, index)
            pair = valid_pixels(depth, drive.depth[index].astype(np.float32), *depth_range)
            if len(pair[0]) < 2:
                continue
            pairs.append(pair)
            frames.append((number, index))
            if view is None:
                continue
            try:
                road_heights.append(view.plane(depth).height)
            except RoadPlaneError as err:
                refused[err.reason] += 1
            else:
                camera_heights.append(heights[-1])
    road = None
    try:
        fitted = fit_road_scale(road_heights, camera_heights, refused, source='')
    except RoadPlaneError:
        pass
    else:
        names = ('value', 'low', 'high', 'spread', 'frames')
        road = {name: getattr(fitted, name) for name in names}
    return Predictions(pairs, frames, np.array(heights), road)


def errors(pairs: Sequence[Pairs], scales: float | NDArray[np.float64]) -> dict[str, float]:
    """AbsRel, RMSE (m) and delta1, the mean over images, of predicted depth times scales.

    Args:
        pairs: Predicted and true depth of each image.
        scales: One for all, or (n,) one for each image.
    """
    each = np.broadcast_to(scales, len(pairs))
    metrics = mean_metrics(
        [depth_metrics(p * scale, g) for (p, g), scale in zip(pairs, each, strict=True)]
    )
    return {name: getattr(metrics, name) for name in ('abs_rel', 'rmse', 'delta1')}


def measure(
    source: Predictions,
    target: Predictions,
    control: Sequence[AlignedDrive],
    test: Sequence[AlignedDrive],
    depth_range: tuple[float, float],
    annotated: Sequence[int],
    image_scales: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """All measures of one row.

    Args:
        source: What the scalar is fitted on.
        target: What it is tested on.
        control: Source drives, for the control without a network.
        test: The target's drives.
        depth_range: Nearest and furthest true depth (m) that counts.
        annotated: Numbers of annotated source images to fit on.
        image_scales: (n,) scale predicted for each target image by a network of its own.

    Returns:
        Numbers by name, nested, for JSON.
    """
    scale, paper = fit_scales(source.pairs, ('median_ratio', 'theil_sen'), source='')
    own = fit_scale(target.pairs, source='')
    ratios = image_ratios(target.pairs)
    line = measure_linearity(target.pairs, scale.value)

    def scaled(value: float) -> dict[str, float]:
        return {**errors(target.pairs, value), 'scale_error': value / own.value - 1}

    return {
        'scale': _scale(scale),
        'source': {
            **errors(source.pairs, scale.value),
            'spread': scale.spread,
            'bands': _bands(measure_linearity(source.pairs, scale.value)),
            'road': source.road,
            'height': float(np.mean(source.heights)),
        },
        'target': {
            'images': len(target.pairs),
            'transferred': scaled(scale.value),
            # The paper's estimator of the scalar.
            'theil_sen': scaled(paper.value),
            'oracle_global': scaled(own.value),
            'oracle_per_image': errors(target.pairs, ratios),
            'unscaled': scaled(1.0),
            'own_scale': _scale(own),
            'spread': robust_deviation(np.log(ratios)),
            'ratios': [round(float(ratio), 4) for ratio in ratios],
            'pearson': line.pearson,
            'spearman': line.spearman,
            'r2': line.r2,
            'image_pearson': line.image_pearson.median,
            'gain': line.gain.value,
            'offset': line.offset.value,
            'bands': _bands(line),
            'road': target.road and {**target.road, **scaled(target.road['value'])},
            'height': float(np.mean(target.heights)),
            **(
                {'image_scale_network': errors(target.pairs, image_scales)}
                if image_scales is not None
                else {}
            ),
        },
        # Were scale to go with the height of the camera, and nothing else, the transferred scale
        # would be off by this.
        'height_law': float(np.mean(source.heights) / np.mean(target.heights) - 1),
        'at_one_height': _at_one_height(source, target),
        'control': _control(control, test, depth_range),
        'annotated': [
            {**_scale(part), 'scale_error': part.value / own.value - 1}
            for part in scales_by_count(source.pairs, annotated, source='')
        ],
    }


def _scale(scale: Any) -> dict[str, float]:
    return {name: getattr(scale, name) for name in ('value', 'low', 'high', 'images')}


def _bands(line: Linearity) -> list[dict[str, float]]:
    """Predicted over true depth by distance: the median over images, with its interval."""
    return [
        {
            'nearest': band.nearest,
            'furthest': band.furthest,
            'ratio': band.ratio.value,
            'low': band.ratio.low,
            'high': band.ratio.high,
        }
        for band in line.bands
    ]


def _at_one_height(source: Predictions, target: Predictions) -> dict[str, Any] | None:
    """The transfer, where every camera's known height is taken out of the scale."""
    if not (np.isfinite(source.heights).all() and np.isfinite(target.heights).all()):
        return None
    scale = fit_scale(source.at_one_height(), source='')
    pairs = target.at_one_height()
    own = fit_scale(pairs, source='')
    return {
        **_scale(scale),
        **errors(pairs, scale.value),
        'scale_error': scale.value / own.value - 1,
        'own_scale': _scale(own),
        'spread': robust_deviation(np.log(image_ratios(pairs))),
        'source_spread': scale.spread,
    }


def _control(
    source: Sequence[AlignedDrive], test: Sequence[AlignedDrive], depth_range: tuple[float, float]
) -> dict[str, Any]:
    """Depth that knows no image, the median of the source's at each pixel."""
    guess = median_depth(source, depth_range)
    pairs = [
        valid_pixels(np.where(drive.seen, guess, np.nan), depth.astype(np.float32), *depth_range)
        for drive in test
        for depth in drive.depth[::_EVERY]
    ]
    pairs = [pair for pair in pairs if len(pair[0])]
    if not pairs:
        return {}
    ratios = image_ratios(pairs)
    return {
        'transferred': errors(pairs, 1.0),
        'oracle_global': errors(pairs, float(np.median(ratios))),
        'oracle_per_image': errors(pairs, ratios),
        'scale_error': 1 / float(np.median(ratios)) - 1,
        'spread': robust_deviation(np.log(ratios)),
    }

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Depth metrics of one image (Eigen et al., NIPS 2014), and their mean over images."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DepthMetrics:
    """Errors of predicted depth, over valid pixels.

    Attributes:
        abs_rel: mean(|p - g| / g).
        sq_rel: mean((p - g)^2 / g) (m).
        rmse: sqrt(mean((p - g)^2)) (m).
        rmse_log: sqrt(mean((ln p - ln g)^2)).
        delta1, delta2, delta3: Share of pixels with max(p / g, g / p) < 1.25, 1.25^2, 1.25^3.
    """

    abs_rel: float
    sq_rel: float
    rmse: float
    rmse_log: float
    delta1: float
    delta2: float
    delta3: float


def valid_pixels(
    predicted: NDArray[np.float32],
    true: NDArray[np.float32],
    minimum: float = 1e-3,
    maximum: float = 80.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pairs of predicted and true depth where both are known.

    Args:
        predicted: Predicted depth (m or unscaled); pixels that are not finite and positive are
            left out.
        true: Ground truth (m), same shape; pixels out of range are left out.
        minimum: Nearest ground truth (m).
        maximum: Furthest ground truth (m).

    Returns:
        (n,) predicted and (n,) true depth.

    Raises:
        ValueError: If the shapes differ.
    """
    if predicted.shape != true.shape:
        msg = f'predicted depth has shape {predicted.shape}, ground truth {true.shape}'
        raise ValueError(msg)
    with np.errstate(invalid='ignore'):
        valid = (true >= minimum) & (true <= maximum) & np.isfinite(predicted) & (predicted > 0)
    return predicted[valid].astype(np.float64), true[valid].astype(np.float64)


def depth_metrics(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> DepthMetrics:
    """Metrics of one image.

    Args:
        predicted: (n,) positive depth (m), as from :func:`valid_pixels`.
        true: (n,) ground truth (m), likewise.

    Returns:
        The metrics.

    Raises:
        ValueError: If there is no pixel.
    """
    if not len(true):
        msg = 'no valid pixel to compare: predicted depth and ground truth do not overlap'
        raise ValueError(msg)
    error = predicted - true
    ratio = np.maximum(predicted / true, true / predicted)
    return DepthMetrics(
        abs_rel=float(np.mean(np.abs(error) / true)),
        sq_rel=float(np.mean(error**2 / true)),
        rmse=float(np.sqrt(np.mean(error**2))),
        rmse_log=float(np.sqrt(np.mean(np.log(predicted / true) ** 2))),
        delta1=float(np.mean(ratio < 1.25)),
        delta2=float(np.mean(ratio < 1.25**2)),
        delta3=float(np.mean(ratio < 1.25**3)),
    )


def mean_metrics(images: Sequence[DepthMetrics]) -> DepthMetrics:
    """Mean over images of each metric."""
    if not images:
        msg = 'no image to average over'
        raise ValueError(msg)
    columns = np.mean([astuple(image) for image in images], axis=0)
    names = [field.name for field in fields(DepthMetrics)]
    return DepthMetrics(**dict(zip(names, map(float, columns), strict=True)))


def median_image(
    depths: Sequence[NDArray[np.floating]], depth_range: tuple[float, float]
) -> NDArray[np.float32]:
    """Depth that knows no image: the control without a network, which a network must beat.

    Args:
        depths: (n, h, w) true depth (m) of each of some drives, aligned; NaN unknown, +Inf sky.
        depth_range: Depth (m) is clipped to this.

    Returns:
        (h, w) float32 median true depth (m) at each pixel; NaN where none was ever known.
    """
    depth = np.concatenate(depths).astype(np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'All-NaN slice')
        return np.asarray(np.nanmedian(depth.clip(*depth_range), axis=0))

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What a network is worth on drives that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mono_metric_depth.metrics import depth_metrics, mean_metrics, median_image, valid_pixels
from mono_metric_depth.model_card import Normalisation
from mono_metric_depth.scale import Pairs, image_ratios, robust_deviation
from mono_metric_depth.training.aligned_drive import AlignedDrive

#: What the network's input is normalised by: one mean and deviation for all channels.
NORMALISATION = Normalisation(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))


@torch.inference_mode()
def predicted_depth(network: nn.Module, drive: AlignedDrive, index: int) -> NDArray[np.float32]:
    """Unscaled depth of a frame.

    Args:
        network: The network; left in evaluation mode.
        drive: The drive.
        index: Of the frame.

    Returns:
        (h, w) float32; NaN where the camera did not see.
    """
    device = next(network.parameters()).device
    network.eval()
    image = torch.from_numpy(drive.images[index]).to(device).permute(2, 0, 1)[None]
    normalised = (image.float() / 255 - NORMALISATION.mean[0]) / NORMALISATION.std[0]
    normalised = normalised * torch.from_numpy(drive.seen).to(device)
    depth = network(normalised)[0][0, 0].cpu().numpy()
    return np.asarray(np.where(drive.seen, depth, np.nan), np.float32)


def depth_pairs(
    network: nn.Module,
    drives: Sequence[AlignedDrive],
    depth_range: tuple[float, float],
    every: int = 1,
) -> list[Pairs]:
    """Unscaled predicted and true depth.

    Args:
        network: The network.
        drives: Drives with ground truth.
        depth_range: Nearest and furthest true depth (m) that counts.
        every: Only each ``every``-th frame.

    Returns:
        For each frame with ground truth, the valid pixels.
    """
    pairs = [
        valid_pixels(
            predicted_depth(network, drive, index),
            drive.depth[index].astype(np.float32),
            *depth_range,
        )
        for drive in drives
        for index in range(0, len(drive.images), every)
    ]
    return [pair for pair in pairs if len(pair[0])]


def held_out_errors(pairs: Sequence[Pairs], scale: float | None = None) -> dict[str, float]:
    """Errors of scaled depth.

    Args:
        pairs: See :func:`depth_pairs`.
        scale: The scalar; the median ratio of these very images (the oracle) if left out.

    Returns:
        ``abs_rel``, ``delta1``; ``median_ratio`` of true and predicted depth, and its relative
        ``spread`` between images.
    """
    ratios = image_ratios(pairs)
    oracle = float(np.median(ratios))
    metrics = mean_metrics([depth_metrics(p * (scale or oracle), g) for p, g in pairs])
    return {
        'abs_rel': metrics.abs_rel,
        'delta1': metrics.delta1,
        'median_ratio': oracle,
        'spread': robust_deviation(np.log(ratios)),
    }


def transfer_errors(
    network: nn.Module,
    drives: Sequence[AlignedDrive],
    scale: float,
    control: NDArray[np.float32] | None,
    depth_range: tuple[float, float],
) -> dict[str, float]:
    """Errors on target drives, with the source's scale and beside what would be easy.

    Args:
        network: The network.
        drives: Held-out target drives.
        scale: The scalar of the source.
        control: (h, w) depth (m) that knows no image; see :func:`median_depth`. None for none.
        depth_range: Nearest and furthest true depth (m) that counts.

    Returns:
        ``abs_rel``, ``delta1``: transferred; ``oracle_abs_rel``: with the median ratio of the
        target itself; ``scale_error``: transferred / oracle - 1; ``control_abs_rel``: of the
        control, which a result must beat to mean something.
    """
    pairs = depth_pairs(network, drives, depth_range, every=2)
    transferred, best = held_out_errors(pairs, scale), held_out_errors(pairs)
    errors = {
        'abs_rel': transferred['abs_rel'],
        'delta1': transferred['delta1'],
        'oracle_abs_rel': best['abs_rel'],
        'scale_error': scale / best['median_ratio'] - 1,
    }
    if control is None:
        return errors
    guesses = [
        valid_pixels(np.where(drive.seen, control, np.nan), depth.astype(np.float32), *depth_range)
        for drive in drives
        for depth in drive.depth[::2]
    ]
    guessed = mean_metrics([depth_metrics(*pair) for pair in guesses if len(pair[0])])
    return {**errors, 'control_abs_rel': guessed.abs_rel}


def median_depth(
    drives: Sequence[AlignedDrive], depth_range: tuple[float, float]
) -> NDArray[np.float32]:
    """Depth that knows no image: the control without any network.

    Args:
        drives: Drives with ground truth.
        depth_range: Depth (m) is clipped to this.

    Returns:
        (h, w) float32 median true depth (m) at each pixel; NaN where none was ever known.
    """
    return median_image([drive.depth[::10] for drive in drives], depth_range)

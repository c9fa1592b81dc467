# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""View reconstruction and the losses built on it (Monodepth2, Godard et al., ICCV 2019)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SSIM_SHARE = 0.85
_C1, _C2 = 0.01**2, 0.03**2
_GREY = (0.299, 0.587, 0.114)


def warp(
    neighbour: Tensor, depth: Tensor, motion: Tensor, intrinsics: Tensor
) -> tuple[Tensor, Tensor]:
    """The current view, reconstructed from a neighbour's pixels.

    Args:
        neighbour: (b, c, h, w) float32 image of the neighbour.
        depth: (b, 1, h, w) float32 z-depth of the current view.
        motion: (b, 4, 4) current camera's frame to the neighbour's.
        intrinsics: (b, 4) fx, fy, cx, cy (px), of both.

    Returns:
        (b, c, h, w) reconstruction, and (b, 1, h, w) bool: where it fell inside the neighbour.
    """
    b, _, h, w = depth.shape
    fx, fy, cx, cy = (intrinsics[:, i].view(b, 1, 1) for i in range(4))
    v, u = torch.meshgrid(
        torch.arange(h, device=depth.device, dtype=depth.dtype),
        torch.arange(w, device=depth.device, dtype=depth.dtype),
        indexing='ij',
    )
    z = depth[:, 0]
    x, y = (u - cx) / fx * z, (v - cy) / fy * z
    m = motion.reshape(b, 16, 1, 1)
    moved_x = m[:, 0] * x + m[:, 1] * y + m[:, 2] * z + m[:, 3]
    moved_y = m[:, 4] * x + m[:, 5] * y + m[:, 6] * z + m[:, 7]
    moved_z = m[:, 8] * x + m[:, 9] * y + m[:, 10] * z + m[:, 11]
    ahead = moved_z > 1e-3
    moved_z = moved_z.clamp(min=1e-3)
    column = (moved_x / moved_z * fx + cx) * (2 / (w - 1)) - 1
    row = (moved_y / moved_z * fy + cy) * (2 / (h - 1)) - 1
    inside = ahead & (column.abs() <= 1) & (row.abs() <= 1)
    grid = torch.stack([column, row], dim=-1).clamp(-2, 2)
    view = functional.grid_sample(
        neighbour, grid, mode='bilinear', padding_mode='border', align_corners=True
    )
    return view, inside[:, None]


def photometric_error(view: Tensor, image: Tensor) -> Tensor:
    """0.85 (1 - SSIM) / 2 + 0.15 L1, per pixel; SSIM on the grey image.

    Args:
        view, image: (b, 3, h, w) float32 in 0..1.

    Returns:
        (b, 1, h, w) float32.
    """
    l1 = (view - image).abs().mean(dim=1, keepdim=True)
    weights = torch.tensor(_GREY, device=view.device, dtype=view.dtype).view(1, 3, 1, 1)
    a, b = (view * weights).sum(1, keepdim=True), (image * weights).sum(1, keepdim=True)
    mean_a, mean_b = _box3(a), _box3(b)
    var_a = _box3(a * a) - mean_a * mean_a
    var_b = _box3(b * b) - mean_b * mean_b
    covariance = _box3(a * b) - mean_a * mean_b
    ssim = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    ssim = ssim / ((mean_a * mean_a + mean_b * mean_b + _C1) * (var_a + var_b + _C2))
    return _SSIM_SHARE * ((1 - ssim) / 2).clamp(0, 1) + (1 - _SSIM_SHARE) * l1


def view_reconstruction_loss(
    image: Tensor,
    neighbours: list[Tensor],
    seen: Tensor,
    neighbours_seen: list[Tensor],
    depth: Tensor,
    motions: list[Tensor],
    intrinsics: Tensor,
) -> Tensor:
    """Minimum reprojection error over neighbours, with auto-masking.

    Pixels that some unwarped neighbour explains better (things that move with the camera, a
    camera that stands still) do not count, nor do pixels that either camera did not see.

    Args:
        image: (b, 3, h, w) current view in 0..1.
        neighbours: (b, 3, h, w) each.
        seen: (b, 1, h, w) float 0 / 1: what the current camera saw.
        neighbours_seen: The same of each neighbour.
        depth: (b, 1, h, w) depth of the current view.
        motions: (b, 4, 4) current to neighbour, each.
        intrinsics: (b, 4) fx, fy, cx, cy.

    Returns:
        (b,) mean error of each image.
    """
    reconstructed, unwarped = [], []
    for neighbour, other_seen, motion in zip(neighbours, neighbours_seen, motions, strict=True):
        stacked, inside = warp(
            torch.cat([neighbour, other_seen], dim=1), depth, motion, intrinsics
        )
        visible = inside & (stacked[:, 3:] > 0.99)
        error = photometric_error(stacked[:, :3], image)
        reconstructed.append(torch.where(visible, error, error.new_full((), 1e3)))
        unwarped.append(photometric_error(neighbour, image))
    best = torch.cat(reconstructed, dim=1).amin(dim=1, keepdim=True)
    still = torch.cat(unwarped, dim=1).amin(dim=1, keepdim=True)
    still = still + torch.rand_like(still) * 1e-5  # breaks ties
    counts = seen * (best < still) * (best < 1e2)
    return (best * counts).sum(dim=(1, 2, 3)) / (counts.sum(dim=(1, 2, 3)) + 1.0)


def smoothness_loss(depth: Tensor, image: Tensor) -> Tensor:
    """Edge-aware smoothness of mean-normalised inverse depth.

    Args:
        depth: (b, 1, h, w).
        image: (b, 3, h, w) in 0..1.

    Returns:
        (b,).
    """
    inverse = 1 / depth
    inverse = inverse / inverse.mean(dim=(2, 3), keepdim=True)
    result = depth.new_zeros(len(depth))
    for axis in (2, 3):
        step = inverse.diff(dim=axis).abs()
        edge = image.diff(dim=axis).abs().mean(dim=1, keepdim=True)
        result = result + (step * torch.exp(-edge)).mean(dim=(1, 2, 3))
    return result


def log_depth_loss(depth: Tensor, true: Tensor, furthest: float) -> Tensor:
    """Mean |ln depth - ln true| where truth is known.

    Args:
        depth: (b, 1, h, w) predicted.
        true: (b, 1, h, w) ground truth; NaN where unknown; beyond ``furthest`` (sky: +Inf) counts
            as ``furthest``.
        furthest: Largest depth that is told apart.

    Returns:
        (b,).
    """
    known = ~torch.isnan(true) & (true > 0)
    far = known & (true >= furthest)
    goal = torch.where(known, true, torch.ones_like(true)).clamp(max=furthest)
    difference = depth.log() - goal.log()
    # Beyond the furthest, further is not wrong.
    error = torch.where(far, torch.relu(-difference), difference.abs()) * known
    return error.sum(dim=(1, 2, 3)) / (known.sum(dim=(1, 2, 3)) + 1.0)


def _box3(x: Tensor) -> Tensor:
    """3x3 mean with reflected borders, as sums of shifted images (faster than pooling)."""
    x = functional.pad(x, (1, 1, 1, 1), mode='reflect')
    x = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
    return (x[..., :-2] + x[..., 1:-1] + x[..., 2:]) / 9

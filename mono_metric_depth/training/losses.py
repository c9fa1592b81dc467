# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""View reconstruction and the losses built on it (Monodepth2, Godard et al., ICCV 2019)."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Reference:
    """The image that views are compared with, and what that needs of it alone.

    Attributes:
        image: (b, 3, h, w) float32 in 0..1.
        mean, variance: (b, 1, h, w) local mean and variance of the grey image.
    """

    image: Tensor
    mean: Tensor
    variance: Tensor

    @classmethod
    def of(cls, image: Tensor) -> Reference:
        """The reference of an image."""
        grey = _grey(image)
        mean = _box3(grey)
        return cls(image, mean, _box3(grey * grey) - mean * mean)


def photometric_error(view: Tensor, reference: Reference) -> Tensor:
    """0.85 (1 - SSIM) / 2 + 0.15 L1, per pixel; SSIM on the grey image.

    Args:
        view: (b, 3, h, w) float32 in 0..1.
        reference: What it should look like.

    Returns:
        (b, 1, h, w) float32.
    """
    image = reference.image
    l1 = (view - image).abs().mean(dim=1, keepdim=True)
    grey = _grey(view)
    mean = _box3(grey)
    variance = _box3(grey * grey) - mean * mean
    covariance = _box3(grey * _grey(image)) - mean * reference.mean
    ssim = (2 * mean * reference.mean + _C1) * (2 * covariance + _C2)
    spread = variance + reference.variance + _C2
    ssim = ssim / ((mean * mean + reference.mean * reference.mean + _C1) * spread)
    return _SSIM_SHARE * ((1 - ssim) / 2).clamp(0, 1) + (1 - _SSIM_SHARE) * l1


def unwarped_error(reference: Reference, neighbours: list[Tensor]) -> Tensor:
    """How well the best neighbour explains the image as it is.

    Args:
        reference: The current view.
        neighbours: (b, 3, h, w) each.

    Returns:
        (b, 1, h, w) least photometric error over the neighbours, without gradient.
    """
    with torch.no_grad():
        errors = [photometric_error(neighbour, reference) for neighbour in neighbours]
        return torch.cat(errors, dim=1).amin(dim=1, keepdim=True)


def view_reconstruction_loss(
    reference: Reference,
    neighbours: list[Tensor],
    unwarped: Tensor,
    seen: Tensor,
    depth: Tensor,
    motions: list[Tensor],
    intrinsics: Tensor,
) -> Tensor:
    """Minimum reprojection error over neighbours, with auto-masking.

    Pixels that some unwarped neighbour explains as well (things that move with the camera, a
    camera that stands still) do not count, nor do pixels that the camera did not see.

    Args:
        reference: Current view.
        neighbours: (b, 4, h, w) each: image in 0..1, and 1 where that camera saw, else 0.
        unwarped: (b, 1, h, w); see :func:`unwarped_error`.
        seen: (b, 1, h, w) float 0 / 1: what the current camera saw.
        depth: (b, 1, h, w) depth of the current view.
        motions: (b, 4, 4) current to neighbour, each.
        intrinsics: (b, 4) fx, fy, cx, cy.

    Returns:
        (b,) mean error of each image.
    """
    errors = []
    for neighbour, motion in zip(neighbours, motions, strict=True):
        view, inside = warp(neighbour, depth, motion, intrinsics)
        visible = inside & (view[:, 3:] > 0.99)
        error = photometric_error(view[:, :3], reference)
        errors.append(error.masked_fill(~visible, 1e3))
    best = torch.cat(errors, dim=1).amin(dim=1, keepdim=True)
    counts = seen * (best < unwarped) * (best < 1e2)
    return (best * counts).sum(dim=(1, 2, 3)) / (counts.sum(dim=(1, 2, 3)) + 1.0)


def geometry_consistency_loss(
    depth: Tensor,
    neighbour_depth: Tensor,
    seen: Tensor,
    motion: Tensor,
    intrinsics: Tensor,
) -> Tensor:
    """Relative difference of a view's depth, moved to a neighbour, and that neighbour's own.

    Bian et al., "Unsupervised scale-consistent depth and ego-motion learning" (NeurIPS 2019).

    Args:
        depth: (b, 1, h, w) depth of the current view.
        neighbour_depth: (b, 1, h, w) depth of the neighbour.
        seen: (b, 1, h, w) float 0 / 1, of both.
        motion: (b, 4, 4) current to neighbour.
        intrinsics: (b, 4) fx, fy, cx, cy.

    Returns:
        (b,) mean of |a - b| / (a + b), 0..1.
    """
    sampled, inside = warp(torch.cat([neighbour_depth, seen], 1), depth, motion, intrinsics)
    moved = _moved_depth(depth, motion, intrinsics)
    counts = seen * inside * (sampled[:, 1:] > 0.99) * (moved > 1e-3)
    difference = (moved - sampled[:, :1]).abs() / (moved + sampled[:, :1]).clamp(min=1e-3)
    return (difference * counts).sum(dim=(1, 2, 3)) / (counts.sum(dim=(1, 2, 3)) + 1.0)


def _moved_depth(depth: Tensor, motion: Tensor, intrinsics: Tensor) -> Tensor:
    """(b, 1, h, w) z of every point in the neighbour's frame."""
    b, _, h, w = depth.shape
    fx, fy, cx, cy = (intrinsics[:, i].view(b, 1, 1, 1) for i in range(4))
    v = torch.arange(h, device=depth.device, dtype=depth.dtype).view(1, 1, h, 1)
    u = torch.arange(w, device=depth.device, dtype=depth.dtype).view(1, 1, 1, w)
    m = motion.reshape(b, 16, 1, 1)
    x, y = (u - cx) / fx, (v - cy) / fy
    return depth * (m[:, 8:9] * x + m[:, 9:10] * y + m[:, 10:11]) + m[:, 11:12]


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


def _grey(image: Tensor) -> Tensor:
    """(b, 3, h, w) -> (b, 1, h, w) luma."""
    red, green, blue = image[:, :1], image[:, 1:2], image[:, 2:]
    return red * _GREY[0] + green * _GREY[1] + blue * _GREY[2]


def _box3(x: Tensor) -> Tensor:
    """3x3 mean with reflected borders, as sums of shifted images (faster than pooling)."""
    x = functional.pad(x, (1, 1, 1, 1), mode='reflect')
    x = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
    return (x[..., :-2] + x[..., 1:-1] + x[..., 2:]) / 9

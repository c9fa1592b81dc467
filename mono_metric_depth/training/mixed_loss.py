# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What is minimised: self-supervision on both halves of a mixed batch, truth on the source's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mono_metric_depth.training.held_out import NORMALISATION
from mono_metric_depth.training.losses import (
    Reference,
    geometry_consistency_loss,
    log_depth_loss,
    smoothness_loss,
    unwarped_error,
    view_reconstruction_loss,
)
from mono_metric_depth.training.mixed_batches import MixedBatch
from mono_metric_depth.training.recipe import Recipe


class MixedLoss(nn.Module):
    """Both networks and their losses, as one module: what is run in parallel, or compiled.

    Args:
        depth_network, pose_network: What is trained.
        recipe: The weights of the losses.
        sixteen_bit: Whether convolutions compute in bfloat16.
    """

    def __init__(
        self, depth_network: nn.Module, pose_network: nn.Module, recipe: Recipe, sixteen_bit: bool
    ) -> None:
        super().__init__()
        self.depth_network, self.pose_network = depth_network, pose_network
        self._recipe = recipe
        self._sixteen_bit = sixteen_bit

    def forward(self, batch: MixedBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch.

        Args:
            batch: On the networks' device.

        Returns:
            (b,) what to minimise of each image, and what is to be logged, scalars without
            gradient: the parts of the loss; ``depth_spread``, deviation of log depth within
            images, of the half where it is less; ``agreement``, correlation of the mean log depth
            of both halves, if there are two; ``motion``, mean translation.
        """
        recipe = self._recipe
        consistent, moving = recipe.geometry_weight > 0, recipe.reconstruction_weight > 0
        # Supervision alone looks at one frame.
        taken, jittered = batch.views(3 if moving else 1)
        inputs = (jittered - NORMALISATION.mean[0]) / NORMALISATION.std[0] * batch.seen
        current, *others = (view.contiguous(memory_format=torch.channels_last) for view in inputs)
        motion = None
        # Convolutions in 16 bits; warping, SSIM and the head's exponential stay in 32.
        with torch.autocast(batch.images.device.type, torch.bfloat16, self._sixteen_bit):
            depths = self.depth_network(current)
            earlier = self.depth_network(others[0])[0] if consistent else None
            if moving:
                previous, following = others
                # One pass for both pairs: twice the batch costs less than two passes.
                motion = self.pose_network(
                    torch.cat([previous, current]), torch.cat([current, following])
                )
        total = recipe.smoothness_weight * _smoothness(depths, taken[0])
        parts: dict[str, Tensor] = {}
        if motion is not None:
            before, after = motion.chunk(2)
            motions = [torch.linalg.inv(before), after]
            reconstruction = _reconstruction(taken, batch, depths, motions)
            total = total + recipe.reconstruction_weight * reconstruction
            halves = reconstruction[: batch.sources], reconstruction[batch.sources :]
            parts |= {
                f'{name}_photometric': half.mean()
                for name, half in zip(('source', 'target'), halves, strict=True)
                if len(half)
            }
            if earlier is not None:
                geometry = geometry_consistency_loss(
                    depths[0], earlier, batch.seen, motions[0], batch.intrinsics
                )
                total = total + recipe.geometry_weight * geometry
                parts['geometry'] = geometry.mean()
            parts['motion'] = after[:, :3, 3].norm(dim=1).mean()
        if recipe.source_depth_weight:
            supervised = log_depth_loss(depths[0], batch.depth, recipe.depth_range[1])
            # A mean over the source half, written as a mean over the batch.
            total = total + recipe.source_depth_weight * supervised * (
                len(supervised) / batch.sources
            )
            parts['source_log_depth'] = supervised.sum() / batch.sources
        logs = depths[0].detach().log()
        halves = logs[: batch.sources], logs[batch.sources :]
        spreads = [half.std(dim=(2, 3)).mean() for half in halves if len(half)]
        parts['depth_spread'] = torch.stack(spreads).min()
        if len(spreads) > 1:
            parts['agreement'] = _correlation(*(half.mean(dim=0) for half in halves))
        return total, {name: value.detach() for name, value in parts.items()}


def _smoothness(depths: list[Tensor], image: Tensor) -> Tensor:
    """(b,) smoothness over all scales."""
    total = image.new_zeros(len(image))
    for scale, depth in enumerate(depths):
        smooth = image
        if scale:
            smooth = nn.functional.interpolate(image, depth.shape[2:], mode='area')
        total = total + smoothness_loss(depth, smooth) / 2**scale / len(depths)
    return total


def _reconstruction(
    taken: Tensor, batch: MixedBatch, depths: list[Tensor], motions: list[Tensor]
) -> Tensor:
    """(b,) view reconstruction loss over all scales, each brought to full resolution."""
    image = taken[0]
    reference = Reference.of(image)
    unwarped = unwarped_error(reference, [taken[1], taken[2]])
    neighbours = [torch.cat([view, batch.seen], dim=1) for view in taken[1:]]
    total = image.new_zeros(len(image))
    for scale, depth in enumerate(depths):
        if scale:
            depth = nn.functional.interpolate(
                depth, image.shape[2:], mode='bilinear', align_corners=False
            )
        error = view_reconstruction_loss(
            reference, neighbours, unwarped, batch.seen, depth, motions, batch.intrinsics
        )
        total = total + error / len(depths)
    return total


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of two maps; 0 where one is constant."""
    a, b = a - a.mean(), b - b.mean()
    product: Tensor = (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt().clamp(min=1e-9)
    return product

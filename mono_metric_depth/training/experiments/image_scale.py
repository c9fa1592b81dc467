# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""One scale per image, predicted by a small network: what the one scalar is compared with.

Dana et al. (arXiv 2303.07662) tried a network that predicts each image's scale, trained where
ground truth exists, and found it worse than one scalar. Its architecture is not public; this one
sees what the depth network saw and what it predicted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mono_metric_depth.metrics import valid_pixels
from mono_metric_depth.training.aligned_drive import AlignedDrive
from mono_metric_depth.training.held_out import predicted_depth

_WIDTHS = (16, 32, 64, 64)
_BATCH = 16
_RATE = 1e-3


class ImageScaleNetwork(nn.Module):
    """(b, 4, h, w) colours and log depth -> (b,) log scale."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 4
        for width in _WIDTHS:
            layers += [nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)]
            layers.append(nn.ReLU(inplace=True))
            before = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(before, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Log scale of each image."""
        result: Tensor = self.head(self.features(x).mean(dim=(2, 3)))[:, 0]
        return result


def train_image_scale(
    network: nn.Module,
    drives: Sequence[AlignedDrive],
    depth_range: tuple[float, float],
    steps: int,
    seed: int,
) -> ImageScaleNetwork:
    """Train on the ratio of true to predicted depth of each image.

    Args:
        network: The depth network, which stays as it is.
        drives: Source drives with ground truth, which the depth network was trained on, too.
        depth_range: Nearest and furthest true depth (m) that counts.
        steps: Of 16 images each.
        seed: Of weights and batches.

    Returns:
        The trained network.
    """
    inputs, ratios = [], []
    for drive in drives:
        for index, true in enumerate(drive.depth):
            depth = predicted_depth(network, drive, index)
            p, g = valid_pixels(depth, true.astype(np.float32), *depth_range)
            if len(p):
                inputs.append(_input(drive, index, depth))
                ratios.append(float(np.median(g / p)))
    device = next(network.parameters()).device
    x = torch.stack(inputs).to(device)
    y = torch.tensor(ratios, device=device).log()
    torch.manual_seed(seed)
    model = ImageScaleNetwork().to(device)
    middle = float(y.median())
    nn.init.constant_(model.head.bias, middle)
    optimiser = torch.optim.AdamW(model.parameters(), _RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(0, len(x), _BATCH)).to(device)
        batch = x[chosen]
        if rng.random() < 0.5:
            batch = batch.flip(3)
        # Another exposure, so that brightness is no key to the drive.
        gain = torch.from_numpy(rng.uniform(0.7, 1.3, (_BATCH, 1, 1, 1)).astype(np.float32))
        batch = torch.cat([batch[:, :3] * gain.to(device), batch[:, 3:]], dim=1)
        loss = nn.functional.smooth_l1_loss(model(batch), y[chosen], beta=0.05)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return model.eval()


@torch.inference_mode()
def image_scales(
    model: ImageScaleNetwork,
    network: nn.Module,
    drives: Sequence[AlignedDrive],
    frames: Sequence[tuple[int, int]],
) -> NDArray[np.float64]:
    """Predicted scales.

    Args:
        model: The trained network.
        network: The depth network.
        drives: Drives.
        frames: Number of the drive, and of the frame in it, of each image.

    Returns:
        (n,) scale of each image.
    """
    device = next(network.parameters()).device
    scales = []
    for number, index in frames:
        drive = drives[number]
        x = _input(drive, index, predicted_depth(network, drive, index))
        scales.append(float(model(x[None].to(device)).exp()))
    return np.array(scales)


def _input(drive: AlignedDrive, index: int, depth: NDArray[np.float32]) -> Tensor:
    """(4, h, w) float32: colours in -0.5..0.5, log depth; 0 where unseen."""
    colours = drive.images[index].astype(np.float32) / 255 - 0.5
    log = np.log(depth, where=drive.seen, out=np.zeros_like(depth))
    stacked = np.concatenate([colours * drive.seen[..., None], log[..., None]], axis=-1)
    return torch.from_numpy(stacked.astype(np.float32)).permute(2, 0, 1).contiguous()

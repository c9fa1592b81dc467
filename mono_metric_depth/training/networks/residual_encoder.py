# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A small residual encoder of plain 3x3 convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ResidualEncoder(nn.Sequential):
    """Five stages, each halving the resolution with its first block.

    Args:
        widths: Of the stages.
        blocks: Residual blocks in each.
    """

    def __init__(self, widths: Sequence[int], blocks: Sequence[int]) -> None:
        stages = []
        width = 3
        for out, count in zip(widths, blocks, strict=True):
            stage = [_Residual(width, out, stride=2)]
            stage += [_Residual(out, out, stride=1) for _ in range(count - 1)]
            stages.append(nn.Sequential(*stage))
            width = out
        super().__init__(*stages)

    def forward(self, image: Tensor) -> list[Tensor]:  # type: ignore[override]
        """(b, 3, h, w) to (b, widths[i], h / 2^(i + 1), w / 2^(i + 1)) features, finest first."""
        features = []
        x = image
        for stage in self:
            x = stage(x)
            features.append(x)
        return features


class _Residual(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.second = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or width != out:
            # Pooling before a 1x1 convolution rather than striding it: nothing is thrown away (He
            # et al. 2019, "Bag of tricks"), and torch 2.13's oneDNN corrupts memory in the
            # backward pass of a strided, channels-last 1x1 convolution on CPU.
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride) if stride != 1 else nn.Identity(),
                nn.Conv2d(width, out, 1, bias=False),
                nn.BatchNorm2d(out),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.first(x)))
        y = self.norm2(self.second(y))
        return torch.relu(y + self.shortcut(x))

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The default depth network: residual encoder, skip-connected decoder, plain convolutions.

Nothing but 3x3 and 1x1 convolutions, batch normalisation (folded at export), average pooling, ReLU
(leaky in the decoder) and nearest upsampling: operations that TensorRT fuses well. The head is
Monodepth2's (Godard et al. 2019): inverse depth as a sigmoid between the limits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Limits of the network's own depth units.
MIN_DEPTH, MAX_DEPTH = 0.1, 100.0
#: Training starts at this depth everywhere: from mid-range (0.2) an early large translation can
#: drive depth to the floor for good.
_FIRST_DEPTH = 5.0

_WIDTHS = (24, 40, 64, 112, 176)
_BLOCKS = (1, 1, 2, 2, 1)
_DECODER = (16, 24, 40, 64, 96)


class DepthNetwork(nn.Module):
    """Up-to-scale depth from one image.

    Attributes:
        scales: At how many resolutions training asks for depth (full, half, quarter, ...).
    """

    def __init__(self, scales: int = 1) -> None:
        super().__init__()
        self.scales = scales
        width = 3
        self.encoder = nn.ModuleList()
        for out, blocks in zip(_WIDTHS, _BLOCKS, strict=True):
            stage = [_Residual(width, out, stride=2)]
            stage += [_Residual(out, out, stride=1) for _ in range(blocks - 1)]
            self.encoder.append(nn.Sequential(*stage))
            width = out
        self.reduce = nn.ModuleList()
        self.fuse = nn.ModuleList()
        for level in range(len(_DECODER) - 1, -1, -1):
            skip = _WIDTHS[level - 1] if level else 0
            self.reduce.append(_conv_block(width, _DECODER[level]))
            self.fuse.append(_conv_block(_DECODER[level] + skip, _DECODER[level]))
            width = _DECODER[level]
        self.heads = nn.ModuleList(_head(_DECODER[scale]) for scale in range(scales))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Depth at every training scale.

        Args:
            image: (b, 3, h, w) normalised; h and w multiples of 32.

        Returns:
            ``scales`` tensors (b, 1, h / 2^s, w / 2^s), float32, depth within
            ``MIN_DEPTH``..``MAX_DEPTH`` in the network's units; full resolution first.
        """
        features = []
        x = image
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        depths = []
        for index, (reduce, fuse) in enumerate(zip(self.reduce, self.fuse, strict=True)):
            level = len(_DECODER) - 1 - index
            x = nn.functional.interpolate(reduce(x), scale_factor=2.0, mode='nearest')
            if level:
                x = torch.cat([x, features[level - 1]], dim=1)
            x = fuse(x)
            if level < self.scales:
                depths.append(_depth(self.heads[level](x)))
        return depths[::-1]


class FullDepth(nn.Module):
    """The network as it is exported: full-resolution depth only."""

    def __init__(self, network: DepthNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """(b, 3, h, w) normalised image -> (b, 1, h, w) depth in the network's units."""
        depth: Tensor = self.network(image)[0]
        return depth


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


def _conv_block(width: int, out: int) -> nn.Module:
    # Reflect padding: zeros leave artefacts along the border of depth.
    return nn.Sequential(
        nn.Conv2d(width, out, 3, padding=1, padding_mode='reflect', bias=False),
        nn.BatchNorm2d(out),
        # Not ReLU: where every channel ahead of the head is off, depth sticks at the head's bias,
        # which was 4.5 m, with no gradient to bring it nearer.
        nn.LeakyReLU(0.1),
    )


def _head(width: int) -> nn.Conv2d:
    head = nn.Conv2d(width, 1, 3, padding=1, padding_mode='reflect')
    share = (1 / _FIRST_DEPTH - 1 / MAX_DEPTH) / (1 / MIN_DEPTH - 1 / MAX_DEPTH)
    nn.init.normal_(head.weight, std=0.01)
    assert head.bias is not None
    nn.init.constant_(head.bias, math.log(share / (1 - share)))
    return head


def _depth(logit: Tensor) -> Tensor:
    inverse = 1 / MAX_DEPTH + (1 / MIN_DEPTH - 1 / MAX_DEPTH) * torch.sigmoid(logit.float())
    return 1 / inverse

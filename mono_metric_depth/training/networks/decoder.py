# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""From features to depth: upsampling with skip connections, and Monodepth2's inverse-depth head.

Godard et al., "Digging into self-supervised monocular depth estimation", ICCV 2019.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

#: Limits of the network's own depth units.
MIN_DEPTH, MAX_DEPTH = 0.1, 100.0
#: Training starts at this depth everywhere: from mid-range (0.2) an early large translation can
#: drive depth to the floor for good.
_FIRST_DEPTH = 5.0
#: Finest resolutions that can have a head of their own.
MAX_SCALES = 4


class SkipDecoder(nn.Module):
    """Doubles the resolution five times, each time joined by the encoder's features of that size.

    Args:
        features: Widths of the encoder's five feature maps, finest first.
        widths: Widths of the five levels, finest first.
        scales: How many of them, from the finest, give depth; 1..4.
        block: From widths in and out to a convolution with all that follows it.
    """

    def __init__(
        self,
        features: Sequence[int],
        widths: Sequence[int],
        scales: int,
        block: Callable[[int, int], nn.Module],
    ) -> None:
        super().__init__()
        if not 1 <= scales <= MAX_SCALES:
            msg = f'scales must be within 1..{MAX_SCALES}, got {scales}'
            raise ValueError(msg)
        width = features[-1]
        self.reduce = nn.ModuleList()
        self.fuse = nn.ModuleList()
        for level in range(len(widths) - 1, -1, -1):
            skip = features[level - 1] if level else 0
            self.reduce.append(block(width, widths[level]))
            self.fuse.append(block(widths[level] + skip, widths[level]))
            width = widths[level]
        self.heads = nn.ModuleList(_head(widths[scale]) for scale in range(scales))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """(b, widths, h / 2 .. h / 32, w / 2 .. w / 32) features to depth, finest first."""
        x = features[-1]
        depths = []
        for index, (reduce, fuse) in enumerate(zip(self.reduce, self.fuse, strict=True)):
            level = len(self.reduce) - 1 - index
            x = nn.functional.interpolate(reduce(x), scale_factor=2.0, mode='nearest')
            if level:
                x = torch.cat([x, features[level - 1]], dim=1)
            x = fuse(x)
            if level < len(self.heads):
                depths.append(_depth(self.heads[level](x)))
        return depths[::-1]


class ReflectConv(nn.Conv2d):
    """A 3x3 convolution with reflected borders: zeros leave artefacts along those of depth."""

    def __init__(self, width: int, out: int, *, bias: bool = True) -> None:
        super().__init__(width, out, 3, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width, h, w) to (b, out, h, w)."""
        return super().forward(_reflected(x))


def leaky_block(width: int, out: int) -> nn.Module:
    """Convolution, batch normalisation and leaky ReLU."""
    return nn.Sequential(
        ReflectConv(width, out, bias=False),
        nn.BatchNorm2d(out),
        # Not ReLU: where every channel ahead of the head is off, depth sticks at the head's bias,
        # which was 4.5 m, with no gradient to bring it nearer.
        nn.LeakyReLU(0.1),
    )


def _reflected(x: Tensor) -> Tensor:
    if not torch.is_autocast_enabled(x.device.type):
        return nn.functional.pad(x, (1, 1, 1, 1), mode='reflect')
    # On CPUs autocast would pad in 32 bits, and cast there and back.
    with torch.autocast(x.device.type, enabled=False):
        return nn.functional.pad(x, (1, 1, 1, 1), mode='reflect')


def _head(width: int) -> nn.Conv2d:
    head = ReflectConv(width, 1)
    share = (1 / _FIRST_DEPTH - 1 / MAX_DEPTH) / (1 / MIN_DEPTH - 1 / MAX_DEPTH)
    nn.init.normal_(head.weight, std=0.01)
    assert head.bias is not None
    nn.init.constant_(head.bias, math.log(share / (1 - share)))
    return head


def _depth(logit: Tensor) -> Tensor:
    inverse = 1 / MAX_DEPTH + (1 / MIN_DEPTH - 1 / MAX_DEPTH) * torch.sigmoid(logit.float())
    return 1 / inverse

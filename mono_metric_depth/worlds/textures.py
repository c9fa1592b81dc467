# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Textures: a mip-mapped tile of noise, hashed cells and anti-aliased bands."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_SIZE = 256
_LEVELS = 9
#: Channels of the noise tile: falloff of the amplitude with frequency.
_FALLOFF = (1.0, 0.45, 1.7, 1.3)
FRACTAL, GRAIN, CRACKS, BLOTCHES = range(4)


class NoiseTile:
    """A periodic tile of four channels of noise, each of mean 0 and standard deviation 1.

    Args:
        rng: Source of the noise.
        device: Where it lives.
    """

    def __init__(self, rng: np.random.Generator, device: torch.device) -> None:
        channels = [_fractal(rng, falloff) for falloff in _FALLOFF]
        ridges = np.exp(-np.abs(channels[CRACKS]) * 14)
        channels[CRACKS] = (ridges - ridges.mean()) / ridges.std()
        channels[BLOTCHES] = np.tanh(2 * channels[BLOTCHES])
        level = torch.from_numpy(np.stack(channels).astype(np.float32))
        rows = []
        for _ in range(_LEVELS):
            rows.append(level.reshape(4, -1).T)
            level = torch.nn.functional.avg_pool2d(level, 2) if level.shape[-1] > 1 else level
        sizes = [_SIZE >> number for number in range(_LEVELS)]
        offsets = np.cumsum([0, *(size * size for size in sizes[:-1])])
        self._texels = torch.cat(rows).contiguous().to(device)
        self._sizes = torch.tensor(sizes, dtype=torch.int32, device=device)
        self._offsets = torch.tensor(offsets, dtype=torch.int32, device=device)

    def at(self, u: Tensor, v: Tensor, footprint: Tensor, period: float) -> Tensor:
        """Noise at points of a surface.

        Args:
            u: (n,) coordinate on the surface (m).
            v: (n,) the other.
            footprint: (n,) extent of the pixel there (m).
            period: Size of the tile (m).

        Returns:
            (n, 4) one column per channel.
        """
        level = torch.log2(footprint * (_SIZE / period)).clamp_(0, _LEVELS - 1)
        level = (level + 0.3).to(torch.int32)
        size = self._sizes.index_select(0, level)
        base = self._offsets.index_select(0, level)
        scale = size * (1 / period)
        u, v, last = u * scale - 0.5, v * scale - 0.5, size - 1
        left, top = u.floor(), v.floor()
        right_share, low_share = (u - left).unsqueeze(1), (v - top).unsqueeze(1)
        column, row = left.to(torch.int32), top.to(torch.int32)
        next_column, next_row = (column + 1) & last, ((row + 1) & last) * size + base
        column, row = column & last, (row & last) * size + base
        upper = self._texels.index_select(0, row + column)
        upper.lerp_(self._texels.index_select(0, row + next_column), right_share)
        lower = self._texels.index_select(0, next_row + column)
        lower.lerp_(self._texels.index_select(0, next_row + next_column), right_share)
        return upper.lerp_(lower, low_share)


def _fractal(rng: np.random.Generator, falloff: float) -> np.ndarray:
    """(size, size) periodic noise whose amplitude falls with that power of the frequency."""
    frequency = np.hypot(
        np.fft.fftfreq(_SIZE)[:, None] * _SIZE, np.fft.rfftfreq(_SIZE)[None] * _SIZE
    )
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((_SIZE, _SIZE))) / frequency**falloff
    noise = np.fft.irfft2(spectrum, s=(_SIZE, _SIZE))
    return np.asarray((noise - noise.mean()) / noise.std())


def hashed(first: Tensor, second: Tensor, salt: int) -> Tensor:
    """(n,) a number in 0..1 for each pair of cell numbers (float or int32, whole)."""
    h = (
        first.to(torch.int32) * 73856093
        ^ second.to(torch.int32) * 19349663
        ^ (salt * 83492791 & 0x7FFFFFFF)
    )
    h = (h ^ (h >> 13)) * 1274126177
    return ((h ^ (h >> 16)) & 0xFFFF).to(torch.float32) * (1 / 0xFFFF)


def band(distance: Tensor, half: Tensor | float, blur: Tensor) -> Tensor:
    """(n,) share of each pixel that a band covers.

    Args:
        distance: (n,) from the middle of the band, of any sign.
        half: Half its width.
        blur: (n,) extent of the pixel, in the same unit.
    """
    cover = ((half - distance.abs()) / blur + 0.5).clamp_(0, 1)
    return torch.minimum(cover, 2 * half / blur)


def above(distance: Tensor, blur: Tensor) -> Tensor:
    """(n,) share of each pixel that lies on the positive side of an edge."""
    return (distance / blur + 0.5).clamp_(0, 1)


def mixed(colour: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """(n, 3) colour where share (n,) is 0, other where it is 1."""
    return torch.lerp(colour, other.expand_as(colour), share.unsqueeze(1))

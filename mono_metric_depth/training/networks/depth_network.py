# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What every depth network is: an encoder, a decoder, and depth at one or more resolutions."""

from __future__ import annotations

from torch import Tensor, nn

from mono_metric_depth.training.networks.decoder import SkipDecoder


class NetworkError(ValueError):
    """A network that is not known, or weights that are not its own."""


class DepthNetwork(nn.Module):
    """Up-to-scale depth from one image.

    Args:
        name: What :func:`~mono_metric_depth.training.networks.build_depth_network` knows it by.
        encoder: (b, 3, h, w) to five feature maps at 1/2, 1/4, ... 1/32 of the resolution.
        decoder: Those to depth.
    """

    def __init__(self, name: str, encoder: nn.Module, decoder: SkipDecoder) -> None:
        super().__init__()
        self.name = name
        self.encoder = encoder
        self.decoder = decoder

    @property
    def scales(self) -> int:
        """At how many resolutions training asks for depth (full, half, quarter, ...)."""
        return len(self.decoder.heads)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Depth at every training scale.

        Args:
            image: (b, 3, h, w) normalised; h and w multiples of 32, at least 64.

        Returns:
            ``scales`` tensors (b, 1, h / 2^s, w / 2^s), float32, depth within
            ``MIN_DEPTH``..``MAX_DEPTH`` in the network's units; full resolution first.
        """
        depths: list[Tensor] = self.decoder(self.encoder(image))
        return depths

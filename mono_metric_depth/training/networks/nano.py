# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The nano depth network, for the smallest Jetsons: the default one, narrower and shallower."""

from __future__ import annotations

from mono_metric_depth.training.networks.decoder import SkipDecoder, leaky_block
from mono_metric_depth.training.networks.depth_network import DepthNetwork
from mono_metric_depth.training.networks.residual_encoder import ResidualEncoder

_WIDTHS = (16, 24, 48, 80, 128)
_BLOCKS = (1, 1, 1, 1, 1)
_DECODER = (8, 16, 24, 40, 64)


def nano(scales: int) -> DepthNetwork:
    """The nano network, with random weights."""
    encoder = ResidualEncoder(_WIDTHS, _BLOCKS)
    return DepthNetwork('nano', encoder, SkipDecoder(_WIDTHS, _DECODER, scales, leaky_block))

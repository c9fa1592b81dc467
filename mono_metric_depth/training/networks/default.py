# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The default depth network: residual encoder, skip-connected decoder, plain convolutions.

Nothing but 3x3 and 1x1 convolutions, batch normalisation (which runtimes fold into them), average
pooling, ReLU (leaky in the decoder) and nearest upsampling: operations that TensorRT fuses well.
"""

from __future__ import annotations

from mono_metric_depth.training.networks.decoder import SkipDecoder, leaky_block
from mono_metric_depth.training.networks.depth_network import DepthNetwork
from mono_metric_depth.training.networks.residual_encoder import ResidualEncoder

_WIDTHS = (24, 40, 64, 112, 176)
_BLOCKS = (1, 1, 2, 2, 1)
_DECODER = (16, 24, 40, 64, 96)


def default(scales: int) -> DepthNetwork:
    """The default network, with random weights."""
    encoder = ResidualEncoder(_WIDTHS, _BLOCKS)
    return DepthNetwork('default', encoder, SkipDecoder(_WIDTHS, _DECODER, scales, leaky_block))

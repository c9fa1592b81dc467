# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Depth networks, by name."""

from __future__ import annotations

from mono_metric_depth.training.networks.decoder import MAX_DEPTH, MIN_DEPTH
from mono_metric_depth.training.networks.default import default
from mono_metric_depth.training.networks.depth_network import DepthNetwork, NetworkError
from mono_metric_depth.training.networks.nano import nano
from mono_metric_depth.training.networks.resnet18 import resnet18

__all__ = [
    'MAX_DEPTH',
    'MIN_DEPTH',
    'NETWORKS',
    'DepthNetwork',
    'NetworkError',
    'build_depth_network',
]

_BUILDERS = {'default': default, 'nano': nano, 'resnet18': resnet18}
#: What there is.
NETWORKS = tuple(_BUILDERS)


def build_depth_network(name: str, scales: int = 1) -> DepthNetwork:
    """A depth network with random weights.

    Args:
        name: One of :data:`NETWORKS`.
        scales: At how many resolutions training asks for depth; 1..4.

    Raises:
        NetworkError: If there is no such network.
    """
    if name not in _BUILDERS:
        msg = f'network must be one of {", ".join(NETWORKS)}, got {name!r}'
        raise NetworkError(msg)
    return _BUILDERS[name](scales)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Every network with random weights, exported as a trained one would be."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import nn

from mono_metric_depth.camera import Camera
from mono_metric_depth.model_card import ModelCard
from mono_metric_depth.scale import GlobalScale
from mono_metric_depth.training.export import export_onnx
from mono_metric_depth.training.networks import NETWORKS, DepthNetwork, build_depth_network

SCALE = GlobalScale(1.0, 0.9, 1.1, 0.95, 'theil_sen', 10, 0.02, 'a test')
CARD = ModelCard('test', SCALE, Camera(96, 64, 60.0, 60.0, 47.5, 31.5), (0.5, 80.0))


def trained(name: str, scales: int) -> DepthNetwork:
    """A network as training leaves it: statistics and weights away from where they start."""
    torch.manual_seed(3)
    network = build_depth_network(name, scales)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
    return network


def export_networks(folder: Path) -> dict[str, Path]:
    """Every network, exported; only nano's card names its network."""
    for name in NETWORKS:
        card = CARD
        if name == 'nano':
            card = dataclasses.replace(card, provenance={'network': 'nano'})
        export_onnx(trained(name, 3), card, folder / f'{name}.onnx')
    return {name: folder / f'{name}.onnx' for name in NETWORKS}

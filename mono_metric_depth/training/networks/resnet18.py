# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The reference: ResNet-18 (He et al. 2016) with Monodepth2's decoder (Godard et al. 2019).

Layers are named as torchvision names them, so that ImageNet weights load. Published as 14.84 M
parameters, of which 0.51 M are ImageNet's classifier, which depth never uses and is left out here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mono_metric_depth.training.networks.decoder import ReflectConv, SkipDecoder
from mono_metric_depth.training.networks.depth_network import DepthNetwork

_WIDTHS = (64, 64, 128, 256, 512)
_DECODER = (16, 32, 64, 128, 256)


def resnet18(scales: int) -> DepthNetwork:
    """The reference network, with random weights."""
    decoder = SkipDecoder(_WIDTHS, _DECODER, scales, _elu_block)
    return DepthNetwork('resnet18', ResNet18Encoder(), decoder)


class ResNet18Encoder(nn.Module):
    """ResNet-18 up to its last feature map.

    Args:
        channels: Of the input: 3 for an image, 6 for a pair.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _layer(64, 64, stride=1)
        self.layer2 = _layer(64, 128, stride=2)
        self.layer3 = _layer(128, 256, stride=2)
        self.layer4 = _layer(256, 512, stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')

    def forward(self, image: Tensor) -> list[Tensor]:
        """(b, channels, h, w) to features at 1/2 .. 1/32 of the resolution, finest first."""
        features = [torch.relu(self.bn1(self.conv1(image)))]
        x = self.maxpool(features[0])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features


class _BasicBlock(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or width != out:
            self.downsample = nn.Sequential(
                StridedPointwise(width, out, stride), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + self.downsample(x))


class StridedPointwise(nn.Conv2d):
    """A strided 1x1 convolution without bias.

    With gradients, pixels are picked first and convolved densely, which is the same sum: torch
    2.13's oneDNN corrupts memory in the backward pass of a strided, channels-last 1x1 convolution
    on CPU. Without, it is one convolution, so that the exported graph holds nothing else.
    """

    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__(width, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, width, h, w) to (b, out, h / stride, w / stride), rounded up."""
        if not torch.is_grad_enabled():
            return super().forward(x)
        step = self.stride[0]
        return functional.conv2d(x[:, :, ::step, ::step], self.weight)


def _layer(width: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_BasicBlock(width, out, stride), _BasicBlock(out, out, 1))


def _elu_block(width: int, out: int) -> nn.Module:
    return nn.Sequential(ReflectConv(width, out), nn.ELU())

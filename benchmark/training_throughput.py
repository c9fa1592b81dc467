# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Training steps per second, beside the public Monodepth2 trainer, measured in one run.

    python benchmark/training_throughput.py --peer PATH_TO_A_MONODEPTH2_CHECKOUT

Both train the same networks (ResNet-18 depth network with four scales, ResNet-18 pose network on
pairs), at the same resolution and batch, on the same synthetic images held in memory, turn by
turn, so that whatever else the machine does slows both. The peer runs its own trainer's
process_batch, backward and optimiser step, as it comes: 32 bits, NCHW. Ours is one step of the
trainer as it comes: 16-bit convolutions, channels last, changed colours, masks and gradient
clipping included. What differs by design: one pass of the pose network for both pairs, SSIM on
grey, the unwarped error once for all scales, depth's upsampling instead of disparity's.

On a machine that others use too, run with --threads 1 and compare processor seconds.

The peer's code is not part of this package. What it imports and this benchmark does not need
(torchvision's ResNet, its data sets, TensorBoard) is stood in for by the least that serves; the
ResNet is layer for layer torchvision's. Without --peer, only ours is measured.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from mono_metric_depth.camera import Camera
from mono_metric_depth.training.aligned_drive import AlignedDrive
from mono_metric_depth.training.mixed_batches import MixedBatches
from mono_metric_depth.training.networks.resnet18 import ResNet18Encoder
from mono_metric_depth.training.pose_network import transform
from mono_metric_depth.training.processes import Processes
from mono_metric_depth.training.recipe import Recipe
from mono_metric_depth.training.trainer import Trainer

FRAMES = 12


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--peer', type=Path, help='a checkout of nianticlabs/monodepth2')
    parser.add_argument('--width', type=int, default=640)
    parser.add_argument('--height', type=int, default=192)
    parser.add_argument('--batch', type=int, default=4, help='an even number')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--device', default='cpu')
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = (options.width, options.height)
    frames = textures(FRAMES, *size)
    with tempfile.TemporaryDirectory() as folder:
        steps = our_steps(frames, size, options.batch, options.device, Path(folder))
        if options.peer:
            peer = peer_step(options.peer, frames, size, options.batch, options.device, folder)
            steps = {'Monodepth2': peer, **steps}
        times = measure(steps, options.rounds, options.device)
    print(
        f'{options.width}x{options.height}, batch {options.batch}, {options.rounds} rounds, '
        f'{options.threads} threads, {processor(options.device)}, torch {torch.__version__}'
    )
    for name, (walls, busy) in times.items():
        line = (
            f'{name:28} {1 / statistics.median(walls):7.3f} steps/s '
            f'{statistics.median(busy):7.2f} CPU s/step'
        )
        if options.peer and name.startswith('ours') and 'batches' not in name:
            for unit, index in (('speed', 0), ('CPU time', 1)):
                theirs, own = times['Monodepth2'][index], times[name][index]
                ratios = [a / b for a, b in zip(theirs, own, strict=True)]
                line += f'   {unit} x{statistics.median(ratios):.2f}'
        print(line)


def measure(
    steps: dict[str, Callable[[], object]], rounds: int, device: str
) -> dict[str, tuple[list[float], list[float]]]:
    """Wall and processor seconds of each step, turn by turn, after one round to warm up.

    On a machine that others use too, the processor's seconds are the fairer ones, on one thread.
    """
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start, busy = time.perf_counter(), time.process_time()
            step()
            if device != 'cpu':
                torch.cuda.synchronize()
            if number:
                times[name][0].append(time.perf_counter() - start)
                times[name][1].append(time.process_time() - busy)
    return times


def textures(count: int, width: int, height: int) -> np.ndarray:
    """(count, height, width, 3) uint8 images: smooth noise that drifts from frame to frame."""
    torch.manual_seed(0)
    noise = torch.rand(1, 3, height // 8, width // 8 + count)
    wide = nn.functional.interpolate(noise, scale_factor=8, mode='bicubic')[0].clamp(0, 1)
    views = [wide[:, :, 4 * index : 4 * index + width] for index in range(count)]
    return (torch.stack(views).permute(0, 2, 3, 1) * 255).to(torch.uint8).numpy()


def processor(device: str) -> str:
    """What computes, in words."""
    if device != 'cpu':
        return torch.cuda.get_device_name()
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor()


# Ours


class ResNetPose(nn.Module):
    """Monodepth2's pose network on pairs, in this package's interface, for a like comparison."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = ResNet18Encoder(channels=6)
        self.decoder = nn.Sequential(
            *(nn.Conv2d(512, 256, 1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
            nn.Conv2d(256, 12, 1),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(b, 3, h, w) images to (b, 4, 4) motion."""
        features = self.encoder(torch.cat([first, second], dim=1))[-1]
        vector = 0.01 * self.decoder(features).float().mean(dim=(2, 3))
        return transform(vector[:, :3], vector[:, 3:6])


def our_steps(
    frames: np.ndarray, size: tuple[int, int], batch: int, device: str, folder: Path
) -> dict[str, Callable[[], object]]:
    """One training step: on a batch that is there, with drawing one, and drawing alone."""
    width, height = size
    camera = Camera(width, height, 0.58 * width, 1.92 * height, 0.5 * width, 0.5 * height)
    drives = [
        AlignedDrive(
            'synthetic',
            frames,
            np.full(frames.shape[:3], 10, np.float16),
            np.ones((height, width), bool),
            camera,
            None,
        )
    ]
    batches = MixedBatches(drives, drives, batch // 2, batch - batch // 2, seed=0)
    trainer = our_trainer(camera, batch, device, folder)
    fixed = batches.batch(0).to(trainer.device)

    coming = trainer._coming(batches)

    def fed() -> None:
        trainer._train_step(next(coming))

    return {
        'ours, compute alone': lambda: trainer._train_step(fixed),
        'ours, fed from drives': fed,
        'ours, drawing batches alone': lambda: batches.batch(1),
    }


def our_trainer(camera: Camera, batch: int, device: str, folder: Path) -> Trainer:
    """The trainer with Monodepth2's networks."""
    recipe = Recipe(
        name='throughput',
        source=('world:town:0x3',),
        target=('world:town:0x3',),
        source_validation=('world:town:1x3',),
        canonical_camera=camera,
        source_batch=batch // 2,
        target_batch=batch - batch // 2,
        source_depth_weight=0.0,
        geometry_weight=0.0,
        network='resnet18',
        scales=4,
    )
    with mock.patch('mono_metric_depth.training.trainer.PoseNetwork', ResNetPose):
        return Trainer(recipe, folder, processes=Processes(0, 1, torch.device(device)))


# The peer


def peer_step(
    peer: Path, frames: np.ndarray, size: tuple[int, int], batch: int, device: str, folder: str
) -> Callable[[], object]:
    """One step of the peer's own trainer on a batch in memory."""
    stand_in(frames, size)
    sys.path.insert(0, str(peer))
    sys.dont_write_bytecode = True
    from options import MonodepthOptions  # type: ignore[import-not-found]
    from trainer import Trainer as PeerTrainer  # type: ignore[import-not-found]

    arguments = [
        *('--width', str(size[0]), '--height', str(size[1]), '--batch_size', str(batch)),
        *('--weights_init', 'scratch', '--num_workers', '0', '--log_dir', folder),
        *(['--no_cuda'] if device == 'cpu' else []),
    ]
    trainer = PeerTrainer(MonodepthOptions().parser.parse_args(arguments))
    trainer.set_train()
    inputs = next(iter(trainer.train_loader))

    def step() -> None:
        # As in its run_epoch.
        _, losses = trainer.process_batch(inputs)
        trainer.model_optimizer.zero_grad()
        losses['loss'].backward()
        trainer.model_optimizer.step()

    return step


def stand_in(frames: np.ndarray, size: tuple[int, int]) -> None:
    """Put the least of what the peer imports in its place."""
    width, height = size

    class Frames(torch.utils.data.Dataset[dict[Any, Tensor]]):
        def __init__(self, _path: str, filenames: list[str], *_: object, **__: object) -> None:
            self.length = len(filenames)

        def __len__(self) -> int:
            return self.length

        def __getitem__(self, index: int) -> dict[Any, Tensor]:
            middle = 1 + index % (len(frames) - 2)
            item: dict[Any, Tensor] = {}
            for scale in range(4):
                shape = (height >> scale, width >> scale)
                for frame in (0, -1, 1):
                    image = torch.from_numpy(frames[middle + frame]).permute(2, 0, 1)[None] / 255
                    small = nn.functional.interpolate(image, shape, mode='area')[0]
                    item['color', frame, scale] = item['color_aug', frame, scale] = small
                k = np.eye(4, dtype=np.float32)
                k[0] = 0.58 * shape[1], 0, 0.5 * shape[1], 0
                k[1] = 0, 1.92 * shape[0], 0.5 * shape[0], 0
                item['K', scale] = torch.from_numpy(k)
                item['inv_K', scale] = torch.from_numpy(np.linalg.pinv(k))
            return item

    def module(name: str, **contents: object) -> ModuleType:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__.update(contents)
        return sys.modules[name]

    module('datasets', KITTIRAWDataset=Frames, KITTIOdomDataset=Frames)
    module('tensorboardX', SummaryWriter=lambda *_, **__: None)
    module('IPython', embed=None)
    module('six')
    module('six.moves', urllib=None)
    resnet = SimpleNamespace(BasicBlock=BasicBlock, Bottleneck=None, model_urls={})
    models = module(
        'torchvision.models',
        resnet=resnet,
        ResNet=ResNet,
        resnet18=lambda pretrained=False: ResNet(BasicBlock, [2, 2, 2, 2]),
        **dict.fromkeys(('resnet34', 'resnet50', 'resnet101', 'resnet152')),
    )
    module('torchvision', models=models)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, as torchvision computes them."""

    expansion = 1

    def __init__(
        self, width: int, out: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(b, width, h, w) to (b, out, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += shortcut
        result: Tensor = self.relu(y)
        return result


class ResNet(nn.Module):
    """The layers of torchvision's ResNet that the peer builds its encoders of."""

    def __init__(self, block: type[BasicBlock], layers: list[int]) -> None:
        super().__init__()
        self.inplanes = 64
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = self._make_layer(block, 64, layers[0])
        self.layer2 = self._make_layer(block, 128, layers[1], stride=2)
        self.layer3 = self._make_layer(block, 256, layers[2], stride=2)
        self.layer4 = self._make_layer(block, 512, layers[3], stride=2)

    def _make_layer(
        self, block: type[BasicBlock], width: int, count: int, stride: int = 1
    ) -> nn.Sequential:
        downsample = None
        if stride != 1 or self.inplanes != width:
            downsample = nn.Sequential(
                nn.Conv2d(self.inplanes, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )
        blocks = [block(self.inplanes, width, stride, downsample)]
        self.inplanes = width
        blocks += [block(width, width) for _ in range(1, count)]
        return nn.Sequential(*blocks)


if __name__ == '__main__':
    main()

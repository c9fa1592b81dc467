# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Write docs/networks.md: parameters, multiply-accumulates and CPU latency of every network.

    python benchmark/networks.py

Parameters are those of the exported network (one head). Multiply-accumulates (MACs) are those of
its convolutions. Latency is ONNX Runtime's on one thread, medians of runs taken turn by turn, by
the processor's clock: what other programs take in between does not count.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from stages import processor
from torch import Tensor, nn

from mono_metric_depth.camera import Camera
from mono_metric_depth.model_card import ModelCard
from mono_metric_depth.scale import GlobalScale
from mono_metric_depth.training.export import export_onnx
from mono_metric_depth.training.networks import NETWORKS, build_depth_network

TABLE = Path(__file__).parents[1] / 'docs' / 'networks.md'
#: The canonical camera's size, and the one that most papers report.
SIZES = ((256, 96), (640, 192))
ROUNDS = 30


def main() -> None:
    """Measure, and write the table."""
    latencies = {size: latency(size) for size in SIZES}
    columns = ['network', 'parameters']
    columns += [f'MACs {w}x{h}' for w, h in SIZES]
    columns += [f'CPU latency {w}x{h}' for w, h in SIZES]
    lines = [
        '# Networks',
        '',
        'Written by `python benchmark/networks.py`. Choose one by `network` in the recipe.',
        '',
        f'| {" | ".join(columns)} |',
        f'|---|{"---:|" * (len(columns) - 1)}',
    ]
    for name in NETWORKS:
        row = [f'`{name}`', *counts(name)]
        for size in SIZES:
            own, default = latencies[size][name], latencies[size]['default']
            row.append(f'{own * 1e3:.1f} ms ({own / default:.2f}x)')
        lines.append(f'| {" | ".join(row)} |')
    lines += [
        '',
        f'Latency: processor time of one thread of an {processor()} ({platform.machine()}), '
        f'median of {ROUNDS} runs, batch 1, 32 bits, ONNX Runtime {ort.__version__}, exported by '
        f'torch {torch.__version__.split("+")[0]}; beside it, as a multiple of the default '
        'network. '
        'Parameters without the heads that only training has; MACs of all convolutions.',
        '',
        "`resnet18` is Monodepth2's network, published with 14.84 M parameters: 0.51 M of them "
        "are ImageNet's classifier, which depth does not use and which is left out.",
    ]
    TABLE.write_text('\n'.join(lines) + '\n')


def counts(name: str) -> list[str]:
    """Parameters, and MACs at each size, as the table writes them."""
    parameters = sum(p.numel() for p in build_depth_network(name).parameters())
    return [f'{parameters / 1e6:.3f} M', *(f'{macs(name, size) / 1e9:.3f} G' for size in SIZES)]


def macs(name: str, size: tuple[int, int]) -> int:
    """Multiply-accumulates of a network's convolutions for one image of width x height."""
    total = 0

    def add(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d)
        total += output.numel() * layer.weight[0].numel()

    network = build_depth_network(name).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(add)
    with torch.inference_mode():
        network(torch.zeros(1, 3, size[1], size[0]))
    return total


def latency(size: tuple[int, int]) -> dict[str, float]:
    """Median seconds of one image on each network."""
    width, height = size
    camera = Camera(width, height, 0.8 * width, 0.8 * width, 0.5 * width, 0.4 * height)
    scale = GlobalScale(1.0, 0.9, 1.1, 0.95, 'theil_sen', 10, 0.02, 'nothing')
    image = np.random.default_rng(0).standard_normal((1, 3, height, width), np.float32)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    sessions = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            path = Path(folder) / f'{name}.onnx'
            card = ModelCard(name, scale, camera, (0.5, 80.0))
            export_onnx(build_depth_network(name), card, path)
            sessions[name] = ort.InferenceSession(
                path, options, providers=['CPUExecutionProvider']
            )
    times: dict[str, list[float]] = {name: [] for name in NETWORKS}
    for number in range(ROUNDS + 3):
        for name, session in sessions.items():
            start = time.process_time()
            session.run(None, {'image': image})
            if number >= 3:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


if __name__ == '__main__':
    main()

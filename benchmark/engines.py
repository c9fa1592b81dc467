# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Engines of the shipped model: how exact they are, and how fast beside torch on the same GPU.

    python benchmark/engines.py

Without a GPU, precision alone is shown, as ONNX Runtime computes the converted networks.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mono_metric_depth.datasets import open_sequence
from mono_metric_depth.engines import Engine, EngineError
from mono_metric_depth.engines.built_engine import open_built_engine
from mono_metric_depth.engines.engine_request import EngineRequest
from mono_metric_depth.engines.network_image import factor_and_offset
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.engines.parity import TOLERANCES, Parity, measure_parity
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.engines.precision import PRECISIONS, convert_model
from mono_metric_depth.engines.selection import usable_tensorrt
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.image import Image
from mono_metric_depth.model_card import read_card
from mono_metric_depth.model_files import DEFAULT_MODEL
from mono_metric_depth.training.networks.onnx_weights import load_network

CARD = read_card(DEFAULT_MODEL)
BATCHES = (1, 6)
WARM_UP, ROUNDS = 20, 200
#: Not those that engines are checked on.
CALIBRATION = tuple(
    f'world:{domain}:{seed}x40' for domain in ('town', 'suburb') for seed in (3, 4)
)


def main() -> None:
    """Measure and print."""
    calibration = network_inputs()
    try:
        bindings, gpu = usable_tensorrt()
    except EngineError as err:
        print(f'no GPU: {err}')
        with tempfile.TemporaryDirectory() as folder:
            for precision in ('fp16', 'int8'):
                path = Path(folder) / f'{precision}.onnx'
                frames = calibration if precision == 'int8' else None
                convert_model(DEFAULT_MODEL, path, CARD, precision, frames)
                show(precision, parity(OnnxRuntimeEngine(path, CARD), precision))
        return
    for batch in BATCHES:
        times = torch_times(batch)
        for precision in PRECISIONS:
            request = EngineRequest(
                *(DEFAULT_MODEL, CARD, bindings, gpu.compute_capability, gpu, precision),
                batch=(batch, batch),
                calibration=calibration if precision == 'int8' else None,
                say=print,
            )
            try:
                engine = open_built_engine(request)
            except EngineError as err:
                print(err)
                continue
            assert engine.parity is not None
            show(precision, engine.parity)
            run = functools.partial(engine.run, batch)
            times[f'{bindings} {precision}'] = seconds = median_time(run)
            whole = frames_time(engine, batch)
            share = 1 - seconds / whole
            print(f'{precision}, batch {batch}: {share:.0%} of the time is not the network')
            engine.close()
        eager = times['torch fp32 eager']
        print(f'batch {batch}, {gpu.name}, upload of bytes and download included, no TF32')
        for name, seconds in times.items():
            rate, gain = batch / seconds, eager / seconds
            print(f'  {name:28} {seconds * 1e3:7.3f} ms {rate:8.0f} images/s {gain:.2f}x')


def network_inputs() -> np.ndarray:
    """(n, h, w, 4) of drives to calibrate on."""
    estimator, inputs = DepthEstimator.load(DEFAULT_MODEL), []
    for name in CALIBRATION:
        drive = open_sequence(name)
        for index in range(0, len(drive), 5):
            frame = drive[index]
            estimator.estimate(Image(frame.image, 'rgb'), frame.camera, frame.mount)
            inputs.append(estimator.engine.input[0].copy())
    return np.stack(inputs)


def frames_time(engine: Engine, batch: int) -> float:
    """Seconds from so many images to their scaled inverse depth."""
    estimator = DepthEstimator(engine, CARD)
    frame = open_sequence(CALIBRATION[0])[0]
    images = [(Image(frame.image, 'rgb'), frame.camera, frame.mount)] * batch
    buffers = [estimator.buffer() for _ in images]
    return median_time(lambda: estimator.estimate_batch(images, buffers))


def parity(engine: Engine, precision: str) -> Parity:
    """On the stored frames."""
    return measure_parity(engine, DEFAULT_MODEL, CARD, parity_frames(CARD), precision)


def show(precision: str, found: Parity) -> None:
    """Print beside what is allowed."""
    print(f'{precision}: {found}; allowed {TOLERANCES[precision]}')


class BytesIn(torch.nn.Module):
    """A network that takes what engines take: (b, h, w, 4) uint8, normalised where it runs."""

    def __init__(self, network: torch.nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        pairs = [factor_and_offset(CARD.normalisation, index) for index in range(3)]
        shape = (1, 3, 1, 1)
        self.network, self.dtype = network.to(dtype), dtype
        self.order = ['rgb'.index(channel) for channel in CARD.normalisation.channels]
        self.register_buffer('factors', torch.tensor([pair[0] for pair in pairs]).reshape(shape))
        self.register_buffer('offsets', torch.tensor([pair[1] for pair in pairs]).reshape(shape))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Depth, (b, 1, h, w) float32."""
        planes = images.permute(0, 3, 1, 2).float()
        found = (planes[:, self.order] * self.factors - self.offsets) * planes[:, 3:]
        return self.network(found.to(self.dtype))[0].float()


def torch_times(batch: int, device: str = 'cuda') -> dict[str, float]:
    """Seconds of a run by torch, from and to pinned memory, of the bytes that engines take.

    Float32 is float32 in all of them: TensorRT engines are built without TF32.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    camera, pinned = CARD.canonical_camera, device == 'cuda'
    size = (camera.height, camera.width)
    host = torch.zeros((batch, *size, 4), dtype=torch.uint8, pin_memory=pinned)
    out = torch.zeros((batch, 1, *size), pin_memory=pinned)

    def runner(run: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], None]:
        def once() -> None:
            with torch.inference_mode():
                out.copy_(run(host.to(device, non_blocking=True)), non_blocking=True)
            if pinned:
                torch.cuda.synchronize()

        return once

    times = {}
    for name, dtype in (('fp32', torch.float32), ('fp16', torch.float16)):
        network = BytesIn(load_network(DEFAULT_MODEL), dtype).to(device).eval()
        times[f'torch {name} eager'] = median_time(runner(network))
        if pinned:
            compiled = torch.compile(network, mode='max-autotune')
            times[f'torch {name} compiled'] = median_time(runner(compiled))
    return times


def median_time(run: Callable[[], object]) -> float:
    """Seconds of one run."""
    for _ in range(WARM_UP):
        run()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == '__main__':
    main()

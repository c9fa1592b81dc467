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
from mono_metric_depth.engines.built_engine import EngineRequest, open_built_engine
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.engines.parity import TOLERANCES, Parity, measure_parity
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.engines.precision import PRECISIONS, convert_model
from mono_metric_depth.engines.selection import usable_tensorrt
from mono_metric_depth.estimator import DEFAULT_MODEL, DepthEstimator
from mono_metric_depth.image import Image
from mono_metric_depth.model_card import read_card
from mono_metric_depth.training.networks.onnx_weights import load_network

CARD = read_card(DEFAULT_MODEL)
BATCHES = (1, 6)
ROUNDS = 200
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
            if batch == 1:
                whole = frame_time(engine)
                print(f'{precision}: {1 - seconds / whole:.0%} of a frame is not the network')
            engine.close()
        eager = times['torch eager']
        print(f'batch {batch}, {gpu.name}, upload and download included')
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


def frame_time(engine: Engine) -> float:
    """Seconds from an image to scaled inverse depth."""
    estimator = DepthEstimator(engine, CARD)
    frame = open_sequence(CALIBRATION[0])[0]
    image = Image(frame.image, 'rgb')
    return median_time(lambda: estimator.estimate(image, frame.camera, frame.mount))


def parity(engine: Engine, precision: str) -> Parity:
    """On the stored frames."""
    return measure_parity(engine, DEFAULT_MODEL, CARD, parity_frames(CARD), precision)


def show(precision: str, found: Parity) -> None:
    """Print beside what is allowed."""
    print(f'{precision}: {found}; allowed {TOLERANCES[precision]}')


def torch_times(batch: int) -> dict[str, float]:
    """Seconds of a run by torch, from and to pinned memory as the engines do it."""
    network = load_network(DEFAULT_MODEL).cuda().eval()
    camera = CARD.canonical_camera
    shape = (batch, 3, camera.height, camera.width)
    host = torch.zeros(shape).pin_memory()
    out = torch.zeros((batch, 1, *shape[2:])).pin_memory()

    def runner(run: Callable[[torch.Tensor], list[torch.Tensor]]) -> Callable[[], None]:
        def once() -> None:
            with torch.inference_mode():
                out.copy_(run(host.to('cuda', non_blocking=True))[0], non_blocking=True)
            torch.cuda.synchronize()

        return once

    compiled = torch.compile(network, mode='max-autotune')
    return {
        'torch eager': median_time(runner(network)),
        'torch compiled': median_time(runner(compiled)),
    }


def median_time(run: Callable[[], object]) -> float:
    """Seconds of one run."""
    for _ in range(20):
        run()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == '__main__':
    main()

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What the benchmark of engines compares is the same work; on the CPU, as there is no GPU."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import torch

from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.model_files import DEFAULT_MODEL
from mono_metric_depth.training.networks.onnx_weights import load_network

SCRIPT = Path(__file__).resolve().parents[1] / 'benchmark' / 'engines.py'


def test_torch_computes_what_engines_compute_from_the_same_bytes() -> None:
    benchmark = runpy.run_path(str(SCRIPT))
    images = parity_frames(benchmark['CARD'])[5:7]
    assert not images[..., 3].all(), 'there must be pixels that no camera saw'
    engine = OnnxRuntimeEngine(DEFAULT_MODEL, benchmark['CARD'], batch=2, threads=1)
    engine.input[:] = images
    engine.run(2)
    network = benchmark['BytesIn'](load_network(DEFAULT_MODEL), torch.float32).eval()
    with torch.inference_mode():
        found = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, engine.output, rtol=1e-3)


def test_every_contender_runs_for_every_batch() -> None:
    benchmark = runpy.run_path(str(SCRIPT))
    benchmark['median_time'].__globals__.update(ROUNDS=1, WARM_UP=0)
    times = benchmark['torch_times'](1, 'cpu')
    assert set(times) == {'torch fp32 eager', 'torch fp16 eager'}
    assert not torch.backends.cudnn.allow_tf32
    engine = OnnxRuntimeEngine(DEFAULT_MODEL, benchmark['CARD'], batch=2, threads=1)
    assert benchmark['frames_time'](engine, 2) > 0

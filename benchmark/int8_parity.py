# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Print how far the shipped models in 8 bits are from themselves in 32, as engines are checked.

    python benchmark/int8_parity.py

They are quantised per channel, by ONNX Runtime, as in cpu_engines.py; what an honest 8-bit engine
is off by, without a GPU. The tolerances for int8 in engines/parity.py rest on it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from cpu_engines import prepare

from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.engines.parity import measure_parity
from mono_metric_depth.model_card import read_card
from mono_metric_depth.model_files import model_file


def main() -> None:
    """Quantise, compare and print."""
    for name in ('default', 'nano'):
        model = model_file(name)
        card = read_card(model)
        size = card.canonical_camera.width, card.canonical_camera.height
        with tempfile.TemporaryDirectory() as folder:
            prepared = prepare(Path(folder) / name, name, size, 'shipped', converted=True)
            engine = OnnxRuntimeEngine(prepared / '8.onnx', card)
            parity = measure_parity(engine, model, card, precision='int8')
        print(f'{name}: {parity}')
        print(f'  of thirds of the image {parity.third_scale_error:.2%}')
        print(f'  {"; ".join(parity.findings) or "passes"}')


if __name__ == '__main__':
    main()

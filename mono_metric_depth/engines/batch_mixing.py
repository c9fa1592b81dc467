# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a network mixes the images of a batch: then each camera's depth is the others' too.

One that divides by its maximum over the whole batch, say, gives right depth for one camera and
wrong metres for several, on every runtime alike: ONNX Runtime, too, which all others are compared
with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.onnxruntime import REFERENCE, OnnxRuntimeEngine
from mono_metric_depth.engines.parity import Parity, measure_parity
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.model_card import ModelCard

#: Stored frames, and images at once: what mixes many images mixes a few.
_FRAMES, _COMPANY = 3, 3


def require_images_apart(
    model: Path | str, card: ModelCard, batch: int, say: Callable[[str], object]
) -> Parity | None:
    """Refuse a network whose depth of an image depends on the others of its batch.

    Run by ONNX Runtime on the CPU, images alone are compared with the same images in company. Some
    are dimmed and some brightened: stored frames alone may share the maximum, or the minimum, that
    a network goes by.

    Args:
        model: The ONNX file.
        card: Its card.
        batch: Most images at once.
        say: Tells the operator what is done.

    Returns:
        The figures; None where there is no more than one image at once.

    Raises:
        EngineError: If it mixes them, with the figures; or if the network cannot be run.
    """
    engine = OnnxRuntimeEngine(
        model, card, batch=min(batch, _COMPANY), providers=((REFERENCE, {}),)
    )
    try:
        if len(engine.input) == 1:
            return None
        say(f'checking that {Path(model).name} keeps the images of a batch apart')
        dim = parity_frames(card, _FRAMES)
        dim[..., :3] //= 4
        bright = dim.copy()
        bright[..., :3] += 191
        others = np.concatenate([dim, bright])
        parity = measure_parity(engine, model, card, others, 'cpu', _FRAMES)
    finally:
        engine.close()
    if not parity.passed:
        msg = (
            f'the network of {Path(model).name} mixes the images of a batch: the depth of an '
            f'image depends on what other cameras see ({"; ".join(parity.findings)}). Use one '
            'camera, or export it with a batch of 1'
        )
        raise EngineError(msg)
    return parity

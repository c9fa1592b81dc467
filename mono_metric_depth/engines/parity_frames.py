# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The stored frames that engines are checked on, as a model's network sees them.

They lie in the package: procedural drives of three domains, weathers and cameras, rendered by
``benchmark/parity_frames.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera
from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.network_image import CHANNELS, write_network_image
from mono_metric_depth.image import Image
from mono_metric_depth.model_card import ModelCard

FOLDER = Path(__file__).parents[1] / 'parity_frames'


def parity_frames(card: ModelCard, count: int | None = None) -> NDArray[np.uint8]:
    """The stored frames, brought to a model's canonical camera.

    Args:
        card: The model's card.
        count: How many, of as many domains as can be; all of them, 8, if left out.

    Returns:
        (count, height, width, 4), as engines take them.

    Raises:
        EngineError: If one cannot be read.
    """
    entries = json.loads((FOLDER / 'frames.json').read_text())['frames']
    if count is not None:  # they are sorted by domain
        entries = [entries[index * len(entries) // count] for index in range(count)]
    canonical = card.canonical_camera
    alignments: dict[Camera, Alignment] = {}
    frames = np.empty((len(entries), canonical.height, canonical.width, CHANNELS), np.uint8)
    for entry, frame in zip(entries, frames, strict=True):
        values = entry['camera']
        camera = Camera(**{**values, 'distortion': tuple(values['distortion'])})
        if camera not in alignments:
            alignments[camera] = Alignment(camera, canonical)
        alignment = alignments[camera]
        image = cv2.imread(str(FOLDER / entry['file']))
        if image is None:
            msg = f'{FOLDER / entry["file"]} cannot be read; install the package again'
            raise EngineError(msg)
        pixels = alignment.align(image)
        write_network_image(Image(pixels, 'bgr'), alignment.seen, frame)
    return frames

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Render the frames that engines are checked on: mono_metric_depth/parity_frames.

    python benchmark/parity_frames.py

They are of this package's own procedural worlds, and under its licence.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2

from mono_metric_depth.datasets import open_sequence

FOLDER = Path(__file__).parents[1] / 'mono_metric_depth' / 'parity_frames'
#: Drives that no shipped model was trained on, and a frame of each.
FRAMES = (
    ('world:town:2000x40', 10),
    ('world:town:2001x40', 30),
    ('world:town:2002x40', 20),
    ('world:country:2000x40', 10),
    ('world:country:2001x40', 30),
    ('world:country:2002x40', 20),
    ('world:suburb:2000x40', 10),
    ('world:suburb:2001x40', 30),
)


def main() -> None:
    """Render and write them."""
    FOLDER.mkdir(exist_ok=True)
    entries = []
    for number, (drive, index) in enumerate(FRAMES):
        frame = open_sequence(drive)[index]
        name = f'{number}.jpg'
        cv2.imwrite(str(FOLDER / name), frame.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        camera = dataclasses.asdict(frame.camera)
        entries.append({'file': name, 'drive': drive, 'frame': index, 'camera': camera})
    text = json.dumps({'licence': 'Apache-2.0', 'frames': entries}, indent=1)
    (FOLDER / 'frames.json').write_text(text + '\n')


if __name__ == '__main__':
    main()

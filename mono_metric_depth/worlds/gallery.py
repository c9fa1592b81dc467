# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The gallery: what the worlds look like, on one picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from mono_metric_depth.worlds.drive import Drive, WorldError

#: Domain, seed and frame of each cell: one row per domain.
_CELLS = (
    (('town', 9, 20), ('town', 2, 40), ('town', 11, 12), ('town', 22, 30), ('town', 10, 8)),
    (
        ('suburb', 2, 5),
        ('suburb', 17, 20),
        ('suburb', 3, 40),
        ('suburb', 4, 30),
        ('suburb', 9, 16),
    ),
    (
        ('country', 9, 10),
        ('country', 5, 8),
        ('country', 16, 10),
        ('country', 2, 40),
        ('country', 6, 6),
    ),
)
_WIDTH, _HEIGHT = 320, 160
_NEAREST, _FURTHEST = 3.0, 80.0
#: Colours are rounded to multiples of this: noise does not compress.
_STEP = 8


def draw_gallery(path: Path, device: str | torch.device = 'cpu') -> None:
    """Write a picture with a row of drives per domain and, last, the depth of the first row.

    Args:
        path: PNG to write.
        device: Where to render.

    Raises:
        WorldError: If the picture cannot be written.
    """
    rows: list[NDArray[np.uint8]] = []
    depths: list[NDArray[np.uint8]] = []
    for number, cells in enumerate(_CELLS):
        images, maps = zip(*_cells(cells, device), strict=True)
        rows.append(np.hstack(images))
        depths += maps if number == 0 else ()
    picture = np.vstack([rows[0], np.hstack(depths), *rows[1:]])
    picture = (np.minimum(picture, 247) + _STEP // 2) // _STEP * _STEP
    encoded, png = cv2.imencode('.png', picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    part = path.with_name(f'.{path.name}.part')
    try:
        if not encoded:
            msg = f'{path}: the picture could not be encoded'
            raise WorldError(msg)
        part.write_bytes(png.tobytes())
        part.replace(path)
    except OSError as err:
        msg = f'{path}: cannot be written: {err.strerror}'
        raise WorldError(msg) from err
    finally:
        part.unlink(missing_ok=True)


def _cells(
    cells: tuple[tuple[str, int, int], ...], device: str | torch.device
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Images and coloured depth maps (h, w, 3)."""
    for domain, seed, index in cells:
        frame = Drive(domain, seed, 60, device=device, supersample=2)[index]
        assert frame.depth is not None
        top = (frame.camera.height - 2 * _HEIGHT) // 2
        window = slice(top, top + 2 * _HEIGHT)
        image = cv2.resize(frame.image[window], (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
        cv2.putText(
            image, domain, (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 3, cv2.LINE_AA
        )
        cv2.putText(
            image, domain, (6, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA
        )
        depth = frame.depth[window][::2, ::2]
        share = np.log(np.clip(depth, _NEAREST, _FURTHEST) / _NEAREST)
        share = 1 - share / np.log(_FURTHEST / _NEAREST)
        colours = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
        colours = np.where(np.isfinite(depth)[..., None], colours, np.uint8(208))
        yield np.asarray(image, np.uint8), np.asarray(colours, np.uint8)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The log of a training: a CSV file, TensorBoard, pictures of samples."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

COLUMNS = (
    'step',
    'time',
    'learning_rate',
    'loss',
    'source_photometric',
    'target_photometric',
    'source_log_depth',
    'geometry',
    'depth_spread',
    'agreement',
    'motion',
    'abs_rel',
    'delta1',
    'median_ratio',
    'spread',
    'target_abs_rel',
    'target_delta1',
    'target_median_ratio',
    'target_spread',
)


class TrainingLog:
    """Writes the log; what an interrupted run wrote beyond its checkpoint is taken back.

    Args:
        folder: Of the training; ``log.csv``, ``tensorboard/`` and ``samples/`` lie in it.
        step: Of the checkpoint that training goes on from.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder
        self._path = folder / 'log.csv'
        self._truncate(step)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            print('no TensorBoard log: pip install tensorboard', flush=True)
            self._board = None
        else:
            board = folder / 'tensorboard'
            self._board = SummaryWriter(str(board), purge_step=step + 1 if step else None)

    def _truncate(self, step: int) -> None:
        kept: list[dict[str, str]] = []
        if self._path.is_file():
            with self._path.open(newline='') as file:
                for row in csv.DictReader(file):
                    # A row that a crash cut short lacks its last columns.
                    whole = None not in row.values() and str(row.get('step')).isdigit()
                    if whole and int(row['step']) <= step:
                        kept.append(row)
        part = self._path.with_suffix('.part')
        with part.open('w', newline='') as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction='ignore')
            writer.writeheader()
            writer.writerows(kept)
        part.replace(self._path)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Log the values of a step; those without a column go to TensorBoard alone."""
        line = io.StringIO()
        row = {'step': step, 'time': round(time.time(), 1), **values}
        csv.DictWriter(line, COLUMNS, extrasaction='ignore').writerow(row)
        with self._path.open('a', newline='') as file:
            file.write(line.getvalue())
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def draw(
        self,
        step: int,
        rows: list[tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]],
        furthest: float,
    ) -> None:
        """Draw samples: one row each of image, depth and true depth.

        Args:
            step: Of the training.
            rows: (h, w, 3) uint8 RGB, and twice (h, w) float32 depth (m); NaN is grey.
            furthest: End of the depth scale (m).
        """
        picture = np.concatenate(
            [
                np.concatenate([image, *(_coloured(depth, furthest) for depth in depths)], axis=1)
                for image, *depths in rows
            ]
        )
        folder = self._folder / 'samples'
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f'step-{step:06}.png'), picture[..., ::-1])
        if self._board is not None:
            self._board.add_image('samples', picture, step, dataformats='HWC')

    def close(self) -> None:
        """Write out what is left."""
        if self._board is not None:
            self._board.close()


def _coloured(depth: NDArray[np.float32], furthest: float) -> NDArray[np.uint8]:
    """(h, w) depth (m) -> (h, w, 3) uint8 RGB, near is red; logarithmic from 2 m."""
    with np.errstate(invalid='ignore', divide='ignore'):
        share = 1 - np.log(depth / 2) / np.log(furthest / 2)
    levels = (np.nan_to_num(share, nan=0, posinf=0, neginf=0).clip(0, 1) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[..., ::-1].copy()
    colours[np.isnan(depth)] = 128
    return np.asarray(colours, np.uint8)

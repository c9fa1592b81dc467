# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Mixed batches: source and target side by side in every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mono_metric_depth.camera import Camera
from mono_metric_depth.training.aligned_drive import AlignedDrive

_FLIP = 0.5
_JITTER = 0.7
_NARROW = 0.6


@dataclass(frozen=True)
class MixedBatch:
    """Source images first, then target images.

    Attributes:
        frames: (3, b, 3, h, w) float32 in 0..1: current, previous and next frame.
        jittered: The same with changed colours: what the networks see.
        seen: (b, 1, h, w) float32, 1 where the camera saw.
        depth: (b, 1, h, w) float32 (m) of the current frame; NaN where unknown and for every
            target image.
        intrinsics: (b, 4) fx, fy, cx, cy (px).
        names: Drive and frame of each image.
    """

    frames: Tensor
    jittered: Tensor
    seen: Tensor
    depth: Tensor
    intrinsics: Tensor
    names: list[str]

    def to(self, device: torch.device) -> MixedBatch:
        """The batch on a device."""
        return MixedBatch(
            self.frames.to(device),
            self.jittered.to(device),
            self.seen.to(device),
            self.depth.to(device),
            self.intrinsics.to(device),
            self.names,
        )


class MixedBatches:
    """Draws batches; the same seed and step give the same batch.

    Args:
        source, target: Aligned drives of at least 3 frames each.
        canonical: Their camera.
        source_batch, target_batch: Images of each in a batch.
        seed: Of the draws.
    """

    def __init__(
        self,
        source: Sequence[AlignedDrive],
        target: Sequence[AlignedDrive],
        canonical: Camera,
        source_batch: int,
        target_batch: int,
        seed: int,
    ) -> None:
        self._sides = ((list(source), source_batch), (list(target), target_batch))
        for drives, _ in self._sides:
            for drive in drives:
                if len(drive.images) < 3:
                    msg = f'{drive.name}: a drive needs at least 3 frames, got {len(drive.images)}'
                    raise ValueError(msg)
        self._canonical = canonical
        self._seed = seed

    def batch(self, step: int) -> MixedBatch:
        """The batch of a step."""
        rng = np.random.default_rng((self._seed, step))
        frames, jittered, seen, depth, intrinsics, names = [], [], [], [], [], []
        camera = self._canonical
        for is_source, (drives, count) in zip((True, False), self._sides, strict=True):
            lengths = np.array([len(drive.images) - 2 for drive in drives], float)
            for index in rng.choice(len(drives), count, p=lengths / lengths.sum()):
                drive = drives[index]
                middle = int(rng.integers(1, len(drive.images) - 1))
                order = [middle, middle - 1, middle + 1]
                triplet = drive.images[order].astype(np.float32) / 255
                truth = drive.depth[middle].astype(np.float32)
                if not is_source:
                    truth = np.full_like(truth, np.nan)
                mask, cx = drive.seen, camera.cx
                if rng.random() < _FLIP:
                    triplet, truth, mask = triplet[:, :, ::-1], truth[:, ::-1], mask[:, ::-1]
                    cx = camera.width - 1 - cx
                if rng.random() < _NARROW:
                    mask = mask & _narrower(mask.shape, cx, camera.cy, rng)
                frames.append(triplet)
                jittered.append(_jitter(triplet, rng) if rng.random() < _JITTER else triplet)
                depth.append(np.where(mask, truth, np.float32(np.nan)))
                seen.append(mask.astype(np.float32))
                intrinsics.append((camera.fx, camera.fy, cx, camera.cy))
                names.append(f'{drive.name} frame {middle}')
        return MixedBatch(
            _images(frames),
            _images(jittered),
            torch.from_numpy(np.stack(seen))[:, None],
            torch.from_numpy(np.stack(depth))[:, None],
            torch.tensor(intrinsics, dtype=torch.float32),
            names,
        )


def _images(triplets: list[np.ndarray]) -> Tensor:
    """List of (3, h, w, 3) -> (3, b, 3, h, w), channels last in memory."""
    return torch.from_numpy(np.stack(triplets, axis=1)).permute(0, 1, 4, 2, 3)


def _narrower(
    shape: tuple[int, ...], cx: float, cy: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """What a camera with a narrower field of view would see: (h, w) bool.

    The shape of the unseen border shall not tell source from target, and cameras narrower than
    both shall work.
    """
    height, width = shape
    share_x, share_y = rng.uniform(0.6, 1.0, 2)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    inside_x = (columns > cx * (1 - share_x)) & (columns < cx + (width - cx) * share_x)
    inside_y = (rows > cy * (1 - share_y)) & (rows < cy + (height - cy) * share_y)
    return np.asarray(inside_x & inside_y)


def _jitter(triplet: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Other brightness, contrast, saturation, white balance and gamma; noise."""
    brightness, contrast = rng.uniform(0.7, 1.3), rng.uniform(0.6, 1.4)
    saturation, gamma = rng.uniform(0.3, 1.4), rng.uniform(0.65, 1.6)
    grey = triplet.mean(axis=-1, keepdims=True)
    result = (grey + (triplet - grey) * saturation) * brightness * rng.uniform(0.9, 1.1, 3)
    mean = grey.mean()
    result = ((result - mean) * contrast + mean).clip(0, 1) ** gamma
    noise = rng.standard_normal(triplet.shape, np.float32) * rng.uniform(0, 0.02)
    return np.asarray(result + noise, np.float32)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Mixed batches: source and target side by side in every step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mono_metric_depth.training.aligned_drive import AlignedDrive
from mono_metric_depth.training.fresh_drives import FreshDrives
from mono_metric_depth.training.randomisation import randomised

Drives = Sequence[AlignedDrive] | FreshDrives

_FLIP = 0.5
_JITTER = 0.7
_NARROW = 0.6
_RANDOMISED = 0.8
_ASIDE = 0.25
#: Brightness, contrast, saturation, gamma, noise, and gains of red, green and blue.
_UNCHANGED = (1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True)
class MixedBatch:
    """Source images first, then target images.

    Attributes:
        images: (3, b, h, w, 3) uint8 RGB: current, previous and next frame.
        colours: (b, 8) float32: how the networks see other colours than were taken; brightness,
            contrast, saturation, gamma, deviation of the noise, gains of red, green and blue.
        seen: (b, 1, h, w) float32, 1 where the camera saw.
        depth: (b, 1, h, w) float32 (m) of the current frame; NaN where unknown and for every
            target image.
        intrinsics: (b, 4) float32 fx, fy, cx, cy (px).
        sources: How many of the images are source images.
        noise_seed: Of the noise.
        names: Drive and frame of each image.
    """

    images: Tensor
    colours: Tensor
    seen: Tensor
    depth: Tensor
    intrinsics: Tensor
    sources: int
    noise_seed: int
    names: list[str]

    def to(self, device: torch.device) -> MixedBatch:
        """The batch on a device."""
        moved = {
            name: getattr(self, name).to(device, non_blocking=True)
            for name in ('images', 'colours', 'seen', 'depth', 'intrinsics')
        }
        return dataclasses.replace(self, **moved)

    def pinned(self) -> MixedBatch:
        """The batch in memory that a GPU copies from while it computes."""
        names = ('images', 'colours', 'seen', 'depth', 'intrinsics')
        return dataclasses.replace(self, **{n: getattr(self, n).pin_memory() for n in names})

    def views(self, frames: int = 3) -> tuple[Tensor, Tensor]:
        """What was taken, and what the networks see: colours changed, noise added.

        Args:
            frames: How many of current, previous and next frame are looked at.

        Returns:
            Two tensors (frames, b, 3, h, w) float32, the first in 0..1, both channels last in
            memory.
        """
        taken = self.images[:frames].permute(0, 1, 4, 2, 3).float() / 255
        brightness, contrast, saturation, gamma, noise = (
            self.colours[:, i].view(1, -1, 1, 1, 1) for i in range(5)
        )
        gains = self.colours[:, 5:].view(1, -1, 3, 1, 1)
        grey = taken.mean(dim=2, keepdim=True)
        view = (grey + (taken - grey) * saturation) * (brightness * gains)
        mean = view.mean(dim=(0, 2, 3, 4), keepdim=True)
        view = ((view - mean) * contrast + mean).clamp(0, 1) ** gamma
        generator = torch.Generator(view.device).manual_seed(self.noise_seed)
        # One field for the whole batch: it is drawn alike however the batch is divided.
        grain = torch.randn((frames, 1, *view.shape[2:]), generator=generator, device=view.device)
        return taken, view + grain * noise


class MixedBatches:
    """Draws batches; the same seed and step give the same batch.

    Each image is drawn by itself, so that several processes together draw what one would.

    Args:
        source, target: Aligned drives of at least 3 frames each, or those of every step.
        source_batch, target_batch: Images of each in a batch.
        seed: Of the draws.
        replay: Drives of earlier targets.
        replay_share: Share of the target images that is drawn from them.
        randomised: Whether looks of most source images are randomised; see
            :mod:`~mono_metric_depth.training.randomisation`.
        part: Which of how many equal parts of each batch to draw.

    Raises:
        ValueError: If a drive is too short.
    """

    def __init__(
        self,
        source: Drives,
        target: Drives,
        source_batch: int,
        target_batch: int,
        seed: int,
        *,
        replay: Drives = (),
        replay_share: float = 0.0,
        randomised: bool = False,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._source, self._target, self._replay = _Pool(source), _Pool(target), _Pool(replay)
        self._replay_share = replay_share if replay else 0.0
        self._seed = seed
        self._randomised = randomised
        first, parts = part
        self._sources = range(first, source_batch, parts)
        self._targets = range(source_batch + first, source_batch + target_batch, parts)

    def batch(self, step: int) -> MixedBatch:
        """The batch of a step, or this process's part of it."""
        samples = [self._sample(step, index) for index in (*self._sources, *self._targets)]
        images, colours, seen, depth, intrinsics, names = zip(*samples, strict=True)
        # No computing by torch here: in another thread it would bring up a second set of workers,
        # which take processors from those of the step.
        return MixedBatch(
            torch.from_numpy(np.stack(images, axis=1)),
            torch.from_numpy(np.array(colours, np.float32)),
            torch.from_numpy(np.stack(seen)[:, None].astype(np.float32)),
            torch.from_numpy(np.stack(depth)[:, None].astype(np.float32)),
            torch.from_numpy(np.array(intrinsics, np.float32)),
            len(self._sources),
            hash((self._seed, step)) % 2**31,
            list(names),
        )

    def _sample(self, step: int, index: int) -> tuple[object, ...]:
        rng = np.random.default_rng((self._seed, step, index))
        is_source = index < self._targets.start
        replayed = not is_source and rng.random() < self._replay_share
        pool = self._source if is_source else self._replay if replayed else self._target
        drives, shares = pool.at(step)
        drive = drives[int(rng.choice(len(drives), p=shares))]
        middle = int(rng.integers(1, len(drive.images) - 1))
        images = drive.images[[middle, middle - 1, middle + 1]]
        depth = drive.depth[middle] if is_source else np.full_like(drive.depth[middle], np.nan)
        camera, seen, cx = drive.camera, drive.seen, drive.camera.cx
        if rng.random() < _FLIP:
            images, depth, seen = images[:, :, ::-1], depth[:, ::-1], seen[:, ::-1]
            cx = camera.width - 1 - cx
        if self._randomised and is_source and rng.random() < _RANDOMISED:
            image, depth, seen = randomised(images[0], depth.copy(), seen, drive, drives, rng)
            images = np.broadcast_to(image, images.shape)
            if rng.random() < _ASIDE:
                seen = seen & _window(seen.shape, rng)
        if rng.random() < _NARROW:
            seen = seen & _narrower(seen.shape, cx, camera.cy, rng)
        depth = np.where(seen, depth, np.float16(np.nan))
        colours = _jitter(rng) if rng.random() < _JITTER else _UNCHANGED
        intrinsics = (camera.fx, camera.fy, cx, camera.cy)
        return images, colours, seen, depth, intrinsics, f'{drive.name} frame {middle}'


class _Pool:
    """Drives, drawn by the number of their frames."""

    def __init__(self, drives: Drives) -> None:
        self._drives = drives
        self._known: Sequence[AlignedDrive] | None = None
        self._shares = np.zeros(0)
        if not isinstance(drives, FreshDrives):
            self.at(0)

    def at(self, step: int) -> tuple[Sequence[AlignedDrive], NDArray[np.float64]]:
        """The drives of a step, and the share of each."""
        drives = self._drives.at(step) if isinstance(self._drives, FreshDrives) else self._drives
        if drives is not self._known:
            for drive in drives:
                if len(drive.images) < 3:
                    msg = f'{drive.name}: a drive needs at least 3 frames, got {len(drive.images)}'
                    raise ValueError(msg)
            frames = np.array([len(drive.images) - 2 for drive in drives], float)
            self._shares = frames / frames.sum() if len(drives) else frames
            self._known = drives
        return drives, self._shares


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


def _window(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """What a camera that looks aside would see: (h, w) bool."""
    width = shape[1]
    span = rng.uniform(0.3, 1.0) * width
    start = rng.uniform(0, width - span)
    columns = np.arange(width)
    inside = (columns >= start) & (columns < start + span)
    return np.broadcast_to(inside, shape)


def _jitter(rng: np.random.Generator) -> tuple[float, ...]:
    """Other brightness, contrast, saturation, gamma and white balance; noise."""
    ranges = ((0.7, 1.3), (0.6, 1.4), (0.3, 1.4), (0.65, 1.6), (0.0, 0.02))
    return (*(rng.uniform(*r) for r in ranges), *rng.uniform(0.9, 1.1, 3))

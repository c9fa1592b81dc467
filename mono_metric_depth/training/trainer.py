# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Training on mixed batches, from drives to a network with one scalar."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from mono_metric_depth.metrics import depth_metrics, mean_metrics
from mono_metric_depth.scale import GlobalScale, fit_scale, image_ratios
from mono_metric_depth.training.aligned_drive import AlignedDrive, align_drives
from mono_metric_depth.training.held_out import (
    NORMALISATION,
    depth_pairs,
    median_depth,
    transfer_errors,
)
from mono_metric_depth.training.losses import (
    log_depth_loss,
    smoothness_loss,
    view_reconstruction_loss,
)
from mono_metric_depth.training.mixed_batches import MixedBatch, MixedBatches
from mono_metric_depth.training.networks import MAX_DEPTH, build_depth_network
from mono_metric_depth.training.pose_network import PoseNetwork
from mono_metric_depth.training.recipe import Recipe

_WARM_UP = 100
_SAVE_EVERY = 200
_LOG_EVERY = 25
_VALIDATE_EVERY = 500
_VALIDATION_FRAMES = 10
_COLLAPSE_SPREAD = 0.02
_COLLAPSE_AFTER = 500


class TrainingError(RuntimeError):
    """A training that cannot go on."""


class Trainer:
    """Trains one recipe; takes up where an earlier run with the same recipe stopped.

    Args:
        recipe: What to train.
        folder: Where checkpoints, the log and cached drives go.
        device: What to train on.
        stopped: Asked after every step; true ends training early, with a checkpoint.

    Raises:
        TrainingError: If the folder holds a run of another recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        device: torch.device | str = 'cpu',
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.device = torch.device(device)
        self._stopped = stopped
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        # Channels last: what convolutions on CPUs and tensor cores are fastest in.
        layout: Any = {'device': self.device, 'memory_format': torch.channels_last}
        self.depth_network = build_depth_network('default', recipe.scales).to(**layout)
        self.pose_network = PoseNetwork().to(**layout)
        parameters = [*self.depth_network.parameters(), *self.pose_network.parameters()]
        self._parameters = parameters
        self._optimiser = torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=1e-4)
        self._schedule = LambdaLR(self._optimiser, self._rate)
        self._drives: dict[tuple[str, bool], list[AlignedDrive]] = {}
        self.step = 0
        self._resume()

    def _rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / _WARM_UP)
        return warm * 0.5 * (1 + math.cos(math.pi * min(step / self.recipe.steps, 1.0)))

    @property
    def _checkpoint(self) -> Path:
        return self.folder / 'checkpoint.pt'

    def _written_recipe(self) -> str:
        return json.dumps(dataclasses.asdict(self.recipe))

    def _resume(self) -> None:
        if not self._checkpoint.is_file():
            return
        try:
            state = torch.load(self._checkpoint, map_location=self.device, weights_only=True)
            before = json.loads(state['recipe'])
        except (OSError, RuntimeError, EOFError, KeyError, ValueError, UnpicklingError) as err:
            msg = f'{self._checkpoint} is damaged ({err}); remove it to start anew'
            raise TrainingError(msg) from err
        now = json.loads(self._written_recipe())
        changed = sorted(name for name in now.keys() | before if now.get(name) != before.get(name))
        if changed:
            msg = (
                f'{self.folder} holds a training with another configuration: '
                f'{", ".join(changed)} differ; choose another folder, or remove this one'
            )
            raise TrainingError(msg)
        self.depth_network.load_state_dict(state['depth_network'])
        self.pose_network.load_state_dict(state['pose_network'])
        self._optimiser.load_state_dict(state['optimiser'])
        self._schedule.load_state_dict(state['schedule'])
        torch.set_rng_state(state['random'].cpu())
        self.step = int(state['step'])

    def _save(self) -> None:
        state = {
            'recipe': self._written_recipe(),
            'step': self.step,
            'depth_network': self.depth_network.state_dict(),
            'pose_network': self.pose_network.state_dict(),
            'optimiser': self._optimiser.state_dict(),
            'schedule': self._schedule.state_dict(),
            'random': torch.get_rng_state(),
        }
        part = self._checkpoint.with_suffix('.part')
        with part.open('wb') as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._checkpoint)

    def drives(self, entry: str, *, with_depth: bool) -> list[AlignedDrive]:
        """The drives of an entry of the recipe, aligned once and kept."""
        if (entry, with_depth) not in self._drives:
            self._drives[entry, with_depth] = align_drives(
                getattr(self.recipe, entry),
                self.recipe.canonical_camera,
                levelled=self.recipe.levelled,
                with_depth=with_depth,
                cache=self.folder / 'cache',
            )
        return self._drives[entry, with_depth]

    def train(self) -> bool:
        """Train to the recipe's last step.

        Returns:
            Whether it got there; false if it was stopped.

        Raises:
            TrainingError: If the loss stops being finite, or depth collapses.
        """
        recipe = self.recipe
        batches = MixedBatches(
            self.drives('source', with_depth=True),
            self.drives('target', with_depth=False),
            recipe.canonical_camera,
            recipe.source_batch,
            recipe.target_batch,
            recipe.seed,
        )
        validation = self.drives('source_validation', with_depth=True)
        test = self.drives('target_test', with_depth=True)
        with tqdm(total=recipe.steps, initial=self.step, desc='training', unit='step') as bar:
            while self.step < recipe.steps:
                batch = batches.batch(self.step).to(self.device)
                losses = self._train_step(batch)
                self.step += 1
                bar.update()
                if self.step % _LOG_EVERY == 0:
                    bar.set_postfix({name: f'{value:.3f}' for name, value in losses.items()})
                if self.step % _VALIDATE_EVERY == 0:
                    losses |= self._validate(validation, test)
                    tqdm.write(_line(self.step, losses))
                if self.step % _LOG_EVERY == 0:
                    self._log(losses)
                ended = self._stopped()
                if ended or self.step % _SAVE_EVERY == 0 or self.step == recipe.steps:
                    self._save()
                if ended:
                    return False
        return True

    def _train_step(self, batch: MixedBatch) -> dict[str, float]:
        self.depth_network.train()
        self.pose_network.train()
        total, losses = self._losses(batch)
        value = float(total.detach())
        if not math.isfinite(value):
            msg = f'the loss is {value} at step {self.step}, batch: {", ".join(batch.names)}'
            raise TrainingError(msg)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimiser.step()
        self._schedule.step()
        if losses['depth_spread'] < _COLLAPSE_SPREAD and self.step > _COLLAPSE_AFTER:
            msg = (
                f'depth collapsed to a constant by step {self.step}; train with another seed or '
                'a lower learning_rate'
            )
            raise TrainingError(msg)
        return {'loss': value, **losses}

    def _losses(self, batch: MixedBatch) -> tuple[Tensor, dict[str, float]]:
        recipe = self.recipe
        mask = batch.seen[None]
        inputs = (batch.jittered - NORMALISATION.mean[0]) / NORMALISATION.std[0] * mask
        current, previous, following = (
            view.contiguous(memory_format=torch.channels_last) for view in inputs
        )
        # Convolutions in 16 bits; warping, SSIM and the head's exponential stay in 32.
        with torch.autocast(self.device.type, torch.bfloat16):
            depths = self.depth_network(current)
            before = self.pose_network(previous, current)
            after = self.pose_network(current, following)
        motions = [torch.linalg.inv(before), after]
        image = batch.frames[0]
        neighbours = [batch.frames[1], batch.frames[2]]
        reconstruction = smoothness = image.new_zeros(len(image))
        for scale, depth in enumerate(depths):
            if scale:
                depth = torch.nn.functional.interpolate(
                    depth, image.shape[2:], mode='bilinear', align_corners=False
                )
            reconstruction = reconstruction + view_reconstruction_loss(
                image,
                neighbours,
                batch.seen,
                [batch.seen, batch.seen],
                depth,
                motions,
                batch.intrinsics,
            ) / len(depths)
            smoothness = smoothness + smoothness_loss(depth, image) / 2**scale / len(depths)
        total = (reconstruction + recipe.smoothness_weight * smoothness).mean()
        sources = recipe.source_batch
        losses = {
            'source_photometric': float(reconstruction[:sources].detach().mean()),
            'target_photometric': float(reconstruction[sources:].detach().mean()),
        }
        if recipe.source_depth_weight:
            supervised = log_depth_loss(
                depths[0][:sources], batch.depth[:sources], recipe.depth_range[1]
            ).mean()
            total = total + recipe.source_depth_weight * supervised
            losses['source_log_depth'] = float(supervised.detach())
        losses['depth_spread'] = float(depths[0].detach().log().std())
        losses['motion'] = float(after[:, :3, 3].detach().norm(dim=1).mean())
        return total, losses

    def fit_scale(self) -> GlobalScale:
        """The one scalar, on the held-out source drives."""
        drives = self.drives('source_validation', with_depth=True)
        pairs = depth_pairs(self.depth_network, drives, self.recipe.depth_range, every=2)
        return fit_scale(pairs, source=f'held-out {", ".join(self.recipe.source_validation)}')

    def target_errors(self, scale: float) -> dict[str, float]:
        """Errors on the held-out target drives; see :func:`transfer_errors`. Empty without any."""
        if not self.recipe.target_test:
            return {}
        return transfer_errors(
            self.depth_network,
            self.drives('target_test', with_depth=True),
            scale,
            median_depth(self.drives('source', with_depth=True), self.recipe.depth_range),
            self.recipe.depth_range,
        )

    def _validate(
        self, source: list[AlignedDrive], target: list[AlignedDrive]
    ) -> dict[str, float]:
        """Errors on held-out drives, both scaled by the median ratio of the source.

        The target's are for the log alone: nothing is chosen by them.
        """
        results: dict[str, float] = {}
        scale = 1.0
        for prefix, drives in (('', source), ('target_', target)):
            if not drives:
                continue
            every = max(1, len(drives[0].images) // _VALIDATION_FRAMES)
            pairs = depth_pairs(self.depth_network, drives, self.recipe.depth_range, every)
            ratio = float(np.median(image_ratios(pairs)))
            scale = scale if prefix else ratio
            metrics = mean_metrics([depth_metrics(p * scale, g) for p, g in pairs])
            results[f'{prefix}abs_rel'] = metrics.abs_rel
            results[f'{prefix}delta1'] = metrics.delta1
            results[f'{prefix}median_ratio'] = ratio
        return results

    def depth_range(self, scale: float) -> tuple[float, float]:
        """Nearest and furthest depth (m) that the network tells apart."""
        nearest, furthest = self.recipe.depth_range
        return nearest, min(furthest, 0.95 * MAX_DEPTH * scale)

    def _log(self, losses: dict[str, float]) -> None:
        path = self.folder / 'log.csv'
        columns = ['step', 'time', *_COLUMNS]
        new = not path.is_file()
        with path.open('a', newline='') as file:
            writer = csv.DictWriter(file, columns, extrasaction='ignore')
            if new:
                writer.writeheader()
            writer.writerow({'step': self.step, 'time': round(time.time(), 1), **losses})


_COLUMNS = (
    'loss',
    'source_photometric',
    'target_photometric',
    'source_log_depth',
    'depth_spread',
    'motion',
    'abs_rel',
    'delta1',
    'median_ratio',
    'target_abs_rel',
    'target_delta1',
    'target_median_ratio',
)


def _line(step: int, losses: dict[str, float]) -> str:
    return f'step {step}: ' + ', '.join(f'{name} {value:.3f}' for name, value in losses.items())

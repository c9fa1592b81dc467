# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Training on mixed batches, from drives to a network with one scalar."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from mono_metric_depth.linearity import measure_linearity
from mono_metric_depth.scale import GlobalScale, ScaleError, fit_scales
from mono_metric_depth.scale_judgement import judged_scale
from mono_metric_depth.training.aligned_drive import AlignedDrive
from mono_metric_depth.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from mono_metric_depth.training.held_out import (
    depth_pairs,
    held_out_errors,
    median_depth,
    predicted_depth,
    transfer_errors,
)
from mono_metric_depth.training.mixed_batches import MixedBatch, MixedBatches
from mono_metric_depth.training.mixed_loss import MixedLoss
from mono_metric_depth.training.networks import MAX_DEPTH, DepthNetwork, build_depth_network
from mono_metric_depth.training.networks.encoder_weights import load_encoder_weights
from mono_metric_depth.training.networks.onnx_weights import load_network
from mono_metric_depth.training.pose_network import PoseNetwork
from mono_metric_depth.training.processes import Processes
from mono_metric_depth.training.recipe import Recipe
from mono_metric_depth.training.recipe_drives import RecipeDrives, require_drives
from mono_metric_depth.training.training_log import TrainingLog

_WARM_UP = 100
#: A network that was trained before waits for the untrained pose network.
_POSE_HEAD_START = 300
_SAVE_EVERY = 200
_LOG_EVERY = 25
_VALIDATE_EVERY = 500
_VALIDATION_FRAMES = 10
#: Entries of the recipe that may change before a training goes on.
_MAY_CHANGE = {'name', 'target_test', 'steps', 'patience'}
_COLLAPSE_SPREAD = 0.02
_COLLAPSE_AFTER = 500


class TrainingError(RuntimeError):
    """A training that cannot go on."""


class Trainer:
    """Trains one recipe; takes up where an earlier run with the same recipe stopped.

    The batch of a step depends on the seed and the step alone, and nothing else is random: what
    was interrupted at any moment ends as if it had not been, to within floating-point noise.

    Args:
        recipe: What to train.
        folder: Where checkpoints and the log go.
        cache: Where aligned drives are kept; ``cache`` in the folder if left out.
        processes: This process among those that train together.
        stopped: Asked after every step; true ends training early, with a checkpoint.

    Raises:
        TrainingError: If the folder holds a run of another recipe, or the batch cannot be divided
            among the processes.
        DatasetError: If a drive of the recipe is not there.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        *,
        cache: Path | None = None,
        processes: Processes | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self._processes = processes or Processes(0, 1, torch.device('cpu'))
        self.device = self._processes.device
        self._stopped = stopped
        count = self._processes.count
        if recipe.source_batch % count or recipe.target_batch % count:
            msg = (
                f'source_batch {recipe.source_batch} and target_batch {recipe.target_batch} must '
                f'be multiples of the number of processes, {count}'
            )
            raise TrainingError(msg)
        require_drives(recipe)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        # Channels last: what convolutions on CPUs and tensor cores are fastest in.
        layout: Any = {'device': self.device, 'memory_format': torch.channels_last}
        self.depth_network = _depth_network(recipe).to(**layout)
        self.pose_network = PoseNetwork().to(**layout)
        self.pose_network.requires_grad_(recipe.reconstruction_weight > 0)
        loss = MixedLoss(
            self.depth_network, self.pose_network, recipe, _sixteen_bit_is_fast(self.device)
        )
        self._loss = self._processes.parallel(loss)
        groups = [self.depth_network.parameters(), self.pose_network.parameters()]
        self._parameters = [*loss.parameters()]
        self._optimiser = torch.optim.AdamW(
            [{'params': group} for group in groups],
            recipe.learning_rate,
            weight_decay=1e-4,
            fused=True,
        )
        self._schedule = LambdaLR(self._optimiser, [self._depth_rate, self._rate])
        self._drives = RecipeDrives(recipe, cache or folder / 'cache', self._processes)
        self.step = 0
        self._best, self._stale, self._agreement = math.inf, 0, 1.0
        self._resume()

    def _rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / _WARM_UP)
        return warm * 0.5 * (1 + math.cos(math.pi * min(step / self.recipe.steps, 1.0)))

    def _depth_rate(self, step: int) -> float:
        if not (self.recipe.start and self.recipe.reconstruction_weight):
            return self._rate(step)
        late = step - min(_POSE_HEAD_START, self.recipe.steps // 4)
        return self._rate(step) * min(1.0, max(0.0, late / _WARM_UP))

    @property
    def _checkpoint(self) -> Path:
        return self.folder / 'checkpoint.pt'

    @property
    def _best_weights(self) -> Path:
        return self.folder / 'best.pt'

    def _written_recipe(self) -> str:
        return json.dumps(dataclasses.asdict(self.recipe))

    def _resume(self) -> None:
        if not self._checkpoint.is_file():
            return
        state = load_checkpoint(self._checkpoint, self.device)
        try:
            before = json.loads(state['recipe'])
            now = json.loads(self._written_recipe())
            changed = sorted(
                name
                for name in (now.keys() | before) - _MAY_CHANGE
                if now.get(name) != before.get(name)
            )
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
            self._best, self._stale = float(state['best']), int(state['stale'])
            self._agreement = float(state['agreement'])
            self.step = int(state['step'])
        except (KeyError, ValueError, RuntimeError) as err:
            if isinstance(err, TrainingError):
                raise
            msg = f'{self._checkpoint} is not of this training ({err}); remove it to start anew'
            raise CheckpointError(msg) from err

    def _save(self) -> None:
        if not self._processes.first:
            return
        state = {
            'recipe': self._written_recipe(),
            'step': self.step,
            'depth_network': self.depth_network.state_dict(),
            'pose_network': self.pose_network.state_dict(),
            'optimiser': self._optimiser.state_dict(),
            'schedule': self._schedule.state_dict(),
            'best': self._best,
            'stale': self._stale,
            'agreement': self._agreement,
        }
        save_checkpoint(state, self._checkpoint)

    def drives(self, entry: str, *, with_depth: bool) -> list[AlignedDrive]:
        """See :meth:`RecipeDrives.aligned`."""
        return self._drives.aligned(entry, with_depth=with_depth)

    def train(self) -> bool:
        """Train to the recipe's last step, or until held-out source error no longer falls.

        Returns:
            Whether it got there; false if it was stopped.

        Raises:
            TrainingError: If the loss stops being finite, or depth collapses.
            ScaleError: If a source lacks ground truth, or has it in another unit than metres.
            CheckpointError: If a checkpoint cannot be written.
        """
        recipe = self.recipe
        # A person's own drives first: what is wrong with them shows before worlds are rendered.
        self.drives('target', with_depth=False)
        batches = MixedBatches(
            self._drives.pool('source', with_depth=True),
            self._drives.pool('target', with_depth=False),
            recipe.source_batch,
            recipe.target_batch,
            recipe.seed,
            replay=self._drives.pool('replay', with_depth=False),
            replay_share=recipe.replay_share,
            randomised=recipe.randomised,
            part=(self._processes.rank, self._processes.count),
        )
        self.drives('target_test', with_depth=True)
        self._drives.check_truth('source_validation')
        if recipe.source_depth_weight:
            self._drives.check_truth('source')
        if recipe.target_test:
            self._drives.check_truth('target_test')
        if self._ended_early():
            return self._return_to_best()
        log = TrainingLog(self.folder, self.step) if self._processes.first else None
        bar = tqdm(
            total=recipe.steps,
            initial=self.step,
            desc='training',
            unit='step',
            # By default tqdm asks its environment.
            **({} if self._processes.first else {'disable': True}),
        )
        try:
            for batch in self._coming(batches):
                rate = float(self._schedule.get_last_lr()[1])
                losses = self._train_step(batch)
                self.step += 1
                bar.update()
                if self.step % _LOG_EVERY == 0:
                    bar.set_postfix({name: f'{value:.3f}' for name, value in losses.items()})
                losses['learning_rate'] = rate
                if self.step % _VALIDATE_EVERY == 0:
                    losses |= self._validate(log)
                    if log is not None:
                        tqdm.write(_line(self.step, losses))
                if self.step % _LOG_EVERY == 0 and log is not None:
                    log.write(self.step, losses)
                stopped = self._processes.sum([float(self._stopped())])[0] > 0
                ended = self._ended_early()
                last = stopped or ended or self.step == recipe.steps
                if last or self.step % _SAVE_EVERY == 0:
                    self._save()
                if stopped:
                    return False
                if ended:
                    return self._return_to_best()
        finally:
            bar.close()
            self._drives.close()
            if log is not None:
                log.close()
        return True

    def _coming(self, batches: MixedBatches) -> Iterator[MixedBatch]:
        """The batches of the remaining steps; the next is drawn while this one is worked on."""

        def draw(step: int) -> MixedBatch:
            batch = batches.batch(step)
            return batch.pinned() if self.device.type == 'cuda' else batch

        with ThreadPoolExecutor(1, 'batches') as pool:
            coming = pool.submit(draw, self.step)
            for step in range(self.step, self.recipe.steps):
                batch = coming.result().to(self.device)
                if step + 1 < self.recipe.steps:
                    coming = pool.submit(draw, step + 1)
                yield batch

    def _train_step(self, batch: MixedBatch) -> dict[str, float]:
        self.depth_network.train(self._depth_rate(self.step) > 0)
        self.pose_network.train()
        each, parts = self._loss(batch)
        total = each.mean()
        names = ['loss', *parts]
        sums = self._processes.sum(torch.stack([total.detach(), *parts.values()]).tolist())
        losses = {n: v / self._processes.count for n, v in zip(names, sums, strict=True)}
        if not math.isfinite(losses['loss']):
            self._raise_not_finite(each, batch)
        self._optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        if not math.isfinite(float(norm)):
            self._raise_not_finite(each, batch)
        self._optimiser.step()
        self._schedule.step()
        self._agreement += 0.02 * (losses.get('agreement', 1.0) - self._agreement)
        if self.step > _COLLAPSE_AFTER:
            self._refuse_collapse(losses['depth_spread'])
        return losses

    def _refuse_collapse(self, spread: float) -> None:
        """End a training that has gone to where it does not come back from."""
        if spread < _COLLAPSE_SPREAD:
            msg = f'depth collapsed to a constant by step {self.step}'
        elif self._agreement < 0:
            # Roads are near below and far ahead in both domains; a target with its depth upside
            # down explains its images no better, yet no loss shows it.
            msg = (
                f'depth of the target runs against that of the source by step {self.step} '
                f'(correlation of their mean {self._agreement:.2f})'
            )
        else:
            return
        msg += '; train with another seed or a lower learning_rate, in a new folder'
        raise TrainingError(msg)

    def _raise_not_finite(self, each: torch.Tensor, batch: MixedBatch) -> None:
        """Raise an error that names the images at fault, or all where only the gradient is."""
        bad = (~torch.isfinite(each.detach())).tolist()
        if not any(bad) and self._processes.count > 1:
            where = 'see the error of another process, or the batch here'
        else:
            where = 'the loss' if any(bad) else 'the gradient'
        images = [n for n, b in zip(batch.names, bad, strict=True) if b] or batch.names
        msg = (
            f'{where} is not finite (nan or inf) at step {self.step} for {", ".join(images)}; '
            'look at these images and their depth, or lower learning_rate'
        )
        raise TrainingError(msg)

    def _ended_early(self) -> bool:
        return 0 < self.recipe.patience <= self._stale

    def _return_to_best(self) -> bool:
        state = load_checkpoint(self._best_weights, self.device)
        self.depth_network.load_state_dict(state['depth_network'])
        if self._processes.first:
            print(
                f'ended early at step {self.step}: held-out source AbsRel {self._best:.4f} of '
                f'step {state["step"]} was not beaten in {self._stale} validations; its weights '
                'are used',
                flush=True,
            )
        return True

    def _validate(self, log: TrainingLog | None) -> dict[str, float]:
        """Errors on held-out drives, both scaled by the median ratio of the source.

        The target's are for the log alone: nothing is chosen by them.
        """
        source = self.drives('source_validation', with_depth=True)
        target = self.drives('target_test', with_depth=True)
        results: dict[str, float] = {}
        if log is not None:
            results, scale = self._errors('', source, None), 1.0
            scale = results['median_ratio']
            results |= self._errors('target_', target, scale) if target else {}
            log.draw(self.step, self._samples(source, target, scale), self.recipe.depth_range[1])
        abs_rel = self._processes.sum([results.get('abs_rel', 0.0)])[0]
        if abs_rel < self._best:
            self._best, self._stale = abs_rel, 0
            if log is not None:
                weights = {'step': self.step, 'depth_network': self.depth_network.state_dict()}
                save_checkpoint(weights, self._best_weights)
        else:
            self._stale += 1
        return results

    def _errors(
        self, prefix: str, drives: list[AlignedDrive], scale: float | None
    ) -> dict[str, float]:
        every = max(1, len(drives[0].images) // _VALIDATION_FRAMES)
        pairs = depth_pairs(self.depth_network, drives, self.recipe.depth_range, every)
        errors = held_out_errors(pairs, scale)
        return {f'{prefix}{name}': value for name, value in errors.items()}

    def _samples(
        self, source: list[AlignedDrive], target: list[AlignedDrive], scale: float
    ) -> list[tuple[Any, ...]]:
        """Image, depth and true depth of two frames of each domain."""
        rows = []
        for drives in (source, target):
            for drive in drives[:2]:
                index = len(drive.images) // 2
                depth = predicted_depth(self.depth_network, drive, index) * scale
                rows.append((drive.images[index], depth, drive.depth[index].astype(np.float32)))
        return rows

    def fit_scale(self) -> GlobalScale:
        """The one scalar, on the held-out source drives, and what speaks against it."""
        drives = self.drives('source_validation', with_depth=True)
        pairs = depth_pairs(self.depth_network, drives, self.recipe.depth_range, every=2)
        source = f'held-out {", ".join(self.recipe.source_validation)}'
        scale, *others = fit_scales(pairs, source=source)
        try:
            linearity = measure_linearity(pairs, scale.value)
        except ScaleError:  # too little to judge by must not cost the training
            return scale
        return judged_scale(scale, others, linearity, pairs, inverse=False)

    def target_errors(self, scale: float) -> dict[str, float]:
        """Errors on the held-out target drives; see :func:`transfer_errors`. Empty without any."""
        if not self.recipe.target_test:
            return {}
        return transfer_errors(
            self.depth_network,
            self.drives('target_test', with_depth=True),
            scale,
            self._control(),
            self.recipe.depth_range,
        )

    def _control(self) -> NDArray[np.float32] | None:
        """The control without a network; None where the source has no ground truth."""
        drives = self.drives('source', with_depth=True)
        known = [drive for drive in drives if np.isfinite(drive.depth[::10]).any()]
        return median_depth(known, self.recipe.depth_range) if known else None

    def depth_range(self, scale: float) -> tuple[float, float]:
        """Nearest and furthest depth (m) that the network tells apart."""
        nearest, furthest = self.recipe.depth_range
        return nearest, min(furthest, 0.95 * MAX_DEPTH * scale)


def _depth_network(recipe: Recipe) -> DepthNetwork:
    """The network that training starts from."""
    if not recipe.start:
        network = build_depth_network(recipe.network, recipe.scales)
        if recipe.encoder_weights:
            found = load_encoder_weights(network, Path(recipe.encoder_weights))
            left = ', '.join(found.missing + found.mismatched) or 'none'
            print(
                f'{recipe.encoder_weights}: {found.matched} of {found.total} tensors of the '
                f'encoder loaded; left as they were: {left}',
                flush=True,
            )
        return network
    network = load_network(Path(recipe.start), recipe.scales)
    if network.name != recipe.network:
        msg = f'{recipe.start} holds the network {network.name!r}: set network to that'
        raise TrainingError(msg)
    return network


def _sixteen_bit_is_fast(device: torch.device) -> bool:
    if device.type == 'cuda':
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _line(step: int, losses: dict[str, float]) -> str:
    return f'step {step}: ' + ', '.join(f'{name} {value:.3g}' for name, value in losses.items())

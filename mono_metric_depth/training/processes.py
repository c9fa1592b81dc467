# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Training in several processes, as started by ``torchrun``: one GPU, or part of the CPU, each."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

#: The first process renders drives and validates while the others wait.
_PATIENCE = timedelta(hours=12)


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is.

    Attributes:
        rank: This one; 0 reads, writes and reports for all.
        count: How many there are.
        device: Where this one computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this one writes and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.count > 1:
            distributed.barrier()

    def sum(self, values: list[float]) -> list[float]:
        """Sums over all processes."""
        if self.count == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return [float(value) for value in tensor]

    def parallel(self, module: nn.Module) -> nn.Module:
        """A module whose gradients, and batch statistics, are those of all processes together."""
        if self.count == 1:
            return module
        if self.device.type == 'cuda':
            module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        else:
            for norm in module.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.__class__ = _SharedBatchNorm
        indices = [self.device.index] if self.device.index is not None else None
        with warnings.catch_warnings():
            # Buffers are alike already; the option's new name is not in torch 2.6.
            warnings.simplefilter('ignore', FutureWarning)
            return DistributedDataParallel(module, device_ids=indices, broadcast_buffers=False)


def join_processes(device: str) -> Processes:
    """Join the processes that ``torchrun`` started; alone without it.

    Args:
        device: ``cpu`` or ``cuda``; with several processes each takes the GPU of its local rank.

    Returns:
        This process among them.
    """
    count = int(os.environ.get('WORLD_SIZE', '1'))
    if count == 1:
        return Processes(0, 1, torch.device(device))
    chosen = torch.device(device)
    if chosen.type == 'cuda':
        chosen = torch.device('cuda', int(os.environ['LOCAL_RANK']))
        torch.cuda.set_device(chosen)
    if not distributed.is_initialized():
        backend = 'nccl' if chosen.type == 'cuda' else 'gloo'
        distributed.init_process_group(backend, timeout=_PATIENCE)
    return Processes(distributed.get_rank(), count, chosen)


def leave_processes() -> None:
    """Leave the processes that were joined."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


class _Sum(torch.autograd.Function):
    """Sum over processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        result = values.clone()
        distributed.all_reduce(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        result = gradient.clone()
        distributed.all_reduce(result)
        return result


class _SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes, on the CPU (torch's own needs CUDA).

    All parts of a batch have the same number of pixels.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        x = input.float()
        moments = torch.cat([x.mean(dim=(0, 2, 3)), (x * x).mean(dim=(0, 2, 3))])
        total: Tensor = _Sum.apply(moments)  # type: ignore[no-untyped-call]
        mean, square = (total / distributed.get_world_size()).chunk(2)
        variance = (square - mean * mean).clamp(min=0)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            pixels = distributed.get_world_size() * x.numel() / x.shape[1]
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * pixels / (pixels - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        result = torch.addcmul(shift.view(1, -1, 1, 1), x, scale.view(1, -1, 1, 1))
        return result.to(input.dtype)

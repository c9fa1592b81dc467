# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Training that is killed, runs out of disk, or runs in several processes."""

from __future__ import annotations

import csv
import os
import random
import resource
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import yaml

from mono_metric_depth.training import trainer as trainer_module
from mono_metric_depth.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from mono_metric_depth.training.recipe import Recipe, load_recipe
from mono_metric_depth.training.trainer import Trainer
from mono_metric_depth.training.training_log import TrainingLog

SMALL = {
    'name': 'small',
    'source': ['world:town:0x5'],
    'target': ['world:suburb:0x5'],
    'source_validation': ['world:town:900x4'],
    'canonical_camera': {'width': 64, 'height': 64, 'fx': 50, 'fy': 50, 'cx': 31.5, 'cy': 27},
    'network': 'nano',
    'source_batch': 4,
    'target_batch': 2,
    'steps': 30,
}


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / 'small.yaml'
    path.write_text(yaml.safe_dump(SMALL))
    return path


def losses(folder: Path) -> dict[int, list[float]]:
    with (folder / 'log.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    steps = [int(row['step']) for row in rows]
    assert steps == sorted(set(steps))
    names = ('loss', 'source_photometric', 'target_photometric', 'source_log_depth', 'motion')
    return {int(row['step']): [float(row[name]) for name in names] for row in rows}


def train_often_saving(recipe: Recipe, folder: Path) -> None:
    """Run in a process of its own: everything happens often, so that kills meet everything."""
    torch.set_num_threads(1)
    os.environ['TQDM_DISABLE'] = '1'
    for name, value in (('_SAVE_EVERY', 2), ('_LOG_EVERY', 1), ('_VALIDATE_EVERY', 5)):
        setattr(trainer_module, name, value)
    Trainer(recipe, folder).train()


def test_a_training_killed_at_20_moments_ends_as_one_that_was_not(
    recipe_file: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(recipe_file)
    # The server has imported torch; its children start at once.
    context = get_context('forkserver')
    context.set_forkserver_preload(['mono_metric_depth.training.trainer', 'torch.utils.tensorboard'])

    def start(folder: Path) -> object:
        process = context.Process(target=train_often_saving, args=(recipe, folder))
        process.start()
        return process

    whole = start(tmp_path / 'whole')
    whole.join()  # type: ignore[attr-defined]
    expected = losses(tmp_path / 'whole')
    assert list(expected) == list(range(1, 31))

    folder = tmp_path / 'killed'
    folder.mkdir()
    (folder / 'cache').symlink_to(tmp_path / 'whole' / 'cache')
    rng, kills, reached = random.Random(0), 0, set()
    while kills < 20:
        process = start(folder)
        # Somewhere between the start and a few steps.
        process.join(rng.uniform(0.2, 1.5))  # type: ignore[attr-defined]
        if process.exitcode is not None:  # type: ignore[attr-defined]
            break
        process.kill()  # type: ignore[attr-defined]
        process.join()  # type: ignore[attr-defined]
        kills += 1
        if (folder / 'checkpoint.pt').exists():
            state = load_checkpoint(folder / 'checkpoint.pt', torch.device('cpu'))
            reached.add(int(state['step']))
    final = start(folder)
    final.join()  # type: ignore[attr-defined]
    assert kills >= 10
    assert len(reached) >= 3, 'kills must meet training at work'
    found = losses(folder)
    assert list(found) == list(expected)
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, rel=2e-2, abs=1e-3), step

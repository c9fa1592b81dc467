# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A few steps of training, logged one by one: in a test's process, and under torchrun."""

from __future__ import annotations

import sys
from pathlib import Path

from mono_metric_depth.training import trainer
from mono_metric_depth.training.processes import Processes, join_processes, leave_processes
from mono_metric_depth.training.recipe import load_recipe

#: What the trainer does more often than in a long training.
OFTEN = {'_LOG_EVERY': 1, '_VALIDATE_EVERY': 3}


def train_a_little(
    recipe_file: Path, folder: Path, cache: Path, processes: Processes | None = None
) -> bool:
    recipe = load_recipe(recipe_file, steps=6, patience=1)
    return trainer.Trainer(recipe, folder, cache=cache, processes=processes).train()


if __name__ == '__main__':
    for name, value in OFTEN.items():
        setattr(trainer, name, value)
    assert train_a_little(*map(Path, sys.argv[1:]), processes=join_processes('cpu'))
    leave_processes()

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A few steps of training, logged one by one: run alone and under torchrun by a test."""

from __future__ import annotations

import sys
from pathlib import Path

from mono_metric_depth.training import trainer
from mono_metric_depth.training.processes import join_processes, leave_processes
from mono_metric_depth.training.recipe import load_recipe

if __name__ == '__main__':
    trainer._LOG_EVERY, trainer._VALIDATE_EVERY = 1, 3
    processes = join_processes('cpu')
    recipe = load_recipe(Path(sys.argv[1]), steps=6, patience=1)
    assert trainer.Trainer(recipe, Path(sys.argv[2]), processes=processes).train()
    leave_processes()

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
from typing import Any

import pytest
import torch
import yaml
from small_training import OFTEN, train_a_little

from mono_metric_depth.training import trainer as trainer_module
from mono_metric_depth.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from mono_metric_depth.training.processes import Processes
from mono_metric_depth.training.recipe import Recipe, load_recipe
from mono_metric_depth.training.trainer import Trainer, TrainingError
from mono_metric_depth.training.training_log import TrainingLog

CONFIG = Path(__file__).parents[1] / 'config'
SMALL = {
    'name': 'small',
    'source': ['world:town:0x5'],
    'target': ['world:suburb:0x5'],
    'source_validation': ['world:town:900x4'],
    'canonical_camera': {'width': 64, 'height': 64, 'fx': 50, 'fy': 50, 'cx': 31.5, 'cy': 27},
    'network': 'nano',
    'source_batch': 4,
    'target_batch': 2,
    'steps': 60,
    'patience': 0,
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


def progress(folder: Path) -> int:
    log = folder / 'log.csv'
    return log.read_bytes().count(b'\n') if log.exists() else 0


def train_often_saving(recipe: Recipe, folder: Path, cache: Path) -> None:
    """Run in a process of its own: everything happens often, so that kills meet everything."""
    torch.set_num_threads(1)
    os.environ['TQDM_DISABLE'] = '1'
    for name, value in (('_SAVE_EVERY', 2), ('_LOG_EVERY', 1), ('_VALIDATE_EVERY', 5)):
        setattr(trainer_module, name, value)
    Trainer(recipe, folder, cache=cache).train()


def test_a_training_killed_at_12_moments_ends_as_one_that_was_not(
    recipe_file: Path, tmp_path: Path, rendered: Path
) -> None:
    recipe = load_recipe(recipe_file, source_batch=2, target_batch=1)
    # The server has imported torch, and what optimisers ask for; its children start at once.
    context = get_context('forkserver')
    context.set_forkserver_preload(
        ['mono_metric_depth.training.trainer', 'torch._dynamo', 'torch.utils.tensorboard']
    )

    def start(folder: Path) -> object:
        process = context.Process(target=train_often_saving, args=(recipe, folder, rendered))
        process.start()
        return process

    whole = start(tmp_path / 'whole')
    whole.join()  # type: ignore[attr-defined]
    expected = losses(tmp_path / 'whole')
    assert list(expected) == list(range(1, 61))

    folder = tmp_path / 'killed'
    rng, reached = random.Random(0), set()
    for _ in range(12):
        process = start(folder)
        # A few steps on, at any moment of what a step does.
        goal = progress(folder) + rng.randint(1, 3)
        while progress(folder) < goal and process.is_alive():  # type: ignore[attr-defined]
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()  # type: ignore[attr-defined]
        process.join()  # type: ignore[attr-defined]
        if (folder / 'checkpoint.pt').exists():
            state = load_checkpoint(folder / 'checkpoint.pt', torch.device('cpu'))
            reached.add(int(state['step']))
    final = start(folder)
    final.join()  # type: ignore[attr-defined]
    assert len(reached) >= 5, 'kills must meet training at work'
    found = losses(folder)
    assert list(found) == list(expected)
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, rel=2e-2, abs=1e-3), step


def test_a_full_disk_keeps_the_former_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / 'checkpoint.pt'
    save_checkpoint({'step': 1}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r'cannot write .*former checkpoint is kept'):
            save_checkpoint({'step': 2, 'weights': torch.zeros(10_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(path, torch.device('cpu'))['step'] == 1
    assert [file.name for file in tmp_path.iterdir()] == ['checkpoint.pt']


def test_a_log_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.write(step, {'loss': step / 10, 'motion': 1.0})
    log.close()
    with (tmp_path / 'log.csv').open('a') as file:
        file.write('4,123')
    TrainingLog(tmp_path, 2).close()
    with (tmp_path / 'log.csv').open(newline='') as file:
        assert [row['step'] for row in csv.DictReader(file)] == ['1', '2']


def test_training_ends_when_held_out_source_error_no_longer_falls(
    recipe_file: Path, tmp_path: Path, rendered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(recipe_file, patience=2, steps=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module, '_VALIDATE_EVERY', 2)
        measured = trainer_module.held_out_errors
        falls = iter([0.5, 0.4])

        def errors(pairs: Any, scale: float | None = None) -> dict[str, float]:
            found = measured(pairs, scale)
            return found if scale else {**found, 'abs_rel': next(falls, 0.45)}

        patch.setattr(trainer_module, 'held_out_errors', errors)
        trainer = Trainer(recipe, tmp_path / 'run', cache=rendered)
        assert trainer.train()
        assert trainer.step == 8
        assert 'ended early' in capsys.readouterr().out
        assert (tmp_path / 'run' / 'samples' / 'step-000002.png').is_file()
        # What has ended stays ended.
        again = Trainer(recipe, tmp_path / 'run', cache=rendered)
        assert again.train()
        assert again.step == trainer.step
    for name, value in trainer.depth_network.state_dict().items():
        assert torch.equal(value, again.depth_network.state_dict()[name])


def test_a_batch_that_cannot_be_divided_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    processes = Processes(0, 4, torch.device('cpu'))
    with pytest.raises(
        TrainingError, match=r'source_batch 4 and target_batch 2 must be multiples'
    ):
        Trainer(load_recipe(recipe_file), tmp_path, processes=processes)


@pytest.mark.parametrize('name', ['train', 'experiments'])
def test_sigterm_while_drives_are_prepared_leaves_no_process(
    name: str, recipe_file: Path, tmp_path: Path
) -> None:
    settings = {**SMALL, 'target': ['world:suburb:0-9x400']}
    if name == 'experiments':
        settings = yaml.safe_load((CONFIG / 'experiments.yaml').read_text()) | {'frames': 400}
    recipe_file.write_text(yaml.safe_dump(settings))
    folder = tmp_path / 'run'
    command = [sys.executable, '-m', f'mono_metric_depth.commands.{name}']
    command += ['--config', str(recipe_file), '--folder', str(folder)]
    command += ['--output', str(tmp_path / 'output')]
    command += ['--devices' if name == 'experiments' else '--device', 'cpu']
    shown = {name: value for name, value in os.environ.items() if name != 'TQDM_DISABLE'}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, start_new_session=True, env=shown
    ) as process:
        assert process.stderr is not None
        process.stderr.read(1)  # the bar
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert b'interrupted' in process.stderr.read()
        assert process.wait(60) == 130
    deadline = time.monotonic() + 60
    while group_exists(process.pid):
        assert time.monotonic() < deadline, 'a process stays behind'
        time.sleep(0.05)


def group_exists(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_processes_train_what_one_would(
    recipe_file: Path, tmp_path: Path, rendered: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFTEN.items():
            patch.setattr(trainer_module, name, value)
        assert train_a_little(recipe_file, tmp_path / 'one', rendered)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    command += ['--nproc_per_node', '2', str(Path(__file__).with_name('small_training.py'))]
    command += map(str, (recipe_file, tmp_path / 'two', rendered))
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'TQDM_DISABLE': '1'}
    subprocess.run(command, check=True, env=environment, timeout=300)
    one, two = losses(tmp_path / 'one'), losses(tmp_path / 'two')
    assert list(one) == list(two) == [1, 2, 3, 4, 5, 6]
    for step, values in one.items():
        assert two[step] == pytest.approx(values, rel=0.03, abs=2e-3), step
    weights = [
        load_checkpoint(tmp_path / name / 'checkpoint.pt', torch.device('cpu'))['depth_network']
        for name in ('one', 'two')
    ]
    for name, value in weights[0].items():
        assert float((value - weights[1][name]).float().norm()) <= 0.03 * (
            float(value.float().norm()) + 0.1
        ), name

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Trains what the plan lacks, measures what can be measured, and keeps every result."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mono_metric_depth.model_card import ModelCard
from mono_metric_depth.scale import ScaleError
from mono_metric_depth.training.aligned_drive import AlignedDrive
from mono_metric_depth.training.checkpoint import load_checkpoint, save_checkpoint
from mono_metric_depth.training.drive_cache import align_drives
from mono_metric_depth.training.experiments.image_scale import image_scales, train_image_scale
from mono_metric_depth.training.experiments.measurements import (
    MEASURES_VERSION,
    Predictions,
    measure,
    predictions,
)
from mono_metric_depth.training.experiments.plan import Network, Plan, Row
from mono_metric_depth.training.experiments.results import (
    Results,
    read_results,
    write_results,
)
from mono_metric_depth.training.export import export_onnx
from mono_metric_depth.training.held_out import NORMALISATION
from mono_metric_depth.training.networks import DepthNetwork, build_depth_network
from mono_metric_depth.training.processes import Processes
from mono_metric_depth.training.recipe import Recipe
from mono_metric_depth.training.trainer import Trainer, TrainingError
from mono_metric_depth.workers import end_with_parent


def run_plan(
    plan: Plan, folder: Path, results_file: Path, devices: Sequence[str], only: str = ''
) -> Iterator[str]:
    """Train and measure what is missing. What is interrupted goes on where it was.

    Args:
        plan: What there is to do.
        folder: Where drives, checkpoints and weights are kept.
        results_file: JSON; a row that is there with the same recipe is not repeated.
        devices: One training at a time runs on each; name one several times for several.
        only: Only rows whose name holds this.

    Yields:
        Name of each row as it is written.
    """
    results = read_results(results_file).rows
    settings = {**dataclasses.asdict(plan.settings), 'rows': len(plan.rows)}
    order = {row.name: number for number, row in enumerate(plan.rows)}
    rows = [
        row
        for row in plan.rows
        if only in row.name and results.get(row.name, {}).get('key') != _key(plan, row)
    ]
    wanted = {name for row in rows for name in plan.networks_of(row)}
    todo = [
        network
        for network in plan.networks.values()
        if network.name in wanted and not _outcome(folder, network)
    ]
    context = get_context('spawn')
    free = context.Queue()
    for device in devices:
        free.put(device)
    threads = max(1, torch.get_num_threads() // len(devices))
    bar = tqdm(total=len(todo), desc='networks', unit='network')
    with ProcessPoolExecutor(len(devices), context, _take_device, (free, threads)) as pool:
        running: dict[Future[None], Network] = {}
        try:
            while todo or running or rows:
                outcomes = (
                    (name, _outcome(folder, plan.networks[name])) for name in plan.networks
                )
                done = {
                    name: outcome.get('code', 'unknown') for name, outcome in outcomes if outcome
                }
                for row in [row for row in rows if done.keys() >= set(plan.networks_of(row))]:
                    rows.remove(row)
                    measured = _measured(plan, row, folder, devices[0])
                    results[row.name] = {
                        'key': _key(plan, row),
                        'variant': row.variant,
                        'seed': row.seed,
                        'code': done[row.network],
                        **measured,
                        'source': {'name': row.source, **measured.get('source', {})},
                        'target': {'name': row.target, **measured.get('target', {})},
                    }
                    ordered = sorted(results, key=lambda name: order.get(name, len(order)))
                    write_results(
                        Results(settings, {name: results[name] for name in ordered}), results_file
                    )
                    yield row.name
                ready = [n for n in todo if not n.start or n.start in done]
                if ready and len(running) <= len(devices):
                    # One more than there are devices, so that its drives are ready in time.
                    network = ready[0]
                    todo.remove(network)
                    _prepare(network.recipe, folder)
                    exported = any(n.start == network.name for n in plan.networks.values())
                    running[pool.submit(_train, network, folder, exported)] = network
                    continue
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    running.pop(future)
                    future.result()
                    bar.update()
        except BaseException:
            for process in list(pool._processes.values()):
                process.terminate()
            raise
        finally:
            bar.close()


_DEVICE = 'cpu'


def _take_device(free: Any, threads: int) -> None:
    """In a worker: the device that it trains on."""
    global _DEVICE
    end_with_parent()
    _DEVICE = free.get()
    torch.set_num_threads(threads)


def _weights(folder: Path, name: str) -> Path:
    return folder / 'weights' / f'{name}.pt'


def _outcome(folder: Path, network: Network) -> dict[str, Any]:
    """What became of a training: its weights, or why it failed; empty while it has not ended."""
    path = _weights(folder, network.name)
    if not path.is_file():
        return {}
    state = load_checkpoint(path, torch.device('cpu'))
    return state if state.get('recipe') == _recipe_key(network) else {}


#: Entries of recipes that are younger than committed rows, and what leaves a training as it was.
_YOUNGER = {'randomised': False}


def _recipe_key(network: Network) -> str:
    entries = dataclasses.asdict(network.recipe)
    for name, unchanged in _YOUNGER.items():
        if entries[name] == unchanged:
            del entries[name]
    return json.dumps(entries, sort_keys=True)


def _code() -> str:
    """What trains: the commit of a checkout, or the version of an installed package."""
    root = Path(__file__).parents[3]
    command = ('git', '-C', str(root), 'describe', '--always', '--dirty')
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        if (root / '.git').exists():
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            return done.stdout.strip()
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version('mono_metric_depth')
    return 'unknown'


def _key(plan: Plan, row: Row) -> str:
    """What a row's numbers follow from: whoever changes it gets new ones."""
    parts = [_recipe_key(plan.networks[name]) for name in plan.networks_of(row)]
    parts += [repr(row), repr(plan.settings.annotated), repr(plan.settings.image_scale_steps)]
    parts.append(str(MEASURES_VERSION))
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]


def _drives(
    names: tuple[str, ...], recipe: Recipe, folder: Path, *, with_depth: bool = True
) -> list[AlignedDrive]:
    return align_drives(
        names,
        recipe.canonical_camera,
        levelled=recipe.levelled,
        with_depth=with_depth,
        cache=folder / 'cache',
        moving=False,
        aligned=recipe.aligned,
    )


def _prepare(recipe: Recipe, folder: Path) -> None:
    """Render the drives of a training, so that it finds them."""
    for names in (recipe.target, recipe.source, recipe.source_validation, recipe.replay):
        _drives(names, recipe, folder)


def _train(network: Network, folder: Path, exported: bool) -> None:
    """In a worker: one training, from nothing or from its last checkpoint, to its weights."""
    recipe, weights = network.recipe, _weights(folder, network.name)
    weights.parent.mkdir(parents=True, exist_ok=True)
    outcome: dict[str, Any] = {'recipe': _recipe_key(network), 'code': _code()}
    if network.start:
        start = folder / 'weights' / f'{network.start}.onnx'
        if not start.is_file():
            save_checkpoint({**outcome, 'failed': f'{network.start} failed'}, weights)
            return
        recipe = dataclasses.replace(recipe, start=str(start))
    run = folder / 'runs' / network.name
    processes = Processes(0, 1, torch.device(_DEVICE))
    try:
        trainer = Trainer(recipe, run, processes=processes, cache=folder / 'cache')
        trainer.train()
        if exported:
            scale = trainer.fit_scale()
            card = ModelCard(
                name=network.name,
                scale=scale,
                canonical_camera=recipe.canonical_camera,
                depth_range=trainer.depth_range(scale.value),
                levelled=recipe.levelled,
                normalisation=NORMALISATION,
            )
            export_onnx(trainer.depth_network, card, weights.with_suffix('.onnx'))
    except (TrainingError, ScaleError) as err:
        outcome['failed'] = str(err)
    else:
        outcome['depth_network'] = trainer.depth_network.state_dict()
    save_checkpoint(outcome, weights)
    shutil.rmtree(run, ignore_errors=True)


def _measured(plan: Plan, row: Row, folder: Path, device: str) -> dict[str, Any]:
    """All numbers of a row, or why there are none."""
    networks: dict[str, DepthNetwork] = {}
    for name in (row.network, row.scale_network):
        outcome = _outcome(folder, plan.networks[name])
        if 'failed' in outcome:
            return {'failed': outcome['failed']}
        trained = plan.networks[name].recipe
        network = build_depth_network(trained.network, trained.scales)
        network.load_state_dict(outcome['depth_network'])
        networks[name] = network.to(device).eval()
    recipe = plan.networks[row.network].recipe
    depth_range = recipe.depth_range

    def predicted(name: str, drives: list[AlignedDrive]) -> Predictions:
        return predictions(networks[name], drives, depth_range, recipe.levelled)

    test = _drives(row.test, recipe, folder)
    control = _drives(row.control, recipe, folder)
    target = predicted(row.network, test)
    scales = None
    if row.image_scales:
        model = train_image_scale(
            networks[row.network], control, depth_range, plan.settings.image_scale_steps, row.seed
        )
        scales = image_scales(model, networks[row.network], test, target.frames)
    source = predicted(row.scale_network, _drives(row.validation, recipe, folder))
    try:
        return measure(source, target, control, test, depth_range, plan.settings.annotated, scales)
    except ScaleError as err:
        return {'failed': str(err)}

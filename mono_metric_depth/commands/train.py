# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``train``: train on mixed batches, fit the one scalar, write one ONNX file with its card."""

from __future__ import annotations

import argparse
import datetime
import math
import signal
from pathlib import Path
from typing import Any

from mono_metric_depth.commands import (
    configuration_file,
    errors_in_one_line,
    fail,
    require_device,
)


def main(arguments: list[str] | None = None) -> None:
    """Train a model."""
    with errors_in_one_line():
        _train(arguments)


def _train(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog='train', description=__doc__)
    parser.add_argument('--config', type=Path, help='recipe (YAML); config/train.yaml by default')
    parser.add_argument('--folder', type=Path, default=Path('training'), help='checkpoints, log')
    parser.add_argument('--output', type=Path, help='the model; FOLDER/NAME.onnx by default')
    parser.add_argument('--steps', type=int, help='overrides the recipe')
    parser.add_argument('--device', default='cpu', help='cpu, cuda, cuda:1, ...')
    options = parser.parse_args(arguments)
    try:
        from mono_metric_depth.training.recipe import load_recipe
        from mono_metric_depth.training.trainer import Trainer, TrainingError
    except ImportError as err:
        fail(f"training needs {err.name}: pip install 'mono_metric_depth[train]'")
    require_device(options.device)
    changes = {} if options.steps is None else {'steps': options.steps}
    try:
        recipe = load_recipe(options.config or configuration_file('train.yaml'), **changes)
        stop = _Stop()
        trainer = Trainer(recipe, options.folder, device=options.device, stopped=stop)
        if not trainer.train():
            print(f'stopped at step {trainer.step}; the same command goes on from there')
            return
        export(trainer, options.output or options.folder / f'{recipe.name}.onnx')
    except TrainingError as err:
        fail(str(err))


def export(trainer: Any, output: Path) -> None:
    """Fit the scale, report on the target, write the model."""
    from mono_metric_depth.model_card import ModelCard, describe_card
    from mono_metric_depth.training.export import export_onnx
    from mono_metric_depth.training.held_out import NORMALISATION

    recipe = trainer.recipe
    scale = trainer.fit_scale()
    target = trainer.target_errors(scale.value)
    heights = [drive.camera_height for drive in trainer.drives('source', with_depth=True)]
    heights = [height for height in heights if math.isfinite(height)]
    card = ModelCard(
        name=recipe.name,
        scale=scale,
        canonical_camera=recipe.canonical_camera,
        depth_range=trainer.depth_range(scale.value),
        levelled=recipe.levelled,
        normalisation=NORMALISATION,
        camera_height=sum(heights) / len(heights) if heights else None,
        provenance={
            'trained': datetime.date.today().isoformat(),
            'source': list(recipe.source),
            'target': list(recipe.target),
            'recipe': (
                f'{recipe.steps} steps of {recipe.source_batch} + {recipe.target_batch} images, '
                f'learning rate {recipe.learning_rate:g}, source depth weight '
                f'{recipe.source_depth_weight:g}, seed {recipe.seed}'
            ),
            'target_test': {
                'drives': list(recipe.target_test),
                **{name: round(value, 4) for name, value in target.items()},
            },
            'licence': 'Apache-2.0',
        },
    )
    export_onnx(trainer.depth_network, card, output)
    try:
        from mono_metric_depth.evaluation.pictures import draw_training
    except ImportError:
        print('no picture of the training: matplotlib is not installed')
    else:
        draw_training(trainer.folder / 'log.csv', trainer.folder / 'training.png')
    print(describe_card(card))
    print(f'wrote {output}')


class _Stop:
    """Turns Ctrl-C (and SIGTERM) into a request to stop after the step.

    It takes effect with the first step: before that there is nothing to save.
    """

    def __init__(self) -> None:
        self._asked = self._armed = False

    def _ask(self, *_: object) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self) -> bool:
        if not self._armed:
            self._armed = True
            signal.signal(signal.SIGINT, self._ask)
            signal.signal(signal.SIGTERM, self._ask)
        return self._asked


if __name__ == '__main__':
    main()

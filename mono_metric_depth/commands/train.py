# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``train``: train on mixed batches, fit the one scalar, write one ONNX file with its card."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import signal
from pathlib import Path
from typing import Any

from mono_metric_depth.commands import (
    configuration_file,
    errors_in_one_line,
    fail,
    require_device,
)
from mono_metric_depth.model_card import read_card

_SHIPPED = ('source_supervised', 'one_scalar', 'supervised', 'randomised')


def main(arguments: list[str] | None = None) -> None:
    """Train a model."""
    with errors_in_one_line():
        _train(arguments)


def _train(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog='train', description=__doc__)
    parser.add_argument(
        '--config',
        default=_SHIPPED[0],
        help=f'recipe: a YAML file, or one of {", ".join(_SHIPPED)}; the first if left out',
    )
    parser.add_argument('--folder', type=Path, default=Path('training'), help='checkpoints, log')
    parser.add_argument('--output', type=Path, help='the model; FOLDER/NAME.onnx by default')
    parser.add_argument('--steps', type=int, help='overrides the recipe')
    parser.add_argument(
        '--network', help="overrides the recipe's network, and names the model after it"
    )
    parser.add_argument(
        '--start', type=Path, metavar='MODEL', help="ONNX to start from; overrides the recipe's"
    )
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; a GPU if there is one')
    options = parser.parse_args(arguments)
    require_training()
    from mono_metric_depth.training.recipe import load_recipe

    changes: dict[str, Any] = {} if options.steps is None else {'steps': options.steps}
    if options.network is not None:
        changes |= {'network': options.network, 'name': options.network}
    if options.start is not None:
        changes['start'] = str(options.start.absolute())
    named = options.config in _SHIPPED
    path = configuration_file(f'{options.config}.yaml') if named else Path(options.config)
    recipe = load_recipe(path, **changes)
    train_recipe(
        recipe,
        options.folder,
        options.output or options.folder / f'{recipe.name}.onnx',
        options.device,
    )


def require_training() -> None:
    """End with a message unless what training needs is installed."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
        import torch  # noqa: F401
    except ImportError as err:
        fail(f"training needs {err.name}: pip install 'mono_metric_depth[train]'")


def train_recipe(
    recipe: Any, folder: Path, output: Path, device: str | None, *, new: bool = False, **more: Any
) -> None:
    """Train a recipe, or go on, and write the model.

    Args:
        recipe: The :class:`~mono_metric_depth.training.recipe.Recipe`.
        folder: Of checkpoints and log.
        output: Where the model goes.
        device: To train on; a GPU if there is one, by default.
        new: Whether a model that is already there stays as it is.
        more: Further entries of the card's provenance.
    """
    import torch

    from mono_metric_depth.training.checkpoint import CheckpointError
    from mono_metric_depth.training.export import ExportError
    from mono_metric_depth.training.processes import join_processes, leave_processes
    from mono_metric_depth.training.trainer import Trainer, TrainingError

    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    require_device(device)
    if not recipe.aligned:
        fail(
            'aligned: false is for comparison (see the experiments): the network that comes of it '
            'has no canonical camera, and a model needs one'
        )
    if output.is_dir():
        fail(f'{output} is a folder; --output must be a file')
    if folder.exists() and not folder.is_dir():
        fail(f'{folder} is a file; --folder must be a folder')
    if recipe.start:
        more['parent'] = _parent(Path(recipe.start))
    # Until the first step, as Ctrl-C: the processes that prepare drives must end with this one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    processes = join_processes(device)
    try:
        trainer = Trainer(recipe, folder, processes=processes, stopped=_Stop())
        ended = trainer.train()
        if processes.first and ended:
            export(trainer, output, new=new, **more)
        elif processes.first:
            print(f'stopped at step {trainer.step}; the same command goes on from there')
    except (TrainingError, CheckpointError, ExportError) as err:
        fail(str(err))
    finally:
        leave_processes()


def _parent(model: Path) -> dict[str, str]:
    """What the card says of the model that a training started from."""
    return {
        'name': read_card(model).name,
        'sha256': hashlib.sha256(model.read_bytes()).hexdigest(),
    }


def export(trainer: Any, output: Path, *, new: bool = False, **more: Any) -> None:
    """Fit the scale, report on the target, write the model.

    Args:
        trainer: With a trained network.
        output: Where the model goes.
        new: Whether a model that is already there stays as it is.
        more: Further entries of the card's provenance.
    """
    from mono_metric_depth.card_description import describe_card
    from mono_metric_depth.model_card import ModelCard
    from mono_metric_depth.mount_statistics import mount_statistics
    from mono_metric_depth.training.export import export_onnx
    from mono_metric_depth.training.held_out import NORMALISATION

    recipe = trainer.recipe
    scale = trainer.fit_scale()
    target = trainer.target_errors(scale.value)
    mounts = [drive.mount for drive in trainer.drives('source', with_depth=True)]
    heights = [m.height for m in mounts if m is not None and m.height is not None]
    card = ModelCard(
        name=recipe.name,
        scale=scale,
        canonical_camera=recipe.canonical_camera,
        depth_range=trainer.depth_range(scale.value),
        levelled=recipe.levelled,
        normalisation=NORMALISATION,
        camera_height=sum(heights) / len(heights) if heights else None,
        mounts=mount_statistics(mounts),
        provenance={
            'trained': datetime.date.today().isoformat(),
            'source': list(recipe.source),
            'target': list(recipe.target),
            'network': recipe.network,
            'recipe': (
                f'{trainer.step} steps of {recipe.source_batch} + {recipe.target_batch} images, '
                f'learning rate {recipe.learning_rate:g}, source depth weight '
                f'{recipe.source_depth_weight:g}{", randomised" * recipe.randomised}, '
                f'seed {recipe.seed}'
            ),
            'target_test': {
                'drives': list(recipe.target_test),
                **{name: round(value, 4) for name, value in target.items()},
            },
            'licence': 'Apache-2.0',
            **more,
        },
    )
    export_onnx(trainer.depth_network, card, output, new=new)
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

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``finetune``: go on from a model with drives of your own, into a new model beside it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mono_metric_depth.commands import configuration_file, errors_in_one_line, fail
from mono_metric_depth.commands.train import require_training, train_recipe
from mono_metric_depth.datasets import drive_path
from mono_metric_depth.model_card import ModelCard, read_card
from mono_metric_depth.model_files import model_file


def main(arguments: list[str] | None = None) -> None:
    """Fine-tune a model."""
    with errors_in_one_line():
        _finetune(arguments)


def _finetune(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog='finetune', description=__doc__)
    parser.add_argument(
        'bags',
        nargs='*',
        metavar='BAG',
        help='ROS 2 bag, or BAG#/image_topic; no ground truth needed; those of the '
        'configuration if left out',
    )
    parser.add_argument('--output', type=Path, help='the new model; NAME.onnx by default')
    parser.add_argument('--model', help='to start from; the shipped model by default')
    parser.add_argument('--config', type=Path, help='YAML; config/finetune.yaml by default')
    parser.add_argument(
        '--folder', type=Path, help='checkpoints, log; OUTPUT with .training by default'
    )
    parser.add_argument('--steps', type=int, help='overrides the configuration')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; a GPU if there is one')
    options = parser.parse_args(arguments)
    require_training()
    from mono_metric_depth.training.recipe import load_recipe, read_entries

    shipped = configuration_file('finetune.yaml')
    config = options.config or shipped
    entries = read_entries(config)
    values = {**read_entries(shipped), **entries}
    values |= {} if options.steps is None else {'steps': options.steps}
    values |= {'target': options.bags} if options.bags else {}
    if options.output is not None and (options.config is None or 'name' not in entries):
        values['name'] = options.output.stem
    if not values['target']:
        fail(f"which drives? Give bags, or name them under 'target' in {config}")
    output: Path = options.output or Path(f'{values["name"]}.onnx')
    _require_new(output)
    start = _start(options.model or str(values['start']))
    card = read_card(start)
    values |= {'start': str(start), **_from_card(start, card, entries)}
    values['replay'] = _replayed(values['replay'], card, values['target'])
    recipe = load_recipe(config, **values)
    train_recipe(
        recipe,
        options.folder or output.with_suffix('.training'),
        output,
        options.device,
        new=True,
        replay=list(recipe.replay),
    )


def _require_new(output: Path) -> None:
    if output.suffix != '.onnx':
        fail(f'--output must be an .onnx file, got {output}')
    if output.exists():
        fail(f'{output} exists already and stays as it is; choose another --output')


def _start(name: str) -> Path:
    """The model to start from, by an absolute path: the checkpoint keeps it."""
    path = model_file(name)
    if not path.is_file():
        fail(f'there is no model {path} to start from')
    return path.resolve()


def _from_card(start: Path, card: ModelCard, entries: dict[str, Any]) -> dict[str, Any]:
    """What the start model lays down for the new one."""
    camera = card.canonical_camera
    names = ('width', 'height', 'fx', 'fy', 'cx', 'cy')
    fixed = {
        'canonical_camera': {name: getattr(camera, name) for name in names},
        'levelled': card.levelled,
        'network': card.provenance.get('network', 'default'),
    }
    for name, value in fixed.items():
        if name in entries and entries[name] != value:
            fail(f'{name} is {value} in {start}; leave {name} out of the configuration')
    return fixed


def _replayed(listed: Any, card: ModelCard, target: list[str]) -> Any:
    """The drives to replay: ``start`` becomes the start model's, as far as they are here."""
    if not isinstance(listed, list) or not isinstance(target, list):
        return listed  # load_recipe tells what is wrong
    names: list[str] = []
    for name in listed:
        before = [*_listed(card, 'target'), *_listed(card, 'replay')] if name == 'start' else []
        for drive in before:
            if not _is_here(drive):
                print(f'not replayed, as it is not here: {drive}')
        names += [drive for drive in before if _is_here(drive)] if name == 'start' else [name]
    return [name for name in dict.fromkeys(names) if name not in target]


def _listed(card: ModelCard, entry: str) -> list[str]:
    found = card.provenance.get(entry)
    return [str(name) for name in found] if isinstance(found, list) else []


def _is_here(name: str) -> bool:
    return name.startswith('world:') or drive_path(name)[0].exists()


if __name__ == '__main__':
    main()

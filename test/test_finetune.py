# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning from a bag: one command, one generation after the other."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch
import yaml
from bags import compressed, info, write_bag

from mono_metric_depth.commands import finetune, train
from mono_metric_depth.model_card import read_card
from mono_metric_depth.training.networks.onnx_weights import load_network
from mono_metric_depth.training.recipe import load_recipe
from mono_metric_depth.worlds import DOMAINS, Drive

ROOT = Path(__file__).parents[1]
CANONICAL = {'width': 64, 'height': 64, 'fx': 50.0, 'fy': 50.0, 'cx': 31.5, 'cy': 27.0}
SMALL = {
    'source': ['world:town:0x5'],
    'source_validation': ['world:town:900x4'],
    'source_batch': 1,
    'target_batch': 2,
    'replay_share': 0.5,
    'steps': 2,
}


@pytest.fixture(scope='module')
def start(tmp_path_factory: pytest.TempPathFactory, rendered: Path) -> Path:
    """A first model, just old enough that its depth rises with true depth."""
    folder = tmp_path_factory.mktemp('start')
    keep_drives(folder / 'run', rendered)
    recipe = {
        'name': 'first',
        **SMALL,
        'target': ['world:suburb:0x5'],
        'canonical_camera': CANONICAL,
        'network': 'nano',
        'steps': 60,
        'learning_rate': 0.003,
        'source_depth_weight': 1.0,
    }
    (folder / 'first.yaml').write_text(yaml.safe_dump(recipe))
    train.main(
        ['--config', str(folder / 'first.yaml'), '--folder', str(folder / 'run'), '--device']
        + ['cpu', '--output', str(folder / 'first.onnx')]
    )
    return folder / 'first.onnx'


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drive as a robot records it: JPEG and calibration, nothing else."""
    camera = DOMAINS['town'].camera.resized(320, 160)
    messages = []
    for frame in Drive('town', 3, 6, camera=camera):
        stamp = frame.stamp + 10**18
        messages += [info(stamp, camera=camera), compressed(stamp, frame.image)]
    return write_bag(tmp_path_factory.mktemp('bags') / 'monday', messages)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / 'mine.yaml'
    path.write_text(yaml.safe_dump(SMALL))
    return path


def keep_drives(folder: Path, rendered: Path) -> None:
    """Give a training that is to come the drives of the ones before."""
    folder.mkdir()
    (folder / 'cache').symlink_to(rendered)


def test_supervision_goes_on_from_a_model_at_once_and_names_it(
    start: Path, tmp_path: Path, rendered: Path
) -> None:
    recipe = {
        **SMALL,
        'name': 'second',
        'source': ['world:town:0x5'],
        'target': [],
        'target_batch': 0,
        'replay_share': 0.0,
        'canonical_camera': CANONICAL,
        'network': 'nano',
        'steps': 1,
        'source_depth_weight': 1.0,
        'reconstruction_weight': 0.0,
        'randomised': True,
    }
    config, output = tmp_path / 'second.yaml', tmp_path / 'second.onnx'
    config.write_text(yaml.safe_dump(recipe))
    keep_drives(tmp_path / 'run', rendered)
    arguments = ['--config', config, '--folder', tmp_path / 'run', '--output', output]
    train.main([*map(str, arguments), '--device', 'cpu', '--start', str(start)])
    assert read_card(output).provenance['parent']['name'] == 'first'
    before, after = (load_network(path).state_dict() for path in (start, output))
    weights = [name for name in before if name.endswith('weight')]
    moved = [not torch.equal(before[name], after[name]) for name in weights]
    assert all(moved)
    close = [float((before[name] - after[name]).abs().max()) for name in weights]
    assert max(close) < 0.01  # one step away, not from scratch


def run(*arguments: str | Path) -> None:
    finetune.main([*map(str, arguments), '--device', 'cpu'])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_bag_makes_a_model_and_the_next_bag_the_next(
    start: Path,
    bag: Path,
    config: Path,
    rendered: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ('second', 'third'):
        keep_drives(tmp_path / f'{name}.training', rendered)
    before = sha256(start)
    run(bag, '--output', 'second.onnx', '--model', start, '--config', config)
    assert 'of 6 frames used' in capsys.readouterr().out
    assert sha256(start) == before
    second = read_card('second.onnx')
    parent = {'name': 'first', 'sha256': before}
    assert second.name == 'second'
    assert second.canonical_camera == read_card(start).canonical_camera
    assert second.provenance['target'] == [str(bag)]
    assert second.provenance['replay'] == ['world:suburb:0x5']
    assert second.provenance['parent'] == parent
    # By configuration alone; what was the target is replayed, from now on.
    another = write_again(bag, tmp_path / 'tuesday')
    document = {
        **SMALL,
        'name': 'third',
        'start': 'second.onnx',
        'target': [f'{another}#/camera/image_raw/compressed'],
    }
    config.write_text(yaml.safe_dump(document))
    run('--config', config)
    third = read_card('third.onnx')
    assert third.provenance['parent'] == {'name': 'second', 'sha256': sha256(Path('second.onnx'))}
    assert third.provenance['replay'] == [str(bag), 'world:suburb:0x5']
    # Nothing is ever written over.
    written = sha256(Path('third.onnx'))
    with pytest.raises(SystemExit):
        run('--config', config)
    assert 'third.onnx exists already and stays as it is' in capsys.readouterr().err
    assert sha256(Path('third.onnx')) == written


def write_again(bag: Path, path: Path) -> Path:
    path.mkdir()
    for file in bag.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


def test_what_is_gone_is_told_and_not_replayed(
    start: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = dataclasses.replace(
        read_card(start), provenance={'target': ['gone', 'world:town:1'], 'replay': ['world:a:2']}
    )
    listed = finetune._replayed(['start', 'mine'], card, ['world:town:1'])
    assert listed == ['world:a:2', 'mine']
    assert 'not replayed, as it is not here: gone' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'change', 'message'),
    [
        ([], {}, 'which drives? Give bags, or name them'),
        (['nowhere'], {}, 'there is no drive nowhere'),
        (['BAG', '--model', 'nothing.onnx'], {}, 'there is no model nothing.onnx'),
        (['BAG', '--output', 'model.pt'], {}, 'must be an .onnx file'),
        (['BAG'], {'canonical_camera': {**CANONICAL, 'fx': 90.0}}, 'canonical_camera is'),
        (['BAG'], {'stepz': 3}, "unknown entry 'stepz'"),
        (['BAG'], {'replay': 'start'}, 'replay must be a list'),
        (['BAG'], {'replay_share': 2.0}, 'replay_share must be at most'),
    ],
)
def test_what_cannot_be_trained_is_told_before_any_work(
    arguments: list[str],
    change: dict[str, object],
    message: str,
    start: Path,
    bag: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    config.write_text(yaml.safe_dump({**SMALL, 'start': str(start), **change}))
    with pytest.raises(SystemExit):
        run(*(str(bag) if word == 'BAG' else word for word in arguments), '--config', config)
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ['mine.yaml']


def test_a_bag_without_calibration_ends_in_one_line(
    start: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = Drive('suburb', 3, 1)[0]
    path = write_bag(tmp_path / 'bare', [compressed(10**18, frame.image)])
    with pytest.raises(SystemExit):
        run(path, '--model', start, '--config', config, '--output', tmp_path / 'new.onnx')
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f'error: {path}: no camera_info for /camera/image_raw/compressed')
    assert not (tmp_path / 'new.onnx').exists()
    # Before any world was rendered.
    assert not list((tmp_path / 'new.training' / 'cache').iterdir())


def test_the_shipped_configuration_is_valid_and_short() -> None:
    path = ROOT / 'config' / 'finetune.yaml'
    recipe = load_recipe(path, target=['bag'], start='')
    assert recipe.learning_rate < 1e-3
    assert len(yaml.safe_load(path.read_text())) <= 10

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The experiments on the one scalar, from the plan to the page."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from test_training import CANONICAL, drives

from mono_metric_depth.commands import experiments
from mono_metric_depth.evaluation.one_scalar_page import page, write_page
from mono_metric_depth.training.aligned_drive import AlignedDrive
from mono_metric_depth.training.experiments.image_scale import image_scales, train_image_scale
from mono_metric_depth.training.experiments.measurements import Predictions, measure
from mono_metric_depth.training.experiments.plan import Plan, Settings, load_settings
from mono_metric_depth.training.experiments.results import Results, ResultsError, read_results
from mono_metric_depth.training.recipe import RecipeError

ROOT = Path(__file__).parents[1]
CAMERA = {'width': 64, 'height': 64, 'fx': 50, 'fy': 50, 'cx': 31.5, 'cy': 27}
TINY = {
    **yaml.safe_load((ROOT / 'config' / 'experiments.yaml').read_text()),
    'pairs': [['town', 'suburb'], ['suburb', 'country']],
    'seeds': [0],
    'train': '0-0',
    'validation': '900-900',
    'test': '901-901',
    'frames': 5,
    'heights': [1.2],
    'pitches': [-0.04],
    'annotated': [2],
    'image_scale_steps': 3,
    'continual_steps': 2,
    # Networks as small as these learn nothing else in so few steps.
    'source_depth_weight': 1.0,
    'recipe': {
        'network': 'nano',
        'canonical_camera': CAMERA,
        'source_batch': 2,
        'target_batch': 1,
        'steps': 100,
        'learning_rate': 0.003,
    },
}


@pytest.fixture(scope='module')
def settings_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('experiments') / 'experiments.yaml'
    path.write_text(yaml.safe_dump(TINY))
    return path


@pytest.fixture(scope='module')
def settings() -> Settings:
    return load_settings(ROOT / 'config' / 'experiments.yaml')


def test_the_page_says_what_the_committed_results_say() -> None:
    folder = ROOT / 'docs' / 'one_scalar'
    assert (folder / 'README.md').read_text() == page(read_results(folder / 'results.json'))


def test_the_plan_covers_every_pair_and_seed_and_holds_test_drives_out(settings: Settings) -> None:
    plan = Plan.of(settings)
    assert len({row.name for row in plan.rows}) == len(plan.rows)
    assert len(settings.pairs) >= 3
    assert len(settings.seeds) >= 3
    variants = {row.variant for row in plan.rows}
    assert {'mixed', 'unaligned', 'target_only', 'source_only', 'target_supervised'} <= variants
    for row in plan.rows:
        needed = list(plan.networks_of(row))
        assert needed
        for name in needed:
            recipe = plan.networks[name].recipe
            trained = {*recipe.source, *recipe.target, *recipe.replay}
            assert trained.isdisjoint({*row.validation, *row.test})
            assert recipe.seed == row.seed
    order = list(plan.networks)
    for network in plan.networks.values():
        assert not network.start or order.index(network.start) < order.index(network.name)
    # Separate networks differ in nothing but what they see.
    mixed, alone = (plan.networks[name].recipe for name in ('mixed-town-suburb-0', 'alone-town-0'))
    assert mixed.source_batch + mixed.target_batch == alone.source_batch
    assert alone.target == ()
    assert not plan.networks['unaligned-town-suburb-0'].recipe.aligned


def test_rows_are_trained_and_measured_once(
    settings_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ['--config', str(settings_file), '--output', str(tmp_path / 'page')]
    command += ['--folder', str(tmp_path / 'work'), '--devices', 'cpu']
    command += ['--only', 'town-suburb-source_superv']
    experiments.main(command)
    results = read_results(tmp_path / 'page' / 'results.json')
    supervised, alone = 'town-suburb-source_supervised-0', 'town-suburb-source_supervision_alone-0'
    assert set(results.rows) == {supervised, alone}
    for row in results.rows.values():
        assert row['target']['transferred']['abs_rel'] > 0
        assert row['control']['transferred']['abs_rel'] > 0
        assert row['height_law'] == pytest.approx(0, abs=0.02)
        assert [part['images'] for part in row['annotated']] == [2, 3]
    text = (tmp_path / 'page' / 'README.md').read_text()
    assert '(g) source supervision alone' in text
    assert '**2 of ' in text
    assert not list((tmp_path / 'work' / 'runs').iterdir())

    # What is there is not repeated; a row that lacks is measured with the weights that are there.
    before = (tmp_path / 'page' / 'results.json').read_text()
    document = json.loads(before)
    del document['rows'][alone]
    (tmp_path / 'page' / 'results.json').write_text(json.dumps(document))
    capsys.readouterr()
    experiments.main(command)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == alone
    assert len(printed) == 2
    experiments.main(command)
    assert 'all rows are in' in capsys.readouterr().out
    assert (tmp_path / 'page' / 'results.json').read_text() == before


def test_a_training_that_fails_is_a_result(
    settings_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mono_metric_depth.training.experiments import runs

    plan = Plan.of(load_settings(settings_file))
    network = plan.networks['mixed-town-suburb-0']

    class Failing:
        def __init__(self, *_: object, **__: object) -> None:
            raise runs.TrainingError('depth collapsed')

    monkeypatch.setattr(runs, 'Trainer', Failing)
    runs._train(network, tmp_path, exported=False)
    row = next(row for row in plan.rows if row.name == 'town-suburb-mixed-0')
    assert runs._measured(plan, row, tmp_path, 'cpu') == {'failed': 'depth collapsed'}
    # What starts from it fails with it.
    runs._train(plan.networks['continual-town-country-0'], tmp_path, exported=False)
    row = next(row for row in plan.rows if row.name == 'town-country-continual-0')
    why = runs._measured(plan, row, tmp_path, 'cpu')
    assert why == {'failed': 'mixed-town-suburb-0 failed'}
    # Weights that are not what was written are no result.
    weights = tmp_path / 'weights' / 'mixed-town-suburb-0.pt'
    whole = weights.read_bytes()
    at = whole.index(b'depth collapsed')
    for damaged in (b'', whole[:-40], whole[:at] + b'D' + whole[at + 1 :]):
        weights.write_bytes(damaged)
        with pytest.raises(ValueError, match=r'0\.pt is damaged \(.*\); remove it'):
            runs._outcome(tmp_path, network)
    ends = {'source': {'name': 'town'}, 'target': {'name': 'suburb'}}
    failed = {'variant': 'mixed', 'seed': 0, 'failed': 'depth collapsed', **ends}
    assert 'depth collapsed' in page(Results({}, {'town-suburb-mixed-0': failed}))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'stepz': 1}, "entry 'stepz' is unknown"),
        ({'seeds': None}, 'seeds is None'),
        ({'seeds': []}, 'must not be empty'),
        ({'seeds': [0, 0]}, 'seeds names something twice'),
        ({'pairs': [['town', 'town']]}, 'town cannot be its own target'),
        ({'image_scale_steps': -1}, 'image_scale_steps is -1, must be above 0'),
        ({'recipe': {**TINY['recipe'], 'steps': 0}}, 'steps must be at least 1'),
        ({'test': '0-3'}, 'must be held out'),
        ({'recipe': {**TINY['recipe'], 'aligned': False}}, 'must leave aligned out'),
    ],
)
def test_wrong_settings_are_named(
    change: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'experiments.yaml'
    path.write_text(yaml.safe_dump({**TINY, **change}))
    with pytest.raises(RecipeError, match=message):
        load_settings(path)
    with pytest.raises(SystemExit):
        experiments.main(['--config', str(path)])
    assert message in capsys.readouterr().err


def test_files_that_hold_no_results_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'results.json'
    assert read_results(path).rows == {}
    for text in ('', '[]', '{"rows": []}', '{"settings": {}, "rows": {"a": 1}}', '[' * 100_000):
        path.write_text(text)
        with pytest.raises(ResultsError, match='holds no results'):
            read_results(path)
    for row in ({}, {'variant': 'mixed', 'seed': 0, 'code': '', 'source': [], 'target': 1}):
        with pytest.raises(ResultsError, match='not as this version measures it'):
            write_page(Results({}, {'town-suburb-mixed-0': row}), tmp_path)
    assert not (tmp_path / 'README.md').exists()


def planted(heights: list[float], ratio: Any, seed: int = 0) -> Predictions:
    """Predictions off by a ratio that may depend on the height of the camera."""
    rng = np.random.default_rng(seed)
    pairs, frames = [], []
    for drive, height in enumerate(heights):
        for index in range(4):
            true = rng.uniform(4, 60, 400)
            pairs.append((true / ratio(height) * rng.normal(1, 0.02, 400), true))
            frames.append((drive, index))
    return Predictions(pairs, frames, np.array(heights), None)


def measured(source: Predictions, target: Predictions) -> dict[str, Any]:
    test = drives('test', 10.0)
    return measure(source, target, test, test, (0.5, 80.0), (3,))


def test_a_planted_scale_error_is_found() -> None:
    found = measured(planted([1.5] * 3, lambda _: 2.2), planted([1.5] * 3, lambda _: 2.0, seed=1))
    target = found['target']
    for kind in ('transferred', 'theil_sen'):
        assert target[kind]['scale_error'] == pytest.approx(0.1, abs=0.01)
    assert target['oracle_global']['scale_error'] == 0
    assert target['transferred']['abs_rel'] == pytest.approx(0.1, abs=0.01)
    assert target['oracle_global']['abs_rel'] == pytest.approx(0.016, abs=0.003)
    assert target['unscaled']['scale_error'] == pytest.approx(-0.5, abs=0.01)
    assert found['height_law'] == 0
    assert found['annotated'][0]['images'] == 3
    assert found['annotated'][0]['scale_error'] == pytest.approx(0.1, abs=0.03)
    control = found['control']  # knows the very depth
    assert control['transferred']['abs_rel'] == pytest.approx(0, abs=1e-3)


def test_scale_that_goes_with_height_is_one_number_per_metre() -> None:
    def law(height: float) -> float:
        return 2.0 * height

    found = measured(planted([1.5] * 3, law), planted([1.2, 1.5, 1.8], law, seed=1))
    assert found['target']['spread'] > 0.15
    assert found['at_one_height']['spread'] < 0.01
    assert found['at_one_height']['scale_error'] == pytest.approx(0, abs=0.01)
    assert found['at_one_height']['abs_rel'] < 0.02
    lower = measured(planted([1.5] * 3, law), planted([1.2] * 3, law, seed=1))
    error = lower['target']['transferred']['scale_error']
    assert error == pytest.approx(lower['height_law'], abs=0.01)


def test_the_page_tells_what_holds_from_what_does_not() -> None:
    good = measured(planted([1.5] * 3, lambda _: 2.0), planted([1.5] * 3, lambda _: 2.0, seed=1))
    bad = measured(planted([1.5] * 3, lambda _: 2.2), planted([1.5] * 3, lambda _: 2.0, seed=1))
    rows = {}
    for seed, found in enumerate((good, bad)):
        row = copy.deepcopy(found)
        row['control']['transferred']['abs_rel'] = 0.4
        row |= {'variant': 'mixed', 'seed': seed, 'code': 'abc1234'}
        row['source']['name'], row['target']['name'] = 'town', 'suburb'
        rows[f'town-suburb-mixed-{seed}'] = row
    text = page(Results({}, rows))
    assert '| town to suburb | one scalar | 1 of 2 | 1 of 2 | 2 of 2 |' in text
    assert '2 seeds' in text
    assert '5.0 % with every seed in 0 of 1 pair of domains; from town to suburb' in text
    assert 'is 1.00 times the true one on the source and 1.05 times on the target' in text
    assert 'code of abc1234.' in text
    assert "## The target's own road plane" not in text
    assert 'in 1 of 2 trainings of (a), whose scalars are 5.' in text
    assert 'Where a control does not fail' not in text
    for variant in ('target_only', 'source_only'):
        rows[f'town-suburb-{variant}-1'] = rows['town-suburb-mixed-1'] | {'variant': variant}
    text = page(Results({}, rows))
    assert 'trained on one domain alone: suburb 2.0' in text
    assert 'on in 0 of 1 trainings. Its AbsRel is 1.00 times' in text
    assert 'is within 10.0 % of 1 at 0 to 5 m (1.05), 5 to 10 m (1.05)' in text
    assert 'and not at' not in text
    lost = {'variant': 'mixed', 'source': {'name': 'town'}, 'target': {'name': 'suburb'}}
    text = page(Results({}, {**rows, 'town-suburb-mixed-2': {**lost, 'failed': 'no motion'}}))
    assert '| town to suburb | one scalar | 1 of 3 | 1 of 3 | 2 of 3 |' in text
    assert 'from town to suburb with 1 of 3' in text
    assert '1 of 5 failed' in text
    assert '- town-suburb-mixed-2: no motion' in text
    text = page(Results({}, rows))
    assert '(c) with two networks, each trained alone in 1 of 1; (d)' in text
    # Depth is straight here: all bands of distance are off by the scalar's own error.
    assert '| town to suburb: source | 1.00 | 1.00 | 1.00 | 1.00 | 1.00 |' in text
    assert '| town to suburb: target | 1.05 | 1.05 | 1.05 | 1.05 | 1.05 |' in text
    del rows['town-suburb-mixed-0']
    rows['town-suburb-mixed-1']['target']['road'] = {'scale_error': 0.02}
    text = page(Results({}, rows))
    assert 'the two do not share one line, though' in text
    assert 'It is the nearer one of the two in 1 of 1 trainings.' in text
    assert '| town to suburb (a) | +10.0 % | +2.0 % |' in text
    # All scalings beside the control without a network; the height law says nothing here.
    assert (
        '| town to suburb, mixed | +10.0 % | +0.0 % | 0.099 | 0.016 | 0.016 | 0.500 | 0.400 |'
        in text
    )


def test_a_network_of_image_scales_learns_what_can_be_seen() -> None:
    class Constant(torch.nn.Module):
        """Predicts 10 m for everything."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [x.new_full((len(x), 1, *x.shape[2:]), 10.0)]

    def shaded(depth: float, shade: int) -> AlignedDrive:
        (drive,) = drives(f'{depth}', depth, count=1)
        drive.images[:, :, : CANONICAL.width // 2] = shade
        return drive

    pool = [shaded(8.0, 20), shaded(16.0, 235)]
    network = Constant()
    model = train_image_scale(network, pool, (0.5, 80.0), 150, seed=0)
    scales = image_scales(model, network, pool, [(0, 0), (1, 0)])
    assert scales == pytest.approx([0.8, 1.6], rel=0.15)

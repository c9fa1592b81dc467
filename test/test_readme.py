# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The README is true."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mono_metric_depth.commands import model_card

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text()
COMMANDS = [
    re.split(r'\s+#', line)[0].strip()
    for block in re.findall(r'```sh\n(.*?)```', README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]
OURS = (
    'drive',
    'train',
    'finetune',
    'experiments',
    'model_card',
    'fit_scale',
    'evaluate',
    'evaluation_node',
    'drives',
    'replay',
    'import_model',
    'depth_node',
    'build_engine',
)


def ours(command: str) -> list[str]:
    return [sys.executable, '-m', f'mono_metric_depth.commands.{command.split()[0]}']


def test_files_that_it_names_exist() -> None:
    for name in re.findall(r'\]\(([^)#:]+)\)', README):
        assert (ROOT / name).is_file(), name


def test_make_targets_exist() -> None:
    makefile = (ROOT / 'Makefile').read_text()
    named = set(re.findall(r'make ([a-z]+)', README)) - {'sure'}
    assert {'demo', 'test', 'check'} <= named
    for target in named:
        assert re.search(rf'^{target}:', makefile, re.MULTILINE), target


@pytest.mark.parametrize('command', [c for c in COMMANDS if c.split()[0] in OURS])
def test_commands_know_their_options(command: str) -> None:
    usage = subprocess.run([*ours(command), '--help'], capture_output=True, text=True, check=True)
    for option in re.findall(r'--[a-z_]+', command):
        assert option in usage.stdout


@pytest.mark.parametrize('command', [c for c in COMMANDS if c.split()[0] == 'drive'])
def test_drives_are_written(command: str, tmp_path: Path) -> None:
    arguments = [*shlex.split(command)[1:], '--frames', '3']
    subprocess.run([*ours(command), *arguments], cwd=tmp_path, check=True, capture_output=True)
    (folder,) = tmp_path.iterdir()
    assert any(folder.rglob('*.mcap')) or (folder / 'sequence.json').is_file()


def test_the_configuration_shown_is_a_whole_one() -> None:
    shown = re.search(r'```yaml\n(.*?)```', README, re.DOTALL)
    assert shown is not None
    written = yaml.safe_load(shown[1])
    shipped = yaml.safe_load((ROOT / 'config' / 'finetune.yaml').read_text())
    assert set(written) == set(shipped)
    for name in set(shipped) - {'name', 'target'}:
        assert written[name] == shipped[name], name


def test_extras_exist() -> None:
    setup = (ROOT / 'setup.py').read_text()
    for extra in re.findall(r"pip install '\.\[([a-z,]+)\]'", README):
        for name in extra.split(','):
            assert f"'{name}':" in setup


def test_the_shipped_card_is_the_one_shown(capsys: pytest.CaptureFixture[str]) -> None:
    model_card.main([])
    shown = re.search(r'<!-- card -->\n```text\n(.*?)```', README, re.DOTALL)
    assert shown is not None
    assert shown[1] == capsys.readouterr().out


def test_the_shipped_model_is_made_by_the_shipped_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model_card.main(['--json'])
    card = yaml.safe_load(capsys.readouterr().out)
    recipe = yaml.safe_load((ROOT / 'config' / 'randomised.yaml').read_text())
    assert card['name'] == recipe['name']
    assert card['provenance']['source'] == recipe['source']
    assert card['provenance']['target'] == recipe['target']
    assert str(recipe['steps']) in card['provenance']['recipe']
    assert card['provenance']['parent']['sha256']
    base = yaml.safe_load((ROOT / 'config' / 'source_supervised.yaml').read_text())
    camera = {**base['canonical_camera']}
    assert card['canonical_camera'] == camera

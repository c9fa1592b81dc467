# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The package as people install it, and the rules of the house."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    'depth_node',
    'evaluation_node',
    'drive',
    'model_card',
    'fit_scale',
    'evaluate',
    'train',
    'finetune',
    'replay',
    'build_engine',
    'import_model',
    'demo',
)


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, f'{command} ended with {done.returncode}:\n{done.stdout}'
    return done.stdout


def executable(name: str) -> Path:
    return Path(sys.executable).parent / name


@pytest.fixture(scope='module')
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git would check out, with what is not committed yet."""
    folder = tmp_path_factory.mktemp('checkout') / 'mono_metric_depth'
    names = run('git', 'ls-files', '--cached', '--others', '--exclude-standard').splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize(
    'command', [('ruff', 'check', '.'), ('ruff', 'format', '--check', '.'), ('mypy',)]
)
def test_the_code_is_clean(command: tuple[str, ...]) -> None:
    run(executable(command[0]), *command[1:])


def test_arrows_point_down() -> None:
    run(executable('lint-imports'))


def test_a_broken_floor_is_noticed(checkout: Path, tmp_path: Path) -> None:
    copy = tmp_path / 'copy'
    shutil.copytree(checkout, copy)
    camera = copy / 'mono_metric_depth' / 'camera.py'
    camera.write_text(camera.read_text() + '\nimport mono_metric_depth.estimator  # noqa\n')
    done = subprocess.run(
        [executable('lint-imports')],
        cwd=copy,
        env={**os.environ, 'PYTHONPATH': str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert 'camera' in done.stdout


def test_the_node_starts_without_torch_and_the_core_without_ros() -> None:
    program = (
        'import sys\n'
        'for name in ("torch", "onnx", "matplotlib", "cuda", "tensorrt"):\n'
        '    sys.modules[name] = None\n'
        'import mono_metric_depth.nodes.depth_node\n'
        'import mono_metric_depth.commands.depth_node, mono_metric_depth.commands.model_card\n'
    )
    run(sys.executable, '-c', program)
    program = (
        'import sys\n'
        'for name in ("rclpy", "sensor_msgs", "torch"):\n    sys.modules[name] = None\n'
        'import mono_metric_depth.estimator, mono_metric_depth.datasets.bag\n'
        'import mono_metric_depth.evaluation.bag_depth, mono_metric_depth.commands.replay\n'
    )
    run(sys.executable, '-c', program)


def test_colcon_builds_the_package(checkout: Path, tmp_path: Path) -> None:
    workspace = tmp_path / 'workspace'
    shutil.copytree(checkout, workspace / 'src' / 'mono_metric_depth')
    out = run(executable('colcon'), 'build', '--event-handlers', 'console_direct+', cwd=workspace)
    prefix = workspace / 'install' / 'mono_metric_depth'
    share = prefix / 'share' / 'mono_metric_depth'
    for name in COMMANDS:
        assert os.access(prefix / 'lib' / 'mono_metric_depth' / name, os.X_OK), out
    assert (share / 'package.xml').is_file()
    assert (share / 'launch' / 'depth.launch.py').is_file()
    for name in ('depth.yaml', 'source_supervised.yaml', 'fastdds.xml'):
        assert (share / 'config' / name).is_file()
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    assert (index / 'mono_metric_depth').is_file()
    # The installed package finds its model and its configuration by itself.
    library = next((prefix / 'lib').glob('python3*/site-packages'))
    program = (
        'import mono_metric_depth, sys\n'
        f'assert mono_metric_depth.__file__.startswith({str(library)!r}), mono_metric_depth\n'
        'from mono_metric_depth.commands import configuration_file, model_card\n'
        f'assert str(configuration_file("source_supervised.yaml")).startswith({str(prefix)!r})\n'
        'model_card.main([])\n'
        'from mono_metric_depth.engines.parity_frames import parity_frames\n'
        'from mono_metric_depth.model_files import DEFAULT_MODEL\n'
        'assert len(parity_frames(model_card.read_card(DEFAULT_MODEL))) == 8\n'
    )
    out = run(sys.executable, '-c', program, cwd=tmp_path, PYTHONPATH=str(library))
    assert 'canonical camera' in out


def test_pip_installs_the_package(checkout: Path, tmp_path: Path) -> None:
    target = tmp_path / 'environment'
    pip = (sys.executable, '-m', 'pip')
    # The environment's own packages build it and serve as dependencies: nothing is downloaded.
    wheels = tmp_path / 'wheels'
    run(*pip, 'wheel', '--no-deps', '--no-build-isolation', '--wheel-dir', wheels, checkout)
    run(sys.executable, '-m', 'venv', '--without-pip', target)
    (wheel,) = wheels.iterdir()
    run(*pip, '--python', target / 'bin' / 'python', 'install', '--no-deps', wheel)
    for name in COMMANDS:
        assert os.access(target / 'bin' / name, os.X_OK)
    assert (target / 'share' / 'mono_metric_depth' / 'launch' / 'depth.launch.py').is_file()
    site = next(path for path in sys.path if path.endswith('site-packages'))
    out = run(target / 'bin' / 'model_card', cwd=tmp_path, PYTHONPATH=site)
    assert 'global' not in out
    assert 'scale' in out


def test_package_xml_and_setup_agree() -> None:
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    out = run(sys.executable, 'setup.py', '--name', '--version', '--license').split()
    version, name = package.findtext('version'), package.findtext('name')
    assert [name, version, package.findtext('license')] == out[-3:]
    assert package.get('format') == '3'


@pytest.mark.parametrize(
    ('python', 'machine', 'fits', 'too_new'),
    [
        ('3.10', 'aarch64', '12.9.4', '13.0.0'),  # JetPack 6: CUDA 12.6
        ('3.12', 'aarch64', '13.0.0', None),  # JetPack 7: CUDA 13
        ('3.12', 'x86_64', '13.0.0', None),
        ('3.10', 'x86_64', '13.0.0', None),
    ],
)
def test_cuda_bindings_are_those_of_the_robots_cuda(
    python: str, machine: str, fits: str, too_new: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements = pytest.importorskip('packaging.requirements')
    setuptools = pytest.importorskip('setuptools')
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, 'setup', lambda **entries: given.update(entries))
    monkeypatch.chdir(ROOT)
    runpy.run_path('setup.py')
    (asked,) = (
        found
        for found in map(requirements.Requirement, given['extras_require']['tensorrt'])
        if found.name == 'cuda-bindings'
        and found.marker.evaluate({'python_version': python, 'platform_machine': machine})
    )
    assert asked.specifier.contains(fits)
    assert too_new is None or not asked.specifier.contains(too_new)


def test_every_command_explains_itself() -> None:
    for name in COMMANDS:
        assert 'usage' in run(sys.executable, '-m', f'mono_metric_depth.commands.{name}', '--help')

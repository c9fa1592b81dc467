# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The demo, from the command to its pictures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from mono_metric_depth.commands.demo import main
from mono_metric_depth.datasets.bag import read_messages
from mono_metric_depth.evaluation.bag_depth import DEPTH_INFO_TOPIC, DEPTH_TOPIC, POINTS_TOPIC

SAMPLE = Path(__file__).parents[2] / 'shared/data/dgp_sample/scene_dataset_v1.0.json'


def test_the_demo_leaves_pictures_bags_and_a_table(tmp_path: Path) -> None:
    output = tmp_path / 'demo'
    # What an interrupted demo leaves is replaced.
    output.mkdir()
    (output / '.demo').touch()
    (output / 'drive.png').write_text('half')
    command = [sys.executable, '-m', 'mono_metric_depth.commands.demo', '--output', str(output)]
    command += ['--real', str(SAMPLE), '--frames', '12']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names = ['drive', 'real'] if SAMPLE.is_file() else ['drive']
    table = (output / 'table.md').read_text()
    rows = [line.split('|') for line in table.splitlines() if re.match(r'\| (gen|real)', line)]
    assert len(rows) == len(names)
    abs_rel, delta1 = float(rows[0][2]), float(rows[0][3])
    # The shipped model, on a drive that it has not seen: far better than a guess.
    assert abs_rel < 0.2
    assert delta1 > 0.8
    for row, name in zip(rows, names, strict=True):
        sent, received, dropped = (int(row[column]) for column in (5, 6, 7))
        assert sent == received + dropped
        assert received > 0
        picture = cv2.imread(str(output / f'{name}.png'))
        assert picture is not None
        assert picture.std() > 20
        counts = dict.fromkeys((DEPTH_TOPIC, DEPTH_INFO_TOPIC, POINTS_TOPIC), 0)
        for topic, _, _ in read_messages(output / f'{name}_depth'):
            counts[topic] += 1
        assert set(counts.values()) == {received}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that the demo ends with before any work."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ')
    return line


def test_the_demo_touches_no_folder_of_another_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'precious.txt').write_text('mine')
    assert 'something else than a demo' in refused(capsys, '--output', tmp_path)
    assert (tmp_path / 'precious.txt').read_text() == 'mine'


def test_the_demo_refuses_bad_input_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / 'demo'
    for name in ('text.onnx', 'scene_dataset.json'):
        (tmp_path / name).write_text('neither this nor that')
    for argument, value in (
        ('--model', tmp_path / 'missing.onnx'),
        ('--model', tmp_path / 'text.onnx'),
        ('--real', tmp_path / 'scene_dataset.json'),
        ('--frames', '0'),
    ):
        named = argument if argument == '--frames' else Path(value).name
        assert named in refused(capsys, '--output', output, argument, value)
        assert not output.exists()


def test_the_demo_says_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'torch', None)
    assert 'the demo needs torch: pip install' in refused(capsys, '--output', tmp_path / 'demo')
    assert not (tmp_path / 'demo').exists()

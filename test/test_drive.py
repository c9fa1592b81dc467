# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The command that renders drives."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mono_metric_depth.commands import drive

COMMAND = [sys.executable, '-m', 'mono_metric_depth.commands.drive']


@pytest.mark.parametrize('kind', ['--bag', '--folder'])
def test_ctrl_c_leaves_one_line_and_nothing_else(kind: str, tmp_path: Path) -> None:
    target = tmp_path / 'out'
    process = subprocess.Popen(
        [*COMMAND, '--frames', '1000', kind, target], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert 'Traceback' not in errors
    assert errors.splitlines()[-1] == 'interrupted'
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--domain', 'moon', '--bag', 'b'], "no domain 'moon'"),
        (['--frames', '0', '--bag', 'b'], 'frames >= 1'),
        (['--device', 'banana', '--bag', 'b'], "cannot use the device 'banana'"),
        (['--bag', 'b', '--folder', 'f'], 'one of --bag, --folder and --gallery'),
        (['--bag', '.'], 'exists already'),
        (['--bag', 'b', '--size', '3', '3'], '--size must be 32..32768 px each way, got 3 and 3'),
        (
            ['--bag', '/proc/b', '--frames', '1', '--size', '64', '32'],
            '/proc/b.part: No such file',
        ),
        (['--frames', '1', '--bag', 'file/b'], 'file'),
        (['--gallery', 'file/g.png'], 'file/g.png'),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path('file').write_text('')
    with pytest.raises(SystemExit) as ended:
        drive.main(arguments)
    assert ended.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith('error: ')
    assert message in last

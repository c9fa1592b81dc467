# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``drives``: what a data set holds, in lines and pictures."""

from __future__ import annotations

from pathlib import Path

import analytic_scene as scene
import cv2
import pytest
from test_image_folder import POSE, SIZE, K, write_folder
from test_vkitti import write_vkitti

from mono_metric_depth.commands.drives import main


def test_a_line_and_a_picture_for_each_drive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / 'folder', scene.seen_depth(SIZE, K, POSE))
    vkitti = write_vkitti(tmp_path / 'vk', {'Scene01': ('clone',)}, merged=True)
    main([str(folder), str(vkitti), '--figure', str(tmp_path / 'a.png')])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f'{folder}: 3 frames, 64x40 px, fx 50, 1.50 m high, without poses')
    assert 'true depth of ' in lines[0]
    assert lines[1].startswith(f'{vkitti}/Scene01/clone: 3 frames, 64x40 px, fx 55, with poses')
    assert lines[2] == f'drew {tmp_path / "a.png"}'
    drawn = cv2.imread(str(tmp_path / 'a.png'))
    assert drawn is not None
    assert drawn.shape == (300, 960, 3)
    main(['--names', str(vkitti)])
    assert capsys.readouterr().out.splitlines() == [f'{vkitti}/Scene01/clone']


def test_what_is_no_drive_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / 'missing')])
    assert capsys.readouterr().err.startswith('error: ')

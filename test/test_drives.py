# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``drives``: what a data set holds, in lines and pictures."""

from __future__ import annotations

import re
from pathlib import Path

import analytic_scene as scene
import cv2
import pytest
from bags import compressed, info, picture, raw, write_bag
from test_bag_sequence import camera, stamps, two_cameras
from test_bag_truth import depth_drive
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
    assert re.search(r'true depth of \S+% of pixels, median \S+ m, 90% of it within', lines[0])
    assert lines[1].startswith(f'{vkitti}/Scene01/clone: 3 frames, 64x40 px, fx 55, with poses')
    assert lines[2] == f'drew {tmp_path / "a.png"}'
    drawn = cv2.imread(str(tmp_path / 'a.png'))
    assert drawn is not None
    # A line of text above the pictures, and the colours with their depths below.
    assert drawn.shape == (22 + 300 + 22, 960, 3)
    assert all(drawn[:22, left : left + 480].max() == 255 for left in (0, 480))
    blue, _, red = drawn[-11, [1, 440]].astype(int).T
    assert red[0] > blue[0] + 50
    assert blue[1] > red[1]
    main(['--names', str(vkitti)])
    assert capsys.readouterr().out.splitlines() == [f'{vkitti}/Scene01/clone']


def test_what_is_no_drive_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / 'missing')])
    assert capsys.readouterr().err.startswith('error: ')


def test_a_bad_drive_is_named_and_the_others_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / 'folder', scene.seen_depth(SIZE, K, POSE))
    cut = tmp_path / 'cut.mcap'
    cut.write_bytes(b'nothing')
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path / 'missing'), str(cut), str(folder)])
    assert caught.value.code == 1
    said = capsys.readouterr()
    assert said.out.startswith(f'{folder}: 3 frames')
    lines = said.err.splitlines()
    assert [line.startswith('error: ') for line in lines] == [True, True]
    assert 'missing' in lines[0]
    assert 'cut.mcap' in lines[1]


def test_a_bag_stands_for_all_of_its_cameras(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A topic of truth in an encoding that holds none is no camera.
    truth = [raw(stamp, picture(1), '/front/depth_truth') for stamp in stamps(3)]
    bag = write_bag(tmp_path / 'bag', [*two_cameras(), *truth])
    main(['--names', str(bag), f'{bag}#,/depth/image', f'{bag}#/left/image_raw/compressed'])
    assert capsys.readouterr().out.splitlines() == [
        f'{bag}#/front/image_raw',
        f'{bag}#/left/image_raw',
        f'{bag}#/front/image_raw,/depth/image',
        f'{bag}#/left/image_raw,/depth/image',
        f'{bag}#/left/image_raw/compressed',
    ]
    main([str(bag)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f'{bag}#/front/image_raw: 3 frames, 40x24 px, fx 33')
    assert lines[1].startswith(f'{bag}#/left/image_raw: 3 frames, 40x24 px, fx 20')


def test_an_image_of_another_size_does_not_hide_a_drive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = camera(3)
    messages[3] = raw(stamps(3)[1], picture(1, 20, 12))
    bag = write_bag(tmp_path / 'bag', messages)
    folder = write_folder(tmp_path / 'folder', scene.seen_depth(SIZE, K, POSE))
    for name in ('frame_2.png', 'frame_9.png'):
        cv2.imwrite(str(folder / name), picture(1, 20, 12))
    main([str(bag), str(folder)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f'{bag}: 3 frames, 40x24 px')
    assert lines[1].startswith(f'{folder}: 3 frames, 64x40 px')


def test_a_drive_of_which_no_image_fits_is_an_error_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = [
        message
        for stamp in stamps(3)
        for message in (info(stamp), compressed(stamp, picture(1, 20, 12)))
    ]
    bag = write_bag(tmp_path / 'bag', messages)
    with pytest.raises(SystemExit) as caught:
        main([str(bag)])
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith(f'error: {bag}: none of the 3 frames in its middle can be read; first')
    assert 'is 20x12, but its camera_info describes 40x24' in error


def test_truth_that_no_image_has_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bag = write_bag(tmp_path / 'bag', depth_drive([9.0, 9.1]))
    main([str(bag)])
    assert [record.message for record in caplog.records if 'true depth' in record.message] == [
        f'{bag}: no image has true depth from /camera/depth_truth; no stamp of it lies within '
        '0.020 s of the stamp of an image, the smallest difference is 8.600 s; do both clocks '
        'agree?'
    ]

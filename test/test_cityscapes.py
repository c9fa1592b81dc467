# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Cityscapes: snippets and single images, disparity and vehicle, in small trees of its layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import analytic_scene as scene
import numpy as np
import pytest
from analytic_scene import move, turn

from mono_metric_depth.datasets import (
    DamagedFrameError,
    DatasetError,
    drive_files,
    open_sequence,
    sequence_names,
)

SIZE = (2048, 1024)
K = (2262.52, 2265.3, 1096.98, 513.137)
BASELINE = 0.209313
PITCH, ROLL, YAW, HEIGHT = 0.038, 0.012, -0.0195, 1.22
#: Attitude as ISO 8855 has it: yaw, then pitch (down is positive), then roll.
POSE = move(1.7, 0.1, HEIGHT) @ turn('z', YAW) @ turn('y', PITCH) @ turn('x', ROLL) @ scene.OPTICAL


def write_camera(root: Path, split: str, city: str, name: str) -> None:
    path = root / 'camera' / split / city / f'{name}_camera.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    intrinsic = dict(zip(('fx', 'fy', 'u0', 'v0'), K, strict=True))
    extrinsic = {'baseline': BASELINE, 'pitch': PITCH, 'roll': ROLL, 'yaw': YAW}
    extrinsic.update(x=1.7, y=0.1, z=HEIGHT)
    path.write_text(json.dumps({'extrinsic': extrinsic, 'intrinsic': intrinsic}))


@cache
def expected_depth() -> np.ndarray:
    return scene.seen_depth(SIZE, K, POSE)


@pytest.fixture(scope='module')
def disparity() -> np.ndarray:
    with np.errstate(divide='ignore'):
        stored = K[0] * BASELINE / expected_depth() * 256 + 1
    stored[:, :128] = 0  # where the right camera does not see
    return stored


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / 'cityscapes'))


@pytest.fixture(scope='module')
def written(tmp_path_factory: pytest.TempPathFactory, disparity: np.ndarray) -> Path:
    """Two snippets of a recording, and their annotated frames as single images."""
    tmp_path = tmp_path_factory.mktemp('cityscapes')
    for split, city, recording, first in (
        ('train', 'aachen', 0, 4),
        ('train', 'aachen', 0, 40),
        ('val', 'frankfurt', 1, 7),
    ):
        for frame in range(first, first + 3):
            name = f'{city}_{recording:06d}_{frame:06d}'
            file = f'{split}/{city}/{name}_leftImg8bit.png'
            scene.write_image(tmp_path / 'leftImg8bit_sequence' / file, SIZE, (9, 8, frame))
        name = f'{city}_{recording:06d}_{first + 1:06d}'
        file = f'{split}/{city}/{name}_leftImg8bit.png'
        scene.write_image(tmp_path / 'leftImg8bit' / file, SIZE, (9, 8, first + 1))
        write_camera(tmp_path, split, city, name)
        if city == 'aachen':
            scene.write_png16(
                tmp_path / 'disparity' / split / city / f'{name}_disparity.png', disparity
            )
        vehicle = tmp_path / 'vehicle' / split / city / f'{name}_vehicle.json'
        vehicle.parent.mkdir(parents=True, exist_ok=True)
        vehicle.write_text(json.dumps({'speed': 9.4, 'yawRate': 0.01}))
    return tmp_path


def test_disparity_becomes_depth_of_the_calibrated_camera(root: Path) -> None:
    sequence = open_sequence(f'{root}/leftImg8bit_sequence/train/aachen#000000_000040')
    assert len(sequence) == 3
    frames = list(sequence)
    # One frame of a snippet is annotated.
    assert [frame.depth is None for frame in frames] == [True, False, True]
    depth, expected = frames[1].depth, expected_depth()
    assert depth is not None
    assert np.isnan(depth[:, :128]).all()
    assert np.isinf(depth[:, 128:][np.isinf(expected[:, 128:])]).all()
    near = expected < 40
    near[:, :128] = False
    assert near.mean() > 0.3
    # A disparity is known to 1/512 px.
    tolerance = expected[near].max() / (K[0] * BASELINE * 512)
    np.testing.assert_allclose(depth[near], expected[near], rtol=2 * tolerance)
    points = (frames[1].camera.rays() * depth[..., None])[::8, ::8][near[::8, ::8]]
    assert np.median(scene.astray(scene.moved(POSE, points))) < 0.01
    for index, frame in enumerate(frames):
        assert (frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy) == K
        mount = frame.mount
        assert mount is not None
        assert (mount.pitch, mount.roll, mount.yaw, mount.height) == (PITCH, ROLL, YAW, HEIGHT)
        assert frame.pose is None
        assert frame.image[0, 0, 2] == 40 + index
    steps = np.diff([frame.stamp for frame in frames]) * 1e-9
    np.testing.assert_allclose(steps, 1 / 17, rtol=1e-6)
    assert sequence.mounts == [frame.mount for frame in frames]


def test_the_mount_turns_the_camera_as_its_extrinsics_do(root: Path) -> None:
    mount = open_sequence(f'{root}/leftImg8bit/val/frankfurt').mounts[0]
    assert mount is not None
    level = np.linalg.inv(scene.OPTICAL)[:3, :3]
    np.testing.assert_allclose(mount.rotation(), level @ POSE[:3, :3], atol=1e-12)


def test_snippets_are_drives_and_single_images_are_one_for_each_city(root: Path) -> None:
    sequences, single = root / 'leftImg8bit_sequence', root / 'leftImg8bit'
    names = [
        f'{sequences}/train/aachen#000000_000004',
        f'{sequences}/train/aachen#000000_000040',
        f'{sequences}/val/frankfurt#000001_000007',
    ]
    assert sequence_names(str(root)) == sequence_names(str(sequences)) == names
    assert sequence_names(f'{root}#val') == names[2:]
    assert sequence_names(f'{root}#aachen') == sequence_names(f'{sequences}/train') == names[:2]
    assert sequence_names(names[1]) == names[1:2]
    cities = [f'{single}/train/aachen', f'{single}/val/frankfurt']
    assert sequence_names(str(single)) == cities
    assert sequence_names(cities[0]) == cities[:1]
    stamps = [frame.stamp for frame in open_sequence(cities[0])]
    assert len(stamps) == 2
    assert stamps[1] - stamps[0] == pytest.approx(36 / 17 * 1e9)
    assert sum(file.is_file() for file in drive_files(cities[0])) == 6
    for several in (str(root), f'{sequences}/train/aachen'):
        with pytest.raises(DatasetError, match='drives: '):
            open_sequence(several)
    with pytest.raises(DatasetError, match='names no images that are here'):
        sequence_names(f'{root}#test')


def _camera(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / 'camera/train/aachen/aachen_000000_000005_camera.json'
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return edit


def _remove_cameras(root: Path) -> None:
    for file in (root / 'camera/train/aachen').iterdir():
        file.unlink()


IMAGE = 'leftImg8bit_sequence/train/aachen/aachen_000000_000005_leftImg8bit.png'
DISPARITY = 'disparity/train/aachen/aachen_000000_000005_disparity.png'


def test_one_damaged_calibration_leaves_the_other_images(root: Path) -> None:
    city = root / 'leftImg8bit/train/aachen'
    (root / 'camera/train/aachen/aachen_000000_000005_camera.json').write_text('{"intrinsic": 3}')
    sequence = open_sequence(str(city))
    assert [mount is None for mount in sequence.mounts] == [True, False]
    with pytest.raises(DamagedFrameError, match='000005_camera.json: no calibration: it has no'):
        sequence[0]
    assert sequence[1].depth is not None


@pytest.mark.parametrize(
    ('damage', 'error', 'message'),
    [
        (_remove_cameras, DatasetError, 'no calibration; unpack camera_trainvaltest.zip'),
        (
            _camera(lambda d: d.pop('extrinsic')),
            DatasetError,
            "no calibration: it has no 'extrinsic'",
        ),
        (_camera(lambda d: d['extrinsic'].update(baseline=22)), DatasetError, 'a baseline of 22'),
        (_camera(lambda d: d['intrinsic'].update(u0=300)), DatasetError, 'does not fit images of'),
        (
            lambda r: scene.write_image(r / IMAGE, (1024, 512), (1, 2, 3)),
            DamagedFrameError,
            'is 1024x512, but calibration and disparity are for 2048x1024',
        ),
        (
            lambda r: scene.write_image(r / DISPARITY, SIZE, (1, 2, 3)),
            DamagedFrameError,
            'no 16-bit depth image: it has 8 bits in 3 channels; store depth as a PNG of 16',
        ),
        (
            lambda r: scene.write_png16(r / DISPARITY, np.ones((512, 1024))),
            DamagedFrameError,
            'of another size: it is 1024x512, its image 2048x1024; depth must be of',
        ),
    ],
)
def test_what_is_damaged_or_missing_is_named(
    damage: Callable[[Path], Any], error: type[DatasetError], message: str, root: Path
) -> None:
    damage(root)
    with pytest.raises(error, match=message):
        open_sequence(f'{root}/leftImg8bit_sequence/train/aachen#000000_000004')[1]

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Virtual KITTI 2, in small trees of both layouts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
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

SIZE = (64, 40)
K = (55.0, 56.0, 31.5, 19.5)  # not alike, so that a mix-up is seen
FRAMES = 3


def pose(index: int, camera: int) -> np.ndarray:
    """Optical frame to world; the second camera is 0.53 m to the right."""
    vehicle = move(0.8 * index, 0.1 * index, 1.6) @ turn('z', 0.03 * index) @ turn('y', 0.05)
    return vehicle @ scene.OPTICAL @ move(0.532725 * camera, 0, 0)


def write_vkitti(root: Path, scenes: dict[str, tuple[str, ...]], *, merged: bool) -> Path:
    for name, variations in scenes.items():
        for variation in variations:
            parts = {
                part: (root if merged else root / f'vkitti_2.0.3_{part}') / name / variation
                for part in ('rgb', 'depth', 'textgt')
            }
            intrinsic = ['frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]']
            columns = [f'r{i},{j}' if j < 4 else f't{i}' for i in (1, 2, 3) for j in (1, 2, 3, 4)]
            extrinsic = [f'frame cameraID {" ".join(columns)} 0 0 0 1']
            for index in range(FRAMES):
                for camera in (0, 1):
                    scene.write_image(
                        parts['rgb'] / f'frames/rgb/Camera_{camera}/rgb_{index:05d}.jpg',
                        SIZE,
                        (100 * camera, 60, 30 * index),
                    )
                    depth = scene.seen_depth(SIZE, K, pose(index, camera))
                    stored = np.minimum(depth * 100, 65535)  # the sky is as far as it gets
                    scene.write_png16(
                        parts['depth'] / f'frames/depth/Camera_{camera}/depth_{index:05d}.png',
                        stored,
                    )
                    intrinsic.append(f'{index} {camera} {" ".join(map(str, K))}')
                    matrix = np.linalg.inv(pose(index, camera)).ravel()
                    numbers = ' '.join(f'{value:.10g}' for value in matrix)
                    extrinsic.append(f'{index} {camera} {numbers}')
            parts['textgt'].mkdir(parents=True, exist_ok=True)
            (parts['textgt'] / 'intrinsic.txt').write_text('\n'.join(intrinsic) + '\n')
            (parts['textgt'] / 'extrinsic.txt').write_text('\n'.join(extrinsic) + '\n')
    return root


@pytest.fixture(params=[True, False], ids=['merged', 'vkitti_2.0.3_*'])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    variations = ('15-deg-left', 'clone')
    return write_vkitti(
        tmp_path / 'vk', {'Scene01': variations, 'Scene20': variations}, merged=request.param
    )


def drive(root: Path) -> Path:
    return next(root.rglob('Scene01/clone/frames/rgb')).parents[1]


def test_depth_is_in_metres_the_sky_infinite_and_the_pose_that_of_the_camera(root: Path) -> None:
    for camera in (0, 1):
        sequence = open_sequence(f'{drive(root)}#Camera_{camera}')
        assert len(sequence) == FRAMES
        for index, frame in enumerate(sequence):
            assert (frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy) == K
            expected = scene.seen_depth(SIZE, K, pose(index, camera))
            sky = np.isinf(expected)
            assert sky.mean() > 0.2
            assert frame.depth is not None
            np.testing.assert_array_equal(np.isinf(frame.depth), expected * 100 > 65534.5)
            assert np.nanmax(frame.depth[~np.isinf(frame.depth)]) < 655.35
            near = expected < 60  # centimetres are too coarse for a plane far away
            np.testing.assert_allclose(frame.depth[near], expected[near], atol=0.006)
            assert frame.pose is not None
            np.testing.assert_allclose(frame.pose, pose(index, camera), atol=1e-6)
            points = (frame.camera.rays() * frame.depth[..., None])[near]
            assert scene.astray(scene.moved(frame.pose, points)).max() < 0.01
            np.testing.assert_allclose(frame.image[5, 5], (100 * camera, 60, 30 * index), atol=4)
            assert (frame.stamp, frame.mount) == (index * 10**8, None)
        assert sequence.mounts == [None] * FRAMES


def test_every_variation_of_every_scene_has_a_name(root: Path) -> None:
    names = sequence_names(str(root))
    assert [name.split('/')[-2:] for name in names] == [
        [one, variation]
        for one in ('Scene01', 'Scene20')
        for variation in ('15-deg-left', 'clone')
    ]
    assert sequence_names(f'{root}#clone,Camera_1') == [
        f'{name}#Camera_1' for name in names if name.endswith('clone')
    ]
    assert sequence_names(f'{root}#Scene20') == names[2:]
    assert sequence_names(str(drive(root).parent)) == names[:2]
    assert sequence_names(names[0]) == names[:1]
    assert len(open_sequence(names[0])) == FRAMES
    files = drive_files(names[0])
    assert len(files) == 2 * FRAMES + 2
    assert all(file.is_file() for file in files)
    with pytest.raises(DatasetError, match='is several drives'):
        open_sequence(str(root))
    with pytest.raises(DatasetError, match='names no variation of a scene that is here'):
        sequence_names(f'{root}#Scene02')


def test_without_depth_there_is_none(root: Path) -> None:
    for folder in list(root.rglob('frames/depth')):
        shutil.rmtree(folder)
    assert open_sequence(str(drive(root)))[0].depth is None


def _only(root: Path, pattern: str) -> Path:
    return next(path for path in root.rglob(pattern) if 'Scene01/clone' in str(path))


def _write(pattern: str, text: str) -> Callable[[Path], Any]:
    return lambda root: _only(root, pattern).write_text(text)


def _lines(pattern: str, count: int) -> Callable[[Path], Any]:
    def cut(root: Path) -> None:
        path = _only(root, pattern)
        path.write_text(''.join(path.read_text().splitlines(keepends=True)[:count]))

    return cut


def _nonsense(root: Path) -> None:
    path = _only(root, 'extrinsic.txt')
    lines = path.read_text().splitlines()
    lines[3] = '1 0 nan ' + lines[3].split(maxsplit=3)[3]
    path.write_text('\n'.join(lines))


@pytest.mark.parametrize(
    ('damage', 'error', 'message'),
    [
        (lambda r: _only(r, 'intrinsic.txt').unlink(), DatasetError, 'textgt.tar beside the imag'),
        (_lines('extrinsic.txt', 3), DatasetError, '2 frames of Camera_0 have no line, first: 1'),
        (_nonsense, DatasetError, 'extrinsic.txt: frame 1 has no pose: .*nan'),
        (_write('intrinsic.txt', 'frame\n0 0 1 2\n'), DatasetError, 'line 2 holds 4 numbers'),
        (_write('extrinsic.txt', 'frame\n0 0 x\n'), DatasetError, 'line 2: could not convert'),
        (
            lambda r: _only(r, 'Camera_0/depth_00001.png').unlink(),
            DamagedFrameError,
            'depth_00001.png: missing or damaged',
        ),
        (
            lambda r: scene.write_image(_only(r, 'Camera_0/rgb_00001.jpg'), (32, 20), (1, 1, 1)),
            DamagedFrameError,
            r'principal point \(31.5, 19.5\) does not fit images of 32x20 px; have they been resi',
        ),
        (
            lambda r: shutil.rmtree(_only(r, 'rgb/Camera_0')),
            DatasetError,
            "no images of 'Camera_0'; there are Camera_1",
        ),
    ],
)
def test_what_is_damaged_or_missing_is_named(
    damage: Callable[[Path], Any], error: type[DatasetError], message: str, root: Path
) -> None:
    damage(root)
    with pytest.raises(error, match=message):
        open_sequence(str(drive(root)))[1]

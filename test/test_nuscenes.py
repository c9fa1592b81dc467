# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""nuScenes: relational tables, key frames and sweeps, in a small tree of its layout."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import analytic_scene as scene
import numpy as np
import pytest
from analytic_scene import move, moved, quaternion, turn

from mono_metric_depth.datasets import (
    DamagedFrameError,
    DatasetError,
    drive_files,
    nuscenes_tables,
    open_sequence,
    sequence_names,
)

SIZE = (64, 40)
K = (50.0, 50.0, 32.5, 20.5)
START = 1_532_402_927_600_000  # us
SENSORS = {
    'CAM_FRONT': move(1.70, 0.016, 1.51) @ turn('z', 0.006) @ turn('y', 0.02) @ scene.OPTICAL,
    'CAM_BACK': move(0.03, 0.0, 1.57) @ turn('z', np.pi) @ scene.OPTICAL,
    'LIDAR_TOP': move(0.94, 0.0, 1.84) @ turn('z', -np.pi / 2) @ turn('x', 0.02),
}
#: When each sensor fires (ms), and which of it are key frames. The LiDAR's turn ends later.
CAMERA_TIMES = (12, 95, 178, 262, 345, 428, 512)
CLOUD_TIMES = (30, 80, 130, 180, 230, 280, 330, 380, 430, 480, 530)
KEY_FRAMES = {'camera': (12, 512), 'lidar': (30, 530)}


def ego_pose(milliseconds: float) -> np.ndarray:
    """At 8 m/s and turning: 0.4 m between the LiDAR's turn and its image matter."""
    seconds = milliseconds / 1000
    return move(8 * seconds, 0.3 * seconds, 0) @ turn('z', 0.3 * seconds)


def token(*parts: object) -> str:
    return hashlib.md5(repr(parts).encode(), usedforsecurity=False).hexdigest()


def write_nuscenes(root: Path, scenes: tuple[str, ...] = ('scene-0061', 'scene-0103')) -> Path:
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ('log', 'map', 'attribute', 'category', *nuscenes_tables.TABLES)
    }
    for channel, matrix in SENSORS.items():
        camera = channel.startswith('CAM')
        modality = 'camera' if camera else 'lidar'
        tables['sensor'].append(
            {'token': token(channel), 'channel': channel, 'modality': modality}
        )
        k = [[K[0], 0.0, K[2]], [0.0, K[1], K[3]], [0.0, 0.0, 1.0]]
        tables['calibrated_sensor'].append(
            {
                'token': token('calibrated', channel),
                'sensor_token': token(channel),
                'translation': matrix[:3, 3].tolist(),
                'rotation': quaternion(matrix),
                'camera_intrinsic': k if camera else [],
            }
        )
    for number, name in enumerate(scenes):
        samples = [token('sample', name, index) for index in (0, 1)]
        tables['scene'].append(
            {'token': token(name), 'name': name, 'nbr_samples': 2, 'log_token': '',
             'first_sample_token': samples[0], 'last_sample_token': samples[1],
             'description': 'Parked truck, [construction] {intersection}, "turn"'}
        )  # fmt: skip
        tables['sample'] += [
            {
                'token': sample,
                'timestamp': START,
                'prev': '',
                'next': '',
                'scene_token': token(name),
            }
            for sample in samples
        ]
        for channel in SENSORS:
            camera = channel.startswith('CAM')
            kind = 'camera' if camera else 'lidar'
            for time in CAMERA_TIMES if camera else CLOUD_TIMES:
                key = time in KEY_FRAMES[kind]
                stamp = START + number * 20_000_000 + time * 1000
                ending = 'jpg' if camera else 'pcd.bin'
                folder = 'samples' if key else 'sweeps'
                file = f'{folder}/{channel}/n015-2018__{channel}__{stamp}.{ending}'
                identity = token(name, channel, time)
                tables['sample_data'].append(
                    {
                        'token': identity,
                        'sample_token': samples[time > 260],
                        'ego_pose_token': token('ego', identity),
                        'calibrated_sensor_token': token('calibrated', channel),
                        'timestamp': stamp,
                        'fileformat': ending.split('.')[0],
                        'is_key_frame': key,
                        'height': SIZE[1] if camera else 0,
                        'width': SIZE[0] if camera else 0,
                        'filename': file,
                        'prev': '',
                        'next': '',
                    }
                )
                pose = ego_pose(time)
                tables['ego_pose'].append(
                    {
                        'token': token('ego', identity),
                        'timestamp': stamp,
                        'rotation': quaternion(pose),
                        'translation': pose[:3, 3].tolist(),
                    }
                )
                if camera:
                    colour = (200 * (channel == 'CAM_BACK'), 90, time // 3)
                    scene.write_image(root / file, SIZE, colour)
                else:
                    write_cloud(root / file, time)
    folder = root / 'v1.0-mini'
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for name, rows in tables.items():
        # Their order in the files is none.
        shuffled = [rows[index] for index in rng.permutation(len(rows))]
        (folder / f'{name}.json').write_text(json.dumps(shuffled, indent=0))
    return root


def nearest_cloud(time: int) -> int:
    return min(CLOUD_TIMES, key=lambda cloud: abs(cloud - time))


def write_cloud(path: Path, time: int) -> None:
    """The points in the middle of the pixels of the images that this turn is the nearest to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [image for image in CAMERA_TIMES if nearest_cloud(image) == time] or [time]
    parts = []
    for image in images:
        parts += scene.seen_points(SIZE, K, ego_pose(image) @ SENSORS['CAM_FRONT'])
    local = moved(np.linalg.inv(ego_pose(time) @ SENSORS['LIDAR_TOP']), np.concatenate(parts))
    cloud = np.concatenate([local, np.ones((len(local), 2))], axis=1)
    cloud.astype('<f4').tofile(path)


@pytest.fixture(scope='module')
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nuscenes(tmp_path_factory.mktemp('nuscenes'))


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / 'nuscenes'))


def test_key_frames_and_sweeps_are_neighbours_with_lidar_through_its_own_pose(
    written: Path,
) -> None:
    sequence = open_sequence(sequence_names(str(written))[1])
    assert len(sequence) == len(CAMERA_TIMES)
    start = (START + 20_000_000) * 1000
    for time, frame in zip(CAMERA_TIMES, sequence, strict=True):
        assert frame.stamp == start + time * 10**6
        np.testing.assert_allclose(frame.image[0, 0], (0, 90, time // 3), atol=3)
        assert (frame.camera.fx, frame.camera.fy, frame.camera.cx, frame.camera.cy) == K
        pose = ego_pose(time) @ SENSORS['CAM_FRONT']
        assert time != nearest_cloud(time)  # the LiDAR never fires with the camera
        scene.assert_shows_the_scene(frame, pose, scene.seen_depth(SIZE, K, pose))
        assert frame.mount is not None
        assert frame.mount.height == pytest.approx(1.51)
        assert frame.mount.pitch == pytest.approx(0.02)
    assert sequence.mounts == [frame.mount for frame in sequence]


def test_every_scene_has_a_name_and_cameras_and_key_frames_can_be_chosen(written: Path) -> None:
    names = sequence_names(str(written))
    assert names == [f'{written}#v1.0-mini,{s},CAM_FRONT' for s in ('scene-0061', 'scene-0103')]
    (name,) = sequence_names(f'{written}#CAM_BACK,keyframes,scene-0061')
    assert name == f'{written}#v1.0-mini,scene-0061,CAM_BACK,keyframes'
    back = open_sequence(name)
    assert len(back) == 2
    with pytest.raises(DamagedFrameError, match='not one of its points falls into the image'):
        back[0]
    # It looks backwards, which a mount cannot say.
    assert back.mounts == [None, None]
    assert sequence_names(name) == [name]
    assert {file.name for file in drive_files(name)} >= {'ego_pose.json', 'sample_data.json'}
    with pytest.raises(DatasetError, match='is several drives: open each of sequence_names'):
        open_sequence(str(written))
    with pytest.raises(DatasetError, match='names no scene of v1.0-mini'):
        sequence_names(f'{written}#scene-0001')


def test_without_sweeps_there_are_key_frames_alone(root: Path) -> None:
    shutil.rmtree(root / 'sweeps' / 'LIDAR_TOP')
    sequence = open_sequence(sequence_names(f'{root}#scene-0061')[0])
    # LiDAR of another time is none.
    depths = [frame.depth for frame in sequence]
    assert [depth is not None for depth in depths] == [True, *[False] * 5, True]
    shutil.rmtree(root / 'sweeps')
    assert len(open_sequence(sequence_names(f'{root}#scene-0061')[0])) == 2


def test_of_several_versions_one_must_be_chosen(root: Path) -> None:
    shutil.copytree(root / 'v1.0-mini', root / 'v1.0-trainval')
    with pytest.raises(DatasetError, match='versions behind #: v1.0-mini, v1.0-trainval'):
        sequence_names(str(root))
    assert len(sequence_names(f'{root}#v1.0-trainval')) == 2
    with pytest.raises(DatasetError, match='choose one of the versions'):
        sequence_names(f'{root}#v1.0-test')


def test_tables_are_read_row_by_row(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads((written / 'v1.0-mini' / 'sample_data.json').read_text())
    for chunk in (1, 7, 1000):
        monkeypatch.setattr(nuscenes_tables, '_CHUNK', chunk)
        path = written / 'v1.0-mini' / ('scene.json' if chunk == 1 else 'sample_data.json')
        assert list(nuscenes_tables._rows(path)) == (
            whole if chunk > 1 else json.loads(path.read_text())
        )


def _table(name: str, change: Callable[[list[Any]], Any]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / 'v1.0-mini' / f'{name}.json'
        rows = json.loads(path.read_text())
        change(rows)
        path.write_text(json.dumps(rows))

    return edit


def _cut(name: str) -> Callable[[Path], None]:
    def cut(root: Path) -> None:
        path = root / 'v1.0-mini' / f'{name}.json'
        path.write_text(path.read_text()[:-40])

    return cut


def _file(root: Path, pattern: str) -> Path:
    return next(root.glob(f'samples/{pattern}/*{START + 12_000 if "CAM" in pattern else ""}*'))


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (
            lambda r: (r / 'v1.0-mini/ego_pose.json').unlink(),
            'v1.0-mini: ego_pose.json missing; unpack the metadata of nuScenes again',
        ),
        (_cut('sample_data'), 'sample_data.json: missing or damaged table'),
        (_cut('ego_pose'), 'ego_pose.json: missing or damaged table'),
        (
            lambda r: (r / 'v1.0-mini/sensor.json').write_text('{}'),
            'sensor.json: missing or damaged table: it is no list',
        ),
        (
            lambda r: (r / 'v1.0-mini/sensor.json').write_text('[1, 2]'),
            'sensor.json: missing or damaged table: a row is no object',
        ),
        (
            _table('sample_data', lambda d: [row.pop('timestamp') for row in d]),
            "sample_data.json: damaged: it has no 'timestamp'",
        ),
        (
            _table(
                'calibrated_sensor', lambda d: [row.update(rotation=[1, 1, 0, 0]) for row in d]
            ),
            'calibrated_sensor.json: damaged: no unit quaternion',
        ),
        (
            _table('calibrated_sensor', lambda d: [row.update(camera_intrinsic=[]) for row in d]),
            'camera_intrinsic: cannot reshape',
        ),
        (_table('ego_pose', lambda d: d.clear()), 'ego_pose .* of samples/.*: it has no '),
    ],
)
def test_damaged_tables_are_named(damage: Callable[[Path], Any], message: str, root: Path) -> None:
    name = sequence_names(f'{root}#scene-0061')[0]
    damage(root)
    with pytest.raises(DatasetError, match=message):
        open_sequence(name)[0]


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda r: _file(r, 'CAM_FRONT').unlink(), 'jpg: missing or damaged image'),
        (lambda r: _file(r, 'CAM_FRONT').write_bytes(b'\xff\xd8' * 9), 'missing or damaged image'),
    ],
)
def test_a_damaged_image_leaves_the_others(
    damage: Callable[[Path], Any], message: str, root: Path
) -> None:
    sequence = open_sequence(sequence_names(f'{root}#scene-0061')[0])
    damage(root)
    with pytest.raises(DamagedFrameError, match=message):
        sequence[0]
    assert sequence[1].depth is not None


def test_a_cut_cloud_leaves_the_other_frames(root: Path) -> None:
    sequence = open_sequence(sequence_names(f'{root}#scene-0061')[0])
    cloud = next(root.glob(f'samples/LIDAR_TOP/*{START + 30_000}*'))
    cloud.write_bytes(cloud.read_bytes()[:-8])
    with pytest.raises(DamagedFrameError, match='no whole number of points of 5 float32'):
        sequence[0]
    assert sequence[1].depth is not None


def test_resized_images_are_refused(root: Path) -> None:
    scene.write_image(_file(root, 'CAM_FRONT'), (32, 20), (1, 2, 3))
    with pytest.raises(DamagedFrameError, match='is 32x20, but sample_data says 64x40'):
        open_sequence(sequence_names(f'{root}#scene-0061')[0])[0]


def test_an_unknown_camera_is_refused_with_those_there_are(written: Path) -> None:
    with pytest.raises(DatasetError, match="no camera 'CAM_TOP'; there are CAM_BACK, CAM_FRONT"):
        open_sequence(f'{written}#scene-0061,CAM_TOP')

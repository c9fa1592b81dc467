# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Plain folders of images with a camera file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import analytic_scene as scene
import numpy as np
import pytest
import yaml

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.datasets import (
    DamagedFrameError,
    DatasetError,
    drive_files,
    open_sequence,
    readable_frames,
    sequence_names,
)
from mono_metric_depth.datasets.plain_images import plain_images

SIZE = (64, 40)
K = (50.0, 51.0, 30.0, 21.0)
DISTORTION = [-0.28, 0.09, 1e-3, -2e-3, 0.0]
POSE = scene.move(0, 0, 1.5) @ scene.turn('y', 0.1) @ scene.OPTICAL
ENTRIES: dict[str, Any] = {
    'width': 64,
    'height': 40,
    **dict(zip(('fx', 'fy', 'cx', 'cy'), K, strict=True)),
    'rate': 5,
    'depth_unit': 0.001,
    'mount': {'pitch': 0.1, 'height': 1.5},
}


def distorted_depth() -> np.ndarray:
    """z-depth where a distorting lens (plumb_bob, Brown and Conrady) sees it."""
    v, u = np.mgrid[: SIZE[1], : SIZE[0]].astype(np.float64)
    observed = np.stack([(u - K[2]) / K[0], (v - K[3]) / K[1]], axis=-1).reshape(-1, 2)
    ideal = observed
    k1, k2, p1, p2, _ = DISTORTION
    for _ in range(200):  # towards the ray that the lens bends to this pixel
        x, y = ideal.T
        r2 = x * x + y * y
        radial = (1 + k1 * r2 + k2 * r2 * r2)[:, None]
        sheared = [2 * p1 * x * y + p2 * (r2 + 2 * x * x), p1 * (r2 + 2 * y * y) + 2 * p2 * x * y]
        ideal = (observed - np.stack(sheared, axis=-1)) / radial
    directions = np.concatenate([ideal, np.ones((len(ideal), 1))], axis=1)
    length = scene.cast(POSE[:3, 3], directions @ POSE[:3, :3].T)
    return length.reshape(SIZE[::-1])


def write_folder(path: Path, depth: np.ndarray, unit: float = 0.001, **changes: Any) -> Path:
    entries = {**ENTRIES, 'depth_unit': unit, **changes}
    path.mkdir(parents=True)
    (path / 'camera.yaml').write_text(yaml.safe_dump(entries))
    for index in (2, 9, 10):  # not in alphabetical order
        scene.write_image(path / f'frame_{index}.png', SIZE, (index, 20, 30))
        stored = np.where(depth < 40, depth / unit, 0)
        stored[0] = 65535
        scene.write_png16(path / 'depth' / f'frame_{index}.png', stored)
    return path


@pytest.mark.parametrize('unit', [0.001, 0.01, 1 / 256])
def test_a_folder_gives_depth_in_metres_whatever_its_unit(unit: float, tmp_path: Path) -> None:
    expected = scene.seen_depth(SIZE, K, POSE)
    folder = write_folder(tmp_path / 'drive', expected, unit)
    assert sequence_names(str(folder)) == [str(folder)]
    sequence = open_sequence(str(folder))
    assert [frame.image[0, 0, 0] for frame in sequence] == [2, 9, 10]
    assert [frame.stamp for frame in sequence] == [0, 2 * 10**8, 4 * 10**8]
    assert sequence.mounts == [Mount(0.1, height=1.5)] * 3
    frame = sequence[-1]
    assert (frame.stamp, frame.pose) == (4 * 10**8, None)
    assert frame.depth is not None
    assert np.isposinf(frame.depth[0]).all()
    known = expected < 40
    np.testing.assert_array_equal(np.isnan(frame.depth[1:]), ~known[1:])
    known[0] = False
    np.testing.assert_allclose(frame.depth[known], expected[known], atol=unit)
    assert set(drive_files(str(folder))) >= {folder / 'camera.yaml', folder / 'frame_2.png'}


@pytest.mark.parametrize('ros', [False, True])
def test_a_distorting_lens_stays_with_the_camera(ros: bool, tmp_path: Path) -> None:
    depth = distorted_depth()
    folder = write_folder(tmp_path / 'drive', depth, distortion=DISTORTION)
    if ros:  # as camera_calibration writes it
        k = [K[0], 0.0, K[2], 0.0, K[1], K[3], 0.0, 0.0, 1.0]
        entries = {
            'image_width': 64,
            'image_height': 40,
            'camera_name': 'front',
            'camera_matrix': {'rows': 3, 'cols': 3, 'data': k},
            'distortion_model': 'plumb_bob',
            'distortion_coefficients': {'rows': 1, 'cols': 5, 'data': DISTORTION},
            'rectification_matrix': {'rows': 3, 'cols': 3, 'data': np.eye(3).ravel().tolist()},
            'projection_matrix': {'rows': 3, 'cols': 4, 'data': [0.0] * 12},
            'depth_unit': 0.001,
        }
        (folder / 'camera.yaml').write_text(yaml.safe_dump(entries))
    frame = open_sequence(str(folder))[0]
    assert frame.camera.distortion == tuple(DISTORTION)
    assert frame.depth is not None
    known = np.isfinite(frame.depth)
    points = (frame.camera.rays() * frame.depth[..., None])[known]
    # Rays of a rectified camera would miss the road by decimetres.
    assert scene.astray(scene.moved(POSE, points)).max() < 0.01


def test_images_may_lie_in_a_folder_of_their_own_and_the_camera_in_json(tmp_path: Path) -> None:
    scene.write_image(tmp_path / 'image' / 'a.jpg', SIZE, (1, 2, 3))
    keys = ('width', 'height', 'fx', 'fy', 'cx', 'cy')
    text = json.dumps({key: ENTRIES[key] for key in keys}, indent='\t')
    (tmp_path / 'camera.json').write_text(text)
    (frame,) = open_sequence(str(tmp_path))
    assert (frame.depth, frame.mount, frame.camera.fx) == (None, None, 50)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'fx': None},
            'camera.yaml: one of its entries is of another kind.*; expected width, height, fx',
        ),
        ({'fx': -1}, 'camera.yaml: focal lengths must be positive'),
        (
            {'width': 128},
            'frame_2.png: is 64x40, of another size than the camera .128x40.; resize',
        ),
        ({'depth_units': 1}, 'camera.yaml: depth_units: known are cx, cy, distortion'),
        ({'depth_unit': 1000}, 'depth_unit must say how many metres one count of the PNGs in'),
        (
            {'depth_unit': 0.01},
            'depth_unit 0.01: the median true depth is 100, but in metres driv',
        ),
        ({'depth_unit': 1.0}, r'depth_unit 1: .* it would fit if depth were in millimetres'),
        ({'rate': 0}, 'rate must be images per second, got 0'),
        ({'mount': {'pitch': 3}}, 'mount pitch must lie within'),
        ({'mount': {'tilt': 3}}, "unexpected keyword argument 'tilt'"),
    ],
)
def test_a_camera_file_that_does_not_fit_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    depth = scene.seen_depth(SIZE, K, POSE)
    depth = np.where(depth < 10, 10, depth)
    folder = write_folder(tmp_path / 'drive', depth)
    (folder / 'camera.yaml').write_text(yaml.safe_dump({**ENTRIES, **changes}))
    with pytest.raises(DatasetError, match=message):
        open_sequence(str(folder))


@pytest.mark.parametrize('text', ['', '[1, 2]', '{', '!!python/object:os.system {}', '\x00', 'a'])
def test_a_camera_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / 'drive', scene.seen_depth(SIZE, K, POSE))
    (folder / 'camera.yaml').write_text(text)
    with pytest.raises(DatasetError, match='camera.yaml: '):
        open_sequence(str(folder))


def test_depth_without_a_unit_or_of_other_images_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / 'drive', scene.seen_depth(SIZE, K, POSE))
    entries = {key: value for key, value in ENTRIES.items() if key != 'depth_unit'}
    (folder / 'camera.yaml').write_text(yaml.safe_dump(entries))
    with pytest.raises(DatasetError, match='0.001 for millimetres, 0.01 for centimetres'):
        open_sequence(str(folder))
    (folder / 'camera.yaml').write_text(yaml.safe_dump(ENTRIES))
    for file in (folder / 'depth').iterdir():
        file.rename(file.with_stem(f'depth_{file.stem}'))
    with pytest.raises(DatasetError, match='has the name of an image, such as frame_2.png'):
        open_sequence(str(folder))


def test_a_damaged_image_leaves_the_others(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / 'drive', scene.seen_depth(SIZE, K, POSE))
    (folder / 'frame_9.png').write_bytes((folder / 'frame_9.png').read_bytes()[:70])
    sequence = open_sequence(str(folder))
    assert len(sequence) == 3
    with pytest.raises(DamagedFrameError, match='frame_9.png: missing or damaged image'):
        sequence[1]
    assert sequence[2].depth is not None


def test_a_first_image_that_does_not_fit_and_damaged_depth_leave_the_others(
    tmp_path: Path,
) -> None:
    folder = write_folder(tmp_path / 'drive', scene.seen_depth(SIZE, K, POSE))
    scene.write_image(folder / 'frame_2.png', (20, 12), (1, 2, 3))
    depth = folder / 'depth' / 'frame_9.png'
    depth.write_bytes(depth.read_bytes()[:-30])
    sequence = open_sequence(str(folder))
    with pytest.raises(DamagedFrameError, match='frame_2.png: is 20x12, of another size than the'):
        sequence[0]
    with pytest.raises(
        DamagedFrameError, match='frame_9.png: damaged depth image: it is cut short; copy'
    ):
        sequence[1]
    assert [frame.stamp for frame in readable_frames(sequence)] == [4 * 10**8]


def test_an_image_that_claims_to_be_huge_takes_no_memory(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / 'drive', scene.seen_depth(SIZE, K, POSE))
    for name in ('frame_9.png', 'depth/frame_10.png'):
        data = bytearray((folder / name).read_bytes())
        data[16:24] = (10**5).to_bytes(4, 'big') * 2
        (folder / name).write_bytes(data)
    (folder / 'depth' / 'frame_2.png').unlink()
    (folder / 'depth' / 'frame_9.png').unlink()
    with pytest.raises(DamagedFrameError, match='claims 100000x100000 px'):
        open_sequence(str(folder))
    (folder / 'depth' / 'frame_10.png').unlink()
    with pytest.raises(DamagedFrameError, match='claims 100000x100000 px'):
        open_sequence(str(folder))[1]


def test_a_folder_of_images_without_a_camera_says_what_is_missing(tmp_path: Path) -> None:
    scene.write_image(tmp_path / 'a.png', SIZE, (1, 2, 3))
    with pytest.raises(DatasetError, match='is no drive: .* images with a camera.yaml') as caught:
        open_sequence(str(tmp_path))
    said = f'write {tmp_path}/camera.yaml: width, height, fx, fy, cx, cy (px)'
    assert str(caught.value).endswith(said)


def test_images_of_unknown_cameras_are_taken_for_as_wide_as_another(tmp_path: Path) -> None:
    like = Camera(100, 50, 80.0, 80.0, 49.5, 20.0)
    for name, size in (('b.png', (64, 32)), ('a.jpg', (40, 60))):
        scene.write_image(tmp_path / name, size, (1, 2, 3))
    (tmp_path / 'notes.txt').write_text('')
    images = plain_images(str(tmp_path), like)
    assert images is not None
    assert [frame.image.shape for frame in images] == [(60, 40, 3), (32, 64, 3)]
    for frame in images:
        assert frame.camera.horizontal_fov == pytest.approx(like.horizontal_fov)
    assert images.mounts == [None, None]
    alone = plain_images(str(tmp_path / 'b.png'), like)
    assert alone is not None
    assert len(alone) == 1
    # A drive is one, and what is not there is neither.
    (tmp_path / 'camera.yaml').write_text(yaml.safe_dump(ENTRIES))
    for name in (tmp_path, tmp_path / 'none', tmp_path / 'notes.txt', 'world:town:1'):
        assert plain_images(str(name), like) is None

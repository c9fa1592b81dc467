# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Files of strangers: every loader says in one line what is wrong, and takes no memory for it."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import analytic_scene as scene
import cv2
import numpy as np
import pytest
import test_cityscapes
import test_image_folder
import test_kitti
import test_nuscenes
import test_vkitti
from conftest import TINY_CAMERA

from mono_metric_depth.datasets import DatasetError, open_sequence, sequence_names
from mono_metric_depth.datasets.sequence_folder import write_sequence
from mono_metric_depth.frame import Frame

SAMPLE = Path(__file__).parents[2] / 'shared/data/dgp_sample'
#: What one drive may take beside what is taken already (bytes), and how long (s).
ROOM, PATIENCE = 1 << 30, 20
#: Files to damage; fewer where they are large.
DAMAGES, FEW = 50, 15


def kitti(root: Path) -> str:
    test_kitti.write_kitti(root)
    test_kitti.write_ground_truth(root / test_kitti.DAY / test_kitti.DRIVE)
    return str(root)


def kitti_lidar(root: Path) -> str:
    test_kitti.write_kitti(root)
    return f'{root}#velodyne'


def vkitti(root: Path) -> str:
    return str(test_vkitti.write_vkitti(root, {'Scene01': ('clone',)}, merged=True))


def nuscenes(root: Path) -> str:
    return f'{test_nuscenes.write_nuscenes(root)}#scene-0061'


def image_folder(root: Path) -> str:
    depth = scene.seen_depth(test_image_folder.SIZE, test_image_folder.K, test_image_folder.POSE)
    return str(test_image_folder.write_folder(root, depth))


def sequence_folder(root: Path) -> str:
    depth = np.full((32, 64), 9, np.float32)
    image = np.zeros((32, 64, 3), np.uint8)
    write_sequence(root, [Frame(i, image, TINY_CAMERA, depth, np.eye(4)) for i in range(3)])
    return str(root)


def cityscapes(root: Path) -> str:
    name = 'aachen_000000_000004'
    image = root / f'leftImg8bit/train/aachen/{name}_leftImg8bit.png'
    scene.write_image(image, test_cityscapes.SIZE, (9, 8, 7))
    test_cityscapes.write_camera(root, 'train', 'aachen', name)
    disparity = np.full(test_cityscapes.SIZE[::-1], 3000)
    disparity[::2] = 0
    scene.write_png16(root / f'disparity/train/aachen/{name}_disparity.png', disparity)
    return str(root)


def dgp(root: Path) -> str:
    if not SAMPLE.is_dir():
        pytest.skip('the real sample is not here')
    shutil.copytree(SAMPLE, root, copy_function=shutil.copyfile)
    for folder in (root, *root.rglob('*')):
        folder.chmod(0o755)
    return str(root / 'scene_dataset_v1.0.json')


@pytest.fixture
def little_room() -> Iterator[None]:
    """What reads a file without an end fails instead of taking all memory, or all time."""
    taken = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, before[1]))
    handler = signal.signal(signal.SIGALRM, _late)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)
    resource.setrlimit(resource.RLIMIT_AS, before)


def _late(number: int, frame: Any) -> None:
    raise TimeoutError


def read(specification: str) -> None:
    """Read everything of a drive; what is damaged is one line."""
    said: list[str] = []
    signal.alarm(PATIENCE)
    try:
        for name in sequence_names(specification):
            sequence = open_sequence(name)
            assert len(sequence.mounts) == len(sequence)
            for index in range(len(sequence)):
                try:
                    frame = sequence[index]
                except DatasetError as err:
                    said.append(str(err))
                    continue
                assert frame.image.shape[:2] == (frame.camera.height, frame.camera.width)
                if frame.depth is not None:
                    assert frame.depth.shape == frame.image.shape[:2]
                    assert not (frame.depth <= 0).any()
                if frame.pose is not None:
                    assert np.isfinite(frame.pose).all()
    except DatasetError as err:
        said.append(str(err))
    for line in said:
        assert '\n' not in line
        assert not re.search(r'(Key|Type|Attribute|Index)Error', line)


def _link(target: str) -> Callable[[Path, np.random.Generator], object]:
    def link(path: Path, rng: np.random.Generator) -> None:
        path.unlink()
        path.symlink_to(target)

    return link


def _pipe(path: Path, rng: np.random.Generator) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path, rng: np.random.Generator) -> None:
    path.unlink()
    path.mkdir()


def _cut(path: Path, rng: np.random.Generator) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.integers(len(data) + 1)])


def _flipped(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    for place in rng.integers(len(data), size=rng.choice([1, 3, 20])):
        data[place] = rng.integers(256)
    path.write_bytes(data)


def _nested(path: Path, rng: np.random.Generator) -> None:
    path.write_text(str(rng.choice(['[' * 100_000, '{"a":' * 50_000, 'null', '[]', '{}', '"x'])))


def _token(path: Path, rng: np.random.Generator) -> None:
    """A number or word of a text becomes another one."""
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return _header(path, rng)
    junk = ['null', 'true', '[]', '{}', '""', '1e999', '-1', 'NaN', '[[1]]', '0', '9' * 30]
    places = list(re.finditer(r'-?\d+\.?\d*(e[-+]?\d+)?|"[^"]*"|\w+', text))
    place = places[rng.integers(len(places))]
    path.write_text(text[: place.start()] + str(rng.choice(junk)) + text[place.end() :])
    return None


def _header(path: Path, rng: np.random.Generator) -> None:
    """A PNG that claims another size."""
    data = bytearray(path.read_bytes())
    sizes = [(1 << 31, 1 << 31), (65535, 65535), (0, 0), (8000, 8000), (1, 1)]
    data[16:24] = struct.pack('>II', *sizes[rng.integers(len(sizes))])
    path.write_bytes(data)


def _pixels(path: Path, rng: np.random.Generator) -> None:
    """An image of another type, size or number of channels."""
    size = [(40, 64), (32, 64), (1024, 2048), (1, 1)][rng.integers(4)]
    channels: list[tuple[int, ...]] = [(), (3,), (4,)]
    kind = [np.uint8, np.uint16][rng.integers(2)]
    pixels = np.zeros((*size, *channels[rng.integers(3)]), kind)
    _, data = cv2.imencode('.png', pixels)
    path.write_bytes(data.tobytes())


DAMAGE: tuple[Callable[[Path, np.random.Generator], object], ...] = (
    lambda path, rng: path.unlink(),
    lambda path, rng: path.write_bytes(b''),
    lambda path, rng: path.write_bytes(rng.bytes(3000)),
    _link('/dev/zero'),
    _link('/nowhere'),
    _link('loop'),
    *(_pipe, _folder, _cut, _cut, _flipped, _flipped, _nested, _token, _token, _header, _pixels),
)


@pytest.mark.parametrize(
    'write',
    [kitti, kitti_lidar, vkitti, nuscenes, image_folder, sequence_folder, cityscapes, dgp],
)
def test_every_loader_survives_what_lies_in_place_of_its_files(
    write: Callable[[Path], str], tmp_path: Path, little_room: None
) -> None:
    root = tmp_path / 'loop'
    specification = write(root)
    files = sorted(path for path in root.rglob('*') if path.is_file())
    texts = [path for path in files if path.suffix in {'.json', '.txt', '.yaml'}]
    rng = np.random.default_rng(3)
    for number in range(FEW if write in (cityscapes, dgp) else DAMAGES):
        among = (files, texts)[number % 2]
        path = among[rng.integers(len(among))]
        data = path.read_bytes()
        damage = DAMAGE[rng.integers(len(DAMAGE))]
        try:
            damage(path, rng)
            read(specification)
        except Exception as err:
            message = f'{path.relative_to(root)} after damage {DAMAGE.index(damage)}: {err!r}'
            raise AssertionError(message) from err
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(data)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Bags as sequences of frames: every storage and encoding, damaged and incomplete ones too."""

from __future__ import annotations

import logging
import math
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bags import (
    CAMERA,
    FIRST,
    STORE,
    Message,
    compressed,
    info,
    picture,
    raw,
    static_transform,
    transforms,
    write_bag,
)
from rosbags.rosbag2 import StoragePlugin

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.compressed_image import compressed_size, decode_compressed
from mono_metric_depth.datasets import (
    DamagedFrameError,
    DatasetError,
    bag_message_list,
    bag_sequence,
    open_sequence,
    readable_frames,
)
from mono_metric_depth.datasets.bag import write_drive
from mono_metric_depth.datasets.bag_sequence import BagSequence
from mono_metric_depth.datasets.calibrations import Calibrations
from mono_metric_depth.datasets.sequence_folder import write_sequence
from mono_metric_depth.frame import Frame
from mono_metric_depth.image import ImageError

MCAP, SQLITE3 = StoragePlugin.MCAP, StoragePlugin.SQLITE3
STEP = 10**8


def stamps(count: int) -> list[int]:
    return [FIRST + index * STEP for index in range(count)]


def camera(count: int = 4, make: Callable[..., Message] = raw, **changes: Any) -> list[Message]:
    return [
        message
        for index, stamp in enumerate(stamps(count))
        for message in (info(stamp), make(stamp, picture(index), **changes))
    ]


@pytest.mark.parametrize('storage', [MCAP, SQLITE3])
@pytest.mark.parametrize(
    ('make', 'encoding', 'tolerance'),
    [
        (raw, 'rgb8', 0),
        (compressed, 'rgb8; jpeg compressed bgr8', 5),
        (compressed, 'bgr8; jpeg compressed bgr8', 5),
        (compressed, 'bgr8; jpeg compressed rgb8', 5),
        (compressed, 'jpeg', 5),
        (compressed, 'rgb8; png compressed bgr8', 0),
        (compressed, 'png', 0),
    ],
)
def test_a_bag_is_a_sequence_of_frames(
    storage: StoragePlugin,
    make: Callable[..., Message],
    encoding: str,
    tolerance: int,
    tmp_path: Path,
) -> None:
    path = write_bag(tmp_path / 'bag', camera(make=make, encoding=encoding), storage)
    (file,) = (file for file in path.iterdir() if file.suffix in {'.mcap', '.db3'})
    for place in (path, file):
        sequence = open_sequence(str(place))
        assert isinstance(sequence, BagSequence)
        assert len(sequence) == 4
        for index, frame in enumerate(sequence):
            assert (frame.stamp, frame.camera) == (stamps(4)[index], CAMERA)
            assert (frame.depth, frame.pose, frame.mount) == (None, None, None)
            difference = frame.image.astype(int) - picture(index)
            assert np.abs(difference).mean() <= tolerance


@pytest.mark.parametrize('encoding', ['bgr8', 'mono8', 'bayer_rggb8', 'yuv422', 'mono16'])
def test_raw_encodings_are_converted(encoding: str, tmp_path: Path) -> None:
    grey = np.full((24, 40), 90, np.uint8)
    pixels = {
        'bgr8': np.dstack([grey] * 3),
        'mono16': grey.astype(np.uint16) * 257,
        'yuv422': np.dstack([np.full_like(grey, 128), grey]),
    }.get(encoding, grey)
    path = write_bag(tmp_path / 'bag', camera(1)[:1] + [raw(FIRST, pixels, encoding=encoding)])
    image = open_sequence(str(path))[0].image
    assert image.shape == (24, 40, 3)
    assert image.max() - image.min() <= 1


def test_a_compressed_bayer_pattern_is_converted() -> None:
    mosaic = np.zeros((24, 40), np.uint8)
    mosaic[::2, ::2] = 200  # red
    file = cv2.imencode('.png', mosaic)[1].tobytes()
    image = decode_compressed(file, 'bayer_rggb8; png compressed ').as_rgb()
    assert (image[4:-4, 4:-4] == (200, 0, 0)).all()


def test_what_drive_writes_comes_back_with_depth_and_mount(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    mount = Mount(0.08, -0.03, 0.2, 1.45)
    frames = []
    for index, stamp in enumerate(stamps(5)):
        depth = random.uniform(1, 80, (24, 40)).astype(np.float32)
        depth[0], depth[1] = np.inf, np.nan
        frames.append(Frame(stamp, picture(index), CAMERA, depth, None, mount))
    frames[2] = replace(frames[2], depth=None)
    write_drive(tmp_path / 'bag', frames)
    sequence = BagSequence(tmp_path / 'bag')
    for index in (0, 1, 2, 3, 4, 2, 0, 4, -2):
        found, true = sequence[index], frames[index]
        np.testing.assert_array_equal(found.image, true.image)
        if true.depth is None:
            assert found.depth is None
        else:
            np.testing.assert_array_equal(found.depth, true.depth)
        assert found.mount is not None
        angles = (found.mount.pitch, found.mount.roll, found.mount.yaw, found.mount.height)
        assert angles == pytest.approx((0.08, -0.03, 0.2, 1.45), abs=1e-9)
    assert sequence.mounts == [sequence.mount] * 5
    with pytest.raises(IndexError):
        sequence[5]


def test_the_mount_is_found_over_several_transforms(tmp_path: Path) -> None:
    half = math.sqrt(0.5)
    chain = transforms(
        static_transform('base_footprint', 'base_link', (0, 0, 0.3), (0, 0, 0, 1)),
        static_transform('base_link', 'camera_link', (1, 0, 1), (0, 0.05, 0, 0.99875)),
        static_transform('camera_link', 'camera_optical_frame', (0, 0, 0), (-0.5, 0.5, -0.5, 0.5)),
        static_transform('base_link', 'lidar', (0, 0, 2), (0, 0, half, half)),
    )
    mount = BagSequence(write_bag(tmp_path / 'bag', [chain, *camera()])).mount
    assert mount is not None
    # From the ground, not from base_link.
    assert mount.height == pytest.approx(1.3)
    assert mount.pitch == pytest.approx(2 * math.asin(0.05), abs=1e-4)
    assert (mount.roll, mount.yaw) == pytest.approx((0, 0), abs=1e-9)


@pytest.mark.parametrize(
    ('transform', 'reason'),
    [
        (('base_link', 'camera_optical_frame', (0, 0, 1), (0.5, 0.5, -0.5, -0.5)), 'yaw'),
        (('base_link', 'camera_optical_frame', (0, 0, 1), (0, 0, 0, 0)), 'no unit quaternion'),
        (('camera_optical_frame', 'camera_optical_frame', (0, 0, 1), (0, 0, 0, 1)), ''),
        (('map', 'camera_optical_frame', (0, 0, 1), (0, 0, 0, 1)), ''),
    ],
)
def test_a_mount_that_cannot_be_used_is_left_out(
    transform: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_bag(tmp_path / 'bag', [transforms(static_transform(*transform)), *camera()])
    assert BagSequence(path).mount is None
    assert reason in caplog.text


def two_cameras() -> list[Message]:
    wide = replace(CAMERA, fx=20.0)
    messages = []
    for index, stamp in enumerate(stamps(3)):
        for name, view, seed in (('front', CAMERA, 0), ('left', wide, 10)):
            messages.append(info(stamp, f'/{name}/camera_info', view))
            pixels = picture(index + seed)
            messages.append(raw(stamp, pixels, f'/{name}/image_raw'))
            messages.append(compressed(stamp, pixels, f'/{name}/image_raw/compressed'))
        depth = np.ones((24, 40), np.uint16)
        messages.append(raw(stamp, depth, '/depth/image', '16UC1'))
    return messages


def test_of_two_cameras_one_has_to_be_chosen(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag #1', two_cameras())
    with pytest.raises(DatasetError, match='several image topics: /front/image_raw') as error:
        open_sequence(str(path))
    assert '/left/image_raw' in str(error.value)
    assert '/depth' not in str(error.value)
    for name, seed, fx in (('front', 0, 33.0), ('left', 10, 20.0)):
        sequence = open_sequence(f'{path}#/{name}/image_raw')
        assert sequence.name == f'{path}#/{name}/image_raw'
        assert sequence[1].camera.fx == fx
        np.testing.assert_array_equal(sequence[1].image, picture(1 + seed))
        packed = open_sequence(f'{path}#/{name}/image_raw/compressed')
        assert packed[2].camera.fx == fx
    with pytest.raises(
        DatasetError, match=r"no images on '/rear'; image topics are /front/image_raw, /front"
    ):
        open_sequence(f'{path}#/rear')


def test_one_camera_recorded_twice_is_read_raw(tmp_path: Path) -> None:
    both = [*camera(), *camera(make=compressed)]
    sequence = open_sequence(str(write_bag(tmp_path / 'bag', both)))
    assert isinstance(sequence, BagSequence)
    assert sequence.topic == '/camera/image_raw'


@pytest.mark.parametrize('name', ['image_rect', 'image_rect_color', 'image_raw', 'image'])
def test_a_rectified_image_has_the_camera_of_p_and_a_raw_one_that_of_k_and_d(
    name: str, tmp_path: Path
) -> None:
    p = np.array([30.0, 0, 19, 0, 0, 31.0, 12, 0, 0, 0, 1, 0])
    topic = f'/camera/{name}'
    messages = [info(FIRST, p=p), raw(FIRST, picture(0), topic)]
    evaluated = open_sequence(str(write_bag(tmp_path / 'bag', messages)))[0].camera
    calibrations = Calibrations(topic, messages[0][0])
    calibrations.add(messages[0][3])
    replayed, _ = calibrations.at(FIRST)
    rectified = Camera(CAMERA.width, CAMERA.height, 30.0, 31.0, 19.0, 12.0)
    assert evaluated == replayed == (rectified if 'rect' in name else CAMERA)
    assert CAMERA.distortion


def test_the_only_camera_info_serves_a_camera_elsewhere(tmp_path: Path) -> None:
    messages = [info(FIRST, '/calibration'), raw(FIRST, picture(0), '/image')]
    assert open_sequence(str(write_bag(tmp_path / 'bag', messages)))[0].camera == CAMERA


def _stored(messages: list[Message], cut: int | None = None) -> Callable[[Path], Path]:
    def store(folder: Path) -> Path:
        return write_bag(folder / 'bag', messages)

    return store


ZOOMED = replace(CAMERA, fx=50.0)
SMALL = picture(5, 20, 12)


@pytest.mark.parametrize(
    ('messages', 'message'),
    [
        (
            [m for m in camera() if 'info' not in m[0]],
            'no camera_info for /camera/image_raw; record /camera/camera_info',
        ),
        ([m for m in camera() if 'info' in m[0]], 'no images; topics are /camera/camera_info'),
        (
            [info(FIRST, '/a/camera_info'), info(FIRST, '/b/camera_info'), raw(FIRST, SMALL)],
            'no /camera/camera_info for /camera/image_raw, and several others: /a/camera_info',
        ),
        ([info(FIRST), raw(FIRST, SMALL)], 'is 20x12, but its camera_info describes 40x24'),
        (
            [*camera(), *(info(s + STEP * 9, camera=ZOOMED) for s in stamps(4))],
            r'changes at 1700000000\.900 s.*fx 33.*to.*fx 50',
        ),
        ([info(FIRST, k=np.zeros(9)), raw(FIRST, picture(0))], 'K is all zero'),
        (
            [
                m
                for index in range(3)
                for m in (info(FIRST), ('/image', *raw(0, picture(index))[1:]))
            ],
            'every message of /image has the stamp 0 ns; let the camera driver fill in',
        ),
        ([('/image', *raw(0, picture(0))[1:2], FIRST, b'\0' * 30)], 'no camera_info'),
    ],
)
def test_a_bag_without_one_usable_camera_is_refused(
    messages: list[Message], message: str, tmp_path: Path
) -> None:
    path = write_bag(tmp_path / 'bag', messages)
    with pytest.raises(DatasetError, match=message) as error:
        open_sequence(str(path))
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize('make', [raw, compressed])
@pytest.mark.parametrize('odd', [0, 2])
def test_an_image_of_another_size_is_named_and_the_rest_is_used(
    odd: int, make: Callable[..., Message], tmp_path: Path
) -> None:
    messages = camera(make=make)
    messages[2 * odd + 1] = make(stamps(4)[odd], SMALL)
    sequence = open_sequence(str(write_bag(tmp_path / 'bag', messages)))
    topic = messages[1][0]
    with pytest.raises(
        DamagedFrameError,
        match=f'{topic}, message {odd}: it is 20x12, but its camera_info describes 40x24',
    ):
        sequence[odd]
    read = [frame.stamp for frame in readable_frames(sequence)]
    assert read == [stamp for index, stamp in enumerate(stamps(4)) if index != odd]


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        (
            {'camera': replace(CAMERA, width=20, height=12)},
            'describes 20x12 px.*not 40x24 px.* as most do',
        ),
        ({'camera': ZOOMED}, 'describes .*fx 50.*fx 33'),
        ({'k': np.zeros(9)}, 'K is all zero'),
    ],
)
@pytest.mark.parametrize('odd', [0, 3])
def test_an_image_whose_own_camera_info_is_another_is_named_and_the_rest_is_used(
    odd: int, changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    messages = camera()
    size = SMALL if 'width=20' in reason else picture(odd)
    messages[2 * odd : 2 * odd + 2] = [info(stamps(4)[odd], **changes), raw(stamps(4)[odd], size)]
    sequence = open_sequence(str(write_bag(tmp_path / 'bag', messages)))
    with pytest.raises(DamagedFrameError, match=f'message {odd}: /camera/camera_info.*{reason}'):
        sequence[odd]
    read = list(readable_frames(sequence))
    assert [frame.stamp for frame in read] == [s for i, s in enumerate(stamps(4)) if i != odd]
    assert {frame.camera for frame in read} == {CAMERA}


def test_a_camera_that_zooms_all_the_time_is_refused_before_its_views_fill_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = camera(30)
    for index in range(10):
        messages += [info(FIRST + STEP * (40 + index), camera=replace(CAMERA, fx=40.0 + index))]
    path = write_bag(tmp_path / 'bag', messages)
    assert len(open_sequence(str(path))) == 30
    monkeypatch.setattr(bag_sequence, '_MOST_VIEWS', 9)
    with pytest.raises(DatasetError, match='changes at .* from .*fx 33.* to .*fx 40'):
        open_sequence(str(path))


def test_an_image_of_which_nobody_knows_the_calibration_is_left_out(tmp_path: Path) -> None:
    messages = camera()
    messages += [info(FIRST + STEP * 8, camera=ZOOMED), raw(FIRST + STEP * 9, picture(9))]
    sequence = open_sequence(str(write_bag(tmp_path / 'bag', messages)))
    with pytest.raises(DamagedFrameError, match='camera_info has changed and none has its stamp'):
        sequence[4]
    assert len(list(readable_frames(sequence))) == 4


def jpeg(seed: int) -> bytes:
    return cv2.imencode('.jpg', picture(seed))[1].tobytes()


RAW_BYTES = bytes(STORE.serialize_cdr(raw(FIRST + STEP, picture(1))[3], raw(0, SMALL)[1]))


@pytest.mark.parametrize('storage', [MCAP, SQLITE3])
@pytest.mark.parametrize(
    ('make', 'damaged', 'reason'),
    [
        (raw, (*raw(0, SMALL)[:2], FIRST + STEP, RAW_BYTES[:300]), 'damaged'),
        (raw, (*raw(0, SMALL)[:2], FIRST + STEP, b''), 'damaged'),
        (raw, raw(FIRST + STEP, picture(1), step=7), 'step of a 40 px wide rgb8'),
        (compressed, compressed(FIRST + STEP, SMALL, file=jpeg(1)[:200]), 'cut short'),
        (compressed, compressed(FIRST + STEP, SMALL, file=b'nothing'), 'no JPEG or PNG'),
        (compressed, compressed(FIRST + STEP, SMALL, file=b''), 'no JPEG or PNG'),
    ],
)
def test_a_damaged_message_is_named_and_the_rest_is_used(
    storage: StoragePlugin,
    make: Callable[..., Message],
    damaged: Message,
    reason: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    messages = camera(make=make)
    messages[3] = damaged
    sequence = open_sequence(str(write_bag(tmp_path / 'bag', messages, storage)))
    assert len(sequence) == 4
    with pytest.raises(DamagedFrameError, match=f'{damaged[0]}, message 1: .*{reason}'):
        sequence[1]
    read = [frame.stamp for frame in readable_frames(sequence)]
    assert read == [stamps(4)[index] for index in (0, 2, 3)]
    assert 'message 1' in caplog.text
    assert '1 of 4 frames are damaged and left out' in caplog.text


def test_a_bag_of_damaged_images_alone_is_refused(tmp_path: Path) -> None:
    messages = [info(FIRST), *(raw(s, picture(0), encoding='bayer_rggb16') for s in stamps(3))]
    sequence = open_sequence(str(write_bag(tmp_path / 'bag', messages)))
    with pytest.raises(
        DatasetError, match=r"none of 3 frames can be read; first: .*'bayer_rggb16'"
    ):
        list(readable_frames(sequence))


def test_one_damaged_file_of_a_folder_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [Frame(stamp, picture(0), CAMERA) for stamp in stamps(3)]
    write_sequence(tmp_path / 'drive', frames)
    (tmp_path / 'drive' / 'image' / '000001.png').write_bytes(b'\x89PNG')
    sequence = open_sequence(str(tmp_path / 'drive'))
    assert [f.stamp for f in readable_frames(sequence)] == [FIRST, FIRST + 2 * STEP]
    assert '000001.png: missing or damaged image' in caplog.text


LARGE = replace(CAMERA, width=160, height=120)


def many(count: int = 60) -> list[Message]:
    """Images that need several pages of a database, or chunks of a file, each."""
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    return [m for s in stamps(count) for m in (info(s, camera=LARGE), raw(s, noise))]


@pytest.mark.parametrize('storage', [MCAP, SQLITE3])
def test_a_file_that_ends_too_early_gives_what_is_whole_or_a_clear_error(
    storage: StoragePlugin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_bag(tmp_path / 'bag', many(), storage)
    (file,) = (file for file in path.iterdir() if file.suffix in {'.mcap', '.db3'})
    whole = file.read_bytes()
    for share in (0.95, 0.6, 0.1, 0.0):
        file.write_bytes(whole[: int(len(whole) * share)])
        caplog.clear()
        for place in (path, file):
            read, error = _what_is_whole(place)
            if error:
                assert str(place) in error
                assert share < 0.6 or storage is SQLITE3
            else:
                assert read == stamps(60)[: len(read)]
                assert len(read) > 60 * share - 20 - 60 * (storage is SQLITE3)
                lost = 'damaged after' if storage is SQLITE3 else 'its recording was cut short'
                assert lost in caplog.text


def _what_is_whole(place: Path) -> tuple[list[int], str]:
    try:
        return [frame.stamp for frame in readable_frames(open_sequence(str(place)))], ''
    except DatasetError as err:
        return [], str(err)


@pytest.mark.parametrize('storage', [MCAP, SQLITE3])
def test_damage_in_the_middle_of_a_file_costs_what_lies_there(
    storage: StoragePlugin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_bag(tmp_path / 'bag', many(), storage)
    (file,) = (file for file in path.iterdir() if file.suffix in {'.mcap', '.db3'})
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = bytes(4096)
    file.write_bytes(data)
    sequence = open_sequence(str(path))
    read = [frame.stamp for frame in readable_frames(sequence)]
    assert 30 <= len(read) < 60
    assert read[0] == FIRST
    assert read[-1] == stamps(60)[-1]
    assert read == sorted(read)
    assert 'damaged' in caplog.text
    lost = 60 - len(read)
    verb = 'is' if lost == 1 else 'are'
    said = f'{len(read)} messages of /camera/image_raw are read, {lost} {verb} lost'
    assert said in caplog.text


def test_a_bag_without_metadata_is_read_by_its_file(tmp_path: Path) -> None:
    path = write_bag(tmp_path / 'bag', camera())
    (path / 'metadata.yaml').unlink()
    assert len(open_sequence(str(path))) == 4
    shutil.copy(path / 'bag.mcap', path / 'bag_1.mcap')
    with pytest.raises(DatasetError, match='2 bag files but no metadata.yaml; run: ros2 bag rein'):
        open_sequence(str(path))
    (tmp_path / 'old.bag').write_bytes(b'#ROSBAG V2.0\n')
    with pytest.raises(DatasetError, match='a ROS 1 bag; convert it'):
        open_sequence(str(tmp_path / 'old.bag'))


def test_reading_in_order_opens_the_bag_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequence = open_sequence(str(write_bag(tmp_path / 'bag', camera(12))))
    opened = []
    real = bag_message_list.bag_messages

    def counted(*arguments: Any, **more: Any) -> Any:
        opened.append(arguments)
        return real(*arguments, **more)

    monkeypatch.setattr(bag_message_list, 'bag_messages', counted)
    assert [frame.stamp for frame in sequence] == stamps(12)
    assert len(opened) == 1
    assert [sequence[index].stamp for index in (9, 3, 3, 11, 0)] == [
        stamps(12)[index] for index in (9, 3, 3, 11, 0)
    ]


@pytest.mark.parametrize(('suffix', 'size'), [('.jpg', (37, 21)), ('.png', (37, 21))])
def test_the_header_tells_the_size(suffix: str, size: tuple[int, int]) -> None:
    file = cv2.imencode(suffix, picture(0, *size))[1].tobytes()
    assert compressed_size(file) == size
    for length in (0, 3, 10, 19):
        with pytest.raises(ImageError):
            compressed_size(file[:length])


def test_a_file_that_claims_to_be_huge_is_not_decoded(tmp_path: Path) -> None:
    file = bytearray(cv2.imencode('.png', picture(0))[1].tobytes())
    file[16:24] = struct.pack('>II', 30000, 30000)
    messages = [info(FIRST), compressed(FIRST, SMALL, encoding='png', file=bytes(file))]
    sequence = open_sequence(str(write_bag(tmp_path / 'bag', messages)))
    with pytest.raises(DatasetError, match='claims 30000x30000'):
        sequence[0]


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

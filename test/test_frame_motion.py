# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Frames with motion between them: chosen by poses or by the images alone, cut at every break."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.datasets import DamagedFrameError, DatasetError
from mono_metric_depth.datasets.bag import write_drive
from mono_metric_depth.frame import Frame
from mono_metric_depth.training.aligned_drive import MotionError, align_drive
from mono_metric_depth.training.drive_cache import align_drives
from mono_metric_depth.training.frame_motion import parallax
from mono_metric_depth.worlds import DOMAINS, Drive

CANONICAL = Camera(256, 96, 205.0, 205.0, 127.5, 40.0)
TINY = Camera(64, 64, 50.0, 50.0, 31.5, 27.0)
SLOW = dataclasses.replace(
    DOMAINS['suburb'], speed=(1.0, 1.0), rate=12.0, camera=CANONICAL, jitter=0.001, movers=(0, 0)
)


class Frames:
    """Frames in a list; None is a damaged one."""

    def __init__(self, frames: list[Frame | None]) -> None:
        self.name = 'frames'
        self._frames = frames

    @property
    def mounts(self) -> list[Mount | None]:
        return [None if frame is None else frame.mount for frame in self._frames]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int, /) -> Frame:
        frame = self._frames[index]
        if frame is None:
            raise DamagedFrameError(f'frame {index} is damaged')
        return frame

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))


@pytest.fixture(scope='module')
def slow() -> list[Frame]:
    """A drive at 1 m/s and 12 Hz, without poses."""
    drive = Drive(SLOW, 3, 30, camera=CANONICAL)
    return [dataclasses.replace(frame, depth=None) for frame in drive]


def unposed(frames: list[Frame]) -> list[Frame | None]:
    return [dataclasses.replace(frame, pose=None) for frame in frames]


def turning(frame: Frame, count: int, degrees: float) -> list[Frame | None]:
    """What a camera sees that only turns, with noise."""
    random = np.random.default_rng(0)
    narrow = dataclasses.replace(CANONICAL, fx=400.0, fy=400.0)
    frames: list[Frame | None] = []
    for index in range(count):
        turn = Rotation.from_euler('y', degrees * index, degrees=True).as_matrix()
        image = Alignment(frame.camera, narrow, turn).align(frame.image).astype(float)
        image += random.normal(0, 2, image.shape)
        noisy = image.clip(0, 255).astype(np.uint8)
        frames.append(Frame(index * 10**8, noisy, narrow))
    return frames


def pieces_of(frames: list[Frame | None], **changes: bool) -> list[int]:
    pieces = align_drive(
        Frames(frames), CANONICAL, levelled=False, with_depth=False, moving=True, **changes
    )
    return [len(piece.images) for piece in pieces]


def test_parallax_grows_with_the_way_and_not_with_turning(slow: list[Frame]) -> None:
    grey = [frame.image[..., 1].copy() for frame in slow]
    seen = np.ones(grey[0].shape, bool)
    ways = [parallax(grey[0], grey[index], CANONICAL, seen) for index in (0, 2, 4, 8)]
    assert ways[0] == pytest.approx(0, abs=1e-9)
    assert ways == sorted(ways)
    assert 0.001 < ways[2] < 0.006  # 0.3 m
    turned = turning(slow[0], 3, 1.5)
    images = [frame.image[..., 1].copy() for frame in turned if frame is not None]
    narrow = dataclasses.replace(CANONICAL, fx=400.0, fy=400.0)
    assert parallax(images[0], images[2], narrow, seen) < 0.001
    blank = np.full_like(grey[0], 90)
    assert math.isnan(parallax(blank, blank, CANONICAL, seen))
    assert math.isnan(parallax(grey[0], blank, CANONICAL, seen))


def test_frames_are_chosen_about_a_third_of_a_metre_apart(
    slow: list[Frame], capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = align_drive(
        Frames(unposed(slow)), CANONICAL, levelled=False, with_depth=False, moving=True
    )
    (drive,) = chosen
    index = [
        next(i for i, f in enumerate(slow) if np.array_equal(f.image, image))
        for image in drive.images
    ]
    places = np.array([slow[i].pose[:3, 3] for i in index if slow[i].pose is not None])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert 4 <= len(index) <= 15
    assert (steps > 0.1).all()
    assert (steps < 0.8).all()
    assert f'frames: {len(index)} of 30 frames used, in 1 piece (' in capsys.readouterr().out


def test_with_poses_metres_decide(slow: list[Frame]) -> None:
    (drive,) = align_drive(
        Frames(list(slow)), CANONICAL, levelled=False, with_depth=False, moving=True
    )
    # 1/12 m a frame: every fourth or fifth.
    assert 6 <= len(drive.images) <= 8


def test_a_camera_that_stands_or_turns_is_refused_with_what_was_measured(
    slow: list[Frame],
) -> None:
    standing: list[Frame | None] = [
        dataclasses.replace(slow[0], stamp=index * 10**8, pose=None) for index in range(40)
    ]
    message = r'frames: no 3 frames in a row with enough motion.* of 40 frames .*3\.0 mrad'
    with pytest.raises(MotionError, match=message):
        pieces_of(standing)
    with pytest.raises(MotionError, match=r'largest motion measured was 0\.\d+ mrad of parallax'):
        pieces_of(turning(slow[0], 12, 0.8))
    parked: list[Frame | None] = [dataclasses.replace(frame, pose=slow[0].pose) for frame in slow]
    with pytest.raises(MotionError, match='largest motion measured was 0.00 m, at least 0.3 m'):
        pieces_of(parked)


def road(places: list[float], seconds: list[float]) -> list[Frame | None]:
    """Frames with poses on a straight road; the red of the image tells which it is."""
    frames: list[Frame | None] = []
    for index, (place, second) in enumerate(zip(places, seconds, strict=True)):
        pose = np.eye(4)
        pose[2, 3] = place
        image = np.full((96, 256, 3), index, np.uint8)
        frames.append(Frame(round(second * 1e9), image, CANONICAL, None, pose))
    return frames


def chosen(frames: list[Frame | None]) -> list[list[int]]:
    pieces = align_drive(Frames(frames), CANONICAL, levelled=False, with_depth=False, moving=True)
    return [[int(image[0, 0, 0]) for image in piece.images] for piece in pieces]


def test_neighbours_never_span_a_break(capsys: pytest.CaptureFixture[str]) -> None:
    tenths = [index * 0.1 for index in range(20)]
    steady = [index * 0.5 for index in range(20)]
    assert chosen(road(steady, tenths)) == [list(range(20))]
    # A gap in time, a jump in space, a clock that goes back: each cuts.
    gap = [second + (30 if index >= 8 else 0) for index, second in enumerate(tenths)]
    assert chosen(road(steady, gap)) == [list(range(8)), list(range(8, 20))]
    jump = [place + (9 if index >= 5 else 0) for index, place in enumerate(steady)]
    assert chosen(road(jump, tenths)) == [list(range(5)), list(range(5, 20))]
    back = [second - (0.5 if index >= 10 else 0) for index, second in enumerate(tenths)]
    assert chosen(road(steady, back)) == [list(range(10)), list(range(10, 20))]
    # What is too short for a triplet goes: frames 8 and 9 between two gaps.
    twice = [second + 30 * ((index >= 8) + (index >= 10)) for index, second in enumerate(tenths)]
    capsys.readouterr()
    assert chosen(road(steady, twice)) == [list(range(8)), list(range(10, 20))]
    line = capsys.readouterr().out
    assert '18 of 20 frames used, in 2 pieces (2 in stretches of fewer than 3)' in line
    assert '2 x over 2 s apart' in line


def test_a_stop_is_left_out() -> None:
    places = [index * 0.5 for index in range(10)] + [4.5] * 50 + [5 + i * 0.5 for i in range(10)]
    seconds = [index * 0.1 for index in range(70)]
    first, second = chosen(road(places, seconds))
    assert first == list(range(10))
    assert second[-9:] == list(range(61, 70))
    assert len(second) <= 11


def test_a_damaged_frame_does_not_end_a_piece_and_is_counted(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    frames = road([index * 0.5 for index in range(10)], [index * 0.1 for index in range(10)])
    frames[4] = None
    assert chosen(frames) == [[0, 1, 2, 3, 5, 6, 7, 8, 9]]
    assert '9 of 10 frames used, in 1 piece (1 damaged)' in capsys.readouterr().out
    assert 'frame 4 is damaged' in caplog.text
    with pytest.raises(DatasetError, match='none of 3 frames can be read; first: frame 0 is'):
        chosen([None] * 3)


def test_another_camera_within_a_drive_is_refused() -> None:
    frames = road([0, 1, 2, 3], [0, 0.1, 0.2, 0.3])
    assert frames[2] is not None
    frames[2] = dataclasses.replace(frames[2], camera=dataclasses.replace(CANONICAL, fx=100.0))
    with pytest.raises(DatasetError, match='the camera changes within the drive'):
        chosen(frames)


def test_held_out_drives_keep_frames_that_stand(slow: list[Frame]) -> None:
    (drive,) = align_drive(
        Frames([slow[0]] * 5), CANONICAL, levelled=False, with_depth=True, moving=False
    )
    assert len(drive.images) == 5
    assert np.isnan(drive.depth).all()


def test_an_aligned_bag_is_kept_until_it_changes(
    tmp_path: Path, slow: list[Frame], capsys: pytest.CaptureFixture[str]
) -> None:
    bag = tmp_path / 'bag'
    write_drive(bag, slow[::4])

    def aligned() -> tuple[int, bool]:
        capsys.readouterr()
        drives = align_drives(
            (str(bag),),
            CANONICAL,
            levelled=True,
            with_depth=False,
            moving=True,
            cache=tmp_path / 'cache',
        )
        return sum(len(d.images) for d in drives), 'frames used' in capsys.readouterr().out

    count, read = aligned()
    assert (count, read) == (len(slow[::4]), True) or count < len(slow[::4])
    assert aligned() == (count, False)
    for file in bag.iterdir():
        file.unlink()
    bag.rmdir()
    write_drive(bag, slow[::5])
    assert aligned()[1]
    assert not list((tmp_path / 'cache').glob('*.part'))


def test_pieces_come_back_from_the_cache(tmp_path: Path, slow: list[Frame]) -> None:
    frames = [
        dataclasses.replace(
            frame,
            stamp=frame.stamp + (60 * 10**9 if index >= 4 else 0),
            depth=np.full((96, 256), index + 1, np.float32),
        )
        for index, frame in enumerate(slow[::4])
    ]
    write_drive(tmp_path / 'bag', frames)
    arguments = {'levelled': False, 'with_depth': True, 'moving': True, 'cache': tmp_path / 'c'}
    once = align_drives((str(tmp_path / 'bag'),), CANONICAL, **arguments)  # type: ignore[arg-type]
    again = align_drives((str(tmp_path / 'bag'),), CANONICAL, **arguments)  # type: ignore[arg-type]
    assert [d.name for d in once] == [f'{tmp_path / "bag"} piece {n}' for n in range(2)]
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.depth, other.depth)
    assert once[0].depth[0, 0, 0] == 1
    assert once[1].depth[0, 0, 0] == 5

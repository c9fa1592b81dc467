# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node among messages that no camera should send."""

from __future__ import annotations

import array
import os
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from robot import (
    Robot,
    compressed_message,
    image_message,
    info_message,
    noise,
    put_stamp,
    resident,
)

from mono_metric_depth.camera import Camera

if TYPE_CHECKING:
    from mono_metric_depth.nodes.depth_node import DepthNode

CAMERA = Camera(100, 60, 80.0, 82.0, 48.0, 28.0)
#: Over DDS, and handed to the node as DDS delivers them; for more set HOSTILE_MESSAGES.
MESSAGES = int(os.environ.get('HOSTILE_MESSAGES', '100'))
DIRECT_MESSAGES = int(os.environ.get('HOSTILE_MESSAGES', '1000'))
#: What a dropped frame may be counted under; never an error that nobody foresaw.
REASONS = {
    'raw': {'camera_info', 'coverage', 'empty', 'encoding', 'short_data', 'size', 'step'},
    'compressed': {'camera_info', 'coverage', 'compression', 'encoding', 'size'},
}


def hostile_info(random: np.random.Generator) -> Any:
    info = info_message(CAMERA)
    number = random.choice([0.0, -1.0, 1e-30, 1e300, np.nan, np.inf, -np.inf])
    kind = random.integers(7)
    if kind == 0:
        info.k[random.integers(9)] = number
    elif kind == 1:
        info.d = [float(number)] * int(random.integers(0, 20))
    elif kind == 2:
        info.width = int(random.choice([0, 1, 99, 65535, 2**32 - 1]))
    elif kind == 3:
        info.distortion_model = str(random.choice(['', 'wonderful', 'equidistant', 'x' * 10000]))
    elif kind == 4:
        info.binning_x = int(random.choice([3, 200, 2**32 - 1]))
    elif kind == 5:
        info.roi.width, info.roi.x_offset = (int(n) for n in random.integers(0, 2**32, 2))
    return info


def hostile_image(random: np.random.Generator) -> Any:
    image = image_message(noise(60, 100))
    kind = random.integers(6)
    if kind == 0:
        image.width = int(random.choice([0, 1, 101, 32768, 2**32 - 1]))
    elif kind == 1:
        image.height = int(random.choice([0, 1, 61, 2**32 - 1]))
    elif kind == 2:
        image.step = int(random.choice([0, 299, 2**32 - 1]))
    elif kind == 3:
        image.encoding = str(
            random.choice(['', 'nv12', 'mono16', 'bayer_rggb8', '32FC1', 'x' * 9999])
        )
    elif kind == 4:
        del image.data[int(random.integers(0, 18000)) :]
    return image


def hostile_compressed(random: np.random.Generator) -> Any:
    image = compressed_message(noise(60, 100), str(random.choice(['png', 'jpeg'])))
    kind = random.integers(5)
    if kind == 0:
        del image.data[int(random.integers(0, len(image.data))) :]
    elif kind == 1:
        for place in random.integers(0, len(image.data), 20):
            image.data[place] = int(random.integers(256))
    elif kind == 2:
        size = [int(n) for n in random.choice([0, 1, 8192, 2**31 - 1], 2)]
        image.data[16:24] = array.array('B', struct.pack('>II', *size))
    elif kind == 3:
        image.data = array.array('B', random.bytes(int(random.integers(0, 5000))))
    elif kind == 4:
        formats = ['', 'bayer_rggb8; jpeg compressed ', ';' * 999, '16UC1; compressedDepth png']
        image.format = str(random.choice(formats))
    return image


@pytest.mark.filterwarnings('error::RuntimeWarning')
@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_every_good_frame_among_hostile_ones_is_answered(
    robot: Robot, start: Callable[..., DepthNode], transport: str
) -> None:
    start(image_transport=transport, depth_resolution='input')
    raw = transport == 'raw'
    good = image_message(noise(60, 100)) if raw else compressed_message(noise(60, 100))
    info = info_message(CAMERA)
    robot.ask(good, info)
    random = np.random.default_rng(0)
    for number in range(MESSAGES):
        bad = (hostile_image if raw else hostile_compressed)(random)
        robot.send(bad, hostile_info(random) if random.integers(2) else info)
        for _ in range(3):
            robot.executor.spin_once(timeout_sec=0.005)
        stamp = robot.send(good, info)
        robot.until(
            lambda s=stamp: s in robot.answers['depth/points'], f'an answer after {number}'
        )
    counts = robot.settle()
    dropped = {name.removeprefix('dropped: ') for name in counts if name.startswith('dropped')}
    assert dropped - {'superseded'} <= REASONS[transport], counts
    assert len(dropped) > 3
    assert counts['received'] == sum(n for name, n in counts.items() if name != 'received')
    assert counts['published'] > MESSAGES


def hostile_stamp(random: np.random.Generator, now: int) -> int:
    """A stamp (ns) that goes backwards, jumps or stands still."""
    return int(random.choice([now, 0, 1, now - 10**12, now + 10**15, (2**31 - 1) * 10**9]))


@pytest.mark.filterwarnings('error::RuntimeWarning')
@pytest.mark.parametrize('transport', ['raw', 'compressed'])
def test_thousands_of_hostile_messages_are_counted_by_reason_and_leave_nothing_behind(
    robot: Robot,
    start: Callable[..., DepthNode],
    monkeypatch: pytest.MonkeyPatch,
    transport: str,
) -> None:
    node = start(image_transport=transport, depth_resolution='input')
    raw = transport == 'raw'
    make = hostile_image if raw else hostile_compressed
    good = image_message(noise(60, 100)) if raw else compressed_message(noise(60, 100))
    robot.ask(good, info_message(CAMERA))
    (stream,) = node._streams
    problems: set[str] = set()
    monkeypatch.setattr(stream.statistics, 'fail', problems.add)
    threads = threading.active_count()
    random = np.random.default_rng(1)

    def counts() -> Counter[str]:
        values = stream.statistics.values().items()
        return Counter({k[7:]: int(v) for k, v in values if k.startswith('frames ')})

    def hand_over(image: Any, info: Any, stamp: int) -> str:
        """What became of a frame."""
        put_stamp(image, stamp)
        put_stamp(info, stamp)
        before = counts()
        stream.newest.put_info(info)
        stream._on_image(image, {})
        deadline = time.monotonic() + 30
        while sum((now := counts()).values()) < sum(before.values()) + 2:
            assert time.monotonic() < deadline, now
            time.sleep(0.0005)
        (outcome,) = set(now - before) - {'received'}
        return outcome

    robot.settle()
    outcomes: Counter[str] = Counter()
    sizes: list[int] = []
    for number in range(DIRECT_MESSAGES):
        now = 1_900_000_000 * 10**9 + number * 10**8
        info = hostile_info(random) if random.integers(2) else info_message(CAMERA)
        outcomes[hand_over(make(random), info, hostile_stamp(random, now))] += 1
        assert hand_over(good, info_message(CAMERA), now + 1) == 'published', number
        if number % 20 == 0:
            robot.executor.spin_once(timeout_sec=0)
            robot.answers = {topic: {} for topic in robot.answers}
            sizes.append(resident())
    values = stream.statistics.values()
    assert all(
        kind in values['stamps in doubt'] for kind in ('zero', 'future', 'old', 'back', 'jump')
    )
    assert values['latency p99 (ms)'] == 'none' or float(values['latency p99 (ms)']) < 1e4
    dropped = {name.removeprefix('dropped: ') for name in outcomes if name.startswith('dropped')}
    assert dropped <= REASONS[transport], outcomes
    assert not [text for text in problems if '; ' not in text], 'each says how to mend it'
    assert len(dropped) >= 3
    assert threading.active_count() == threads
    grown = (sizes[-1] - sizes[len(sizes) // 2]) / 2**20  # decoders and arenas are there by then
    print(f'{DIRECT_MESSAGES} {transport} messages: {dict(outcomes)}, {grown:.1f} MiB more')
    assert grown < 10

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node among messages that no camera should send."""

from __future__ import annotations

import array
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from robot import Robot, compressed_message, image_message, info_message, noise

from mono_metric_depth.camera import Camera

if TYPE_CHECKING:
    from mono_metric_depth.nodes.depth_node import DepthNode

CAMERA = Camera(100, 60, 80.0, 82.0, 48.0, 28.0)
MESSAGES = 200
#: What a dropped frame may be counted under; never an error that nobody foresaw.
REASONS = {
    'raw': {'camera_info', 'coverage', 'empty', 'encoding', 'short_data', 'size', 'step'},
    'compressed': {'camera_info', 'coverage', 'compression', 'size'},
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
        image.format = str(random.choice(['', 'bayer_rggb8; jpeg compressed ', ';' * 999]))
    return image


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
    counts = robot.news()
    dropped = {name.removeprefix('dropped: ') for name in counts if name.startswith('dropped')}
    assert dropped - {'superseded'} <= REASONS[transport], counts
    assert len(dropped) > 3
    assert counts['received'] == sum(n for name, n in counts.items() if name != 'received')
    assert counts['published'] > MESSAGES

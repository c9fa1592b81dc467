# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What diagnostics tell of frames: rates, times and stamps, with a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy')

from mono_metric_depth.nodes import frame_statistics
from mono_metric_depth.nodes.frame_statistics import FrameStatistics

SECOND = 10**9
NOW = 1_800_000_000 * SECOND


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(frame_statistics, 'time', SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_rates_are_those_of_fast_cameras_and_end_with_the_images(clock: Clock) -> None:
    statistics = FrameStatistics()
    for frame in range(1000):
        clock.now += 0.01
        statistics.receive(NOW + frame * SECOND // 100, NOW + frame * SECOND // 100)
        if frame % 2:
            statistics.finish(0.02, 0.03)
    values = statistics.values()
    assert float(values['input rate (Hz)']) == pytest.approx(100, abs=0.5)
    assert float(values['rate (Hz)']) == pytest.approx(50, abs=0.5)
    assert values['processing p50 (ms)'] == '20.0'
    assert values['latency p99 (ms)'] == '30.0'
    assert values['stamps in doubt'] == 'none'
    clock.now += 6
    values = statistics.values()
    assert values['input rate (Hz)'] == values['rate (Hz)'] == '0.0'
    assert values['processing p50 (ms)'] == values['latency p99 (ms)'] == 'none'


@pytest.mark.parametrize(
    ('stamp', 'kind', 'text'),
    [
        (0, 'zero', 'are 0'),
        (NOW + SECOND, 'future', 'lie in the future'),
        (NOW - 11 * SECOND, 'old', 'are more than 10 s old'),
    ],
)
def test_a_stamp_of_another_clock_is_counted_and_told_and_is_no_latency(
    clock: Clock, stamp: int, kind: str, text: str
) -> None:
    statistics = FrameStatistics()
    statistics.receive(NOW, NOW)
    assert not statistics.stamp_problem()
    statistics.receive(stamp, NOW)
    statistics.finish(0.02, (NOW - stamp) * 1e-9)
    values = statistics.values()
    assert f'{kind} 1' in values['stamps in doubt']
    assert values['latency p50 (ms)'] == 'none'
    assert values['processing p50 (ms)'] == '20.0'
    assert text in statistics.stamp_problem()
    clock.now += 6
    assert not statistics.stamp_problem()


def test_stamps_that_go_back_or_jump_are_counted(clock: Clock) -> None:
    statistics = FrameStatistics()
    for stamp in (0.0, 0.1, 0.05, 0.1, 5.0, 5.1):
        clock.now += 0.1
        statistics.receive(NOW + int(stamp * SECOND), NOW + 6 * SECOND)
    assert statistics.values()['stamps in doubt'] == 'backwards 1, jumped 1'


def test_images_that_the_node_never_saw_are_counted_by_their_publishers_numbers() -> None:
    statistics = FrameStatistics()
    statistics.receive(NOW, NOW)
    key = 'images lost before the node'
    assert statistics.values()[key] == 'not known'
    for number in (7, 8, 11, 12, 1, 2, 4):  # the publisher started anew
        statistics.receive(NOW, NOW, number)
    assert statistics.values()[key] == '3'
    for number in (None, 90, 91):
        statistics.receive(NOW, NOW, number)
    assert statistics.values()[key] == '3'

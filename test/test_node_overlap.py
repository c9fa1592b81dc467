# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""One frame is published while the next is inferred; nothing piles up, nothing is allocated."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.parameter import Parameter
from robot import OUTPUTS, PREVIEW, Robot, image_message, info_message, noise, put_stamp

from mono_metric_depth import estimator
from mono_metric_depth.camera import Camera
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.image import Image
from mono_metric_depth.nodes.depth_node import DepthNode
from mono_metric_depth.nodes.depth_outputs import DepthOutputs
from mono_metric_depth.nodes.frame_worker import FrameWorker
from mono_metric_depth.nodes.newest_frame import WaitingFrames

CAMERA = Camera(100, 60, 80.0, 82.0, 48.0, 28.0)


class Held:
    """Holds up the publishing thread; counts what was inferred and published meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.busy = threading.Event(), threading.Event()
        self.inferred = self.published = 0
        run, publish = OnnxRuntimeEngine.run, DepthOutputs.publish_depth

        def counted(engine: OnnxRuntimeEngine, images: int) -> None:
            run(engine, images)
            self.inferred += 1

        def held_up(outputs: DepthOutputs, *args: Any) -> None:
            self.busy.set()
            assert self.go.wait(60)
            publish(outputs, *args)
            self.published += 1

        monkeypatch.setattr(OnnxRuntimeEngine, 'run', counted)
        monkeypatch.setattr(DepthOutputs, 'publish_depth', held_up)


def frame() -> tuple[Any, Any]:
    return image_message(noise(60, 100)), info_message(CAMERA)


def test_a_frame_is_inferred_while_the_one_before_is_published_and_no_more_wait(
    robot: Robot, start: Callable[..., DepthNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    (stream,) = start()._streams
    robot.ask(*frame())
    before = robot.settle()
    held = Held(monkeypatch)
    first = robot.send(*frame())
    robot.until(held.busy.is_set, 'the first is being published')
    second = robot.send(*frame())
    robot.until(lambda: held.inferred == 2, 'the second is inferred meanwhile')
    assert held.published == 0
    # Both sets of buffers are taken now: the newest image waits, however many come.
    later = []
    for count in range(3, 10):
        later.append(robot.send(*frame()))
        goal = str(before['received'] + count)
        robot.until(lambda g=goal: stream.statistics.values()['frames received'] == g, 'received')
    assert (held.inferred, held.published) == (2, 0)
    held.go.set()
    expected = {first, second, later[-1]}
    robot.until(lambda: expected <= set(robot.answers['depth/points']), 'answers')
    counts = robot.news()
    assert held.inferred == 3
    assert not set(later[:-1]) & set(robot.answers['depth/points'])
    assert counts['dropped: superseded'] - before['dropped: superseded'] == len(later) - 1


def test_the_network_gets_the_next_frame_before_the_last_one_is_published(
    robot: Robot, start: Callable[..., DepthNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing holds the interpreter, and would hold up the network."""
    node = start()
    robot.ask(*frame())
    robot.settle()
    worker, more = node._worker, threading.Event()
    order: list[str] = []
    write, run = estimator.write_network_image, OnnxRuntimeEngine.run
    hand_on = FrameWorker._hand_on

    def noted_write(image: Image, *others: Any) -> Any:
        order.append(f'write {image.pixels.max()}')
        return write(image, *others)

    def held_run(engine: OnnxRuntimeEngine, images: int) -> None:
        order.append('run')
        run(engine, images)
        assert more.wait(60)

    def noted_hand_on(worker: FrameWorker) -> None:
        order.extend(['publish'] * len(worker._finished))
        hand_on(worker)

    monkeypatch.setattr(estimator, 'write_network_image', noted_write)
    monkeypatch.setattr(OnnxRuntimeEngine, 'run', held_run)
    monkeypatch.setattr(FrameWorker, '_hand_on', noted_hand_on)
    grey = [image_message(np.full((60, 100, 3), level, np.uint8)) for level in (10, 20)]
    robot.send(grey[0], info_message(CAMERA))
    robot.until(lambda: 'run' in order, 'the first is being inferred')
    robot.send(grey[1], info_message(CAMERA))
    robot.until(lambda: not worker._prepared.empty(), 'the second is prepared')
    more.set()
    robot.until(lambda: order.count('publish') == 2, 'both')
    assert order == ['write 10', 'run', 'write 20', 'publish', 'run', 'publish']


def test_deactivation_waits_for_the_frame_inferred_and_the_frame_published(
    robot: Robot, start: Callable[..., DepthNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start()
    robot.ask(*frame())
    robot.settle()
    held = Held(monkeypatch)
    stamps = [robot.send(*frame())]
    robot.until(held.busy.is_set, 'the first is being published')
    stamps.append(robot.send(*frame()))
    robot.until(lambda: held.inferred == 2, 'the second is inferred meanwhile')
    close = WaitingFrames.close

    def closed(waiting: WaitingFrames) -> None:
        close(waiting)
        held.go.set()  # only now: it waits for them

    monkeypatch.setattr(WaitingFrames, 'close', closed)
    assert node.trigger_deactivate() == node.trigger_cleanup()  # both succeed
    assert held.published == 2
    assert not [t for t in threading.enumerate() if t.name in {'prepare', 'depth', 'publish'}]
    robot.until(lambda: all(s in robot.answers['depth/points'] for s in stamps), 'both answers')


def test_each_frame_is_published_with_its_own_depth(
    robot: Robot, start: Callable[..., DepthNode]
) -> None:
    """Frames of two sizes, one upon the other: buffers are not confused."""
    start(depth_resolution='input', cloud_resolution='input')
    small = CAMERA.resized(60, 40)
    robot.ask(*frame())
    sent: dict[int, Camera] = {}

    def answered() -> set[int]:
        return set(sent) & set(robot.answers['depth/points'])

    def send_next() -> None:
        index = len(sent)
        camera = (CAMERA, small)[index % 2]
        level = 6 * (index % 40)
        image = image_message(np.full((camera.height, camera.width, 3), level, np.uint8))
        sent[robot.send(image, info_message(camera))] = camera

    for _ in range(40):
        send_next()
        for _ in range(3):
            robot.executor.spin_once(timeout_sec=0.01)
    last = max(sent)
    robot.until(lambda: all(last in found for found in robot.answers.values()), 'the last')
    robot.until(lambda: len(answered()) > 3, 'some more', send_next)
    for stamp in answered():
        index = list(sent).index(stamp) % 40
        cloud = robot.answers['depth/points'][stamp]
        assert cloud.width == sent[stamp].width
        colours = np.frombuffer(cloud.data, np.uint8).reshape(cloud.height, cloud.width, 16)
        assert (colours[..., 12:15] == index * 6).all()


HD = Camera(1280, 720, 1000.0, 1000.0, 639.5, 359.5)


def large_messages(count: int) -> list[tuple[Any, Any]]:
    messages = []
    for index in range(count):
        image, info = image_message(noise(720, 1280), 'bgr8'), info_message(HD)
        for message in (image, info):
            put_stamp(message, (index + 1) * 10**9)
        messages.append((image, info))
    return messages


def test_a_frame_allocates_nothing_large(
    domain: int, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the message as DDS delivers it to the messages that are published."""
    monkeypatch.setattr('mono_metric_depth.nodes.depth_monitor.PERIOD', 1e9)
    robot = Robot(domain, outputs=tuple(OUTPUTS))
    try:
        values = {
            'model': str(tiny_model),
            'depth_resolution': 'input',
            'cloud_resolution': 'input',
        }
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = DepthNode(context=robot.context, parameter_overrides=overrides)
        robot.add(node)
        (stream,) = node._streams
        robot.until(
            lambda: node.state == 'active' and len(stream.outputs.subscribed()) == 3, 'active'
        )
        messages = large_messages(6)

        def work(frames: list[tuple[Any, Any]]) -> None:
            for image, info in frames:
                before = stream.statistics.values().get('frames published', '0')
                stream.newest.put_info(info)
                stream._on_image(image, {})
                deadline = time.monotonic() + 30
                while stream.statistics.values().get('frames published', '0') == before:
                    assert time.monotonic() < deadline
                    time.sleep(0.005)

        work(messages[:3])
        tracemalloc.start()
        work(messages[3:])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # A float image of 720p is 3.7 MB, its cloud 14.7 MB.
        assert peak < 500_000, peak
        assert PREVIEW not in stream.outputs.subscribed()
    finally:
        robot.close()

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node's life over real DDS: states, refusals, and parameters that change meanwhile."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from conftest import TINY_CAMERA, write_tiny_model
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from robot import (
    OUTPUTS,
    PREVIEW,
    Robot,
    cloud_points,
    image_message,
    info_message,
    noise,
    resident,
    scenery,
)

from mono_metric_depth import scale_health
from mono_metric_depth.camera import Camera
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.nodes import depth_monitor, depth_node, depth_outputs
from mono_metric_depth.nodes.depth_node import DepthNode
from mono_metric_depth.nodes.newest_frame import WaitingFrames

CAMERA = Camera(100, 60, 80.0, 82.0, 48.0, 28.0)
SUCCESS = TransitionCallbackReturn.SUCCESS


class Operator:
    """Drives the lifecycle and sets parameters as another process would: by the services."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._clients: dict[str, Any] = {}

    def call(self, kind: Any, name: str, request: Any) -> Any:
        if name not in self._clients:
            self._clients[name] = self._robot.node.create_client(kind, f'depth_node/{name}')
        client = self._clients[name]
        self._robot.until(client.service_is_ready, name)
        future = client.call_async(request)
        self._robot.until(future.done, f'an answer of {name}')
        return future.result()

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, 'change_state', request).success)

    def state(self) -> str:
        answer = self.call(GetState, 'get_state', GetState.Request())
        return str(answer.current_state.label)

    def set(self, **values: Any) -> list[str]:
        """Set one after the other; the reason of each refusal, '' where there is none."""
        request = SetParameters.Request(parameters=messages(values))
        results = self.call(SetParameters, 'set_parameters', request).results
        assert all(result.successful != bool(result.reason) for result in results)
        return [result.reason for result in results]

    def set_together(self, **values: Any) -> str:
        request = SetParametersAtomically.Request(parameters=messages(values))
        answer = self.call(SetParametersAtomically, 'set_parameters_atomically', request)
        assert answer.result.successful != bool(answer.result.reason)
        return str(answer.result.reason)


def messages(values: dict[str, Any]) -> list[Any]:
    return [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]


@pytest.fixture
def operator(robot: Robot) -> Operator:
    return Operator(robot)


class Gate:
    """Holds up the network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.busy, self.go = threading.Event(), threading.Event()
        run = OnnxRuntimeEngine.run

        def held_up(engine: OnnxRuntimeEngine, images: int) -> None:
            self.busy.set()
            assert self.go.wait(60)
            run(engine, images)

        monkeypatch.setattr(OnnxRuntimeEngine, 'run', held_up)


def open_once_closed(monkeypatch: pytest.MonkeyPatch, gate: threading.Event) -> None:
    """Let the frames in work go on once the node takes no more."""
    close = WaitingFrames.close

    def closed(waiting: WaitingFrames) -> None:
        close(waiting)
        gate.set()

    monkeypatch.setattr(WaitingFrames, 'close', closed)


def frame() -> tuple[Any, Any]:
    return image_message(noise(60, 100)), info_message(CAMERA)


def state_told(robot: Robot) -> str:
    values = {item.key: item.value for status in robot.statuses[-1:] for item in status.values}
    return values.get('state', '')


def test_each_state_has_what_it_needs_and_diagnostics_name_it(
    robot: Robot, start: Callable[..., DepthNode], operator: Operator, tiny_model: Path
) -> None:
    node = start(autostart=False, model='/missing.onnx')
    assert operator.state() == 'unconfigured'
    robot.until(lambda: state_told(robot) == 'unconfigured', 'told')
    assert robot.statuses[-1].level == b'\x00'
    assert not any(node.count_publishers(topic) for topic in OUTPUTS)
    # A refusal says why, and can be mended.
    assert not operator.change(Transition.TRANSITION_CONFIGURE)
    assert operator.state() == 'unconfigured'
    reason = '/missing.onnx: cannot open the model file'
    robot.until(lambda: any(reason in line for line in robot.logged), 'logged')
    robot.until(lambda: reason in robot.statuses[-1].message, 'told')
    assert robot.statuses[-1].level == b'\x02'
    assert operator.set(model=str(tiny_model)) == ['']
    assert operator.change(Transition.TRANSITION_CONFIGURE)
    robot.until(lambda: state_told(robot) == 'inactive', 'told')
    assert robot.statuses[-1].level == b'\x00'
    assert robot.statuses[-1].message == 'inactive'
    assert all(node.count_publishers(topic) == 1 for topic in OUTPUTS)
    assert node.count_subscribers('image') == 0
    (reason,) = operator.set(model='')
    assert 'model changes only while the node is unconfigured' in reason
    assert operator.change(Transition.TRANSITION_ACTIVATE)
    robot.ask(*frame())
    # What is not possible now is refused, and nothing else happens.
    for transition in (Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_CLEANUP, 99):
        assert not operator.change(transition)
    assert operator.state() == 'active'
    assert operator.change(Transition.TRANSITION_DEACTIVATE)
    robot.until(lambda: node.count_subscribers('image') == 0, 'no subscription')
    robot.until(lambda: state_told(robot) == 'inactive', 'told')
    assert operator.change(Transition.TRANSITION_CLEANUP)
    assert not any(node.count_publishers(topic) for topic in OUTPUTS)
    assert operator.change(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    robot.until(lambda: state_told(robot) == 'finalized', 'told')


class SlowLoad:
    """Holds up the loading of models."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        load = DepthEstimator.load

        def held_up(*args: Any, **options: Any) -> DepthEstimator:
            assert self.go.wait(60)
            return load(*args, **options)

        monkeypatch.setattr(DepthEstimator, 'load', held_up)


@pytest.mark.parametrize('autostart', [False, True])
def test_a_node_answers_and_reports_while_its_model_loads(
    robot: Robot,
    start: Callable[..., DepthNode],
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
    autostart: bool,
) -> None:
    slow = SlowLoad(monkeypatch)
    node = start(autostart=autostart)
    robot.until(lambda: robot.statuses, 'diagnostics')
    if not autostart:
        client = robot.node.create_client(ChangeState, 'depth_node/change_state')
        robot.until(client.service_is_ready, 'the service')
        request = ChangeState.Request(transition=Transition(label='configure'))
        answer = client.call_async(request)
    robot.until(lambda: 'loading' in robot.statuses[-1].message, 'told')
    assert robot.statuses[-1].message.startswith('unconfigured: loading /')
    assert robot.statuses[-1].level == b'\x00'
    told = len(robot.statuses)
    assert operator.state() == 'unconfigured'
    assert operator.set(pitch=0.1) == ['']
    (reason,) = operator.set(threads=3)
    assert 'threads changes only while the node is unconfigured' in reason
    robot.until(lambda: len(robot.statuses) > told + 1, 'diagnostics go on')
    # Waiting does not keep a core busy.
    began, used = time.monotonic(), time.thread_time()
    while time.monotonic() < began + 1.0:
        robot.executor.spin_once(timeout_sec=0.1)
    assert time.thread_time() - used < 0.5
    slow.go.set()
    if autostart:
        robot.until(lambda: node.state == 'active', 'active')
    else:
        robot.until(answer.done, 'configured')
        assert answer.result().success
        assert operator.change(Transition.TRANSITION_ACTIVATE)
    robot.ask(*frame())


def test_a_model_that_cannot_be_loaded_is_refused_by_the_service_and_can_be_mended(
    robot: Robot, start: Callable[..., DepthNode], operator: Operator, tiny_model: Path
) -> None:
    node = start(autostart=False, model='/missing.onnx')
    for _ in range(3):
        assert not operator.change(Transition.TRANSITION_CONFIGURE)
    assert operator.set(model=str(tiny_model)) == ['']
    assert operator.change(Transition.TRANSITION_CONFIGURE)
    assert node.state == 'inactive'
    assert not [thread for thread in threading.enumerate() if thread.name == 'load']


def test_deactivation_keeps_the_engine_and_a_calibration_that_came_once(
    robot: Robot,
    start: Callable[..., DepthNode],
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[Any] = []
    load = DepthEstimator.load

    def counted(*args: Any, **options: Any) -> DepthEstimator:
        loaded.append(load(*args, **options))
        return loaded[-1]

    monkeypatch.setattr(DepthEstimator, 'load', counted)
    start()
    image, info = frame()
    robot.ask(image, info)
    assert operator.change(Transition.TRANSITION_DEACTIVATE)
    assert operator.change(Transition.TRANSITION_ACTIVATE)
    stamps: list[int] = []
    robot.until(
        lambda: set(stamps) & set(robot.answers['depth/image']),
        'an answer without another camera_info',
        lambda: stamps.append(robot.send(image)),
    )
    assert len(loaded) == 1


def test_deactivation_lets_the_frame_in_work_finish_and_drops_the_one_that_waits(
    robot: Robot,
    start: Callable[..., DepthNode],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = start()
    (stream,) = node._streams
    robot.ask(*frame())
    robot.settle()
    gate = Gate(monkeypatch)
    first = robot.send(*frame())
    robot.until(gate.busy.is_set, 'the first in work')
    before = robot.news()
    second = robot.send(*frame())  # aligned, as the network was to be free by now
    robot.until(lambda: robot.counts()['received'] == before['received'] + 1, 'received')
    robot.until(lambda: stream.newest._image is None, 'the second in work')
    third = robot.send(*frame())
    robot.until(lambda: robot.counts()['received'] == before['received'] + 2, 'received')
    open_once_closed(monkeypatch, gate.go)
    assert node.trigger_deactivate() == SUCCESS
    robot.until(lambda: {first, second} <= set(robot.answers['depth/points']), 'both')
    counts = robot.news()
    assert counts['dropped: deactivated'] == 1
    assert counts['published'] == before['published'] + 2
    assert third not in robot.answers['depth/points']


def test_an_active_node_can_be_shut_down(
    robot: Robot, start: Callable[..., DepthNode], operator: Operator
) -> None:
    node = start()
    robot.ask(*frame())
    assert operator.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert operator.state() == 'finalized'
    assert not any(node.count_publishers(topic) for topic in OUTPUTS)
    robot.until(lambda: state_told(robot) == 'finalized', 'told')
    assert not operator.change(Transition.TRANSITION_CONFIGURE)


def test_work_that_does_not_end_ends_the_node(
    robot: Robot,
    start: Callable[..., DepthNode],
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(depth_node, '_PATIENCE', 0.2)
    start()
    robot.ask(*frame())
    gate = Gate(monkeypatch)
    robot.send(*frame())
    robot.until(gate.busy.is_set, 'the frame in work')
    assert not operator.change(Transition.TRANSITION_DEACTIVATE)
    assert operator.state() == 'finalized'
    text = 'finalized: the frame in work does not end within 0.2 s'
    robot.until(lambda: robot.statuses[-1].message == text, 'told')
    gate.go.set()


def test_what_a_frame_in_work_uses_stays_until_it_ends(
    robot: Robot, start: Callable[..., DepthNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start()
    robot.ask(*frame())
    robot.settle()
    gate = Gate(monkeypatch)
    stamp = robot.send(*frame())
    robot.until(gate.busy.is_set, 'the frame in work')
    monkeypatch.setattr(depth_node, '_LAST_PATIENCE', 0.2)
    node.destroy_node()
    gate.go.set()
    robot.until(lambda: stamp in robot.answers['depth/points'], 'its cloud')


def test_a_monitor_that_fails_costs_no_frame(
    robot: Robot, start: Callable[..., DepthNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError('nothing to look at')

    monkeypatch.setattr(depth_monitor.DepthMonitor, 'look', broken)
    start()
    robot.ask(*frame())
    told = 'monitor: ZeroDivisionError: nothing to look at'
    robot.until(lambda: any(told in line for line in robot.logged), 'logged')
    robot.until(lambda: robot.statuses[-1].message == told, 'told')
    counts = robot.news()
    assert counts['published'] > 0
    assert not any(name.startswith('dropped: internal') for name in counts)


@pytest.mark.parametrize('fault', ['model', 'thread'])
def test_a_model_that_cannot_even_be_looked_for_is_refused(
    fault: str,
    robot: Robot,
    start: Callable[..., DepthNode],
    operator: Operator,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start(autostart=False)
    with monkeypatch.context() as patch:
        if fault == 'model':
            assert operator.set(model='~nosuchuser/a.onnx') == ['']
            text = 'cannot configure: ~nosuchuser/a.onnx: there is no such home directory'
        else:

            def broken(*args: Any) -> None:
                raise RuntimeError('no thread is left')

            patch.setattr(depth_node, 'ModelLoading', broken)
            text = 'cannot configure: no thread is left'
        assert not operator.change(Transition.TRANSITION_CONFIGURE)
    assert operator.state() == 'unconfigured'
    robot.until(lambda: any(text in line for line in robot.logged), 'logged')
    assert operator.set(model=str(tiny_model)) == ['']
    assert operator.change(Transition.TRANSITION_CONFIGURE)


def test_an_unforeseen_error_is_told_and_leaves_the_node_unconfigured(
    robot: Robot,
    start: Callable[..., DepthNode],
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start(autostart=False)
    with monkeypatch.context() as patch:

        def broken(*args: Any, **options: Any) -> None:
            raise MemoryError('all is full')

        patch.setattr(DepthEstimator, 'load', broken)
        assert not operator.change(Transition.TRANSITION_CONFIGURE)
    assert operator.state() == 'unconfigured'
    text = 'cannot configure: MemoryError: all is full'
    robot.until(lambda: any(text in line for line in robot.logged), 'logged')
    assert operator.change(Transition.TRANSITION_CONFIGURE)
    assert operator.change(Transition.TRANSITION_ACTIVATE)
    robot.ask(*frame())


def test_fifty_lives_leave_nothing_behind(robot: Robot, start: Callable[..., DepthNode]) -> None:
    node = start(autostart=False)
    left: list[tuple[int, ...]] = []
    sizes: list[int] = []
    for life in range(51):
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        if life % 10 == 0:
            robot.ask(*frame())
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_activate() == SUCCESS
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
        if life % 10 == 0:
            robot.executor.spin_once(timeout_sec=0.1)
            gc.collect()
            publishers, subscriptions = len(list(node.publishers)), len(list(node.subscriptions))
            threads, descriptors = (
                len(list(Path(f'/proc/self/{of}').iterdir())) for of in ('task', 'fd')
            )
            left.append((publishers, subscriptions, threads, descriptors))
            sizes.append(resident())
    assert len(set(left)) == 1, left
    assert sizes[-1] - sizes[1] < 5 * 2**20, sizes


def test_parameters_change_together_or_not_at_all(
    robot: Robot, start: Callable[..., DepthNode], operator: Operator
) -> None:
    node = start()
    robot.ask(*frame())
    reason = operator.set_together(depth_encoding='16UC1', depth_resolution='full')
    assert reason == "parameter depth_resolution must be one of network, input, got 'full'"
    reason = operator.set_together(depth_encoding='16UC1', pitch=2.0)
    assert 'Min: -1.5, Max: 1.5' in reason
    assert node.get_parameter('depth_encoding').value == '32FC1'
    depth, *_ = robot.ask(*frame())
    assert (depth.encoding, depth.width) == ('32FC1', TINY_CAMERA.width)
    assert (
        operator.set_together(
            depth_encoding='16UC1', depth_resolution='input', cloud_resolution='input'
        )
        == ''
    )
    depth, info, cloud = robot.ask(*frame())
    assert (depth.encoding, depth.width) == ('16UC1', CAMERA.width)
    assert info.width == cloud.width == CAMERA.width
    # One by one, each for itself.
    reasons = operator.set(depth_encoding='mono8', depth_resolution='network', pitch=1)
    assert [bool(reason) for reason in reasons] == [True, False, True]
    depth, *_ = robot.ask(*frame())
    assert (depth.encoding, depth.width) == ('16UC1', TINY_CAMERA.width)


def test_the_cloud_is_what_the_parameters_ask_for(
    robot: Robot, start: Callable[..., DepthNode], operator: Operator
) -> None:
    start(depth_resolution='input', cloud_resolution='input')
    *_, whole = robot.ask(*frame())
    points, colours = cloud_points(whole)
    assert (whole.width, whole.height, whole.point_step) == (100, 60, 16)
    assert operator.set_together(cloud_decimation=3, range_min=4.0, range_max=30.0) == ''
    *_, some = robot.ask(*frame())
    assert (some.width, some.height, some.is_dense) == (34, 20, False)
    found, found_colours = cloud_points(some)
    every = points[::3, ::3]
    inside = (every[..., 2] >= 4) & (every[..., 2] <= 30)
    assert 0.1 < inside.mean() < 0.9
    np.testing.assert_array_equal(found, np.where(inside[..., None], every, np.nan))
    np.testing.assert_array_equal(found_colours, colours[::3, ::3])
    assert operator.set_together(cloud_organised=False, cloud_colour=False) == ''
    *_, compact = robot.ask(*frame())
    assert (compact.height, compact.point_step, compact.is_dense) == (1, 12, True)
    np.testing.assert_array_equal(cloud_points(compact)[0][0], every[inside])
    reason = operator.set_together(range_min=30.0, range_max=4.0)
    assert reason.startswith('parameter range_min must be below range_max, got 30 and 4')
    # Back to the whole; what it was made of has not changed.
    defaults = {'cloud_organised': True, 'cloud_colour': True, 'cloud_decimation': 1}
    assert operator.set_together(**defaults, range_min=0.0, range_max=1000.0) == ''
    *_, again = robot.ask(*frame())
    assert again.data == whole.data


def test_clouds_have_a_rate_of_their_own_and_previews_are_for_who_looks(
    domain: int, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    draw = depth_outputs.depth_colours

    def counted(*args: Any) -> Any:
        drawn.append(args)
        return draw(*args)

    monkeypatch.setattr(depth_outputs, 'depth_colours', counted)
    robot = Robot(domain, outputs=('depth/points',))
    try:
        values = {'model': str(tiny_model), 'cloud_rate': 2.0, 'depth_resolution': 'input'}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = DepthNode(context=robot.context, parameter_overrides=overrides)
        robot.add(node)
        robot.ask(*frame())
        clouds = robot.answers['depth/points']
        began, before = time.monotonic(), len(clouds)
        while (lasted := time.monotonic() - began) < 3.0:
            robot.send(*frame())
            robot.executor.spin_once(timeout_sec=0.02)
            robot.executor.spin_once(timeout_sec=0.02)
        robot.news()
        assert 2 * lasted - 3 <= len(clouds) - before <= 2 * lasted + 1
        assert robot.counts()['skipped: cloud_rate'] > 5
        # The others go on with each frame; the preview is made once somebody looks at it.
        assert not drawn
        robot.listen(PREVIEW)
        robot.until(lambda: robot.answers[PREVIEW], 'previews', lambda: robot.send(*frame()))
        stamp = robot.send(*frame())
        robot.until(lambda: stamp in robot.answers[PREVIEW], 'a preview')
        preview = robot.answers[PREVIEW][stamp]
        assert preview.format == 'bgr8; jpeg compressed bgr8'
        picture = cv2.imdecode(np.frombuffer(preview.data, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (60, 100, 3)
        # Far above, near below.
        above, below = picture[18, 50].astype(int), picture[52, 50].astype(int)
        assert above[0] > above[2]
        assert below[2] > below[0]
    finally:
        robot.close()


def test_scale_coverage_and_exposure_are_watched_and_depth_stays_as_it_is(
    robot: Robot,
    start: Callable[..., DepthNode],
    operator: Operator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(depth_monitor, 'PERIOD', 0.0)
    below = np.maximum(np.arange(TINY_CAMERA.height) - TINY_CAMERA.cy, 0.5)
    road = (1.5 * TINY_CAMERA.fy / below).astype(np.float32)
    write_tiny_model(tmp_path / 'road.onnx', road)
    start(model=str(tmp_path / 'road.onnx'), camera_height=1.5, image_timeout=60.0)
    good = image_message(scenery(TINY_CAMERA.height, TINY_CAMERA.width))
    info = info_message(TINY_CAMERA)

    def told() -> dict[str, str]:
        return {item.key: item.value for item in robot.statuses[-1].values}

    def look(image: Any, camera_info: Any) -> None:
        """Let it look at enough frames, then have it tell."""
        for _ in range(32):
            stamp = robot.send(image, camera_info)
            robot.until(lambda s=stamp: s in robot.answers['depth/image'], 'an answer')
        robot.news()

    before, *_ = robot.ask(good, info)
    look(good, info)
    assert robot.statuses[-1].message == 'running'
    assert told()['scale health'] == 'agrees'
    assert float(told()['scale health ratio']) == pytest.approx(1.0, abs=2e-3)
    assert operator.set(camera_height=2.0) == ['']
    look(good, info)
    text = 'depth shows the camera 1.50 m above the road, camera_height says 2 m'
    assert text in robot.statuses[-1].message
    assert robot.statuses[-1].level == b'\x01'
    after, *_ = robot.ask(good, info)
    assert after.data == before.data
    assert operator.set(camera_height=0.0) == ['']
    for level, word in ((0, 'black'), (255, 'white')):
        flat = np.full((TINY_CAMERA.height, TINY_CAMERA.width, 3), level, np.uint8)
        look(image_message(flat), info)
        assert f'100% of the image is {word}' in robot.statuses[-1].message
    look(image_message(np.full_like(flat, 120)), info)
    assert 'the image is of one colour' in robot.statuses[-1].message
    assert told()['scale health'] == 'camera_height is not known'
    narrow = Camera(64, 32, 150.0, 150.0, 31.5, 12.0)
    look(good, info_message(narrow))
    assert 'of what the network was trained on' in robot.statuses[-1].message


class StillClock:
    """The clock of the monitors, which goes on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (depth_monitor, scale_health):
            monkeypatch.setattr(module, 'time', self)

    def monotonic(self) -> float:
        return self.now


def test_findings_age_and_images_that_show_nothing_are_not_fitted(
    robot: Robot,
    start: Callable[..., DepthNode],
    operator: Operator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(depth_monitor, 'PERIOD', 0.0)
    clock = StillClock(monkeypatch)
    below = np.maximum(np.arange(TINY_CAMERA.height) - TINY_CAMERA.cy, 0.5)
    write_tiny_model(tmp_path / 'road.onnx', (TINY_CAMERA.fy / below).astype(np.float32))
    start(model=str(tmp_path / 'road.onnx'), camera_height=1.5, image_timeout=60.0)
    good = image_message(scenery(TINY_CAMERA.height, TINY_CAMERA.width))
    info = info_message(TINY_CAMERA)

    def look(image: Any) -> dict[str, str]:
        stamp = robot.send(image, info)
        robot.until(lambda: stamp in robot.answers['depth/image'], 'an answer')
        robot.news()
        return told()

    def told() -> dict[str, str]:
        return {item.key: item.value for item in robot.statuses[-1].values}

    robot.ask(good, info)
    for _ in range(32):
        stamp = robot.send(good, info)
        robot.until(lambda s=stamp: s in robot.answers['depth/image'], 'an answer')
    assert look(good)['scale health'] == 'disagrees'
    assert 'depth shows the camera' in robot.statuses[-1].message
    # Of noise a network makes a road, too.
    grain = image_message(noise(TINY_CAMERA.height, TINY_CAMERA.width))
    for _ in range(4 * 32):
        stamp = robot.send(grain, info)
        robot.until(lambda s=stamp: s in robot.answers['depth/image'], 'an answer')
    found = look(grain)
    assert found['scale health'] == 'no road seen'
    assert 'scale health ratio' not in found
    assert 'noise 12' in found['scale health refused']
    assert 'depth shows the camera' not in robot.statuses[-1].message
    for _ in range(4 * 32):
        stamp = robot.send(good, info)
        robot.until(lambda s=stamp: s in robot.answers['depth/image'], 'an answer')
    before = look(good)
    assert before['scale health'] == 'disagrees'
    for level, pause in ((0, 1.1), (255, 0.1), (120, 0.1)):
        flat = np.full((TINY_CAMERA.height, TINY_CAMERA.width, 3), level, np.uint8)
        found = look(image_message(flat))
        clock.now += pause * depth_monitor._FRESH
    found = look(image_message(flat))
    assert 'exposure' not in before['scale health refused']
    assert found['scale health refused'].startswith('exposure 4, noise 1')
    assert found['scale health'].startswith('road not seen for')
    assert float(found['scale health age (s)']) > depth_monitor._FRESH
    assert 'depth shows the camera' not in robot.statuses[-1].message
    assert 'one colour' in robot.statuses[-1].message
    # Nobody looks any more: what was found is not what is.
    clock.now += 1.1 * depth_monitor._FRESH
    robot.until(lambda: 'monitors' in told(), 'age')
    assert 'scale health' not in told()
    assert 'one colour' not in robot.statuses[-1].message


def test_a_frame_in_work_keeps_its_parameters(
    robot: Robot,
    start: Callable[..., DepthNode],
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start()
    robot.ask(*frame())
    robot.settle()
    gate = Gate(monkeypatch)
    stamp = robot.send(*frame())
    robot.until(gate.busy.is_set, 'the frame in work')
    assert (
        operator.set_together(
            depth_encoding='16UC1', depth_resolution='input', cloud_resolution='input'
        )
        == ''
    )
    later = robot.send(*frame())
    gate.go.set()
    robot.until(lambda: all(later in found for found in robot.answers.values()), 'the later')
    for moment, encoding, width in (
        (stamp, '32FC1', TINY_CAMERA.width),
        (later, '16UC1', CAMERA.width),
    ):
        depth, info, cloud = (robot.answers[topic][moment] for topic in OUTPUTS)
        assert (depth.encoding, depth.width) == (encoding, width)
        assert info.width == cloud.width == width

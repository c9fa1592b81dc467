# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node with several cameras over real DDS: one engine, and each camera for itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from conftest import TINY_CAMERA
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rig import Rig
from robot import OUTPUTS, cloud_points, depth_values, info_message
from sensor_msgs.msg import Image

from mono_metric_depth.camera import Camera
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.nodes import depth_node
from mono_metric_depth.nodes.depth_node import DepthNode
from mono_metric_depth.nodes.newest_frame import NewestFrame, WaitingFrames

CAMERAS = {
    'front': Camera(100, 60, 80.0, 82.0, 48.0, 28.0),
    'left': Camera(80, 50, 60.0, 60.0, 40.0, 24.0),
    'right': Camera(120, 90, 100.0, 100.0, 58.0, 44.0),
}


@pytest.fixture
def rig(domain: int) -> Iterator[Rig]:
    rig = Rig(domain, dict(CAMERAS))
    yield rig
    rig.close()


@pytest.fixture
def start(
    rig: Rig, tiny_batch_model: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., DepthNode]:
    monkeypatch.setattr(depth_node, 'DIAGNOSTICS_PERIOD', 0.1)

    def run(**parameters: Any) -> DepthNode:
        values = {'model': str(tiny_batch_model), 'engine': 'onnxruntime', **parameters}
        values = {'cameras': list(CAMERAS), **values}
        overrides = [
            Parameter(name.replace('__', '.'), value=value) for name, value in values.items()
        ]
        node = DepthNode(context=rig.robot.context, parameter_overrides=overrides)
        rig.robot.add(node)
        return node

    return run


class Gate:
    """Holds up the network, and keeps how many images it ran at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.busy, self.go = threading.Event(), threading.Event()
        self.runs: list[int] = []
        run = OnnxRuntimeEngine.run

        def held_up(engine: OnnxRuntimeEngine, images: int) -> None:
            self.busy.set()
            assert self.go.wait(60)
            self.runs.append(images)
            run(engine, images)

        monkeypatch.setattr(OnnxRuntimeEngine, 'run', held_up)


def test_each_camera_is_answered_on_its_own_topics_with_its_own_stamp_and_frame(
    rig: Rig, start: Callable[..., DepthNode]
) -> None:
    start(depth_resolution='input', cloud_resolution='input')
    for name, stamp in rig.until_answered().items():
        camera = CAMERAS[name]
        for topic in OUTPUTS:
            message = rig.answers[name][topic][stamp]
            assert message.header.frame_id == f'{name}_optical'
            assert (message.width, message.height) == (camera.width, camera.height)
        assert (
            list(rig.answers[name]['depth/camera_info'][stamp].k)
            == info_message(camera).k.tolist()
        )
        depth = depth_values(rig.answers[name]['depth/image'][stamp])
        points, _ = cloud_points(rig.answers[name]['depth/points'][stamp])
        finite = np.isfinite(depth)
        assert finite.mean() > 0.2
        rows, columns = np.nonzero(finite)
        x, y, z = points[finite].astype(float).T
        assert np.abs(camera.fx * x / z + camera.cx - columns).max() < 1e-3
        assert np.abs(camera.fy * y / z + camera.cy - rows).max() < 1e-3
    stamps = [set(rig.answers[name]['depth/image']) for name in CAMERAS]
    assert not stamps[0] & stamps[1]
    rig.robot.until(lambda: rig.told('depth') and rig.told('depth').message == 'running', 'told')
    rig.robot.until(lambda: all(rig.counts(name)['published'] for name in CAMERAS), 'counted')
    values = rig.values('depth')
    assert values['model'] == 'tiny'
    assert len(values['model sha256']) == 12
    assert (values['precision'], values['batch']) == ('float32', '3')
    assert 'rate (Hz)' in rig.values('left')
    assert 'rate (Hz)' not in values


def test_frames_that_wait_are_inferred_together(
    rig: Rig, start: Callable[..., DepthNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start()
    rig.until_answered()
    settle(rig)
    gate = Gate(monkeypatch)
    sent = [('front', rig.send('front'))]
    rig.robot.until(gate.busy.is_set, 'the first in work')
    sent += [(name, rig.send(name)) for name in CAMERAS]
    rig.robot.until(lambda: node._worker._prepared.qsize() == len(CAMERAS), 'all wait')
    gate.go.set()
    rig.robot.until(lambda: all(rig.answered(*pair) for pair in sent), 'answers')
    assert gate.runs == [1, 3]


def settle(rig: Rig) -> None:
    """Wait until nothing is under way."""

    def settled() -> bool:
        counts = [rig.counts(name) for name in rig.cameras]
        return all(
            found['received'] and found['received'] * 2 == sum(found.values()) for found in counts
        )

    told = len(rig.robot.statuses)
    rig.robot.until(lambda: len(rig.robot.statuses) > told + 2 * len(CAMERAS) + 2, 'diagnostics')
    rig.robot.until(settled, 'nothing under way')


def test_a_network_for_single_images_serves_several_cameras(
    rig: Rig, start: Callable[..., DepthNode], tiny_model: Path
) -> None:
    start(model=str(tiny_model))
    rig.until_answered()
    rig.robot.until(lambda: rig.values('depth').get('batch') == '1', 'told')


def test_a_camera_that_stops_is_reported_and_does_not_hold_up_the_rest(
    rig: Rig, start: Callable[..., DepthNode]
) -> None:
    start(depth_resolution='input', cloud_resolution='input', image_timeout=1.5)
    rig.until_answered()
    rig.robot.until(lambda: rig.told('left'), 'diagnostics')
    others = ('front', 'right')

    def keep_on() -> None:
        for name in others:
            rig.send(name)

    silent = 'on /left/image'
    rig.robot.until(
        lambda: 'no image for' in rig.told('left').message and silent in rig.told('left').message,
        'reported',
        keep_on,
    )
    assert rig.told('left').level == b'\x01'
    whole = rig.told('depth')
    assert whole.level == b'\x01'
    assert whole.message.startswith('left: no image for')
    rig.robot.until(
        lambda: all(rig.told(name).message == 'running' for name in others), 'the rest', keep_on
    )
    rig.until_answered(others)
    # It comes back with another resolution, and another changes meanwhile.
    rig.cameras['left'] = CAMERAS['left'].resized(160, 100)
    rig.cameras['front'] = CAMERAS['front'].resized(50, 30)
    for name, stamp in rig.until_answered().items():
        assert rig.answers[name]['depth/image'][stamp].width == rig.cameras[name].width
    rig.robot.until(lambda: rig.told('depth').message == 'running', 'told')


def test_a_camera_has_a_mount_of_its_own_and_follows_the_common_one_until_then(
    rig: Rig, start: Callable[..., DepthNode]
) -> None:
    node = start(pitch=0.05, left__pitch=0.1)

    def mounts() -> dict[str, str]:
        rig.until_answered()
        told = len(rig.robot.statuses)
        rig.robot.until(lambda: len(rig.robot.statuses) >= told + 8, 'diagnostics')
        return {name: rig.values(name)['mount'].split(' rad')[0] for name in CAMERAS}

    assert mounts() == {'front': 'pitch 0.050', 'left': 'pitch 0.100', 'right': 'pitch 0.050'}
    assert node.set_parameters([Parameter('pitch', value=0.02)])[0].successful
    assert mounts() == {'front': 'pitch 0.020', 'left': 'pitch 0.100', 'right': 'pitch 0.020'}
    results = node.set_parameters(
        [
            Parameter('right.pitch', value=-0.03),
            Parameter('front.pitch', value=1.6),
            Parameter('front.pitch', value='low'),
            Parameter('left.pitch'),
        ]
    )
    assert [result.successful for result in results] == [True, False, False, False]
    assert mounts() == {'front': 'pitch 0.020', 'left': 'pitch 0.100', 'right': 'pitch -0.030'}


def test_mounts_are_found_in_tf_over_dds(rig: Rig, start: Callable[..., DepthNode]) -> None:
    """Where tf2_msgs is."""
    messages = pytest.importorskip('tf2_msgs.msg')
    start(base_frame='base_footprint', left__pitch=0.3)
    found = rig.until_answered()
    assert set(found) == set(CAMERAS)
    rig.robot.until(lambda: 'tf has no way' in rig.told('front').message, 'told')
    assert rig.told('depth').level == b'\x01'
    node = rig.robot.node
    static = node.create_publisher(
        messages.TFMessage,
        '/tf_static',
        QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
    )
    moving = node.create_publisher(messages.TFMessage, '/tf', 10)
    # x, y, z, w: about y by 0.1, then to the optical frame.
    pitched = (-0.5243647, 0.5243647, -0.4743855, 0.4743855)
    static.publish(
        messages.TFMessage(
            transforms=[
                transform('base_link', f'{name}_optical', 1.2, pitched) for name in CAMERAS
            ]
        )
    )
    base = messages.TFMessage(
        transforms=[transform('base_footprint', 'base_link', 0.3, (0.0, 0.0, 0.0, 1.0))]
    )

    def again() -> None:
        moving.publish(base)
        for name in CAMERAS:
            rig.send(name)

    expected = 'pitch 0.100 rad (base_footprint)'
    rig.robot.until(lambda: expected in rig.values('front').get('mount', ''), 'found', again)
    rig.robot.until(lambda: rig.told('right').message == 'running', 'told', again)
    mount = rig.values('right')['mount']
    assert mount.endswith('height 1.500 m (base_footprint)')
    assert 'the parameters say pitch 0.300 rad' in rig.told('left').message
    assert rig.values('left')['mount'].startswith('pitch 0.300 rad (parameter)')


def transform(parent: str, child: str, height: float, rotation: tuple[float, ...]) -> Any:
    from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3

    x, y, z, w = rotation
    stamped = TransformStamped(child_frame_id=child)
    stamped.header.frame_id = parent
    stamped.transform = Transform(
        translation=Vector3(x=1.0, z=height), rotation=Quaternion(x=x, y=y, z=z, w=w)
    )
    return stamped


def test_an_override_of_qos_is_for_its_topic_alone(
    rig: Rig, start: Callable[..., DepthNode]
) -> None:
    start(
        **{
            'qos_overrides./left/depth/image.publisher.reliability': 'best_effort',
            'qos_overrides./left/image.subscription.reliability': 'reliable',
        }
    )
    node = rig.robot.node
    rig.robot.until(lambda: node.get_subscriptions_info_by_topic('/right/image'), 'subscribed')
    for topic in OUTPUTS:
        for name in CAMERAS:
            (found,) = node.get_publishers_info_by_topic(f'/{name}/{topic}')
            best_effort = found.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
            assert best_effort == ((name, topic) == ('left', 'depth/image'))
    for name in CAMERAS:
        (found,) = node.get_subscriptions_info_by_topic(f'/{name}/image')
        reliable = found.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        assert reliable == (name == 'left')


def test_an_override_that_no_topic_takes_is_told(
    rig: Rig, start: Callable[..., DepthNode]
) -> None:
    used = 'qos_overrides./right/image.subscription.depth'
    unused = (
        'qos_overrides./left/imagee.subscription.depth',
        'qos_overrides./left/image.subscription.lifespan',
    )
    start(**dict.fromkeys([used, *unused], 3))
    robot = rig.robot
    for name in unused:
        told = f'{name} is ignored: no topic takes it'
        robot.until(lambda t=told: any(t in line for line in robot.logged), told)
    assert not any(f'{used} is ignored' in line for line in robot.logged)
    assert sum('is ignored' in line for line in robot.logged) == 2
    # It says what there is.
    assert any('taken: ' in line and used in line for line in robot.logged)


def test_a_fast_camera_does_not_starve_a_slow_one() -> None:
    changed = threading.Condition()
    cameras = [NewestFrame(changed) for _ in range(3)]
    waiting = WaitingFrames(cameras, changed)
    info = info_message(TINY_CAMERA)
    for camera in cameras:
        camera.put_info(info)
    served: list[int] = []
    for turn in range(30):
        # The first sends three images for each that is served, the last one now and then.
        for _ in range(3):
            cameras[0].put_image(Image())
        cameras[1].put_image(Image())
        if turn % 5 == 0:
            cameras[2].put_image(Image())
        served.append(taken(waiting))
        waiting.go_on([served[-1]])
    assert served.count(2) == 6
    assert abs(served.count(0) - served.count(1)) <= 2
    # All that wait, in their order; none twice until it has gone on.
    for camera in cameras:
        camera.discard()
    for index in (2, 0, 1):
        cameras[index].put_image(Image())
    cameras[2].put_image(Image())
    assert taken(waiting) == 2
    cameras[2].put_image(Image())
    assert [taken(waiting) for _ in range(2)] == [0, 1]
    waiting.go_on([1])
    for index in (0, 1):
        cameras[index].put_image(Image())
    assert taken(waiting) == 1
    # None before its time: a newer one may come until then.
    waiting.go_on([2], time.monotonic() + 1.0)
    newer = Image(width=7)
    threading.Timer(0.05, cameras[2].put_image, [newer]).start()
    index, image, _ = waiting.take() or (None, None, None)
    assert (index, image) == (2, newer)
    waiting.close()
    assert waiting.take() is None


def taken(waiting: WaitingFrames) -> int | None:
    """The camera whose turn it is."""
    found = waiting.take()
    return None if found is None else found[0]


def test_a_camera_that_waits_for_its_camera_info_does_not_hold_up_another() -> None:
    changed = threading.Condition()
    cameras = [NewestFrame(changed) for _ in range(2)]
    waiting = WaitingFrames(cameras, changed)
    rather = threading.Timer(20.0, waiting.close)  # than to wait for ever
    rather.start()
    cameras[0].put_image(Image())  # without camera_info
    cameras[1].put_info(info_message(TINY_CAMERA))
    late = Image()
    late.header.stamp.sec = 7
    cameras[1].put_image(late)  # stamped unlike the camera_info
    cameras[0].put_info(info_message(TINY_CAMERA))
    assert [taken(waiting), taken(waiting)] == [0, 1]
    rather.cancel()

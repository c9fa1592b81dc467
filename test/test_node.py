# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node over real DDS: what goes in, what comes out, what is dropped and why."""

from __future__ import annotations

import array
import os
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

import rclpy
from conftest import ROOT, TINY_CAMERA, TINY_DEPTH, next_domain
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import (
    FRAME_ID,
    OUTPUTS,
    RELIABLE,
    Robot,
    cloud_points,
    compressed_message,
    depth_values,
    image_message,
    info_message,
    next_stamp,
    noise,
    put_stamp,
    stamp_of,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMessage
from std_srvs.srv import SetBool

from mono_metric_depth.camera import Camera
from mono_metric_depth.datasets.bag import (
    IMAGE_TOPIC,
    INFO_TOPIC,
    new_bag,
    read_messages,
    write_drive,
)
from mono_metric_depth.datasets.dgp import DgpSequence
from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.frame import Frame
from mono_metric_depth.nodes.bag_exchange import BagExchange
from mono_metric_depth.nodes.depth_node import DepthNode
from mono_metric_depth.nodes.latched_camera_info import LatchedCameraInfo

SAMPLE = ROOT.parent / 'shared' / 'data' / 'dgp_sample' / 'scene_dataset_v1.0.json'
CAMERA = Camera(100, 60, 80.0, 82.0, 48.0, 28.0)
NODE = [sys.executable, '-m', 'mono_metric_depth.commands.depth_node', '--ros-args']

# It knows rclpy, its messages and NumPy, and keeps what it receives as it is.
STRANGER = textwrap.dedent("""
    import pathlib, sys, time
    import numpy as np
    import rclpy
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CameraInfo, Image, PointCloud2

    folder = pathlib.Path(sys.argv[1])
    rclpy.init()
    node = rclpy.create_node('stranger')
    received = {}

    def keep(topic, message):
        stamp = message.header.stamp
        received.setdefault((stamp.sec, stamp.nanosec), {})[topic] = message

    for topic, kind in (('image', Image), ('camera_info', CameraInfo), ('points', PointCloud2)):
        node.create_subscription(
            kind, f'depth/{topic}', lambda m, topic=topic: keep(topic, m), qos_profile_sensor_data
        )
    def write(sec, nanosec, found):
        image, info, cloud = found['image'], found['camera_info'], found['points']
        assert {m.header.frame_id for m in found.values()} == {'front_camera_optical_frame'}
        assert image.encoding == '32FC1' and not image.is_bigendian
        assert image.step == 4 * image.width
        assert len(image.data) == image.height * image.step
        assert (info.width, info.height) == (image.width, image.height)
        assert (cloud.width, cloud.height) == (image.width, image.height)
        fields = [(f.name, f.offset, f.datatype, f.count) for f in cloud.fields]
        assert fields == [('x', 0, 7, 1), ('y', 4, 7, 1), ('z', 8, 7, 1), ('rgb', 12, 7, 1)]
        assert cloud.point_step == 16 and cloud.row_step == 16 * cloud.width
        assert not cloud.is_dense and not cloud.is_bigendian
        depth = np.frombuffer(image.data, np.float32).reshape(image.height, image.width)
        points = np.frombuffer(cloud.data, np.float32).reshape(cloud.height, cloud.width, 4)
        np.savez(folder / f'{sec}_{nanosec}.npz', depth=depth, points=points, k=info.k, p=info.p)

    deadline = time.monotonic() + float(sys.argv[2])
    while not (folder / 'enough').exists():
        if time.monotonic() > deadline:
            sys.exit(f'received {[len(found) for found in received.values()]} of 3 each')
        rclpy.spin_once(node, timeout_sec=0.1)
        for stamp in [stamp for stamp, found in received.items() if len(found) == 3]:
            write(*stamp, received.pop(stamp))
    assert not {'mono_metric_depth', 'cv2', 'onnxruntime'} & set(sys.modules)
    node.destroy_node()
    rclpy.shutdown()
    print('done')
""")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the network ran."""
    moments: list[float] = []
    run = OnnxRuntimeEngine.run

    def counted(engine: OnnxRuntimeEngine, images: int) -> None:
        moments.append(time.monotonic())
        run(engine, images)

    monkeypatch.setattr(OnnxRuntimeEngine, 'run', counted)
    return moments


@pytest.fixture(scope='module')
def process_robot(dds: None, tiny_model: Path) -> Iterator[Robot]:
    """A depth node in a process of its own, and a robot that talks to it."""
    number = next_domain()
    node = subprocess.Popen(
        [*NODE, '-p', f'model:={tiny_model}'], env={**os.environ, 'ROS_DOMAIN_ID': str(number)}
    )
    robot = Robot(number)
    try:
        robot.ask(image_message(noise(60, 100)), info_message(CAMERA))
        yield robot
    finally:
        robot.close()
        node.terminate()
        assert node.wait(timeout=60) == 0


def real_frames() -> list[tuple[np.ndarray, Camera]]:
    """Real images where they are, else drawn ones."""
    if SAMPLE.is_file():
        frames = [DgpSequence(SAMPLE, name)[0] for name in ('CAMERA_01', 'CAMERA_05', 'CAMERA_06')]
        return [(frame.image, frame.camera) for frame in frames]
    scene = cv2.resize(noise(12, 18), (960, 600), interpolation=cv2.INTER_CUBIC)
    cameras = [Camera(960, 600, focal, focal, 470.0, 310.0) for focal in (1080.0, 530.0, 640.0)]
    return [(scene, camera) for camera in cameras]


def test_a_process_that_only_knows_rclpy_receives_metric_clouds(
    process_robot: Robot, tmp_path: Path
) -> None:
    script = tmp_path / 'stranger.py'
    script.write_text(STRANGER)
    frames = real_frames()
    stranger = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), '90'],
        cwd=tmp_path,
        env={**os.environ, 'ROS_DOMAIN_ID': str(process_robot.domain)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    robot = process_robot
    try:
        robot.until(lambda: robot.node.count_subscribers('depth/points') == 2, 'the stranger')
        sent: dict[str, int] = {}

        def play() -> None:
            for index, (pixels, camera) in enumerate(frames):
                stamps: list[int] = []
                robot.ask(image_message(pixels), info_message(camera), stamps=stamps)
                sent.update({f'{s // 10**9}_{s % 10**9}': index for s in stamps})

        def written() -> list[Path]:
            # It may have heard of frames that were sent before, too.
            return [file for file in sorted(tmp_path.glob('*.npz')) if file.stem in sent]

        def all_written() -> bool:
            cameras = {sent[file.stem] for file in written()}
            return len(cameras) == len(frames) or stranger.poll() is not None

        robot.until(all_written, 'a frame of each camera', play, timeout=90)
        (tmp_path / 'enough').touch()
        output = stranger.communicate(timeout=60)[0]
    finally:
        stranger.kill()
    assert stranger.returncode == 0, output
    files = written()
    assert {sent[file.stem] for file in files} == set(range(len(frames)))
    for file in files:
        check_cloud(np.load(file), *frames[sent[file.stem]])
    # The first camera is narrower than the network's.
    assert any(np.isnan(np.load(file)['depth']).any() for file in files)


def check_cloud(found: Any, pixels: np.ndarray, camera: Camera) -> None:
    depth, points, k, p = (found[name] for name in ('depth', 'points', 'k', 'p'))
    assert not (depth == 0).any()
    finite = np.isfinite(depth)
    assert 0.3 < finite.mean() < 0.95
    assert depth[finite].min() >= 1
    assert depth[finite].max() <= 80
    assert np.isposinf(depth).any()  # the uppermost row is beyond the model's range
    np.testing.assert_array_equal(np.isfinite(points[..., :3]).all(axis=-1), finite)
    assert np.isnan(points[~finite][:, :3]).all()
    x, y, z = points[finite][:, :3].astype(float).T
    np.testing.assert_array_equal(points[finite][:, 2], depth[finite])
    rows, columns = np.nonzero(finite)
    for fx, fy, cx, cy in ((k[0], k[4], k[2], k[5]), (p[0], p[5], p[2], p[6])):
        assert np.abs(fx * x / z + cx - columns).max() < 1e-3
        assert np.abs(fy * y / z + cy - rows).max() < 1e-3
    # The colour of a point is that of the image around where the camera sees it.
    shrink = max(1, round(camera.fx / k[0]))
    smooth = cv2.blur(pixels, (shrink, shrink))
    seen = camera.project(np.stack([x, y, z], axis=-1)).astype(np.float32)[:, None]
    expected = cv2.remap(smooth, seen, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    bgr0 = points.view(np.uint8)[..., 12:]
    assert not bgr0[..., 3].any()
    error = np.abs(bgr0[finite][:, 2::-1].astype(float) - expected[:, 0])
    assert error.mean() < 4
    assert np.quantile(error, 0.95) < 12


def _short(image: Any, info: Any) -> None:
    del image.data[-10:]


def _wrong_step(image: Any, info: Any) -> None:
    image.step -= 1


def _empty(image: Any, info: Any) -> None:
    image.width = image.height = 0


def _encoding(image: Any, info: Any) -> None:
    image.encoding = 'wonderful8'


def _uncalibrated(image: Any, info: Any) -> None:
    info.k = [0.0] * 9


def _coefficients(image: Any, info: Any) -> None:
    info.d = [0.1, 0.2]


def _other_size(image: Any, info: Any) -> None:
    info.width += 2


@pytest.mark.parametrize(
    ('damage', 'reason', 'message'),
    [
        (_wrong_step, 'step', 'step of a 100 px wide rgb8 image must be at least 300 bytes'),
        (_short, 'short_data', 'must hold at least 18000 bytes, got 17990'),
        (_empty, 'empty', 'image is empty: its size is 0x0'),
        (_encoding, 'encoding', "image encoding 'wonderful8' is not supported"),
        (_uncalibrated, 'camera_info', 'camera_info is uncalibrated (K is all zero)'),
        (_coefficients, 'camera_info', 'takes 4 or 5 coefficients, got 2'),
        (_other_size, 'size', 'image is 100x60 but camera_info describes 102x60'),
    ],
)
def test_a_bad_frame_is_named_counted_and_skipped(
    process_robot: Robot, damage: Callable[[Any, Any], None], reason: str, message: str
) -> None:
    robot = process_robot
    image, info = image_message(noise(60, 100)), info_message(CAMERA)
    robot.ask(image, info)
    before = robot.settle()
    said = len(robot.statuses)
    bad_image, bad_info = image_message(noise(60, 100)), info_message(CAMERA)
    damage(bad_image, bad_info)
    stamps = []

    def counted() -> bool:
        return robot.counts()[f'dropped: {reason}'] > before[f'dropped: {reason}']

    send_bad = robot.one_by_one(lambda: stamps.append(robot.send(bad_image, bad_info)))
    robot.until(counted, 'counted', send_bad)
    told = [status for status in robot.statuses[said:] if message in status.message]
    assert told, robot.said()[-5:]
    assert told[0].level == b'\x01'
    dropped = {name for name, count in robot.counts().items() if count > before[name]}
    assert {name for name in dropped if name.startswith('dropped')} == {f'dropped: {reason}'}
    assert not set(stamps) & set(robot.answers['depth/points'])
    # The very next one, sent once.
    stamp = robot.send(image, info)
    robot.until(lambda: all(stamp in found for found in robot.answers.values()), 'the next frame')
    robot.until(
        lambda: any(reason in line and 'frame dropped' in line for line in robot.logged), 'logged'
    )


@pytest.mark.parametrize(
    ('error', 'reason', 'told'),
    [
        (EngineError('no memory'), 'engine', 'no memory; deactivate, clean up and configure'),
        (KeyError('x'), 'internal', "KeyError: 'x'; please report this fault of the node"),
    ],
)
def test_a_frame_that_fails_within_is_told_with_what_to_do_about_it(
    robot: Robot,
    start: Callable[..., DepthNode],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
    told: str,
) -> None:
    start()
    image, info = image_message(noise(60, 100)), info_message(CAMERA)
    robot.ask(image, info)

    def fail(engine: OnnxRuntimeEngine, images: int) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(OnnxRuntimeEngine, 'run', fail)
        robot.until(
            lambda: any(told in status.message for status in robot.statuses),
            told,
            lambda: robot.send(image, info),
        )
    robot.ask(image, info)
    assert robot.news()[f'dropped: {reason}'] > 0


def test_images_without_camera_info_are_reported_and_the_newest_waits(
    robot: Robot, start: Callable[..., DepthNode]
) -> None:
    start()
    image = image_message(noise(60, 100))
    stamps: list[int] = []
    robot.until(
        lambda: robot.counts()['dropped: no_camera_info'] >= 2,
        'counted',
        lambda: stamps.append(robot.send(image)),
    )
    text = 'images arrive but no camera_info on /camera_info: publish it there, or remap'
    assert any(text in status.message for status in robot.statuses)
    robot.until(lambda: any(text in line for line in robot.logged), 'logged')
    robot.news()  # the newest image has arrived by then
    assert not any(robot.answers.values())
    # A camera_info that is published once serves the image that waits, and every later one.
    info = info_message(CAMERA)
    robot.until(lambda: robot.answers['depth/points'], 'an answer', lambda: robot.publish(info))
    assert set(robot.answers['depth/points']) == {stamps[-1]}
    later = robot.send(image)
    robot.until(lambda: later in robot.answers['depth/points'], 'a later answer')


@pytest.mark.parametrize('durability', ['', 'transient_local'])
def test_a_camera_info_that_was_latched_before_the_node_came_serves_every_image(
    robot: Robot, start: Callable[..., DepthNode], durability: str
) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = robot.node.create_publisher(CameraInfo, '/camera_info', latched)
    publisher.publish(info_message(CAMERA))
    name = 'qos_overrides./camera_info.subscription.durability'
    node = start(**({name: durability} if durability else {}))
    image = image_message(noise(60, 100))
    robot.until(lambda: robot.answers['depth/points'], 'an answer', lambda: robot.send(image))
    found = robot.node.get_subscriptions_info_by_topic('/camera_info')
    told = {info.qos_profile.durability for info in found if info.node_name == node.get_name()}
    both = {DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE}
    assert told == ({DurabilityPolicy.TRANSIENT_LOCAL} if durability else both)


@pytest.mark.parametrize('before', [True, False], ids=['before the node', 'after the node'])
@pytest.mark.parametrize('latched', [True, False], ids=['latched', 'plain'])
def test_a_camera_info_is_taken_as_it_is_offered_and_no_driver_is_asked_for_more(
    robot: Robot,
    start: Callable[..., DepthNode],
    monkeypatch: pytest.MonkeyPatch,
    latched: bool,
    before: bool,
) -> None:
    topic, plain, kept = '/front/camera_info', {DurabilityPolicy.VOLATILE}, set()
    if latched:
        kept = {DurabilityPolicy.TRANSIENT_LOCAL}
    refused: list[Any] = []
    looks: list[float] = []
    look = LatchedCameraInfo._look

    def counted(latched_info: LatchedCameraInfo) -> None:
        looks.append(time.monotonic())
        look(latched_info)

    monkeypatch.setattr(LatchedCameraInfo, '_look', counted)

    def driver(durability: DurabilityPolicy) -> Any:
        publisher = robot.node.create_publisher(
            CameraInfo,
            topic,
            QoSProfile(depth=1, durability=durability),
            event_callbacks=PublisherEventCallbacks(incompatible_qos=refused.append),
        )
        publisher.publish(info)
        return publisher

    def asked() -> set[DurabilityPolicy]:
        """For what the node asks."""
        found = robot.node.get_subscriptions_info_by_topic(topic)
        return {subscription.qos_profile.durability for subscription in found}

    def until_it_has_looked() -> None:
        count = len(looks)
        robot.until(lambda: len(looks) > count + 1, 'a look for who publishes')

    image, info = image_message(noise(60, 100)), info_message(CAMERA)
    publisher = driver(*(kept or plain)) if before else None
    node = start(cameras=['front'])
    expected = plain | (kept if before else set())
    robot.until(lambda: node.state == 'active' and asked() == expected, 'active')
    if publisher is None:
        until_it_has_looked()
        publisher = driver(*(kept or plain))
    images = robot.node.create_publisher(ImageMessage, '/front/image', RELIABLE)
    answers: list[Any] = []
    robot.node.create_subscription(PointCloud2, '/front/depth/points', answers.append, RELIABLE)

    def again() -> None:
        put_stamp(image, next_stamp())
        if not latched:
            publisher.publish(info)
        images.publish(image)

    robot.until(lambda: answers, 'an answer', again)
    until_it_has_looked()
    assert asked() == plain | kept
    # Who comes in the place of one that kept it is asked for no more than it has.
    robot.node.destroy_publisher(publisher)
    robot.until(lambda: asked() == plain, 'the driver has gone')
    publisher = driver(DurabilityPolicy.VOLATILE)
    robot.until(lambda: publisher.get_subscription_count() == 1, 'the next driver')
    until_it_has_looked()
    assert not refused


def test_images_lost_before_the_node_are_told(
    robot: Robot, start: Callable[..., DepthNode]
) -> None:
    start()
    image, info = image_message(noise(60, 100)), info_message(CAMERA)
    robot.ask(image, info)

    def lost() -> int:
        told = {item.key: item.value for item in robot.statuses[-1].values}
        return int(told['images lost before the node'])

    received = robot.settle()['received']
    before = lost()
    for _ in range(4):  # nobody takes them meanwhile, and only the newest is kept
        robot.send(image, info)
    assert robot.news()['received'] == received + 1
    assert lost() == before + 3


def test_the_newest_image_wins_and_none_waits_in_queues(
    robot: Robot,
    start: Callable[..., DepthNode],
    runs: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go, busy = threading.Event(), threading.Event()
    go.set()
    run = OnnxRuntimeEngine.run

    def slow(engine: OnnxRuntimeEngine, images: int) -> None:
        busy.set()
        assert go.wait(60)
        run(engine, images)

    monkeypatch.setattr(OnnxRuntimeEngine, 'run', slow)
    (stream,) = start()._streams
    image, info = image_message(noise(60, 100)), info_message(CAMERA)
    robot.ask(image, info)
    before, ran = robot.settle(), len(runs)
    answered = set(robot.answers['depth/points'])
    go.clear()
    busy.clear()
    first = robot.send(image, info)
    robot.until(busy.is_set, 'the first in work')
    # One more is aligned: the network was to be free by now.
    second = robot.send(image, info)
    robot.until(lambda: robot.counts()['received'] == before['received'] + 2, 'received')
    robot.until(lambda: stream.newest._image is None, 'the second in work')
    others = []
    for count in (3, 4, 5):
        others.append(robot.send(image, info))
        goal = before['received'] + count
        robot.until(lambda goal=goal: robot.counts()['received'] == goal, 'received')
    go.set()
    robot.until(lambda: others[-1] in robot.answers['depth/points'], 'the newest')
    counts = robot.settle()
    assert set(robot.answers['depth/points']) - answered == {first, second, others[-1]}
    assert counts['dropped: superseded'] - before['dropped: superseded'] == 2
    assert counts['published'] - before['published'] == 3
    assert len(runs) - ran == 3


def test_nothing_is_computed_that_nobody_subscribed_to(
    domain: int, tiny_model: Path, runs: list[float]
) -> None:
    robot = Robot(domain, outputs=())
    try:
        overrides = [
            Parameter('model', value=str(tiny_model)),
            Parameter('engine', value='onnxruntime'),
        ]
        robot.add(DepthNode(context=robot.context, parameter_overrides=overrides))
        robot.until(lambda: robot.statuses, 'diagnostics')
        warm_up = len(runs)
        image, info = image_message(noise(60, 100)), info_message(CAMERA)
        skipped = 'skipped: no subscriber'
        robot.until(
            lambda: robot.counts()[skipped] >= 2, 'skipped', lambda: robot.send(image, info)
        )
        # The calibration of the output needs no network.
        robot.listen('depth/camera_info')
        (published,) = robot.ask(image, info)
        assert (published.width, published.k[0]) == (TINY_CAMERA.width, TINY_CAMERA.fx)
        assert len(runs) == warm_up
        # Nor is it published for an image of another size.
        wrong = info_message(Camera(50, 30, 40.0, 40.0, 25.0, 15.0))
        robot.until(
            lambda: robot.counts()['dropped: size'], 'refused', lambda: robot.send(image, wrong)
        )
        robot.listen('depth/points')
        robot.ask(image, info)
        assert len(runs) > warm_up
    finally:
        robot.close()


def test_set_enabled_pauses_and_resumes(robot: Robot, start: Callable[..., DepthNode]) -> None:
    start()
    image, info = image_message(noise(60, 100)), info_message(CAMERA)
    robot.ask(image, info)
    client = robot.node.create_client(SetBool, 'depth_node/set_enabled')
    robot.until(client.service_is_ready, 'the service')

    def enable(value: bool) -> str:
        future = client.call_async(SetBool.Request(data=value))
        robot.until(future.done, 'the service answered')
        assert future.result().success
        return str(future.result().message)

    assert enable(False) == 'disabled'
    robot.settle()
    stamps: list[int] = []
    robot.until(
        lambda: robot.counts()['dropped: disabled'] >= 2,
        'dropped',
        lambda: stamps.append(robot.send(image, info)),
    )
    assert not set(stamps) & set(robot.answers['depth/image'])
    robot.until(lambda: robot.statuses[-1].message == 'disabled', 'told')
    assert enable(True) == 'enabled'
    stamp = robot.send(image, info)
    robot.until(lambda: stamp in robot.answers['depth/image'], 'an answer')


def test_depth_is_the_networks_times_scale_within_the_models_range(
    robot: Robot, start: Callable[..., DepthNode]
) -> None:
    start()
    image = image_message(noise(TINY_CAMERA.height, TINY_CAMERA.width))
    depth, info, _ = robot.ask(image, info_message(TINY_CAMERA))
    expected = np.where(TINY_DEPTH > 80, np.inf, np.where(TINY_DEPTH < 1, -np.inf, TINY_DEPTH))
    values = depth_values(depth)
    assert values.shape == (32, 64)
    np.testing.assert_allclose(values, np.repeat(expected[:, None], 64, axis=1), rtol=1e-6)
    assert info.distortion_model == 'plumb_bob'
    assert list(info.d) == [0.0] * 5
    assert np.isposinf(values[0]).all()
    assert np.isneginf(values[-1]).all()


def test_millimetres_are_zero_where_there_is_no_depth(
    robot: Robot, start: Callable[..., DepthNode]
) -> None:
    start(depth_encoding='16UC1')
    image = image_message(noise(TINY_CAMERA.height, TINY_CAMERA.width))
    depth, _, cloud = robot.ask(image, info_message(TINY_CAMERA))
    assert depth.encoding == '16UC1'
    assert depth.step == 2 * depth.width
    known = (TINY_DEPTH >= 1) & (TINY_DEPTH <= 65.535)
    expected = np.where(known, np.rint(TINY_DEPTH * 1000), 0)
    values = depth_values(depth)
    assert np.abs(values.astype(int) - expected[:, None]).max() <= 1
    assert (values[~known] == 0).all()
    # The cloud keeps metres, and what 16 bits do not hold.
    points, _ = cloud_points(cloud)
    inside = (TINY_DEPTH >= 1) & (TINY_DEPTH <= 80)
    np.testing.assert_allclose(points[inside, 5, 2], TINY_DEPTH[inside], rtol=1e-6)


def test_input_resolution_keeps_the_inputs_calibration_and_distortion(
    robot: Robot, start: Callable[..., DepthNode]
) -> None:
    start(depth_resolution='input', cloud_resolution='input')
    sensor = Camera(130, 100, 100.0, 102.0, 66.0, 47.0, 'plumb_bob', (-0.2, 0.05, 1e-3, -2e-3, 0))
    info = info_message(sensor, binning_x=2, binning_y=2)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 10, 8, 100, 80
    pixels = noise(40, 50)
    depth, published, cloud = robot.ask(image_message(pixels), info)
    assert depth.header == published.header == cloud.header
    assert published.header.frame_id == FRAME_ID
    for name in CameraInfo.get_fields_and_field_types():
        if name != 'header':
            assert str(getattr(published, name)) == str(getattr(info, name)), name
    values = depth_values(depth)
    assert values.shape == (40, 50)
    finite = np.isfinite(values)
    assert finite.mean() > 0.3
    assert np.isnan(values).any() or finite.all()
    points, colour = cloud_points(cloud)
    matrix = np.reshape(sensor.K, (3, 3))
    distortion = np.array(sensor.distortion)
    full, _ = cv2.projectPoints(
        points[finite].astype(float), np.zeros(3), np.zeros(3), matrix, distortion
    )
    found = (full[:, 0] - (10, 8)) / 2
    rows, columns = np.nonzero(finite)
    assert np.abs(found - np.stack([columns, rows], axis=-1)).max() < 1e-3
    np.testing.assert_array_equal(colour, pixels[..., ::-1])


@pytest.mark.parametrize('rectified', [True, False])
def test_a_rectified_image_belongs_to_p_and_a_raw_one_to_k_and_d(
    robot: Robot, start: Callable[..., DepthNode], rectified: bool
) -> None:
    start(depth_resolution='input', cloud_resolution='input', rectified=rectified)
    raw = replace(CAMERA, distortion=(-0.3, 0.1, 0.0, 0.0, 0.0))
    fx, fy, cx, cy = 70.0, 71.0, 50.0, 30.0
    info = info_message(raw, p=[fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1.0, 0])
    _, published, cloud = robot.ask(image_message(noise(60, 100)), info)
    assert list(published.d) == list(info.d)
    points, _ = cloud_points(cloud)
    finite = np.isfinite(points).all(axis=-1)
    rows, columns = np.nonzero(finite)
    x, y, z = points[finite].astype(float).T
    off = np.hypot(fx * x / z + cx - columns, fy * y / z + cy - rows)
    assert (off.max() < 1e-3) == rectified


def test_each_image_is_paired_with_the_camera_info_of_its_stamp(
    robot: Robot, start: Callable[..., DepthNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(depth_resolution='input', cloud_resolution='input')
    image = image_message(noise(60, 100))
    zoomed = replace(CAMERA, fx=120.0, fy=123.0)
    robot.ask(image, info_message(CAMERA))
    # One after the other, the camera_info before or after its image: none gets another's.
    for index in range(8):
        camera = (zoomed, CAMERA)[index % 2]
        order = ('image', '')[index // 2 % 2]
        stamp = robot.send(image, info_message(camera), first=order)
        robot.until(lambda s=stamp: s in robot.answers['depth/points'], 'an answer')
        points, _ = cloud_points(robot.answers['depth/points'][stamp])
        x, y, z = points[30, 90]
        assert camera.fx * x / z + camera.cx == pytest.approx(90, abs=1e-3), index
    # An image that waits keeps its own, whatever has come since.
    go, busy = threading.Event(), threading.Event()
    run = OnnxRuntimeEngine.run

    def slow(engine: OnnxRuntimeEngine, images: int) -> None:
        busy.set()
        assert go.wait(60)
        run(engine, images)

    monkeypatch.setattr(OnnxRuntimeEngine, 'run', slow)
    robot.send(image, info_message(CAMERA))
    robot.until(busy.is_set, 'the first in work')
    before = robot.news()['received']
    stamp = robot.send(image, info_message(zoomed))
    robot.until(lambda: robot.counts()['received'] > before, 'received')
    robot.publish(info_message(CAMERA), stamp + 1)
    robot.news()  # the camera_info has arrived by then
    go.set()
    robot.until(lambda: stamp in robot.answers['depth/points'], 'an answer')
    x, _, z = cloud_points(robot.answers['depth/points'][stamp])[0][30, 90]
    assert zoomed.fx * x / z + zoomed.cx == pytest.approx(90, abs=1e-3)


def test_an_image_that_comes_first_waits_for_the_camera_info_of_its_stamp(
    robot: Robot, start: Callable[..., DepthNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('mono_metric_depth.nodes.newest_frame.INFO_DELAY', 30.0)
    start(depth_resolution='input', cloud_resolution='input')
    image = image_message(noise(60, 100))
    robot.ask(image, info_message(CAMERA))
    stamp = robot.send(image)
    robot.news()
    assert stamp not in robot.answers['depth/points']
    zoomed = replace(CAMERA, fx=120.0, fy=123.0)
    robot.publish(info_message(zoomed), stamp)
    robot.until(lambda: stamp in robot.answers['depth/points'], 'an answer')
    x, _, z = cloud_points(robot.answers['depth/points'][stamp])[0][30, 90]
    assert zoomed.fx * x / z + zoomed.cx == pytest.approx(90, abs=1e-3)


def test_a_subscriber_that_comes_and_goes_is_served_while_it_is_there(
    domain: int, tiny_model: Path, runs: list[float]
) -> None:
    robot = Robot(domain, outputs=())
    try:
        overrides = [Parameter('model', value=str(tiny_model))]
        node = DepthNode(context=robot.context, parameter_overrides=overrides)
        robot.add(node)
        image, info = image_message(noise(60, 100)), info_message(CAMERA)
        for _ in range(2):
            subscription = robot.listen('depth/points')
            robot.ask(image, info)
            robot.node.destroy_subscription(subscription)
            robot.until(lambda: not node._streams[0].outputs.subscribed(), 'it has gone')
            before, ran = robot.settle(), len(runs)
            robot.until(
                lambda b=before: (
                    robot.counts()['skipped: no subscriber'] > b['skipped: no subscriber']
                ),
                'skipped',
                lambda: robot.send(image, info),
            )
            assert len(runs) == ran
            assert robot.counts()['published'] == before['published']
    finally:
        robot.close()


def test_a_camera_may_change_its_size_while_running(
    robot: Robot, start: Callable[..., DepthNode]
) -> None:
    start(depth_resolution='input', cloud_resolution='input')
    for camera in (CAMERA, CAMERA.resized(140, 90), CAMERA):
        pixels = noise(camera.height, camera.width)
        depth, info, cloud = robot.ask(image_message(pixels), info_message(camera))
        sizes = {(found.width, found.height) for found in (depth, info, cloud)}
        assert sizes == {(camera.width, camera.height)}


def test_colours_are_those_of_every_encoding(
    robot: Robot, start: Callable[..., DepthNode]
) -> None:
    start(depth_resolution='input', cloud_resolution='input')
    info = info_message(CAMERA)
    colour = noise(60, 100)
    grey = noise(60, 100, 1)
    padded = np.zeros((60, 110, 3), np.uint8)[:, :100]
    padded[...] = colour
    for pixels, encoding, bgr in (
        (colour, 'bgr8', colour),
        (colour, 'rgb8', colour[..., ::-1]),
        (grey, 'mono8', np.repeat(grey[..., None], 3, axis=-1)),
    ):
        _, _, cloud = robot.ask(image_message(pixels, encoding), info)
        np.testing.assert_array_equal(cloud_points(cloud)[1], bgr)
    message = image_message(colour)
    message.step = 330
    message.data = np.pad(colour.reshape(60, 300), ((0, 0), (0, 30))).tobytes()
    _, _, cloud = robot.ask(message, info)
    np.testing.assert_array_equal(cloud_points(cloud)[1], colour[..., ::-1])


def test_compressed_images_are_taken_from_the_topic_of_their_transport(
    robot: Robot, start: Callable[..., DepthNode]
) -> None:
    start(image_transport='compressed', cloud_resolution='input')
    pixels = cv2.resize(noise(6, 10), (100, 60), interpolation=cv2.INTER_CUBIC)
    info = info_message(CAMERA)
    robot.until(lambda: robot.statuses, 'diagnostics')
    assert robot.statuses[-1].message == 'no image has arrived on /image/compressed'
    for kind, tolerance in (('png', 0), ('jpeg', 20)):
        *_, cloud = robot.ask(compressed_message(pixels, kind), info)
        error = np.abs(cloud_points(cloud)[1].astype(int) - pixels[..., ::-1])
        assert error.max() <= tolerance, kind
    endless = compressed_message(pixels)
    del endless.data[-2:]  # some cameras leave the mark of the end out
    robot.ask(endless, info)
    # What is hostile is counted by reason, and the next good one is answered.
    huge = compressed_message(pixels, 'png')
    huge.data[16:24] = array.array('B', struct.pack('>II', 30000, 30000))
    large = compressed_message(pixels, 'png')
    large.data[16:24] = array.array('B', struct.pack('>II', 8000, 8000))
    short = compressed_message(pixels)
    del short.data[-200:]
    damaged = compressed_message(pixels, 'png')
    damaged.data[60:90] = array.array('B', bytes(30))
    depth = compressed_message(pixels, 'png')
    depth.format = '16UC1; compressedDepth png'
    for message, reason, text in (
        (huge, 'size', 'the compressed image claims 30000x30000 px'),
        (large, 'size', 'image is 8000x8000 but camera_info describes 100x60'),
        (short, 'compression', 'the compressed image is cut short'),
        (damaged, 'compression', 'the compressed image is damaged'),
        (CompressedImage(data=b'GIF89a'), 'compression', 'no JPEG or PNG image'),
        (CompressedImage(), 'compression', 'no JPEG or PNG image'),
        (depth, 'encoding', "the message holds depth by its format '16UC1; compressedDepth png'"),
    ):
        before, said = robot.counts()[f'dropped: {reason}'], len(robot.statuses)
        robot.until(
            lambda b=before, r=reason: robot.counts()[f'dropped: {r}'] > b,
            text,
            lambda m=message: robot.send(m, info),
        )
        assert any(text in status.message for status in robot.statuses[said:]), text
    stamp = robot.send(compressed_message(pixels), info)
    robot.until(lambda: stamp in robot.answers['depth/points'], 'the next frame')


def test_a_camera_info_that_changes_without_a_stamp_is_followed(
    robot: Robot, start: Callable[..., DepthNode]
) -> None:
    start(depth_resolution='input', cloud_resolution='input')
    image = image_message(noise(60, 100))
    robot.ask(image, info_message(CAMERA))
    for changed in (
        replace(CAMERA, fx=120.0, fy=123.0),
        replace(CAMERA, cx=40.0, distortion=(-0.2, 0.05, 0.0, 0.0, 0.0)),
    ):
        told = len(robot.statuses)
        robot.publish(info_message(changed))
        robot.until(lambda t=told: len(robot.statuses) > t + 1, 'the camera_info has arrived')
        stamp = robot.send(image)
        robot.until(lambda s=stamp: s in robot.answers['depth/points'], 'an answer')
        points, _ = cloud_points(robot.answers['depth/points'][stamp])
        found = points[30, 60].astype(float)
        assert changed.project(found / found[2]) == pytest.approx((60, 30), abs=1e-2)
    # What is no calibration stops the output, until there is one again.
    robot.until(
        lambda: robot.counts()['dropped: camera_info'],
        'dropped',
        lambda: robot.send(image, info_message(CAMERA, k=[float('nan')] * 9)),
    )
    robot.ask(image, info_message(CAMERA))


def test_a_mount_is_taken_out_and_depth_stays_in_the_cameras_frame(
    robot: Robot, start: Callable[..., DepthNode]
) -> None:
    start(pitch=0.2)
    image = image_message(noise(TINY_CAMERA.height, TINY_CAMERA.width))
    depth, info, cloud = robot.ask(image, info_message(TINY_CAMERA))
    values = depth_values(depth)
    assert np.isnan(values).any()
    row, column = 15, 32
    # The same ray in a camera that looks along the road: lower by 0.2 rad.
    slope = (row - TINY_CAMERA.cy) / TINY_CAMERA.fy
    angle = np.arctan(slope) + 0.2
    level = np.interp(TINY_CAMERA.fy * np.tan(angle) + TINY_CAMERA.cy, range(32), 1 / TINY_DEPTH)
    expected = 1 / level / np.cos(angle) * np.cos(np.arctan(slope))
    assert values[row, column] == pytest.approx(expected, rel=0.02)
    points, _ = cloud_points(cloud)
    x, y, z = points[row, column]
    assert info.k[4] * y / z + info.k[5] == pytest.approx(row, abs=1e-3)


def test_diagnostics_keep_coming_while_simulated_time_stands_still(
    robot: Robot, start: Callable[..., DepthNode], tiny_model: Path
) -> None:
    start(use_sim_time=True)
    robot.ask(image_message(noise(60, 100)), info_message(CAMERA))
    robot.until(lambda: robot.counts()['published'], 'diagnostics')
    values = {item.key: item.value for item in robot.statuses[-1].values}
    assert values['model'] == 'tiny'
    assert values['provider'] == 'CPUExecutionProvider'
    assert values['scale interval'] == '0.9 .. 1.1'
    assert 0 < float(values['coverage']) <= 1


def test_a_frame_is_answered_with_its_own_stamp_and_frame(process_robot: Robot) -> None:
    answers = process_robot.ask(image_message(noise(60, 100)), info_message(CAMERA))
    assert len({stamp_of(found) for found in answers}) == 1
    assert {found.header.frame_id for found in answers} == {FRAME_ID}
    assert len(answers) == len(OUTPUTS)


def test_a_bag_is_played_and_what_comes_back_is_recorded(
    process_robot: Robot, tmp_path: Path
) -> None:
    frames = [Frame(10**9 + n * 10**8, noise(60, 100), CAMERA) for n in range(4)]
    write_drive(tmp_path / 'played', frames)
    kinds = {
        '/depth/image': 'sensor_msgs/msg/Image',
        '/depth/camera_info': 'sensor_msgs/msg/CameraInfo',
        '/depth/points': 'sensor_msgs/msg/PointCloud2',
    }
    inputs = {INFO_TOPIC: kinds['/depth/camera_info'], IMAGE_TOPIC: kinds['/depth/image']}
    remap = [f'{IMAGE_TOPIC}:=/image', f'{INFO_TOPIC}:=/camera_info']
    arguments = ['--ros-args', *(word for rule in remap for word in ('-r', rule))]
    rclpy.init(args=arguments, domain_id=process_robot.domain)
    played: list[int] = []
    try:
        with new_bag(tmp_path / 'recorded') as writer:
            exchange = BagExchange(kinds, writer)
            executor = SingleThreadedExecutor()
            executor.add_node(exchange)
            thread = threading.Thread(target=executor.spin, daemon=True)
            thread.start()
            try:
                exchange.connect(inputs, 30.0, lambda: True)
                exchange.play(tmp_path / 'played', IMAGE_TOPIC, 2.0, lambda: played.append(1))
            finally:
                executor.shutdown()
                thread.join(timeout=5)
                exchange.destroy_node()
    finally:
        rclpy.try_shutdown()
    stamps = [frame.stamp for frame in frames]
    assert len(played) == 4
    assert list(exchange.sent) == stamps
    assert all(list(found) == stamps for found in exchange.received.values())
    recorded = list(read_messages(tmp_path / 'recorded'))
    for topic in kinds:
        found = [message for name, _, message in recorded if name == topic]
        assert [stamp_of(message) for message in found] == stamps
        assert {message.header.frame_id for message in found} == {'camera_optical_frame'}


def test_a_bag_is_not_played_to_a_node_that_has_ended_or_never_appears(
    domain: int, tmp_path: Path
) -> None:
    rclpy.init(domain_id=domain)
    try:
        with new_bag(tmp_path / 'recorded') as writer:
            exchange = BagExchange({'/depth/image': 'sensor_msgs/msg/Image'}, writer)
            inputs = {IMAGE_TOPIC: 'sensor_msgs/msg/Image'}
            with pytest.raises(TimeoutError, match='the node has ended'):
                exchange.connect(inputs, 30.0, lambda: False)
            with pytest.raises(TimeoutError, match=r'did not appear within 0\.2 s'):
                exchange.connect(inputs, 0.2, lambda: True)
            exchange.destroy_node()
    finally:
        rclpy.try_shutdown()

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Live evaluation over real DDS: planted errors are found, what cannot be compared is said."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY_DEPTH

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from robot import info_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.camera import Camera
from mono_metric_depth.datasets.lidar import depth_from_points
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.evaluation.evaluator import unscaled_depth
from mono_metric_depth.evaluation.image_errors import image_errors
from mono_metric_depth.evaluation.live_comparison import StampPairs
from mono_metric_depth.evaluation.protocol import PROTOCOLS
from mono_metric_depth.frame import Frame
from mono_metric_depth.image import Image
from mono_metric_depth.nodes.evaluation_node import EvaluationNode

DEPTH = Camera(32, 24, 30.0, 30.0, 15.5, 11.5)
TRUTH = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
METRIC_NAMES = ('AbsRel', 'SqRel (m)', 'RMSE (m)', 'RMSElog', 'delta1', 'delta2', 'delta3')
STEP = 10**8
FRAME = 'camera_optical_frame'
_stamps = itertools.count(1_700_000_000 * 10**9, STEP)


class Drive:
    """Publishes depth and its ground truth; listens to the diagnostics."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        self.context.init(domain_id=domain)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.node = Node('drive', context=self.context)
        self.executor.add_node(self.node)
        self.nodes = [self.node]
        self.statuses: list[DiagnosticStatus] = []
        kinds: dict[str, Any] = {
            'depth/image': ImageMessage,
            'depth/camera_info': CameraInfo,
            'camera_info': CameraInfo,
            'truth/image': ImageMessage,
            'truth/camera_info': CameraInfo,
            'truth/points': PointCloud2,
            '/clock': Clock,
        }
        self.senders = {t: self.node.create_publisher(k, t, 10) for t, k in kinds.items()}
        self.node.create_subscription(
            DiagnosticArray, '/diagnostics', lambda m: self.statuses.extend(m.status), 10
        )

    def start(self, **parameters: Any) -> EvaluationNode:
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = EvaluationNode(context=self.context, parameter_overrides=overrides)
        self.executor.add_node(node)
        self.nodes.append(node)
        return node

    def close(self) -> None:
        for node in self.nodes:
            self.executor.remove_node(node)
            node.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()

    def send(self, topic: str, message: Any, stamp: int, frame: str = FRAME) -> None:
        message.header.frame_id = frame
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
        self.senders[topic].publish(message)

    def until(self, condition: Callable[[], object], again: Callable[[], object]) -> None:
        """Spin until something holds, and send again meanwhile: inputs are best effort."""
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, [s.message for s in self.statuses[-3:]]
            again()
            for _ in range(5):
                self.executor.spin_once(timeout_sec=0.01)

    def values(self) -> dict[str, str]:
        return {v.key: v.value for v in self.statuses[-1].values} if self.statuses else {}

    def says(self, text: str) -> bool:
        return any(text in status.message for status in self.statuses)


@pytest.fixture
def drive(domain: int) -> Iterator[Drive]:
    drive = Drive(domain)
    yield drive
    drive.close()


def depth_image(depth: np.ndarray, encoding: str = '32FC1') -> ImageMessage:
    height, width = depth.shape
    message = ImageMessage(height=height, width=width, encoding=encoding, step=depth.strides[0])
    message.data.frombytes(depth.tobytes())
    return message


def scene(camera: Camera) -> np.ndarray:
    """A plane that is further to the right, so that a shift of a pixel would show."""
    ray = camera.rays()[..., 0]
    return (20.0 / (1.0 - 0.9 * ray)).astype(np.float32)


def points(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """(n, 3) in a LiDAR's frame: x ahead, y left, z up, 0.5 m above the camera."""
    found = (camera.rays() * depth[..., None]).reshape(-1, 3)
    return np.stack([found[:, 2], -found[:, 0], -found[:, 1] - 0.5], axis=-1).astype(np.float32)


def cloud(found: np.ndarray) -> PointCloud2:
    message = PointCloud2(height=1, width=len(found), point_step=12, row_step=12 * len(found))
    message.fields = [
        PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1)
        for place, name in enumerate('xyz')
    ]
    message.data.frombytes(found.astype(np.float32).tobytes())
    return message


def send_depth(drive: Drive, stamp: int, factor: float = 1.1) -> None:
    # The image first, as the depth node does it.
    drive.send('depth/image', depth_image(scene(DEPTH) * np.float32(factor)), stamp)
    drive.send('depth/camera_info', info_message(DEPTH), stamp)


def send_truth(drive: Drive, stamp: int, depth: np.ndarray | None = None, **frame: str) -> None:
    drive.send('truth/camera_info', info_message(TRUTH), stamp, **frame)
    drive.send(
        'truth/image', depth_image(scene(TRUTH) if depth is None else depth), stamp, **frame
    )


def send_pair(drive: Drive, factor: float = 1.1, late: int = 0) -> None:
    stamp = next(_stamps)
    send_depth(drive, stamp, factor)
    send_truth(drive, stamp + late)


LIDAR = {'truth': 'lidar', 'lidar_transform': '0 -0.5 0 0.5 -0.5 0.5 0.5'}


@pytest.mark.parametrize('late', [0, 10_000_000])
def test_a_planted_scale_error_is_reported_as_such(drive: Drive, late: int) -> None:
    node = drive.start(window=5)
    drive.until(
        lambda: int(drive.values().get('images compared', 0)) > 3 and drive.says('scale error'),
        lambda: send_pair(drive, late=late),
    )
    values, status = drive.values(), drive.statuses[-1]
    # Truth has four times as many pixels: nearest ones differ by half a pixel.
    assert float(values['scale error (published / true - 1)']) == pytest.approx(0.1, abs=0.01)
    assert float(values['scale ratio (true / published)']) == pytest.approx(1 / 1.1, abs=0.01)
    assert float(values['AbsRel']) == pytest.approx(0.1, abs=0.02)
    assert float(values['delta1']) == 1.0
    assert float(values['scale spread']) < 1e-3
    assert status.level == DiagnosticStatus.OK
    assert 'scale error +' in status.message
    assert status.name == '/evaluation_node: depth evaluation'
    assert 'images compared of' in node.summary()
    assert 'AbsRel: 0.1' in node.summary()


def test_a_robot_and_evaluate_say_the_same_of_the_same_frames(
    drive: Drive, tiny_model: Path
) -> None:
    # Twice as wide as what the network sees: NaN around it. Its depth leaves its range at both
    # ends: infinite above, and minus infinite below, as it is published.
    camera = Camera(64, 32, 30.0, 30.0, 31.5, 12.5)
    rng = np.random.default_rng(0)
    rows = np.interp(np.arange(32) * 2.0 - 13, np.arange(32), TINY_DEPTH)[:, None]
    true = (0.8 * rows * rng.lognormal(0, 0.2, (32, 64))).astype(np.float32)
    frame = Frame(0, np.zeros((32, 64, 3), np.uint8), camera, true)
    estimator = DepthEstimator.load(tiny_model, threads=1)
    published = estimator.estimate(Image(frame.image, 'rgb'), camera).depth('input')
    assert np.isposinf(published).any()
    assert np.isneginf(published).any()
    assert np.isnan(published).any()
    protocol = PROTOCOLS['all_pixels'].within(estimator.card.depth_range)
    offline = image_errors(unscaled_depth(estimator, frame, None), true, estimator.scale, protocol)
    node = drive.start(model=str(tiny_model))

    def again() -> None:
        stamp = next(_stamps)
        drive.send('depth/image', depth_image(published), stamp)
        drive.send('depth/camera_info', info_message(camera), stamp)
        drive.send('truth/camera_info', info_message(camera), stamp)
        drive.send('truth/image', depth_image(true), stamp)

    drive.until(lambda: drive.says('scale error'), again)
    found = {name: float(value) for name, value in drive.values().items()}
    for name, value in zip(METRIC_NAMES, astuple(offline['transferred']), strict=True):
        assert found[name] == pytest.approx(value, abs=6e-5), name
    assert found['coverage'] == pytest.approx(offline['seen'] / offline['pixels'], abs=6e-5)
    # It cannot know by how much infinite depth is wrong: its scale is over the other pixels.
    finite = np.isfinite(published) & protocol.counted(true)
    ratio = np.median(true[finite] / published[finite])
    assert found['scale ratio (true / published)'] == pytest.approx(ratio, abs=6e-5)
    assert ratio == pytest.approx(offline['ratio'], rel=0.02)
    assert f'coverage {found["coverage"]:.0%}' in drive.statuses[-1].message
    assert 'coverage: 0.' in node.summary()


def test_the_window_follows_and_the_summary_keeps_all(drive: Drive) -> None:
    node = drive.start(window=3)
    compared = lambda: node._comparison.images  # noqa: E731
    drive.until(lambda: compared() >= 6, lambda: send_pair(drive, 1.1))
    first = compared()
    drive.until(lambda: compared() >= first + 4, lambda: send_pair(drive, 1.0))
    error = 'scale error (published / true - 1)'
    assert node._comparison.recent()[error] == pytest.approx(0, abs=0.01)
    assert 0.01 < node._comparison.overall()['AbsRel'] < 0.1


def test_a_lidar_is_compared_through_its_transform(drive: Drive) -> None:
    drive.start(**LIDAR)
    found = points(scene(DEPTH), DEPTH)

    def again() -> None:
        stamp = next(_stamps)
        send_depth(drive, stamp)
        drive.send('truth/points', cloud(found), stamp, 'lidar')

    drive.until(lambda: drive.says('scale error'), again)
    values = drive.values()
    assert float(values['scale error (published / true - 1)']) == pytest.approx(0.1, abs=1e-3)
    assert float(values['RMSE (m)']) > 1


@pytest.mark.parametrize('resolution', ['network', 'input'])
def test_coverage_is_of_the_truth_that_the_camera_sees(
    drive: Drive, tiny_model: Path, resolution: Any
) -> None:
    # Narrower than what the network sees, and higher: NaN around it, as in evaluate.
    camera = Camera(40, 60, 60.0, 60.0, 19.5, 29.5)
    wide = Camera(160, 120, 60.0, 60.0, 79.5, 59.5)
    estimator = DepthEstimator.load(tiny_model, threads=1)
    image = np.zeros((60, 40, 3), np.uint8)
    estimate = estimator.estimate(Image(image, 'rgb'), camera)
    true = depth_from_points((wide.rays() * scene(wide)[..., None]).reshape(-1, 3), camera)
    protocol = PROTOCOLS['all_pixels'].within(estimator.card.depth_range)
    frame = Frame(0, image, camera, true)
    offline = image_errors(unscaled_depth(estimator, frame, None), true, estimator.scale, protocol)
    coverage = offline['seen'] / offline['pixels']
    assert 0.3 < coverage < 0.7
    published, depth_camera = estimate.depth(resolution).copy(), estimate.camera(resolution)
    told = [False]

    def again() -> None:
        stamp = next(_stamps)
        drive.send('depth/image', depth_image(published), stamp)
        drive.send('depth/camera_info', info_message(depth_camera), stamp)
        if told[0]:
            drive.send('camera_info', info_message(camera), stamp)
        drive.send('truth/points', cloud(points(scene(wide), wide)), stamp, 'lidar')

    node = drive.start(model=str(tiny_model), window=3, **LIDAR)
    if resolution == 'network':
        drive.until(lambda: drive.says('coverage not known'), again)
        told[0] = True
    known = lambda: 'nan' not in drive.values().get('coverage', 'nan')  # noqa: E731
    drive.until(known, again)
    found = {name: float(value) for name, value in drive.values().items()}
    exact = 6e-5 if resolution == 'input' else 0.04  # a row of 32
    assert found['coverage'] == pytest.approx(coverage, abs=exact)
    assert found['AbsRel'] == pytest.approx(offline['transferred'].abs_rel, rel=exact)
    assert node._comparison.overall()['coverage'] == pytest.approx(coverage, abs=exact)


@pytest.mark.parametrize(
    'given', [[0.0, -0.5, 0.0, 0.5, -0.5, 0.5, 0.5], LIDAR['lidar_transform']]
)
def test_where_the_lidar_is_may_be_a_list_or_a_text(drive: Drive, given: Any) -> None:
    node = drive.start(truth='lidar', lidar_transform=given)
    assert node._given is not None
    matrix, _ = node._given.transform('depth', 0, 'lidar', 0)
    # A point ahead of the LiDAR is in front of the camera, half a metre higher.
    assert matrix @ (10, 0, 0, 1) == pytest.approx((0, -0.5, 10, 1))
    told = node.describe_parameter('lidar_transform').description
    assert 'points of the LiDAR into the optical frame of depth' in told


def test_what_found_no_partner_is_counted(drive: Drive) -> None:
    node = drive.start()

    def again() -> None:
        send_pair(drive)
        send_truth(drive, next(_stamps))

    drive.until(lambda: int(drive.values().get('truth without depth', 0)) > 2, again)
    waiting = node._pairs.waiting()[0]
    drive.until(
        lambda: node._pairs.waiting()[0] > waiting, lambda: send_depth(drive, next(_stamps))
    )
    lines = node.summary().splitlines()
    count = node._pairs.waiting()[0]
    assert f'  not compared, ended before its partner came: {count}' in lines
    unused = node._pairs.unused + node._pairs.waiting()[1]
    assert f'  ground truth without depth within 0.02 s: {unused}' in lines
    compared, received = node._comparison, node._received
    assert received['depth'] == compared.images + compared.dropped.total() + count


def test_a_lidar_without_a_transform_is_refused(drive: Drive) -> None:
    try:
        import tf2_msgs  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match=r'tf2_msgs is not installed: give the parameter lid'):
            drive.start(truth='lidar')
    with pytest.raises(ValueError, match='lidar_transform must be x y z qx qy qz qw'):
        drive.start(truth='lidar', lidar_transform='1 2 3')
    with pytest.raises(ValueError, match='no unit quaternion'):
        drive.start(truth='lidar', lidar_transform='1 2 3 0 0 0 0')
    with pytest.raises(ValueError, match='/none.onnx: '):
        drive.start(model='/none.onnx')
    with pytest.raises(ValueError, match='truth must be one of depth, lidar'):
        drive.start(truth='radar')


def behind(drive: Drive) -> None:
    stamp = next(_stamps)
    send_depth(drive, stamp)
    drive.send('truth/points', cloud(-points(scene(DEPTH), DEPTH)), stamp, 'lidar')


def unsynchronised(drive: Drive) -> None:
    send_pair(drive, late=3600 * 10**9)


def too_far(drive: Drive) -> None:
    stamp = next(_stamps)
    send_depth(drive, stamp)
    send_truth(drive, stamp, np.full((48, 64), np.inf, np.float32))


def another_size(drive: Drive) -> None:
    stamp = next(_stamps)
    send_depth(drive, stamp)
    send_truth(drive, stamp, np.ones((24, 32), np.float32))


def another_frame(drive: Drive) -> None:
    stamp = next(_stamps)
    send_depth(drive, stamp)
    send_truth(drive, stamp, frame='rear')


def colours(drive: Drive) -> None:
    stamp = next(_stamps)
    send_depth(drive, stamp)
    drive.send('truth/camera_info', info_message(TRUTH), stamp)
    drive.send('truth/image', depth_image(scene(TRUTH), 'rgb8'), stamp)


def without_info(drive: Drive) -> None:
    stamp = next(_stamps)
    drive.send('depth/image', depth_image(scene(DEPTH)), stamp)
    send_truth(drive, stamp)


def without_truth_info(drive: Drive) -> None:
    stamp = next(_stamps)
    send_depth(drive, stamp)
    drive.send('truth/image', depth_image(scene(TRUTH)), stamp)


def without_fields(drive: Drive) -> None:
    stamp = next(_stamps)
    send_depth(drive, stamp)
    message = cloud(points(scene(DEPTH), DEPTH))
    message.fields = message.fields[:2]
    drive.send('truth/points', message, stamp, 'lidar')


@pytest.mark.parametrize(
    ('send', 'parameters', 'reason', 'message'),
    [
        (unsynchronised, {}, 'no ground truth', 'do both clocks agree?'),
        (behind, LIDAR, 'no overlap', 'share 0 pixels, at least 20 are needed'),
        (too_far, {}, 'no overlap', 'share 0 pixels'),
        (another_size, {}, 'size', 'ground truth is 32x24, its camera_info describes 64x48'),
        (
            another_frame,
            {},
            'frame',
            'depth is in the frame camera_optical_frame, ground',
        ),
        (colours, {}, 'message', "its encoding is 'rgb8', depth images are 32FC1 or 16UC1"),
        (without_info, {}, 'no camera_info', 'on /depth/camera_info has the stamp of a depth'),
        (without_truth_info, {}, 'no camera_info', 'no message has arrived on /truth/camera_info'),
        (without_fields, LIDAR, 'message', 'a cloud without z as FLOAT32'),
    ],
)
def test_what_cannot_be_compared_is_counted_by_its_reason(
    drive: Drive, send: Callable[[Drive], None], parameters: Any, reason: str, message: str
) -> None:
    node = drive.start(**parameters)
    drive.until(
        lambda: int(drive.values().get(f'dropped: {reason}', 0)) and drive.says(message),
        lambda: send(drive),
    )
    assert drive.values()['images compared'] == '0'
    assert drive.statuses[-1].level == DiagnosticStatus.WARN
    assert f'not compared, {reason}: ' in node.summary()


def test_a_silent_topic_is_named(drive: Drive) -> None:
    drive.start()
    drive.until(lambda: drive.says('nothing has arrived on /depth/image'), lambda: None)
    drive.until(
        lambda: drive.says('nothing has arrived on /truth/image'),
        lambda: send_depth(drive, next(_stamps)),
    )


def test_it_runs_by_the_clock_of_a_bag_and_says_at_its_end_what_it_found(drive: Drive) -> None:
    command = [sys.executable, '-m', 'mono_metric_depth.commands.evaluation_node', '--ros-args']
    command += ['-p', 'use_sim_time:=true', '-p', 'window:=10']
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    stamps: list[int] = []
    drive.node.create_subscription(
        DiagnosticArray, '/diagnostics', lambda m: stamps.append(m.header.stamp.sec), 10
    )

    def again() -> None:
        message = Clock()
        message.clock.sec = 4242
        drive.senders['/clock'].publish(message)
        send_pair(drive, 1.25)

    drive.until(lambda: drive.says('scale error') and 4242 in stamps, again)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert 'Traceback' not in errors
    assert 'images compared of' in out
    assert 'scale error (published / true - 1): 0.2' in out


def test_bad_parameters_end_it_with_one_line(domain: int) -> None:
    command = [sys.executable, '-m', 'mono_metric_depth.commands.evaluation_node', '--ros-args']
    done = subprocess.run(
        [*command, '-p', 'truth:=radar'], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == "error: parameter truth must be one of depth, lidar, got 'radar'"


# Pairing, without ROS.


def settled(pairs: StampPairs, *events: tuple[str, int]) -> list[tuple[int, int | None]]:
    found = []
    for stream, stamp in events:
        add = pairs.add_depth if stream == 'd' else pairs.add_truth
        found += list(add(stamp, stamp))
    return found


def test_the_nearest_truth_is_awaited() -> None:
    pairs = StampPairs(20, 5)
    assert settled(pairs, ('t', 90), ('d', 100)) == []  # a nearer one may come
    assert settled(pairs, ('t', 105), ('t', 130)) == [(100, 105)]
    assert settled(pairs, ('d', 130)) == [(130, 130)]
    assert settled(pairs, ('d', 151), ('t', 200)) == [(151, None)]
    assert pairs.nearest == pytest.approx(21e-9)


def test_truth_that_goes_by_unused_is_counted() -> None:
    pairs = StampPairs(20, 3)
    events = [('d', 0), *[('t', 100 * index) for index in range(6)]]
    assert settled(pairs, *events) == [(0, 0)]
    assert (pairs.unused, pairs.waiting()) == (2, (0, 3))
    assert settled(pairs, ('d', 500)) == [(500, 500)]
    assert pairs.waiting() == (0, 2)


def test_few_wait_at_most() -> None:
    pairs = StampPairs(20, 3)
    events = [('d', 100 * index) for index in range(10)]
    assert settled(pairs, *events) == [(100 * index, None) for index in range(7)]
    assert np.isnan(pairs.nearest)


def test_a_bag_that_is_played_again_begins_anew() -> None:
    pairs = StampPairs(20, 5)
    late = 50 * 10**9
    assert settled(pairs, ('t', late), ('d', late + 5)) == []
    assert settled(pairs, ('d', 100), ('t', 101), ('t', 150)) == [(late + 5, late), (100, 101)]

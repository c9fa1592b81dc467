# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Compares published depth with ground truth while a robot drives or a bag plays."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, PointCloud2
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.camera import Camera, CameraError, camera_from_info
from mono_metric_depth.datasets.lidar import depth_from_points
from mono_metric_depth.datasets.transform_tree import TransformError
from mono_metric_depth.depth_encoding import DepthEncodingError, depth_of_message
from mono_metric_depth.evaluation.bag_depth import depth_at
from mono_metric_depth.evaluation.live_comparison import LEAST_PIXELS, LiveComparison, StampPairs
from mono_metric_depth.evaluation.protocol import Protocol
from mono_metric_depth.model_card import read_card
from mono_metric_depth.model_files import model_file
from mono_metric_depth.nodes.evaluation_parameters import EvaluationParameters
from mono_metric_depth.nodes.lidar_transforms import LidarTransforms
from mono_metric_depth.nodes.messages import stamp_ns
from mono_metric_depth.nodes.parameter_table import declare_table, rules_of, warn_of_unknown
from mono_metric_depth.point_cloud import PointCloudError

_INPUT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
#: So many depth images and truths wait for each other at most.
_WAITING = 20
_MINIMUM = 1e-3
_RECENT = 5.0

Depth = NDArray[np.float32]


class _Drop(Exception):  # noqa: N818 (no error: an outcome)
    """An image that cannot be compared."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class EvaluationNode(Node):
    """Subscribes to depth and ground truth, publishes their difference as diagnostics.

    Raises:
        ValueError, ParameterException: If a parameter is not among its allowed values.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('evaluation_node', **options)
        self._values = declare_table(self, EvaluationParameters)
        warn_of_unknown(self, rules_of(EvaluationParameters))
        card = read_card(model_file(self._values.model))
        self._canonical = card.canonical_camera
        self._protocol = Protocol('live', _MINIMUM, self._values.max_depth).within(
            card.depth_range
        )
        self._comparison = LiveComparison(self._values.window, self._protocol)
        self._pairs = StampPairs(round(self._values.tolerance * 1e9), _WAITING)
        self._infos: OrderedDict[int, CameraInfo] = OrderedDict()
        self._without_info: OrderedDict[int, ImageMessage] = OrderedDict()
        self._truth_info: CameraInfo | None = None
        self._view: CameraInfo | None = None
        self._cameras: dict[bytes, Camera] = {}
        self._received = {'depth': 0, 'truth': 0}
        self._problem, self._failed, self._compared = '', 0.0, 0.0
        lidar = self._values.truth == 'lidar'
        given = self._values.lidar_transform
        self._lidar = LidarTransforms(self, given) if lidar or given else None
        self._subscribe(CameraInfo, 'depth/camera_info', self._on_info)
        self._subscribe(ImageMessage, 'depth/image', self._on_depth)
        truth = self._on_truth
        self._truth_topic = 'truth/points' if lidar else 'truth/image'
        self._subscribe(PointCloud2 if lidar else ImageMessage, self._truth_topic, truth)
        if lidar:
            self._subscribe(CameraInfo, 'camera_info', self._on_view)
        else:
            self._subscribe(CameraInfo, 'truth/camera_info', self._on_truth_info)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # Simulated time may stand still; that is when a person looks at the diagnostics.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)

    def _subscribe(self, kind: Any, topic: str, callback: Callable[[Any], None]) -> None:
        overrides = QoSOverridingOptions.with_default_policies()
        self.create_subscription(kind, topic, callback, _INPUT, qos_overriding_options=overrides)

    # Messages.

    def _on_info(self, message: CameraInfo) -> None:
        stamp = stamp_ns(message.header.stamp)
        self._infos[stamp] = message
        while len(self._infos) > 2 * _WAITING:
            self._infos.popitem(last=False)
        # The depth image may come before its camera_info.
        if stamp in self._without_info:
            self._compare(self._pairs.add_depth(stamp, (self._without_info.pop(stamp), message)))

    def _on_depth(self, message: ImageMessage) -> None:
        self._received['depth'] += 1
        stamp = stamp_ns(message.header.stamp)
        if stamp in self._infos:
            self._compare(self._pairs.add_depth(stamp, (message, self._infos[stamp])))
            return
        self._without_info[stamp] = message
        if len(self._without_info) > _WAITING:
            self._without_info.popitem(last=False)
            topic = self.resolve_topic_name('depth/camera_info')
            found = f'no message on {topic} has the stamp of a depth image'
            self._drop('no camera_info', found if self._infos else _nothing_on(topic))

    def _on_truth_info(self, message: CameraInfo) -> None:
        self._truth_info = message

    def _on_view(self, message: CameraInfo) -> None:
        self._view = message

    def _on_truth(self, message: Any) -> None:
        self._received['truth'] += 1
        self._compare(self._pairs.add_truth(stamp_ns(message.header.stamp), message))

    def _compare(self, settled: Iterable[tuple[Any, Any | None]]) -> None:
        for (depth, info), truth in settled:
            try:
                self._compare_image(depth, info, truth)
                self._compared = time.monotonic()
            except _Drop as err:
                self._drop(err.reason, str(err))
            except (DepthEncodingError, PointCloudError) as err:
                self._drop('message', str(err))
            except CameraError as err:
                self._drop('camera_info', str(err))
            except TransformError as err:
                self._drop('transform', str(err))

    def _drop(self, reason: str, problem: str) -> None:
        self._comparison.dropped[reason] += 1
        self._problem, self._failed = f'{reason}: {problem}', time.monotonic()
        self.get_logger().warning(f'not compared: {self._problem}', throttle_duration_sec=5.0)

    def _compare_image(self, message: ImageMessage, info: CameraInfo, truth: Any | None) -> None:
        topic = self.resolve_topic_name(self._truth_topic)
        if truth is None:
            nearest = self._pairs.nearest
            off = 'there is none' if np.isnan(nearest) else f'the nearest is {nearest:.3f} s off'
            msg = (
                f'no message on {topic} lies within {self._values.tolerance:g} s of the depth '
                f'image ({off}): do both clocks agree? Were messages lost (large ones need '
                'the DDS profile, docs/dds.md)?'
            )
            raise _Drop('no ground truth', msg)
        depth, camera = depth_of_message(message), self._camera(info)
        if depth.shape != (camera.height, camera.width):
            msg = (
                f'depth is {message.width}x{message.height}, its camera_info describes '
                f'{camera.width}x{camera.height}'
            )
            raise _Drop('size', msg)
        frame = message.header.frame_id
        if isinstance(truth, PointCloud2):
            assert self._lidar is not None
            true_camera = self._view_of(camera, frame)
            in_view = true_camera is not None
            true_camera = true_camera or camera
            true = depth_from_points(self._lidar.points(truth, frame), true_camera)
        else:
            in_view = True  # truth is registered to the camera: what it knows is seen
            true, true_camera = self._depth_of_image(frame, truth)
        rows, columns = np.nonzero(self._protocol.counted(true))
        published = depth_at(depth, camera, rows, columns, true_camera)
        seen = self._comparison.add(published, true[rows, columns], all_in_view=in_view)
        if seen < LEAST_PIXELS:
            msg = (
                f'depth and {topic} share {seen} pixels, at least {LEAST_PIXELS} are needed: do '
                f'both look the same way, and is truth within {_MINIMUM:g} .. '
                f'{self._values.max_depth:g} m?'
            )
            raise _Drop('no overlap', msg)

    def _view_of(self, camera: Camera, frame: str) -> Camera | None:
        """The camera that took the image; None where that is not known."""
        size = (self._canonical.width, self._canonical.height)
        if (camera.width, camera.height) != size:
            return camera  # depth is per pixel of the image
        if self._view is not None and self._view.header.frame_id == frame:
            return self._camera(self._view)
        topic = self.resolve_topic_name('camera_info')
        self.get_logger().warning(
            f'coverage is not known: no message of the camera {frame} has arrived on {topic}, and '
            'depth at network resolution does not tell what the camera sees; remap camera_info to '
            'that of the images',
            throttle_duration_sec=30.0,
        )
        return None

    def _depth_of_image(self, frame: str, truth: ImageMessage) -> tuple[Depth, Camera]:
        if truth.header.frame_id != frame:
            msg = (
                f'depth is in the frame {frame}, ground truth in {truth.header.frame_id}: '
                'register one to the other (depth_image_proc)'
            )
            raise _Drop('frame', msg)
        if self._truth_info is None:
            topic = self.resolve_topic_name('truth/camera_info')
            msg = f'no message has arrived on {topic}, the calibration of ground truth'
            raise _Drop('no camera_info', msg)
        true, truth_camera = depth_of_message(truth), self._camera(self._truth_info)
        if true.shape != (truth_camera.height, truth_camera.width):
            msg = (
                f'ground truth is {truth.width}x{truth.height}, its camera_info describes '
                f'{truth_camera.width}x{truth_camera.height}'
            )
            raise _Drop('size', msg)
        return true, truth_camera

    def _camera(self, info: CameraInfo) -> Camera:
        """The camera of a CameraInfo; made once while it stays as it is."""
        roi = info.roi
        key = repr(
            (info.width, info.height, info.distortion_model, *map(bytes, (info.k, info.d)))
            + (info.binning_x, info.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height)
        ).encode()
        if key not in self._cameras:
            if len(self._cameras) > 8:
                self._cameras.clear()
            self._cameras[key] = camera_from_info(info)
        return self._cameras[key]

    # What comes of it.

    def summary(self) -> str:
        """All that was compared and what was not, in lines."""
        found = self._comparison.overall()
        lines = [
            f'{self._comparison.images} images compared of {self._received["depth"]} depth images '
            f'and {self._received["truth"]} of ground truth'
        ]
        lines += [f'  {name}: {value:.4f}' for name, value in found.items()]
        waiting, unused = self._pairs.waiting()
        dropped = self._comparison.dropped.copy()
        dropped['ended before its ground truth came'] = waiting
        dropped['no camera_info'] += len(self._without_info)
        lines += [f'  not compared, {reason}: {n}' for reason, n in sorted(dropped.items()) if n]
        if unused := unused + self._pairs.unused:
            lines.append(
                f'  ground truth without depth within {self._values.tolerance:g} s: {unused}'
            )
        return '\n'.join(lines)

    def _publish_diagnostics(self) -> None:
        level, text = self._health()
        figures = {name: f'{value:.4f}' for name, value in self._comparison.recent().items()}
        counts = {
            'images compared': self._comparison.images,
            'depth received': self._received['depth'],
            'truth received': self._received['truth'],
            'truth without depth': self._pairs.unused,
            'depth that waits': self._pairs.waiting()[0] + len(self._without_info),
            **{f'dropped: {k}': n for k, n in sorted(self._comparison.dropped.items())},
        }
        values = {**figures, **{name: str(count) for name, count in counts.items()}}
        status = DiagnosticStatus(
            level=level,
            name=f'{self.get_fully_qualified_name()}: depth evaluation',
            message=text,
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _health(self) -> tuple[bytes, str]:
        now = time.monotonic()
        arrived = {
            'depth/image': self._received['depth'],
            self._truth_topic: self._received['truth'],
            'depth/camera_info': len(self._infos),
        }
        for topic, count in arrived.items():
            if not count:
                return DiagnosticStatus.WARN, _nothing_on(self.resolve_topic_name(topic))
        if self._problem and (now - self._failed < _RECENT or self._failed > self._compared):
            return DiagnosticStatus.WARN, self._problem
        if not self._comparison.images:
            return DiagnosticStatus.WARN, 'no depth image has met its ground truth yet'
        found = self._comparison.recent()
        error = found['scale error (published / true - 1)']
        text = f'AbsRel {found["AbsRel"]:.3f}, scale error {error:+.1%}'
        coverage = found['coverage']
        known = 'not known' if np.isnan(coverage) else f'{coverage:.0%}'
        return DiagnosticStatus.OK, f'{text}, coverage {known}'


def _nothing_on(topic: str) -> str:
    return f'nothing has arrived on {topic}'

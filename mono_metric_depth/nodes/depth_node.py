# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node: camera images in, metric depth and point clouds out."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, PointCloud2
from sensor_msgs.msg import Image as ImageMessage
from std_srvs.srv import SetBool

from mono_metric_depth.alignment import Resolution
from mono_metric_depth.camera import Camera, CameraError, Mount, camera_from_info
from mono_metric_depth.engines import EngineError
from mono_metric_depth.estimator import (
    DEFAULT_MODEL,
    DepthEstimate,
    DepthEstimator,
    EstimatorError,
    require_same_size,
)
from mono_metric_depth.image import ImageError
from mono_metric_depth.nodes.frame_statistics import FrameStatistics
from mono_metric_depth.nodes.messages import (
    CloudMessage,
    DepthMessage,
    camera_info_message,
    image_from_message,
    millimetres,
    stamp_ns,
)
from mono_metric_depth.nodes.newest_frame import NewestFrame
from mono_metric_depth.nodes.parameters import declare_parameters
from mono_metric_depth.point_cloud import PointCloudWriter

_SENSOR = QoSProfile(
    depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT
)
_OUTPUT = QoSProfile(
    depth=2, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE
)
# Small, and each belongs to one image: none may be overwritten unread.
_CALIBRATION = QoSProfile(
    depth=10, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT
)
_WARN_EVERY = 5.0


class DepthNode(Node):
    """Subscribes to ``image`` and ``camera_info``; publishes depth while anyone listens.

    The newest image wins: one that arrives while another is being worked on replaces any that
    waits. The executor's thread only receives; a thread of the node's own does the work.

    Raises:
        ModelCardError, EngineError: If the model cannot be used.
        ValueError: If a parameter is not among its allowed values.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('depth_node', **options)
        values = declare_parameters(self)
        path = values['model'] or DEFAULT_MODEL
        self._estimator = DepthEstimator.load(Path(path).expanduser(), threads=values['threads'])
        self._rectified: bool = values['rectified']
        self._resolution: Resolution = values['depth_resolution']
        self._encoding: str = values['depth_encoding']
        self._mount = Mount(values['pitch'], values['roll'], values['yaw'])
        card = self._estimator.card
        self.get_logger().info(
            f'model {card.name} ({path}), scale {card.scale.value:.4g} '
            f'[{card.scale.low:.4g}, {card.scale.high:.4g}], engine '
            f'{self._estimator.engine.name} on {self._estimator.engine.provider}'
        )
        overrides = QoSOverridingOptions.with_default_policies()
        self._depth_publisher = self.create_publisher(
            ImageMessage, 'depth/image', _OUTPUT, qos_overriding_options=overrides
        )
        self._info_publisher = self.create_publisher(
            CameraInfo, 'depth/camera_info', _OUTPUT, qos_overriding_options=overrides
        )
        self._cloud_publisher = self.create_publisher(
            PointCloud2, 'depth/points', _OUTPUT, qos_overriding_options=overrides
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)

        self._newest = NewestFrame()
        self._statistics = FrameStatistics()
        self._enabled = True
        self._ended = False
        self._warned: dict[str, float] = {}
        self._coverage = float('nan')
        self._camera: tuple[Hashable, Camera] | None = None
        self._depth_message: DepthMessage | None = None
        self._metres: np.ndarray | None = None
        self._cloud_message: CloudMessage | None = None
        self._cloud_writer: tuple[Camera, PointCloudWriter] | None = None

        self.create_subscription(
            CameraInfo,
            'camera_info',
            self._newest.put_info,
            _CALIBRATION,
            qos_overriding_options=overrides,
        )
        self.create_subscription(
            ImageMessage, 'image', self._on_image, _SENSOR, qos_overriding_options=overrides
        )
        self.create_service(SetBool, '~/set_enabled', self._on_set_enabled)
        # Simulated time may stand still; that is when a person looks at the diagnostics.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._worker = threading.Thread(target=self._work, name='depth', daemon=True)
        self._worker.start()

    def destroy_node(self) -> None:
        """Let the frame in work finish, then end the node."""
        self._ended = True
        self._newest.close()
        self._worker.join(timeout=5.0)
        super().destroy_node()

    # The executor's thread.

    def _on_image(self, message: ImageMessage) -> None:
        self._statistics.count('received')
        reason = self._newest.put_image(message) if self._enabled else 'disabled'
        if reason:
            self._statistics.count(f'dropped: {reason}')

    def _on_set_enabled(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        self._enabled = request.data
        if not self._enabled and self._newest.discard():
            self._statistics.count('dropped: disabled')
        response.success = True
        response.message = 'enabled' if request.data else 'disabled'
        return response

    # The worker's thread.

    def _work(self) -> None:
        while (pair := self._newest.take()) is not None:
            message, info = pair
            try:
                outcome = self._process(message, info)
            except ImageError as err:
                outcome = self._drop(err.reason, str(err))
            except CameraError as err:
                outcome = self._drop('camera_info', str(err))
            except EstimatorError as err:
                outcome = self._drop(err.reason, str(err))
            except EngineError as err:
                outcome = self._drop('engine', str(err))
            except Exception as err:
                if self._ended or not self.context.ok():
                    return
                outcome = self._drop('internal', f'{type(err).__name__}: {err}')
            self._statistics.count(outcome)

    def _process(self, message: ImageMessage, info: Any) -> str:
        wants_depth = self._depth_publisher.get_subscription_count() > 0
        wants_info = self._info_publisher.get_subscription_count() > 0
        wants_cloud = self._cloud_publisher.get_subscription_count() > 0
        if not (wants_depth or wants_info or wants_cloud):
            return 'skipped: no subscriber'
        start = time.monotonic()
        camera = self._camera_of(info)
        image = image_from_message(message)
        if wants_depth or wants_cloud:
            estimate = self._estimator.estimate(image, camera, self._mount)
            alignment = estimate.alignment
            depth = self._depth_of(estimate)
        else:
            require_same_size(image, camera)
            alignment = self._estimator.alignment(camera, self._mount)
        self._coverage = alignment.coverage
        if wants_depth:
            self._publish_depth(message, depth)
        if wants_info:
            self._publish_info(message, info, alignment.output_camera(self._resolution))
        if wants_cloud:
            self._publish_cloud(message, estimate, depth)
        latency = (self.get_clock().now().nanoseconds - stamp_ns(message.header.stamp)) * 1e-9
        self._statistics.finish(time.monotonic() - start, latency)
        return 'published'

    def _camera_of(self, info: Any) -> Camera:
        """The camera of a CameraInfo; made anew only if the calibration changed."""
        roi = info.roi
        key = (
            info.width,
            info.height,
            info.distortion_model,
            bytes(info.k),
            bytes(info.d),
            bytes(info.p),
            (info.binning_x, info.binning_y),
            (roi.x_offset, roi.y_offset, roi.width, roi.height),
        )
        if self._camera is None or self._camera[0] != key:
            self._camera = (key, camera_from_info(info, rectified=self._rectified))
        return self._camera[1]

    def _depth_of(self, estimate: DepthEstimate) -> np.ndarray:
        """Metres, written into the depth message where that holds metres."""
        camera = estimate.camera(self._resolution)
        shape = (camera.height, camera.width)
        if self._depth_message is None or self._depth_message.depth.shape != shape:
            self._depth_message = DepthMessage(camera.width, camera.height, self._encoding)
            metres = self._encoding == '32FC1'
            self._metres = self._depth_message.depth if metres else np.empty(shape, np.float32)
        return estimate.depth(self._resolution, self._metres)

    def _publish_depth(self, source: ImageMessage, depth: np.ndarray) -> None:
        assert self._depth_message is not None
        if self._encoding == '16UC1':
            millimetres(depth, self._depth_message.depth)
        self._depth_message.message.header = source.header
        self._depth_publisher.publish(self._depth_message.message)

    def _publish_info(self, source: ImageMessage, info: Any, camera: Camera) -> None:
        # Depth per input pixel has the input's own calibration, distortion, ROI and binning.
        if self._resolution == 'network':
            info = camera_info_message(camera)
        info.header = source.header
        self._info_publisher.publish(info)

    def _publish_cloud(
        self, source: ImageMessage, estimate: DepthEstimate, depth: np.ndarray
    ) -> None:
        camera = estimate.camera(self._resolution)
        if self._cloud_writer is None or self._cloud_writer[0] != camera:
            self._cloud_writer = (camera, PointCloudWriter(camera))
            self._cloud_message = CloudMessage(camera.width, camera.height)
        assert self._cloud_message is not None
        colour = estimate.colour(self._resolution)
        self._cloud_writer[1].write(depth, colour, self._cloud_message.points)
        self._cloud_message.message.header = source.header
        self._cloud_publisher.publish(self._cloud_message.message)

    def _drop(self, reason: str, problem: str) -> str:
        """Say why a frame is dropped, each reason at most every few seconds."""
        self._statistics.fail(problem)
        self._warn(reason, f'frame dropped ({reason}): {problem}')
        return f'dropped: {reason}'

    def _warn(self, reason: str, text: str) -> None:
        now = time.monotonic()
        if now - self._warned.get(reason, -_WARN_EVERY) >= _WARN_EVERY:
            self._warned[reason] = now
            self.get_logger().warning(text)

    # The executor's thread again.

    def _publish_diagnostics(self) -> None:
        problem = self._statistics.problem()
        card, engine = self._estimator.card, self._estimator.engine
        level, text = DiagnosticStatus.OK, 'running'
        if self._newest.lacks_info:
            topic = self.resolve_topic_name('camera_info')
            level, text = DiagnosticStatus.WARN, f'images arrive but no camera_info on {topic}'
            self._warn('no_camera_info', text)
        elif problem:
            level, text = DiagnosticStatus.WARN, problem
        elif not self._enabled:
            text = 'disabled'
        elif not self._statistics.received:
            topic = self.resolve_topic_name('image')
            level, text = DiagnosticStatus.WARN, f'no image has arrived on {topic}'
        values = {
            **self._statistics.values(),
            'coverage': f'{self._coverage:.3f}',
            'model': card.name,
            'scale': f'{card.scale.value:.6g}',
            'scale interval': f'{card.scale.low:.6g} .. {card.scale.high:.6g}',
            'engine': engine.name,
            'provider': engine.provider,
        }
        status = DiagnosticStatus(
            level=level,
            name=f'{self.get_fully_qualified_name()}: depth',
            message=text,
            hardware_id='',
            values=[KeyValue(key=key, value=value) for key, value in values.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

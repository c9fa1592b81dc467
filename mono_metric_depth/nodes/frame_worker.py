# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The thread that turns the newest frames into depth."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.camera import Camera, CameraError, Mount, camera_from_info
from mono_metric_depth.engines import EngineError
from mono_metric_depth.estimator import DepthEstimator, EstimatorError, require_same_size
from mono_metric_depth.image import ImageError
from mono_metric_depth.nodes.depth_monitor import DepthMonitor
from mono_metric_depth.nodes.depth_outputs import INFO, DepthOutputs
from mono_metric_depth.nodes.frame_statistics import FrameStatistics
from mono_metric_depth.nodes.messages import (
    image_from_compressed_message,
    image_from_message,
    stamp_ns,
)
from mono_metric_depth.nodes.newest_frame import NewestFrame
from mono_metric_depth.nodes.parameters import Parameters

_WARN_EVERY = 5.0


class FrameWorker:
    """Takes frames as they come and publishes their depth, until it is stopped.

    Args:
        node: Whose log and clock to use.
        estimator: Used by nobody else meanwhile.
        outputs: Used by nobody else meanwhile.
        statistics: Where each frame's outcome is counted.
        values: The parameters.

    Attributes:
        newest: Where frames are left.
        values: The parameters from the next frame on; replace them at any time.
        monitor: Looks at what was published.
        coverage: Share of the canonical camera that the last frame's camera saw.
    """

    def __init__(
        self,
        node: Node,
        estimator: DepthEstimator,
        outputs: DepthOutputs,
        statistics: FrameStatistics,
        values: Parameters,
    ) -> None:
        self.newest = NewestFrame()
        self.values = values
        self.coverage = float('nan')
        self.monitor = DepthMonitor(estimator.card)
        self._node = node
        self._estimator = estimator
        self._outputs = outputs
        self._statistics = statistics
        self._camera: tuple[Hashable, Camera] | None = None
        self._warned: dict[str, float] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name='depth', daemon=True)
        self._thread.start()

    def stop(self, patience: float) -> bool:
        """Drop what waits and let the frame in work finish.

        Args:
            patience: How long to wait for it (s).

        Returns:
            Whether it has finished.
        """
        self._stopped = True
        self.newest.close()
        if self.newest.discard():
            self._statistics.count('dropped: deactivated')
        self._thread.join(timeout=patience)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (pair := self.newest.take()) is not None:
            message, info = pair
            try:
                outcome = self._process(message, info, self.values)
            except ImageError as err:
                outcome = self._drop(err.reason, str(err))
            except CameraError as err:
                outcome = self._drop('camera_info', str(err))
            except EstimatorError as err:
                outcome = self._drop(err.reason, str(err))
            except EngineError as err:
                outcome = self._drop('engine', str(err))
            except Exception as err:
                if self._stopped or not self._node.context.ok():
                    return
                outcome = self._drop('internal', f'{type(err).__name__}: {err}')
            self._statistics.count(outcome)

    def _process(
        self, message: ImageMessage | CompressedImage, info: CameraInfo, values: Parameters
    ) -> str:
        subscribed = self._outputs.subscribed()
        if not subscribed:
            return 'skipped: no subscriber'
        wanted = self._outputs.due(subscribed, values)
        if not wanted:
            return 'skipped: cloud_rate'
        start = time.monotonic()
        camera = self._camera_of(info, rectified=values.rectified)
        mount = Mount(values.pitch, values.roll, values.yaw)
        if isinstance(message, CompressedImage):
            image = image_from_compressed_message(message, camera)
        else:
            image = image_from_message(message)
        if wanted == {INFO}:  # takes no network
            require_same_size(image.width, image.height, camera)
            alignment = self._estimator.alignment(camera, mount)
            estimate = None
        else:
            estimate = self._estimator.estimate(image, camera, mount)
            alignment = estimate.alignment
            self._outputs.publish_depth(wanted, message.header, estimate, values)
        if INFO in wanted:
            output_camera = alignment.output_camera(values.depth_resolution)
            self._outputs.publish_info(message.header, info, output_camera, values)
        self.coverage = alignment.coverage
        now = self._node.get_clock().now().nanoseconds
        latency = (now - stamp_ns(message.header.stamp)) * 1e-9
        self._statistics.finish(time.monotonic() - start, latency)
        if estimate is not None:
            self.monitor.look(estimate, mount, values)
        return 'published'

    def _camera_of(self, info: CameraInfo, *, rectified: bool) -> Camera:
        """The camera of a CameraInfo; made anew only if the calibration changed."""
        roi = info.roi
        key = (
            rectified,
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
            self._camera = (key, camera_from_info(info, rectified=rectified))
        return self._camera[1]

    def _drop(self, reason: str, problem: str) -> str:
        """Say why a frame is dropped, each reason at most every few seconds."""
        self._statistics.fail(problem)
        now = time.monotonic()
        if now - self._warned.get(reason, -_WARN_EVERY) >= _WARN_EVERY:
            self._warned[reason] = now
            self._node.get_logger().warning(f'frame dropped ({reason}): {problem}')
        return f'dropped: {reason}'

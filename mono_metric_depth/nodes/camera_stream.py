# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""One camera of the depth node: its topics, calibration, counts, monitor and diagnostics."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.camera import Camera, camera_from_info
from mono_metric_depth.model_card import ModelCard
from mono_metric_depth.nodes.depth_monitor import DepthMonitor
from mono_metric_depth.nodes.depth_outputs import DepthOutputs
from mono_metric_depth.nodes.frame_statistics import FrameStatistics
from mono_metric_depth.nodes.latched_camera_info import LatchedCameraInfo
from mono_metric_depth.nodes.messages import stamp_ns
from mono_metric_depth.nodes.mount_lookup import FoundMount
from mono_metric_depth.nodes.newest_frame import NewestFrame
from mono_metric_depth.nodes.parameters import Parameters

_WARN_EVERY = 5.0
_OVERRIDABLE = (
    QoSPolicyKind.HISTORY,
    QoSPolicyKind.DEPTH,
    QoSPolicyKind.RELIABILITY,
    QoSPolicyKind.DURABILITY,
)


class CameraStream:
    """A camera's way in and out.

    Configured, it has its output topics; active, its inputs as well.

    Args:
        node: Whose topics they are.
        name: The camera's name, before its topics; none for the only camera.
        values: The camera's parameters.

    Attributes:
        name: The camera's name.
        values: The parameters from the next frame on; replace them at any time.
        statistics: What became of its frames.
        enabled: Whether images are worked on.
        outputs: Its output topics, while configured.
        newest: Where its frames wait, while active.
        monitor: Looks at what was published, since it was activated.
        coverage: Share of the canonical camera that the last frame's camera saw.
        mount: Of the last frame.
    """

    def __init__(self, node: Node, name: str, values: Parameters) -> None:
        self.name = name
        self.values = values
        self.statistics = FrameStatistics()
        self.enabled = True
        self.outputs: DepthOutputs | None = None
        self.newest: NewestFrame | None = None
        self.monitor: DepthMonitor | None = None
        self.coverage = float('nan')
        self.mount: FoundMount | None = None
        self._node = node
        self._inputs: list[Any] = []
        self._latched: LatchedCameraInfo | None = None
        self._info: CameraInfo | None = None
        self._camera: tuple[Hashable, Camera] | None = None
        self._told_mount = ''
        self._warned: dict[str, float] = {}

    # Life, called by the node.

    def configure(self) -> None:
        """Create the output topics.

        Raises:
            RuntimeError, ParameterException: If the overrides of a topic's QoS are unusable.
        """
        self.outputs = DepthOutputs(self._node, self.name)

    def activate(self, card: ModelCard, changed: threading.Condition) -> None:
        """Subscribe to the inputs.

        Of earlier frames the last camera_info is kept: it may have been published for good.

        Args:
            card: The network's card.
            changed: Notified when a frame arrives.

        Raises:
            RuntimeError, ParameterException: If the overrides of a topic's QoS are unusable.
        """
        self.newest = NewestFrame(changed, self._info)
        self.monitor = DepthMonitor(card)
        self.statistics.forget_arrival()
        self.coverage, self.mount, self._camera = float('nan'), None, None
        compressed = self.values.image_transport == 'compressed'
        kind = CompressedImage if compressed else ImageMessage
        # Each camera_info is small and belongs to one image: none may be overwritten unread.
        self._subscribe(CameraInfo, self._topic('camera_info'), self.newest.put_info, depth=10)
        self._subscribe(kind, self.image_topic(), self._on_image, depth=1)
        # A message that comes by both ways is the same twice.
        self._latched = LatchedCameraInfo(
            self._node, self._topic('camera_info'), self.newest.put_info
        )

    def _subscribe(self, kind: Any, topic: str, callback: Any, depth: int) -> None:
        qos = QoSProfile(
            depth=depth,
            history=HistoryPolicy.KEEP_LAST,
            reliability=ReliabilityPolicy.BEST_EFFORT,
        )
        self._inputs.append(
            self._node.create_subscription(
                kind,
                topic,
                callback,
                qos,
                qos_overriding_options=QoSOverridingOptions(_OVERRIDABLE),
            )
        )

    def deactivate(self) -> None:
        """Receive nothing more; what waits is dropped."""
        if self._latched is not None:
            self._latched.destroy()
            self._latched = None
        while self._inputs:
            self._node.destroy_subscription(self._inputs.pop())
        self.discard('deactivated')
        if self.newest is not None:
            self._info = self.newest.info
        self.newest = None

    def cleanup(self) -> None:
        """Take the output topics off the graph."""
        if self.outputs is not None:
            self.outputs.destroy()
        self.outputs = self.monitor = self._info = None

    # Frames.

    def _topic(self, topic: str) -> str:
        return f'{self.name}/{topic}' if self.name else topic

    def image_topic(self) -> str:
        """The image topic's name."""
        # As image_transport does it: whoever remaps image means image/compressed too.
        topic = str(self._node.resolve_topic_name(self._topic('image')))
        return topic if self.values.image_transport == 'raw' else f'{topic}/compressed'

    def _on_image(
        self, message: ImageMessage | CompressedImage, origin: Mapping[str, Any]
    ) -> None:
        newest = self.newest
        if newest is None:  # it came while the node was deactivated
            return
        # With several publishers the numbers are no sequence.
        single = self._node.count_publishers(self.image_topic()) == 1
        self.statistics.receive(
            stamp_ns(message.header.stamp),
            self._node.get_clock().now().nanoseconds,
            origin.get('publication_sequence_number') if single else None,
        )
        reason = newest.put_image(message) if self.enabled else 'disabled'
        if reason:
            self.statistics.count(f'dropped: {reason}')

    def discard(self, reason: str) -> None:
        """Drop the image that waits, if one does."""
        if self.newest is not None and self.newest.discard():
            self.statistics.count(f'dropped: {reason}')

    def drop(self, reason: str, problem: str) -> None:
        """Count a frame that is dropped; say why, each reason at most every few seconds."""
        self.statistics.fail(problem)
        self.statistics.count(f'dropped: {reason}')
        now = time.monotonic()
        if now - self._warned.get(reason, -_WARN_EVERY) >= _WARN_EVERY:
            self._warned[reason] = now
            of = f' of {self.name}' if self.name else ''
            self._node.get_logger().warning(f'frame{of} dropped ({reason}): {problem}')

    def camera(self, info: CameraInfo, *, rectified: bool) -> Camera:
        """The camera of a CameraInfo; made anew only if the calibration changed.

        Raises:
            CameraError: If it describes none.
        """
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

    # Diagnostics.

    def diagnostics(self) -> dict[str, str]:
        """What is known of the camera's frames."""
        found = dict(self.statistics.values())
        if self.newest is not None and self.monitor is not None:
            found['coverage'] = f'{self.coverage:.3f}'
            if self.mount is not None:
                found['mount'] = self.mount.text
            found |= self.monitor.findings.values
        return found

    def health(self) -> tuple[bytes, str]:
        """Level and message, while active."""
        newest, monitor, log = self.newest, self.monitor, self._node.get_logger()
        if newest is None or monitor is None:
            return DiagnosticStatus.OK, 'not active'
        if self.mount is not None and self.mount.text != self._told_mount:
            self._told_mount = self.mount.text
            log.info(f'mount{f" of {self.name}" if self.name else ""}: {self._told_mount}')
        silent = self.statistics.silent()
        absent = ''
        if newest.lacks_info:
            topic = self._node.resolve_topic_name(self._topic('camera_info'))
            absent = f'no camera_info on {topic}: publish it there, or remap camera_info'
        if silent is not None and silent > self.values.image_timeout:
            text = f'no image for {silent:.1f} s on {self.image_topic()}'
            text = f'{text}, and {absent}' if absent else text
            log.warning(text, throttle_duration_sec=30.0)
            return DiagnosticStatus.WARN, text
        if absent:
            text = f'images arrive but {absent}'
            log.warning(text, throttle_duration_sec=5.0)
            return DiagnosticStatus.WARN, text
        if problem := self.statistics.problem():
            return DiagnosticStatus.WARN, problem
        if not self.enabled:
            return DiagnosticStatus.OK, 'disabled'
        if silent is None:
            return DiagnosticStatus.WARN, f'no image has arrived on {self.image_topic()}'
        warnings = list(monitor.findings.warnings)
        if problem := self.statistics.stamp_problem():
            warnings.append(problem)
        if self.mount is not None and self.mount.problem:
            warnings.append(self.mount.problem)
        if warnings:
            text = '; '.join(warnings)
            log.warning(text, throttle_duration_sec=30.0)
            return DiagnosticStatus.WARN, text
        return DiagnosticStatus.OK, 'running'

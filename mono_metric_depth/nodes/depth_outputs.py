# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node's output topics; each is made only for who subscribed to it."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera
from mono_metric_depth.depth_colours import depth_colours
from mono_metric_depth.depth_encoding import millimetres
from mono_metric_depth.depth_estimate import DepthEstimate
from mono_metric_depth.nodes.messages import (
    CloudMessage,
    DepthMessage,
    camera_info_message,
    compact_cloud_message,
    jpeg_message,
)
from mono_metric_depth.nodes.parameters import Parameters
from mono_metric_depth.point_cloud import EVERYWHERE, PointCloudWriter

DEPTH, INFO, CLOUD = 'depth/image', 'depth/camera_info', 'depth/points'
PREVIEW = 'depth/preview/compressed'

_TYPES: dict[str, Any] = {
    DEPTH: ImageMessage,
    INFO: CameraInfo,
    CLOUD: PointCloud2,
    PREVIEW: CompressedImage,
}


class DepthOutputs:
    """Publishers of one camera, and the messages that they publish again and again.

    One thread publishes; others may ask who subscribed and what is due.

    Args:
        node: The node that publishes.
        camera: The camera's name, before its topics; none for the only camera.

    Raises:
        RuntimeError, ParameterException: If the overrides of a topic's QoS are unusable.
    """

    def __init__(self, node: Node, camera: str = '') -> None:
        self._node = node
        self._publishers: dict[str, Any] = {}
        try:
            for topic, kind in _TYPES.items():
                self._publishers[topic] = node.create_publisher(
                    kind,
                    f'{camera}/{topic}' if camera else topic,
                    # A profile each: overrides are written into it.
                    QoSProfile(
                        depth=2,
                        history=HistoryPolicy.KEEP_LAST,
                        reliability=ReliabilityPolicy.RELIABLE,
                    ),
                    qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                )
        except Exception:
            self.destroy()
            raise
        self._depth_message: DepthMessage | None = None
        self._depth_key: Any = None
        #: Whose depth the message holds.
        self._depth_of: Alignment | None = None
        self._metres: np.ndarray | None = None
        self._colours: np.ndarray | None = None
        self._cloud_key: Any = None
        self._cloud_writer: PointCloudWriter | None = None
        self._cloud_message: CloudMessage | None = None
        self._cloud_metres: np.ndarray | None = None
        self._cloud_slot = -math.inf

    def destroy(self) -> None:
        """Take the topics off the graph."""
        while self._publishers:
            _, publisher = self._publishers.popitem()
            self._node.destroy_publisher(publisher)

    def subscribed(self) -> frozenset[str]:
        """The topics that somebody subscribed to."""
        return frozenset(
            topic
            for topic, publisher in self._publishers.items()
            if publisher.get_subscription_count() > 0
        )

    def due(self, topics: frozenset[str], values: Parameters) -> frozenset[str]:
        """Topics that a frame is to be published on now: the cloud has a rate of its own."""
        early = values.cloud_rate > 0 and (
            time.monotonic() < self._cloud_slot + 1 / values.cloud_rate
        )
        return topics - {CLOUD} if early else topics

    def publish_info(
        self, header: Any, info: CameraInfo, camera: Camera, values: Parameters
    ) -> None:
        """Publish the calibration of the depth image.

        Args:
            header: The image's.
            info: The image's camera_info.
            camera: The camera of the depth image.
            values: The parameters of this frame.
        """
        # Depth per input pixel has the input's own calibration, distortion, ROI and binning.
        if values.depth_resolution == 'network':
            info = camera_info_message(camera)
        info.header = header
        self._publishers[INFO].publish(info)

    def publish_depth(
        self, wanted: frozenset[str], header: Any, estimate: DepthEstimate, values: Parameters
    ) -> None:
        """Publish what is made of a frame's depth.

        Args:
            wanted: The topics to publish.
            header: The image's.
            estimate: The frame's depth.
            values: The parameters of this frame.
        """
        alike = values.cloud_resolution == values.depth_resolution
        depth = None
        if wanted & {DEPTH, PREVIEW} or (CLOUD in wanted and alike):
            depth = self._depth(estimate, values)
            self._publish_images(wanted, header, estimate, depth, values)
        if CLOUD in wanted:
            self._publish_cloud(header, estimate, depth if alike else None, values)

    def _publish_images(
        self,
        wanted: frozenset[str],
        header: Any,
        estimate: DepthEstimate,
        depth: np.ndarray,
        values: Parameters,
    ) -> None:
        if DEPTH in wanted:
            assert self._depth_message is not None
            if values.depth_encoding == '16UC1':
                millimetres(depth, self._depth_message.depth)
            self._depth_message.message.header = header
            self._publishers[DEPTH].publish(self._depth_message.message)
        if PREVIEW in wanted:
            if self._colours is None or self._colours.shape[:2] != depth.shape:
                self._colours = np.empty((*depth.shape, 3), np.uint8)
            preview = jpeg_message(depth_colours(depth, estimate.depth_range, self._colours))
            preview.header = header
            self._publishers[PREVIEW].publish(preview)

    def _depth(self, estimate: DepthEstimate, values: Parameters) -> np.ndarray:
        """Metres of the depth image, written into its message where that holds metres."""
        camera = estimate.camera(values.depth_resolution)
        key = (camera.height, camera.width, values.depth_encoding, values.depth_resolution)
        if self._depth_message is None or self._depth_key != key:
            self._depth_key, self._depth_of = key, None
            self._depth_message = DepthMessage(camera.width, camera.height, values.depth_encoding)
            metres = values.depth_encoding == '32FC1'
            self._metres = self._depth_message.depth if metres else np.empty(key[:2], np.float32)
        kept = self._depth_of is estimate.alignment
        self._depth_of = None  # until it is written
        depth = estimate.depth(values.depth_resolution, self._metres, kept=kept)
        self._depth_of = estimate.alignment
        return depth

    def _publish_cloud(
        self, header: Any, estimate: DepthEstimate, depth: np.ndarray | None, values: Parameters
    ) -> None:
        """Publish the points of the depth image, or those of depth of its own resolution."""
        camera, colour = estimate.camera(values.cloud_resolution), values.cloud_colour
        shape = (camera.height, camera.width)
        if depth is None:
            if self._cloud_metres is None or self._cloud_metres.shape != shape:
                self._cloud_metres = np.empty(shape, np.float32)
            depth = estimate.depth(values.cloud_resolution, self._cloud_metres)
        key = (camera, values.cloud_decimation, colour)
        if self._cloud_writer is None or self._cloud_message is None or self._cloud_key != key:
            self._cloud_key = key
            self._cloud_writer = PointCloudWriter(camera, values.cloud_decimation)
            height, width = self._cloud_writer.shape
            self._cloud_message = CloudMessage(width, height, colour=colour)
        image = estimate.colour(values.cloud_resolution) if colour else None
        points = self._cloud_message.points
        span = (values.range_min, values.range_max)
        nearest, furthest = estimate.depth_range
        if span[0] <= nearest and span[1] >= furthest:  # as it is, for less
            span = EVERYWHERE
        self._cloud_writer.write(depth, image, points, span)
        organised = values.cloud_organised
        message = self._cloud_message.message if organised else compact_cloud_message(points)
        message.header = header
        self._publishers[CLOUD].publish(message)
        if values.cloud_rate > 0:
            # On from when it was due, so that the rate is kept on average.
            now, period = time.monotonic(), 1 / values.cloud_rate
            due = self._cloud_slot + period
            self._cloud_slot = due if now < due + period else now

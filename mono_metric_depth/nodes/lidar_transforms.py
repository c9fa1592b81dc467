# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Where a LiDAR is, seen from a camera: as a person gave it, or as /tf_static tells."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2

from mono_metric_depth.camera import CameraError
from mono_metric_depth.datasets.static_transforms import TF_STATIC
from mono_metric_depth.datasets.transform_tree import TransformTree
from mono_metric_depth.point_cloud import points_of_message

_LATCHED = QoSProfile(
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
#: What the frames of a transform that was given are called.
_OPTICAL, _LIDAR = 'depth', 'lidar'


class LidarTransforms:
    """Takes points of a LiDAR into optical frames.

    Args:
        node: Listens to /tf_static where nothing is given.
        given: What takes points of the LiDAR into the optical frame of depth, x y z qx qy qz qw
            (m, unit quaternion): a text, or seven numbers; from /tf_static if empty.

    Raises:
        ValueError: If it is something else, or nothing is given and tf2_msgs is not installed.
    """

    def __init__(self, node: Node, given: str | Sequence[float]) -> None:
        self._logger = node.get_logger()
        self._tree = TransformTree()
        self._is_given = not isinstance(given, str) or bool(given)
        if self._is_given:
            self._tree.add(SimpleNamespace(transforms=[_transform(given)]), static=True)
        else:
            self._listen(node)

    def points(self, cloud: PointCloud2, frame: str) -> NDArray[np.float64]:
        """(n, 3) points of a sweep (m) in an optical frame.

        Raises:
            PointCloudError: If the sweep holds no points.
            TransformError: If nobody has told where the LiDAR is.
        """
        ends = (_OPTICAL, _LIDAR) if self._is_given else (frame, cloud.header.frame_id)
        matrix, _ = self._tree.transform(ends[0], 0, ends[1], 0)
        moved: NDArray[np.float64] = points_of_message(cloud) @ matrix[:3, :3].T + matrix[:3, 3]
        return moved

    def _listen(self, node: Node) -> None:
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError as err:
            msg = (
                'where the LiDAR is has to come from /tf_static, and tf2_msgs is not installed: '
                'give the parameter lidar_transform (x y z qx qy qz qw)'
            )
            raise ValueError(msg) from err
        node.create_subscription(TFMessage, TF_STATIC, self._on_transforms, _LATCHED)

    def _on_transforms(self, message: Any) -> None:
        try:
            self._tree.add(message, static=True)
        except CameraError as err:
            self._logger.warning(str(err))


def _transform(given: str | Sequence[float]) -> Any:
    """A geometry_msgs/TransformStamped, as far as it is looked at, of a parameter."""
    try:
        numbers = map(float, given.split() if isinstance(given, str) else given)
        x, y, z, qx, qy, qz, qw = numbers
    except (TypeError, ValueError) as err:
        msg = (
            'parameter lidar_transform must be x y z qx qy qz qw (a text or seven numbers), '
            f'got {given!r}'
        )
        raise ValueError(msg) from err
    vector = SimpleNamespace(x=x, y=y, z=z)
    quaternion = SimpleNamespace(x=qx, y=qy, z=qz, w=qw)
    return SimpleNamespace(
        header=SimpleNamespace(frame_id=_OPTICAL),
        child_frame_id=_LIDAR,
        transform=SimpleNamespace(translation=vector, rotation=quaternion),
    )

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Static transforms (tf2): how a camera is mounted on its vehicle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mono_metric_depth.camera import CameraError, Mount, mount_from_transform
from mono_metric_depth.datasets.rigid_transform import rotation_matrix

TF_STATIC = '/tf_static'
_MOST_FRAMES = 10_000
#: REP-105 and REP-120: the footprint lies on the ground.
_VEHICLE_FRAMES = ('base_footprint', 'base_link')


class StaticTransforms:
    """The tree that messages of /tf_static describe."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, Any]] = {}

    def add(self, message: Any) -> None:
        """Take in a tf2_msgs/TFMessage; later ones win."""
        for stamped in message.transforms:
            parent, child = (
                name.lstrip('/') for name in (stamped.header.frame_id, stamped.child_frame_id)
            )
            if child in self._parents or len(self._parents) < _MOST_FRAMES:
                self._parents[child] = parent, stamped.transform

    def mount(self, frame: str) -> Mount | None:
        """The mount of a camera.

        Args:
            frame: Its optical frame.

        Returns:
            Its mount on ``base_footprint``, or else ``base_link``; None if the tree has no way
            there.

        Raises:
            CameraError: If a rotation is none, or the camera does not look ahead.
        """
        for vehicle in _VEHICLE_FRAMES:
            matrix = self.transform(vehicle, frame)
            if matrix is not None:
                return mount_from_transform(matrix)
        return None

    def transform(self, parent: str, frame: str) -> NDArray[np.float64] | None:
        """From a frame to one above it in the tree.

        Args:
            parent: The frame above.
            frame: The frame below.

        Returns:
            (4, 4) coordinates in ``frame`` to those in ``parent`` (m); None if there is no way up.

        Raises:
            CameraError: If a rotation on the way is none.
        """
        place, goal, matrix = frame.lstrip('/'), parent.lstrip('/'), np.eye(4)
        # A tree is no deeper than it has frames; a loop ends there, too.
        for _ in range(len(self._parents)):
            if place == goal or place not in self._parents:
                break
            place, transform = self._parents[place]
            matrix = _matrix(transform) @ matrix
        return matrix if place == goal else None


def transform_matrix(translation: ArrayLike, quaternion: ArrayLike) -> NDArray[np.float64]:
    """(4, 4) of a translation (m) and a unit quaternion x, y, z, w.

    Raises:
        CameraError: If the quaternion is none of unit length.
    """
    vector = np.asarray(quaternion, np.float64)
    matrix = np.eye(4)
    try:
        matrix[:3, :3] = rotation_matrix(np.roll(vector, 1))
    except ValueError as err:
        msg = f'a rotation in /tf_static is no unit quaternion: {vector.tolist()}'
        raise CameraError(msg) from err
    matrix[:3, 3] = translation
    return matrix


def _matrix(transform: Any) -> NDArray[np.float64]:
    """(4, 4) of a geometry_msgs/Transform."""
    q, t = transform.rotation, transform.translation
    return transform_matrix((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))

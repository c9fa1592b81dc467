# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The mount of each camera: from parameters, or from tf2 where it is installed."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message

from mono_metric_depth.camera import CameraError, Mount, mount_from_transform
from mono_metric_depth.datasets.static_transforms import StaticTransforms
from mono_metric_depth.nodes.parameters import Parameters

#: Parameter and tf disagree from here on (rad, m).
_ANGLE, _HEIGHT = 0.02, 0.05
_MOST_CAMERAS = 100
_STATIC = QoSProfile(
    depth=100,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
_MOVING = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


@dataclass(frozen=True)
class FoundMount:
    """A camera's mount, and where it comes from.

    Attributes:
        mount: Attitude, and height where it is known.
        text: What is assumed, in words.
        problem: What speaks against it; '' if nothing.
    """

    mount: Mount
    text: str
    problem: str = ''


class MountLookup:
    """Looks mounts up in tf: from a base frame that lies on the road to an optical frame.

    A mount is rigid: it is looked up when its transforms first are complete, and again when a
    static transform changes. Use it from several threads.

    Args:
        node: Who subscribes.
        base_frame: The frame on the road; nothing is looked up if empty.
    """

    def __init__(self, node: Node, base_frame: str) -> None:
        self._node = node
        self._base = base_frame
        self._lock = threading.Lock()
        self._transforms = StaticTransforms()
        self._found: dict[str, Mount | str] = {}
        self._subscriptions: list[Any] = []
        self._missing: set[str] = set()
        self._unavailable = ''
        if not base_frame:
            return
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError as err:
            self._unavailable = f'base_frame needs tf2_msgs, which is not installed ({err})'
            return
        self._kind = TFMessage
        self._subscriptions = [
            node.create_subscription(TFMessage, '/tf_static', self.add_static, _STATIC),
            node.create_subscription(TFMessage, '/tf', self.add_moving, _MOVING, raw=True),
        ]

    def destroy(self) -> None:
        """Subscribe to nothing any more."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def add_static(self, message: Any) -> None:
        """Take in a tf2_msgs/TFMessage of /tf_static."""
        with self._lock:
            self._transforms.add(message)
            self._found.clear()

    def add_moving(self, data: bytes) -> None:
        """Take in a serialised tf2_msgs/TFMessage of /tf: what has been found stays as it is."""
        # It comes hundreds of times a second; it is read while a mount is missing.
        with self._lock:
            if self._missing:
                self._transforms.add(deserialize_message(data, self._kind))

    def mount(self, frame: str, values: Parameters) -> FoundMount:
        """The mount of a camera: a parameter that is not 0 counts, else what tf says.

        Args:
            frame: Its optical frame.
            values: The camera's parameters.

        Returns:
            The mount.
        """
        found = self._look_up(frame) if self._base else Mount()
        problem = found if isinstance(found, str) else ''
        looked_up = found if isinstance(found, Mount) and self._base else None
        chosen, text = {}, []
        for name, given, tolerance, unit in (
            ('pitch', values.pitch, _ANGLE, 'rad'),
            ('roll', values.roll, _ANGLE, 'rad'),
            ('yaw', values.yaw, _ANGLE, 'rad'),
            ('height', values.camera_height, _HEIGHT, 'm'),
        ):
            chosen[name], source = given, 'parameter'
            if looked_up is not None:
                told = getattr(looked_up, name) or 0.0
                if given == 0:
                    chosen[name], source = told, self._base
                elif abs(given - told) > tolerance:
                    problem = (
                        f'the parameters say {name} {given:.3f} {unit}, {self._base} in tf says '
                        f'{told:.3f} {unit}; the parameter counts, set it to 0 to follow tf'
                    )
            if name == 'height' and chosen[name] == 0:
                text.append('height not known')
            elif looked_up is None and given == 0:
                # 0 may be meant, but nobody said so.
                text.append(f'{name} not given, 0 {unit} assumed')
            else:
                text.append(f'{name} {chosen[name]:.3f} {unit} ({source})')
        height = chosen.pop('height')
        return FoundMount(Mount(**chosen, height=height or None), ', '.join(text), problem)

    def _look_up(self, frame: str) -> Mount | str:
        """The mount that tf tells, or why it does not."""
        if self._unavailable:
            return self._unavailable
        with self._lock:
            if frame not in self._found:
                try:
                    transform = self._transforms.transform(self._base, frame)
                    if transform is None:
                        if len(self._missing) < _MOST_CAMERAS:
                            self._missing.add(frame)
                        return (
                            f'tf has no way from {self._base} to {frame or "an unnamed frame"}; '
                            'the mount is taken from parameters'
                        )
                    found: Mount | str = mount_from_transform(transform)
                except CameraError as err:
                    found = f'the transform from {self._base} to {frame} is unusable: {err}'
                if len(self._found) >= _MOST_CAMERAS:  # names may be made up
                    self._found.clear()
                self._found[frame] = found
                self._missing.discard(frame)
            return self._found[frame]

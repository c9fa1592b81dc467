# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A camera_info that is published once and kept for who comes later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo

#: Time between two looks for who publishes (s): cameras come and go.
PERIOD = 0.5
_LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)


class LatchedCameraInfo:
    """Subscribes to what a topic keeps, while somebody publishes there who keeps it.

    A plain subscription gets nothing of it. One that asks for it does not match who keeps nothing,
    whose log would say so each time the node is activated: nearly every driver.

    Args:
        node: Who subscribes.
        topic: The topic.
        take: Takes each message; those that are published from now on come by the plain
            subscription as well.
    """

    def __init__(self, node: Node, topic: str, take: Callable[[CameraInfo], object]) -> None:
        self._node, self._topic, self._take = node, topic, take
        self._subscription: Any = None
        self._look()
        # Simulated time may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(PERIOD, self._look, clock=steady)

    def _look(self) -> None:
        kept = any(
            found.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            and found.qos_profile.reliability == ReliabilityPolicy.RELIABLE
            for found in self._node.get_publishers_info_by_topic(self._topic)
        )
        if not kept:
            self._unsubscribe()
        elif self._subscription is None:
            self._subscription = self._node.create_subscription(
                CameraInfo,
                self._topic,
                self._take,
                _LATCHED,
                # There may be others on the topic who keep nothing.
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            )

    def _unsubscribe(self) -> None:
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def destroy(self) -> None:
        """Subscribe to nothing any more."""
        self._node.destroy_timer(self._timer)
        self._unsubscribe()

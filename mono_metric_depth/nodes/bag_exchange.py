# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Plays a bag to a running node over DDS and records what comes back.

Messages stay serialised on the way through: what is recorded is what was on the wire.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, PointCloud2
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.datasets.bag import RawBagWriter, header_stamp, read_raw_messages

_TYPES: Mapping[str, Any] = {
    'sensor_msgs/msg/Image': ImageMessage,
    'sensor_msgs/msg/CameraInfo': CameraInfo,
    'sensor_msgs/msg/PointCloud2': PointCloud2,
}
_RELIABLE = QoSProfile(
    depth=50, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE
)
#: How long to wait for what is still under way (s): a busy machine takes its time for the first.
_FIRST_ANSWER, _NEXT_ANSWER = 20.0, 3.0


class BagExchange(Node):
    """Publishes a bag's images and camera_info; records the node's outputs.

    Args:
        outputs: Topics to record and their types.
        writer: Where to.

    Attributes:
        sent: Stamp (ns) of each image and when it was published (monotonic, s).
        received: For each output topic, stamp (ns) and when it arrived (monotonic, s).
    """

    def __init__(self, outputs: Mapping[str, str], writer: RawBagWriter) -> None:
        super().__init__('bag_exchange')
        self.sent: dict[int, float] = {}
        self.received: dict[str, dict[int, float]] = {topic: {} for topic in outputs}
        self._writer = writer
        self._lock = threading.Lock()
        self._senders: dict[str, Any] = {}
        for topic, kind in outputs.items():
            self.create_subscription(
                _TYPES[kind], topic, self._recorder(topic, kind), _RELIABLE, raw=True
            )

    def _recorder(self, topic: str, kind: str) -> Callable[[bytes], None]:
        def record(data: bytes) -> None:
            arrived = time.monotonic()
            stamp = header_stamp(data)
            with self._lock:
                self.received[topic][stamp] = arrived
                self._writer.write(topic, kind, stamp, data)

        return record

    def connect(
        self, inputs: Mapping[str, str], timeout: float, alive: Callable[[], bool]
    ) -> None:
        """Wait until the node under test has subscribed and publishes everything.

        Args:
            inputs: Topics to play and their types.
            timeout: How long to wait (s).
            alive: Whether the node's process still runs.

        Raises:
            TimeoutError: If it does not appear in time, or has ended.
        """
        self._senders = {
            topic: self.create_publisher(_TYPES[kind], topic, _RELIABLE)
            for topic, kind in inputs.items()
        }
        deadline = time.monotonic() + timeout
        while not (
            all(sender.get_subscription_count() for sender in self._senders.values())
            and all(self.count_publishers(topic) for topic in self.received)
        ):
            if not alive():
                msg = 'the node has ended; see its output'
                raise TimeoutError(msg)
            if time.monotonic() > deadline:
                msg = f'the node did not appear within {timeout:g} s'
                raise TimeoutError(msg)
            time.sleep(0.05)
        time.sleep(0.5)  # its publishers discover our subscriptions, too

    def play(
        self, bag: Path, image_topic: str, rate: float, progress: Callable[[], object]
    ) -> None:
        """Publish the bag at a steady rate, and wait for what is still under way.

        Args:
            bag: The bag.
            image_topic: Its images set the rate.
            rate: Images per second.
            progress: Called after each image.
        """
        due = time.monotonic()
        for topic, _, _, data in read_raw_messages(bag, self._senders):
            if topic == image_topic:
                time.sleep(max(0.0, due - time.monotonic()))
                due = max(due + 1 / rate, time.monotonic())
                self.sent[header_stamp(data)] = time.monotonic()
            self._senders[topic].publish(bytes(data))
            if topic == image_topic:
                progress()
        quiet = time.monotonic() + _FIRST_ANSWER
        while time.monotonic() < quiet:
            with self._lock:
                arrived = [moment for topic in self.received.values() for moment in topic.values()]
                complete = all(len(topic) >= len(self.sent) for topic in self.received.values())
            if complete:
                break
            if arrived:
                quiet = max(arrived) + _NEXT_ANSWER
            time.sleep(0.05)

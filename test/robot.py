# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The rest of the robot: sends images to the depth node and collects what it answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from rcl_interfaces.msg import Log
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.camera import Camera

OUTPUTS: dict[str, Any] = {
    'depth/image': ImageMessage,
    'depth/camera_info': CameraInfo,
    'depth/points': PointCloud2,
}
PREVIEW = 'depth/preview/compressed'
FRAME_ID = 'front_camera_optical_frame'
RELIABLE = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(
    depth=1000,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
_last_stamp = 0


class Robot:
    """A node with publishers for the inputs and subscriptions to the outputs.

    Attributes:
        domain: Its ROS domain.
        answers: For each output, stamp (ns) and message.
        statuses: Diagnostics of the depth node.
        logged: Lines of the log, of every node.
    """

    def __init__(
        self, domain: int, outputs: tuple[str, ...] = tuple(OUTPUTS), namespace: str = ''
    ) -> None:
        self.domain = domain
        self.context = Context()
        self.context.init(domain_id=domain)
        self._prefix = f'/{namespace}/' if namespace else '/'
        self.executor = SingleThreadedExecutor(context=self.context)
        self.node = Node('robot', context=self.context)
        self._nodes: list[Node] = []
        self.add(self.node)
        self.answers: dict[str, dict[int, Any]] = {topic: {} for topic in outputs}
        self.statuses: list[Any] = []
        self.logged: list[str] = []
        self._image = self.node.create_publisher(ImageMessage, 'image', RELIABLE)
        self._compressed = self.node.create_publisher(
            CompressedImage, 'image/compressed', RELIABLE
        )
        self._info = self.node.create_publisher(CameraInfo, 'camera_info', RELIABLE)
        for topic in outputs:
            self.listen(topic)
        self.node.create_subscription(
            DiagnosticArray, '/diagnostics', lambda found: self.statuses.extend(found.status), 10
        )
        self.node.create_subscription(
            Log, '/rosout', lambda found: self.logged.append(found.msg), _LATCHED
        )

    def listen(self, topic: str) -> Any:
        """Subscribe to an output; the subscription."""
        self.answers.setdefault(topic, {})
        kind = OUTPUTS.get(topic, CompressedImage)

        def keep(message: Any) -> None:
            self.answers[topic][stamp_of(message)] = message

        return self.node.create_subscription(kind, self._prefix + topic, keep, RELIABLE)

    def add(self, node: Any) -> None:
        """Run a node beside this one, in the same executor."""
        self.executor.add_node(node)
        self._nodes.append(node)

    def close(self) -> None:
        """End every node."""
        for node in reversed(self._nodes):
            self.executor.remove_node(node)
            node.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()

    def until(
        self,
        condition: Callable[[], object],
        what: str,
        again: Callable[[], object] | None = None,
        timeout: float = 40.0,
    ) -> None:
        """Spin until something holds; do something again now and then meanwhile."""
        due = start = time.monotonic()
        while not condition():
            now = time.monotonic()
            assert now < start + timeout, f'{what}: not within {timeout:g} s; {self.said()[-5:]}'
            if again is not None and now >= due:
                again()
                due = now + 0.4
            self.executor.spin_once(timeout_sec=0.02)

    def send(self, image: Any, info: CameraInfo | None = None, *, first: str = '') -> int:
        """Send a frame once, its camera_info first unless told so; its stamp (ns)."""
        stamp = next_stamp()
        for message in (image, info):
            if message is not None:
                put_stamp(message, stamp)
        if info is not None and first != 'image':
            self._info.publish(info)
        sender = self._compressed if isinstance(image, CompressedImage) else self._image
        sender.publish(image)
        if info is not None and first == 'image':
            self._info.publish(info)
        return stamp

    def publish(self, info: CameraInfo, stamp: int | None = None) -> None:
        """Send a camera_info alone."""
        put_stamp(info, next_stamp() if stamp is None else stamp)
        self._info.publish(info)

    def ask(
        self, image: Any, info: CameraInfo, *, stamps: list[int] | None = None, **options: Any
    ) -> list[Any]:
        """Send a frame until it is answered on every output listened to.

        The inputs are best effort, and discovery takes its time. Every try has a stamp (ns) of
        its own; ``stamps`` gets them all, for who else may hear an answer that is missed here.
        """
        stamps = [] if stamps is None else stamps
        topics = list(self.answers)

        def answered() -> int | None:
            return next(
                (s for s in reversed(stamps) if all(s in self.answers[t] for t in topics)), None
            )

        def again() -> None:
            stamps.append(self.send(image, info, **options))

        self.until(answered, f'an answer on {topics}', again)
        stamp = answered()
        assert stamp is not None
        return [self.answers[topic][stamp] for topic in topics]

    def counts(self) -> Counter[str]:
        """Frames by what became of them, as the newest diagnostics tell."""
        values = self.statuses[-1].values if self.statuses else []
        return Counter(
            {
                item.key.removeprefix('frames '): int(item.value)
                for item in values
                if item.key.startswith('frames ')
            }
        )

    def news(self) -> Counter[str]:
        """Counts that tell of everything up to now: those of the diagnostics after the next."""
        told = len(self.statuses)
        self.until(lambda: len(self.statuses) >= told + 2, 'diagnostics')
        return self.counts()

    def settle(self) -> Counter[str]:
        """The counts once every frame that was sent is accounted for: nothing is under way.

        :meth:`ask` may have sent more than the frame that was answered, on a busy machine.
        """
        self.news()
        self.until(self.settled, 'nothing under way')
        return self.counts()

    def settled(self) -> bool:
        """Whether the newest diagnostics account for every frame that was received."""
        counts = self.counts()
        outcomes = sum(count for name, count in counts.items() if name != 'received')
        return bool(counts) and counts['received'] == outcomes

    def one_by_one(self, send: Callable[[], object]) -> Callable[[], None]:
        """Sends the next frame only where nothing is known to be under way: none overtakes."""
        told = [-2]

        def again() -> None:
            if len(self.statuses) >= told[0] + 2 and (told[0] < 0 or self.settled()):
                told[0] = len(self.statuses)
                send()

        return again

    def said(self) -> list[str]:
        """What the node told people: log and diagnostics."""
        return self.logged + [status.message for status in self.statuses]


def next_stamp() -> int:
    """A stamp (ns) that no message has had: now."""
    global _last_stamp
    _last_stamp = max(time.time_ns(), _last_stamp + 1)
    return _last_stamp


def put_stamp(message: Any, stamp: int, frame_id: str = FRAME_ID) -> None:
    """Give a message a stamp (ns) and a frame."""
    message.header.frame_id = frame_id
    message.header.stamp.sec = stamp // 10**9
    message.header.stamp.nanosec = stamp % 10**9


def stamp_of(message: Any) -> int:
    """A message's stamp (ns)."""
    stamp = message.header.stamp
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def image_message(pixels: NDArray[np.uint8], encoding: str = 'rgb8') -> ImageMessage:
    """A sensor_msgs/Image of (h, w) or (h, w, c) uint8 pixels."""
    message = ImageMessage(encoding=encoding, height=pixels.shape[0], width=pixels.shape[1])
    message.step = pixels.strides[0]
    message.data.frombytes(np.ascontiguousarray(pixels).tobytes())
    return message


def compressed_message(pixels: NDArray[np.uint8], kind: str = 'jpeg') -> CompressedImage:
    """A sensor_msgs/CompressedImage of (h, w, 3) uint8 RGB pixels, as image_transport has it."""
    _, file = cv2.imencode(f'.{kind}', np.ascontiguousarray(pixels[..., ::-1]))
    message = CompressedImage(format=f'rgb8; {kind} compressed bgr8')
    message.data.frombytes(file.tobytes())
    return message


def info_message(camera: Camera, **fields: Any) -> CameraInfo:
    """The sensor_msgs/CameraInfo of a camera."""
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    return CameraInfo(
        **{
            'width': camera.width,
            'height': camera.height,
            'distortion_model': camera.distortion_model,
            'd': list(camera.distortion) or [0.0] * 5,
            'k': [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
            'r': [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            'p': [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
            **fields,
        }
    )


def noise(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """An image in which every pixel differs."""
    shape = (height, width, channels)[: 2 if channels == 1 else 3]
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def scenery(height: int, width: int) -> NDArray[np.uint8]:
    """A colour image whose neighbouring pixels are alike, as in images of the world."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height)), np.uint8)


def cloud_points(cloud: PointCloud2) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """(h, w, 3) x, y, z and (h, w, 3) b, g, r of a cloud, by its fields; b, g, r may lack."""
    offsets = {field.name: field.offset for field in cloud.fields}
    data = np.frombuffer(cloud.data, np.uint8).reshape(cloud.height, cloud.row_step)
    data = data[:, : cloud.width * cloud.point_step]
    data = data.reshape(cloud.height, cloud.width, cloud.point_step)
    axes = [
        np.ascontiguousarray(data[..., offsets[axis] : offsets[axis] + 4]).view(np.float32)
        for axis in 'xyz'
    ]
    colour = data[..., offsets['rgb'] : offsets['rgb'] + 3] if 'rgb' in offsets else data[..., :0]
    return np.concatenate(axes, axis=-1), colour


def depth_values(message: ImageMessage) -> NDArray[Any]:
    """(h, w) pixels of a depth image."""
    dtype = {'32FC1': np.float32, '16UC1': np.uint16}[message.encoding]
    rows = np.frombuffer(message.data, dtype).reshape(message.height, -1)
    return rows[:, : message.width]


def resident() -> int:
    """Memory that this process uses (bytes)."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096

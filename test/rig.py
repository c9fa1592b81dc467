# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A robot with several cameras."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from robot import (
    OUTPUTS,
    RELIABLE,
    Robot,
    image_message,
    info_message,
    next_stamp,
    noise,
    put_stamp,
    stamp_of,
)
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.camera import Camera


class Rig:
    """Sends what its cameras see and collects what the depth node answers to each.

    Args:
        domain: Its ROS domain.
        cameras: By name; replace one to change it.
        inputs, outputs: What comes before a camera's topics.

    Attributes:
        robot: The node that it runs in.
        answers: For each camera and output, stamp (ns) and message.
    """

    def __init__(
        self,
        domain: int,
        cameras: dict[str, Camera],
        inputs: str = '/{}/',
        outputs: str = '/{}/',
    ) -> None:
        self.robot = Robot(domain, outputs=())
        self.cameras = cameras
        self.answers: dict[str, dict[str, dict[int, Any]]] = {}
        self._senders: dict[str, tuple[Any, Any]] = {}
        node = self.robot.node
        for name in cameras:
            self._senders[name] = tuple(
                node.create_publisher(kind, inputs.format(name) + topic, RELIABLE)
                for kind, topic in ((ImageMessage, 'image'), (CameraInfo, 'camera_info'))
            )
            self.answers[name] = {topic: {} for topic in OUTPUTS}
            for topic, kind in OUTPUTS.items():
                node.create_subscription(
                    kind, outputs.format(name) + topic, self._keeper(name, topic), RELIABLE
                )

    def _keeper(self, name: str, topic: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            self.answers[name][topic][stamp_of(message)] = message

        return keep

    def close(self) -> None:
        self.robot.close()

    def send(self, name: str) -> int:
        """Send a frame of a camera; its stamp (ns)."""
        camera = self.cameras[name]
        stamp = next_stamp()
        image, info = self._senders[name]
        for sender, message in (
            (info, info_message(camera)),
            (image, image_message(noise(camera.height, camera.width))),
        ):
            put_stamp(message, stamp, f'{name}_optical')
            sender.publish(message)
        return stamp

    def answered(self, name: str, stamp: int) -> bool:
        return all(stamp in found for found in self.answers[name].values())

    def until_answered(self, names: Iterable[str] = ()) -> dict[str, int]:
        """Send frames of each camera until each is answered; the stamps of those that are."""
        sent: dict[str, list[int]] = {name: [] for name in names or self.cameras}

        def found() -> dict[str, int]:
            return {
                name: stamp
                for name, stamps in sent.items()
                for stamp in stamps
                if self.answered(name, stamp)
            }

        def again() -> None:
            for name, stamps in sent.items():
                stamps.append(self.send(name))

        self.robot.until(lambda: len(found()) == len(sent), f'answers to {list(sent)}', again)
        return found()

    def told(self, name: str) -> Any:
        """The newest diagnostics of a camera, or of the whole (depth); None if there are none."""
        ends = f'depth_node: {name}'
        return next((s for s in reversed(self.robot.statuses) if s.name.endswith(ends)), None)

    def values(self, name: str) -> dict[str, str]:
        status = self.told(name)
        return {} if status is None else {item.key: item.value for item in status.values}

    def counts(self, name: str) -> Counter[str]:
        return Counter(
            {
                key.removeprefix('frames '): int(value)
                for key, value in self.values(name).items()
                if key.startswith('frames ')
            }
        )

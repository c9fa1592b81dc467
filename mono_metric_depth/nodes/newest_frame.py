# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The newest image and camera_info of each camera, on their way to the worker's thread."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Sequence

from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.nodes.messages import stamp_ns

_INFOS = 10
#: How long an image waits for the camera_info of its stamp, where they are stamped alike (s).
INFO_DELAY = 0.1


class NewestFrame:
    """Holds one camera's image: a newer one replaces it.

    An image belongs to the camera_info of its stamp; where there is none, as with a camera_info
    that is published once, to the newest.

    Args:
        changed: Notified of each change; shared by the cameras that :class:`WaitingFrames` serves.
        info: What was received before and counts until another comes.
    """

    def __init__(self, changed: threading.Condition, info: CameraInfo | None = None) -> None:
        self._changed = changed
        self._image: ImageMessage | CompressedImage | None = None
        self._infos: OrderedDict[int, CameraInfo] = OrderedDict()
        if info is not None:
            self._infos[stamp_ns(info.header.stamp)] = info
        self._taken: int | None = None
        self._in_step = True
        self._since = self._wanted = math.inf

    def put_image(self, message: ImageMessage | CompressedImage) -> str:
        """Leave an image; says why the one that waited is dropped, '' if none did."""
        with self._changed:
            reason = ''
            if self._image is not None:
                reason = 'superseded' if self._infos else 'no_camera_info'
            else:
                # The camera keeps its place in line: else a fast one would never be served.
                self._since = time.monotonic()
            self._image = message
            self._changed.notify()
            return reason

    def put_info(self, message: CameraInfo) -> None:
        """Leave a camera_info."""
        stamp = stamp_ns(message.header.stamp)
        with self._changed:
            self._infos[stamp] = message
            self._infos.move_to_end(stamp)
            if len(self._infos) > _INFOS:
                self._infos.popitem(last=False)
            # Late for its image, yet stamped like it.
            self._in_step = self._in_step or stamp == self._taken
            self._changed.notify()

    def discard(self) -> bool:
        """Drop the image that waits; says whether one did."""
        with self._changed:
            waited = self._image is not None
            self._image = None
            self._since = self._wanted = math.inf
            return waited

    @property
    def info(self) -> CameraInfo | None:
        """The newest camera_info."""
        with self._changed:
            return next(reversed(self._infos.values()), None)

    @property
    def lacks_info(self) -> bool:
        """Whether an image waits and no camera_info has ever come."""
        with self._changed:
            return self._image is not None and not self._infos

    # For WaitingFrames, which holds the condition.

    @property
    def since(self) -> float:
        """When the camera began to wait; infinite if it does not."""
        return self._since

    def due(self, now: float) -> float:
        """When the image may be taken; asked by who would take it now."""
        if self._image is None or not self._infos:
            return math.inf
        if not self._in_step or stamp_ns(self._image.header.stamp) in self._infos:
            return now
        self._wanted = min(self._wanted, now)
        return self._wanted + INFO_DELAY

    def take(self) -> tuple[ImageMessage | CompressedImage, CameraInfo]:
        """The image and its camera_info, once it is due."""
        message, self._image = self._image, None
        assert message is not None
        self._since = self._wanted = math.inf
        self._taken = stamp_ns(message.header.stamp)
        info = self._infos.get(self._taken)
        self._in_step = info is not None
        return message, info or next(reversed(self._infos.values()))


class WaitingFrames:
    """The cameras' newest frames, in the order in which the cameras began to wait.

    A camera of which a frame was taken is passed over until :meth:`go_on`.

    Args:
        frames: Of each camera.
        changed: The condition that they share.
    """

    def __init__(self, frames: Sequence[NewestFrame], changed: threading.Condition) -> None:
        self._frames = frames
        self._changed = changed
        self._closed = False
        self._taken: set[int] = set()
        self._not_before = -math.inf

    def take(self) -> tuple[int, ImageMessage | CompressedImage, CameraInfo] | None:
        """Wait for a frame.

        Returns:
            Which camera's, its image and its camera_info; nothing once closed.
        """
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                due = {
                    index: max(frame.due(now), self._not_before)
                    for index, frame in enumerate(self._frames)
                    if index not in self._taken
                }
                ready = [index for index, moment in due.items() if moment <= now]
                if ready:
                    first = min(ready, key=lambda index: self._frames[index].since)
                    self._taken.add(first)
                    return (first, *self._frames[first].take())
                soonest = min(due.values(), default=math.inf)
                self._changed.wait(None if math.isinf(soonest) else soonest - now)
        return None

    def go_on(self, cameras: Collection[int] = (), not_before: float = -math.inf) -> None:
        """Let the next frames be taken.

        Args:
            cameras: Those whose frames have gone on.
            not_before: When a frame may be taken (s, monotonic): the later, the newer it is.
        """
        with self._changed:
            self._taken.difference_update(cameras)
            self._not_before = not_before
            self._changed.notify_all()

    def close(self) -> None:
        """Wake whoever waits: nothing more will be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

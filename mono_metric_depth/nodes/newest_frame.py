# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The newest image and its camera_info, handed from the executor's thread to the worker's."""

from __future__ import annotations

import threading
from collections import OrderedDict

from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.nodes.messages import stamp_ns

_INFOS = 10
#: How long an image waits for the camera_info of its stamp, where they are stamped alike (s).
INFO_DELAY = 0.1


class NewestFrame:
    """Holds one image: a newer one replaces it.

    An image belongs to the camera_info of its stamp; where there is none, as with a camera_info
    that is published once, to the newest.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._image: ImageMessage | CompressedImage | None = None
        self._infos: OrderedDict[int, CameraInfo] = OrderedDict()
        self._taken: int | None = None
        self._in_step = True
        self._closed = False

    def put_image(self, message: ImageMessage | CompressedImage) -> str:
        """Leave an image; says why the one that waited is dropped, '' if none did."""
        with self._changed:
            reason = ''
            if self._image is not None:
                reason = 'superseded' if self._infos else 'no_camera_info'
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
            return waited

    @property
    def lacks_info(self) -> bool:
        """Whether an image waits and no camera_info has ever come."""
        with self._changed:
            return self._image is not None and not self._infos

    def take(self) -> tuple[ImageMessage | CompressedImage, CameraInfo] | None:
        """Wait for an image and its camera_info; None once closed."""
        with self._changed:
            while not self._closed:
                self._changed.wait_for(lambda: self._closed or (self._image and self._infos))
                if self._in_step:
                    self._changed.wait_for(self._is_paired, timeout=INFO_DELAY)
                if self._closed or self._image is None:
                    continue
                message, self._image = self._image, None
                self._taken = stamp_ns(message.header.stamp)
                info = self._infos.get(self._taken)
                self._in_step = info is not None
                return message, info or next(reversed(self._infos.values()))
        return None

    def _is_paired(self) -> bool:
        image = self._image
        return self._closed or image is None or stamp_ns(image.header.stamp) in self._infos

    def close(self) -> None:
        """Wake whoever waits: nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

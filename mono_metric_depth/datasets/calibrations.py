# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The camera_info of a camera, as a bag goes by."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from mono_metric_depth.camera import Camera, CameraError, camera_from_info
from mono_metric_depth.datasets.bag_topics import is_rectified

#: So many of the last messages, and of different calibrations, are remembered.
_REMEMBERED = 1000


class Calibrations:
    """Which calibration holds for which image.

    An image has the camera_info of its stamp. Where there is none, as with a camera_info that was
    published once, it has the only one that there has been; once it has changed, none: which one
    holds in between is not known.

    Args:
        image: The image topic.
        info: The camera_info topic.
        rectified: Whether the images are rectified; if None, as their topic's name says.

    Attributes:
        frame: Optical frame of the camera.
    """

    def __init__(self, image: str, info: str, rectified: bool | None = None) -> None:
        self._info = info
        self._rectified = is_rectified(image) if rectified is None else rectified
        self.frame = ''
        self._known: OrderedDict[Any, tuple[Camera, Any] | str] = OrderedDict()
        self._by_stamp: OrderedDict[int, tuple[Camera, Any] | str] = OrderedDict()
        self._changed = False

    def add(self, message: Any) -> None:
        """Take in a sensor_msgs/CameraInfo; one that is unusable is so for its images alone."""
        roi = message.roi
        fields = (
            (message.width, message.height, message.binning_x, message.binning_y),
            (roi.x_offset, roi.y_offset, roi.width, roi.height),
            message.distortion_model,
            *(tuple(map(float, values)) for values in (message.k, message.d, message.p)),
        )
        if fields not in self._known:
            self._changed = bool(self._known)
            try:
                camera = camera_from_info(message, rectified=self._rectified)
                self._known[fields] = camera, message
            except CameraError as err:
                self._known[fields] = f'{self._info}: {err}'
        self.frame = self.frame or message.header.frame_id
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self._by_stamp[stamp] = self._known[fields]
        for memory in (self._known, self._by_stamp):
            if len(memory) > _REMEMBERED:
                memory.popitem(last=False)

    def has(self, stamp: int) -> bool:
        """Whether there is a camera_info of a stamp (ns)."""
        return stamp in self._by_stamp

    def at(self, stamp: int) -> tuple[Camera, Any]:
        """The camera of an image, and its camera_info.

        Args:
            stamp: The image's (ns).

        Raises:
            CameraError: If there is none, or it is unusable.
        """
        found = self._by_stamp.get(stamp)
        if found is None and not self._changed:
            found = next(iter(self._known.values()), None)
        if found is None and not self._by_stamp:
            msg = f'{self._info} holds no readable message; record it again'
            raise CameraError(msg)
        if found is None:
            nearest = min(abs(known - stamp) for known in self._by_stamp) * 1e-9
            msg = (
                f'{self._info} has changed and none has the stamp of the image (the nearest is '
                f'{nearest:.3f} s off): let the driver stamp both alike'
            )
            raise CameraError(msg)
        if isinstance(found, str):
            raise CameraError(found)
        return found

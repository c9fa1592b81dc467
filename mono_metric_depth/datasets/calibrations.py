# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The camera_info of a camera over a whole bag."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, CameraError, camera_from_info
from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.bag_topics import is_rectified

#: A camera that zooms has as many calibrations as it has steps.
_MOST = 1000


class Calibrations:
    """Which calibration holds for which image.

    One that never changes holds for all. Where it changes, an image has the camera_info of its
    stamp or none: which one holds in between is not known.

    Args:
        image: The image topic.
        info: The camera_info topic.
        rectified: Whether the images are rectified; if None, as their topic's name says.

    Attributes:
        frame: Optical frame of the camera.
    """

    def __init__(self, image: str, info: str, rectified: bool | None = None) -> None:
        self._image, self._info = image, info
        self._rectified = is_rectified(image) if rectified is None else rectified
        self.frame = ''
        self._known: dict[Any, int] = {}
        self._cameras: list[tuple[Camera, Any]] = []
        self._stamps, self._numbers = array('q'), array('H')
        self._order: NDArray[np.intp] | None = None

    def add(self, message: Any, where: str) -> None:
        """Take in a sensor_msgs/CameraInfo.

        Raises:
            DatasetError: If it is unusable, or there are too many different ones.
        """
        roi = message.roi
        fields = (
            (message.width, message.height, message.binning_x, message.binning_y),
            (roi.x_offset, roi.y_offset, roi.width, roi.height),
            message.distortion_model,
            *(tuple(map(float, values)) for values in (message.k, message.d, message.p)),
        )
        if fields not in self._known:
            try:
                camera = camera_from_info(message, rectified=self._rectified)
            except CameraError as err:
                msg = f'{where}: {err}'
                raise DatasetError(msg) from err
            if len(self._cameras) == _MOST:
                msg = f'{where}: more than {_MOST} different calibrations'
                raise DatasetError(msg)
            self._known[fields] = len(self._cameras)
            self._cameras.append((camera, message))
        self.frame = self.frame or message.header.frame_id
        stamp = message.header.stamp
        self._stamps.append(stamp.sec * 10**9 + stamp.nanosec)
        self._numbers.append(self._known[fields])

    def require(self, name: str) -> None:
        """Refuse a camera without any calibration.

        Raises:
            DatasetError: Naming it.
        """
        if not self._cameras:
            msg = f'{name}: {self._info} holds no readable message; record it again'
            raise DatasetError(msg)

    def at(self, stamp: int) -> tuple[Camera, Any]:
        """The camera of an image, and its camera_info.

        Args:
            stamp: The image's (ns).

        Raises:
            CameraError: If the calibration changes and none has this stamp.
        """
        if len(self._cameras) == 1:
            return self._cameras[0]
        stamps = np.frombuffer(self._stamps, np.int64)
        if self._order is None:
            self._order = np.argsort(stamps, kind='stable')
        place = int(np.searchsorted(stamps, stamp, sorter=self._order))
        if place == len(stamps) or stamps[self._order[place]] != stamp:
            nearest = float(np.abs(stamps - stamp).min()) * 1e-9
            msg = (
                f'{self._info} changes {len(self._cameras) - 1} times or more and none has the '
                f'stamp of the image (the nearest is {nearest:.3f} s off): let the driver stamp '
                'both alike'
            )
            raise CameraError(msg)
        return self._cameras[int(self._numbers[int(self._order[place])])]

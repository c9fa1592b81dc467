# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""True depth for the images of a bag: of a depth topic, or of a LiDAR through the bag's tf."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera
from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.bag import deserialized
from mono_metric_depth.datasets.bag_message_list import BagMessageList
from mono_metric_depth.datasets.bag_topics import IMAGE
from mono_metric_depth.datasets.lidar import depth_from_points
from mono_metric_depth.datasets.said_once import said_once
from mono_metric_depth.datasets.stored_topic import StoredTopic
from mono_metric_depth.datasets.transform_tree import TransformError, TransformTree
from mono_metric_depth.depth_encoding import DepthEncodingError, depth_of_message
from mono_metric_depth.image import ImageError
from mono_metric_depth.point_cloud import PointCloudError, points_of_message

_LOG = logging.getLogger(__name__)
_LOG.addFilter(said_once)

POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
#: A depth image belongs to an image whose stamp is no further away (ns), as in the live node, ...
_SAME_INSTANT = 20_000_000
#: ... and only if none on the other side is about as near (ns): which one it is would be chance.
_AS_NEAR = 1_000_000
#: A sweep, where tf tells the motion in between: sensors that nothing triggers together lie so far
#: apart (the sample of DDAD 0.21 s); without, a car at 20 m/s has moved by 0.4 m after 20 ms.
_SAME_SWEEP, _SAME_SWEEP_UNMOVED = 250_000_000, 20_000_000
#: Frames that must have depth before the truth is relied on, and that are tried for that at most.
_LOOKED_AT, _TRIED = 3, 200


def require_truth(topics: dict[str, StoredTopic], name: str) -> str:
    """The type of a topic that is to hold true depth.

    Raises:
        DatasetError: If there is no such topic, or its messages hold no depth.
    """
    fitting = {k: t for k, t in topics.items() if t.kind in {IMAGE, POINT_CLOUD} and t.messages}
    if name in topics and topics[name].kind in {IMAGE, POINT_CLOUD} and name not in fitting:
        msg = f'{name} is to hold true depth, but it has no message; record it again'
        raise DatasetError(msg)
    if name not in fitting:
        found = f'is {topics[name].kind}' if name in topics else 'is not there'
        msg = (
            f'{name} {found}; true depth is a depth image (sensor_msgs/Image) or a LiDAR '
            f'(sensor_msgs/PointCloud2); of these types there are: '
            f'{", ".join(sorted(fitting)) or "none"}'
        )
        raise DatasetError(msg)
    return fitting[name].kind


class BagTruth:
    """Finds the true depth of an image by its stamp.

    LiDAR points are brought into the camera at the image's stamp, from where the LiDAR was at the
    sweep's stamp (points within one sweep are taken for simultaneous); the nearest point wins a
    pixel.

    Args:
        name: Of the bag, for messages.
        storage: The bag.
        topic: Of the truth.
        kind: Its type.
        camera: Of the images.
        frame: Their optical frame.
        transforms: Of the bag.

    Attributes:
        missing: How many of the images that were asked for had none, by reason.
    """

    def __init__(
        self,
        name: str,
        storage: Path,
        topic: str,
        kind: str,
        camera: Camera,
        frame: str,
        transforms: TransformTree,
    ) -> None:
        self._name, self._topic, self._lidar = name, topic, kind == POINT_CLOUD
        self._storage = storage
        self._camera, self._frame, self._transforms = camera, frame, transforms
        self._stamps: list[int] = []
        self._order: list[int] = []
        self._sorted: list[int] = []
        self._images: list[int] = []
        self._limit = _SAME_SWEEP if self._lidar else _SAME_INSTANT
        self._messages = BagMessageList(storage, topic, [])
        #: Why there is none at all; '' where there is some.
        self.problem = ''
        self.missing: Counter[str] = Counter()

    def index(self, entries: list[tuple[int, int]], images: list[int], *, named: bool) -> None:
        """Take in what a first pass found.

        Args:
            entries: Time of receipt and stamp (ns) of each message, in the bag's order.
            images: Stamps of the images.
            named: Whether a person named the topic, and is to hear if it is of no use.

        Raises:
            DatasetError: If it was named and no image has true depth.
        """
        times = [time for time, _ in entries]
        self._messages = BagMessageList(self._storage, self._topic, times)
        self._stamps = [stamp for _, stamp in entries]
        self._order = sorted(range(len(entries)), key=self._stamps.__getitem__)
        self._sorted = [self._stamps[number] for number in self._order]
        self._images = sorted(set(images))
        apart, reasons = list[str](), list[str]()
        paired = []
        for stamp in images:
            try:
                paired.append((self._nearest(stamp), stamp))
            except TransformError as err:
                apart.append(_of_image(stamp, err))
        found = 0
        for number, stamp in _spread(paired, _TRIED):
            try:
                self._depth(number, stamp)
            except (DepthEncodingError, PointCloudError, TransformError, ImageError) as err:
                reasons.append(_of_image(stamp, err))
                continue
            found += 1
            if found == _LOOKED_AT:
                break
        if not found:
            self._refuse(reasons or apart, tried=bool(paired), named=named)
        elif apart:
            _LOG.warning(
                '%s: %d of %d images have true depth from %s; of the others: %s',
                self._name,
                len(paired),
                len(images),
                self._topic,
                apart[0],
            )

    def _refuse(self, reasons: list[str], *, tried: bool, named: bool) -> None:
        """Say why there is no true depth at all."""
        why = f'first: {reasons[0] if reasons else "there is no image"}'
        if not tried and self._images and self._sorted:
            off = min(
                abs(self._sorted[_nearest_place(self._sorted, stamp)] - stamp)
                for stamp in self._images
            )
            why = (
                f'no stamp of it lies within {self._within()} of the stamp of an image, '
                f'the smallest difference is {off * 1e-9:.3f} s; do both clocks agree?'
            )
        self.problem = f'no image has true depth from {self._topic}; {why}'
        if named:
            msg = f'{self._name}: {self.problem}'
            raise DatasetError(msg)
        _LOG.warning('%s: %s', self._name, self.problem)

    def depth(self, stamp: int) -> NDArray[np.float32] | None:
        """True depth of an image.

        Args:
            stamp: The image's (ns).

        Returns:
            (height, width) float32 (m), NaN where it is not known; None where there is none, for
            a reason that is counted and logged once.
        """
        try:
            return self._depth(self._nearest(stamp), stamp)
        except (DepthEncodingError, PointCloudError, TransformError, ImageError) as err:
            reason = type(err).__name__
            if not self.missing[reason] and not self.problem:
                _LOG.warning('%s: no true depth: %s', self._name, _of_image(stamp, err))
            self.missing[reason] += 1
            return None

    def _within(self) -> str:
        """How far a message may lie from an image, in words."""
        if not self._lidar:
            return f'{self._limit * 1e-9:.3f} s'
        return (
            f'{self._limit * 1e-9:.3f} s (where /tf tells how the robot moves, else '
            f'{_SAME_SWEEP_UNMOVED * 1e-9:.3f} s)'
        )

    def _nearest(self, stamp: int) -> int:
        """Number of the message that belongs to an image."""
        stamps = self._sorted
        if not stamps:
            msg = f'{self._topic} holds no message'
            raise TransformError(msg)
        best = _nearest_place(stamps, stamp)
        off = abs(stamps[best] - stamp)
        if off > self._limit:
            msg = (
                f'no message of {self._topic} lies within {self._within()} of the image '
                f'(the nearest is {off * 1e-9:.3f} s off); do both clocks agree?'
            )
            raise TransformError(msg)
        if not self._lidar:
            self._require_unambiguous(best, stamp)
        return self._order[best]

    def _require_unambiguous(self, place: int, stamp: int) -> None:
        """A depth image is one image's: none is as near to it, and it is to no other."""
        found = self._sorted[place]
        for other in (place - 1, place + 1):
            if 0 <= other < len(self._sorted):
                difference = abs(self._sorted[other] - stamp) - abs(found - stamp)
                if difference < _AS_NEAR and found != stamp or not difference:
                    msg = (
                        f'two messages of {self._topic} lie equally near to the image, '
                        f'{abs(found - stamp) * 1e-9:.3f} s off: record one with the stamp of '
                        'each image'
                    )
                    raise TransformError(msg)
        owner = self._images[_nearest_place(self._images, found)]
        if abs(owner - found) < abs(stamp - found):
            msg = f'the nearest message of {self._topic} belongs to an image that is nearer to it'
            raise TransformError(msg)

    def _depth(self, number: int, stamp: int) -> NDArray[np.float32]:
        kind, data = self._messages[number]
        message = deserialized(kind, data)
        if not self._lidar:
            return self._registered(message)
        swept = self._stamps[number]
        matrix, moved = self._transforms.transform(
            self._frame, stamp, message.header.frame_id, swept
        )
        if not moved and abs(swept - stamp) > _SAME_SWEEP_UNMOVED:
            msg = (
                f'the sweep of {self._topic} was taken {abs(swept - stamp) * 1e-9:.3f} s from the '
                f'image, more than {_SAME_SWEEP_UNMOVED * 1e-9:.3f} s, and /tf does not tell how '
                'the robot moved meanwhile: record its odometry (odom to base_link)'
            )
            raise TransformError(msg)
        points = points_of_message(message) @ matrix[:3, :3].T + matrix[:3, 3]
        depth = depth_from_points(points, self._camera)
        if not np.isfinite(depth).any():
            msg = (
                f'none of {len(points)} points of {self._topic} falls into the image: check the '
                f'calibration between {message.header.frame_id} and {self._frame}'
            )
            raise TransformError(msg)
        return depth

    def _registered(self, message: Any) -> NDArray[np.float32]:
        depth = depth_of_message(message)
        shape = (self._camera.height, self._camera.width)
        frame = str(message.header.frame_id).lstrip('/')
        if depth.shape != shape or frame != self._frame.lstrip('/'):
            msg = (
                f'{self._topic} is {message.width}x{message.height} in {frame}, the images are '
                f'{shape[1]}x{shape[0]} in {self._frame}: register it to the camera '
                '(depth_image_proc, align_depth)'
            )
            raise DepthEncodingError(msg)
        return depth


def _of_image(stamp: int, error: Exception) -> str:
    """Why an image has no true depth, in one line: names of frames are what a stranger wrote."""
    return f'image at {stamp * 1e-9:.3f} s: {" ".join(str(error).split())}'


def _nearest_place(stamps: list[int], stamp: int) -> int:
    """Where in sorted stamps the one nearest to another lies."""
    place = bisect_left(stamps, stamp)
    if place and (place == len(stamps) or stamp - stamps[place - 1] <= stamps[place] - stamp):
        return place - 1
    return place


def _spread(items: list[Any], most: int) -> list[Any]:
    """At most so many, the first few and then over all of them."""
    if len(items) <= most:
        return items
    places = np.unique(np.linspace(0, len(items) - 1, most - _LOOKED_AT).astype(int))
    return items[:_LOOKED_AT] + [items[place] for place in places if place >= _LOOKED_AT]

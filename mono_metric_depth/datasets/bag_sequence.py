# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""One camera of a ROS 2 bag as a sequence of frames, read on demand."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, CameraError, Mount, camera_from_info
from mono_metric_depth.compressed_image import compressed_size, decode_compressed
from mono_metric_depth.datasets import DamagedFrameError, DatasetError
from mono_metric_depth.datasets.bag import deserialized
from mono_metric_depth.datasets.bag_topics import (
    COMPRESSED_IMAGE,
    bag_messages,
    bag_topics,
    image_topic,
    info_topic,
    is_rectified,
    storage_of,
    truth_topic,
)
from mono_metric_depth.datasets.static_transforms import TF_STATIC, StaticTransforms
from mono_metric_depth.frame import Frame
from mono_metric_depth.image import ImageError, decode_message

_LOG = logging.getLogger(__name__)


class BagSequence:
    """Images of one topic of a bag, raw or compressed, with the camera that its camera_info names.

    A first pass lists the messages; images are read again, in order, as they are asked for, and
    one at a time is in memory. True depth is that of the topic ``depth_truth`` beside the image
    topic, as the ``drive`` command writes it. The mount is what ``/tf_static`` says between
    ``base_footprint``, or else ``base_link``, and the image's frame: the origin of that frame is
    taken to lie on the road.

    Args:
        path: The bag's folder, or a single ``.mcap`` or ``.db3`` file.
        topic: Of the images; the only one if left out.

    Attributes:
        camera: The camera of all images.
        mount: How it is mounted, or None.

    Raises:
        DatasetError: If the bag cannot be read, has no or several cameras, no usable camera_info,
            or images of another size than the camera's.
    """

    def __init__(self, path: Path, topic: str = '') -> None:
        self.name = f'{path}#{topic}' if topic else str(path)
        storage = storage_of(path)
        topics = bag_topics(storage)
        try:
            self.topic = image_topic(storage, topics, topic)
            info = info_topic(topics, self.topic)
        except DatasetError as err:
            msg = f'{path}: {err}'
            raise DatasetError(msg) from err
        truth = truth_topic(self.topic)
        depth = truth if truth in topics else ''
        index = _Index(self.name, self.topic, info, depth)
        damage: list[str] = []
        wanted = {self.topic, info, depth, TF_STATIC} & topics.keys()
        for name, time, kind, data in bag_messages(storage, wanted, damage=damage):
            index.add(name, time, kind, data)
        for line in damage:
            _LOG.warning('%s: %s', self.name, line)
        lost = topics[self.topic].messages - len(index.images)
        if damage and lost > 0:
            _LOG.warning('%s: %d messages of %s are lost', self.name, lost, self.topic)
        self.camera = index.camera()
        self.mount = index.mount()
        self._entries = index.images
        self._images = _Messages(storage, self.topic, [entry.time for entry in index.images])
        self._depth = _Messages(storage, depth, [time for time, _ in index.depths])
        self._depth_of = {stamp: number for number, (_, stamp) in enumerate(index.depths)}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def mounts(self) -> list[Mount | None]:
        """The mount of each frame: all the same."""
        return [self.mount] * len(self)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int, /) -> Frame:
        if not -len(self) <= index < len(self):
            msg = f'frame {index} of a bag of {len(self)} frames'
            raise IndexError(msg)
        index %= len(self)
        entry = self._entries[index]
        try:
            if entry.damage:
                raise ImageError(entry.damage, reason='message')
            image = self._image(*self._images[index])
            number = self._depth_of.get(entry.stamp)
            depth = None if number is None else self._truth(*self._depth[number])
        except ImageError as err:
            msg = f'{self.name}: {self.topic}, message {index}: {err}'
            raise DamagedFrameError(msg) from err
        return Frame(entry.stamp, image, self.camera, depth, None, self.mount)

    def _image(self, kind: str, data: bytes) -> NDArray[np.uint8]:
        message = deserialized(kind, data)
        if kind != COMPRESSED_IMAGE:
            # Not a view: the message would stay in memory with it.
            return np.array(decode_message(message).as_rgb())
        file = bytes(message.data)
        _require_size(self.name, self.topic, compressed_size(file), self.camera)
        return decode_compressed(file, message.format).as_rgb()

    def _truth(self, kind: str, data: bytes) -> NDArray[np.float32]:
        message = deserialized(kind, data)
        shape = (self.camera.height, self.camera.width)
        if message.encoding != '32FC1' or (message.height, message.width) != shape:
            msg = (
                f'{self.name}: depth is {message.width}x{message.height} {message.encoding}, '
                f'the images are {shape[1]}x{shape[0]}; expected 32FC1 of the same size'
            )
            raise DatasetError(msg)
        octets = np.asarray(message.data, np.uint8)
        if message.step < shape[1] * 4 or octets.size < message.step * shape[0]:
            msg = f'its depth holds {octets.size} bytes, step {message.step}'
            raise ImageError(msg, reason='short_data')
        rows = octets[: message.step * shape[0]].reshape(shape[0], message.step)
        order = '>f4' if message.is_bigendian else '<f4'
        depth = np.ascontiguousarray(rows[:, : shape[1] * 4]).view(order)
        return depth.astype(np.float32)


def _require_size(name: str, topic: str, size: tuple[int, int], camera: Camera) -> None:
    if size != (camera.width, camera.height):
        msg = (
            f'{name}: an image of {topic} is {size[0]}x{size[1]}, but its camera_info describes '
            f'{camera.width}x{camera.height}; record images of one size together with their own '
            'camera_info, or cut the bag where the size changes (ros2 bag convert)'
        )
        raise DatasetError(msg)


class _Entry(NamedTuple):
    """A message of the image topic: when it was received, its header, what is wrong with it."""

    time: int
    stamp: int
    damage: str


class _Index:
    """What a first pass over a bag gathers."""

    def __init__(self, name: str, topic: str, info: str, depth: str) -> None:
        self._name, self._topic, self._info, self._depth = name, topic, info, depth
        self.images: list[_Entry] = []
        self.depths: list[tuple[int, int]] = []
        self._sizes: set[tuple[int, int]] = set()
        self._frame = ''
        self._camera: Camera | None = None
        self._fields: Any = None
        self._transforms = StaticTransforms()

    def add(self, topic: str, time: int, kind: str, data: bytes) -> None:
        """A message, in the bag's order."""
        try:
            message = deserialized(kind, data)
        except DatasetError as err:
            if topic == self._topic:
                self.images.append(_Entry(time, -1, str(err)))
            elif topic == self._depth:
                self.depths.append((time, -2))
            else:
                _LOG.warning('%s: skipped a message of %s: %s', self._name, topic, err)
            return
        if topic == TF_STATIC:
            self._transforms.add(message)
            return
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        if topic == self._topic:
            self.images.append(_Entry(time, stamp, ''))
            self._frame = self._frame or message.header.frame_id
            if kind != COMPRESSED_IMAGE:
                self._sizes.add((message.width, message.height))
        elif topic == self._depth:
            self.depths.append((time, stamp))
        elif topic == self._info:
            self._add_info(message, stamp)

    def _add_info(self, message: Any, stamp: int) -> None:
        roi = message.roi
        fields = (
            (message.width, message.height, message.binning_x, message.binning_y),
            (roi.x_offset, roi.y_offset, roi.width, roi.height),
            message.distortion_model,
            *(tuple(map(float, values)) for values in (message.k, message.d, message.p)),
        )
        if fields == self._fields:
            return
        try:
            camera = camera_from_info(message, rectified=is_rectified(self._topic))
        except CameraError as err:
            msg = f'{self._name}: {self._info}: {err}'
            raise DatasetError(msg) from err
        if self._camera not in (None, camera):
            msg = (
                f'{self._name}: {self._info} changes at {stamp * 1e-9:.3f} s, from {self._camera} '
                f'to {camera}; one drive has one camera: fix zoom and calibration while '
                'recording, or cut the bag there (ros2 bag convert)'
            )
            raise DatasetError(msg)
        self._fields, self._camera = fields, camera

    def camera(self) -> Camera:
        """The one camera, once it is known to fit the images."""
        if not self.images:
            msg = f'{self._name}: {self._topic} holds no message'
            raise DatasetError(msg)
        stamps = {entry.stamp for entry in self.images if not entry.damage}
        if len(stamps) == 1 and len(self.images) > 2:
            msg = (
                f'{self._name}: every message of {self._topic} has the stamp {stamps.pop()} ns; '
                'let the camera driver fill in header.stamp'
            )
            raise DatasetError(msg)
        if self._camera is None:
            msg = f'{self._name}: {self._info} holds no readable message; record it again'
            raise DatasetError(msg)
        for size in sorted(self._sizes, reverse=True):
            _require_size(self._name, self._topic, size, self._camera)
        return self._camera

    def mount(self) -> Mount | None:
        """The mount that tf_static tells; None, with a reason in the log, if it tells none."""
        try:
            return self._transforms.mount(self._frame)
        except CameraError as err:
            _LOG.warning('%s: the mount in /tf_static is not used: %s', self._name, err)
            return None


class _Messages:
    """Messages of one topic by number; fast in order, one look-up otherwise."""

    def __init__(self, storage: Path, topic: str, times: list[int]) -> None:
        self._storage, self._topic = storage, topic
        self._times = np.array(times, np.int64)
        self._next: Iterator[tuple[int, tuple[str, bytes]]] = iter(())
        self._place = len(times)

    def __getitem__(self, number: int) -> tuple[str, bytes]:
        """Type and CDR bytes."""
        if number < self._place:
            self._next = self._from(number)
        for place, message in self._next:
            self._place = place + 1
            if place == number:
                return message
            if place > number:
                break
        self._place = len(self._times)  # look it up anew
        msg = 'the bag is damaged there, or has changed while it was read'
        raise ImageError(msg, reason='message')

    def _from(self, number: int) -> Iterator[tuple[int, tuple[str, bytes]]]:
        """Messages with their numbers, from the first that was received when this one was."""
        start = int(self._times[number])
        numbers = np.nonzero(self._times >= start)[0]
        for _, time, kind, data in bag_messages(self._storage, {self._topic}, start=start):
            # Past damage, one reading may find messages that another did not.
            found = 0
            if not len(numbers) or self._times[numbers[0]] != time:
                (places,) = np.nonzero(self._times[numbers] == time)
                if not len(places):
                    continue
                found = int(places[0])
            place, numbers = int(numbers[found]), numbers[found + 1 :]
            yield place, (kind, data)

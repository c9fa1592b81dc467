# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""One camera of a ROS 2 bag as a sequence of frames, read on demand."""

from __future__ import annotations

import logging
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, CameraError, Mount, camera_from_info
from mono_metric_depth.compressed_image import compressed_size, decode_compressed
from mono_metric_depth.datasets import DamagedFrameError, DatasetError
from mono_metric_depth.datasets.bag import deserialized
from mono_metric_depth.datasets.bag_message_list import BagMessageList
from mono_metric_depth.datasets.bag_storage import bag_messages, bag_topics, storage_of
from mono_metric_depth.datasets.bag_topics import (
    COMPRESSED_IMAGE,
    camera_topics,
    image_topic,
    info_topic,
    is_rectified,
    require_stamps,
    truth_topic,
)
from mono_metric_depth.datasets.bag_truth import POINT_CLOUD, BagTruth, require_truth
from mono_metric_depth.datasets.said_once import said_once
from mono_metric_depth.datasets.static_transforms import TF_STATIC, StaticTransforms
from mono_metric_depth.datasets.transform_tree import TF, TransformTree
from mono_metric_depth.frame import Frame
from mono_metric_depth.image import ImageError, decode_message

_LOG = logging.getLogger(__name__)
_LOG.addFilter(said_once)
#: So many damaged places of a bag are named, the others counted.
_NAMED = 5
#: Most messages of a topic; what compresses well may unpack to more than there is memory for.
_MOST_MESSAGES = 10_000_000
#: So many calibrations are no few messages that went wrong: the camera zooms.
_MOST_VIEWS = 100


def drive_names(path: Path, choice: str) -> list[str]:
    """A name for each camera of a bag, of one that is chosen, or of a bag with one camera.

    Args:
        path: The bag.
        choice: See :class:`BagSequence`.
    """
    images, comma, truth = choice.partition(',')
    try:
        storage = storage_of(path)
        cameras = [] if images else camera_topics(storage, bag_topics(storage))
    except (DatasetError, OSError):  # whoever opens it hears why
        cameras = []
    if len(cameras) < 2:
        return [f'{path}#{choice}' if choice else str(path)]
    return [f'{path}#{topics[0]}{comma}{truth}' for topics in cameras]


class BagSequence:
    """Images of one topic of a bag, raw or compressed, with the camera that its camera_info names.

    A first pass lists the messages; images are read again, in order, as they are asked for, and
    one at a time is in memory. True depth is that of the topic that is named, a depth image of the
    same camera or the sweeps of a LiDAR (:class:`BagTruth`); else of ``depth_truth`` beside the
    image topic, as the ``drive`` command writes it. The mount is what ``/tf_static`` says between
    ``base_footprint``, or else ``base_link``, and the image's frame: the origin of that frame is
    taken to lie on the road. An image of another size than the camera, or whose own camera_info
    describes another one, is as good as damaged.

    Args:
        path: The bag's folder, or a single ``.mcap`` or ``.db3`` file.
        topic: Of the images, the only one if left out; ``IMAGES,TRUTH`` or ``,TRUTH`` names that
            of true depth, too.

    Attributes:
        topic: Of the images.
        truth: Finds true depth, or None.
        camera: The camera of the images.
        mount: How it is mounted, or None.
        lost: How many images lay where the bag is damaged.
        damage: What of the bag cannot be read, first of all; '' if nothing.
        unchecked: Its files that carry no checksums.

    Raises:
        DatasetError: If the bag cannot be read, has no or several cameras, no usable camera_info
            or one that changes, or no image of the camera's size.
    """

    def __init__(self, path: Path, topic: str = '') -> None:
        self.name = f'{path}#{topic}' if topic else str(path)
        storage = storage_of(path)
        topics = bag_topics(storage)
        images, _, named = topic.partition(',')
        try:
            self.topic = image_topic(storage, topics, images)
            info = info_topic(topics, self.topic)
            if named == self.topic:
                msg = f'{named} holds the images, not their true depth'
                raise DatasetError(msg)
            depth = named or truth_topic(self.topic)
            kind = require_truth(topics, depth) if named or depth in topics else ''
        except DatasetError as err:
            msg = f'{path}: {err}'
            raise DatasetError(msg) from err
        depth = depth if kind else ''
        index = _Index(self.name, self.topic, info, depth)
        damage: list[str] = []
        wanted = {self.topic, info, depth, TF_STATIC} & topics.keys()
        if kind == POINT_CLOUD:
            wanted |= {TF} & topics.keys()
        self.unchecked: list[Path] = []
        messages = bag_messages(storage, wanted, damage=damage, unchecked=self.unchecked)
        for name, time, message_kind, data in messages:
            index.add(name, time, message_kind, data)
        self.lost = max(topics[self.topic].messages - len(index.images), 0) if damage else 0
        self.damage = damage[0] if damage else ''
        if damage:
            self._tell(damage, len(index.images), topics[self.topic].messages)
        if damage and TF_STATIC in wanted and not index.has_mounting:
            msg = (
                f'{self.name}: /tf_static is lost to damage ({damage[0]}), and how the camera is '
                'mounted with it: repair the bag (mcap recover), or record it again'
            )
            raise DatasetError(msg)
        self.camera = index.camera()
        self.mount = index.mount()
        self._entries = index.images_of(self.camera)
        self._images = BagMessageList(storage, self.topic, [entry.time for entry in index.images])
        self.truth: BagTruth | None = None
        if kind:
            self.truth = BagTruth(
                self.name, storage, depth, kind, self.camera, index.frame, index.tree
            )
            stamps = [entry.stamp for entry in index.images if not entry.damage]
            self.truth.index(index.depths, stamps, named=bool(named))

    def _tell(self, damage: list[str], read: int, messages: int) -> None:
        """Say what cannot be read."""
        lost = messages - read
        lost_too = f', {lost} {"are" if lost > 1 else "is"} lost' if lost > 0 else ''
        for line in (
            *damage[:_NAMED],
            *([f'{len(damage) - _NAMED} more places are damaged'] if len(damage) > _NAMED else []),
            f'{read} messages of {self.topic} are read{lost_too}',
        ):
            _LOG.warning('%s: %s', self.name, line)

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
            depth = None if self.truth is None else self.truth.depth(entry.stamp)
        except ImageError as err:
            msg = f'{self.name}: {self.topic}, message {index}: {err}'
            raise DamagedFrameError(msg) from err
        return Frame(entry.stamp, image, self.camera, depth, None, self.mount)

    def _image(self, kind: str, data: bytes | memoryview) -> NDArray[np.uint8]:
        message = deserialized(kind, data)
        if kind != COMPRESSED_IMAGE:
            self._require_size(message.width, message.height)
            # Not a view: the message would stay in memory with it.
            return np.array(decode_message(message).as_rgb())
        file = bytes(message.data)
        self._require_size(*compressed_size(file, message.format))
        return decode_compressed(file, message.format).as_rgb()

    def _require_size(self, width: int, height: int) -> None:
        if (width, height) != (self.camera.width, self.camera.height):
            raise ImageError(_misfit((width, height), self.camera), reason='size')


def _told(camera: Camera | str) -> str:
    """A calibration, or what is wrong with it, in words."""
    if isinstance(camera, str):
        return camera
    return (
        f'{camera.width}x{camera.height} px with fx {camera.fx:.1f}, fy {camera.fy:.1f}, '
        f'cx {camera.cx:.1f}, cy {camera.cy:.1f}'
    )


def _misfit(size: tuple[int, int], camera: Camera) -> str:
    return (
        f'it is {size[0]}x{size[1]}, but its camera_info describes {camera.width}x{camera.height};'
        ' record images of one size together with their own camera_info, or cut the bag where '
        'the size changes (ros2 bag convert)'
    )


class _Entry(NamedTuple):
    """A message of the image topic: when it was received, its header, what is wrong with it."""

    time: int
    stamp: int
    damage: str


class _Index:
    """What a first pass over a bag gathers."""

    def __init__(self, name: str, topic: str, info: str, depth: str) -> None:
        self._name, self._topic, self._info, self._depth = name, topic, info, depth
        self._counts: Counter[str] = Counter()
        self.images: list[_Entry] = []
        self.depths: list[tuple[int, int]] = []
        self._sizes: set[tuple[int, int]] = set()
        self.frame = ''
        self.tree = TransformTree()
        self._fields: Any = None
        self._view: Camera | str = ''
        self._views: dict[Camera | str, array[int]] = {}
        self._transforms = StaticTransforms()

    def add(self, topic: str, time: int, kind: str, data: bytes | memoryview) -> None:
        """A message, in the bag's order."""
        self._counts[topic] += 1
        if self._counts[topic] > _MOST_MESSAGES:
            msg = f'{self._name}: more than {_MOST_MESSAGES} messages of {topic}; cut the bag'
            raise DatasetError(msg)
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
        if topic in {TF, TF_STATIC}:
            self._add_transforms(message, static=topic == TF_STATIC)
            return
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        if topic == self._topic:
            self.images.append(_Entry(time, stamp, ''))
            self.frame = self.frame or message.header.frame_id
            if kind != COMPRESSED_IMAGE:
                self._sizes.add((message.width, message.height))
        elif topic == self._depth:
            self.depths.append((time, stamp))
        elif topic == self._info:
            self._add_info(message, stamp)

    def _add_transforms(self, message: Any, *, static: bool) -> None:
        if static:
            self._transforms.add(message)
        try:
            self.tree.add(message, static=static)
        except CameraError as err:
            _LOG.warning('%s: %s', self._name, err)

    def _add_info(self, message: Any, stamp: int) -> None:
        roi = message.roi
        fields = (
            (message.width, message.height, message.binning_x, message.binning_y),
            (roi.x_offset, roi.y_offset, roi.width, roi.height),
            message.distortion_model,
            *(tuple(map(float, values)) for values in (message.k, message.d, message.p)),
        )
        if fields != self._fields:
            self._fields = fields
            try:
                self._view = camera_from_info(message, rectified=is_rectified(self._topic))
            except CameraError as err:
                self._view = str(err)
        self._views.setdefault(self._view, array('q')).append(stamp)
        if len(self._views) > _MOST_VIEWS:
            raise self._changing()

    def _changing(self) -> DatasetError:
        first, second, *_ = self._views
        return DatasetError(
            f'{self._name}: {self._info} changes at {self._views[second][0] * 1e-9:.3f} s, '
            f'from {_told(first)} to {_told(second)}; one drive has one camera: fix zoom and '
            'calibration while recording, or cut the bag there (ros2 bag convert)'
        )

    def camera(self) -> Camera:
        """The camera of most camera_info, once it is known to fit images."""
        if not self.images:
            msg = f'{self._name}: {self._topic} holds no message that can be read; record it again'
            raise DatasetError(msg)
        stamps = (entry.stamp for entry in self.images if not entry.damage)
        require_stamps(self._name, self._topic, stamps)
        if not self._views:
            msg = f'{self._name}: {self._info} holds no readable message; record it again'
            raise DatasetError(msg)
        camera = max(self._views, key=lambda view: len(self._views[view]))
        if isinstance(camera, str):
            msg = f'{self._name}: {self._info}: {camera}'
            raise DatasetError(msg)
        if 2 * len(self._views[camera]) <= sum(map(len, self._views.values())):
            raise self._changing()
        if self._sizes and (camera.width, camera.height) not in self._sizes:
            msg = f'{self._name}: {self._topic}: {_misfit(max(self._sizes), camera)}'
            raise DatasetError(msg)
        return camera

    def images_of(self, camera: Camera) -> list[_Entry]:
        """The images; as good as damaged are those that another camera may have taken."""
        if len(self._views) == 1:
            return self.images
        own = set(self._views[camera])
        others = {
            stamp: f'describes {_told(view)}, not {_told(camera)} as most do'
            if isinstance(view, Camera)
            else view
            for view, stamps in self._views.items()
            if view != camera
            for stamp in stamps
        }
        unknown = 'has changed and none has its stamp: let the driver stamp both alike'
        return [
            entry._replace(damage=f'{self._info} {others.get(entry.stamp, unknown)}')
            if not entry.damage and (entry.stamp in others or entry.stamp not in own)
            else entry
            for entry in self.images
        ]

    @property
    def has_mounting(self) -> bool:
        """Whether any message of tf_static was read."""
        return self._counts[TF_STATIC] > 0

    def mount(self) -> Mount | None:
        """The mount that tf_static tells; None, with a reason in the log, if it tells none."""
        try:
            return self._transforms.mount(self.frame)
        except CameraError as err:
            _LOG.warning('%s: the mount in /tf_static is not used: %s', self._name, err)
            return None

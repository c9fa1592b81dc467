# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What lies in a ROS 2 bag: its topics, and which of them is the camera."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.bag import deserialized
from mono_metric_depth.datasets.bag_storage import bag_messages
from mono_metric_depth.datasets.stored_topic import StoredTopic

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
#: Words in the last part of a topic's name that no camera's images bear, whatever their encoding.
_NO_CAMERA = ('depth', 'disparity', 'truth')
#: Encodings of sensor_msgs/Image that hold depth or disparity.
_DEPTH_ENCODINGS = frozenset({'16UC1', '16SC1', '32FC1', '64FC1'})

#: So few images may have one stamp.
_ALIKE = 2


def image_topic(storage: Path, topics: dict[str, StoredTopic], chosen: str) -> str:
    """The topic to take images from.

    Args:
        storage: The bag, to tell images from depth by their first message.
        topics: Its topics.
        chosen: What the user named, or empty.

    Returns:
        The one that was named, or the only camera's; of one camera's raw and compressed images
        the raw ones.

    Raises:
        DatasetError: If there is no such topic, no camera or more than one.
    """
    images = [
        name
        for name, topic in topics.items()
        if topic.kind in {IMAGE, COMPRESSED_IMAGE} and topic.messages
    ]
    cameras = camera_topics(storage, topics)
    if chosen:
        if chosen in images and not _is_depth(storage, chosen):
            return chosen
        listed = ', '.join(name for names in cameras for name in names) or 'none'
        found = f'no images on {chosen!r}'
        if chosen in images:
            found = f'{chosen!r} holds depth, not images (true depth is named as IMAGES,{chosen})'
        elif chosen in topics and topics[chosen].kind in {IMAGE, COMPRESSED_IMAGE}:
            found = f'no message on {chosen!r}'
        msg = f'{found}; image topics are {listed}'
        raise DatasetError(msg)
    if not cameras:
        msg = f'no images; topics are {", ".join(sorted(topics)) or "none"}'
        raise DatasetError(msg)
    if len(cameras) > 1:
        listed = ', '.join(name for names in cameras for name in names)
        msg = f'several image topics: {listed}; choose one: {storage}#{cameras[0][0]}'
        raise DatasetError(msg)
    return cameras[0][0]


def camera_topics(storage: Path, topics: dict[str, StoredTopic]) -> list[list[str]]:
    """The image topics of each camera of a bag, raw before compressed; depth is left out.

    Args:
        storage: The bag, to tell images from depth by their first message.
        topics: Its topics.
    """
    cameras: dict[str, list[str]] = {}
    for name, topic in sorted(topics.items()):  # raw before compressed
        image = topic.kind in {IMAGE, COMPRESSED_IMAGE} and topic.messages
        # What the node and replay add is no camera.
        preview = name.endswith('/depth/preview/compressed')
        if image and not preview and not _is_depth(storage, name):
            cameras.setdefault(_base(name), []).append(name)
    seen = [
        names
        for base, names in cameras.items()
        if not any(word in base.rpartition('/')[2] for word in _NO_CAMERA)
    ]
    return seen or list(cameras.values())


def info_topic(topics: dict[str, StoredTopic], image: str) -> str:
    """The camera_info of an image topic: beside it, or the only one in the bag.

    Raises:
        DatasetError: If there is none, or it cannot be told which.
    """
    infos = [
        name for name, topic in topics.items() if topic.kind == CAMERA_INFO and topic.messages
    ]
    # image_transport: beside the raw topic; some drivers: beside the compressed one.
    for beside in (_base(image), image):
        name = f'{beside.rpartition("/")[0]}/camera_info'
        if name in infos:
            return name
    if len(infos) == 1:
        return infos[0]
    expected = f'{_base(image).rpartition("/")[0]}/camera_info'
    if infos:
        msg = (
            f'no {expected} for {image}, and several others: {", ".join(sorted(infos))}; remap '
            'the right one to that name (ros2 bag convert, or ros2 bag play --remap and record)'
        )
        raise DatasetError(msg)
    msg = (
        f'no camera_info for {image}; record {expected} (sensor_msgs/CameraInfo), too: without '
        'the calibration there is no metric depth. For this bag, play it beside a publisher of '
        'the calibration and record both'
    )
    raise DatasetError(msg)


def require_stamps(name: str, topic: str, stamps: Iterable[int]) -> None:
    """Refuse images that nothing can be told apart or paired by.

    Args:
        name: The bag's, for the error.
        topic: Theirs.
        stamps: Of each (ns); read on until two differ.

    Raises:
        DatasetError: If there are several and all are the same.
    """
    first, count = -1, 0
    for count, stamp in enumerate(stamps, 1):
        if count == 1:
            first = stamp
        elif stamp != first:
            return
    if count > _ALIKE:
        msg = (
            f'{name}: every message of {topic} has the stamp {first} ns; let the camera driver '
            'fill in header.stamp'
        )
        raise DatasetError(msg)


def truth_topic(image: str) -> str:
    """Where the ``drive`` command writes the true depth of an image topic."""
    return f'{_base(image).rpartition("/")[0]}/depth_truth'


def depth_namespace(image: str) -> str:
    """Where replay puts the depth of an image topic: the namespace of its camera."""
    return _base(image).rpartition('/')[0]


def is_rectified(image: str) -> bool:
    """Whether an image topic is rectified, by image_proc's names (image_rect, ...)."""
    return _base(image).rpartition('/')[2].startswith('image_rect')


def _base(image: str) -> str:
    return image.removesuffix('/compressed')


def _is_depth(storage: Path, topic: str) -> bool:
    for _, _, kind, data in bag_messages(storage, {topic}):
        try:
            message = deserialized(kind, data)
        except DatasetError:
            continue
        if kind == COMPRESSED_IMAGE:
            return 'compressedDepth' in message.format
        return message.encoding in _DEPTH_ENCODINGS
    # None that can be read: there is but its name.
    return 'depth' in topic

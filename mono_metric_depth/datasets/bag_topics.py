# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What lies in a ROS 2 bag: its topics, which of them is the camera, and its messages."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.bag import deserialized

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
#: Encodings of sensor_msgs/Image that hold depth or disparity.
_DEPTH_ENCODINGS = frozenset({'16UC1', '16SC1', '32FC1', '64FC1'})
#: Past damage, reading goes on after so long (ns), then twice, four times, ... as long.
_FIRST_STRIDE = 10**7


class Topic(NamedTuple):
    """A topic: type of its messages, and how many the bag's summary counts."""

    kind: str
    messages: int


def storage_of(path: Path) -> Path:
    """What to open of a bag: the folder, or its one file where the metadata are missing.

    Args:
        path: A bag's folder or file.

    Returns:
        The folder or the file.

    Raises:
        DatasetError: If it is no ROS 2 bag.
    """
    if path.suffix == '.bag' and path.is_file():
        msg = f'{path}: a ROS 1 bag; convert it with rosbags-convert'
        raise DatasetError(msg)
    if not path.is_dir() or (path / 'metadata.yaml').is_file():
        return path
    files = sorted(file for file in path.iterdir() if file.suffix in {'.mcap', '.db3'})
    if len(files) != 1:
        msg = f'{path}: {len(files)} bag files but no metadata.yaml; run: ros2 bag reindex {path}'
        raise DatasetError(msg)
    return files[0]


def bag_topics(storage: Path) -> dict[str, Topic]:
    """The topics of a bag by name."""
    topics: dict[str, Topic] = {}
    with _opened(storage) as reader:
        for connection in reader.connections:
            before = topics.get(connection.topic)
            count = connection.msgcount + (before.messages if before else 0)
            topics[connection.topic] = Topic(connection.msgtype, count)
    return topics


def bag_messages(
    storage: Path,
    topics: Collection[str],
    *,
    start: int | None = None,
    damage: list[str] | None = None,
) -> Generator[tuple[str, int, str, bytes], None, None]:
    """Messages of a bag in its order; what is damaged is stepped over.

    Args:
        storage: See :func:`storage_of`.
        topics: Only these.
        start: Only what was received then or later (ns).
        damage: Takes a line for each place that could not be read.

    Yields:
        Topic, time of receipt (ns), type, CDR bytes.

    Raises:
        DatasetError: If the bag cannot be opened.
    """
    with _opened(storage) as reader:
        wanted = [connection for connection in reader.connections if connection.topic in topics]
        if not wanted:
            return
        reached = reader.start_time if start is None else start
        stride, told = _FIRST_STRIDE, False
        while True:
            try:
                for connection, time, data in reader.messages(wanted, start=start):
                    yield connection.topic, time, connection.msgtype, data
                    reached, stride, told = time, _FIRST_STRIDE, False
            except Exception as err:
                # Damage has no common base: SQLite's, zstd's, lz4's, struct's errors come through.
                if damage is not None and not told:
                    damage.append(f'damaged after {reached * 1e-9:.3f} s: {err or repr(err)}')
                told = True
                start, stride = reached + stride, stride * 2
                if start < reader.end_time:
                    continue
            return


def image_topic(storage: Path, topics: dict[str, Topic], chosen: str) -> str:
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
    if chosen:
        if chosen in images:
            return chosen
        listed = ', '.join(sorted(images)) or 'none'
        msg = f'no images on {chosen!r}; image topics are {listed}'
        raise DatasetError(msg)
    cameras = camera_topics(storage, topics)
    if not cameras:
        msg = f'no images; topics are {", ".join(sorted(topics)) or "none"}'
        raise DatasetError(msg)
    if len(cameras) > 1:
        listed = ', '.join(name for names in cameras for name in names)
        msg = f'several image topics: {listed}; choose one: {storage}#{cameras[0][0]}'
        raise DatasetError(msg)
    return cameras[0][0]


def camera_topics(storage: Path, topics: dict[str, Topic]) -> list[list[str]]:
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
    return list(cameras.values())


def bag_connections(storage: Path) -> list[Connection]:
    """One connection for each topic of a bag: its type with definition, its QoS.

    Raises:
        DatasetError: If a topic has two types.
    """
    found: dict[str, Connection] = {}
    with _opened(storage) as reader:
        for connection in reader.connections:
            first = found.setdefault(connection.topic, connection)
            if first.msgtype != connection.msgtype:
                msg = (
                    f'{storage}: {connection.topic} has two types, {first.msgtype} and '
                    f'{connection.msgtype}; leave it out'
                )
                raise DatasetError(msg)
    return list(found.values())


def info_topic(topics: dict[str, Topic], image: str) -> str:
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
    return False


@contextmanager
def _opened(storage: Path) -> Iterator[Reader]:
    reader: Reader | None = None
    try:
        reader = Reader(storage)
        reader.open()
    except Exception as err:  # see bag_messages
        msg = (
            f'{storage}: cannot read the bag: {err or repr(err)}; if its recording was cut short, '
            'mend it with "mcap recover" or "ros2 bag reindex"'
        )
        raise DatasetError(msg) from err
    try:
        yield reader
    finally:
        reader.close()

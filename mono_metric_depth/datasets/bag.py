# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""ROS 2 bags, written and read without ROS."""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Writer
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from mono_metric_depth.camera import OPTICAL_FROM_BODY, Camera, Mount
from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.bag_storage import bag_messages, bag_topics, storage_of
from mono_metric_depth.datasets.checked_writer import CheckedWriter
from mono_metric_depth.frame import Frame

IMAGE_TOPIC = '/camera/image_raw'
INFO_TOPIC = '/camera/camera_info'
TRUTH_TOPIC = '/camera/depth_truth'
_OPTICAL_FRAME = 'camera_optical_frame'
_BASE_FRAME = 'base_link'
_LAST_SECOND = 2**31 - 1
_TF_STATIC = '/tf_static'
# Players publish as was recorded, and tf listeners take /tf_static only from a latching publisher.
_LATCHED = Qos(
    history=QosHistory.KEEP_LAST,
    depth=1,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.TRANSIENT_LOCAL,
    deadline=QosTime(0, 0),
    lifespan=QosTime(0, 0),
    liveliness=QosLiveliness.SYSTEM_DEFAULT,
    liveliness_lease_duration=QosTime(0, 0),
    avoid_ros_namespace_conventions=False,
)

_STORE = get_typestore(Stores.ROS2_JAZZY)
_MESSAGE = _STORE.types


@contextmanager
def new_bag(path: Path) -> Iterator[RawBagWriter]:
    """A new MCAP bag; it appears whole when the block ends, and not at all if it fails.

    Args:
        path: The bag's folder; must not exist.

    Yields:
        The writer.

    Raises:
        DatasetError: If the folder exists.
    """
    if path.exists():
        msg = f'{path} exists already; choose another folder or remove it'
        raise DatasetError(msg)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.part')
    _remove_bag(part)
    writer = CheckedWriter(part)
    try:
        with writer:
            yield RawBagWriter(writer)
        # The metadata names the storage file, which is named after the folder.
        metadata = part / 'metadata.yaml'
        metadata.write_text(metadata.read_text().replace(f'{part.name}.mcap', f'{path.name}.mcap'))
        (part / f'{part.name}.mcap').rename(part / f'{path.name}.mcap')
        part.rename(path)
    except BaseException:
        _remove_bag(part)
        raise


def _remove_bag(path: Path) -> None:
    """Remove what a run of this left that did not end."""
    if path.is_dir():
        own = {f'{path.name}.mcap', 'metadata.yaml', 'metadata.yaml.tmp'}
        if strange := [file for file in path.iterdir() if file.name not in own]:
            msg = f'{strange[0]} is in the way; remove it or choose another name'
            raise DatasetError(msg)
        for file in path.iterdir():
            file.unlink()
        path.rmdir()


class RawBagWriter:
    """Writes serialised messages."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._connections: dict[str, Any] = {}

    def write(self, topic: str, kind: str, stamp: int, message: Any) -> None:
        """Write one message.

        Args:
            topic: Its topic.
            kind: Its type, e.g. ``sensor_msgs/msg/Image``.
            stamp: When it was received (ns).
            message: CDR bytes, or a message of the rosbags type store.
        """
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic,
                kind,
                typestore=_STORE,
                offered_qos_profiles=[_LATCHED] if topic == _TF_STATIC else [],
            )
        data = message
        if not isinstance(message, bytes | bytearray | memoryview):
            data = _STORE.serialize_cdr(message, kind)
        self._writer.write(self._connections[topic], stamp, data)


def write_drive(path: Path, frames: Iterable[Frame]) -> int:
    """Write a drive as a bag: image, camera_info, true depth where known, tf_static.

    Args:
        path: The bag's folder; must not exist.
        frames: The frames, in order of time. The optical frame is ``camera_optical_frame``; where
            the mount is known, ``base_link`` lies on the road below it.

    Returns:
        How many frames were written.

    Raises:
        DatasetError: If the folder exists, there is no frame, or a stamp is not a ROS time.
    """
    count = 0
    with new_bag(path) as bag:
        for frame in frames:
            if not 0 <= frame.stamp // 10**9 <= _LAST_SECOND:
                msg = f'stamp {frame.stamp} ns is no ROS time (0..{_LAST_SECOND} s)'
                raise DatasetError(msg)
            header = _header(frame.stamp)
            if not count and frame.mount is not None:
                kind = 'tf2_msgs/msg/TFMessage'
                bag.write(_TF_STATIC, kind, frame.stamp, _static_transform(header, frame.mount))
            info = camera_info_message(header, frame.camera)
            bag.write(INFO_TOPIC, 'sensor_msgs/msg/CameraInfo', frame.stamp, info)
            kind = 'sensor_msgs/msg/Image'
            bag.write(IMAGE_TOPIC, kind, frame.stamp, image_message(header, 'rgb8', frame.image))
            if frame.depth is not None:
                depth = image_message(header, '32FC1', frame.depth)
                bag.write(TRUTH_TOPIC, kind, frame.stamp, depth)
            count += 1
        if not count:
            msg = 'a drive needs at least one frame'
            raise DatasetError(msg)
    return count


def read_messages(
    path: Path, topics: Iterable[str] | None = None
) -> Iterator[tuple[str, int, Any]]:
    """Messages of a bag, in order of time.

    Args:
        path: The bag's folder, or a single MCAP or sqlite3 file.
        topics: Only these; all if left out.

    Yields:
        Topic, time of receipt (ns), message.

    Raises:
        DatasetError: If the bag or a message cannot be read, or the bag lacks a topic.
    """
    for topic, stamp, kind, data in read_raw_messages(path, topics):
        try:
            message = deserialized(kind, data)
        except DatasetError as err:
            msg = f'{path}: {topic} at {stamp} ns: {err}'
            raise DatasetError(msg) from err
        yield topic, stamp, message


def deserialized(kind: str, data: bytes | memoryview) -> Any:
    """A message from its bytes.

    Args:
        kind: Its type, e.g. ``sensor_msgs/msg/Image``.
        data: CDR bytes.

    Returns:
        The message.

    Raises:
        DatasetError: If the bytes are damaged, or the type is not known.
    """
    try:
        # Of bytes, rosbags takes a slice, which is a copy.
        return _STORE.deserialize_cdr(memoryview(data), kind)
    except (AssertionError, IndexError, KeyError, SerdeError, ValueError, struct.error) as err:
        msg = f'damaged, or {kind} is not known: {err!r}'
        raise DatasetError(msg) from err


def read_raw_messages(
    path: Path, topics: Iterable[str] | None = None
) -> Iterator[tuple[str, int, str, bytes | memoryview]]:
    """Like :func:`read_messages`, but not deserialised: topic, time, type, CDR bytes."""
    storage, damage = storage_of(path), list[str]()
    known = bag_topics(storage).keys()
    wanted = known if topics is None else set(topics)
    missing = sorted(wanted - known)
    if missing:
        msg = f'{path}: no topic {missing[0]}; there are {", ".join(sorted(known))}'
        raise DatasetError(msg)
    for message in bag_messages(storage, wanted, damage=damage):
        if damage:
            break
        yield message
    if damage:
        msg = f'{path}: cannot read the bag: {damage[0]}'
        raise DatasetError(msg)


def header_stamp(data: bytes | memoryview) -> int:
    """Stamp (ns) of a serialised message that begins with a header (CDR, either byte order)."""
    order = '<' if data[1] & 1 else '>'
    seconds, nanoseconds = struct.unpack_from(f'{order}iI', data, 4)
    return int(seconds) * 10**9 + int(nanoseconds)


def _header(stamp: int) -> Any:
    time = _MESSAGE['builtin_interfaces/msg/Time'](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return _MESSAGE['std_msgs/msg/Header'](stamp=time, frame_id=_OPTICAL_FRAME)


def image_message(header: Any, encoding: str, pixels: np.ndarray) -> Any:
    """A sensor_msgs/Image of (h, w) or (h, w, c) pixels, in this machine's byte order."""
    data = np.ascontiguousarray(pixels)
    return _MESSAGE['sensor_msgs/msg/Image'](
        header=header,
        height=data.shape[0],
        width=data.shape[1],
        encoding=encoding,
        is_bigendian=int(sys.byteorder == 'big'),
        step=data.strides[0],
        data=data.reshape(-1).view(np.uint8),
    )


def camera_info_message(header: Any, camera: Camera) -> Any:
    """The sensor_msgs/CameraInfo of a monocular camera: R the identity and P = [K | 0]."""
    projection = np.zeros((3, 4))
    projection[:, :3] = np.reshape(camera.K, (3, 3))
    roi = _MESSAGE['sensor_msgs/msg/RegionOfInterest']
    return _MESSAGE['sensor_msgs/msg/CameraInfo'](
        header=header,
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model,
        d=np.array(camera.distortion or (0.0,) * 5),
        k=np.array(camera.K),
        r=np.eye(3).ravel(),
        p=projection.ravel(),
        binning_x=0,
        binning_y=0,
        roi=roi(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def _static_transform(header: Any, mount: Mount) -> Any:
    """base_link, on the road below the camera and looking along it, to the optical frame."""
    w, x, y, z = _quaternion(OPTICAL_FROM_BODY.T @ mount.rotation())
    transform = _MESSAGE['geometry_msgs/msg/Transform'](
        translation=_MESSAGE['geometry_msgs/msg/Vector3'](x=0.0, y=0.0, z=mount.height or 0.0),
        rotation=_MESSAGE['geometry_msgs/msg/Quaternion'](x=x, y=y, z=z, w=w),
    )
    base = _MESSAGE['std_msgs/msg/Header'](stamp=header.stamp, frame_id=_BASE_FRAME)
    stamped = _MESSAGE['geometry_msgs/msg/TransformStamped'](
        header=base, child_frame_id=_OPTICAL_FRAME, transform=transform
    )
    return _MESSAGE['tf2_msgs/msg/TFMessage'](transforms=[stamped])


def _quaternion(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """w, x, y, z of a rotation matrix: Bar-Itzhack's eigenvector (2000), stable everywhere."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    matrix = np.array(
        [
            [xx - yy - zz, 0, 0, 0],
            [yx + xy, yy - xx - zz, 0, 0],
            [zx + xz, zy + yz, zz - xx - yy, 0],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    x, y, z, w = np.linalg.eigh(matrix / 3)[1][:, -1]
    sign = math.copysign(1.0, w)
    return float(sign * w), float(sign * x), float(sign * y), float(sign * z)

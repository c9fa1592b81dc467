# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Bags as robots record them: either storage, raw or compressed, whole or not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from scipy.spatial.transform import Rotation

from mono_metric_depth.camera import Camera

STORE = get_typestore(Stores.ROS2_HUMBLE)
CAMERA = Camera(40, 24, 33.0, 34.0, 18.5, 11.25, 'plumb_bob', (-0.1, 0.02, 1e-3, -1e-3, 0.0))
FIRST = 1_700_000_000 * 10**9
#: Topic, type, stamp (ns), message or its bytes.
Message = tuple[str, str, int, Any]


def write_bag(
    path: Path, messages: Iterable[Message], storage: StoragePlugin = StoragePlugin.MCAP
) -> Path:
    with Writer(path, version=9, storage_plugin=storage) as writer:
        connections: dict[str, Any] = {}
        for topic, kind, stamp, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            data = message
            if not isinstance(message, bytes):
                data = bytes(STORE.serialize_cdr(message, kind))
            writer.write(connections[topic], stamp, data)
    return path


def header(stamp: int, frame: str = 'camera_optical_frame') -> Any:
    time = STORE.types['builtin_interfaces/msg/Time'](stamp // 10**9, stamp % 10**9)
    return STORE.types['std_msgs/msg/Header'](time, frame)


def info(
    stamp: int, topic: str = '/camera/camera_info', camera: Camera = CAMERA, **changes: Any
) -> Message:
    kind = 'sensor_msgs/msg/CameraInfo'
    roi = STORE.types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)
    projection = np.zeros((3, 4))
    projection[:, :3] = np.reshape(camera.K, (3, 3))
    values: dict[str, Any] = {
        'header': header(stamp),
        'height': camera.height,
        'width': camera.width,
        'distortion_model': camera.distortion_model,
        'd': np.array(camera.distortion),
        'k': np.array(camera.K),
        'r': np.eye(3).ravel(),
        'p': projection.ravel(),
        'binning_x': 0,
        'binning_y': 0,
        'roi': roi,
    }
    return topic, kind, stamp, STORE.types[kind](**{**values, **changes})


def raw(
    stamp: int,
    pixels: np.ndarray,
    topic: str = '/camera/image_raw',
    encoding: str = 'rgb8',
    **changes: Any,
) -> Message:
    kind = 'sensor_msgs/msg/Image'
    values: dict[str, Any] = {
        'header': header(stamp),
        'height': pixels.shape[0],
        'width': pixels.shape[1],
        'encoding': encoding,
        'is_bigendian': 0,
        'step': pixels.strides[0],
        'data': np.ascontiguousarray(pixels).reshape(-1).view(np.uint8),
    }
    return topic, kind, stamp, STORE.types[kind](**{**values, **changes})


def compressed(
    stamp: int,
    pixels: np.ndarray,
    topic: str = '/camera/image_raw/compressed',
    encoding: str = 'rgb8; jpeg compressed bgr8',
    file: bytes | None = None,
) -> Message:
    """``pixels`` are RGB."""
    kind = 'sensor_msgs/msg/CompressedImage'
    if file is None:
        suffix = '.png' if 'png' in encoding else '.jpg'
        stored = pixels if 'compressed rgb' in encoding else pixels[..., ::-1]
        file = cv2.imencode(suffix, stored, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    data = np.frombuffer(file, np.uint8)
    return topic, kind, stamp, STORE.types[kind](header(stamp), encoding, data)


def picture(seed: int, width: int = 40, height: int = 24) -> np.ndarray:
    """A smooth RGB image, that JPEG keeps."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def static_transform(
    parent: str, child: str, translation: tuple[float, ...], quaternion: tuple[float, ...]
) -> Any:
    """``quaternion`` is x, y, z, w."""
    types = STORE.types
    transform = types['geometry_msgs/msg/Transform'](
        types['geometry_msgs/msg/Vector3'](*translation),
        types['geometry_msgs/msg/Quaternion'](*quaternion),
    )
    return types['geometry_msgs/msg/TransformStamped'](header(0, parent), child, transform)


def transforms(*stamped: Any) -> Message:
    kind = 'tf2_msgs/msg/TFMessage'
    return '/tf_static', kind, FIRST, STORE.types[kind](list(stamped))


def cloud(
    stamp: int, points: np.ndarray, topic: str = '/lidar/points', frame: str = 'lidar'
) -> Message:
    """A LiDAR's sensor_msgs/PointCloud2 of (n, 3) points (m): x, y, z, intensity."""
    kind, field = 'sensor_msgs/msg/PointCloud2', STORE.types['sensor_msgs/msg/PointField']
    data = np.zeros((len(points), 4), np.float32)
    data[:, :3] = points
    names = ('x', 'y', 'z', 'intensity')
    fields = [field(name, 4 * place, 7, 1) for place, name in enumerate(names)]
    message = STORE.types[kind](
        header(stamp, frame),
        1,
        len(data),
        fields,
        False,
        16,
        16 * len(data),
        data.reshape(-1).view(np.uint8),
        True,
    )
    return topic, kind, stamp, message


def moved(stamp: int, parent: str, child: str, matrix: np.ndarray, topic: str = '/tf') -> Message:
    """A tf2_msgs/TFMessage of one transform, (4, 4)."""
    kind = 'tf2_msgs/msg/TFMessage'
    quaternion = Rotation.from_matrix(matrix[:3, :3]).as_quat()
    stamped = static_transform(parent, child, tuple(map(float, matrix[:3, 3])), tuple(quaternion))
    stamped.header = header(stamp, parent)
    return topic, kind, stamp, STORE.types[kind]([stamped])


def dgp_bag(path: Path, scenes: Path, cameras: tuple[str, ...]) -> Path:
    """The first scene of a DGP data set as a robot would have recorded it: JPEG, LiDAR, tf.

    Every sensor's frame hangs from ``map`` by its own pose at its own stamp; sweeps are 0.21 s
    older than the images.
    """
    file = json.loads(scenes.read_text())['scene_splits']['0']['filenames'][0]
    scene = json.loads((scenes.parent / file).read_text())
    data = {item['key']: item for item in scene['data']}
    messages: list[Message] = []
    first: list[datetime] = []
    for sample in scene['samples']:
        calibration = scenes.parent / Path(file).parent / 'calibration'
        known = json.loads((calibration / f'{sample["calibration_key"]}.json').read_text())
        for item in (data[key] for key in sample['datum_keys']):
            (datum,) = (d for d in item['datum'].values() if d and 'filename' in d)
            name = item['id']['name']
            taken = datetime.fromisoformat(item['id']['timestamp'].replace('Z', '+00:00'))
            first = first or [taken]
            stamp = FIRST + (taken - first[0]) // timedelta(microseconds=1) * 1000
            content = scenes.parent / Path(file).parent / datum['filename']
            if name in cameras:
                k = known['intrinsics'][known['names'].index(name)]
                pixels = cv2.imread(str(content))
                size = pixels.shape[1], pixels.shape[0]
                camera = Camera(*size, k['fx'], k['fy'], k['cx'], k['cy'])
                picture = cv2.imencode('.jpg', pixels)[1].tobytes()
                frame = f'{name.lower()}_optical_frame'
                new = [
                    info(stamp, f'/{name.lower()}/camera_info', camera),
                    compressed(
                        stamp, pixels, f'/{name.lower()}/image_raw/compressed', file=picture
                    ),
                ]
                for message in new:
                    message[3].header.frame_id = frame
            elif 'point_cloud' in item['datum']:
                frame = 'lidar'
                new = [cloud(stamp, np.load(content)['data'][:, :3])]
            else:
                continue
            messages += [*new, moved(stamp, 'map', frame, _dgp_pose(datum['pose']))]
    return write_bag(path, sorted(messages, key=lambda message: message[2]))


def _dgp_pose(pose: Any) -> np.ndarray:
    q, t = pose['rotation'], pose['translation']
    matrix = np.eye(4)
    rotation = Rotation.from_quat([q['qx'], q['qy'], q['qz'], q['qw']])
    matrix[:3, :3], matrix[:3, 3] = rotation.as_matrix(), [t['x'], t['y'], t['z']]
    return matrix

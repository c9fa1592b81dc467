# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The relational tables of nuScenes: what one camera and the LiDAR recorded in each scene.

``sample_data.json`` and ``ego_pose.json`` of the whole data set hold 2.6 million rows each: they
are read row by row, and only what the camera needs is kept.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.documents import what_is_wrong
from mono_metric_depth.datasets.rigid_transform import rigid_transform

LIDAR = 'LIDAR_TOP'
TABLES = ('scene', 'sample', 'sample_data', 'calibrated_sensor', 'ego_pose', 'sensor')
_CHUNK = 1 << 20
#: No row of these tables has a thousandth of it (characters).
_MAX_ROW = 1 << 22


class Recording(NamedTuple):
    """A file that a sensor recorded.

    Attributes:
        stamp: When (us).
        filename: Where, from the data set's folder.
        sensor: Token of its calibration.
        ego_pose: Token of the vehicle's pose at that time.
        key_frame: Whether it belongs to a key frame.
        size: Width and height of an image (px).
    """

    stamp: int
    filename: str
    sensor: str
    ego_pose: str
    key_frame: bool
    size: tuple[int, int]


@dataclass
class Scene:
    """What a camera and the LiDAR recorded in a scene, in order of time."""

    images: list[Recording] = field(default_factory=list)
    clouds: list[Recording] = field(default_factory=list)


@dataclass(frozen=True)
class Tables:
    """What a camera needs of the tables.

    Attributes:
        scenes: By name.
        sensors: Calibrations by token: (4, 4) sensor to vehicle (m), and the 3x3 intrinsics.
        ego_poses: (4, 4) vehicle to world (m) as 7 numbers, by token.
    """

    scenes: dict[str, Scene]
    sensors: dict[str, tuple[NDArray[np.float64], Any]]
    ego_poses: dict[str, tuple[float, ...]]

    def pose(self, recording: Recording) -> NDArray[np.float64]:
        """(4, 4) sensor to world (m), when it recorded this.

        Raises:
            DatasetError: If the tables have no pose for it, or a damaged one.
        """
        try:
            numbers = self.ego_poses[recording.ego_pose]
            return rigid_transform(numbers[:4], numbers[4:]) @ self.sensors[recording.sensor][0]
        except (KeyError, ValueError) as err:
            msg = f'ego_pose {recording.ego_pose} of {recording.filename}: {what_is_wrong(err)}'
            raise DatasetError(msg) from err


def scene_names(folder: Path) -> list[str]:
    """The scenes of a version.

    Args:
        folder: Such as ``v1.0-mini``.

    Returns:
        Their names, sorted.

    Raises:
        DatasetError: If the table is missing or damaged.
    """
    return sorted(
        str(_value(folder, 'scene', row, 'name')) for row in _rows(folder / 'scene.json')
    )


def read_tables(folder: Path, channel: str) -> Tables:
    """What one camera needs of a version's tables.

    Args:
        folder: Such as ``v1.0-mini``.
        channel: Such as ``CAM_FRONT``.

    Returns:
        That; kept in memory for the next scene.

    Raises:
        DatasetError: If a table is missing or damaged, or there is no such channel.
    """
    missing = [f'{name}.json' for name in TABLES if not (folder / f'{name}.json').is_file()]
    if missing:
        msg = f'{folder}: {", ".join(missing)} missing; unpack the metadata of nuScenes again'
        raise DatasetError(msg)
    changed = tuple((folder / f'{name}.json').stat().st_mtime_ns for name in TABLES)
    return _read(folder, channel, changed)


@lru_cache(maxsize=2)
def _read(folder: Path, channel: str, _changed: tuple[int, ...]) -> Tables:
    def table(name: str) -> Iterator[Any]:
        for row in _rows(folder / f'{name}.json'):
            current[:] = [name]
            yield row

    current = ['']
    try:
        names = {row['token']: row['name'] for row in table('scene')}
        scene_of = {row['token']: names[row['scene_token']] for row in table('sample')}
        channels = {row['token']: row['channel'] for row in table('sensor')}
        of_sensor, sensors = {}, {}
        for row in table('calibrated_sensor'):
            name = channels[row['sensor_token']]
            if name in (channel, LIDAR):
                of_sensor[row['token']] = name
                matrix = rigid_transform(row['rotation'], row['translation'])
                sensors[row['token']] = matrix, row['camera_intrinsic']
        if channel not in channels.values():
            there = ', '.join(sorted(name for name in channels.values() if name[:3] == 'CAM'))
            msg = f'{folder}: no camera {channel!r}; there are {there}'
            raise DatasetError(msg)
        scenes = {name: Scene() for name in names.values()}
        for row in table('sample_data'):
            token = row['calibrated_sensor_token']
            if token not in of_sensor:
                continue
            scene = scenes[scene_of[row['sample_token']]]
            rows = scene.images if of_sensor[token] == channel else scene.clouds
            rows.append(
                Recording(
                    int(row['timestamp']),
                    str(row['filename']),
                    sys.intern(token),
                    str(row['ego_pose_token']),
                    bool(row['is_key_frame']),
                    (int(row['width'] or 0), int(row['height'] or 0)),
                )
            )
        wanted = {
            row.ego_pose for scene in scenes.values() for row in (*scene.images, *scene.clouds)
        }
        ego_poses = {
            row['token']: tuple(map(float, (*row['rotation'], *row['translation'])))
            for row in table('ego_pose')
            if row['token'] in wanted
        }
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        if isinstance(err, DatasetError):
            raise
        msg = f'{folder / current[0]}.json: damaged: {what_is_wrong(err)}'
        raise DatasetError(msg) from err
    for scene in scenes.values():
        scene.images.sort()
        scene.clouds.sort()
    return Tables(scenes, sensors, ego_poses)


def _value(folder: Path, table: str, row: Any, key: str) -> Any:
    try:
        return row[key]
    except (KeyError, TypeError) as err:
        msg = f'{folder / table}.json: a row without {key}'
        raise DatasetError(msg) from err


def _rows(path: Path) -> Iterator[Any]:
    """The rows of a table, one at a time: a JSON list of objects."""
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding='utf-8') as file:
            text = file.read(_CHUNK).lstrip()
            if not text.startswith('['):
                msg = 'it is no list'
                raise ValueError(msg)
            place = 1
            while True:
                while place < len(text) and text[place] in ' \n\r\t,':
                    place += 1
                if text[place : place + 1] == ']':
                    return
                try:
                    row, place = decoder.raw_decode(text, place)
                except ValueError:
                    # The row goes on in the next chunk, or is damaged.
                    more = file.read(_CHUNK)
                    if not more or len(text) - place > _MAX_ROW:
                        raise
                    text, place = text[place:] + more, 0
                    continue
                if not isinstance(row, dict):
                    msg = f'a row is no object: {str(row)[:40]}'
                    raise ValueError(msg)
                yield row
    except (OSError, ValueError, RecursionError) as err:
        if isinstance(err, DatasetError):
            raise
        msg = f'{path}: missing or damaged table: {what_is_wrong(err)}'
        raise DatasetError(msg) from err

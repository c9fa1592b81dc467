# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Data in the format of TRI's Dataset Governance Policy (DGP), as DDAD uses it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, CameraError, Mount, mount_from_transform
from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.choices import Kinds, chosen, drive_name
from mono_metric_depth.datasets.documents import read_json, what_is_wrong
from mono_metric_depth.datasets.image_file import read_image
from mono_metric_depth.datasets.lidar import depth_from_points, read_npz, require_overlap
from mono_metric_depth.datasets.principal_point import require_centred
from mono_metric_depth.datasets.rigid_transform import rigid_transform
from mono_metric_depth.frame import Frame

SHAPE = "a DGP scene_dataset json (ddad.json), its folder, or one scene's json"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_SPLITS = {'train': '0', 'val': '1', 'test': '2'}
_KINDS: Kinds = {'split': _SPLITS.__contains__, 'camera': lambda word: '.' not in word}
_DESCRIBED = 'a split (train, val or test) and a camera such as CAMERA_05'
#: The one ahead, which the protocol of DDAD is about.
_CAMERA = 'CAMERA_01'
#: Order of OpenCV and sensor_msgs/CameraInfo.
_DISTORTION = ('k1', 'k2', 'p1', 'p2', 'k3', 'k4', 'k5', 'k6')


def is_here(path: Path) -> bool:
    """Whether a path is a scene data set, its folder, or a scene."""
    return path.suffix == '.json' and path.is_file() or len(_indices(path)) == 1


def drive_names(path: Path, choice: str) -> list[str]:
    """A name for each scene: of one split, or of all; of the camera ahead unless one is chosen."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    scenes = _scenes(path, words.get('split'))
    # Named even where it is not chosen: which camera it is shall be seen.
    return [drive_name(scene, words.get('camera', _CAMERA)) for scene in scenes]


def open_drive(path: Path, choice: str) -> DgpSequence:
    """A scene."""
    words = chosen(choice, _KINDS, _DESCRIBED)
    return DgpSequence(path, words.get('camera', _CAMERA), words.get('split'))


def drive_files(path: Path, choice: str) -> list[Path]:
    """What is read for a scene."""
    scenes = _scenes(path, chosen(choice, _KINDS, _DESCRIBED).get('split'))
    return [file for scene in scenes for file in scene.parent.rglob('*')]


def _indices(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return [*path.glob('ddad.json'), *path.glob('scene_dataset*.json')]


def _scenes(path: Path, split: str | None) -> list[Path]:
    """The scenes that a scene data set lists, each once; a scene itself."""
    path = _indices(path)[0] if path.is_dir() else path
    document = read_json(path)
    if isinstance(document, dict) and 'samples' in document and 'scene_splits' not in document:
        return [path]
    try:
        splits = document['scene_splits']
        wanted = sorted(splits) if split is None else [_SPLITS[split]]
        missing = [key for key in wanted if key not in splits]
        files = [] if missing else [file for key in wanted for file in splits[key]['filenames']]
        scenes = [path.parent / file for file in dict.fromkeys(files)]
    except (AttributeError, KeyError, TypeError) as err:
        msg = f'{path}: not a DGP scene data set: {what_is_wrong(err)}'
        raise DatasetError(msg) from err
    if not scenes:
        names = [name for name, key in _SPLITS.items() if key in splits]
        wanted_split = f'split {split}' if split else 'split'
        msg = f'{path}: no {wanted_split} with scenes; there are: {", ".join(names) or "none"}'
        raise DatasetError(msg)
    return scenes


class _Recorded(NamedTuple):
    """A file of a sensor, and the sensor's pose in the world when it was recorded."""

    file: Path
    pose: NDArray[np.float64]


class _Sample(NamedTuple):
    """An image with the LiDAR's turn beside it, if there is one; its stamp in us."""

    image: _Recorded
    cloud: _Recorded | None
    stamp: int
    calibration: str


class DgpSequence:
    """One camera of a scene, with LiDAR as ground truth.

    Stamps count from the scene's first image of this camera: DGP anonymises dates to years that
    neither int64 nanoseconds nor ROS time can hold.

    Args:
        path: The scene's json; or a scene data set (``ddad.json``) that lists one scene alone.
        camera: Name of the camera; case does not matter.
        split: Where a scene data set is given: ``train``, ``val`` or ``test``.

    Raises:
        DatasetError: If a file is missing or damaged, there is no such camera, or several scenes.
    """

    def __init__(self, path: Path, camera: str = _CAMERA, split: str | None = None) -> None:
        self.name = f'{path}#{camera}'
        self._camera_name = camera
        scenes = _scenes(path, split)
        if len(scenes) > 1:
            msg = f'{path} is {len(scenes)} drives: open each of sequence_names({str(path)!r})'
            raise DatasetError(msg)
        self._folder = scenes[0].parent
        scene = read_json(scenes[0])
        names: set[str] = set()
        self._samples: list[_Sample] = []
        try:
            self._data = {item['key']: item for item in scene['data']}
            names |= {item['id']['name'] for item in scene['data'] if 'image' in item['datum']}
            for sample in scene['samples']:
                image = self._datum(sample, 'image', camera)
                if image is not None:
                    cloud = self._datum(sample, 'point_cloud', None)
                    self._samples.append(
                        _Sample(
                            self._recorded(image, 'image'),
                            None if cloud is None else self._recorded(cloud, 'point_cloud'),
                            _stamp_us(image),
                            str(sample['calibration_key']),
                        )
                    )
        except (AttributeError, KeyError, TypeError) as err:
            msg = f'{scenes[0]}: not a DGP scene: {what_is_wrong(err)}'
            raise DatasetError(msg) from err
        if not self._samples:
            msg = f'{path}: no images of {camera!r}; there are {", ".join(sorted(names))}'
            raise DatasetError(msg)

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    @property
    def mounts(self) -> list[Mount | None]:
        """The mount of each frame."""
        # Samples share a few calibrations; their intrinsics fit an image of any size.
        keys = {sample.calibration for sample in self._samples}
        known = {key: self._mount(self._calibration(key, 1, 1)[1]) for key in keys}
        return [known[sample.calibration] for sample in self._samples]

    def __getitem__(self, index: int, /) -> Frame:
        sample = self._samples[index]
        image = read_image(sample.image.file)
        camera, vehicle_from_camera = self._calibration(
            sample.calibration, image.shape[1], image.shape[0]
        )
        require_centred(camera, sample.image.file)
        depth = None
        if sample.cloud is not None:
            # Each sensor has its own stamp, and so its own pose.
            camera_from_lidar = np.linalg.inv(sample.image.pose) @ sample.cloud.pose
            points = read_npz(sample.cloud.file)
            points = points @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
            depth = depth_from_points(points, camera)
            require_overlap(depth, sample.cloud.file)
        return Frame(
            stamp=(sample.stamp - self._samples[0].stamp) * 1000,
            image=image,
            camera=camera,
            depth=depth,
            pose=sample.image.pose,
            mount=self._mount(vehicle_from_camera),
        )

    def _recorded(self, item: Any, kind: str) -> _Recorded:
        """File and pose of a datum."""
        content = item['datum'][kind]
        file = self._folder / str(content['filename'])
        try:
            return _Recorded(file, _matrix(content['pose']))
        except (KeyError, TypeError, ValueError) as err:
            msg = f'{file}: its pose is missing or damaged: {what_is_wrong(err)}'
            raise DatasetError(msg) from err

    def _mount(self, vehicle_from_camera: NDArray[np.float64]) -> Mount:
        try:
            return mount_from_transform(vehicle_from_camera)
        except CameraError as err:
            msg = f'{self.name}: cameras must look ahead, within a quarter turn: {err}'
            raise DatasetError(msg) from err

    def _datum(self, sample: Any, kind: str, name: str | None) -> Any:
        for key in sample['datum_keys']:
            item = self._data[key]
            if kind in item['datum'] and name in (None, item['id']['name']):
                return item
            if name and kind in item['datum'] and item['id']['name'].lower() == name.lower():
                return item
        return None

    def _calibration(
        self, key: str, width: int, height: int
    ) -> tuple[Camera, NDArray[np.float64]]:
        path = self._folder / 'calibration' / f'{key}.json'
        document = read_json(path)
        try:
            names = [name.lower() for name in document['names']]
            index = names.index(self._camera_name.lower())
            camera = _camera(document['intrinsics'][index], width, height)
            return camera, _matrix(document['extrinsics'][index])
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as err:
            msg = f'{path}: no calibration of {self._camera_name}: {what_is_wrong(err)}'
            raise DatasetError(msg) from err


def _camera(k: Any, width: int, height: int) -> Camera:
    """The camera of DGP intrinsics; DDAD's images are rectified, others may be distorted."""
    known = {'fx', 'fy', 'cx', 'cy', *_DISTORTION}
    odd = {key: value for key, value in k.items() if key not in known and value}
    if odd:
        msg = f'{odd} is a lens or a skew that is not supported; rectify the images first'
        raise ValueError(msg)
    distortion = tuple(float(k.get(key, 0.0)) for key in _DISTORTION)
    model = 'rational_polynomial'
    if not any(distortion[5:]):
        model, distortion = 'plumb_bob', distortion[:5]
    fx, fy, cx, cy = (float(k[name]) for name in ('fx', 'fy', 'cx', 'cy'))
    return Camera(width, height, fx, fy, cx, cy, model, distortion)


def _matrix(pose: Any) -> NDArray[np.float64]:
    """(4, 4) from a unit quaternion and a translation."""
    rotation, translation = pose['rotation'], pose['translation']
    return rigid_transform(
        [float(rotation[name]) for name in ('qw', 'qx', 'qy', 'qz')],
        [float(translation[axis]) for axis in 'xyz'],
    )


def _stamp_us(datum: Any) -> int:
    try:
        stamp = datetime.datetime.fromisoformat(datum['id']['timestamp'].replace('Z', '+00:00'))
        return (stamp - _EPOCH) // datetime.timedelta(microseconds=1)
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        msg = f'an image without a valid timestamp: {err!r}'
        raise DatasetError(msg) from err

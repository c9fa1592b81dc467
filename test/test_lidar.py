# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""LiDAR: clouds on disk, projection, and real sweeps on real images."""

from __future__ import annotations

import io
import math
import tracemalloc
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from analytic_scene import turn

from mono_metric_depth.camera import Camera
from mono_metric_depth.datasets import DamagedFrameError
from mono_metric_depth.datasets.dgp import DgpSequence
from mono_metric_depth.datasets.lidar import (
    MAX_BYTES,
    depth_from_points,
    historical_depth,
    read_bin,
    read_npz,
    require_overlap,
)
from mono_metric_depth.frame import Frame

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT.parent / 'shared' / 'data' / 'dgp_sample' / 'scene_dataset_v1.0.json'
CAMERA = Camera(4, 3, 2.0, 2.0, 1.0, 1.0)
CAMERAS = ('CAMERA_01', 'CAMERA_05', 'CAMERA_06')


def test_the_nearest_point_wins_a_pixel_and_points_behind_are_left_out() -> None:
    points = np.array([[0, 0, 5.0], [0, 0, 3.0], [0, 0, 4.0], [0, 0, -2.0], [9, 0, 1.0]])
    depth = depth_from_points(points, CAMERA)
    assert depth[1, 1] == 3
    assert np.isnan(depth).sum() == 11


def test_the_historical_way_keeps_what_lies_before_the_lidar() -> None:
    points = np.array([[0, 0, 5.0], [0, 0, 3.0], [1.0, 0, 2.0]])
    depth = historical_depth(points, CAMERA, np.array([5.3, 3.3, -1.0]))
    assert depth[0, 0] == np.float32(3.3)
    assert np.isnan(depth).sum() == 11


def test_depth_without_a_point_is_refused() -> None:
    depth = depth_from_points(np.array([[0, 0, -1.0]]), CAMERA)
    with pytest.raises(DamagedFrameError, match=r'a\.bin: not one of its points falls into'):
        require_overlap(depth, Path('a.bin'))


def test_points_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    points = np.array([[1, 2, 3, 0], [np.nan, 0, 0, 0], [4, np.inf, 5, 0], [6, 7, 8, np.nan]])
    points.astype('<f4').tofile(tmp_path / 'a.bin')
    np.savez(tmp_path / 'a.npz', data=points)
    expected = [[1, 2, 3], [6, 7, 8]]
    assert read_bin(tmp_path / 'a.bin', 4).tolist() == expected
    assert read_npz(tmp_path / 'a.npz').tolist() == expected


def test_structured_clouds_are_read_by_the_names_of_their_fields(tmp_path: Path) -> None:
    kind = [('INTENSITY', 'f4'), ('Z', 'f4'), ('Y', 'f4'), ('X', 'f4')]
    np.savez_compressed(tmp_path / 'a.npz', data=np.array([(9, 3, 2, 1)], kind))
    assert read_npz(tmp_path / 'a.npz').tolist() == [[1, 2, 3]]


def _archive(path: Path, header: str, size: int, level: int = 9) -> Path:
    """An archive whose array claims this header and holds so many zeros."""
    text = header.encode().ljust(117) + b'\n'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        entry = b'\x93NUMPY\x01\x00' + len(text).to_bytes(2, 'little') + text
        with archive.open('data.npy', 'w', force_zip64=True) as file:
            file.write(entry)
            for _ in range(size >> 20):
                file.write(bytes(1 << 20))
    return path


@pytest.mark.parametrize(
    ('header', 'size'),
    [
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776, 4), }", 1 << 20),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (16777216, 4), }", MAX_BYTES * 4),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (131072,), }", 1 << 20),
    ],
)
def test_an_archive_that_claims_too_much_takes_no_memory(
    header: str, size: int, tmp_path: Path
) -> None:
    path = _archive(tmp_path / 'a.npz', header, size, level=1)
    assert path.stat().st_size < 10_000_000
    tracemalloc.start()
    with pytest.raises(DamagedFrameError, match=r'a\.npz: missing or damaged point cloud: it cla'):
        read_npz(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MAX_BYTES


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    entry = io.BytesIO()
    np.save(entry, np.array([{'a': 1}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
        archive.writestr('data.npy', entry.getvalue())
    with pytest.raises(DamagedFrameError, match='missing or damaged point cloud'):
        read_npz(tmp_path / 'a.npz')


# The real sample


def _square(size: int) -> np.ndarray:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_RECT, (size, size)))


def silhouettes(depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of points with a far one near them, but no nearer one.

    The LiDAR looks over objects: it sees points behind them that the camera does not.
    """
    known = np.isfinite(depth)
    nearest = cv2.erode(np.where(known, depth, 1e6).astype(np.float32), _square(25))
    seen = np.where(known & (depth < 1.15 * nearest + 0.3), depth, 0).astype(np.float32)
    furthest = cv2.dilate(seen, _square(41))
    return np.nonzero((seen > 3) & (seen < 60) & (furthest > 1.3 * seen))


def edge_distance(image: np.ndarray) -> np.ndarray:
    """How far (px) each pixel is from an edge in the image, up to 30."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.5)
    return np.minimum(cv2.distanceTransform(255 - cv2.Canny(grey, 30, 80), cv2.DIST_L2, 5), 30)


def points_of(frame: Frame) -> np.ndarray:
    assert frame.depth is not None
    rows, columns = np.nonzero(np.isfinite(frame.depth))
    rays = frame.camera.rays(np.stack([columns, rows], axis=-1))
    return np.asarray(rays * frame.depth[rows, columns][:, None])


@pytest.mark.skipif(not SAMPLE.is_file(), reason='the real sample is not here')
def test_real_lidar_lies_on_the_objects() -> None:
    # The sample's own calibration leaves 0.2 m between LiDAR and images at near objects, so that
    # a degree cannot be told; three can, about each axis, in all three cameras taken together.
    frames = [DgpSequence(SAMPLE, name)[0] for name in CAMERAS]
    cameras = [frame.camera for frame in frames]
    edges = [edge_distance(frame.image) for frame in frames]

    points = [points_of(frame) for frame in frames]

    def distance(rotation: np.ndarray) -> float:
        turned = [cloud @ rotation[:3, :3].T for cloud in points]
        depths = [depth_from_points(*pair) for pair in zip(turned, cameras, strict=True)]
        pairs = zip(edges, depths, strict=True)
        return float(np.mean([edge[silhouettes(depth)].mean() for edge, depth in pairs]))

    as_calibrated = distance(np.eye(4))
    for axis in 'xyz':
        for degrees in (-4, -3, 3, 4):
            assert distance(turn(axis, math.radians(degrees))) > 1.02 * as_calibrated
    # Nor do the points of one camera lie on the edges of another one's image.
    places = [silhouettes(np.asarray(frame.depth)) for frame in frames]
    pairs = [(a, b, edges[a][places[b]].mean()) for a in range(3) for b in range(3)]
    own = np.mean([value for a, b, value in pairs if a == b])
    assert np.mean([value for a, b, value in pairs if a != b]) > 1.2 * own

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Looks change, shapes stay, and what is pasted brings its depth along."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.training.aligned_drive import AlignedDrive
from mono_metric_depth.training.mixed_batches import MixedBatches
from mono_metric_depth.training.randomisation import randomised

CAMERA = Camera(128, 64, 100.0, 100.0, 63.5, 27.0)
HEIGHT = 1.5


def flat_road(
    name: str = 'flat', *, height: float | None = HEIGHT, walls: float = 0.0
) -> AlignedDrive:
    """An empty road under an empty sky, or with a wall so far ahead (m)."""
    rows = np.arange(CAMERA.height, dtype=np.float32)[:, None]
    with np.errstate(divide='ignore'):
        road = np.where(rows > CAMERA.cy, HEIGHT * CAMERA.fy / (rows - CAMERA.cy), np.inf)
    depth = np.broadcast_to(road, (CAMERA.height, CAMERA.width))
    if walls:
        depth = np.minimum(depth, walls)
    image = np.random.default_rng(0).integers(
        60, 190, (3, CAMERA.height, CAMERA.width, 3), np.uint8
    )
    mount = None if height is None else Mount(0.0, 0.0, 0.0, height)
    seen = np.ones((CAMERA.height, CAMERA.width), bool)
    return AlignedDrive(name, image, np.stack([depth] * 3).astype(np.float16), seen, CAMERA, mount)


def drawn(
    drive: AlignedDrive, donors: list[AlignedDrive], count: int = 40
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float16], int]]:
    """Image, depth, and how far both were moved down (px), moved back."""
    for seed in range(count):
        image, depth, seen = randomised(
            drive.images[0],
            drive.depth[0].copy(),
            drive.seen,
            drive,
            donors,
            np.random.default_rng(seed),
        )
        moved = int(np.argmax(seen[:, 0])) or int(np.argmax(seen[::-1, 0])) * -1
        assert seen.sum() == seen.size - abs(moved) * seen.shape[1]
        yield np.roll(image, -moved, 0), np.roll(depth, -moved, 0), moved


def test_what_stands_on_the_road_stands_where_its_foot_is() -> None:
    drive = flat_road()
    feet, moves = 0, set()
    for image, depth, moved in drawn(drive, [drive]):
        moves.add(moved)
        assert image.shape == drive.images[0].shape
        assert image.dtype == np.uint8
        assert depth.dtype == np.float16
        changed = depth != drive.depth[0]
        assert (depth[changed] < drive.depth[0][changed]).all()
        for column in np.flatnonzero(changed.any(axis=0)):
            foot = int(np.flatnonzero(changed[:, column]).max())
            if foot < CAMERA.height - 2:  # its foot is in the image, on the road
                below = float(drive.depth[0][foot + 1, column])
                above = float(drive.depth[0][max(foot - 1, 28), column])
                assert below - 0.1 <= float(depth[foot, column]) <= above + 0.1
                feet += 1
    assert feet > 500
    assert len(moves) > 3


def test_nothing_is_put_on_a_road_that_is_not_known() -> None:
    drive = flat_road(height=None)
    for _, depth, _ in drawn(drive, [drive], 10):
        assert np.array_equal(depth, drive.depth[0])


def test_between_the_points_of_a_lidar_nothing_is_put_in_the_way() -> None:
    dense, sparse = flat_road(walls=20.0), flat_road(walls=10.0)
    sparse.depth[:, :, np.arange(CAMERA.width) % 4 > 0] = np.nan
    for _, depth, _ in drawn(sparse, [dense], 10):
        assert np.array_equal(depth, sparse.depth[0], equal_nan=True)
    without_boxes = dataclasses.replace(dense, mount=None)
    for _, depth, _ in drawn(without_boxes, [sparse], 10):
        assert np.array_equal(depth, dense.depth[0])


def test_things_of_another_image_come_with_their_depth_where_they_are_nearer() -> None:
    host, donor = flat_road(), flat_road(walls=20.0)
    host = dataclasses.replace(host, mount=None)
    pasted = [depth[10] for _, depth, _ in drawn(host, [donor])]
    assert {float(value) for row in pasted for value in row} == {20.0, np.inf}
    nearer = flat_road(walls=10.0)
    nearer = dataclasses.replace(nearer, mount=None)
    for _, depth, _ in drawn(nearer, [donor], 10):
        assert np.array_equal(depth, nearer.depth[0])


def test_unknown_depth_stays_unknown_and_looks_change() -> None:
    drive = flat_road()
    drive.depth[:, 40:50, 30:60] = np.nan
    different = 0
    for image, depth, _ in drawn(drive, [drive]):
        assert np.isnan(depth[40:50, 30:60]).all()
        assert np.isfinite(depth[51:]).all()
        different += not np.array_equal(image, drive.images[0])
    assert different >= 30


def test_batches_are_randomised_on_the_source_alone_and_the_same_again() -> None:
    pools = [flat_road('source')], [flat_road('target')], 6, 6, 3
    plain, batch, again = (
        MixedBatches(*pools, randomised=change).batch(5) for change in (False, True, True)
    )
    assert (batch.images == again.images).all()
    assert batch.depth[6:].isnan().all()
    changed = (batch.images != plain.images)[0].flatten(1).any(1)
    assert changed[:6].sum() >= 3  # most of the source, and none of the target
    assert not changed[6:].any()
    assert (batch.images[1] == batch.images[0])[changed].all()


def test_one_process_or_two_draw_the_same() -> None:
    pools = [flat_road('source')], [], 4, 0, 3
    whole = MixedBatches(*pools, randomised=True).batch(2)
    parts = [MixedBatches(*pools, randomised=True, part=(rank, 2)).batch(2) for rank in (0, 1)]
    assert (parts[1].images == whole.images[:, 1::2]).all()
    assert parts[0].depth == pytest.approx(whole.depth[::2].numpy(), nan_ok=True)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mono_metric_depth import restoration
from mono_metric_depth.alignment import Alignment, Resolution
from mono_metric_depth.camera import Camera, Mount

CANONICAL = Camera(256, 96, 205.0, 205.0, 127.5, 40.0)
SMALL = Camera(64, 40, 50.0, 50.0, 31.5, 17.0)
LENSES: tuple[tuple[str, tuple[float, ...]], ...] = (
    ('plumb_bob', ()),
    ('plumb_bob', (-0.30, 0.09, 1e-3, -2e-3, -0.01)),
    ('plumb_bob', (0.15, 0.02, -1e-3, 1e-3)),
    ('rational_polynomial', (5.1, 2.4, 1e-4, -2e-4, 0.11, 5.4, 4.0, 0.62)),
    ('equidistant', (-0.02, 0.006, -0.004, 0.0007)),
)


@st.composite
def cameras(draw: st.DrawFn) -> Camera:
    """40 to 110 degrees wide, off centre, distorted or not."""
    width, height = draw(st.sampled_from([(160, 120), (192, 108), (301, 97), (400, 250)]))
    fov = math.radians(draw(st.floats(40.0, 110.0)))
    model, distortion = draw(st.sampled_from(LENSES))
    # The focal length of a lens that is equidistant gives the angle itself.
    half = fov / 2 if model == 'equidistant' else math.tan(fov / 2)
    fx = width / 2 / half
    return Camera(
        width,
        height,
        fx,
        fx * draw(st.floats(0.9, 1.1)),
        (width - 1) * draw(st.floats(0.35, 0.65)),
        (height - 1) * draw(st.floats(0.35, 0.65)),
        model,
        distortion,
    )


mounts = st.builds(
    Mount, pitch=st.floats(-0.15, 0.35), roll=st.floats(-0.2, 0.2), yaw=st.floats(-0.3, 0.3)
)
#: n of planes n . X = 1 in the canonical frame (1/m): across, slanted, and the road.
planes = st.one_of(
    st.builds(lambda z: (0.0, 0.0, 1 / z), st.floats(1.0, 60.0)),
    st.builds(
        lambda z, a, b: (a / z, b / z, 1 / z),
        st.floats(1.0, 40.0),
        st.floats(-1.5, 1.5),
        st.floats(-1.5, 1.5),
    ),
    st.builds(lambda height: (0.0, 1 / height, 0.0), st.floats(0.4, 3.0)),
)


def neighbours_seen(alignment: Alignment, pixel: np.ndarray) -> np.ndarray:
    """Whether all canonical pixels around (..., 2) positions were seen; False outside."""
    last = np.array([alignment.canonical.width - 1, alignment.canonical.height - 1])
    inside = ((pixel >= 0) & (pixel <= last)).all(axis=-1)
    safe = np.where(inside[..., None], pixel, 0)
    result = inside
    for near in (np.floor(safe - 0.04), np.ceil(safe + 0.04)):
        near = np.clip(near, 0, last).astype(int)
        for u, v in ((near[..., 0], np.floor(safe[..., 1] - 0.04)), (near[..., 0], None)):
            row = np.ceil(safe[..., 1] + 0.04) if v is None else v
            row = np.clip(row, 0, last[1]).astype(int)
            result = result & alignment.seen[row, u]
    return np.asarray(result)


@given(
    camera=cameras(),
    mount=st.none() | mounts,
    plane=planes,
    resolution=st.sampled_from(['input', 'network']),
)
def test_depth_of_a_plane_survives_the_way_to_the_canonical_camera_and_back(
    camera: Camera, mount: Mount | None, plane: tuple[float, ...], resolution: Resolution
) -> None:
    rotation = None if mount is None else mount.rotation()
    alignment = Alignment(camera, CANONICAL, rotation)
    normal = np.array(plane)
    # On a ray (x, y, 1), n . (z x, z y, z) = 1: inverse depth is n . (x, y, 1).
    inverse = (CANONICAL.rays() @ normal).astype(np.float32)
    restored = alignment.restore(inverse, resolution)

    output = alignment.output_camera(resolution)
    assert output == (camera if resolution == 'input' else CANONICAL)
    rays = output.rays()
    level = rays if rotation is None else rays @ rotation.T
    with np.errstate(divide='ignore', invalid='ignore'):
        true = 1 / (level @ normal)
    known = np.isfinite(restored) & (true > 0.3) & (true < 80)
    assert restored.shape == true.shape
    np.testing.assert_allclose(restored[known], true[known], rtol=5e-3)

    # NaN only where the network did not see, and there always.
    pixel = CANONICAL.project(level)
    seen = neighbours_seen(alignment, pixel)
    assert np.isfinite(restored[seen & (true > 0.3) & (true < 80)]).all()
    outside = ((pixel < -1e-3) | (pixel > (255.001, 95.001))).any(axis=-1)
    assert np.isnan(restored[outside | np.isnan(pixel[..., 0])]).all()


def test_most_of_a_wide_camera_that_the_network_sees_gets_depth() -> None:
    camera = Camera(480, 300, 300.0, 300.0, 230.0, 160.0, *LENSES[1])
    alignment = Alignment(camera, CANONICAL, Mount(pitch=0.05).rotation())
    assert alignment.coverage > 0.99
    level = camera.rays() @ Mount(pitch=0.05).rotation().T
    pixel = CANONICAL.project(level)
    visible = ((pixel > -0.5) & (pixel < (255.5, 95.5))).all(axis=-1)
    depth = alignment.restore(np.full((96, 256), 0.1, np.float32), 'input')
    assert np.isfinite(depth[visible]).mean() > 0.98


@settings(max_examples=25)
@given(camera=cameras(), depth=st.floats(0.5, 80.0))
def test_without_rotation_z_depth_is_unchanged(camera: Camera, depth: float) -> None:
    alignment = Alignment(camera, CANONICAL)
    inverse = np.full((96, 256), 1 / depth, np.float32)
    for resolution in ('input', 'network'):
        restored = alignment.restore(inverse, resolution)
        np.testing.assert_allclose(restored[np.isfinite(restored)], depth, rtol=1e-5)
    aligned = alignment.align_depth(np.full((camera.height, camera.width), depth, np.float32))
    np.testing.assert_allclose(aligned[alignment.seen], depth, rtol=1e-6)
    assert np.isnan(aligned[~alignment.seen]).all()


@settings(max_examples=25)
@given(camera=cameras(), mount=mounts)
def test_with_rotation_z_depth_changes_by_the_factor_of_its_ray(
    camera: Camera, mount: Mount
) -> None:
    rotation = mount.rotation()
    alignment = Alignment(camera, CANONICAL, rotation)
    # A wall across the camera's axis is not across the road.
    aligned = alignment.align_depth(np.full((camera.height, camera.width), 10.0, np.float32))
    back = CANONICAL.rays() @ rotation  # canonical rays in the camera: z is the factor
    seen = alignment.seen
    np.testing.assert_allclose(aligned[seen], (10.0 / back[..., 2])[seen], rtol=1e-6)
    # And back again.
    inverse = np.where(seen, 1 / aligned, 0).astype(np.float32)
    for resolution in ('input', 'network'):
        restored = alignment.restore(inverse, resolution)
        np.testing.assert_allclose(restored[np.isfinite(restored)], 10.0, rtol=5e-3)


@settings(max_examples=25)
@given(camera=cameras(), mount=st.none() | mounts, plane=planes)
def test_aligned_ground_truth_is_the_depth_of_the_nearest_pixel(
    camera: Camera, mount: Mount | None, plane: tuple[float, ...]
) -> None:
    rotation = np.eye(3) if mount is None else mount.rotation()
    alignment = Alignment(camera, CANONICAL, None if mount is None else rotation)
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = (1 / (camera.rays() @ rotation.T @ np.array(plane))).astype(np.float32)
    aligned = alignment.align_depth(depth)
    back = CANONICAL.rays() @ rotation
    pixel = camera.project(back)
    v, u = np.nonzero(alignment.seen)
    column, row = np.rint(pixel[v, u]).astype(int).T
    expected = depth[np.clip(row, 0, camera.height - 1), np.clip(column, 0, camera.width - 1)]
    np.testing.assert_allclose(aligned[v, u] * back[v, u, 2], expected, rtol=1e-5)


def test_ground_truth_keeps_what_is_unknown_and_what_is_infinitely_far() -> None:
    alignment = Alignment(SMALL, SMALL)
    depth = np.full((40, 64), 5.0, np.float32)
    depth[0, 0], depth[1, 1], depth[2, 2] = np.nan, np.inf, -np.inf
    np.testing.assert_array_equal(alignment.align_depth(depth), depth)


def test_ground_truth_at_the_very_edge_of_the_image_is_that_of_its_outermost_pixel() -> None:
    # Canonical pixels fall half a pixel outside of the outermost pixel centres, on both sides.
    canonical = Camera(65, 41, 50.0, 50.0, 32.0, 17.5)
    depth = np.arange(1, 40 * 64 + 1, dtype=np.float32).reshape(40, 64)
    aligned = Alignment(SMALL, canonical).align_depth(depth)
    assert aligned[0, 0] == depth[0, 0]
    assert aligned[-1, -1] == depth[-1, -1]
    assert np.isfinite(aligned).all()


# Images


def pattern(rays: np.ndarray) -> np.ndarray:
    """A smooth picture of the world by the direction of view."""
    x, y = rays[..., 0] / rays[..., 2], rays[..., 1] / rays[..., 2]
    return np.asarray(128 + 55 * np.sin(5 * x + 1) + 55 * np.cos(6 * y - 3 * x))


@given(camera=cameras(), mount=st.none() | mounts)
def test_an_aligned_image_is_what_the_canonical_camera_would_have_taken(
    camera: Camera, mount: Mount | None
) -> None:
    rotation = np.eye(3) if mount is None else mount.rotation()
    alignment = Alignment(camera, CANONICAL, None if mount is None else rotation)
    picture = pattern(camera.rays())
    known = np.isfinite(picture)
    image = np.where(known, picture, 0).round().astype(np.uint8)
    aligned = alignment.align(image)
    expected = pattern(CANONICAL.rays() @ rotation)
    # Where the lens folds within the image, pixels beyond the fold show nothing.
    whole = alignment.align(known.astype(np.float32)) > 0.9999
    compared = alignment.seen & whole
    # Bilinear interpolation and the area filter bend the pattern by its curvature.
    assert np.abs(aligned[compared] - expected[compared]).max(initial=0.0) < 5.0
    assert not aligned[~alignment.seen].any()


def test_a_wider_camera_is_cropped_about_its_principal_point() -> None:
    wide = Camera(120, 80, 50.0, 50.0, 70.0, 30.0)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (80, 120, 3), np.uint8)
    canonical = Camera(64, 40, 50.0, 50.0, 31.0, 17.0)
    alignment = Alignment(wide, canonical)
    assert alignment.seen.all()
    np.testing.assert_array_equal(alignment.align(image), image[13:53, 39:103])
    depth = rng.uniform(1, 80, (80, 120)).astype(np.float32)
    np.testing.assert_array_equal(alignment.align_depth(depth), depth[13:53, 39:103])


def test_a_narrower_camera_fills_only_the_middle() -> None:
    narrow = Camera(30, 20, 50.0, 50.0, 12.0, 9.0)
    canonical = Camera(64, 40, 50.0, 50.0, 31.0, 17.0)
    alignment = Alignment(narrow, canonical)
    expected = np.zeros((40, 64), bool)
    expected[8:28, 19:49] = True
    np.testing.assert_array_equal(alignment.seen, expected)
    aligned = alignment.align(np.full((20, 30), 200, np.uint8))
    np.testing.assert_array_equal(aligned, np.where(expected, 200, 0))
    assert alignment.coverage == pytest.approx(expected.mean())


@given(camera=cameras(), mount=st.none() | mounts)
def test_a_canonical_pixel_is_seen_if_all_of_it_was(camera: Camera, mount: Mount | None) -> None:
    rotation = None if mount is None else mount.rotation()
    seen = Alignment(camera, SMALL, rotation).seen
    steps = np.linspace(-0.5, 0.5, 7)
    u, v = np.meshgrid(np.arange(64), np.arange(40))
    corners = np.stack(
        [np.stack([u + a, v + b], axis=-1) for a in steps for b in steps], axis=2
    )  # (h, w, 49, 2)
    rays = SMALL.rays(corners)
    pixel = camera.project(rays if rotation is None else rays @ rotation)
    limit = np.array([camera.width - 0.5, camera.height - 0.5])
    with np.errstate(invalid='ignore'):
        inside = ((pixel >= -0.5) & (pixel <= limit)).all(axis=-1)
    assert seen[inside.all(axis=-1)].all()
    # Its middle is not seen by the camera at all.
    middle = pixel[:, :, 24]
    with np.errstate(invalid='ignore'):
        beyond = ((middle < -1.0) | (middle > limit + 0.5)).any(axis=-1)
    step = np.ptp(pixel, axis=2).max(axis=-1)  # input pixels in a canonical one
    assert not seen[beyond & (step < 2)].any()
    assert not seen[np.isnan(middle[..., 0])].any()


def test_a_camera_that_looks_elsewhere_sees_nothing() -> None:
    alignment = Alignment(SMALL, SMALL, Mount(yaw=1.4).rotation())
    assert alignment.coverage == 0.0
    assert not alignment.align(np.full((40, 64), 9, np.uint8)).any()
    assert np.isnan(alignment.restore(np.ones((40, 64), np.float32), 'input')).all()


@pytest.mark.parametrize('scale', [2, 4.6, 8])
def test_a_fine_checkerboard_becomes_grey_when_shrunk(scale: float) -> None:
    width, height = int(64 * scale), int(40 * scale)
    camera = SMALL.resized(width, height)
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    board = (255 * ((u + v) % 2)).astype(np.uint8)
    aligned = Alignment(camera, SMALL).align(board).astype(float)
    assert np.abs(aligned - 127.5).max() < 16
    stripes = (255 * (u % 2)).astype(np.uint8)
    aligned = Alignment(camera, SMALL).align(stripes).astype(float)
    assert np.abs(aligned - 127.5).max() < 40


def test_shrinking_by_a_whole_number_averages_areas_exactly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 192), np.uint8)
    aligned = Alignment(SMALL.resized(192, 120), SMALL).align(image)
    expected = image.reshape(40, 3, 64, 3).mean(axis=(1, 3))
    assert np.abs(aligned - expected).max() <= 0.51


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize('channels', [None, 1, 3, 4])
@pytest.mark.parametrize('scale', [1, 3])
def test_channels_and_types_are_kept(dtype: Any, channels: int | None, scale: int) -> None:
    camera = SMALL.resized(64 * scale, 40 * scale)
    shape = (camera.height, camera.width) + (() if channels is None else (channels,))
    image = np.random.default_rng(0).uniform(0, 255, shape).astype(dtype)
    alignment = Alignment(camera, SMALL, Mount(pitch=0.05).rotation())
    out = np.full((40, 64, *shape[2:]), 7, dtype)
    aligned = alignment.align(image, out)
    assert aligned is out
    assert (aligned.dtype, aligned.shape) == (np.dtype(dtype), out.shape)
    for channel in range(channels or 0):
        alone = alignment.align(np.ascontiguousarray(image[..., channel]))
        np.testing.assert_array_equal(aligned[..., channel], alone)
    assert not aligned[~alignment.seen].any()


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_images_as_messages_hold_them_give_what_plain_arrays_give(channels: int) -> None:
    step = 64 * channels + 13
    data = bytes(np.random.default_rng(0).integers(0, 256, 40 * step, np.uint8))
    shape = (40, 64) if channels == 1 else (40, 64, channels)
    strides = (step, channels, 1)[: len(shape)]
    view = np.ndarray(shape, np.uint8, buffer=data, strides=strides)
    assert not view.flags.writeable
    assert not view.flags.c_contiguous
    alignment = Alignment(SMALL, SMALL, Mount(pitch=0.03, roll=0.02).rotation())
    np.testing.assert_array_equal(alignment.align(view), alignment.align(view.copy()))


def test_results_do_not_depend_on_earlier_images() -> None:
    rng = np.random.default_rng(0)
    camera = SMALL.resized(192, 120)
    images = [
        rng.integers(0, 256, (120, 192, 3), np.uint8),
        rng.integers(0, 65536, (120, 192), np.uint16),
        rng.random((120, 192, 4), np.float32),
        rng.integers(0, 256, (120, 192), np.uint8),
    ]
    alignment = Alignment(camera, SMALL, Mount(roll=0.1).rotation())
    for image in images + images[::-1]:
        fresh = Alignment(camera, SMALL, Mount(roll=0.1).rotation()).align(image)
        kept = alignment.align(image)
        np.testing.assert_array_equal(kept, fresh)


def test_a_second_frame_allocates_nothing_large() -> None:
    camera = CANONICAL.resized(768, 288)
    alignment = Alignment(camera, CANONICAL, Mount(pitch=0.03).rotation())
    image = np.zeros((288, 768, 3), np.uint8)
    aligned = np.empty((96, 256, 3), np.uint8)
    inverse = np.full((96, 256), 0.1, np.float32)
    depths = {'input': np.empty((288, 768), np.float32), 'network': np.empty_like(inverse)}

    def frame() -> None:
        alignment.align(image, aligned)
        for resolution in ('input', 'network'):
            alignment.restore(inverse, resolution, depths[resolution])

    frame()
    tracemalloc.start()
    frame()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # NumPy's own buffers; one row of strips of the input is 100 kB, its depth 885 kB.
    assert peak < 80_000


@pytest.mark.parametrize('scale', [1.0, 3.0, 5.0, 9.5])
@pytest.mark.parametrize(
    'mount', [Mount(pitch=0.04, roll=0.02), Mount(yaw=-0.05), Mount(roll=0.7), Mount(pitch=0.2)]
)
def test_an_image_halved_once_gives_both_views_of_it(scale: float, mount: Mount) -> None:
    camera = CANONICAL.resized(round(scale * CANONICAL.width), round(scale * CANONICAL.height))
    more = 2 * (camera.height // 4)  # so that the two views need different rows of it
    camera = replace(camera, height=camera.height + more, cy=camera.cy + more / 2)
    noise = np.random.default_rng(3).integers(0, 256, (camera.height, camera.width, 3), np.uint8)
    unrotated = Alignment(camera, CANONICAL)
    both = Alignment(camera, CANONICAL, mount.rotation(), unrotated)
    assert (both.shared is not None) == (scale > 4 and mount.pitch < 0.1)
    shared = None if both.shared is None else np.empty((*both.shared, 3), np.uint8)
    alone = Alignment(camera, CANONICAL, mount.rotation()).align(noise)
    np.testing.assert_array_equal(both.align(noise, shared=shared), alone)
    colours = both.unrotate(noise, shared).astype(int)
    off = np.abs(colours - unrotated.align(noise))
    # Blurred a twentieth of a pixel more or less; noise shows it most.
    assert off.max() <= (0 if both.shared is None else 3)
    assert off.mean() < 0.6
    with pytest.raises(ValueError, match='without its unrotated one'):
        unrotated.unrotate(noise)
    if both.shared is not None:
        with pytest.raises(ValueError, match='out must be'):
            both.align(noise, shared=np.empty((3, 3, 3), np.uint8))


def test_infinitely_far_stays_so() -> None:
    inverse = np.zeros((40, 64), np.float32)
    for rotation in (None, Mount(pitch=0.05).rotation()):
        depth = Alignment(SMALL, SMALL, rotation).restore(inverse, 'network')
        assert np.isinf(depth[np.isfinite(depth) | np.isinf(depth)]).all()
        assert np.isposinf(depth).mean() > 0.8


def test_wrong_sizes_are_refused() -> None:
    alignment = Alignment(SMALL.resized(128, 80), SMALL)
    with pytest.raises(ValueError, match='image is 64x40 but its camera is 128x80'):
        alignment.align(np.zeros((40, 64), np.uint8))
    with pytest.raises(ValueError, match='depth is 80x128 but its camera is 128x80'):
        alignment.align_depth(np.zeros((128, 80), np.float32))
    with pytest.raises(ValueError, match='inverse depth is 128x80 but its camera is 64x40'):
        alignment.restore(np.zeros((80, 128), np.float32), 'input')
    with pytest.raises(ValueError, match="resolution must be 'input' or 'network'"):
        alignment.restore(np.zeros((40, 64), np.float32), 'half')  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='pinhole'):
        Alignment(SMALL, Camera(64, 40, 50.0, 50.0, 31.5, 17.0, *LENSES[1]))


def test_an_output_that_does_not_fit_is_refused_and_not_silently_ignored() -> None:
    alignment = Alignment(SMALL, SMALL)
    image = np.zeros((40, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=r'out must be uint8 of shape \(40, 64, 3\)'):
        alignment.align(image, np.empty((40, 64), np.uint8))
    with pytest.raises(ValueError, match='got float32'):
        alignment.align(image, np.empty((40, 64, 3), np.float32))
    with pytest.raises(ValueError, match='out must be float32'):
        alignment.restore(np.ones((40, 64), np.float32), 'input', np.empty((64, 40), np.float32))
    with pytest.raises(ValueError, match='out must be C-contiguous'):
        alignment.restore(np.ones((40, 64), np.float32), 'input', np.empty((64, 40), np.float32).T)


# Fine images: halved before they are sampled, depth interpolated between samples

FINE = CANONICAL.resized(1280, 480)
FISHEYE = Camera(1280, 720, 900.0, 905.0, 630.0, 350.0, *LENSES[4])


def test_a_fine_image_is_sampled_where_the_canonical_camera_looks() -> None:
    """A ramp tells where; any shift of a part of a canonical pixel would show."""
    camera = Camera(1280, 720, 1000.0, 990.0, 652.3, 341.7)
    rotation = Mount(pitch=0.04, roll=-0.02, yaw=0.03).rotation()
    for turned in (None, rotation):
        alignment = Alignment(camera, CANONICAL, turned)
        assert alignment._halvings == 1
        u, v = np.meshgrid(np.arange(1280, dtype=np.float32), np.arange(720, dtype=np.float32))
        rays = CANONICAL.rays() if turned is None else CANONICAL.rays() @ turned
        expected = camera.project(rays)
        middle = alignment.seen
        if turned is None:  # the image goes on all around
            assert middle.all()
        else:
            middle = cv2.erode(middle.astype(np.uint8), np.ones((5, 5)), borderValue=0) > 0
            assert middle.mean() > 0.6
        for axis, ramp in enumerate((u, v)):
            found = alignment.align(ramp)[middle]
            # 1/32 px of the halved image is OpenCV's step; a canonical pixel is 5 px.
            assert np.abs(found - expected[..., axis][middle]).max() < 0.06


@pytest.mark.parametrize('scale', [4, 5, 6, 7.5, 8, 12])
def test_a_fine_image_does_not_alias(scale: float) -> None:
    width, height = int(64 * scale), int(40 * scale)
    camera = SMALL.resized(width, height)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height, width), np.uint8)
    aligned = Alignment(camera, SMALL).align(noise)[2:-2, 2:-2].astype(float)
    # The mean of n pixels of noise spreads by 74 / sqrt(n).
    assert abs(aligned.mean() - 127.5) < 2
    assert aligned.std() < 1.35 * 74 / scale
    assert aligned.std() > 0.6 * 74 / scale  # nor is it smeared over the neighbours


@settings(max_examples=8)  # large images
@given(
    plane=planes,
    lens=st.sampled_from([FINE, FISHEYE]),
    mount=st.sampled_from([None, Mount(pitch=0.1, roll=0.05, yaw=-0.1)]),
)
def test_depth_between_samples_is_that_of_the_plane(
    plane: tuple[float, ...], lens: Camera, mount: Mount | None
) -> None:
    rotation = np.eye(3) if mount is None else mount.rotation()
    alignment = fine_alignment(lens, mount)
    inverse = (CANONICAL.rays() @ np.array(plane)).astype(np.float32)
    restored = alignment.restore(np.maximum(inverse, 0), 'input')
    with np.errstate(divide='ignore', invalid='ignore'):
        true = 1 / (lens.rays() @ rotation.T @ np.array(plane))
    known = np.isfinite(restored) & (true > 0.3) & (true < 80)
    np.testing.assert_allclose(restored[known], true[known], rtol=5e-3)
    if mount is None:
        assert min(alignment._to_input.steps) > 1


@lru_cache
def fine_alignment(lens: Camera, mount: Mount | None) -> Alignment:
    """It takes a while to make."""
    return Alignment(lens, CANONICAL, None if mount is None else mount.rotation())


@pytest.mark.parametrize('span', [(0.0, math.inf), (0.5, 80.0)])
@pytest.mark.parametrize('mount', [None, Mount(pitch=0.1, roll=0.05, yaw=-0.1), Mount(roll=0.7)])
@pytest.mark.parametrize('lens', [FINE, FISHEYE, Camera(640, 300, 1000.0, 1000.0, 300.0, 150.0)])
def test_depth_written_over_that_of_the_last_frame_is_as_if_written_anew(
    lens: Camera, mount: Mount | None, span: tuple[float, float]
) -> None:
    alignment = fine_alignment(lens, mount)
    rng = np.random.default_rng(0)
    kept = np.zeros((lens.height, lens.width), np.float32)
    for number in range(3):
        inverse = (3 * rng.random((96, 256), np.float32)) ** 4
        inverse[40:50, 20:30] = np.nan if number else 0.1
        fresh = alignment.restore(inverse, 'input', span=span)
        alignment.restore(inverse, 'input', kept, span, kept=number > 0)
        np.testing.assert_array_equal(kept, fresh)


def test_what_the_camera_did_not_see_does_not_reach_into_depth_beside_it() -> None:
    narrow = Camera(640, 300, 1000.0, 1000.0, 300.0, 150.0)
    alignment = Alignment(narrow, CANONICAL)
    inverse = np.full((96, 256), 0.1, np.float32)
    clean = alignment.restore(inverse, 'input')
    inverse[~alignment.seen] = 77.0
    np.testing.assert_array_equal(alignment.restore(inverse, 'input'), clean)
    np.testing.assert_allclose(clean[np.isfinite(clean)], 10.0, rtol=1e-5)
    assert np.isfinite(clean).mean() > 0.8


def test_what_is_unknown_stays_so_beside_what_is_out_of_range() -> None:
    alignment = fine_alignment(FINE, None)
    inverse = np.full((96, 256), 0.1, np.float32)
    inverse[24:34, 100:120] = np.nan
    inverse[24:34, 130:150] = 1 / 200
    inverse[60:70, 130:150] = 4.0
    depth = alignment.restore(inverse, 'input', span=(0.5, 80.0))
    assert np.isnan(depth[125:160, 505:590]).all()
    assert np.isposinf(depth[125:160, 655:740]).all()
    assert np.isneginf(depth[305:340, 655:740]).all()
    assert depth[200, 700] == pytest.approx(10.0)
    finite = depth[np.isfinite(depth)]
    assert 0.5 <= finite.min() <= finite.max() <= 80
    # Unknown is what has an unknown neighbour, and nothing further off.
    assert np.isfinite(depth[125:160, 610:620]).all()
    assert np.isfinite(depth[125:160, 480:490]).all()


@pytest.mark.parametrize('subpixels', [1, 5])
def test_depth_does_not_depend_on_how_exactly_opencv_interpolates(
    subpixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV 4 rounds positions to 1/32 px, for which the image is refined."""
    if subpixels < restoration.SUBPIXELS:
        pytest.skip('this OpenCV rounds positions')
    monkeypatch.setattr(restoration, 'SUBPIXELS', subpixels)
    alignment = Alignment(FINE, CANONICAL, Mount(pitch=0.05).rotation())
    inverse = (CANONICAL.rays() @ (0.0, 1 / 1.2, 0.0)).clip(0).astype(np.float32)
    restored = alignment.restore(inverse, 'input')
    with np.errstate(divide='ignore'):
        true = 1.2 / (FINE.rays() @ Mount(pitch=0.05).rotation().T)[..., 1]
    known = np.isfinite(restored) & (true > 0) & (true < 75)
    assert known.mean() > 0.4
    np.testing.assert_allclose(restored[known], true[known], rtol=3e-3)


def test_samples_lie_closer_where_the_lens_bends_what_lies_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    camera = Camera(320, 200, 250.0, 250.0, 159.5, 99.5, *LENSES[1])
    assert min(Alignment(camera, SMALL)._to_input.steps) > 1
    monkeypatch.setattr(restoration, '_MOST_BEND', 1e-6)
    assert Alignment(camera, SMALL)._to_input.steps == (1, 1)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from samples import CANONICAL, make_card, write_model

from mono_metric_depth.alignment import Resolution
from mono_metric_depth.camera import Camera, CameraError, Mount
from mono_metric_depth.depth_estimate import DepthEstimate, EstimatorError
from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.network_image import normalised
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.image import Image
from mono_metric_depth.model_card import ModelCardError, Normalisation, write_card
from mono_metric_depth.point_cloud import PointCloudWriter

#: Twice the canonical camera's pixels, the same field of view.
CAMERA = CANONICAL.resized(64, 48)


class StillEngine:
    """An engine that puts out what a test wants."""

    name = provider = 'still'

    def __init__(self, output: Any = 5.0, camera: Camera = CANONICAL) -> None:
        size = (camera.height, camera.width)
        self.input = np.full((1, *size, 4), 255, np.uint8)
        self.output = np.zeros((1, 1, *size), np.float32)
        self.output[:] = output

    def run(self, images: int) -> None:
        assert self.input[..., 3].max() <= 1, 'it was not written'

    def warm_up(self) -> None:
        pass

    def close(self) -> None:
        pass


def still(output: Any = 5.0, **card: Any) -> DepthEstimator:
    return DepthEstimator(StillEngine(output), make_card(**card))


def plain(value: int = 128, camera: Camera = CAMERA) -> Image:
    return Image(np.full((camera.height, camera.width, 3), value, np.uint8), 'rgb')


def seen_values(depth: np.ndarray) -> np.ndarray:
    return np.asarray(depth[~np.isnan(depth)])


def loaded(
    tmp_path: Path, card: dict[str, Any] | None = None, *, batch: int = 1, **model: Any
) -> DepthEstimator:
    path = write_model(tmp_path / 'tiny.onnx', **model)
    write_card(path, make_card(**(card or {})))
    return DepthEstimator.load(path, threads=1, cameras=batch)


def smooth_rgb(camera: Camera = CAMERA) -> np.ndarray:
    """(h, w, 3) uint8, each channel another slope."""
    u, v = np.meshgrid(np.linspace(0, 1, camera.width), np.linspace(0, 1, camera.height))
    return np.stack([90 + 150 * u, 60 + 90 * v, 220 - 80 * u], axis=-1).round().astype(np.uint8)


# Scale


@pytest.mark.parametrize(
    ('kind', 'expected'),
    # The network puts out 128/255 for grey; the scale is 2.
    [('depth', 2 * 128 / 255), ('inverse_depth', 2 / (128 / 255)), ('disparity', 2 * 255 / 128)],
)
def test_the_one_scalar_is_applied_as_the_output_kind_asks(
    tmp_path: Path, kind: str, expected: float
) -> None:
    estimator = loaded(tmp_path, {'output_kind': kind})
    estimate = estimator.estimate(plain(), CAMERA)
    np.testing.assert_allclose(estimate.inverse_depth, 1 / expected, rtol=1e-5)
    for resolution, shape in (('input', (48, 64)), ('network', (24, 32))):
        depth = estimate.depth(resolution)
        assert (depth.shape, depth.dtype) == (shape, np.float32)
        np.testing.assert_allclose(seen_values(depth), expected, rtol=1e-5)
        assert np.isfinite(depth).mean() > 0.8
        assert estimate.camera(resolution) == {'input': CAMERA, 'network': CANONICAL}[resolution]


def test_depth_is_written_where_it_is_asked_for() -> None:
    estimate = still().estimate(plain(), CAMERA)
    out = np.zeros((48, 64), np.float32)
    assert estimate.depth('input', out) is out
    np.testing.assert_array_equal(out, estimate.depth('input'))


# What the network gets


def test_the_network_gets_normalised_channels_in_its_order_and_zero_where_unseen() -> None:
    narrow = Camera(20, 16, 30.0, 30.0, 9.5, 7.5)
    rgb = np.zeros((16, 20, 3), np.uint8)
    rgb[:] = (10, 100, 200)
    for channels in ('rgb', 'bgr'):
        normalisation = Normalisation(channels, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
        estimator = still(normalisation=normalisation)
        estimate = estimator.estimate(Image(rgb, 'rgb'), narrow)
        values = np.array([10, 100, 200] if channels == 'rgb' else [200, 100, 10]) / 255
        expected = (values - normalisation.mean) / normalisation.std
        (found,) = normalised(estimator.engine.input, normalisation)
        seen = estimate.alignment.seen
        assert 0.2 < seen.mean() < 0.8
        for plane, value in zip(found, expected, strict=True):
            np.testing.assert_allclose(plane[seen], value, rtol=1e-5)
            np.testing.assert_array_equal(plane[~seen], 0.0)


def test_colours_give_the_same_depth_in_any_order(tmp_path: Path) -> None:
    estimator = loaded(tmp_path, weights=(0.7, 0.2, 0.1))
    rgb = smooth_rgb()
    alpha = np.random.default_rng(0).integers(0, 256, (48, 64, 1), np.uint8)
    expected = estimator.estimate(Image(rgb, 'rgb'), CAMERA).depth('network')
    assert np.ptp(seen_values(expected)) > 0.2
    others = {
        'bgr': rgb[..., ::-1].copy(),
        'rgba': np.concatenate([rgb, alpha], axis=-1),
        'bgra': np.concatenate([rgb[..., ::-1], alpha], axis=-1),
    }
    for channels, pixels in others.items():
        depth = estimator.estimate(Image(pixels, channels), CAMERA).depth('network')
        np.testing.assert_array_equal(depth, expected, err_msg=channels)
    # A network that wants BGR: its weights in the other order.
    bgr = loaded(
        tmp_path,
        {'normalisation': Normalisation('bgr', (0, 0, 0), (1, 1, 1))},
        weights=(0.1, 0.2, 0.7),
    )
    depth = bgr.estimate(Image(rgb, 'rgb'), CAMERA).depth('network')
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    # The test would not tell otherwise.
    swapped = estimator.estimate(Image(rgb, 'bgr'), CAMERA).depth('network')
    assert np.nanmax(np.abs(swapped - expected)) > 0.1


def test_grey_images_give_the_depth_of_grey_colours(tmp_path: Path) -> None:
    estimator = loaded(tmp_path)
    grey = smooth_rgb()[..., 0]
    expected = estimator.estimate(Image(np.dstack([grey] * 3), 'rgb'), CAMERA).depth('input')
    mono = estimator.estimate(Image(grey, 'mono'), CAMERA).depth('input')
    np.testing.assert_array_equal(mono, expected)
    deep = Image(grey.astype(np.uint16) * 257, 'mono')
    # 16 bits are rounded less while they are resampled.
    depth = estimator.estimate(deep, CAMERA).depth('input')
    np.testing.assert_allclose(depth, expected, atol=2 * 1.0 / 255)
    again = estimator.estimate(Image(grey, 'mono'), CAMERA).depth('input')
    np.testing.assert_array_equal(again, expected)


# What the network puts out


@pytest.mark.parametrize('kind', ['depth', 'inverse_depth', 'disparity'])
def test_output_that_is_no_depth_is_unknown(kind: str) -> None:
    output = np.full((24, 32), 2.0, np.float32)
    bad = {(2, 3): math.nan, (4, 9): -1.0, (6, 20): -math.inf, (12, 5): -1e-30}
    # No distance, and a distance without end.
    nowhere = math.inf if kind != 'depth' else 0.0
    endless = 0.0 if kind != 'depth' else math.inf
    bad[15, 15] = nowhere
    for pixel, value in bad.items():
        output[pixel] = value
    output[20, 20] = endless
    estimate = still(output, output_kind=kind).estimate(plain(camera=CANONICAL), CANONICAL)
    depth = estimate.depth('network')
    for pixel, value in bad.items():
        assert np.isnan(depth[pixel]), (pixel, value)
    assert np.isposinf(depth[20, 20])
    rest = np.ones(depth.shape, bool)
    for pixel in (*bad, (20, 20)):
        rest[pixel] = False
    np.testing.assert_allclose(depth[rest], 4.0 if kind == 'depth' else 1.0, rtol=1e-5)


def test_a_negative_zero_is_as_far_as_a_zero() -> None:
    output = np.full((24, 32), 0.1, np.float32)
    output[3, 3] = -0.0
    estimate = still(output, output_kind='disparity').estimate(plain(camera=CANONICAL), CANONICAL)
    assert np.isposinf(estimate.depth('network')[3, 3])
    output[3, 3] = -0.0
    estimate = still(output, output_kind='depth').estimate(plain(camera=CANONICAL), CANONICAL)
    assert np.isnan(estimate.depth('network')[3, 3])


@pytest.mark.parametrize('value', [math.nan, -3.0, -math.inf, 0.0])
def test_output_without_any_depth_is_an_error(value: float) -> None:
    estimator = still(value)
    with pytest.raises(EstimatorError, match='no usable depth') as caught:
        estimator.estimate(plain(), CAMERA)
    assert caught.value.reason == 'output'
    # The next frame is none the worse for it.
    estimator.engine.output[:] = 5.0
    np.testing.assert_allclose(
        seen_values(estimator.estimate(plain(), CAMERA).depth('input')), 10.0, rtol=1e-5
    )


def test_depth_where_the_camera_did_not_see_does_not_count_as_usable() -> None:
    narrow = Camera(20, 16, 30.0, 30.0, 9.5, 7.5)
    estimator = still()
    seen = estimator.alignment(narrow).seen
    estimator.engine.output[0, 0, seen] = np.nan
    with pytest.raises(EstimatorError) as caught:
        estimator.estimate(plain(camera=narrow), narrow)
    assert caught.value.reason == 'output'


@pytest.mark.parametrize('resolution', ['input', 'network'])
def test_depth_out_of_range_is_infinite_as_rep_117_has_it_and_never_0(resolution: Any) -> None:
    # Column by column from far too near to far too far; the scale is 2, the range 0.5 .. 80 m.
    output = np.geomspace(1e-4, 1e4, 32, dtype=np.float32)[None].repeat(24, axis=0)
    estimate = still(output).estimate(plain(), CAMERA)
    depth = estimate.depth(resolution)
    finite = depth[np.isfinite(depth)]
    assert finite.size
    assert finite.min() >= 0.5
    assert finite.max() <= 80
    row = depth[len(depth) // 2]
    row = row[~np.isnan(row)]
    assert np.isneginf(row[0])
    assert np.isposinf(row[-1])
    assert (np.diff(np.select([row == -np.inf, row == np.inf], [-1, 1], 0)) >= 0).all()
    assert not (depth == 0).any()


# Several frames

CAMERAS = [CAMERA, CANONICAL, CANONICAL.resized(48, 36), CANONICAL.resized(80, 60)]


@pytest.mark.parametrize('shape', [('batch', 3, 24, 32), (1, 3, 24, 32)])
@pytest.mark.parametrize('batch', [1, 2, 4])
def test_frames_of_several_cameras_get_the_depth_that_each_gets_alone(
    tmp_path: Path, shape: tuple[Any, ...], batch: int
) -> None:
    estimator = loaded(tmp_path, batch=batch, shape=shape)
    images = [Image(smooth_rgb(camera) - 12 * i, 'rgb') for i, camera in enumerate(CAMERAS)]
    mounts = [None, Mount(pitch=0.1), None, Mount(roll=-0.1)]
    frames = list(zip(images, CAMERAS, mounts, strict=True))
    alone = [
        (e.depth('input'), e.colour('network').as_bgr().copy())
        for e in (estimator.estimate(*f) for f in frames)
    ]
    medians = [np.median(depth[np.isfinite(depth)]) for depth, _ in alone]
    assert np.abs(np.diff(np.log(medians))).min() > 0.02
    estimates = estimator.estimate_batch(frames, [estimator.buffer() for _ in frames])
    for estimate, (depth, colour) in zip(estimates, alone, strict=True):
        assert isinstance(estimate, DepthEstimate)
        np.testing.assert_allclose(estimate.depth('input'), depth, rtol=1e-6)
        np.testing.assert_array_equal(estimate.colour('network').as_bgr(), colour)


def test_a_frame_that_cannot_be_estimated_does_not_spoil_its_batch(tmp_path: Path) -> None:
    estimator = loaded(tmp_path, batch=4)
    tele = Camera(64, 48, 3000.0, 3000.0, 31.5, 23.5)
    frames = [
        (plain(), tele, None),
        (plain(100), CAMERA, None),
        (plain(camera=CANONICAL), CAMERA, None),
        (plain(200), CAMERA, None),
    ]
    buffers = [estimator.buffer() for _ in frames]
    found = estimator.estimate_batch(frames, buffers)
    reasons = [e.reason if isinstance(e, EstimatorError) else '' for e in found]
    assert reasons == ['coverage', '', 'size', '']
    for index, value in ((1, 100), (3, 200)):
        estimate = found[index]
        assert isinstance(estimate, DepthEstimate)
        depth = seen_values(estimate.depth('input'))
        np.testing.assert_allclose(depth, 2 * value / 255, rtol=1e-5)
    assert estimator.estimate_batch([], []) == []


def test_an_estimate_stays_while_other_buffers_are_used(tmp_path: Path) -> None:
    estimator = loaded(tmp_path)
    image = Image(smooth_rgb(), 'rgb')
    first = estimator.estimate(image, CAMERA, Mount(pitch=0.1), estimator.buffer())
    depth, colour = first.depth('input'), first.colour('network').as_bgr().copy()
    for value in (10, 250):
        estimator.estimate(plain(value), CAMERA, Mount(pitch=0.1), estimator.buffer())
    np.testing.assert_array_equal(first.depth('input'), depth)
    np.testing.assert_array_equal(first.colour('network').as_bgr(), colour)


# Cameras and mounts


def test_image_and_camera_of_different_size_are_refused() -> None:
    with pytest.raises(EstimatorError, match='image is 32x24 but camera_info .* 64x48') as caught:
        still().estimate(plain(camera=CANONICAL), CAMERA)
    assert caught.value.reason == 'size'


def test_a_camera_that_sees_nothing_the_network_knows_is_refused() -> None:
    tele = Camera(64, 48, 3000.0, 3000.0, 31.5, 23.5)
    estimator = still()
    for camera, mount, said in (
        (tele, None, 'too little for depth; check its calibration'),
        (CAMERA, Mount(yaw=1.4), 'it looks 80 degrees to the left.* no depth; point it along'),
    ):
        for _ in range(2):
            with pytest.raises(EstimatorError, match=said) as caught:
                estimator.estimate(plain(), camera, mount)
            assert caught.value.reason == 'coverage'


#: From nothing to infinity, in steps that floats of 32 and 64 bits round, square or overflow at.
absurd = st.sampled_from(
    (0.0, 1e-320, 1e-160, 1e-30, 1e-9, 1e-3, 1.0, 100.0, 1e4, 1e9, 1e30, 1e160, 1e308)
    + (-1e-30, -1.0, -1e4, -1e308, np.nan, np.inf)
)


@given(
    size=st.sampled_from([(100, 60), (1, 60), (1000, 1)]),
    fx=absurd | st.just(80.0),
    fy=absurd | st.just(82.0),
    cx=absurd | st.just(48.0),
    cy=absurd | st.just(28.0),
    model=st.sampled_from(['plumb_bob', 'equidistant', 'rational_polynomial']),
    distortion=st.lists(absurd | st.just(0.0), min_size=4, max_size=4),
    mount=st.sampled_from([None, Mount(pitch=0.1, yaw=-0.1)]),
)
@example((100, 60), 1e-100, 82.0, 48.0, 28.0, 'plumb_bob', [0.0] * 4, None)
@example((100, 60), 80.0, 5e-324, 48.0, 28.0, 'plumb_bob', [0.0] * 4, None)
@example((100, 60), 80.0, 5e-324, 48.0, 28.0, 'equidistant', [0.1, 0.0, 0.0, 0.0], None)
@settings(max_examples=300)
def test_no_calibration_makes_numpy_warn(
    size: tuple[int, int],
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    model: str,
    distortion: list[float],
    mount: Mount | None,
) -> None:
    """It is refused, or all that is made of it is in bounds."""
    if model == 'rational_polynomial':
        distortion = distortion * 2
    width, height = size
    estimator = still(levelled=True)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        try:
            camera = Camera(width, height, fx, fy, cx, cy, model, tuple(distortion))
            pixels = np.zeros((height, width, 3), np.uint8)
            estimate = estimator.estimate(Image(pixels, 'rgb'), camera, mount)
        except (CameraError, EstimatorError):
            return
        resolutions: tuple[Resolution, ...] = ('input', 'network')
        for resolution in resolutions:
            estimate.colour(resolution)
            depth = estimate.depth(resolution)
            writer = PointCloudWriter(estimate.camera(resolution))
            writer.write(depth, None, np.empty((*writer.shape, 3), np.float32))


def test_a_mount_is_taken_out_where_the_card_is_levelled() -> None:
    mount = Mount(pitch=0.1, roll=-0.05, height=1.2)
    alignment = still(levelled=True).alignment(CAMERA, mount)
    np.testing.assert_array_equal(alignment.rotation, mount.rotation())
    # A road 1.2 m below a levelled camera: the canonical camera sees 1/z = y / 1.2.
    rays = CANONICAL.rays()
    with np.errstate(divide='ignore'):
        output = np.where(rays[..., 1] > 0, 1.2 / rays[..., 1] / 2, np.inf)
    estimate = still(output).estimate(plain(), CAMERA, mount)
    depth = estimate.depth('input')
    down = (CAMERA.rays() @ mount.rotation().T)[..., 1]
    with np.errstate(divide='ignore'):
        true = 1.2 / down
    compared = np.isfinite(depth) & (true > 0) & (true < 20)
    assert compared.mean() > 0.3
    np.testing.assert_allclose(depth[compared], true[compared], rtol=5e-3)


def test_a_mount_is_ignored_where_the_card_is_not_levelled() -> None:
    estimator = still(levelled=False)
    alignment = estimator.alignment(CAMERA, Mount(pitch=0.2))
    assert alignment.rotation is None
    assert alignment is estimator.alignment(CAMERA)


def test_a_level_mount_and_its_height_need_no_alignment_of_their_own() -> None:
    estimator = still()
    assert estimator.alignment(CAMERA, Mount()) is estimator.alignment(CAMERA)
    pitched = estimator.alignment(CAMERA, Mount(pitch=0.1, height=1.0))
    assert pitched is estimator.alignment(CAMERA, Mount(pitch=0.1, height=2.0))
    assert pitched is not estimator.alignment(CAMERA)


def test_alignments_are_kept_for_the_latest_cameras_only() -> None:
    estimator = still()
    cameras = [CANONICAL.resized(32 + index, 24) for index in range(8)]
    first, second = (estimator.alignment(camera) for camera in cameras[:2])
    for camera in cameras[2:]:
        estimator.alignment(camera)
    assert estimator.alignment(cameras[0]) is first
    estimator.alignment(CAMERA)  # one too many: the second is used least recently
    assert estimator.alignment(cameras[0]) is first
    assert estimator.alignment(cameras[1]) is not second
    for size in range(30):
        estimator.alignment(CANONICAL.resized(60 + size, 24))
    assert len(estimator._alignments) == 8


# Colours beside depth


@pytest.mark.parametrize('mount', [None, Mount(pitch=0.1)])
@pytest.mark.parametrize('channels', ['rgb', 'bgra', 'mono'])
def test_colours_lie_beside_their_depth(mount: Mount | None, channels: str) -> None:
    rgb = smooth_rgb()
    pixels = {'rgb': rgb, 'bgra': np.dstack([rgb[..., ::-1], rgb[..., 0]]), 'mono': rgb[..., 0]}
    image = Image(pixels[channels], channels)
    estimator = still()
    estimate = estimator.estimate(image, CAMERA, mount)
    bgr = image.as_bgr()
    np.testing.assert_array_equal(estimate.colour('input').as_bgr(), bgr)
    # In the input's optical frame, as depth is: without the mount's rotation.
    colour = estimate.colour('network').as_bgr()
    assert (colour.shape, colour.dtype) == ((24, 32, 3), np.uint8)
    expected = bgr.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(colour - expected).max() <= 1.0
    estimate.depth('network')
    np.testing.assert_array_equal(estimate.colour('network').as_bgr(), colour)


def test_cameras_that_turn_share_the_alignment_of_their_colours() -> None:
    estimator = still()
    for pitch in (0.1, 0.11, 0.12):
        estimate = estimator.estimate(plain(), CAMERA, Mount(pitch=pitch))
        estimate.colour('network')
    assert len(estimator._alignments) == 4


@pytest.mark.parametrize('width', [48, 64, 160])
def test_colours_are_those_of_their_own_frame_once_the_next_is_prepared(width: int) -> None:
    estimator = still()
    camera = CAMERA.resized(width, width * 3 // 4)
    noise = np.random.default_rng(0).integers(0, 256, (2, camera.height, width, 3), np.uint8)
    alone = [
        still()
        .estimate(Image(pixels, 'rgb'), camera, Mount(pitch=0.05))
        .colour('network')
        .as_rgb()
        for pixels in noise
    ]
    prepared = [
        estimator.prepare(Image(pixels, 'rgb'), camera, Mount(pitch=0.05), estimator.buffer())
        for pixels in noise
    ]
    for estimate, expected in zip(prepared, alone, strict=True):
        np.testing.assert_array_equal(estimate.colour('network').as_rgb(), expected)


def test_a_second_frame_allocates_nothing_large() -> None:
    canonical = Camera(512, 192, 410.0, 410.0, 255.5, 80.0)
    camera = canonical.resized(1536, 576)
    estimator = DepthEstimator(StillEngine(5.0, canonical), make_card(canonical_camera=canonical))
    image = Image(np.zeros((576, 1536, 3), np.uint8), 'bgr')
    outs = {
        'input': np.empty((576, 1536), np.float32),
        'network': np.empty((192, 512), np.float32),
    }

    def frame() -> None:
        estimate = estimator.estimate(image, camera, Mount(pitch=0.05))
        for resolution in ('input', 'network'):
            estimate.depth(resolution, outs[resolution])
            estimate.colour(resolution)

    frame()
    tracemalloc.start()
    frame()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A float image of the network's size is 393 kB, one of the input's 3.5 MB.
    assert peak < 200_000


# Loading


def test_a_model_without_a_card_or_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    with pytest.raises(ModelCardError, match='no card'):
        DepthEstimator.load(path)
    write_card(path, make_card(canonical_camera=CAMERA))
    with pytest.raises(EngineError, match=r'the card asks for float32 \[1, 3, 48, 64\]'):
        DepthEstimator.load(path)
    with pytest.raises(ModelCardError, match='cannot open'):
        DepthEstimator.load(tmp_path / 'missing.onnx')

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mono_metric_depth.image import ENCODINGS, MAX_SIZE, Image, ImageError, decode_image

INTERLEAVED = {'rgb8': 'RGB', 'bgr8': 'BGR', 'rgba8': 'RGBA', 'bgra8': 'BGRA'}
BAYER = ('bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8')
YUV422 = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv')
YUV420 = ('nv12', 'nv21')

# OpenCV 4.5.4 (Humble) reads no 1x1 image of colours, from wherever it comes.
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40)).filter(lambda size: size != (1, 1))
paddings = st.integers(0, 9)
seeds = st.integers(0, 2**32 - 1)


def padded(rows: np.ndarray, padding: int, seed: int) -> tuple[array.array, int]:
    """The bytes of a message whose rows (h, bytes) uint8 are padded with noise, and its step."""
    noise = np.random.default_rng(seed).integers(0, 256, (len(rows), padding), np.uint8)
    joined = np.concatenate([rows, noise], axis=1)
    return array.array('B', joined.tobytes()), joined.shape[1]


def colour_ramp(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8 RGB that changes slowly from a reddish corner to a bluish one."""
    u, v = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.stack([200 - 120 * u, 60 + 60 * v, 40 + 150 * u], axis=-1).round().astype(np.uint8)


def yuv(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) Y, U, V of BT.601 in video range, as ITU-R BT.601 defines it."""
    r, g, b = (rgb[..., i] / 255.0 for i in range(3))
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    channels = [16 + 219 * luma, 128 + 224 * (b - luma) / 1.772, 128 + 224 * (r - luma) / 1.402]
    return np.stack(channels, axis=-1)


def rounded(values: np.ndarray) -> np.ndarray:
    return values.round().astype(np.uint8)


def yuv422_rows(rgb: np.ndarray, luma_first: bool) -> np.ndarray:
    ycc = yuv(rgb)
    height, width = rgb.shape[:2]
    chroma = ycc[..., 1:].reshape(height, width // 2, 2, 2).mean(axis=2).reshape(height, width)
    pair = (ycc[..., 0], chroma) if luma_first else (chroma, ycc[..., 0])
    return rounded(np.stack(pair, axis=-1)).reshape(height, width * 2)


def yuv420_rows(rgb: np.ndarray, u_first: bool) -> np.ndarray:
    ycc = yuv(rgb)
    height, width = rgb.shape[:2]
    chroma = ycc[..., 1:].reshape(height // 2, 2, width // 2, 2, 2).mean(axis=(1, 3))
    chroma = chroma if u_first else chroma[..., ::-1]
    return rounded(np.concatenate([ycc[..., 0], chroma.reshape(height // 2, width)]))


def decode(data, *, height=4, width=6, encoding='rgb8', step=18, is_bigendian=False) -> Image:
    return decode_image(
        data,
        height=height,
        width=width,
        encoding=encoding,
        step=step,
        is_bigendian=is_bigendian,
    )


@given(size=sizes, padding=paddings, seed=seeds, encoding=st.sampled_from(sorted(INTERLEAVED)))
def test_interleaved_pixels_survive_exactly(size, padding, seed, encoding):
    height, width = size
    order = INTERLEAVED[encoding]
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, len(order)), np.uint8)
    data, step = padded(pixels.reshape(height, -1), padding, seed)
    image = decode(data, height=height, width=width, encoding=encoding, step=step)
    assert (image.width, image.height, image.channels) == (width, height, order.lower())
    np.testing.assert_array_equal(image.pixels, pixels)
    rgb = pixels[..., [order.index(channel) for channel in 'RGB']]
    for converted, expected in ((image.as_rgb(), rgb), (image.as_bgr(), rgb[..., ::-1])):
        assert converted.flags.c_contiguous
        assert converted.dtype == np.uint8
        np.testing.assert_array_equal(converted, expected)


@given(size=sizes, padding=paddings, seed=seeds, big=st.booleans())
def test_mono16_keeps_its_values_in_either_byte_order(size, padding, seed, big):
    height, width = size
    pixels = np.random.default_rng(seed).integers(0, 65536, size, np.uint16)
    rows = pixels.astype('>u2' if big else '<u2').view(np.uint8)
    data, step = padded(rows.reshape(height, -1), padding, seed)
    image = decode(
        data, height=height, width=width, encoding='mono16', step=step, is_bigendian=big
    )
    assert image.channels == 'mono'
    assert image.pixels.dtype == np.dtype('=u2')
    np.testing.assert_array_equal(image.pixels, pixels)
    expected = np.repeat(pixels[..., None] * (255 / 65535), 3, axis=2)
    assert image.as_bgr().shape == (*size, 3)
    assert np.abs(image.as_bgr() - expected).max() <= 0.5 + 1e-3
    np.testing.assert_array_equal(image.as_bgr(), image.as_rgb())


@given(size=sizes, padding=paddings, seed=seeds)
def test_mono8_becomes_three_equal_channels(size, padding, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    data, step = padded(pixels, padding, seed)
    image = decode(data, height=size[0], width=size[1], encoding='mono8', step=step)
    np.testing.assert_array_equal(image.pixels, pixels)
    np.testing.assert_array_equal(image.as_rgb(), np.repeat(pixels[..., None], 3, axis=2))


@given(
    size=st.tuples(st.integers(12, 40), st.integers(12, 40)),
    padding=paddings,
    seed=seeds,
    encoding=st.sampled_from(BAYER),
)
def test_a_colour_ramp_survives_a_bayer_mosaic_within_6_levels(size, padding, seed, encoding):
    rgb = colour_ramp(60, 60)[: size[0], : size[1]]
    mosaic = np.empty(size, np.uint8)
    for place, letter in enumerate(encoding[6:10]):
        cells = (slice(place // 2, None, 2), slice(place % 2, None, 2))
        mosaic[cells] = rgb[..., 'rgb'.index(letter)][cells]
    data, step = padded(mosaic, padding, seed)
    image = decode(data, height=size[0], width=size[1], encoding=encoding, step=step)
    assert image.channels == 'bgr'
    assert np.abs(image.as_rgb().astype(int) - rgb).max() <= 6


@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    padding=paddings,
    seed=seeds,
    encoding=st.sampled_from(YUV422 + YUV420),
)
def test_a_colour_ramp_survives_yuv_within_6_levels(size, padding, seed, encoding):
    planar = encoding in YUV420
    height, width = size[0] * (2 if planar else 1), size[1] * 2
    rgb = colour_ramp(60, 60)[:height, :width]
    if planar:
        rows = yuv420_rows(rgb, u_first=encoding == 'nv12')
    else:
        rows = yuv422_rows(rgb, luma_first=encoding in ('yuyv', 'yuv422_yuy2'))
    data, step = padded(rows, padding, seed)
    image = decode(data, height=height, width=width, encoding=encoding, step=step)
    assert image.channels == 'bgr'
    assert image.as_rgb().shape == rgb.shape
    assert np.abs(image.as_rgb().astype(int) - rgb).max() <= 6


@pytest.mark.parametrize('encoding', [*INTERLEAVED, 'mono8', 'mono16'])
def test_pixels_are_a_read_only_view_onto_the_message(encoding):
    step = 40
    data = array.array('B', bytes(4 * step))
    image = decode(data, encoding=encoding, step=step)
    data[step] = 1
    assert image.pixels[1].any()
    assert not image.pixels.flags.writeable


@pytest.mark.parametrize('encoding', ['mono8', 'bayer_rggb8'])
def test_colour_that_is_declared_as_one_channel_is_refused(encoding):
    for channels in (3, 4):
        step = channels * 64
        with pytest.raises(ImageError, match=f'{channels} bytes for each pixel, as if it were'):
            decode(bytes(32 * step), height=32, width=64, encoding=encoding, step=step)
    assert decode(bytes(32 * 128), height=32, width=64, encoding=encoding, step=128)


def test_contiguous_bgr_is_handed_on_without_a_copy():
    data = bytearray(range(72))
    image = decode(data, encoding='bgr8')
    assert np.shares_memory(image.as_bgr(), np.frombuffer(data, np.uint8))


@pytest.mark.parametrize('holder', [bytes, bytearray, memoryview, np.array])
def test_any_contiguous_holder_of_bytes_is_read(holder):
    rows = np.arange(72, dtype=np.uint8)
    data = rows if holder is np.array else holder(rows.tobytes())
    np.testing.assert_array_equal(decode(data).pixels.ravel(), rows)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_the_padding_of_the_last_row_may_be_missing(encoding):
    height, width, padding = 4, 6, 5
    samples = {'mono16': 2, **dict.fromkeys(YUV422, 2)}.get(
        encoding, len(INTERLEAVED.get(encoding, 'M'))
    )
    rows = height * 3 // 2 if encoding in YUV420 else height
    step = width * samples + padding
    enough = rows * step - padding
    data = np.random.default_rng(0).integers(0, 256, enough + 100, np.uint8)
    whole = decode(data, encoding=encoding, step=step)
    shortest = decode(data[:enough].copy(), encoding=encoding, step=step)
    np.testing.assert_array_equal(shortest.pixels, whole.pixels)
    with pytest.raises(ImageError, match=f'at least {enough} bytes, got {enough - 1}'):
        decode(data[: enough - 1].copy(), encoding=encoding, step=step)


@pytest.mark.parametrize(
    ('fields', 'reason', 'message'),
    [
        ({'height': 0}, 'empty', r'size is 6x0; .* fill it in'),
        ({'width': 0}, 'empty', r'size is 0x4'),
        ({'width': MAX_SIZE + 1}, 'size', r'32769x4 is above 32768 px; scale it down'),
        ({'height': 2**31}, 'size', r'6x2147483648 is above 32768 px'),
        ({'encoding': '8UC3'}, 'encoding', r"'8UC3' is not supported; .* rgb8, .* nv21"),
        ({'encoding': ''}, 'encoding', r"encoding '' is not supported"),
        ({'step': 17}, 'step', r'at least 18 bytes, got 17; .* set step'),
        ({'step': 0}, 'step', r'at least 18 bytes, got 0'),
        ({'encoding': 'mono16', 'step': 11}, 'step', r'at least 12 bytes, got 11'),
        ({'step': 19}, 'short_data', r'step 19 must hold at least 75 bytes, got 72; .* short'),
        ({'encoding': 'yuv422', 'width': 5}, 'size', r'width of a yuv422 .* even, got 5x4; set'),
        ({'encoding': 'nv12', 'width': 5}, 'size', r'width and height of a nv12 .* got 5x4'),
        ({'encoding': 'nv12', 'height': 3}, 'size', r'width and height of a nv12 .* got 6x3'),
        ({'encoding': 'bayer_rggb8', 'height': 2}, 'size', r'at least 3x3, got 6x2; set'),
    ],
)
def test_contradicting_fields_are_refused_by_name(fields, reason, message):
    with pytest.raises(ImageError, match=message) as caught:
        decode(bytes(72), **fields)
    assert caught.value.reason == reason
    assert '; ' in str(caught.value), 'it says how to mend it'


def test_a_message_without_data_is_short_of_it():
    with pytest.raises(ImageError, match='at least 72 bytes, got 0') as caught:
        decode(array.array('B'))
    assert caught.value.reason == 'short_data'


def test_opencv_reads_the_views_as_they_are():
    data, step = padded(np.arange(72, dtype=np.uint8).reshape(4, 18), 7, 0)
    image = decode(data, step=step)
    np.testing.assert_array_equal(cv2.flip(image.pixels, 0), image.pixels[::-1])

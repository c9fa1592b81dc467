# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from mono_metric_depth import image_decoding
from mono_metric_depth.compressed_image import compressed_size, decode_compressed
from mono_metric_depth.image import ImageError


def file(kind: str, *options: int, channels: int = 3, noisy: bool = False) -> bytes:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, channels), np.uint8)
    pixels = cv2.resize(coarse, (160, 120))
    if noisy:
        pixels = np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint8)
    return bytes(cv2.imencode(kind, pixels, options)[1])


JPEG, PNG = file('.jpg'), file('.png')
#: Both have their end.
HALF_JPEG, HALF_PNG = JPEG[: len(JPEG) // 2] + JPEG[-2:], PNG[: len(PNG) // 2] + PNG[-12:]


@pytest.mark.parametrize(
    ('data', 'said'),
    [
        (HALF_JPEG, 'damaged: Corrupt JPEG data: premature end of data segment'),
        (HALF_PNG, 'damaged: libpng error'),
    ],
)
def test_an_image_with_a_part_missing_is_refused_without_a_line_on_standard_error(
    data: bytes, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        with pytest.raises(ImageError, match=f'{said}.*; check the connection') as refused:
            decode_compressed(data, '')
        assert refused.value.reason == 'compression'
        assert decode_compressed(JPEG, 'jpeg').pixels.shape == (120, 160, 3)
    print('what others say is heard', file=sys.stderr)
    assert capfd.readouterr().err == 'what others say is heard\n'


def test_bytes_too_many_before_the_end_are_passed_over_as_cameras_send_them(
    capfd: pytest.CaptureFixture[str],
) -> None:
    padded = decode_compressed(JPEG[:-2] + bytes(8) + JPEG[-2:], 'jpeg')
    np.testing.assert_array_equal(padded.pixels, decode_compressed(JPEG, 'jpeg').pixels)
    assert capfd.readouterr().err == ''


#: JPEG files of one scan, and how the tail of each is coded.
ONE_SCAN = {
    'smooth': file('.jpg'),
    'noisy': file('.jpg', noisy=True),
    'grey': file('.jpg', channels=1),
    'restarts': file('.jpg', cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
    'optimised': file('.jpg', cv2.IMWRITE_JPEG_OPTIMIZE, 1),
}


@pytest.mark.parametrize('name', ONE_SCAN)
def test_a_jpeg_that_lacks_its_end_mark_alone_is_whole(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = ONE_SCAN[name]
    expected = decode_compressed(whole, 'jpeg').pixels
    for ending in (b'', b'\xff'):
        found = decode_compressed(whole[:-2] + ending, 'jpeg')
        np.testing.assert_array_equal(found.pixels, expected)
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('name', ONE_SCAN)
@pytest.mark.parametrize('padding', [b'', bytes(500), b'\xff' * 500, b'\xaa' * 500])
def test_a_jpeg_without_end_mark_that_was_cut_short_is_refused(name: str, padding: bytes) -> None:
    whole = ONE_SCAN[name]
    start = whole.index(b'\xff\xda')
    cuts = [*range(3, 40), *range(40, len(whole) - start, 97), len(whole) - start]
    for cut in cuts:
        with pytest.raises(ImageError, match='cut short after .* bytes; check') as refused:
            decode_compressed(whole[:-cut] + padding, 'jpeg')
        assert refused.value.reason == 'compression', cut


@pytest.mark.parametrize(
    'data',
    [
        # Its last scan may be missing altogether, which no decoder misses.
        file('.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1)[:-2],
        # The end of what is within its header is not its own.
        JPEG[:2] + b'\xff\xe1\x00\x06\xff\xd8\xff\xd9' + JPEG[2 : len(JPEG) // 2],
        PNG[:-8],
    ],
)
def test_what_cannot_be_told_from_a_whole_image_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match='cut short after .* bytes; check'):
        decode_compressed(data, '')


def test_nothing_is_taken_for_whole_that_nobody_heard_the_decoder_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_decoding, '_CLONE_FILES', -1)
    image_decoding._forget_threads()
    try:
        with pytest.raises(ImageError, match='cut short'):
            decode_compressed(JPEG[:-2], 'jpeg')
    finally:
        image_decoding._forget_threads()


@pytest.mark.parametrize(
    'encoding',
    ['', 'jpeg', 'JPG', 'rgb8; jpeg compressed bgr8', 'bgr8; jpeg compressed ', 'camera 7'],
)
def test_the_data_say_what_they_are_where_the_format_does_not_contradict(encoding: str) -> None:
    assert compressed_size(JPEG, encoding) == (160, 120)
    assert decode_compressed(JPEG, encoding).channels == 'bgr'


@pytest.mark.parametrize(
    ('data', 'encoding', 'reason', 'said'),
    [
        (PNG, 'jpeg', 'compression', "a PNG image but the format .* 'jpeg'; let its publisher"),
        (JPEG, 'rgb8; png compressed bgr8', 'compression', 'a JPEG image but .*; let its'),
        (PNG, '16UC1; compressedDepth', 'encoding', "depth by its format '16UC1; .*; take the"),
        (bytes(12) + PNG, '32FC1; compressedDepth png', 'encoding', 'depth by its .*; take the'),
        (bytes(12), '16UC1; compressedDepth rvl', 'encoding', 'depth by its format .*; take'),
        (PNG, '16UC1; png compressed ', 'encoding', 'depth by its format .*; take'),
        (PNG, 'bayer_rggb16; png compressed ', 'encoding', "'bayer_rggb16' are not .*; set the"),
        (b'II*\0', 'rgb8; tiff compressed ', 'compression', "format is 'rgb8; tiff .*; let the"),
        (bytes(99), 'x' * 9999, 'compression', r"format is 'x{80}\.\.\.'\), or .*; let the"),
        (bytes(99), '', 'compression', 'no JPEG or PNG image, or the header .*; let the'),
    ],
)
def test_a_format_that_contradicts_the_data_or_names_depth_is_refused(
    data: bytes, encoding: str, reason: str, said: str
) -> None:
    for read in (compressed_size, decode_compressed):
        with pytest.raises(ImageError, match=said) as refused:
            read(data, encoding)
        assert refused.value.reason == reason


def test_16_bits_of_grey_stay_16_bits_as_in_a_raw_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (12, 16), np.uint16)
    data = bytes(cv2.imencode('.png', pixels)[1])
    image = decode_compressed(data, 'mono16; png compressed ')
    assert image.channels == 'mono'
    np.testing.assert_array_equal(image.pixels, pixels)
    colour = bytes(cv2.imencode('.png', np.stack([pixels << 4] * 3, axis=-1))[1])
    image = decode_compressed(colour, 'rgb16; png compressed bgr16')
    assert (image.channels, image.pixels.dtype) == ('bgr', np.uint8)


def test_decoding_holds_no_descriptor_that_others_close() -> None:
    decode_compressed(JPEG, 'jpeg')
    reading, writing = os.pipe()
    image_decoding._forget_threads()  # new ones would inherit the pipe
    threads = [threading.Thread(target=decode_compressed, args=(JPEG, 'jpeg')) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(writing)
    assert os.read(reading, 1) == b''  # the end, or it would wait for ever
    os.close(reading)
    before = len(list(Path('/proc/self/fd').iterdir()))
    for _ in range(20):
        decode_compressed(PNG, 'png')
    assert len(list(Path('/proc/self/fd').iterdir())) == before


def test_without_descriptors_of_its_own_a_thread_decodes_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As in containers that forbid it."""
    monkeypatch.setattr(image_decoding, '_CLONE_FILES', -1)
    image_decoding._forget_threads()
    try:
        assert decode_compressed(JPEG, 'jpeg').pixels.shape == (120, 160, 3)
        with pytest.raises(ImageError, match='damaged'):
            decode_compressed(HALF_PNG, 'png')
        assert 'libpng error' in capfd.readouterr().err
    finally:
        image_decoding._forget_threads()


def _decode(result: multiprocessing.SimpleQueue[tuple[int, ...]]) -> None:
    result.put(decode_compressed(JPEG, 'jpeg').pixels.shape)


@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_a_forked_process_decodes() -> None:
    decode_compressed(JPEG, 'jpeg')
    context = multiprocessing.get_context('fork')
    result = context.SimpleQueue()
    process = context.Process(target=_decode, args=(result,), daemon=True)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert result.get() == (120, 160, 3)

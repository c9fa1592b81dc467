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
from mono_metric_depth.compressed_image import decode_compressed
from mono_metric_depth.image import ImageError


def file(kind: str) -> bytes:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return bytes(cv2.imencode(kind, cv2.resize(coarse, (160, 120)))[1])


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
        with pytest.raises(ImageError, match=said) as refused:
            decode_compressed(data, 'jpeg')
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

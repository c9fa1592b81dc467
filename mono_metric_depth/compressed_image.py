# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG images of sensor_msgs/CompressedImage, as image_transport writes them."""

from __future__ import annotations

import struct

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.image import ENCODINGS, Image, ImageError, decode_image
from mono_metric_depth.image_decoding import decode

#: Larger images are refused: decoding takes 3 bytes for each pixel that the header claims.
MAX_PIXELS = 1 << 26

#: ``format`` of a sensor_msgs/CompressedImage that :func:`encode_jpeg` fills.
JPEG_FORMAT = 'bgr8; jpeg compressed bgr8'
_QUALITY = 90

_PNG = b'\x89PNG\r\n\x1a\n'
_JPEG = b'\xff\xd8'
#: Both formats end in a mark; cameras may put a little behind it.
_ENDS = {_PNG: b'IEND', _JPEG: b'\xff\xd9'}
_TAIL = 4096
#: What libjpeg says of images of which a part is missing. Bytes too many before a mark are not
#: among it: some cameras send them with every image.
_DAMAGE = (
    'remature end',
    'bad Huffman code',
    'bad arithmetic code',
    'bad progression',
    'instead of RST',
)
#: JPEG segments that hold the size: frame headers, without DHT (C4), JPG (C8) and DAC (CC).
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def compressed_size(data: bytes) -> tuple[int, int]:
    """Size of a JPEG or PNG image, by its header alone.

    Args:
        data: The file's bytes.

    Returns:
        Width and height (px).

    Raises:
        ImageError: If it is neither, its header is damaged, or it has more than
            :data:`MAX_PIXELS`.
    """
    width, height = _header_size(data)
    if width * height > MAX_PIXELS:
        msg = f'the compressed image claims {width}x{height} px, above {MAX_PIXELS} px in all'
        raise ImageError(msg, reason='size')
    return width, height


def _header_size(data: bytes) -> tuple[int, int]:
    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack('>II', data[16:24])
        return width, height
    if data.startswith(_JPEG):
        place = 2
        while place + 9 <= len(data) and data[place] == 0xFF:
            if data[place + 1] in _FRAME_HEADERS:
                height, width = struct.unpack('>HH', data[place + 5 : place + 9])
                return width, height
            # Fill bytes and marks without content have no length.
            bare = data[place + 1] in {0x01, 0xFF} or 0xD0 <= data[place + 1] <= 0xD8
            (length,) = struct.unpack('>H', data[place + 2 : place + 4])
            place += (1 if data[place + 1] == 0xFF else 2) if bare else 2 + length
    msg = 'the data are no JPEG or PNG image, or the header is damaged'
    raise ImageError(msg, reason='compression')


def decode_compressed(data: bytes, encoding: str) -> Image:
    """The image of a sensor_msgs/CompressedImage.

    Args:
        data: The message's ``data``: a JPEG or PNG file. Check :func:`compressed_size` first:
            decoding takes memory for what the header claims.
        encoding: The message's ``format``: ``jpeg``, ``png``, or such as ``rgb8; jpeg compressed
            bgr8`` (what it was, and what was stored).

    Returns:
        The image, ``bgr`` or ``rgb``. The orientation in EXIF is ignored: calibration knows none.

    Raises:
        ImageError: If the image is damaged, cut short or of another size than its header says.
    """
    end = _ENDS[_PNG] if data.startswith(_PNG) else _ENDS[_JPEG]
    # The decoder fills what is missing with grey, without a word.
    if end not in data[-_TAIL:]:
        msg = f'the compressed image is cut short after {len(data)} bytes'
        raise ImageError(msg, reason='compression')
    pattern, _, stored = (part.strip() for part in encoding.partition(';'))
    # A Bayer pattern that was not converted before compression.
    mosaic = (
        pattern.startswith('bayer_')
        and pattern in ENCODINGS
        and not stored.endswith(('bgr8', 'rgb8'))
    )
    flags = cv2.IMREAD_GRAYSCALE if mosaic else cv2.IMREAD_COLOR
    try:
        pixels, said = decode(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as err:
        pixels, said = None, str(err)
    if pixels is None or any(words in said for words in _DAMAGE):
        msg = f'the compressed image is damaged{f": {said}" if said else ""}'
        raise ImageError(msg, reason='compression')
    height, width = pixels.shape[:2]
    if (width, height) != compressed_size(data):
        msg = f'the compressed image is {width}x{height}, its header says otherwise'
        raise ImageError(msg, reason='compression')
    if mosaic:
        return decode_image(
            np.ascontiguousarray(pixels, np.uint8),
            height=height,
            width=width,
            encoding=pattern,
            step=width,
            is_bigendian=False,
        )
    # Red and blue may have been swapped before compression.
    channels = 'rgb' if 'compressed rgb' in stored else 'bgr'
    return Image(np.asarray(pixels, np.uint8), channels)


def encode_jpeg(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture as image_transport's compressed plugin sends it.

    Args:
        bgr: (h, w, 3) uint8.

    Returns:
        (n,) uint8: a JPEG file.
    """
    _, file = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return np.asarray(file, np.uint8)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""JPEG and PNG images of sensor_msgs/CompressedImage, as image_transport writes them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

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
#: What ``format`` calls them.
_NAMES = {_PNG: ('png',), _JPEG: ('jpeg', 'jpg')}
#: What ``format`` names first where the pixels are no picture, but depth or disparity.
_DEPTHS = ('16uc1', '32fc1')
#: The longest ``format`` that is told in full.
_MOST_TOLD = 80
#: Both formats end in a mark; cameras may put a little behind it, and some leave that of JPEG out.
_PNG_END, _JPEG_END = b'IEND', b'\xff\xd9'
_TAIL = 4096
#: Bits and colour type in the header of a PNG.
_GREY_16 = bytes([16, 0])
#: What to do about damage, which happens on the way.
_MEND = 'check the connection and bandwidth of the camera, or copy the file again'
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
#: Those of images that one scan holds.
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_SCAN = 0xDA


def compressed_size(data: bytes, encoding: str = '') -> tuple[int, int]:
    """Size of a JPEG or PNG image, by its header alone.

    Args:
        data: The file's bytes. What they are, they say themselves.
        encoding: The ``format`` of the sensor_msgs/CompressedImage that holds them, if one does.

    Returns:
        Width and height (px).

    Raises:
        ImageError: If it is neither, its header is damaged, it has more than :data:`MAX_PIXELS`,
            or ``encoding`` names something else.
    """
    _require_picture(data, encoding)
    width, height = _header_size(data, encoding)
    if width * height > MAX_PIXELS:
        msg = (
            f'the compressed image claims {width}x{height} px, above {MAX_PIXELS} px in all; '
            'scale it down'
        )
        raise ImageError(msg, reason='size')
    return width, height


def _require_picture(data: bytes, encoding: str) -> None:
    """Refuse what a message's ``format`` calls something else than a picture of its data."""
    said = encoding.lower()
    pattern, stored = _parts(said)
    if 'compresseddepth' in said or pattern in _DEPTHS:
        msg = (
            f'the message holds depth by its format {_told(encoding)}, not what a camera sees; '
            "take the images of the camera's own topic"
        )
        raise ImageError(msg, reason='encoding')
    if _is_mosaic(pattern, stored) and pattern not in ENCODINGS:
        msg = (
            f'compressed images of {_told(pattern)} are not supported; set the camera driver to '
            'one of '
            f'{", ".join(name for name in ENCODINGS if name.startswith("bayer_"))}, or to colour'
        )
        raise ImageError(msg, reason='encoding')
    named = {start for start, names in _NAMES.items() if any(name in said for name in names)}
    found = {start for start in _NAMES if data.startswith(start)}
    if named and found and not named & found:
        name = _NAMES[found.pop()][0].upper()
        msg = (
            f'the data are a {name} image but the format of the message is {_told(encoding)}; '
            'let its publisher name what it sends'
        )
        raise ImageError(msg, reason='compression')


def _parts(encoding: str) -> tuple[str, str]:
    """What an image was before compression, and what was stored; each may be empty."""
    pattern, _, stored = (part.strip() for part in encoding.partition(';'))
    return pattern, stored


def _is_mosaic(pattern: str, stored: str) -> bool:
    """Whether the pixels are a Bayer pattern that was not converted before compression."""
    return pattern.startswith('bayer_') and not stored.endswith(('bgr8', 'rgb8'))


def _told(encoding: str) -> str:
    return repr(encoding if len(encoding) <= _MOST_TOLD else f'{encoding[:_MOST_TOLD]}...')


def _header_size(data: bytes, encoding: str) -> tuple[int, int]:
    if data.startswith(_PNG) and len(data) >= 24:
        width, height = struct.unpack('>II', data[16:24])
        return width, height
    for mark, start in _segments(data):
        if mark in _FRAME_HEADERS and start + 5 <= len(data):
            height, width = struct.unpack('>HH', data[start + 1 : start + 5])
            return width, height
    by_name = f' (its format is {_told(encoding)})' if encoding else ''
    msg = (
        f'the data are no JPEG or PNG image{by_name}, or the header is damaged; let the publisher '
        'compress to jpeg or png'
    )
    raise ImageError(msg, reason='compression')


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The marks of a JPEG up to its first scan, and where their content starts."""
    place = 2 if data.startswith(_JPEG) else len(data)
    while place + 4 <= len(data) and data[place] == 0xFF:
        mark = data[place + 1]
        if mark == 0xFF:  # a fill byte
            place += 1
        elif mark == 0x01 or 0xD0 <= mark <= 0xD8:  # without content
            place += 2
        else:
            yield mark, place + 4
            if mark == _SCAN:
                return
            place += 2 + int.from_bytes(data[place + 2 : place + 4], 'big')


def _end(data: bytes) -> tuple[bool, bool]:
    """Whether an image has its end mark, and whether its decoder would miss what is cut off.

    A decoder of JPEG knows how much a scan has to hold, but not how many scans there are to be:
    of a progressive image, the last may be missing altogether.
    """
    if data.startswith(_PNG):
        return _PNG_END in data[-_TAIL:], False
    components = -1
    for mark, start in _segments(data):
        if mark in _SEQUENTIAL and start + 6 <= len(data):
            components = data[start + 5]
        elif mark == _SCAN:
            # An image within the header, for previews, has an end of its own.
            ended = data.rfind(_JPEG_END, max(start, len(data) - _TAIL)) >= 0
            return ended, data[start : start + 1] == bytes([max(components, 0)])
    return False, False


def decode_compressed(data: bytes, encoding: str) -> Image:
    """The image of a sensor_msgs/CompressedImage.

    Args:
        data: The message's ``data``: a JPEG or PNG file. Check :func:`compressed_size` first:
            decoding takes memory for what the header claims.
        encoding: The message's ``format``: ``jpeg``, ``png``, or such as ``rgb8; jpeg compressed
            bgr8`` (what it was, and what was stored); '' if there is none.

    Returns:
        The image, ``bgr`` or ``rgb``, or ``mono`` of 16 bits where a PNG holds that. The
        orientation in EXIF is ignored: calibration knows none.

    Raises:
        ImageError: If the image is damaged, cut short, of another size than its header says, or
            not what ``encoding`` says.
    """
    size = compressed_size(data, encoding)
    pattern, stored = _parts(encoding)
    mosaic = _is_mosaic(pattern, stored)
    # 12 bits in 16, as cameras have them, would be 4 bits in 8.
    deep = data.startswith(_PNG) and data[24:26] == _GREY_16 and not mosaic
    pixels = _decoded(data, grey=mosaic or deep, deep=deep)
    height, width = pixels.shape[:2]
    if (width, height) != size:
        msg = f'the compressed image is {width}x{height}, its header says otherwise; {_MEND}'
        raise ImageError(msg, reason='compression')
    if deep:
        return Image(np.asarray(pixels, np.uint16), 'mono')
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


def _decoded(data: bytes, *, grey: bool, deep: bool) -> NDArray[Any]:
    """The pixels of an image of which nothing is missing."""
    ended, missed = _end(data)
    cut = f'the compressed image is cut short after {len(data)} bytes; {_MEND}'
    # The decoder fills what is missing with grey, without a word where there is no end.
    if not (ended or missed):
        raise ImageError(cut, reason='compression')
    flags = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    flags |= cv2.IMREAD_ANYDEPTH if deep else 0
    try:
        pixels, said = decode(
            data if ended else data + _JPEG_END, flags | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error as err:
        pixels, said = None, str(err)
    # Without its end mark, an image has to fill its last byte: zeros that a publisher sends in
    # place of what was lost would be decoded, too.
    if not ended and said != '':
        raise ImageError(cut, reason='compression')
    if pixels is None or any(words in (said or '') for words in _DAMAGE):
        msg = f'the compressed image is damaged{f": {said}" if said else ""}; {_MEND}'
        raise ImageError(msg, reason='compression')
    return pixels


def encode_jpeg(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture as image_transport's compressed plugin sends it.

    Args:
        bgr: (h, w, 3) uint8.

    Returns:
        (n,) uint8: a JPEG file.
    """
    _, file = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return np.asarray(file, np.uint8)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Images: raw encodings of sensor_msgs/Image as arrays of pixels, copied only where they must."""

from __future__ import annotations

import array
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

#: What holds the bytes of an image; it has to be contiguous.
Buffer: TypeAlias = 'bytes | bytearray | memoryview | array.array[int] | NDArray[np.uint8]'

MAX_SIZE = 32768


class ImageError(ValueError):
    """An image that cannot be decoded.

    Attributes:
        reason: Short stable name of what is wrong, to count by: ``empty``, ``size``, ``encoding``,
            ``step`` or ``short_data``.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


#: From so many pixels on a row is not padded to a multiple of itself.
_WIDE = 64


@dataclass(frozen=True)
class _Layout:
    """How an encoding lays out its bytes.

    Attributes:
        channels: Channels of the decoded image.
        dtype: Type of one sample; its byte order is the message's.
        samples: Samples per pixel in a row.
        code: Conversion of OpenCV to BGR; None where the samples already are the pixels.
        multiple: Width and height must be divisible by these.
        minimum: Smallest width and height that can be converted (px).
        chroma_rows: Whether half as many rows of chroma follow the rows of luma.
    """

    channels: str
    dtype: str = 'u1'
    samples: int = 1
    code: int | None = None
    multiple: tuple[int, int] = (1, 1)
    minimum: int = 1
    chroma_rows: bool = False


def _bayer(code: int) -> _Layout:
    # Below 3x3 OpenCV returns black without a word.
    return _Layout('bgr', code=code, minimum=3)


def _yuv422(code: int) -> _Layout:
    return _Layout('bgr', samples=2, code=code, multiple=(2, 1))


def _yuv420(code: int) -> _Layout:
    return _Layout('bgr', code=code, multiple=(2, 2), chroma_rows=True)


# ROS names a Bayer pattern by its upper left 2x2 pixels, OpenCV by those one row and one column
# further in: rggb is OpenCV's BayerBG. (Its newer names that follow ROS are missing from old 4.x.)
_LAYOUTS = {
    'rgb8': _Layout('rgb', samples=3),
    'bgr8': _Layout('bgr', samples=3),
    'rgba8': _Layout('rgba', samples=4),
    'bgra8': _Layout('bgra', samples=4),
    'mono8': _Layout('mono'),
    'mono16': _Layout('mono', dtype='u2'),
    'bayer_rggb8': _bayer(cv2.COLOR_BayerBG2BGR),
    'bayer_bggr8': _bayer(cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg8': _bayer(cv2.COLOR_BayerGR2BGR),
    'bayer_grbg8': _bayer(cv2.COLOR_BayerGB2BGR),
    'yuv422': _yuv422(cv2.COLOR_YUV2BGR_UYVY),
    'uyvy': _yuv422(cv2.COLOR_YUV2BGR_UYVY),
    'yuv422_yuy2': _yuv422(cv2.COLOR_YUV2BGR_YUY2),
    'yuyv': _yuv422(cv2.COLOR_YUV2BGR_YUY2),
    'nv12': _yuv420(cv2.COLOR_YUV2BGR_NV12),
    'nv21': _yuv420(cv2.COLOR_YUV2BGR_NV21),
}

#: The encodings of sensor_msgs/Image that :func:`decode_image` reads.
ENCODINGS = tuple(_LAYOUTS)

_TO_BGR = {
    'rgb': cv2.COLOR_RGB2BGR,
    'rgba': cv2.COLOR_RGBA2BGR,
    'bgra': cv2.COLOR_BGRA2BGR,
    'mono': cv2.COLOR_GRAY2BGR,
}
_TO_RGB = {
    'bgr': cv2.COLOR_BGR2RGB,
    'rgba': cv2.COLOR_RGBA2RGB,
    'bgra': cv2.COLOR_BGRA2RGB,
    'mono': cv2.COLOR_GRAY2RGB,
}


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels and what they mean.

    Attributes:
        pixels: (height, width, 3) uint8 for ``rgb`` and ``bgr``, (height, width, 4) uint8 for
            ``rgba`` and ``bgra``, (height, width) uint8 or uint16 for ``mono``. May be a read-only
            view onto a message, with padding between its rows.
        channels: ``rgb``, ``bgr``, ``rgba``, ``bgra`` or ``mono``.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    channels: str

    @property
    def width(self) -> int:
        """Width (px)."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height (px)."""
        return int(self.pixels.shape[0])

    def as_bgr(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8, B, G, R, contiguous; without a copy if the pixels are that.

        Alpha is dropped. 16 bits become 8 by 255/65535, to nearest, as in cv_bridge.
        """
        return self._converted('bgr', _TO_BGR)

    def as_rgb(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8, R, G, B; otherwise as :meth:`as_bgr`."""
        return self._converted('rgb', _TO_RGB)

    def _converted(self, channels: str, codes: dict[str, int]) -> NDArray[np.uint8]:
        if self.channels == channels:
            return cast('NDArray[np.uint8]', np.ascontiguousarray(self.pixels))
        pixels = self.pixels
        if pixels.dtype == np.uint16:
            pixels = cast('NDArray[np.uint8]', cv2.convertScaleAbs(pixels, alpha=255 / 65535))
        return cast('NDArray[np.uint8]', cv2.cvtColor(pixels, codes[self.channels]))


def decode_image(
    data: Buffer, *, height: int, width: int, encoding: str, step: int, is_bigendian: bool
) -> Image:
    """The image that the fields of a sensor_msgs/Image describe.

    Interleaved and mono encodings are read-only views onto the data; Bayer and YUV (BT.601,
    video range, as in OpenCV and cv_bridge) are converted, mono16 is copied if its byte order is
    not this machine's or its step is odd. nv12 and
    nv21 have ``height`` rows of luma followed by ``height / 2`` rows of chroma, each of ``step``
    bytes.

    Args:
        data: The bytes; the padding of the last row may be missing, more bytes are ignored.
        height: Rows of the image (px).
        width: Columns of the image (px).
        encoding: One of :data:`ENCODINGS`.
        step: Length of a row with its padding (bytes).
        is_bigendian: Byte order of mono16.

    Returns:
        The image.

    Raises:
        ImageError: If the fields contradict each other or the encoding is not supported. Nothing
            has been read by then.
    """
    layout = _layout(height, width, encoding)
    dtype = np.dtype(layout.dtype).newbyteorder('>' if is_bigendian else '<')
    pixel_bytes = dtype.itemsize * layout.samples
    rows = height * 3 // 2 if layout.chroma_rows else height
    row_bytes = width * pixel_bytes
    if step < row_bytes:
        msg = (
            f'step of a {width} px wide {encoding} image must be at least {row_bytes} bytes, got '
            f'{step}; the publisher has to set step to the length of a row in bytes'
        )
        raise ImageError(msg, reason='step')
    if pixel_bytes == 1 and width >= _WIDE and step in {3 * width, 4 * width}:
        msg = (
            f'step of a {width} px wide {encoding} image is {step // width} bytes for each pixel, '
            'as if it were in colour; the publisher has to declare the encoding of its data, or '
            'the length of a row'
        )
        raise ImageError(msg, reason='step')
    expected = (rows - 1) * step + row_bytes
    octets = np.frombuffer(data, np.uint8)
    if octets.size < expected:
        msg = (
            f'data of a {width}x{height} {encoding} image with step {step} must hold at least '
            f'{expected} bytes, got {octets.size}; the publisher cuts its data short or declares '
            'a wrong height, encoding or step'
        )
        raise ImageError(msg, reason='short_data')
    shape = (rows, width) if layout.samples == 1 else (rows, width, layout.samples)
    strides = (step, pixel_bytes, dtype.itemsize)[: len(shape)]
    pixels: NDArray[np.uint8] = np.ndarray(shape, dtype, buffer=octets, strides=strides)
    if layout.code is not None:
        pixels = cast('NDArray[np.uint8]', cv2.cvtColor(pixels, layout.code))
    elif not dtype.isnative or step % dtype.itemsize:  # OpenCV takes no split samples
        pixels = pixels.astype(dtype.newbyteorder('='))
    pixels.flags.writeable = False
    return Image(pixels, layout.channels)


def decode_message(message: Any) -> Image:
    """The image of a sensor_msgs/Image, whichever library made the message.

    Args:
        message: Anything with its fields.

    Returns:
        The image; see :func:`decode_image`.

    Raises:
        ImageError: See :func:`decode_image`.
    """
    return decode_image(
        message.data,
        height=message.height,
        width=message.width,
        encoding=message.encoding,
        step=message.step,
        is_bigendian=bool(message.is_bigendian),
    )


def _layout(height: int, width: int, encoding: str) -> _Layout:
    """The layout of an encoding, once the size is known to fit it."""
    if height <= 0 or width <= 0:
        msg = f'image is empty: its size is {width}x{height}; the publisher has to fill it in'
        raise ImageError(msg, reason='empty')
    if height > MAX_SIZE or width > MAX_SIZE:
        msg = (
            f'image size {width}x{height} is above {MAX_SIZE} px; scale it down or check that the '
            'publisher fills in width and height'
        )
        raise ImageError(msg, reason='size')
    layout = _LAYOUTS.get(encoding)
    if layout is None:
        msg = (
            f'image encoding {encoding!r} is not supported; set the camera driver to one of '
            f'{", ".join(ENCODINGS)}'
        )
        raise ImageError(msg, reason='encoding')
    if min(width, height) < layout.minimum:
        msg = (
            f'size of a {encoding} image must be at least {layout.minimum}x{layout.minimum}, got '
            f'{width}x{height}; set the camera to a larger image'
        )
        raise ImageError(msg, reason='size')
    across, down = layout.multiple
    if width % across or height % down:
        even = 'width and height' if down > 1 else 'width'
        msg = (
            f'{even} of a {encoding} image must be even, got {width}x{height}; set the camera to '
            'an even size or to another encoding'
        )
        raise ImageError(msg, reason='size')
    return layout

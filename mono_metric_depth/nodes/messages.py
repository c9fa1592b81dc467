# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Messages: images read from sensor_msgs, depth and clouds written into them in place.

The output messages are made once per camera and published again and again: publishing serialises
a message before it returns. The views are taken from the finished message, as constructors and
setters of rclpy copy what they are given (the setters unless they check fields); do not assign to
its ``data``. While a view exists the data cannot be resized.
"""

from __future__ import annotations

import sys

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2, PointField
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.camera import Camera
from mono_metric_depth.compressed_image import (
    JPEG_FORMAT,
    compressed_size,
    decode_compressed,
    encode_jpeg,
)
from mono_metric_depth.depth_encoding import DEPTH_DTYPES
from mono_metric_depth.depth_estimate import require_same_size
from mono_metric_depth.image import Image, ImageError, decode_message
from mono_metric_depth.point_cloud import FIELDS, valid_points

_BIGENDIAN = sys.byteorder == 'big'


def image_from_message(message: ImageMessage) -> Image:
    """The image of a message, a view onto its data where its encoding allows.

    Encodings that :func:`mono_metric_depth.image.decode_image` does not read are left to
    cv_bridge where it is installed.

    Args:
        message: A sensor_msgs/Image.

    Returns:
        The image; ``bgr`` if cv_bridge had to convert it.

    Raises:
        ImageError: If the message contradicts itself or nothing here reads its encoding.
    """
    try:
        return decode_message(message)
    except ImageError as error:
        if error.reason != 'encoding':
            raise
        return _image_from_cv_bridge(message, error)


def image_from_compressed_message(message: CompressedImage, camera: Camera) -> Image:
    """The image of a compressed message; no more is decoded than the camera has pixels.

    Args:
        message: A sensor_msgs/CompressedImage: JPEG or PNG.
        camera: The camera that took it.

    Returns:
        The image.

    Raises:
        ImageError: If the data are damaged, cut short or not what the format says.
        EstimatorError: If the size that they claim is not the camera's.
    """
    data = bytes(message.data)
    require_same_size(*compressed_size(data, message.format), camera)
    return decode_compressed(data, message.format)


def _image_from_cv_bridge(message: ImageMessage, unsupported: ImageError) -> Image:
    # cv_bridge imports its compiled half on first use: a build for another NumPy fails only then.
    try:
        from cv_bridge import CvBridge

        pixels = CvBridge().imgmsg_to_cv2(message, desired_encoding='bgr8')
    except ImportError as err:
        msg = f'{unsupported}, or install cv_bridge ({err})'
        raise ImageError(msg, reason='encoding') from err
    except (TypeError, ValueError) as err:  # CvBridgeError is a TypeError
        msg = f'{unsupported}; cv_bridge does not convert it either: {err}'
        raise ImageError(msg, reason='encoding') from err
    return Image(pixels, 'bgr')


class DepthMessage:
    """A depth image message whose pixels are written in place.

    Attributes:
        message: The sensor_msgs/Image; its header is the caller's to fill.
        depth: (height, width) view onto the message's data: float32 metres for ``32FC1``, where
            invalid is NaN and never 0 (REP-117, REP-118), uint16 millimetres for ``16UC1``, where
            invalid is 0. It starts as invalid everywhere.
    """

    message: ImageMessage
    depth: NDArray[np.float32] | NDArray[np.uint16]

    def __init__(self, width: int, height: int, encoding: str = '32FC1') -> None:
        """Makes a message without valid depth.

        Args:
            width: Columns of the image (px).
            height: Rows of the image (px).
            encoding: ``32FC1`` or ``16UC1``.

        Raises:
            ValueError: For another encoding.
        """
        dtype = DEPTH_DTYPES.get(encoding)
        if dtype is None:
            msg = f'depth encoding must be one of {", ".join(DEPTH_DTYPES)}, got {encoding!r}'
            raise ValueError(msg)
        self.message = ImageMessage(
            width=width,
            height=height,
            encoding=encoding,
            is_bigendian=int(_BIGENDIAN),
            step=width * dtype.itemsize,
            data=bytes(height * width * dtype.itemsize),
        )
        self.depth = np.frombuffer(self.message.data, dtype).reshape(height, width)
        if encoding == '32FC1':
            self.depth.fill(np.nan)


class CloudMessage:
    """An organised cloud message whose points are written in place.

    Attributes:
        message: The sensor_msgs/PointCloud2; its header is the caller's to fill.
        points: (height, width, 4) float32 view onto the message's data: x, y, z (m) and rgb, or
            (height, width, 3) without rgb, as
            :meth:`mono_metric_depth.point_cloud.PointCloudWriter.write` writes them. It starts
            as NaN points without colour.
    """

    message: PointCloud2
    points: NDArray[np.float32]

    def __init__(self, width: int, height: int, *, colour: bool = True) -> None:
        """Makes a message without valid points.

        Args:
            width: Points in a row.
            height: Rows of points.
            colour: Whether points have rgb: 16 bytes each, 12 without.
        """
        channels = 4 if colour else 3
        self.message = _cloud_message(
            width, height, channels, bytes(4 * channels * height * width)
        )
        points = np.frombuffer(self.message.data, np.float32)
        self.points = points.reshape(height, width, channels)
        self.points[..., :3] = np.nan


def compact_cloud_message(points: NDArray[np.float32]) -> PointCloud2:
    """A cloud of the valid points alone.

    Args:
        points: (height, width, 3 or 4) float32, as :attr:`CloudMessage.points`.

    Returns:
        A sensor_msgs/PointCloud2 of one row, dense; its header is the caller's to fill.
    """
    channels = points.shape[2]
    valid = valid_points(points)
    message = _cloud_message(len(valid), 1, channels, b'')
    message.data.frombytes(valid.reshape(-1).view(np.uint8))
    message.is_dense = True
    return message


def _cloud_message(width: int, height: int, channels: int, data: bytes) -> PointCloud2:
    return PointCloud2(
        width=width,
        height=height,
        fields=[
            PointField(name=name, offset=offset, datatype=PointField.FLOAT32, count=1)
            for name, offset in list(FIELDS.items())[:channels]
        ],
        is_bigendian=_BIGENDIAN,
        point_step=4 * channels,
        row_step=4 * channels * width,
        data=data,
        is_dense=False,
    )


def jpeg_message(bgr: NDArray[np.uint8]) -> CompressedImage:
    """A picture as image_transport's compressed plugin sends it.

    Args:
        bgr: (h, w, 3) uint8.

    Returns:
        A sensor_msgs/CompressedImage; its header is the caller's to fill.
    """
    message = CompressedImage(format=JPEG_FORMAT)
    message.data.frombytes(encode_jpeg(bgr))
    return message


def camera_info_message(camera: Camera) -> CameraInfo:
    """The calibration of an output image: monocular, without region of interest or binning.

    Args:
        camera: The camera of the image.

    Returns:
        CameraInfo with R the identity and P = [K | 0]; its header is the caller's to fill.
    """
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    distorted = bool(camera.distortion)
    return CameraInfo(
        width=camera.width,
        height=camera.height,
        distortion_model=camera.distortion_model if distorted else 'plumb_bob',
        d=list(camera.distortion) if distorted else [0.0] * 5,
        k=np.array(camera.K, np.float64),
        r=np.eye(3).ravel(),
        p=np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0], np.float64),
    )


def stamp_ns(stamp: Time) -> int:
    """A stamp in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)

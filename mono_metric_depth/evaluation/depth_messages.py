# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What the depth node would publish for an image, as messages of a bag, without ROS."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from mono_metric_depth.alignment import Resolution
from mono_metric_depth.camera import Camera
from mono_metric_depth.compressed_image import JPEG_FORMAT, encode_jpeg
from mono_metric_depth.datasets.bag import camera_info_message, image_message
from mono_metric_depth.datasets.bag_topics import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE
from mono_metric_depth.depth_colours import depth_colours
from mono_metric_depth.depth_encoding import DEPTH_DTYPES, millimetres
from mono_metric_depth.depth_estimate import DepthEstimate
from mono_metric_depth.point_cloud import FIELDS, PointCloudWriter, valid_points

POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
DEPTH, INFO, CLOUD = 'depth/image', 'depth/camera_info', 'depth/points'
PREVIEW = 'depth/preview/compressed'
#: Topics beside those of the camera, in the order in which they are written, and their types.
OUTPUTS = {DEPTH: IMAGE, INFO: CAMERA_INFO, CLOUD: POINT_CLOUD, PREVIEW: COMPRESSED_IMAGE}

STORE = get_typestore(Stores.ROS2_JAZZY)
_FLOAT32 = 7
_BIGENDIAN = sys.byteorder == 'big'


@dataclass(frozen=True)
class OutputOptions:
    """What is made of depth; names and values are those of the node's parameters."""

    depth_resolution: Resolution = 'network'
    depth_encoding: Literal['32FC1', '16UC1'] = '32FC1'
    cloud_resolution: Resolution = 'network'
    cloud_organised: bool = True
    cloud_colour: bool = True
    cloud_decimation: int = 1
    range_min: float = 0.0
    range_max: float = 1000.0


class DepthMessages:
    """Makes the messages of one camera.

    Args:
        options: What to make.
        wanted: Which of :data:`OUTPUTS`.
    """

    def __init__(self, options: OutputOptions, wanted: frozenset[str]) -> None:
        self._options = options
        self._wanted = wanted
        self._writer: tuple[Camera, PointCloudWriter] | None = None

    def make(
        self, header: Any, info: Any, estimate: DepthEstimate
    ) -> dict[str, bytes | memoryview]:
        """The messages of a frame.

        Args:
            header: The image's.
            info: The image's camera_info.
            estimate: The frame's depth.

        Returns:
            CDR bytes by output.
        """
        options = self._options
        depths = {
            resolution: estimate.depth(resolution)
            for resolution in {options.depth_resolution, options.cloud_resolution}
        }
        depth = depths[options.depth_resolution]
        made: dict[str, Any] = {}
        if DEPTH in self._wanted:
            pixels: NDArray[Any] = depth
            if options.depth_encoding == '16UC1':
                pixels = np.empty(depth.shape, DEPTH_DTYPES['16UC1'])
                millimetres(depth, pixels)
            made[DEPTH] = image_message(header, options.depth_encoding, pixels)
        if INFO in self._wanted:
            # Depth per input pixel has the input's own calibration, distortion, ROI and binning.
            own = options.depth_resolution == 'input'
            made[INFO] = (
                dataclasses.replace(info, header=header)
                if own
                else camera_info_message(header, estimate.camera('network'))
            )
        if CLOUD in self._wanted:
            made[CLOUD] = self._cloud(header, depths[options.cloud_resolution], estimate)
        if PREVIEW in self._wanted:
            made[PREVIEW] = STORE.types[COMPRESSED_IMAGE](
                header=header,
                format=JPEG_FORMAT,
                data=encode_jpeg(depth_colours(depth, estimate.depth_range)),
            )
        return {
            output: STORE.serialize_cdr(made[output], kind)
            for output, kind in OUTPUTS.items()
            if output in made
        }

    def _cloud(self, header: Any, depth: NDArray[np.float32], estimate: DepthEstimate) -> Any:
        options = self._options
        camera = estimate.camera(options.cloud_resolution)
        if self._writer is None or self._writer[0] != camera:
            self._writer = camera, PointCloudWriter(camera, options.cloud_decimation)
        writer = self._writer[1]
        bgr = estimate.colour(options.cloud_resolution) if options.cloud_colour else None
        points = np.empty((*writer.shape, 4 if options.cloud_colour else 3), np.float32)
        writer.write(depth, bgr, points, (options.range_min, options.range_max))
        rows = points if options.cloud_organised else valid_points(points)[None]
        height, width, channels = rows.shape
        field = STORE.types['sensor_msgs/msg/PointField']
        return STORE.types[POINT_CLOUD](
            header=header,
            height=height,
            width=width,
            fields=[
                field(name=name, offset=offset, datatype=_FLOAT32, count=1)
                for name, offset in list(FIELDS.items())[:channels]
            ],
            is_bigendian=_BIGENDIAN,
            point_step=4 * channels,
            row_step=4 * channels * width,
            data=np.ascontiguousarray(rows).reshape(-1).view(np.uint8),
            is_dense=not options.cloud_organised,
        )

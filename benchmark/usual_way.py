# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The hot path as nodes in Python are usually written, for hot_path.py to compare with."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import PointCloud2, PointField
from stages import Stages

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.estimator import DepthEstimator


class Usual:
    """The same work as nodes in Python are usually written, inference left out."""

    def __init__(
        self, estimator: DepthEstimator, camera: Camera, mount: Mount, cloud: str
    ) -> None:
        self.stages = Stages()
        self.camera, card = camera, estimator.card
        self.canonical, self.scale = card.canonical_camera, card.scale.value
        self.output = estimator.engine.output
        self.resolution = cloud
        self.maps: tuple[np.ndarray, np.ndarray] | None = None
        # The canonical camera with about as many pixels as the image has there.
        shrink = self.camera.fx / self.canonical.fx
        self.fine = self.canonical.resized(
            round(self.canonical.width * shrink), round(self.canonical.height * shrink)
        )
        self.corner = tuple(
            round(own - other)
            for own, other in (
                (self.camera.cy, self.fine.cy),
                (self.camera.cx, self.fine.cx),
            )
        )
        if self.camera.distortion:
            rotation = mount.rotation()
            there = self.camera.project(self.fine.rays() @ rotation)
            back = self.fine.project(self.camera.rays() @ rotation.T)
            self.maps = (there.astype(np.float32), np.nan_to_num(back, nan=-1).astype(np.float32))

    def __call__(self, message: ImageMessage) -> None:
        """One frame."""
        stage = self.stages.stage
        (top, left), (height, width) = self.corner, (self.fine.height, self.fine.width)
        with stage('decode'):
            shape = (message.height, message.width, 3)
            pixels = np.ndarray(shape, np.uint8, buffer=message.data)
            bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        with stage('align'):
            if self.maps is None:
                crop = bgr[top : top + height, left : left + width]
            else:
                crop = cv2.remap(bgr, self.maps[0], None, cv2.INTER_LINEAR)
            small = cv2.resize(crop, (self.canonical.width, self.canonical.height))
        with stage('normalise, scale'):
            rgb = cv2.cvtColor(small, cv2.COLOR_BGR2RGB).astype(np.float32) / 255.0
            rgb = (rgb - np.array([0.45] * 3, np.float32)) / np.array([0.225] * 3, np.float32)
            np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])
            depth = self.output[0, 0] * self.scale
        with stage('depth message'):
            fine = cv2.resize(depth, (width, height))
            if self.maps is None:
                full = np.full((self.camera.height, self.camera.width), np.nan, np.float32)
                full[top : top + height, left : left + width] = fine
            else:
                full = cv2.remap(fine, self.maps[1], None, cv2.INTER_LINEAR, borderValue=np.nan)
            image = ImageMessage(
                height=full.shape[0], width=full.shape[1], encoding='32FC1', step=4 * full.shape[1]
            )
            image.data.frombytes(full.tobytes())
        with stage('cloud message'):
            if self.resolution == 'network':
                structured_cloud(depth, small, self.canonical)
            else:
                structured_cloud(full, bgr, self.camera)


def structured_cloud(depth: np.ndarray, bgr: np.ndarray, camera: Camera) -> PointCloud2:
    """An organised coloured cloud by a meshgrid and a structured array."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    points = np.zeros(depth.size, [(name, np.float32) for name in ('x', 'y', 'z', 'rgb')])
    points['x'] = ((u - camera.cx) * depth / camera.fx).ravel()
    points['y'] = ((v - camera.cy) * depth / camera.fy).ravel()
    points['z'] = depth.ravel()
    b, g, r = (bgr[..., channel].astype(np.uint32) for channel in range(3))
    points['rgb'] = (r << 16 | g << 8 | b).ravel().view(np.float32)
    return PointCloud2(
        height=camera.height,
        width=camera.width,
        fields=[
            PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
            for index, name in enumerate(points.dtype.names)
        ],
        point_step=16,
        row_step=16 * camera.width,
        data=points.tobytes(),
    )

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Depth that a node published, read from a bag and compared with ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, camera_from_info
from mono_metric_depth.datasets.bag import IMAGE_TOPIC, INFO_TOPIC, TRUTH_TOPIC, read_messages
from mono_metric_depth.image import decode_message
from mono_metric_depth.metrics import valid_pixels
from mono_metric_depth.scale import Pairs

DEPTH_TOPIC = '/depth/image'
DEPTH_INFO_TOPIC = '/depth/camera_info'
POINTS_TOPIC = '/depth/points'


@dataclass(frozen=True)
class PublishedFrame:
    """One image of the input bag and what the node made of it.

    Attributes:
        stamp: (ns).
        image: (h, w, 3) uint8 RGB.
        camera: Of the image.
        truth: (h, w) float32 true depth (m) per image pixel, or None.
        depth: (h', w') float32 published depth (m).
        depth_camera: Of the published depth.
        points: (h', w', 4) float32 published cloud: x, y, z (m), rgb.
    """

    stamp: int
    image: NDArray[np.uint8]
    camera: Camera
    truth: NDArray[np.float32] | None
    depth: NDArray[np.float32]
    depth_camera: Camera
    points: NDArray[np.float32]


def published_frames(inputs: Path, outputs: Path) -> Iterator[PublishedFrame]:
    """Frames that were answered with depth, camera_info and points, in order.

    Args:
        inputs: Bag that was played.
        outputs: Bag that was recorded.

    Yields:
        The frames.

    Raises:
        DatasetError: If a bag cannot be read.
    """
    answers = _by_stamp(outputs, (DEPTH_TOPIC, DEPTH_INFO_TOPIC, POINTS_TOPIC))
    pending = next(answers, None)
    for stamp, messages in _by_stamp(inputs, (IMAGE_TOPIC, INFO_TOPIC, TRUTH_TOPIC)):
        while pending is not None and pending[0] < stamp:
            pending = next(answers, None)
        if pending is None:
            return
        if pending[0] != stamp or len(pending[1]) < 3:
            continue
        answer = pending[1]
        image = messages[IMAGE_TOPIC]
        cloud = answer[POINTS_TOPIC]
        truth = messages.get(TRUTH_TOPIC)
        yield PublishedFrame(
            stamp,
            decode_message(image).as_rgb(),
            camera_from_info(messages[INFO_TOPIC]),
            None if truth is None else _floats(truth.data).reshape(truth.height, truth.width),
            _floats(answer[DEPTH_TOPIC].data).reshape(
                answer[DEPTH_TOPIC].height, answer[DEPTH_TOPIC].width
            ),
            camera_from_info(answer[DEPTH_INFO_TOPIC]),
            _floats(cloud.data).reshape(cloud.height, cloud.width, 4),
        )


def pairs_at_truth(frame: PublishedFrame, minimum: float, maximum: float) -> Pairs:
    """Published and true depth wherever truth is known and depth was published.

    Args:
        frame: The frame; both depths are along the same optical axis.
        minimum, maximum: Range of true depth (m).

    Returns:
        (n,) published and (n,) true depth (m).
    """
    assert frame.truth is not None
    with np.errstate(invalid='ignore'):
        rows, columns = np.nonzero((frame.truth >= minimum) & (frame.truth <= maximum))
    published = depth_at(frame.depth, frame.depth_camera, rows, columns, frame.camera)
    return valid_pixels(published, frame.truth[rows, columns], minimum, maximum)


def depth_at(
    depth: NDArray[np.float32],
    depth_camera: Camera,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    camera: Camera,
) -> NDArray[np.float32]:
    """Depth where another camera in the same optical frame has its pixels.

    Args:
        depth: (h, w) float32 (m).
        depth_camera: Its camera.
        rows, columns: (n,) pixels of the other camera.
        camera: The other camera.

    Returns:
        (n,) float32, as published at the nearest pixel; NaN outside of the depth image.
    """
    pixel = depth_camera.project(camera.rays(np.stack([columns, rows], axis=-1)))
    height, width = depth.shape
    with np.errstate(invalid='ignore'):
        u, v = np.rint(pixel).T
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    found = np.full(len(rows), np.nan, np.float32)
    found[inside] = depth[v[inside].astype(int), u[inside].astype(int)]
    return found


def _floats(data: Any) -> NDArray[np.float32]:
    return np.frombuffer(bytes(data), np.float32)


def _by_stamp(path: Path, topics: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Messages grouped by their header's stamp: stamp (ns), message of each topic."""
    group: dict[str, Any] = {}
    current = -1
    for topic, _, message in read_messages(path):
        if topic not in topics:
            continue
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        if stamp != current:
            if group:
                yield current, group
            group, current = {}, stamp
        group[topic] = message
    if group:
        yield current, group

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Frames of an evaluation as pictures: image, depth, error and the view from above."""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.datasets import DatasetError, open_sequence
from mono_metric_depth.depth_colours import depth_colours
from mono_metric_depth.depth_estimate import DepthEstimate, EstimatorError
from mono_metric_depth.evaluation.image_errors import ImageErrors
from mono_metric_depth.evaluation.protocol import Protocol
from mono_metric_depth.evaluation.results import ModelResult
from mono_metric_depth.frame import Frame
from mono_metric_depth.image import Image
from mono_metric_depth.mount_statistics import mean_mount

#: Depth in the colours' range (m), and the relative error at the end of theirs.
DEPTHS = (3.0, 80.0)
LARGEST_ERROR = 0.5
#: Too near, right, too far: BGR.
ERROR_COLOURS = ((48, 54, 200), (235, 235, 235), (200, 120, 30))

_WIDTH = 560
#: Points so far above the camera are trees, and below so much above the road are road (m).
_HIGHEST, _KERB = 2.5, 0.3
#: Of the ground truth (more lie upon each other).
_MOST_POINTS = 12000
_AHEAD = 60.0
#: Width over height of the view from above: that of the image, so that they lie side by side.
_SHAPES = (1.4, 2.4)
#: Shown frames of a drive are so many apart; in a short one, a part of its length.
_APART, _PART = 10, 4
_SHOWN = 3
#: Ground truth of more than this share of the pixels is shown as an image, else as points.
_DENSE = 0.3

Bgr = NDArray[np.uint8]


@dataclass(frozen=True)
class ShownFrame:
    """A frame as the report shows it.

    Attributes:
        number: Among the model's images.
        label: Its mark in the timeline, such as ``W1``.
        pictures: Title and data URI of each picture.
    """

    number: int
    label: str
    pictures: dict[str, str]


def chosen_frames(errors: Sequence[ImageErrors]) -> list[tuple[int, str]]:
    """The worst and the best frames by AbsRel, not all of one moment: number and label.

    They are numbered by AbsRel: W1 is the largest of all, B1 the smallest.
    """
    order = list(np.argsort([-each.transferred.abs_rel for each in errors], kind='stable'))
    half = -(-len(order) // 2)
    place = {number: rank for rank, number in enumerate(order)}
    worst = sorted(_apart(order[:half], errors), key=place.__getitem__)
    best = sorted(_apart(order[half:][::-1], errors), key=lambda number: -place[number])
    return [(i, f'W{n}') for n, i in enumerate(worst, 1)] + [
        (i, f'B{n}') for n, i in enumerate(best, 1)
    ]


def _apart(order: Sequence[int], errors: Sequence[ImageErrors]) -> list[int]:
    """The first of an order that are not neighbours; neighbours where there are no others."""
    chosen: list[int] = []
    frames = Counter(each.drive for each in errors)
    for neighbours in (False, True):
        for number in map(int, order):
            share = frames[errors[number].drive] // _PART
            distance = 1 if neighbours else min(max(share, 1), _APART)
            near = any(
                errors[other].drive == errors[number].drive
                and abs(errors[other].index - errors[number].index) < distance
                for other in chosen
            )
            if not near and len(chosen) < _SHOWN:
                chosen.append(number)
    return chosen


def shown_frames(model: ModelResult, chosen: Sequence[tuple[int, str]]) -> list[ShownFrame]:
    """Draw frames; one that can no longer be read is left out.

    Args:
        model: The model, whose depth is shown.
        chosen: See :func:`chosen_frames`.
    """
    estimator = model.candidate.estimator()
    opened = cache(open_sequence)
    shown = []
    for number, label in chosen:
        each = model.errors[number]
        try:
            sequence = opened(each.drive)
            frame = sequence[each.index]
            attitude = mean_mount(sequence.mounts)
            estimate = estimator.estimate(Image(frame.image, 'rgb'), frame.camera, attitude)
        except (DatasetError, EstimatorError):
            continue
        shown.append(ShownFrame(number, label, _pictures(frame, estimate, model.protocol)))
    return shown


def _pictures(frame: Frame, estimate: DepthEstimate, protocol: Protocol) -> dict[str, str]:
    from_above = _from_above(frame, estimate)
    depth = estimate.depth('input')
    colours = depth_colours(depth, DEPTHS)
    colours[np.isnan(depth)] = 120
    image = np.ascontiguousarray(frame.image[..., ::-1])
    return {
        'Image': _jpeg(_small(image)),
        'Predicted depth': _jpeg(_small(colours)),
        'Error': _jpeg(_error_picture(image, depth, frame.depth, protocol)),
        'From above': from_above,
    }


def _error_picture(
    image: Bgr,
    predicted: NDArray[np.float32],
    true: NDArray[np.float32] | None,
    protocol: Protocol,
) -> Bgr:
    """Relative error in colours where there is true depth, over the image in grey."""
    grey = cv2.cvtColor(_small(image), cv2.COLOR_BGR2GRAY)
    picture = cv2.cvtColor((grey * 0.45).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    if true is None:
        return np.asarray(picture, np.uint8)
    counted = protocol.counted(true) & ~np.isnan(predicted)
    height, width = picture.shape[:2]
    if np.isfinite(true).mean() > _DENSE:
        # Nearest pixels, so that the shown image may be larger or smaller than the truth.
        row = (np.arange(height) * true.shape[0] // height)[:, None]
        column = np.arange(width) * true.shape[1] // width
        predicted, true, counted = (array[row, column] for array in (predicted, true, counted))
    rows, columns = np.nonzero(counted)
    p = protocol.as_published(predicted[rows, columns].astype(np.float64))
    colours = error_colours(p / true[rows, columns] - 1)
    y, x = rows * height // true.shape[0], columns * width // true.shape[1]
    # Single LiDAR points would hardly show.
    reach = range(1) if true.shape == (height, width) else range(-1, 2)
    for dy in reach:
        for dx in reach:
            picture[(y + dy).clip(0, height - 1), (x + dx).clip(0, width - 1)] = colours
    return np.asarray(picture, np.uint8)


def error_colours(error: NDArray[np.float64]) -> Bgr:
    """(n, 3) uint8 BGR of relative errors p / g - 1: red too near, blue too far."""
    place = (np.clip(error / LARGEST_ERROR, -1, 1) + 1) / 2
    colours = np.array(ERROR_COLOURS, float)
    channels = [np.interp(place, (0, 0.5, 1), colours[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _from_above(frame: Frame, estimate: DepthEstimate) -> str:
    """True points in black over predicted ones in blue; ahead is to the right (m)."""
    shape = float(np.clip(frame.camera.width / frame.camera.height, *_SHAPES))
    figure = Figure(figsize=(4.0, 4.0 / shape))
    # The axes leave room for their labels, and what they show has their shape.
    left, bottom, right, top = 0.5 / 4.0, 0.42 * shape / 4.0, 0.96, 0.98
    axes = figure.add_axes((left, bottom, right - left, top - bottom))
    aside = 0.5 * _AHEAD / shape * (top - bottom) / (right - left)
    if frame.depth is not None:
        true = points_off_the_road(frame.depth, frame.camera, frame.mount)
        true = true[:: max(1, len(true) // _MOST_POINTS)]
        axes.scatter(true[:, 2], -true[:, 0], c='black', s=1.6, linewidths=0, label='true')
    points = points_off_the_road(
        estimate.depth('network'), estimate.camera('network'), frame.mount
    )
    style: dict[str, Any] = {'c': '#2a86cf', 's': 1.6, 'linewidths': 0, 'alpha': 0.6}
    axes.scatter(points[:, 2], -points[:, 0], label='predicted', zorder=1.5, **style)
    axes.set_xlim(0, _AHEAD)
    axes.set_ylim(-aside, aside)
    axes.set_facecolor('0.95')
    axes.tick_params(labelsize=8)
    axes.set_xlabel('ahead (m)', fontsize=8, labelpad=1)
    axes.set_ylabel('left (m)', fontsize=8, labelpad=0)
    axes.grid(True, color='1.0', linewidth=0.6)
    axes.legend(fontsize=7, loc='upper left', markerscale=5, handletextpad=0.1)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=160, metadata={'Software': None})
    return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()


def points_off_the_road(
    depth: NDArray[np.float32], camera: Camera, mount: Mount | None
) -> NDArray[np.float64]:
    """(n, 3) points (m), seen along the road: x right, y down, z ahead.

    Args:
        depth: (h, w) z-depth (m).
        camera: Its camera.
        mount: The camera's; where its height is not known, the road is not left out.
    """
    rows, columns = np.nonzero(np.isfinite(depth) & (depth < _AHEAD))
    points = camera.rays(np.stack([columns, rows], axis=-1)) * depth[rows, columns, None]
    mount = mount or Mount()
    points = points @ mount.rotation().T
    lowest = math.inf if mount.height is None else mount.height - _KERB
    with np.errstate(invalid='ignore'):
        shown = (points[:, 1] > -_HIGHEST) & (points[:, 1] < lowest)
    return np.asarray(points[shown])


def _small(pixels: Bgr) -> Bgr:
    height, width = pixels.shape[:2]
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(pixels: Bgr) -> str:
    done, data = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return 'data:image/jpeg;base64,' + base64.b64encode(data.tobytes()).decode()

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of one image, under a protocol: by scaling, by distance and by place in the image."""

from __future__ import annotations

import base64
import dataclasses
import json
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.evaluation.protocol import Protocol
from mono_metric_depth.metrics import DepthMetrics, depth_metrics
from mono_metric_depth.scale import Pairs

#: Pixels kept of an image, for whatever needs the whole set first.
SAMPLE = 1024
#: The image is divided into so many rows and columns of regions.
GRID = 3
#: Infinitely far, where a number is needed (network units).
_FURTHEST = 1e6

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Pixels of an image at one distance, or in one region; scaled by the stored scalar.

    Attributes:
        pixels: With true depth.
        seen: Of these, that the network saw.
        abs_rel: Mean |p - g| / g; NaN if none was seen.
        ratio: Median p / g.
        delta1: Share with max(p / g, g / p) < 1.25.
    """

    pixels: int
    seen: int
    abs_rel: float
    ratio: float
    delta1: float


@dataclass(frozen=True)
class ImageErrors:
    """What a model's depth of one image is worth.

    Attributes:
        drive, index: Which image.
        version: Of the drive's files.
        stamp: Of the image (ns).
        size: Width and height (px) of the ground truth.
        pixels: With true depth that counts.
        seen: Of these, that the network saw.
        true_median: Median of all true depth (m), as read.
        ratio: Median true / unscaled predicted depth: this image's own scale.
        scale_by_medians: Median true / median unscaled predicted depth: what published tables
            scale each image by.
        transferred, oracle_image, unscaled: With the stored scalar, as it is published; with
            ``scale_by_medians``; with none.
        bands: By distance, of :attr:`Protocol.bands`.
        regions: By place, row by row of a :data:`GRID` x :data:`GRID` grid.
        predicted, true: (n,) float32, up to :data:`SAMPLE` unscaled predicted and true depth (m),
            evenly over the order of their ratio.
    """

    drive: str
    index: int
    version: str
    stamp: int
    size: tuple[int, int]
    pixels: int
    seen: int
    true_median: float
    ratio: float
    scale_by_medians: float
    transferred: DepthMetrics
    oracle_image: DepthMetrics
    unscaled: DepthMetrics
    bands: tuple[Part, ...]
    regions: tuple[Part, ...]
    predicted: NDArray[np.float32] = dataclasses.field(repr=False)
    true: NDArray[np.float32] = dataclasses.field(repr=False)

    @property
    def coverage(self) -> float:
        """Share of the pixels that the network saw."""
        return self.seen / self.pixels

    @property
    def sample(self) -> Pairs:
        """Some pixels: unscaled predicted and true depth (m)."""
        return self.predicted.astype(np.float64), self.true.astype(np.float64)

    def at_scale(self, scale: float, stored: float, protocol: Protocol) -> DepthMetrics:
        """Errors with another scalar.

        Exact where the sample holds all pixels. Else the errors with the nearest scale for which
        they are exact, and the difference that the sample shows.

        Args:
            scale: The scalar.
            stored: The scalar of ``transferred``.
            protocol: The protocol.
        """
        predicted, true = self.sample
        sampled = depth_metrics(protocol.clamped(predicted * scale), true)
        if self.seen <= SAMPLE:
            return sampled
        known = (
            (stored, self.transferred, protocol.as_published),
            (1.0, self.unscaled, protocol.clamped),
            (self.scale_by_medians, self.oracle_image, protocol.clamped),
        )
        nearest, exact, clamped = min(known, key=lambda each: abs(np.log(each[0] / scale)))
        before = depth_metrics(clamped(predicted * nearest), true)
        found = np.array(astuple(exact)) + astuple(sampled) - np.array(astuple(before))
        return DepthMetrics(*map(float, np.maximum(found, 0.0)))


class NoOverlapError(ValueError):
    """Ground truth that says nothing about a prediction.

    Attributes:
        reason: A short word to count it under.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def image_errors(
    predicted: NDArray[np.float32], true: NDArray[np.float32], scale: float, protocol: Protocol
) -> dict[str, Any]:
    """Compare one image.

    Args:
        predicted: (h, w) float32 unscaled depth; NaN where the network saw nothing, +Inf for
            infinitely far.
        true: (h, w) float32 ground truth (m); NaN, 0 or +-Inf where there is none.
        scale: The stored scalar.
        protocol: The protocol.

    Returns:
        The entries of :class:`ImageErrors` but ``drive``, ``index``, ``version`` and ``stamp``.

    Raises:
        NoOverlapError: If there is no ground truth, none that counts, or none where the network
            saw anything.
    """
    with np.errstate(invalid='ignore'):
        known = true[np.isfinite(true) & (true > 0)]
    if not known.size:
        raise NoOverlapError('no_truth', 'its ground truth is empty')
    counted = protocol.counted(true)
    pixels = int(counted.sum())
    if not pixels:
        msg = (
            f'none of its {known.size} pixels with true depth ({known.min():.3g} .. '
            f'{known.max():.3g} m) lies within {protocol.minimum:g} .. {protocol.maximum:g} m '
            'and the crop'
        )
        raise NoOverlapError('out_of_range', msg)
    rows, columns = np.nonzero(counted)
    p = np.minimum(predicted[counted].astype(np.float64), _FURTHEST)
    g = true[counted].astype(np.float64)
    with np.errstate(invalid='ignore'):
        seen = p > 0
    if not seen.any():
        msg = (
            f'zero overlap: the network saw none of the {pixels} pixels with true depth; check '
            "the camera's calibration and where the ground truth lies in the image"
        )
        raise NoOverlapError('zero_overlap', msg)
    metres = protocol.as_published(p * scale)
    height, width = true.shape
    region = (rows * GRID // height) * GRID + columns * GRID // width
    # A band's end belongs to the next one, but the last one's is the maximum, which counts.
    band = np.searchsorted([end for _, end in protocol.bands[:-1]], g, side='right')
    p, g_seen = p[seen], g[seen]
    by_medians = float(np.median(g_seen) / np.median(p))
    chosen = _evenly(p / g_seen)
    return {
        'size': (width, height),
        'pixels': pixels,
        'seen': int(seen.sum()),
        'true_median': float(np.median(known)),
        'ratio': float(np.median(g_seen / p)),
        'scale_by_medians': by_medians,
        'transferred': depth_metrics(metres[seen], g_seen),
        'oracle_image': depth_metrics(protocol.clamped(p * by_medians), g_seen),
        'unscaled': depth_metrics(protocol.clamped(p), g_seen),
        'bands': tuple(_part(band == n, seen, metres, g) for n in range(len(protocol.bands))),
        'regions': tuple(_part(region == n, seen, metres, g) for n in range(GRID * GRID)),
        'predicted': p[chosen].astype(np.float32),
        'true': g_seen[chosen].astype(np.float32),
    }


def _part(inside: NDArray[np.bool_], seen: NDArray[np.bool_], p: Array, g: Array) -> Part:
    both = inside & seen
    pixels, count = int(inside.sum()), int(both.sum())
    if not count:
        return Part(pixels, 0, float('nan'), float('nan'), float('nan'))
    metrics = depth_metrics(p[both], g[both])
    return Part(
        pixels, count, metrics.abs_rel, float(np.median(p[both] / g[both])), metrics.delta1
    )


def _evenly(ratios: Array) -> NDArray[np.int64]:
    """Pixels evenly over the order of their ratio; all where there are few."""
    count = len(ratios)
    if count <= SAMPLE:
        return np.arange(count)
    # One at random out of each stretch; the same pixels each time.
    ends = np.linspace(0, count, SAMPLE + 1)
    place = ends[:-1] + np.random.default_rng(count).random(SAMPLE) * np.diff(ends)
    return np.argsort(ratios, kind='stable')[np.minimum(place.astype(np.int64), count - 1)]


def to_json(errors: ImageErrors) -> str:
    """One line of JSON."""
    values = {field.name: getattr(errors, field.name) for field in dataclasses.fields(errors)}
    for name in ('transferred', 'oracle_image', 'unscaled'):
        values[name] = astuple(values[name])
    for name in ('bands', 'regions'):
        values[name] = [astuple(part) if part.seen else [part.pixels] for part in values[name]]
    for name in ('predicted', 'true'):
        values[name] = base64.b64encode(values[name].astype('<f4').tobytes()).decode()
    return json.dumps(values, allow_nan=False)


def from_json(values: dict[str, Any]) -> ImageErrors:
    """What :func:`to_json` wrote, as a JSON object.

    Raises:
        ValueError, KeyError, TypeError: If it is something else.
    """
    values = dict(values)
    values['size'] = tuple(values['size'])
    for name in ('transferred', 'oracle_image', 'unscaled'):
        values[name] = DepthMetrics(*map(float, values[name]))
    nan = float('nan')
    for name in ('bands', 'regions'):
        values[name] = tuple(
            Part(*part) if len(part) > 1 else Part(part[0], 0, nan, nan, nan)
            for part in values[name]
        )
    for name in ('predicted', 'true'):
        values[name] = np.frombuffer(base64.b64decode(values[name], validate=True), '<f4')
    return ImageErrors(**values)

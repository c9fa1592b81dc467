# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Domain randomisation: what a network learns from, in other looks and with more in the way.

Procedural worlds look alike. Whoever has seen nothing else takes a car of other paint, in harder
light and through a better lens, for road. Here looks change at random and shapes stay: colours and
light of the whole image (Tobin et al., 2017, "Domain Randomization"), textures by a random
convolution (Xu et al., 2021, "Robust and Generalizable Visual Representation Learning via Random
Convolutions"), colours by depth; and what stands on the road of another image comes into this one
where it is nearer, depth and all (copy and paste; Ghiasi et al., 2021).

One frame at a time: neighbouring frames would not agree, so it is for supervision alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera
from mono_metric_depth.training.aligned_drive import AlignedDrive

Image = NDArray[np.float32]
Depth = NDArray[np.float16]

#: How far an image is moved up or down (px, standard deviation).
_NODDING = 2.0
#: Depth that is unknown in a larger share of an image is sparse.
_UNKNOWN = 0.5
#: At most so many images give something to another.
_DONORS = 2
#: At most so many things of any look stand on the road: how far, how wide and how tall (ln m).
_BOXES = 3
_STANDS_AT, _WIDE, _TALL = np.log((4, 40)), np.log((0.5, 3.0)), np.log((0.7, 3.2))
#: What is further than this (m) is not worth pasting.
_PASTED_WITHIN = 45.0
#: What rises above the road by less, in m and in m per m of depth, is road.
_ROAD = (0.1, 0.008)
#: Layers of depth that are coloured apart have bounds in this range (m).
_LAYERS = (3.0, 90.0)


def randomised(
    image: NDArray[np.uint8],
    depth: Depth,
    seen: NDArray[np.bool_],
    drive: AlignedDrive,
    drives: Sequence[AlignedDrive],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], Depth, NDArray[np.bool_]]:
    """An image and its depth in another look, with things from other images in the way.

    Args:
        image: (h, w, 3) RGB in the canonical camera.
        depth: (h, w) its z-depth (m); NaN unknown, +Inf sky.
        seen: (h, w) what of them the camera saw.
        drive: Whose they are.
        drives: Drives in the same camera that things are taken from, where mounts and dense depth
            are known.
        rng: What is random.

    Returns:
        The three, of the same shapes and types.
    """
    view = image.astype(np.float32)
    # Between the points of a LiDAR nobody knows what hides what.
    dense = bool(np.isnan(depth[seen]).mean() < _UNKNOWN)
    for _ in range(rng.integers(_DONORS + 1) if dense else 0):
        donor = drives[int(rng.integers(len(drives)))]
        if donor.mount is not None and donor.mount.height is not None:
            view, depth = _pasted(view, depth, donor, donor.mount.height, rng)
    if dense and drive.mount is not None and drive.mount.height is not None:
        for _ in range(rng.integers(_BOXES + 1)):
            donor = drives[int(rng.integers(len(drives)))]
            texture = donor.images[rng.integers(len(donor.images))]
            _stand(view, depth, drive.camera, drive.mount.height, texture, rng)
    if rng.random() < 0.85:
        view = _restyled(view, depth, rng)
    # Up or down a little, as by a mount whose pitch is not known to the milliradian: so small a
    # turn leaves depth as it is, to within a percent.
    moved = round(float(np.clip(rng.normal(0, _NODDING), -2 * _NODDING, 2 * _NODDING)))
    seen = np.roll(seen, moved, 0)
    seen[: max(0, moved)] = seen[len(seen) + min(0, moved) :] = False
    return (
        np.roll(np.clip(view, 0, 255).astype(np.uint8), moved, 0),
        np.roll(depth, moved, 0),
        seen,
    )


def _pasted(
    view: Image, depth: Depth, donor: AlignedDrive, height: float, rng: np.random.Generator
) -> tuple[Image, Depth]:
    """What stands on the road of another image, where it is nearer than what is there."""
    index = rng.integers(len(donor.images))
    other, near = donor.images[index].astype(np.float32), donor.depth[index].astype(np.float32)
    if not np.isnan(near[donor.seen]).mean() < _UNKNOWN:
        return view, depth
    rows, columns = np.arange(near.shape[0], dtype=np.float32)[:, None], np.arange(near.shape[1])
    with np.errstate(invalid='ignore'):
        above_road = height - (rows - donor.camera.cy) / donor.camera.fy * near
        stands = (above_road > _ROAD[0] + _ROAD[1] * near) & (near < _PASTED_WITHIN) & donor.seen
    if rng.random() < 0.5:
        other, near, stands = other[:, ::-1], near[:, ::-1], stands[:, ::-1]
    # From the roadside to straight ahead: along the road, depth stays when things move sideways.
    width = near.shape[1]
    shift = int(rng.uniform(-0.5, 0.5) * width)
    other, near, stands = (np.roll(values, shift, 1) for values in (other, near, stands))
    span, middle = rng.uniform(0.2, 0.8) * width, rng.uniform(-0.1, 1.0) * width
    stands &= (
        (np.abs(columns - middle) < span / 2) & (columns >= shift) & (columns < width + shift)
    )
    with np.errstate(invalid='ignore'):
        # Unknown depth may be nearer: nothing is pasted over it.
        stands &= near < 0.97 * depth.astype(np.float32)
    if rng.random() < 0.7:
        other = _recoloured(other, 0.3, rng)
    return (
        np.where(stands[..., None], other, view),
        np.where(stands, near.astype(np.float16), depth),
    )


def _stand(
    view: Image,
    depth: Depth,
    camera: Camera,
    height: float,
    texture: NDArray[np.uint8],
    rng: np.random.Generator,
) -> None:
    """Stand something of any look on the road: its foot, outline and shadow alone tell where."""
    distance = math.exp(rng.uniform(*_STANDS_AT))
    wide, tall = math.exp(rng.uniform(*_WIDE)), math.exp(rng.uniform(*_TALL))
    rows, columns = depth.shape
    scale = camera.fy / distance
    foot = camera.cy + height * scale
    middle = rng.uniform(0, columns)
    x = (np.arange(columns) - middle) / (camera.fx / distance) / (wide / 2)
    y = (foot - np.arange(rows)[:, None]) / scale / tall
    # Upright or tapering, with corners or round.
    taper, corner = rng.uniform(0, 0.4), rng.uniform(2, 12)
    inside = (y > 0) & (
        (np.abs(x) / (1 - taper * y.clip(0, 1))) ** corner + y.clip(0) ** corner < 1
    )
    with np.errstate(invalid='ignore'):
        inside &= distance < depth
    if not inside.any():
        return
    if rng.random() < 0.5:
        fall = rng.uniform(0.1, 0.5)  # of the shadow, in its height
        lean = rng.uniform(-0.4, 0.4)
        below = ((x - lean) / 1.15) ** 4 + ((y + 0.02) / fall) ** 2 < 1
        road = below & ~inside & (np.abs(depth / distance - 1) < 0.5)
        view[road] *= rng.uniform(0.15, 0.7)
    crop = _design(rng) if rng.random() < 0.6 else _crop(texture, rng)
    u = ((x[None] + 1) / 2 * (crop.shape[1] - 1)).clip(0, crop.shape[1] - 1)
    v = ((1 - y) * (crop.shape[0] - 1)).clip(0, crop.shape[0] - 1)
    u, v = (np.broadcast_to(m, depth.shape).astype(np.float32) for m in (u, v))
    painted = np.asarray(cv2.remap(crop, u, v, cv2.INTER_AREA), np.float32)
    painted = painted * (1 + rng.uniform(-0.4, 0.8) * (y[..., None] - 0.5)).astype(np.float32)
    view[inside] = painted[inside]
    depth[inside] = distance


def _crop(texture: NDArray[np.uint8], rng: np.random.Generator) -> Image:
    """A part of an image in other colours, often mirrored: vehicles are symmetric."""
    rows, columns = texture.shape[:2]
    top, left = rng.integers(rows - 8), rng.integers(columns - 8)
    bottom = int(rng.integers(top + 8, rows + 1))
    right = int(rng.integers(left + 8, min(columns, left + 2 * (bottom - top) + 8) + 1))
    crop = texture[top:bottom, left:right].astype(np.float32)
    if rng.random() < 0.5:
        crop = np.hstack([crop, crop[:, ::-1]])
    return _recoloured(crop, 0.5, rng)


def _design(rng: np.random.Generator) -> Image:
    """(64, 64, 3) paint, with panes, lamps, plates and bars as nobody has seen them.

    Few or many shapes whose sizes follow a power law, as in photographs ("dead leaves"; Baradad et
    al., 2021, "Learning to See by Looking at Noise").
    """
    size = 64
    canvas = np.empty((size, size, 3), np.float32)
    canvas[:] = _colour(rng)
    symmetric = rng.random() < 0.7
    for _ in range(int(math.exp(rng.uniform(0, 4)))):
        colour = _colour(rng)
        half = size / 2 * np.exp(rng.uniform(-3.5, 0, 2)) * (1, 0.7)
        middle = rng.uniform(0, size, 2)
        for mirrored in (False, True) if symmetric else (False,):
            x = size - middle[0] if mirrored else middle[0]
            centre = np.array((x, middle[1]))
            if rng.random() < 0.7:
                first, last = ((centre + sign * half).astype(int).tolist() for sign in (-1, 1))
                cv2.rectangle(canvas, first, last, colour, cv2.FILLED)
            else:
                axes = half.astype(int).tolist()
                cv2.ellipse(canvas, centre.astype(int).tolist(), axes, 0, 0, 360, colour, -1)
    return canvas


def _colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """Grey or not, from black to white (0..255)."""
    red, green, blue = (
        math.exp(rng.uniform(2.0, 5.5)) * np.exp(rng.normal(0, rng.choice([0.05, 0.5]), 3))
    ).clip(0, 255)
    return float(red), float(green), float(blue)


def _restyled(view: Image, depth: Depth, rng: np.random.Generator) -> Image:
    """Another look of the same shapes; not clipped."""
    if rng.random() < 0.4:
        nearest, furthest = np.log(_LAYERS)
        cuts = np.exp(rng.uniform(nearest, furthest, int(rng.integers(2, 6))))
        layer = (depth[..., None] > cuts.astype(np.float16)).sum(axis=2)
        for number in range(len(cuts) + 1):
            if rng.random() < 0.6:
                here = (layer == number)[..., None]
                view = np.where(here, _recoloured(view, 0.3, rng), view)
    if rng.random() < 0.5:
        view = _convolved(view, rng)
    if rng.random() < 0.6:
        view = _recoloured(view, 0.2, rng)
    if rng.random() < 0.5:
        coarse = rng.normal(0, 0.35, (rng.integers(2, 6), rng.integers(2, 9))).astype(np.float32)
        light = cv2.resize(coarse, depth.shape[::-1], interpolation=cv2.INTER_CUBIC)
        view = view * np.exp(light)[..., None]
    if rng.random() < 0.6:
        softer = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.6, 1.5))
        share = rng.uniform(-1.0, 2.0)
        view = np.asarray(cv2.addWeighted(view, 1 + share, softer, -share, 0), np.float32)
    if rng.random() < 0.3:
        noise = rng.standard_normal(view.shape, np.float32)
        view = view + np.float32(rng.uniform(1, 8)) * noise
    return view


def _recoloured(view: Image, amount: float, rng: np.random.Generator) -> Image:
    """Colours mixed at random about their mean; clipped."""
    mixing = np.eye(3) + rng.normal(0, amount, (3, 3))
    if rng.random() < 0.3:
        mixing = mixing[rng.permutation(3)]
    mixing *= rng.uniform(0.5, 1.5)
    mean = np.array(cv2.mean(view)[:3])
    goal = mean * rng.uniform(0.5, 1.4) * rng.uniform(0.8, 1.2, 3)
    mapped = cv2.transform(view, np.column_stack([mixing, goal - mixing @ mean]))
    return np.asarray(np.clip(mapped, 0, 255), np.float32)


def _convolved(view: Image, rng: np.random.Generator) -> Image:
    """Mixed with a random convolution of itself, of the same mean and contrast; clipped."""
    size = rng.choice([1, 3, 3, 5])
    mixed = cv2.transform(view, rng.normal(0, 1, (3, 3)))
    mixed = cv2.filter2D(mixed, -1, rng.normal(0, 1, (size, size)).astype(np.float32))
    mean, deviation = (np.ravel(values) for values in cv2.meanStdDev(mixed))
    goal, contrast = (float(np.mean(values)) for values in cv2.meanStdDev(view))
    gain = contrast / (deviation + 1e-3)
    mixed = cv2.transform(mixed, np.column_stack([np.diag(gain), goal - gain * mean]))
    share = rng.uniform(0, 0.8)
    mixed = cv2.addWeighted(view, 1 - share, mixed, share, 0)
    return np.asarray(np.clip(mixed, 0, 255), np.float32)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""How far the depth of one engine is from that of another, over many outputs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.engines.onnxruntime import REFERENCE, OnnxRuntimeEngine
from mono_metric_depth.model_card import ModelCard

#: Pixels whose inverse depth is below this share of the image's median are as good as sky.
_SKY = 1e-3
#: What must be sky, too, may not be nearer than this share, or the end of the card's range.
_FAR = 1e-2
_LEAST_PIXELS = 16
#: Rows and columns of regions that an image is divided into.
_REGIONS = ((6, 8),)
_THIRDS = ((1, 3), (3, 1))


class DepthComparison:
    """Gathers outputs of an engine beside the reference's inverse depth.

    Args:
        card: The model's card.
        batch: Places of a batch.

    Attributes:
        scales: Median depth ratio of each output, engine / reference.
        unusable: Pixels for which the engine gives no depth and the reference does.
    """

    def __init__(self, card: ModelCard, batch: int) -> None:
        self.scales: list[float] = []
        self.unusable = 0
        self._card = card
        self._errors: list[NDArray[np.float32]] = []
        self._regions: list[list[tuple[float, float]]] = []
        self._thirds: list[list[float]] = []
        self._of_frames: dict[int, list[float]] = {}
        self._biases: list[list[NDArray[np.float16]]] = [[] for _ in range(batch)]
        self._ghosts = 0.0

    def add(
        self,
        output: NDArray[np.float32],
        reference: NDArray[np.float32],
        *,
        frame: int,
        place: int | None,
    ) -> None:
        """Compare one output.

        Args:
            output: (height, width), the engine's.
            reference: (height, width), from :func:`inverse_depths`.
            frame: Which frame it is of.
            place: Its place in the batch; None where it was compared there before.
        """
        found = inverse_depth(output, self._card)
        with np.errstate(divide='ignore', invalid='ignore'):
            ratio = reference / found
        sky = ~(reference > _sky(reference))  # or no depth at all
        usable = ~sky & np.isfinite(ratio)
        # Infinitely far where the reference is not is no depth either; nor is NaN in the sky.
        lost = (~sky & ~usable) | (
            np.isfinite(reference) & ~np.isfinite(output_inverse(output, self._card))
        )
        self.unusable += int(lost.sum())
        ghosts = sky & (found > self._far(reference))
        self._ghosts = max(self._ghosts, float(ghosts.mean()))
        if place is not None:
            error = np.where(usable, np.clip(ratio - 1, -1, 1e4), np.nan)
            # What must be sky is right or wholly wrong.
            self._biases[place].append(np.where(sky, -1.0 * ghosts, error).astype(np.float16))
        ratio[~usable] = np.nan
        known = ratio[usable]
        if len(known) < _LEAST_PIXELS:
            return
        self.scales.append(float(np.median(known)))
        self._of_frames.setdefault(frame, []).append(self.scales[-1])
        self._errors.append(np.abs(known - 1))
        self._regions.append(
            [_median_and_error(part) for part in (ratio, *_parts(ratio, _REGIONS))]
        )
        self._thirds.append([_median_and_error(part)[0] for part in _parts(ratio, _THIRDS)])

    def figures(self) -> dict[str, Any]:
        """Those of :class:`~mono_metric_depth.engines.parity.Parity`, NaN where there are none."""
        scales = np.array(self.scales or [np.nan])
        every = np.concatenate(self._errors or [np.full(1, np.nan, np.float32)])
        regions = np.array(self._regions or [[(np.nan, np.nan)]])
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', RuntimeWarning)  # where a region is never seen
            over_all = np.nanmedian(regions, axis=0)[:, 0]
            thirds = np.nanmedian(np.array(self._thirds or [[np.nan]]), axis=0)
            biases = [
                np.nanmax(np.abs(np.nanmedian(np.stack(errors).astype(np.float32), axis=0)))
                for errors in self._biases
                if errors
            ]
            repeats = [max(found) / min(found) - 1 for found in self._of_frames.values()]
            return {
                'scale_ratio': float(np.median(scales)),
                'frame_scale_error': float(np.max(np.abs(scales - 1))),
                'region_scale_error': float(np.nanmax(np.abs(over_all - 1))),
                'median_error': float(np.median(every)),
                'p99_error': float(np.percentile(every, 99)),
                'region_error': float(np.nanmax(regions[..., 1])),
                'worst_error': float(np.max(every)),
                'third_scale_error': float(np.nanmax(np.abs(thirds - 1))),
                'bias': float(np.nanmax(biases)),
                'repeat_scale_error': float(max(repeats, default=np.nan)),
                'ghosts': self._ghosts,
                'unusable': self.unusable,
            }

    def _far(self, reference: NDArray[np.float32]) -> float:
        """Inverse depth, unscaled, up to which a pixel may pass for sky."""
        far = _FAR / _SKY * _sky(reference)
        scale = self._card.scale
        return far if scale is None else max(far, scale.value / self._card.depth_range[1])


def inverse_depths(
    model: Path | str, card: ModelCard, frames: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """(n, h, w) inverse depth by the reference, unscaled; NaN where there is none."""
    engine = OnnxRuntimeEngine(model, card, providers=((REFERENCE, {}),))
    results = []
    for frame in frames:
        engine.input[:] = frame
        engine.run(1)
        results.append(inverse_depth(engine.output[0, 0], card))
    engine.close()
    return np.stack(results)


def output_inverse(output: NDArray[np.float32], card: ModelCard) -> NDArray[np.float32]:
    """Unscaled inverse depth of a network's output, whatever it is."""
    with np.errstate(divide='ignore', over='ignore', invalid='ignore'):
        inverse = 1 / output if card.output_kind == 'depth' else output + 0.0  # no -0
    return np.asarray(inverse, np.float32)


def inverse_depth(output: NDArray[np.float32], card: ModelCard) -> NDArray[np.float32]:
    """Unscaled inverse depth of a network's output; NaN where that is none."""
    inverse = output_inverse(output, card)
    inverse[~np.isfinite(inverse) | np.signbit(inverse)] = np.nan
    return inverse


def difference(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Median relative depth difference of two images; infinite where they share no depth."""
    both = (first > _sky(first)) & (second > _sky(second))
    if both.sum() < _LEAST_PIXELS:
        return float('inf')
    return float(np.median(np.abs(first[both] / second[both] - 1)))


def _sky(inverse: NDArray[np.float32]) -> float:
    """Inverse depth below which a pixel is as good as sky."""
    near = inverse[inverse > 0]
    return _SKY * float(np.median(near)) if len(near) else 0.0


def _parts(
    ratio: NDArray[np.float32], divisions: tuple[tuple[int, int], ...]
) -> list[NDArray[np.float32]]:
    """The ratios of each part of an image, divided into so many rows and columns."""
    return [
        part
        for down, across in divisions
        for rows in np.array_split(ratio, down)
        for part in np.array_split(rows, across, axis=1)
    ]


def _median_and_error(ratio: NDArray[np.float32]) -> tuple[float, float]:
    """Median ratio, and median distance from 1; NaN where too few are known."""
    known = ratio[np.isfinite(ratio)]
    if len(known) < _LEAST_PIXELS:
        return np.nan, np.nan
    return float(np.median(known)), float(np.median(np.abs(known - 1)))

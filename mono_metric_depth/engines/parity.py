# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Parity: whether an engine gives the depth that its model gives on ONNX Runtime's CPU.

A runtime that optimises for speed may get it wrong in ways that look right. The model's one scale
turns network output into metres, so an engine whose output is 3 % larger, or larger in one frame
than in the next, is as wrong as a broken one, and nobody would see it.
"""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.engines import Engine, EngineError
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.model_card import ModelCard

#: Pixels whose inverse depth is below this share of the image's median are as good as sky.
_SKY = 1e-3
#: So many times, at most, the largest batch is run.
_RUNS = 8
_LEAST_PIXELS = 16
#: Rows and columns of regions that an image is divided into.
_REGIONS = (6, 8)


@dataclass(frozen=True)
class Tolerance:
    """How far an engine may be from its model.

    Attributes:
        scale: Of the ratio of scales, over all frames.
        frame_scale: Of the ratio of scales in any one frame.
        region_scale: Of the ratio of scales in any one region of the image, over all frames.
        median: Of the median relative depth error.
        p99: Of its 99th percentile.
        region: Of the median depth error in any one region of any one frame.
        worst: Of the depth error of any one pixel.
    """

    scale: float
    frame_scale: float
    region_scale: float
    median: float
    p99: float
    region: float
    worst: float


#: By precision. Twice and more what the shipped networks show in it; ``benchmark/engines.py``
#: prints what they show. An engine moves the one scale as a wrong fit would, so none may take more
#: than half of what its fit leaves open: the default model's interval is 0.9 % to either side.
TOLERANCES = {
    'fp32': Tolerance(0.001, 0.002, 0.002, 0.001, 0.01, 0.005, 0.05),
    'fp16': Tolerance(0.003, 0.006, 0.006, 0.003, 0.03, 0.02, 0.1),
    'int8': Tolerance(0.004, 0.02, 0.04, 0.03, 0.25, 0.2, 2.0),
}


@dataclass(frozen=True)
class Parity:
    """How an engine compares with its model on ONNX Runtime's CPU.

    Depth errors are relative: engine / reference - 1.

    Attributes:
        precision: Of the engine.
        frames: How many different frames were compared.
        outputs: How many outputs: each frame goes through every place of a batch.
        scale_ratio: Median over outputs of the median depth ratio, engine / reference.
        frame_scale_error: Largest distance from 1 of an output's median depth ratio.
        region_scale_error: Largest distance from 1 of a region's median depth ratio; the median
            over outputs.
        median_error: Median over all pixels of the absolute relative depth error.
        p99_error: Its 99th percentile.
        region_error: Largest median of a region of an output.
        worst_error: Largest of all.
        unusable: Pixels for which the engine gives no depth and the reference does.
        findings: What is beyond the tolerance, in words; empty if the engine may run.
    """

    precision: str
    frames: int
    outputs: int
    scale_ratio: float
    frame_scale_error: float
    region_scale_error: float
    median_error: float
    p99_error: float
    region_error: float
    worst_error: float
    unusable: int
    findings: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the engine may run."""
        return not self.findings

    def __str__(self) -> str:
        return (
            f'scale ratio {self.scale_ratio:.5f}, worst of a frame '
            f'{self.frame_scale_error:.2%} off, of a region {self.region_scale_error:.2%}; depth '
            f'differs by {self.median_error:.3%} (median), {self.p99_error:.2%} (99th '
            f'percentile), {self.region_error:.2%} (median of the worst region), '
            f'{self.worst_error:.2%} (worst pixel)'
        )


def measure_parity(
    engine: Engine,
    model: Path | str,
    card: ModelCard,
    frames: NDArray[np.uint8],
    precision: str = 'fp32',
) -> Parity:
    """Compare an engine with its model on ONNX Runtime's CPU.

    Several frames go through every place of the batch, in company of others, and every smaller
    number of images is run, too. Where frames are the same, as from a robot that stood still, or
    too few, some are shifted sideways: places could not be told apart otherwise.

    Args:
        engine: The engine.
        model: The ONNX file as it came, whatever was converted for the engine.
        card: Its card.
        frames: (n, height, width, 4) uint8, images as engines take them.
        precision: Of the engine; sets the tolerance (:data:`TOLERANCES`).

    Returns:
        The figures, and what speaks against the engine.

    Raises:
        EngineError: If one of the two fails.
    """
    batch = len(engine.input)
    frames = _distinct(frames, batch)
    reference = _inverse_depths(model, card, frames)
    # Frames in each place of the largest batch, then each smaller batch once.
    runs = [(first, batch) for first in range(0, len(frames), -(-len(frames) // _RUNS))]
    runs += [(count, count) for count in range(1, batch)]
    errors, scales, regions, unusable = [], [], [], 0
    for first, count in runs:
        chosen = [(first + place) % len(frames) for place in range(count)]
        engine.input[:count] = frames[chosen]
        engine.output.fill(np.nan)  # an engine that writes nothing must not pass
        engine.run(count)
        for place, index in enumerate(chosen):
            ratio, missing = _depth_ratio(
                _inverse_depth(engine.output[place, 0], card), reference[index]
            )
            unusable += missing
            known = ratio[np.isfinite(ratio)]
            if len(known) >= _LEAST_PIXELS:
                scales.append(float(np.median(known)))
                errors.append(np.abs(known - 1))
                regions.append([_median_and_error(part) for part in _regions(ratio)])
    if not scales and not unusable:
        msg = f'{model}: the model gives no usable depth on any frame that engines are checked on'
        raise EngineError(msg)
    if not scales:
        scales, errors, regions = [np.nan], [np.full(1, np.nan)], [[(np.nan, np.nan)]]
    every = np.concatenate(errors)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # where a region is never seen
        region_scales = np.nanmedian(regions, axis=0)[:, 0]
        worst_region_scale = float(np.nanmax(np.abs(region_scales - 1)))
        worst_region = float(np.nanmax(np.array(regions)[..., 1]))
    parity = Parity(
        precision,
        len(frames),
        sum(count for _, count in runs),
        float(np.median(scales)),
        float(np.max(np.abs(np.array(scales) - 1))),
        worst_region_scale,
        float(np.median(every)),
        float(np.percentile(every, 99)),
        worst_region,
        float(np.max(every)),
        unusable,
    )
    return dataclasses.replace(parity, findings=tuple(_findings(parity, TOLERANCES[precision])))


def _distinct(frames: NDArray[np.uint8], least: int) -> NDArray[np.uint8]:
    """The frames that differ, and some of them shifted sideways where they are too few."""
    kept = list({frame.tobytes(): frame for frame in frames}.values())
    given = len(kept)
    for shift in range(1, frames.shape[2]):
        if len(kept) >= least:
            break
        kept += [np.roll(frame, 7 * shift, axis=1) for frame in kept[:given]]
    return np.stack(kept[: max(given, least)])


def parity_from_json(values: dict[str, Any]) -> Parity:
    """A parity that was stored with :func:`dataclasses.asdict`.

    Raises:
        ValueError: If it is none.
    """
    try:
        return Parity(**{**values, 'findings': tuple(values['findings'])})
    except (KeyError, TypeError) as err:
        msg = f'not the result of a parity check: {err}'
        raise ValueError(msg) from err


def _findings(parity: Parity, tolerance: Tolerance) -> list[str]:
    found = []
    if parity.unusable:
        found.append(f'{parity.unusable} pixels without depth (NaN, infinite or negative)')
    for value, limit, text in (
        (
            abs(parity.scale_ratio - 1),
            tolerance.scale,
            f'depth scaled by {parity.scale_ratio:.4f}',
        ),
        (parity.frame_scale_error, tolerance.frame_scale, 'scale of one frame off by {:.2%}'),
        (parity.region_scale_error, tolerance.region_scale, 'scale of one region off by {:.2%}'),
        (parity.median_error, tolerance.median, 'median depth error {:.2%}'),
        (parity.p99_error, tolerance.p99, '99th percentile of the depth error {:.2%}'),
        (parity.region_error, tolerance.region, 'median depth error of one region {:.2%}'),
        (parity.worst_error, tolerance.worst, 'depth error of one pixel {:.2%}'),
    ):
        if not value <= limit:
            found.append(f'{text.format(value)} (at most {limit:.2%})')
    return found


def _inverse_depths(
    model: Path | str, card: ModelCard, frames: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """(n, h, w) inverse depth by the reference, unscaled; NaN where there is none."""
    engine = OnnxRuntimeEngine(model, card, providers=(('CPUExecutionProvider', {}),))
    results = []
    for frame in frames:
        engine.input[:] = frame
        engine.run(1)
        results.append(_inverse_depth(engine.output[0, 0], card))
    engine.close()
    return np.stack(results)


def _inverse_depth(output: NDArray[np.float32], card: ModelCard) -> NDArray[np.float32]:
    """Unscaled inverse depth of a network's output; NaN where that is none."""
    with np.errstate(divide='ignore', over='ignore', invalid='ignore'):
        inverse = 1 / output if card.output_kind == 'depth' else output + 0.0  # no -0
    inverse[~np.isfinite(inverse) | np.signbit(inverse)] = np.nan
    return np.asarray(inverse, np.float32)


def _depth_ratio(
    found: NDArray[np.float32], reference: NDArray[np.float32]
) -> tuple[NDArray[np.float32], int]:
    """Depth ratios, NaN where not both have depth; how many pixels only the engine lacks."""
    known = np.isfinite(reference)
    if known.any():
        known &= reference > _SKY * np.nanmedian(reference)
    with np.errstate(divide='ignore', invalid='ignore'):
        ratio = reference / found
    # Infinitely far where the reference is not is no depth either.
    usable = known & np.isfinite(ratio)
    ratio[~usable] = np.nan
    return ratio, int(known.sum() - usable.sum())


def _regions(ratio: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The ratios of each region of an image, and of all of it: small ones may have too few."""
    down, across = _REGIONS
    bands = np.array_split(ratio, down)
    return [ratio, *(part for rows in bands for part in np.array_split(rows, across, axis=1))]


def _median_and_error(ratio: NDArray[np.float32]) -> tuple[float, float]:
    """Median ratio, and median distance from 1; NaN where too few are known."""
    known = ratio[np.isfinite(ratio)]
    if len(known) < _LEAST_PIXELS:
        return np.nan, np.nan
    return float(np.median(known)), float(np.median(np.abs(known - 1)))

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Parity: whether an engine gives the depth that its model gives on ONNX Runtime's CPU.

A runtime that optimises for speed may get it wrong in ways that look right. The model's one scale
turns network output into metres, so an engine whose output is 3 % larger, or larger in one frame
than in the next, is as wrong as a broken one, and nobody would see it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.engines import Engine, EngineError
from mono_metric_depth.engines.depth_comparison import (
    DepthComparison,
    difference,
    inverse_depths,
)
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.model_card import ModelCard

#: So many times, at least, the largest batch is run where there are as many frames.
_RUNS = 8
#: Frames are different whose median depth difference is so many times what is let pass.
_DISTINCT = 3


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
        third_scale: Of the ratio of scales in any third of the image, over all frames.
        bias: Of any one pixel's median depth error over frames: what is off in every frame.
        repeat_scale: Of the ratio of scales between two outputs for the same frame.
        ghosts: Of the share of an output's pixels with depth where the model sees sky or nothing.
    """

    scale: float
    frame_scale: float
    region_scale: float
    median: float
    p99: float
    region: float
    worst: float
    third_scale: float
    bias: float
    repeat_scale: float
    ghosts: float


#: By precision. In fp32 and fp16 twice and more what networks show in it, on the stored frames and
#: on 32 others; ``benchmark/engines.py`` prints it. An engine moves the one scale as a wrong fit
#: would, so none may take more than its fit leaves open: the default model's interval is 0.5 % to
#: either side.
#:
#: int8 is honestly that coarse, and checked as loosely: quantised per channel for ONNX Runtime
#: (benchmark/int8_parity.py), default and nano are off by 0.3 and 0.2 % in scale, 0.7 and 0.3 %
#: in that of a frame, 0.5 and 0.3 % in that of a third, 1.2 and 0.8 % in that of a region, 0.9
#: and 0.8 % in the median, 21 and 17 % in the 99th percentile, 16 and 29 % in the worst region
#: (default as ``build_engine`` converts it: 21 %), 91 and 80 % in the worst pixel, and 4 % in the
#: pixel that is most off over all frames: such a nano is refused, for the edge of a thing that
#: moves by a region. Smaller errors than the tolerances, and larger ones of few pixels in single
#: frames, are not seen in it.
#: Repeated runs differ by nothing on the CPU; GPUs choose other sums for other batches.
#:
#: ``cpu`` is float32 on a CPU. There the shipped networks, ResNet-18 and a transformer differ by
#: 0.005 % in the 99th percentile and by 0.02 % in the worst pixel; half floats and bfloat16,
#: which runtimes take where a processor has them, move the shipped ones' median by 0.03 % or more.
TOLERANCES = {
    'cpu': Tolerance(
        *(0.0001, 0.0002, 0.0002, 0.0001, 0.001, 0.0005, 0.01),
        *(0.0002, 0.001, 0.0001, 0.0002),
    ),
    'fp32': Tolerance(
        *(0.001, 0.002, 0.002, 0.001, 0.01, 0.005, 0.05),
        *(0.0015, 0.005, 0.001, 0.0002),
    ),
    'fp16': Tolerance(
        *(0.003, 0.006, 0.006, 0.003, 0.03, 0.02, 0.1),
        *(0.004, 0.01, 0.003, 0.001),
    ),
    'int8': Tolerance(
        *(0.004, 0.015, 0.04, 0.02, 0.25, 0.25, 1.2),
        *(0.012, 0.13, 0.006, 0.005),
    ),
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
        third_scale_error: As ``region_scale_error``, of thirds of the image.
        bias: Largest distance from 1 of a pixel's median depth ratio over the frames in a place.
        repeat_scale_error: Largest difference of median depth ratios between outputs for a frame.
        ghosts: Largest share of an output's pixels with depth within the card's range where the
            reference is infinitely far or none.
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
    third_scale_error: float
    bias: float
    repeat_scale_error: float
    ghosts: float
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
            f'{self.worst_error:.2%} (worst pixel), {self.bias:.2%} (worst pixel over all frames)'
            f'{self._looseness()}'
        )

    def _looseness(self) -> str:
        """What the check leaves open, where that is more than a percent."""
        if self.precision != 'int8':
            return ''
        limit = TOLERANCES['int8']
        return (
            '. int8 is checked more loosely than other precisions: scale to '
            f'{limit.scale:.1%}, of a frame to {limit.frame_scale:.1%}, of a third to '
            f'{limit.third_scale:.1%}, of a region to {limit.region_scale:.1%}, median to '
            f'{limit.median:.1%}, a pixel over all frames to {limit.bias:.0%}, in one to '
            f'{limit.worst:.0%}'
        )


def measure_parity(
    engine: Engine,
    model: Path | str,
    card: ModelCard,
    frames: NDArray[np.uint8] | None = None,
    precision: str = 'fp32',
    stored: int | None = None,
) -> Parity:
    """Compare an engine with its model on ONNX Runtime's CPU.

    Stored frames are always among those compared. Several frames go through every place of the
    batch, in company of others, each in two runs at least, and every smaller number of images is
    run, too. Frames of almost the same depth, as from a robot that stood still, count as one, and
    where there are too few, some are shifted sideways: places could not be told apart otherwise.

    Args:
        engine: The engine.
        model: The ONNX file as it came, whatever was converted for the engine.
        card: Its card.
        frames: (n, height, width, 4) uint8, images as engines take them, besides the stored ones.
        precision: Of the engine; sets the tolerance (:data:`TOLERANCES`).
        stored: How many of the stored frames; all if left out.

    Returns:
        The figures, and what speaks against the engine.

    Raises:
        EngineError: If one of the two fails.
    """
    batch, tolerance = len(engine.input), TOLERANCES[precision]
    every = parity_frames(card, stored)
    if frames is not None:
        every = np.concatenate([every, frames])
    frames, reference = _distinct(model, card, every, batch, tolerance)
    step = min(batch, -(-len(frames) // _RUNS))
    whole = [(first, batch) for first in range(0, len(frames), step)]
    again = whole[::-1] if step == batch else []  # else each is in several runs as it is
    runs = [*whole, *again, *((count, count) for count in range(1, batch))]
    found = DepthComparison(card, batch)
    for number, (first, count) in enumerate(runs):
        chosen = [(first + place) % len(frames) for place in range(count)]
        engine.input[:count] = frames[chosen]
        engine.output.fill(np.nan)  # an engine that writes nothing must not pass
        engine.run(count)
        for place, index in enumerate(chosen):
            kept = place if number < len(whole) else None
            found.add(engine.output[place, 0], reference[index], frame=index, place=kept)
    if not found.scales and not found.unusable:
        msg = f'{model}: the model gives no usable depth on any frame that engines are checked on'
        raise EngineError(msg)
    parity = Parity(precision, len(frames), sum(count for _, count in runs), **found.figures())
    return dataclasses.replace(parity, findings=tuple(_findings(parity, tolerance)))


def _distinct(
    model: Path | str,
    card: ModelCard,
    every: NDArray[np.uint8],
    least: int,
    tolerance: Tolerance,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The frames whose depth differs, some shifted sideways where they are too few, and theirs."""
    every = np.stack(list({frame.tobytes(): frame for frame in every}.values()))
    kept: list[int] = []
    reference = inverse_depths(model, card, every)
    for index, inverse in enumerate(reference):
        # Frames that were mixed up must show as more than an error that is let pass.
        if all(
            difference(inverse, reference[other]) > _DISTINCT * tolerance.median for other in kept
        ):
            kept.append(index)
    chosen, depths = [every[index] for index in kept], [reference[index] for index in kept]
    given = len(chosen)
    for shift in range(1, every.shape[2]):
        if len(chosen) >= least:
            break
        chosen += [np.roll(frame, 7 * shift, axis=1) for frame in chosen[:given]]
    chosen = chosen[: max(given, least)]
    if len(chosen) > given:
        depths += [*inverse_depths(model, card, np.stack(chosen[given:]))]
    return np.stack(chosen), np.stack(depths)


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
        (parity.third_scale_error, tolerance.third_scale, 'scale of one third off by {:.2%}'),
        (
            parity.repeat_scale_error,
            tolerance.repeat_scale,
            'scale of a repeated run off by {:.2%}',
        ),
        (parity.bias, tolerance.bias, 'depth error of one pixel over all frames {:.2%}'),
        (parity.ghosts, tolerance.ghosts, 'depth where there is none in {:.2%} of a frame'),
        (parity.median_error, tolerance.median, 'median depth error {:.2%}'),
        (parity.p99_error, tolerance.p99, '99th percentile of the depth error {:.2%}'),
        (parity.region_error, tolerance.region, 'median depth error of one region {:.2%}'),
        (parity.worst_error, tolerance.worst, 'depth error of one pixel {:.2%}'),
    ):
        if not value <= limit:
            found.append(f'{text.format(value)} (at most {limit:.2%})')
    return found

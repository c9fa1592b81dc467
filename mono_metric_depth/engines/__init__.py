# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Engines: what runs a network. Each lives in its own module and follows :class:`Engine`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.model_card import ModelCard

# From 1.29 on ONNX Runtime reports what is run with it, unless told before it is imported.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')


class EngineError(RuntimeError):
    """A network that cannot be loaded or run."""


def require_images(images: int, batch: int) -> None:
    """Refuse a number of images that an engine does not take.

    Raises:
        ValueError: If it is below 1 or above ``batch``.
    """
    if not 1 <= images <= batch:
        msg = f'the engine takes 1 to {batch} images at once, got {images}'
        raise ValueError(msg)


class Engine(Protocol):
    """A loaded network with its own input and output buffers.

    Fill the first images of :attr:`input`, call :meth:`run`, read as many of :attr:`output`;
    nothing is allocated or copied in between. Use an engine from one thread at a time.

    ``batch`` is what the engine was made for at most: the network's own where that is fixed,
    whatever was asked for; then every run computes as many.

    Attributes:
        name: The runtime and its version, e.g. ``onnxruntime 1.20``.
        provider: What really runs the network, e.g. ``CPUExecutionProvider``.
        input: (batch, height, width, 4) uint8: red, green, blue, and 1 where the camera saw the
            pixel, else 0; see :mod:`~mono_metric_depth.engines.network_image`.
        output: (batch, 1, height, width) float32, the network's raw output.
    """

    name: str
    provider: str
    input: NDArray[np.uint8]
    output: NDArray[np.float32]

    def run(self, images: int) -> None:
        """Compute ``output[:images]`` from ``input[:images]``; what lies behind is undefined.

        Args:
            images: How many, from 1 to ``batch``.

        Raises:
            ValueError: If there are none, or more than ``batch``.
            EngineError: If the runtime fails.
        """

    def warm_up(self) -> None:
        """Run until the runtime has allocated and tuned what it needs."""

    def close(self) -> None:
        """Free the network; the engine cannot be used afterwards."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a network.

    Attributes:
        shape: Its sizes; None where a size is free.
        kind: Its type, such as ``tensor(float)``.
    """

    shape: tuple[int | None, ...]
    kind: str


@dataclass(frozen=True)
class BatchPlan:
    """How many images a network takes at once, and what it puts out.

    Attributes:
        batch: Images at most.
        fixed: Whether it always takes all of them.
        bare_shape: Shape of its output for one image without batch: (1, h, w), or (h, w) from
            networks that leave out the channel.
        has_batch: Whether its output has a batch at all.
    """

    batch: int
    fixed: bool
    bare_shape: tuple[int, ...]
    has_batch: bool = True

    @property
    def sizes(self) -> list[int]:
        """How many images really run where 1, 2, ... ``batch`` are asked for."""
        return [self.batch if self.fixed else images for images in range(1, self.batch + 1)]

    def output_shape(self, images: int) -> tuple[int, ...]:
        """What the network puts out for so many images."""
        return (images, *self.bare_shape) if self.has_batch else self.bare_shape


def plan_batch(
    path: Path | str,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    card: ModelCard,
    batch: int,
) -> BatchPlan:
    """Check a network's tensors against its card.

    Args:
        path: The ONNX file, to name it.
        inputs, outputs: Its tensors, by name.
        card: Its card.
        batch: Images per run at most.

    Returns:
        What it can run. The batch is its own where that is fixed, and 1 where its output has none.

    Raises:
        EngineError: If the tensors are not those of the card.
    """
    for side, tensors, name in (
        ('input', inputs, card.input_name),
        ('output', outputs, card.output_name),
    ):
        if len(inputs) > 1:
            msg = f'{path}: the model must have the image as its only input, it has {[*inputs]}'
            raise EngineError(msg)
        if name not in tensors:
            msg = f'{path}: the card names the {side} {name!r}, the model has {sorted(tensors)}'
            raise EngineError(msg)
    image, depth = inputs[card.input_name], outputs[card.output_name]
    has_batch = len(depth.shape) > 2
    own = {image.shape[0] if image.shape else None, depth.shape[0] if has_batch else 1}
    batch = min((size for size in own if size is not None), default=batch)
    size = (card.canonical_camera.height, card.canonical_camera.width)
    _fitting(f'{path}: input {card.input_name!r}', image, [(batch, 3, *size)])
    # Networks of others leave out the channel, or the batch as well: the memory is the same.
    allowed = [(batch, 1, *size), (batch, *size), *([size] if batch == 1 else [])]
    shape = _fitting(f'{path}: output {card.output_name!r}', depth, allowed)
    return BatchPlan(batch, own != {None}, shape[1:] if has_batch else shape, has_batch)


def _fitting(what: str, tensor: Tensor, allowed: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The one of the allowed shapes that a tensor has, its free sizes chosen."""
    for expected in allowed if tensor.kind == 'tensor(float)' else ():
        if len(tensor.shape) == len(expected) and all(
            have in (None, want) for have, want in zip(tensor.shape, expected, strict=True)
        ):
            return expected
    listed = ' or '.join(str(list(expected)) for expected in allowed)
    msg = f'{what} is {tensor.kind} {list(tensor.shape)}, the card asks for float32 {listed}'
    raise EngineError(msg)

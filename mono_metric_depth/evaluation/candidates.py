# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What is evaluated: models, and beside them a depth image that knows no input."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera
from mono_metric_depth.datasets import (
    DamagedFrameError,
    DatasetError,
    open_sequence,
    sequence_names,
)
from mono_metric_depth.engines import Engine
from mono_metric_depth.engines.network_image import CHANNELS
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.metrics import median_image
from mono_metric_depth.model_card import ModelCard, read_card
from mono_metric_depth.mount_statistics import mean_mount
from mono_metric_depth.scale import GlobalScale

#: What the control is called.
CONTROL = 'control'
#: It is made of so many drives, and of so many frames of each.
_DRIVES = 6
_FRAMES = 6


@dataclass(frozen=True)
class Candidate:
    """A model, or the control.

    Attributes:
        name: What to call it.
        identity: Tells networks and their cards apart.
        card: The model's card.
        path: The ONNX file; None for the control.
        depth: (h, w) float32 of the canonical camera (m), which the control always says.
    """

    name: str
    identity: str
    card: ModelCard
    path: Path | None = None
    depth: NDArray[np.float32] | None = dataclasses.field(default=None, repr=False)

    @property
    def scale(self) -> GlobalScale:
        """The card's scale; a model without one is refused by :meth:`estimator`."""
        assert self.card.scale is not None
        return self.card.scale

    def estimator(self) -> DepthEstimator:
        """What estimates depth, with one thread: the same numbers on any number of cores.

        Raises:
            ModelCardError: If the file is missing, damaged or has no valid card.
            EngineError: If the runtime cannot load it.
        """
        if self.depth is not None:
            return DepthEstimator(_ConstantEngine(self.depth), self.card)
        assert self.path is not None
        return DepthEstimator.load(self.path, threads=1)


class _ConstantEngine:
    """An engine that puts out the same depth for every image."""

    name = 'constant depth'
    provider = 'none'

    def __init__(self, depth: NDArray[np.float32]) -> None:
        self.input = np.zeros((1, *depth.shape, CHANNELS), np.uint8)
        self.output = depth[None, None]

    def run(self, images: int) -> None:
        """Nothing to do."""

    def warm_up(self) -> None:
        """Nothing to do."""

    close = warm_up


def model_candidates(paths: Sequence[Path]) -> list[Candidate]:
    """Models, read and found whole.

    Args:
        paths: ONNX files with cards.

    Returns:
        One candidate each, by names that differ.

    Raises:
        ModelCardError: If a file is missing, damaged or has no valid card.
        EngineError: If the runtime cannot load it.
        ValueError: If one is named twice.
    """
    cards = [read_card(path) for path in paths]
    identities = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    for number, identity in enumerate(identities):
        if identity in identities[:number]:
            msg = f'{paths[number]} is the same model as {paths[identities.index(identity)]}'
            raise ValueError(msg)
    stems = [path.stem for path in paths]
    names = [
        stem if stems.count(stem) == 1 and stem != CONTROL else str(path)
        for stem, path in zip(stems, paths, strict=True)
    ]
    found = [Candidate(*values) for values in zip(names, identities, cards, paths, strict=True)]
    for candidate in found:
        candidate.estimator().engine.close()
    return found


def control_candidate(
    model: Candidate,
    specifications: Sequence[str],
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> Candidate:
    """The control without a network: the median true depth of other drives at each pixel.

    Args:
        model: Whose canonical camera and range it has.
        specifications: Drives with ground truth that are not evaluated, such as the model's
            source.
        progress: Wraps the names of the drives that are read, to show how far it is.

    Returns:
        The control.

    Raises:
        DatasetError: If the drives have no ground truth, or cannot be read.
    """
    names = [name for specification in specifications for name in sequence_names(specification)]
    chosen = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, _DRIVES).astype(int))]
    canonical = model.card.canonical_camera
    engine: Engine = _ConstantEngine(np.ones((canonical.height, canonical.width), np.float32))
    estimator = DepthEstimator(engine, model.card)
    depths = []
    for name in progress(chosen):
        sequence = open_sequence(name)
        attitude = mean_mount(sequence.mounts)
        for index in np.unique(np.linspace(0, len(sequence) - 1, _FRAMES).astype(int)):
            try:
                frame = sequence[int(index)]
            except DamagedFrameError:
                continue
            if frame.depth is not None:
                alignment = estimator.alignment(frame.camera, attitude)
                depths.append(alignment.align_depth(frame.depth)[None])
    if not depths:
        msg = f'{", ".join(specifications)}: no ground truth, so no control can be made of it'
        raise DatasetError(msg)
    depth = median_image(depths, model.card.depth_range)
    what = f'median true depth of {len(depths)} frames of {", ".join(specifications)}'
    return Candidate(
        CONTROL, _identity(depth, canonical), _control_card(model.card, what), None, depth
    )


def _identity(depth: NDArray[np.float32], canonical: Camera) -> str:
    return hashlib.sha256(depth.tobytes() + repr(canonical).encode()).hexdigest()


def _control_card(card: ModelCard, what: str) -> ModelCard:
    return dataclasses.replace(
        card,
        name=CONTROL,
        scale=GlobalScale(1.0, 1.0, 1.0, 0.95, 'none', 1, 0.0, what),
        output_kind='depth',
        road_scale=None,
        provenance={},
    )

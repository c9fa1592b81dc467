# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What is trained on what, and how: the configuration of a training run."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mono_metric_depth.camera import Camera, CameraError
from mono_metric_depth.datasets import DatasetError, sequence_names
from mono_metric_depth.training.networks import NETWORKS


class RecipeError(ValueError):
    """A configuration that cannot be trained."""


@dataclass(frozen=True)
class Recipe:
    """A training run. Every default is written down in config/source_supervised.yaml.

    Attributes:
        name: Of the model.
        canonical_camera: Pinhole; width and height are multiples of 32, at least 64.
        aligned: Whether every drive is brought into that camera's field of view. If not, images
            are only resized to its size, each with its own: for comparison.
        levelled: Whether to take the mount's mean pitch and roll of each drive out.
        source, target: Drives to train on, as in
            :func:`~mono_metric_depth.datasets.sequence_names`. Depth of the source serves for the
            scale, and for training if ``source_depth_weight`` is positive; depth of the target is
            never read for training. The target may be empty: training on one domain.
        source_validation: Held-out source drives: the scale is fitted here.
        target_test: Held-out target drives, reported only; may be empty.
        replay: Drives of earlier targets, so that they are not forgotten; may be empty.
        replay_share: Share of the target half that is drawn from them.
        start: ONNX model whose depth network training starts from; empty for none.
        network: Of the depth network; see :mod:`~mono_metric_depth.training.networks`.
        encoder_weights: File of weights for its encoder; empty for none.
        source_batch, target_batch: Images of each domain in a batch; 0 of the target where there
            is none.
        steps: Optimiser steps.
        learning_rate: Peak; one cosine to 0 after a short warm-up.
        source_depth_weight: Of the log-depth loss on the source half; 0 is the paper's recipe, in
            which ground truth serves for the one scalar alone.
        reconstruction_weight: Of view reconstruction, on both halves; 0 is supervision alone.
        randomised: Whether looks of most source images are randomised, and things put in the way;
            see :mod:`~mono_metric_depth.training.randomisation`. For supervision alone.
        smoothness_weight: Of the edge-aware smoothness loss.
        geometry_weight: Of the geometry consistency between neighbouring frames' depth.
        held_drives: How many drives of each entry are held at once; 0 for all.
        fresh_every: Where there are more, the oldest gives way to the next after so many steps.
        scales: Resolutions that the losses look at.
        depth_range: Nearest and furthest depth (m) of ground truth that is used.
        patience: Training ends early once held-out source error has not fallen for so many
            validations (one every 500 steps); 0 for never.
        seed: Of everything that is drawn.
    """

    name: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    source_validation: tuple[str, ...]
    target_test: tuple[str, ...] = ()
    replay: tuple[str, ...] = ()
    replay_share: float = 0.25
    start: str = ''
    network: str = 'default'
    encoder_weights: str = ''
    canonical_camera: Camera = field(
        default_factory=lambda: Camera(256, 96, 205.0, 205.0, 127.5, 40.0)
    )
    aligned: bool = True
    levelled: bool = True
    source_batch: int = 6
    target_batch: int = 6
    steps: int = 5500
    learning_rate: float = 1e-3
    source_depth_weight: float = 0.2
    reconstruction_weight: float = 1.0
    randomised: bool = False
    smoothness_weight: float = 1e-3
    geometry_weight: float = 0.0
    held_drives: int = 0
    fresh_every: int = 50
    scales: int = 1
    depth_range: tuple[float, float] = (0.5, 80.0)
    patience: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        camera = self.canonical_camera
        if camera.width % 32 or camera.height % 32 or min(camera.width, camera.height) < 64:
            msg = (
                f'canonical_camera is {camera.width}x{camera.height}; width and height must be '
                'multiples of 32, at least 64'
            )
            raise RecipeError(msg)
        for name in ('source_batch', 'steps', 'scales', 'fresh_every'):
            if getattr(self, name) < 1:
                msg = f'{name} must be at least 1, got {getattr(self, name)}'
                raise RecipeError(msg)
        if self.scales > 4:
            msg = f'scales must be at most 4, got {self.scales}'
            raise RecipeError(msg)
        for name in (
            'target_batch',
            'held_drives',
            'learning_rate',
            'source_depth_weight',
            'reconstruction_weight',
            'smoothness_weight',
            'geometry_weight',
            'replay_share',
            'patience',
            'seed',
        ):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                msg = f'{name} must be at least 0, got {getattr(self, name)}'
                raise RecipeError(msg)
        if self.replay_share > 0.9:
            msg = f'replay_share must be at most 0.9, room for the target, got {self.replay_share}'
            raise RecipeError(msg)
        if self.network not in NETWORKS:
            msg = f'network must be one of {", ".join(NETWORKS)}, got {self.network!r}'
            raise RecipeError(msg)
        for name in ('start', 'encoder_weights'):
            path = getattr(self, name)
            if path and not Path(path).is_file():
                msg = f'{name}: there is no file {path}'
                raise RecipeError(msg)
        if self.start and self.encoder_weights:
            msg = 'start already brings the weights of the encoder: leave encoder_weights out'
            raise RecipeError(msg)
        if len(self.depth_range) != 2 or not 0 < self.depth_range[0] < self.depth_range[1] <= 100:
            msg = f'depth_range must satisfy 0 < nearest < furthest <= 100 m: {self.depth_range}'
            raise RecipeError(msg)
        if not self.source_depth_weight + self.reconstruction_weight:
            msg = 'source_depth_weight and reconstruction_weight are both 0: nothing to learn from'
            raise RecipeError(msg)
        if self.randomised and self.reconstruction_weight:
            msg = (
                'randomised changes one frame and not its neighbours: it needs a '
                f'reconstruction_weight of 0, got {self.reconstruction_weight}'
            )
            raise RecipeError(msg)
        if self.geometry_weight and not self.reconstruction_weight:
            msg = 'geometry_weight needs the motion that a reconstruction_weight above 0 teaches'
            raise RecipeError(msg)
        for name in ('source', 'source_validation'):
            if not getattr(self, name):
                msg = f'{name} names no drive'
                raise RecipeError(msg)
        if bool(self.target) != bool(self.target_batch):
            msg = (
                f'target is {list(self.target)}, but target_batch is {self.target_batch}; for '
                'training on the source alone target must be [] and target_batch 0'
            )
            raise RecipeError(msg)
        if self.replay and not self.target:
            msg = 'replay is a share of the target half: without a target it must be []'
            raise RecipeError(msg)
        try:
            for name in ('source', 'target', 'source_validation', 'target_test', 'replay'):
                for specification in getattr(self, name):
                    sequence_names(specification)
        except DatasetError as err:
            raise RecipeError(str(err)) from err
        trained = {name for entry in ('source', 'target', 'replay') for name in self.drives(entry)}
        for entry in ('source_validation', 'target_test'):
            shared = sorted(trained.intersection(self.drives(entry)))
            if shared:
                msg = (
                    f'{entry} must be held out, but {", ".join(shared[:3])} is trained on: name '
                    'other drives'
                )
                raise RecipeError(msg)

    def drives(self, entry: str) -> list[str]:
        """Every drive of ``source``, ``target``, ``source_validation``, ... by name."""
        return [name for text in getattr(self, entry) for name in sequence_names(text)]


def read_entries(path: Path | str) -> dict[str, Any]:
    """What a configuration sets, unchecked.

    Args:
        path: The YAML file.

    Returns:
        Values by entry.

    Raises:
        RecipeError: If it cannot be read, or is no mapping.
    """
    try:
        with Path(path).open() as file:
            document = yaml.safe_load(file)
    except (OSError, ValueError, yaml.YAMLError) as err:
        msg = f'{path}: cannot read the configuration: {" ".join(str(err).split())}'
        raise RecipeError(msg) from err
    if not isinstance(document, dict):
        msg = f'{path}: the configuration must be a mapping of names to values'
        raise RecipeError(msg)
    return document


def load_recipe(path: Path | str, **changes: Any) -> Recipe:
    """Read a recipe from YAML.

    Args:
        path: The file.
        changes: Entries to override.

    Returns:
        The recipe.

    Raises:
        RecipeError: Naming the entry that is unknown, missing or wrong.
    """
    try:
        return build_recipe({**read_entries(path), **changes})
    except RecipeError as err:
        msg = str(err) if str(err).startswith(f'{path}:') else f'{path}: {err}'
        raise RecipeError(msg) from err


def build_recipe(entries: dict[str, Any]) -> Recipe:
    """A recipe from its entries, as YAML has them.

    Args:
        entries: Values by name.

    Returns:
        The recipe.

    Raises:
        RecipeError: Naming the entry that is unknown, missing or wrong.
    """
    known = {item.name: item for item in dataclasses.fields(Recipe)}
    for name in entries:
        if name not in known:
            msg = f'unknown entry {name!r}; known are {", ".join(known)}'
            raise RecipeError(msg)
    for name in ('name', 'source', 'target', 'source_validation'):
        if name not in entries:
            msg = f'the entry {name!r} is missing'
            raise RecipeError(msg)
    try:
        return Recipe(
            **{name: _value(name, known[name], value) for name, value in entries.items()}
        )
    except CameraError as err:
        raise RecipeError(str(err)) from err


def _value(name: str, item: dataclasses.Field[Any], value: Any) -> Any:
    kind = str(item.type)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == 'Camera' and isinstance(value, dict):
        names = ('width', 'height', 'fx', 'fy', 'cx', 'cy')
        if set(value) != set(names) or not all(isinstance(v, int | float) for v in value.values()):
            msg = f'{name} needs exactly the numbers {", ".join(names)}'
            raise RecipeError(msg)
        fx, fy, cx, cy = (float(value[entry]) for entry in names[2:])
        return Camera(int(value['width']), int(value['height']), fx, fy, cx, cy)
    if kind == 'tuple[str, ...]' and isinstance(value, list | tuple):
        return tuple(map(str, value))
    if kind == 'tuple[float, float]' and isinstance(value, list | tuple):
        return tuple(_number(name, item) for item in value)
    if kind == 'float':
        return _number(name, value)
    if kind == 'int' and isinstance(value, int) and number:
        return value
    if kind == 'bool' and isinstance(value, bool):
        return value
    if kind == 'str' and isinstance(value, str):
        return value
    expected = {'tuple[str, ...]': "a list such as ['world:town:0-9']"}.get(
        kind, f'of type {kind}'
    )
    msg = f'{name} must be {expected}, got {value!r}'
    raise RecipeError(msg)


def _number(name: str, value: Any) -> float:
    # YAML takes 1e-3, without a point, for a string.
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(value)
    msg = f'{name} must be of type float, got {value!r}'
    raise RecipeError(msg)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The model card: what makes a network's output metric, kept inside the ONNX file itself."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera, CameraError
from mono_metric_depth.image import Image
from mono_metric_depth.mount_statistics import MountStatistics
from mono_metric_depth.onnx_metadata import OnnxFileError, read_metadata, write_metadata
from mono_metric_depth.road_plane import RoadPlaneError, RoadScale
from mono_metric_depth.scale import GlobalScale, ScaleError

#: Version of the card's layout. A reader refuses cards of a newer version.
CARD_VERSION = 3
#: Larger numbers are refused.
_LARGEST = 1e300
METADATA_KEY = 'mono_metric_depth.card'

#: How each kind of network output becomes unscaled depth.
OUTPUT_KINDS = ('depth', 'inverse_depth', 'disparity')


class ModelCardError(ValueError):
    """A model file without a usable card."""


@dataclass(frozen=True)
class Normalisation:
    """What the network expects of its input: (value / full scale - mean) / std per channel.

    Attributes:
        channels: ``rgb`` or ``bgr``.
        mean, std: Per channel, of values in 0..1.
    """

    channels: str = 'rgb'
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if self.channels not in {'rgb', 'bgr'}:
            msg = f'normalisation.channels must be rgb or bgr, got {self.channels!r}'
            raise ModelCardError(msg)
        for name in ('mean', 'std'):
            values = getattr(self, name)
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                msg = f'normalisation.{name} must be 3 finite numbers, got {values}'
                raise ModelCardError(msg)
        if min(self.std) <= 0:
            msg = f'normalisation.std must be positive, got {self.std}'
            raise ModelCardError(msg)

    def apply(self, image: Image, seen: NDArray[np.bool_], out: NDArray[np.float32]) -> None:
        """Write an image as the network takes it.

        Args:
            image: Of the network's size.
            seen: (height, width) bool; the rest becomes 0.
            out: Where to, (3, height, width) float32.
        """
        pixels = image.pixels
        for index, channel in enumerate(self.channels):
            plane: NDArray[Any] = pixels
            if pixels.ndim == 3:
                plane = cv2.extractChannel(pixels, image.channels.index(channel))
            if pixels.dtype == np.uint8:  # a third of the time
                cv2.LUT(plane, self._levels[index], dst=out[index])
            else:
                self._normalise(plane, index, out[index])
        if not seen.all():
            out *= seen

    @cached_property
    def _levels(self) -> NDArray[np.float32]:
        """(3, 1, 256) what each value of 8 bits becomes."""
        values = np.arange(256, dtype=np.uint8)[None]
        levels = np.empty((3, 1, 256), np.float32)
        for index in range(3):
            self._normalise(values, index, levels[index])
        return levels

    def _normalise(self, plane: NDArray[Any], index: int, out: NDArray[np.float32]) -> None:
        mean, std = self.mean[index], self.std[index]
        full_scale = float(np.iinfo(plane.dtype).max)
        np.multiply(plane, np.float32(1 / (full_scale * std)), out=out)
        out -= np.float32(mean / std)


@dataclass(frozen=True)
class ModelCard:
    """Everything that turns a network's output into metres.

    Attributes:
        name: What the model is called.
        scale: The one scalar, or None where it was not fitted yet: such a network has no metres,
            and nothing but ``fit_scale`` runs it. For ``inverse_depth`` and ``disparity`` outputs,
            depth is ``scale / output``.
        canonical_camera: The pinhole that every image is resampled into; its size is the network's
            input size.
        levelled: Whether the canonical camera looks along the road, so that the mount's pitch,
            roll and yaw are taken out where they are known.
        depth_range: Nearest and furthest depth (m) that the network was trained to tell.
        output_kind: ``depth``, ``inverse_depth`` or ``disparity``.
        normalisation: Of the input.
        input_name, output_name: Tensors of the ONNX graph.
        camera_height: Mean height (m) of the training cameras above the road, or None.
        mounts: Height and attitude of the training cameras, or None.
        road_scale: The one scalar once more, from the road plane and a known mounting height: an
            independent check of ``scale``, which it never replaces. None if it was not fitted.
        provenance: How the network came about: data, recipe, results. JSON values.
    """

    name: str
    scale: GlobalScale | None
    canonical_camera: Camera
    depth_range: tuple[float, float]
    levelled: bool = True
    output_kind: str = 'depth'
    normalisation: Normalisation = field(default_factory=Normalisation)
    input_name: str = 'image'
    output_name: str = 'depth'
    camera_height: float | None = None
    mounts: MountStatistics | None = None
    road_scale: RoadScale | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.canonical_camera.distortion:
            msg = 'canonical_camera must be a pinhole without distortion'
            raise ModelCardError(msg)
        if len(self.depth_range) != 2 or not all(map(math.isfinite, self.depth_range)):
            msg = f'depth_range must be two finite numbers (m), got {self.depth_range}'
            raise ModelCardError(msg)
        if not 0 < self.depth_range[0] < self.depth_range[1]:
            msg = f'depth_range must satisfy 0 < nearest < furthest (m), got {self.depth_range}'
            raise ModelCardError(msg)
        if self.output_kind not in OUTPUT_KINDS:
            msg = f'output_kind must be one of {", ".join(OUTPUT_KINDS)}, got {self.output_kind!r}'
            raise ModelCardError(msg)
        if self.camera_height is not None and not (
            math.isfinite(self.camera_height) and self.camera_height > 0
        ):
            msg = f'camera_height must be positive (m), got {self.camera_height}'
            raise ModelCardError(msg)

    @property
    def road_disagreement(self) -> float | None:
        """By how much the road plane's scale exceeds the scale: 0.02 is 2 %. None without one."""
        if self.road_scale is None or self.scale is None:
            return None
        return self.road_scale.value / self.scale.value - 1


def card_to_json(card: ModelCard) -> str:
    """The card as JSON, keys in a fixed order.

    Raises:
        ModelCardError: If the provenance holds anything but finite JSON values.
    """
    document = {'version': CARD_VERSION, **dataclasses.asdict(card)}
    document['canonical_camera'] = {
        name: document['canonical_camera'][name]
        for name in ('width', 'height', 'fx', 'fy', 'cx', 'cy')
    }
    try:
        return json.dumps(document, indent=1, allow_nan=False)
    except (TypeError, ValueError) as err:
        msg = f'provenance must hold JSON values (finite numbers, text, lists, objects): {err}'
        raise ModelCardError(msg) from err


def card_from_json(text: str) -> ModelCard:
    """Read and validate a card.

    Args:
        text: What :func:`card_to_json` wrote.

    Returns:
        The card.

    Raises:
        ModelCardError: Naming the entry that is missing, unknown or wrong.
    """
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as err:
        msg = f'the model card is not JSON: {err}'
        raise ModelCardError(msg) from err
    if not isinstance(document, dict):
        msg = f'the model card must be a JSON object, got {type(document).__name__}'
        raise ModelCardError(msg)
    version = document.pop('version', None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        msg = f'the model card has no valid version (got {version!r})'
        raise ModelCardError(msg)
    if version > CARD_VERSION:
        msg = (
            f'the model card has version {version}, this package understands up to '
            f'{CARD_VERSION}: update mono_metric_depth, or export the model with this version'
        )
        raise ModelCardError(msg)
    for name, kind in (
        ('scale', GlobalScale),
        ('canonical_camera', Camera),
        ('normalisation', Normalisation),
        ('mounts', MountStatistics),
        ('road_scale', RoadScale),
    ):
        if document.get(name) is not None:
            document[name] = _dataclass(kind, document[name], f'{name}.')
    card = _dataclass(ModelCard, document, '')
    assert isinstance(card, ModelCard)
    return card


def read_card(path: Path | str) -> ModelCard:
    """The card inside an ONNX file.

    Args:
        path: The file.

    Returns:
        The card.

    Raises:
        ModelCardError: If the file is missing, truncated, no ONNX model, or has no valid card.
    """
    path = Path(path)
    try:
        metadata = read_metadata(path)
    except OnnxFileError as err:
        raise ModelCardError(str(err)) from err
    if METADATA_KEY not in metadata:
        msg = (
            f'{path}: the model has no card, so its output has no scale; train or fine-tune with '
            'this package, or make a model of it with import_model'
        )
        raise ModelCardError(msg)
    try:
        return card_from_json(metadata[METADATA_KEY])
    except ModelCardError as err:
        msg = f'{path}: {err}'
        raise ModelCardError(msg) from err


def write_card(path: Path | str, card: ModelCard) -> None:
    """Put a card into an ONNX file, in place of any earlier one. The file is replaced atomically.

    Args:
        path: The ONNX file.
        card: The card.

    Raises:
        ModelCardError: If the file is missing, truncated, no ONNX model or cannot be written, or
            the card's provenance is not JSON.
    """
    try:
        write_metadata(Path(path), {METADATA_KEY: card_to_json(card)})
    except OnnxFileError as err:
        raise ModelCardError(str(err)) from err


def describe_card(card: ModelCard) -> str:
    """The card in lines that a person reads."""
    camera = card.canonical_camera
    formula = {'depth': 'scale x output'}.get(card.output_kind, 'scale / output')
    lines = [
        ('model', card.name),
        *_scale_lines(card.scale),
        ('depth', f'{formula}, {card.depth_range[0]:g} .. {card.depth_range[1]:g} m'),
        (
            'canonical camera',
            f'{camera.width}x{camera.height} px, fx {camera.fx:g}, fy {camera.fy:g}, '
            f'cx {camera.cx:g}, cy {camera.cy:g}, '
            f'{math.degrees(camera.horizontal_fov):.0f} degrees wide, '
            f'{"looks along the road" if card.levelled else "as mounted"}',
        ),
        (
            'camera height',
            'not recorded' if card.camera_height is None else f'{card.camera_height:.2f} m',
        ),
        *_optional_lines(card),
        ('input', f'{card.input_name} {card.normalisation.channels}'),
        ('output', f'{card.output_name} {card.output_kind}'),
    ]
    lines += [(key, _plain(value)) for key, value in card.provenance.items()]
    width = max(len(key) for key, _ in lines)
    return '\n'.join(f'{key:{width}}  {value}' for key, value in lines)


def _scale_lines(scale: GlobalScale | None) -> list[tuple[str, str]]:
    if scale is None:
        return [('scale', 'not fitted: no metres before `fit_scale MODEL DRIVES --write`')]
    pairs = {None: '', 0: ' over all pairs'}.get(
        scale.random_pairs, f' over {scale.random_pairs} random pairs'
    )
    return [
        (
            'scale',
            f'{scale.value:.4g}, {scale.confidence:.0%} interval {scale.low:.4g} .. '
            f'{scale.high:.4g} ({scale.method}{pairs}, {scale.images} images, '
            f'spread {scale.spread:.3f})',
        ),
        ('fitted on', scale.source),
    ]


def _optional_lines(card: ModelCard) -> list[tuple[str, str]]:
    """What only some cards know."""
    lines = []
    if card.mounts is not None:
        mounts = card.mounts
        height = ''
        if mounts.height is not None:
            height = f'{mounts.height[0]:.2f} .. {mounts.height[1]:.2f} m high, '
        (pitch, pitch_deviation), (roll, roll_deviation) = mounts.pitch, mounts.roll
        angles = (
            f'pitch {pitch:.1f} +- {pitch_deviation:.1f}, '
            f'roll {roll:.1f} +- {roll_deviation:.1f} degrees'
        )
        lines.append(('mounting', height + angles))
    if card.road_scale is not None:
        road, off = card.road_scale, card.road_disagreement
        lines.append(
            (
                'road plane scale',
                f'{road.value:.4g}, {road.confidence:.0%} interval {road.low:.4g} .. '
                f'{road.high:.4g} ({road.frames} frames, {sum(road.refused.values())} refused, '
                f'spread {road.spread:.3f}, camera {road.camera_height:.2f} m high)'
                + ('' if off is None else f': {off:+.1%} from the scale'),
            )
        )
        lines.append(('road seen in', road.source))
    return lines


def _refuse_constant(name: str) -> Any:
    """JSON has no NaN and no Infinity, Python's reader has."""
    msg = f'it holds {name}'
    raise ValueError(msg)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _dataclass(kind: type, values: Any, prefix: str) -> Any:
    """A dataclass from a JSON object, every entry checked."""
    if not isinstance(values, dict):
        msg = f'model card entry {prefix.rstrip(".")!r} must be an object, got {values!r}'
        raise ModelCardError(msg)
    known = {item.name: item for item in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        msg = f'model card has an unknown entry {prefix}{unknown[0]}'
        raise ModelCardError(msg)
    arguments = {}
    for name, item in known.items():
        optional = (
            item.default is not dataclasses.MISSING
            or item.default_factory is not dataclasses.MISSING
        )
        if name not in values:
            if optional:
                continue
            msg = f'model card lacks the entry {prefix}{name}'
            raise ModelCardError(msg)
        arguments[name] = _checked(values[name], str(item.type), f'{prefix}{name}')
    try:
        return kind(**arguments)
    except (CameraError, RoadPlaneError, ScaleError) as err:
        msg = f'model card entry {prefix.rstrip(".")}: {err}'
        raise ModelCardError(msg) from err


def _checked(value: Any, kind: str, name: str) -> Any:
    """A JSON value as the annotated type, or an error that names the entry."""
    if kind.endswith(' | None'):
        if value is None:
            return None
        kind = kind.removesuffix(' | None')
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not abs(value) <= _LARGEST:
        msg = f'model card entry {name} must be a finite number, got {str(value)[:40]}'
        raise ModelCardError(msg)
    if kind == 'float' and number:
        return float(value)
    if kind == 'int' and number and float(value).is_integer():
        return int(value)
    if kind == 'str' and isinstance(value, str):
        return value
    if kind == 'bool' and isinstance(value, bool):
        return value
    if kind.startswith('tuple[float') and isinstance(value, list):
        return tuple(_checked(item, 'float', name) for item in value)
    if kind.startswith('Mapping') and isinstance(value, dict):
        return value
    if type(value).__name__ == kind:  # read already
        return value
    msg = f'model card entry {name} must be of type {kind}, got {value!r}'
    raise ModelCardError(msg)

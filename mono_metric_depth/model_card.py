# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The model card: what makes a network's output metric, kept inside the ONNX file itself."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mono_metric_depth.camera import Camera
from mono_metric_depth.card_entries import (
    TENSORS,
    printable_values,
    read_dataclass,
    refuse_constant,
    shown,
)
from mono_metric_depth.card_entries import ModelCardError as ModelCardError
from mono_metric_depth.doubt import DOUBTS, Doubt, disagreement
from mono_metric_depth.mount_statistics import MountStatistics
from mono_metric_depth.onnx_metadata import (
    OnnxFileError,
    network_sha256,
    read_metadata,
    write_metadata,
)
from mono_metric_depth.printable import printable
from mono_metric_depth.road_plane import RoadScale
from mono_metric_depth.scale import GlobalScale

#: Version of the card's layout. A reader refuses cards of a newer version.
CARD_VERSION = 4
#: Pixels of the network's input; its buffers take 16 bytes for each.
_MOST_PIXELS = 1 << 24
#: Focal lengths and principal points in sizes of the image: views of 0.6 to 179 degrees.
_FOCAL, _FURTHEST_CENTRE = (0.004, 100.0), 10.0
#: Metres for one unit of a network, and metres in all. Beyond these float32 loses depth.
_SCALES, _DEPTHS = (1e-9, 1e9), (1e-4, 1e5)
#: Of the input's normalisation.
_DEVIATIONS, _LARGEST_MEAN = (1e-6, 1e6), 1e6
#: The road plane's scale and the fitted one should agree to within this.
ROAD_AGREEMENT = 0.10
#: Characters of a tensor's name, and of an error.
_LONGEST_NAME, _LONGEST_ERROR = 200, 400
METADATA_KEY = 'mono_metric_depth.card'
#: Beside it, of which network it is the card.
NETWORK_KEY = 'mono_metric_depth.network_sha256'

#: How each kind of network output becomes unscaled depth.
OUTPUT_KINDS = ('depth', 'inverse_depth', 'disparity')


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
        for value in self.std:
            _require('normalisation.std', value, _DEVIATIONS)
        for value in self.mean:
            _require('normalisation.mean', value, (-_LARGEST_MEAN, _LARGEST_MEAN))


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
        for entry in TENSORS:
            name = getattr(self, entry)
            if not name or printable(name, _LONGEST_NAME) != name:
                msg = f'{entry} must be printable and short, got {printable(name, 40)!r}'
                raise ModelCardError(msg)
        self._require_sane_numbers()

    def _require_sane_numbers(self) -> None:
        """Refuse numbers that describe no network, or overflow where depth is computed."""
        camera = self.canonical_camera
        if camera.width * camera.height > _MOST_PIXELS:
            msg = (
                f'canonical_camera of {camera.width}x{camera.height} has more than '
                f'{_MOST_PIXELS} pixels'
            )
            raise ModelCardError(msg)
        for focal, centre, size in (('fx', 'cx', camera.width), ('fy', 'cy', camera.height)):
            share = getattr(camera, focal) / size
            _require(f'canonical_camera.{focal} / its size', share, _FOCAL)
            share = getattr(camera, centre) / size
            far = (-_FURTHEST_CENTRE, _FURTHEST_CENTRE)
            _require(f'canonical_camera.{centre} / its size', share, far)
        for entry, scale in (('scale', self.scale), ('road_scale', self.road_scale)):
            for name in ('value', 'low', 'high') if scale is not None else ():
                _require(f'{entry}.{name}', getattr(scale, name), _SCALES)
        for value in self.depth_range:
            _require('depth_range', value, _DEPTHS)

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """What speaks against the scale, gravest first: found by its fit, or by the road plane."""
        if self.scale is None:
            return ()
        # That of the road depends on both scales as they are now.
        found = [doubt for doubt in self.scale.doubts or () if doubt.kind != 'road']
        if self.road_scale is not None:
            found += disagreement('road', self.road_scale, self.scale, ROAD_AGREEMENT)
        return tuple(sorted(found, key=lambda doubt: (not doubt.fatal, doubt.scatter)))

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
        return _card(text)
    except ModelCardError as err:
        # It may quote what a stranger wrote.
        raise ModelCardError(printable(str(err), _LONGEST_ERROR)) from err


def _card(text: str) -> ModelCard:
    try:
        document = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as err:
        msg = f'the model card is not JSON: {err}'
        raise ModelCardError(msg) from err
    if not isinstance(document, dict):
        msg = f'the model card must be a JSON object, got {type(document).__name__}'
        raise ModelCardError(msg)
    version = document.pop('version', None)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        msg = f'the model card has no valid version (got {shown(version)})'
        raise ModelCardError(msg)
    if version > CARD_VERSION:
        msg = (
            f'the model card has version {version}, this package understands up to '
            f'{CARD_VERSION}: update mono_metric_depth, or export the model with this version'
        )
        raise ModelCardError(msg)
    _read_doubts(document.get('scale'))
    for name, kind in (
        ('scale', GlobalScale),
        ('canonical_camera', Camera),
        ('normalisation', Normalisation),
        ('mounts', MountStatistics),
        ('road_scale', RoadScale),
    ):
        if document.get(name) is not None:
            document[name] = read_dataclass(kind, document[name], f'{name}.')
    if isinstance(document.get('provenance'), dict):
        document['provenance'] = printable_values(document['provenance'], 0)
    card = read_dataclass(ModelCard, document, '')
    assert isinstance(card, ModelCard)
    return card


def read_card(path: Path | str) -> ModelCard:
    """The card inside an ONNX file.

    Args:
        path: The file.

    Returns:
        The card.

    Raises:
        ModelCardError: If the file is missing, truncated, no ONNX model, or has no valid card of
            its own network.
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
    if not _is_of_its_network(path, metadata):
        msg = (
            f'{path}: the network was changed after its card was written (edited, quantised, '
            'simplified), so its scale is not known; take the model as it was, or make one of '
            'this network with import_model and fit_scale'
        )
        raise ModelCardError(msg)
    try:
        return card_from_json(metadata[METADATA_KEY])
    except ModelCardError as err:
        msg = f'{path}: {err}'
        raise ModelCardError(msg) from err


def owns_card(path: Path) -> bool:
    """Whether an ONNX file has a card, and that of its own network.

    A card that an earlier version wrote names none, and is taken for its own.

    Raises:
        ModelCardError: If the file is missing, truncated or no ONNX model.
    """
    try:
        metadata = read_metadata(path)
    except OnnxFileError as err:
        raise ModelCardError(str(err)) from err
    return METADATA_KEY in metadata and _is_of_its_network(path, metadata)


def _is_of_its_network(path: Path, metadata: dict[str, str]) -> bool:
    try:
        return NETWORK_KEY not in metadata or metadata[NETWORK_KEY] == network_sha256(path)
    except OnnxFileError as err:
        raise ModelCardError(str(err)) from err


def write_card(path: Path | str, card: ModelCard) -> None:
    """Put a card into an ONNX file, in place of any earlier one. The file is replaced atomically.

    The network's digest goes beside it: should the network change, the card is none of it.

    Args:
        path: The ONNX file.
        card: The card.

    Raises:
        ModelCardError: If the file is missing, truncated, no ONNX model or cannot be written, or
            the card's provenance is not JSON.
    """
    try:
        network = network_sha256(Path(path))
        # The card last: a file that is cut short has none.
        write_metadata(Path(path), {NETWORK_KEY: network, METADATA_KEY: card_to_json(card)})
    except OnnxFileError as err:
        raise ModelCardError(str(err)) from err


def _require(entry: str, value: float, allowed: tuple[float, float]) -> None:
    if not allowed[0] <= value <= allowed[1]:
        msg = f'{entry} must lie within {allowed[0]:g} .. {allowed[1]:g}, got {value:g}'
        raise ModelCardError(msg)


def _read_doubts(scale: Any) -> None:
    """Put doubts in place of the JSON objects in a scale."""
    if not isinstance(scale, dict) or not isinstance(scale.get('doubts'), list):
        return
    if len(scale['doubts']) > len(DOUBTS):
        msg = f'model card entry scale.doubts holds {len(scale["doubts"])}, not {len(DOUBTS)}'
        raise ModelCardError(msg)
    scale['doubts'] = tuple(
        read_dataclass(Doubt, doubt, 'scale.doubts.') for doubt in scale['doubts']
    )

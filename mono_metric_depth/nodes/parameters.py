# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node's parameters: one typed table, and what each camera has of its own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rclpy.node import Node
from rclpy.parameter import Parameter

from mono_metric_depth.alignment import Resolution
from mono_metric_depth.engines.precision import PRECISIONS
from mono_metric_depth.engines.selection import ENGINES
from mono_metric_depth.nodes.parameter_table import (
    Rule,
    check_choices,
    check_qos_overrides,
    declare_table,
    descriptor,
    parameter,
    rules_of,
    warn_of_unknown,
)

_ANGLE = (-1.5, 1.5)
#: A name that topics and parameters can begin with.
_CAMERA = re.compile('[A-Za-z](_?[A-Za-z0-9])*')
_MOST_CAMERAS = 16


@dataclass(frozen=True)
class Parameters:
    """A value for each parameter; the fields are the table. One frame sees one of these."""

    model: str = parameter(
        '', 'ONNX file with a model card, or default or nano, which are shipped.', 'unconfigured'
    )
    threads: int = parameter(
        0,
        'Threads of the network; 0 for as many as there are cores.',
        'unconfigured',
        span=(0, 256),
    )
    engine: str = parameter(
        'auto',
        'What runs the network; auto: TensorRT where a GPU and its bindings are, else OpenVINO '
        'where it is installed, else ONNX Runtime.',
        'unconfigured',
        choices=ENGINES,
    )
    precision: str = parameter(
        'fp16',
        'Precision of a TensorRT engine; int8 has to be calibrated by build_engine.',
        'unconfigured',
        choices=PRECISIONS,
    )
    image_transport: Literal['raw', 'compressed'] = parameter(
        'raw',
        'How images come: on image, or as JPEG or PNG on image/compressed.',
        'unconfigured',
        choices=('raw', 'compressed'),
    )
    base_frame: str = parameter(
        '',
        'Frame on the road, such as base_footprint, to find the mount from in tf; off if empty.',
        'unconfigured',
    )
    cameras: tuple[str, ...] = parameter(
        (),
        'Names of several cameras, each with its own topics below its name; one camera if empty.',
        'never',
    )
    autostart: bool = parameter(
        True, 'Whether the node configures and activates itself when it starts.', 'never'
    )
    image_timeout: float = parameter(
        2.0,
        'A camera that sends no image for longer is reported (s).',
        'running',
        span=(0.1, 1e4),
    )
    rectified: bool = parameter(
        False, 'Whether the image topic is already rectified (image_rect).', 'running'
    )
    depth_resolution: Resolution = parameter(
        'network',
        'Depth image per pixel of the network or of the input image.',
        'running',
        choices=('network', 'input'),
    )
    depth_encoding: Literal['32FC1', '16UC1'] = parameter(
        '32FC1',
        'Metres as float, or millimetres as 16 bits (REP-118).',
        'running',
        choices=('32FC1', '16UC1'),
    )
    cloud_resolution: Resolution = parameter(
        'network',
        'Points per pixel of the network or of the input image.',
        'running',
        choices=('network', 'input'),
    )
    cloud_organised: bool = parameter(
        True,
        'Rows and columns with NaN where there is no depth, or one row of the valid points.',
        'running',
    )
    cloud_colour: bool = parameter(
        True, 'Points with rgb, 16 bytes each, or without, 12 bytes.', 'running'
    )
    cloud_decimation: int = parameter(
        1, 'Every n-th column of every n-th row becomes a point.', 'running', span=(1, 64)
    )
    cloud_rate: float = parameter(
        0.0, 'Clouds per second at most (Hz); 0 for one with each frame.', 'running', span=(0, 1e3)
    )
    range_min: float = parameter(
        0.0, 'Nearest depth of a point in the cloud (m, optical axis).', 'running', span=(0, 1e4)
    )
    range_max: float = parameter(
        1000.0, 'Furthest depth of a point in the cloud (m).', 'running', span=(0, 1e4)
    )
    pitch: float = parameter(
        0.0,
        'Camera pitch against the road (rad), positive down.',
        'running',
        span=_ANGLE,
        own=True,
    )
    roll: float = parameter(
        0.0,
        'Camera roll against the road (rad), positive lifts its left.',
        'running',
        span=_ANGLE,
        own=True,
    )
    yaw: float = parameter(
        0.0,
        'Camera yaw against the direction of travel (rad), positive left.',
        'running',
        span=_ANGLE,
        own=True,
    )
    camera_height: float = parameter(
        0.0,
        'Camera height above the road (m), to check the scale by; 0 if not known.',
        'running',
        span=(0, 100),
        own=True,
    )


#: What each parameter of the depth node means and may be, by name.
RULES: Mapping[str, Rule] = rules_of(Parameters)
#: What each of several cameras may have of its own.
OWN = tuple(name for name, rule in RULES.items() if rule.own)


@dataclass(frozen=True)
class NodeParameters:
    """The parameters of a node.

    Attributes:
        common: Those of every camera.
        own: What a camera has instead, by its name.
    """

    common: Parameters
    own: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def of(self, camera: str) -> Parameters:
        """The parameters of a camera."""
        return dataclasses.replace(self.common, **self.own.get(camera, {}))


def declare_parameters(node: Node) -> NodeParameters:
    """Declare every parameter; warn of any that was set and does not exist.

    What a camera may have of its own has no value until it is set: the common one counts.

    Args:
        node: The node.

    Returns:
        The value of each.

    Raises:
        ValueError: If one is not among its allowed values.
        ParameterException: If one has another type or is out of range.
    """
    common = _checked(declare_table(node, Parameters))
    own: dict[str, dict[str, Any]] = {}
    for camera in common.cameras:
        declared = {
            name: node.declare_parameter(
                f'{camera}.{name}', Parameter.Type.DOUBLE, descriptor(RULES[name], 0.0)
            ).value
            for name in OWN
        }
        own[camera] = {name: value for name, value in declared.items() if value is not None}
    names = [f'{camera}.{name}' for camera in common.cameras for name in OWN]
    warn_of_unknown(node, [*RULES, *names])
    check_qos_overrides(node)
    return NodeParameters(common, own)


def changed_parameters(
    current: NodeParameters, changes: Mapping[str, Any], *, unconfigured: bool
) -> NodeParameters:
    """The parameters after a change of one or several, all of them checked.

    Types and ranges have been checked by then: rclpy does so by the descriptors.

    Args:
        current: As they are.
        changes: New values by name; None where one is to be deleted. Names that are no parameter
            here are passed over.
        unconfigured: Whether the node is unconfigured.

    Returns:
        As they are to be.

    Raises:
        ValueError: If a value is not allowed, or not now; the message says what is.
    """
    common: dict[str, Any] = {}
    own = {camera: dict(values) for camera, values in current.own.items()}
    for name, value in changes.items():
        camera, _, last = name.rpartition('.')
        if name not in RULES and (camera not in own or last not in OWN):
            continue
        if value is None:
            msg = f'parameter {name} cannot be deleted'
            raise ValueError(msg)
        if camera:
            own[camera][last] = value
            continue
        late = RULES[name].changes == 'unconfigured' and not unconfigured
        if late and value != getattr(current.common, name):
            msg = (
                f'parameter {name} changes only while the node is unconfigured: deactivate it and '
                'clean it up, set it, then configure it again'
            )
            raise ValueError(msg)
        common[name] = value
    return NodeParameters(_checked(dataclasses.replace(current.common, **common)), own)


def _checked(values: Parameters) -> Parameters:
    check_choices(values, RULES)
    for camera in values.cameras:
        if not _CAMERA.fullmatch(camera) or values.cameras.count(camera) > 1:
            msg = (
                'parameter cameras must hold names such as front_left, of letters, digits and '
                f'single underscores, each once; got {camera!r} in {list(values.cameras)}'
            )
            raise ValueError(msg)
    if len(values.cameras) > _MOST_CAMERAS:
        msg = f'at most {_MOST_CAMERAS} cameras, got {len(values.cameras)}; start another node'
        raise ValueError(msg)
    if values.range_min >= values.range_max:
        msg = (
            f'parameter range_min must be below range_max, got {values.range_min:g} and '
            f'{values.range_max:g}; set both together'
        )
        raise ValueError(msg)
    return values

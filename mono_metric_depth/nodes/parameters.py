# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node's parameters: one typed table, and what each camera has of its own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from mono_metric_depth.alignment import Resolution

#: When a parameter changes: once at the start, while unconfigured, or between any two frames.
Changes = Literal['never', 'unconfigured', 'running']


@dataclass(frozen=True)
class Rule:
    """What a parameter means and what it may be.

    Attributes:
        description: For people.
        changes: When it may change.
        span: Least and largest value of a number.
        choices: Allowed values of a string; any if empty.
        own: Whether each of several cameras may have a value of its own, named CAMERA.NAME.
    """

    description: str
    changes: Changes
    span: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    own: bool = False


def _parameter(default: Any, description: str, changes: Changes, **limits: Any) -> Any:
    rule = Rule(description, changes, **limits)
    return dataclasses.field(default=default, metadata={'rule': rule})


_ANGLE = (-1.5, 1.5)
#: A name that topics and parameters can begin with.
_CAMERA = re.compile('[A-Za-z](_?[A-Za-z0-9])*')
_MOST_CAMERAS = 16


@dataclass(frozen=True)
class Parameters:
    """A value for each parameter; the fields are the table. One frame sees one of these."""

    model: str = _parameter(
        '', 'ONNX file with a model card; the shipped model if empty.', 'unconfigured'
    )
    threads: int = _parameter(
        0,
        'Threads of the network; 0 for as many as there are cores.',
        'unconfigured',
        span=(0, 256),
    )
    image_transport: Literal['raw', 'compressed'] = _parameter(
        'raw',
        'How images come: on image, or as JPEG or PNG on image/compressed.',
        'unconfigured',
        choices=('raw', 'compressed'),
    )
    base_frame: str = _parameter(
        '',
        'Frame on the road, such as base_footprint, to find the mount from in tf; off if empty.',
        'unconfigured',
    )
    cameras: tuple[str, ...] = _parameter(
        (),
        'Names of several cameras, each with its own topics below its name; one camera if empty.',
        'never',
    )
    autostart: bool = _parameter(
        True, 'Whether the node configures and activates itself when it starts.', 'never'
    )
    image_timeout: float = _parameter(
        2.0,
        'A camera that sends no image for longer is reported (s).',
        'running',
        span=(0.1, 1e4),
    )
    rectified: bool = _parameter(
        False, 'Whether the image topic is already rectified (image_rect).', 'running'
    )
    depth_resolution: Resolution = _parameter(
        'network',
        'Depth and cloud per pixel of the network or of the input image.',
        'running',
        choices=('network', 'input'),
    )
    depth_encoding: Literal['32FC1', '16UC1'] = _parameter(
        '32FC1',
        'Metres as float, or millimetres as 16 bits (REP-118).',
        'running',
        choices=('32FC1', '16UC1'),
    )
    cloud_organised: bool = _parameter(
        True,
        'Rows and columns with NaN where there is no depth, or one row of the valid points.',
        'running',
    )
    cloud_colour: bool = _parameter(
        True, 'Points with rgb, 16 bytes each, or without, 12 bytes.', 'running'
    )
    cloud_decimation: int = _parameter(
        1, 'Every n-th column of every n-th row becomes a point.', 'running', span=(1, 64)
    )
    cloud_rate: float = _parameter(
        0.0, 'Clouds per second at most (Hz); 0 for one with each frame.', 'running', span=(0, 1e3)
    )
    range_min: float = _parameter(
        0.0, 'Nearest depth of a point in the cloud (m, optical axis).', 'running', span=(0, 1e4)
    )
    range_max: float = _parameter(
        1000.0, 'Furthest depth of a point in the cloud (m).', 'running', span=(0, 1e4)
    )
    pitch: float = _parameter(
        0.0,
        'Camera pitch against the road (rad), positive down.',
        'running',
        span=_ANGLE,
        own=True,
    )
    roll: float = _parameter(
        0.0,
        'Camera roll against the road (rad), positive lifts its left.',
        'running',
        span=_ANGLE,
        own=True,
    )
    yaw: float = _parameter(
        0.0,
        'Camera yaw against the direction of travel (rad), positive left.',
        'running',
        span=_ANGLE,
        own=True,
    )
    camera_height: float = _parameter(
        0.0,
        'Camera height above the road (m), to check the scale by; 0 if not known.',
        'running',
        span=(0, 100),
        own=True,
    )


#: What each parameter means and may be, by name.
RULES: Mapping[str, Rule] = {
    field.name: field.metadata['rule'] for field in dataclasses.fields(Parameters)
}


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
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Parameters):
        # The type of an empty list cannot be seen.
        default = Parameter.Type.STRING_ARRAY if field.default == () else field.default
        descriptor = _descriptor(field.name, field.default)
        value = node.declare_parameter(field.name, default, descriptor).value
        values[field.name] = tuple(value or ()) if field.default == () else value
    values['cameras'] = tuple(filter(None, values['cameras']))
    common = _checked(Parameters(**values))
    own: dict[str, dict[str, Any]] = {}
    for camera in common.cameras:
        declared = {
            name: node.declare_parameter(
                f'{camera}.{name}', Parameter.Type.DOUBLE, _descriptor(name, 0.0)
            ).value
            for name in OWN
        }
        own[camera] = {name: value for name, value in declared.items() if value is not None}
    # rclpy keeps what was set and never declared to itself.
    given = getattr(node, '_parameter_overrides', {})
    known = [*values, *(f'{camera}.{name}' for camera in common.cameras for name in OWN)]
    for name in sorted(set(given) - set(known) - {'use_sim_time'}):
        if not name.startswith('qos_overrides.'):
            node.get_logger().warning(
                f'there is no parameter {name}, it is ignored; known are {", ".join(known)}'
            )
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
    for name, rule in RULES.items():
        value = getattr(values, name)
        if rule.choices and value not in rule.choices:
            msg = f'parameter {name} must be one of {", ".join(rule.choices)}, got {value!r}'
            raise ValueError(msg)
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


def _descriptor(name: str, default: Any) -> ParameterDescriptor:
    rule = RULES[name]
    descriptor = ParameterDescriptor(
        description=rule.description, read_only=rule.changes == 'never'
    )
    constraints = [f'one of {", ".join(rule.choices)}'] if rule.choices else []
    if rule.changes == 'unconfigured':
        constraints.append('changes only while the node is unconfigured')
    descriptor.additional_constraints = '; '.join(constraints)
    if rule.span is not None and isinstance(default, float):
        low, high = rule.span
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high))
        ]
    elif rule.span is not None:
        low, high = map(int, rule.span)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return descriptor

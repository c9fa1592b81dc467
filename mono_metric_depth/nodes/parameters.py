# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of nodes: typed tables, and that of the depth node."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from mono_metric_depth.alignment import Resolution
from mono_metric_depth.engines.precision import PRECISIONS
from mono_metric_depth.engines.selection import ENGINES

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
    """

    description: str
    changes: Changes
    span: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()


def parameter(default: Any, description: str, changes: Changes, **limits: Any) -> Any:
    """A field of a table of parameters."""
    rule = Rule(description, changes, **limits)
    return dataclasses.field(default=default, metadata={'rule': rule})


_ANGLE = (-1.5, 1.5)


@dataclass(frozen=True)
class Parameters:
    """A value for each parameter; the fields are the table. One frame sees one of these."""

    model: str = parameter(
        '', 'ONNX file with a model card; the shipped model if empty.', 'unconfigured'
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
    autostart: bool = parameter(
        True, 'Whether the node configures and activates itself when it starts.', 'never'
    )
    rectified: bool = parameter(
        False, 'Whether the image topic is already rectified (image_rect).', 'running'
    )
    depth_resolution: Resolution = parameter(
        'network',
        'Depth and cloud per pixel of the network or of the input image.',
        'running',
        choices=('network', 'input'),
    )
    depth_encoding: Literal['32FC1', '16UC1'] = parameter(
        '32FC1',
        'Metres as float, or millimetres as 16 bits (REP-118).',
        'running',
        choices=('32FC1', '16UC1'),
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
        0.0, 'Camera pitch against the road (rad), positive down.', 'running', span=_ANGLE
    )
    roll: float = parameter(
        0.0, 'Camera roll against the road (rad), positive lifts its left.', 'running', span=_ANGLE
    )
    yaw: float = parameter(
        0.0,
        'Camera yaw against the direction of travel (rad), positive left.',
        'running',
        span=_ANGLE,
    )
    camera_height: float = parameter(
        0.0,
        'Camera height above the road (m), to check the scale by; 0 if not known.',
        'running',
        span=(0, 100),
    )


Table = TypeVar('Table')


def rules_of(table: Any) -> Mapping[str, Rule]:
    """What each parameter of a table means and may be, by name."""
    return {field.name: field.metadata['rule'] for field in dataclasses.fields(table)}


#: What each parameter of the depth node means and may be, by name.
RULES: Mapping[str, Rule] = rules_of(Parameters)


def declare_table(node: Node, table: type[Table]) -> Table:
    """Declare every parameter of a table; warn of any that was set and does not exist.

    Args:
        node: The node.
        table: A dataclass whose fields are made by :func:`parameter`.

    Returns:
        The value of each.

    Raises:
        ValueError: If one is not among its allowed values.
        ParameterException: If one has another type or is out of range.
    """
    rules = rules_of(table)
    values = {
        field.name: node.declare_parameter(
            field.name, field.default, _descriptor(rules[field.name], field.default)
        ).value
        for field in dataclasses.fields(table)  # type: ignore[arg-type]
    }
    # rclpy keeps what was set and never declared to itself.
    given = getattr(node, '_parameter_overrides', {})
    for name in sorted(set(given) - set(values) - {'use_sim_time'}):
        if not name.startswith('qos_overrides.'):
            node.get_logger().warning(
                f'there is no parameter {name}, it is ignored; known are {", ".join(values)}'
            )
    found = table(**values)
    _check_choices(found, rules)
    return found


def declare_parameters(node: Node) -> Parameters:
    """Declare the depth node's parameters; see :func:`declare_table`."""
    return _checked(declare_table(node, Parameters))


def changed_parameters(
    current: Parameters, changes: Mapping[str, Any], *, unconfigured: bool
) -> Parameters:
    """The parameters after a change of one or several, all of them checked.

    Types and ranges have been checked by then: rclpy does so by the descriptors.

    Args:
        current: As they are.
        changes: New values by name; None where one is to be deleted.
        unconfigured: Whether the node is unconfigured.

    Returns:
        As they are to be.

    Raises:
        ValueError: If a value is not allowed, or not now; the message says what is.
    """
    for name, value in changes.items():
        if value is None:
            msg = f'parameter {name} cannot be deleted'
            raise ValueError(msg)
        late = RULES[name].changes == 'unconfigured' and not unconfigured
        if late and value != getattr(current, name):
            msg = (
                f'parameter {name} changes only while the node is unconfigured: deactivate it and '
                'clean it up, set it, then configure it again'
            )
            raise ValueError(msg)
    return _checked(dataclasses.replace(current, **changes))


def _check_choices(values: Any, rules: Mapping[str, Rule]) -> None:
    for name, rule in rules.items():
        value = getattr(values, name)
        if rule.choices and value not in rule.choices:
            msg = f'parameter {name} must be one of {", ".join(rule.choices)}, got {value!r}'
            raise ValueError(msg)


def _checked(values: Parameters) -> Parameters:
    _check_choices(values, RULES)
    if values.range_min >= values.range_max:
        msg = (
            f'parameter range_min must be below range_max, got {values.range_min:g} and '
            f'{values.range_max:g}; set both together'
        )
        raise ValueError(msg)
    return values


def _descriptor(rule: Rule, default: Any) -> ParameterDescriptor:
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

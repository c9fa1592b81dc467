# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The depth node's parameters: one typed table."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node


def _float(low: float, high: float) -> list[FloatingPointRange]:
    return [FloatingPointRange(from_value=low, to_value=high)]


#: Name, default, description, range or allowed values. All are read when the node starts.
PARAMETERS: tuple[tuple[str, Any, str, Any], ...] = (
    ('model', '', 'ONNX file with a model card; the shipped model if empty.', None),
    (
        'threads',
        0,
        'Threads of the network; 0 for as many as there are cores.',
        [IntegerRange(from_value=0, to_value=256, step=1)],
    ),
    ('rectified', False, 'Whether the image topic is already rectified (image_rect).', None),
    (
        'depth_resolution',
        'network',
        'Depth and cloud per pixel of the network or of the input image.',
        ('network', 'input'),
    ),
    (
        'depth_encoding',
        '32FC1',
        'Metres as float, or millimetres as 16 bits (REP-118).',
        ('32FC1', '16UC1'),
    ),
    ('pitch', 0.0, 'Camera pitch against the road (rad), positive down.', _float(-1.5, 1.5)),
    (
        'roll',
        0.0,
        'Camera roll against the road (rad), positive lifts its left.',
        _float(-1.5, 1.5),
    ),
    (
        'yaw',
        0.0,
        'Camera yaw against the direction of travel (rad), positive left.',
        _float(-1.5, 1.5),
    ),
)


def declare_parameters(node: Node) -> dict[str, Any]:
    """Declare :data:`PARAMETERS`, read-only; warn of any that was set and does not exist.

    Args:
        node: The node.

    Returns:
        The value of each.

    Raises:
        ValueError: If one is not among its allowed values.
    """
    values = {}
    for name, default, description, allowed in PARAMETERS:
        descriptor = ParameterDescriptor(description=description, read_only=True)
        if isinstance(allowed, list):
            if isinstance(allowed[0], FloatingPointRange):
                descriptor.floating_point_range = allowed
            else:
                descriptor.integer_range = allowed
        elif allowed:
            descriptor.additional_constraints = f'one of {", ".join(allowed)}'
        values[name] = node.declare_parameter(name, default, descriptor).value
        if isinstance(allowed, tuple) and values[name] not in allowed:
            msg = f'parameter {name} must be one of {", ".join(allowed)}, got {values[name]!r}'
            raise ValueError(msg)
    # rclpy keeps what was set and never declared to itself.
    given = getattr(node, '_parameter_overrides', {})
    for name in sorted(set(given) - set(values) - {'use_sim_time'}):
        if not name.startswith('qos_overrides.'):
            node.get_logger().warning(
                f'there is no parameter {name}, it is ignored; known are {", ".join(values)}'
            )
    return values

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Typed tables of a node's parameters: a dataclass with a field for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, HistoryPolicy, ReliabilityPolicy

Table = TypeVar('Table')
#: What overrides of a topic's QoS may say.
_POLICIES = {
    'history': HistoryPolicy,
    'reliability': ReliabilityPolicy,
    'durability': DurabilityPolicy,
}
_MOST_QUEUED = 1000
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
        untyped: Whether its value may have another type than its default.
        own: Whether each of several cameras may have a value of its own, named CAMERA.NAME.
    """

    description: str
    changes: Changes
    span: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    untyped: bool = False
    own: bool = False


def parameter(default: Any, description: str, changes: Changes, **limits: Any) -> Any:
    """A field of a table of parameters."""
    rule = Rule(description, changes, **limits)
    return dataclasses.field(default=default, metadata={'rule': rule})


def rules_of(table: Any) -> Mapping[str, Rule]:
    """What each parameter of a table means and may be, by name."""
    return {field.name: field.metadata['rule'] for field in dataclasses.fields(table)}


def declare_table(node: Node, table: type[Table]) -> Table:
    """Declare every parameter of a table.

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
    values: dict[str, Any] = {}
    for field in dataclasses.fields(table):  # type: ignore[arg-type]
        # The type of an empty list cannot be seen.
        default = Parameter.Type.STRING_ARRAY if field.default == () else field.default
        told = descriptor(rules[field.name], field.default)
        value = node.declare_parameter(field.name, default, told).value
        values[field.name] = tuple(filter(None, value or ())) if field.default == () else value
    found = table(**values)
    check_choices(found, rules)
    return found


def warn_of_unknown(node: Node, known: Collection[str]) -> None:
    """Warn of parameters that were set and do not exist.

    Args:
        node: The node.
        known: Those that do.
    """
    # rclpy keeps what was set and never declared to itself.
    given = getattr(node, '_parameter_overrides', {})
    for name in sorted(set(given) - set(known) - {'use_sim_time'}):
        if not name.startswith('qos_overrides.'):
            node.get_logger().warning(
                f'there is no parameter {name}, it is ignored; known are {", ".join(known)}'
            )


def check_qos_overrides(node: Node) -> None:
    """Refuse overrides of QoS that mean nothing; rclpy does so topic by topic, and names none.

    Args:
        node: The node.

    Raises:
        ValueError: Naming the parameter, and what it may be.
    """
    for name, given in sorted(getattr(node, '_parameter_overrides', {}).items()):
        policy = name.rpartition('.')[2]
        if not name.startswith('qos_overrides.'):
            continue
        if policy == 'depth':
            good = type(given.value) is int and 1 <= given.value <= _MOST_QUEUED
            allowed = f'an integer from 1 to {_MOST_QUEUED}'
        elif policy in _POLICIES:
            choices = [word.lower() for word in _POLICIES[policy].__members__ if word != 'UNKNOWN']
            good = given.value in choices
            allowed = f'one of {", ".join(choices)}'
        else:
            continue
        if not good:
            msg = f'parameter {name} must be {allowed}, got {given.value!r}'
            raise ValueError(msg)


def warn_of_unused_overrides(node: Node) -> None:
    """Warn of overrides of QoS that no topic has taken; call it once the topics exist.

    Args:
        node: The node.
    """
    given = getattr(node, '_parameter_overrides', {})
    # What a topic has taken is declared.
    taken = sorted(
        f'qos_overrides.{name}' for name in node.get_parameters_by_prefix('qos_overrides')
    )
    for name in sorted(given):
        if name.startswith('qos_overrides.') and not node.has_parameter(name):
            node.get_logger().warning(
                f'{name} is ignored: no topic takes it; those that are taken: {", ".join(taken)}'
            )


def check_choices(values: Any, rules: Mapping[str, Rule]) -> None:
    """Refuse what is not among a parameter's allowed values.

    Args:
        values: A table.
        rules: Its rules.

    Raises:
        ValueError: Naming what is allowed.
    """
    for name, rule in rules.items():
        value = getattr(values, name)
        if rule.choices and value not in rule.choices:
            msg = f'parameter {name} must be one of {", ".join(rule.choices)}, got {value!r}'
            raise ValueError(msg)


def descriptor(rule: Rule, default: Any) -> ParameterDescriptor:
    """What a node tells of a parameter."""
    told = ParameterDescriptor(
        description=rule.description,
        read_only=rule.changes == 'never',
        dynamic_typing=rule.untyped,
    )
    constraints = [f'one of {", ".join(rule.choices)}'] if rule.choices else []
    if rule.changes == 'unconfigured':
        constraints.append('changes only while the node is unconfigured')
    told.additional_constraints = '; '.join(constraints)
    if rule.span is not None and isinstance(default, float):
        low, high = rule.span
        told.floating_point_range = [
            FloatingPointRange(from_value=float(low), to_value=float(high))
        ]
    elif rule.span is not None:
        low, high = map(int, rule.span)
        told.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return told

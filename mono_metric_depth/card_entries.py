# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Entries of a model card, read from JSON that anybody may have written."""

from __future__ import annotations

import dataclasses
from typing import Any

from mono_metric_depth.printable import printable

#: Entries that name tensors, and must be what they are.
TENSORS = ('input_name', 'output_name')
#: Characters of any text.
LONGEST_TEXT = 100_000
#: Of any number, of the provenance's levels, of a list of numbers.
_LARGEST, _DEEPEST, _LONGEST_LIST = 1e12, 16, 16


class ModelCardError(ValueError):
    """A model file without a usable card."""


def printable_values(value: Any, level: int) -> Any:
    """JSON values whose texts do nothing where they are shown."""
    if level > _DEEPEST:
        msg = f'model card entry provenance is nested deeper than {_DEEPEST} levels'
        raise ModelCardError(msg)
    if isinstance(value, str):
        return printable(value, LONGEST_TEXT)
    if isinstance(value, list):
        return [printable_values(item, level + 1) for item in value]
    if isinstance(value, dict):
        return {
            printable(key, LONGEST_TEXT): printable_values(item, level + 1)
            for key, item in value.items()
        }
    return value


def shown(value: Any) -> str:
    """A value as an error quotes it."""
    return printable(repr(value), 60)


def refuse_constant(name: str) -> Any:
    """JSON has no NaN and no Infinity, Python's reader has."""
    msg = f'it holds {name}'
    raise ValueError(msg)


def read_dataclass(kind: type, values: Any, prefix: str) -> Any:
    """A dataclass from a JSON object, every entry checked."""
    if not isinstance(values, dict):
        msg = f'model card entry {prefix.rstrip(".")!r} must be an object, got {shown(values)}'
        raise ModelCardError(msg)
    known = {item.name: item for item in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        msg = f'model card has an unknown entry {prefix}{printable(unknown[0], 60)}'
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
    except ModelCardError:
        raise
    except ValueError as err:  # of a class that knows nothing of cards
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
        # Those of tensors must be what they are.
        return value if name in TENSORS else printable(value, LONGEST_TEXT)
    if kind == 'bool' and isinstance(value, bool):
        return value
    if kind.startswith('tuple[float') and isinstance(value, list) and len(value) <= _LONGEST_LIST:
        return tuple(_checked(item, 'float', name) for item in value)
    if kind.startswith('Mapping') and isinstance(value, dict):
        return value
    if type(value).__name__ == kind.partition('[')[0]:  # read already
        return value
    msg = f'model card entry {name} must be of type {kind}, got {shown(value)}'
    raise ModelCardError(msg)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Where models are: the shipped ones by name, others by path."""

from __future__ import annotations

from pathlib import Path

from mono_metric_depth.model_card import ModelCardError

_MODELS = Path(__file__).parent / 'models'
#: The model that is used where none is named.
DEFAULT_MODEL = _MODELS / 'default.onnx'
#: Those that ship with the package, by name.
SHIPPED_MODELS = ('default', 'nano')


def model_file(name: str) -> Path:
    """The file of a model.

    Args:
        name: One of :data:`SHIPPED_MODELS`, or a path; the default model if empty.

    Returns:
        Its path, which need not be there.

    Raises:
        ModelCardError: If it is in the home of a user whom there is not.
    """
    if not name:
        return DEFAULT_MODEL
    if name in SHIPPED_MODELS:
        return _MODELS / f'{name}.onnx'
    try:
        return Path(name).expanduser()
    except RuntimeError as err:
        msg = f'{name}: there is no such home directory; write the whole path of the model'
        raise ModelCardError(msg) from err

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Encoder weights from a user's file, such as ImageNet's for ResNet-18."""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mono_metric_depth.training.networks.depth_network import DepthNetwork, NetworkError

#: Also of what a compressed file unpacks to.
_MAX_BYTES = 1 << 30
_MAX_HEADER = 1 << 24
_LEAST_MATCHED = 0.9
_PREFIXES = ('module.', 'encoder.')
_DTYPES = {'F32': torch.float32, 'F16': torch.float16, 'BF16': torch.bfloat16}


@dataclass(frozen=True)
class EncoderWeights:
    """What came out of a file.

    Attributes:
        matched: How many of the encoder's tensors were loaded.
        total: How many it has.
        missing: Names of those that the file lacks.
        mismatched: Name and shapes of those that have another shape in the file.
    """

    matched: int
    total: int
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]


def load_encoder_weights(network: DepthNetwork, path: Path) -> EncoderWeights:
    """Start a network's encoder from a file; the network is unchanged on error.

    Args:
        network: The network.
        path: A state dict as ``.pt`` or ``.pth`` (by itself, or as ``state_dict`` or ``model`` of
            a checkpoint) or ``.safetensors``. ``module.`` and ``encoder.`` ahead of names are left
            out. No code of the file is run.

    Returns:
        What was loaded.

    Raises:
        NetworkError: If the file is missing, too large, damaged or of another format, holds
            numbers that are not finite, or fewer than 90 % of the encoder's tensors.
    """
    _check_file(path)
    tensors = _safetensors(path) if path.suffix == '.safetensors' else _pickled(path)
    found = {_plain(name): value for name, value in tensors.items()}
    wanted = {
        name: value
        for name, value in network.encoder.state_dict().items()
        if value.is_floating_point()
    }
    missing = tuple(name for name in wanted if name not in found)
    mismatched = tuple(
        f'{name} is {list(found[name].shape)}, not {list(value.shape)}'
        for name, value in wanted.items()
        if name in found and found[name].shape != value.shape
    )
    matched = len(wanted) - len(missing) - len(mismatched)
    if matched < _LEAST_MATCHED * len(wanted):
        msg = (
            f"{path}: only {matched} of the {len(wanted)} tensors of {network.name}'s encoder are "
            f'in it; missing: {", ".join(missing[:3]) or "none"}; of another shape: '
            f'{", ".join(mismatched[:3]) or "none"}; in the file: {", ".join(list(found)[:3])}'
        )
        raise NetworkError(msg)
    state = {
        name: found[name].to(value.dtype)
        for name, value in wanted.items()
        if name in found and found[name].shape == value.shape
    }
    for name, value in state.items():
        if not bool(value.isfinite().all()):
            msg = f'{path}: {name} holds numbers that are not finite'
            raise NetworkError(msg)
    network.encoder.load_state_dict(state, strict=False)
    return EncoderWeights(matched, len(wanted), missing, mismatched)


def _plain(name: str) -> str:
    while True:
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), '')
        if not prefix:
            return name
        name = name[len(prefix) :]


def _check_file(path: Path) -> None:
    if path.suffix not in {'.pt', '.pth', '.safetensors'}:
        msg = f'{path}: encoder weights must be a .pt, .pth or .safetensors file'
        raise NetworkError(msg)
    if not path.is_file():
        msg = f'{path}: there is no such file'
        raise NetworkError(msg)
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(entry.file_size for entry in archive.infolist()))
    if size > _MAX_BYTES:
        most = f'{_MAX_BYTES / 1e6:.0f} MB'
        msg = f'{path}: {size / 1e6:.0f} MB are more than encoder weights may take ({most})'
        raise NetworkError(msg)


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        state: Any = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as err:  # whatever a damaged or hostile pickle provokes
        reason = str(err).splitlines()[0] if str(err) else type(err).__name__
        msg = f'{path}: not a file of tensors that is safe to read ({reason})'
        raise NetworkError(msg) from err
    for key in ('state_dict', 'model'):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    tensors = (
        {str(name): value for name, value in state.items() if _is_weight(value)}
        if isinstance(state, dict)
        else {}
    )
    if not tensors:
        msg = f'{path}: holds no state dict; save one with torch.save(model.state_dict(), ...)'
        raise NetworkError(msg)
    return tensors


def _is_weight(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_complex()


def _safetensors(path: Path) -> dict[str, Tensor]:
    """Header's length (8 bytes, little-endian), header (JSON), then the tensors' bytes."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], 'little')
    try:
        if length > min(_MAX_HEADER, len(content) - 8):
            msg = f'a header of {length} bytes'
            raise ValueError(msg)
        header = json.loads(content[8 : 8 + length])
        data = bytearray(content[8 + length :])
        tensors = {}
        for name, entry in header.items():
            if name != '__metadata__' and entry['dtype'] in _DTYPES:
                begin, end = entry['data_offsets']
                dtype, shape = _DTYPES[entry['dtype']], [int(size) for size in entry['shape']]
                count = math.prod(shape)
                if not 0 <= begin <= end <= len(data) or end - begin != count * dtype.itemsize:
                    msg = f'{name} lies at {begin}..{end} of {len(data)} bytes'
                    raise ValueError(msg)
                if count:
                    tensor = torch.frombuffer(data, dtype=dtype, count=count, offset=begin)
                    tensors[name] = tensor.reshape(shape)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        msg = f'{path}: damaged, or not a safetensors file ({err})'
        raise NetworkError(msg) from err
    return tensors

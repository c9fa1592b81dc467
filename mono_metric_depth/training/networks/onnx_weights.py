# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Networks and their weights back from an exported ONNX file: training goes on from it alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

from mono_metric_depth.model_card import METADATA_KEY, card_from_json
from mono_metric_depth.onnx_metadata import read_metadata
from mono_metric_depth.training.networks import (
    NETWORKS,
    DepthNetwork,
    NetworkError,
    build_depth_network,
)

_MAX_BYTES = 1 << 30


def stored_tensors(network: DepthNetwork) -> dict[str, Tensor]:
    """The state of a network that makes its depth: all but batch normalisation's step counters."""
    return {
        name: value for name, value in network.state_dict().items() if value.is_floating_point()
    }


def load_network(path: Path, scales: int = 1) -> DepthNetwork:
    """The network that an ONNX file was exported from, with its weights.

    Args:
        path: The file.
        scales: At how many resolutions training asks for depth; heads that the file lacks start
            anew.

    Returns:
        The network named in the card's provenance (``network``) or, without such an entry, the one
        whose weights fit.

    Raises:
        NetworkError: If the file holds no network of this package.
        OnnxFileError: If the file is missing, damaged or no ONNX model.
        ModelCardError: If its card is damaged.
    """
    weights = _read_weights(path)
    network = build_depth_network(network_name(path, weights), scales)
    load_weights(network, path, weights)
    return network


def network_name(path: Path, weights: dict[str, TensorProto] | None = None) -> str:
    """Which network an ONNX file holds; see :func:`load_network`."""
    named = _named(path)
    if named is not None:
        return named
    weights = _read_weights(path) if weights is None else weights
    for name in NETWORKS:
        network = build_depth_network(name)
        if not any(_differences(network, weights)):
            return name
    default = build_depth_network('default')
    msg = f'{path}: {_reason(default, weights)}; training goes on from {", ".join(NETWORKS)} only'
    raise NetworkError(msg)


def load_weights(
    network: DepthNetwork, path: Path, weights: dict[str, TensorProto] | None = None
) -> list[str]:
    """Give a network the weights of an ONNX file, bit for bit; unchanged on error.

    Args:
        network: The network.
        path: What :func:`~mono_metric_depth.training.export.export_onnx` wrote from one of the
            same name.
        weights: The file's, if they have been read.

    Returns:
        Names of what the file lacks and is left as it was: heads of coarser scales than it was
        trained with.

    Raises:
        NetworkError: If the file holds another network, or none of this package.
        OnnxFileError: If the file is missing, damaged or no ONNX model.
        ModelCardError: If its card is damaged.
    """
    weights = _read_weights(path) if weights is None else weights
    named = _named(path)
    if named not in {None, network.name}:
        msg = f'{path}: holds the network {named!r}, not {network.name!r}'
        raise NetworkError(msg)
    if any(_differences(network, weights)):
        msg = f'{path}: cannot start from it: {_reason(network, weights)}'
        raise NetworkError(msg)
    state = {
        name: torch.from_numpy(np.array(numpy_helper.to_array(weights[name])))
        for name in stored_tensors(network)
        if name in weights
    }
    network.load_state_dict(state, strict=False)
    return [name for name in stored_tensors(network) if name not in state]


def _named(path: Path) -> str | None:
    metadata = read_metadata(path)
    if METADATA_KEY not in metadata:
        return None
    name = card_from_json(metadata[METADATA_KEY]).provenance.get('network')
    if name is not None and name not in NETWORKS:
        msg = f'{path}: holds the network {name!r}; this version has {", ".join(NETWORKS)} only'
        raise NetworkError(msg)
    return name


def _read_weights(path: Path) -> dict[str, TensorProto]:
    read_metadata(path)  # names what is missing, truncated or no ONNX model
    size = path.stat().st_size
    if size > _MAX_BYTES:
        msg = f'{path}: {size / 1e6:.0f} MB is more than any network of this package has'
        raise NetworkError(msg)
    try:
        model = onnx.load_model(path, load_external_data=False)
    except Exception as err:  # protobuf raises classes of its own
        msg = f'{path}: the network in it is damaged ({err}); copy or export it again'
        raise NetworkError(msg) from err
    return {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
        and tensor.data_location != TensorProto.EXTERNAL
        # A damaged length would only be found while unpacking.
        and len(tensor.raw_data) == 4 * int(np.prod(tensor.dims, dtype=np.int64))
    }


def _differences(
    network: DepthNetwork, weights: dict[str, TensorProto]
) -> tuple[list[str], list[str]]:
    """Names of tensors that are missing, and what is to say of those with another shape."""
    missing, different = [], []
    for name, value in stored_tensors(network).items():
        if name not in weights:
            # A file that was trained with fewer scales has fewer heads.
            if not name.startswith('decoder.heads.') or name.startswith('decoder.heads.0.'):
                missing.append(name)
        elif tuple(weights[name].dims) != tuple(value.shape):
            different.append(f'{name} is {list(weights[name].dims)}, not {list(value.shape)}')
    return missing, different


def _reason(network: DepthNetwork, weights: dict[str, TensorProto]) -> str:
    missing, different = _differences(network, weights)
    total = len(stored_tensors(network))
    if len(missing) == total or not any(name.endswith('.running_mean') for name in weights):
        return (
            'it holds no network of this package, or one that an early version exported, with '
            'batch normalisation folded in and what training needs lost: train it anew'
        )
    return (
        f'its weights are not those of the network {network.name!r}: {len(missing)} of {total} '
        f'tensors are missing ({", ".join(missing[:3])}), {len(different)} have another shape '
        f'({"; ".join(different[:3])})'
    )

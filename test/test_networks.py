# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Depth networks, their weights, and their way into ONNX and back."""

from __future__ import annotations

import dataclasses
import json
import runpy
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from random_networks import CARD, trained
from samples import random_images
from torch import nn

from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.model_card import write_card
from mono_metric_depth.onnx_metadata import OnnxFileError
from mono_metric_depth.training.networks import (
    MAX_DEPTH,
    MIN_DEPTH,
    NETWORKS,
    DepthNetwork,
    NetworkError,
    build_depth_network,
    encoder_weights,
)
from mono_metric_depth.training.networks.encoder_weights import load_encoder_weights
from mono_metric_depth.training.networks.onnx_weights import (
    load_network,
    load_weights,
    network_name,
    stored_tensors,
)
from mono_metric_depth.training.networks.resnet18 import StridedPointwise

ROOT = Path(__file__).parents[1]


def same(one: DepthNetwork, other: DepthNetwork) -> bool:
    ours, theirs = stored_tensors(one), stored_tensors(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.parametrize('name', NETWORKS)
def test_an_exported_network_takes_any_number_of_images(
    name: str, exported: dict[str, Path]
) -> None:
    engine = OnnxRuntimeEngine(exported[name], CARD, batch=3, threads=1)
    assert len(engine.input) == 3
    engine.input[:] = random_images(engine.input.shape)
    engine.run(3)
    together = engine.output.copy()
    engine.input[0] = engine.input[2]
    engine.run(1)
    np.testing.assert_allclose(engine.output[0], together[2], rtol=1e-3)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_network_gives_depth_at_every_scale_and_starts_at_mid_range(name: str) -> None:
    torch.manual_seed(0)
    network = build_depth_network(name, 4).eval()
    depths = network(torch.randn(2, 3, 64, 96))
    assert [tuple(depth.shape) for depth in depths] == [
        (2, 1, 64 >> scale, 96 >> scale) for scale in range(4)
    ]
    for depth in depths:
        assert depth.dtype == torch.float32
        assert (depth > MIN_DEPTH).all()
        assert (depth < MAX_DEPTH).all()
        assert 3 < float(depth.detach().median()) < 8
    assert network.scales == 4


def test_networks_are_as_large_as_they_say() -> None:
    def parameters(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert parameters(build_depth_network('nano')) < 1.5e6
    assert 1.5e6 < parameters(build_depth_network('default')) < 4e6
    # Published: 14 842 236 with ImageNet's classifier of 512 x 1000 + 1000, unused for depth.
    assert parameters(build_depth_network('resnet18', 4)) == 14_842_236 - 513_000


def test_an_unknown_network_is_refused_with_those_there_are() -> None:
    with pytest.raises(NetworkError, match=r"one of default, nano, resnet18, got 'resnet50'"):
        build_depth_network('resnet50')
    with pytest.raises(ValueError, match=r'scales must be within 1\.\.4, got 5'):
        build_depth_network('nano', 5)


@pytest.mark.parametrize('size', [(8, 12), (7, 9)])
def test_a_strided_pointwise_convolution_has_the_gradients_of_torch_s(
    size: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    ours = StridedPointwise(6, 10, 2)
    plain = nn.Conv2d(6, 10, 1, 2, bias=False)
    plain.load_state_dict(ours.state_dict())
    image = torch.randn(2, 6, *size)
    here = image.clone().to(memory_format=torch.channels_last).requires_grad_()
    there = image.clone().requires_grad_()
    y, expected = ours.to(memory_format=torch.channels_last)(here), plain(there)
    torch.testing.assert_close(y, expected)
    weights = torch.randn_like(expected)
    torch.autograd.backward((y * weights).sum())
    torch.autograd.backward((expected * weights).sum())
    torch.testing.assert_close(here.grad, there.grad)
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), expected)


@pytest.mark.parametrize('name', NETWORKS)
def test_an_exported_network_comes_back_bit_for_bit(name: str, exported: dict[str, Path]) -> None:
    path = exported[name]
    assert network_name(path) == name
    assert same(load_network(path, 3), trained(name, 3))
    # Heads that the file lacks are said, those that it has too many are left.
    network = build_depth_network(name, 4)
    assert load_weights(network, path) == ['decoder.heads.3.weight', 'decoder.heads.3.bias']
    whole, one = stored_tensors(trained(name, 3)), stored_tensors(load_network(path, 1))
    assert all(torch.equal(value, whole[tensor]) for tensor, value in one.items())


@pytest.mark.parametrize('name', NETWORKS)
def test_an_exported_graph_is_plain_and_names_no_file_of_this_machine(
    name: str, exported: dict[str, Path]
) -> None:
    model = onnx.load(exported[name])
    onnx.checker.check_model(model, full_check=True)
    operations = {node.op_type for node in model.graph.node}
    assert operations <= {
        *('Conv', 'BatchNormalization', 'Relu', 'LeakyRelu', 'Elu', 'Sigmoid', 'Pad', 'Resize'),
        *('AveragePool', 'MaxPool', 'Concat', 'Add', 'Mul', 'Reciprocal', 'Constant'),
    }
    assert str(ROOT).encode() not in exported[name].read_bytes()


def test_a_file_of_another_network_is_refused_and_nothing_changes(
    exported: dict[str, Path],
) -> None:
    network = trained('default', 3)
    with pytest.raises(NetworkError, match="holds the network 'nano', not 'default'"):
        load_weights(network, exported['nano'])
    with pytest.raises(NetworkError, match=r"not those of the network 'default'.*is \["):
        load_weights(network, unnamed(exported['nano']))
    with pytest.raises(NetworkError, match=r'135 of 151 tensors are missing'):
        load_weights(network, exported['resnet18'])
    assert same(network, trained('default', 3))


def unnamed(path: Path) -> Path:
    copy = path.with_name('unnamed.onnx')
    copy.write_bytes(path.read_bytes())
    write_card(copy, CARD)
    return copy


def test_a_card_that_names_an_unknown_network_is_refused(
    exported: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / 'later.onnx'
    path.write_bytes(exported['nano'].read_bytes())
    write_card(path, dataclasses.replace(CARD, provenance={'network': 'giga'}))
    with pytest.raises(NetworkError, match="'giga'; this version has default, nano"):
        load_network(path)


def test_weights_that_are_foreign_folded_damaged_or_elsewhere_are_refused(
    exported: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / 'model.onnx'
    weight = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), 'w')
    tensor = helper.make_tensor_value_info('x', onnx.TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph(
        [helper.make_node('Conv', ['x', 'w'], ['y'])], 'foreign', [tensor], [], [weight]
    )
    onnx.save(helper.make_model(graph), path)
    with pytest.raises(NetworkError, match='no network of this package.*training goes on from'):
        load_network(path)

    model = onnx.load(exported['default'])
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    # A shape that promises more than there is.
    tensors['encoder.0.0.first.weight'].dims[0] = 1 << 30
    onnx.save(model, path)
    with pytest.raises(NetworkError, match=r'1 of \d+ tensors are missing \(encoder\.0\.0\.first'):
        load_weights(build_depth_network('default'), path)

    model = onnx.load(exported['default'])
    kept = [t for t in model.graph.initializer if 'norm' not in t.name and 'running' not in t.name]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, path)
    with pytest.raises(NetworkError, match='folded in and what training needs lost'):
        load_weights(build_depth_network('default'), path)

    path.write_bytes(exported['default'].read_bytes()[:100_000])
    with pytest.raises(OnnxFileError, match='truncated'):
        load_network(path)
    with pytest.raises(OnnxFileError, match='No such file'):
        load_network(tmp_path / 'nowhere.onnx')


IMAGENET = {
    'layer3.1.bn2.weight': (256,),
    'layer4.0.downsample.0.weight': (512, 256, 1, 1),
    'layer4.0.downsample.1.running_var': (512,),
    'fc.weight': (1000, 512),
}


def imagenet_like(seed: int = 5) -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes of torchvision's resnet18."""
    torch.manual_seed(seed)
    state = {
        name: torch.rand_like(value.float())
        for name, value in build_depth_network('resnet18').encoder.state_dict().items()
    }
    state |= {'fc.weight': torch.zeros(1000, 512), 'fc.bias': torch.zeros(1000)}
    for name, shape in IMAGENET.items():
        assert tuple(state[name].shape) == shape
    return state


def safetensors(state: dict[str, torch.Tensor]) -> bytes:
    header, data = {}, b''
    for name, value in state.items():
        raw = value.numpy().tobytes()
        header[name] = {
            'dtype': 'F32',
            'shape': list(value.shape),
            'data_offsets': [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps({'__metadata__': {'format': 'pt'}, **header}).encode()
    return len(text).to_bytes(8, 'little') + text + data


@pytest.mark.parametrize('form', ['plain.pth', 'monodepth2.pth', 'wrapped.pt', 'a.safetensors'])
def test_imagenet_weights_start_the_resnet_encoder(form: str, tmp_path: Path) -> None:
    state, path = imagenet_like(), tmp_path / form
    if form == 'plain.pth':
        torch.save(state, path)
    elif form == 'monodepth2.pth':
        # Its files are of torch's old format, and hold more than tensors.
        torch.save(
            {**{f'encoder.{name}': value for name, value in state.items()}, 'height': 192},
            path,
            _use_new_zipfile_serialization=False,
        )
    elif form == 'wrapped.pt':
        inner = {f'module.encoder.{name}': value.half() for name, value in state.items()}
        torch.save({'epoch': 3, 'state_dict': inner}, path)
    else:
        path.write_bytes(safetensors(state))
    network = build_depth_network('resnet18')
    result = load_encoder_weights(network, path)
    assert (result.matched, result.total, result.missing, result.mismatched) == (100, 100, (), ())
    for name, value in network.encoder.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, state[name], rtol=1e-3, atol=1e-3)


def test_a_few_tensors_may_be_missing_or_of_another_shape_and_are_named(tmp_path: Path) -> None:
    state, path = imagenet_like(), tmp_path / 'pairs.pth'
    state['conv1.weight'] = torch.zeros(64, 6, 7, 7)
    del state['bn1.weight']
    torch.save(state, path)
    result = load_encoder_weights(build_depth_network('resnet18'), path)
    assert result.matched == 98
    assert result.missing == ('bn1.weight',)
    assert result.mismatched == ('conv1.weight is [64, 6, 7, 7], not [64, 3, 7, 7]',)


class _Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path('hostile_was_here'),)


def test_encoder_weights_that_cannot_be_used_leave_the_network_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network = trained('nano', 1)

    def refused(path: Path, message: str) -> None:
        with pytest.raises(NetworkError, match=message):
            load_encoder_weights(network, path)
        assert same(network, trained('nano', 1))

    path = tmp_path / 'weights.pth'
    refused(path, 'no such file')
    refused(tmp_path / 'weights.bin', r'must be a \.pt, \.pth or \.safetensors file')
    torch.save(imagenet_like(), path)
    refused(
        path, r"only 0 of the \d+ tensors of nano's encoder.*0\.0\.first\.weight.*conv1\.weight"
    )
    torch.save({'weights': _Hostile()}, path)
    refused(path, 'not a file of tensors that is safe to read')
    assert not (tmp_path / 'hostile_was_here').exists()
    torch.save([1, 2], path)
    refused(path, 'holds no state dict')
    path.write_bytes(b'PK\x03\x04 and then nothing')
    refused(path, 'not a file of tensors')
    encoder = network.encoder.state_dict()
    torch.save({**encoder, '0.0.norm1.bias': torch.full((16,), float('nan'))}, path)
    refused(path, r'0\.0\.norm1\.bias holds numbers that are not finite')
    with (
        zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive,
        archive.open('archive/data.pkl', 'w') as entry,
    ):
        for _ in range(30):
            entry.write(bytes(1 << 20))
    assert path.stat().st_size < 1e6
    monkeypatch.setattr(encoder_weights, '_MAX_BYTES', 20_000_000)
    refused(path, r'31 MB are more than encoder weights may take')

    path = tmp_path / 'weights.safetensors'
    whole = safetensors({name: value.float() for name, value in encoder.items()})
    path.write_bytes(whole[:-4])
    refused(path, 'damaged, or not a safetensors file')
    path.write_bytes((1 << 40).to_bytes(8, 'little') + whole[8:])
    refused(path, 'a header of 1099511627776 bytes')
    path.write_bytes(whole.replace(b'"data_offsets"', b'"data_offzets"'))
    refused(path, 'damaged')


def test_the_table_of_networks_agrees_with_the_code() -> None:
    benchmark = runpy.run_path(str(ROOT / 'benchmark' / 'networks.py'))
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in benchmark['TABLE'].read_text().splitlines()
        if line.startswith('| `')
    ]
    assert [row[0] for row in rows] == [f'`{name}`' for name in NETWORKS]
    for row, name in zip(rows, NETWORKS, strict=True):
        assert row[1:4] == benchmark['counts'](name)


def test_macs_are_those_that_are_published() -> None:
    """Monodepth2 is published with 8.0 GMACs at 640x192."""
    benchmark = runpy.run_path(str(ROOT / 'benchmark' / 'networks.py'))
    assert benchmark['macs']('resnet18', (640, 192)) == pytest.approx(8.0e9, rel=0.02)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Real engines, built by TensorRT for RTX without a GPU, and the cache that keeps them."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import make_card, random_images, write_model
from tensorrt_api import require_rtx

pytest.importorskip('onnx')
pytest.importorskip('cuda.bindings.runtime', reason="pip install '.[tensorrt]'")

from mono_metric_depth.commands import build_engine
from mono_metric_depth.engines import EngineError, built_engine, tensorrt_bindings
from mono_metric_depth.engines.built_engine import stored_engine
from mono_metric_depth.engines.built_network import built_network
from mono_metric_depth.engines.cuda import Gpu
from mono_metric_depth.engines.engine_cache import (
    EngineCache,
    StoredEngine,
    default_cache,
    parity_subject,
)
from mono_metric_depth.engines.engine_request import EngineRequest
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
from mono_metric_depth.engines.parity import Parity, measure_parity
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.engines.precision import conversion_of, convert_model
from mono_metric_depth.engines.tensorrt_bindings import Bindings, find_bindings
from mono_metric_depth.engines.tensorrt_plan import (
    PlanOptions,
    build_plan,
    buildable_capabilities,
)
from mono_metric_depth.model_card import (
    ModelCard,
    ModelCardError,
    Normalisation,
    read_card,
    write_card,
)
from mono_metric_depth.model_files import DEFAULT_MODEL

ORIN = Gpu('Orin', '8.7', True, 16, 64, '12.6', '12.6')
Made = dict[tuple[str, str], Path]


@pytest.fixture(scope='module')
def rtx() -> Bindings:
    require_rtx()
    bindings = find_bindings()
    if not bindings.rtx:
        pytest.skip(f'{bindings} is installed here and needs its GPU to build')
    return bindings


@pytest.fixture(scope='module')
def models(tmp_path_factory: pytest.TempPathFactory, exported: dict[str, Path]) -> Made:
    """Every network in every precision; the default one is that of the package, trained."""
    folder = tmp_path_factory.mktemp('models')
    made = {}
    for name, source in {**exported, 'default': DEFAULT_MODEL}.items():
        card = read_card(source)
        made[name, 'fp32'] = source
        for precision, frames in (('fp16', None), ('int8', parity_frames(card)[:4])):
            made[name, precision] = folder / f'{name}.{precision}.onnx'
            convert_model(source, made[name, precision], card, precision, frames)
    return made


@pytest.mark.parametrize(
    ('name', 'precision', 'capability'),
    [
        *(
            ('default', precision, capability)
            for precision in ('fp32', 'fp16')
            for capability in ('7.5', '8.6', '8.9', '12.0')
        ),
        *(
            (name, precision, capability)
            for name in ('nano', 'resnet18')
            for precision in ('fp32', 'fp16')
            for capability in ('7.5', '12.0')
        ),
        ('default', 'int8', '8.9'),
        ('nano', 'int8', '7.5'),
        ('resnet18', 'int8', '12.0'),
    ],
)
def test_networks_are_built_into_real_engines(
    rtx: Bindings, models: Made, name: str, precision: str, capability: str
) -> None:
    assert capability in buildable_capabilities(rtx)
    path = models[name, precision]
    card = read_card(models[name, 'fp32'])
    network = built_network(name, path.read_bytes(), card, (1, 4))
    plan = build_plan(rtx, network, PlanOptions((1, 4), capability), progress=False)
    assert rtx.trt.Runtime(rtx.logger()).engine_header_size < len(plan.code)
    # The weights are all there, in their own precision.
    assert len(plan.code) > 0.8 * (path.stat().st_size if precision != 'fp32' else 4e6)


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
@pytest.mark.parametrize('name', ['default', 'nano', 'resnet18'])
def test_what_is_converted_gives_the_same_depth_and_keeps_its_card(
    models: Made, name: str, precision: str
) -> None:
    path, source = models[name, precision], models[name, 'fp32']
    card = read_card(source)
    with pytest.raises(ModelCardError, match='has no card'):
        read_card(path)  # it would go out of date
    assert conversion_of(path)['precision'] == precision
    assert conversion_of(source) == {}
    assert path.stat().st_size < 0.6 * source.stat().st_size
    engine = OnnxRuntimeEngine(path, card, threads=1)  # float32 in and out, or it refuses
    parity = measure_parity(engine, source, card, parity_frames(card)[4:7], precision)
    if name == 'default':  # the others have random weights
        assert parity.passed, parity.findings
    if precision == 'fp16':
        assert parity.median_error < 0.0005
    assert abs(parity.scale_ratio - 1) < (0.003 if precision == 'fp16' else 0.05)


def test_the_head_stays_in_float32(models: Made) -> None:
    import onnx
    from onnx import TensorProto

    model = onnx.load(models['default', 'fp16'])
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == 'Conv']
    types = [tensors[node.input[1]].data_type for node in convolutions]
    assert types == [TensorProto.FLOAT16] * 29 + [TensorProto.FLOAT]
    # From there on nothing is rounded to half a float.
    nodes = list(model.graph.node)
    head = nodes[nodes.index(convolutions[-1]) :]
    assert [node.op_type for node in head] == [
        *('Conv', 'Sigmoid', 'Mul', 'Add', 'Reciprocal', 'Mul')
    ]
    assert sum(node.op_type == 'Cast' for node in nodes) == 2
    model = onnx.load(models['default', 'int8'])
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    floats = {
        node.name
        for node in model.graph.node
        if node.op_type == 'Conv' and makers.get(node.input[1]) != 'DequantizeLinear'
    }
    # Two see the image: the first one, and the one that is carried past it.
    assert floats == {'node_conv2d', 'node_conv2d_2', convolutions[-1].name}
    # Symmetric, as TensorRT asks.
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    zeros = [
        onnx.numpy_helper.to_array(tensors[node.input[2]])
        for node in model.graph.node
        if node.op_type == 'QuantizeLinear'
    ]
    assert zeros
    assert all((zero == 0).all() for zero in zeros)


def test_a_network_that_cannot_be_read_or_built_is_named(rtx: Bindings, tmp_path: Path) -> None:
    options = PlanOptions((1, 1), '8.9')
    content = write_model(tmp_path / 'tiny.onnx').read_bytes()
    with pytest.raises(EngineError, match='tensorrt_rtx .* cannot read the network: .*parse'):
        build_plan(rtx, content[: len(content) // 2], options, progress=False)
    with pytest.raises(EngineError, match='tiny: the network cannot be read'):
        built_network('tiny', content[: len(content) // 2], make_card(), (1, 1))
    content = built_network('tiny', content, make_card(), (1, 1))
    with pytest.raises(EngineError, match=r'compute capability 7\.5, .*, not 8\.7'):
        build_plan(rtx, content, PlanOptions((1, 1), '8.7'), progress=False)


def test_an_interrupt_stops_a_build(rtx: Bindings, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bar:
        total = 0

        def __init__(self, **options: Any) -> None: ...
        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None: ...
        def set_postfix_str(self, text: str, refresh: bool) -> None: ...
        def update(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr('mono_metric_depth.engines.tensorrt_plan.tqdm', Bar)
    network = built_network('x', DEFAULT_MODEL.read_bytes(), read_card(DEFAULT_MODEL), (1, 1))
    with pytest.raises(KeyboardInterrupt):
        build_plan(rtx, network, PlanOptions((1, 1), '8.9'))


@pytest.mark.parametrize('callback', ['log', 'phase_start', 'step_complete', 'phase_finish'])
def test_ctrl_c_in_whatever_tensorrt_calls_ends_a_build(rtx: Bindings, callback: str) -> None:
    """Python raises it there, and TensorRT drops what is raised there."""
    network = built_network('x', DEFAULT_MODEL.read_bytes(), read_card(DEFAULT_MODEL), (1, 1))
    calls = []

    def interrupt(frame: Any, event: str, argument: object) -> None:
        if event == 'call' and frame.f_code.co_name == callback:
            calls.append(callback)
            if len(calls) == 3:
                signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    sys.setprofile(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            build_plan(rtx, network, PlanOptions((1, 1), '8.9'), progress=False)
    finally:
        sys.setprofile(None)
    assert len(calls) >= 3
    assert signal.getsignal(signal.SIGINT) is before


def test_what_fails_as_tensorrt_logs_ends_a_build(
    rtx: Bindings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(tensorrt_bindings._LOG, 'log', full)
    network = built_network('x', DEFAULT_MODEL.read_bytes(), read_card(DEFAULT_MODEL), (1, 1))
    with pytest.raises(OSError, match='No space'):
        build_plan(rtx, network, PlanOptions((1, 1), '8.9'), progress=False)


# The cache. A plan stands for an engine: what is in it does not matter here.


@dataclasses.dataclass
class Robot:
    """A machine that wants an engine, and counts how often it has to build one."""

    folder: Path
    model: Path
    values: dict[str, Any]
    builds: int = 0
    said: list[str] = dataclasses.field(default_factory=list)

    def request(self, **changes: Any) -> EngineRequest:
        values = {**self.values, **changes}
        return EngineRequest(
            values.pop('model', self.model),
            values.pop('card'),
            folder=self.folder,
            say=self.said.append,
            progress=False,
            **values,
        )

    def engine(self, **changes: Any) -> tuple[Path, StoredEngine]:
        cache, key, stored = stored_engine(self.request(**changes))
        return cache.path(key), stored


@pytest.fixture
def robot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rtx: Bindings) -> Robot:
    model = write_model(tmp_path / 'tiny.onnx')
    write_card(model, make_card())
    values = {
        'card': make_card(),
        'bindings': rtx,
        'compute_capability': '8.9',
        'precision': 'fp32',
    }
    robot = Robot(tmp_path / 'cache', model, values)

    def counted(*arguments: Any, **options: Any) -> Any:
        robot.builds += 1
        return build_plan(*arguments, **options)

    monkeypatch.setattr(built_engine, 'build_plan', counted)
    return robot


def test_an_engine_is_built_once_and_then_found(robot: Robot) -> None:
    path, first = robot.engine()
    assert any('none was built yet' in line for line in robot.said)
    assert any(f'built it in {first.seconds:.1f} s' in line for line in robot.said)
    robot.said.clear()
    again, second = robot.engine()
    assert (path, first.code) == (again, second.code)
    assert robot.builds == 1
    assert robot.said == []
    assert path.read_bytes() == first.code
    assert path.stat().st_mode & 0o077 == 0
    assert not list(robot.folder.glob('*.part'))


def _other_normalisation(robot: Robot) -> dict[str, Any]:
    return {'card': make_card(normalisation=Normalisation('bgr'))}


def _other_weights(robot: Robot) -> dict[str, Any]:
    write_card(write_model(robot.model, weights=(0.3, 0.4, 0.3)), make_card())
    return {}


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (_other_normalisation, "normalisation is .*'bgr'"),
        (_other_weights, 'network_sha256 differs'),
        (
            lambda robot: {
                'bindings': dataclasses.replace(robot.values['bindings'], version='1.8')
            },
            r'runtime_version is 1\.8, was 1\.7',
        ),
        (lambda robot: {'compute_capability': '8.6'}, r'compute_capability is 8\.6, was 8\.9'),
        (lambda robot: {'batch': (1, 3)}, r'batch is \[1, 3\], was \[1, 1\]'),
        (lambda robot: {'batch': (2, 2)}, r'batch is \[2, 2\], was \[1, 1\]'),
        (lambda robot: {'precision': 'fp16'}, 'precision is fp16, was fp32'),
        (lambda robot: {'workspace': 1 << 28}, 'workspace is'),
    ],
)
def test_whatever_invalidates_an_engine_has_it_built_again(
    robot: Robot, change: Callable[[Robot], dict[str, Any]], words: str
) -> None:
    import re

    before, _ = robot.engine()
    robot.said.clear()
    changes = change(robot)
    after, _ = robot.engine(**changes)
    assert after != before
    assert robot.builds == 2
    assert re.search(words, ' '.join(robot.said)), robot.said
    robot.engine(**changes)
    assert robot.builds == 2


def test_every_field_of_the_key_names_another_engine(robot: Robot) -> None:
    """A GPU's name and another runtime cannot be had here: the key alone shows them."""
    cache, key, _ = stored_engine(robot.request())
    digests = {key.digest()}
    for field in dataclasses.fields(key):
        value = getattr(key, field.name)
        other: Any = f'{value}x' if isinstance(value, str) else None
        other = value + 1 if isinstance(value, int) else other
        other = (*value[:-1], value[-1] + 1) if isinstance(value, tuple) else other
        changed = dataclasses.replace(key, **{field.name: other})
        digests.add(changed.digest())
        assert cache.find(changed)[0] is None
    assert len(digests) == len(dataclasses.fields(key)) + 1


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _foreign(path: Path) -> None:
    path.write_bytes(b'\x7fELF' + bytes(path.stat().st_size - 4))


def _gone(path: Path) -> None:
    path.unlink()


def _no_description(path: Path) -> None:
    path.with_suffix('.json').unlink()


def _description(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        file = path.with_suffix('.json')
        found = json.loads(file.read_text())
        change(found)
        file.write_text(json.dumps(found))

    return damage


@pytest.mark.parametrize(
    ('damage', 'words'),
    [
        (_truncated, 'bytes of'),
        (_one_bit, 'is not the engine that was built: its SHA-256 differs'),
        (_foreign, 'its SHA-256 differs'),
        (_gone, 'cannot be read|No such file'),
        (_no_description, 'none was built yet'),
        (lambda path: path.with_suffix('.json').write_text('{"key": '), 'is damaged'),
        (lambda path: path.with_suffix('.json').write_bytes(b'\xff' * 99), 'is damaged'),
        (lambda path: path.with_suffix('.json').write_text('[]'), 'is damaged'),
        (
            lambda path: path.with_suffix('.json').write_text('[' * (1 << 21)),
            'is damaged',
        ),
        (_description(lambda found: found.pop('sha256')), 'is damaged'),
        (_description(lambda found: found.update(parity={'a': 1})), 'is damaged'),
        (_description(lambda found: found['key'].update(recipe=0)), 'for something else'),
        (_description(lambda found: found['key'].update(gpu='Orin')), 'for something else'),
    ],
)
def test_an_engine_that_is_not_the_one_built_is_refused_and_built_again(
    robot: Robot, damage: Callable[[Path], Any], words: str
) -> None:
    import re

    path, _ = robot.engine()
    damage(path)
    robot.said.clear()
    again, stored = robot.engine()
    assert again == path
    assert robot.builds == 2
    assert re.search(words, robot.said[0]), robot.said
    assert path.read_bytes() == stored.code
    robot.engine()
    assert robot.builds == 2


def test_an_engine_of_another_key_put_in_its_place_is_found_out(robot: Robot) -> None:
    path, _ = robot.engine()
    other, _ = robot.engine(batch=(1, 2))
    path.write_bytes(other.read_bytes())
    path.with_suffix('.json').write_text(other.with_suffix('.json').read_text())
    robot.said.clear()
    robot.engine()
    assert robot.builds == 3
    assert 'was built for something else' in robot.said[0]


def test_what_others_may_write_is_not_run(robot: Robot) -> None:
    path, _ = robot.engine()
    robot.folder.chmod(0o777)
    with pytest.raises(EngineError, match='can be written by others.*chmod go-w'):
        robot.engine()
    robot.folder.chmod(0o700)
    for builds, target, mode in ((2, path, 0o666), (3, path.with_suffix('.json'), 0o620)):
        target.chmod(mode)
        robot.engine()
        assert robot.builds == builds
        assert f'others may write to it (mode {mode:o})' in robot.said[-2]
        assert target.stat().st_mode & 0o077 == 0
    if os.getuid() == 0:
        os.chown(path, 12345, 12345)
        with pytest.raises(EngineError, match='belongs to another user'):
            robot.engine()
    assert robot.builds == 3


def test_a_cache_that_cannot_be_made_is_named(robot: Robot, tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    robot.folder = tmp_path / 'file' / 'cache'
    with pytest.raises(EngineError, match='no engine can be kept there: .*; set XDG_CACHE_HOME'):
        robot.engine()


def test_a_result_is_kept_beside_the_engine_and_a_refused_one_is_not_built_again(
    robot: Robot,
) -> None:
    cache, key, stored = stored_engine(robot.request())
    good = Parity('fp32', 8, 24, 1.0001, *([0.001] * 10), 0)
    assert stored.code is not None
    stored = dataclasses.replace(stored, subject=parity_subject(key, stored.code, ORIN))
    cache.store(key, dataclasses.replace(stored, parity=good))
    found, _ = cache.find(key, ORIN)
    assert found is not None
    assert found.parity == good
    assert 'scale_ratio' in cache.path(key).with_suffix('.json').read_text()
    bad = dataclasses.replace(good, scale_ratio=float('nan'), findings=('depth scaled',))
    cache.store(key, dataclasses.replace(stored, code=None, parity=bad))
    assert not cache.path(key).exists()
    refused, _ = cache.find(key, ORIN)
    assert refused is not None
    assert refused.code is None
    assert refused.parity is not None
    assert refused.parity.findings == ('depth scaled',)
    assert robot.builds == 1


def test_the_cache_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert default_cache() == tmp_path / 'mono_metric_depth' / 'engines'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert default_cache() == tmp_path / '.cache' / 'mono_metric_depth' / 'engines'
    assert EngineCache(tmp_path / 'c', 'a/../b c').file('x').parent == tmp_path / 'c'


def test_two_that_want_an_engine_at_once_build_it_once(robot: Robot) -> None:
    code = (
        'import sys; from pathlib import Path\n'
        'from mono_metric_depth.commands.build_engine import main\n'
        f'main([{str(robot.model)!r}, "--precision", "fp32", "--compute-capability", "8.9", '
        f'"--cache", {str(robot.folder)!r}])'
    )
    both = [
        subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    output = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum('building the' in text for text in output) == 1


# Precision.


def test_int8_asks_for_images_once(robot: Robot) -> None:
    frames = random_images((4, 24, 32, 4))
    model = write_two_convolutions(robot.model)
    with pytest.raises(EngineError, match='calibrated on images first: build_engine .*tiny.onnx'):
        robot.engine(precision='int8')
    path, _ = robot.engine(precision='int8', calibration=frames)
    assert robot.engine(precision='int8')[0] == path
    assert robot.builds == 1
    # Other images, another network in 8 bits, another engine.
    assert robot.engine(precision='int8', calibration=frames // 2)[0] != path
    # Another model is not run with the ranges of this one.
    write_two_convolutions(model, weight=0.2)
    with pytest.raises(EngineError, match='calibrated on images first'):
        robot.engine(precision='int8')


def write_two_convolutions(path: Path, weight: float = 0.1) -> Path:
    """A model with a convolution in its middle."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernels = {'a': (8, 3), 'b': (8, 8), 'c': (1, 8)}
    graph = helper.make_graph(
        [
            helper.make_node('Conv', ['image', 'a'], ['x']),
            helper.make_node('Conv', ['x', 'b'], ['y']),
            helper.make_node('Conv', ['y', 'c'], ['depth']),
        ],
        'three',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, ['n', 3, 24, 32])],
        [helper.make_tensor_value_info('depth', TensorProto.FLOAT, ['n', 1, 24, 32])],
        [
            numpy_helper.from_array(np.full((*size, 1, 1), weight, np.float32), name)
            for name, size in kernels.items()
        ],
    )
    opset = [helper.make_opsetid('', 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    write_card(path, make_card())
    return path


def test_a_converted_file_that_is_damaged_is_made_again(robot: Robot) -> None:
    before, _ = robot.engine(precision='fp16')
    (converted,) = robot.folder.glob('*fp16.onnx')
    good = converted.read_bytes()
    converted.write_bytes(good[: len(good) // 2])
    assert robot.engine(precision='fp16')[0] == before
    assert converted.read_bytes() == good


def test_what_cannot_be_converted_is_named(tmp_path: Path) -> None:
    path = write_model(tmp_path / 'tiny.onnx')
    write_card(path, make_card())
    card: ModelCard = make_card()
    with pytest.raises(ValueError, match='must be fp16, or int8 with frames'):
        convert_model(path, tmp_path / 'x.onnx', card, 'int8')
    damaged = tmp_path / 'damaged.onnx'
    damaged.write_bytes(b'\x08\x08\x3a\x00')
    with pytest.raises(EngineError, match=r'damaged\.onnx: the network cannot be converted to'):
        convert_model(damaged, tmp_path / 'x.onnx', card, 'fp16')
    assert sorted(file.name for file in tmp_path.iterdir()) == ['damaged.onnx', 'tiny.onnx']


# The command.


def test_the_command_builds_and_copies_an_engine(
    robot: Robot, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = [str(robot.model), '--compute-capability', '8.9', '--cache', str(robot.folder)]
    build_engine.main([*arguments, '--batch', '1..3', '--output', str(tmp_path / 'tiny.engine')])
    said = capsys.readouterr().out
    assert 'converting tiny.onnx to fp16' in said
    assert 'building the tensorrt_rtx' in said
    assert 'not checked yet' in said
    (kept,) = robot.folder.glob('*.engine')
    assert (tmp_path / 'tiny.engine').read_bytes() == kept.read_bytes()
    assert json.loads(kept.with_suffix('.json').read_text())['key']['batch'] == [1, 3]
    build_engine.main([*arguments, '--batch', '1..3'])
    assert 'building' not in capsys.readouterr().out
    build_engine.main([*arguments, '--batch', '1..3', '--again'])
    assert 'as asked for' in capsys.readouterr().out


def test_the_command_finds_again_what_it_made_with_a_loose_umask(
    robot: Robot, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(robot.model), '--compute-capability', '8.9', '--cache', str(robot.folder)]
    before = os.umask(0o002)
    try:
        build_engine.main(command)
        build_engine.main(command)
    finally:
        os.umask(before)
    said = capsys.readouterr().out
    assert (robot.builds, said.count('converting'), said.count('kept ')) == (1, 1, 2)
    assert {path.stat().st_mode & 0o777 for path in robot.folder.iterdir()} == {0o600}


def test_the_command_calibrates_on_a_drive(
    robot: Robot, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from mono_metric_depth.datasets import open_sequence
    from mono_metric_depth.datasets.sequence_folder import write_sequence

    write_sequence(tmp_path / 'drive', iter(open_sequence('world:town:5x8')))
    write_two_convolutions(robot.model)
    build_engine.main(
        [
            *(str(robot.model), '--compute-capability', '8.9', '--cache', str(robot.folder)),
            *('--precision', 'int8', '--calibrate', str(tmp_path / 'drive')),
        ]
    )
    assert 'converting tiny.onnx to int8' in capsys.readouterr().out
    (converted,) = robot.folder.glob('*int8.onnx')
    assert conversion_of(converted)['frames'] == 8


def test_the_command_calibrates_on_plain_images_and_says_what_it_takes_them_for(
    robot: Robot, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import cv2

    images = tmp_path / 'images'
    images.mkdir()
    rng = np.random.default_rng(0)
    for number, size in enumerate(((48, 64), (120, 200)) * 4):
        pixels = rng.integers(0, 256, (*size, 3), np.uint8)
        assert cv2.imwrite(str(images / f'{number}.png'), pixels)
    (images / 'cut.jpg').write_bytes((images / '0.png').read_bytes()[:200])
    write_two_convolutions(robot.model)
    command = [str(robot.model), '--compute-capability', '8.9', '--cache', str(robot.folder)]
    build_engine.main([*command, '--precision', 'int8', '--calibrate', str(images)])
    said = capsys.readouterr().out
    assert f'{images}: no camera is known, so images are taken for as wide as the network' in said
    assert 'write a camera.yaml: width, height, fx, fy, cx, cy (px)' in said
    assert 'left out 1 frames that cannot be used: ' in said
    (converted,) = robot.folder.glob('*int8.onnx')
    assert conversion_of(converted)['frames'] == 8
    assert robot.builds == 1


def test_too_few_different_images_to_calibrate_on_are_refused(
    robot: Robot, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import cv2

    images = tmp_path / 'images'
    images.mkdir()
    for number in range(10):
        pixels = np.random.default_rng(number % 7).integers(0, 256, (48, 64, 3), np.uint8)
        assert cv2.imwrite(str(images / f'{number}.png'), pixels)
    write_two_convolutions(robot.model)
    command = [str(robot.model), '--compute-capability', '8.9', '--cache', str(robot.folder)]
    with pytest.raises(SystemExit):
        build_engine.main([*command, '--precision', 'int8', '--calibrate', str(images)])
    said = capsys.readouterr().err.splitlines()[-1]
    assert 'int8 is calibrated on at least 8 different images, this is 7: ' in said
    assert 'is cut off on the road' in said
    assert robot.builds == 0


def test_a_folder_without_images_to_calibrate_on_is_named(
    robot: Robot, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = [str(robot.model), '--compute-capability', '8.9', '--precision', 'int8']
    (tmp_path / 'empty').mkdir()
    for name, found in (('none', 'is not there'), ('empty', 'is no drive and holds no image')):
        with pytest.raises(SystemExit):
            build_engine.main([*command, '--calibrate', str(tmp_path / name)])
        said = capsys.readouterr().err.splitlines()[-1]
        assert f'{tmp_path / name} {found}; give a drive, or a folder of plain images' in said


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'no GPU of NVIDIA can be used: .* --compute-capability 8.9'),
        (['missing.onnx'], r'missing\.onnx: cannot open the model file'),
        (['--compute-capability', '8.7'], r'builds for compute capability 7\.5, .* not 8\.7'),
        (['--compute-capability', '8.9', '--precision', 'int8'], 'int8 must be calibrated'),
        (['--calibrate', 'drive'], '--calibrate is for --precision int8'),
        (['--check', 'bag', '--compute-capability', '8.9'], '--check needs the GPU'),
        (['--workspace', '0'], '--workspace must be'),
        (['--output', '/nowhere/x.engine'], 'there is no such folder'),
        (
            ['--compute-capability', '8.9', '--precision', 'int8', '--calibrate', '/nowhere'],
            '/nowhere is not there',
        ),
    ],
)
def test_the_command_ends_in_one_line(
    arguments: list[str],
    message: str,
    rtx: Bindings,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    if not arguments and _has_gpu():
        pytest.skip('there is a GPU')
    with pytest.raises(SystemExit) as ended:
        build_engine.main(arguments)
    assert ended.value.code == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.match(f'error: .*{message}', error), error


@pytest.mark.parametrize('batch', ['0', '3..1', '1..65', 'x', '1-3', ''])
def test_a_batch_that_is_none_is_refused(batch: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_engine.main(['--batch', batch])
    assert 'must be 3 or 1..3' in capsys.readouterr().err


def _has_gpu() -> bool:
    from mono_metric_depth.engines.cuda import find_gpu

    try:
        find_gpu()
    except EngineError:
        return False
    return True

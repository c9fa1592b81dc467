# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Small networks that behave like those that people bring along."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import write_model

from mono_metric_depth.camera import Camera
from mono_metric_depth.commands import fit_scale, import_model
from mono_metric_depth.datasets.sequence_folder import write_sequence
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.frame import Frame
from mono_metric_depth.image import Image
from mono_metric_depth.model_card import ModelCardError, read_card

onnx = pytest.importorskip('onnx')

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: Metres per pixel value: an image's red value v lies 510 / v m away.
FAR = 510.0


@dataclass(frozen=True)
class Foreign:
    """A network that reads inverse depth off the red channel, and how it is imported.

    Attributes:
        size: Width and height of its input.
        options: Of import_model.
        kind: ``depth`` or anything inverse.
        scale: By what its output must be multiplied, or divided.
        shift: Added to its inverse depth (1/m).
        rank: Of its output.
        free: Whether its sizes are free.
        patch: Its input must be a multiple of this.
        mean, std: Of its input.
        full: Full scale of those.
        red: Which channel is red.
        extra: Whether it has a second output.
        stretched: Whether it brings each image's own output to 0 .. 1.
        planted: What it puts out in the left half of the image, whatever that shows; ``ramp`` for
            the row, ``faint`` for the row and next to nothing of what the image shows.
        sky: Whether it does so in the upper half instead.
    """

    size: tuple[int, int] = (64, 48)
    options: tuple[str, ...] = ('--output-kind', 'inverse_depth', '--fov', '60')
    kind: str = 'inverse'
    scale: float = 20.0
    shift: float = 0.0
    rank: int = 4
    free: bool = False
    patch: int = 1
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]
    full: float = 1.0
    red: int = 0
    extra: bool = False
    stretched: bool = False
    planted: float | str | None = None
    sky: bool = False


DEPTH = ('--output-kind', 'depth', '--fov', '60')
RAW = ('--mean', '123.675', '116.28', '103.53', '--std', '58.395', '57.12', '57.375')
FOREIGN = {
    # Relative inverse depth, any size that is a multiple of its patch, ImageNet's normalisation.
    'depth anything': Foreign(
        (70, 42),
        (*Foreign().options, '--size', '70x42', '--output-name', 'depth'),
        rank=3,
        free=True,
        patch=14,
        extra=True,
    ),
    # Metric depth for one focal length in pixels; mean and std of 0..255; more than one output.
    'metric3d': Foreign(
        (76, 44),
        (
            *('--output-kind', 'depth', '--canonical-camera', '71', '71', '37.5', '21.5'),
            *(*RAW, '--full-scale', '255', '--output-name', 'depth'),
        ),
        kind='depth',
        scale=1.0,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        full=255.0,
        extra=True,
    ),
    # Relative disparity of a square image, batch 1, no channel in its output; blue first.
    'midas': Foreign(
        (256, 256),
        ('--output-kind', 'disparity', '--fov', '60', '--channels', 'bgr'),
        scale=400.0,
        rank=3,
        red=2,
        mean=IMAGENET[0],
    ),
    # Metric depth as a bare image.
    'unidepth': Foreign(options=DEPTH, kind='depth', scale=0.7, rank=2),
    # Metric depth, mean and std of one half.
    'zoedepth': Foreign(
        options=(*DEPTH, '--mean', '.5', '.5', '.5', '--std', '.5', '.5', '.5'),
        kind='depth',
        scale=1.3,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
    ),
}


def write_network(path: Path, network: Foreign, **save: Any) -> Path:
    from onnx import TensorProto, helper, numpy_helper

    width, height = network.size
    red = np.zeros((1, 3, 1, 1), np.float32)
    # From normalised red back to inverse depth: value / 255 is 2 / depth.
    red[0, network.red] = network.std[network.red] / network.full / 2
    bias = network.mean[network.red] / network.full / 2 + network.shift
    constants = {
        'red': red,
        'bias': np.array([bias], np.float32),
        'scale': np.float32(network.scale if network.kind != 'depth' else 1 / network.scale),
    }
    nodes = []
    image = 'image'
    if network.patch > 1:
        # What a patch embedding does: sizes that do not divide by the patch cannot be reshaped.
        n = network.patch
        constants |= {
            'patches': np.array([0, 3, -1, n, width // n, n], np.int64),
            'whole': np.array([0, 3, height, width], np.int64),
        }
        nodes += [
            helper.make_node('Reshape', ['image', 'patches'], ['patched']),
            helper.make_node('Reshape', ['patched', 'whole'], ['embedded']),
        ]
        image = 'embedded'
    nodes.append(helper.make_node('Conv', [image, 'red', 'bias'], ['inverse']))
    if network.stretched:
        nodes += [
            helper.make_node('ReduceMin', ['inverse'], ['least']),
            helper.make_node('ReduceMax', ['inverse'], ['most']),
            helper.make_node('Sub', ['inverse', 'least'], ['above']),
            helper.make_node('Sub', ['most', 'least'], ['range']),
            helper.make_node('Div', ['above', 'range'], ['inverse_stretched']),
        ]
    if network.kind == 'depth':
        nodes.append(helper.make_node('Reciprocal', ['inverse'], ['metric']))
    inverse = 'inverse_stretched' if network.stretched else 'inverse'
    source = 'metric' if network.kind == 'depth' else inverse
    nodes.append(helper.make_node('Mul', [source, 'scale'], ['scaled']))
    shape: list[Any] = ['batch', 1, 'height', 'width'] if network.free else [1, 1, height, width]
    result = 'scaled'
    if network.planted is not None:
        rows = np.arange(height, dtype=np.float32)[:, None]
        value = np.float32(0 if network.planted in {'ramp', 'faint'} else network.planted)
        value = 1 + rows if network.planted in {'ramp', 'faint'} else value
        rows_or_columns = rows < height / 2 if network.sky else np.arange(width) < width / 2
        constants |= {
            'mask': rows_or_columns,
            'planted': np.broadcast_to(value, (height, width)).copy(),
        }
        planted = 'planted'
        if network.planted == 'faint':
            constants['little'] = np.float32(1e-4)
            nodes.append(helper.make_node('Mul', ['scaled', 'little'], ['trace']))
            nodes.append(helper.make_node('Add', ['planted', 'trace'], ['faint']))
            planted = 'faint'
        nodes.append(helper.make_node('Where', ['mask', planted, 'scaled'], ['spoilt']))
        result = 'spoilt'
    drop = {4: [], 3: [1], 2: [0, 1]}[network.rank]
    if drop:
        constants['drop'] = np.array(drop, np.int64)
        nodes.append(helper.make_node('Squeeze', [result, 'drop'], ['depth']))
    else:
        nodes.append(helper.make_node('Identity', [result], ['depth']))
    outputs = [
        helper.make_tensor_value_info(
            'depth', TensorProto.FLOAT, [s for i, s in enumerate(shape) if i not in drop]
        )
    ]
    if network.extra:
        nodes.append(helper.make_node('Sigmoid', ['scaled'], ['confidence']))
        outputs.append(helper.make_tensor_value_info('confidence', TensorProto.FLOAT, shape))
    graph = helper.make_graph(
        nodes,
        'foreign',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, [shape[0], 3, *shape[2:]])],
        outputs,
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, path, **save)
    return path


def road(camera: Camera, index: int = 0) -> Frame:
    """A road whose red says how far it is; blue says the opposite."""
    rows = np.linspace(20 + 5 * index, 255, camera.height).round()
    red = np.broadcast_to(rows[:, None], (camera.height, camera.width))
    image = np.stack([red, np.full_like(red, 90), 255 - red], axis=-1).astype(np.uint8)
    return Frame(index * 10**8, image, camera, depth=(FAR / red).astype(np.float32))


def canonical(network: Foreign) -> Camera:
    width, height = network.size
    if '--canonical-camera' in network.options:
        return Camera(width, height, 71.0, 71.0, 37.5, 21.5)
    focal = width / 2 / np.tan(np.radians(30))
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def drive(folder: Path, camera: Camera, **entries: Any) -> Path:
    write_sequence(folder, [replace(road(camera, index), **entries) for index in range(4)])
    return folder


def imported(tmp_path: Path, network: Foreign, *more: str) -> Path:
    write_network(tmp_path / 'network.onnx', network)
    frames = drive(tmp_path / 'drive', canonical(network))
    model = tmp_path / 'model.onnx'
    arguments = [tmp_path / 'network.onnx', frames, '--output', model, *network.options, *more]
    import_model.main([str(argument) for argument in arguments])
    return model


def fails(capsys: pytest.CaptureFixture[str], command: Any, *arguments: str | Path) -> str:
    with pytest.raises(SystemExit) as caught:
        command.main([str(argument) for argument in arguments])
    assert caught.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith('error: ')]) == 1
    return lines[-1]


@pytest.mark.parametrize('name', FOREIGN)
def test_a_foreign_network_gives_metres_after_its_scale_is_fitted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = FOREIGN[name]
    model = imported(tmp_path, network, '--licence', 'CC0-1.0')
    out = capsys.readouterr().out
    assert 'scale             not fitted' in out
    assert 'found' not in out
    assert 'rank correlation of nearness +1.00, compared with true depth' in out
    assert f'fit_scale {model} DRIVES --write' in out
    with pytest.raises(ModelCardError, match=r'was not fitted.*fit_scale'):
        DepthEstimator.load(model)
    before = read_card(model)
    assert before.scale is None
    assert before.canonical_camera == canonical(network)
    assert before.provenance['licence'] == 'CC0-1.0'
    fit_scale.main([str(model), str(tmp_path / 'drive'), '--write'])
    out = capsys.readouterr().out
    assert 'card     none yet' in out
    assert 'nothing against one scalar' in out
    card = read_card(model)
    assert card.scale is not None
    assert card.scale.value == pytest.approx(network.scale, rel=0.01)
    assert card.scale.doubts == ()
    assert card.depth_range == before.depth_range
    # The whole way, as the node goes it.
    frame = road(canonical(network), 2)
    estimator = DepthEstimator.load(model)
    depth = estimator.estimate(Image(frame.image, 'rgb'), frame.camera).depth('input')
    np.testing.assert_allclose(depth, frame.depth, rtol=0.01)


def test_the_node_and_the_demo_refuse_a_model_without_a_scale(
    tmp_path: Path,
    start: Callable[..., Any],
    robot: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mono_metric_depth.commands import demo

    model = imported(tmp_path, Foreign())
    capsys.readouterr()
    node = start(model=str(model))
    robot.until(node.refused.done, 'refusal')
    assert 'scale of model model was not fitted' in node.refused.result()
    assert 'fit_scale MODEL DRIVES --write' in node.refused.result()
    assert node.state == 'unconfigured'
    assert 'fit_scale' in fails(capsys, demo, '--model', model, '--output', tmp_path / 'demo')
    assert not (tmp_path / 'demo').exists()


def test_a_road_alone_cannot_give_a_first_scale(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = imported(tmp_path, Foreign())
    drive_path = tmp_path / 'drive'
    message = fails(capsys, fit_scale, model, '--target', drive_path, '--camera-height', '1.5')
    assert 'the road plane only checks one: give drives with ground truth' in message


@pytest.mark.parametrize(
    ('network', 'said', 'looks'),
    [
        (Foreign(), 'depth', 'inverse_depth'),
        (FOREIGN['zoedepth'], 'inverse_depth', 'depth'),
        (FOREIGN['zoedepth'], 'disparity', 'depth'),
    ],
)
@pytest.mark.parametrize('truth', [True, False])
def test_output_of_the_reverse_kind_is_refused(
    network: Foreign,
    said: str,
    looks: str,
    truth: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_network(tmp_path / 'network.onnx', network)
    entries = {} if truth else {'depth': None}
    frames = drive(tmp_path / 'drive', canonical(network), **entries)
    options = ['--output-kind', said, *network.options[2:]]
    message = fails(
        capsys,
        import_model,
        tmp_path / 'network.onnx',
        frames,
        '--output',
        tmp_path / 'model.onnx',
        *options,
    )
    assert f'said to be {said}' in message
    assert f'it looks like {looks}' in message
    assert ('true depth' if truth else 'rows of the image') in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ['drive', 'network.onnx']


def test_wrong_channels_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = replace(FOREIGN['midas'], options=('--output-kind', 'disparity', '--fov', '60'))
    write_network(tmp_path / 'n.onnx', network)
    frames = drive(tmp_path / 'drive', canonical(network))
    arguments = (tmp_path / 'n.onnx', frames, '--output', tmp_path / 'm.onnx', *network.options)
    assert 'it looks like depth' in fails(capsys, import_model, *arguments)


def test_doubts_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Far away its inverse depth is negative.
    imported(tmp_path, Foreign(shift=-0.1))
    assert '11% of the pixels are no inverse_depth (NaN, infinite or' in capsys.readouterr().out


@pytest.mark.parametrize('truth', [True, False])
@pytest.mark.parametrize(
    ('kind', 'planted', 'what'),
    [
        ('depth', float('nan'), '50% NaN'),
        ('depth', float('inf'), '50% infinite'),
        ('depth', 0.0, '50% zero'),
        ('depth', -3.0, '50% negative'),
        ('depth', 7.0, '50% one value'),
        ('inverse_depth', float('nan'), '50% NaN'),
        ('inverse_depth', float('inf'), '50% infinite'),
        ('inverse_depth', 0.0, '50% zero'),
        ('inverse_depth', -3.0, '50% negative'),
        ('inverse_depth', 7.0, '50% one value'),
        ('inverse_depth', 'ramp', ''),
        ('inverse_depth', 'faint', ''),
    ],
)
def test_a_network_of_which_half_the_pixels_are_unusable_is_refused(
    kind: str,
    planted: Any,
    what: str,
    truth: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    network = FOREIGN['zoedepth'] if kind == 'depth' else Foreign()
    network = replace(network, planted=planted)
    write_network(tmp_path / 'n.onnx', network)
    entries = {} if truth else {'depth': None}
    frames = drive(tmp_path / 'drive', canonical(network), **entries)
    arguments = (tmp_path / 'n.onnx', frames, '--output', tmp_path / 'm.onnx', *network.options)
    message = fails(capsys, import_model, *arguments)
    where = 'where true depth is known' if truth else 'where there is road'
    if what:
        assert f'50% of the pixels get no {kind} {where} ({what}; at most 25% may)' in message
    else:  # and the lowest row, which these images share
        assert re.search(rf'5\d% of the pixels are the same in every image {where}', message)
    assert not (tmp_path / 'm.onnx').exists()


@pytest.mark.parametrize('truth', [True, False])
@pytest.mark.parametrize(('kind', 'planted'), [('inverse', 0.0), ('depth', float('inf'))])
def test_sky_that_is_infinitely_far_is_no_fault(
    kind: str, planted: float, truth: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = FOREIGN['zoedepth'] if kind == 'depth' else Foreign()
    write_network(tmp_path / 'n.onnx', replace(network, planted=planted, sky=True))
    frames = [road(canonical(network), index) for index in range(3)]
    for frame in frames:
        assert frame.depth is not None
        frame.depth[:24] = np.inf
    write_sequence(
        tmp_path / 'drive', frames if truth else [replace(f, depth=None) for f in frames]
    )
    arguments = [tmp_path / 'n.onnx', tmp_path / 'drive', '--output', tmp_path / 'm.onnx']
    import_model.main([*map(str, arguments), *network.options])
    assert 'found' not in capsys.readouterr().out


def test_images_without_a_camera_will_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    write_network(tmp_path / 'n.onnx', Foreign())
    image = cv2.resize(road(canonical(Foreign())).image, (160, 90))
    (tmp_path / 'images').mkdir()
    for path in (tmp_path / 'road.png', tmp_path / 'images' / 'a.jpg'):
        cv2.imwrite(str(path), image[..., ::-1])
    for number, images in enumerate((tmp_path / 'images', tmp_path / 'road.png')):
        arguments = [tmp_path / 'n.onnx', images, '--output', tmp_path / f'm{number}.onnx']
        import_model.main([*map(str, arguments), *Foreign().options])
        assert 'compared with the rows of the image' in capsys.readouterr().out
    (tmp_path / 'road.png').write_bytes(b'no image')
    arguments[-1] = tmp_path / 'other.onnx'
    message = fails(capsys, import_model, *arguments, *Foreign().options)
    assert 'road.png: missing or damaged image' in message


@pytest.mark.parametrize(
    ('network', 'options', 'message'),
    [
        (Foreign(), ('--size', '32x32'), r'--size 32x32, but the input of the network is 64x48'),
        (Foreign(free=True), (), r'takes images of any size: choose one by --size'),
        (Foreign(free=True), ('--size', '9'), r'--size must be WIDTHxHEIGHT'),
        (Foreign(extra=True), (), r'several outputs; name one by --output-name: depth .*confid'),
        (Foreign(), ('--output-name', 'x'), r'has no output x; it has depth \[1, 1, 48, 64\]'),
        (Foreign(), RAW, r'--mean 123.675 .* lies beyond 0..1: .* add --full-scale 255'),
        (Foreign(), ('--full-scale', 'nan'), r'--full-scale must be positive'),
        (Foreign(), ('--std', '1', '0', '1'), r'std must be positive'),
        (Foreign(), ('--fov', '200'), r'--fov must lie within 1..170'),
        (Foreign(), ('--depth-range', '9', '1'), r'nearest < furthest'),
        (
            replace(FOREIGN['depth anything'], options=Foreign().options, extra=False),
            ('--size', '71x42'),
            r'output depth is \[.*42, 70\] for images of 71x42; .*give --size WIDTHxHEIGHT',
        ),
        (Foreign(scale=0.0), (), r'no usable depth|the same everywhere'),
        (
            Foreign(shift=5000.0),
            (),
            r'puts out 1000\d+.* \.\. .*, as good as the same everywhere \(it varies by 0\.01% '
            r'within an image; more than 1% is needed\): that is no depth',
        ),
        (Foreign(scale=float('nan')), (), r'no usable depth'),
    ],
)
def test_what_does_not_fit_is_refused(
    network: Foreign,
    options: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_network(tmp_path / 'n.onnx', network)
    frames = drive(tmp_path / 'drive', canonical(network))
    arguments = [tmp_path / 'n.onnx', frames, '--output', tmp_path / 'm.onnx', *network.options]
    line = fails(capsys, import_model, *arguments, *options)
    assert re.search(message, line)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['drive', 'n.onnx']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'extra_input': True}, r'takes image .*, intrinsics \[4\]; it must take the'),
        (
            {'dtype': np.float16},
            r'image of the network is tensor\(float16\); .*float32',
        ),
    ],
)
def test_inputs_that_no_image_can_fill_are_refused(
    options: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_model(tmp_path / 'n.onnx', **options)
    line = fails(capsys, import_model, path, '--output', tmp_path / 'm.onnx', *Foreign().options)
    assert re.search(message, line)


@pytest.mark.parametrize('free', [False, True])
def test_depth_of_another_size_than_the_image_is_refused_with_what_to_do(
    free: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from onnx import TensorProto, helper, numpy_helper

    sizes = (('h', 'w'), ('h2', 'w2')) if free else ((48, 64), (24, 32))
    graph = helper.make_graph(
        [helper.make_node('Conv', ['image', 'weights'], ['depth'], strides=[2, 2])],
        'half',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 3, *sizes[0]])],
        [helper.make_tensor_value_info('depth', TensorProto.FLOAT, [1, 1, *sizes[1]])],
        [numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), 'weights')],
    )
    opset = [helper.make_opsetid('', 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / 'n.onnx')
    arguments = (tmp_path / 'n.onnx', '--output', tmp_path / 'm.onnx', *Foreign().options)
    line = fails(capsys, import_model, *arguments, *(('--size', '64x48') if free else ()))
    assert 'images of 64x48' in line
    assert 'Resize' in line
    assert ('--size WIDTHxHEIGHT' in line) == free
    assert 'card' not in line


def test_weights_in_other_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_network(
        tmp_path / 'n.onnx',
        Foreign(),
        save_as_external_data=True,
        size_threshold=0,
        location='n.data',
    )
    arguments = (path, '--output', tmp_path / 'm.onnx', *Foreign().options)
    message = fails(capsys, import_model, *arguments)
    assert 'keeps its weights in other files; a model is one file. Merge them' in message
    assert not (tmp_path / 'm.onnx').exists()


def test_a_model_that_was_changed_is_imported_anew(tmp_path: Path) -> None:
    model = imported(tmp_path, Foreign())
    changed = tmp_path / 'changed.onnx'
    network = onnx.load(model)
    network.graph.name = 'quantised'
    onnx.save(network, changed)
    with pytest.raises(ModelCardError, match='the network was changed'):
        read_card(changed)
    again = tmp_path / 'again.onnx'
    arguments = [changed, tmp_path / 'drive', '--output', again, *Foreign().options]
    import_model.main([str(argument) for argument in arguments])
    assert read_card(again).scale is None


def test_files_that_are_there_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = imported(tmp_path, Foreign())
    capsys.readouterr()
    content = model.read_bytes()
    network = tmp_path / 'network.onnx'
    again = (network, '--output', model, *Foreign().options)
    assert 'exists already' in fails(capsys, import_model, *again)
    assert model.read_bytes() == content
    twice = (model, '--output', tmp_path / 'new.onnx', *Foreign().options)
    assert 'has a card already' in fails(capsys, import_model, *twice)
    text = (network, '--output', tmp_path / 'new.txt', *Foreign().options)
    assert '--output must be an .onnx file' in fails(capsys, import_model, *text)
    nowhere = (network, '--output', tmp_path / 'no' / 'm.onnx', *Foreign().options)
    assert 'there is no folder' in fails(capsys, import_model, *nowhere)
    missing = (tmp_path / 'none.onnx', '--output', tmp_path / 'new.onnx', *Foreign().options)
    assert 'cannot open the model file' in fails(capsys, import_model, *missing)
    (tmp_path / 'bad.onnx').write_bytes(content[: len(content) // 2])
    bad = (tmp_path / 'bad.onnx', '--output', tmp_path / 'new.onnx', *Foreign().options)
    assert 'bad.onnx: truncated' in fails(capsys, import_model, *bad)

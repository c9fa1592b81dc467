# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import TINY_CAMERA, TINY_DEPTH, write_tiny_model

from mono_metric_depth.camera import Mount
from mono_metric_depth.commands import fit_scale, model_card
from mono_metric_depth.datasets import open_sequence
from mono_metric_depth.datasets.sequence_folder import write_sequence
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.evaluation import depth_samples
from mono_metric_depth.evaluation.depth_samples import sample_drives
from mono_metric_depth.frame import Frame
from mono_metric_depth.model_card import METADATA_KEY, NETWORK_KEY, read_card, write_card
from mono_metric_depth.model_files import DEFAULT_MODEL
from mono_metric_depth.onnx_metadata import read_metadata
from mono_metric_depth.scale import GlobalScale


def frames(
    count: int = 8, scale: float = 0.5, mount: Mount | None = None, **entries: Any
) -> list[Frame]:
    """Images whose true depth is ``scale`` times what the tiny network says of all of them."""
    rows = np.broadcast_to(TINY_DEPTH[:, None], (TINY_CAMERA.height, TINY_CAMERA.width))
    image = np.full((*rows.shape, 3), 90, np.uint8)
    values = {'depth': (scale * rows).astype(np.float32), 'mount': mount, **entries}
    return [Frame(index * 10**8, image, TINY_CAMERA, **values) for index in range(count)]


@pytest.fixture
def tiny(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny_model, tmp_path / 'tiny.onnx'))


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    write_sequence(tmp_path / 'drive', frames())
    return tmp_path / 'drive'


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as caught:
        fit_scale.main([str(argument) for argument in arguments])
    assert caught.value.code == 1
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize('method', ['theil_sen', 'median_ratio', 'least_squares'])
def test_a_planted_scale_is_found_and_written(
    method: str, tiny: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_card(tiny)
    fit_scale.main([str(tiny), str(drive), '--method', method, '--every', '2', '--write'])
    out = capsys.readouterr().out
    card = read_card(tiny)
    # Depth is stored in 1/256 m.
    assert card.scale.value == pytest.approx(0.5, rel=1e-3)
    assert card.scale.low == pytest.approx(card.scale.high, rel=1e-2)
    assert (card.scale.method, card.scale.images) == (method, 4)
    assert card.scale.source == str(drive)
    # The range is the network's own.
    assert card.depth_range == pytest.approx([card.scale.value * d for d in before.depth_range])
    assert card.provenance['earlier_scale'] == {'value': 1.0, 'source': 'made up'}
    assert f'scale 1 -> {card.scale.value:.5g}' in out
    assert 'nothing against one scalar' in out


def test_nothing_but_the_card_changes(tiny: Path, drive: Path) -> None:
    onnx = pytest.importorskip('onnx')
    graph = onnx.load(tiny).graph.SerializeToString()
    content = tiny.read_bytes()
    fit_scale.main([str(tiny), str(drive)])
    assert tiny.read_bytes() == content
    fit_scale.main([str(tiny), str(drive), '--write'])
    assert onnx.load(tiny).graph.SerializeToString() == graph
    assert set(read_metadata(tiny)) == {NETWORK_KEY, METADATA_KEY}
    assert sorted(path.name for path in tiny.parent.iterdir()) == ['drive', 'tiny.onnx']


@pytest.fixture(scope='module')
def suburb(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mount]:
    """A drive without any ground truth, and how its camera is mounted."""
    pytest.importorskip('torch')
    read = list(open_sequence('world:suburb:1001x7'))
    names = ('pitch', 'roll', 'height')
    pitch, roll, height = np.mean([[getattr(f.mount, n) for n in names] for f in read], axis=0)
    folder = tmp_path_factory.mktemp('suburb') / 'unlabelled'
    write_sequence(folder, [replace(frame, depth=None, mount=None) for frame in read])
    return folder, Mount(pitch, roll, height=height)


def mounted(mount: Mount) -> list[str]:
    return [
        f'--camera-height={mount.height}',
        f'--camera-pitch={mount.pitch}',
        f'--camera-roll={mount.roll}',
    ]


def test_the_shipped_model_is_fitted_from_worlds_and_checked_by_the_road(
    tmp_path: Path, suburb: tuple[Path, Mount], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('matplotlib')
    model = Path(shutil.copy(DEFAULT_MODEL, tmp_path / 'model.onnx'))
    old = read_card(model).scale
    folder, mount = suburb
    figure, numbers = tmp_path / 'figure.png', tmp_path / 'numbers.json'
    arguments = [str(model), 'world:town:1000-1001x4', '--target', str(folder), *mounted(mount)]
    fit_scale.main([*arguments, '--figure', str(figure), '--json', str(numbers), '--write'])
    card = read_card(model)
    assert card.scale.value == pytest.approx(old.value, rel=0.06)
    assert card.scale.images == 8
    assert card.road_scale is not None
    assert card.road_scale.camera_height == pytest.approx(mount.height)
    assert card.road_scale.frames + sum(card.road_scale.refused.values()) == 7
    # The check of the transferred scale that needs no depth at all.
    assert abs(card.road_disagreement or 1.0) < 0.25
    picture = cv2.imread(str(figure))
    assert picture is not None
    assert picture.std() > 20
    report = json.loads(numbers.read_text())
    assert report['source']['scales'][0]['value'] == card.scale.value
    assert report['road_scale']['value'] == card.road_scale.value
    assert report['source']['linearity']['pearson'] > 0.9
    assert report['source']['road_by_truth'] == pytest.approx(1.0, abs=0.02)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'figure.png',
        'model.onnx',
        'numbers.json',
    ]
    capsys.readouterr()
    model_card.main([str(model)])
    assert 'road plane scale' in capsys.readouterr().out


def test_the_road_alone_checks_the_scale_and_never_replaces_it(
    tmp_path: Path, suburb: tuple[Path, Mount], capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copy(DEFAULT_MODEL, tmp_path / 'model.onnx'))
    before = read_card(model)
    folder, mount = suburb
    fit_scale.main([str(model), '--target', str(folder), *mounted(mount), '--write'])
    card = read_card(model)
    assert card.road_scale not in (None, before.road_scale)
    assert replace(card, road_scale=before.road_scale) == before
    assert 'road plane / scale - 1' in capsys.readouterr().out
    # Twice the height is twice the scale: a disagreement that is pointed out.
    double = replace(mount, height=2 * (mount.height or 0))
    fit_scale.main([str(model), '--target', str(folder), *mounted(double)])
    assert 'more than 10%, find out why' in capsys.readouterr().out


@pytest.fixture
def level(tmp_path: Path) -> tuple[Path, list[Frame]]:
    """A network that sees a road 1 unit below the camera, and frames of which that is true."""
    down = TINY_CAMERA.rays()[:, 0, 1]
    depth = np.where(down > 0.015, 1 / np.maximum(down, 0.015), 1 / 0.015).astype(np.float32)
    write_tiny_model(tmp_path / 'level.onnx', depth)
    rows = np.broadcast_to(depth[:, None], (TINY_CAMERA.height, TINY_CAMERA.width))
    return tmp_path / 'level.onnx', frames(depth=np.ascontiguousarray(rows))


@pytest.mark.parametrize('height', [0.7, 0.9, 1.2, 1.44])
def test_a_scale_that_the_road_contradicts_is_written_only_by_force(
    height: float,
    level: tuple[Path, list[Frame]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, read = level
    write_sequence(tmp_path / 'true', read)
    write_sequence(tmp_path / 'mine', [replace(frame, depth=None) for frame in read])
    content = model.read_bytes()
    arguments = [str(model), str(tmp_path / 'true'), '--target', str(tmp_path / 'mine')]
    arguments += ['--camera-height', str(height), '--write']
    if height in (0.9, 1.2):  # a doubt, and the card says so
        fit_scale.main(arguments)
        assert [doubt.kind for doubt in read_card(model).doubts] == ['road']
        return
    message = fails(capsys, *arguments)
    assert f'not written: the road plane gives a scale {height - 1:+.1%} from this one' in message
    assert f'on the camera of {tmp_path / "mine"}: check its height ({height:.2f} m)' in message
    assert message.endswith('--force writes it all the same, and the node warns')
    assert model.read_bytes() == content
    fit_scale.main([*arguments, '--force'])
    (doubt,) = read_card(model).doubts
    assert (doubt.kind, doubt.fatal) == ('road', True)
    # It stays in the card: another scale is measured by it, too.
    assert 'not written: the road' in fails(capsys, model, tmp_path / 'true', '--write')


def test_a_road_that_contradicts_the_scale_of_before_goes_into_the_card(
    level: tuple[Path, list[Frame]], tmp_path: Path
) -> None:
    # No scale is written: the card only becomes more honest, and the node warns.
    model, read = level
    write_sequence(tmp_path / 'mine', [replace(frame, depth=None) for frame in read])
    arguments = ['--target', str(tmp_path / 'mine'), '--camera-height', '1.44', '--write']
    fit_scale.main([str(model), *arguments])
    card = read_card(model)
    assert [doubt.fatal for doubt in card.doubts] == [True]
    assert card.road_scale is not None
    assert card.road_scale.value == pytest.approx(1.44, rel=0.01)


def test_without_ground_truth_the_error_says_what_to_do(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sequence(tmp_path / 'blind', frames(depth=None))
    message = fails(capsys, tiny, tmp_path / 'blind')
    assert 'none of 8 frames has usable ground truth' in message
    assert '--target' in message
    assert '--camera-height' in message


def test_a_target_without_a_road_is_refused(
    tiny: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = fails(capsys, tiny, '--target', drive, '--camera-height', '1.5')
    assert '0 of 8 frames show a plausible road' in message


Opener = Callable[[list[Frame]], str]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Frames as a data set that only this test knows."""

    class Known(list[Frame]):
        @property
        def mounts(self) -> list[Mount | None]:
            return [frame.mount for frame in self]

    def name(read: list[Frame]) -> str:
        monkeypatch.setattr(depth_samples, 'open_sequence', lambda name: Known(read))
        return 'my_data'

    return name


@pytest.mark.parametrize(
    ('factor', 'unit'), [(1000, 'millimetres'), (100, 'centimetres'), (256, '1/256 m')]
)
def test_ground_truth_in_the_wrong_unit_is_refused(
    factor: float, unit: str, tiny: Path, opened: Opener, capsys: pytest.CaptureFixture[str]
) -> None:
    content = tiny.read_bytes()
    # Median 10 m.
    name = opened(frames(30, 0.2 * factor))
    message = fails(capsys, tiny, name, '--write')
    assert 'my_data: the median true depth is' in message
    assert unit in message
    assert tiny.read_bytes() == content


def test_ground_truth_that_contradicts_the_mounting_height_is_refused(
    tiny: Path, opened: Opener, capsys: pytest.CaptureFixture[str]
) -> None:
    # Millimetres read as 1/256 m: plausible by itself.
    down = TINY_CAMERA.rays()[..., 1]
    metres = np.where(down > 0, 1.5 / np.maximum(down, 1e-3), np.inf)
    depth = (metres * 1000 / 256).astype(np.float32)
    read = frames(depth=depth, mount=Mount(height=1.5))
    message = fails(capsys, tiny, opened(read))
    assert '3.91 times as far below the camera as the mounting height says' in message


def test_a_damaged_image_is_counted_named_and_skipped(
    tiny: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = drive / 'image' / '000003.png'
    path.write_bytes(path.read_bytes()[:20])
    fit_scale.main([str(tiny), str(drive)])
    out = capsys.readouterr().out
    assert 'skipped 1 frames: unreadable' in out
    assert '000003.png' in out
    assert '7 images' in out


def test_images_of_mixed_sizes_each_go_with_their_camera(tiny_model: Path, opened: Opener) -> None:
    wide = [
        replace(
            frame,
            camera=TINY_CAMERA.resized(128, 64),
            image=frame.image.repeat(2, 0).repeat(2, 1),
            depth=None if frame.depth is None else frame.depth.repeat(2, 0).repeat(2, 1),
        )
        for frame in frames(2)
    ]
    wrong = [replace(wide[0], image=wide[0].image[:60])]
    samples = sample_drives(
        DepthEstimator.load(tiny_model), [opened(frames(3) + wide + wrong)], truth=True
    )
    assert samples.skipped == {'size': 1}
    assert len(samples.images) == 5
    for predicted, true in samples.images:
        assert np.median(true / predicted) == pytest.approx(0.5, rel=1e-3)


def test_memory_stays_bounded(
    tiny_model: Path, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depth_samples, 'MAX_IMAGES', 4)
    samples = sample_drives(DepthEstimator.load(tiny_model), [opened(frames(30))], truth=True)
    assert samples.with_truth == 30
    assert len(samples.images) == len(samples.true_medians) == 4
    assert all(len(p) == depth_samples.PIXELS for p, _ in samples.images)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([], 'give drives with ground truth, or --target'),
        (['x', '--every', '0'], '--every must be at least 1'),
        (['nowhere'], 'nowhere'),
        (['world:town'], 'a world is'),
        (['x', '--figure', 'missing/f.png'], 'cannot be written'),
        (['x', '--json', 'missing/f.json'], 'cannot be written'),
        (['--target', 'x', '--figure', 'f.png'], '--figure shows'),
        (['--target', 'x', '--camera-height', '-1'], 'height must be positive'),
        (['--target', 'x', '--camera-pitch', '2'], 'pitch must lie within'),
    ],
)
def test_bad_options_are_refused_before_any_work(
    tiny_model: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in fails(capsys, tiny_model, *arguments)


def test_a_model_without_a_card_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'x.onnx').write_bytes(b'nothing')
    assert 'x.onnx' in fails(capsys, tmp_path / 'x.onnx', 'world:town:1')


@pytest.mark.parametrize(
    ('value', 'shown'),
    [
        (1.0, '1.0000 [0.90000, 1.1000]'),
        (1.23456e-5, '1.2346e-05 [1.1111e-05, 1.3580e-05]'),
        (1122832.6266, '1.1228e+06 [1.0105e+06, 1.2351e+06]'),
    ],
)
def test_a_scale_of_any_magnitude_is_shown_in_significant_digits(value: float, shown: str) -> None:
    scale = GlobalScale(value, 0.9 * value, 1.1 * value, 0.95, 'median_ratio', 9, 0.0, 'x')
    assert fit_scale._with_interval(scale) == shown


def test_a_figure_without_matplotlib_says_what_to_install(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    monkeypatch.delitem(sys.modules, 'mono_metric_depth.evaluation.scale_picture', raising=False)
    message = fails(capsys, tiny_model, 'x', '--figure', 'f.png')
    assert "--figure needs matplotlib: pip install 'mono_metric_depth[demo]'" in message


def test_a_road_that_nobody_asked_for_may_be_missing(
    tiny: Path, opened: Opener, capsys: pytest.CaptureFixture[str]
) -> None:
    fit_scale.main([str(tiny), opened(frames(mount=Mount(height=1.5))), '--write'])
    assert 'no road plane scale: my_data: 0 of 8 frames' in capsys.readouterr().out
    assert read_card(tiny).road_scale is None
    assert read_card(tiny).scale.value == pytest.approx(0.5, rel=1e-3)


def test_a_network_that_puts_out_disparity_is_fitted_too(tiny: Path, opened: Opener) -> None:
    write_card(tiny, replace(read_card(tiny), output_kind='disparity'))
    rows = np.broadcast_to(TINY_DEPTH[:, None], (TINY_CAMERA.height, TINY_CAMERA.width))
    fit_scale.main([str(tiny), opened(frames(depth=(400 / rows).astype(np.float32))), '--write'])
    assert read_card(tiny).scale.value == pytest.approx(400, rel=1e-3)

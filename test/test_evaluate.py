# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``evaluate``: from drives with ground truth to numbers, whatever interrupts it."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bags import FIRST, Message, info, raw, static_transform, transforms, write_bag
from conftest import TINY_CAMERA, TINY_DEPTH, write_tiny_model

from mono_metric_depth.camera import Camera
from mono_metric_depth.commands import evaluate
from mono_metric_depth.datasets.bag import write_drive
from mono_metric_depth.datasets.sequence_folder import write_sequence
from mono_metric_depth.evaluation import evaluator
from mono_metric_depth.evaluation.candidates import model_candidates
from mono_metric_depth.evaluation.error_file import read_errors
from mono_metric_depth.evaluation.outcomes import failures
from mono_metric_depth.evaluation.results import seen_before
from mono_metric_depth.frame import Frame
from mono_metric_depth.model_card import read_card, write_card
from mono_metric_depth.model_files import DEFAULT_MODEL
from mono_metric_depth.scale import GlobalScale

SAMPLE = Path(__file__).parents[2] / 'shared/data/dgp_sample/scene_dataset_v1.0.json'
ROWS = np.broadcast_to(TINY_DEPTH[:, None], (TINY_CAMERA.height, TINY_CAMERA.width))


def drive(
    folder: Path,
    factors: list[float],
    change: Callable[[np.ndarray[Any, Any], int], object] = lambda depth, index: None,
    camera: Camera = TINY_CAMERA,
) -> Path:
    """Frames whose true depth is a factor times what the tiny network says."""
    frames = []
    for index, factor in enumerate(factors):
        depth = (factor * ROWS).astype(np.float32)
        change(depth, index)
        image = np.full((*depth.shape, 3), 40 + index, np.uint8)
        frames.append(Frame(index * 10**8, image, camera, depth))
    write_sequence(folder, frames)
    return folder


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny_model, tmp_path / 'tiny.onnx'))


@pytest.fixture(autouse=True)
def quick_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures where they do not matter; test_report.py looks at them."""
    if 'report' not in request.node.name:
        from mono_metric_depth.evaluation import report

        monkeypatch.setattr(report, 'report', lambda results, command: str(results.skipped))


def run(*arguments: str | Path | int) -> None:
    evaluate.main([str(argument) for argument in arguments] + ['--processes', '1'])


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path | int) -> str:
    """The one line that the command ends with."""
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 1
    return capsys.readouterr().err.splitlines()[-1]


def numbers(folder: Path) -> Any:
    return json.loads((folder / 'evaluation.json').read_text())


def images(folder: Path) -> list[dict[str, str]]:
    with (folder / 'images.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def test_planted_scales_are_told_apart(model: Path, tmp_path: Path) -> None:
    folder = drive(tmp_path / 'drive', [0.5, 0.5, 0.4, 0.5, 0.625])
    run(model, '--data', folder, '--output', tmp_path / 'out', '--control')
    (found,) = numbers(tmp_path / 'out')['models']
    assert found['images'] == 5
    assert found['oracle_scale']['value'] == pytest.approx(0.5, rel=2e-3)
    assert found['scale_error']['value'] == pytest.approx(1.0, rel=4e-3)
    scalings = found['scalings']
    # Predicted is 2, 2, 2.5, 2 and 1.6 times the truth, but published within 1 .. 80 m, the range
    # of the model, and else clamped at 80 m; with the oracle 1, 1, 1.25, 1 and 0.8 times. Truth is
    # stored in 1/256 m.
    true = [factor * ROWS for factor in (0.5, 0.5, 0.4, 0.5, 0.625)]
    for scaling, least in (('transferred', 1.0), ('unscaled', 0.0)):
        raw = np.mean([np.mean(np.abs(ROWS.clip(least, 80) - g) / g) for g in true])
        assert scalings[scaling]['abs_rel']['value'] == pytest.approx(raw, rel=0.01)
    assert scalings['oracle_global']['abs_rel']['value'] == pytest.approx(0.09, rel=0.02)
    assert scalings['oracle_image']['abs_rel']['value'] < 0.01
    rows = images(tmp_path / 'out')
    assert [float(row['scale']) for row in rows] == pytest.approx(
        [0.5, 0.5, 0.4, 0.5, 0.625], rel=4e-3
    )
    assert float(rows[2]['abs_rel_oracle_image']) < 0.01


def test_pixels_that_the_network_did_not_see_are_counted(model: Path, tmp_path: Path) -> None:
    # A camera that looks twice as wide: the network sees its middle.
    wide = Camera(64, 32, 30.0, 30.0, 31.5, 12.0)
    folder = drive(tmp_path / 'drive', [1.0, 1.0], camera=wide)
    run(model, '--data', folder, '--output', tmp_path / 'out', '--control')
    document = numbers(tmp_path / 'out')
    (found,) = document['models']
    assert 0.2 < found['coverage'] < 0.4
    assert any('of the pixels with true depth' in line for line in document['warnings'])
    regions = {part['name']: part for part in found['regions']}
    assert regions['top left']['coverage'] < 0.3
    assert regions['centre']['coverage'] == 1.0
    assert sum(part['pixels'] for part in found['regions']) == sum(
        part['pixels'] for part in found['bands']
    )


def test_two_models_are_compared_in_pairs(model: Path, tmp_path: Path) -> None:
    better = tmp_path / 'better.onnx'
    write_tiny_model(better, TINY_DEPTH * np.float32(0.9))
    folder = drive(tmp_path / 'drive', list(np.linspace(0.8, 0.9, 24)))
    run(model, better, '--data', folder, '--output', tmp_path / 'out', '--control')
    document = numbers(tmp_path / 'out')
    (comparison,) = document['comparisons']
    assert comparison['verdict'] == 'better is better than tiny'
    assert comparison['better'] == 1.0
    # Both differ from frame to frame far more than from each other: only pairs tell.
    spans = [m['scalings']['transferred']['abs_rel'] for m in document['models']]
    assert comparison['difference']['high'] - comparison['difference']['low'] < 0.5 * (
        spans[0]['high'] - spans[0]['low']
    )
    means = [span['value'] for span in spans]
    assert comparison['difference']['value'] == pytest.approx(means[1] - means[0])


def test_the_control_is_beside_the_numbers(model: Path, tmp_path: Path) -> None:
    folder = drive(tmp_path / 'drive', [1.0, 1.1, 0.9] * 4)
    source = drive(tmp_path / 'source', [2.0, 2.0])
    run(model, '--data', folder, '--output', tmp_path / 'out', '--control', source)
    document = numbers(tmp_path / 'out')
    control = document['control']
    assert control['images'] == 12
    # It says twice what the network says, which is what its source showed.
    assert control['scale_error']['value'] == pytest.approx(1.0, rel=0.02)
    assert document['comparisons'][-1]['reference'] == 'control'
    assert 'tiny is better' in document['comparisons'][-1]['verdict']


@pytest.fixture
def long_drive(tmp_path: Path) -> Path:
    def holes(depth: np.ndarray[Any, Any], index: int) -> None:
        depth[:, :: index + 2] = np.nan

    return drive(tmp_path / 'long', list(np.linspace(0.7, 1.4, 37)), holes)


def test_any_number_of_processes_and_shards_gives_the_same(
    model: Path, long_drive: Path, tmp_path: Path
) -> None:
    arguments = [model, '--data', long_drive, '--every', 2, '--control']
    run(*arguments, '--output', tmp_path / 'one')
    evaluate.main([*map(str, arguments), '--output', f'{tmp_path}/two', '--processes', '2'])
    for part in ('1/3', '2/3', '3/3'):
        run(*arguments, '--output', tmp_path / f'machine{part[0]}', '--shard', part)
        assert not (tmp_path / f'machine{part[0]}' / 'evaluation.json').exists()
    together = tmp_path / 'together' / 'errors'
    together.mkdir(parents=True)
    for number in (1, 2, 3):
        for file in (tmp_path / f'machine{number}' / 'errors').iterdir():
            shutil.copy(file, together)
    before = sorted((file.name, file.stat().st_size) for file in together.iterdir())
    run(*arguments, '--output', together.parent)
    after = {file.name: file.stat().st_size for file in together.iterdir()}
    # Nothing was left to compute: the files of the parts are as they were.
    assert all(after[name] == size for name, size in before)
    assert min(after.values()) < 400
    for other in ('two', 'together'):
        for file in ('evaluation.json', 'images.csv'):
            assert (tmp_path / other / file).read_text() == (tmp_path / 'one' / file).read_text()
    assert len(images(tmp_path / 'one')) == 19


@pytest.fixture(scope='module')
def slow_drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames large enough that a run is not over before it can be stopped."""
    camera = Camera(1242, 375, 1164.0, 1164.0, 620.5, 180.0)
    depth = np.broadcast_to(np.linspace(60, 5, 375, dtype=np.float32)[:, None], (375, 1242))
    image = np.full((375, 1242, 3), 90, np.uint8)
    folder = tmp_path_factory.mktemp('slow') / 'drive'
    write_sequence(folder, [Frame(i, image, camera, depth) for i in range(30)])
    return folder


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_where_it_was(
    how: signal.Signals, model: Path, slow_drive: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'out'
    arguments = [str(model), '--data', str(slow_drive), '--output', str(out), '--control']
    command = [sys.executable, '-m', 'mono_metric_depth.commands.evaluate', *arguments]
    command += ['--processes', '2']
    with subprocess.Popen(
        command, start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as process:
        errors = out / 'errors'
        deadline = time.monotonic() + 180
        while sum(f.read_bytes().count(b'\n') for f in errors.glob('*.jsonl')) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, how)
        # All of its processes are gone when nobody holds its output any more.
        assert process.stderr is not None
        said = process.stderr.read()
    (file,) = errors.iterdir()
    kept = file.read_bytes()
    assert 3 <= kept.count(b'\n') < 31
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert said.splitlines()[-1].endswith('interrupted')
        assert 'Traceback' not in said
    # A kill may cut a line, which is then written anew.
    file.write_bytes(kept[:-100])
    run(*arguments)
    # All that was whole is kept, as it was.
    assert file.read_bytes().startswith(kept[:-100].rpartition(b'\n')[0])
    assert len(images(out)) == len(read_errors(errors, file.stem)) == 30


def loads_modules(process: subprocess.Popen[str], out: Path) -> bool:
    return 'cv2' in Path(f'/proc/{process.pid}/maps').read_text()


def starts_workers(process: subprocess.Popen[str], out: Path) -> bool:
    # One of them keeps track of what all of them share.
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text()
    return len(children.split()) > 2


def ends_workers(process: subprocess.Popen[str], out: Path) -> bool:
    return sum(file.read_bytes().count(b'\n') for file in out.glob('errors/*')) > 30


def writes_the_report(process: subprocess.Popen[str], out: Path) -> bool:
    return (out / 'evaluation.json').exists()


@pytest.mark.parametrize(
    'moment', [loads_modules, starts_workers, ends_workers, writes_the_report]
)
def test_who_interrupts_at_any_moment_sees_one_line(
    moment: Callable[[subprocess.Popen[str], Path], bool],
    model: Path,
    slow_drive: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / 'out'
    arguments = [str(model), '--data', str(slow_drive), '--output', str(out)]
    command = [sys.executable, '-m', 'mono_metric_depth.commands.evaluate', *arguments]
    with subprocess.Popen(
        [*command, '--control', '--processes', '2'],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 180
        while not moment(process, out):
            assert process.poll() is None
            assert time.monotonic() < deadline
        # As a terminal does it: to all of its processes.
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    lines = said.replace('\r', '\n').splitlines()
    assert [line for line in lines if line and not line.startswith('evaluating')] == [
        'interrupted'
    ]


def die(*arguments: Any) -> None:
    os._exit(9)


def test_a_worker_that_dies_is_one_clear_line(
    model: Path,
    long_drive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(evaluator, '_start_worker', die)
    arguments = [model, '--data', long_drive, '--output', tmp_path / 'out', '--control']
    with pytest.raises(SystemExit):
        evaluate.main([*map(str, arguments), '--processes', '2'])
    assert 'with fewer --processes' in capsys.readouterr().err


def test_without_matplotlib_there_is_no_report_but_everything_else(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, 'mono_metric_depth.evaluation.report', None)
    folder = drive(tmp_path / 'drive', [1.0] * 2)
    run(model, '--data', folder, '--output', tmp_path / 'out', '--control')
    assert 'no report' in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / 'out').iterdir()) == [
        'errors',
        'evaluation.json',
        'images.csv',
    ]


def test_numbers_of_other_models_protocols_and_data_never_mix(model: Path, tmp_path: Path) -> None:
    folder = drive(tmp_path / 'drive', [1.0] * 3)
    out = tmp_path / 'out'
    run(model, '--data', folder, '--output', out, '--control')
    first = numbers(out)
    # Another scale in the card, another protocol, other depth under the same name.
    card = read_card(model)
    write_card(model, replace(card, scale=replace(card.scale, value=1.05)))
    run(model, '--data', folder, '--output', out, '--control')
    assert numbers(out)['models'][0]['stored_scale'] == 1.05
    assert numbers(out)['models'][0]['scalings'] != first['models'][0]['scalings']
    run(model, '--data', folder, '--output', out, '--control', '--protocol', 'kitti_eigen')
    cropped = numbers(out)['models'][0]
    assert sum(p['pixels'] for p in cropped['bands']) < sum(
        p['pixels'] for p in first['models'][0]['bands']
    )
    shutil.rmtree(folder)
    drive(folder, [1.5] * 3)
    run(model, '--data', folder, '--output', out, '--control')
    assert numbers(out)['models'][0]['oracle_scale']['value'] == pytest.approx(1.5, rel=0.01)
    # A file under another one's name is refused.
    files = sorted((out / 'errors').iterdir())
    shutil.copy(files[0], files[1])
    with pytest.raises(ValueError, match='another network or protocol'):
        read_errors(out / 'errors', files[1].stem)


def test_images_without_overlap_are_named_and_counted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Truth where the network sees nothing, none at all, all beyond range, a damaged image.
    wide = Camera(64, 32, 30.0, 30.0, 31.5, 12.0)

    def change(depth: np.ndarray[Any, Any], index: int) -> None:
        if index == 1:
            depth[:, 4:] = np.nan
        if index == 2:
            depth[:] = np.nan
        if index == 3:
            depth[:] = 200.0

    folder = drive(tmp_path / 'drive', [0.5] * 6, change, wide)
    (folder / 'image' / '000004.png').write_bytes(b'cut')
    with pytest.raises(SystemExit) as caught:
        run(model, '--data', folder, '--output', tmp_path / 'out', '--control')
    assert caught.value.code == 3
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == (
        f'error: images cannot be read and are left out: 1 of 6 of {folder}'
    )
    skipped = numbers(tmp_path / 'out')['skipped']
    assert {reason: entry['images'] for reason, entry in skipped.items()} == {
        'zero_overlap': 1,
        'no_truth': 1,
        'out_of_range': 1,
        'unreadable': 1,
    }
    assert 'left out 1 image: zero_overlap' in out
    assert f'{folder} frame 1: zero overlap: the network saw none of the' in out
    assert '000004.png' in skipped['unreadable']['first']
    assert numbers(tmp_path / 'out')['models'][0]['images'] == 2


def test_bad_input_is_one_clear_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = drive(tmp_path / 'good', [1.0] * 2)
    out = ['--output', tmp_path / 'out', '--control']
    assert 'missing.onnx' in fails(capsys, tmp_path / 'missing.onnx', '--data', good, *out)
    assert 'no drive' in fails(capsys, model, '--data', good, tmp_path / 'none', *out)
    assert 'same model' in fails(capsys, model, model, '--data', good, *out)
    assert '2/8' in fails(capsys, model, '--data', good, *out, '--shard', '9/8')
    assert '--every' in fails(capsys, model, '--data', good, *out, '--every', 0)
    assert 'no folder' in fails(capsys, model, '--data', good, '--output', model)
    # All of that before any work.
    assert not (tmp_path / 'out').exists()


def unlabelled(folder: Path, frames: int) -> Path:
    image = np.zeros((32, 64, 3), np.uint8)
    write_sequence(folder, [Frame(i, image, TINY_CAMERA) for i in range(frames)])
    return folder


def cut(folder: Path) -> Path:
    drive(folder, [1.0] * 4)
    (folder / 'sequence.json').write_text('{"version": 1, "camera"')
    return folder


def vanishing(folder: Path) -> Path:
    """It can be opened, but none of its images can be read."""
    drive(folder, [1.0] * 4)
    shutil.rmtree(folder / 'image')
    return folder


def late(folder: Path) -> Path:
    """A bag whose true depth has stamps of another clock."""
    image, depth = np.zeros((32, 64, 3), np.uint8), np.ones((32, 64), np.float32)
    stamps = [FIRST + i * 10**8 for i in range(3)]
    messages = [m for s in stamps for m in (info(s, camera=TINY_CAMERA), raw(s, image))]
    hour = 3600 * 10**9
    return write_bag(
        folder, messages + [raw(s + hour, depth, '/camera/depth_truth', '32FC1') for s in stamps]
    )


@pytest.mark.parametrize(
    ('bad', 'why', 'processes'),
    [
        (late, 'true depth from /camera/depth_truth; no stamp of it lies within 0.020 s', 1),
        (cut, 'sequence.json: cannot read: ', 1),
        (vanishing, 'none of its 4 frames can be compared: 4 unreadable, first frame 0', 2),
        (lambda folder: unlabelled(folder, 3), 'its 3 frames can be compared: 3 no_truth', 1),
        (lambda folder: unlabelled(folder, 140), 'its first 104 frames has ground truth', 1),
        (lambda folder: drive(folder, [0.01] * 60), 'bad: the median true depth is 0.5', 1),
    ],
)
def test_a_bad_drive_is_left_out_and_named_at_the_end(
    bad: Callable[[Path], Path],
    why: str,
    processes: int,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = [
        drive(tmp_path / 'good', [0.5] * 9),
        bad(tmp_path / 'bad'),
        drive(tmp_path / 'b', [0.5]),
    ]
    out = tmp_path / 'out'
    arguments = [str(model), '--data', *map(str, folders), '--output', str(out), '--control']
    for _ in range(2):  # also where all that can be done is done
        with pytest.raises(SystemExit) as caught:
            evaluate.main([*arguments, '--processes', str(processes)])
        assert caught.value.code == 1
        said = capsys.readouterr()
        last = said.err.splitlines()[-1]
        assert last.startswith('error: 1 of 3 drives left out: ')
        assert why in last
        assert 'tiny: 10 images of 2 drives' in said.out
        document = numbers(out)
        assert [d['name'] for d in document['drives']] == [str(folders[0]), str(folders[2])]
        assert list(document['failed']) == [str(folders[1])]
        assert {row['drive'] for row in images(out)} == {str(folders[0]), str(folders[2])}
        assert document['models'][0]['oracle_scale']['value'] == pytest.approx(0.5, rel=0.01)
        assert document['skipped'] == {}


def test_drives_that_are_all_bad_are_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [unlabelled(tmp_path / 'bare', 2), drive(tmp_path / 'small', [0.01] * 30)]
    line = fails(capsys, model, '--data', *folders, '--output', tmp_path / 'out', '--control')
    assert 'small: the median true depth' in line
    assert 'bare: none of its 2 frames can be compared' in line
    assert not (tmp_path / 'out' / 'evaluation.json').exists()


def test_truth_may_begin_late_and_a_finished_run_may_be_repeated(
    model: Path, tmp_path: Path
) -> None:
    def late(depth: np.ndarray[Any, Any], index: int) -> None:
        if index < 40:
            depth[:] = np.nan

    folder = drive(tmp_path / 'drive', [1.0] * 44, late)
    for _ in range(2):
        run(model, '--data', folder, '--output', tmp_path / 'out', '--control')
        assert numbers(tmp_path / 'out')['models'][0]['images'] == 4
        assert numbers(tmp_path / 'out')['skipped']['no_truth']['images'] == 40


@pytest.mark.skipif(not SAMPLE.is_file(), reason='the sample is not at hand')
def test_the_real_sample_by_one_command(tmp_path: Path) -> None:
    run(
        DEFAULT_MODEL,
        *('--data', SAMPLE, f'{SAMPLE}#CAMERA_05', '--protocol', 'ddad'),
        *('--output', tmp_path / 'out', '--control'),
    )
    document = numbers(tmp_path / 'out')
    (found,) = document['models']
    assert (found['images'], found['drives']) == (6, 2)
    assert any('ddad has 3950 images' in line for line in document['warnings'])
    assert document['skipped'] == {}
    assert math.isfinite(found['scalings']['transferred']['abs_rel']['value'])


def test_a_model_without_a_known_source_says_so(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = drive(tmp_path / 'drive', [1.0])
    card = read_card(model)
    scale = GlobalScale(1.0, 0.9, 1.1, 0.95, 'theil_sen', 10, 0.1, 'made up')
    write_card(model, replace(card, scale=scale, provenance={'source': ['/not/here']}))
    run(model, '--data', folder, '--output', tmp_path / 'out')
    assert 'no control without a network, give --control' in capsys.readouterr().out
    # One image tells nothing about others: no interval.
    found = numbers(tmp_path / 'out')['models'][0]
    assert found['scalings']['transferred']['abs_rel']['low'] is None


def test_drives_that_a_model_has_seen_are_named() -> None:
    (model,) = model_candidates([DEFAULT_MODEL])
    trained, fitted = seen_before(
        model, ['world:suburb:7x20@1.5', 'world:town:1000x6', 'world:suburb:2000', 'bag']
    )
    assert 'was trained on 1 of these 4 drives, such as world:suburb:7x20@1.5' in trained
    assert 'has its scale from 1 of these 4 drives, such as world:town:1000x6' in fitted
    assert seen_before(model, ['world:suburb:900', 'world:country:3000']) == []


def noise_bag(bag: Path, count: int) -> tuple[list[Frame], Path]:
    """Frames of a bag, and the file in it."""
    rng = np.random.default_rng(0)
    frames = [
        Frame(i * 10**8, rng.integers(0, 255, (32, 64, 3), np.uint8), TINY_CAMERA, ROWS.copy())
        for i in range(count)
    ]
    write_drive(bag, frames)
    (file,) = bag.glob('*.mcap')
    return frames, file


def test_images_that_lay_where_a_bag_is_damaged_are_counted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames, file = noise_bag(tmp_path / 'bag', 120)
    data = bytearray(file.read_bytes())
    place = data.index(frames[3].image.tobytes()[:200])
    data[place : place + 100] = bytes(100)
    file.write_bytes(data)
    with pytest.raises(SystemExit) as caught:
        run(
            model,
            *('--data', file.parent, '--output', tmp_path / 'out', '--control', '--every', 10),
        )
    assert caught.value.code == 3
    read = numbers(tmp_path / 'out')['models'][0]['images']
    last = capsys.readouterr().err.splitlines()[-1]
    # Each tenth image of those that can be read, and a tenth of the others.
    assert f'left out: {13 - read} of 13 of {file.parent}' in last
    assert 1 <= read <= 9


def test_images_of_another_size_are_named_and_counted_and_the_others_evaluated(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages: list[Message] = []
    for index in range(6):
        stamp = index * 10**8
        odd = np.zeros((12, 20, 3), np.uint8) if index in (0, 4) else None
        whole = np.full((32, 64, 3), 40 + index, np.uint8)
        messages += [
            info(stamp, camera=TINY_CAMERA),
            raw(stamp, whole if odd is None else odd),
            raw(stamp, ROWS.astype(np.float32), '/camera/depth_truth', '32FC1'),
        ]
    bag = write_bag(tmp_path / 'bag', messages)
    with pytest.raises(SystemExit) as caught:
        run(model, '--data', bag, '--output', tmp_path / 'out', '--control', bag)
    assert caught.value.code == 3
    said = capsys.readouterr()
    assert 'left out 2 images: unreadable' in said.out
    for index in (0, 4):
        assert (
            f'{bag} frame {index}: {bag}: /camera/image_raw, message {index}: it is 20x12'
            in said.out
        )
    assert said.err.splitlines()[-1].endswith(f'left out: 2 of 6 of {bag}')
    document = numbers(tmp_path / 'out')
    assert document['models'][0]['images'] == document['control']['images'] == 4
    assert document['skipped']['unreadable']['images'] == 2


def test_a_recording_without_checksums_is_told_of_once_and_in_the_report(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = [
        message
        for name in ('left', 'right')
        for stamp in range(0, 3 * 10**8, 10**8)
        for message in (
            info(stamp, f'/{name}/camera_info', TINY_CAMERA),
            raw(stamp, np.zeros((32, 64, 3), np.uint8), f'/{name}/image_raw'),
            raw(stamp, ROWS.astype(np.float32), f'/{name}/depth_truth', '32FC1'),
        )
    ]
    bag = write_bag(tmp_path / 'bag', messages)
    _, checked = noise_bag(tmp_path / 'checked', 3)
    data = ('--data', bag, checked.parent, '--control', '--output', tmp_path / 'out')
    run(model, *data)
    told = f'{bag}/bag.mcap carries no checksums: damage within its messages cannot be seen'
    said = capsys.readouterr()
    assert said.out.count('no checksums') == 1
    assert f'mind: {told}' in said.out.splitlines()
    assert 'no checksums' not in said.err
    assert told in (tmp_path / 'out' / 'report.html').read_text()


def test_what_is_wrong_with_a_bag_is_said_once_by_all_processes_and_the_report(
    model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    backwards = ('base_link', 'camera_optical_frame', (0, 0, 1), (0.5, 0.5, -0.5, -0.5))
    messages = [transforms(static_transform(*backwards))]
    for index in range(20):
        stamp = FIRST + index * 10**8
        messages += [
            info(stamp, camera=TINY_CAMERA),
            raw(stamp, np.full((32, 64, 3), index, np.uint8)),
        ]
        if index % 5:
            truth = raw(stamp, ROWS.astype(np.float32), '/camera/depth_truth', '32FC1')
            messages.append(truth)
    messages.insert(5, (*info(FIRST)[:3], b'damaged'))
    bag = write_bag(tmp_path / 'bag', messages)
    (bag / 'metadata.yaml').write_text('nothing')
    arguments = [model, '--data', bag, '--output', tmp_path / 'out', '--control']
    evaluate.main([*map(str, arguments), '--processes', '2'])
    said = [record.getMessage() for record in caplog.records]
    for words in ('bag.mcap is read without it', 'skipped a message', 'mount', '16 of 20 images'):
        assert [words in line for line in said].count(True) == 1, words
    # The workers, in processes of their own, say nothing of it.
    assert 'bag:' not in capfd.readouterr().err


def test_a_recording_that_was_cut_short_is_told_of_in_status_and_report(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, file = noise_bag(tmp_path / 'bag', 240)
    file.write_bytes(file.read_bytes()[: int(0.7 * file.stat().st_size)])
    with pytest.raises(SystemExit) as caught:
        run(model, '--data', file, '--output', tmp_path / 'out', '--control', '--every', 10)
    assert caught.value.code == 3
    told = 'its recording was cut short'
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert any(told in line for line in numbers(tmp_path / 'out')['warnings'])
    assert told in (tmp_path / 'out' / 'report.html').read_text()


def test_drives_that_were_left_out_are_named_once_whatever_their_names_hold() -> None:
    assert failures({'bag#/front/image_raw': 'none of its 2 frames can be compared'}) == (
        'bag#/front/image_raw: none of its 2 frames can be compared'
    )
    assert failures({'bag#/front/image_raw': 'bag: cannot be read'}) == 'bag: cannot be read'

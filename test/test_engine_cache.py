# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What lies in the engine cache besides engines, whom it belongs to, and who waits for it."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from samples import make_card, random_images, write_model

pytest.importorskip('onnx')
pytest.importorskip('cuda.bindings.runtime', reason="pip install '.[tensorrt]'")

from test_build_engine import write_two_convolutions
from test_tensorrt import Machine, make_machine

from mono_metric_depth.commands import build_engine
from mono_metric_depth.engines import EngineError, engine_cache, precision, selection
from mono_metric_depth.engines.built_engine import stored_engine
from mono_metric_depth.engines.engine_cache import EngineCache, default_cache
from mono_metric_depth.engines.parity_frames import parity_frames
from mono_metric_depth.engines.precision import convert_model
from mono_metric_depth.engines.selection import open_engine
from mono_metric_depth.model_card import METADATA_KEY, Normalisation, write_card
from mono_metric_depth.onnx_metadata import read_metadata


@pytest.fixture
def rtx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """TensorRT for RTX, whose engines hold for all GPUs of a compute capability."""
    return make_machine('rtx', tmp_path, monkeypatch)


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return make_machine('10.16.1.11', tmp_path, monkeypatch)


def checks(machine: Machine) -> int:
    return sum('checking the engine' in line for line in machine.said)


def description(machine: Machine) -> tuple[Path, dict[str, Any]]:
    (path,) = (
        path
        for path in (machine.folder / 'cache').glob('*.json')
        if not path.stem.endswith(('.onnx', '_cache'))
    )
    return path, json.loads(path.read_text())


def test_an_engine_is_checked_on_each_gpu_that_it_runs_on(rtx: Machine) -> None:
    rtx.open()
    rtx.open()
    assert (rtx.trt.builds, checks(rtx)) == (1, 1)
    _, found = description(rtx)
    assert found['subject'] == {
        'engine_sha256': found['sha256'],
        'runtime_version': rtx.trt.__version__,
        'gpu': 'Simulated',
        'processors': '16',
        'memory_class': '32',
        'driver': '13.2',
        'cuda': '13.2',
    }
    assert found['checked_on'] == 'the frames of the package (8)'
    # Another card of the same compute capability: the engine holds, the comparison does not.
    rtx.cuda.name = b'Another'
    rtx.trt.fault = lambda out, run: out * 1.03
    with pytest.raises(EngineError, match=r'refused: depth scaled by 1\.0300'):
        rtx.open()
    assert (rtx.trt.builds, checks(rtx)) == (1, 2)
    # Refused there is not refused here.
    rtx.cuda.name, rtx.trt.fault = b'Simulated', None
    assert rtx.open().parity is not None
    assert any('it was refused on Another' in line for line in rtx.said)
    assert checks(rtx) == 3


@pytest.mark.parametrize(
    'entry',
    ['engine_sha256', 'runtime_version', 'gpu', 'driver', 'cuda', 'processors', 'memory_class'],
)
def test_a_comparison_of_something_else_does_not_count(rtx: Machine, entry: str) -> None:
    rtx.open()
    path, found = description(rtx)
    found['subject'][entry] = 'another'
    path.write_text(json.dumps(found))
    rtx.open()
    assert (rtx.trt.builds, checks(rtx)) == (1, 2)


def test_what_was_compiled_for_this_gpu_is_kept_and_loaded_again(rtx: Machine) -> None:
    rtx.open()
    assert rtx.trt.kept == b''
    rtx.open()
    assert rtx.trt.kept == b'compiled'


def _another_gpu(machine: Machine, file: Path) -> None:
    machine.cuda.name = b'Another'


def _another_engine(machine: Machine, file: Path) -> None:
    path, found = description(machine)
    path.with_suffix('.engine').unlink()
    good = machine.trt._build

    def build(network: Any, config: Any) -> bytes | None:
        plan = good(network, config)
        return None if plan is None else plan + b' '

    machine.trt._build = build  # type: ignore[method-assign]


@pytest.mark.parametrize(
    'change',
    [
        lambda machine, file: file.write_bytes(b'compilee'),
        lambda machine, file: file.with_name(f'{file.name}.json').unlink(),
        lambda machine, file: file.with_name(f'{file.name}.json').write_text('[]'),
        _another_gpu,
        _another_engine,
    ],
)
def test_what_was_compiled_for_something_else_is_not_loaded(rtx: Machine, change: Any) -> None:
    rtx.open()
    (file,) = (rtx.folder / 'cache').glob('*.runtime_cache')
    change(rtx, file)
    rtx.open()
    assert rtx.trt.kept == b''
    assert file.read_bytes() == b'compiled'
    rtx.open()
    assert rtx.trt.kept == b'compiled'


def conversions(machine: Machine) -> int:
    return sum('converting' in line for line in machine.said)


def test_a_converted_network_counts_byte_by_byte(desktop: Machine) -> None:
    desktop.open(precision='fp16')
    (converted,) = (desktop.folder / 'cache').glob('*fp16.onnx')
    good = converted.read_bytes()
    # A weight, in a file that is a valid model all the same: nothing but its hash tells.
    content = bytearray(good)
    content[len(good) // 2] ^= 1
    converted.write_bytes(bytes(content))
    desktop.open(precision='fp16')
    assert converted.read_bytes() == good
    assert (conversions(desktop), desktop.trt.builds) == (2, 1)
    converted.with_name(f'{converted.name}.json').unlink()
    desktop.open(precision='fp16')
    assert conversions(desktop) == 3


def test_a_network_converted_by_an_earlier_recipe_is_converted_again(
    desktop: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    desktop.open(precision='fp16')
    monkeypatch.setattr(engine_cache, '_RECIPE', 10**6)
    desktop.open(precision='fp16')
    assert conversions(desktop) == 2


def test_built_again_is_converted_again(desktop: Machine) -> None:
    desktop.open(precision='fp16')
    desktop.open(precision='fp16', anew=True)
    assert (conversions(desktop), desktop.trt.builds) == (2, 2)


def test_who_waits_for_the_cache_says_so_and_for_whom(tmp_path: Path) -> None:
    said: list[str] = []
    first, second = (EngineCache(tmp_path / 'cache', 'tiny') for _ in range(2))
    entered = threading.Event()

    def build() -> None:
        with second.building('the other engine', said.append):
            entered.set()

    with first.building('the engine of tiny.onnx'):
        thread = threading.Thread(target=build)
        thread.start()
        deadline = time.monotonic() + 60
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not entered.is_set()
    thread.join(60)
    assert entered.is_set()
    assert said == [
        f'waiting for process {os.getpid()} (the engine of tiny.onnx), which uses '
        f'{tmp_path / "cache"}'
    ]
    with second.building('x', said.append):
        assert len(said) == 1


def test_a_lock_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / 'cache', 'tiny')
    (tmp_path / 'cache' / '.lock').mkdir()
    with (
        pytest.raises(EngineError, match=r'\.lock: no engine can be kept there: Is a directory'),
        cache.building('an engine'),
    ):
        pytest.fail('it was had')


def test_a_node_that_is_ended_does_not_wait_for_the_cache(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / 'cache', 'tiny')

    def ended() -> None:
        msg = 'ended'
        raise RuntimeError(msg)

    with (
        cache.building('an engine'),
        pytest.raises(RuntimeError, match='ended'),
        cache.building('another', on_step=ended),
    ):
        pytest.fail('it did not wait')


def test_a_disk_that_is_full_ends_in_one_line(
    desktop: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', fsync)
    with pytest.raises(EngineError, match='cannot be kept: No space left on device; make room'):
        desktop.open()
    assert [path.name for path in (desktop.folder / 'cache').iterdir()] == ['.lock']


# Whether the operator hears of it.


def test_falling_back_is_a_warning_where_a_gpu_is_or_was_meant_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / 'tiny.onnx')
    write_card(model, make_card())
    said: list[str] = []
    warned: list[str] = []

    def find_gpu() -> None:
        msg = 'no driver'
        raise EngineError(msg)

    def opened() -> tuple[int, int]:
        said.clear()
        warned.clear()
        open_engine(
            *(model, make_card()),
            threads=1,
            cache=tmp_path / 'cache',
            say=said.append,
            warn=warned.append,
        )
        return sum('TensorRT' in line for line in said), len(warned)

    monkeypatch.setattr(selection, 'find_gpu', find_gpu)
    monkeypatch.setattr(selection, '_GPU_DEVICES', (str(tmp_path / 'nvidia0'),))
    assert opened() == (1, 0)
    (tmp_path / 'nvidia0').write_text('')
    assert opened() == (0, 1)
    assert 'runs the model, not TensorRT: no driver' in warned[0]
    (tmp_path / 'nvidia0').unlink()
    (tmp_path / 'cache').mkdir(exist_ok=True)
    (tmp_path / 'cache' / 'other-fp16-0.engine').write_text('')
    assert opened() == (1, 0)
    (tmp_path / 'cache' / 'tiny-fp16-0.engine').write_text('')
    assert opened() == (0, 1)


@pytest.mark.parametrize(
    ('arguments', 'use'),
    [
        ([], 'depth_node with one camera, precision:=fp16'),
        (['--batch', '1..3', '--precision', 'fp32'], 'depth_node with 3 cameras, precision:=fp32'),
        (['--batch', '3'], 'for other programs: .* built with --batch 1..3'),
        (['--workspace', '2048'], 'for other programs: .* built with --workspace 1024'),
        (['--cache', '/x'], 'for other programs: .* built with --cache .*XDG_CACHE_HOME'),
    ],
)
def test_build_engine_says_which_node_takes_the_engine_before_it_builds(
    arguments: list[str],
    use: str,
    desktop: Machine,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    def nothing() -> None:
        msg = 'nothing is built here'
        raise EngineError(msg)

    monkeypatch.setattr(build_engine, 'usable_tensorrt', nothing)
    with pytest.raises(SystemExit):
        build_engine.main([str(desktop.model), *arguments])
    assert re.search(f'use     {use}', capsys.readouterr().out)


def test_what_is_said_of_the_node_is_so(
    desktop: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A node of three cameras opens the engine that was built for it, and builds nothing."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(desktop.folder))
    monkeypatch.setattr(selection, 'find_bindings', desktop.trt.bindings)
    arguments = ['--batch', '1..3', '--precision', 'fp32', '--cache', str(default_cache())]
    build_engine.main([str(desktop.model), *arguments])
    assert 'use     depth_node with 3 cameras' in capsys.readouterr().out
    open_engine(desktop.model, make_card(), precision='fp32', batch=3)
    assert desktop.trt.builds == 1


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
def test_the_commands_that_are_printed_bring_an_engine_to_the_node_that_takes_it(
    precision: str,
    rtx: Machine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Built on a machine without a GPU, with a cache elsewhere; ssh and scp go to a folder."""
    write_two_convolutions(rtx.model)
    monkeypatch.setattr(build_engine, 'find_bindings', rtx.trt.bindings)
    monkeypatch.setattr(selection, 'find_bindings', rtx.trt.bindings)
    shown = parity_frames(make_card())
    monkeypatch.setattr(build_engine, '_inputs', lambda model, drives, count: shown)
    command = [str(rtx.model), '--compute-capability', '8.9', '--precision', precision]
    command += ['--cache', str(tmp_path / 'a cache')]
    build_engine.main([*command, *(['--calibrate', 'x'] if precision == 'int8' else [])])
    said = capsys.readouterr().out
    assert f'use     depth_node with one camera, precision:={precision}' in said
    assert 'with a GPU of compute capability 8.9, tensorrt_rtx' in said
    robot, programs = tmp_path / 'robot', tmp_path / 'programs'
    robot.mkdir()
    programs.mkdir()
    for name, script in (
        ('ssh', 'cd "$HOME" && umask 002 && exec sh -c "$2"'),
        ('scp', 'to="${@: -1}" && exec cp "${@:1:$#-1}" "$HOME/${to#ROBOT:}"'),
    ):
        (programs / name).write_text(f'#!/bin/bash\n{script}\n')
        (programs / name).chmod(0o755)
    environment = {'HOME': str(robot), 'PATH': f'{programs}:{os.environ["PATH"]}'}
    lines = [line for line in said.splitlines() if line.startswith('  ')]
    assert len(lines) == 2
    for line in lines:
        subprocess.run(line, shell=True, check=True, env=environment)
    # The robot: its node builds nothing, and checks what came.
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(robot))
    said_there: list[str] = []
    engine: Any = open_engine(
        *(rtx.model, make_card()), precision=precision, say=said_there.append, engine='tensorrt'
    )
    assert rtx.trt.builds == 1
    assert engine.parity is not None
    assert said_there[0] == 'checking the engine against ONNX Runtime on the CPU'
    engine.close()
    # It is refused there if it is wrong there.
    rtx.cuda.name = b'Another'
    rtx.trt.fault = lambda out, run: out * 1.03
    with pytest.raises(EngineError, match=r'refused: depth scaled by 1\.0[23]'):
        open_engine(rtx.model, make_card(), precision=precision, engine='tensorrt')


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('', 'must be a file in a folder that can be written to'),
        ('tiny.onnx', 'an engine is no ONNX file'),
        ('no/x.engine', 'there is no such folder'),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_built(
    name: str, message: str, desktop: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    before = desktop.model.read_bytes()
    with pytest.raises(SystemExit):
        build_engine.main([str(desktop.model), '--output', str(desktop.folder / name)])
    assert message in capsys.readouterr().err
    assert desktop.trt.builds == 0
    assert desktop.model.read_bytes() == before


# What the key holds.


def test_a_scale_that_is_fitted_again_needs_no_other_engine(desktop: Machine) -> None:
    card = desktop.card
    assert card.scale is not None
    frames = random_images((4, 24, 32, 4))
    write_two_convolutions(desktop.model)
    for kind in ('fp32', 'fp16'):
        desktop.open(precision=kind)
    stored_engine(desktop.request(precision='int8', calibration=frames))
    builds, made = desktop.trt.builds, conversions(desktop)
    scale = dataclasses.replace(card.scale, value=card.scale.value * 1.01, high=9e8)
    desktop.card = dataclasses.replace(card, name='fitted', scale=scale, provenance={'a': 1})
    write_card(desktop.model, desktop.card)
    desktop.said.clear()
    for kind in ('fp32', 'fp16'):
        desktop.open(precision=kind)
    stored_engine(desktop.request(precision='int8'))  # which is not calibrated again
    assert (desktop.trt.builds, conversions(desktop)) == (builds, 0)
    assert made == 2
    assert checks(desktop) == 0
    for converted in (desktop.folder / 'cache').glob('*.onnx'):
        assert METADATA_KEY not in read_metadata(converted)


def test_int8_is_calibrated_again_for_another_normalisation(desktop: Machine) -> None:
    write_two_convolutions(desktop.model)
    calibration = random_images((4, 24, 32, 4))
    stored_engine(desktop.request(precision='int8', calibration=calibration))
    desktop.card = make_card(normalisation=Normalisation('bgr'))
    with pytest.raises(EngineError, match='calibrated on images first'):
        stored_engine(desktop.request(precision='int8'))


@pytest.mark.parametrize(
    ('name', 'value'), [('processors', 8), ('memory_size', 15 << 30), ('driver_version', 12060)]
)
def test_jetsons_that_share_a_name_share_no_engine(
    desktop: Machine, name: str, value: int
) -> None:
    desktop.open()
    setattr(desktop.cuda, name, value)
    desktop.open()
    # Another driver runs the same engine, and is compared again.
    assert desktop.trt.builds == (1 if name == 'driver_version' else 2)
    assert checks(desktop) == 2
    desktop.open()
    assert checks(desktop) == 2


def test_memory_that_the_system_keeps_for_itself_is_no_other_gpu(desktop: Machine) -> None:
    desktop.open()
    desktop.cuda.memory_size -= 1 << 28
    desktop.open()
    assert (desktop.trt.builds, checks(desktop)) == (1, 1)


# Who may read and write it.


@pytest.fixture
def loose_umask() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.mark.usefixtures('loose_umask')
@pytest.mark.parametrize('kind', ['fp16', 'int8'])
def test_a_loose_umask_makes_no_file_that_others_may_write(desktop: Machine, kind: str) -> None:
    write_two_convolutions(desktop.model)
    calibration = random_images((4, 24, 32, 4)) if kind == 'int8' else None
    stored_engine(desktop.request(precision=kind, calibration=calibration))
    modes = {path.name: path.stat().st_mode & 0o777 for path in desktop.folder.glob('cache/*')}
    assert set(modes.values()) == {0o600}, modes
    stored_engine(desktop.request(precision=kind))
    assert (desktop.trt.builds, conversions(desktop)) == (1, 1)


def test_a_converted_network_that_others_may_write_is_made_anew(desktop: Machine) -> None:
    desktop.open(precision='fp16')
    (converted,) = desktop.folder.glob('cache/*.onnx')
    converted.chmod(0o664)
    desktop.open(precision='fp16')
    assert any('others may write to it (mode 664)' in line for line in desktop.said)
    assert converted.stat().st_mode & 0o777 == 0o600
    if os.getuid() == 0:
        os.chown(converted, 12345, 12345)
        with pytest.raises(EngineError, match='belongs to another user'):
            desktop.open(precision='fp16')


@pytest.mark.parametrize('version', ['rtx', '10.16.1.11'])
def test_a_checked_engine_is_taken_from_a_cache_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    machine = make_machine(version, tmp_path, monkeypatch)
    machine.open(precision='fp16').close()
    builds, before = machine.trt.builds, files(machine)
    (machine.folder / 'cache' / '.lock').unlink()
    _make_read_only(monkeypatch)
    machine.open(precision='fp16').close()
    assert (machine.trt.builds, files(machine)) == (builds, before)
    # Without an engine there is nothing to run.
    with pytest.raises(EngineError, match='Read-only file system'):
        machine.open(batch=(1, 2))


def test_a_check_that_cannot_be_kept_is_made_again(
    desktop: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    desktop.open()
    desktop.cuda.driver_version = 12060
    _make_read_only(monkeypatch)
    assert desktop.open().parity is not None
    assert any('the result of the check is not kept' in line for line in desktop.said)
    desktop.trt.fault = lambda out, run: out * 1.03
    with pytest.raises(EngineError, match=r'refused: depth scaled by 1\.0300'):
        desktop.open()


def files(machine: Machine) -> dict[str, bytes]:
    """All but the lock."""
    found = (machine.folder / 'cache').iterdir()
    return {path.name: path.read_bytes() for path in found if path.name != '.lock'}


def _make_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a disk that is mounted so: whoever is root could write to a folder without the right."""
    real = os.open

    def refused(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def opened(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            refused()
        return real(path, flags, *arguments, **options)

    monkeypatch.setattr(os, 'open', opened)
    for name in ('unlink', 'rename', 'replace'):
        monkeypatch.setattr(os, name, refused)


def test_a_full_disk_is_what_is_said_where_the_runtime_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / 'tiny.onnx')
    folded = precision._folded
    monkeypatch.setattr(precision, '_folded', lambda source, to: folded(source, Path('/dev/full')))
    with pytest.raises(EngineError, match='cannot be converted to fp16: .*erialization failed'):
        convert_model(model, tmp_path / 'half.onnx', make_card(), 'fp16')
    full = SimpleNamespace(free=0)
    monkeypatch.setattr(precision.shutil, 'disk_usage', lambda path: full)
    with pytest.raises(EngineError, match=f'to fp16: no space left in {tmp_path}; make room'):
        convert_model(model, tmp_path / 'half.onnx', make_card(), 'fp16')
    assert [path.name for path in tmp_path.iterdir()] == ['tiny.onnx']


@pytest.mark.parametrize('moment', ['holds', 'describe'])
def test_two_that_start_at_once_do_not_end_each_other(
    rtx: Machine, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Another removes what this one compiled, in between."""
    real = getattr(EngineCache, moment)

    def raced(self: EngineCache, path: Path, made_of: Any) -> Any:
        if path.suffix == '.runtime_cache':
            path.unlink(missing_ok=True)
        return real(self, path, made_of)

    monkeypatch.setattr(EngineCache, moment, raced)
    rtx.open().close()
    monkeypatch.undo()


def test_a_check_takes_the_stored_engine_and_says_what_it_was_checked_on(
    desktop: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(selection, 'find_bindings', desktop.trt.bindings)
    monkeypatch.setattr(
        build_engine, '_inputs', lambda model, drives, count: random_images((3, 24, 32, 4))
    )
    command = [str(desktop.model), '--precision', 'fp32', '--cache', str(desktop.folder / 'cache')]
    build_engine.main(command)
    assert 'checked on the frames of the package (8)' in capsys.readouterr().out
    build_engine.main([*command, '--check', 'my_drive'])
    said = capsys.readouterr().out
    assert 'building' not in said
    assert 'checking the engine against' in said
    assert 'checked on my_drive (3)' in said
    assert description(desktop)[1]['checked_on'] == 'my_drive (3)'
    assert desktop.trt.builds == 1
    # An engine that fails there is refused from then on.
    desktop.trt.fault = lambda out, run: out * 1.03
    with pytest.raises(SystemExit):
        build_engine.main([*command, '--check', 'my_drive'])
    desktop.trt.fault = None
    with pytest.raises(SystemExit):
        build_engine.main(command)
    assert 'is refused: depth scaled by 1.0300' in capsys.readouterr().err
    assert desktop.trt.builds == 1


# Files that are none.


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _link(path: Path) -> None:
    """To what would do, were it here."""
    precious = path.parents[1] / 'precious'
    precious.write_bytes(b'precious')
    if path.exists():
        path.rename(precious)
    path.symlink_to(precious)


@pytest.mark.parametrize('make', [_pipe, _link])
@pytest.mark.parametrize('suffix', ['.json', '.engine', '.onnx', '.onnx.json', '.timing_cache'])
def test_pipes_and_links_in_the_cache_are_made_anew(
    desktop: Machine, suffix: str, make: Callable[[Path], None]
) -> None:
    desktop.open(precision='fp16').close()
    (path,) = (
        path
        for path in desktop.folder.glob(f'cache/*{suffix}')
        if path.name.count('.') == suffix.count('.')
        or (suffix == '.timing_cache' and path.name.endswith(suffix))
    )
    before = path.read_bytes()
    make(path)
    if suffix == '.timing_cache':
        desktop.folder.joinpath('cache').joinpath(description(desktop)[0].name).unlink()
    desktop.open(precision='fp16').close()
    assert path.is_file()
    assert not path.is_symlink()
    if make is _link:
        assert (desktop.folder / 'precious').read_bytes() == before


@pytest.mark.parametrize(('make', 'words'), [(_pipe, 'it is no file'), (_link, 'it is a link')])
def test_a_pipe_or_link_for_a_lock_is_named_and_left_alone(
    desktop: Machine, make: Callable[[Path], None], words: str
) -> None:
    (desktop.folder / 'cache').mkdir(mode=0o700)
    make(desktop.folder / 'cache' / '.lock')
    with pytest.raises(EngineError, match=rf'\.lock: no engine can be kept there: {words}'):
        desktop.open()
    if make is _link:
        assert (desktop.folder / 'precious').read_text() == 'precious'

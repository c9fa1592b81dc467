# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""How depth_node starts, refuses to start, and ends; its parameters; its launch file."""

from __future__ import annotations

import json
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy')

import rclpy
from conftest import ROOT
from rclpy.parameter import Parameter
from rclpy.task import Future
from robot import Robot, image_message, info_message, noise

from mono_metric_depth.camera import Camera
from mono_metric_depth.commands.depth_node import _spin, main
from mono_metric_depth.model_card import METADATA_KEY, card_to_json, read_card
from mono_metric_depth.nodes.depth_node import DepthNode
from mono_metric_depth.nodes.frame_worker import WORKING
from mono_metric_depth.nodes.model_loading import LOADING
from mono_metric_depth.nodes.parameters import RULES, Parameters, Rule
from mono_metric_depth.onnx_metadata import write_metadata

NODE = [sys.executable, '-m', 'mono_metric_depth.commands.depth_node', '--ros-args']
CONFIGURATION = ROOT / 'config' / 'depth.yaml'
CAMERA = Camera(100, 60, 80.0, 82.0, 48.0, 28.0)


def _missing(model: Path, folder: Path) -> Path:
    return folder / 'missing.onnx'


def _truncated(model: Path, folder: Path) -> Path:
    path = folder / 'truncated.onnx'
    path.write_bytes(model.read_bytes()[:-300])
    return path


def _without_card(model: Path, folder: Path) -> Path:
    path = folder / 'bare.onnx'
    path.write_bytes(model.read_bytes())
    write_metadata(path, {METADATA_KEY: ''})
    data = path.read_bytes().replace(METADATA_KEY.encode(), b'x' * len(METADATA_KEY))
    path.write_bytes(data)
    return path


def _newer_card(model: Path, folder: Path) -> Path:
    path = folder / 'newer.onnx'
    path.write_bytes(model.read_bytes())
    card = json.loads(card_to_json(read_card(model)))
    write_metadata(path, {METADATA_KEY: json.dumps({**card, 'version': 99})})
    return path


def _other_size(model: Path, folder: Path) -> Path:
    path = folder / 'other.onnx'
    path.write_bytes(model.read_bytes())
    card = json.loads(card_to_json(read_card(model)))
    card['canonical_camera']['width'] = 96
    write_metadata(path, {METADATA_KEY: json.dumps(card)})
    return path


MODELS = [
    (_missing, 'missing.onnx: cannot open the model file'),
    (_truncated, 'truncated.onnx: truncated or not an ONNX model'),
    (_without_card, 'bare.onnx: the model has no card'),
    (_newer_card, 'newer.onnx: the model card has version 99, this package understands up to'),
    (_other_size, 'the card asks for float32 [1, 3, 32, 96]'),
]


def refusal(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The one line that the command says when it refuses to start."""
    with pytest.raises(SystemExit) as ended:
        main(['depth_node', *arguments])
    assert ended.value.code == 1
    assert not rclpy.ok()
    lines = capfd.readouterr().err.splitlines()
    assert not any('Traceback' in line for line in lines)
    errors = [line for line in lines if line.startswith('error: ')]
    assert len(errors) == 1, lines
    return errors[0]


@pytest.mark.parametrize(('damage', 'message'), MODELS)
def test_a_model_that_cannot_be_trusted_is_refused(
    damage: Callable[[Path, Path], Path],
    message: str,
    tiny_model: Path,
    tmp_path: Path,
    domain: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = damage(tiny_model, tmp_path)
    assert message in refusal(['--ros-args', '-p', f'model:={path}'], capfd)


@pytest.mark.parametrize('arguments', [['model:=/missing.onnx'], ['pitch:=2.0', '-p', 'model:=x']])
def test_the_process_ends_with_status_1_and_one_line(arguments: list[str], domain: int) -> None:
    done = subprocess.run([*NODE, '-p', *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith('error: ')
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['-p', 'threads:=-1'], 'threads out of range. Min: 0, Max: 256, value: -1'),
        (['-p', 'threads:=257'], 'threads out of range'),
        (
            ['-p', 'threads:=many'],
            "'threads' to 'many' of type 'STRING', expecting type 'INTEGER'",
        ),
        (['-p', 'rectified:=1'], "of type 'INTEGER', expecting type 'BOOL'"),
        (['-p', 'pitch:=2.0'], 'pitch out of range Min: -1.5, Max: 1.5, value: 2.0'),
        (['-p', 'yaw:=.nan'], 'yaw out of range'),
        (['-p', 'depth_encoding:=mono8'], "must be one of 32FC1, 16UC1, got 'mono8'"),
        (['-p', 'cameras:=[front, front-left]'], 'letters, digits and single underscores, each'),
        (['-p', 'cameras:=[front, left, front]'], "got 'front' in ['front', 'left', 'front']"),
        (['-p', 'cameras:=[front, "2nd"]'], "got '2nd' in"),
        (['-p', 'cameras:=front'], "expecting type 'STRING_ARRAY'"),
        (['-p', f'cameras:=[{", ".join(f"c{n}" for n in range(17))}]'], 'at most 16 cameras'),
        (['-p', 'cameras:=[front]', '-p', 'front.pitch:=2.0'], 'front.pitch out of range'),
        (['-p', 'cameras:=[front]', '-p', 'front.roll:=low'], "'front.roll' to 'low' of type"),
        (['-p', 'depth_resolution:=full'], "must be one of network, input, got 'full'"),
        (['--params-file', '/missing.yaml'], "Couldn't parse params file"),
        (['-p', 'model:=~nosuchuser/a.onnx'], '~nosuchuser/a.onnx: there is no such home'),
        (['-p', 'rubbish'], "Couldn't parse parameter override rule"),
        (['--rubbish'], '--rubbish'),
        *(
            (
                ['-p', f'qos_overrides./{topic}.{policy}:={value}'],
                f'parameter qos_overrides./{topic}.{policy} must be {told}',
            )
            for topic, policy, value, told in [
                (
                    'image.subscription',
                    'reliability',
                    "'often'",
                    'one of system_default, reliable, best_effort',
                ),
                ('image.subscription', 'depth', -1, 'an integer from 1 to 1000'),
                ('camera_info.subscription', 'depth', 0, 'an integer from 1 to 1000'),
                ('depth/image.publisher', 'depth', 99999999999, 'an integer from 1 to 1000'),
                ('depth/image.publisher', 'depth', 1.5, 'an integer from 1 to 1000'),
                ('depth/points.publisher', 'depth', True, 'an integer from 1 to 1000'),
                ('depth/points.publisher', 'history', "'unknown'", 'one of system_default, keep'),
                ('camera_info.subscription', 'durability', 3, 'one of system_default, transient'),
            ]
        ),
    ],
)
def test_a_bad_parameter_is_refused(
    arguments: list[str],
    message: str,
    tiny_model: Path,
    domain: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = ['-p', f'model:={tiny_model}']
    assert message in refusal(['--ros-args', *model, *arguments], capfd)


def test_an_argument_that_ros_does_not_take_is_refused(
    domain: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "unexpected argument 'model:=a.onnx'" in refusal(['model:=a.onnx'], capfd)


def started(domain: int, arguments: list[str]) -> tuple[Robot, DepthNode]:
    robot = Robot(domain)
    node = DepthNode(context=robot.context, cli_args=['--ros-args', *arguments])
    robot.add(node)
    return robot, node


def test_every_parameter_is_described_and_changes_when_it_says(
    domain: int, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    robot, node = started(domain, ['-p', f'model:={tiny_model}', '-p', 'pich:=0.1'])
    try:
        robot.until(lambda: node.state == 'active', 'active')
        for field in fields(Parameters):
            rule = RULES[field.name]
            descriptor = node.describe_parameter(field.name)
            assert descriptor.description == rule.description
            assert len(rule.description) > 10
            assert descriptor.read_only == (rule.changes == 'never')
            ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
            assert [(found.from_value, found.to_value) for found in ranges] == (
                [rule.span] if rule.span else []
            )
            assert all(choice in descriptor.additional_constraints for choice in rule.choices)
            assert field.default in (rule.choices or (field.default,))
            other = {
                bool: lambda default: not default,
                int: lambda default: default + 1,
                float: lambda default: default + 0.25,
                str: lambda default, rule=rule: rule.choices[-1] if rule.choices else 'other',
                tuple: lambda default: ['front'],
            }[type(field.default)](field.default)
            (result,) = node.set_parameters([Parameter(field.name, value=other)])
            assert result.successful == (rule.changes == 'running'), field.name
            if rule.changes == 'unconfigured':
                assert 'changes only while the node is unconfigured' in result.reason
                (same,) = node.set_parameters([node.get_parameter(field.name)])
                assert same.successful
        warning = 'there is no parameter pich, it is ignored; known are model, threads'
        assert warning in capfd.readouterr().err
    finally:
        robot.close()


def test_the_parameter_file_explains_every_parameter_and_holds_its_default(
    domain: int, tiny_model: Path
) -> None:
    text = CONFIGURATION.read_text()
    (parameters,) = yaml.safe_load(text).values()
    expected = {field.name: field.default for field in fields(Parameters)} | {'cameras': []}
    assert parameters['ros__parameters'] == expected
    kinds = {name: type(value) for name, value in parameters['ros__parameters'].items()}
    assert kinds == {name: type(default) for name, default in expected.items()}
    sections = dict(re.findall(r'^    # (\w.*):\n\n((?:    .+\n)+)', text, re.MULTILINE))
    assert set(sections) == set(CHANGES.values())
    for name, rule in RULES.items():
        said = re.search(rf'((?:    # .*\n)+)    {name}:', sections[CHANGES[rule.changes]])
        assert said is not None, name
        assert ' '.join(said[1].replace('#', '').split()) == explained(rule)
    model = ['-p', f'model:={tiny_model}']
    robot, node = started(domain, ['--params-file', str(CONFIGURATION), *model])
    try:
        robot.ask(image_message(noise(60, 100)), info_message(CAMERA))
        del expected['cameras']  # an empty list in YAML has no type
        for name, default in expected.items():
            value = node.get_parameter(name).value
            assert value == (str(tiny_model) if name == 'model' else default)
        assert not any('there is no parameter' in line for line in robot.logged)
    finally:
        robot.close()


CHANGES = {
    'unconfigured': 'Change only while the node is unconfigured',
    'never': 'Never changes',
    'running': 'Change between any two frames',
}


def explained(rule: Rule) -> str:
    """A parameter's description and what is allowed, in a sentence each."""
    text = rule.description
    if rule.choices:
        text += f' One of {", ".join(rule.choices)}.'
    return text


def test_the_readme_lists_every_parameter() -> None:
    rows = [
        f'| `{name}` | `{json.dumps(getattr(Parameters(), name))}` | {explained(rule)} |'
        for name, rule in RULES.items()
    ]
    table = '\n'.join(rows)
    assert table in (ROOT / 'README.md').read_text(), table


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_in_the_midst_of_its_work(
    number: signal.Signals, domain: int, tiny_model: Path
) -> None:
    # 0.5 s where nothing else runs; once more where something does.
    lasted: list[float] = []
    while len(lasted) < 3 and not any(found < 2 for found in lasted):
        lasted.append(seconds_to_end(number, domain, tiny_model))
    assert min(lasted) < 2, lasted


def seconds_to_end(number: signal.Signals, domain: int, model: Path) -> float:
    """How long a signal takes to end a node that is at work."""
    command = [*NODE, '-p', f'model:={model}', '-p', 'depth_resolution:=input']
    node = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    robot, ended = Robot(domain), threading.Event()
    image, info = image_message(noise(480, 640)), info_message(CAMERA.resized(640, 480))
    stream = threading.Thread(target=keep_sending, args=(robot, image, info, ended))
    try:
        robot.ask(image, info)
        stream.start()
        robot.until(lambda: len(robot.answers['depth/points']) > 5, 'a stream of answers')
        sent = time.monotonic()
        node.send_signal(number)
        output, errors = node.communicate(timeout=60)
        lasted = time.monotonic() - sent
    finally:
        ended.set()
        if stream.is_alive():
            stream.join()
        robot.close()
        node.kill()
    assert node.returncode == 0, errors
    assert 'Traceback' not in errors + output
    assert 'dropped' not in errors
    return lasted


def keep_sending(robot: Robot, image: object, info: object, ended: threading.Event) -> None:
    while not ended.wait(0.02):
        robot.send(image, info)


@pytest.mark.parametrize('lasts', [0.3, 100.0])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_model_loads_ends_the_node_quietly(
    number: signal.Signals, lasts: float, domain: int, tiny_model: Path
) -> None:
    program = (
        'import os, time\n'
        'from mono_metric_depth.commands.depth_node import main\n'
        'from mono_metric_depth.estimator import DepthEstimator\n'
        'load = DepthEstimator.load\n'
        'def interrupted(*args, **options):\n'
        f'    os.kill(os.getpid(), {int(number)})\n'
        f'    time.sleep({lasts})\n'
        '    return load(*args, **options)\n'
        'DepthEstimator.load = interrupted\n'
        f'main(["depth_node", "--ros-args", "-p", "model:={tiny_model}"])\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr
    assert 'error' not in done.stderr


@pytest.mark.parametrize('name', [LOADING, *WORKING])
def test_the_process_ends_at_once_while_a_thread_works(name: str) -> None:
    program = (
        'import threading, time\n'
        'from mono_metric_depth.commands import depth_node\n'
        f'thread = threading.Thread(target=time.sleep, args=(9,), name={name!r}, daemon=True)\n'
        'thread.start()\n'
        'depth_node._run = lambda arguments: None\n'
        'depth_node.main(["depth_node"])\n'
        'print("went on")\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=True
    )
    assert done.stdout == ''


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='glibc has many heaps')
def test_threads_of_the_node_share_one_heap() -> None:
    program = (
        'import ctypes, sys, threading\n'
        'from mono_metric_depth.commands import depth_node\n'
        'if sys.argv[1] == "shared": depth_node._share_one_heap()\n'
        'libc = ctypes.CDLL(None)\n'
        'libc.malloc.restype = ctypes.c_void_p\n'
        'barrier = threading.Barrier(4)\n'
        'def allocate():\n'
        '    libc.malloc(100_000)\n'
        '    barrier.wait()\n'
        'threads = [threading.Thread(target=allocate) for _ in range(4)]\n'
        'for thread in threads: thread.start()\n'
        'for thread in threads: thread.join()\n'
        'libc.fdopen.restype = ctypes.c_void_p\n'
        'out = ctypes.c_void_p(libc.fdopen(1, b"w"))\n'
        'libc.malloc_info(0, out)\n'
        'libc.fflush(out)\n'
    )
    heaps = {}
    for kind in ('shared', 'own'):
        done = subprocess.run(
            [sys.executable, '-c', program, kind], capture_output=True, text=True, check=True
        )
        heaps[kind] = done.stdout.count('<heap nr=')
    assert heaps['shared'] == 1 < heaps['own']


def test_spinning_keeps_nothing_of_what_it_has_done(domain: int) -> None:
    """Each turn of the executor may leave nothing on the future: memory would grow for ever."""

    class Counted(Future):
        callbacks = 0

        def add_done_callback(self, callback: Callable[[Future], None]) -> None:
            self.callbacks += 1
            super().add_done_callback(callback)

    rclpy.init(domain_id=domain)
    node = rclpy.create_node('turning')
    try:
        node.refused = Counted()
        turns = []

        def turn() -> None:
            turns.append(None)
            if len(turns) == 100:
                node.refused.set_result('enough')

        node.create_timer(0.001, turn)
        _spin(node)
        assert len(turns) == 100
        assert node.refused.callbacks <= 1
    finally:
        node.destroy_node()
        rclpy.shutdown()

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Replay: a bag in, a bag with depth out; whole, in order, the same every time."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bags import (
    FIRST,
    Message,
    compressed,
    dgp_bag,
    info,
    picture,
    raw,
    static_transform,
    transforms,
    write_bag,
)
from conftest import ROOT, TINY_CAMERA
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from mono_metric_depth.camera import Mount
from mono_metric_depth.commands import evaluate, replay
from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.bag import deserialized, write_drive
from mono_metric_depth.datasets.bag_sequence import BagSequence
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.frame import Frame

MCAP, SQLITE3 = StoragePlugin.MCAP, StoragePlugin.SQLITE3
STEP = 10**8
VIEW = replace(TINY_CAMERA, width=80, cx=40.0)
SAMPLE = ROOT.parent / 'shared' / 'data' / 'dgp_sample' / 'scene_dataset_v1.0.json'
ADDED = ('depth/image', 'depth/camera_info', 'depth/points', 'depth/preview/compressed')


def drive(
    count: int = 6, make: Callable[..., Message] = raw, name: str = 'camera', **changes: Any
) -> list[Message]:
    """A camera and something else between its images."""
    topic = f'/{name}/image_raw' + ('/compressed' if make is compressed else '')
    messages = [
        transforms(
            static_transform(
                'base_link', 'camera_optical_frame', (0, 0, 1.5), (-0.5, 0.5, -0.5, 0.5)
            )
        )
    ]
    for index in range(count):
        stamp = FIRST + index * STEP
        messages.append(info(stamp, f'/{name}/camera_info', VIEW))
        messages.append(make(stamp, picture(index, 80, 32), topic, **changes))
        messages.append(raw(stamp, np.full((2, 2), index, np.uint16), '/other', '16UC1'))
    return messages


def contents(path: Path) -> list[tuple[str, int, str, bytes]]:
    with Reader(path) as reader:
        return [(c.topic, t, c.msgtype, bytes(data)) for c, t, data in reader.messages()]


def files(path: Path) -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(path.iterdir())}


@pytest.fixture
def run(tiny_model: Path) -> Callable[..., None]:
    def call(bag: Path, output: Path, *options: object, status: int = 0) -> None:
        arguments = [bag, '--output', output, '--model', tiny_model, '--threads', 1, *options]
        if not status:
            replay.main([str(argument) for argument in arguments])
            return
        with pytest.raises(SystemExit) as ended:
            replay.main([str(argument) for argument in arguments])
        assert ended.value.code == status

    return call


@pytest.fixture
def refused(run: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            run(*arguments)
        assert ended.value.code == 1
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith('error: ')
        return last

    return call


@pytest.mark.parametrize(
    ('before', 'after', 'make'),
    [(MCAP, SQLITE3, raw), (SQLITE3, MCAP, compressed), (MCAP, MCAP, compressed)],
)
def test_depth_is_added_behind_each_image_and_all_else_is_kept(
    before: StoragePlugin,
    after: StoragePlugin,
    make: Callable[..., Message],
    run: Callable[..., None],
    tmp_path: Path,
) -> None:
    bag = write_bag(tmp_path / 'bag', drive(make=make), before)
    run(bag, tmp_path / 'out', '--storage', after.name.lower())
    suffix = {MCAP: 'replay_0.mcap', SQLITE3: 'replay_0.db3'}[after]
    assert {f.name for f in (tmp_path / 'out').iterdir()} == {suffix, 'metadata.yaml'}
    old, new = contents(bag), contents(tmp_path / 'out')
    added = {f'/camera/{name}' for name in ADDED}
    assert [message for message in new if message[0] not in added] == old
    for place, (topic, received, kind, data) in enumerate(new):
        if '/image_raw' not in topic:
            continue
        image = deserialized(kind, data)
        answers = new[place + 1 : place + 5]
        assert [name for name, *_ in answers] == [f'/camera/{name}' for name in ADDED]
        for _, moment, answer_kind, answer in answers:
            assert moment == received
            assert deserialized(answer_kind, answer).header == image.header
    # Its own topics are neither cameras nor depth_truth.
    assert len(BagSequence(tmp_path / 'out')) == 6
    with Reader(tmp_path / 'out') as reader, Reader(bag) as source:
        assert reader.message_count == source.message_count + 4 * 6
        assert (reader.start_time, reader.end_time) == (source.start_time, source.end_time)


def declared(path: Path) -> dict[str, Any]:
    with Reader(path) as reader:
        return {c.topic: (c.msgtype, c.msgdef, c.digest, c.ext) for c in reader.connections}


@pytest.mark.parametrize(
    'mode', [CompressionMode.STORAGE, CompressionMode.MESSAGE, CompressionMode.FILE]
)
def test_topics_are_declared_as_they_were_and_compressed_bags_are_read(
    mode: CompressionMode, run: Callable[..., None], tmp_path: Path
) -> None:
    kind, definition = 'robot_msgs/msg/Wheel', 'float64 speed\nuint8 gear\n'
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg(definition, kind))
    chunks = mode == CompressionMode.STORAGE
    writer = Writer(
        tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP if chunks else SQLITE3
    )
    writer.set_compression(mode, CompressionFormat.ZSTD)
    latched = Qos(
        QosHistory.KEEP_LAST,
        1,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL,
        *[QosTime(0, 0)] * 2,
        QosLiveliness.AUTOMATIC,
        QosTime(0, 0),
        False,
    )
    with writer:
        wheel = writer.add_connection(
            '/wheel', kind, typestore=store, offered_qos_profiles=[latched]
        )
        known: dict[str, Any] = {}
        for topic, name, stamp, message in drive(3):
            if topic not in known:
                known[topic] = writer.add_connection(topic, name, typestore=store)
            writer.write(known[topic], stamp, bytes(store.serialize_cdr(message, name)))
            data = store.serialize_cdr(store.types[kind](2.5, 3), kind)
            writer.write(wheel, stamp, bytes(data))
    run(tmp_path / 'bag', tmp_path / 'out')
    # As the bag is stored, whatever it is compressed as.
    assert list((tmp_path / 'out').glob('*.mcap' if chunks else '*.db3'))
    before, after = declared(tmp_path / 'bag'), declared(tmp_path / 'out')
    assert before['/wheel'][3].offered_qos_profiles == [latched]
    assert {topic: after[topic] for topic in before} == before
    old, new = contents(tmp_path / 'bag'), contents(tmp_path / 'out')
    assert [message for message in new if '/depth/' not in message[0]] == old


def test_what_is_added_is_what_the_node_publishes(
    run: Callable[..., None], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip('rclpy')
    from robot import OUTPUTS, PREVIEW, image_message, info_message

    robot, start = request.getfixturevalue('robot'), request.getfixturevalue('start')
    pixels = picture(3, 80, 32)
    cases: list[dict[str, Any]] = [
        {'depth_encoding': '32FC1', 'cloud_resolution': 'input', 'cloud_organised': True},
        {
            'depth_encoding': '16UC1',
            'depth_resolution': 'input',
            'cloud_resolution': 'network',
            'cloud_organised': False,
            'cloud_colour': False,
            'cloud_decimation': 2,
            'range_min': 3.0,
            'range_max': 40.0,
        },
    ]
    node = start(**cases[0])
    robot.listen(PREVIEW)
    from rclpy.parameter import Parameter

    # Its own calibration, where depth is per pixel of the image.
    p = [50.0, 0.0, 40.0, -54.0, 0.0, 50.0, 12.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    own = info(FIRST, camera=VIEW, d=np.zeros(5), p=np.array(p))
    bag = write_bag(tmp_path / 'bag', [own, raw(FIRST, pixels)])
    for number, case in enumerate(cases):
        done = node.set_parameters_atomically([Parameter(k, value=v) for k, v in case.items()])
        assert done.successful, done.reason
        robot.answers = {topic: {} for topic in (*OUTPUTS, PREVIEW)}
        for topic in (*OUTPUTS, PREVIEW):
            robot.listen(topic)
        answers = robot.ask(image_message(pixels), info_message(VIEW, p=p))
        options: list[Any] = []
        for name, value in case.items():
            flag = name.replace('_', '-')
            given = isinstance(value, bool)
            options += (
                [f'--{flag}' if value else f'--no-{flag}'] if given else [f'--{flag}', value]
            )
        run(bag, tmp_path / f'out_{number}', *options)
        replayed = {t: deserialized(k, d) for t, _, k, d in contents(tmp_path / f'out_{number}')}
        for topic, message in zip((*OUTPUTS, PREVIEW), answers, strict=True):
            mine = replayed[f'/camera/{topic}']
            for field in message.get_fields_and_field_types():
                if field not in {'header', 'fields', 'roi'}:
                    theirs = getattr(message, field)
                    np.testing.assert_array_equal(getattr(mine, field), theirs, f'{topic} {field}')
            if topic == 'depth/points':
                assert [(f.name, f.offset, f.datatype, f.count) for f in mine.fields] == [
                    (f.name, f.offset, f.datatype, f.count) for f in message.fields
                ]


# Cameras that look aside.


def turned(yaw: float) -> Mount:
    return Mount(0.05, -0.02, yaw, 1.5)


def drive_aside(path: Path, yaw: float) -> Path:
    """A bag whose camera looks aside, with true depth that no network's yields exactly."""
    rng = np.random.default_rng(1)
    depth = np.linspace(5, 40, 32)[:, None] * rng.lognormal(0, 0.3, (32, 80)).clip(0.5, 1.9)
    write_drive(
        path,
        [
            Frame(FIRST + i * STEP, picture(i, 80, 32), VIEW, depth.astype(np.float32), mount=m)
            for i, m in enumerate([turned(yaw)] * 3)
        ],
    )
    return path


def test_evaluate_judges_the_depth_that_replay_writes_and_training_has_the_same_view(
    run: Callable[..., None], tiny_model: Path, tmp_path: Path
) -> None:
    bag = drive_aside(tmp_path / 'bag', -0.6)
    run(bag, tmp_path / 'out', '--depth-resolution', 'input')
    truth = BagSequence(bag)
    errors, seen, pixels = [], 0, 0
    for topic, _, kind, data in contents(tmp_path / 'out'):
        if topic != '/camera/depth/image':
            continue
        message = deserialized(kind, data)
        depth = np.frombuffer(bytes(message.data), np.float32).reshape(32, 80)
        true = truth[len(errors)].depth
        assert true is not None
        known = ~np.isnan(depth)
        seen, pixels = seen + known.sum(), pixels + depth.size
        published = depth[known].clip(1, 80)
        errors.append(np.mean(np.abs(published - true[known]) / true[known]))
    assert 0.1 < seen / pixels < 0.5
    evaluated = tmp_path / 'evaluated'
    data = ['--data', f'{bag}', '--output', f'{evaluated}', '--processes', '1']
    evaluate.main([f'{tiny_model}', *data, '--protocol', 'all_pixels'])
    (found,) = json.loads((evaluated / 'evaluation.json').read_text())['models']
    scores = found['scalings']['transferred']
    assert scores['abs_rel']['value'] == pytest.approx(np.mean(errors), abs=1e-4)
    with (evaluated / 'images.csv').open(newline='') as file:
        (first, *_) = csv.DictReader(file)
    assert float(first['coverage']) == pytest.approx(seen / pixels, abs=1e-4)
    pytest.importorskip('torch')
    from mono_metric_depth.training.aligned_drive import align_drive

    (drive,) = align_drive(truth, TINY_CAMERA, levelled=True, with_depth=False)
    view = DepthEstimator.load(tiny_model, threads=1).alignment(truth.camera, turned(-0.6))
    np.testing.assert_array_equal(drive.seen, view.seen)


def test_a_camera_that_sees_little_of_the_networks_view_is_named(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = drive_aside(tmp_path / 'bag', 0.6)
    run(bag, tmp_path / 'out')
    out = capsys.readouterr().out
    assert 'warning: /camera/image_raw: the camera sees ' in out
    assert 'it looks 34 degrees to the left, the network along the road' in out
    assert '; --yaw 0 gives depth of all that it sees, less exact' in out
    assert '3 of 3 images were given depth' in out
    # What is not given is as /tf_static says.
    run(bag, tmp_path / 'ahead', '--yaw', 0)
    out = capsys.readouterr().out
    assert (
        '/camera/image_raw with /camera/camera_info: pitch +0.050, roll -0.020, yaw +0.000 rad'
        in out
    )
    assert '/camera/image_raw: coverage 9' in out
    assert 'warning' not in out


def test_a_bag_without_stamps_is_refused_as_elsewhere(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    messages = [info(0, '/camera/camera_info', VIEW)]
    messages += [raw(0, picture(i, 80, 32), '/camera/image_raw') for i in range(3)]
    bag = write_bag(tmp_path / 'bag', messages)
    said = refused(bag, tmp_path / 'out')
    assert 'every message of /camera/image_raw has the stamp 0 ns; let the camera dr' in said
    with pytest.raises(DatasetError) as caught:
        BagSequence(bag)
    assert said == f'error: {caught.value}'


def test_options_are_the_nodes_parameters() -> None:
    pytest.importorskip('rclpy')
    from mono_metric_depth.evaluation.depth_messages import OutputOptions
    from mono_metric_depth.nodes.parameters import RULES, Parameters

    node, options = Parameters(), replay._options(['bag', '--output', 'out'])
    for name, default in vars(OutputOptions()).items():
        assert name in RULES
        assert default == getattr(node, name) == getattr(options, name)


# Interrupted and resumed.


@pytest.mark.parametrize(('storage', 'size'), [(MCAP, 1), (MCAP, 100), (SQLITE3, 2)])
def test_interrupted_and_resumed_it_is_the_same_to_the_byte(
    storage: StoragePlugin,
    size: int,
    run: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    messages = drive(80)
    messages[62] = (*messages[62][:3], b'\0\1\0\0')  # an image that is damaged
    bag, output = write_bag(tmp_path / 'bag', messages, storage), tmp_path / 'out'
    run(bag, tmp_path / 'whole', '--file-size', size, status=3)
    whole = files(tmp_path / 'whole')
    assert len(whole) > 4 or size > 1
    added = {f'/camera/{name}' for name in ADDED}
    assert [m for m in contents(tmp_path / 'whole') if m[0] not in added] == contents(bag)
    update, left, asked = replay.tqdm.update, 0, signal.SIGINT

    def stop(bar: Any, count: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), asked)
        update(bar, count)

    monkeypatch.setattr(replay.tqdm, 'update', stop)
    for number in range(3):
        asked = (signal.SIGINT, signal.SIGTERM, signal.SIGINT)[number]
        left = 22  # the first update tells of what is kept
        with pytest.raises(SystemExit) as ended:
            run(bag, output, '--file-size', size)
        assert ended.value.code == 130
        kept = 22 + 21 * number
        part = tmp_path / 'out.part'
        assert f'{kept} of 80 images are kept in {part}; the same' in capsys.readouterr().out
        assert not output.exists()
    left = 1000
    run(bag, output, '--file-size', size, status=3)
    assert left == 1000 - 1 - (80 - kept)
    assert files(output) == whole
    out = capsys.readouterr().out
    assert '79 of 80 images were given depth' in out
    assert 'skipped 1: message' in out


def test_killed_it_leaves_what_the_next_run_goes_on_from(
    run: Callable[..., None], tiny_model: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    bag = write_bag(tmp_path / 'bag', drive(400))
    output, part = tmp_path / 'out', tmp_path / 'out.part'
    command = [sys.executable, '-m', 'mono_metric_depth.commands.replay', bag, '--output', output]
    command += ['--model', tiny_model, '--threads', '1', '--file-size', '1']
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not (part / 'replay_2.mcap').exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)  # however slow it is here, it is not done meanwhile
    assert 'is being written by another process' in refused(bag, output, '--file-size', 1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    kept = (part / 'replay_0.mcap').stat().st_mtime_ns
    message = refused(bag, output, '--file-size', 1, '--depth-encoding', '16UC1')
    assert 'was begun with another depth_encoding; give the same to go on' in message
    run(bag, output, '--file-size', 1)
    assert (output / 'replay_0.mcap').stat().st_mtime_ns == kept
    run(bag, tmp_path / 'whole', '--file-size', 1)
    assert files(output) == files(tmp_path / 'whole')
    assert not part.exists()
    assert 'exists already' in refused(bag, output)


def test_what_was_stopped_is_not_gone_on_with_by_other_options(
    run: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    bag, update = write_bag(tmp_path / 'bag', drive(20)), replay.tqdm.update

    def stop(bar: Any, count: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        update(bar, count)

    with monkeypatch.context() as patch:
        patch.setattr(replay.tqdm, 'update', stop)
        run(bag, tmp_path / 'out', status=130)
    message = refused(bag, tmp_path / 'out', '--range-max', 20)
    assert 'was begun with another range_max; give the same to go on, or remove it' in message
    kept = tmp_path / 'out.part' / 'suspended_0.mcap'
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    assert 'is damaged' in refused(bag, tmp_path / 'out')


@pytest.mark.parametrize('place', ['bag/out', 'bag/deeper/out', '/proc/out'])
def test_a_place_that_is_none_for_a_bag_is_refused(
    place: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / 'bag', drive(1))
    for given in (bag, bag / 'bag.mcap'):
        message = refused(given, tmp_path / place)
        assert message.endswith('choose another folder')
        assert str(tmp_path / place) in message
    assert {file.name for file in bag.iterdir()} == {'bag.mcap', 'metadata.yaml'}


@pytest.mark.parametrize('folder', [True, False])
def test_what_lies_where_the_unfinished_bag_would_is_not_touched(
    folder: bool, refused: Callable[..., str], tmp_path: Path
) -> None:
    bag, part = write_bag(tmp_path / 'bag', drive(1)), tmp_path / 'out.part'
    if folder:
        part.mkdir()
    mine = part / 'thesis.txt' if folder else part
    mine.write_text('mine')
    assert f'{part} is in the way' in refused(bag, tmp_path / 'out')
    assert mine.read_text() == 'mine'


# What opens it.


def test_the_readers_of_other_tools_open_it_without_a_warning(
    run: Callable[..., None], tmp_path: Path
) -> None:
    pytest.importorskip('mcap_ros2')
    bag = write_bag(tmp_path / 'bag', drive(make=compressed))
    run(bag, tmp_path / 'out')
    decoded = decode(tmp_path / 'out' / 'replay_0.mcap')
    for name in ADDED:
        assert len(decoded[f'/camera/{name}']) == 6
    assert len(decoded['/other']) == 6
    (tf,) = decoded['/tf_static']
    assert tf.transforms[0].child_frame_id == 'camera_optical_frame'
    image, cloud = decoded['/camera/depth/image'][2], decoded['/camera/depth/points'][2]
    assert (image.encoding, image.width, image.height) == ('32FC1', 64, 32)
    assert cloud.row_step * cloud.height == len(cloud.data)
    assert (image.header.stamp.sec, image.header.stamp.nanosec) == (1_700_000_000, 2 * STEP)


def decode(file: Path) -> dict[str, list[Any]]:
    """All messages of a file, read by the libraries of MCAP's makers, warnings as errors."""
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    found: dict[str, list[Any]] = {}
    with warnings.catch_warnings(), file.open('rb') as stream:
        warnings.simplefilter('error')
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == 'ros2'
        summary = reader.get_summary()
        assert summary is not None
        assert {schema.encoding for schema in summary.schemas.values()} == {'ros2msg'}
        for _, channel, _, message in reader.iter_decoded_messages():
            found.setdefault(channel.topic, []).append(message)
    return found


def test_a_bag_of_a_real_drive_is_replayed(run: Callable[..., None], tmp_path: Path) -> None:
    if not SAMPLE.is_file():
        pytest.skip('the real sample is not here')
    cameras = ('CAMERA_01', 'CAMERA_05', 'CAMERA_06')
    bag = dgp_bag(tmp_path / 'bag', SAMPLE, cameras)
    run(bag, tmp_path / 'out', '--model', ROOT / 'mono_metric_depth' / 'models' / 'default.onnx')
    kinds = [topic for topic, *_ in contents(tmp_path / 'out')]
    for name in cameras:
        for added in ADDED:
            assert kinds.count(f'/{name.lower()}/{added}') == 3
    assert kinds.count('/lidar/points') == 3
    if pytest.importorskip('mcap_ros2'):
        decoded = decode(tmp_path / 'out' / 'replay_0.mcap')
        assert sum(map(len, decoded.values())) == len(kinds)


# Which topics.


def test_cameras_and_topics_are_chosen(
    run: Callable[..., None], refused: Callable[..., str], tmp_path: Path
) -> None:
    messages = [*drive(3, name='front'), *drive(3, compressed, name='left')[1:]]
    bag = write_bag(tmp_path / 'bag', sorted(messages, key=lambda message: message[2]))
    run(bag, tmp_path / 'both', '--leave-out', '/front/image_raw', '/left/depth/points')
    topics = [topic for topic, *_ in contents(tmp_path / 'both')]
    assert topics.count('/front/depth/image') == topics.count('/left/depth/image') == 3
    assert '/front/depth/points' in topics
    assert '/front/camera_info' in topics
    assert not {'/front/image_raw', '/left/depth/points'} & set(topics)
    run(bag, tmp_path / 'one', '--image-topic', '/left/image_raw/compressed')
    topics = [topic for topic, *_ in contents(tmp_path / 'one')]
    assert '/left/depth/image' in topics
    assert '/front/depth/image' not in topics
    assert 'no images on' in refused(bag, tmp_path / 'no', '--image-topic', '/rear/image_raw')
    message = refused(bag, tmp_path / 'no', '--leave-out', '/rear')
    assert 'no topic /rear to leave out; there are' in message
    assert '/front/image_raw' in message
    assert 'has /left/depth/image already' in refused(tmp_path / 'both', tmp_path / 'no')
    assert not (tmp_path / 'no.part').exists()


def test_two_images_of_one_namespace_cannot_both_be_answered(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    both = [info(FIRST), raw(FIRST, picture(0)), raw(FIRST, picture(0), '/camera/image_rect')]
    message = refused(write_bag(tmp_path / 'bag', both), tmp_path / 'out')
    assert 'would share /camera/depth/image: choose some with --image-topic' in message


def test_the_mount_is_taken_from_the_bag_or_from_the_person(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_bag(tmp_path / 'bag', drive(2))
    run(bag, tmp_path / 'bags')
    assert 'pitch -0.000, roll +0.000' in capsys.readouterr().out
    run(bag, tmp_path / 'persons', '--pitch', 0.1)
    assert 'pitch +0.100' in capsys.readouterr().out
    depths = [
        next(d for t, _, _, d in contents(tmp_path / name) if t == '/camera/depth/image')
        for name in ('bags', 'persons')
    ]
    assert depths[0] != depths[1]
    run(write_bag(tmp_path / 'plain', drive(2)[1:]), tmp_path / 'plains')
    assert 'no /tf_static leads to it' in capsys.readouterr().out


# Bad input.


def test_what_is_damaged_is_counted_and_named_and_the_rest_is_done(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = drive(8, compressed)
    topic = '/camera/image_raw/compressed'
    whole = cv2.imencode('.jpg', picture(0, 80, 32))[1].tobytes()
    for place, file in ((2, whole[:300]), (3, b'nothing')):
        stamp = FIRST + place * STEP
        messages[3 * place + 2] = compressed(stamp, picture(0), topic, file=file)
    messages[3 * 5 + 2] = compressed(FIRST + 5 * STEP, picture(0, 20, 12), topic)
    messages[3 * 6 + 2] = (topic, 'sensor_msgs/msg/CompressedImage', FIRST + 6 * STEP, b'\0\1')
    bag = write_bag(tmp_path / 'bag', messages)
    run(bag, tmp_path / 'out', status=3)
    out = capsys.readouterr().out
    assert '4 of 8 images were given depth' in out
    for line in ('skipped 2: compression', 'skipped 1: size', 'skipped 1: message'):
        assert line in out
    assert f'{topic} at 1700000000.200 s: the compressed image is cut short' in out
    assert 'image is 20x12 but camera_info describes 80x32' in out
    new = contents(tmp_path / 'out')
    assert [m for m in new if '/depth/' not in m[0]] == contents(bag)
    assert sum(topic == '/camera/depth/image' for topic, *_ in new) == 4


def test_a_bag_of_which_no_image_can_be_used_leaves_nothing(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / 'bag', [info(FIRST), raw(FIRST, picture(0, 20, 12))])
    message = refused(bag, tmp_path / 'out')
    assert 'no image of 1 can be given depth; first: /camera/image_raw at' in message
    assert 'image is 20x12 but camera_info describes 40x24' in message
    assert {place.name for place in tmp_path.iterdir()} == {'bag'}


def test_a_changing_calibration_needs_stamps_that_meet(
    run: Callable[..., None],
    refused: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    zoomed = replace(VIEW, fx=90.0)
    messages = []
    for index in range(6):
        stamp = FIRST + index * STEP
        messages.append(info(stamp, camera=zoomed if index > 2 else VIEW))
        messages.append(raw(stamp + (5 * (index == 4)), picture(index, 80, 32)))
    bag = write_bag(tmp_path / 'bag', messages)
    run(bag, tmp_path / 'out', '--depth-resolution', 'input', status=3)
    out = capsys.readouterr().out
    assert '5 of 6 images' in out
    assert 'skipped 1: camera_info' in out
    assert 'none has the stamp of the image (the nearest is 0.000 s off)' in out
    new = [deserialized(k, d) for t, _, k, d in contents(tmp_path / 'out') if '/depth/cam' in t]
    assert [message.k[0] for message in new] == [60.0] * 3 + [90.0] * 2
    late = [message for message in messages if 'info' in message[0]]
    late += [raw(FIRST + 10**12 + index * STEP, picture(index, 80, 32)) for index in range(4)]
    message = refused(write_bag(tmp_path / 'unsynchronised', late), tmp_path / 'no')
    assert 'no image of 4 can be given depth' in message
    assert 'let the driver stamp both alike' in message


def test_one_calibration_serves_whatever_its_stamp(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = [raw(FIRST + i * STEP, picture(i, 80, 32)) for i in range(3)]
    bag = write_bag(tmp_path / 'bag', [*messages, info(FIRST + 10**12, camera=VIEW)])
    run(bag, tmp_path / 'out')
    assert '3 of 3 images' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('messages', 'message'),
    [
        ([m for m in drive() if 'info' not in m[0]], 'no camera_info for /camera/image_raw'),
        ([m for m in drive() if 'image' not in m[0]], 'no images; topics are /camera/camera_info'),
        ([info(FIRST, k=np.zeros(9)), raw(FIRST, picture(0))], 'K is all zero'),
        (
            [info(FIRST), ('/camera/image_raw', *info(FIRST)[1:])],
            'no images; topics are /camera/camera_info, /camera/image_raw',
        ),
    ],
)
def test_what_is_missing_is_said(
    messages: list[Message], message: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / 'bag', messages)
    assert message in refused(bag, tmp_path / 'out')
    assert {place.name for place in tmp_path.iterdir()} == {'bag'}


def test_a_recording_without_checksums_is_told_of_once(
    run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = write_bag(tmp_path / 'bag', drive())
    run(bag, tmp_path / 'out')
    said = capsys.readouterr()
    told = (
        f'warning: {bag}/bag.mcap carries no checksums: damage within its messages cannot be seen'
    )
    assert said.out.splitlines().count(told) == 1
    assert (said.out + said.err).count('no checksums') == 1
    write_drive(tmp_path / 'checked', [Frame(FIRST, picture(1, 80, 32), VIEW)])
    run(tmp_path / 'checked', tmp_path / 'third')
    assert 'no checksums' not in capsys.readouterr().out


@pytest.mark.parametrize('storage', [MCAP, SQLITE3])
def test_damage_in_the_middle_of_a_file_costs_what_lies_there(
    storage: StoragePlugin,
    run: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = VIEW.resized(320, 128)
    messages = [info(FIRST, camera=view)]
    messages += [raw(FIRST + i * STEP, picture(i, 320, 128)) for i in range(60)]
    bag = write_bag(tmp_path / 'bag', messages, storage)
    (file,) = (file for file in bag.iterdir() if file.suffix in {'.mcap', '.db3'})
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = bytes(4096)
    file.write_bytes(data)
    run(bag, tmp_path / 'out', status=3)
    out = capsys.readouterr().out
    assert re.search('images? cannot be read: the bag is damaged', out)
    assert 'damaged' in out.splitlines()[2]
    depths = [moment for topic, moment, *_ in contents(tmp_path / 'out') if '/depth/i' in topic]
    assert 25 < len(depths) < 60
    assert depths[-1] == FIRST + 59 * STEP


def test_damage_that_takes_the_mounting_is_not_worked_on_as_if_there_were_none(
    run: Callable[..., None],
    refused: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = VIEW.resized(320, 128)
    random = np.random.default_rng(0)
    frames = [
        Frame(FIRST + i * STEP, random.integers(0, 255, (128, 320, 3), np.uint8), view)
        for i in range(30)
    ]
    write_drive(tmp_path / 'bag', [replace(f, mount=Mount(0.1, 0.0, 0.0, 1.5)) for f in frames])
    (file,) = (tmp_path / 'bag').glob('*.mcap')
    data = bytearray(file.read_bytes())
    place = data.index(b'base_link')
    data[place : place + 4] = bytes(4)
    file.write_bytes(data)
    said = refused(tmp_path / 'bag', tmp_path / 'out')
    assert '/tf_static is lost to damage' in said
    assert 'give --pitch and --roll' in said
    with pytest.raises(DatasetError, match='/tf_static is lost to damage'):
        BagSequence(tmp_path / 'bag')
    run(tmp_path / 'bag', tmp_path / 'out', '--pitch', 0.1, status=3)
    assert 'pitch +0.100' in capsys.readouterr().out


def test_a_recording_that_was_cut_short_is_refused_if_nothing_of_it_is_whole(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / 'bag', drive(50))
    os.truncate(bag / 'bag.mcap', (bag / 'bag.mcap').stat().st_size * 7 // 10)
    message = refused(bag, tmp_path / 'out')
    assert 'its recording was cut short' in message
    assert 'nothing before is whole; record it again' in message


def test_of_a_recording_that_was_cut_short_the_lost_images_are_counted(
    run: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / 'bag', drive(300))
    os.truncate(bag / 'bag.mcap', (bag / 'bag.mcap').stat().st_size * 8 // 10)
    run(bag, tmp_path / 'out', status=3)
    said = capsys.readouterr().out
    lost = re.search(r'(\d+) images cannot be read: the bag is damaged', said)
    done = re.search(r'(\d+) of 300 images were given depth', said)
    assert lost is not None
    assert done is not None
    assert int(lost[1]) + int(done[1]) == 300
    assert int(lost[1]) >= 60


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_full_disk_ends_it_with_one_line_and_what_is_finished_is_kept(
    storage: str, tiny_model: Path, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / 'bag', drive(80))
    program = (
        'import resource, signal, sys\n'
        'signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n'
        'resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000,) * 2)\n'
        'from mono_metric_depth.commands import replay\n'
        'replay.main(sys.argv[1:])\n'
    )
    command = [sys.executable, '-c', program, bag, '--output', tmp_path / 'out']
    command += ['--model', tiny_model, '--storage', storage, '--file-size', '2']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr
    assert done.stderr.splitlines()[-1].startswith('error: ')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--file-size', 0], '--file-size must be at least 1 MB'),
        (['--cloud-decimation', 0], '--cloud-decimation must be 1..64'),
        (['--range-min', 5, '--range-max', 5], '--range-min must be below --range-max'),
        (['--pitch', 2], 'mount pitch must lie within'),
        (['--model', 'missing.onnx'], 'missing.onnx'),
    ],
)
def test_options_out_of_range_are_refused(
    options: list[Any], message: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / 'bag', drive(1))
    assert message in refused(bag, tmp_path / 'out', *options)

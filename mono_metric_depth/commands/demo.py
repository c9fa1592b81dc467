# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``demo``: play a generated drive and real images to the node; leave pictures and a table."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mono_metric_depth.commands import configuration_file, errors_in_one_line, fail
from mono_metric_depth.datasets import FrameSequence, open_sequence, sequence_names
from mono_metric_depth.evaluation.bag_depth import PublishedFrame
from mono_metric_depth.frame import Frame
from mono_metric_depth.model_card import ModelCard, read_card
from mono_metric_depth.model_files import DEFAULT_MODEL

_REAL_CAMERAS = ('CAMERA_01', 'CAMERA_05', 'CAMERA_06')
_SEED = 2001
#: Tells a demo's folder, which is replaced, from any other.
_MARK = '.demo'
_NODE_START = 60.0
#: Images per second. Real images come from three cameras: each takes a moment to get used to.
_DRIVE_RATE, _REAL_RATE = 10.0, 2.0
_TRUTH_RANGE = (0.5, 80.0)


@dataclass(frozen=True)
class Row:
    """What one play showed.

    Attributes:
        name: What was played.
        sent, received: Images in, clouds out.
        latencies: From publishing the image to receiving its points (s).
        abs_rel, delta1: Mean over images, metric as published.
        oracle_abs_rel: The same if the ground truth's own median ratio were the scale.
        pictures: Frames and captions to show.
    """

    name: str
    sent: int
    received: int
    latencies: list[float]
    abs_rel: float
    delta1: float
    oracle_abs_rel: float
    pictures: list[tuple[PublishedFrame, str]]


def main(arguments: list[str] | None = None) -> None:
    """Run the demo."""
    with errors_in_one_line():
        _demo(arguments)


def _demo(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog='demo', description=__doc__)
    parser.add_argument('--output', type=Path, default=Path('demo'), help='replaced if it exists')
    parser.add_argument('--real', type=Path, help='a DGP scene_dataset json of real images')
    parser.add_argument('--model', type=Path, help='the shipped model if left out')
    parser.add_argument('--frames', type=int, default=60, help='of the generated drive')
    options = parser.parse_args(arguments)
    if options.frames < 1:
        fail(f'--frames must be at least 1, got {options.frames}')
    # Bad input is refused before any work is done.
    card = read_card(options.model or DEFAULT_MODEL)
    if card.scale is None:
        fail(f'{options.model} has no scale yet: fit_scale MODEL DRIVES --write')
    real = None
    if options.real is not None and options.real.is_file():
        # Of a data set, the first scene.
        names = [sequence_names(f'{options.real}#{camera}')[0] for camera in _REAL_CAMERAS]
        real = [open_sequence(name) for name in names]
    elif options.real is not None:
        print(f'{options.real} is not there: real images are left out')
    output: Path = options.output
    if output.exists() and not (output / _MARK).exists() and any(output.iterdir()):
        fail(f'{output} holds something else than a demo; move it, or choose another --output')
    try:
        import rclpy
        import torch

        from mono_metric_depth.evaluation import pictures
    except ImportError as err:
        fail(f"the demo needs {err.name}: pip install 'mono_metric_depth[ros,train,demo]'")
    del rclpy, torch, pictures
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    (output / _MARK).touch()
    # A domain of our own, so that no robot nearby takes part. Set before ROS starts.
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(configuration_file('fastdds.xml'))
    drive = _generated(options.frames)
    rows = [_play('generated drive', drive, output / 'drive', options.model, _DRIVE_RATE)]
    if real is not None:
        frames = _in_turn(real)
        rows.append(_play('real images', frames, output / 'real', options.model, _REAL_RATE))
    from mono_metric_depth.evaluation.pictures import draw_frames

    # One frame of the drive; the front and one side camera of the real images.
    overview = rows[0].pictures[1:2]
    overview += [row.pictures[camera] for row in rows[1:] for camera in (0, 2)]
    shown, captions = zip(*overview, strict=True)
    draw_frames(shown, captions, output / 'overview.png')
    table = _table(rows, card)
    (output / 'table.md').write_text(table)
    print(table)
    print(f'pictures, bags and this table are in {output.resolve()}')


def _generated(frames: int) -> Iterable[Frame]:
    from mono_metric_depth.worlds import Drive

    # The target's kind of world: no depth of it was ever trained on.
    return tqdm(Drive('suburb', _SEED, frames), desc='rendering a drive', unit='frame')


def _in_turn(sequences: list[FrameSequence]) -> Iterable[Frame]:
    """Frames of one camera after the other, a second apart."""
    frames = (frame for sequence in sequences for frame in sequence)
    return (replace(frame, stamp=index * 10**9) for index, frame in enumerate(frames))


def _play(
    name: str, frames: Iterable[Frame], folder: Path, model: Path | None, rate: float
) -> Row:
    """Write the bag, play it to a node of its own, record, draw and compare."""
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    from mono_metric_depth.datasets.bag import IMAGE_TOPIC, INFO_TOPIC, new_bag, write_drive
    from mono_metric_depth.evaluation.bag_depth import (
        DEPTH_INFO_TOPIC,
        DEPTH_TOPIC,
        POINTS_TOPIC,
    )
    from mono_metric_depth.nodes.bag_exchange import BagExchange

    bag, recorded = (
        folder.with_name(f'{folder.name}_bag'),
        folder.with_name(f'{folder.name}_depth'),
    )
    write_drive(bag, frames)
    command = [sys.executable, '-m', 'mono_metric_depth.commands.depth_node', '--ros-args']
    command += ['-r', f'image:={IMAGE_TOPIC}', '-r', f'camera_info:={INFO_TOPIC}']
    if model is not None:
        command += ['-p', f'model:={model}']
    node = subprocess.Popen(command)
    rclpy.init()
    try:
        image = 'sensor_msgs/msg/Image'
        info = 'sensor_msgs/msg/CameraInfo'
        outputs = {
            DEPTH_TOPIC: image,
            DEPTH_INFO_TOPIC: info,
            POINTS_TOPIC: 'sensor_msgs/msg/PointCloud2',
        }
        with new_bag(recorded) as writer:
            exchange = BagExchange(outputs, writer)
            executor = SingleThreadedExecutor()
            executor.add_node(exchange)

            def spin() -> None:
                with contextlib.suppress(ExternalShutdownException):  # Ctrl-C
                    executor.spin()

            thread = threading.Thread(target=spin, daemon=True)
            thread.start()
            try:
                exchange.connect(
                    {INFO_TOPIC: info, IMAGE_TOPIC: image},
                    _NODE_START,
                    lambda: node.poll() is None,
                )
                with tqdm(desc=f'playing {name}', unit='frame') as bar:
                    exchange.play(bag, IMAGE_TOPIC, rate, bar.update)
            finally:
                executor.shutdown()
                thread.join(timeout=5)
                exchange.destroy_node()
    except TimeoutError as err:
        fail(str(err))
    finally:
        rclpy.try_shutdown()
        node.send_signal(signal.SIGINT)
        try:
            node.wait(timeout=10)
        except subprocess.TimeoutExpired:
            node.kill()
    received = exchange.received[POINTS_TOPIC]
    latencies = [moment - exchange.sent[stamp] for stamp, moment in received.items()]
    errors = _compare(name, bag, recorded, folder.with_suffix('.png'))
    return Row(name, len(exchange.sent), len(received), latencies, *errors)


def _compare(
    name: str, bag: Path, recorded: Path, picture: Path
) -> tuple[float, float, float, list[tuple[PublishedFrame, str]]]:
    """Draw some frames; AbsRel, delta1 and oracle AbsRel over all, the frames drawn."""
    from mono_metric_depth.evaluation.bag_depth import pairs_at_truth, published_frames
    from mono_metric_depth.evaluation.pictures import draw_frames
    from mono_metric_depth.metrics import depth_metrics, mean_metrics

    frames, metrics, oracle = [], [], []
    for frame in published_frames(bag, recorded):
        published, true = pairs_at_truth(frame, *_TRUTH_RANGE)
        if len(true):
            metrics.append(depth_metrics(published, true))
            oracle.append(depth_metrics(published * np.median(true / published), true))
        frames.append((frame, metrics[-1].abs_rel if len(true) else float('nan')))
    if not frames:
        fail(f'{name}: the node answered no frame; see its output above')
    chosen = [frames[index] for index in np.linspace(0, len(frames) - 1, 3).round().astype(int)]
    captions = [
        f'{name}, {frame.camera.width}x{frame.camera.height}, '
        f'{np.degrees(frame.camera.horizontal_fov):.0f} degrees, AbsRel {error:.3f}'
        for frame, error in chosen
    ]
    drawn = [frame for frame, _ in chosen]
    draw_frames(drawn, captions, picture)
    pictures = list(zip(drawn, captions, strict=True))
    if not metrics:
        return float('nan'), float('nan'), float('nan'), pictures
    mean = mean_metrics(metrics)
    return mean.abs_rel, mean.delta1, mean_metrics(oracle).abs_rel, pictures


def _table(rows: list[Row], card: ModelCard) -> str:
    scale = card.scale
    assert scale is not None
    lines = [
        f'Model {card.name}; scale {scale.value:.4f} '
        f'[{scale.low:.4f}, {scale.high:.4f}]; ground truth '
        f'{_TRUTH_RANGE[0]:g} .. {_TRUTH_RANGE[1]:g} m; latency from publishing the image to '
        'receiving its cloud. Pixels published as infinite are left out of the errors.',
        '',
        '| played | AbsRel | delta1 | AbsRel, oracle per image | in | out | dropped | '
        'latency p50 | p99 |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        p50, p99 = (1e3 * np.percentile(row.latencies, q) for q in (50, 99))
        lines.append(
            f'| {row.name} | {row.abs_rel:.3f} | {row.delta1:.3f} | {row.oracle_abs_rel:.3f} | '
            f'{row.sent} | {row.received} | {row.sent - row.received} | {p50:.0f} ms | '
            f'{p99:.0f} ms |'
        )
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()

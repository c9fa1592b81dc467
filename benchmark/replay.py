# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Write docs/replay.md: how fast ``replay`` is against its network alone, and its memory.

    python benchmark/replay.py [--network-threads 1]

The rate of ``replay`` (reading, decoding, the network, clouds, previews, writing) is divided by
that of the estimator alone on the same images in memory, taken turn by turn in one process;
median, least and largest of the rounds. Processor time is that of the whole process: where that of
an image, over all cores, comes near the network's time, the network is not what bounds the rate.
So there is a larger network, too (ResNet-18, untrained), which is. Memory is
the largest resident set of a ``replay`` process on a short bag and on one ten times as long; the
slope between them is what each further GB costs.

Rates mean something where nothing else runs: with other programs on the cores the figures are
printed, and the page is left as it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin
from stages import processor

from mono_metric_depth.camera import Camera
from mono_metric_depth.datasets.bag import camera_info_message, image_message, new_bag
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.evaluation.bag_replay import BagReplay
from mono_metric_depth.evaluation.depth_messages import STORE, OutputOptions
from mono_metric_depth.image import Image
from mono_metric_depth.model_card import read_card
from mono_metric_depth.model_files import DEFAULT_MODEL
from mono_metric_depth.training.export import export_onnx
from mono_metric_depth.training.networks import build_depth_network

PAGE = Path(__file__).parents[1] / 'docs' / 'replay.md'
#: What else may run (cores): the kernel writes the files.
MOST_OTHERS = 0.15
CAMERA = Camera(1280, 720, 900.0, 900.0, 639.5, 359.5)
IMAGES = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


@dataclass(frozen=True)
class Rate:
    """Images per second of the network and of replay, and processor time of each image (ms)."""

    network: str
    kind: str
    alone: float
    replay: float
    ratios: list[float]
    processor: tuple[float, float]

    def row(self) -> str:
        """Of the table."""
        low, high = min(self.ratios), max(self.ratios)
        return (
            f'| {self.network} | {self.kind} | {self.alone:.1f} | {self.replay:.1f} | '
            f'**{statistics.median(self.ratios):.2f}** ({low:.2f} .. {high:.2f}) | '
            f'{self.processor[0]:.1f} ms | {self.processor[1]:.1f} ms |'
        )


def main() -> None:
    """Measure, print, and write the page if nothing else ran."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--network-threads', type=int, default=1)
    parser.add_argument('--frames', type=int, default=240)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--output', type=Path, default=PAGE)
    options = parser.parse_args()
    threads = options.network_threads
    cv2.setNumThreads(1)  # as the command does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        larger = folder / 'resnet18.onnx'
        card = dataclasses.replace(read_card(DEFAULT_MODEL), name='resnet18', provenance={})
        export_onnx(build_depth_network('resnet18'), card, larger)
        models = [DEFAULT_MODEL, larger]
        start, before = time.perf_counter(), busy_seconds()
        rates = []
        for model in models:
            estimator = DepthEstimator.load(model, threads=threads)
            (folder / model.stem).mkdir()
            rates += [
                rate_of(kind, estimator, folder / model.stem, options.frames, options.rounds)
                for kind in ('raw', 'JPEG')
            ]
        others = (busy_seconds() - before) / (time.perf_counter() - start)
        memory = [memory_row(kind, folder, threads) for kind in ('raw', 'JPEG')]
    lines = [
        '# Replay',
        '',
        'Written by `python benchmark/replay.py`, which says what is measured.',
        '',
        f'{CAMERA.width}x{CAMERA.height}, depth, cloud and preview of each image, MCAP to MCAP:',
        '',
        '| network | images | network alone | replay | share | processor time of an image, '
        'network alone | replay |',
        '|---|---|---:|---:|---:|---:|---:|',
        *(rate.row() for rate in rates),
        '',
        '| images | memory, short bag | ten times as long | each further GB |',
        '|---|---:|---:|---:|',
        *memory,
        '',
        f'Images per second, median of {options.rounds} rounds; least and largest share. '
        f'{processor()} ({platform.machine()}), {os.cpu_count()} cores, {threads} of them for the '
        f'network ({estimator.engine.name}); other programs took '
        f'{others:.2f} of a core.',
    ]
    text = '\n'.join(lines) + '\n'
    print(text)
    if others > MOST_OTHERS:
        print(f'{options.output} is not written: other programs took their part of the cores')
        raise SystemExit(1)
    options.output.write_text(text)


def busy_seconds() -> float:
    """Processor time that everything but this process has taken (s)."""
    fields = Path('/proc/stat').read_text().split('\n', 1)[0].split()[1:]
    user, nice, system, _, _, irq, soft, *_ = map(int, fields)
    return (user + nice + system + irq + soft) / os.sysconf('SC_CLK_TCK') - time.process_time()


def rate_of(kind: str, estimator: DepthEstimator, folder: Path, frames: int, rounds: int) -> Rate:
    """The rate of replay beside that of the network."""
    bag = write_bag(folder / kind, frames, kind)
    images = [Image(picture, 'rgb') for picture in pictures()]

    def network() -> None:
        for index in range(frames):
            estimator.estimate(images[index % len(images)], CAMERA)

    def replay() -> None:
        BagReplay(bag, OutputOptions()).run(
            estimator, output, StoragePlugin.MCAP, key={}, file_bytes=10**9
        )

    found: list[tuple[float, float, float, float]] = []
    for number in range(rounds + 1):
        output = folder / f'{kind}_out_{number}'
        found.append((*timed(network, frames), *timed(replay, frames)))
        for file in output.iterdir():
            file.unlink()
    del found[0]  # it warms up
    alone, alone_busy, rate, busy = (
        statistics.median(column) for column in zip(*found, strict=True)
    )
    ratios = [taken[2] / taken[0] for taken in found]
    return Rate(estimator.card.name, kind, alone, rate, ratios, (alone_busy, busy))


def timed(work: Callable[[], None], frames: int) -> tuple[float, float]:
    """Frames per second, and milliseconds of processor time for each."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    wall, busy = time.perf_counter() - start, time.process_time() - busy
    return frames / wall, 1e3 * busy / frames


def memory_row(kind: str, folder: Path, threads: int) -> str:
    """The memory of replay on a short and a long bag."""
    found = []
    for frames in (50, 500):
        bag = write_bag(folder / f'{kind}_{frames}', frames, kind)
        size = sum(file.stat().st_size for file in bag.iterdir()) / 1e9
        output = folder / f'{kind}_{frames}_out'
        arguments = [str(bag), '--output', str(output), '--threads', str(threads)]
        # Of the process itself: what getrusage tells of a child starts with the parent's.
        program = (
            'from mono_metric_depth.commands import replay\n'
            f'replay.main({arguments!r})\n'
            "lines = open('/proc/self/status').read().splitlines()\n"
            "print([line.split()[1] for line in lines if line.startswith('VmHWM')][0])\n"
        )
        command = [sys.executable, '-c', program]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append((size, int(done.stdout.split()[-1]) * 1024 / 1e6))
        for place in (bag, output):
            for file in place.iterdir():
                file.unlink()
    (short, low), (long, high) = found
    return (
        f'| {kind} | {low:.0f} MB of {short:.2f} GB | {high:.0f} MB of {long:.2f} GB | '
        f'**{(high - low) / (long - short):+.1f} MB** |'
    )


def pictures() -> Iterator[np.ndarray]:
    """A few images with the detail of real ones."""
    random = np.random.default_rng(0)
    size = (CAMERA.width, CAMERA.height)
    for _ in range(5):
        coarse = random.integers(0, 200, (24, 40, 3), np.uint8)
        fine = random.integers(0, 30, (CAMERA.height, CAMERA.width, 3), np.uint8)
        yield cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) // 2 + fine


def write_bag(path: Path, frames: int, kind: str) -> Path:
    """A bag of one camera, raw or JPEG."""
    files = []
    for picture in pictures():
        _, file = cv2.imencode('.jpg', picture[..., ::-1])
        files.append((picture, file))
    with new_bag(path) as bag:
        for index in range(frames):
            stamp = 10**18 + index * 10**8
            time_of = STORE.types['builtin_interfaces/msg/Time'](stamp // 10**9, stamp % 10**9)
            header = STORE.types['std_msgs/msg/Header'](time_of, 'camera_optical_frame')
            info = camera_info_message(header, CAMERA)
            bag.write('/camera/camera_info', 'sensor_msgs/msg/CameraInfo', stamp, info)
            picture, file = files[index % len(files)]
            if kind == 'raw':
                message = image_message(header, 'rgb8', picture)
                bag.write('/camera/image_raw', IMAGES, stamp, message)
            else:
                message = STORE.types[COMPRESSED](header, 'rgb8; jpeg compressed bgr8', file)
                bag.write('/camera/image_raw/compressed', COMPRESSED, stamp, message)
    return path


if __name__ == '__main__':
    main()

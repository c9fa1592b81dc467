# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""How fast ``replay`` is against its network alone, and what memory it takes.

    python benchmark/replay.py [--network-threads 1]

The rate of ``replay`` (reading, decoding, the network, clouds, previews, writing) is divided by
that of the estimator alone on the same images in memory, taken turn by turn in one process;
median, least and largest of the rounds. Memory is the largest resident set of a ``replay``
process on a short bag and on one ten times as long; the slope between them is what each further
GB costs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin

from mono_metric_depth.camera import Camera
from mono_metric_depth.datasets.bag import camera_info_message, image_message, new_bag
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.evaluation.bag_replay import BagReplay
from mono_metric_depth.evaluation.depth_messages import STORE, OutputOptions
from mono_metric_depth.image import Image

CAMERA = Camera(1280, 720, 900.0, 900.0, 639.5, 359.5)
IMAGES = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--network-threads', type=int, default=1)
    parser.add_argument('--frames', type=int, default=240)
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    threads = options.network_threads
    cores = os.cpu_count()
    print(f'{CAMERA.width}x{CAMERA.height}, {threads} threads of the network, {cores} cores')
    estimator = DepthEstimator.load(threads=threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ('raw', 'jpeg'):
            bag = write_bag(folder / kind, options.frames, kind)
            show_rate(kind, estimator, bag, options.frames, options.rounds)
        for kind in ('raw', 'jpeg'):
            show_memory(kind, folder, threads)


def show_rate(kind: str, estimator: DepthEstimator, bag: Path, frames: int, rounds: int) -> None:
    """Print the rate of replay against that of the network."""
    images = [Image(picture, 'rgb') for picture in pictures()]
    ratios, rates = [], []
    for number in range(rounds + 1):
        start = time.perf_counter()
        for index in range(frames):
            estimator.estimate(images[index % len(images)], CAMERA)
        alone = frames / (time.perf_counter() - start)
        replay = BagReplay(bag, OutputOptions())
        output = bag.with_name(f'{kind}_out_{number}')
        start = time.perf_counter()
        replay.run(estimator, output, StoragePlugin.MCAP, key={}, file_bytes=10**9)
        rate = frames / (time.perf_counter() - start)
        for file in output.iterdir():
            file.unlink()
        if number:  # the first round warms up
            ratios.append(rate / alone)
            rates.append(rate)
    print(
        f'{kind:5} {statistics.median(rates):6.1f} images/s, {statistics.median(ratios):.2f} '
        f'({min(ratios):.2f} .. {max(ratios):.2f}) of the network alone'
    )


def show_memory(kind: str, folder: Path, threads: int) -> None:
    """Print the memory of replay on a short and a long bag."""
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
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found.append((size, int(done.stdout.split()[-1]) * 1024 / 1e6))
        for place in (bag, output):
            for file in place.iterdir():
                file.unlink()
    (short, low), (long, high) = found
    print(
        f'{kind:5} {low:.0f} MB at {short:.2f} GB, {high:.0f} MB at {long:.2f} GB: '
        f'{(high - low) / (long - short):+.1f} MB for each GB'
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

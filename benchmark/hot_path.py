# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Write docs/hot_path.md: what a frame costs beside inference, from message to message.

    python benchmark/hot_path.py

An image message (rgb8) comes in; a 32FC1 depth image at its resolution and a coloured cloud go
out. Beside it, turn by turn in the same run, stand

- a plain copy of the bytes that must be moved: the image read once, the depth image and the cloud
  written once, as one memory copy of as many bytes into memory that is already there;
- the usual way of nodes in Python, with the same outputs: cv_bridge's conversions as cv_bridge
  does them (a converted copy in; bytes, and an array of them, out), cv2.remap with maps made
  beforehand, cv2.resize, a meshgrid and a structured array for the cloud. It allocates as it goes.
  Such nodes know no cloud per pixel of the network: theirs has a point for every pixel of the
  depth image. Both are compared, the small cloud in ours and either in theirs.

Every round takes another image, as a camera does, and runs the network, which leaves nothing in
the processor's caches. Times are the least of all rounds, in processor time of one thread
(OpenCV's, too): what other programs take does not count.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import PointCloud2
from stages import WARM_UP, Stages, processor
from usual_way import Usual

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.nodes.messages import CloudMessage, DepthMessage, image_from_message
from mono_metric_depth.point_cloud import PointCloudWriter
from mono_metric_depth.worlds.drive import Drive

ROOT = Path(__file__).parents[1]
TABLE = ROOT / 'docs' / 'hot_path.md'
SIZES = {'VGA': (640, 480), '720p': (1280, 720), '1080p': (1920, 1080)}
#: As wide as the canonical camera, so that as many pixels as can be get depth.
LENSES: dict[str, tuple[tuple[float, ...], Mount]] = {
    'rectified, level': ((), Mount()),
    'distorted, pitched': ((-0.28, 0.09, 4e-4, -3e-4, -0.01), Mount(pitch=0.03, roll=0.01)),
}
IMAGES = 8
TOPICS: dict[str, Any] = {'hot_path/image': ImageMessage, 'hot_path/points': PointCloud2}


class Ours:
    """The stages of the depth node, in its order."""

    def __init__(self, camera: Camera, mount: Mount, resolution: str, publishers: Any) -> None:
        self.stages = Stages()
        self.estimator = DepthEstimator.load(threads=1)
        self.camera, self.mount, self.resolution = camera, mount, resolution
        # The estimator's own two steps, seen from outside.
        engine, alignment = self.estimator.engine, self.estimator.alignment(camera, mount)
        engine.run = self.stages.timed('infer', engine.run)  # type: ignore[method-assign]
        normaliser = engine._normaliser  # type: ignore[attr-defined]
        normaliser.write = self.stages.timed('normalise', normaliser.write)
        alignment.align = self.stages.timed('align', alignment.align)  # type: ignore[method-assign]
        cloud_camera = alignment.output_camera(resolution)
        self.depth = DepthMessage(camera.width, camera.height)
        self.cloud_depth = self.depth.depth
        if resolution == 'network':
            self.cloud_depth = np.empty((cloud_camera.height, cloud_camera.width), np.float32)
        self.cloud = CloudMessage(cloud_camera.width, cloud_camera.height)
        self.writer = PointCloudWriter(cloud_camera)
        self.publishers = publishers
        self.buffer = self.estimator.buffer()
        self.kept = False

    def __call__(self, message: ImageMessage) -> None:
        """One frame."""
        stage = self.stages.stage
        with stage('decode'):
            image = image_from_message(message)
        with stage('prepare'):
            estimate = self.estimator.prepare(image, self.camera, self.mount, self.buffer)
        with stage('colour'):
            estimate.colour(self.resolution)
        with stage('estimate'):
            self.estimator.infer([estimate])
        with stage('depth message'):
            estimate.depth('input', self.depth.depth, kept=self.kept)
            self.kept = True
        with stage('cloud message'):
            if self.resolution == 'network':
                estimate.depth('network', self.cloud_depth)
            self.writer.write(
                self.cloud_depth, estimate.colour(self.resolution), self.cloud.points
            )
        with stage('publish'):
            for publisher, sent in zip(self.publishers, (self.depth, self.cloud), strict=True):
                publisher.publish(sent.message)

    def least(self) -> dict[str, float]:
        """The least of each stage."""
        seconds = self.stages.seconds
        timed = (seconds[name] for name in ('prepare', 'align', 'estimate', 'infer', 'normalise'))
        seconds['normalise, scale'] = [
            prepare - align + estimate - infer + normalise
            for prepare, align, estimate, infer, normalise in zip(*timed, strict=True)
        ]
        made = (seconds[name] for name in ('colour', 'cloud message'))
        seconds['cloud message'] = [sum(parts) for parts in zip(*made, strict=True)]
        return self.stages.least()


@dataclass
class Outcome:
    """What one case takes (s)."""

    size: str
    lens: str
    cloud: str
    ours: dict[str, float]
    usual: dict[str, float]
    copy: float
    moved: int
    network: tuple[int, int]

    @property
    def cost(self) -> float:
        """Of ours, without inference and without DDS."""
        return sum(self.ours[name] for name in STAGES)

    @property
    def usual_cost(self) -> float:
        """Of the usual way, likewise."""
        return sum(self.usual.values())


def measure(size: str, lens: str, cloud: str, rounds: int, node: Node) -> Outcome:
    """Everything turn by turn, a new image each time."""
    width, height = SIZES[size]
    distortion, mount = LENSES[lens]
    canonical = DepthEstimator.load(threads=1).card.canonical_camera
    fx = canonical.fx * width / canonical.width
    camera = Camera(
        width, height, fx, fx, (width - 1) / 2, (height - 1) / 2, 'plumb_bob', distortion
    )
    messages = [image_message(pixels) for pixels in images(camera)]
    publishers = [
        node.create_publisher(kind, topic, QoSProfile(depth=2)) for topic, kind in TOPICS.items()
    ]
    while not all(publisher.get_subscription_count() for publisher in publishers):
        time.sleep(0.1)
    ours = Ours(camera, mount, cloud, publishers)
    usual = Usual(ours.estimator, camera, mount, cloud)
    moved = len(messages[0].data) + ours.depth.depth.nbytes + ours.cloud.points.nbytes
    source, target = np.ones(moved, np.uint8), np.ones(moved, np.uint8)
    copies = Stages()
    for number in range(rounds + WARM_UP):
        ours(messages[number % IMAGES])
        usual(messages[number % IMAGES])
        with copies.stage('copy'):
            np.copyto(target, source)
    for publisher in publishers:
        node.destroy_publisher(publisher)
    return Outcome(
        size,
        lens,
        cloud,
        ours.least(),
        usual.stages.least(),
        copies.least()['copy'],
        moved,
        (canonical.width, canonical.height),
    )


def images(camera: Camera) -> list[np.ndarray]:
    """(height, width, 3) uint8: a drive, rendered small."""
    drive = Drive(
        'suburb', 1000, IMAGES, camera=camera.resized(camera.width // 4, camera.height // 4)
    )
    return [
        cv2.resize(frame.image, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
        for frame in drive
    ]


def image_message(pixels: np.ndarray) -> ImageMessage:
    """As a subscription hands it over."""
    height, width = pixels.shape[:2]
    message = ImageMessage(height=height, width=width, encoding='rgb8', step=3 * width)
    message.data.frombytes(pixels.tobytes())
    return message


def subscribe(domain: str) -> None:
    """The process that receives what is published."""
    os.environ['ROS_DOMAIN_ID'] = domain
    rclpy.init()
    node = Node('hot_path_subscriber')
    for topic, kind in TOPICS.items():
        node.create_subscription(kind, topic, lambda _: None, QoSProfile(depth=2), raw=True)
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


STAGES = ('decode', 'align', 'normalise, scale', 'depth message', 'cloud message')


def table(outcomes: list[Outcome], rounds: int) -> str:
    """The page."""
    lines = [
        '# The hot path',
        '',
        'Written by `python benchmark/hot_path.py`, which says what is compared.',
        '',
        'What a frame costs beside inference: an rgb8 message in, a 32FC1 depth message at its '
        'resolution and a coloured cloud message out.',
        '',
        'The bytes that must be moved are those of three messages: the image is read once, the '
        'depth image and the cloud are written once. *Copy* is one memory copy of as many bytes, '
        'which reads and writes each of them. What DDS copies on its way is in neither. As in the '
        'node, pixels of the depth message that never get depth are written with the first frame '
        'alone.',
        '',
        'The *usual way* makes the same messages; *its own cloud* is the usual way with a point '
        'for every pixel of the depth image, as nodes have it that make their cloud of that.',
        '',
        '| image | lens | cloud per pixel of | moved | copy | ours | usual way | its own cloud '
        '| ours / copy | usual / ours | its own cloud / ours |',
        f'|---|---|---|{"---:|" * 8}',
    ]
    fullest = {
        (found.size, found.lens): found.usual_cost for found in outcomes if found.cloud == 'input'
    }
    for found in outcomes:
        own = fullest[found.size, found.lens]
        lines.append(
            f'| {found.size} | {found.lens} | {found.cloud} | {found.moved / 1e6:.1f} MB '
            f'| {1e3 * found.copy:.2f} ms | {1e3 * found.cost:.2f} ms '
            f'| {1e3 * found.usual_cost:.1f} ms | {1e3 * own:.1f} ms '
            f'| **{found.cost / found.copy:.1f}** | **{found.usual_cost / found.cost:.1f}** '
            f'| **{own / found.cost:.1f}** |'
        )
    small = [found for found in outcomes if found.cloud == 'network']
    usual = sorted(found.usual_cost / found.copy for found in small)
    large = sorted(found.usual_cost / found.cost for found in outcomes if found.cloud == 'input')
    network = f'{small[0].network[0]}x{small[0].network[1]}'
    lines += [
        '',
        f'With a cloud per pixel of the network ({network}) the usual way takes '
        f'{usual[0]:.1f} to {usual[-1]:.1f} copies itself, a tenth of which is '
        f'{usual[0] / 10:.1f} to {usual[-1] / 10:.1f}: ten times less cannot be had where every '
        f'byte has to be moved once. With a cloud per pixel of the image it is {large[0]:.1f} to '
        f'{large[-1]:.1f} times less.',
        '',
        'Stage by stage, ours and the usual way (ms):',
        '',
        f'| image | lens | cloud | {" | ".join(STAGES)} | inference | publish |',
        f'|---|---|---|{"---:|" * (len(STAGES) + 2)}',
    ]
    for found in outcomes:
        cells = [f'{1e3 * found.ours[name]:.2f}, {1e3 * found.usual[name]:.2f}' for name in STAGES]
        cells += [f'{1e3 * found.ours["infer"]:.1f}', f'{1e3 * found.ours["publish"]:.2f}']
        lines.append(f'| {found.size} | {found.lens} | {found.cloud} | {" | ".join(cells)} |')
    lines += [
        '',
        f'{processor()} ({platform.machine()}), Python {platform.python_version()}, NumPy '
        f'{np.__version__}, OpenCV {cv2.__version__}; the least of {rounds} rounds, processor '
        'time of one thread. Publish: rclpy and Fast DDS with the shipped profile, one reliable '
        'subscriber in another process; none of it is in the sums, it is the same for everybody '
        'who publishes these bytes.',
    ]
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=60)
    parser.add_argument('--size', choices=SIZES, help='this one alone; nothing is written')
    options = parser.parse_args()
    os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(ROOT / 'config' / 'fastdds.xml')
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    domain = os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    cv2.setNumThreads(1)
    subscriber = multiprocessing.get_context('spawn').Process(
        target=subscribe, args=(domain,), daemon=True
    )
    subscriber.start()
    rclpy.init()
    node = Node('hot_path')
    outcomes = [
        measure(size, lens, cloud, options.rounds, node)
        for size in ([options.size] if options.size else SIZES)
        for lens in LENSES
        for cloud in ('network', 'input')
    ]
    subscriber.terminate()
    subscriber.join()
    page = table(outcomes, options.rounds)
    if options.size is None:
        TABLE.write_text(page)
    print(page)


if __name__ == '__main__':
    main()

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

Every round takes another image, as a camera does. Times are medians of the thread's processor
time, OpenCV with one thread: what other programs take does not count.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import PointCloud2, PointField

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
WARM_UP = 5
TOPICS: dict[str, Any] = {'hot_path/image': ImageMessage, 'hot_path/points': PointCloud2}


class Stages:
    """Seconds of processor time by stage, one number for each round."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        start = time.thread_time()
        yield
        self.seconds[name].append(time.thread_time() - start)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def call(*arguments: Any) -> Any:
            with self.stage(name):
                return function(*arguments)

        return call

    def medians(self) -> dict[str, float]:
        """The median of each stage, warm-up left out."""
        return {name: statistics.median(found[WARM_UP:]) for name, found in self.seconds.items()}


class Ours:
    """The stages of the depth node, in its order."""

    def __init__(self, camera: Camera, mount: Mount, resolution: str, publishers: Any) -> None:
        self.stages = Stages()
        self.estimator = DepthEstimator.load(threads=1)
        self.camera, self.mount, self.resolution = camera, mount, resolution
        # The estimator's own two steps, seen from outside.
        engine, alignment = self.estimator.engine, self.estimator.alignment(camera, mount)
        engine.run = self.stages.timed('infer', engine.run)  # type: ignore[method-assign]
        alignment.align = self.stages.timed('align', alignment.align)  # type: ignore[method-assign]
        cloud_camera = alignment.output_camera(resolution)
        self.depth = DepthMessage(camera.width, camera.height)
        self.cloud_depth = self.depth.depth
        if resolution == 'network':
            self.cloud_depth = np.empty((cloud_camera.height, cloud_camera.width), np.float32)
        self.cloud = CloudMessage(cloud_camera.width, cloud_camera.height)
        self.writer = PointCloudWriter(cloud_camera)
        self.publishers = publishers

    def __call__(self, message: ImageMessage) -> None:
        """One frame."""
        stage = self.stages.stage
        with stage('decode'):
            image = image_from_message(message)
        with stage('estimate'):
            estimate = self.estimator.estimate(image, self.camera, self.mount)
        with stage('depth message'):
            estimate.depth('input', self.depth.depth)
        with stage('cloud message'):
            if self.resolution == 'network':
                estimate.depth('network', self.cloud_depth)
            self.writer.write(
                self.cloud_depth, estimate.colour(self.resolution), self.cloud.points
            )
        with stage('publish'):
            for publisher, sent in zip(self.publishers, (self.depth, self.cloud), strict=True):
                publisher.publish(sent.message)

    def medians(self) -> dict[str, float]:
        """The median of each stage."""
        seconds = self.stages.seconds
        seconds['normalise, scale'] = [
            whole - align - infer
            for whole, align, infer in zip(
                seconds['estimate'], seconds['align'], seconds['infer'], strict=True
            )
        ]
        return self.stages.medians()


class Usual:
    """The same work as nodes in Python are usually written, inference left out."""

    def __init__(self, ours: Ours) -> None:
        self.stages = Stages()
        self.camera, card = ours.camera, ours.estimator.card
        self.canonical, self.scale = card.canonical_camera, card.scale.value
        self.output = ours.estimator.engine.output
        self.resolution = ours.resolution
        self.maps: tuple[np.ndarray, np.ndarray] | None = None
        # The canonical camera with about as many pixels as the image has there.
        shrink = self.camera.fx / self.canonical.fx
        self.fine = self.canonical.resized(
            round(self.canonical.width * shrink), round(self.canonical.height * shrink)
        )
        self.corner = tuple(
            round(own - other)
            for own, other in (
                (self.camera.cy, self.fine.cy),
                (self.camera.cx, self.fine.cx),
            )
        )
        if self.camera.distortion:
            rotation = ours.mount.rotation()
            there = self.camera.project(self.fine.rays() @ rotation)
            back = self.fine.project(self.camera.rays() @ rotation.T)
            self.maps = (there.astype(np.float32), np.nan_to_num(back, nan=-1).astype(np.float32))

    def __call__(self, message: ImageMessage) -> None:
        """One frame."""
        stage = self.stages.stage
        (top, left), (height, width) = self.corner, (self.fine.height, self.fine.width)
        with stage('decode'):
            shape = (message.height, message.width, 3)
            pixels = np.ndarray(shape, np.uint8, buffer=message.data)
            bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        with stage('align'):
            if self.maps is None:
                crop = bgr[top : top + height, left : left + width]
            else:
                crop = cv2.remap(bgr, self.maps[0], None, cv2.INTER_LINEAR)
            small = cv2.resize(crop, (self.canonical.width, self.canonical.height))
        with stage('normalise, scale'):
            rgb = cv2.cvtColor(small, cv2.COLOR_BGR2RGB).astype(np.float32) / 255.0
            rgb = (rgb - np.array([0.45] * 3, np.float32)) / np.array([0.225] * 3, np.float32)
            np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])
            depth = self.output[0, 0] * self.scale
        with stage('depth message'):
            fine = cv2.resize(depth, (width, height))
            if self.maps is None:
                full = np.full((self.camera.height, self.camera.width), np.nan, np.float32)
                full[top : top + height, left : left + width] = fine
            else:
                full = cv2.remap(fine, self.maps[1], None, cv2.INTER_LINEAR, borderValue=np.nan)
            image = ImageMessage(
                height=full.shape[0], width=full.shape[1], encoding='32FC1', step=4 * full.shape[1]
            )
            image.data.frombytes(full.tobytes())
        with stage('cloud message'):
            if self.resolution == 'network':
                structured_cloud(depth, small, self.canonical)
            else:
                structured_cloud(full, bgr, self.camera)


def structured_cloud(depth: np.ndarray, bgr: np.ndarray, camera: Camera) -> PointCloud2:
    """An organised coloured cloud by a meshgrid and a structured array."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    points = np.zeros(depth.size, [(name, np.float32) for name in ('x', 'y', 'z', 'rgb')])
    points['x'] = ((u - camera.cx) * depth / camera.fx).ravel()
    points['y'] = ((v - camera.cy) * depth / camera.fy).ravel()
    points['z'] = depth.ravel()
    b, g, r = (bgr[..., channel].astype(np.uint32) for channel in range(3))
    points['rgb'] = (r << 16 | g << 8 | b).ravel().view(np.float32)
    return PointCloud2(
        height=camera.height,
        width=camera.width,
        fields=[
            PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
            for index, name in enumerate(points.dtype.names)
        ],
        point_step=16,
        row_step=16 * camera.width,
        data=points.tobytes(),
    )


@dataclass
class Outcome:
    """Medians of one case (s)."""

    size: str
    lens: str
    cloud: str
    ours: dict[str, float]
    usual: dict[str, float]
    copy: float
    moved: int

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
    usual = Usual(ours)
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
        size, lens, cloud, ours.medians(), usual.stages.medians(), copies.medians()['copy'], moved
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
    rclpy.spin(node)


STAGES = ('decode', 'align', 'normalise, scale', 'depth message', 'cloud message')


def processor() -> str:
    """The processor's name."""
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    names = (line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.processor())


def table(outcomes: list[Outcome], rounds: int) -> str:
    """The page."""
    lines = [
        '# The hot path',
        '',
        'Written by `python benchmark/hot_path.py`, which says what is compared.',
        '',
        'What a frame costs beside inference: an rgb8 message in, a 32FC1 depth message at its '
        'resolution and a coloured cloud message out. *Copy* is one memory copy of the bytes that '
        'must be moved: the image read once, the depth image and the cloud written once.',
        '',
        '| image | lens | cloud per pixel of | moved | copy | ours | usual way | ours / copy '
        '| usual / ours |',
        '|---|---|---|---:|---:|---:|---:|---:|---:|',
    ]
    for found in outcomes:
        lines.append(
            f'| {found.size} | {found.lens} | {found.cloud} | {found.moved / 1e6:.1f} MB '
            f'| {1e3 * found.copy:.2f} ms | {1e3 * found.cost:.2f} ms '
            f'| {1e3 * found.usual_cost:.1f} ms | **{found.cost / found.copy:.1f}** '
            f'| **{found.usual_cost / found.cost:.1f}** |'
        )
    lines += [
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
        f'{np.__version__}, OpenCV {cv2.__version__}; medians of {rounds} rounds of one thread, '
        'its processor time. Publish: rclpy and Fast DDS with the shipped profile, one reliable '
        'subscriber in another process; none of it is in the sums, as it is the same for '
        'everybody who publishes these bytes.',
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

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Write docs/end_to_end.md: the depth node over real DDS, from one process to the next.

    python benchmark/dds.py --minutes 5

Three processes with the shipped Fast DDS profile: one publishes 720p images and their camera_info,
depth_node computes, one subscribes to depth and cloud (reliable). First at a rate that the node
cannot follow, beside inference alone, to see what rate it sustains: with the network on a core, of
which DDS and all else need their part; and with the network replaced by a wait of as long as an
accelerator might take, which leaves the cores to the rest. Then at 15 Hz for a while, to
see what is lost, how late depth is, and whether memory grows. Everything is seen from outside of
the node: topics, parameters, diagnostics and /proc.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from hot_path import ROOT, SIZES, image_message, images
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, PointCloud2
from sensor_msgs.msg import Image as ImageMessage
from stages import processor

from mono_metric_depth.camera import Camera
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.model_files import DEFAULT_MODEL
from mono_metric_depth.nodes.bag_exchange import header_stamp
from mono_metric_depth.nodes.messages import camera_info_message

PAGE = ROOT / 'docs' / 'end_to_end.md'
OUTPUTS = {'/depth/image': ImageMessage, '/depth/points': PointCloud2}
RATE = 15.0
#: This much faster than inference alone allows is what a node is flooded with.
FLOOD = 1.3
#: What the wait in place of a network takes (s).
ACCELERATOR = 0.025
#: A depth_node whose network is a wait, once it has been warmed up.
ACCELERATED = f"""
import time
from mono_metric_depth.commands.depth_node import main
from mono_metric_depth.engines.onnxruntime import OnnxRuntimeEngine
run, runs = OnnxRuntimeEngine.run, []
def wait(engine, images):
    runs.append(images)
    run(engine, images) if len(runs) < 4 else time.sleep({ACCELERATOR})
OnnxRuntimeEngine.run = wait
main()
"""
_spawn = multiprocessing.get_context('spawn')


@dataclass
class Received:
    """What the subscriber got.

    Attributes:
        arrivals: For each output, stamp and arrival of every message (ns).
        counts: The node's frames by what became of them, as its last diagnostics told.
    """

    arrivals: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


@dataclass
class Run:
    """One run of the node.

    Attributes:
        seconds: How long images were published.
        sent: How many.
        received: What came back.
        memory: The node's resident memory, each second (MiB).
        cpu: Processor time of the node per second of the run.
    """

    seconds: float
    sent: int
    received: Received
    memory: list[float]
    cpu: float

    @property
    def rate(self) -> float:
        """Depth images per second, from the first to the last."""
        arrived = [arrival for _, arrival in self.received.arrivals['/depth/image']]
        return (len(arrived) - 1) / (arrived[-1] - arrived[0]) * 1e9 if len(arrived) > 1 else 0.0

    def latency(self, topic: str, part: slice = slice(None)) -> tuple[float, float, float]:
        """Median, 99th percentile and largest latency of an output (ms)."""
        late = [(arrival - stamp) / 1e6 for stamp, arrival in self.received.arrivals[topic][part]]
        if not late:
            return (float('nan'),) * 3
        return statistics.median(late), float(np.percentile(late, 99)), max(late)

    def lost(self, topic: str) -> int:
        """Messages that were published and did not arrive."""
        return self.received.counts.get('published', 0) - len(self.received.arrivals[topic])

    def growth(self) -> float:
        """How far resident memory moves after warm-up, the first fifth (MiB)."""
        settled = self.memory[len(self.memory) // 5 :]
        return max(settled) - min(settled)


def publish(rate: float, seconds: float, ready: Event, result: Connection) -> None:
    """The process that publishes."""
    rclpy.init()
    node = Node('camera')
    width, height = SIZES['720p']
    focal = 0.8 * width
    camera = Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
    messages = [image_message(pixels) for pixels in images(camera)]
    info = camera_info_message(camera)
    image_sender = node.create_publisher(ImageMessage, 'image', QoSProfile(depth=2))
    info_sender = node.create_publisher(CameraInfo, 'camera_info', QoSProfile(depth=10))
    while not (image_sender.get_subscription_count() and info_sender.get_subscription_count()):
        time.sleep(0.05)
    ready.wait()
    start = due = time.monotonic()
    sent = 0
    while due < start + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        message = messages[sent % len(messages)]
        stamp = time.time_ns()
        for header in (message.header, info.header):
            header.stamp.sec, header.stamp.nanosec = divmod(stamp, 10**9)
            header.frame_id = 'camera_optical_frame'
        info_sender.publish(info)
        image_sender.publish(message)
        sent += 1
        due = max(due + 1 / rate, time.monotonic())
    result.send((sent, time.monotonic() - start))
    time.sleep(3.0)


def subscribe(ready: Event, done: Event, result: Connection) -> None:
    """The process that subscribes."""
    rclpy.init()
    node = Node('consumer')
    received = Received({topic: [] for topic in OUTPUTS})
    for topic, kind in OUTPUTS.items():
        arrivals = received.arrivals[topic]

        def keep(data: bytes, arrivals: list[tuple[int, int]] = arrivals) -> None:
            arrivals.append((header_stamp(data), time.time_ns()))

        node.create_subscription(kind, topic, keep, QoSProfile(depth=10), raw=True)

    def diagnosed(message: DiagnosticArray) -> None:
        for item in message.status[0].values:
            if item.key.startswith('frames '):
                received.counts[item.key.removeprefix('frames ')] = int(item.value)

    node.create_subscription(DiagnosticArray, '/diagnostics', diagnosed, 10)
    while not all(node.count_publishers(topic) for topic in OUTPUTS):
        rclpy.spin_once(node, timeout_sec=0.05)
    time.sleep(1.0)  # the node discovers these subscriptions, too
    ready.set()
    while not done.is_set():
        rclpy.spin_once(node, timeout_sec=0.1)
    result.send(received)


def run(
    rate: float, seconds: float, model: Path, parameters: list[str], *, accelerated: bool = False
) -> Run:
    """Start the three processes, wait, and end them."""
    os.environ['ROS_DOMAIN_ID'] = str(1 + time.time_ns() // 1000 % 100)
    arguments = [f'model:={model}', 'engine:=onnxruntime', 'threads:=1', *parameters]
    program = (
        ['-c', ACCELERATED] if accelerated else ['-m', 'mono_metric_depth.commands.depth_node']
    )
    command = [sys.executable, *program, '--ros-args']
    depth_node = subprocess.Popen(
        command + [word for argument in arguments for word in ('-p', argument)]
    )
    ready, done = _spawn.Event(), _spawn.Event()
    (sent_end, sent_from), (got_end, got_from) = _spawn.Pipe(False), _spawn.Pipe(False)
    helpers = [
        _spawn.Process(target=publish, args=(rate, seconds, ready, sent_from), daemon=True),
        _spawn.Process(target=subscribe, args=(ready, done, got_from), daemon=True),
    ]
    try:
        for helper in helpers:
            helper.start()
        if not ready.wait(60):
            msg = 'the depth node did not appear within 60 s; see its output'
            raise TimeoutError(msg)
        memory, start, cpu = [], time.monotonic(), processor_seconds(depth_node.pid)
        while not sent_end.poll(1.0):
            memory.append(resident(depth_node.pid))
        share = (processor_seconds(depth_node.pid) - cpu) / (time.monotonic() - start)
        sent, lasted = sent_end.recv()
        time.sleep(2.5)  # what is under way, and the diagnostics that count it
        done.set()
        return Run(lasted, sent, got_end.recv(), memory, share)
    finally:
        depth_node.send_signal(signal.SIGINT)
        depth_node.wait(10)
        for helper in helpers:
            helper.join(5)
            helper.kill()


def resident(pid: int) -> float:
    """Resident memory of a process (MiB), shared memory included."""
    lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmRSS')) / 1024


def processor_seconds(pid: int) -> float:
    """Processor time that a process has taken (s)."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def inference_rate(model: Path, seconds: float) -> float:
    """Runs of the network per second with nothing else in this process, one thread."""
    engine = DepthEstimator.load(model, threads=1).engine
    start, runs = time.monotonic(), 0
    while time.monotonic() < start + seconds:
        engine.run(1)
        runs += 1
    return runs / (time.monotonic() - start)


def page(
    flooded: Run, alone: list[float], accelerated: Run, steady: Run, model: Path, load: float
) -> str:
    """The report."""
    rows = [
        (
            f'sustained rate, {name}',
            f'{found.rate:.1f} Hz of {rate:.1f} Hz that inference alone allows: '
            f'**{found.rate / rate:.2f}**',
        )
        for name, found, rate in (
            ('network on a core', flooded, statistics.mean(alone)),
            (f'a wait of {1e3 * ACCELERATOR:.0f} ms for it', accelerated, 1 / ACCELERATOR),
        )
    ]
    rows += [
        ('15 Hz for', f'{steady.seconds / 60:.1f} minutes, {steady.sent} images of 720p'),
        ('frames', ', '.join(f'{name} {n}' for name, n in sorted(steady.received.counts.items()))),
    ]
    for topic in OUTPUTS:
        arrived = len(steady.received.arrivals[topic])
        rows.append(
            (f'`{topic}` arrived', f'{arrived}, **lost {steady.lost(topic)}** of those published')
        )
        half = len(steady.received.arrivals[topic]) // 2
        for name, part in (('first', slice(None, half)), ('second', slice(half, None))):
            p50, p99, most = steady.latency(topic, part)
            rows.append(
                (
                    f'its latency, {name} half',
                    f'p50 {p50:.1f} ms, p99 {p99:.1f} ms, at most {most:.0f} ms',
                )
            )
    rows += [
        ("the node's processor time", f'{100 * steady.cpu:.0f} % of one core'),
        (
            'its resident memory',
            f'{steady.memory[len(steady.memory) // 5]:.1f} MiB after the first fifth of the run, '
            f'{steady.memory[-1]:.1f} MiB at the end, between them it moved by '
            f'**{steady.growth():.1f} MiB**',
        ),
    ]
    lines = [
        '# End to end over DDS',
        '',
        'Written by `python benchmark/dds.py`, which says what is measured.',
        '',
        '| | |',
        '|---|---|',
        *(f'| {name} | {value} |' for name, value in rows),
        '',
        f'{processor()} ({platform.machine()}), {os.cpu_count()} cores, Python '
        f'{platform.python_version()}, Fast DDS with config/fastdds.xml, model {model.name}, one '
        f'thread. Load average when it started: {load:.1f}; above about 1 other programs took '
        'their part of the cores. Latency: stamp of the image to the callback of the subscriber.',
    ]
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Measure, print, and write the page if it lasted as long as asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--minutes', type=float, default=0.5, help='how long at 15 Hz')
    parser.add_argument('--seconds', type=float, default=15.0, help='how long to flood the node')
    parser.add_argument('--model', type=Path, default=DEFAULT_MODEL)
    parser.add_argument('--parameter', action='append', default=[], metavar='NAME:=VALUE')
    parser.add_argument('--output', type=Path, default=PAGE)
    options = parser.parse_args()
    os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(ROOT / 'config' / 'fastdds.xml')
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    load = os.getloadavg()[0]
    alone = [inference_rate(options.model, 5.0)]
    flooded = run(FLOOD * alone[0], options.seconds, options.model, options.parameter)
    alone.append(inference_rate(options.model, 5.0))
    accelerated = run(
        FLOOD / ACCELERATOR, options.seconds, options.model, options.parameter, accelerated=True
    )
    steady = run(RATE, 60 * options.minutes, options.model, options.parameter)
    text = page(flooded, alone, accelerated, steady, options.model, load)
    options.output.write_text(text)
    print(text)


if __name__ == '__main__':
    main()

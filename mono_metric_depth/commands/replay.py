# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``replay``: a ROS 2 bag in, the same bag with depth, clouds and previews out; needs no ROS.

Every image is worked on; the topics are those of the depth node, beside each camera's own, with
the stamps of the images. Stop it when you like: the same command goes on. The exit status is 0 if
every image was given depth and nothing of the bag is damaged; 3 if the new bag is written, but
some images were given no depth (they are counted by reason) or places of the bag are damaged (they
are named: what lay there is lost); 1 if it is not written, and 130 if it was stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
from rosbags.rosbag2 import StoragePlugin
from tqdm import tqdm

from mono_metric_depth.camera import Mount
from mono_metric_depth.commands import errors_in_one_line, fail
from mono_metric_depth.datasets.bag_metadata import STORAGES
from mono_metric_depth.datasets.bag_storage import without_checksums
from mono_metric_depth.depth_estimate import coverage_warning
from mono_metric_depth.engines import EngineError
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.evaluation.bag_replay import BagReplay, Replayed
from mono_metric_depth.evaluation.depth_messages import OutputOptions
from mono_metric_depth.model_files import DEFAULT_MODEL, model_file

_STORAGES = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
#: Exit status where the new bag is written, but images were given no depth or places are damaged.
_INCOMPLETE = 3
#: So many damaged places are named, the others counted.
_NAMED = 5


def main(arguments: list[str] | None = None) -> None:
    """Replay a bag."""
    try:
        with errors_in_one_line():
            _replay(_options(arguments))
    except EngineError as err:
        fail(str(err))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='replay', description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('bag', type=Path, help='folder, or one .mcap or .db3 file')
    parser.add_argument('--output', type=Path, required=True, help='folder of the new bag')
    parser.add_argument(
        '--model', type=model_file, default=DEFAULT_MODEL, help='file, default or nano'
    )
    parser.add_argument(
        '--image-topic', nargs='+', default=[], help='cameras to work on; all if left out'
    )
    parser.add_argument(
        '--leave-out',
        nargs='+',
        default=[],
        metavar='TOPIC',
        help='topics not to write: images, other topics of the bag, or outputs',
    )
    parser.add_argument('--storage', choices=_STORAGES, help='as the bag if left out')
    parser.add_argument(
        '--file-size', type=int, default=1024, help='of each file of the new bag (MB)'
    )
    parser.add_argument(
        '--threads', type=int, default=0, help='of the network; 0 for all cores but one'
    )
    whole = argparse.BooleanOptionalAction
    parser.add_argument('--rectified', action=whole, help='images are; by their topic if left out')
    for name in ('pitch', 'roll', 'yaw'):
        parser.add_argument(
            f'--{name}', type=float, help='of the cameras (rad); from /tf_static if left out'
        )
    # Names, values and defaults are those of the node's parameters.
    parser.add_argument('--depth-resolution', choices=('network', 'input'), default='network')
    parser.add_argument('--cloud-resolution', choices=('network', 'input'), default='network')
    parser.add_argument('--depth-encoding', choices=('32FC1', '16UC1'), default='32FC1')
    parser.add_argument('--cloud-organised', action=whole, default=True)
    parser.add_argument('--cloud-colour', action=whole, default=True)
    parser.add_argument('--cloud-decimation', type=int, default=1)
    parser.add_argument('--range-min', type=float, default=0.0, help='nearest point (m)')
    parser.add_argument('--range-max', type=float, default=1000.0, help='furthest point (m)')
    options = parser.parse_args(arguments)
    if options.file_size < 1:
        fail(f'--file-size must be at least 1 MB, got {options.file_size}')
    if not 0 <= options.threads <= 256:
        fail(f'--threads must be 0..256, got {options.threads}')
    if not 1 <= options.cloud_decimation <= 64:
        fail(f'--cloud-decimation must be 1..64, got {options.cloud_decimation}')
    if not 0 <= options.range_min < options.range_max:
        fail(
            f'--range-min must be below --range-max, got {options.range_min:g} and '
            f'{options.range_max:g}'
        )
    return options


def _replay(options: argparse.Namespace) -> None:
    angles = {name: getattr(options, name) for name in ('pitch', 'roll', 'yaw')}
    names = [field.name for field in dataclasses.fields(OutputOptions)]
    made = OutputOptions(**{name: getattr(options, name) for name in names})
    if options.output.exists():
        fail(f'{options.output} exists already; choose another folder or remove it')
    folder = options.bag if options.bag.is_dir() else options.bag.parent
    inside = folder.resolve() in options.output.resolve().parents
    if inside and (folder == options.bag or (folder / 'metadata.yaml').exists()):
        fail(f'{options.output} lies inside of the bag {folder}; choose another folder')
    bag = BagReplay(
        options.bag,
        made,
        images=options.image_topic,
        leave_out=options.leave_out,
        angles={name: angle for name, angle in angles.items() if angle is not None},
        rectified=options.rectified,
    )
    storage = options.storage or _storage(options.bag)
    # Each stage has a thread; OpenCV's own would be more of them than cores.
    cv2.setNumThreads(1)
    # With all of them for the network, reading and writing would wait, and it for them.
    threads = options.threads or max((os.cpu_count() or 2) - 1, 1)
    estimator = DepthEstimator.load(options.model, threads=threads)
    for camera in bag.cameras:
        print(f'{camera.image} with {camera.info}: {_attitude(camera.mount)}')
    if bag.unchecked:
        print(f'warning: {without_checksums(bag.unchecked)}')
    key = {
        **{
            name: value if isinstance(value, int | float | list | None) else str(value)
            for name, value in vars(options).items()
            if name not in {'bag', 'output', 'model'}
        },
        'bag': _files(options.bag),
        'model': hashlib.sha256(options.model.read_bytes()).hexdigest(),
        'storage': storage,
    }
    part = options.output.with_name(f'{options.output.name}.part')
    try:
        with (
            _stop_requests() as requests,
            tqdm(total=bag.images, desc=str(options.bag), unit='frame') as bar,
        ):
            done = bag.run(
                estimator,
                options.output,
                _STORAGES[storage],
                key=key,
                file_bytes=options.file_size * 10**6,
                progress=bar.update,
                stop=lambda: bool(requests),
            )
    except KeyboardInterrupt:
        kept = f'its whole files are kept in {part}' if part.exists() else 'nothing is kept'
        print(f'ended at once, {kept}; the same command goes on')
        raise
    if done.stopped:
        count = done.frames + done.skipped.total()
        kept = f'kept in {part}' if part.exists() else 'done'
        print(f'{count} of {done.images} images are {kept}; the same command goes on')
        raise KeyboardInterrupt
    _report(done, bag, options.output)


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Signals that ask to stop, as they come; a second one ends at once."""
    requests: list[int] = []

    def note(number: int, frame: Any) -> None:
        if requests:
            signal.default_int_handler(number, frame)
        requests.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _attitude(mount: Mount | None) -> str:
    if mount is None:
        return 'taken to look along the road (no /tf_static leads to it)'
    return f'pitch {mount.pitch:+.3f}, roll {mount.roll:+.3f}, yaw {mount.yaw:+.3f} rad'


def _report(done: Replayed, bag: BagReplay, output: Path) -> None:
    """Say what became of the images; ends with status 3 if some have no depth or are lost."""
    for line in [*done.named, *done.damage[:_NAMED]]:
        print(f'  {line}')
    if len(done.damage) > _NAMED:
        print(f'  {len(done.damage) - _NAMED} more places of the bag are damaged')
    _report_coverage(done, bag)
    for reason, count in sorted(done.skipped.items()):
        print(f'skipped {count}: {reason}')
    lost = done.images - done.frames - done.skipped.total()
    if lost > 0:
        print(f'{lost} image{"s" * (lost > 1)} cannot be read: the bag is damaged')
    damaged = ', the bag is damaged: others may be lost' if done.damage and lost <= 0 else ''
    print(f'{done.frames} of {done.images} images were given depth, in {output}{damaged}')
    if done.frames < done.images or done.damage:
        raise SystemExit(_INCOMPLETE)


def _report_coverage(done: Replayed, bag: BagReplay) -> None:
    """A line for each camera: what it sees of the network's view, and what speaks against it."""
    for camera in bag.cameras:
        total, count = done.coverage.get(camera.image, (0.0, 0))
        if not count:
            continue
        warning = coverage_warning(total / count, camera.mount)
        if warning and camera.mount is not None and camera.mount.yaw:
            warning += '; --yaw 0 gives depth of all that it sees, less exact'
        print(f'{camera.image}: coverage {total / count:.0%}')
        if warning:
            print(f'warning: {camera.image}: {warning}')


def _storage(bag: Path) -> str:
    files = [bag] if bag.is_file() else sorted(bag.iterdir())
    # A file that is compressed as a whole has its storage's name before that.
    suffixes = [suffix for file in files for suffix in file.suffixes]
    return next((STORAGES[suffix] for suffix in suffixes if suffix in STORAGES), 'mcap')


def _files(bag: Path) -> list[Any]:
    """What tells a bag from another: its files, their sizes and when they were changed."""
    files = [bag] if bag.is_file() else sorted(bag.iterdir())
    stats = [(file.name, file.stat()) for file in files]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


if __name__ == '__main__':
    main()

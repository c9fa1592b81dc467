# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``drives``: what a data set, a bag or a folder holds, as training and evaluation read it.

A line for each drive: its name, frames, camera, mounting height and the true depth of its middle
frame. ``--figure`` draws these frames with their true depth on them: look at it before you train.
A drive that cannot be read is named, the others are listed, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.commands import errors_in_one_line
from mono_metric_depth.datasets import (
    DamagedFrameError,
    DatasetError,
    FrameSequence,
    drive_path,
    open_sequence,
    sequence_names,
)
from mono_metric_depth.depth_colours import depth_colours
from mono_metric_depth.evaluation.drive_labels import drive_labels
from mono_metric_depth.frame import Frame
from mono_metric_depth.printable import printable

#: Nearest and furthest depth in the picture's colours (m).
_RANGE = (3.0, 60.0)
_WIDTH = 480
_COLUMNS = 3
#: Of text in the picture (px), and letters that fit above a drive.
_LINE, _LETTERS = 22, 58
#: Depths that the bar of colours names (m), and its room for the unit (px).
_TICKS, _UNIT = (3, 5, 10, 20, 40), 36
#: Sparse points are drawn as squares of this part of the image's width.
_POINT = 250
#: No true depth is so large (m).
_BEYOND = 1e6
#: So many frames around the middle are tried.
_TRIED = 30
#: Of pixels; LiDAR covers less.
_SPARSE = 0.3


def main(arguments: list[str] | None = None) -> None:
    """List drives."""
    with errors_in_one_line():
        _list(arguments)


def _list(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog='drives', description=__doc__)
    parser.add_argument('drives', nargs='+', help='data sets, bags, folders or worlds')
    parser.add_argument('--names', action='store_true', help='print names alone, open nothing')
    parser.add_argument('--figure', type=Path, help='draw a frame of each drive to this PNG')
    parser.add_argument('--most', type=int, default=12, help='draw so many drives at most')
    options = parser.parse_args(arguments)
    pictures: dict[str, NDArray[np.uint8]] = {}
    names, failed = _names(options.drives)
    for name in names:
        if options.names:
            print(name)
            continue
        try:
            sequence = open_sequence(name)
            frame = _middle_frame(sequence)
        except (DatasetError, OSError) as err:
            failed.append(str(err) if drive_path(name)[0].name in str(err) else f'{name}: {err}')
            _say(failed[-1])
            continue
        count = len(sequence)
        print(f'{name}: {count} frame{"s" * (count != 1)}, {_described(frame)}', flush=True)
        if options.figure is not None and len(pictures) < options.most:
            pictures[name] = picture(frame)
    if pictures:
        if not cv2.imwrite(str(options.figure), _table(pictures)):
            msg = f'{options.figure} cannot be written'
            raise OSError(msg)
        print(f'drew {options.figure}')
    if failed:
        raise SystemExit(1)


def _names(specifications: list[str]) -> tuple[list[str], list[str]]:
    """Names of drives, and why others cannot be read; those are said at once."""
    names: list[str] = []
    failed: list[str] = []
    for specification in specifications:
        try:
            names += sequence_names(specification)
        except (DatasetError, OSError) as err:
            failed.append(str(err))
            _say(failed[-1])
    return names, failed


def _say(error: str) -> None:
    print(f'error: {printable(error)}', file=sys.stderr)


def _table(pictures: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures with their names in rows of three, black where there is none, and the colours."""
    height = _LINE + max(len(shown) for shown in pictures.values())
    rows, columns = -(-len(pictures) // _COLUMNS), min(len(pictures), _COLUMNS)
    table = np.zeros((rows * height + _LINE, columns * _WIDTH, 3), np.uint8)
    labels = drive_labels(list(pictures))
    for number, (name, shown) in enumerate(pictures.items()):
        top, left = number // _COLUMNS * height, number % _COLUMNS * _WIDTH
        _write(table, printable(labels[name])[-_LETTERS:], left + 4, top)
        top += _LINE
        table[top : top + len(shown), left : left + _WIDTH] = shown
    bar = table[-_LINE:, : _WIDTH - _UNIT]
    bar[:] = depth_colours(np.geomspace(*_RANGE, bar.shape[1], dtype=np.float32)[None], _RANGE)
    for depth in _TICKS:
        share = math.log(depth / _RANGE[0]) / math.log(_RANGE[1] / _RANGE[0])
        _write(table, f'{depth:g}', round(share * bar.shape[1]) + 4, len(table) - _LINE)
    _write(table, 'm', bar.shape[1] + _UNIT // 3, len(table) - _LINE)
    return table


def _write(table: NDArray[np.uint8], text: str, left: int, top: int) -> None:
    """White letters with a dark border, in a line of the table."""
    place = (left, top + _LINE - 7)
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(table, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, width, cv2.LINE_AA)


def _middle_frame(sequence: FrameSequence) -> Frame:
    """A readable frame with true depth as near to the middle as there is, or one without.

    Raises:
        DatasetError: If none of those tried can be read.
    """
    without = None
    damaged = []
    middle = len(sequence) // 2
    for index in sorted(range(len(sequence)), key=lambda index: abs(index - middle))[:_TRIED]:
        try:
            frame = sequence[index]
        except DamagedFrameError as err:
            damaged.append(str(err))
            continue
        if frame.depth is not None:
            return frame
        without = without or frame
    if without is None:
        msg = f'{sequence.name}: it has no frames'
        if damaged:
            msg = (
                f'{sequence.name}: none of the {len(damaged)} frames in its middle can be read; '
                f'first: {damaged[0]}'
            )
        raise DatasetError(msg)
    return without


def _described(frame: Frame) -> str:
    camera, depth = frame.camera, frame.depth
    parts = [f'{camera.width}x{camera.height} px, fx {camera.fx:.0f}']
    if frame.mount is not None and frame.mount.height is not None:
        parts.append(f'{frame.mount.height:.2f} m high')
    parts.append('with poses' if frame.pose is not None else 'without poses')
    known = None if depth is None else depth[np.isfinite(depth)]
    if known is None or not known.size or depth is None:
        return ', '.join([*parts, 'no true depth'])
    share = 100 * known.size / depth.size
    low, middle, high = np.quantile(known, (0.05, 0.5, 0.95))
    return ', '.join(
        [
            *parts,
            f'true depth of {share:.1f}% of pixels, median {middle:.1f} m, 90% of it within '
            f'{low:.1f} .. {high:.1f} m',
        ]
    )


def picture(frame: Frame) -> NDArray[np.uint8]:
    """A frame with its true depth on it in colours: red is near.

    Args:
        frame: What to draw.

    Returns:
        (h, w, 3) uint8, BGR.
    """
    drawn = np.ascontiguousarray(frame.image[..., ::-1])
    if frame.depth is not None:
        depth = np.where(np.isfinite(frame.depth), frame.depth, np.float32(np.inf))
        if np.isfinite(depth).mean() < _SPARSE:
            # The nearer of two points covers the other.
            side = max(frame.camera.width // _POINT, 1)
            depth = np.asarray(cv2.erode(depth, np.ones((side, side), np.uint8)), np.float32)
        known = depth < _BEYOND  # beyond the border, erosion finds the largest float
        drawn[known] = depth_colours(depth, _RANGE)[known]
    height = round(_WIDTH * frame.camera.height / frame.camera.width)
    return np.asarray(cv2.resize(drawn, (_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == '__main__':
    main()

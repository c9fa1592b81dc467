# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Lists of KITTI frames, as those of the Eigen split."""

from __future__ import annotations

import re
from pathlib import Path

from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.documents import read_text

#: ``DAY/DRIVE 473 r``, or the path of an image.
_LISTED = re.compile(
    r'(?P<drive>\d{4}_\d\d_\d\d_drive_\d{4}_sync)'
    r'(/image_(?P<camera>0[0-3])/data/(?P<file>\d+)\.\w+|\s+(?P<frame>\d+)(\s+(?P<side>[lr]))?)'
)
_SIDES = {'l': '02', 'r': '03', None: '02'}


def listed_frames(path: Path) -> dict[tuple[str, str], set[int]]:
    """The frames that a file lists.

    Args:
        path: Lines such as ``2011_09_26/2011_09_26_drive_0022_sync 473 r``, or paths of images.

    Returns:
        Frames of each drive and camera (``02`` is left, ``03`` right).

    Raises:
        DatasetError: If it cannot be read, or a line names no frame.
    """
    found: dict[tuple[str, str], set[int]] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        match = _LISTED.search(line)
        if match is not None:
            camera = match['camera'] or _SIDES[match['side']]
            frame = int(match['file'] or match['frame'])
            found.setdefault((match['drive'], camera), set()).add(frame)
        elif line.strip():
            msg = (
                f'{path}: line {number} names no frame: {line[:80]!r}; expected lines such as '
                "'2011_09_26/2011_09_26_drive_0022_sync 473 r'"
            )
            raise DatasetError(msg)
    return found

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""How the cameras that a network was trained with were mounted: what its one scalar assumes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mono_metric_depth.camera import CameraError, Mount


@dataclass(frozen=True)
class MountStatistics:
    """Height and attitude of mounted cameras.

    Attributes:
        height: Lowest and highest above the road (m); None if no height is known.
        pitch, roll: Mean and standard deviation (degrees), signs as in
            :class:`~mono_metric_depth.camera.Mount`.
    """

    height: tuple[float, float] | None
    pitch: tuple[float, float]
    roll: tuple[float, float]

    def __post_init__(self) -> None:
        for name in ('pitch', 'roll'):
            values = getattr(self, name)
            if len(values) != 2 or not (all(map(math.isfinite, values)) and values[1] >= 0):
                msg = f'{name} must be a mean and a deviation >= 0 (degrees), got {values}'
                raise CameraError(msg)
        if self.height is not None and not (
            len(self.height) == 2
            and all(map(math.isfinite, self.height))
            and 0 < self.height[0] <= self.height[1]
        ):
            msg = f'height must be 0 < lowest <= highest (m), got {self.height}'
            raise CameraError(msg)


def mount_statistics(mounts: Iterable[Mount | None]) -> MountStatistics | None:
    """Statistics of mounts, each frame's or each drive's; None where none is known."""
    known = [mount for mount in mounts if mount is not None]
    if not known:
        return None
    heights = [mount.height for mount in known if mount.height is not None]
    angles = np.degrees([(mount.pitch, mount.roll) for mount in known])
    (pitch, roll), (pitch_deviation, roll_deviation) = angles.mean(axis=0), angles.std(axis=0)
    return MountStatistics(
        (float(min(heights)), float(max(heights))) if heights else None,
        (float(pitch), float(pitch_deviation)),
        (float(roll), float(roll_deviation)),
    )


def mean_mount(mounts: Iterable[Mount | None]) -> Mount | None:
    """What calibration knows of a drive: attitude and height without their jitter.

    Args:
        mounts: Of its frames, None where it is not known.

    Returns:
        The mean; None where no mount is known.
    """
    known = [mount for mount in mounts if mount is not None]
    if not known:
        return None
    angles = np.mean([(mount.pitch, mount.roll, mount.yaw) for mount in known], axis=0)
    heights = [mount.height for mount in known if mount.height is not None]
    pitch, roll, yaw = (float(angle) for angle in angles)
    return Mount(pitch, roll, yaw, float(np.mean(heights)) if heights else None)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the evaluation node: values, ranges and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mono_metric_depth.nodes.parameter_table import parameter


@dataclass(frozen=True)
class EvaluationParameters:
    """A value for each parameter; the fields are the table."""

    truth: Literal['depth', 'lidar'] = parameter(
        'depth',
        'What ground truth is: depth images on truth/image with truth/camera_info, or the sweeps '
        'of a LiDAR on truth/points.',
        'never',
        choices=('depth', 'lidar'),
    )
    tolerance: float = parameter(
        0.02, 'Furthest stamps of depth and its ground truth (s).', 'never', span=(0, 1)
    )
    window: int = parameter(
        100, 'Images that the metrics in the diagnostics are over.', 'never', span=(1, 100_000)
    )
    max_depth: float = parameter(
        80.0, 'Furthest ground truth that counts (m).', 'never', span=(0.1, 1e4)
    )
    model: str = parameter(
        '',
        'Model that depth is of, as in depth_node: -Inf and +Inf count as the ends of its range.',
        'never',
    )
    lidar_transform: str | Sequence[float] = parameter(
        '',
        'What takes points of the LiDAR into the optical frame of depth (x right, y down, z '
        'ahead): the place of the LiDAR there, x y z (m), then its attitude, the unit quaternion '
        'qx qy qz qw, as "tf2_echo OPTICAL_FRAME LIDAR_FRAME" prints them; a text, or a list of '
        'seven numbers with decimal points. From /tf_static if empty.',
        'never',
        untyped=True,
    )

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms from quaternions and translations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def rigid_transform(
    quaternion: Sequence[float], translation: Sequence[float]
) -> NDArray[np.float64]:
    """A transform as a matrix.

    Args:
        quaternion: w, x, y, z of a unit quaternion.
        translation: x, y, z (m).

    Returns:
        (4, 4).

    Raises:
        ValueError: If the quaternion is not of unit length, or a number is not finite.
    """
    q, t = np.array(quaternion, np.float64), np.array(translation, np.float64)
    if q.shape != (4,) or t.shape != (3,) or not np.isfinite(t).all():
        msg = f'expected 4 and 3 finite numbers, got {q.tolist()} and {t.tolist()}'
        raise ValueError(msg)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrix(q)
    matrix[:3, 3] = t
    return matrix


def rotation_matrix(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rotation as a matrix.

    Args:
        quaternion: (4,) w, x, y, z, of unit length to within 0.001.

    Returns:
        (3, 3).

    Raises:
        ValueError: If the quaternion is not of unit length.
    """
    length = float(np.linalg.norm(quaternion))
    if not abs(length - 1) < 1e-3:
        msg = f'no unit quaternion: {quaternion.tolist()}'
        raise ValueError(msg)
    w, x, y, z = quaternion / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )

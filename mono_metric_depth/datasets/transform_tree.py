# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Transforms (tf2) over time: where a sensor was, as another one saw it, each at its own stamp."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.datasets.static_transforms import transform_matrix

TF = '/tf'
#: Between two transforms further apart than this (s) the motion is not known.
MAX_GAP = 0.5
#: So near (s) a transform holds as it is, whatever lies around it: 4 cm at 20 m/s.
_AT_ONCE = 0.002
#: Frames of the world (REP 105): what moves in one of them moves over the road.
_WORLD = frozenset({'odom', 'map', 'earth', 'world'})


class TransformError(ValueError):
    """Transforms that do not tell what was asked."""


class _Motion:
    """A frame that moves in its parent."""

    def __init__(self, parent: str) -> None:
        self.parent = parent
        self._times, self._values = array('q'), array('d')
        self._sorted: tuple[NDArray[np.int64], NDArray[np.float64]] | None = None

    def add(self, time: int, transform: Any) -> None:
        q, t = transform.rotation, transform.translation
        self._times.append(time)
        self._values.extend((t.x, t.y, t.z, q.x, q.y, q.z, q.w))
        self._sorted = None

    def at(self, time: int, name: str) -> NDArray[np.float64]:
        """(4, 4) at a time (ns), between the two transforms around it."""
        if self._sorted is None:
            times = np.array(self._times, np.int64)
            order = np.argsort(times, kind='stable')
            self._sorted = times[order], np.array(self._values).reshape(-1, 7)[order]
        times, rows = self._sorted
        after = int(np.searchsorted(times, time))
        first, second = max(after - 1, 0), min(after, len(times) - 1)
        if times[second] == time:
            first = second
        between = times[first] <= time <= times[second]
        gap = float(times[second] - times[first]) * 1e-9
        if not between or gap > MAX_GAP:
            away = np.abs(times[[first, second]] - time) * 1e-9
            if away.min() <= _AT_ONCE:
                row = rows[(first, second)[int(away.argmin())]]
                return transform_matrix(row[:3], row[3:] / np.linalg.norm(row[3:]))
            why = f'its transforms begin or end {away.min():.3f} s from there'
            if between:
                why = (
                    f'it lies in a gap of {gap:.3f} s between two transforms, gaps of '
                    f'{MAX_GAP:g} s at most are bridged'
                )
            msg = f'/tf does not tell {name} in {self.parent} at {time * 1e-9:.3f} s: {why}'
            raise TransformError(msg)
        share = 0.0
        if first != second:
            share = float(time - times[first]) / float(times[second] - times[first])
        low, high = rows[first], rows[second]
        # A quaternion and its negative are the same rotation.
        if np.dot(low[3:], high[3:]) < 0:
            high = np.concatenate([high[:3], -high[3:]])
        mean = low + share * (high - low)
        return transform_matrix(mean[:3], mean[3:] / np.linalg.norm(mean[3:]))


class TransformTree:
    """The frames of a robot."""

    def __init__(self) -> None:
        self._fixed: dict[str, tuple[str, NDArray[np.float64]]] = {}
        self._moving: dict[str, _Motion] = {}

    def add(self, message: Any, *, static: bool) -> None:
        """Take in a tf2_msgs/TFMessage of /tf_static or /tf.

        Raises:
            CameraError: If a rotation of a static transform is none.
        """
        for stamped in message.transforms:
            parent, child = (
                name.lstrip('/') for name in (stamped.header.frame_id, stamped.child_frame_id)
            )
            q, t = stamped.transform.rotation, stamped.transform.translation
            if static:
                matrix = transform_matrix((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
                self._fixed[child] = parent, matrix
                continue
            motion = self._moving.get(child)
            if motion is None or motion.parent != parent:
                motion = self._moving[child] = _Motion(parent)
            stamp = stamped.header.stamp
            motion.add(stamp.sec * 10**9 + stamp.nanosec, stamped.transform)

    def transform(
        self, target: str, target_time: int, source: str, source_time: int
    ) -> tuple[NDArray[np.float64], bool]:
        """Points of one frame at one time, in another frame at another time.

        What both hang from has moved meanwhile; where /tf tells how, that is taken into account,
        in the frame that it moves in (``odom`` before ``map``).

        Args:
            target: Frame to bring them to.
            target_time: When (ns).
            source: Frame that they are in.
            source_time: When (ns).

        Returns:
            (4, 4) source to target, and whether the robot's motion over the road is known;
            without, the two times are taken for one.

        Raises:
            TransformError: If no way leads from one to the other, or not at these times.
        """
        target, source = target.lstrip('/'), source.lstrip('/')
        chains = self._chain(target), self._chain(source)
        shared = next((name for name in chains[0] if name in chains[1]), None)
        if shared is None:
            known = ', '.join(sorted({*self._fixed, *self._moving})) or 'none'
            msg = (
                f'no transform leads from {source} to {target}; /tf_static and /tf tell of '
                f'{known}: record the calibration between the two sensors'
            )
            raise TransformError(msg)
        to_target = self._to_ancestor(target, shared, target_time)
        to_source = self._to_ancestor(source, shared, source_time)
        moving = next((name for name in self._chain(shared) if name in self._moving), None)
        between = np.eye(4)
        if moving is not None:
            frame = self._moving[moving].parent
            before = self._to_ancestor(shared, frame, source_time)
            after = self._to_ancestor(shared, frame, target_time)
            between = np.linalg.inv(after) @ before
        # A joint that moves, of a robot of which nothing is known, says nothing of the road.
        told = (
            moving is not None
            or shared in _WORLD
            and any(
                name in self._moving for chain in chains for name in chain[: chain.index(shared)]
            )
        )
        return np.linalg.inv(to_target) @ between @ to_source, told

    def _chain(self, frame: str) -> list[str]:
        """A frame and what it hangs from, up to the root; a loop ends."""
        chain = [frame]
        while (parent := self._parent(chain[-1])) is not None and parent not in chain:
            chain.append(parent)
        return chain

    def _parent(self, frame: str) -> str | None:
        if frame in self._moving:
            return self._moving[frame].parent
        return self._fixed[frame][0] if frame in self._fixed else None

    def _to_ancestor(self, frame: str, ancestor: str, time: int) -> NDArray[np.float64]:
        matrix = np.eye(4)
        while frame != ancestor:
            if frame in self._moving:
                step = self._moving[frame].at(time, frame)
            else:
                step = self._fixed[frame][1]
            matrix = step @ matrix
            frame = str(self._parent(frame))
        return matrix

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What speaks against depth that is being published: scale, coverage, exposure."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field

import cv2
import numpy as np

from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.depth_estimate import DepthEstimate, coverage_warning
from mono_metric_depth.model_card import ModelCard
from mono_metric_depth.road_plane import RoadPlaneError
from mono_metric_depth.scale_health import FRAMES, ScaleHealth

#: Frames are looked at this far apart (s).
PERIOD = 0.5
#: Levels (of 255) that say nothing about the scene, and the share of pixels that may have them.
_BLACK, _WHITE = 8, 247
_MOST_UNUSABLE = 0.7
#: Grey levels that spread less (of 255) show nothing.
_LEAST_SPREAD = 2.0
#: Neighbouring pixels of the network's image that correlate less are noise: they correlate by .8
#: and more in images of roads, by .4 in noise that is blurred and .1 in noise that is not.
_LEAST_CORRELATION = 0.6
#: What was found longer ago (s) is not what is.
_FRESH = 5.0
#: Looks whose median exposure counts.
_LOOKS = 10


@dataclass(frozen=True)
class Findings:
    """What the last look found.

    Attributes:
        warnings: In words, the gravest first.
        values: For the diagnostics.
    """

    warnings: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict)


class DepthMonitor:
    """Looks at a frame now and then, once it is published; never alters depth.

    Args:
        card: The network's card.

    """

    def __init__(self, card: ModelCard) -> None:
        self._findings, self._looked = Findings(), -math.inf
        self._card = card
        self._due = 0.0
        self._known: tuple[Camera, Mount, float] | None = None
        self._health: ScaleHealth | None = None
        self._dark: deque[float] = deque(maxlen=_LOOKS)
        self._bright: deque[float] = deque(maxlen=_LOOKS)
        self._even: deque[bool] = deque(maxlen=_LOOKS)

    @property
    def findings(self) -> Findings:
        """Of the last look; nothing once it is old. To be read from any thread."""
        findings, age = self._findings, time.monotonic() - self._looked
        if age <= _FRESH:
            return findings
        if math.isinf(age):
            return Findings()
        return Findings(values={'monitors': f'nothing looked at for {age:.0f} s'})

    def look(self, estimate: DepthEstimate, mount: Mount) -> None:
        """Look at a frame, unless the last look was just now.

        Args:
            estimate: The frame's depth, still valid.
            mount: The attitude that was taken out of it, where the card asks for it, and the
                height, where it is known.
        """
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + PERIOD
        if now > self._looked + _FRESH:
            for looks in (self._dark, self._bright, self._even):
                looks.clear()
        camera_height = mount.height or 0.0
        exposure, usable = self._look_at_exposure(estimate)
        warnings = [*self._look_at_scale(estimate, mount, camera_height, usable)]
        if little := coverage_warning(estimate.alignment.coverage, mount):
            warnings.append(little)
        warnings += exposure
        self._findings = Findings(tuple(warnings), self._values(camera_height))
        self._looked = now

    def _look_at_scale(
        self, estimate: DepthEstimate, mount: Mount, camera_height: float, usable: bool
    ) -> list[str]:
        known = (estimate.alignment.camera, mount, camera_height)
        if known != self._known:
            self._known, self._health = known, None
            level = self._card.levelled or mount.level
            if camera_height > 0:
                try:
                    self._health = ScaleHealth(
                        self._card.canonical_camera,
                        camera_height,
                        None if level else mount.rotation(),
                    )
                except RoadPlaneError as err:
                    return [f'scale health: {err}']
        if self._health is None:
            return []
        if not usable:
            self._health.refuse('exposure')
        elif _correlation(estimate) < _LEAST_CORRELATION:
            self._health.refuse('noise')
        else:
            with np.errstate(divide='ignore'):
                depth = np.reciprocal(estimate.inverse_depth)
            depth[~estimate.alignment.seen] = np.nan
            self._health.look(depth)
        if not self._health.disagrees or self._health.age > _FRESH:
            return []
        return [
            f'depth shows the camera {self._health.ratio * camera_height:.2f} m above the road, '
            f'camera_height says {camera_height:g} m: check the mount, or fit the scale anew'
        ]

    def _look_at_exposure(self, estimate: DepthEstimate) -> tuple[list[str], bool]:
        """What is wrong with it of late, and whether this image shows anything."""
        seen = estimate.aligned.as_bgr()[estimate.alignment.seen]
        dark = float(np.mean(seen.max(axis=1) < _BLACK))
        bright = float(np.mean(seen.min(axis=1) > _WHITE))
        # A picture of one grey says as little.
        even = bool(seen.size) and float(seen.mean(axis=1).std()) < _LEAST_SPREAD
        self._dark.append(dark)
        self._bright.append(bright)
        self._even.append(even)
        warnings = [
            f'{share:.0%} of the image is {name}, depth means little'
            for name, share in (
                ('black', float(np.median(self._dark))),
                ('white', float(np.median(self._bright))),
            )
            if share > _MOST_UNUSABLE
        ]
        if not warnings and np.median(self._even) > 0.5:
            warnings = ['the image is of one colour, depth means little']
        return warnings, not even and max(dark, bright) <= _MOST_UNUSABLE

    def _values(self, camera_height: float) -> dict[str, str]:
        health = self._health
        values = {
            'image black': f'{np.median(self._dark):.2f}',
            'image white': f'{np.median(self._bright):.2f}',
        }
        if health is None:
            known = 'road not seen' if camera_height > 0 else 'camera_height is not known'
            return {'scale health': known, **values}
        refused = ', '.join(f'{name} {count}' for name, count in sorted(health.refused.items()))
        if not health.road_seen:
            return {'scale health': 'no road seen', 'scale health refused': refused, **values}
        if health.age > _FRESH:
            state = f'road not seen for {health.age:.0f} s'
        elif health.frames < FRAMES:
            state = 'too few frames'
        else:
            state = 'disagrees' if health.disagrees else 'agrees'
        return {
            'scale health': state,
            'scale health age (s)': f'{health.age:.1f}',
            'scale health ratio': f'{health.ratio:.3f}',
            'scale health spread': f'{health.spread:.3f}',
            'scale health frames': f'{health.frames}',
            'scale health refused': refused or 'none',
            **values,
        }


def _correlation(estimate: DepthEstimate) -> float:
    """Of neighbouring pixels that were seen, across and down, on average."""
    seen = estimate.alignment.seen
    grey = cv2.cvtColor(estimate.aligned.as_bgr(), cv2.COLOR_BGR2GRAY).astype(np.float32)
    spread = 2 * float(grey[seen].var()) if seen.any() else 0.0
    if not spread:
        return 0.0
    found = [
        float(np.square(one - two)[both].mean()) if both.any() else spread
        for one, two, both in (
            (grey[1:], grey[:-1], seen[1:] & seen[:-1]),
            (grey[:, 1:], grey[:, :-1], seen[:, 1:] & seen[:, :-1]),
        )
    ]
    return 1 - sum(found) / len(found) / spread

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The drives that a recipe names, aligned, checked and ready to draw from."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from mono_metric_depth.datasets import require_drive
from mono_metric_depth.road_plane import RoadPlaneError, RoadView, check_road_height
from mono_metric_depth.scale import check_depth_unit
from mono_metric_depth.training.aligned_drive import AlignedDrive, is_piece_of
from mono_metric_depth.training.drive_cache import DriveMaker, align_drives
from mono_metric_depth.training.fresh_drives import FreshDrives
from mono_metric_depth.training.mixed_batches import Drives
from mono_metric_depth.training.processes import Processes
from mono_metric_depth.training.recipe import Recipe

_TRAINED_ON = ('source', 'target', 'replay')


def require_drives(recipe: Recipe) -> None:
    """Raise a DatasetError if a drive of the recipe is not there."""
    for entry in (*_TRAINED_ON, 'source_validation', 'target_test'):
        for name in recipe.drives(entry):
            require_drive(name)


class RecipeDrives:
    """The drives of a recipe.

    Args:
        recipe: Names them.
        cache: Where aligned drives are kept.
        processes: This process among those that train together.
    """

    def __init__(self, recipe: Recipe, cache: Path, processes: Processes) -> None:
        self._recipe = recipe
        self._cache = cache
        self._processes = processes
        self._aligned: dict[tuple[str, bool], list[AlignedDrive]] = {}
        self._makers: list[DriveMaker] = []

    def aligned(self, entry: str, *, with_depth: bool) -> list[AlignedDrive]:
        """The drives of an entry, or as many as are held at once, aligned once and kept."""
        if (entry, with_depth) not in self._aligned:
            # The first process fills the cache for the others.
            for first in (True, False):
                if first == self._processes.first:
                    self._aligned[entry, with_depth] = align_drives(
                        tuple(self._held_names(entry)), **self._alignment(entry, with_depth)
                    )
                self._processes.wait()
        return self._aligned[entry, with_depth]

    def _alignment(self, entry: str, with_depth: bool) -> dict[str, Any]:
        return {
            'canonical': self._recipe.canonical_camera,
            'levelled': self._recipe.levelled,
            'with_depth': with_depth,
            'moving': entry in _TRAINED_ON,
            'aligned': self._recipe.aligned,
            'cache': self._cache,
            'device': str(self._processes.device),
        }

    def _held_names(self, entry: str) -> list[str]:
        names = self._recipe.drives(entry)
        return names[: self._recipe.held_drives or None] if entry in _TRAINED_ON else names

    def pool(self, entry: str, *, with_depth: bool) -> Drives:
        """The drives to draw from: all of them, or so many at a time as are held at once."""
        drives = self.aligned(entry, with_depth=with_depth)
        names, held = self._recipe.drives(entry), self._held_names(entry)
        if len(names) == len(held):
            return drives
        maker = DriveMaker(**self._alignment(entry, with_depth))
        self._makers.append(maker)
        first = [[drive for drive in drives if is_piece_of(drive.name, name)] for name in held]
        return FreshDrives(names, len(held), self._recipe.fresh_every, first, maker.make)

    def check_truth(self, entry: str) -> None:
        """Refuse drives without ground truth, or with ground truth that is not in metres.

        Raises:
            ScaleError: With what was found.
        """
        drives = self.aligned(entry, with_depth=True)
        middles = [drive.depth[len(drive.depth) // 2].astype(np.float32) for drive in drives]
        known = [depth[np.isfinite(depth) & (depth > 0)] for depth in middles]
        medians = [float(np.median(depth)) for depth in known if depth.size]
        source = f'{entry} ({", ".join(getattr(self._recipe, entry))})'
        check_depth_unit(medians, source)
        check_road_height(self._road_heights(drives), source)

    def _road_heights(self, drives: list[AlignedDrive]) -> list[float]:
        """Height above the road in true depth over the mounting height, where both are known."""
        ratios = []
        for drive in drives[:: max(1, len(drives) // 10)]:
            if drive.mount is None or drive.mount.height is None:
                continue
            rotation = None if self._recipe.levelled else drive.mount.rotation()
            try:
                view = RoadView(drive.camera, rotation)
            except RoadPlaneError:
                return []  # this camera sees no road
            for depth in drive.depth[:: max(1, len(drive.depth) // 5)]:
                with contextlib.suppress(RoadPlaneError):
                    ratios.append(view.plane(depth.astype(np.float32)).height / drive.mount.height)
        return ratios

    def close(self) -> None:
        """End the processes that make drives."""
        for maker in self._makers:
            maker.close()

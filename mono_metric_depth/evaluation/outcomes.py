# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""What became of images and drives in an evaluation: their errors, or why they are left out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.evaluation.drive_frames import DriveFrames
from mono_metric_depth.evaluation.image_errors import ImageErrors

#: The reason of images that are damaged, or of another camera than their drive's.
UNREADABLE = 'unreadable'
#: So many of the drives that were left out are named in a line.
_NAMED = 5


@dataclass(frozen=True)
class Skipped:
    """An image that says nothing about a model.

    Attributes:
        candidate: Number of the model.
        drive, index: Which image.
        reason: A short word to count it under.
        message: What was found.
        true_median: Median true depth (m), as read; NaN without any.
    """

    candidate: int
    drive: str
    index: int
    reason: str
    message: str
    true_median: float = math.nan

    @property
    def described(self) -> str:
        """Which image, and what was found."""
        return f'{self.drive} frame {self.index}: {self.message}'


@dataclass
class Evaluation:
    """Errors of several models on the same images.

    Attributes:
        errors: Of each model: its images, in the order of the drives.
        skipped: Images left out, and why.
        failed: Drives left out as a whole, and why.
        reused: How many numbers of images an earlier run had left.
    """

    errors: list[list[ImageErrors]]
    skipped: list[Skipped] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    reused: int = 0

    def reasons(self, drive: str | None = None) -> dict[str, list[Skipped]]:
        """Images that were left out, each once, by reason; of all drives or one.

        Those of drives that were left out as a whole do not count.
        """
        found: dict[str, dict[tuple[str, int], Skipped]] = defaultdict(dict)
        for s in self.skipped:
            if s.drive == drive or drive is None and s.drive not in self.failed:
                found[s.reason].setdefault((s.drive, s.index), s)
        return {reason: list(images.values()) for reason, images in found.items()}

    def require_images(self, drives: Sequence[DriveFrames]) -> None:
        """Leave out drives of which no image could be compared.

        Args:
            drives: What was evaluated, as a whole.

        Raises:
            DatasetError: If none is left.
        """
        for drive in drives:
            if drive.name not in self.failed and not all(
                any(each.drive == drive.name for each in errors) for errors in self.errors
            ):
                reasons = '; '.join(
                    f'{len(images)} {reason}, first frame {images[0].index}: {images[0].message}'
                    for reason, images in self.reasons(drive.name).items()
                )
                why = f'none of its {len(drive.indices)} frames can be compared: {reasons}'
                self.failed[drive.name] = why
        if all(drive.name in self.failed for drive in drives):
            raise DatasetError(failures(self.failed))


def failures(failed: dict[str, str]) -> str:
    """Drives that were left out, in a line: the first few with their reasons."""
    named = [
        why if (name.rpartition('#')[0] or name) in why else f'{name}: {why}'
        for name, why in list(failed.items())[:_NAMED]
    ]
    more = len(failed) - len(named)
    return '; '.join(named) + (f'; and {more} more' if more else '')

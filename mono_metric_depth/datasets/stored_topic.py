# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A topic as a bag declares it."""

from __future__ import annotations

from typing import NamedTuple

from rosbags.interfaces import Qos


class StoredTopic(NamedTuple):
    """A topic as a bag declares it.

    Attributes:
        name: Its name.
        kind: Type of its messages.
        definition: Of that type, in the format of ros2msg or ros2idl; empty if it is not told.
        digest: Of the definition (RIHS01); empty if it is not told.
        qos: What its publishers offered.
        messages: How many there are.
    """

    name: str
    kind: str
    definition: str = ''
    digest: str = ''
    qos: tuple[Qos, ...] = ()
    messages: int = 0

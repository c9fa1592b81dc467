# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Each line of a log once, however often a drive is opened."""

from __future__ import annotations

import logging

_SAID: set[tuple[str, str]] = set()


def said_once(record: logging.LogRecord) -> bool:
    """A filter of loggers: whether a line is new; lines name the drive that they are of."""
    line = record.name, record.getMessage()
    new = line not in _SAID
    _SAID.add(line)
    return new

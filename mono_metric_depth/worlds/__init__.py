# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Procedural driving worlds with exact depth: training data and test data without a download."""

from mono_metric_depth.worlds.domain import DOMAINS, Domain
from mono_metric_depth.worlds.drive import Drive, WorldError

__all__ = ['DOMAINS', 'Domain', 'Drive', 'WorldError']

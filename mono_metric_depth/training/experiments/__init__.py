# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Experiments on the one scalar: what is trained, what is measured, and what comes of it."""

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 shell: parameters, messages, QoS and diagnostics around the ROS-free core."""

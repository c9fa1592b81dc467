# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``depth_node``: run the depth node."""

from __future__ import annotations

from mono_metric_depth.commands import fail


def main(arguments: list[str] | None = None) -> None:
    """Run the node until it is interrupted."""
    try:
        import rclpy
        from rclpy.exceptions import (
            InvalidParameterTypeException,
            InvalidParameterValueException,
        )
        from rclpy.executors import ExternalShutdownException
    except ImportError as err:
        fail(
            f"ROS 2 is not here ({err}): source /opt/ros/DISTRO/setup.bash, or "
            "pip install 'mono_metric_depth[ros]'"
        )
    from mono_metric_depth.camera import CameraError
    from mono_metric_depth.engines import EngineError
    from mono_metric_depth.model_card import ModelCardError
    from mono_metric_depth.nodes.depth_node import DepthNode

    rclpy.init(args=arguments)
    try:
        node = DepthNode()
    except (
        ModelCardError,
        EngineError,
        CameraError,
        ValueError,
        InvalidParameterTypeException,
        InvalidParameterValueException,
    ) as err:
        fail(str(err))
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``depth_node``: run the depth node."""

from __future__ import annotations

import sys

from mono_metric_depth.commands import fail


def main(arguments: list[str] | None = None) -> None:
    """Run the node until it is interrupted.

    Args:
        arguments: The program's name and its arguments; those of the process if left out.
    """
    try:
        _run(sys.argv if arguments is None else arguments)
    except KeyboardInterrupt:
        pass  # while starting or ending


def _run(arguments: list[str]) -> None:
    try:
        import rclpy
        from rclpy.exceptions import NameValidationException, ParameterException
        from rclpy.executors import ExternalShutdownException
        from rclpy.utilities import remove_ros_args
    except ImportError as err:
        fail(
            f"ROS 2 is not here ({err}): source /opt/ros/DISTRO/setup.bash, or "
            "pip install 'mono_metric_depth[ros]'"
        )
    from mono_metric_depth.nodes.depth_node import DepthNode

    others = remove_ros_args(arguments)[1:]
    if others:
        fail(
            f'unexpected argument {others[0]!r}; parameters are given as '
            '--ros-args -p NAME:=VALUE, or --ros-args --params-file depth.yaml'
        )
    node = None
    try:
        rclpy.init(args=arguments)
        node = DepthNode()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    # Model and camera errors are RuntimeError or ValueError, those of rcl RuntimeError.
    except (NameValidationException, ParameterException, RuntimeError, ValueError) as err:
        # A signal invalidates everything of ROS, also in the midst of using it.
        if node is None and not _shut_down_by_signal(rclpy):
            fail(str(err))
        if rclpy.ok():
            raise
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()

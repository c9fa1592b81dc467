# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``evaluation_node``: compare published depth with ground truth while a robot drives."""

from __future__ import annotations

import sys

from mono_metric_depth.commands import fail

_USAGE = """usage: evaluation_node --ros-args [-p truth:=lidar] [-p NAME:=VALUE] \
[-r depth/image:=TOPIC] [-r depth/camera_info:=TOPIC] [-r truth/image:=TOPIC] \
[-r truth/camera_info:=TOPIC] [-r truth/points:=TOPIC] [-r camera_info:=TOPIC]

compares depth with a depth camera or a LiDAR; publishes the metrics as /diagnostics
and prints them all when it is interrupted

Coverage is the share of the true depth that the camera sees which was given depth. With depth at
network resolution, what the camera sees is told by its camera_info; a LiDAR sees more.

The figures are those of evaluate for the same frames and the same truth where depth is published
with depth_resolution:=input as 32FC1; at network resolution the nearest pixel of fewer counts."""


def main(arguments: list[str] | None = None) -> None:
    """Run the node until it is interrupted, then print what it found.

    Args:
        arguments: The program's name and its arguments; those of the process if left out.
    """
    arguments = sys.argv if arguments is None else arguments
    try:
        import rclpy
        from rclpy.exceptions import NameValidationException, ParameterException
        from rclpy.executors import ExternalShutdownException
        from rclpy.utilities import remove_ros_args
    except ImportError as err:
        fail(
            f'ROS 2 is not here ({err}): source /opt/ros/DISTRO/setup.bash, or '
            "pip install 'mono_metric_depth[ros]'"
        )
    from mono_metric_depth.nodes.evaluation_node import EvaluationNode

    others = remove_ros_args(arguments)[1:]
    if others and others[0] in {'-h', '--help'}:
        print(_USAGE)
        return
    if others:
        fail(
            f'unexpected argument {others[0]!r}; parameters are given as --ros-args -p NAME:=VALUE'
        )
    node = None
    try:
        rclpy.init(args=arguments)
        node = EvaluationNode()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (NameValidationException, ParameterException, RuntimeError, ValueError) as err:
        # A signal ends all of ROS at once, also in the midst of using it.
        if node is not None and rclpy.ok():
            raise
        if node is None:
            fail(' '.join(str(err).split()))
    finally:
        if node is not None:
            print(node.summary(), flush=True)
            node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()

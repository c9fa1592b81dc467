# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``depth_node``: run the depth node."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from typing import Any

from mono_metric_depth.commands import fail

#: Of glibc's mallopt.
_M_ARENA_MAX = -8


def main(arguments: list[str] | None = None) -> None:
    """Run the node until it is interrupted.

    Args:
        arguments: The program's name and its arguments; those of the process if left out.
    """
    with contextlib.suppress(KeyboardInterrupt):  # while starting or ending
        _share_one_heap()
        _run(sys.argv if arguments is None else arguments)
    _end_while_working()


def _share_one_heap() -> None:
    """Have all threads allocate from one heap, where the C library is glibc.

    An image is allocated in one thread and freed in another. With heaps of their own, as many as
    eight for each core, they keep what they held at their fullest: memory grows for hours, in
    steps of an image.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _end_while_working() -> None:
    """End the process here where a model is still being loaded, or a frame in work.

    Python ends a thread that is within a runtime in C++ by unwinding it, which aborts the process.
    """
    from mono_metric_depth.nodes.frame_worker import WORKING
    from mono_metric_depth.nodes.model_loading import LOADING

    if any(thread.name in {LOADING, *WORKING} for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _run(arguments: list[str]) -> None:
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
    from mono_metric_depth.nodes.depth_node import DepthNode

    try:
        others = remove_ros_args(arguments)[1:]
    except RuntimeError as err:
        fail(f'ROS cannot use the arguments: {_line(err)}')
    if others and others[0] in {'-h', '--help'}:
        print('usage: depth_node --ros-args [-p NAME:=VALUE] [-r image:=TOPIC] [-r FROM:=TO]')
        return
    if others:
        fail(
            f'unexpected argument {others[0]!r}; parameters are given as '
            '--ros-args -p NAME:=VALUE, or --ros-args --params-file depth.yaml'
        )
    rclpy.init(args=arguments)
    node = None
    try:
        node = DepthNode()
        _spin(node)
        if node.refused.done() and rclpy.ok():
            fail(node.refused.result())
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    # Those of models are RuntimeError or ValueError, those of rcl RuntimeError.
    except (NameValidationException, ParameterException, RuntimeError, ValueError) as err:
        # A signal ends all of ROS at once, also in the midst of using it.
        if rclpy.ok():
            if node is not None:
                raise
            hint = ''
            if isinstance(err, ParameterException) and 'expecting type' in str(err):
                hint = '; write whole numbers of a float as 0.0'
            fail(_line(err) + hint)
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


def _spin(node: Any) -> None:
    """Do the node's work until it is refused, or ROS ends."""
    import rclpy

    # spin_until_future_complete leaves a callback on the future for every message: memory that
    # grows with each frame.
    executor = rclpy.get_global_executor()
    executor.add_node(node)
    try:
        while rclpy.ok() and not node.refused.done():
            executor.spin_once()
    finally:
        executor.remove_node(node)


def _line(err: Exception) -> str:
    return ' '.join(str(err).split())


if __name__ == '__main__':
    main()

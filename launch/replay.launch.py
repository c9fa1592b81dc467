# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Play a recorded drive to the depth node: depth.launch.py and ``ros2 bag play``."""

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    'rate': ('1.0', 'How many times as fast as it was recorded.'),
    'loop': ('false', 'Whether to start again at the end.'),
    'delay': ('3.0', 'How long to wait for the node before each start of the bag (s).'),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: the node on the bag's time, then the bag.

    Every argument of depth.launch.py, such as image, camera_info, image_transport, params_file,
    model and rviz, is one of this launch as well.
    """
    # As text, so that its arguments are known (ros2 launch --show-args) before it is launched.
    node = str(Path(__file__).with_name('depth.launch.py'))
    return LaunchDescription(
        [
            DeclareLaunchArgument('bag', description='Folder or file of the bag.'),
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            # A launch file that is included sees the arguments of the one that includes it.
            DeclareLaunchArgument(
                'use_sim_time',
                default_value='true',
                description="Whether to follow the bag's time.",
            ),
            OpaqueFunction(function=_require_bag),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(node)),
            OpaqueFunction(function=_player),
        ]
    )


def _require_bag(context: LaunchContext) -> None:
    bag = LaunchConfiguration('bag').perform(context)
    if not Path(bag).expanduser().exists():
        msg = f'bag:={bag} does not exist; give the folder that ros2 bag record wrote'
        raise RuntimeError(msg)


def _player(context: LaunchContext) -> list[ExecuteProcess]:
    values = {name: LaunchConfiguration(name).perform(context) for name in ('bag', *ARGUMENTS)}
    loop = ['--loop'] if values['loop'].lower() in {'true', '1'} else []
    bag = str(Path(values['bag']).expanduser())
    options = ['--clock', '--rate', values['rate'], '--delay', values['delay'], *loop]
    return [ExecuteProcess(cmd=['ros2', 'bag', 'play', bag, *options], output='screen')]

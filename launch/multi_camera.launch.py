# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Run the depth node on several cameras: one network, each camera with its own topics."""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    'cameras': ('front,left,right', 'Names of the cameras, separated by commas.'),
    'image': ('/{camera}/image_raw', 'Topic of the images of each camera.'),
    'camera_info': ('/{camera}/camera_info', 'Topic of their calibration.'),
    'base_frame': ('', 'Frame on the road to find mounts from; that of params_file if empty.'),
    'namespace': ('', 'Namespace of the node and its outputs, which are CAMERA/depth/...'),
    'model': ('', 'ONNX file with a model card; that of params_file if empty.'),
    'image_transport': ('', 'raw or compressed; that of params_file if empty.'),
    'autostart': ('', 'Whether the node starts by itself; that of params_file if empty.'),
    'respawn': ('false', 'Whether to start the node again where its process ends.'),
    'use_sim_time': ('false', 'Whether to follow /clock.'),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: one node for all cameras, its parameters and its DDS profile."""
    config = PathJoinSubstitution([FindPackageShare('mono_metric_depth'), 'config'])
    profile = PathJoinSubstitution([config, 'fastdds.xml'])
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=PathJoinSubstitution([config, 'depth.yaml']),
                description='Parameters of the node (YAML).',
            ),
            # Large messages; a profile that is already set stays. Fast DDS 3 renamed the variable.
            *(
                SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=profile))
                for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
            ),
            OpaqueFunction(function=_node),
        ]
    )


def _node(context: LaunchContext) -> list[Node]:
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    cameras = [name.strip() for name in values['cameras'].split(',')]
    # What is empty must not hide what the params_file says.
    names = ('model', 'base_frame', 'image_transport')
    given = {name: values[name] for name in names if values[name]}
    if values['autostart']:
        given['autostart'] = values['autostart'].lower() == 'true'
    return [
        Node(
            package='mono_metric_depth',
            executable='depth_node',
            namespace=values['namespace'],
            output='screen',
            respawn=values['respawn'].lower() == 'true',
            respawn_delay=2.0,
            parameters=[
                _parameters_file(context),
                {
                    'cameras': cameras,
                    'use_sim_time': values['use_sim_time'].lower() == 'true',
                    **given,
                },
            ],
            remappings=[
                (f'{camera}/{topic}', values[topic].replace('{camera}', camera))
                for camera in cameras
                for topic in ('image', 'camera_info')
            ],
            arguments=['--ros-args', '--log-level', values['log_level']],
        )
    ]


def _parameters_file(context: LaunchContext) -> str:
    """The params_file; launch would only warn where there is none, and run with defaults."""
    path = LaunchConfiguration('params_file').perform(context)
    if not Path(path).expanduser().is_file():
        msg = f'params_file:={path} does not exist; give a YAML file such as config/depth.yaml'
        raise RuntimeError(msg)
    return str(Path(path).expanduser())

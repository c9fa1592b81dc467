# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Run the depth node on several cameras: one network, each camera with its own topics."""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

CONFIG = PathJoinSubstitution([FindPackageShare('mono_metric_depth'), 'config'])
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
    'rviz': ('false', 'Whether to open rviz with config/depth.rviz, on the first camera.'),
    'frame': (
        '',
        "Fixed frame of rviz, best that camera's optical one; that of depth.rviz if empty.",
    ),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
}
#: What depth.rviz shows.
DEPTH_TOPICS = ('image', 'points')


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: one node for all cameras, its parameters, its DDS profile and rviz."""
    profile = PathJoinSubstitution([CONFIG, 'fastdds.xml'])
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=description)
                for name, (default, description) in ARGUMENTS.items()
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=PathJoinSubstitution([CONFIG, 'depth.yaml']),
                description='Parameters of the node (YAML).',
            ),
            # Large messages; a profile that is already set stays. Fast DDS 3 renamed the variable.
            *(
                SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=profile))
                for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
            ),
            OpaqueFunction(function=_nodes),
        ]
    )


def _nodes(context: LaunchContext) -> list[Node]:
    values = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    cameras = [name.strip() for name in values['cameras'].split(',')]
    # What is empty must not hide what the params_file says.
    names = ('model', 'base_frame', 'image_transport')
    given = {name: values[name] for name in names if values[name]}
    if values['autostart']:
        given['autostart'] = _is_true(values['autostart'])
    use_sim_time = {'use_sim_time': _is_true(values['use_sim_time'])}
    nodes = [
        Node(
            package='mono_metric_depth',
            executable='depth_node',
            namespace=values['namespace'],
            output='screen',
            respawn=_is_true(values['respawn']),
            respawn_delay=2.0,
            parameters=[
                _parameters_file(context),
                {
                    'cameras': cameras,
                    **use_sim_time,
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
    if _is_true(values['rviz']):
        frame = ['--fixed-frame', values['frame']] if values['frame'] else []
        first = cameras[0]
        nodes.append(
            Node(
                package='rviz2',
                executable='rviz2',
                namespace=values['namespace'],
                output='screen',
                parameters=[use_sim_time],
                remappings=[
                    ('image', values['image'].replace('{camera}', first)),
                    *((f'depth/{topic}', f'{first}/depth/{topic}') for topic in DEPTH_TOPICS),
                ],
                arguments=[
                    '--display-config',
                    PathJoinSubstitution([CONFIG, 'depth.rviz']),
                    *frame,
                ],
            )
        )
    return nodes


def _parameters_file(context: LaunchContext) -> str:
    """The params_file; launch would only warn where there is none, and run with defaults."""
    path = LaunchConfiguration('params_file').perform(context)
    if not Path(path).expanduser().is_file():
        msg = f'params_file:={path} does not exist; give a YAML file such as config/depth.yaml'
        raise RuntimeError(msg)
    return str(Path(path).expanduser())


def _is_true(text: str) -> bool:
    return text.lower() in {'true', '1'}

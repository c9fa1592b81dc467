# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Run the depth node on a camera."""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

CONFIG = PathJoinSubstitution([FindPackageShare('mono_metric_depth'), 'config'])
ARGUMENTS = {
    'image': ('/camera/image_raw', 'Topic of the camera images.'),
    'camera_info': ('/camera/camera_info', 'Topic of their calibration.'),
    'namespace': ('', 'Namespace of the node and its outputs.'),
    'model': ('', 'ONNX file with a model card; that of params_file if empty.'),
    'image_transport': ('', 'raw or compressed; that of params_file if empty.'),
    'autostart': ('', 'Whether the node starts by itself; that of params_file if empty.'),
    'respawn': ('false', 'Whether to start the node again where its process ends.'),
    'use_sim_time': ('false', 'Whether to follow /clock.'),
    'rviz': ('false', 'Whether to open rviz with config/depth.rviz.'),
    'frame': (
        '',
        "Fixed frame of rviz, best the camera's optical one; that of depth.rviz if empty.",
    ),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
}


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: one node, its parameters, its DDS profile and, if asked for, rviz."""
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
    # What is empty must not hide what the params_file says.
    given = {name: values[name] for name in ('model', 'image_transport') if values[name]}
    if values['autostart']:
        given['autostart'] = _is_true(values['autostart'])
    common = {
        'namespace': values['namespace'],
        'output': 'screen',
        'remappings': [(name, values[name]) for name in ('image', 'camera_info')],
    }
    use_sim_time = {'use_sim_time': _is_true(values['use_sim_time'])}
    nodes = [
        Node(
            package='mono_metric_depth',
            executable='depth_node',
            respawn=_is_true(values['respawn']),
            respawn_delay=2.0,
            parameters=[_parameters_file(context), {**use_sim_time, **given}],
            arguments=['--ros-args', '--log-level', values['log_level']],
            **common,
        )
    ]
    if _is_true(values['rviz']):
        frame = ['--fixed-frame', values['frame']] if values['frame'] else []
        nodes.append(
            Node(
                package='rviz2',
                executable='rviz2',
                parameters=[use_sim_time],
                arguments=[
                    '--display-config',
                    PathJoinSubstitution([CONFIG, 'depth.rviz']),
                    *frame,
                ],
                **common,
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

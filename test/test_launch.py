# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Launch files and the rviz configuration; launched for real where launch_ros is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

pytest.importorskip('rclpy')

from conftest import ROOT
from rclpy.qos import HistoryPolicy, ReliabilityPolicy
from robot import Robot, image_message, info_message, noise

from mono_metric_depth.camera import Camera

CAMERA = Camera(100, 60, 80.0, 82.0, 48.0, 28.0)
TYPES = {
    'rviz_default_plugins/Image': 'sensor_msgs/msg/Image',
    'rviz_default_plugins/PointCloud2': 'sensor_msgs/msg/PointCloud2',
}


@pytest.mark.parametrize('name', ['depth', 'replay'])
def test_a_launch_file_compiles_and_names_files_that_are_there(name: str) -> None:
    path = ROOT / 'launch' / f'{name}.launch.py'
    text = path.read_text()
    compile(text, str(path), 'exec')
    if name == 'replay':
        assert "'depth.launch.py'" in text
        return
    arguments = (
        'namespace params_file model image_transport autostart use_sim_time log_level respawn '
        'rviz frame'
    )
    for argument in arguments.split():
        assert f"'{argument}'" in text
    for file in ('depth.yaml', 'depth.rviz', 'fastdds.xml'):
        assert f"'{file}'" in text
        assert (ROOT / 'config' / file).is_file()


def test_the_dds_profile_holds_several_large_messages() -> None:
    root = ElementTree.parse(ROOT / 'config' / 'fastdds.xml').getroot()
    (segment,) = (item for item in root.iter() if item.tag.endswith('segment_size'))
    assert int(segment.text or 0) >= 64 * 2**20


def test_rviz_shows_what_the_node_publishes(robot: Robot, start: Callable[..., Any]) -> None:
    node = start()
    robot.until(lambda: node.state == 'active', 'active')
    manager = yaml.safe_load((ROOT / 'config' / 'depth.rviz').read_text())['Visualization Manager']
    displays = {
        found['Topic']['Value']: found for found in manager['Displays'] if 'Topic' in found
    }
    assert set(displays) == {'image', 'depth/image', 'depth/points'}
    for topic, display in displays.items():
        assert display['Enabled']
        wanted = display['Topic']
        assert wanted['History Policy'] == 'Keep Last'
        assert wanted['Durability Policy'] == 'Volatile'
        path = node.resolve_topic_name(topic)
        if topic == 'image':  # as the node takes it: whoever publishes it serves both
            (end,) = node.get_subscriptions_info_by_topic(path)
            assert wanted['Reliability Policy'] == 'Best Effort'
            assert end.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        else:
            (end,) = node.get_publishers_info_by_topic(path)
            assert wanted['Reliability Policy'] == 'Reliable'
            assert end.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        assert end.topic_type == TYPES[display['Class']]
        assert end.qos_profile.history in (HistoryPolicy.KEEP_LAST, HistoryPolicy.UNKNOWN)
    assert displays['depth/points']['Color Transformer'] == 'RGB8'
    assert manager['Global Options']['Fixed Frame'].endswith('optical_frame')


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """The package as installed, made of links, with stand-ins that write down their arguments.

    They are rviz2 and ros2, which PyPI does not have.
    """
    prefix = tmp_path / 'prefix'
    share = prefix / 'share' / 'mono_metric_depth'
    share.mkdir(parents=True)
    for folder in ('config', 'launch'):
        (share / folder).symlink_to(ROOT / folder)
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    node = 'from mono_metric_depth.commands.depth_node import main\nmain()\n'
    note = (
        'import pathlib, sys\n'
        f'pathlib.Path({str(tmp_path)!r}, pathlib.Path(sys.argv[0]).name).write_text('
        "'\\n'.join(sys.argv[1:]))\n"
    )
    for path, program in (
        ('lib/mono_metric_depth/depth_node', node),
        ('lib/rviz2/rviz2', note),
        ('bin/ros2', note),
    ):
        executable = prefix / path
        executable.parent.mkdir(parents=True)
        executable.write_text(f'#!{sys.executable}\n{program}')
        executable.chmod(0o755)
        (index / executable.parent.name).touch()
    return prefix


@contextmanager
def launched(
    name: str, arguments: dict[str, str], prefix: Path
) -> Iterator[subprocess.Popen[str]]:
    """A launch file in a process of its own."""
    pytest.importorskip('launch_ros.actions')
    launch_file = prefix / 'share' / 'mono_metric_depth' / 'launch' / f'{name}.launch.py'
    program = (
        'import sys\n'
        'from launch import LaunchDescription, LaunchService\n'
        'from launch.actions import IncludeLaunchDescription\n'
        'from launch.launch_description_sources import PythonLaunchDescriptionSource\n'
        'service = LaunchService()\n'
        f'source = PythonLaunchDescriptionSource({str(launch_file)!r})\n'
        f'included = IncludeLaunchDescription(source, launch_arguments={arguments!r}.items())\n'
        'service.include_launch_description(LaunchDescription([included]))\n'
        'sys.exit(service.run())\n'
    )
    environment = {
        **os.environ,
        'AMENT_PREFIX_PATH': os.pathsep.join(
            [str(prefix), os.environ.get('AMENT_PREFIX_PATH', '')]
        ),
        'PATH': os.pathsep.join([str(prefix / 'bin'), os.environ['PATH']]),
        'ROS_LOG_DIR': str(prefix / 'log'),
    }
    process = subprocess.Popen(
        [sys.executable, '-c', program],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # the node, too
            os.killpg(process.pid, signal.SIGKILL)


def ended(process: subprocess.Popen[str]) -> str:
    """What it said, once it was interrupted and has ended well."""
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert 'failed to terminate' not in output
    return output


def test_the_launch_file_starts_the_node_and_rviz(
    prefix: Path, tmp_path: Path, domain: int, tiny_model: Path
) -> None:
    arguments = {
        'model': str(tiny_model),
        'namespace': 'front',
        'autostart': 'true',
        'respawn': 'false',
        'image': '/image',
        'camera_info': '/camera_info',
        'rviz': 'true',
        'frame': 'front_optical',
    }
    with launched('depth', arguments, prefix) as process:
        robot = Robot(domain, namespace='front')
        try:
            robot.ask(image_message(noise(60, 100)), info_message(CAMERA))
            robot.until(lambda: robot.statuses, 'diagnostics')
            assert robot.statuses[-1].name == '/front/depth_node: depth'
            robot.until((tmp_path / 'rviz2').exists, 'rviz')
        finally:
            robot.close()
        output = ended(process)
    assert 'model tiny' in output
    assert 'process has finished cleanly' in output
    said = (tmp_path / 'rviz2').read_text().split('\n')
    shown = Path(said[said.index('--display-config') + 1])
    assert shown.samefile(ROOT / 'config' / 'depth.rviz')
    assert said[said.index('--fixed-frame') + 1] == 'front_optical'
    assert 'image:=/image' in said
    assert '__ns:=/front' in said


def test_a_replay_starts_the_node_on_the_time_of_the_bag(
    prefix: Path, tmp_path: Path, domain: int, tiny_model: Path
) -> None:
    bag = tmp_path / 'drive'
    bag.mkdir()
    arguments = {
        'bag': str(bag),
        'rate': '0.5',
        'loop': 'true',
        'model': str(tiny_model),
        'image': '/front/image',
        'camera_info': '/front/camera_info',
        'image_transport': 'compressed',
    }
    with launched('replay', arguments, prefix) as process:
        robot = Robot(domain)
        try:
            node = robot.node
            topic = '/front/image/compressed'
            robot.until(lambda: node.get_subscriptions_info_by_topic(topic), topic)
            robot.until(lambda: node.get_publishers_info_by_topic('/depth/image'), 'depth')
            # It follows the bag's time.
            robot.until(lambda: node.get_subscriptions_info_by_topic('/clock'), 'simulated time')
            robot.until((tmp_path / 'ros2').exists, 'the bag')
        finally:
            robot.close()
        ended(process)
    played = (tmp_path / 'ros2').read_text().split('\n')
    options = ['--clock', '--rate', '0.5', '--delay', '3.0', '--loop']
    assert played == ['bag', 'play', str(bag), *options]
    assert not (tmp_path / 'rviz2').exists()


def test_a_replay_of_a_bag_that_is_not_there_says_so(prefix: Path, tmp_path: Path) -> None:
    with launched('replay', {'bag': str(tmp_path / 'none')}, prefix) as process:
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    (line,) = (line for line in output.splitlines() if 'none does not exist' in line)
    assert 'give the folder that ros2 bag record wrote' in line
    assert 'Traceback' not in output
    assert not (tmp_path / 'ros2').exists()


@pytest.mark.parametrize('name', ['depth', 'multi_camera'])
def test_a_params_file_that_is_not_there_is_refused(name: str, prefix: Path) -> None:
    with launched(name, {'params_file': '/nowhere.yaml'}, prefix) as process:
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert 'params_file:=/nowhere.yaml does not exist; give a YAML file' in output
    assert 'process started' not in output


def test_every_argument_of_a_replay_is_described() -> None:
    launch = pytest.importorskip('launch')
    pytest.importorskip('launch_ros.actions')
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    source = PythonLaunchDescriptionSource(str(ROOT / 'launch' / 'replay.launch.py'))
    description = source.get_launch_description(launch.LaunchContext())
    described = {found.name: found.description for found in description.get_launch_arguments()}
    wanted = 'bag rate loop image camera_info image_transport params_file model rviz'
    assert set(wanted.split()) <= set(described)
    assert all(len(text) > 10 for text in described.values())

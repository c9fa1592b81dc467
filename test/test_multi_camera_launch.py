# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The launch file of several cameras; launched for real where launch_ros is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip('rclpy')

from conftest import ROOT
from rig import Rig

from mono_metric_depth.camera import Camera

CAMERA = Camera(100, 60, 80.0, 82.0, 48.0, 28.0)


def test_the_launch_file_compiles_and_declares_its_arguments() -> None:
    path = ROOT / 'launch' / 'multi_camera.launch.py'
    text = path.read_text()
    compile(text, str(path), 'exec')
    arguments = (
        'cameras image camera_info image_transport base_frame namespace params_file model '
        'autostart use_sim_time log_level respawn rviz frame'
    )
    for argument in arguments.split():
        assert f"'{argument}'" in text
    for file in ('depth.yaml', 'fastdds.xml'):
        assert f"'{file}'" in text
        assert (ROOT / 'config' / file).is_file()


@contextmanager
def launched(name: str, folder: Path, arguments: dict[str, str]) -> Iterator[None]:
    """A launch file where launch_ros is; with the installed layout made of links."""
    pytest.importorskip('launch_ros.actions')
    prefix = folder / 'prefix'
    share = prefix / 'share' / 'mono_metric_depth'
    (share / 'launch').mkdir(parents=True)
    (share / 'config').symlink_to(ROOT / 'config')
    launch_file = share / 'launch' / f'{name}.launch.py'
    launch_file.symlink_to(ROOT / 'launch' / f'{name}.launch.py')
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    (index / 'mono_metric_depth').touch()
    executable = prefix / 'lib' / 'mono_metric_depth' / 'depth_node'
    executable.parent.mkdir(parents=True)
    executable.write_text(
        f'#!{sys.executable}\nfrom mono_metric_depth.commands.depth_node import main\nmain()\n'
    )
    executable.chmod(0o755)
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
    paths = os.pathsep.join([str(prefix), os.environ.get('AMENT_PREFIX_PATH', '')])
    process = subprocess.Popen(
        [sys.executable, '-c', program],
        env={**os.environ, 'AMENT_PREFIX_PATH': paths, 'ROS_LOG_DIR': str(folder / 'log')},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert 'model tiny' in output
    assert 'process has finished cleanly' in output
    assert 'failed to terminate' not in output


def test_the_launch_file_of_several_cameras_starts_one_node_for_all(
    tmp_path: Path, domain: int, tiny_model: Path
) -> None:
    arguments = {
        'model': str(tiny_model),
        'namespace': 'robot',
        'cameras': 'front, rear_left',
        'image': '/sensors/{camera}/image',
        'camera_info': '/sensors/{camera}/camera_info',
    }
    names = ('front', 'rear_left')
    rig = Rig(domain, dict.fromkeys(names, CAMERA), '/sensors/{}/', '/robot/{}/')
    try:
        with launched('multi_camera', tmp_path, arguments):
            rig.until_answered()
            rig.robot.until(lambda: all(map(rig.told, names)), 'diagnostics')
            assert rig.told('front').name == '/robot/depth_node: front'
    finally:
        rig.close()

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""A network small enough for every test, and DDS that keeps to itself."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from mono_metric_depth.camera import Camera
from mono_metric_depth.model_card import ModelCard, write_card
from mono_metric_depth.scale import GlobalScale

if TYPE_CHECKING:
    from robot import Robot

    from mono_metric_depth.nodes.depth_node import DepthNode

# No deadline: the machine may be busy. No chance either: what passes here passes elsewhere.
settings.register_profile('busy', deadline=None, max_examples=50, derandomize=True)
settings.load_profile('busy')

ROOT = Path(__file__).resolve().parents[1]

#: The canonical camera of the tiny network.
TINY_CAMERA = Camera(64, 32, 60.0, 60.0, 31.5, 12.0)
#: What it puts out for every image, row by row (m); its range ends at 1 and 80 m.
TINY_DEPTH = np.linspace(100.0, 0.5, 32, dtype=np.float32)

#: Tests may run in several processes at once; this is one of so many.
_WORKER = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))
_WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1'))
_domains = itertools.count(os.getpid() * 7)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and what tests start would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if 'PYTEST_XDIST_WORKER' in os.environ:
    # It is for the names of tests; what tests start has an order of its own.
    os.environ.pop('PYTHONHASHSEED', None)


@pytest.fixture(scope='session', autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Engines that lie in the user's own cache change no test, and none is written there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file with a card: depth by the pixel's row, whatever the image."""
    path = tmp_path_factory.mktemp('model') / 'tiny.onnx'
    write_tiny_model(path, TINY_DEPTH)
    return path


@pytest.fixture(scope='session')
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every network with random weights, as an ONNX file with a card."""
    pytest.importorskip('torch')
    from random_networks import export_networks

    return export_networks(tmp_path_factory.mktemp('exported'))


@pytest.fixture(scope='session')
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of aligned drives: what several trainings see is rendered once."""
    return tmp_path_factory.mktemp('rendered')


@pytest.fixture(scope='session')
def tiny_batch_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for any number of images at once."""
    path = tmp_path_factory.mktemp('model') / 'batch.onnx'
    write_tiny_model(path, TINY_DEPTH, batch='batch')
    return path


def write_tiny_model(path: Path, depth: NDArray[np.float32], batch: int | str = 1) -> None:
    """Write a model that puts out (32,) depth by the pixel's row (m), whatever the image."""
    onnx = pytest.importorskip('onnx')
    from onnx import TensorProto, helper, numpy_helper

    size = (TINY_CAMERA.height, TINY_CAMERA.width)
    rows = np.ascontiguousarray(np.broadcast_to(depth[:, None], (1, 1, *size)))
    graph = helper.make_graph(
        [
            helper.make_node('ReduceMax', ['image'], ['brightest'], axes=[1], keepdims=1),
            helper.make_node('Mul', ['brightest', 'zero'], ['nothing']),
            helper.make_node('Add', ['nothing', 'rows'], ['depth']),
        ],
        'tiny',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, [batch, 3, *size])],
        [helper.make_tensor_value_info('depth', TensorProto.FLOAT, [batch, 1, *size])],
        [numpy_helper.from_array(np.float32(0), 'zero'), numpy_helper.from_array(rows, 'rows')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, path)
    scale = GlobalScale(1.0, 0.9, 1.1, 0.95, 'theil_sen', 10, 0.1, 'made up')
    write_card(path, ModelCard('tiny', scale, TINY_CAMERA, (1.0, 80.0)))


@pytest.fixture(scope='session')
def dds() -> Iterator[None]:
    """Fast DDS as it is shipped, on this host only."""
    with pytest.MonkeyPatch.context() as patch:
        profile = ROOT / 'config' / 'fastdds.xml'
        patch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', str(profile))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        yield


def next_domain() -> int:
    """A ROS domain that no other test of this run uses at the same time."""
    # Beyond 101 the ports of a domain may be taken by outgoing connections.
    each = 100 // _WORKERS
    return 1 + each * _WORKER + next(_domains) % each


@pytest.fixture
def domain(dds: None, monkeypatch: pytest.MonkeyPatch) -> int:
    """A ROS domain of the test's own, also in its environment."""
    number = next_domain()
    monkeypatch.setenv('ROS_DOMAIN_ID', str(number))
    return number


@pytest.fixture
def robot(domain: int) -> Iterator[Robot]:
    from robot import Robot

    robot = Robot(domain)
    yield robot
    robot.close()


@pytest.fixture
def start(
    robot: Robot, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., DepthNode]:
    """Starts a depth node in the robot's own executor; its diagnostics come often."""
    from rclpy.parameter import Parameter

    from mono_metric_depth.nodes import depth_node
    from mono_metric_depth.nodes.depth_node import DepthNode

    monkeypatch.setattr(depth_node, 'DIAGNOSTICS_PERIOD', 0.1)

    def run(**parameters: Any) -> DepthNode:
        # The one whose run tests look into.
        values = {'model': str(tiny_model), 'engine': 'onnxruntime', **parameters}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = DepthNode(context=robot.context, parameter_overrides=overrides)
        robot.add(node)
        return node

    return run

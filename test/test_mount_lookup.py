# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Mounts from parameters and from tf."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rosbags.typesys import Stores, get_typestore

from mono_metric_depth.camera import Mount
from mono_metric_depth.nodes import mount_lookup
from mono_metric_depth.nodes.mount_lookup import MountLookup
from mono_metric_depth.nodes.parameters import Parameters

OPTICAL = 'front_optical'
#: x forward, y left, z up to an optical frame: (x, y, z, w).
TO_OPTICAL = (-0.5, 0.5, -0.5, 0.5)
TYPES = get_typestore(Stores.ROS2_JAZZY)


def quaternion(roll: float = 0.0, pitch: float = 0.0, yaw: float = 0.0) -> tuple[float, ...]:
    """(x, y, z, w) of fixed axes x, y, z (REP-103)."""
    cr, sr = math.cos(roll / 2), math.sin(roll / 2)
    cp, sp = math.cos(pitch / 2), math.sin(pitch / 2)
    cy, sy = math.cos(yaw / 2), math.sin(yaw / 2)
    return (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )


def transforms(*links: tuple[str, str, tuple[float, ...], tuple[float, ...]]) -> Any:
    """A tf2_msgs/TFMessage of links: parent, child, translation, rotation."""
    kinds = TYPES.types
    header, time = kinds['std_msgs/msg/Header'], kinds['builtin_interfaces/msg/Time']
    return kinds['tf2_msgs/msg/TFMessage'](
        [
            kinds['geometry_msgs/msg/TransformStamped'](
                header(time(0, 0), parent),
                child,
                kinds['geometry_msgs/msg/Transform'](
                    kinds['geometry_msgs/msg/Vector3'](*translation),
                    kinds['geometry_msgs/msg/Quaternion'](*rotation),
                ),
            )
            for parent, child, translation, rotation in links
        ]
    )


def serialised(message: Any) -> bytes:
    return bytes(TYPES.serialize_cdr(message, 'tf2_msgs/msg/TFMessage'))


class Subscriber:
    """The node: keeps what is subscribed to."""

    def __init__(self) -> None:
        self.topics: dict[str, Callable[[Any], None]] = {}

    def create_subscription(
        self, kind: Any, topic: str, callback: Any, qos: Any, raw: bool = False
    ) -> str:
        self.topics[topic] = callback
        return topic

    def destroy_subscription(self, topic: str) -> None:
        del self.topics[topic]


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Subscriber:
    """A node where tf2_msgs is installed."""
    messages = ModuleType('tf2_msgs.msg')
    messages.TFMessage = SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'tf2_msgs', ModuleType('tf2_msgs'))
    monkeypatch.setitem(sys.modules, 'tf2_msgs.msg', messages)
    monkeypatch.setattr(
        mount_lookup,
        'deserialize_message',
        lambda data, kind: TYPES.deserialize_cdr(data, 'tf2_msgs/msg/TFMessage'),
    )
    return Subscriber()


ROOF = ('base_footprint', 'roof', (0.5, 0.0, 1.5), quaternion(pitch=0.1, roll=-0.05))
LENS = ('roof', OPTICAL, (0.0, 0.0, 0.0), TO_OPTICAL)


def test_a_mount_is_that_of_the_way_from_the_base_frame(node: Subscriber) -> None:
    lookup = MountLookup(node, 'base_footprint')
    node.topics['/tf_static'](transforms(LENS))
    assert 'no way' in lookup.mount(OPTICAL, Parameters()).problem
    node.topics['/tf'](serialised(transforms(ROOF)))
    found = lookup.mount(OPTICAL, Parameters())
    mount = found.mount
    assert (mount.pitch, mount.roll, mount.yaw) == pytest.approx((0.1, -0.05, 0.0), abs=1e-9)
    assert mount.height == pytest.approx(1.5)
    assert found.problem == ''
    assert found.text == (
        'pitch 0.100 rad (base_footprint), roll -0.050 rad (base_footprint), '
        'yaw 0.000 rad (base_footprint), height 1.500 m (base_footprint)'
    )
    assert lookup.mount(f'/{OPTICAL}', Parameters()).mount == mount
    # What moves is not followed, what is static is.
    moved = ('base_footprint', 'roof', (0.5, 0.0, 1.6), quaternion(pitch=0.2))
    node.topics['/tf'](serialised(transforms(moved)))
    assert lookup.mount(OPTICAL, Parameters()).mount == mount
    node.topics['/tf_static'](transforms(moved))
    assert lookup.mount(OPTICAL, Parameters()).mount.pitch == pytest.approx(0.2)
    lookup.destroy()
    assert node.topics == {}


def test_a_parameter_counts_and_its_conflict_with_tf_is_told(node: Subscriber) -> None:
    lookup = MountLookup(node, 'base_footprint')
    node.topics['/tf_static'](transforms(ROOF, LENS))
    found = lookup.mount(OPTICAL, Parameters(pitch=0.11, camera_height=1.52))
    assert (found.mount.pitch, found.mount.height) == (0.11, 1.52)
    assert found.mount.roll == pytest.approx(-0.05)
    assert found.problem == ''  # that close is no conflict
    found = lookup.mount(OPTICAL, Parameters(pitch=0.2))
    assert found.mount.pitch == 0.2
    assert found.problem == (
        'the parameters say pitch 0.200 rad, base_footprint in tf says 0.100 rad; the parameter '
        'counts, set it to 0 to follow tf'
    )
    assert 'say height 1.800 m' in lookup.mount(OPTICAL, Parameters(camera_height=1.8)).problem


@pytest.mark.parametrize('yaw', [0.2, -0.9, 1.5])
def test_the_yaw_of_a_camera_that_looks_aside_is_known_however_far(
    node: Subscriber, yaw: float
) -> None:
    lookup = looks_aside(node, yaw)
    found = lookup.mount(OPTICAL, Parameters())
    mount = found.mount
    assert (mount.pitch, mount.roll, mount.yaw) == pytest.approx((0.1, 0.03, yaw), abs=1e-9)
    assert mount.height == pytest.approx(1.2)
    assert found.problem == ''


def test_a_camera_that_looks_back_has_no_mount_from_tf(node: Subscriber) -> None:
    found = looks_aside(node, math.pi).mount(OPTICAL, Parameters())
    assert found.mount == Mount()
    assert 'is unusable: mount yaw must lie within' in found.problem


def looks_aside(node: Subscriber, yaw: float) -> MountLookup:
    lookup = MountLookup(node, 'base_link')
    rotation = quaternion(roll=0.03, pitch=0.1, yaw=yaw)
    lens = ('side', OPTICAL, (0.0, 0.0, 0.0), TO_OPTICAL)
    node.topics['/tf_static'](transforms(('base_link', 'side', (0, 0, 1.2), rotation), lens))
    return lookup


def test_what_is_missing_is_told_and_parameters_are_assumed(
    node: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = MountLookup(node, 'base_link')
    node.topics['/tf_static'](transforms(ROOF, LENS))
    found = lookup.mount(OPTICAL, Parameters(pitch=0.1))
    assert found.problem == (
        f'tf has no way from base_link to {OPTICAL}; the mount is taken from parameters'
    )
    assert (found.mount.pitch, found.mount.height) == (0.1, None)
    assert 'pitch 0.100 rad (parameter)' in found.text
    assert 'height not known' in found.text
    assert 'an unnamed frame' in lookup.mount('', Parameters()).problem
    # A rotation that is none, and a tree that bites its tail.
    node.topics['/tf_static'](transforms(('base_link', 'bad', (0, 0, 1), (0, 0, 0, 3.0))))
    assert 'is unusable' in lookup.mount('bad', Parameters()).problem
    node.topics['/tf_static'](
        transforms(('a', 'b', (0, 0, 1), (0, 0, 0, 1)), ('b', 'a', (0, 0, 1), (0, 0, 0, 1)))
    )
    assert 'no way' in lookup.mount('a', Parameters()).problem
    # Without tf2.
    monkeypatch.setitem(sys.modules, 'tf2_msgs.msg', None)
    found = MountLookup(Subscriber(), 'base_link').mount(OPTICAL, Parameters())
    assert 'base_frame needs tf2_msgs, which is not installed' in found.problem
    # Nobody asked for tf.
    subscriber = Subscriber()
    found = MountLookup(subscriber, '').mount(OPTICAL, Parameters(roll=0.1))
    assert (found.problem, subscriber.topics) == ('', {})
    assert found.mount.roll == 0.1
    assert found.text == (
        'pitch not given, 0 rad assumed, roll 0.100 rad (parameter), '
        'yaw not given, 0 rad assumed, height not known'
    )


def test_names_that_are_made_up_take_no_memory_without_bound(node: Subscriber) -> None:
    lookup = MountLookup(node, 'base_link')
    links = [('base_link', f'f{n}', (0, 0, 1), TO_OPTICAL) for n in range(20_000)]
    node.topics['/tf_static'](transforms(*links))
    assert len(lookup._transforms._parents) == 10_000
    for number in range(1000):
        lookup.mount(f'f{number}', Parameters())
    assert len(lookup._found) <= 100
    assert np.isclose(lookup.mount('f5', Parameters()).mount.height, 1.0)

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import array
import sys
import types

import numpy as np
import pytest

pytest.importorskip('sensor_msgs')

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, PointCloud2
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.camera import Camera, camera_from_info
from mono_metric_depth.depth_encoding import millimetres
from mono_metric_depth.image import Image, ImageError
from mono_metric_depth.nodes.messages import (
    CloudMessage,
    DepthMessage,
    camera_info_message,
    compact_cloud_message,
    image_from_message,
    stamp_ns,
)
from mono_metric_depth.point_cloud import PointCloudWriter

CAMERA = Camera(8, 5, 6.0, 6.5, 3.4, 2.2)


def round_trip(message):
    return deserialize_message(serialize_message(message), type(message))


def image_message(encoding: str = 'bgr8') -> ImageMessage:
    data = array.array('B', range(4 * 20))
    return ImageMessage(height=4, width=6, encoding=encoding, step=20, data=data)


@pytest.fixture
def cv_bridge(monkeypatch):
    """Puts a function in the place of cv_bridge's imgmsg_to_cv2."""

    def install(imgmsg_to_cv2):
        bridge = type('CvBridge', (), {'imgmsg_to_cv2': staticmethod(imgmsg_to_cv2)})
        module = types.ModuleType('cv_bridge')
        module.CvBridge = bridge
        monkeypatch.setitem(sys.modules, 'cv_bridge', module)

    return install


def test_an_image_is_a_view_onto_its_message():
    message = image_message()
    image = image_from_message(message)
    assert (image.width, image.height, image.channels) == (6, 4, 'bgr')
    assert np.shares_memory(image.pixels, np.frombuffer(message.data, np.uint8))
    assert image.pixels[1, 0].tolist() == [20, 21, 22]


def test_an_image_survives_serialisation():
    message = image_message()
    image = image_from_message(round_trip(message))
    np.testing.assert_array_equal(image.pixels, image_from_message(message).pixels)


def test_big_endian_mono16_is_read_in_its_own_byte_order():
    message = image_message('mono16')
    message.is_bigendian = 1
    assert image_from_message(message).pixels[0, 1] == 0x0203


def test_a_default_message_is_refused_as_empty():
    with pytest.raises(ImageError, match='size is 0x0') as caught:
        image_from_message(ImageMessage())
    assert caught.value.reason == 'empty'


def test_a_rare_encoding_is_left_to_cv_bridge(cv_bridge):
    pixels = np.zeros((4, 6, 3), np.uint8)
    asked = []
    cv_bridge(lambda message, desired_encoding: asked.append(desired_encoding) or pixels)
    image = image_from_message(image_message('bgr16'))
    assert asked == ['bgr8']
    assert image.pixels is pixels
    assert image.channels == 'bgr'


def test_without_cv_bridge_a_rare_encoding_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)
    with pytest.raises(ImageError, match=r"'bgr16' is not supported.*install cv_bridge") as caught:
        image_from_message(image_message('bgr16'))
    assert caught.value.reason == 'encoding'


@pytest.mark.parametrize(
    ('failure', 'message'),
    [
        (TypeError('[8UC1] is not a color format'), 'does not convert it either.*not a color'),
        (ImportError('numpy.core.multiarray failed to import'), 'install cv_bridge.*multiarray'),
    ],
)
def test_what_cv_bridge_says_is_passed_on(cv_bridge, failure, message):
    def fail(message, desired_encoding):
        raise failure

    cv_bridge(fail)
    with pytest.raises(ImageError, match=message) as caught:
        image_from_message(image_message('8UC1'))
    assert caught.value.reason == 'encoding'


def test_cv_bridge_is_not_asked_about_a_broken_message(cv_bridge):
    cv_bridge(lambda message, desired_encoding: pytest.fail('cv_bridge was asked'))
    message = image_message()
    message.step = 1
    with pytest.raises(ImageError) as caught:
        image_from_message(message)
    assert caught.value.reason == 'step'


@pytest.mark.parametrize(('encoding', 'dtype'), [('32FC1', 'f4'), ('16UC1', 'u2')])
def test_depth_written_in_place_arrives(encoding, dtype):
    output = DepthMessage(6, 4, encoding)
    data = output.message.data
    output.depth[:] = np.arange(1, 25).reshape(4, 6)
    received = round_trip(output.message)
    assert (received.width, received.height, received.encoding) == (6, 4, encoding)
    assert received.step == 6 * output.depth.itemsize
    assert received.is_bigendian == (sys.byteorder == 'big')
    np.testing.assert_array_equal(np.frombuffer(received.data, dtype).reshape(4, 6), output.depth)
    assert output.message.data is data


def test_depth_starts_as_invalid_and_never_zero_in_metres():
    assert np.isnan(DepthMessage(6, 4).depth).all()
    assert not DepthMessage(6, 4, '16UC1').depth.any()


def test_an_unknown_depth_encoding_is_refused():
    with pytest.raises(ValueError, match="one of 32FC1, 16UC1, got 'mono8'"):
        DepthMessage(6, 4, 'mono8')


@pytest.mark.parametrize('output', [DepthMessage(6, 4), CloudMessage(6, 4)])
def test_the_data_of_an_output_message_cannot_be_resized(output):
    with pytest.raises(BufferError):
        output.message.data.append(0)


@pytest.mark.parametrize(
    ('metres', 'expected'),
    [
        (1.2344, 1234),
        (1.2346, 1235),
        (0.0004, 0),
        (65.534, 65534),
        # What others write where theirs is saturated.
        (65.535, 0),
        (65.6, 0),
        (1e6, 0),
        (1e12, 0),
        (0.0, 0),
        (-1.0, 0),
        (-1e12, 0),
        (np.nan, 0),
        (np.inf, 0),
        (-np.inf, 0),
    ],
)
@pytest.mark.parametrize('shape', [(1, 1), (4, 1), (5, 33)])
def test_millimetres_are_rounded_and_what_does_not_fit_is_zero(metres, expected, shape):
    out = np.full(shape, 7, np.uint16)
    millimetres(np.full(shape, metres, np.float32), out)
    np.testing.assert_array_equal(out, expected)


def test_millimetres_are_to_nearest_over_the_whole_range():
    depth = np.linspace(0.001, 65.5, 200_000, dtype=np.float32).reshape(400, 500)
    out = np.empty((400, 500), np.uint16)
    millimetres(depth, out)
    assert np.abs(out - depth.astype(np.float64) * 1000).max() < 0.51


def test_millimetres_refuse_arrays_that_do_not_fit():
    with pytest.raises(ValueError, match=r'one shape, got float32 \(4, 6\) and uint16 \(6, 4\)'):
        millimetres(np.zeros((4, 6), np.float32), np.zeros((6, 4), np.uint16))


def test_a_cloud_written_in_place_arrives_organised():
    output = CloudMessage(CAMERA.width, CAMERA.height)
    data = output.message.data
    depth = np.full((5, 8), 2.0, np.float32)
    bgr = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    PointCloudWriter(CAMERA).write(depth, Image(bgr, 'bgr'), output.points)
    received = round_trip(output.message)
    assert output.message.data is data
    assert isinstance(received, PointCloud2)
    assert (received.height, received.width) == (5, 8)
    assert (received.point_step, received.row_step) == (16, 128)
    assert not received.is_dense
    assert received.is_bigendian == (sys.byteorder == 'big')
    fields = [(f.name, f.offset, f.datatype, f.count) for f in received.fields]
    assert fields == [('x', 0, 7, 1), ('y', 4, 7, 1), ('z', 8, 7, 1), ('rgb', 12, 7, 1)]
    octets = np.frombuffer(received.data, np.uint8).reshape(5, 8, 16)
    np.testing.assert_array_equal(octets[..., 12:15], bgr)
    points = octets.view(np.float32)[..., :3]
    np.testing.assert_allclose(points, CAMERA.rays() * 2.0, atol=1e-6)


def test_a_cloud_starts_as_nan_points_without_colour():
    points = CloudMessage(6, 4).points
    assert np.isnan(points[..., :3]).all()
    assert not points[..., 3].any()


@pytest.mark.parametrize(
    'camera',
    [
        CAMERA,
        Camera(8, 5, 6.0, 6.5, 3.4, 2.2, 'plumb_bob', (-0.1, 0.01, 1e-3, -1e-3, 0.0)),
        Camera(8, 5, 6.0, 6.5, 3.4, 2.2, 'equidistant', (0.01, 0.02, 0.0, 0.0)),
    ],
)
def test_camera_info_describes_the_same_camera_on_the_other_side(camera):
    info = round_trip(camera_info_message(camera))
    assert camera_from_info(info) == camera
    assert camera_from_info(info, rectified=True).K == camera.K


def test_camera_info_of_an_output_is_plain():
    info = camera_info_message(CAMERA)
    assert isinstance(info, CameraInfo)
    assert (info.distortion_model, list(info.d)) == ('plumb_bob', [0.0] * 5)
    assert info.r.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert info.p.tolist() == [6, 0, 3.4, 0, 0, 6.5, 2.2, 0, 0, 0, 1, 0]
    assert (info.binning_x, info.binning_y) == (0, 0)
    assert (info.roi.width, info.roi.height, info.roi.do_rectify) == (0, 0, False)


def test_stamps_are_exact_nanoseconds():
    message = image_message()
    message.header.stamp.sec, message.header.stamp.nanosec = 2_000_000_000, 999_999_999
    assert stamp_ns(message.header.stamp) == 2_000_000_000_999_999_999


def test_sensor_msgs_py_reads_the_cloud() -> None:
    point_cloud2 = pytest.importorskip('sensor_msgs_py.point_cloud2')
    camera = Camera(6, 4, 5.0, 5.0, 2.5, 1.5)
    cloud = CloudMessage(camera.width, camera.height)
    depth = np.arange(1, 25, dtype=np.float32).reshape(4, 6)
    depth[0, 0] = np.nan
    PointCloudWriter(camera).write(depth, None, cloud.points)
    read = point_cloud2.read_points(cloud.message, field_names=('x', 'y', 'z'), skip_nans=True)
    assert len(read) == 23
    np.testing.assert_array_equal(np.sort(read['z']), np.sort(depth.ravel())[:23])


@pytest.mark.parametrize('colour', [True, False])
def test_a_compact_cloud_holds_the_valid_points_alone(colour):
    output = CloudMessage(6, 4, colour=colour)
    channels = 4 if colour else 3
    points = np.arange(6 * 4 * channels, dtype=np.float32).reshape(4, 6, channels)
    points[1, :2, :3] = np.nan
    output.points[:] = points
    compact = round_trip(compact_cloud_message(output.points))
    assert (compact.width, compact.height, compact.is_dense) == (22, 1, True)
    assert (compact.point_step, compact.row_step) == (4 * channels, 22 * 4 * channels)
    assert [field.name for field in compact.fields] == ['x', 'y', 'z', 'rgb'][:channels]
    found = np.frombuffer(compact.data, np.float32).reshape(-1, channels)
    np.testing.assert_array_equal(found, np.delete(points.reshape(-1, channels), (6, 7), axis=0))
    organised = round_trip(output.message)
    assert organised.point_step == 4 * channels
    assert not organised.is_dense
    np.testing.assert_array_equal(np.frombuffer(organised.data, np.float32), points.ravel())


def test_a_compact_cloud_may_be_empty():
    compact = round_trip(compact_cloud_message(CloudMessage(6, 4).points))
    assert (compact.width, compact.height, len(compact.data)) == (0, 1, 0)

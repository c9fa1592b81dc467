# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The two threads that turn the newest frames into depth and publish it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera, CameraError
from mono_metric_depth.engines import EngineError
from mono_metric_depth.estimator import (
    DepthEstimate,
    DepthEstimator,
    EstimatorError,
    FrameBuffer,
    require_same_size,
)
from mono_metric_depth.image import Image, ImageError
from mono_metric_depth.nodes.camera_stream import CameraStream
from mono_metric_depth.nodes.depth_outputs import INFO
from mono_metric_depth.nodes.messages import (
    image_from_compressed_message,
    image_from_message,
    stamp_ns,
)
from mono_metric_depth.nodes.mount_lookup import FoundMount, MountLookup
from mono_metric_depth.nodes.newest_frame import WaitingFrames
from mono_metric_depth.nodes.parameters import Parameters

#: Frames, or batches of frames, in work at once: one is inferred while one is published.
_IN_WORK = 2


@dataclass
class _Frame:
    """A frame in work, with the parameters that it began with."""

    stream: CameraStream
    header: Any
    info: CameraInfo
    values: Parameters
    wanted: frozenset[str]
    began: float
    image: Image
    camera: Camera
    mount: FoundMount
    #: Once it is known: without depth where only the calibration is wanted.
    alignment: Alignment | None = None
    estimate: DepthEstimate | None = None


class FrameWorker:
    """Takes frames as they come and publishes their depth, until it is stopped.

    One thread decodes, aligns and infers; the other restores and publishes what the first has
    finished. They hand :data:`_IN_WORK` sets of buffers to and fro, so that no more than one batch
    of frames waits between them.

    Args:
        node: Whose log and clock to use.
        estimator: Used by nobody else meanwhile.
        streams: The cameras, active.
        mounts: Where to look their mounts up.
        changed: Notified when a frame arrives.
    """

    def __init__(
        self,
        node: Node,
        estimator: DepthEstimator,
        streams: Sequence[CameraStream],
        mounts: MountLookup,
        changed: threading.Condition,
    ) -> None:
        self._node = node
        self._estimator = estimator
        self._streams = streams
        self._mounts = mounts
        waiting = [stream.newest for stream in streams if stream.newest is not None]
        self._waiting = WaitingFrames(waiting, changed)
        self._stopped = False
        self._free: SimpleQueue[list[FrameBuffer]] = SimpleQueue()
        self._inferred: SimpleQueue[tuple[list[_Frame], list[FrameBuffer]] | None] = SimpleQueue()
        most = min(len(streams), len(estimator.engine.input))
        for _ in range(_IN_WORK):
            self._free.put([estimator.buffer() for _ in range(most)])
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (('depth', self._infer), ('publish', self._publish))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, patience: float) -> bool:
        """Take no more frames and let those in work finish.

        Args:
            patience: How long to wait for them (s).

        Returns:
            Whether they have finished.
        """
        self._stopped = True
        self._waiting.close()
        deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    # The first thread.

    def _infer(self) -> None:
        while self._infer_next(self._free.get()):
            pass
        self._inferred.put(None)

    def _infer_next(self, buffers: list[FrameBuffer]) -> bool:
        """Infer the frames that wait next; says whether there were any before the end."""
        taken = self._waiting.take(len(buffers))
        begun = [self._begin(self._streams[index], *pair) for index, pair in taken]
        frames = self._estimate([frame for frame in begun if frame is not None], buffers)
        if frames:
            self._inferred.put((frames, buffers))
        else:
            self._free.put(buffers)
        return bool(taken)

    def _begin(
        self, stream: CameraStream, message: ImageMessage | CompressedImage, info: CameraInfo
    ) -> _Frame | None:
        """Decode a frame that somebody wants; its outcome is counted otherwise."""
        try:
            values = stream.values
            assert stream.outputs is not None
            subscribed = stream.outputs.subscribed()
            wanted = stream.outputs.due(subscribed, values)
            if not wanted:
                reason = 'cloud_rate' if subscribed else 'no subscriber'
                stream.statistics.count(f'skipped: {reason}')
                return None
            began = time.monotonic()
            camera = stream.camera(info, rectified=values.rectified)
            mount = self._mounts.mount(message.header.frame_id, values)
            if isinstance(message, CompressedImage):
                image = image_from_compressed_message(message, camera)
            else:
                image = image_from_message(message)
            header = message.header
            frame = _Frame(stream, header, info, values, wanted, began, image, camera, mount)
            if wanted == {INFO}:  # takes no network
                require_same_size(image.width, image.height, camera)
                frame.alignment = self._estimator.alignment(camera, mount.mount)
        except Exception as err:
            self._fail(stream, err)
            return None
        return frame

    def _estimate(self, frames: Sequence[_Frame], buffers: Sequence[FrameBuffer]) -> list[_Frame]:
        """Run the network for those that need it; those that can be published."""
        needed = [frame for frame in frames if frame.alignment is None]
        try:
            results = self._estimator.estimate_batch(
                [(frame.image, frame.camera, frame.mount.mount) for frame in needed],
                buffers[: len(needed)],
            )
        except Exception as err:
            for frame in needed:
                self._fail(frame.stream, err)
            return [frame for frame in frames if frame.alignment is not None]
        for frame, result in zip(needed, results, strict=True):
            if isinstance(result, EstimatorError):
                self._fail(frame.stream, result)
            else:
                frame.estimate, frame.alignment = result, result.alignment
        return [frame for frame in frames if frame.alignment is not None]

    # The second thread.

    def _publish(self) -> None:
        while (finished := self._inferred.get()) is not None:
            frames, buffers = finished
            for frame in frames:
                try:
                    self._publish_frame(frame)
                except Exception as err:
                    self._fail(frame.stream, err)
            del frames, finished  # nothing holds the images while waiting for the next
            self._free.put(buffers)

    def _publish_frame(self, frame: _Frame) -> None:
        stream, values, alignment = frame.stream, frame.values, frame.alignment
        assert stream.outputs is not None
        assert alignment is not None
        # Once more: a cloud may have been published since.
        wanted = stream.outputs.due(frame.wanted, values)
        if not wanted:
            stream.statistics.count('skipped: cloud_rate')
            return
        if frame.estimate is not None:
            stream.outputs.publish_depth(wanted, frame.header, frame.estimate, values)
        if INFO in wanted:
            camera = alignment.output_camera(values.depth_resolution)
            stream.outputs.publish_info(frame.header, frame.info, camera, values)
        stream.coverage, stream.mount = alignment.coverage, frame.mount
        now = self._node.get_clock().now().nanoseconds
        latency = (now - stamp_ns(frame.header.stamp)) * 1e-9
        stream.statistics.finish(time.monotonic() - frame.began, latency)
        if frame.estimate is not None and stream.monitor is not None:
            stream.monitor.look(frame.estimate, frame.mount.mount)
        stream.statistics.count('published')

    # Either.

    def _fail(self, stream: CameraStream, err: Exception) -> None:
        """Count a frame as dropped for an error."""
        if isinstance(err, (ImageError, EstimatorError)):
            stream.drop(err.reason, str(err))
        elif isinstance(err, CameraError):
            stream.drop('camera_info', str(err))
        elif isinstance(err, EngineError):
            stream.drop('engine', str(err))
        elif not self._stopped and self._node.context.ok():
            stream.drop('internal', f'{type(err).__name__}: {err}')

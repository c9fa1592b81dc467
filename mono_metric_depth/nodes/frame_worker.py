# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The threads that turn the newest frames into depth and publish it."""

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
from mono_metric_depth.camera import CameraError
from mono_metric_depth.depth_estimate import (
    DepthEstimate,
    EstimatorError,
    FrameBuffer,
    require_same_size,
)
from mono_metric_depth.engines import EngineError
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.image import ImageError
from mono_metric_depth.nodes.camera_stream import CameraStream
from mono_metric_depth.nodes.depth_outputs import CLOUD, INFO
from mono_metric_depth.nodes.messages import (
    image_from_compressed_message,
    image_from_message,
    stamp_ns,
)
from mono_metric_depth.nodes.mount_lookup import FoundMount, MountLookup
from mono_metric_depth.nodes.newest_frame import WaitingFrames
from mono_metric_depth.nodes.parameters import Parameters
from mono_metric_depth.printable import printable

#: Frames, or batches of frames, in work at once: one is inferred while another is published, and
#: once that is done, the next is prepared.
_IN_WORK = 2
#: A frame is prepared shortly before the network is free: by so many times what that took last,
#: and by so much (s).
_AHEAD = 2
_MARGIN = 2e-3
#: What to do about errors that tell no more than what failed.
_MEND_ENGINE = 'deactivate, clean up and configure the node anew, or set another engine'
_MEND_NODE = 'please report this fault of the node, with its camera_info and an image'
#: Names of the threads.
WORKING = ('prepare', 'depth', 'publish')
#: How often the same is logged again (s).
_WARN_EVERY = 5.0


@dataclass
class _Frame:
    """A frame in work, with the parameters that it began with."""

    index: int
    stream: CameraStream
    buffer: FrameBuffer
    header: Any
    info: CameraInfo
    values: Parameters
    wanted: frozenset[str]
    began: float
    mount: FoundMount
    alignment: Alignment
    #: None where only the calibration is wanted, which takes no network.
    estimate: DepthEstimate | None


class FrameWorker:
    """Takes frames as they come and publishes their depth, until it is stopped.

    One thread decodes and aligns, the next infers, the last restores and publishes. They hand the
    buffers of :data:`_IN_WORK` batches on, so that no queue grows between them. A frame is not
    prepared until the network is about to be free, or a newer one might have come by then.

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
        self._batch = min(len(streams), len(estimator.engine.input))
        self._free: SimpleQueue[FrameBuffer] = SimpleQueue()
        self._prepared: SimpleQueue[_Frame | None] = SimpleQueue()
        self._inferred: SimpleQueue[list[_Frame] | None] = SimpleQueue()
        #: Inferred, and not yet handed on.
        self._finished: list[_Frame] = []
        #: How long a frame took to prepare and a batch to infer, the last time (s).
        self._preparation = self._inference = 0.0
        for _ in range(_IN_WORK * self._batch):
            self._free.put(estimator.buffer())
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in zip(
                WORKING, (self._prepare, self._infer, self._publish), strict=True
            )
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

    def _prepare(self) -> None:
        buffer = self._free.get()
        while (taken := self._waiting.take()) is not None:
            began = time.monotonic()
            frame = self._begin(*taken, buffer)
            if frame is None:
                self._waiting.go_on([taken[0]])
            else:
                self._preparation = time.monotonic() - began
                self._prepared.put(frame)
                buffer = self._free.get()
            del taken, frame  # nothing holds the image while waiting for the next
        self._prepared.put(None)

    def _begin(
        self,
        index: int,
        message: ImageMessage | CompressedImage,
        info: CameraInfo,
        buffer: FrameBuffer,
    ) -> _Frame | None:
        """Decode and align a frame that somebody wants; its outcome is counted otherwise."""
        stream = self._streams[index]
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
            estimate = None
            if wanted == {INFO}:
                require_same_size(image.width, image.height, camera)
                alignment = self._estimator.alignment(camera, mount.mount)
            else:
                estimate = self._estimator.prepare(image, camera, mount.mount, buffer)
                if CLOUD in wanted and values.cloud_colour:
                    # Now, while what it is made of is in the processor's caches.
                    estimate.colour(values.cloud_resolution)
                alignment = estimate.alignment
        except Exception as err:
            self._fail(stream, err)
            return None
        header = message.header
        return _Frame(
            index, stream, buffer, header, info, values, wanted, began, mount, alignment, estimate
        )

    # The second thread.

    def _infer(self) -> None:
        while frames := self._next_batch():
            began = time.monotonic()
            due = began + self._inference - _AHEAD * self._preparation - _MARGIN
            self._waiting.go_on([frame.index for frame in frames], due)
            finished = self._estimate(frames)
            self._hand_on()
            self._finished = finished
            self._inference = time.monotonic() - began
            self._waiting.go_on()
            del frames, finished
        self._hand_on()
        self._inferred.put(None)

    def _hand_on(self) -> None:
        """Let what is inferred be published."""
        if self._finished:
            self._inferred.put(self._finished)
            self._finished = []

    def _next_batch(self) -> list[_Frame]:
        """Wait for frames; nothing at the end."""
        frames: list[_Frame] = []
        if self._prepared.empty():
            self._hand_on()
        while len(frames) < self._batch and not (frames and self._prepared.empty()):
            frame = self._prepared.get()
            if frame is None:
                if frames:
                    self._prepared.put(None)
                break
            frames.append(frame)
        return frames

    def _estimate(self, frames: Sequence[_Frame]) -> list[_Frame]:
        """Run the network for those that need it; those that can be published."""
        estimates = [frame.estimate for frame in frames if frame.estimate is not None]
        results: Sequence[DepthEstimate | Exception]
        try:
            # Publishing holds the interpreter for milliseconds: the network is to run before.
            results = self._estimator.infer(estimates, self._hand_on)
        except Exception as err:
            results = [err] * len(estimates)
        outcome = iter(results)
        finished = []
        for frame in frames:
            result = None if frame.estimate is None else next(outcome)
            if isinstance(result, Exception):
                self._fail(frame.stream, result)
                self._free.put(frame.buffer)
            else:
                finished.append(frame)
        return finished

    # The third thread.

    def _publish(self) -> None:
        while (frames := self._inferred.get()) is not None:
            while frames:  # nothing holds the images while waiting for the next
                self._publish_and_free(frames.pop(0))

    def _publish_and_free(self, frame: _Frame) -> None:
        try:
            self._publish_frame(frame)
        except Exception as err:
            self._fail(frame.stream, err)
        self._free.put(frame.buffer)

    def _publish_frame(self, frame: _Frame) -> None:
        stream, values, alignment = frame.stream, frame.values, frame.alignment
        assert stream.outputs is not None
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
            try:
                stream.monitor.look(frame.estimate, frame.mount.mount)
            except Exception as err:  # the frame is published all the same
                text = f'monitor: {type(err).__name__}: {err}'
                stream.statistics.fail(text)
                log = self._node.get_logger()
                log.error(printable(text), throttle_duration_sec=_WARN_EVERY)
        stream.statistics.count('published')

    # Any.

    def _fail(self, stream: CameraStream, err: Exception) -> None:
        """Count a frame as dropped for an error."""
        if isinstance(err, (ImageError, EstimatorError)):
            stream.drop(err.reason, str(err))
        elif isinstance(err, CameraError):
            stream.drop('camera_info', str(err))
        elif isinstance(err, EngineError):
            stream.drop('engine', f'{err}; {_MEND_ENGINE}')
        elif not self._stopped and self._node.context.ok():
            stream.drop('internal', f'{type(err).__name__}: {err}; {_MEND_NODE}')

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The stages of replay: messages are read, decoded, given depth, and answered."""

from __future__ import annotations

import contextlib
import struct
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from mono_metric_depth.camera import Camera, CameraError, Mount
from mono_metric_depth.compressed_image import compressed_size, decode_compressed
from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.bag import deserialized, header_stamp
from mono_metric_depth.datasets.bag_storage import bag_messages
from mono_metric_depth.datasets.bag_topics import COMPRESSED_IMAGE, depth_namespace
from mono_metric_depth.datasets.calibrations import Calibrations
from mono_metric_depth.depth_estimate import DepthEstimate, EstimatorError, require_same_size
from mono_metric_depth.engines import EngineError
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.evaluation.depth_messages import OUTPUTS, DepthMessages
from mono_metric_depth.evaluation.prefetch import prefetched
from mono_metric_depth.image import ImageError, decode_message

#: How much later than its image a camera_info may have been received (ns).
INFO_DELAY = 10**8


@dataclass
class BagCamera:
    """A camera of the bag: its topics, calibrations, mount, and what makes its messages."""

    image: str
    kind: str
    info: str
    calibrations: Calibrations
    messages: DepthMessages
    mount: Mount | None = None

    @property
    def outputs(self) -> dict[str, str]:
        """Topic of each output."""
        return {output: f'{depth_namespace(self.image)}/{output}' for output in OUTPUTS}


@dataclass
class Item:
    """A message on its way; for an image, what has been made of it so far."""

    topic: str
    time: int
    data: bytes | memoryview
    camera: BagCamera | None = None
    header: Any = None
    info: Any = None
    view: Camera | None = None
    estimate: DepthEstimate | None = None
    coverage: float = 0.0
    answers: dict[str, bytes | memoryview] = field(default_factory=dict)
    reason: str = ''
    problem: str = ''

    def skip(self, reason: str, problem: object) -> None:
        """Give the image up: a word to count it under, and what is wrong."""
        self.reason, self.problem = reason, ' '.join(str(problem).split())


#: Messages on their way, from one stage to the next.
Items: TypeAlias = Generator[Item, None, None]


def replayed_messages(
    storage: Path,
    topics: Collection[str],
    cameras: Sequence[BagCamera],
    estimator: DepthEstimator,
    *,
    skip: int = 0,
    damage: list[str],
) -> Items:
    """The messages of a bag with what was made of them; each stage has a thread of its own.

    Args:
        storage: The bag.
        topics: Topics to read besides those of the cameras.
        cameras: The cameras.
        estimator: Used by nobody else meanwhile.
        skip: So many of the first messages are left out.
        damage: Takes a line for each place that could not be read.

    Yields:
        The messages, in the bag's order.
    """
    read = prefetched(_read(storage, topics, cameras, skip, damage))
    # Nothing but the network in its thread: what all the others do fits beside it.
    prepared = prefetched(_each(read, lambda item: _prepare(estimator, item)))
    inferred = prefetched(_each(prepared, lambda item: _infer(estimator, item)))
    yield from prefetched(_each(inferred, _answer))


def _read(
    storage: Path,
    topics: Collection[str],
    cameras: Sequence[BagCamera],
    skip: int,
    damage: list[str],
) -> Items:
    """The bag's messages; images wait for the camera_info of their stamp."""
    by_image = {camera.image: camera for camera in cameras}
    infos = {camera.info for camera in cameras}
    held: deque[Item] = deque()
    wanted = {*topics, *by_image, *infos}
    for topic, time, kind, data in bag_messages(storage, wanted, damage=damage):
        if topic in infos:
            _add_info(cameras, topic, kind, data)
        held.append(Item(topic, time, data, by_image.get(topic)))
        while held and _is_ready(held[0], time):
            if skip:
                skip -= 1
                held.popleft()
            else:
                yield _with_camera(held.popleft())
    for item in list(held)[skip:]:
        yield _with_camera(item)


def _add_info(
    cameras: Sequence[BagCamera], topic: str, kind: str, data: bytes | memoryview
) -> None:
    with contextlib.suppress(DatasetError):  # a damaged one
        message = deserialized(kind, data)
        for camera in cameras:
            if camera.info == topic:
                camera.calibrations.add(message)


def _each(items: Items, work: Callable[[Item], None]) -> Items:
    """Items of which those with an image are worked on."""
    with closing(items):
        for item in items:
            if item.camera is not None and not item.reason:
                work(item)
            yield item


def _is_ready(item: Item, now: int) -> bool:
    """Whether a message need not wait: no image, its camera_info has come, or none will."""
    if item.camera is None or now - item.time > INFO_DELAY:
        return True
    try:
        return item.camera.calibrations.has(header_stamp(item.data))
    except (IndexError, struct.error):
        return True


def _with_camera(item: Item) -> Item:
    if item.camera is not None:
        try:
            item.view, item.info = item.camera.calibrations.at(header_stamp(item.data))
        except (IndexError, struct.error):
            item.skip('message', 'damaged: it ends within its header')
        except CameraError as err:
            item.skip('camera_info', err)
    return item


def _prepare(estimator: DepthEstimator, item: Item) -> None:
    """Decode and align an image."""
    assert item.camera is not None
    assert item.view is not None
    camera = item.camera
    try:
        message = deserialized(camera.kind, item.data)
        item.header = message.header
        if camera.kind == COMPRESSED_IMAGE:
            file = bytes(message.data)
            require_same_size(*compressed_size(file, message.format), item.view)
            image = decode_compressed(file, message.format)
        else:
            image = decode_message(message)
        # Memory of its own: it outlives the next frame, in other threads.
        item.estimate = estimator.prepare(image, item.view, camera.mount, estimator.buffer())
    except (ImageError, EstimatorError) as err:
        item.skip(err.reason, err)
    except DatasetError as err:
        item.skip('message', err)


def _infer(estimator: DepthEstimator, item: Item) -> None:
    assert item.estimate is not None
    try:
        (result,) = estimator.infer([item.estimate])
    except EngineError as err:
        item.skip('engine', err)
        return
    if isinstance(result, EstimatorError):
        item.skip(result.reason, result)


def _answer(item: Item) -> None:
    assert item.camera is not None
    assert item.estimate is not None
    made = item.camera.messages.make(item.header, item.info, item.estimate)
    item.answers = {item.camera.outputs[output]: data for output, data in made.items()}
    item.coverage = item.estimate.alignment.coverage
    item.estimate = None

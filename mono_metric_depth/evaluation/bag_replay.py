# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Replay: the images of a bag through a network, a bag with their depth added out.

Every image is worked on, in the bag's order, and what comes out depends on what goes in alone.
Reading, decoding, the network, and the making of messages each have a thread; the caller's writes.
"""

from __future__ import annotations

import contextlib
import logging
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import StoragePlugin

from mono_metric_depth.camera import CameraError, Mount
from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.datasets.bag import deserialized, header_stamp
from mono_metric_depth.datasets.bag_storage import (
    bag_messages,
    bag_topics,
    declared_topics,
    storage_of,
)
from mono_metric_depth.datasets.bag_topics import (
    camera_topics,
    depth_namespace,
    image_topic,
    info_topic,
    require_stamps,
)
from mono_metric_depth.datasets.calibrations import Calibrations
from mono_metric_depth.datasets.split_bag import SplitBag
from mono_metric_depth.datasets.static_transforms import TF_STATIC, StaticTransforms
from mono_metric_depth.datasets.stored_topic import StoredTopic
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.evaluation.depth_messages import (
    OUTPUTS,
    STORE,
    DepthMessages,
    OutputOptions,
)
from mono_metric_depth.evaluation.replay_stages import BagCamera, Item, replayed_messages

_LOG = logging.getLogger(__name__)

#: So many frames without depth are named, the others counted.
_NAMED = 5
_NO_DIGEST = f'RIHS01_{"0" * 64}'


@dataclass
class Replayed:
    """What became of the images.

    Attributes:
        images: How many the bag holds.
        frames: How many were given depth.
        skipped: How many were not, by reason.
        named: The first of these, in words.
        coverage: Share of the canonical camera that each image topic's camera sees, summed over
            its images with depth, and how many these are.
        damage: Places of the bag that cannot be read.
        stopped: Whether it was ended before the bag was; another run goes on.
    """

    images: int = 0
    frames: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)
    coverage: dict[str, tuple[float, int]] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    stopped: bool = False


class BagReplay:
    """A bag, checked and ready to be replayed.

    Args:
        path: The bag's folder, or a single ``.mcap`` or ``.db3`` file.
        options: What to make of depth.
        images: Image topics; those of every camera if empty.
        leave_out: Topics of the bag, or of the outputs, that are not written.
        angles: ``pitch``, ``roll`` and ``yaw`` of the cameras (rad); those left out are as
            /tf_static says.
        rectified: Whether the images are rectified; if None, as their topic's name says.

    Attributes:
        images: How many images there are, by the bag's summary.
        cameras: Image topics, with their camera_info and mount.
        unchecked: Files that carry no checksums.

    Raises:
        DatasetError: If the bag cannot be read or has no usable camera, or a topic is not there.
    """

    def __init__(
        self,
        path: Path,
        options: OutputOptions,
        *,
        images: Sequence[str] = (),
        leave_out: Sequence[str] = (),
        angles: Mapping[str, float] | None = None,
        rectified: bool | None = None,
    ) -> None:
        self._path, self._storage = path, storage_of(path)
        topics = bag_topics(self._storage)
        try:
            chosen = [image_topic(self._storage, topics, name) for name in images] or [
                names[0] for names in camera_topics(self._storage, topics)
            ]
            if not chosen:
                image_topic(self._storage, topics, '')  # says why there is none
            self.cameras = [
                self._camera(name, topics, options, leave_out, rectified) for name in chosen
            ]
            self._topics = self._output_topics(topics, leave_out)
        except DatasetError as err:
            msg = f'{path}: {err}'
            raise DatasetError(msg) from err
        self.unchecked: list[Path] = []
        self._calibrate(topics, angles or {})
        self.images = sum(topics[camera.image].messages for camera in self.cameras)

    @staticmethod
    def _camera(
        name: str,
        topics: dict[str, StoredTopic],
        options: OutputOptions,
        leave_out: Sequence[str],
        rectified: bool | None,
    ) -> BagCamera:
        wanted = frozenset(
            output for output in OUTPUTS if f'{depth_namespace(name)}/{output}' not in leave_out
        )
        info = info_topic(topics, name)
        messages = DepthMessages(options, wanted)
        kind = topics[name].kind
        return BagCamera(name, kind, info, Calibrations(name, info, rectified), messages)

    def _output_topics(
        self, topics: dict[str, StoredTopic], leave_out: Sequence[str]
    ) -> list[StoredTopic]:
        added: dict[str, str] = {}
        for camera in self.cameras:
            for output, topic in camera.outputs.items():
                if topic in added:
                    listed = ', '.join(camera.image for camera in self.cameras)
                    msg = f'{listed} would share {topic}: choose some with --image-topic'
                    raise DatasetError(msg)
                if topic in topics:
                    msg = (
                        f'it has {topic} already: replay the recording that it was made from, or '
                        'remap that topic (ros2 bag convert)'
                    )
                    raise DatasetError(msg)
                added[topic] = OUTPUTS[output]
        unknown = sorted(set(leave_out) - topics.keys() - added.keys())
        if unknown:
            msg = f'no topic {unknown[0]} to leave out; there are {", ".join([*topics, *added])}'
            raise DatasetError(msg)
        return [
            *(_declared(t) for t in declared_topics(self._storage) if t.name not in leave_out),
            *(
                StoredTopic(name, kind, _definition(kind), STORE.hash_rihs01(kind))
                for name, kind in added.items()
                if name not in leave_out
            ),
        ]

    def _calibrate(self, topics: dict[str, StoredTopic], angles: Mapping[str, float]) -> None:
        """Read /tf_static, and the first calibration and the stamps of each camera."""
        transforms = StaticTransforms()
        static = {TF_STATIC} & topics.keys()
        damage: list[str] = []
        messages = bag_messages(self._storage, static, damage=damage, unchecked=self.unchecked)
        lost = bool(static)
        for _, _, kind, data in messages:
            lost = False
            with contextlib.suppress(DatasetError):  # a damaged one
                transforms.add(deserialized(kind, data))
        if lost and damage and not angles:
            msg = (
                f'{self._path}: /tf_static is lost to damage ({damage[0]}), and how cameras are '
                'mounted with it: give --pitch and --roll, 0 where they look along the road'
            )
            raise DatasetError(msg)
        for camera in self.cameras:
            with closing(bag_messages(self._storage, {camera.info})) as infos:
                for _, _, kind, data in infos:
                    with contextlib.suppress(DatasetError):
                        camera.calibrations.add(deserialized(kind, data))
                        break
            try:
                camera.calibrations.at(0)
            except CameraError as err:
                msg = f'{self._path}: {err}'
                raise DatasetError(msg) from err
            require_stamps(str(self._path), camera.image, self._stamps(camera.image))
            try:
                camera.mount = transforms.mount(camera.calibrations.frame)
            except CameraError as err:
                name = camera.image
                _LOG.warning('%s: its mount in /tf_static is not used: %s', name, err)
            if angles:
                camera.mount = replace(camera.mount or Mount(), **angles)

    def _stamps(self, topic: str) -> Iterator[int]:
        with closing(bag_messages(self._storage, {topic})) as messages:
            for *_, data in messages:
                with contextlib.suppress(IndexError, struct.error):  # a damaged one
                    yield header_stamp(data)

    def run(
        self,
        estimator: DepthEstimator,
        output: Path,
        storage: StoragePlugin,
        *,
        key: dict[str, Any],
        file_bytes: int,
        progress: Callable[[int], object] = lambda frames: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Replayed:
        """Replay it; goes on where an earlier run with the same key ended.

        Args:
            estimator: Used by nobody else meanwhile.
            output: Folder of the new bag.
            storage: Of its files.
            key: What the result depends on besides the bag; JSON values.
            file_bytes: A file of the new bag ends once it holds so many bytes of messages.
            progress: Called with a number of images that are done.
            stop: Asked between two messages whether to end here; what is done is kept.

        Returns:
            What became of the images, those of earlier runs included.

        Raises:
            DatasetError: If the output exists or was begun with something else, or no image can
                be given depth.
        """
        done = Replayed(images=self.images)
        written = {topic.name for topic in self._topics}
        with SplitBag(output, self._topics, key, storage) as bag:
            messages = 0
            if bag.note is not None:
                messages = bag.note['messages']
                done.frames, done.named = bag.note['frames'], list(bag.note['named'])
                done.skipped = Counter(bag.note['skipped'])
                done.coverage = dict(bag.note.get('coverage', {}))
                progress(done.frames + done.skipped.total())
            stages = replayed_messages(
                self._storage,
                written,
                self.cameras,
                estimator,
                skip=messages,
                damage=done.damage,
            )
            with closing(stages) as items:
                for item in items:
                    messages += 1
                    if item.topic in written:
                        bag.write(item.topic, item.time, item.data)
                    for topic, data in item.answers.items():
                        bag.write(topic, item.time, data)
                    if item.camera is not None:
                        self._count(item, done)
                        progress(1)
                    if bag.written >= file_bytes:
                        bag.end_file(_note(messages, done))
                    if stop():
                        bag.suspend(_note(messages, done))
                        done.stopped = True
                        return done
            if not done.frames:
                raise DatasetError(self._nothing(done))
            bag.finish(_note(messages, done))
        return done

    @staticmethod
    def _count(item: Item, done: Replayed) -> None:
        if not item.reason:
            done.frames += 1
            total, count = done.coverage.get(item.topic, (0.0, 0))
            done.coverage[item.topic] = total + item.coverage, count + 1
            return
        done.skipped[item.reason] += 1
        if len(done.named) < _NAMED:
            done.named.append(f'{item.topic} at {item.time * 1e-9:.3f} s: {item.problem}')

    def _nothing(self, done: Replayed) -> str:
        first = [*done.named, *done.damage, 'no image can be read'][0]
        return f'{self._path}: no image of {done.images} can be given depth; first: {first}'


def _note(messages: int, done: Replayed) -> dict[str, Any]:
    return {
        'messages': messages,
        'frames': done.frames,
        'skipped': dict(done.skipped),
        'named': done.named,
        'coverage': dict(done.coverage),
    }


def _declared(topic: StoredTopic) -> StoredTopic:
    """A topic as the bag declares it; old bags lack what can be told for known types alone."""
    known = topic.kind in STORE.types
    definition = topic.definition or (_definition(topic.kind) if known else '')
    digest = topic.digest or (STORE.hash_rihs01(topic.kind) if known else _NO_DIGEST)
    return topic._replace(definition=definition, digest=digest, messages=0)


def _definition(kind: str) -> str:
    return str(STORE.generate_msgdef(kind, ros_version=2)[0])

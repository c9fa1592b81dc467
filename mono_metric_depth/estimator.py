# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Image and camera in, metric depth out: one way through for node, replay and evaluation."""

from __future__ import annotations

import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mono_metric_depth.alignment import Alignment
from mono_metric_depth.camera import Camera, Mount
from mono_metric_depth.depth_estimate import (
    ASIDE_DEGREES,
    LEAST_COVERAGE,
    DepthEstimate,
    EstimatorError,
    FrameBuffer,
    coverage_warning,
    require_same_size,
)
from mono_metric_depth.engines import Engine
from mono_metric_depth.engines.network_image import write_network_image
from mono_metric_depth.engines.selection import open_engine
from mono_metric_depth.image import Image
from mono_metric_depth.model_card import ModelCard, ModelCardError, read_card
from mono_metric_depth.model_files import DEFAULT_MODEL

_LOG = logging.getLogger(__name__)
_ALIGNMENTS = 8
#: An output between this and its inverse divides and multiplies without overflow.
_USUAL = 1e-12


class DepthEstimator:
    """A network with its card, ready for frames of any camera.

    One thread may :meth:`prepare` frames while another :meth:`infer` s earlier ones; a third may
    use their estimates.

    Args:
        engine: Runs the network.
        card: The network's card.
        unscaled: Whether depth is in the network's own units rather than in metres, whatever
            scale the card has: for fitting one.
        cameras: How many cameras the frames come from; the alignments of so many are kept.

    Attributes:
        scale: What the network's own depth is multiplied by; 1 if ``unscaled``.

    Raises:
        ModelCardError: If depth is to be in metres and no scale was fitted.
    """

    def __init__(
        self, engine: Engine, card: ModelCard, *, unscaled: bool = False, cameras: int = 1
    ) -> None:
        self.scale = _applied_scale(card, unscaled)
        self.engine = engine
        self.card = card
        self._alignments: OrderedDict[tuple[Camera, Mount | None], Alignment] = OrderedDict()
        self._kept = _ALIGNMENTS + 2 * (cameras - 1)  # a second one for colours
        self._newest: tuple[Camera | None, Mount | None, Alignment | None] = (None,) * 3
        # An estimate resamples its colours in another thread.
        self._aligning = threading.RLock()
        self._buffer = self.buffer()
        camera = card.canonical_camera
        self._unusable = np.empty((2, camera.height, camera.width), np.bool_)

    @classmethod
    def load(
        cls,
        path: Path | str = DEFAULT_MODEL,
        *,
        engine: str = 'onnxruntime',
        precision: str = 'fp16',
        threads: int = 0,
        cameras: int = 1,
        unscaled: bool = False,
        say: Callable[[str], object] = _LOG.info,
        warn: Callable[[str], object] = _LOG.warning,
        on_step: Callable[[], object] = lambda: None,
    ) -> DepthEstimator:
        """Load a model and warm it up.

        Args:
            path: ONNX file with a card.
            engine: What runs it: see :func:`~mono_metric_depth.engines.selection.open_engine`.
            precision: Of a TensorRT engine.
            threads: Threads of an engine on CPUs; 0 for as many as there are cores.
            cameras: How many cameras the frames come from: most images to run at once, where the
                network takes more than one.
            unscaled: Whether depth is in the network's own units: for fitting a scale.
            say: Tells the operator what is done.
            warn: Tells the operator what is not as it should be.
            on_step: Called now and then while an engine is built; what it raises ends that.

        Returns:
            The estimator.

        Raises:
            ModelCardError: If the file is missing, damaged or has no valid card, or its scale was
                not fitted.
            EngineError: If the engine cannot load it, or is refused.
        """
        card = read_card(path)
        try:
            _applied_scale(card, unscaled)  # before an engine is built, which may take minutes
        except ModelCardError as err:
            msg = f'{path}: {err}'
            raise ModelCardError(msg) from err
        opened = open_engine(
            path,
            card,
            engine=engine,
            precision=precision,
            batch=cameras,
            threads=threads,
            say=say,
            warn=warn,
            on_step=on_step,
        )
        return cls(opened, card, unscaled=unscaled, cameras=cameras)

    def buffer(self) -> FrameBuffer:
        """Memory for one more frame to be worked on at the same time."""
        return FrameBuffer(self.card.canonical_camera)

    def alignment(self, camera: Camera, mount: Mount | None = None) -> Alignment:
        """The resampling for a camera; made once per camera and mount.

        Args:
            camera: The frame's camera.
            mount: Its attitude, where known; taken out if the card's canonical camera is levelled.

        Returns:
            The alignment.

        Raises:
            EstimatorError: If the camera sees next to nothing of the canonical camera.
        """
        camera_before, mount_before, alignment = self._newest
        if camera is camera_before and mount == mount_before and alignment is not None:
            return alignment
        asked = mount
        if not self.card.levelled or (mount is not None and mount.level):
            mount = None
        elif mount is not None:
            mount = Mount(mount.pitch, mount.roll, mount.yaw)
        alignment = self._alignment(camera, mount)
        if alignment.coverage < LEAST_COVERAGE:
            msg = coverage_warning(alignment.coverage, mount)
            if mount is not None and abs(math.degrees(mount.yaw)) >= ASIDE_DEGREES:
                msg += '; point it along the road, or let its yaw be 0: depth is less exact then'
            raise EstimatorError('coverage', msg)
        self._newest = (camera, asked, alignment)
        return alignment

    def _alignment(self, camera: Camera, mount: Mount | None) -> Alignment:
        key = (camera, mount)
        with self._aligning:
            if key not in self._alignments:
                canonical = self.card.canonical_camera
                self._alignments[key] = (
                    Alignment(camera, canonical)
                    if mount is None
                    else Alignment(
                        camera, canonical, mount.rotation(), self._alignment(camera, None)
                    )
                )
                if len(self._alignments) > self._kept:
                    self._alignments.popitem(last=False)
            self._alignments.move_to_end(key)
            return self._alignments[key]

    def estimate(
        self,
        image: Image,
        camera: Camera,
        mount: Mount | None = None,
        buffer: FrameBuffer | None = None,
    ) -> DepthEstimate:
        """Estimate depth.

        Args:
            image: The image.
            camera: The camera that took it.
            mount: The camera's attitude against the road, where known.
            buffer: Of :meth:`buffer`; the estimator's own if left out.

        Returns:
            The estimate, valid until the next call with the same buffer.

        Raises:
            EstimatorError: If image and camera differ in size, the camera sees next to nothing of
                the canonical camera, or the network's output is unusable.
            EngineError: If the runtime fails.
        """
        (result,) = self.estimate_batch([(image, camera, mount)], [buffer or self._buffer])
        if isinstance(result, EstimatorError):
            raise result
        return result

    def estimate_batch(
        self,
        frames: Sequence[tuple[Image, Camera, Mount | None]],
        buffers: Sequence[FrameBuffer],
    ) -> list[DepthEstimate | EstimatorError]:
        """Estimate depth of several frames, as many at once as the engine takes.

        Args:
            frames: Image, camera and mount of each, as :meth:`estimate` has them.
            buffers: One for each, of :meth:`buffer`.

        Returns:
            For each frame its estimate, or why there is none.

        Raises:
            EngineError: If the runtime fails.
        """
        results: list[DepthEstimate | EstimatorError] = []
        for (image, camera, mount), buffer in zip(frames, buffers, strict=True):
            try:
                results.append(self.prepare(image, camera, mount, buffer))
            except EstimatorError as err:
                results.append(err)
        places = [n for n, found in enumerate(results) if isinstance(found, DepthEstimate)]
        prepared = [found for found in results if isinstance(found, DepthEstimate)]
        for place, result in zip(places, self.infer(prepared), strict=True):
            results[place] = result
        return results

    def infer(
        self,
        prepared: Sequence[DepthEstimate],
        before_run: Callable[[], object] = lambda: None,
    ) -> list[DepthEstimate | EstimatorError]:
        """Run the network for frames of :meth:`prepare`, as many at once as the engine takes.

        Args:
            prepared: The frames, each with a buffer of its own.
            before_run: Called each time the network's input is written, before it runs.

        Returns:
            For each frame the same estimate, with depth, or why there is none.

        Raises:
            EngineError: If the runtime fails.
        """
        results: list[DepthEstimate | EstimatorError] = []
        batch = len(self.engine.input)
        for first in range(0, len(prepared), batch):
            frames = prepared[first : first + batch]
            for place, frame in enumerate(frames):
                write_network_image(frame.aligned, frame.alignment.seen, self.engine.input[place])
            before_run()
            self.engine.run(len(frames))
            for place, frame in enumerate(frames):
                try:
                    self._invert(self.engine.output[place, 0], frame)
                    results.append(frame)
                except EstimatorError as err:
                    results.append(err)
        return results

    def prepare(
        self, image: Image, camera: Camera, mount: Mount | None, buffer: FrameBuffer
    ) -> DepthEstimate:
        """Align a frame; another thread may :meth:`infer` earlier ones meanwhile.

        Args:
            image: The image.
            camera: The camera that took it.
            mount: The camera's attitude against the road, where known.
            buffer: Of :meth:`buffer`, in no other frame's use.

        Returns:
            The estimate, which has no depth yet.

        Raises:
            EstimatorError: If image and camera differ in size, or the camera sees next to nothing
                of the canonical camera.
        """
        require_same_size(image.width, image.height, camera)
        alignment = self.alignment(camera, mount)
        size = (alignment.canonical.height, alignment.canonical.width)
        shared = None
        if alignment.shared is not None:
            shared = buffer.shared.like(image.pixels, alignment.shared)
        with self._aligning:
            pixels = alignment.align(image.pixels, buffer.aligned.like(image.pixels, size), shared)
        aligned = Image(pixels, image.channels)

        def network_image() -> Image:
            if alignment.rotation is None:
                return aligned
            out = buffer.unrotated.like(image.pixels, size)
            with self._aligning:
                pixels = alignment.unrotate(image.pixels, shared, out)
            return Image(pixels, image.channels)

        return DepthEstimate(
            image, alignment, aligned, buffer.inverse_depth, self.card.depth_range, network_image
        )

    def _invert(self, output: NDArray[np.float32], estimate: DepthEstimate) -> None:
        """Scaled inverse depth of the network's output; NaN where that is no depth."""
        inverse = estimate.inverse_depth
        if output.min() > _USUAL and output.max() < 1 / _USUAL:  # almost always; NaN is neither
            if self.card.output_kind == 'depth':
                np.divide(np.float32(1.0 / self.scale), output, out=inverse)
            else:
                np.multiply(output, np.float32(1.0 / self.scale), out=inverse)
            return
        with np.errstate(divide='ignore', invalid='ignore', over='ignore', under='ignore'):
            if self.card.output_kind == 'depth':
                np.divide(np.float32(1.0 / self.scale), output, out=inverse)
            else:
                np.multiply(output, np.float32(1.0 / self.scale), out=inverse)
                inverse += 0.0  # -0 is infinitely far too
            # Not finite: unknown. Zero stays: infinitely far. Negative: no depth at all.
            unusable, other = self._unusable
            np.isfinite(inverse, out=unusable)
            np.logical_not(unusable, out=unusable)
            unusable |= np.signbit(inverse, out=other)
        np.copyto(inverse, np.float32(np.nan), where=unusable)
        unusable |= np.logical_not(estimate.alignment.seen, out=other)
        if unusable.all():
            msg = (
                'the network put out no usable depth (NaN, infinite or negative everywhere); try '
                'another engine or precision fp32, or train the network again'
            )
            raise EstimatorError('output', msg)


def _applied_scale(card: ModelCard, unscaled: bool) -> float:
    if unscaled:
        return 1.0
    if card.scale is None:
        msg = (
            f'the scale of model {card.name} was not fitted, so its depth is not in metres; fit '
            'it on drives with ground truth: fit_scale MODEL DRIVES --write'
        )
        raise ModelCardError(msg)
    return card.scale.value

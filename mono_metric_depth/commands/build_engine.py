# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``build_engine``: build a model's TensorRT engine, check it, and keep it for the node."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import re
import shlex
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mono_metric_depth.commands import errors_in_one_line, fail
from mono_metric_depth.datasets import (
    FrameSequence,
    drive_path,
    is_drive,
    open_sequence,
    sequence_names,
)
from mono_metric_depth.datasets.plain_images import plain_images
from mono_metric_depth.depth_estimate import EstimatorError
from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.built_engine import (
    engine_files,
    open_built_engine,
    stored_engine,
)
from mono_metric_depth.engines.cuda import find_gpu
from mono_metric_depth.engines.engine_cache import default_cache
from mono_metric_depth.engines.engine_request import EngineRequest
from mono_metric_depth.engines.precision import PRECISIONS
from mono_metric_depth.engines.selection import usable_tensorrt
from mono_metric_depth.engines.tensorrt_bindings import find_bindings
from mono_metric_depth.engines.tensorrt_plan import WORKSPACE, buildable_capabilities
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.evaluation.output_files import appearing
from mono_metric_depth.image import Image
from mono_metric_depth.model_card import read_card
from mono_metric_depth.model_files import DEFAULT_MODEL, model_file
from mono_metric_depth.mount_statistics import mean_mount

_MAX_BATCH = 64
#: Frames of the user's own drives that int8 is calibrated and engines are checked on.
_CALIBRATION, _CHECKED = 64, 16
#: Fewer different images say too little of the range of activations.
_LEAST_CALIBRATION = 8


def main(arguments: list[str] | None = None) -> None:
    """Build an engine."""
    with errors_in_one_line():
        try:
            _build(_options(arguments))
        except EngineError as err:
            fail(str(err))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='build_engine',
        description=__doc__,
        epilog='A DRIVE is a ROS 2 bag (BAG#/topic names the image topic), a folder of images or '
        'of the drive command, a DGP json or world:DOMAIN:SEED. Engines are machine code: they '
        "are only loaded from the user's own cache, never from elsewhere.",
    )
    parser.add_argument(
        'model', type=model_file, nargs='?', default=DEFAULT_MODEL, help='file, default or nano'
    )
    parser.add_argument('--precision', choices=PRECISIONS, default='fp16')
    parser.add_argument(
        '--batch', type=_batch, default=(1, 1), help='images at once, as 3 or 1..3 (default: 1)'
    )
    parser.add_argument(
        '--calibrate', metavar='DRIVE', nargs='+', help='show int8 the range of activations'
    )
    parser.add_argument(
        '--check', metavar='DRIVE', nargs='+', help='check the engine on these, too'
    )
    parser.add_argument(
        '--compute-capability',
        metavar='8.9',
        help='build for another GPU than the one here (TensorRT for RTX); checked when it runs',
    )
    parser.add_argument(
        '--workspace', type=int, default=WORKSPACE >> 20, help='MiB for a layer (default: 1024)'
    )
    parser.add_argument('--cache', type=Path, default=default_cache(), help='folder of engines')
    parser.add_argument('--output', type=Path, help='copy the engine here, for other programs')
    parser.add_argument('--again', action='store_true', help='build it even if it is there')
    options = parser.parse_args(arguments)
    if options.calibrate and options.precision != 'int8':
        fail(f'--calibrate is for --precision int8, not {options.precision}')
    if options.check and options.compute_capability:
        fail('--check needs the GPU: leave out --compute-capability')
    if not 1 <= options.workspace <= 1 << 20:
        fail(f'--workspace must be 1 to {1 << 20} MiB, got {options.workspace}')
    if options.output:
        _require_output(options.output)
    return options


def _require_output(path: Path) -> None:
    folder = path.absolute().parent
    if not folder.is_dir():
        fail(f'{path}: there is no such folder')
    if path.is_dir() or not os.access(folder, os.W_OK):
        fail(f'{path} cannot be written: it must be a file in a folder that can be written to')
    if path.suffix == '.onnx':
        fail(f'{path}: an engine is no ONNX file; give --output another ending, such as .engine')


def _build(options: argparse.Namespace) -> None:
    card = read_card(options.model)
    print(_use(options))
    gpu = None
    if options.compute_capability:
        bindings = find_bindings()
        capability = options.compute_capability
        known = buildable_capabilities(bindings)
        if bindings.rtx and capability not in known:
            fail(f'{bindings} builds for compute capability {", ".join(known)}, not {capability}')
        if not bindings.rtx and capability != find_gpu().compute_capability:
            fail(
                f'{bindings} builds for the GPU here alone (compute capability '
                f'{find_gpu().compute_capability}): run build_engine on the robot'
            )
    else:
        try:
            bindings, gpu = usable_tensorrt()
        except EngineError as err:
            fail(f'{err}. To build for a GPU elsewhere: --compute-capability 8.9 (pip extra rtx)')
        capability = gpu.compute_capability
    request = EngineRequest(
        options.model,
        card,
        bindings,
        capability,
        gpu,
        options.precision,
        options.batch,
        _calibration(options.model, options.calibrate) if options.calibrate else None,
        options.workspace << 20,
        options.cache,
        print,
    )
    if gpu is not None:
        checked = _inputs(options.model, options.check, _CHECKED) if options.check else None
        checked_on = ' '.join(options.check or ())
        engine = open_built_engine(
            request, frames=checked, checked_on=checked_on, anew=options.again
        )
        print(f'engine  {engine.name} on {engine.provider}')
        print(f'parity  {engine.parity}')
        engine.close()
        request = dataclasses.replace(request, calibration=None)
    cache, key, stored = stored_engine(request, anew=options.again and gpu is None)
    if stored.parity is not None and not stored.parity.passed:
        fail(f'the {request} was refused here: {"; ".join(stored.parity.findings)}')
    if stored.parity is None:
        print('not checked yet: that needs the GPU; the node does it when it first loads it')
    else:
        print(f'checked on {stored.checked_on}')
    print(f'kept    {cache.path(key)} ({stored.seconds:.1f} s to build)')
    if gpu is None:
        print(_way_there(request, engine_files(request, cache, key)))
    if options.output and stored.code is not None:
        with appearing(options.output) as part:
            part.write_bytes(stored.code)
        print(f'copied  {options.output}')


def _use(options: argparse.Namespace) -> str:
    """Which node takes the engine, if one does."""
    most, own = options.batch[1], default_cache()
    differing = [
        text
        for differs, text in (
            (options.batch[0] != 1, f'--batch {f"1..{most}" if most > 1 else 1}'),
            (options.workspace != WORKSPACE >> 20, f'--workspace {WORKSPACE >> 20}'),
            (
                options.cache.absolute() != own.absolute() and not options.compute_capability,
                f'--cache {own} (by XDG_CACHE_HOME)',
            ),
        )
        if differs
    ]
    if differing:
        return (
            'use     for other programs: depth_node builds an engine of its own. It takes those '
            f'built with {" ".join(differing)}'
        )
    cameras = 'one camera' if most == 1 else f'{most} cameras'
    return f'use     depth_node with {cameras}, precision:={options.precision}'


def _way_there(request: EngineRequest, files: list[Path]) -> str:
    """How an engine comes to the machine that it was built for."""
    folder = '.cache/mono_metric_depth/engines'  # below the home, where both commands arrive
    here, names = files[0].absolute().parent, ' '.join(path.name for path in files)
    return (
        f'to use it on a machine with a GPU of compute capability {request.compute_capability}, '
        f'{request.bindings} and {request.model.name}, bring it into the cache there:\n'
        f"  ssh ROBOT 'mkdir -p {folder} && chmod 700 {folder}'\n"
        f'  cd {shlex.quote(str(here))} && scp -p {names} ROBOT:{folder}/'
    )


def _batch(text: str) -> tuple[int, int]:
    match = re.fullmatch(r'(\d{1,3})(?:\.\.(\d{1,3}))?', text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= low <= high <= _MAX_BATCH:
        msg = f'must be 3 or 1..3, up to {_MAX_BATCH}, got {text!r}'
        raise argparse.ArgumentTypeError(msg)
    return low, high


def _calibration(model: Path, drives: list[str]) -> NDArray[np.uint8]:
    """What int8 is calibrated on."""
    inputs = _inputs(model, drives, _CALIBRATION)
    different = len({image.tobytes() for image in inputs})
    if different < _LEAST_CALIBRATION:
        fail(
            f'{" ".join(drives)}: int8 is calibrated on at least {_LEAST_CALIBRATION} different '
            f'images, this is {different}: whatever lies beyond the range of the activations that '
            'it is shown is cut off on the road. Give more images, of different places and light'
        )
    return inputs


def _inputs(model: Path, drives: list[str], count: int) -> NDArray[np.uint8]:
    """What an engine is given of frames spread evenly over drives."""
    estimator = DepthEstimator.load(model, unscaled=True)
    canonical = estimator.card.canonical_camera
    sequences: list[FrameSequence] = []
    for name in drives:
        images = plain_images(name, canonical)
        if images is None and not is_drive(name):
            there = drive_path(name)[0].exists()
            found = 'is no drive and holds no image' if there else 'is not there'
            fail(f'{name} {found}; give a drive, or a folder of plain images (PNG, JPEG) will do')
        if images is None:
            sequences += [open_sequence(drive) for drive in sequence_names(name)]
            continue
        sequences.append(images)
        print(
            f'{name}: no camera is known, so images are taken for as wide as the network sees, '
            f'{math.degrees(canonical.horizontal_fov):.0f} degrees; if they are much wider or '
            'narrower, write a camera.yaml: width, height, fx, fy, cx, cy (px)'
        )
    frames = [(drive, index) for drive in sequences for index in range(len(drive))]
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, count).astype(int))]
    inputs, refused = [], ''
    for drive, index in tqdm(chosen, desc='frames', unit='frame'):
        try:
            frame = drive[index]
            image = Image(frame.image, 'rgb')
            estimator.estimate(image, frame.camera, frame.mount or mean_mount(drive.mounts))
        except (ValueError, EstimatorError) as err:
            refused = str(err)
            continue
        inputs.append(estimator.engine.input[0].copy())
    if not inputs:
        fail(f'{" ".join(drives)}: no frame can be used; last: {refused or "there is none"}')
    if len(inputs) < len(chosen):
        print(f'left out {len(chosen) - len(inputs)} frames that cannot be used: {refused}')
    return np.stack(inputs)


if __name__ == '__main__':
    main()

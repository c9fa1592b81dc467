# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``import_model``: make a model of any depth network in ONNX, by giving it a card.

The scale is left to fit_scale: before that nothing here gives metres with the model.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mono_metric_depth.camera import Camera
from mono_metric_depth.card_description import describe_card
from mono_metric_depth.commands import errors_in_one_line, fail
from mono_metric_depth.datasets import open_sequence, sequence_names
from mono_metric_depth.datasets.plain_images import plain_images
from mono_metric_depth.engines import EngineError, Tensor
from mono_metric_depth.engines.onnxruntime import model_tensors
from mono_metric_depth.estimator import DepthEstimator
from mono_metric_depth.evaluation.output_kind import (
    ObservedOutput,
    observe_output,
    require_kind,
)
from mono_metric_depth.frame import Frame
from mono_metric_depth.model_card import (
    OUTPUT_KINDS,
    ModelCard,
    Normalisation,
    owns_card,
    write_card,
)

#: Frames looked at of each drive.
_FRAMES = 4
_IMAGENET = Normalisation()


def main(arguments: list[str] | None = None) -> None:
    """Import a network."""
    with errors_in_one_line():
        _import(arguments)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='import_model', description=__doc__)
    parser.add_argument('network', type=Path, help='ONNX file: one image in, depth out')
    parser.add_argument(
        'frames',
        nargs='*',
        help='what to look at its output with: drives (bags, folders, world:town:0), or images of '
        'a road and folders of them, taken for as wide as --fov; generated drives if left out',
    )
    parser.add_argument('--output', type=Path, required=True, help='the new model')
    parser.add_argument(
        '--output-kind',
        choices=OUTPUT_KINDS,
        required=True,
        help='what the network puts out; relative networks mostly inverse_depth',
    )
    camera = parser.add_mutually_exclusive_group(required=True)
    camera.add_argument(
        '--fov', type=float, help='horizontal field of view (degrees) to show it every image with'
    )
    camera.add_argument(
        '--canonical-camera',
        type=float,
        nargs=4,
        metavar=('FX', 'FY', 'CX', 'CY'),
        help='the same in pixels of its input, where it was trained for one focal length',
    )
    parser.add_argument('--size', help='WIDTHxHEIGHT of its input, such as 518x392, where free')
    parser.add_argument('--channels', choices=('rgb', 'bgr'), default=_IMAGENET.channels)
    parser.add_argument('--mean', type=float, nargs=3, default=_IMAGENET.mean, help='per channel')
    parser.add_argument('--std', type=float, nargs=3, default=_IMAGENET.std, help='per channel')
    parser.add_argument(
        '--full-scale', type=float, default=1.0, help='255 if mean and std are of 0..255'
    )
    parser.add_argument(
        '--depth-range', type=float, nargs=2, default=(0.5, 80.0), help='m, that it can tell'
    )
    parser.add_argument(
        '--levelled', action='store_true', help='take known mounting angles out of its images'
    )
    parser.add_argument('--output-name', help='where the network has several')
    parser.add_argument('--name', help='of the model; that of the file if left out')
    parser.add_argument('--licence', help='of the network, for the card')
    return parser.parse_args(arguments)


def _import(arguments: list[str] | None) -> None:
    options = _options(arguments)
    network, output = options.network, options.output
    if output.suffix != '.onnx':
        fail(f'--output must be an .onnx file, got {output}')
    if output.exists():
        fail(f'{output} exists already and stays as it is; choose another --output')
    if not output.absolute().parent.is_dir():
        fail(f'there is no folder {output.absolute().parent} to write {output.name} to')
    if owns_card(network):
        fail(f'{network} has a card already: it is a model as it is (model_card {network})')
    # In a folder of its own it shows whether it stands alone, and appears whole or not at all.
    with tempfile.TemporaryDirectory(dir=output.absolute().parent, prefix='.import.') as folder:
        part = Path(folder) / output.name
        shutil.copyfile(network, part)
        try:
            card = _card(options, part)
            write_card(part, card)
            estimator = _loaded(part, card.canonical_camera)
            observed = observe_output(estimator, _frames(options.frames, card.canonical_camera))
            estimator.engine.close()
            doubts = require_kind(observed, card.output_kind)
        except (EngineError, ValueError) as err:
            fail(' '.join(str(err).replace(str(part), str(network)).split()))
        try:
            os.link(part, output)  # unlike a rename, never in place of another file
        except FileExistsError:
            fail(f'{output} has appeared meanwhile and stays as it is; choose another --output')
    _report(card, observed, doubts, output)


def _loaded(path: Path, camera: Camera) -> DepthEstimator:
    try:
        return DepthEstimator.load(path, unscaled=True)
    except EngineError as err:
        size = f'{camera.width}x{camera.height}'
        msg = (
            f'{err}. The network was given images of {size}, and must put out depth of that size: '
            'if it takes one size alone, give that by --size WIDTHxHEIGHT; if its output is of '
            'another size than its input, export it with a Resize to that of the input at its end'
        )
        raise EngineError(msg) from err


def _card(options: argparse.Namespace, path: Path) -> ModelCard:
    inputs, outputs = model_tensors(path)
    if len(inputs) != 1:
        fail(
            f'the network takes {_listed(inputs)}; it must take the image alone: export it with '
            'everything else as a constant'
        )
    (image,) = inputs
    depth = _chosen(outputs, options.output_name)
    for name, tensor in ((image, inputs[image]), (depth, outputs[depth])):
        if tensor.kind != 'tensor(float)':
            fail(
                f'{name} of the network is {tensor.kind}; images and depth must be float32: '
                'export it in float32 (engines of lower precision are built from that)'
            )
    width, height = _size(options.size, inputs[image])
    _require_size(depth, outputs[depth], width, height, free=None in inputs[image].shape[2:])
    return ModelCard(
        name=options.name or options.output.stem,
        scale=None,
        canonical_camera=_camera(options, width, height),
        depth_range=tuple(options.depth_range),
        levelled=options.levelled,
        output_kind=options.output_kind,
        normalisation=_normalisation(options),
        input_name=image,
        output_name=depth,
        provenance={
            'imported from': options.network.name,
            'sha256': hashlib.sha256(path.read_bytes()).hexdigest(),
            **({'licence': options.licence} if options.licence else {}),
        },
    )


def _listed(tensors: dict[str, Tensor]) -> str:
    return ', '.join(f'{key} {list(tensor.shape)}' for key, tensor in tensors.items())


def _chosen(tensors: dict[str, Tensor], name: str | None) -> str:
    if name is None and len(tensors) != 1:
        fail(f'the network has several outputs; name one by --output-name: {_listed(tensors)}')
    if name is not None and name not in tensors:
        fail(f'the network has no output {name}; it has {_listed(tensors)}')
    return name or next(iter(tensors))


def _size(given: str | None, tensor: Tensor) -> tuple[int, int]:
    """Width and height of the input."""
    if len(tensor.shape) != 4 or tensor.shape[1] not in (3, None):
        fail(
            f'the network takes {list(tensor.shape)}; it must take images of three channels, '
            '(batch, 3, height, width)'
        )
    height, width = tensor.shape[2:]
    if given is not None:
        parts = given.lower().split('x')
        if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
            fail(f'--size must be WIDTHxHEIGHT, such as 518x392, got {given}')
        wanted = int(parts[0]), int(parts[1])
        if (width or wanted[0], height or wanted[1]) != wanted:
            fail(f'--size {given}, but the input of the network is {width}x{height}')
        return wanted
    if width is None or height is None:
        fail(
            'the network takes images of any size: choose one by --size WIDTHxHEIGHT (most take '
            'multiples of 32, transformers of their patch, often 14)'
        )
    return width, height


def _require_size(name: str, depth: Tensor, width: int, height: int, *, free: bool) -> None:
    """Refuse output that is known to have not one value for each pixel of the image."""
    shape = depth.shape
    fits = len(shape) in (2, 3, 4) and (len(shape) < 4 or shape[1] in (1, None))
    if fits and shape[-2] in (height, None) and shape[-1] in (width, None):
        return
    size = 'give --size WIDTHxHEIGHT as the network was exported for, or ' if free else ''
    fail(
        f'the output {name} is {list(shape)} for images of {width}x{height}; it must have one '
        f'value for each pixel of the image: {size}export the network with an output of the size '
        'of its input, such as by a Resize at its end'
    )


def _camera(options: argparse.Namespace, width: int, height: int) -> Camera:
    if options.canonical_camera is not None:
        return Camera(width, height, *options.canonical_camera)
    if not 1 <= options.fov <= 170:
        fail(f'--fov must lie within 1..170 degrees, got {options.fov:g}')
    focal = width / 2 / math.tan(math.radians(options.fov) / 2)
    return Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)


def _normalisation(options: argparse.Namespace) -> Normalisation:
    full = options.full_scale
    if not (math.isfinite(full) and full > 0):
        fail(f'--full-scale must be positive, got {full:g}')
    if max(map(abs, options.mean)) > full:
        fail(
            f'--mean {" ".join(f"{value:g}" for value in options.mean)} lies beyond 0..{full:g}: '
            'if it is of values in 0..255, add --full-scale 255'
        )
    mean, std = (tuple(value / full for value in values) for values in (options.mean, options.std))
    return Normalisation(options.channels, mean, std)


def _frames(names: list[str], canonical: Camera) -> Iterator[Frame]:
    names = names or ['world:town:1000x8', 'world:suburb:1000x8']
    for name in names:
        images = plain_images(name, canonical)
        drives = [images] if images else [open_sequence(drive) for drive in sequence_names(name)]
        for drive in drives:
            count = min(_FRAMES, len(drive))
            for index in np.linspace(0, len(drive) - 1, count).round().astype(int):
                yield drive[int(index)]


def _report(card: ModelCard, observed: ObservedOutput, doubts: list[str], output: Path) -> None:
    print(describe_card(card))
    with_what = 'true depth' if observed.with_truth else 'the rows of the image'
    print(
        f'output {observed.low:.4g} .. {observed.high:.4g}, median {observed.median:.4g} in '
        f'{observed.frames} frames; rank correlation of nearness {observed.nearness:+.2f}, '
        f'compared with {with_what}'
    )
    for doubt in doubts:
        print(f'found  {doubt}')
    print(f'wrote {output}; now fit its scale: fit_scale {output} DRIVES --write')


if __name__ == '__main__':
    main()

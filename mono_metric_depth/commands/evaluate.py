# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""``evaluate``: what models are worth on drives with ground truth, in a table and a report.

Goes on where it was stopped: the folder keeps every finished image. Several machines take a
--shard each; lay their folders together and run the same command without it. A drive that cannot
be read, or has no ground truth, is left out and named at the end, with exit status 1; a drive that
is not there ends it at once. The exit status is 3 if the numbers are written, but images of the
drives could not be read: they are counted by drive.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mono_metric_depth.commands import errors_in_one_line, fail
from mono_metric_depth.datasets import DatasetError
from mono_metric_depth.depth_estimate import EstimatorError
from mono_metric_depth.engines import EngineError
from mono_metric_depth.evaluation.candidates import (
    Candidate,
    control_candidate,
    model_candidates,
)
from mono_metric_depth.evaluation.drive_frames import DriveFrames, open_drives, shard
from mono_metric_depth.evaluation.evaluator import evaluate
from mono_metric_depth.evaluation.outcomes import UNREADABLE, Evaluation, failures
from mono_metric_depth.evaluation.output_files import appearing, json_text
from mono_metric_depth.evaluation.protocol import PROTOCOLS
from mono_metric_depth.evaluation.results import Results, as_json, gather
from mono_metric_depth.evaluation.tables import describe, describe_comparison, write_images
from mono_metric_depth.model_files import model_file
from mono_metric_depth.printable import printable
from mono_metric_depth.workers import WorkerError

_ERRORS = 'errors'
#: So many images that cannot be read, and drives with such, are named, the others counted.
_NAMED = 5
#: Exit status where numbers are written, but images were lost to damage.
_INCOMPLETE = 3


def main(arguments: list[str] | None = None) -> None:
    """Evaluate models."""
    try:
        with errors_in_one_line():
            _evaluate(arguments)
    except EngineError as err:
        fail(str(err))
    except WorkerError as err:
        fail(
            f'{err} (out of memory?); what was finished is kept: run the same command again, with '
            'fewer --processes'
        )


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='evaluate', description=__doc__)
    parser.add_argument(
        'models', nargs='+', type=model_file, metavar='MODEL', help='ONNX with a card'
    )
    parser.add_argument(
        '--data', nargs='+', required=True, metavar='DRIVE', help='drives with ground truth'
    )
    parser.add_argument('--protocol', choices=sorted(PROTOCOLS), default='all_pixels')
    parser.add_argument('--output', type=Path, default=Path('evaluation'), help='folder')
    parser.add_argument('--every', type=int, default=1, help='use only each N-th frame')
    parser.add_argument(
        '--control',
        nargs='*',
        metavar='DRIVE',
        help='drives whose median depth is the control without a network; the source named in '
        'the first model if left out, none if empty',
    )
    parser.add_argument(
        '--processes', type=int, default=os.cpu_count() or 1, help='one for each core if left out'
    )
    parser.add_argument('--shard', help='evaluate only this part of the frames, such as 2/8')
    options = parser.parse_args(arguments)
    for name in ('every', 'processes'):
        if getattr(options, name) < 1:
            fail(f'--{name} must be at least 1, got {getattr(options, name)}')
    if options.output.exists() and not options.output.is_dir():
        fail(f'{options.output} is no folder; choose another --output')
    return options


def _evaluate(arguments: list[str] | None) -> None:
    options = _options(arguments)
    part = _part(options.shard)
    # Bad input is refused before any work is done.
    candidates = model_candidates(options.models)
    protocol = PROTOCOLS[options.protocol]
    drives, failed = open_drives(options.data, options.every)
    for name, why in failed.items():
        print(f'left out: {failures({name: why})}')
    control = _control(candidates[0], options.control)
    if control is not None:
        candidates.append(control)
    todo, suffix = drives, ''
    if part is not None:
        todo, suffix = shard(drives, *part), f'.{part[0]}of{part[1]}'
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    frames = sum(len(drive.indices) for drive in todo)
    with tqdm(desc='evaluating', unit='frame', total=frames) as bar:
        evaluation = evaluate(
            candidates,
            todo,
            protocol,
            folder / _ERRORS,
            suffix=suffix,
            processes=options.processes,
            progress=bar.update,
        )
    evaluation.failed.update(failed)
    if part is None:
        evaluation.require_images(drives)
    for reason, images in evaluation.reasons().items():
        print(f'left out {len(images)} image{"s" * (len(images) > 1)}: {reason}')
        for image in images[: _NAMED if reason == UNREADABLE else 1]:
            print(f'  {printable(image.described)}')
    if part is not None:
        print(
            f'part {options.shard} is done; lay the {_ERRORS} folders of all parts together and '
            'run the same command without --shard'
        )
    else:
        results = gather(candidates, evaluation, drives, protocol)
        _print(results)
        command = shlex.join(['evaluate', *(sys.argv[1:] if arguments is None else arguments)])
        _write(results, folder, command)
    if evaluation.failed:
        count, total = len(evaluation.failed), len(drives) + len(failed)
        fail(f'{count} of {total} drives left out: {failures(evaluation.failed)}')
    if lost := _lost(evaluation, todo):
        print(f'error: images cannot be read and are left out: {lost}', file=sys.stderr)
        raise SystemExit(_INCOMPLETE)


def _lost(evaluation: Evaluation, drives: list[DriveFrames]) -> str:
    """How many images of which drives could not be read; empty if all could."""
    found = []
    for drive in drives:
        images = evaluation.reasons(drive.name).get(UNREADABLE, [])
        if lost := len(images) + drive.lost:
            total = len(drive.indices) + drive.lost
            found.append(f'{lost} of {total} of {printable(drive.name)}')
        elif drive.damage:
            found.append(f'nobody knows how many of {printable(drive.name)} ({drive.damage})')
    more = len(found) - _NAMED
    return '; '.join(found[:_NAMED]) + (f'; and of {more} more drives' if more > 0 else '')


def _part(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r'(\d{1,6})/(\d{1,6})', text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        fail(f'--shard must be a part such as 2/8, got {text!r}')
    return int(match[1]), int(match[2])


def _control(model: Candidate, drives: list[str] | None) -> Candidate | None:
    """The control; None, and why, where the model's source is not at hand."""
    named = model.card.provenance.get('source') if drives is None else drives
    if drives is not None and not drives:
        return None
    if not (isinstance(named, list) and named and all(isinstance(n, str) for n in named)):
        print(f'{model.name} names no source: no control without a network; give --control')
        return None
    try:
        return control_candidate(model, named, partial(tqdm, desc='control', unit='drive'))
    except (DatasetError, EstimatorError) as err:
        if drives is not None:
            raise
        print(f'no control without a network, give --control: {err}')
        return None


def _print(results: Results) -> None:
    print(results.protocol.describe())
    for warning in results.warnings:
        print(f'mind: {warning}')
    for result in [*results.models, *([results.control] if results.control else [])]:
        print(describe(result.summary))
    for comparison in results.comparisons:
        print(describe_comparison(comparison))


def _write(results: Results, folder: Path, command: str) -> None:
    everything = [*results.models, *([results.control] if results.control else [])]
    with appearing(folder / 'images.csv') as path:
        rows = [(r.candidate.name, r.stored, r.protocol, r.errors) for r in everything]
        write_images(path, rows)
    with appearing(folder / 'evaluation.json') as path:
        path.write_text(json_text(as_json(results)))
    written = ['images.csv', 'evaluation.json']
    try:
        from mono_metric_depth.evaluation.report import report
    except ImportError as err:
        print(f"no report: it needs {err.name}: pip install 'mono_metric_depth[report]'")
    else:
        with appearing(folder / 'report.html') as path:
            path.write_text(report(results, command), encoding='utf-8')
        written.append('report.html')
    print(f'wrote {", ".join(written)} in {folder.resolve()}')


if __name__ == '__main__':
    main()

# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Write docs/cpu_engines.md: how fast, and how exactly, each runtime computes depth on a CPU.

    pip install openvino
    python benchmark/cpu_engines.py

Each contestant lives in a process of its own, so that no runtime's threads spin while another one
is timed; they run in turns, and are compared round by round. Depth is compared with torch's in 32
bits on frames of generated drives that 8-bit networks were not calibrated on. Whatever else runs
disturbs two threads more than one: use an idle machine, or ``--real-time``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

PAGE = Path(__file__).parents[1] / 'docs' / 'cpu_engines.md'
REFERENCE = 'torch eager'
#: What auto takes where there is no GPU.
CHOSEN = 'OpenVINO'
#: Network, input size and whose weights. At another size than their own, shipped weights still
#: show what a runtime changes.
NETWORKS = (
    ('default', (256, 96), 'shipped'),
    ('nano', (256, 96), 'shipped'),
    ('default', (640, 192), 'shipped'),
    ('resnet18', (256, 96), 'random'),
)
#: On the default model; on others only those that compute in 32 bits without being compiled.
CONTESTANTS = (
    REFERENCE,
    'torch eager, channels last',
    'torch compiled',
    'ONNX Runtime',
    'ONNX Runtime, 16 bits',
    'ONNX Runtime, 8 bits',
    'ONNX Runtime, 8 bits, decoder in 32',
    'OpenVINO',
    'OpenVINO, bfloat16',
    'OpenVINO, 8 bits',
)
OTHERS = (REFERENCE, 'torch eager, channels last', 'ONNX Runtime', 'OpenVINO')
#: On the shipped model: ONNX Runtime as the package sets it, and with one thing changed.
SETTINGS = {
    'ONNX Runtime': {},
    'graph optimisation: extended (no blocked layout)': {'level': 'ORT_ENABLE_EXTENDED'},
    'graph optimisation: none': {'level': 'ORT_DISABLE_ALL'},
    'idle threads spin': {'session.intra_op.allow_spinning': '1'},
    'idle threads sleep': {'session.intra_op.allow_spinning': '0'},
    'memory arena off': {'arena': False},
    'memory pattern off': {'pattern': False},
    'denormals are zero': {'session.set_denormal_as_zero': '1'},
}
CALIBRATION, FRAMES = 24, 12
DRIVES = {CALIBRATION: 'world:suburb:1000-1002x40', FRAMES: 'world:suburb:1003x40'}
#: Runs of one turn, of which the first is not timed, and the pause after it (s).
BURST, PAUSE = 6, 0.15


@dataclass
class Result:
    """What a contestant did.

    Attributes:
        seconds: Wall time of each round's median run.
        cpu: Processor time likewise, of all threads.
        depth: (frames, h, w) its depth.
    """

    seconds: list[float]
    cpu: list[float]
    depth: np.ndarray


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument(
        '--real-time', action='store_true', help='run ahead of other programs; needs privileges'
    )
    options = parser.parse_args()
    rounds, real_time = options.rounds, options.real_time
    chosen, lines = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, size, weights) in enumerate(NETWORKS):
            whole = number == 0
            path = prepare(Path(folder) / str(number), name, size, weights, converted=whole)
            what = f'`{name}`, {size[0]}x{size[1]}, {weights} weights'
            for threads in (1, 2):
                contestants = CONTESTANTS if whole else OTHERS
                results = measure(path, contestants, threads, rounds, real_time)
                lines += ['', f'## {what}, {_in_words(threads)}', *_table(results)]
                chosen.append(_chosen(f'{what}, {_in_words(threads)}', results))
                _write(rounds, real_time, chosen, lines)
            for threads in (1, 2) if whole else ():
                results = measure(path, tuple(SETTINGS), threads, rounds, real_time)
                heading = f'## The same with other settings of ONNX Runtime, {_in_words(threads)}'
                lines += ['', heading, *_table(results, 'ONNX Runtime')]
                _write(rounds, real_time, chosen, lines)


def _write(rounds: int, real_time: bool, chosen: list[str], lines: list[str]) -> None:
    """The page, as far as it is known."""
    page = [
        '# Networks on a CPU',
        '',
        'Written by `python benchmark/cpu_engines.py`.',
        '',
        *_conditions(rounds, real_time),
        '',
        f'{CHOSEN} is what `engine: auto` takes without a GPU where it is installed:',
        '',
        f'| | times as fast as {REFERENCE} | depth off by, 99th percentile |',
        '|---|---:|---:|',
        *chosen,
        *lines,
    ]
    PAGE.write_text('\n'.join(page) + '\n')


def _chosen(what: str, results: dict[str, Result | str]) -> str:
    """A line on the engine that is taken."""
    base, ours = results[REFERENCE], results[CHOSEN]
    assert isinstance(base, Result), base
    if isinstance(ours, str):
        return f'| {what} | {ours} | |'
    error = np.abs(ours.depth / base.depth - 1)
    return f'| {what} | **{_faster(base, ours):.2f}** | {np.quantile(error, 0.99):.4%} |'


def _faster(base: Result, ours: Result) -> float:
    """How many times as fast; the median over rounds."""
    pairs = zip(base.seconds, ours.seconds, strict=True)
    return statistics.median(theirs / own for theirs, own in pairs)


def _in_words(threads: int) -> str:
    return '1 thread' if threads == 1 else f'{threads} threads'


def measure(
    folder: Path, names: tuple[str, ...], threads: int, rounds: int, real_time: bool
) -> dict[str, Result | str]:
    """Run contestants in turns; those that cannot run say why."""
    context = multiprocessing.get_context('spawn')
    os.environ['OMP_NUM_THREADS'] = str(threads)
    workers, results = {}, {}
    for name in tqdm(names, desc=f'{folder.name}, {threads} threads', unit='contestant'):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_work, args=(theirs, folder, name, threads, real_time), daemon=True
        )
        process.start()
        theirs.close()
        found = ours.recv()
        results[name] = found if isinstance(found, str) else Result([], [], found)
        workers[name] = process, ours
    for _ in tqdm(range(rounds), desc=f'{folder.name}, {threads} threads', unit='round'):
        for name, result in results.items():
            if isinstance(result, Result):
                time.sleep(PAUSE)
                workers[name][1].send(True)
                seconds, cpu = workers[name][1].recv()
                result.seconds.append(seconds)
                result.cpu.append(cpu)
    for process, pipe in workers.values():
        pipe.close()
        process.join(10)
    return results


def _work(pipe: Connection, folder: Path, name: str, threads: int, real_time: bool) -> None:
    """Say what depth a contestant computes, then time a burst whenever asked."""
    frames = np.load(folder / 'frames.npy')
    try:
        run = _contestant(folder, name, threads)
        depth = np.stack([run(frame[None]).reshape(frame.shape[1:]).copy() for frame in frames])
    except Exception as err:  # whatever keeps it from running goes into the table
        pipe.send(f'{type(err).__name__}: {str(err).splitlines()[0][:90]}')
        return
    pipe.send(depth)
    image = np.ascontiguousarray(frames[:1])
    try:
        while pipe.recv():
            times = []
            for _ in range(BURST):
                if real_time and len(times) == 1:  # by now its threads are all there
                    _schedule(os.SCHED_RR, 1)
                start, cpu = time.perf_counter(), time.process_time()
                run(image)
                times.append((time.perf_counter() - start, time.process_time() - cpu))
            if real_time:
                _schedule(os.SCHED_OTHER, 0)
            pipe.send([statistics.median(column) for column in zip(*times[1:], strict=True)])
    except EOFError:
        return


def _schedule(policy: int, priority: int) -> None:
    """Schedule all threads of this process; needs privileges."""
    for thread in Path('/proc/self/task').iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))


Run = Callable[[np.ndarray], np.ndarray]


def _contestant(folder: Path, name: str, threads: int) -> Run:
    runtime, _, how = name.partition(', ')
    file = folder / {'16 bits': '16.onnx', '8 bits': '8.onnx'}.get(how, '32.onnx')
    if how.endswith('decoder in 32'):
        file = folder / '8_encoder.onnx'
    if runtime.startswith('torch'):
        return _torch(folder, name, threads)
    if runtime == 'OpenVINO':
        shape = np.load(folder / 'frames.npy', mmap_mode='r').shape[1:]
        return _openvino(file, threads, 'bf16' if how == 'bfloat16' else 'f32', shape)
    return _onnxruntime(file, threads, SETTINGS.get(name, {}))


def _torch(folder: Path, name: str, threads: int) -> Run:
    import onnx
    import torch

    from mono_metric_depth.training.networks import build_depth_network

    torch.set_num_threads(threads)
    network = build_depth_network((folder / 'network').read_text()).eval()
    stored = {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(folder / '32.onnx').graph.initializer
    }
    entries = network.state_dict()
    network.load_state_dict({key: stored.get(key, value) for key, value in entries.items()})
    layout = torch.contiguous_format if name == REFERENCE else torch.channels_last
    network = network.to(memory_format=layout)
    forward: Any = torch.compile(network) if name == 'torch compiled' else network

    def run(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            pixels = torch.from_numpy(image).contiguous(memory_format=layout)
            return np.asarray(forward(pixels)[0].numpy())

    return run


def _onnxruntime(file: Path, threads: int, settings: dict[str, Any]) -> Run:
    import onnxruntime as ort

    from mono_metric_depth.engines.onnxruntime import session_options

    options = session_options(threads)
    for key, value in settings.items():
        if key == 'level':
            options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, value)
        elif key == 'arena':
            options.enable_cpu_mem_arena = value
        elif key == 'pattern':
            options.enable_mem_pattern = value
        else:
            options.add_session_config_entry(key, value)
    session = ort.InferenceSession(file, options, providers=['CPUExecutionProvider'])
    return lambda image: np.asarray(session.run(None, {'image': image})[0])


def _openvino(file: Path, threads: int, precision: str, shape: tuple[int, ...]) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    model.reshape([1, *shape])
    settings = {
        'INFERENCE_NUM_THREADS': threads,
        'INFERENCE_PRECISION_HINT': precision,
        'PERFORMANCE_HINT': 'LATENCY',
    }
    request = core.compile_model(model, 'CPU', settings).create_infer_request()

    def run(image: np.ndarray) -> np.ndarray:
        request.infer([image], share_inputs=True)
        return np.asarray(request.get_output_tensor(0).data)

    return run


def prepare(
    folder: Path, name: str, size: tuple[int, int], weights: str, *, converted: bool
) -> Path:
    """Frames, and the network in 32 bits, or in 32, 16 and 8."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    from onnxruntime.transformers.float16 import convert_float_to_float16

    from mono_metric_depth.model_card import read_card
    from mono_metric_depth.model_files import DEFAULT_MODEL, model_file
    from mono_metric_depth.training.export import export_onnx
    from mono_metric_depth.training.networks import build_depth_network
    from mono_metric_depth.training.networks.onnx_weights import load_network

    folder.mkdir()
    (folder / 'network').write_text(name)
    plain = folder / '32.onnx'
    model = model_file(name) if weights == 'shipped' else DEFAULT_MODEL
    card = read_card(model)
    network = load_network(model) if weights == 'shipped' else build_depth_network(name)
    camera = card.canonical_camera.resized(*size)
    export_onnx(network, dataclasses.replace(card, canonical_camera=camera, provenance={}), plain)
    card = read_card(plain)
    np.save(folder / 'frames.npy', _inputs(card, FRAMES))
    if not converted:
        return folder
    calibration = _inputs(card, CALIBRATION)
    onnx.save(convert_float_to_float16(onnx.load(plain), keep_io_types=True), folder / '16.onnx')
    folded = folder / 'folded.onnx'
    quant_pre_process(plain, folded, skip_symbolic_shape=True)

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.images, None)
            return None if image is None else {'image': image[None]}

    nodes = [node.name for node in onnx.load(folded, load_external_data=False).graph.node]
    first = next(index for index, node in enumerate(nodes) if 'pad' in node)
    last = max(index for index, node in enumerate(nodes) if 'conv' in node)
    for file, kept in (('8', nodes[last:]), ('8_encoder', nodes[first:])):
        quantize_static(
            folded,
            folder / f'{file}.onnx',
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            nodes_to_exclude=kept,
        )
    return folder


@functools.cache
def _rendered(count: int) -> list[Any]:
    """Frames spread over drives."""
    from mono_metric_depth.datasets import open_sequence, sequence_names

    sequences = [open_sequence(name) for name in sequence_names(DRIVES[count])]
    each = -(-count // len(sequences))
    return [
        sequence[int(index)]
        for sequence in tqdm(sequences, desc='rendering', unit='drive')
        for index in np.linspace(0, len(sequence) - 1, each).round().astype(int)
    ]


def _inputs(card: Any, count: int) -> np.ndarray:
    """(count, 3, h, w) float32: what a network is given of frames."""
    from mono_metric_depth.engines import Engine
    from mono_metric_depth.engines.network_image import CHANNELS, normalised
    from mono_metric_depth.estimator import DepthEstimator
    from mono_metric_depth.image import Image

    class Catch:
        """An engine that keeps what it is given."""

        def __init__(self) -> None:
            size = (card.canonical_camera.height, card.canonical_camera.width)
            self.name = self.provider = 'none'
            self.input = np.zeros((1, *size, CHANNELS), np.uint8)
            self.output = np.ones((1, 1, *size), np.float32)

        def run(self, images: int = 1) -> None:
            kept.append(normalised(self.input, card.normalisation))

        def warm_up(self) -> None: ...

        def close(self) -> None: ...

    kept: list[np.ndarray] = []
    engine: Engine = Catch()
    estimator = DepthEstimator(engine, card)
    for frame in _rendered(count):
        estimator.estimate(Image(frame.image, 'rgb'), frame.camera, frame.mount)
    return np.concatenate(kept)


def _table(results: dict[str, Result | str], reference: str = REFERENCE) -> list[str]:
    """Times and depth relative to a reference."""
    base = results[reference]
    assert isinstance(base, Result), base
    lines = [
        '',
        f'| | ms | fastest | processor ms | times as fast as {reference} | depth off by '
        '| 99th percentile | scale off by |',
        f'|---|{"---:|" * 7}',
    ]
    for name, result in results.items():
        if isinstance(result, str):
            lines.append(f'| {name} | {result} {"| " * 7}|')
            continue
        ratio = result.depth / base.depth
        error = np.abs(ratio - 1)
        cells = [
            name,
            f'{statistics.median(result.seconds) * 1e3:.1f}',
            f'{min(result.seconds) * 1e3:.1f}',
            f'{statistics.median(result.cpu) * 1e3:.1f}',
            f'{_faster(base, result):.2f}',
            *(f'{value:.4%}' for value in (np.median(error), np.quantile(error, 0.99))),
            f'{np.median(ratio) - 1:+.4%}',
        ]
        lines.append(f'| {" | ".join(cells)} |')
    return lines


def _conditions(rounds: int, real_time: bool) -> list[str]:
    import onnxruntime
    import torch

    processor = next(
        (
            line.split(':', 1)[1].strip()
            for line in Path('/proc/cpuinfo').read_text().splitlines()
            if line.startswith('model name')
        ),
        platform.processor(),
    )
    try:
        import openvino

        runtimes = f'OpenVINO {openvino.__version__.split("-")[0]}'
    except ImportError:
        runtimes = 'no OpenVINO'
    ahead = ' with real-time priority on a machine in use,' if real_time else ''
    return [
        f'{processor} ({platform.machine()}, {os.cpu_count()} cores), ONNX Runtime '
        f'{onnxruntime.__version__}, torch {torch.__version__.split("+")[0]}, {runtimes}. Batch '
        f'1, {rounds} rounds; in each, every contestant runs {BURST - 1} times,{ahead} one '
        'contestant after the other, each in a process of its own. Given are the median and the '
        "fastest of the rounds' median runs, the processor's time of all threads (waiting ones "
        'that spin included), and the median over rounds of the ratio of times within a round. '
        f'Depth is compared pixel by pixel on {FRAMES} frames of generated drives: median and '
        '99th percentile of the relative difference, and the median ratio less 1, which is what '
        f'it does to the one scalar. 8-bit networks were calibrated on {CALIBRATION} frames '
        'of other drives (per channel, symmetric weights, Q/DQ), their head in 32 bits. '
        'Random weights show how far runtimes differ, and nothing about depth.',
    ]


if __name__ == '__main__':
    main()

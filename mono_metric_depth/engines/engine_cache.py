# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""The cache of built engines: found by everything that could invalidate them, or built again.

An engine is machine code, made for one network, one TensorRT, one GPU and one batch. Beside each
lies a JSON file that says what it was made of, its SHA-256 and how it compares with its model. An
engine whose file is truncated, swapped or of another make is found out before TensorRT sees it.
None of this keeps out somebody who may write here: only engines in a folder that nobody else may
write to are used, and no other engine file is ever loaded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.cache_lock import held_lock
from mono_metric_depth.engines.cuda import Gpu
from mono_metric_depth.engines.own_files import read_own, require_own_folder, write_own
from mono_metric_depth.engines.parity import Parity, parity_from_json
from mono_metric_depth.printable import printable

#: Changes with what this package does to a network before it is built, and asks of parity.
_RECIPE = 3
_MAX_DESCRIPTION = 1 << 20


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    Attributes:
        model_sha256: Of the ONNX file as it came, without its metadata: a card with another scale
            changes no engine.
        network_sha256: Of the ONNX file that the engine is built from, converted or not; likewise.
        precision: ``fp32``, ``fp16`` or ``int8``.
        runtime: ``tensorrt`` or ``tensorrt_rtx``.
        runtime_version: Its version.
        gpu: The GPU's name; empty where an engine holds for all of a compute capability.
        processors, memory_class: As :class:`~mono_metric_depth.engines.cuda.Gpu` has them; 0
            likewise.
        compute_capability: Such as ``8.7``.
        batch: Least and largest number of images at once.
        input: Name and (3, height, width) of the input.
        output: Name and (1, height, width) of the output.
        camera: The canonical camera's fx, fy, cx, cy, through which it is checked.
        output_kind: What the output is, by the card.
        normalisation: Channels, means and deviations that are built into it.
        workspace: The builder's limit (bytes).
    """

    model_sha256: str
    network_sha256: str
    precision: str
    runtime: str
    runtime_version: str
    gpu: str
    processors: int
    memory_class: int
    compute_capability: str
    batch: tuple[int, int]
    input: tuple[str, int, int, int]
    output: tuple[str, int, int, int]
    camera: tuple[float, float, float, float]
    output_kind: str
    normalisation: tuple[str | float, ...]
    workspace: int

    def values(self) -> dict[str, Any]:
        """As JSON gives them back."""
        found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return {'recipe': _RECIPE, **found}

    def digest(self) -> str:
        """Names the engine's files."""
        return hashlib.sha256(json.dumps(self.values(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class StoredEngine:
    """An engine in the cache.

    Attributes:
        code: The serialised engine; None for one that was refused.
        parity: How it compares with its model; None while the GPU has not run it.
        seconds: How long it took to build.
        subject: What was compared: SHA-256 of the engine, versions of the library, the driver
            and CUDA, and which GPU. One that holds for other GPUs, too, is checked on each.
        checked_on: What it was compared on, in words.
    """

    code: bytes | None
    parity: Parity | None
    seconds: float
    subject: Mapping[str, str] = dataclasses.field(default_factory=dict)
    checked_on: str = ''


def default_cache() -> Path:
    """The user's own cache folder, by the XDG base directory specification."""
    base = os.environ.get('XDG_CACHE_HOME') or Path('~/.cache').expanduser()
    return Path(base) / 'mono_metric_depth' / 'engines'


def parity_subject(key: EngineKey, code: bytes, gpu: Gpu) -> dict[str, str]:
    """What a parity belongs to.

    Args:
        key: Of the engine.
        code: The engine.
        gpu: The GPU that it runs on.
    """
    return {'engine_sha256': sha256(code), **_place(key, gpu)}


def _place(key: EngineKey, gpu: Gpu) -> dict[str, str]:
    """Where an engine runs: another driver may compute otherwise."""
    return {
        'runtime_version': key.runtime_version,
        'gpu': gpu.name,
        'processors': str(gpu.processors),
        'memory_class': str(gpu.memory_class),
        'driver': gpu.driver,
        'cuda': gpu.cuda,
    }


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def has_engines(folder: Path, name: str) -> bool:
    """Whether engines of a model of this name were ever built into a folder."""
    return any(folder.glob(f'{_file_name(name)}-*.engine'))


def _file_name(name: str) -> str:
    return ''.join(c if c.isalnum() or c in '-_.' else '_' for c in name)[:64]


class EngineCache:
    """A folder of engines.

    Args:
        folder: The folder; made if it does not exist.
        name: Begins the files' names; people look at them.

    Raises:
        EngineError: If somebody else may write to the folder, or it cannot be made.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._name = _file_name(name)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as err:
            msg = f'{folder}: no engine can be kept there: {err.strerror}; set XDG_CACHE_HOME'
            raise EngineError(msg) from err
        require_own_folder(folder)

    def path(self, key: EngineKey) -> Path:
        """Where the engine of a key lies, or would."""
        return self.folder / f'{self._name}-{key.precision}-{key.digest()[:16]}.engine'

    def file(self, purpose: str) -> Path:
        """Where something else lies that belongs to engines, such as a timing cache."""
        return self.folder / f'{self._name}-{purpose}'

    def files(self, key: EngineKey, made_from: Path | None) -> list[Path]:
        """What another machine's cache has to hold for the engine of a key to be found there.

        Args:
            key: The engine's.
            made_from: The converted network that it was built from, if it was.
        """
        path = self.path(key)
        converted = [] if made_from is None else [made_from, _beside(made_from)]
        return [path, path.with_suffix('.json'), *converted]

    def find(self, key: EngineKey, gpu: Gpu | None = None) -> tuple[StoredEngine | None, str]:
        """Look for an engine, and look at it. Nothing is written.

        Args:
            key: What it must have been made of.
            gpu: The GPU that it is to run on; a parity that was measured on another one, with
                another engine, library or driver, does not count. None where it is not at hand.

        Returns:
            The engine, or None and why there is none.

        Raises:
            EngineError: If somebody else may have written it.
        """
        path = self.path(key)
        found, why = self._description(path.with_suffix('.json'))
        if found is None:
            return None, why or self._nearest(key)
        if found.get('key') != key.values():
            return None, f'{path.name} was built for something else'
        try:
            parity = None if found['parity'] is None else parity_from_json(found['parity'])
            size, digest, seconds = found['bytes'], found['sha256'], float(found['seconds'])
            subject = {str(name): str(value) for name, value in found['subject'].items()}
            checked_on = printable(str(found['checked_on']), 200)
        except (AttributeError, KeyError, TypeError, ValueError) as err:
            return None, f'{path.with_suffix(".json").name} is damaged: {err}'
        place = {} if gpu is None else _place(key, gpu)
        own = place == {name: subject.get(name) for name in place} and gpu is not None
        if parity is not None and not parity.passed:
            if own:
                return StoredEngine(None, parity, seconds, subject, checked_on), ''
            there = f'{subject.get("gpu")}, driver {subject.get("driver")}'
            return None, f'it was refused on {printable(there, 100)}'
        try:
            code = read_own(path)
        except OSError as err:
            return None, f'{path.name} cannot be read: {err.strerror}'
        if len(code) != size:
            return None, f'{path.name} has {len(code)} bytes of {size}'
        if sha256(code) != digest:
            return None, f'{path.name} is not the engine that was built: its SHA-256 differs'
        if not own or subject.get('engine_sha256') != digest:
            parity, subject, checked_on = None, {}, ''
        return StoredEngine(code, parity, seconds, subject, checked_on), ''

    def store(self, key: EngineKey, stored: StoredEngine) -> None:
        """Keep an engine, in place of any other of its key; refused ones without their code.

        Raises:
            EngineError: If it cannot be written.
        """
        path = self.path(key)
        description = {
            'key': key.values(),
            'bytes': None if stored.code is None else len(stored.code),
            'sha256': None if stored.code is None else sha256(stored.code),
            'seconds': round(stored.seconds, 3),
            'subject': dict(stored.subject),
            'checked_on': stored.checked_on,
            'parity': None if stored.parity is None else dataclasses.asdict(stored.parity),
        }
        if stored.code is None:
            path.unlink(missing_ok=True)
        else:
            write_own(path, stored.code)
        # Last: an engine without one that names its SHA-256 does not count.
        write_own(path.with_suffix('.json'), json.dumps(description, indent=1).encode())

    def describe(self, path: Path, made_of: Mapping[str, str]) -> None:
        """Remember what a file of the cache was made of, and its SHA-256.

        Raises:
            EngineError: If it cannot be read or this cannot be written.
        """
        try:
            content = read_own(path)
        except OSError as err:
            msg = f'{path} cannot be read: {err.strerror}'
            raise EngineError(msg) from err
        described = {'made_of': _made_of(made_of), 'sha256': sha256(content)}
        write_own(_beside(path), json.dumps(described, indent=1).encode())

    def holds(self, path: Path, made_of: Mapping[str, str]) -> tuple[bool, str]:
        """Whether a file is there as :meth:`describe` saw it, made of the same.

        Returns:
            Whether it is; and what is wrong with it, where something is.

        Raises:
            EngineError: If somebody else may have written it.
        """
        found, why = self._description(_beside(path))
        if found is None or found.get('made_of') != _made_of(made_of):
            return False, why
        try:
            content = read_own(path)
        except FileNotFoundError:
            return False, ''
        except OSError as err:
            return False, f'{path.name} cannot be read: {err.strerror}'
        if found.get('sha256') != sha256(content):
            return False, f'{path.name} is not what was written: its SHA-256 differs'
        return True, ''

    def building(
        self,
        what: str,
        say: Callable[[str], object] = lambda text: None,
        on_step: Callable[[], object] = lambda: None,
    ) -> AbstractContextManager[None]:
        """Wait until nobody else builds an engine here; see :func:`held_lock`.

        Two that are built at once would spoil each other's measurements.
        """
        return held_lock(self.folder / '.lock', what, say, on_step)

    def _description(self, path: Path) -> tuple[dict[str, Any] | None, str]:
        """What lies beside an engine; None, with a reason where there is something wrong."""
        try:
            found = json.loads(read_own(path, _MAX_DESCRIPTION))
        except FileNotFoundError:
            return None, ''
        except OSError as err:
            return None, f'{path.name} is damaged: {err.strerror}'
        except (ValueError, RecursionError) as err:
            return None, f'{path.name} is damaged: {err}'
        if not isinstance(found, dict):
            return None, f'{path.name} is damaged: it holds no object'
        return found, ''

    def _nearest(self, key: EngineKey) -> str:
        """What has changed since the engine that is most like the one wanted."""
        wanted = key.values()
        least: list[str] | None = None
        for path in self.folder.glob(f'{self._name}-*.json'):
            found, _ = self._description(path)
            have = (found or {}).get('key')
            if not isinstance(have, dict):
                continue
            changes = [
                f'{name} differs'
                if name.endswith('sha256')
                else f'{name} is {wanted[name]}, was {have.get(name)}'
                for name in wanted
                if have.get(name) != wanted[name]
            ]
            if least is None or len(changes) < len(least):
                least = changes
        return '; '.join(least) if least else 'none was built yet'


def _made_of(made_of: Mapping[str, str]) -> dict[str, Any]:
    return {'recipe': _RECIPE, **made_of}


def _beside(path: Path) -> Path:
    return path.with_name(f'{path.name}.json')

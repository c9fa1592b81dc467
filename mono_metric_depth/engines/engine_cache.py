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
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mono_metric_depth.engines import EngineError
from mono_metric_depth.engines.parity import Parity, parity_from_json

#: Changes with what this package does to a network before it is built, and asks of parity.
_RECIPE = 2
_MAX_DESCRIPTION = 1 << 20


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    Attributes:
        model_sha256: Of the ONNX file as it came.
        network_sha256: Of the ONNX file that the engine is built from, converted or not.
        precision: ``fp32``, ``fp16`` or ``int8``.
        runtime: ``tensorrt`` or ``tensorrt_rtx``.
        runtime_version: Its version.
        gpu: The GPU's name; empty where an engine holds for all of a compute capability.
        compute_capability: Such as ``8.7``.
        batch: Least and largest number of images at once.
        input: Name and (3, height, width) of the input.
        output: Name and (1, height, width) of the output.
        workspace: The builder's limit (bytes).
    """

    model_sha256: str
    network_sha256: str
    precision: str
    runtime: str
    runtime_version: str
    gpu: str
    compute_capability: str
    batch: tuple[int, int]
    input: tuple[str, int, int, int]
    output: tuple[str, int, int, int]
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
        parity: How it compares with its model; None while no GPU has run it.
        seconds: How long it took to build.
    """

    code: bytes | None
    parity: Parity | None
    seconds: float


def default_cache() -> Path:
    """The user's own cache folder, by the XDG base directory specification."""
    base = os.environ.get('XDG_CACHE_HOME') or Path('~/.cache').expanduser()
    return Path(base) / 'mono_metric_depth' / 'engines'


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
        self._name = ''.join(c if c.isalnum() or c in '-_.' else '_' for c in name)[:64]
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as err:
            msg = f'{folder}: no engine can be kept there: {err.strerror}; set XDG_CACHE_HOME'
            raise EngineError(msg) from err
        _require_own(folder)

    def path(self, key: EngineKey) -> Path:
        """Where the engine of a key lies, or would."""
        return self.folder / f'{self._name}-{key.precision}-{key.digest()[:16]}.engine'

    def file(self, purpose: str) -> Path:
        """Where something else lies that belongs to engines, such as a timing cache."""
        return self.folder / f'{self._name}-{purpose}'

    def find(self, key: EngineKey) -> tuple[StoredEngine | None, str]:
        """Look for an engine, and look at it.

        Args:
            key: What it must have been made of.

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
        except (KeyError, TypeError, ValueError) as err:
            return None, f'{path.with_suffix(".json").name} is damaged: {err}'
        if parity is not None and not parity.passed:
            return StoredEngine(None, parity, seconds), ''
        try:
            _require_own(path)
            if path.stat().st_size != size:
                return None, f'{path.name} has {path.stat().st_size} bytes of {size}'
            code = path.read_bytes()
        except OSError as err:
            return None, f'{path.name} cannot be read: {err.strerror}'
        if hashlib.sha256(code).hexdigest() != digest:
            return None, f'{path.name} is not the engine that was built: its SHA-256 differs'
        return StoredEngine(code, parity, seconds), ''

    def store(self, key: EngineKey, stored: StoredEngine) -> None:
        """Keep an engine, in place of any other of its key; refused ones without their code.

        Raises:
            EngineError: If it cannot be written.
        """
        path = self.path(key)
        description = {
            'key': key.values(),
            'bytes': None if stored.code is None else len(stored.code),
            'sha256': None if stored.code is None else hashlib.sha256(stored.code).hexdigest(),
            'seconds': round(stored.seconds, 3),
            'parity': None if stored.parity is None else dataclasses.asdict(stored.parity),
        }
        try:
            if stored.code is None:
                path.unlink(missing_ok=True)
            else:
                self.write(path, stored.code)
            # Last: an engine without one that names its SHA-256 does not count.
            self.write(path.with_suffix('.json'), json.dumps(description, indent=1).encode())
        except OSError as err:
            msg = f'{path}: the engine cannot be kept: {err.strerror}'
            raise EngineError(msg) from err

    def write(self, path: Path, content: bytes) -> None:
        """Write a file that appears whole or not at all, for its owner alone."""
        descriptor, name = tempfile.mkstemp(dir=self.folder, prefix='.', suffix='.part')
        try:
            with os.fdopen(descriptor, 'wb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @contextmanager
    def building(self) -> Iterator[None]:
        """Wait until nobody else builds an engine here, and keep others waiting.

        Two that are built at once would spoil each other's measurements.
        """
        with (self.folder / '.lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _description(self, path: Path) -> tuple[dict[str, Any] | None, str]:
        """What lies beside an engine; None, with a reason where there is something wrong."""
        try:
            _require_own(path)
            with path.open('rb') as file:
                content = file.read(_MAX_DESCRIPTION)
            found = json.loads(content)
        except FileNotFoundError:
            return None, ''
        except (OSError, ValueError, RecursionError) as err:
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


def _require_own(path: Path) -> None:
    """Refuse what somebody else may have written."""
    status = path.stat()
    if status.st_uid not in {os.getuid(), 0}:
        msg = f'{path} belongs to another user: an engine is machine code; remove it or own it'
        raise EngineError(msg)
    if status.st_mode & 0o022:
        msg = f'{path} can be written by others: an engine is machine code; chmod go-w {path}'
        raise EngineError(msg)

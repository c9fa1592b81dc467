# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""Names and signatures of TensorRT's real Python bindings, without TensorRT's libraries.

The bindings of TensorRT 10 and 11 (wheels of 1 MB that ``make test`` unpacks) are linked against
libraries that only NVIDIA has. A copy of the module in which every name to be linked is one that
the C library has can be imported, and tells what it holds; nothing in it can be called. The
bindings of TensorRT for RTX are whole.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: JetPack 6.2, JetPack 7.2, the newest, and TensorRT for RTX.
VERSIONS = ('10.3.0', '10.16.1.11', '11.4.0.106', 'rtx')

#: Classes with the arguments of each method, enumerations with their values.
_READ = r"""
import importlib, json, re, sys
module = importlib.import_module(sys.argv[1])

def arguments(text):
    found, depth, last = [], 0, ''
    for sign in text + ',':
        depth += (sign in '([<') - (sign in ')]>')
        if sign == ',' and not depth:
            name, mark, default = last.strip().partition(' = ')
            name, _, kind = name.partition(': ')
            if name != 'self':
                found.append([name, kind, bool(mark)])
            last = ''
        else:
            last += sign
    return [argument for argument in found if argument[0]]

def overloads(name, method):
    lines = re.findall(rf'^(?:\d+\. )?{name}\((.*)\) ->', method.__doc__ or '', re.M)
    return [arguments(line) for line in lines]

api = {}
for name, item in vars(module).items():
    if not isinstance(item, type):
        continue
    if hasattr(item, '__members__'):
        api[name] = {key: int(value) for key, value in item.__members__.items()}
    else:
        api[name] = {
            key: overloads(key, getattr(item, key)) if callable(getattr(item, key)) else None
            for key in dir(item) if key == '__init__' or not key.startswith('_')
        }
severity = module.ILogger.Severity
api['ILogger.Severity'] = {key: int(value) for key, value in severity.__members__.items()}
print(json.dumps({'version': module.__version__, 'classes': api}))
"""


def require_rtx() -> None:
    """Skip a test where TensorRT for RTX is not installed."""
    for name in ('tensorrt_rtx_bindings', 'onnxruntime_ep_nv_tensorrt_rtx'):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not there: pip install '.[rtx]' (Linux x86-64)")


@functools.cache
def tensorrt_api(version: str) -> dict[str, Any]:
    """``version`` and ``classes`` of one of :data:`VERSIONS`; skips a test where it is not."""
    with tempfile.TemporaryDirectory() as folder:
        if version == 'rtx':
            require_rtx()
        wheel = Path(sys.prefix) / 'tensorrt' / version / 'tensorrt_bindings'
        if version == 'rtx':
            code = 'from mono_metric_depth.engines.tensorrt_bindings import find_bindings\n'
            code += 'find_bindings()\n'
            module = 'tensorrt_rtx_bindings'
        elif wheel.is_dir():
            code, module = '', 'tensorrt_bindings'
            _unlink(shutil.copytree(wheel, Path(folder) / module))
        else:
            pytest.skip(f'{wheel.parent} is not there: make test unpacks it')
        path = os.pathsep.join((folder, str(ROOT)))
        done = subprocess.run(
            [sys.executable, '-c', code + _READ, module],
            env={**os.environ, 'PYTHONPATH': path},
            capture_output=True,
            text=True,
            check=True,
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _unlink(folder: Path) -> None:
    """Let a module be imported where the libraries that it is linked against are missing."""
    library = folder / 'tensorrt.so'
    code = library.read_bytes()

    def replace(pattern: bytes, by: bytes) -> bytes:
        return re.sub(pattern, lambda match: by.ljust(len(match[0]), b'\0'), code)

    code = replace(rb'libnv\w+\.so\.\d+\0', b'libm.so.6')
    names = rb'create(?:Infer|NvOnnx)\w+_INTERNAL|get(?:Builder)?PluginRegistry'
    names += rb'|getNvOnnxParserVersion|initLibNvInferPlugins'
    code = replace(rb'(?:' + names + rb')\0', b'getpid')
    library.write_bytes(code)

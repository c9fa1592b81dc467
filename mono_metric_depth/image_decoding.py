# Copyright 2026 The mono_metric_depth Authors
# SPDX-License-Identifier: Apache-2.0
"""OpenCV's JPEG and PNG decoders, and what they say of damaged images.

The libraries within them write that to standard error, and OpenCV passes none of it on: a JPEG
that ends in the middle comes back as if it were whole, grey where nothing was, and whoever sends
many of these fills the log. So they decode in threads whose standard error is a file of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_STDERR = 2
_CLONE_FILES = 0x400
_MOST_SAID = 4096
_threads: ThreadPoolExecutor | None = None
_thread = threading.local()


def decode(data: bytes, flags: int) -> tuple[NDArray[Any] | None, str | None]:
    """Decode an image.

    Args:
        data: A file.
        flags: Of cv2.imdecode.

    Returns:
        Its pixels, None if it cannot be decoded; and what the decoder said, '' if nothing. None
        where a thread may not have descriptors of its own (other systems than Linux, some
        containers): that goes to standard error instead.

    Raises:
        cv2.error: If OpenCV refuses it.
    """
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(os.cpu_count(), 'decode', _take_own_descriptors)
    return _threads.submit(_decode, data, flags).result()


def _forget_threads() -> None:
    """A forked process has none of them."""
    global _threads
    _threads = None


os.register_at_fork(after_in_child=_forget_threads)


def _take_own_descriptors() -> None:
    """Give this thread descriptors of its own, and of these standard error alone."""
    _thread.listens = False
    try:
        if ctypes.CDLL(None).unshare(_CLONE_FILES) != 0:
            return
        said = os.memfd_create('said')
        os.dup2(said, _STDERR)
        # Else what others close would stay open here.
        for number in [int(path.name) for path in Path('/proc/thread-self/fd').iterdir()]:
            if number > _STDERR:
                with contextlib.suppress(OSError):  # that of the listing is closed by now
                    os.close(number)
    except (AttributeError, OSError):
        return
    _thread.listens = True


def _decode(data: bytes, flags: int) -> tuple[NDArray[Any] | None, str | None]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    finally:
        said = '' if _thread.listens else None
        if _thread.listens and os.lseek(_STDERR, 0, os.SEEK_CUR):
            said = os.pread(_STDERR, _MOST_SAID, 0).decode(errors='replace').strip()
            os.ftruncate(_STDERR, 0)
            os.lseek(_STDERR, 0, os.SEEK_SET)
    return pixels, said

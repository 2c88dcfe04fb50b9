"""Keeps freed memory in the process: a training step asks for the same few megabytes again and again.

glibc would give each large block back to the kernel and have every page of it zeroed at the next step, which takes a
tenth to a third of a step on several threads. Decided against: another allocator, which a user would have to preload.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of ``mallopt`` in glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Have malloc reuse freed blocks of up to a gigabyte; nothing where the C library is not glibc."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)

"""Decoded images on disk, so that the next trial does not decode them again.

A file is called ``<key>-<CRC-32 of the pixels>.npy``: the key says what was decoded, the checksum whether the file is
whole. A file that is damaged is as good as none. Files are put in place by a rename and never changed, so any number
of trials may read, and even build, the same one.

A cache that cannot be written costs time and nothing else: the trial goes on and its log says so.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

_log = logging.getLogger(__name__)


def cached(folder: str, key: str, shape: tuple[int, ...], decode: Callable[[], np.ndarray]) -> np.ndarray:
    """The uint8 array that ``decode`` makes, memory-mapped and read-only if the cache has it.

    Args:
        folder: Made if need be; empty: no cache.
        key: Equal exactly where ``decode`` would give the same array.
        shape: Of the array.
        decode: What it raises passes through, and nothing is cached then.
    """
    if not folder:
        return decode()
    for path in sorted(Path(folder).glob(f"{key}-*.npy")):
        if (found := _read(path, shape)) is not None:
            return found
    pixels = decode()
    try:
        _write(Path(folder), key, pixels)
    except OSError as error:
        _log.warning("decoded images are not cached, %s cannot be written: %s", folder, error.strerror or error)
    return pixels


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array, or None if the file is damaged."""
    try:
        pixels = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    whole = pixels.dtype == np.uint8 and pixels.shape == shape and path.stem.endswith(_checksum(pixels))
    return pixels if whole else None


def _write(folder: Path, key: str, pixels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("wb") as file:
            np.save(file, pixels)
        temporary.replace(folder / f"{key}-{_checksum(pixels)}.npy")
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _checksum(pixels: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(pixels).data):08x}"

"""Decoded images on disk, so that the next trial does not decode them again.

An array's file is called ``<key>-<CRC-32>.npy``: the key says what was decoded, the checksum whether the file is
whole. A file that is damaged is as good as none. Files are put in place by a rename and never changed, so any number
of trials may map the same one. A lock on ``<key>.lock`` has the others wait while one decodes; the kernel drops it
with its process, however that ends.

The checksum is of the whole array up to a gigabyte, and of images spread evenly over larger ones: reading tens of
gigabytes at each start would cost more than the trial that a flipped bit spoils.

A cache that cannot be written costs time and nothing else: the trial goes on and its log says so. Without one, what
is too large for memory is decoded into a file that has no name and goes with the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import os
import tempfile
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

Rows = Iterator[tuple[int, np.ndarray]]
"""Each row of an array with its place, in any order."""

_IN_MEMORY = 2**30
"""Bytes, of an array that is kept in memory where there is no cache."""
_CHECKED = 2**30
"""Bytes, of the part of an array that its checksum covers."""

_log = logging.getLogger(__name__)


class _CannotWriteError(Exception):
    """A file of the cache cannot be written; says why."""


def cached(
    folder: str, key: str, shape: tuple[int, ...], make: Callable[[], Rows], dtype: Any = np.uint8
) -> np.ndarray:
    """The array whose rows ``make`` gives, memory-mapped if the cache has it or can take it.

    Writing to a mapped array changes this process's copy and never the file.

    Args:
        folder: Made if need be; empty: no cache.
        key: Equal exactly where ``make`` would give the same array.
        shape: Of the array.
        make: Gives every row once; what it raises passes through, and nothing is cached then.
        dtype: Of the array.
    """
    if folder:
        try:
            with locked(folder, key) as alone:
                found = _found(folder, key, shape, dtype)
                temporary = Path(folder, f"{key if alone else uuid.uuid4().hex}.tmp")
                return _written(temporary, key, shape, make, dtype) if found is None else found
        except _CannotWriteError as error:
            _log.warning("decoded images are not cached, %s cannot be written: %s", folder, error)
    return _uncached(shape, make, dtype)


def cached_text(folder: str, key: str, make: Callable[[], str]) -> str:
    """As ``cached``, for a text; a file that is damaged fails its checksum too."""
    if not folder:
        return make()
    path = Path(folder, f"{key}.txt")
    with locked(folder, key):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            checksum, _, text = path.read_text("utf-8").partition("\n")
            if checksum == f"{zlib.crc32(text.encode()):08x}":
                return text
        text = make()
        with contextlib.suppress(OSError), _replacing(path) as file:
            file.write(f"{zlib.crc32(text.encode()):08x}\n{text}".encode())
        return text


@contextlib.contextmanager
def locked(folder: str, key: str) -> Iterator[bool]:
    """Hold the lock of ``key``; False where the folder or its file system has no locks.

    Who holds it may write to a temporary name made of the key, and so over what a killed process has left there.
    """
    with contextlib.ExitStack() as stack:
        alone = False
        with contextlib.suppress(OSError):
            Path(folder).mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(Path(folder, f"{key}.lock").open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
            alone = True
        yield alone


def _found(folder: str, key: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray | None:
    """The whole array of that key, if there is one."""
    for path in sorted(Path(folder).glob(f"{key}-????????.npy")):
        try:
            array = np.load(path, mmap_mode="c")
        except (OSError, ValueError, EOFError):
            continue
        if array.dtype == dtype and array.shape == shape and path.stem.endswith(_checksum(array)):
            return array
    return None


def _written(temporary: Path, key: str, shape: tuple[int, ...], make: Callable[[], Rows], dtype: Any) -> np.ndarray:
    try:
        with _writing():
            file = temporary.open("w+b")
        with file:
            with _writing():
                header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(file, header)
            _fill(file, file.tell(), shape, make, dtype)
        with _writing():
            array: np.ndarray = np.load(temporary, mmap_mode="c")
            temporary.replace(temporary.with_name(f"{key}-{_checksum(array)}.npy"))
        return array
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _uncached(shape: tuple[int, ...], make: Callable[[], Rows], dtype: Any) -> np.ndarray:
    """In memory, or in a file without a name."""
    if math.prod(shape) * np.dtype(dtype).itemsize > _IN_MEMORY:
        try:
            with _unnamed() as file:
                _fill(file, 0, shape, make, dtype)
                return np.memmap(file, dtype, "c", shape=shape)
        except _CannotWriteError as error:
            _log.warning("decoded images stay in memory, %s cannot take them: %s", tempfile.gettempdir(), error)
    array = np.empty(shape, dtype)
    for place, row in make():
        array[place] = row
    return array


def _unnamed() -> IO[bytes]:
    with _writing():
        return tempfile.TemporaryFile()


def _fill(file: IO[bytes], start: int, shape: tuple[int, ...], make: Callable[[], Rows], dtype: Any) -> None:
    """Write rows where they belong; not through a map, where a full disk would end the process."""
    size = math.prod(shape[1:]) * np.dtype(dtype).itemsize
    with _writing():
        file.truncate(start + shape[0] * size)
    for place, row in make():
        with _writing():
            file.seek(start + place * size)
            file.write(np.ascontiguousarray(row, dtype).data)
    with _writing():
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _CannotWriteError(error.strerror or str(error)) from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file in the place of ``path`` once all is written."""
    temporary = path.with_name(f"{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _checksum(array: np.ndarray) -> str:
    checksum = 0
    for row in array[:: 1 + array.nbytes // _CHECKED]:
        checksum = zlib.crc32(np.ascontiguousarray(row).data, checksum)
    return f"{checksum:08x}"

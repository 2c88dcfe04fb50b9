"""CIFAR-10 and CIFAR-100 as they are published: pickled batches in one folder, extracted or in their archive.

The batches are read here and not through torchvision, whose only check is the MD5 of the published archives: it
refuses every other set in this layout (fewer images, corrected labels), calls a half-downloaded one "not found or
corrupted", and unpickles whatever it finds. Here each file must be there, whole, of the right shape and with labels
in range; a cut-off pickle does not load. Unpickling is restricted to arrays and plain values, so that a data set is
never a program.
"""

from __future__ import annotations

import _codecs
import pickle
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from graphtrial.data.files import Files, find_files
from graphtrial.data.images import DataError, Part

_SIDE = 32
_PLANES = (3, _SIDE, _SIDE)


class _Layout(NamedTuple):
    folder: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: str
    classes: int


_LAYOUTS = {
    "CIFAR10": _Layout(
        "cifar-10-batches-py",
        "cifar-10-python.tar.gz",
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        ("test_batch",),
        "labels",
        10,
    ),
    "CIFAR100": _Layout("cifar-100-python", "cifar-100-python.tar.gz", ("train",), ("test",), "fine_labels", 100),
}


def find_cifar(dataset: str, path: Path, *, cache: str) -> Files:
    """The files of ``CIFAR10`` or ``CIFAR100``: in their folder, below torchvision's root, or in an archive.

    Raises:
        DataError: If they are in none of these, or the archive is damaged.
    """
    layout = _LAYOUTS[dataset]
    expected = f"give {layout.folder}, the folder above it, {layout.archive} or another tar of it"
    # A search reads no test images, so that only the training's tell the root.
    return find_files(path, layout.train[:1], (layout.folder,), expected, cache=cache)


def read_cifar(dataset: str, files: Files, *, train: bool) -> Part:
    """The training or the test images of ``CIFAR10`` or ``CIFAR100``.

    Raises:
        DataError: If a file is missing, cut off or not what it should be.
    """
    layout = _LAYOUTS[dataset]
    names = layout.train if train else layout.test
    if missing := [name for name in names if name not in files.entries]:
        where = files.where(missing[0])
        message = f"{where} is missing: the set is incomplete; download it again, or extract the whole archive"
        raise DataError(message)
    found = {name: _read_batch(files.where(name), source, layout) for name, source in files.each(names)}
    batches = [found[name] for name in names]
    pixels = np.concatenate([pixels for pixels, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    return Part(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), labels, layout.classes)


def _read_batch(where: str, source: Path | IO[bytes], layout: _Layout) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [n, 3, 32, 32] and int64 [n]."""
    expected = f"expected a pickled batch of {layout.folder}: 'data' uint8 [n, 3072] and '{layout.labels}' of length n"
    try:
        with source.open("rb") if isinstance(source, Path) else source as file:
            batch = _ArrayUnpickler(file, encoding="latin1").load()
        pixels, labels = batch["data"], np.asarray(batch[layout.labels], dtype=np.int64)
        if pixels.dtype != np.uint8 or pixels.shape != (*labels.shape, _SIDE * _SIDE * 3) or not len(labels):
            message = f"{where}: 'data' is {pixels.dtype} {list(pixels.shape)} for {len(labels)} labels; {expected}"
            raise DataError(message)
    except (DataError, OSError):
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        message = f"{where} is cut off or no CIFAR batch ({error!r}); {expected}; download it again"
        raise DataError(message) from error
    if labels.min() < 0 or labels.max() >= layout.classes:
        message = f"{where}: labels reach from {labels.min()} to {labels.max()}; expected 0 to {layout.classes - 1}"
        raise DataError(message)
    return pixels.reshape(-1, *_PLANES), labels


_RECONSTRUCT = np.empty(0).__reduce__()[0]
_FROM_BUFFER = np.empty(0).__reduce_ex__(5)[0]
_SCALAR = np.int64(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _codecs.encode,
}


class _ArrayUnpickler(pickle.Unpickler):
    """Loads arrays, lists, dictionaries, text and numbers; nothing that could run code."""

    def __init__(self, file: IO[bytes], *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        """One of the few constructors that arrays need."""
        if (module, name) not in _ALLOWED:
            message = f"{module}.{name} does not belong in a CIFAR batch"
            raise pickle.UnpicklingError(message)
        return _ALLOWED[module, name]

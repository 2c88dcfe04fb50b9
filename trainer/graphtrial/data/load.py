"""From what a manifest says about data to the images of one trial."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import numpy as np
import torch
from torch import Tensor

from graphtrial.contract import DATASETS, Checkpoint, Data, Split, image_side
from graphtrial.data.cifar import find_cifar, read_cifar
from graphtrial.data.class_folders import CLASS_FOLDERS
from graphtrial.data.digits import read_digits
from graphtrial.data.files import find_files
from graphtrial.data.images import DataError, ImageSet, Part, TrialData, failure, sums_of
from graphtrial.data.listing import read_listed
from graphtrial.data.matlab_lists import MATLAB_LISTS
from graphtrial.data.own_sets import read_own
from graphtrial.data.splitting import labelled_of, search_split, unlabelled_of
from graphtrial.data.text_lists import TEXT_LISTS
from graphtrial.storage import StorageError

_LAYOUTS = {**CLASS_FOLDERS, **TEXT_LISTS, **MATLAB_LISTS}
_FIXED_SIZE = frozenset({"digits", "CIFAR10", "CIFAR100"})
"""Sets of arrays, which nothing resizes."""
_LARGE = 64
"""Side up to which images are kept as networks see them; larger ones are kept with room for crops."""
_COPIED = 256 * 2**20
"""Bytes of a set that is copied out of its memory map: no other trial's reading can evict it then."""
_LEAST_STD = 1 / 255


def load(
    data: Data, split: Split, *, unlabelled: bool = False, cache: str = "", server: Checkpoint | None = None
) -> TrialData:
    """The images that a trial trains on and those that it is scored on.

    In a search the test images are not even read. In ``Full`` nothing is held out of the training images; where only
    some are labelled, they are those of the search, so that no label is used beyond the number asked for.

    Args:
        data: Which data set, and how it is split.
        split: Search or Full.
        unlabelled: Whether the images without labels are wanted too.
        cache: A folder for decoded images and copies from S3, shared by trials; empty: none is kept.
        server: Where the trial saves: the S3 server of ``s3://`` data too, unless the environment names another.

    Raises:
        DataError: If the data cannot be used as asked.
        StorageError: If this machine cannot read or keep them now.
        Unreachable: If they lie on S3 and the server does not answer.
    """
    _check(data)
    with _local(data, cache, server) as path:
        part, test = _parts(data, path, split, cache)
    _check_part(data, part)
    labels = torch.from_numpy(part.labels)
    everything = torch.arange(len(labels))
    searched = test is None or data.labelled is not None
    rest, held_out = search_split(labels, data, part.class_names) if searched else (everything, everything)
    seen = _seen(data, part)
    evaluation = _select(test, torch.arange(len(test.labels)), seen) if test else _select(part, held_out, seen)
    indices = labelled_of(rest, labels, data)
    others = unlabelled_of(everything if test else rest, indices, data) if unlabelled else None
    mean, std = _statistics(part, indices)
    train_digest = _digest(data.dataset, seen, part, indices)
    other_digest = "" if others is None else _digest(data.dataset, seen, part, others)
    return TrialData(
        train=_select(part, indices, seen),
        evaluation=evaluation,
        classes=part.classes,
        channels=part.pixels.shape[-1],
        image_size=seen,
        mean=mean,
        std=std,
        train_digest=train_digest,
        content_digest=_content_digest(train_digest + other_digest, part, indices, others),
        unlabelled=None if others is None else _select(part, others, seen),
    )


def _check(data: Data) -> None:
    if data.dataset in _FIXED_SIZE and data.image_size not in (None, DATASETS[data.dataset].image_size):
        size = DATASETS[data.dataset].image_size
        message = f"data.imageSize: images of {data.dataset} have {size} pixels a side; leave it out"
        raise DataError(message)


def _check_part(data: Data, part: Part) -> None:
    if len(np.unique(part.labels)) < 2:
        message = (
            f"data.uri: all {len(part.labels)} training images of {data.uri or data.dataset} are of one class; "
            f"there is nothing to learn from fewer than two"
        )
        raise DataError(message)


def _seen(data: Data, part: Part) -> int:
    """Side of the images that networks see."""
    return part.pixels.shape[1] if data.dataset in _FIXED_SIZE else _size(data)


def _size(data: Data) -> int:
    return image_side(data.dataset, data.image_size)


def _stored(size: int) -> int:
    """Side at which images are kept: 256 pixels for 224 (spec 7.2)."""
    return size if size <= _LARGE else round(size * 256 / 224)


@contextlib.contextmanager
def _local(data: Data, cache: str, server: Checkpoint | None) -> Iterator[Path | None]:
    """The folder or file that ``data.uri`` names, as long as the block runs; None where none is needed."""
    if data.uri.startswith("s3://"):
        from graphtrial.data.remote import local_copy  # boto3 takes longer to import than a small trial to start

        with local_copy(data.uri, cache, server) as path:
            yield path
    elif data.dataset == "digits" or (not data.uri and data.dataset not in DATASETS):
        yield None
    else:
        yield _path(data)


class _Reader(Protocol):
    """Reads the training or the test images."""

    def __call__(self, *, train: bool) -> Part: ...


def _parts(data: Data, path: Path | None, split: Split, cache: str) -> tuple[Part, Part | None]:
    """The training images, and in ``Full`` the test images."""
    try:
        read = _reader(data, path, cache)
        part, test = read(train=True), read(train=False) if split is Split.FULL else None
    except OSError as error:
        raise _unreadable(error, data) from error
    if test and test.labels.max() >= part.classes:
        message = f"data.uri: a test image of {data.dataset} has class {test.labels.max()}; training has {part.classes}"
        raise DataError(message)
    return part, test


def _unreadable(error: OSError, data: Data) -> DataError | StorageError:
    where = error.filename or data.uri
    return failure(error, f"data.uri: {where} cannot be read: {error.strerror or error}; check disk and permissions")


def _reader(data: Data, path: Path | None, cache: str) -> _Reader:
    if data.dataset == "digits":
        return read_digits
    if data.dataset not in DATASETS:
        return partial(read_own, data.dataset, path, _stored(_size(data)), sized=data.image_size is not None)
    assert path is not None
    if data.dataset not in _LAYOUTS:
        return partial(read_cifar, data.dataset, find_cifar(data.dataset, path, cache=cache))
    layout = _LAYOUTS[data.dataset]
    files = find_files(path, layout.markers, layout.folders, layout.expected, cache=cache)
    own = data.dataset == "ImageFolder"
    sized = data.image_size is not None or not own
    return partial(read_listed, layout.list_images(files), _stored(_size(data)), cache=cache, own=own, sized=sized)


def _path(data: Data) -> Path:
    """The folder or file that ``data.uri`` names, which exists."""
    parts = urlsplit(data.uri)
    if not data.uri:
        message = f"data.uri: is required for {data.dataset}: a path, file:// or s3:// URI"
        raise DataError(message)
    path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(data.uri).expanduser()
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a zero byte in the path
        message = f"data.uri: no such file or folder: {path}"
        raise DataError(message) from error
    except OSError as error:
        raise _unreadable(error, data) from error
    return path


def _select(part: Part, indices: Tensor, seen: int) -> ImageSet:
    """These images, in the memory map where they are many."""
    labels = torch.from_numpy(part.labels)[indices]
    if isinstance(part.pixels, np.memmap) and part.pixels[0].nbytes * len(indices) > _COPIED:
        return ImageSet(torch.from_numpy(part.pixels).permute(0, 3, 1, 2), labels, rows=indices, side=seen)
    images = torch.from_numpy(part.pixels[indices.numpy()]).permute(0, 3, 1, 2)
    return ImageSet(images, labels, side=seen)


def _statistics(part: Part, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, exact whatever the order of summation.

    A channel that is nearly constant gets a standard deviation of one grey level, so that normalising stays finite.
    """
    chosen = indices.numpy()
    sums = np.stack(list(sums_of(part.pixels[chosen]))) if part.sums is None else part.sums[chosen]
    count = len(chosen) * part.pixels[0, ..., 0].size
    totals = [(int(total), int(squares)) for total, squares in sums.sum(0).T]
    mean = torch.tensor([total / (255 * count) for total, _ in totals], dtype=torch.float64)
    # Whole numbers of any length: nothing is lost where two large ones nearly agree.
    variances = [(count * squares - total * total) / (255 * count) ** 2 for total, squares in totals]
    std = torch.tensor(variances, dtype=torch.float64).sqrt()
    return mean.float(), std.float().clamp(min=_LEAST_STD)


def _digest(dataset: str, side: int, part: Part, indices: Tensor) -> str:
    """Of the data set's name, the image size and, for each training image, its index, file name and size in bytes."""
    text = hashlib.sha256(f"{dataset} {side} {len(part.labels)}\n".encode())
    text.update(np.ascontiguousarray(indices.numpy(), dtype="<i8").tobytes())
    for index in indices.tolist() if part.names else ():
        # A file name of any bytes is digested as it lies on the disk.
        text.update(f"{part.names[index]}\n".encode(errors="surrogateescape"))
    return text.hexdigest()


def _content_digest(digests: str, part: Part, indices: Tensor, others: Tensor | None) -> str:
    """``TrialData.content_digest``; of images without files it covers the pixels, or their sums where counted."""
    text = hashlib.sha256(digests.encode())
    text.update(np.ascontiguousarray(part.labels[indices.numpy()], dtype="<i8").tobytes())
    for chosen in () if part.names else (indices, others):
        if chosen is not None:
            content = (part.pixels if part.sums is None else part.sums)[chosen.numpy()]
            text.update(np.ascontiguousarray(content).data)
    return text.hexdigest()

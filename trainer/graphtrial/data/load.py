"""From what a manifest says about data to the images of one trial."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import numpy as np
import torch
from torch import Tensor

from graphtrial.contract import DATASETS, Data, Split
from graphtrial.data.cifar import read_cifar
from graphtrial.data.digits import read_digits
from graphtrial.data.folder import list_folder, read_folder
from graphtrial.data.images import DataError, ImageSet, Part, TrialData
from graphtrial.data.splitting import labelled_of, search_split, unlabelled_of

_LEAST_STD = 1 / 255


def load(data: Data, split: Split, *, unlabelled: bool = False, cache: str = "") -> TrialData:
    """The images that a trial trains on and those that it is scored on.

    In a search the test images are not even read. In ``Full`` nothing is held out of the training images; where only
    some are labelled, they are those of the search, so that no label is used beyond the number asked for.

    Args:
        data: Which data set, and how it is split.
        split: Search or Full.
        unlabelled: Whether the images without labels are wanted too.
        cache: A folder for decoded images, shared by trials; empty: none is kept.

    Raises:
        DataError: If the data cannot be used as asked.
    """
    _check(data)
    part, test = _parts(data, split, cache)
    labels = torch.from_numpy(part.labels)
    everything = torch.arange(len(labels))
    rest, held_out = (everything, everything) if test and data.labelled is None else search_split(labels, data)
    evaluation = _select(test, torch.arange(len(test.labels))) if test else _select(part, held_out)
    indices = labelled_of(rest, labels, data)
    train = _select(part, indices)
    others = unlabelled_of(everything if test else rest, indices, data) if unlabelled else None
    mean, std = _statistics(train.images)
    _, channels, side, _ = train.images.shape
    return TrialData(
        train=train,
        evaluation=evaluation,
        classes=part.classes,
        channels=channels,
        image_size=side,
        mean=mean,
        std=std,
        train_digest=_digest(data.dataset, side, part, indices),
        unlabelled=None if others is None else _select(part, others),
    )


def _check(data: Data) -> None:
    if data.dataset not in DATASETS:
        message = f"data.dataset: {data.dataset} cannot be loaded by this version yet; use one of {', '.join(DATASETS)}"
        raise DataError(message)
    size = DATASETS[data.dataset].image_size
    if data.dataset != "ImageFolder" and data.image_size not in (None, size):
        message = f"data.imageSize: images of {data.dataset} have {size} pixels a side; leave it out"
        raise DataError(message)


class _Reader(Protocol):
    """Reads the training or the test images."""

    def __call__(self, *, train: bool) -> Part: ...


def _parts(data: Data, split: Split, cache: str) -> tuple[Part, Part | None]:
    """The training images, and in ``Full`` the test images."""
    try:
        read = _reader(data, cache)
        return read(train=True), read(train=False) if split is Split.FULL else None
    except OSError as error:
        where = error.filename or data.uri
        message = f"data.uri: {where} cannot be read: {error.strerror or error}; check disk and permissions"
        raise DataError(message) from error


def _reader(data: Data, cache: str) -> _Reader:
    match data.dataset:
        case "digits":
            return read_digits
        case "ImageFolder":
            size = data.image_size or DATASETS["ImageFolder"].image_size
            return partial(read_folder, list_folder(_path(data)), size, cache=cache)
        case _:
            return partial(read_cifar, data.dataset, _path(data))


def _path(data: Data) -> Path:
    """The folder or file that ``data.uri`` names, which exists."""
    parts = urlsplit(data.uri)
    if not data.uri:
        message = f"data.uri: is required for {data.dataset}: a path or file:// URI"
        raise DataError(message)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        path = Path(unquote(parts.path))
    elif "://" in data.uri:
        message = f"data.uri: {data.uri} cannot be read by this version yet; use a path or file:// URI"
        raise DataError(message)
    else:
        path = Path(data.uri).expanduser()
    if not path.exists():
        message = f"data.uri: no such file or folder: {path}"
        raise DataError(message)
    return path


def _select(part: Part, indices: Tensor) -> ImageSet:
    chosen = indices.numpy()
    images = torch.from_numpy(part.pixels[chosen]).permute(0, 3, 1, 2)
    return ImageSet(images, torch.from_numpy(part.labels[chosen]))


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, exact whatever the order of summation.

    A channel that is nearly constant gets a standard deviation of one grey level, so that normalising stays finite.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack([torch.bincount(plane.flatten(), minlength=256) for plane in images.unbind(1)]).double()
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(1)
    return mean.float(), variance.sqrt().clamp(min=_LEAST_STD).float()


def _digest(dataset: str, side: int, part: Part, indices: Tensor) -> str:
    """Of the data set's name, the image size and, for each training image, its index, file name and size in bytes."""
    text = hashlib.sha256(f"{dataset} {side} {len(part.labels)}\n".encode())
    text.update(np.ascontiguousarray(indices.numpy(), dtype="<i8").tobytes())
    for index in indices.tolist() if part.names else ():
        text.update(f"{part.names[index]}\n".encode())
    return text.hexdigest()

"""The types that readers, splits and batches share."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from graphtrial.storage import StorageError

_AT_ONCE = 2**20
"""Grey levels that are summed at a time."""


_OF_THE_MACHINE = frozenset(
    {
        *(errno.EIO, errno.ENXIO, errno.ESTALE, errno.EREMOTEIO, errno.ENODEV),
        *(errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
        *(errno.ETIMEDOUT, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH),
    }
)
"""What another try or another node may not meet: disks, memory, network file systems."""


class DataError(Exception):
    """The data cannot be used as asked; the message names the file or the field and what would be right."""


def failure(error: OSError, message: str) -> DataError | StorageError:
    """What is to be raised for an error of the operating system: the data's, which is final, or the machine's."""
    return (StorageError if error.errno in _OF_THE_MACHINE else DataError)(message)


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images with their labels, in memory or memory-mapped.

    Attributes:
        images: uint8 [M, C, K, K], laid out channels last.
        labels: int64 [N], each from 0 to the number of classes less one.
        rows: int64 [N], where in ``images`` each image lies; None: in order, and M = N.
        side: S of what networks see, at most K.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor | None = None
    side: int = 0
    """0 stands for K."""

    def __post_init__(self) -> None:
        """Fill in the side."""
        object.__setattr__(self, "side", self.side or self.images.shape[-1])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class TrialData:
    """What one trial trains on and is scored on.

    Attributes:
        train: The training images, less the search validation in a search; the labelled ones where that is asked for.
        evaluation: The search validation in a search, else the test images.
        unlabelled: What is trained on without labels where only some images keep them; None where all do.
        classes: Number of classes.
        channels: 1 or 3.
        image_size: Side S, in pixels.
        mean: float32 [C], of the training images with pixel values in 0..1.
        std: float32 [C], likewise.
        train_digest: SHA-256, in hexadecimal, equal for the same training images of the same data set.
        content_digest: Likewise of all that is trained on: classes and unlabelled images too, and the content of images
            that have no files. Of a file it covers name and size: decoders of two versions may differ in its pixels.
    """

    train: ImageSet
    evaluation: ImageSet
    classes: int
    channels: int
    image_size: int
    mean: Tensor
    std: Tensor
    train_digest: str
    content_digest: str
    unlabelled: ImageSet | None = None


class Part(NamedTuple):
    """The training or the test images of a data set as they lie on disk, possibly memory-mapped."""

    pixels: np.ndarray
    """uint8 [N, K, K, C]."""
    labels: np.ndarray
    """int64 [N]."""
    classes: int
    names: tuple[str, ...] = ()
    """What identifies each image beyond its index: ``file size``. Empty where the index does."""
    class_names: tuple[str, ...] = ()
    """Empty where classes have none."""
    sums: np.ndarray | None = None
    """int64 [N, 2, C]: of each image the sum of its grey levels and of their squares; None where nobody has counted."""


def sums_of(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """``Part.sums``, image by image: int64 [2, C] of each of uint8 [N, K, K, C]."""
    count, side, _, channels = pixels.shape
    at_once = max(1, _AT_ONCE // (side * side * channels))
    for start in range(0, count, at_once):
        values = pixels[start : start + at_once].reshape(-1, side * side, channels).astype(np.int64)
        yield from np.stack([values.sum(1), (values * values).sum(1)], 1)

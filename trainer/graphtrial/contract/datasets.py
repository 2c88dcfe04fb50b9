"""The data sets that can be named, with their published sizes, known without reading a file.

``package.module:Name`` is accepted too: only the trainer image can tell whether it exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphtrial.contract.catalogue import IMPORT_PATH

_COMMON_SIDE = 32
"""Where neither the manifest nor the catalogue says it."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set's published sizes; None where only the files can tell."""

    name: str
    classes: int | None
    train_images: int | None
    test_images: int | None
    channels: int
    image_size: int
    """Side of the square image that models see, in pixels."""


_DATASETS = (
    Dataset("digits", 10, 797, 1000, 1, 8),
    Dataset("CIFAR10", 10, 50_000, 10_000, 3, 32),
    Dataset("CIFAR100", 100, 50_000, 10_000, 3, 32),
    Dataset("TinyImageNet", 200, 100_000, 10_000, 3, 64),
    Dataset("Caltech101", 101, 3_030, 5_647, 3, 224),
    Dataset("FGVCAircraft", 100, 6_667, 3_333, 3, 224),
    Dataset("StanfordCars", 196, 8_144, 8_041, 3, 224),
    Dataset("Food101", 101, 75_750, 25_250, 3, 224),
    Dataset("OxfordIIITPet", 37, 3_680, 3_669, 3, 224),
    Dataset("Flowers102", 102, 2_040, 6_149, 3, 224),
    Dataset("SUN397", 397, 19_850, 19_850, 3, 224),
    Dataset("DTD", 47, 3_760, 1_880, 3, 224),
    Dataset("StanfordDogs", 120, 12_000, 8_580, 3, 224),
    Dataset("CUB200", 200, 5_994, 5_794, 3, 224),
    Dataset("ImageFolder", None, None, None, 3, 32),
)
DATASETS = {dataset.name: dataset for dataset in _DATASETS}
"""Data sets that the trainer can load, by name.

Where authors publish a validation part it counts as training images, from which a search holds out its own. Caltech101
and SUN397 have no split in torchvision: 30 of each class, and 50 and 50, are the sizes of their authors' protocols.
"""

DATASET_PATTERN = "|".join((*DATASETS, IMPORT_PATH))
"""What a data set's name matches as a whole."""


def image_side(name: str, asked: int | None) -> int:
    """Side in pixels of the square images that models see: what is asked for, else what the data set has."""
    known = DATASETS.get(name)
    return asked or (known.image_size if known else _COMMON_SIDE)


def dataset_problem(name: str) -> str | None:
    """Why ``name`` cannot be a data set, or None."""
    if re.fullmatch(DATASET_PATTERN, name):
        return None
    return f"unknown data set {name!r}; use one of {', '.join(DATASETS)} or package.module:Name"


def place_problem(uri: str) -> str | None:
    """Why images cannot lie at ``uri``, or None; whether they do, only the trainer can tell."""
    expected = "use a path, file:// or s3://"
    if re.search(r"[\x00-\x1f]", uri):
        return f"{uri!r} holds a control character; {expected}"
    if "://" not in uri:
        return None
    if re.match(r"s3://[^/]|file://(localhost)?/", uri):
        return None
    return f"{uri} cannot be read; {expected}"

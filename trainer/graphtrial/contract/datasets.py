"""The data sets that can be named, with their published sizes, known without reading a file.

``package.module:Name`` is accepted too: only the trainer image can tell whether it exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphtrial.contract.catalogue import IMPORT_PATH


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
    Dataset("ImageFolder", None, None, None, 3, 32),
)
DATASETS = {dataset.name: dataset for dataset in _DATASETS}
"""Data sets that the trainer can load, by name."""

PLANNED_DATASETS = (
    "TinyImageNet",
    "Caltech101",
    "FGVCAircraft",
    "StanfordCars",
    "Food101",
    "OxfordIIITPet",
    "Flowers102",
    "SUN397",
    "DTD",
    "StanfordDogs",
    "CUB200",
)
"""Data sets of spec 7 that a manifest may name and this version cannot load yet."""

DATASET_PATTERN = "|".join((*DATASETS, *PLANNED_DATASETS, IMPORT_PATH))
"""What a data set's name matches as a whole."""


def dataset_problem(name: str) -> str | None:
    """Why ``name`` cannot be a data set, or None."""
    if re.fullmatch(DATASET_PATTERN, name):
        return None
    known = ", ".join((*DATASETS, *PLANNED_DATASETS))
    return f"unknown data set {name!r}; use one of {known} or package.module:Name"

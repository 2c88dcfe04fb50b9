"""Sets whose classes are folders: Caltech-101, SUN397 and the user's own.

The first two have no official split that torchvision knows. One is fixed here once and for all, of the size that their
authors' protocols have; no seed of a trial or search reaches it.

Decided against: torchvision's ImageFolder, which cannot read an archive and passes a file on to be decoded, and so to
fail, only when it is drawn; here every image is decoded before training starts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import torch

from graphtrial.contract import derive
from graphtrial.data.files import PICTURES, Files
from graphtrial.data.images import DataError
from graphtrial.data.listing import Example, Layout, Listing, label_of, lines_of

_CALTECH = "101_ObjectCategories"
_BACKGROUND = "BACKGROUND_Google"
"""Clutter, which torchvision leaves out too."""
_CALTECH_CLASSES = 101
_CALTECH_TRAIN = 30
"""Training images a class in most of what is published; the rest are for the test."""
_SUN_EACH = 50
"""Training images and test images a class in the authors' partitions."""


def _caltech(files: Files) -> Listing:
    """Caltech-101: 30 images of each class to train on, 1 fewer than there are where that is less."""
    folders = _by_folder(files, f"{_CALTECH}/")
    folders.pop(_BACKGROUND, None)
    if len(folders) != _CALTECH_CLASSES:
        message = (
            f"{files.where(_CALTECH)} holds {len(folders)} classes with images besides {_BACKGROUND}; expected "
            f"{_CALTECH_CLASSES}: the set is incomplete or another; download it again"
        )
        raise DataError(message)
    for folder, names in folders.items():
        numbered = [f"{_CALTECH}/{folder}/image_{number:04d}.jpg" for number in range(1, len(names) + 1)]
        if missing := [name for name in numbered if name not in names]:
            message = f"{files.where(missing[0])} is missing: the set is incomplete; download it again"
            raise DataError(message)
    counts = {folder: (min(_CALTECH_TRAIN, len(names) - 1), len(names)) for folder, names in folders.items()}
    return _drawn(files, "Caltech101", folders, counts)


def _sun(files: Files) -> Listing:
    """SUN397: the authors' first partition where it is there, else 50 and 50 images of each class, or half and half."""
    classes = [line.strip("/").partition("/")[2] for [line] in lines_of(files, "ClassName.txt", 1)]
    number = {name: label for label, name in enumerate(classes)}
    lists = ["Training_01.txt", "Testing_01.txt"]
    if not any(name in files.entries for name in lists):
        lists = [f"Partitions/{name}" for name in lists]
    if any(name in files.entries for name in lists):
        train, test = (
            [
                Example(name, label_of(files, listed, number, _category(name)))
                for name in (line.strip("/") for [line] in lines_of(files, listed, 1))
            ]
            for listed in lists
        )
        return Listing(files, train, test, classes)
    folders: dict[str, list[str]] = {name: [] for name in classes}
    for name in files.entries:
        if PurePosixPath(name).suffix == ".jpg" and (category := _category(name)) in folders:
            folders[category].append(name)
    halves = {name: min(_SUN_EACH, len(names) // 2) for name, names in folders.items()}
    return _drawn(files, "SUN397", folders, {name: (half, 2 * half) for name, half in halves.items()})


def _category(name: str) -> str:
    """``abbey`` of ``a/abbey/sun_x.jpg``; of some classes there are two, indoor and outdoor."""
    return "/".join(name.split("/")[1:-1])


def _drawn(
    files: Files, dataset: str, folders: Mapping[str, Sequence[str]], counts: Mapping[str, tuple[int, int]]
) -> Listing:
    """Of each class, in random order, so many to train on and, up to the second number, to test on."""
    parts: tuple[list[Example], list[Example]] = ([], [])
    for label, (folder, names) in enumerate(folders.items()):
        first, second = counts[folder]
        if first < 1:
            message = (
                f"data.uri: class {folder} of {dataset} in {files.path} has {len(names)} images; two are needed, one "
                f"to train on and one for the test: the set is incomplete; download it again"
            )
            raise DataError(message)
        generator = torch.Generator().manual_seed(derive(0, dataset, "split", folder.replace("/", " ")))
        order = [names[place] for place in torch.randperm(len(names), generator=generator).tolist()]
        parts[0].extend(Example(name, label) for name in sorted(order[:first]))
        parts[1].extend(Example(name, label) for name in sorted(order[first:second]))
    return Listing(files, *parts, list(folders))


def _folder(files: Files) -> Listing:
    """The user's own: classes are the folders of ``train`` in alphabetical order; an image may lie deeper in them."""
    train, test = _by_folder(files, "train/"), _by_folder(files, "test/")
    if not train:
        message = f"data.uri: {files.path} holds no training images; {_EXPECTED}"
        raise DataError(message)
    if strangers := set(test) - set(train):
        name = min(strangers)
        message = f"{files.path}: no folder train/{name} for test/{name}; {_EXPECTED}"
        raise DataError(message)
    classes = list(train)

    def examples(part: Mapping[str, Sequence[str]]) -> list[Example]:
        return [Example(name, label) for label, folder in enumerate(classes) for name in part.get(folder, ())]

    return Listing(files, examples(train), examples(test), classes)


def _by_folder(files: Files, below: str) -> dict[str, list[str]]:
    """The images in each folder of the folder ``below``, both in alphabetical order."""
    found: dict[str, list[str]] = defaultdict(list)
    member = re.compile(rf"{re.escape(below)}([^/]+)/.+")
    for name in files.entries:
        if (match := member.fullmatch(name)) and PurePosixPath(name).suffix.lower() in PICTURES:
            found[match[1]].append(name)
    return dict(sorted(found.items()))


_EXPECTED = "expected train/<class>/<image>, and test/<class>/<image> for the final comparison"

CLASS_FOLDERS = {
    "Caltech101": Layout(
        (f"{_CALTECH}/",),
        ("caltech101", "caltech-101"),
        f"give the folder with {_CALTECH}/<class>, or an archive of it",
        _caltech,
    ),
    "SUN397": Layout(
        ("ClassName.txt",), ("SUN397",), "give SUN397 (ClassName.txt, <letter>/<class>) or its archive", _sun
    ),
    "ImageFolder": Layout(("train/",), (), _EXPECTED, _folder),
}
"""By the data set's name."""

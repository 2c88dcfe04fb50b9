"""What every set of image files comes down to: which file is of which class, and which are for the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from graphtrial.data.cache import cached
from graphtrial.data.files import Files
from graphtrial.data.images import DataError, Part, sums_of
from graphtrial.data.pictures import decoded


class Example(NamedTuple):
    """One image."""

    name: str
    """Below the set's root."""
    label: int
    """From 0."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of a set, with the files not yet opened, in the order in which they are numbered."""

    files: Files
    train: Sequence[Example]
    test: Sequence[Example]
    classes: Sequence[str]
    """Their names."""


def read_listed(
    listing: Listing, stored: int, *, train: bool, cache: str, own: bool = False, sized: bool = True
) -> Part:
    """The training or the test images, decoded to ``stored`` pixels a side, or from the cache.

    Args:
        listing: Which.
        stored: Side, in pixels.
        train: Whether the training images.
        cache: A folder; empty: none.
        own: Whether the set is a user's own, as ``decoded`` has it.
        sized: Whether its images may be of any size, as ``decoded`` has it.

    Raises:
        DataError: If there are none, one is missing or damaged or cannot be used as it is, or a label is out of range.
    """
    examples, files = listing.train if train else listing.test, listing.files
    _check(listing, examples, train=train)
    labels = np.array([example.label for example in examples], dtype=np.int64)
    described = [(example.name, *files.entries[example.name]) for example in examples]
    # What was read without a check must not stand in for what is to be checked.
    key = files.key(stored, described, *([sized] if own else []))
    places = {example.name: place for place, example in enumerate(examples)}
    shape = (len(examples), stored, stored, 3)
    pixels = cached(cache, key, shape, lambda: decoded(files, places, stored, own=own, sized=sized))
    sums = cached(cache, f"{key}-sums", (len(examples), 2, 3), lambda: enumerate(sums_of(pixels)), np.int64)
    names = tuple(f"{name} {size}" for name, size, _ in described)
    return Part(pixels, labels, len(listing.classes), names, tuple(listing.classes), sums)


def _check(listing: Listing, examples: Sequence[Example], *, train: bool) -> None:
    files, part = listing.files, "training" if train else "test"
    if not examples:
        message = f"data.uri: {files.path} holds no {part} images, and the final comparison needs some"
        raise DataError(message)
    missing = [example.name for example in examples if example.name not in files.entries]
    if missing:
        message = (
            f"{files.where(missing[0])} is missing, as are {len(missing) - 1} more of {len(examples)} {part} images: "
            f"the set is incomplete; download it again, or extract all of it"
        )
        raise DataError(message)
    for name, label in examples:
        if not 0 <= label < len(listing.classes):
            message = f"{files.where(name)} has label {label}; expected 0 to {len(listing.classes) - 1}"
            raise DataError(message)
    if len({example.name for example in examples}) < len(examples):
        message = f"data.uri: {files.path} lists a {part} image twice; download its lists again"
        raise DataError(message)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the authors, or torchvision, lay a set out."""

    markers: tuple[str, ...]
    """Files, or folders with a slash at the end, that only the set's root holds."""
    folders: tuple[str, ...]
    """Where torchvision's own root folder has the set's root."""
    expected: str
    """What a message says would be right."""
    list_images: Callable[[Files], Listing]
    """Reads the lists; raises DataError where one is missing or damaged."""


def lines_of(files: Files, name: str, fields: int) -> list[list[str]]:
    """The lines of a text, each split at white space into ``fields`` parts; the last keeps its spaces.

    Raises:
        DataError: If the list is missing or empty, or a line has fewer parts.
    """
    try:
        text = files.read(name).decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"{files.where(name)} is no text ({error}); download it again"
        raise DataError(message) from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    found = [(number, line.split(maxsplit=fields - 1)) for number, line in lines if line and not line.startswith("#")]
    for number, parts in found:
        if len(parts) != fields:
            message = f"{files.where(name)}, line {number}: {len(parts)} words where {fields} belong; download it again"
            raise DataError(message)
    if not found:
        message = f"{files.where(name)} is empty; download it again"
        raise DataError(message)
    return [parts for _, parts in found]


def whole_number(files: Files, name: str, text: str) -> int:
    """A number of a list.

    Raises:
        DataError: If it is none.
    """
    try:
        return int(text)
    except ValueError as error:
        message = f"{files.where(name)}: {text!r} stands where a number belongs; download it again"
        raise DataError(message) from error


def label_of(files: Files, name: str, number: Mapping[str, int], found: str) -> int:
    """The label of a class that a list names.

    Raises:
        DataError: If there is no such class.
    """
    if found not in number:
        message = f"{files.where(name)} names the class {found!r}, which is none of the {len(number)} known"
        raise DataError(message)
    return number[found]

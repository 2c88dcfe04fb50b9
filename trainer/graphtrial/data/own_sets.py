"""A data set of the user's own, by import path: ``mylab.data:Birds`` in the trainer image.

``Birds(root, train=True)`` gives a sequence of (PIL image, class); ``split="train"`` and ``"test"``, or ``"val"`` where
there is no such part, serve as well, so that every classification set of torchvision is one:
``torchvision.datasets:SVHN``. Classes count from 0.

Decided against: caching what it gives, because nobody can tell when that would be another.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from graphtrial.data.cache import cached
from graphtrial.data.images import DataError, Part, sums_of
from graphtrial.data.kinds import Kinds, check_kind
from graphtrial.data.pictures import fitted


def read_own(name: str, root: Path | None, stored: int, *, train: bool, sized: bool) -> Part:
    """The training or the test images of a set, decoded to ``stored`` pixels a side.

    Args:
        name: Its import path.
        root: What it is called with, if anything.
        stored: Side, in pixels.
        train: Whether the training images.
        sized: Whether its images may be of any size, because the side was asked for.

    Raises:
        DataError: If it cannot be imported or called, or gives something else than images and classes, or images that
            cannot be read without a guess.
    """
    part = "training" if train else "test"
    images = _made(name, root, train=train)
    if not len(images):
        message = f"data.dataset: {name} has no {part} images"
        raise DataError(message)
    labels, kinds = np.zeros(len(images), dtype=np.int64), Kinds(stored, sized=sized)

    def rows() -> Iterator[tuple[int, np.ndarray]]:
        for place in range(len(images)):
            picture, labels[place] = _item(name, images, place)
            kinds.add(f"image {place} of {name}", picture.mode, picture.size)
            yield place, fitted(picture, stored)
        kinds.log()

    pixels = cached("", "", (len(images), stored, stored, 3), rows)
    given = getattr(images, "classes", ())
    # Some sets say there how many there are.
    named = tuple(map(str, given)) if isinstance(given, list | tuple) else ()
    classes = len(named) or int(labels.max()) + 1
    if strangers := np.nonzero(labels >= classes)[0].tolist():
        place = strangers[0]
        message = f"data.dataset: image {place} of {name} has class {labels[place]}; expected 0 to {classes - 1}"
        raise DataError(message)
    sums = np.stack(list(sums_of(pixels)))
    return Part(pixels, labels, classes, (), named, sums)


def _made(name: str, root: Path | None, *, train: bool) -> Sequence[Any]:
    module, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever its module's first lines raise
        message = f"data.dataset: {name} cannot be imported ({error!r}); install it in the trainer image"
        raise DataError(message) from error
    arguments = [] if root is None else [str(root)]
    try:
        if "train" in inspect.signature(factory).parameters:
            return _sized(factory(*arguments, train=train))
        try:
            return _sized(factory(*arguments, split="train" if train else "test"))
        except ValueError:  # torchvision's word for a part that there is not
            if train:
                raise
            return _sized(factory(*arguments, split="val"))
    except Exception as error:
        message = (
            f"data.dataset: {name} fails ({error!r}); it is called with data.uri as its root and train=True or False, "
            f'or split="train" or "test", and gives a sequence of (image, class)'
        )
        raise DataError(message) from error


def _sized(made: Any) -> Sequence[Any]:
    len(made)
    return cast(Sequence[Any], made)


def _item(name: str, images: Sequence[Any], place: int) -> tuple[Image.Image, int]:
    try:
        picture, label = images[place]
        if not isinstance(picture, Image.Image):
            message = f"{type(picture).__name__} instead of a PIL image; leave out its transform"
            raise TypeError(message)
        check_kind(picture)
        number = int(label)
        if number != label or number < 0:
            message = f"class {label}; classes are whole numbers from 0"
            raise ValueError(message)
    except Exception as error:  # whatever the set's own code raises
        message = f"data.dataset: image {place} of {name} cannot be used ({error})"
        raise DataError(message) from error
    return picture, number

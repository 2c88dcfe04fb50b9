"""Sets whose authors say in text files which image is of which class, and which are for the test.

Where they publish a validation part of its own (Aircraft, DTD), it belongs to the training images: a search holds
its own validation images out of those (spec 7.1). Of Tiny-ImageNet the published test images have no labels, so that
its validation part is the test.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from graphtrial.data.files import Files
from graphtrial.data.images import DataError
from graphtrial.data.listing import Example, Layout, Listing, label_of, lines_of, whole_number


def _aircraft(files: Files) -> Listing:
    """FGVC-Aircraft by variant; 100 in the published files, where spec 7.1 counts 102."""
    classes = [line for [line] in lines_of(files, "data/variants.txt", 1)]
    number = _numbered(classes)

    def part(which: str) -> list[Example]:
        name = f"data/images_variant_{which}.txt"
        return [
            Example(f"data/images/{image}.jpg", label_of(files, name, number, variant))
            for image, variant in lines_of(files, name, 2)
        ]

    return Listing(files, part("trainval"), part("test"), classes)


def _dtd(files: Files) -> Listing:
    """The first of the ten partitions, as torchvision's default."""

    def names(which: str) -> list[str]:
        return [line for [line] in lines_of(files, f"labels/{which}1.txt", 1)]

    train, test = names("train") + names("val"), names("test")
    return _by_folder(files, "images/", train, test)


def _food(files: Files) -> Listing:
    """Food-101."""
    return _by_folder(files, "images/", _meals(files, "train"), _meals(files, "test"))


def _meals(files: Files, part: str) -> list[str]:
    """``apple_pie/1005649.jpg``: out of the list that torchvision reads, or the text beside it."""
    name = f"meta/{part}.json"
    if name not in files.entries and f"meta/{part}.txt" in files.entries:
        return [f"{line}.jpg" for [line] in lines_of(files, f"meta/{part}.txt", 1)]
    try:
        by_class = json.loads(files.read(name))
        return [f"{image}.jpg" for images in by_class.values() for image in images]
    except (ValueError, AttributeError, TypeError) as error:
        message = f"{files.where(name)} is cut off or no JSON of images by class ({error}); download it again"
        raise DataError(message) from error


def _by_folder(files: Files, below: str, train: Sequence[str], test: Sequence[str]) -> Listing:
    """Classes are the folders of the training images, in alphabetical order."""
    classes = sorted({name.partition("/")[0] for name in train})
    number = _numbered(classes)

    def examples(names: Sequence[str]) -> list[Example]:
        return [Example(below + name, label_of(files, below + name, number, name.partition("/")[0])) for name in names]

    return Listing(files, examples(train), examples(test), classes)


def _pets(files: Files) -> Listing:
    """Oxford-IIIT Pet by breed."""
    breeds: dict[int, str] = {}

    def part(name: str) -> list[Example]:
        examples = []
        for image, label, *_ in lines_of(files, name, 4):
            breed = whole_number(files, name, label) - 1
            breeds.setdefault(breed, image.rpartition("_")[0])
            examples.append(Example(f"images/{image}.jpg", breed))
        return examples

    train = part("annotations/trainval.txt")
    classes = [breeds.get(label, "") for label in range(max(breeds) + 1)]
    return Listing(files, train, part("annotations/test.txt"), classes)


def _cub(files: Files) -> Listing:
    """CUB-200-2011."""
    classes = [name for _, name in lines_of(files, "classes.txt", 2)]
    labels, trained = (_by_image(files, name) for name in ("image_class_labels.txt", "train_test_split.txt"))
    parts: tuple[list[Example], list[Example]] = ([], [])
    for image, name in lines_of(files, "images.txt", 2):
        if image not in labels or image not in trained:
            listed = "train_test_split.txt" if image in labels else "image_class_labels.txt"
            message = f"{files.where(listed)} does not list image {image} of images.txt; download it again"
            raise DataError(message)
        parts[0 if trained[image] else 1].append(Example(f"images/{name}", labels[image] - 1))
    return Listing(files, *parts, classes)


def _by_image(files: Files, name: str) -> dict[str, int]:
    return {image: whole_number(files, name, value) for image, value in lines_of(files, name, 2)}


def _tiny_imagenet(files: Files) -> Listing:
    """Tiny-ImageNet; classes are WordNet's numbers in alphabetical order."""
    classes = sorted(line for [line] in lines_of(files, "wnids.txt", 1))
    number = _numbered(classes)
    folders: dict[str, list[str]] = defaultdict(list)
    for name in files.entries:
        folders[name.rpartition("/")[0]].append(name)
    train = [
        Example(name, label)
        for label, wnid in enumerate(classes)
        for name in _of_wnid(files, wnid, folders[f"train/{wnid}/images"])
    ]
    annotations = "val/val_annotations.txt"
    test = [
        Example(f"val/images/{image}", label_of(files, annotations, number, wnid))
        for image, wnid, *_ in lines_of(files, annotations, 6)
    ]
    return Listing(files, train, test, classes)


def _of_wnid(files: Files, wnid: str, there: Sequence[str]) -> Sequence[str]:
    """By the list of boxes that each class has; without it, those that are there."""
    boxes = f"train/{wnid}/{wnid}_boxes.txt"
    if boxes in files.entries:
        return [f"train/{wnid}/images/{image}" for image, *_ in lines_of(files, boxes, 5)]
    if not there:
        message = f"{files.where(f'train/{wnid}/images')} holds no images: the set is incomplete; download it again"
        raise DataError(message)
    return there


def _numbered(classes: Sequence[str]) -> Mapping[str, int]:
    return {name: label for label, name in enumerate(classes)}


TEXT_LISTS = {
    "TinyImageNet": Layout(
        ("wnids.txt", "val/val_annotations.txt"),
        ("tiny-imagenet-200",),
        "give tiny-imagenet-200 (wnids.txt, train/<wnid>/images, val/val_annotations.txt), or its archive as a tar",
        _tiny_imagenet,
    ),
    "FGVCAircraft": Layout(
        ("data/variants.txt",),
        ("fgvc-aircraft-2013b",),
        "give fgvc-aircraft-2013b (data/variants.txt, data/images_variant_*.txt, data/images) or its archive",
        _aircraft,
    ),
    "Food101": Layout(
        ("meta/", "images/"), ("food-101",), "give food-101 (meta/train.json, images/<class>) or its archive", _food
    ),
    "OxfordIIITPet": Layout(
        ("annotations/trainval.txt",),
        ("oxford-iiit-pet",),
        "give oxford-iiit-pet (annotations/trainval.txt, images), both archives extracted, or one tar of it",
        _pets,
    ),
    "DTD": Layout(
        ("labels/train1.txt",), ("dtd/dtd", "dtd"), "give dtd (labels/train1.txt, images/<class>) or its archive", _dtd
    ),
    "CUB200": Layout(
        ("images.txt", "train_test_split.txt"),
        ("CUB_200_2011",),
        "give CUB_200_2011 (images.txt, classes.txt, train_test_split.txt, images/<class>) or its archive",
        _cub,
    ),
}
"""By the data set's name."""

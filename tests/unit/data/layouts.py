"""Small sets in the layouts that their authors, or torchvision, publish; each image is of one colour of its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


@dataclass
class Made:
    """A set on disk, and what a loader should find in it: colours with labels, in order."""

    parent: Path
    """torchvision's ``root``."""
    root: Path
    """The set's own folder."""
    train: list[tuple[tuple[int, int, int], int]] = field(default_factory=list)
    test: list[tuple[tuple[int, int, int], int]] = field(default_factory=list)
    classes: int = 2
    counter: itertools.count = field(default_factory=itertools.count)

    def image(self, name: str, label: int, part: list | None) -> None:
        """One image of a colour of its own, wider than high; counted to a part, if one is given."""
        number = next(self.counter)
        colour = (20 + 23 * (number % 10), 20 + 23 * (number // 10 % 10), 20 + 23 * (number // 100))
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 20), colour).save(path, "JPEG", quality=100, subsampling=0)
        if part is not None:
            part.append((colour, label))

    def text(self, name: str, *lines: str) -> None:
        """A list."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))

    def matlab(self, name: str, **variables: object) -> None:
        """A list."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, variables)


def _tiny_imagenet(parent: Path) -> Made:
    made = Made(parent, parent / "tiny-imagenet-200")
    wnids = ["n02124075", "n01443537"]
    made.text("wnids.txt", *wnids)
    made.text("words.txt", "n01443537\tgoldfish, Carassius auratus")
    for label, wnid in enumerate(sorted(wnids)):
        names = [f"{wnid}_{number}.JPEG" for number in range(3)]
        for name in names:
            made.image(f"train/{wnid}/images/{name}", label, made.train)
        made.text(f"train/{wnid}/{wnid}_boxes.txt", *(f"{name}\t0\t0\t62\t62" for name in names))
    for number, label in enumerate((1, 0)):
        made.image(f"val/images/val_{number}.JPEG", label, made.test)
    made.text(
        "val/val_annotations.txt",
        *(f"val_{number}.JPEG\t{sorted(wnids)[label]}\t0\t32\t44\t62" for number, label in enumerate((1, 0))),
    )
    made.image("test/images/test_0.JPEG", 0, None)
    return made


def _caltech(parent: Path) -> Made:
    made = Made(parent, parent / "caltech101", classes=101)
    names = sorted([f"class_{number:03d}" for number in range(100)] + ["Faces"])
    for label, name in enumerate(names):
        for number in (1, 2):
            made.image(f"101_ObjectCategories/{name}/image_{number:04d}.jpg", label, None)
    made.image("101_ObjectCategories/BACKGROUND_Google/image_0001.jpg", 0, None)
    return made


def _aircraft(parent: Path) -> Made:
    made = Made(parent, parent / "fgvc-aircraft-2013b")
    variants = ["707-320", "Boeing 717"]
    made.text("data/variants.txt", *variants)
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number, part in enumerate(("train", "train", "val", "test", "val", "test")):
        label = (0, 1, 0, 1, 1, 0)[number]
        made.image(f"data/images/{number:07d}.jpg", label, made.test if part == "test" else made.train)
        lists[part].append(f"{number:07d} {variants[label]}")
    for part, lines in (*lists.items(), ("trainval", sorted(lists["train"] + lists["val"]))):
        made.text(f"data/images_variant_{part}.txt", *lines)
    return made


def _cars(parent: Path) -> Made:
    made = Made(parent, parent / "stanford_cars")
    names = np.array(["Acura RL Sedan 2012", "AM General Hummer"], dtype=object)
    made.matlab("devkit/cars_meta.mat", class_names=names)
    for part, file, folder in (
        (made.train, "devkit/cars_train_annos.mat", "cars_train"),
        (made.test, "cars_test_annos_withlabels.mat", "cars_test"),
    ):
        kind = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
        annotations = np.zeros((1, 4), dtype=kind)
        for number in range(4):
            made.image(f"{folder}/{number + 1:05d}.jpg", number % 2, part)
            annotations[0, number] = (1, 1, 20, 20, number % 2 + 1, f"{number + 1:05d}.jpg")
        made.matlab(file, annotations=annotations)
    return made


def _food(parent: Path) -> Made:
    made = Made(parent, parent / "food-101")
    listed: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for part, counted in (("train", made.train), ("test", made.test)):
        for label, name in enumerate(("apple_pie", "waffles")):
            images = [f"{name}/{number}" for number in range(3 if part == "train" else 1)]
            listed[part][name] = [f"{image}{'0' if part == 'train' else '1'}" for image in images]
            for image in listed[part][name]:
                made.image(f"images/{image}.jpg", label, counted)
        made.text(f"meta/{part}.json", json.dumps(listed[part]))
        made.text(f"meta/{part}.txt", *(image for images in listed[part].values() for image in images))
    made.text("meta/classes.txt", "apple_pie", "waffles")
    return made


def _pets(parent: Path) -> Made:
    made = Made(parent, parent / "oxford-iiit-pet")
    for part, counted in (("trainval", made.train), ("test", made.test)):
        lines = []
        for number in range(6 if part == "trainval" else 2):
            label = number % 2
            name = f"{('Abyssinian', 'american_bulldog')[label]}_{number + (100 if part == 'test' else 0)}"
            made.image(f"images/{name}.jpg", label, counted)
            lines.append(f"{name} {label + 1} {label + 1} 1")
        made.text(f"annotations/{part}.txt", *lines)
    made.text("annotations/list.txt", "#Image CLASS-ID SPECIES BREED ID")
    return made


def _flowers(parent: Path) -> Made:
    made = Made(parent, parent / "flowers-102")
    parts = {"trnid": [5, 1, 2], "valid": [4, 3], "tstid": [6, 7]}
    labels = [1, 2, 1, 2, 1, 2, 1]
    for name, numbers in parts.items():
        for number in numbers:
            part = made.test if name == "tstid" else made.train
            made.image(f"jpg/image_{number:05d}.jpg", labels[number - 1] - 1, part)
    made.matlab("setid.mat", **{name: np.array([numbers], dtype=np.uint16) for name, numbers in parts.items()})
    made.matlab("imagelabels.mat", labels=np.array([labels], dtype=np.uint8))
    return made


def _sun(parent: Path) -> Made:
    made = Made(parent, parent / "SUN397")
    classes = ["a/abbey", "a/apartment_building/outdoor"]
    made.text("ClassName.txt", *(f"/{name}" for name in classes))
    lines: dict[str, list[str]] = {"Training_01.txt": [], "Testing_01.txt": []}
    for label, name in enumerate(classes):
        for number in range(5):
            listed = None if number == 4 else "Testing_01.txt" if number == 3 else "Training_01.txt"
            part = {None: None, "Testing_01.txt": made.test, "Training_01.txt": made.train}[listed]
            made.image(f"{name}/sun_{label}{number}.jpg", label, part)
            if listed:
                lines[listed].append(f"/{name}/sun_{label}{number}.jpg")
    for listed, named in lines.items():
        made.text(listed, *named)
    return made


def _dtd(parent: Path) -> Made:
    made = Made(parent, parent / "dtd" / "dtd")
    lists: dict[str, list[str]] = {"train1": [], "val1": [], "test1": []}
    for number, part in enumerate(("train1", "train1", "val1", "val1", "test1", "test1")):
        texture = ("banded", "zigzagged")[number % 2]
        made.image(
            f"images/{texture}/{texture}_{number:04d}.jpg", number % 2, made.test if part == "test1" else made.train
        )
        lists[part].append(f"{texture}/{texture}_{number:04d}.jpg")
    for part, names in lists.items():
        made.text(f"labels/{part}.txt", *names)
    return made


def _dogs(parent: Path) -> Made:
    made = Made(parent, parent / "stanford_dogs")
    breeds = ["n02085620-Chihuahua", "n02116738-African_hunting_dog"]
    for part, name in ((made.train, "train"), (made.test, "test")):
        names, labels = [], []
        for number in range(4):
            label, offset = number % 2, 0 if name == "train" else 10
            names.append(f"{breeds[label]}/{breeds[label][:9]}_{number + offset}.jpg")
            labels.append([label + 1])
            made.image(f"Images/{names[-1]}", label, part)
        cells = np.array([[each] for each in names], dtype=object)
        made.matlab(f"lists/{name}_list.mat", file_list=cells, annotation_list=cells, labels=np.array(labels, np.uint8))
    return made


def _cub(parent: Path) -> Made:
    made = Made(parent, parent / "CUB_200_2011")
    birds = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    images, labels, split = [], [], []
    for number in range(1, 9):
        label, trained = number % 2, number <= 6
        name = f"{birds[label]}/{birds[label][4:]}_{number:04d}.jpg"
        made.image(f"images/{name}", label, made.train if trained else made.test)
        images.append(f"{number} {name}")
        labels.append(f"{number} {label + 1}")
        split.append(f"{number} {int(trained)}")
    made.text("images.txt", *images)
    made.text("image_class_labels.txt", *labels)
    made.text("train_test_split.txt", *split)
    made.text("classes.txt", *(f"{label + 1} {name}" for label, name in enumerate(birds)))
    return made


BUILDERS: dict[str, Callable[[Path], Made]] = {
    "TinyImageNet": _tiny_imagenet,
    "Caltech101": _caltech,
    "FGVCAircraft": _aircraft,
    "StanfordCars": _cars,
    "Food101": _food,
    "OxfordIIITPet": _pets,
    "Flowers102": _flowers,
    "SUN397": _sun,
    "DTD": _dtd,
    "StanfordDogs": _dogs,
    "CUB200": _cub,
}
"""By the data set's name."""

LISTS = {
    "TinyImageNet": ("wnids.txt", "val/val_annotations.txt", "train/n01443537/n01443537_boxes.txt"),
    "FGVCAircraft": ("data/variants.txt", "data/images_variant_trainval.txt", "data/images_variant_test.txt"),
    "StanfordCars": ("devkit/cars_train_annos.mat", "devkit/cars_meta.mat", "cars_test_annos_withlabels.mat"),
    "Food101": ("meta/train.json", "meta/test.json"),
    "OxfordIIITPet": ("annotations/trainval.txt", "annotations/test.txt"),
    "Flowers102": ("setid.mat", "imagelabels.mat"),
    "SUN397": ("ClassName.txt", "Training_01.txt", "Testing_01.txt"),
    "DTD": ("labels/train1.txt", "labels/val1.txt", "labels/test1.txt"),
    "StanfordDogs": ("lists/train_list.mat", "lists/test_list.mat"),
    "CUB200": ("images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt"),
}
"""What each loader reads beside the images."""

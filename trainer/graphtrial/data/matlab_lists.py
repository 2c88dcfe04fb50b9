"""Sets whose authors say in MATLAB files which image is of which class, and which are for the test.

scipy reads those files, as it does for torchvision. Flowers has a validation part of its own, which belongs to the
training images, as in ``text_lists``.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from graphtrial.data.files import Files
from graphtrial.data.images import DataError
from graphtrial.data.listing import Example, Layout, Listing


def _cars(files: Files) -> Listing:
    """Stanford Cars as torchvision has it: the test's labels in a file of their own."""
    classes = [str(name) for name in _variable(files, "devkit/cars_meta.mat", "class_names")]
    labelled = "cars_test_annos_withlabels.mat"
    test = labelled if labelled in files.entries else f"devkit/{labelled}"
    return Listing(
        files, _of_cars(files, "devkit/cars_train_annos.mat", "cars_train"), _of_cars(files, test, "cars_test"), classes
    )


def _of_cars(files: Files, name: str, folder: str) -> list[Example]:
    annotations = _variable(files, name, "annotations")
    if annotations.dtype.names is None or not {"fname", "class"} <= set(annotations.dtype.names):
        message = f"{files.where(name)}: its annotations have no fname and class; download it again"
        raise DataError(message)
    return [Example(f"{folder}/{each['fname']}", int(each["class"]) - 1) for each in annotations]


def _flowers(files: Files) -> Listing:
    """Oxford 102 Flowers, whose classes have no names."""
    labels = _variable(files, "imagelabels.mat", "labels").astype(int)
    if labels.min() < 1:
        message = f"{files.where('imagelabels.mat')}: labels begin at {labels.min()}; expected 1; download it again"
        raise DataError(message)

    def part(*fields: str) -> list[Example]:
        numbers = [int(number) for field in fields for number in _variable(files, "setid.mat", field)]
        if max(numbers) > len(labels):
            message = f"{files.where('setid.mat')} names image {max(numbers)}; imagelabels.mat has {len(labels)} labels"
            raise DataError(message)
        return [Example(f"jpg/image_{number:05d}.jpg", int(labels[number - 1]) - 1) for number in numbers]

    return Listing(files, part("trnid", "valid"), part("tstid"), [str(label) for label in range(1, labels.max() + 1)])


def _dogs(files: Files) -> Listing:
    """Stanford Dogs by breed."""
    train, test = _of_dogs(files, "train_list.mat"), _of_dogs(files, "test_list.mat")
    breeds = {example.label: example.name.split("/")[1].partition("-")[2] for example in train}
    return Listing(files, train, test, [breeds.get(label, "") for label in range(max(breeds) + 1)])


def _of_dogs(files: Files, name: str) -> list[Example]:
    """The lists come in an archive of their own, which is extracted beside the images or into ``lists``."""
    name = name if name in files.entries else f"lists/{name}"
    images, labels = _variable(files, name, "file_list"), _variable(files, name, "labels")
    if len(images) != len(labels):
        message = f"{files.where(name)} has {len(labels)} labels for {len(images)} images; download it again"
        raise DataError(message)
    return [Example(f"Images/{image}", int(label) - 1) for image, label in zip(images, labels, strict=True)]


def _variable(files: Files, name: str, variable: str) -> np.ndarray:
    """A vector out of a MATLAB file."""
    from scipy.io import loadmat  # only these sets need it, and its import takes longer than reading a small set

    content = files.read(name)
    try:
        found: Any = loadmat(io.BytesIO(content), squeeze_me=True)[variable]
    except Exception as error:  # a damaged file raises nearly anything
        message = f"{files.where(name)} is cut off or no MATLAB file with {variable} ({error!r}); download it again"
        raise DataError(message) from error
    vector = np.atleast_1d(found)
    if vector.ndim != 1 or not len(vector):
        message = f"{files.where(name)}: {variable} has shape {list(vector.shape)}; expected a list; download it again"
        raise DataError(message)
    return vector


MATLAB_LISTS = {
    "StanfordCars": Layout(
        ("devkit/cars_train_annos.mat",),
        ("stanford_cars",),
        "give stanford_cars (devkit/*.mat, cars_test_annos_withlabels.mat, cars_train, cars_test) or one tar of it",
        _cars,
    ),
    "Flowers102": Layout(
        ("setid.mat", "imagelabels.mat"),
        ("flowers-102",),
        "give flowers-102 (setid.mat, imagelabels.mat, and 102flowers.tgz extracted to jpg) or one tar of it",
        _flowers,
    ),
    "StanfordDogs": Layout(
        ("Images/",),
        ("stanford_dogs",),
        "give the folder with Images/<breed>, train_list.mat and test_list.mat (both archives extracted), or its tar",
        _dogs,
    ),
}
"""By the data set's name."""

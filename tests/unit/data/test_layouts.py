"""Every published layout: read from a folder or a tar as torchvision reads it, and refused when it is not whole."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest
import torchvision.datasets as tv
from PIL import Image
from tests.unit.data.layouts import BUILDERS, LISTS

from graphtrial.contract import DATASETS, Data, Part, Split
from graphtrial.data import DataError, load

SIDE = 16
HOLDING_OUT_TWO = Part(count=2)
FIXED = [43, 112, 158, 181]
"""Red of the images of SUN397 that are trained on, in the small set."""


def load_from(dataset, path, split=Split.FULL, **fields):
    """The set, with images of 16 pixels."""
    return load(
        Data(dataset=dataset, uri=str(path), image_size=SIDE, search_validation=HOLDING_OUT_TWO), split, **fields
    )


def as_found(images):
    """Colour, within what JPEG changes, and label of each image, in order."""
    assert images.images.shape[1:] == (3, SIDE, SIDE)
    colours = images.images.double().mean((2, 3))
    return [
        (tuple((((colour - 20) / 23).round() * 23 + 20).int().tolist()), int(label))
        for colour, label in zip(colours, images.labels, strict=True)
    ]


def pack(made, path, mode="w"):
    """The set's folder as its authors' archives have it, under the folder's own name."""
    with tarfile.open(path, mode) as tar:
        tar.add(made.root, f"./{made.root.name}")
    return path


@pytest.fixture(params=sorted(BUILDERS))
def dataset(request):
    """Each set's name."""
    return request.param


@pytest.fixture
def made(dataset, tmp_path):
    """Each set in its layout."""
    return BUILDERS[dataset](tmp_path / "data")


@pytest.mark.parametrize("place", ["parent", "root", "tar", "tar.gz"])
def test_the_set_is_read_whole(dataset, made, tmp_path, place):
    """From torchvision's root, its own folder or an archive: each image with its label, in the lists' order."""
    paths = {
        "parent": lambda: made.parent,
        "root": lambda: made.root,
        "tar": lambda: pack(made, tmp_path / "set.tar"),
        "tar.gz": lambda: pack(made, tmp_path / "set.tar.gz", "w:gz"),
    }
    cache = str(tmp_path / "cache")
    data = load_from(dataset, paths[place](), cache=cache)
    assert data.classes == made.classes
    if dataset == "Caltech101":
        assert [len(data.train), len(data.evaluation)] == [101, 101]
        assert data.train.labels.tolist() == data.evaluation.labels.tolist() == list(range(101))
    else:
        assert as_found(data.train) == made.train
        assert as_found(data.evaluation) == made.test
    again = load_from(dataset, made.parent, cache=cache)
    assert as_found(again.train) == as_found(data.train)
    assert again.train_digest == data.train_digest


@pytest.mark.parametrize("dataset", ["CUB200"], indirect=True)
def test_a_list_of_an_archive_may_be_a_hard_link(dataset, made, tmp_path):
    """It is read as the file that it is of, whatever that is called."""
    (made.root / "images.txt").rename(made.root / "all images")
    (made.root / "images.txt").hardlink_to(made.root / "all images")
    with tarfile.open(pack(made, tmp_path / "set.tar")) as tar:
        assert tar.getmember(f"./{made.root.name}/images.txt").islnk()
    assert as_found(load_from(dataset, tmp_path / "set.tar").train) == made.train


TORCHVISIONS = {
    "Caltech101": lambda root: [tv.Caltech101(root)],
    "FGVCAircraft": lambda root: [tv.FGVCAircraft(root, part) for part in ("trainval", "test")],
    "StanfordCars": lambda root: [tv.StanfordCars(root, part) for part in ("train", "test")],
    "Food101": lambda root: [tv.Food101(root, part) for part in ("train", "test")],
    "OxfordIIITPet": lambda root: [tv.OxfordIIITPet(root, part) for part in ("trainval", "test")],
    "Flowers102": lambda root: [tv.Flowers102(root, part) for part in ("train", "val", "test")],
    "DTD": lambda root: [tv.DTD(root, part) for part in ("train", "val", "test")],
    "SUN397": lambda root: [tv.SUN397(root)],
}


@pytest.mark.parametrize("dataset", sorted(TORCHVISIONS), indirect=True)
def test_torchvision_finds_the_same_images_and_labels(dataset, made, monkeypatch):
    """The layouts made here are the ones that torchvision reads, and every image has the class that it has there."""
    monkeypatch.setattr(tv.Flowers102, "_check_integrity", lambda _: True)  # of the published files' MD5 only
    (made.parent / "caltech101" / "Annotations").mkdir(parents=True, exist_ok=True)
    theirs = set()
    for part in TORCHVISIONS[dataset](made.parent):
        for picture, label in part:
            colour = (np.asarray(picture.convert("RGB"), np.float64).mean((0, 1)) - 20) / 23
            theirs.add((tuple((colour.round() * 23 + 20).astype(int).tolist()), label))
    data = load_from(dataset, made.parent)
    ours = set(as_found(data.train) + as_found(data.evaluation))
    if dataset == "SUN397":  # two images are in neither list
        assert ours < theirs
        assert len(theirs - ours) == 2
    else:
        assert ours == theirs


def test_a_missing_image_is_named_and_nothing_is_cached(dataset, made, tmp_path):
    """A half-downloaded set does not pass for a whole one, in a folder or an archive."""
    parts = ("images_train", "test", "BACKGROUND") if dataset != "SUN397" else ("test", "05.jpg")
    images = sorted(path for suffix in ("*.jpg", "*.JPEG") for path in made.root.rglob(suffix))
    gone = next(path for path in images if not any(part in path.relative_to(made.root).as_posix() for part in parts))
    gone.unlink()
    for path in (made.parent, pack(made, tmp_path / "set.tar")):
        with pytest.raises(DataError, match=rf"{gone.name} is missing.*: the set is incomplete; download it again"):
            load_from(dataset, path, cache=str(tmp_path / "cache"))
    assert not list((tmp_path / "cache").glob("*.npy"))


@pytest.mark.parametrize(
    ("dataset", "name"), [(set_, name) for set_, names in LISTS.items() for name in names], indirect=["dataset"]
)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut off"])
def test_a_list_that_is_not_whole_is_named(dataset, made, tmp_path, name, damage):
    """The message holds the file, or says which files make a folder that set."""
    path = made.root / name
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(whole[: int(0.6 * len(whole))] if damage == "cut off" else b"")
    if damage == "missing" and name in {"train/n01443537/n01443537_boxes.txt", "meta/train.json", "meta/test.json"}:
        assert as_found(load_from(dataset, made.parent).train) == made.train  # others say the same
        return
    with pytest.raises(DataError, match=str(made.parent)):
        load_from(dataset, made.parent, cache=str(tmp_path / "cache"))
    assert not list((tmp_path / "cache").glob("*.npy"))


@pytest.mark.parametrize(
    ("dataset", "name", "old", "new", "words"),
    [
        (
            "FGVCAircraft",
            "data/images_variant_test.txt",
            "707-320",
            "747-8",
            r"names the class '747-8', which is none of",
        ),
        ("CUB200", "image_class_labels.txt", "3 2", "3 7", r"0003\.jpg has label 6; expected 0 to 1"),
        (
            "CUB200",
            "image_class_labels.txt",
            "3 2",
            "3 x",
            r"image_class_labels\.txt: 'x' stands where a number belongs",
        ),
        ("CUB200", "image_class_labels.txt", "3 2", "9 2", r"class_labels\.txt does not list image 3 of images\.txt"),
        ("OxfordIIITPet", "annotations/test.txt", "101 2", "101 9", r"101\.jpg has label 8; expected 0 to 1"),
        (
            "OxfordIIITPet",
            "annotations/trainval.txt",
            "_2 1 1 1",
            "_2",
            r"trainval\.txt, line 3: 1 words where 4 belong",
        ),
        ("DTD", "labels/train1.txt", "zigzagged_0001", "banded_0000", r"zigzagged/banded_0000\.jpg is missing"),
        ("DTD", "labels/val1.txt", "banded/banded_0002", "banded/banded_0000", r"lists a training image twice"),
        ("Food101", "meta/test.json", "waffles/", "pizza/", r"names the class 'pizza', which is none of the 2 known"),
        ("SUN397", "Training_01.txt", "abbey", "abyss", r"names the class 'abyss', which is none"),
        ("TinyImageNet", "val/val_annotations.txt", "n02124075", "n99999999", r"names the class 'n99999999', which is"),
    ],
    indirect=["dataset"],
)
def test_a_list_that_does_not_agree_is_named(dataset, made, name, old, new, words):
    """A label out of range, a class nobody knows, an image that another list lacks."""
    path = made.root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=words):
        load_from(dataset, made.root)


@pytest.mark.parametrize(
    ("dataset", "name", "variables", "words"),
    [
        ("Flowers102", "imagelabels.mat", {"labels": [[1, 2, 3]]}, r"setid\.mat names image 5; imagelabels\.mat has 3"),
        ("Flowers102", "imagelabels.mat", {"labels": [[0] * 7]}, r"imagelabels\.mat: labels begin at 0; expected 1"),
        ("Flowers102", "setid.mat", {"trnid": [[1]]}, r"setid\.mat is cut off or no MATLAB file with valid"),
        ("StanfordCars", "devkit/cars_meta.mat", {"class_names": "one"}, r"00002\.jpg has label 1; expected 0 to 0"),
        (
            "StanfordCars",
            "devkit/cars_train_annos.mat",
            {"annotations": [[1, 2]]},
            r"annotations have no fname and class",
        ),
        (
            "StanfordDogs",
            "lists/train_list.mat",
            {"file_list": "a/b", "labels": [[1, 2]]},
            r"has 2 labels for 1 images",
        ),
    ],
    indirect=["dataset"],
)
def test_a_matlab_list_that_does_not_agree_is_named(dataset, made, name, variables, words):
    """As with texts."""
    made.matlab(name, **variables)
    with pytest.raises(DataError, match=words):
        load_from(dataset, made.root)


def test_another_set_is_told_the_layout(dataset, tmp_path):
    """The message says what to give instead."""
    other = "DTD" if dataset != "DTD" else "CUB200"
    made = BUILDERS[other](tmp_path / "data")
    for path in (made.parent, made.root, pack(made, tmp_path / "set.tar")):
        with pytest.raises(DataError, match=r"data\.uri: .* holds no folder with .* in it; give "):
            load_from(dataset, path)


@pytest.mark.parametrize("dataset", sorted({*BUILDERS} - {"Caltech101"}), indirect=True)
def test_a_search_reads_no_test_image(dataset, made):
    """Of the test images only the list is needed: one that is damaged is found when the comparison begins."""
    whole = load_from(dataset, made.root)
    for path in [path for suffix in ("*.jpg", "*.JPEG") for path in made.root.rglob(suffix)]:
        colour = np.asarray(Image.open(path), np.float64).mean((0, 1))
        if any(np.abs(colour - test).max() < 6 for test, _ in made.test):
            path.write_bytes(b"damaged")
    search = load_from(dataset, made.root, Split.SEARCH)
    assert len(search.train) + len(search.evaluation) == len(whole.train)
    with pytest.raises(DataError, match="is damaged or no image"):
        load_from(dataset, made.root)


def test_without_the_authors_partition_sun397_is_halved(tmp_path):
    """Up to 50 and 50 images of each class, drawn once and for all: the same images on every machine."""
    made = BUILDERS["SUN397"](tmp_path / "data")
    for name in ("Training_01.txt", "Testing_01.txt"):
        (made.root / name).unlink()
    data = load_from("SUN397", made.root)
    assert data.train.labels.tolist() == data.evaluation.labels.tolist() == [0, 0, 1, 1]
    train, test = as_found(data.train), as_found(data.evaluation)
    assert len({*train, *test}) == 8
    assert [colour[0] for colour, _ in train] == FIXED


def test_a_class_of_caltech101_keeps_30_images_to_train_on(tmp_path):
    """The rest, from one image up, is for the test."""
    made = BUILDERS["Caltech101"](tmp_path / "data")
    for number in range(3, 35):
        made.image(f"101_ObjectCategories/Faces/image_{number:04d}.jpg", 0, None)
    data = load_from("Caltech101", made.root)
    counts = [np.bincount(part.labels.numpy()).tolist() for part in (data.train, data.evaluation)]
    assert counts == [[30, *[1] * 100], [4, *[1] * 100]]


@pytest.mark.parametrize("fault", ["a class less", "an image less"])
def test_caltech101_has_no_list_and_is_counted(tmp_path, fault):
    """A class that is not there, or a number that is left out, is a half-downloaded set."""
    made = BUILDERS["Caltech101"](tmp_path / "data")
    folder = made.root / "101_ObjectCategories" / "class_050"
    (folder / "image_0001.jpg").unlink()
    if fault == "a class less":
        (folder / "image_0002.jpg").unlink()
    words = {"a class less": "holds 100 classes with images", "an image less": "class_050/image_0001.jpg is missing"}
    with pytest.raises(DataError, match=words[fault]):
        load_from("Caltech101", made.root)


def test_the_catalogue_names_every_layout():
    """And every set of the catalogue that is no array has one."""
    assert {*BUILDERS, "digits", "CIFAR10", "CIFAR100", "ImageFolder"} == set(DATASETS)

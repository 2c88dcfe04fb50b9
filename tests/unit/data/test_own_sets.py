"""A user's own data set by import path: as it is called, what it may give, and what is said of anything else."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from PIL import Image

from graphtrial.contract import Data, Part, Split
from graphtrial.data import DataError, load


class Birds:
    """Three birds, two images each, of three shapes; the root is kept to be looked at."""

    classes = ("albatross", "wren", "gull")
    roots: list[str] = []  # noqa: RUF012

    def __init__(self, root=None, *, train):
        self.roots.append(root)
        self.items = [(Image.new("RGB", (20 + 4 * label, 30), (label * 100,) * 3), label) for label in range(3)] * 2
        self.items = self.items if train else self.items[:3]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, place):
        return self.items[place]


def in_parts(root, split):
    """A function that torchvision's newer sets are called like; without names of classes."""
    return Birds(root, train={"train": True, "test": False}[split]).items


def giving(*items):
    """A set of these items, whichever part is asked for."""
    return giving_a(list, items)


def giving_a(kind, items):
    """The same as a sequence of that kind."""

    def made(train):
        return kind(items)

    return made


GREY, BLACK = Image.new("L", (9, 9), 7), Image.new("RGB", (9, 9))


@pytest.fixture(autouse=True)
def mylab(monkeypatch):
    """The user's package in the trainer image."""
    module = types.ModuleType("mylab")
    module.Birds, module.in_parts, module.number = Birds, in_parts, 3
    module.nothing = giving()
    module.arrays = giving((np.zeros((8, 8, 3)), 0))
    module.halves = giving((BLACK, 0.5))
    module.negative = giving((BLACK, 0), (BLACK, -1))
    module.pairless = giving(BLACK)
    module.printed = giving((BLACK.convert("CMYK"), 0), (BLACK, 1))
    module.floating = giving((BLACK, 0), (BLACK.convert("F"), 1))
    module.glass = giving((BLACK, 0), (Image.new("RGBA", (8, 8), (0, 0, 0, 9)), 1))
    module.grey = giving((GREY, 0), (BLACK, np.int64(1)))
    monkeypatch.setitem(sys.modules, "mylab", module)
    Birds.roots.clear()


def of(name, **fields):
    """The data section for a set of the package."""
    return Data(**{"dataset": f"mylab:{name}", "image_size": 8, "search_validation": Part(count=3)} | fields)


@pytest.mark.parametrize("name", ["Birds", "in_parts"])
def test_it_is_called_with_the_root_and_its_part(name, tmp_path):
    """``train=True`` or ``split="train"``, whichever it has; images of any shape become squares."""
    data = load(of(name, uri=str(tmp_path)), Split.FULL)
    assert Birds.roots == [str(tmp_path)] * 2
    assert data.train.labels.tolist() == [0, 1, 2] * 2
    assert (data.train.images == (data.train.labels * 100)[:, None, None, None]).all()
    assert (data.classes, len(data.evaluation), data.image_size) == (3, 3, 8)


def test_it_needs_no_uri():
    """Then it gets no root."""
    assert len(load(of("Birds"), Split.SEARCH).train) == 3
    assert Birds.roots == [None]


def test_grey_images_become_rgb():
    """As those of every other set."""
    data = load(of("grey"), Split.FULL)
    assert data.train.images[0].unique().tolist() == [7]
    assert data.channels == 3


def test_several_sizes_need_a_side_to_be_scaled_to(caplog):
    """As in a folder; with one they are scaled, and the log says so."""
    with pytest.raises(DataError, match=r"data\.imageSize: .*image 1 of mylab:Birds has 24x30 pixels, those before"):
        load(of("Birds", image_size=None), Split.SEARCH)
    with caplog.at_level("INFO", logger="graphtrial.data"):
        load(of("Birds"), Split.SEARCH)
    assert "6 images, of modes RGB (6) and sizes 20x30 (2), 24x30 (2), 28x30 (2), become RGB of 8x8" in caplog.text


def test_torchvisions_sets_are_such_sets(tmp_path):
    """By their own names; Imagenette, which has no test part and calls its other one val, is short to fake."""
    for part in ("train", "val"):
        for wnid in ("n01440764", "n02102040"):
            folder = tmp_path / "imagenette2" / part / wnid
            folder.mkdir(parents=True)
            for number in range(3):
                BLACK.save(folder / f"{number}.JPEG")
    data = load(Data(dataset="torchvision.datasets:Imagenette", uri=str(tmp_path), image_size=8), Split.FULL)
    assert (len(data.train), len(data.evaluation), data.classes) == (6, 6, 2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Missing", r"data\.dataset: mylab:Missing cannot be imported .*install it in the trainer image"),
        ("number", r"data\.dataset: mylab:number fails .*it is called with data\.uri as its root and train=True"),
        ("nothing", r"data\.dataset: mylab:nothing has no training images"),
        ("arrays", r"image 0 of mylab:arrays cannot be used \(ndarray instead of a PIL image; leave out its transform"),
        ("halves", r"image 0 of mylab:halves cannot be used \(class 0\.5; classes are whole numbers from 0\)"),
        ("negative", r"image 1 of mylab:negative cannot be used \(class -1; classes are whole numbers"),
        ("pairless", r"image 0 of mylab:pairless cannot be used"),
        ("printed", r"image 0 of mylab:printed cannot be used \(its mode is CMYK, which becomes RGB only by a guess"),
        ("floating", r"image 1 of mylab:floating cannot be used \(its mode is F, which becomes RGB only by a guess"),
        ("glass", r"image 1 of mylab:glass cannot be used \(it is transparent in places"),
    ],
)
def test_what_is_no_set_of_images_is_named(name, words):
    """The set, the image and what would be right."""
    with pytest.raises(DataError, match=words):
        load(of(name), Split.SEARCH)


def test_a_package_that_is_not_there_is_named():
    """Only the trainer image can tell."""
    with pytest.raises(DataError, match=r"data\.dataset: nolab\.data:Birds cannot be imported \(ModuleNotFoundError"):
        load(Data(dataset="nolab.data:Birds"), Split.SEARCH)


def test_a_test_class_beyond_the_training_ones_is_refused(monkeypatch):
    """Networks have no output for it."""
    two = lambda train: [(BLACK, 0), (BLACK, 1)] if train else [(BLACK, 5)]  # noqa: E731
    monkeypatch.setattr(sys.modules["mylab"], "two", two, raising=False)
    with pytest.raises(DataError, match="a test image of mylab:two has class 5; training has 2"):
        load(of("two"), Split.FULL)


def test_classes_named_are_classes_even_without_images(monkeypatch):
    """``classes`` says how many outputs networks get, and a label beyond it is refused; a mere count says nothing."""
    module = sys.modules["mylab"]
    named = type("Named", (list,), {"classes": ["a", "b", "c", "d"]})
    items = [(BLACK, 0), (BLACK, 1)]
    monkeypatch.setattr(module, "four", giving_a(named, items), raising=False)
    assert load(of("four"), Split.FULL).classes == 4
    counted = type("Counted", (list,), {"classes": 4})
    monkeypatch.setattr(module, "counted", giving_a(counted, items), raising=False)
    assert load(of("counted"), Split.FULL).classes == 2
    short = type("Short", (list,), {"classes": ["a"]})
    monkeypatch.setattr(module, "one", giving_a(short, items), raising=False)
    with pytest.raises(DataError, match="image 1 of mylab:one has class 1; expected 0 to 0"):
        load(of("one"), Split.FULL)

"""From a manifest's data section to a trial's images."""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from graphtrial.contract import Data, Labelled, Part, Split
from graphtrial.data import DataError, load
from graphtrial.data.digits import read_digits
from graphtrial.storage import StorageError

loading = importlib.import_module("graphtrial.data.load")  # the room gives its name to the function
DIGITS = Data(dataset="digits")


def as_set(images):
    """Each image's bytes with its label."""
    return sorted(
        (image.numpy().tobytes(), int(label)) for image, label in zip(images.images, images.labels, strict=True)
    )


def test_digits_are_those_of_scikit_learn():
    """Training and test images together are the package's, with 16 scaled to 255."""
    data = load(DIGITS, Split.FULL)
    package = load_digits()
    pixels = np.round(package.images * 255 / 16).astype(np.uint8)
    expected = sorted((image.tobytes(), int(label)) for image, label in zip(pixels, package.target, strict=True))
    assert sorted(as_set(data.train) + as_set(data.evaluation)) == expected


def test_the_split_of_digits_never_changes():
    """Results on it are compared across versions, machines and seeds."""
    data = load(DIGITS, Split.FULL)
    text = hashlib.sha256(data.train.images.contiguous().numpy().tobytes() + data.train.labels.numpy().tobytes())
    assert text.hexdigest()[:16] == "d75cfc0c4da26f9f"


def test_a_search_holds_out_a_fifth_of_the_training_images():
    """Training and validation images are disjoint and together all training images; no test image among them."""
    search, full = load(DIGITS, Split.SEARCH), load(DIGITS, Split.FULL)
    assert (len(search.train), len(search.evaluation)) == (638, 159)
    assert sorted(as_set(search.train) + as_set(search.evaluation)) == as_set(full.train)


def test_labelled_images_are_drawn_after_the_split():
    """Out of what a search trains on, and the same ones on the full split; what is scored stays whole."""
    data = Data(dataset="digits", search_validation=Part(count=97), labelled=Labelled(count=300))
    search, full = load(data, Split.SEARCH), load(data, Split.FULL)
    assert (len(search.train), len(search.evaluation)) == (300, 97)
    assert (len(full.train), len(full.evaluation)) == (300, 1000)
    assert as_set(full.train) == as_set(search.train)
    everything = load(DIGITS, Split.FULL)
    assert set(as_set(full.train)) < set(as_set(everything.train))
    assert as_set(full.evaluation) == as_set(everything.evaluation)


@pytest.mark.parametrize("included", [False, True])
def test_images_without_labels_are_the_rest_of_the_rest(included):
    """In a search without its validation images; in the comparison these are unlabelled ones too."""
    data = Data(
        dataset="digits",
        search_validation=Part(count=97),
        labelled=Labelled(count=300),
        unlabelled_includes_labelled=included,
    )
    search, full = (load(data, split, unlabelled=True) for split in (Split.SEARCH, Split.FULL))
    assert load(data, Split.SEARCH).unlabelled is None
    assert (len(search.unlabelled), len(full.unlabelled)) == ((700, 797) if included else (400, 497))
    everything = sorted(as_set(search.train) + as_set(search.unlabelled) + as_set(search.evaluation))
    assert (everything == as_set(load(DIGITS, Split.FULL).train)) is not included


def test_statistics_are_those_of_the_images_trained_on():
    """Mean and standard deviation of pixels in 0..1, of the labelled images alone."""
    data = load(Data(dataset="digits", labelled=Labelled(count=100)), Split.SEARCH)
    pixels = data.train.images.double() / 255
    torch.testing.assert_close(data.mean.double(), pixels.mean((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(data.std.double(), pixels.std((0, 2, 3), correction=0), rtol=1e-6, atol=0)


def test_equal_training_images_have_equal_digests():
    """Teachers are shared by digest: other images, another digest; another evaluation, the same."""
    search, full = load(DIGITS, Split.SEARCH), load(DIGITS, Split.FULL)
    again = load(Data(dataset="digits", search_validation=Part(fraction=0.2)), Split.SEARCH)
    reseeded = load(Data(dataset="digits", search_validation=Part(fraction=0.2, seed=1)), Split.SEARCH)
    digests = {data.train_digest for data in (search, full, again, reseeded)}
    assert (again.train_digest, len(digests)) == (search.train_digest, 3)


def test_all_that_is_trained_on_has_a_digest(monkeypatch):
    """The same images, the same digest; without the unlabelled ones, or with other pixels or classes, another."""
    data = Data(dataset="digits", labelled=Labelled(count=100))

    def digest(change=lambda part: part, *, unlabelled=True):
        monkeypatch.setattr(loading, "read_digits", lambda *, train: change(read_digits(train=train)))
        return load(data, Split.SEARCH, unlabelled=unlabelled).content_digest

    def darker(part):
        return part._replace(pixels=part.pixels // 2)

    def renamed(part):
        return part._replace(labels=9 - part.labels)

    assert digest() == digest()
    assert len({digest(), digest(unlabelled=False), digest(darker), digest(renamed)}) == 4


def test_images_are_laid_out_channels_last():
    """Batches then take them as they are, without a second copy."""
    data = load(DIGITS, Split.SEARCH)
    assert data.train.images.permute(0, 2, 3, 1).is_contiguous()
    assert (data.train.images.dtype, data.train.labels.dtype) == (torch.uint8, torch.int64)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dataset": "TinyImageNet"}, r"data\.uri: is required for TinyImageNet: a path, file:// or s3:// URI"),
        (
            {"dataset": "digits", "image_size": 16},
            r"data\.imageSize: images of digits have 8 pixels a side; leave",
        ),
        ({"dataset": "CIFAR10", "image_size": 64}, r"data\.imageSize: images of CIFAR10 have 32 pixels"),
        ({"dataset": "CIFAR10"}, r"data\.uri: is required for CIFAR10"),
        ({"dataset": "ImageFolder"}, r"data\.uri: is required for ImageFolder"),
        ({"dataset": "CIFAR10", "uri": "/no/such"}, r"data\.uri: no such file or folder: /no/such$"),
        (
            {"dataset": "ImageFolder", "uri": "file:///no/such%20one"},
            r"data\.uri: no such .* folder: /no/such one$",
        ),
    ],
)
def test_what_cannot_be_loaded_names_the_field(fields, words):
    """And says what would be right."""
    with pytest.raises(DataError, match=words):
        load(Data(**fields), Split.SEARCH)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    """As in a shell."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match=f"{tmp_path}/data holds no folder with data_batch_1 in it"):
        load(Data(dataset="CIFAR10", uri="~/data"), Split.SEARCH)


@pytest.mark.parametrize(
    ("below", "words"),
    [
        ("x" * 300, "cannot be read: File name too long; check"),
        ("loop/data", "cannot be read: Too many levels of symbolic links; check"),
        ("file/data", r"data\.uri: no such file or folder: "),
        ("a%00b", r"data\.uri: no such file or folder: "),
    ],
)
def test_a_place_that_cannot_be_is_named(tmp_path, below, words):
    """It is not there, or the system says why it cannot be looked at."""
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError, match=words):
        load(Data(dataset="ImageFolder", uri=f"{tmp_path.as_uri()}/{below}"), Split.SEARCH)


REFUSALS = pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.EACCES, DataError),
        (errno.ENOENT, DataError),
        (errno.EIO, StorageError),
        (errno.ESTALE, StorageError),
        (errno.EMFILE, StorageError),
    ],
)


@REFUSALS
def test_what_the_system_refuses_is_named(tmp_path, monkeypatch, code, kind):
    """Of the data it is final; of this machine, or its way to the data, another try may know nothing."""

    def iterdir(path):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(kind, match=f"data.uri: {tmp_path} cannot be read: {os.strerror(code)}; check"):
        load(Data(dataset="ImageFolder", uri=str(tmp_path)), Split.SEARCH)


@REFUSALS
def test_a_place_that_the_system_hides_is_named(tmp_path, monkeypatch, code, kind):
    """What lies above it may be closed to this user, or on a file system that is gone."""
    stat = Path.stat

    def hidden(path, **how):
        if path.name == "hidden":
            raise OSError(code, os.strerror(code), str(path))
        return stat(path, **how)

    monkeypatch.setattr(Path, "stat", hidden)
    words = "no such file or folder: " if code == errno.ENOENT else f"{tmp_path}/hidden cannot be read: "
    with pytest.raises(kind, match=f"data.uri: {words}"):
        load(Data(dataset="ImageFolder", uri=str(tmp_path / "hidden")), Split.SEARCH)

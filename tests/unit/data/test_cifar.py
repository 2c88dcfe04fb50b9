"""CIFAR files in the very form in which they are published, whole and damaged."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest
import torch

from graphtrial.contract import Data, Split
from graphtrial.data import DataError, load

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 3072), dtype=np.uint8)
"""As published: each row holds the red plane, then green, then blue."""


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did, which made the published files."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value):
        """One opcode for both kinds of string."""
        raw = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def write_batch(path, **batch):
    """One published file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(batch)
    path.write_bytes(file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))


@pytest.fixture
def cifar10(tmp_path):
    """Fifty training and ten test images in torchvision's layout; image i has label i mod 10."""
    folder = tmp_path / "cifar-10-batches-py"
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    for part, name in enumerate(names):
        write_batch(folder / name, data=PIXELS[part * 10 : part * 10 + 10], labels=list(range(10)), batch_label=name)
    return tmp_path


@pytest.fixture
def cifar100(tmp_path):
    """Fifty training and ten test images; image i of a file has label 99 - i."""
    for name, pixels in (("train", PIXELS[:50]), ("test", PIXELS[50:])):
        labels = [99 - index for index in range(len(pixels))]
        write_batch(tmp_path / "cifar-100-python" / name, data=pixels, fine_labels=labels, coarse_labels=[0] * 10)
    return tmp_path


def test_the_test_files_are_as_python_2_wrote_them(cifar10):
    """No byte of text is marked as unicode, and the array's constructor is the old one."""
    raw = (cifar10 / "cifar-10-batches-py" / "test_batch").read_bytes()
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in raw
    assert pickle.BINUNICODE + struct.pack("<I", 4) + b"data" not in raw


def test_cifar10_is_read_plane_by_plane(cifar10):
    """Pixels, labels and order are those of the files."""
    data = load(Data(dataset="CIFAR10", uri=str(cifar10)), Split.FULL)
    assert torch.equal(data.train.images, torch.from_numpy(PIXELS[:50].reshape(50, 3, 32, 32)))
    assert torch.equal(data.evaluation.images, torch.from_numpy(PIXELS[50:].reshape(10, 3, 32, 32)))
    assert data.train.labels.tolist() == list(range(10)) * 5
    assert (data.classes, data.channels, data.image_size) == (10, 3, 32)


def test_cifar100_is_read_with_its_fine_labels(cifar100):
    """A file URI serves as well as a path."""
    data = load(Data(dataset="CIFAR100", uri=cifar100.as_uri()), Split.FULL)
    assert data.train.labels.tolist() == [99 - index for index in range(50)]
    assert (data.classes, len(data.evaluation)) == (100, 10)


def test_a_search_does_not_read_the_test_images(cifar10):
    """The test file may even be missing."""
    (cifar10 / "cifar-10-batches-py" / "test_batch").unlink()
    data = load(Data(dataset="CIFAR10", uri=str(cifar10)), Split.SEARCH)
    assert (len(data.train), len(data.evaluation)) == (40, 10)


def in_room(batch, room):
    """A pickle whose functions of numpy are in its older or its newer room, without the length of its one frame."""
    if batch[2:3] == pickle.FRAME:
        batch = batch[:2] + batch[11:]
    for kind in ("multiarray", "numeric"):
        old, new = f"numpy._core.{kind}".encode(), f"{room}.{kind}".encode()
        batch = batch.replace(b"c" + old + b"\n", b"c" + new + b"\n")
        batch = batch.replace(
            pickle.SHORT_BINUNICODE + bytes([len(old)]) + old, pickle.SHORT_BINUNICODE + bytes([len(new)]) + new
        )
    return batch


@pytest.mark.parametrize("room", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "labels",
    [list(range(10)), list(np.arange(10)), np.arange(10), np.arange(10, dtype=np.uint8)],
    ids=["numbers", "scalars", "array", "bytes"],
)
def test_batches_that_others_have_made_are_read(cifar10, room, protocol, labels):
    """In newer pickles, by older and newer numpy, with labels as it has them."""
    for part in range(5):
        batch = pickle.dumps({"data": PIXELS[part * 10 : part * 10 + 10], "labels": labels}, protocol)
        path = cifar10 / "cifar-10-batches-py" / f"data_batch_{part + 1}"
        path.write_bytes(in_room(batch, room))
    data = load(Data(dataset="CIFAR10", uri=str(cifar10)), Split.FULL)
    assert torch.equal(data.train.images, torch.from_numpy(PIXELS[:50].reshape(50, 3, 32, 32)))
    assert data.train.labels.tolist() == list(range(10)) * 5


def test_another_set_in_the_folder_is_refused(cifar100):
    """The message names the folder and the archive that would be right."""
    with pytest.raises(
        DataError, match=r"holds no folder with data_batch_1 in it; give cifar-10-batches-py, .*tar\.gz"
    ):
        load(Data(dataset="CIFAR10", uri=str(cifar100)), Split.SEARCH)


def packed(folder, target):
    """A tar of the set's own folder as published ones are, with its files in another order than theirs."""
    with tarfile.open(target, "w:gz" if target.suffix == ".gz" else "w") as tar:
        tar.add(folder, folder.name, recursive=False)
        for path in sorted(folder.iterdir(), reverse=True):
            tar.add(path, f"{folder.name}/{path.name}")
    return target


@pytest.mark.parametrize("dataset", ["CIFAR10", "CIFAR100"])
@pytest.mark.parametrize("form", ["folder", "tar", "tar.gz"])
def test_the_set_is_the_same_in_every_form(request, tmp_path, dataset, form):
    """Its own folder and its archive hold what torchvision's root holds; the digest is the same, too."""
    root = request.getfixturevalue(dataset.lower())
    (folder,) = (path for path in root.iterdir() if path.is_dir())
    given = folder if form == "folder" else packed(folder, tmp_path / f"{folder.name}.{form}")
    one, other = (load(Data(dataset=dataset, uri=str(uri)), Split.FULL) for uri in (root, given))
    assert one.train_digest == other.train_digest
    for there, here in ((one.train, other.train), (one.evaluation, other.evaluation)):
        assert torch.equal(there.images, here.images)
        assert torch.equal(there.labels, here.labels)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_an_archive_that_is_cut_off_is_named(cifar10, tmp_path, share):
    """As a download that broke off leaves it."""
    archive = packed(cifar10 / "cifar-10-batches-py", tmp_path / "cifar-10-python.tar.gz")
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is cut off or no tar archive .*; download it again"):
        load(Data(dataset="CIFAR10", uri=str(archive)), Split.SEARCH)


def test_a_batch_is_named_with_its_archive(cifar10, tmp_path):
    """One that is missing, and one that is damaged."""
    folder = cifar10 / "cifar-10-batches-py"
    (folder / "data_batch_3").write_bytes(b"")
    damaged = packed(folder, tmp_path / "damaged.tar")
    (folder / "data_batch_3").unlink()
    missing = packed(folder, tmp_path / "missing.tar")
    for archive, words in ((damaged, "is cut off or no CIFAR batch"), (missing, "is missing: the set is incomplete")):
        with pytest.raises(DataError, match=f"{archive.name}: cifar-10-batches-py/data_batch_3 {words}"):
            load(Data(dataset="CIFAR10", uri=str(archive)), Split.SEARCH)


def test_a_missing_batch_is_named(cifar10):
    """A set that was downloaded in part says which file is not there."""
    (cifar10 / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(DataError, match=r"data_batch_3 is missing: the set is incomplete"):
        load(Data(dataset="CIFAR10", uri=str(cifar10)), Split.SEARCH)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.999])
def test_a_batch_that_is_cut_off_is_named(cifar10, share):
    """Wherever a download stopped, the file does not pass for a whole one."""
    path = cifar10 / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"data_batch_3 is cut off or no CIFAR batch .*; expected a pickled batch"):
        load(Data(dataset="CIFAR10", uri=str(cifar10)), Split.SEARCH)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"data": PIXELS[:10], "labels": [0] * 9}, r"'data' is uint8 \[10, 3072\] for 9 labels"),
        ({"data": PIXELS[:10, :100], "labels": [0] * 10}, r"'data' is uint8 \[10, 100\] for 10 labels"),
        ({"data": PIXELS[:10].astype(float), "labels": [0] * 10}, r"'data' is float64 \[10, 3072\]"),
        ({"data": PIXELS[:0], "labels": []}, r"'data' is uint8 \[0, 3072\] for 0 labels"),
        ({"data": PIXELS[:10], "fine_labels": [0] * 10}, "no CIFAR batch"),
        ({"data": PIXELS[:10], "labels": np.zeros((10, 1), int)}, r"'data' is uint8 \[10, 3072\] for 10 labels"),
        ({"data": PIXELS[:10], "labels": [10] * 10}, "labels reach from 10 to 10; expected 0 to 9"),
    ],
    ids=["too few labels", "small images", "floats", "empty", "other set", "column of labels", "label out of range"],
)
def test_a_batch_of_another_form_is_named(cifar10, batch, words):
    """The message tells the file, what is in it, and what should be."""
    write_batch(cifar10 / "cifar-10-batches-py" / "data_batch_2", **batch)
    with pytest.raises(DataError, match=f"data_batch_2.*{words}"):
        load(Data(dataset="CIFAR10", uri=str(cifar10)), Split.SEARCH)


class Command:
    """Runs a command where pickles are trusted."""

    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


def test_a_batch_cannot_run_code(cifar10):
    """A data set that brings a program along is refused, and the program is not run."""
    write_batch(cifar10 / "cifar-10-batches-py" / "data_batch_1", data=Command(), labels=[])
    with pytest.raises(DataError, match="system does not belong in a CIFAR batch"):
        load(Data(dataset="CIFAR10", uri=str(cifar10)), Split.SEARCH)

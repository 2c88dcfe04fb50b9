"""Decoded images on disk: used while they fit and are whole, made anew otherwise, never a reason to fail."""

from __future__ import annotations

import errno
import logging
import os
import tarfile
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

import numpy as np
import pytest
from tests.unit.data.test_folder import COLOURS, picture

from graphtrial.contract import Data, Split
from graphtrial.data import cache, files, listing, load
from graphtrial.data.cache import cached, cached_text

PIXELS = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


def fail():
    """A decoder that must not be asked."""
    raise AssertionError


def decode():
    """The pixels, the second image first."""
    return reversed(list(enumerate(PIXELS)))


def through(folder, make=decode):
    """The pixels by way of the cache."""
    return cached(str(folder) if folder else "", "key", PIXELS.shape, make)


def arrays(folder):
    """The files that hold arrays, without locks."""
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


def test_what_was_decoded_once_is_mapped_and_its_file_cannot_be_changed(tmp_path):
    """The second caller decodes nothing, shares the file's pages, and writes into a copy of its own."""
    assert np.array_equal(through(tmp_path / "made" / "here"), PIXELS)
    found = through(tmp_path / "made" / "here", fail)
    assert np.array_equal(found, PIXELS)
    assert isinstance(found, np.memmap)
    found[:] = 0
    assert np.array_equal(through(tmp_path / "made" / "here", fail), PIXELS)


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    """An empty name is not the current folder."""
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(through(""), PIXELS)
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_what_is_large_lies_in_a_file_without_a_name(tmp_path, monkeypatch):
    """It takes the pod's own space and no memory, and nothing is left of it."""
    monkeypatch.setattr(cache, "_IN_MEMORY", PIXELS.nbytes - 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = through("")
    assert np.array_equal(found, PIXELS)
    assert isinstance(found, np.memmap)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["empty", "header", "cut off", "altered"])
def test_a_damaged_file_is_made_anew(tmp_path, damage):
    """Whatever happened to it, the pixels are right, and the next caller finds a whole file."""
    through(tmp_path)
    [path] = arrays(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes({"empty": b"", "header": b"x" * 300, "cut off": whole[:-1], "altered": whole}[damage])
    assert np.array_equal(through(tmp_path), PIXELS)
    assert np.array_equal(through(tmp_path, fail), PIXELS)
    assert arrays(tmp_path) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("large", [False, True])
def test_a_cache_that_cannot_be_written_is_logged_and_leaves_nothing(tmp_path, monkeypatch, caplog, code, large):
    """The trial goes on; the log names the folder and what the system said."""

    def write(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(np.lib.format, "write_array_header_2_0", write)
    monkeypatch.setattr(cache, "_IN_MEMORY", 0 if large else 2**30)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(through(tmp_path), PIXELS)
    assert caplog.messages == [f"decoded images are not cached, {tmp_path} cannot be written: {os.strerror(code)}"]
    assert arrays(tmp_path) == []


def test_what_the_decoder_raises_passes_through_and_leaves_nothing(tmp_path):
    """A damaged image is no fault of the cache."""

    def damaged():
        yield 0, PIXELS[0]
        raise OSError(errno.EIO, "damaged")

    with pytest.raises(OSError, match="damaged"):
        through(tmp_path, damaged)
    assert arrays(tmp_path) == []


def test_two_trials_decode_once(tmp_path):
    """The second waits while the first decodes, and finds its file."""
    entered, release = threading.Event(), threading.Event()
    decoded = []

    def slowly():
        decoded.append(None)
        entered.set()
        assert release.wait(60)
        return decode()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(through, tmp_path, slowly)
        assert entered.wait(60)
        second = pool.submit(through, tmp_path, slowly)
        with pytest.raises(FutureTimeoutError):
            second.result(0.2)
        release.set()
        assert np.array_equal(first.result(), second.result())
    assert len(decoded) == 1


def test_what_a_killed_trial_has_left_is_written_over(tmp_path):
    """Half a file of many gigabytes would else stay for ever."""
    (tmp_path / "key.tmp").write_bytes(b"left" * 1000)
    through(tmp_path)
    assert np.array_equal(through(tmp_path, fail), PIXELS)
    assert [path.suffix for path in arrays(tmp_path)] == [".npy"]


def test_without_locks_trials_do_not_share_a_temporary_file(tmp_path, monkeypatch):
    """A file system that has none costs a second decoding and nothing else."""

    def flock(*_):
        raise OSError(errno.ENOTSUP, "no locks")

    def meanwhile():
        assert np.array_equal(through(tmp_path), PIXELS)
        return decode()

    monkeypatch.setattr(cache.fcntl, "flock", flock)
    assert np.array_equal(through(tmp_path, meanwhile), PIXELS)
    assert [path.suffix for path in arrays(tmp_path)] == [".npy"]


def test_of_large_arrays_a_part_is_checked(tmp_path, monkeypatch):
    """Images spread evenly over the array, the first among them."""
    monkeypatch.setattr(cache, "_CHECKED", PIXELS.nbytes)
    through(tmp_path)
    [path] = arrays(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    assert not np.array_equal(through(tmp_path, fail), PIXELS)
    whole[-PIXELS.nbytes] ^= 1
    path.write_bytes(whole)
    assert np.array_equal(through(tmp_path), PIXELS)


@pytest.mark.parametrize(
    "spoil", [lambda _: b"", lambda whole: whole[:-1], lambda whole: whole.replace(b"text", b"test")]
)
def test_a_text_is_kept_too_and_checked(tmp_path, spoil):
    """One that was cut off or altered is made anew."""
    assert cached_text(str(tmp_path), "key", lambda: "a text") == "a text"
    assert cached_text(str(tmp_path), "key", fail) == "a text"
    path = tmp_path / "key.txt"
    path.write_bytes(spoil(path.read_bytes()))
    assert cached_text(str(tmp_path), "key", lambda: "made anew") == "made anew"


@pytest.fixture
def images(tmp_path):
    """A folder with two images of each class."""
    for name, colour in COLOURS.items():
        for number in "02":
            path = tmp_path / "set" / "train" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(colour).save(path)
    return tmp_path / "set"


def decoded(monkeypatch, images, tmp_path, **fields):
    """Whether loading decoded anything."""
    calls = []
    with monkeypatch.context() as patch:
        decode = listing.decoded
        patch.setattr(listing, "decoded", lambda *what, **how: calls.append(what) or decode(*what, **how))
        load(Data(dataset="ImageFolder", uri=str(images), **fields), Split.SEARCH, cache=str(tmp_path / "cache"))
    return bool(calls)


def test_images_are_decoded_again_only_when_something_changed(images, tmp_path, monkeypatch):
    """A new size, a changed file or a file more is a new key; everything else is found."""
    changed = images / "train" / "ant" / "0.png"
    assert decoded(monkeypatch, images, tmp_path)
    assert not decoded(monkeypatch, images, tmp_path)
    assert decoded(monkeypatch, images, tmp_path, image_size=16)
    os.utime(changed, (1, 1))
    assert decoded(monkeypatch, images, tmp_path)
    picture((1, 2, 3)).save(images / "train" / "ant" / "1.png")
    assert decoded(monkeypatch, images, tmp_path)
    assert not decoded(monkeypatch, images, tmp_path)


def test_a_cache_of_another_version_is_not_read(images, tmp_path, monkeypatch):
    """Neither its indexes, which may be laid out otherwise, nor what it has decoded."""
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(images, "set")
    with monkeypatch.context() as patch:
        patch.setattr(files, "_FORMAT", "another")
        assert decoded(monkeypatch, tmp_path / "set.tar", tmp_path)
    assert decoded(monkeypatch, tmp_path / "set.tar", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(files, "_FORMAT", "one more")
        patch.setattr(files, "_index", lambda _: {"laid out": "otherwise"})
        with pytest.raises(KeyError):
            decoded(monkeypatch, tmp_path / "set.tar", tmp_path)
    assert not decoded(monkeypatch, tmp_path / "set.tar", tmp_path)

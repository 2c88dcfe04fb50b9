"""Decoded images on disk: used while they fit and are whole, made anew otherwise, never a reason to fail."""

from __future__ import annotations

import errno
import logging
import os

import numpy as np
import pytest
from tests.unit.data.test_folder import COLOURS, picture

from graphtrial.contract import Data, Split
from graphtrial.data import folder, load
from graphtrial.data.cache import cached

PIXELS = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


def fail():
    """A decoder that must not be asked."""
    raise AssertionError


def through(cache, decode):
    """The pixels by way of the cache."""
    return cached(str(cache), "key", PIXELS.shape, decode)


def test_what_was_decoded_once_is_mapped_and_cannot_be_written(tmp_path):
    """The second caller decodes nothing and shares the file's pages."""
    through(tmp_path / "made" / "here", lambda: PIXELS)
    found = through(tmp_path / "made" / "here", fail)
    assert np.array_equal(found, PIXELS)
    assert (isinstance(found, np.memmap), found.flags.writeable) == (True, False)


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    """An empty name is not the current folder."""
    monkeypatch.chdir(tmp_path)
    assert through("", lambda: PIXELS) is PIXELS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["empty", "header", "cut off", "altered"])
def test_a_damaged_file_is_made_anew(tmp_path, damage):
    """Whatever happened to it, the pixels are right, and the next caller finds a whole file."""
    through(tmp_path, lambda: PIXELS)
    [path] = tmp_path.iterdir()
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes({"empty": b"", "header": b"x" * 300, "cut off": whole[:-1], "altered": whole}[damage])
    assert np.array_equal(through(tmp_path, lambda: PIXELS), PIXELS)
    assert np.array_equal(through(tmp_path, fail), PIXELS)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_cache_that_cannot_be_written_is_logged_and_leaves_nothing(tmp_path, monkeypatch, caplog, code):
    """The trial goes on; the log names the folder and what the system said."""

    def save(file, pixels):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(np, "save", save)
    with caplog.at_level(logging.WARNING):
        assert through(tmp_path, lambda: PIXELS) is PIXELS
    assert caplog.messages == [f"decoded images are not cached, {tmp_path} cannot be written: {os.strerror(code)}"]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def images(tmp_path):
    """A folder with one image of each class."""
    for name, colour in COLOURS.items():
        path = tmp_path / "set" / "train" / name / "0.png"
        path.parent.mkdir(parents=True)
        picture(colour).save(path)
    return tmp_path / "set"


def decoded(monkeypatch, images, tmp_path, **fields):
    """Whether loading decoded anything."""
    calls = []
    with monkeypatch.context() as patch:
        decode = folder._decode
        patch.setattr(folder, "_decode", lambda *what: calls.append(what) or decode(*what))
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

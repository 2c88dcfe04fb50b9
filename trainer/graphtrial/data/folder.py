"""Images in folders, one per class: ``train/<class>/*`` and ``test/<class>/*``, on disk or inside a tar.

The two may lie one folder deeper, as they do in most archives. Classes are the folders of ``train`` in alphabetical
order. Images become RGB, their shorter side is scaled to the size asked for, and the middle is kept.

Decided against: torchvision's ImageFolder, which cannot read an archive and passes a file on to be decoded, and so
to fail, only when it is drawn; here every image is decoded before training starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import re
import tarfile
import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from graphtrial.data.cache import cached
from graphtrial.data.images import DataError, Part

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_MEMBER = re.compile(r"(?:\./)?(?P<root>[^/]+/)?(?P<name>(train|test)/[^/]+/[^/]+)")
_LAYOUT = "expected train/<class>/<image>, and test/<class>/<image> for the final comparison"


class _Entry(NamedTuple):
    """One image file."""

    name: str
    """Below the root: ``train/cat/0001.jpg``."""
    size: int
    """In bytes."""
    modified: float
    """Seconds since 1970."""

    @property
    def label(self) -> str:
        return self.name.split("/")[1]


@dataclass(frozen=True, slots=True)
class Listing:
    """Which images there are, with the files not yet opened."""

    path: Path
    """The folder that holds ``train``, or the archive."""
    train: tuple[_Entry, ...]
    test: tuple[_Entry, ...]


def list_folder(path: Path) -> Listing:
    """The images below a folder or in an archive, in alphabetical order.

    Raises:
        DataError: If there is no ``train`` folder with images, or a test class that training does not have.
    """
    listing = _list_directory(path) if path.is_dir() else _list_archive(path)
    if not listing.train:
        message = f"data.uri: {path} holds no training images; {_LAYOUT}"
        raise DataError(message)
    strangers = {entry.label for entry in listing.test} - {entry.label for entry in listing.train}
    if strangers:
        message = f"{path}: no folder train/{min(strangers)} for test/{min(strangers)}; {_LAYOUT}"
        raise DataError(message)
    return listing


def read_folder(listing: Listing, size: int, *, train: bool, cache: str) -> Part:
    """The training or the test images, decoded to ``size`` pixels a side, or from the cache.

    Raises:
        DataError: If a file is no image or damaged, or there are no test images.
    """
    entries = listing.train if train else listing.test
    if not entries:
        message = f"data.uri: {listing.path} holds no test images for the final comparison; {_LAYOUT}"
        raise DataError(message)
    names = sorted({entry.label for entry in listing.train})
    number = {name: index for index, name in enumerate(names)}
    shape = (len(entries), size, size, 3)
    pixels = cached(cache, _key(listing, entries, size), shape, lambda: _decode(listing, entries, size))
    labels = np.array([number[entry.label] for entry in entries], dtype=np.int64)
    return Part(pixels, labels, len(names), tuple(f"{entry.name} {entry.size}" for entry in entries))


def _list_directory(path: Path) -> Listing:
    deeper = [path] if (path / "train").is_dir() else [child for child in path.iterdir() if (child / "train").is_dir()]
    if len(deeper) != 1:
        message = f"data.uri: {path} holds {len(deeper) or 'no'} folders with train in them; {_LAYOUT}"
        raise DataError(message)
    root = deeper[0]
    return Listing(root, _ordered(_list_part(root, "train")), _ordered(_list_part(root, "test")))


def _list_part(root: Path, part: str) -> Iterator[_Entry]:
    folder = root / part
    labels = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    for path in (path for label in labels for path in label.iterdir()):
        name = path.relative_to(root).as_posix()
        if _is_image(name) and path.is_file():
            state = path.stat()
            yield _Entry(name, state.st_size, state.st_mtime)


def _ordered(entries: Iterable[_Entry]) -> tuple[_Entry, ...]:
    """By class, then by file: the order in which images are numbered."""
    return tuple(sorted(entries, key=lambda entry: entry.name.split("/")))


def _list_archive(path: Path) -> Listing:
    found: dict[str, list[_Entry]] = {}
    with _archive(path) as archive:
        for member in archive.getmembers():
            match = _MEMBER.fullmatch(member.name)
            if match and member.isfile() and _is_image(match["name"]):
                entry = _Entry(match["name"], member.size, member.mtime)
                found.setdefault(match["root"] or "", []).append(entry)
        _check_end(archive)
    if len(found) > 1:
        message = f"data.uri: {path} holds several folders with train or test in them: {', '.join(sorted(found))}"
        raise DataError(message)
    entries = next(iter(found.values()), [])
    train, test = ([entry for entry in entries if entry.name.startswith(part)] for part in ("train/", "test/"))
    return Listing(path, _ordered(train), _ordered(test))


def _is_image(name: str) -> bool:
    """Neither the file nor its folder is hidden, and the file's suffix is that of an image."""
    return "/." not in name and Path(name).suffix.lower() in _SUFFIXES


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[tarfile.TarFile]:
    """An open archive; what is found damaged while it is read becomes a DataError that names it."""
    try:
        with tarfile.open(path, "r:*") as archive:
            yield archive
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        message = f"data.uri: {path} is cut off or no tar archive ({reason}); download it again"
        raise DataError(message) from error


def _check_end(archive: tarfile.TarFile) -> None:
    """An archive ends with a block of zeros; ``tarfile`` does not miss it in one that is cut off between files."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        message = "no end-of-archive block"
        raise EOFError(message)


def _key(listing: Listing, entries: Sequence[_Entry], size: int) -> str:
    described = json.dumps([str(listing.path.resolve()), size, entries])
    return hashlib.sha256(described.encode()).hexdigest()


def _decode(listing: Listing, entries: Sequence[_Entry], size: int) -> np.ndarray:
    """uint8 [N, size, size, 3], in the order of ``entries``."""
    position = {entry.name: index for index, entry in enumerate(entries)}
    pixels = np.empty((len(entries), size, size, 3), dtype=np.uint8)
    for name, source in _sources(listing, position):
        try:
            with Image.open(source) as image:
                fitted = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
            pixels[position[name]] = np.asarray(fitted)
        except Exception as error:  # a damaged image raises nearly anything
            message = f"{listing.path}: {name} is damaged or no image ({error}); replace or remove it"
            raise DataError(message) from error
    return pixels


def _sources(listing: Listing, names: Container[str]) -> Iterator[tuple[str, Path | IO[bytes]]]:
    """The named files in the order in which they lie, so that a compressed archive is read once."""
    if listing.path.is_dir():
        for entry in (*listing.train, *listing.test):
            if entry.name in names:
                yield entry.name, listing.path / entry.name
        return
    with _archive(listing.path) as archive:
        for member in archive:
            match = _MEMBER.fullmatch(member.name)
            if match and match["name"] in names and (file := archive.extractfile(member)):
                yield match["name"], file

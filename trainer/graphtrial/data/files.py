"""The files of a data set by their names below its root, in a folder or inside a tar, compressed or not.

Nothing is ever extracted: what an archive holds is read from it. Its index is kept in the cache with the texts of its
small lists, because finding them means reading the archive from end to end.

Hidden files are passed over: archives made on a Mac are full of them. A hard link is the file that it is of. A symbolic
one may lead anywhere: in a folder of an archived set it is refused, for nothing is to be left out without a word.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import lzma
import os
import re
import tarfile
import zlib
from collections import defaultdict
from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from graphtrial.data.cache import cached_text
from graphtrial.data.images import DataError

_LISTS = frozenset({".txt", ".json", ".mat"})
"""Suffixes of the files in which authors say what is in a set."""
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
"""Suffixes of images."""
_LARGEST_LIST = 8 * 2**20
"""Bytes; CUB's lists of attributes, which nobody asks for, are larger."""
_FORMAT = 2
"""Of what the cache keeps of files: raised with another layout of indexes or another way of decoding, so that trials of
two versions may share a cache."""
_DEPTH = 3
"""Folders between what ``data.uri`` names and the set's root; torchvision's DTD lies two deep."""


class Entry(NamedTuple):
    """One file."""

    size: int
    """In bytes."""
    modified: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Files:
    """What there is, with the files not yet opened.

    Attributes:
        path: The folder or the archive.
        entries: Every file by its name below the root, such as ``train/cat/0001.jpg``.
        prefix: Where the root lies below ``path``: empty, or with a slash at its end.
        lists: Of an archive, the bytes of its small lists by whole name; None for a folder.
        offsets: Of an archive, where the member with a file's bytes begins, by whole name; links to it share it.
        links: Of an archive, what links that are not read lead to, by whole name.
    """

    path: Path
    entries: Mapping[str, Entry]
    prefix: str = ""
    lists: Mapping[str, bytes] | None = None
    offsets: Mapping[str, int] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    def read(self, name: str) -> bytes:
        """A list that the set comes with.

        Raises:
            DataError: If there is none of that name.
        """
        if name not in self.entries:
            message = f"{self.where(name)} is missing: the set is incomplete; download it again, or extract all of it"
            raise DataError(message)
        if self.lists is None:
            return (self.path / self.prefix / name).read_bytes()
        try:
            return self.lists[self.prefix + name]
        except KeyError as error:
            message = f"{self.where(name)} has {self.entries[name].size} bytes, too many for a list; download it again"
            raise DataError(message) from error

    def where(self, name: str) -> str:
        """The file as a message names it."""
        return f"{self.path}{'/' if self.lists is None else ': '}{self.prefix}{name}"

    def each(self, names: Container[str]) -> Iterator[tuple[str, Path | IO[bytes]]]:
        """The named files in the order in which they lie, so that a compressed archive is read once."""
        if self.lists is None:
            yield from ((name, self.path / self.prefix / name) for name in self.entries if name in names)
            return
        wanted: dict[int, list[str]] = defaultdict(list)
        for name in self.entries:
            if name in names:
                wanted[self.offsets[self.prefix + name]].append(name)
        with _opened(self.path) as archive:
            for member in archive:
                if (found := wanted.get(member.offset)) and (file := archive.extractfile(member)):
                    content = file.read()
                    yield from ((name, io.BytesIO(content)) for name in found)

    def key(self, *about: object) -> str:
        """Equal for the same files, by place, name, size and time, and equal things to do with them."""
        described = json.dumps([_FORMAT, str(self.path.resolve()), self.prefix, about])
        return hashlib.sha256(described.encode()).hexdigest()


def find_files(path: Path, markers: Collection[str], folders: Collection[str], expected: str, *, cache: str) -> Files:
    """The files of the set whose root holds ``markers``.

    Args:
        path: What ``data.uri`` names: the root, a folder above it, or an archive.
        markers: Files, or folders with a slash at the end, that make a folder the root.
        folders: Where torchvision puts the root below its own; looked into first.
        expected: Says in an error what would be right.
        cache: A folder; empty: none.

    Raises:
        DataError: If there is no such root or more than one, the archive is damaged, or a link in it is not read.
    """
    if path.is_dir():
        found = [folder for folder in ("", *folders) if _holds(path / folder, markers)][:1]
        deeper = sorted(child.name for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
        prefix = _only(path, found or [name for name in deeper if _holds(path / name, markers)], markers, expected)
        return Files(path, dict(sorted(_below(path / prefix), key=_order)), prefix and f"{prefix}/")
    whole = _archived(path, cache)
    prefixes = [_prefixes(whole.entries, marker) for marker in markers]
    found = sorted(set.intersection(*prefixes), key=lambda prefix: prefix.count("/"))
    shallowest = [prefix for prefix in found if prefix.count("/") == found[0].count("/")]
    prefix = _only(path, shallowest, markers, expected)
    _refuse_links(path, prefix, whole.links)
    inside = {name.removeprefix(prefix): entry for name, entry in whole.entries.items() if name.startswith(prefix)}
    return replace(whole, entries=dict(sorted(inside.items(), key=_order)), prefix=prefix)


def _only(path: Path, found: list[str], markers: Collection[str], expected: str) -> str:
    if len(found) != 1:
        several = f"several folders ({', '.join(found)})" if found else "no folder"
        message = f"data.uri: {path} holds {several} with {' and '.join(markers)} in it; {expected}"
        raise DataError(message)
    return found[0]


def _refuse_links(path: Path, prefix: str, links: Mapping[str, str]) -> None:
    """Those in a folder of the set may be images or folders of them; beside its folders may lie a README."""
    for name, target in links.items():
        below = name.removeprefix(prefix)
        is_read = "/" in below or PurePosixPath(below).suffix.lower() in PICTURES | _LISTS
        if name.startswith(prefix) and is_read:
            message = (
                f"data.uri: {path}: {name} is a link to {target}, which is not read; pack the set with "
                f"tar --dereference --hard-dereference"
            )
            raise DataError(message)


def _holds(folder: Path, markers: Collection[str]) -> bool:
    return all(
        (folder / marker).is_dir() if marker.endswith("/") else (folder / marker).is_file() for marker in markers
    )


def _prefixes(names: Collection[str], marker: str) -> set[str]:
    pattern = re.compile(rf"((?:[^/]+/){{0,{_DEPTH}}}?){re.escape(marker)}{'.+' if marker.endswith('/') else ''}")
    return {match[1] for match in map(pattern.fullmatch, names) if match}


def _order(item: tuple[str, Entry]) -> list[str]:
    """By folder, then by file, so that a folder whose name continues another's comes after it."""
    return item[0].split("/")


def _below(folder: Path, prefix: str = "") -> Iterator[tuple[str, Entry]]:
    with os.scandir(folder) as found:
        for each in found:
            name = prefix + each.name
            if each.name.startswith("."):
                continue
            if each.is_dir():
                yield from _below(folder / each.name, f"{name}/")
            elif each.is_file():
                state = each.stat()
                yield name, Entry(state.st_size, state.st_mtime)


def _archived(path: Path, cache: str) -> Files:
    state = path.stat()
    described = json.dumps([_FORMAT, str(path.resolve()), state.st_size, state.st_mtime_ns])
    key = f"{hashlib.sha256(described.encode()).hexdigest()}-index"
    index = json.loads(cached_text(cache, key, lambda: json.dumps(_index(path))))
    entries = {name: Entry(size, modified) for name, size, modified, _ in index["files"]}
    offsets = {name: offset for name, _, _, offset in index["files"]}
    lists = {name: base64.b64decode(text) for name, text in index["lists"].items()}
    return Files(path, entries, lists=lists, offsets=offsets, links=index["links"])


def _index(path: Path) -> dict[str, object]:
    files: list[tuple[str, int, float, int]] = []
    lists: dict[str, str] = {}
    links: dict[str, str] = {}
    earlier: dict[str, tarfile.TarInfo] = {}
    with _opened(path) as archive:
        for member in archive:
            name = _name(member.name)
            holder = earlier.get(_name(member.linkname)) if member.islnk() else member if member.isfile() else None
            if holder is not None:
                earlier[name] = holder  # hidden ones too: what links to them need not be
            if "/." in f"/{name}":
                continue
            if holder is None:
                if member.islnk() or member.issym():
                    links[name] = member.linkname
                continue
            files.append((name, holder.size, member.mtime, holder.offset))
            is_list = PurePosixPath(name).suffix in _LISTS and holder.size <= _LARGEST_LIST
            if is_list and (file := archive.extractfile(holder)):
                lists[name] = base64.b64encode(file.read()).decode()
        _check_end(archive)
    return {"files": files, "lists": lists, "links": links}


def _name(found: str) -> str:
    """Below the archive's root, also where it was packed by absolute paths (``tar -P``)."""
    return found.lstrip("/").removeprefix("./")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
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

"""Objects as files, each with a sidecar ``<name>.sha256`` that ``sha256sum -c`` understands.

An object and its sidecar cannot be replaced in one rename, so a write has three steps, each atomic and durable: the
sidecar that lists the old and the new digest, the object, the sidecar with the new digest alone. At whatever point a
process is killed or the power fails, the object in place has its digest in the sidecar in place.

Writers of one folder exclude one another with ``flock`` on ``.lock``. That is what makes a pointer's compare-and-swap
atomic, and it lets all writers of a folder share one temporary file ``.tmp``, so that killed ones leave at most one
behind. Readers take no lock: a folder may be read-only.

Decided against: extended attributes for the digest (lost by most copies and archives) and a header inside the file
(a checkpoint should open with ``torch.load`` as it lies).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from graphtrial.storage.errors import Conflict, Corrupt, Denied, Full, Missing, StorageError
from graphtrial.storage.store import checked

_SIDECAR = ".sha256"
_LOCK = ".lock"
_TEMPORARY = ".tmp"
_READ_TRIES = 3


class FileStore:
    """The store below a folder; see ``graphtrial.storage.Store``."""

    remote = False

    def __init__(self, root: Path) -> None:
        self._root = root

    def url_of(self, key: str) -> str:
        """``file://`` and the absolute path, quoted as URIs are."""
        return self._path(key).as_uri()

    def read(self, key: str, *, unsigned: bool = False) -> bytes:
        """See ``Store.read``; any digest that the sidecar lists is accepted."""
        path = self._path(key)
        with _translated(path, "read"):
            # A writer may replace object and sidecar between the two reads; it cannot do so again and again.
            for _ in range(_READ_TRIES):
                listed = _listed(path)
                data = path.read_bytes()
                if _sha256(data) in listed or (unsigned and not listed):
                    return data
        where, sidecar = path.as_uri(), path.name + _SIDECAR
        if listed:
            message = f"{where} is corrupt: its bytes do not agree with {sidecar}; delete it or restore a copy"
        else:
            message = (
                f"{where} cannot be verified: no digest in {sidecar}; make it with: sha256sum {path.name} > {sidecar}"
            )
        raise Corrupt(message)

    def write(self, key: str, data: bytes) -> None:
        """See ``Store.write``; the folder is made if need be."""
        path = self._path(key)
        with _translated(path, "write"), _locked(path.parent):
            _write_with_sidecar(path, data)

    def exists(self, key: str) -> bool:
        """See ``Store.exists``."""
        path = self._path(key)
        with _translated(path, "read"):
            return path.is_file()

    def list(self, prefix: str) -> list[str]:
        """See ``Store.list``; sidecars, the lock and temporary files are hidden."""
        folder = self._root / prefix.rpartition("/")[0]
        with _translated(folder, "read"):
            keys = [path.relative_to(self._root).as_posix() for path in _objects_below(folder)]
        return sorted(key for key in keys if key.startswith(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """See ``Store.sizes``; without the sidecars."""
        keys = self.list(prefix)
        with _translated(self._root, "read"):
            return {key: self._path(key).stat().st_size for key in keys}

    def delete(self, key: str) -> None:
        """See ``Store.delete``; the sidecar goes too."""
        path = self._path(key)
        with _translated(path, "delete"):
            if not path.parent.is_dir():
                return
            with _locked(path.parent):
                path.unlink(missing_ok=True)
                _sidecar(path).unlink(missing_ok=True)
                _sync_folder(path.parent)

    def read_pointer(self, key: str) -> tuple[bytes, str] | None:
        """See ``Store.read_pointer``; the version is the SHA-256, in hexadecimal."""
        try:
            data = self.read(key)
        except Missing:
            return None
        return data, _sha256(data)

    def write_pointer(self, key: str, data: bytes, version: str | None) -> str:
        """See ``Store.write_pointer``."""
        path = self._path(key)
        with _translated(path, "write"), _locked(path.parent):
            current = self.read_pointer(key)
            if current is None or current[0] != data:
                if (current[1] if current else None) != version:
                    message = f"{path.as_uri()} was moved by another writer; read it again before moving it"
                    raise Conflict(message)
                _write_with_sidecar(path, data)
        return _sha256(data)

    def _path(self, key: str) -> Path:
        return self._root / checked(key)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + _SIDECAR)


def _listed(path: Path) -> list[str]:
    """Digests in the sidecar, none if there is no sidecar."""
    try:
        lines = _sidecar(path).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [line.split()[0] for line in lines if line.strip()]


def _write_with_sidecar(path: Path, data: bytes) -> None:
    new = _sha256(data)
    _replace(_sidecar(path), _lines([*dict.fromkeys([new, *_listed(path)])], path.name))
    _replace(path, data)
    _replace(_sidecar(path), _lines([new], path.name))


def _lines(digests: list[str], name: str) -> bytes:
    return "".join(f"{digest}  {name}\n" for digest in digests).encode()


def _replace(path: Path, data: bytes) -> None:
    """Put a whole file in place, durably; on failure what was there before stays."""
    temporary = path.with_name(_TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Sole writer of a folder, which is made if need be; the system releases the lock of a killed process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _objects_below(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _objects_below(entry)
        elif entry.suffix != _SIDECAR:
            yield entry


@contextlib.contextmanager
def _translated(path: Path, action: str) -> Iterator[None]:
    """Turn what the operating system says into an error of this room."""
    try:
        yield
    except OSError as error:
        where = path.as_uri()
        match error.errno:
            case errno.ENOENT:
                found: StorageError = Missing(f"{where} does not exist; check the URI")
            case errno.EISDIR:
                found = Missing(f"{where} is a folder and no object; check the URI")
            case errno.ENOSPC | errno.EDQUOT:
                found = Full(f"cannot {action} {where}: no space left; free some or choose another place")
            case errno.EACCES | errno.EPERM:
                found = Denied(f"cannot {action} {where}: permission denied; give this user access to the folder")
            case errno.EROFS:
                found = Denied(f"cannot {action} {where}: the file system is read-only; choose a writable place")
            case errno.ENOTDIR | errno.EEXIST:
                found = StorageError(f"cannot {action} {where}: a file stands where a folder is needed; move it away")
            case _:
                found = StorageError(f"cannot {action} {where}: {error.strerror or error}; check the disk")
        raise found from error

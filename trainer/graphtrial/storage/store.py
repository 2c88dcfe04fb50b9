"""What every store can do."""

from __future__ import annotations

import re
from typing import Protocol

_KEY = re.compile(r"[^./][^/]*(/[^./][^/]*)*")


class Store(Protocol):
    """A tree of objects below one URI.

    Keys are relative, with ``/``; no part starts with a dot and none ends with ``.sha256`` (ValueError). Every
    method raises an error of ``graphtrial.storage.errors``: ``Denied``, ``Unreachable`` or ``StorageError`` at any
    time, others as named.
    """

    @property
    def remote(self) -> bool:
        """Whether a server holds the objects: calls take their time, and most failures pass without anybody's doing."""

    def url_of(self, key: str) -> str:
        """The object's URI, under which ``open_store`` finds its folder."""

    def read(self, key: str, *, unsigned: bool = False) -> bytes:
        """The object's bytes, verified.

        Args:
            key: Which.
            unsigned: Whether it may carry no SHA-256, because somebody else has put it there.

        Raises:
            Missing: If there is no such object.
            Corrupt: If it was truncated or altered, or carries no SHA-256.
        """

    def write(self, key: str, data: bytes) -> None:
        """Store or replace an object: a reader, also after a crash, sees the old bytes or the new ones.

        Raises:
            Full: If no space is left; what was there before stays.
        """

    def exists(self, key: str) -> bool:
        """Whether there is such an object, intact or not."""

    def list(self, prefix: str) -> list[str]:
        """Keys that start with ``prefix``, sorted; a prefix need not end at a ``/``, and ``""`` is everything."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of each object whose key starts with ``prefix``, by key, sorted."""

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def read_pointer(self, key: str) -> tuple[bytes, str] | None:
        """A pointer's bytes and its version, None if it was never written.

        Raises:
            Corrupt: As ``read``.
        """

    def write_pointer(self, key: str, data: bytes, version: str | None) -> str:
        """Move a pointer that is still at ``version``, None for one that does not exist yet.

        A pointer that already holds ``data`` counts as moved: the request may be a repetition of one whose answer
        was lost.

        Returns:
            The new version.

        Raises:
            Conflict: If somebody else has moved it; read it again and decide anew.
            Full: As ``write``.
        """


def checked(key: str) -> str:
    """The key itself, if every store can hold it.

    Raises:
        ValueError: If it cannot; the caller has made the key, so this is no user's mistake.
    """
    if not _KEY.fullmatch(key) or any(part.endswith(".sha256") for part in key.split("/")):
        message = f"{key!r} is no key: relative, no empty part, none that starts with a dot or ends with .sha256"
        raise ValueError(message)
    return key

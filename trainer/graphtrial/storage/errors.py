"""What can go wrong with a stored object.

    StorageError            anything else: the message says what the system said
    ├── Missing             no such object, folder or bucket
    ├── Corrupt             the bytes do not agree with their SHA-256, or carry none
    ├── Conflict            the pointer was moved by someone else since it was read
    ├── Full                no space left on the device, or a quota spent (ENOSPC, EDQUOT)
    ├── Denied              no permission, a read-only file system, wrong or missing credentials
    └── Unreachable         no answer from the server

Each message names the URI and what to do about it.
"""

# ruff: noqa: N818 (the tree reads as what is the matter; the base carries the suffix)

from __future__ import annotations


class StorageError(Exception):
    """An object could not be stored or read; the base of the tree in this module's docstring."""


class Missing(StorageError):
    """There is no such object, folder or bucket."""


class Corrupt(StorageError):
    """The object was truncated or altered since it was written, or carries no SHA-256."""


class Conflict(StorageError):
    """The pointer is not at the version that the writer had read."""


class Full(StorageError):
    """No space is left where the object should go."""


class Denied(StorageError):
    """The store does not let this process do that."""


class Unreachable(StorageError):
    """The store does not answer."""

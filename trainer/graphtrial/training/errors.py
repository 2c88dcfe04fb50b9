"""Why a training cannot begin or go on, where the reason is the spec's or the training's own.

Damaged data is the data room's ``DataError``, a failing store the storage room's ``StorageError``.
"""

from __future__ import annotations


class RefusedError(Exception):
    """The spec cannot be trained here; the message names the field and says what would be right."""


class DivergedError(Exception):
    """A loss or score is not finite; the message names the node."""

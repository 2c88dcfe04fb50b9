"""Finds the folder that a command means, and turns what is wrong with it into an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graphsearch.cli.exits import CommandError, Exit
from graphsearch.local import ChangedManifestError, Folder, LockedError, NotARunError
from graphtrial.storage import StorageError


def named(folder: Path, runs: Path) -> Folder:
    """The folder itself, or the search of that name below ``runs``."""
    return Folder(folder if folder.exists() or not (runs / folder).exists() else runs / folder)


@contextmanager
def folder_errors() -> Iterator[None]:
    """Errors of a folder as messages with their exit code."""
    try:
        yield
    except (LockedError, ChangedManifestError, NotARunError) as error:
        raise CommandError(Exit.FOLDER, str(error)) from None
    except StorageError as error:
        raise CommandError(Exit.STORAGE, str(error)) from None
    except OSError as error:
        raise CommandError(Exit.STORAGE, f"{error.filename or 'the folder'}: {error.strerror}") from None

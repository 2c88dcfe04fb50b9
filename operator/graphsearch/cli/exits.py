"""Exit codes of the program, and the errors that carry them."""

from __future__ import annotations

import errno
from enum import IntEnum


class Exit(IntEnum):
    """What the program's exit code says; none is one of a trainer's 10 to 13, beside which it stands in a pod."""

    OK = 0
    """Done as asked."""
    INTERNAL = 1
    """A fault of graphsearch itself; the traceback is on standard error."""
    USAGE = 2
    """Wrong arguments or manifest."""
    FOLDER = 4
    """The folder is locked by another runner, holds another manifest or no search."""
    STORAGE = 5
    """Something could not be written or read: full disk, no permission, a corrupt object."""
    DATA = 6
    """The data set is missing, incomplete or corrupt."""
    NO_RESULT = 7
    """The search ended without a best graph."""
    TRAINER = 8
    """The process that starts trainers has died, as for lack of memory, or cannot start one; run it again."""
    UNREACHABLE = 20
    """The cluster does not answer, or no kubeconfig says where one is."""
    NOT_FOUND = 21
    """There is no such search or trial."""
    FORBIDDEN = 22
    """The cluster does not let this user do that."""
    REFUSED = 23
    """The API server refuses the change, or the search still runs."""
    INTERRUPTED = 130
    """Ctrl-C; everything is saved, the same command goes on."""


class CommandError(Exception):
    """Ends the program with a message and an exit code."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code


def is_of_output(error: Exception) -> bool:
    """Whether an error is one of writing to standard output; those of files have the file's name."""
    return isinstance(error, OSError) and error.filename is None and error.errno in (errno.EPIPE, errno.ENOSPC)

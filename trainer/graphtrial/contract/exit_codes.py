"""How a trainer ends, as its process's exit code (design 4)."""

from __future__ import annotations

import signal
from enum import IntEnum


class ExitCode(IntEnum):
    """10 to 12 are never retried; every other code but 0 and 143 is a crash, retried from the last checkpoint."""

    DONE = 0
    """The last evaluation is reported and the final checkpoint written."""
    BAD_SPEC = 10
    """The TrialSpec cannot be trained."""
    BAD_DATA = 11
    """The data set is missing, incomplete or corrupt."""
    DIVERGED = 12
    """A loss or a score that is not finite."""
    STORAGE = 13
    """A checkpoint or report could not be written or read: full disk, no permission, corrupt object."""
    STOPPED = 143
    """SIGTERM: stopped after saving a checkpoint."""


def ended_by(code: int) -> str:
    """How a process ended, in words: ``exit code 1``, ``SIGSEGV``, ``SIGSEGV (exit code 139)``.

    Args:
        code: Its exit code; -n where signal n ended it, which a container reports as 128 + n.
    """
    number = -code if code < 0 else code - 128
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"exit code {code}"
    return name if code < 0 else f"{name} (exit code {code})"

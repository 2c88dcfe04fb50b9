"""How a trainer ends, as its process's exit code (design 4)."""

from __future__ import annotations

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

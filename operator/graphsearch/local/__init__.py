"""The local world: a search in one folder, its trials as processes of this machine.

It gathers what processes expose and leave, has ``graphsearch.search`` decide, and starts and stops processes. It
must not decide anything itself, and needs no torch: trials are forked by ``python -m graphtrial serve``.

Decided against: threads. One loop waits for the fork server's events and looks at the trials between them.
"""

from graphsearch.local.folder import ChangedManifestError, Folder, Local, LockedError, NotARunError
from graphsearch.local.forkserver import ForkServer, ForkServerError
from graphsearch.local.machine import Machine, this_machine
from graphsearch.local.world import LocalWorld, StoppedError

__all__ = [
    "ChangedManifestError",
    "Folder",
    "ForkServer",
    "ForkServerError",
    "Local",
    "LocalWorld",
    "LockedError",
    "Machine",
    "NotARunError",
    "StoppedError",
    "this_machine",
]

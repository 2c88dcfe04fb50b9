"""Objects under a URI, at ``file://`` and ``s3://``, each verified by its SHA-256 when it is read.

Checkpoints, reports and teachers are whole objects of bytes that are never changed in place. The one exception is a
pointer, a small object that is moved by compare-and-swap. This room must not know what the bytes mean, and imports no
torch; boto3 is imported when the first ``s3://`` store is opened.

Decided against: fsspec (no conditional writes, no checksums) and streaming (objects are a few megabytes, and a
reader may only trust a whole one).
"""

from graphtrial.storage.errors import Conflict, Corrupt, Denied, Full, Missing, StorageError, Unreachable
from graphtrial.storage.opening import open_store
from graphtrial.storage.store import Store
from graphtrial.storage.waiting import StoppedError, when_it_answers

__all__ = [
    "Conflict",
    "Corrupt",
    "Denied",
    "Full",
    "Missing",
    "StoppedError",
    "StorageError",
    "Store",
    "Unreachable",
    "open_store",
    "when_it_answers",
]

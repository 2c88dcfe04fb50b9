"""What a trial says of itself in a file that outlives it: in a pod's status, whatever ends the container (design 4, 5).

It is written after every checkpoint that is stored and at the end. A process that is killed has thereby said how far it
had got and which rungs it had passed, and one that is killed again and again is not taken for one that stands still.

Decided against: the last line of the log, which Kubernetes shows where such a file is empty. A trial that ends by an
error of Python says that line itself; one that ends by a signal has none.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from graphtrial.contract import TrialResult

VARIABLE = "GRAPHTRIAL_TERMINATION_LOG"
"""The environment variable that names the file."""
_MESSAGE_LENGTH = 250
"""Characters of a message that are kept; a longer one Kubernetes would cut in the middle of the JSON."""

_log = logging.getLogger(__name__)


class LastWords:
    """The file; it cannot be replaced by a rename, for in a container it is mounted."""

    def __init__(self, path: str) -> None:
        """Write nothing yet, and never anything if the path is empty."""
        self._path = path
        self._ended = False
        self._lock = threading.Lock()

    def so_far(self, result: TrialResult) -> None:
        """What holds while it runs; unheard once the end is told, which another thread may do."""
        with self._lock:
            if not self._ended:
                self._write(result)

    def end(self, result: TrialResult) -> None:
        """What holds for good."""
        with self._lock:
            self._ended = True
            self._write(result)

    def _write(self, result: TrialResult) -> None:
        """Without curves and tables, which lie beside the checkpoint: Kubernetes keeps 4 KiB."""
        if not self._path:
            return
        last = tuple(evaluation.model_copy(update={"losses": {}}) for evaluation in result.evaluations[-1:])
        message = result.message if len(result.message) <= _MESSAGE_LENGTH else f"{result.message[:_MESSAGE_LENGTH]}..."
        short = result.model_copy(update={"evaluations": last, "conflicts": (), "exports": (), "message": message})
        try:
            Path(self._path).write_text(short.model_dump_json(by_alias=True, exclude_defaults=True))
        except OSError as error:
            # What was trained is stored whether this is told or not.
            _log.warning("%s cannot be written: %s", self._path, error.strerror or error)

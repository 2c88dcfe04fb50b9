"""From a TrialSpec to an exit code, in a process of its own (design 4).

What ends a trial has a code of ``ExitCode`` and one message, on the log and in the result. What is not foreseen here
is a crash: its traceback is for the developer, its last line for the user, and another attempt may do better.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import traceback

from pydantic import ValidationError

from graphtrial.contract import ExitCode, TrialSpec, problems
from graphtrial.data import DataError
from graphtrial.storage import StoppedError, StorageError, Unreachable, open_store
from graphtrial.training.attempt import attempt
from graphtrial.training.checkpoint import Progress, TrialFolder
from graphtrial.training.errors import DivergedError, RefusedError
from graphtrial.training.events import note_end, put_events
from graphtrial.training.last_words import VARIABLE, LastWords
from graphtrial.training.outbox import Outbox
from graphtrial.training.state import State, result, result_so_far

_CRASHED = 1
"""What Python ends with after an exception that nobody caught."""

_EXIT_CODES = {
    RefusedError: ExitCode.BAD_SPEC,
    DataError: ExitCode.BAD_DATA,
    DivergedError: ExitCode.DIVERGED,
    StorageError: ExitCode.STORAGE,
}

_log = logging.getLogger(__name__)


def run(text: str) -> int:
    """Run the trial that a TrialSpec in JSON describes, from its latest checkpoint if there is one.

    SIGTERM and SIGINT make it finish the current step, save and return 143. To be called once, in the main thread of
    a process that does nothing else: it sets signal handlers, logging and torch's threads, and leaves the metrics
    port open until the process exits.

    Returns:
        A code of ``ExitCode``.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    try:
        spec = TrialSpec.model_validate_json(text)
    except ValidationError as error:
        for line in problems(error, "TrialSpec"):
            _log.error("%s", line)
        return ExitCode.BAD_SPEC
    state, words = State(), LastWords(os.environ.get(VARIABLE, ""))
    try:
        code, message = _run(spec, state, words)
    except Exception as error:
        words.end(result(spec, state, _CRASHED, _printable(traceback.format_exception_only(error)[-1].strip())))
        raise
    _log.info("%s, attempt %d: ends with code %d at step %d", spec.trial, spec.attempt, code, state.step)
    words.end(result(spec, state, code, message))
    return code


def _run(spec: TrialSpec, state: State, words: LastWords) -> tuple[ExitCode, str]:
    """The exit code, and why where the code does not say enough."""

    def saved(progress: Progress) -> None:
        state.saved_at = progress.step
        words.so_far(result_so_far(spec, state, progress.rungs))

    stop = _StopRequest()
    place = spec.checkpoint
    outbox: Outbox | None = None
    try:
        store = open_store(place.uri, endpoint=place.endpoint, region=place.region, path_style=place.path_style)
        outbox = Outbox(TrialFolder(store, spec.attempt), saved)
        code = attempt(spec, state, outbox, stop)
        _report(outbox, spec, state, code)
        outbox.flush()
    except StoppedError:
        return ExitCode.STOPPED, ""
    except tuple(_EXIT_CODES) as error:
        message = _printable(str(error))
        _log.error("%s", message)
        code = next(code for kind, code in _EXIT_CODES.items() if isinstance(error, kind))
        if outbox is not None:
            _leave(outbox, spec, state, code, error)
        return code, message
    return code, ""


def _report(outbox: Outbox, spec: TrialSpec, state: State, code: ExitCode, message: str = "") -> None:
    """Store what there is to tell of an attempt that ends."""
    outbox.report(result(spec, state, code, message))
    note_end(spec, state, code, message)
    put_events(outbox, state)


def _leave(outbox: Outbox, spec: TrialSpec, state: State, code: ExitCode, error: Exception) -> None:
    """Store the result of a trial that has failed, as far as the store lets it: the message is on the log already."""
    with contextlib.suppress(StorageError):
        if not isinstance(error, StorageError):
            _report(outbox, spec, state, code, _printable(str(error)))
            outbox.flush()
        elif not isinstance(error, Unreachable):
            outbox.folder.report(result(spec, state, code, _printable(str(error))))


def _printable(text: str) -> str:
    """What is said of an error; a file name in it need not be UTF-8, which everything that is stored has to be."""
    return text.encode("utf-8", "backslashreplace").decode()


class _StopRequest:
    """Whether this process has got SIGTERM or SIGINT; from its making on they do nothing else."""

    def __init__(self) -> None:
        self._made = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._make)

    def _make(self, *_: object) -> None:
        self._made = True

    def __call__(self) -> bool:
        return self._made

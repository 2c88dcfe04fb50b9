"""How long one waits for a store that does not answer, and how often one asks meanwhile.

Outages pass by themselves: a node is drained, a server restarted. Who has something to lose asks again with growing
pauses, so that a store that comes back is not met by everybody at once.
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from graphtrial.storage.errors import Unreachable

PATIENCE_SECONDS = 15 * 60.0
"""How long a trial does nothing but wait for its store, at its start and, since the last success, at its end.

Longer than the outages that users see (a node drained, a store restarted, ten minutes), shorter than is bearable for a
GPU that stands idle. The kubelet's grace period ends the wait of a trial that was asked to stop sooner.
"""
COMPLAINT_SECONDS = 60.0
"""At most one line on the log in that time about a store that fails."""
LONGEST_AWAITED = 5.0
"""Seconds between two tries while somebody does nothing but wait, perhaps within a grace period."""
_LONGEST_HANG = 100.0
"""Seconds that a call to a server that hangs may take; one that took longer was reading, as a large data set."""
_FIRST_PAUSE = 0.5

_log = logging.getLogger(__name__)
# Trials forked by one server have the same random state; their pauses are to differ.
_random = random.SystemRandom()
T = TypeVar("T")


class StoppedError(Exception):
    """Who waited was asked to stop before it had begun; there is nothing to save."""


def when_it_answers(
    read: Callable[[], T], stop_requested: Callable[[], bool] = lambda: False, patience: float = PATIENCE_SECONDS
) -> T:
    """What ``read`` returns, called again while the store does not answer.

    Raises:
        StoppedError: If asked to stop meanwhile.
        Unreachable: If the store did not answer for ``patience`` seconds in all.
        StorageError: At once for everything that does not pass by itself, such as a missing bucket or permission.
    """
    waited = next_complaint = 0.0
    for failures in itertools.count():
        asked_at = time.monotonic()
        try:
            return _unless_stopped(read, stop_requested)
        except Unreachable as error:
            pause = pause_after(failures, LONGEST_AWAITED)
            waited += min(time.monotonic() - asked_at, _LONGEST_HANG) + pause
            if waited > patience:
                raise Unreachable(f"{error}; it did not for {patience:.0f} s") from error
            if time.monotonic() >= next_complaint:
                next_complaint = time.monotonic() + COMPLAINT_SECONDS
                _log.warning("waits for the store, up to %.0f s: %s", patience, error)
        resume = time.monotonic() + pause
        while time.monotonic() < resume:
            if stop_requested():
                raise StoppedError
            time.sleep(min(0.1, pause))
    raise AssertionError("a count never ends")


def _unless_stopped(read: Callable[[], T], stop_requested: Callable[[], bool]) -> T:
    """What ``read`` returns or raises; a server that hangs may not let it return before minutes have passed."""
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(read())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True, name="awaited").start()
    while not wait([answer], 0.1).done:
        if stop_requested():
            raise StoppedError
    return answer.result()


def pause_after(failures: int, longest: float) -> float:
    """Seconds until the next try: doubled with each failure up to the longest, drawn from the upper half."""
    upper = min(longest, _FIRST_PAUSE * 2.0 ** min(failures, 16))
    return _random.uniform(upper / 2, upper)

"""What a trial has to store, on its way there.

Where a disk holds the objects, each is stored before the call returns, and a failure ends the trial. Where a server
does (``Store.remote``), a thread stores them one after another, in the order they were handed over, and the training
waits for it at its end only. What fails is tried again, with growing pauses, for as long as the training goes on:
outages pass, and so do credentials that are just being replaced. A checkpoint that waits gives way to a later one, a
report to a later report (it holds all that the earlier did); a rung's checkpoint waits as long as it takes. So what
waits is bounded by the rungs.

It must not know what the objects mean. Decided against: several uploads at once (the pointer is to move forward only)
and a spool on the pod's own disk (it goes with the pod).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from graphtrial.contract import TrialResult
from graphtrial.storage import StorageError
from graphtrial.storage.waiting import COMPLAINT_SECONDS, LONGEST_AWAITED, PATIENCE_SECONDS, pause_after
from graphtrial.training.checkpoint import Progress, Snapshot, SupersededError, TrialFolder, rung_steps

_LONGEST_PAUSE = 30.0
"""Seconds between two tries while the training goes on."""

_log = logging.getLogger(__name__)


class Job(NamedTuple):
    """Something to be stored."""

    what: str
    """For messages."""
    store: Callable[[], None]
    """Safe to be called again after it has failed."""
    kind: str = ""
    gives_way: bool = False
    """Not needed once a later job has the same kind."""


def still_needed(jobs: Sequence[Job]) -> list[Job]:
    """The jobs without those that a later one has made pointless."""
    return [job for place, job in enumerate(jobs, start=1) if not _gives_way(job, jobs[place:])]


def _gives_way(job: Job, later: Sequence[Job]) -> bool:
    return job.gives_way and any(other.kind == job.kind for other in later)


class Outbox:
    """The way to one trial's folder, from the thread that trains."""

    def __init__(
        self,
        folder: TrialFolder,
        saved: Callable[[Progress], None] = lambda _: None,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """Store nothing yet.

        Args:
            folder: Of this attempt; from now on only read by others, but for what comes too late for this.
            saved: Told of each checkpoint that is stored, by whichever thread stored it.
            patience: How long ``flush`` waits for a store that fails, in seconds since the last success.
        """
        self.folder = folder
        self._saved = saved
        self._patience = patience
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._under_way: Job | None = None
        self._error: StorageError | None = None
        """What the store said to the last try; None after a success."""
        self._fatal: BaseException | None = None
        self._succeeded = time.monotonic()
        self._failures = 0
        """Since the last success."""
        self._awaited = False
        """Whether ``flush`` waits."""
        self._next_complaint = 0.0
        """Not before, on the monotonic clock."""
        self._thread: threading.Thread | None = None

    def save(self, snapshot: Snapshot) -> None:
        """Store a checkpoint; see ``TrialFolder.save``.

        Raises:
            SupersededError: If a later attempt has taken over, as an earlier call may have found out.
            StorageError: If a disk fails.
        """
        step = snapshot.progress.step
        kept = snapshot.copied() if self.folder.remote else snapshot
        for_a_rung = step in rung_steps(snapshot.progress)

        def store() -> None:
            self.folder.save(kept)
            self._saved(kept.progress)

        what = f"the checkpoint at step {step}"
        self.put(Job(what, store, "checkpoint", gives_way=not for_a_rung))

    def report(self, result: TrialResult) -> None:
        """Store a result; see ``TrialFolder.report``. Raises as ``save``."""
        what = f"the report at step {result.steps}"
        self.put(Job(what, lambda: self.folder.report(result), "report", gives_way=True))

    def put(self, job: Job) -> None:
        """Store anything. Raises as ``save``."""
        if not self.folder.remote:
            job.store()
            return
        with self._changed:
            self._raise_fatal()
            self._waiting = still_needed([*self._waiting, job])
            self._changed.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="outbox")
            self._thread.start()

    def flush(self) -> None:
        """Wait until everything is stored.

        Raises:
            SupersededError: As ``save``.
            StorageError: If nothing could be stored for too long, of the kind of the last failure; the message says
                what is lost.
        """
        since = time.monotonic()
        with self._changed:
            self._awaited = True
            self._changed.notify_all()
            while self._unstored():
                self._raise_fatal()
                left = max(since, self._succeeded) + self._patience - time.monotonic()
                if self._error is not None and left <= 0:
                    lost = ", ".join(job.what for job in self._unstored())
                    raise type(self._error)(
                        f"nothing could be stored for {self._patience:.0f} s; lost: {lost}; {self._error}"
                    )
                self._changed.wait(max(left, 1.0))
            self._raise_fatal()

    def _unstored(self) -> list[Job]:
        return [*([self._under_way] if self._under_way else []), *self._waiting]

    def _raise_fatal(self) -> None:
        if self._fatal is not None:
            raise self._fatal

    def _work(self) -> None:
        """The thread: ends with the process, or when nothing can be stored any more."""
        try:
            while True:
                self._store_one(self._next())
        except BaseException as error:
            # The training thread raises it: from here nobody would hear.
            with self._changed:
                self._fatal = error
                self._changed.notify_all()

    def _next(self) -> Job:
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            self._under_way = self._waiting.pop(0)
            return self._under_way

    def _store_one(self, job: Job) -> None:
        while True:
            try:
                job.store()
            except SupersededError:
                raise
            except StorageError as error:
                self._failed(job, error)
                self._rest()
            else:
                self._stored()
                return
            with self._changed:
                if _gives_way(job, self._waiting):
                    self._under_way = None
                    return

    def _rest(self) -> None:
        """Until the next try: at once if the trial begins to wait for it."""
        with self._changed:
            awaited = self._awaited
            pause = pause_after(self._failures, LONGEST_AWAITED if awaited else _LONGEST_PAUSE)
            self._changed.wait_for(lambda: self._awaited != awaited, pause)

    def _failed(self, job: Job, error: StorageError) -> None:
        with self._changed:
            self._error = error
            self._failures += 1
            self._changed.notify_all()
        if time.monotonic() >= self._next_complaint:
            self._next_complaint = time.monotonic() + COMPLAINT_SECONDS
            _log.warning("%s waits for its store: %s", job.what, error)

    def _stored(self) -> None:
        with self._changed:
            recovered = self._error is not None
            self._error, self._under_way, self._failures = None, None, 0
            self._succeeded = time.monotonic()
            self._changed.notify_all()
        if recovered:
            _log.info("the store answers again")

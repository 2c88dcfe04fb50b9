"""Gathers and carries out: the local counterpart of a cluster's Jobs, Prometheus and status writes.

Facts before acts: a decision is written to the folder, then a process is started or stopped. Attempts that were open
when an earlier runner died are lost; what they had reported lies beside their checkpoints and is recorded first.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from graphsearch.api import DesiredState, GraphTrial
from graphsearch.local.folder import Folder, Local
from graphsearch.local.forkserver import ForkServer, ForkServerError
from graphsearch.local.machine import Machine, Slot
from graphsearch.local.scrape import scrape
from graphsearch.search.actions import (
    Action,
    Ended,
    Observation,
    Record,
    RecordSearch,
    Report,
    Running,
    Snapshot,
    Start,
    Stop,
)
from graphsearch.search.ledger import Ledger
from graphsearch.search.planner import drive
from graphsearch.search.settled import Settled
from graphsearch.search.specs import Place, trial_spec, trial_uid
from graphtrial.contract import ExitCode, TrialResult, ended_by

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 60.0
"""Between asking a trial to save and stop, and killing it."""

_OUTSIDE: dict[int, str] = {ExitCode.BAD_DATA: "data", ExitCode.STORAGE: "storage"}
"""Ends that are this machine's, not the trial's: everything is saved and the run stops, to go on once mended."""


class StoppedError(Exception):
    """The run stopped before its end, with everything saved; ``cause`` is interrupt, data or storage."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class LocalWorld:
    """One search on one machine. ``run`` returns when it has ended."""

    def __init__(
        self,
        folder: Folder,
        settled: Settled,
        ledger: Ledger,
        server: ForkServer,
        *,
        machine: Machine,
        local: Local,
        watch: Callable[[LocalWorld], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self.settled = settled
        self.ledger = ledger
        self.server = server
        self.place = Place(
            root=folder.uri,
            teachers=f"{folder.uri}/teachers",
            threads=local.threads,
            device=local.device,
            metrics_port=0,
            cache=str(folder.path / "cache"),
        )
        self.reported: dict[int, int] = {}
        """The last evaluation that each running trial has been heard of."""
        self._watch = watch
        self._observed: dict[tuple[int, int], Observation] = {}
        self._reports: list[Report] = []
        self._ports: dict[tuple[int, int], int] = {}
        self._asked: dict[tuple[int, int], float] = {}
        self._slots = machine.slots(settled.spec.budget.parallel_trials, local.threads)
        self._taken: dict[tuple[int, int], Slot] = {}
        self._now = max(time.time(), ledger.last_time)
        self._stopped: StoppedError | None = None

    def run(self) -> None:
        """Play the search until it has ended.

        Raises:
            StoppedError: If ``interrupt`` was called, or data or storage failed; everything is saved.
        """
        self._take_over()
        while self.ledger.search.ended_at is None:
            drive(self.snapshot, self.carry_out)
            self._watch(self)
            if self._stopped and not self.ledger.running:
                raise self._stopped
            if self.ledger.search.ended_at is None:
                self.gather()

    def interrupt(self, stopped: StoppedError | None = None) -> None:
        """Have every trial save and stop, then leave ``run``; the search itself stays as it is."""
        if self._stopped is None:
            self._stopped = stopped or StoppedError("interrupt", "interrupted")

    def snapshot(self) -> Snapshot:
        """What the planner sees: an interrupted run is a paused search."""
        self._now = max(math.nextafter(self._now, math.inf), time.time())
        settled = self.settled
        if self._stopped:
            paused = settled.spec.model_copy(update={"desired_state": DesiredState.PAUSED})
            settled = replace(settled, spec=paused)
        return Snapshot(settled, self.ledger, self._now, self._observed, tuple(self._reports))

    def carry_out(self, action: Action) -> None:
        """Write a fact, or start or stop a process."""
        match action:
            case Record(trial):
                self.folder.write_trial(trial)
                self.ledger.put(trial)
                self._forget(trial)
            case RecordSearch(facts):
                self.folder.write_facts(self.ledger.numbered(facts))
                self.ledger.search = facts
            case Start(trial):
                self._start(trial)
            case Stop(trial, _):
                self._stop(trial)

    def gather(self) -> None:
        """Wait a moment for processes to end, then read what the running ones expose."""
        self._reports.clear()
        for event in self.server.events(_POLL_SECONDS):
            self._take(event)
        for key, seen in list(self._observed.items()):
            if isinstance(seen, Running):
                self._read(key)
        now = time.monotonic()
        for key, asked in self._asked.items():
            if now - asked > _GRACE_SECONDS:
                self.server.kill(_name(key))

    def _read(self, key: tuple[int, int]) -> None:
        index, attempt = key
        port = self._ports.get(key) or self.folder.port(index)
        if port is None:
            return
        uid = trial_uid(self.ledger.search, self.ledger.trials[index])
        reports = scrape(port, index=index, trial_uid=uid, attempt=attempt)
        if reports:
            self._ports[key] = port
            self.reported[index] = max(report.evaluation for report in reports)
            self._reports += reports

    def _take(self, event: dict[str, Any]) -> None:
        if "started" in event:
            key = _key(event["started"])
            self._observed[key] = Running(f"process {event['pid']}", max(time.time(), self._now))
        elif "ended" in event:
            self._end(_key(event["ended"]), event["code"], event["seconds"])
        elif "error" in event and not self._has_run(event["id"]):
            raise ForkServerError(f"the trainer's server refused a request: {event['error']}")

    def _has_run(self, name: str | None) -> bool:
        """Whether an error is about a trial that has ended just before it was asked to stop."""
        return name is not None and (_key(name) in self._observed or _key(name) not in self._taken)

    def _end(self, key: tuple[int, int], code: int, seconds: float) -> None:
        index, attempt = key
        results = self.folder.results(index, attempt)
        result = results[-1] if results else None
        message = self._message(index, code, result)
        if result:
            self._reports += [Report(index, rung.rung, rung.score, attempt) for rung in result.rungs]
        nodes = result.evaluations[-1].nodes if result and result.evaluations else {}
        uri = f"{self.place.root}/trials/{index}"
        outside = _OUTSIDE.get(code)
        if outside:
            self.interrupt(StoppedError(outside, message))
        progressed = self.folder.last_saving_attempt(index) == attempt
        self._observed[key] = Ended(None if outside else code, seconds, message, nodes, uri, progressed)

    def _message(self, index: int, code: int, result: TrialResult | None) -> str:
        if code in (ExitCode.DONE, ExitCode.STOPPED):
            return ""
        if result and result.message:
            return result.message
        return f"ended by {ended_by(code)}; see {self.folder.path / 'trials' / str(index) / 'log.txt'}"

    def _take_over(self) -> None:
        """Record what attempts of an earlier runner had reported before they are lost."""
        for index in sorted(self.ledger.running):
            attempt = self.ledger.trials[index].attempt
            assert attempt is not None
            for result in self.folder.results(index, attempt.number):
                self._reports += [Report(index, rung.rung, rung.score, attempt.number) for rung in result.rungs]
            seconds = max(0.0, self.folder.last_sign(index) - (attempt.started_at or math.inf))
            self._observed[index, attempt.number] = Ended(None, seconds, "its runner ended")

    def _forget(self, trial: GraphTrial) -> None:
        attempt = trial.attempt
        if attempt and not attempt.is_open:
            key = (trial.index, attempt.number)
            for memory in (self._observed, self._ports, self._asked, self._taken):
                memory.pop(key, None)
            self.reported.pop(trial.index, None)

    def _start(self, trial: GraphTrial) -> None:
        key = _attempt_key(trial)
        if key in self._taken:
            return
        spec = trial_spec(self.settled, self.ledger.search, trial, self.place)
        log = self.folder.path / "trials" / str(trial.index) / "log.txt"
        taken = list(self._taken.values())
        slot = min(self._slots, key=taken.count)
        self._taken[key] = slot
        self.server.start(_name(key), spec, slot, log)

    def _stop(self, trial: GraphTrial) -> None:
        key = _attempt_key(trial)
        if key not in self._taken:
            self._observed[key] = Ended(None, message="never started")
        elif key not in self._asked:
            self._asked[key] = time.monotonic()
            self.server.stop(_name(key))


def _attempt_key(trial: GraphTrial) -> tuple[int, int]:
    assert trial.attempt is not None
    return trial.index, trial.attempt.number


def _name(key: tuple[int, int]) -> str:
    return f"{key[0]}-{key[1]}"


def _key(name: str) -> tuple[int, int]:
    index, _, attempt = name.partition("-")
    return int(index), int(attempt)

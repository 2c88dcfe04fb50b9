"""The simulated world: a virtual clock, drawn learning curves, workers that may fail; thousands of trials a second.

It gathers snapshots and carries out actions exactly as the real worlds do, so what holds here of the planner holds
there. It sleeps never and draws nothing itself: curves, durations and faults are functions handed in.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from graphsearch.api import GraphTrial, SearchFacts
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
from graphtrial.contract import ExitCode

_TICK = 1e-6
"""Between two looks at one moment: the clock rises strictly."""

Curve = Callable[[GraphTrial, int], float]
"""(trial, evaluation) -> score."""
Duration = Callable[[GraphTrial], float]
"""trial -> seconds per evaluation."""
Fault = Callable[[GraphTrial, int], int | None]
"""(trial, evaluation) -> exit code with which the attempt ends right before that evaluation; None: it does not."""


def _one_second(_: GraphTrial) -> float:
    return 1.0


def _no_fault(_trial: GraphTrial, _evaluation: int) -> None:
    return None


@dataclass(order=True, slots=True)
class _Event:
    time: float
    order: int
    index: int = field(compare=False)
    attempt: int = field(compare=False)
    evaluation: int = field(compare=False)


class Simulation:
    """One simulated search. ``run`` plays it to its end; ``step`` plays one event."""

    def __init__(
        self,
        settled: Settled,
        curve: Curve,
        *,
        duration: Duration = _one_second,
        fault: Fault = _no_fault,
        ledger: Ledger | None = None,
        now: float = 0.0,
    ) -> None:
        self.settled = settled
        self.ledger = ledger or Ledger(SearchFacts(uid="simulated", started_at=now))
        self.now = now
        self.busy_seconds = 0.0
        """Sum over workers of the time they trained."""
        self._curve, self._duration, self._fault = curve, duration, fault
        self._observed: dict[tuple[int, int], Observation] = {}
        self._reports: list[Report] = []
        self._events: list[_Event] = []
        self._order = 0
        self._acted = False

    def restarted(self, *, processes_live: bool) -> Simulation:
        """This world with a planner that starts anew from the recorded facts, as after a crash.

        Args:
            processes_live: Whether trainers and their reports outlived it, as on a cluster, or died with it.
        """
        ledger = Ledger(self.ledger.search)
        for trial in self.ledger.trials.values():
            ledger.put(trial)
        world = Simulation(
            self.settled, self._curve, duration=self._duration, fault=self._fault, ledger=ledger, now=self.now
        )
        if processes_live:
            world._observed, world._reports = self._observed, self._reports
            world._events, world._order = self._events, self._order
        return world

    def run(self) -> Ledger:
        """Play until the search has ended; its facts."""
        self.look()
        while self._events:
            self.step()
        return self.ledger

    def step(self) -> None:
        """Play the next event: a trial reaches an evaluation, or its attempt ends."""
        event = heapq.heappop(self._events)
        self.now = max(self.now, event.time)
        key = (event.index, event.attempt)
        running = self._observed.get(key)
        if not isinstance(running, Running):
            return
        trial = self.ledger.trials[event.index]
        code = self._fault(trial, event.evaluation)
        if code is not None:
            self._end(key, running, code)
        else:
            score = self._curve(trial, event.evaluation)
            if event.evaluation in (*self.settled.rungs, self.settled.evaluations):
                self._reports.append(Report(event.index, event.evaluation, score, event.attempt, "Simulated"))
            attempt = trial.attempt
            until = attempt.until if attempt and attempt.until else self.settled.evaluations
            if not math.isfinite(score):
                self._end(key, running, ExitCode.DIVERGED)
            elif event.evaluation >= until:
                self._end(key, running, ExitCode.DONE)
            else:
                self._schedule(trial, event.attempt, event.evaluation + 1)
        if self._reports or isinstance(self._observed.get(key), Ended):
            self.look()

    def look(self) -> None:
        """Gather, plan and carry out until nothing is left to do at this moment: what was started or stopped shows."""
        self._acted = True
        while self._acted:
            self._acted = False
            drive(self.snapshot, self.carry_out)
        self._reports.clear()

    def snapshot(self) -> Snapshot:
        """What a planner sees now."""
        self.now += _TICK
        return Snapshot(self.settled, self.ledger, self.now, self._observed, tuple(self._reports))

    def carry_out(self, action: Action) -> None:
        """Make one action true."""
        match action:
            case Record(trial):
                self.ledger.put(trial)
                attempt = trial.attempt
                if attempt and not attempt.is_open:
                    self._observed.pop((trial.index, attempt.number), None)
            case RecordSearch(facts):
                self.ledger.search = facts
            case Start(trial):
                self._acted = True
                self._start(trial)
            case Stop(trial, _):
                self._acted = True
                attempt = trial.attempt
                assert attempt is not None
                self._stop((trial.index, attempt.number))

    def _start(self, trial: GraphTrial) -> None:
        attempt = trial.attempt
        assert attempt is not None
        self._observed[trial.index, attempt.number] = Running(f"{trial.name}-a{attempt.number}", self.now)
        passed = trial.status.rungs[-1].evaluation if trial.status.rungs else 0
        self._schedule(trial, attempt.number, passed + 1)

    def _stop(self, key: tuple[int, int]) -> None:
        running = self._observed.get(key)
        if running is None:
            self._observed[key] = Ended(None, message="never started")
        elif isinstance(running, Running):
            self._end(key, running, ExitCode.STOPPED)

    def _schedule(self, trial: GraphTrial, attempt: int, evaluation: int) -> None:
        """Skip to the next evaluation at which anything can happen: the others are neither reported nor faulty."""
        seconds = self._duration(trial)
        if self._fault is _no_fault:
            stops = (*self.settled.rungs, self.settled.evaluations)
            ahead = next(stop for stop in stops if stop >= evaluation)
            seconds, evaluation = seconds * (ahead - evaluation + 1), ahead
        self._order += 1
        heapq.heappush(self._events, _Event(self.now + seconds, self._order, trial.index, attempt, evaluation))

    def _end(self, key: tuple[int, int], running: Running, code: int) -> None:
        seconds = self.now - (running.started_at or 0.0)
        self.busy_seconds += seconds
        self._observed[key] = Ended(None if code < 0 else code, seconds, f"simulated exit code {code}")

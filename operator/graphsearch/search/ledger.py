"""The recorded facts in memory, indexed by what planning asks for.

One entry point, ``put``, takes a trial with its facts and keeps every index by the difference to what was there, so
that it serves a new fact, a reply to one's own write and a restart alike: filling a fresh ledger with all trials, in
any order, gives the same ledger. Work per fact does not grow with what is finished.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import MutableMapping

from graphsearch.api import Attempt, AttemptEnd, Decision, GraphTrial, Outcome, SearchFacts
from graphsearch.search.rungs import RungTable
from graphsearch.search.tally import Tally
from graphtrial.contract import ExitCode, Purpose

LEFT_THE_POPULATION = (Outcome.FAILED, Outcome.DIVERGED)
"""Outcomes of trials whose scores no later decision counts."""

_NEVER_RESUMED = (AttemptEnd.REFUSED, AttemptEnd.DIVERGED)


def waiting_at(trial: GraphTrial) -> int | None:
    """Promotion: the rung at which a trial ended and waits; None if it runs, is over, or must resume to reach it."""
    rungs, attempt = trial.status.rungs, trial.attempt
    if trial.is_ended or not rungs or rungs[-1].decision is not Decision.PAUSE:
        return None
    if attempt is None or attempt.is_open or attempt.end in _NEVER_RESUMED or attempt.until != rungs[-1].evaluation:
        return None
    return rungs[-1].evaluation


class Ledger:
    """All facts of one search. Only ``put`` and assignment of ``search`` change it."""

    def __init__(self, search: SearchFacts, trials: MutableMapping[int, GraphTrial] | None = None) -> None:
        """Begin empty.

        Args:
            search: The search's facts.
            trials: Where trials are kept, empty; ``PackedTrials`` where there are many.
        """
        self.search = search
        self.trials: MutableMapping[int, GraphTrial] = {} if trials is None else trials
        self.open: dict[int, GraphTrial] = {}
        """Trials without an outcome, by index: they run, wait at a rung or are idle."""
        self.running: dict[int, Attempt] = {}
        """Open attempts, by their trial's index."""
        self.doomed: set[int] = set()
        """Running trials that a rung stopped."""
        self.idle: dict[int, GraphTrial] = {}
        """Open trials without an open attempt that do not wait at a rung."""
        self.paused: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
        """Promotion: (score, -index) of the trials that wait at each rung, sorted."""
        self.rungs: defaultdict[int, RungTable] = defaultdict(RungTable)
        self.next_index = search.next_index
        self.created: Counter[Purpose] = Counter()
        self.members: defaultdict[Purpose, list[int]] = defaultdict(list)
        """Indexes of the trials of each purpose, in the order in which they came."""
        self.successes: defaultdict[Purpose, list[int]] = defaultdict(list)
        """Those that succeeded."""
        self.outcomes: Counter[tuple[Purpose, Outcome]] = Counter()
        self.published: dict[str, int] = {}
        """Which trial publishes the weights under a key; the newest, where an older one was cancelled."""
        self.publishers: dict[int, Outcome | None] = {}
        """How those trials have ended: every trial that waits for weights asks at every look."""
        self.tally = Tally()
        """Costs, and what each rung has seen."""
        self.last_time = 0.0
        """Of the latest fact: a clock that was set back must not reorder facts."""
        self.last_start = 0.0
        """When an attempt last began to run."""
        self.unstarted: list[tuple[float, str]] = []
        """(time, message) of attempts that could not start in time, in order."""
        self.last_progress = 0.0
        """When a rung was last recorded, or an attempt ended in order that had got further."""
        self.unstored: list[tuple[float, int, str]] = []
        """(time, index, message) of attempts that ended because their storage failed, in order."""
        self.refused: dict[int, int] = {}
        """For exit codes 10 and 11: the first trial whose trainer refused its specification or the data."""
        self.last_failed: tuple[float, int] | None = None
        """(time, index) of the latest failure."""
        self.best: tuple[float, int] | None = None
        """Highest (score, -index) of the Search trials that reached the last evaluation."""

    @property
    def seconds(self) -> float:
        """Device time of all ended attempts."""
        return sum(self.tally.seconds.values())

    def numbered(self, facts: SearchFacts) -> SearchFacts:
        """The search's facts as they are written: with the index that the next trial gets, whatever was deleted."""
        return facts.model_copy(update={"next_index": self.next_index})

    def of(self, purpose: Purpose) -> list[GraphTrial]:
        """Trials of a purpose, by index."""
        return [self.trials[index] for index in sorted(self.members[purpose])]

    def put(self, trial: GraphTrial) -> None:
        """Take a trial's facts; they contain all facts of it that were put before."""
        old = self.open.get(trial.index) or self.trials.get(trial.index)
        self.trials[trial.index] = trial
        if old is None:
            self._enter(trial)
        self._follow_rungs(old, trial)
        self._follow_attempts(old, trial)
        if old is not None:
            self.tally.take(old)
            self._displace(old)
        self.tally.add(trial)
        if not trial.is_ended:
            self._place(trial)
        elif old is None or not old.is_ended:
            self._leave(trial)

    def _enter(self, trial: GraphTrial) -> None:
        self.next_index = max(self.next_index, trial.index + 1)
        self.created[trial.spec.purpose] += 1
        self.members[trial.spec.purpose].append(trial.index)
        for key in trial.spec.publishes.values():
            self.published[key] = max(trial.index, self.published.get(key, 0))
            self.publishers[trial.index] = None

    def _follow_rungs(self, old: GraphTrial | None, new: GraphTrial) -> None:
        known = len(old.status.rungs) if old else 0
        self.last_time = max(self.last_time, new.status.ended_at or 0.0)
        for rung in new.status.rungs[known:]:
            self.last_time = max(self.last_time, rung.time)
            self.last_progress = max(self.last_progress, rung.time)
            if rung.decision is not Decision.NONE:
                self.rungs[rung.evaluation].add(rung.score, new.index)

    def _follow_attempts(self, old: GraphTrial | None, new: GraphTrial) -> None:
        known = {attempt.number for attempt in old.status.attempts if not attempt.is_open} if old else set()
        for attempt in new.status.attempts:
            self.last_start = max(self.last_start, attempt.started_at or 0.0)
            if attempt.is_open or attempt.number in known:
                continue
            ended_at = attempt.ended_at or 0.0
            self.last_time = max(self.last_time, ended_at)
            if attempt.end is AttemptEnd.NOT_STARTED:
                insort(self.unstarted, (ended_at, attempt.message))
            elif attempt.exit_code == ExitCode.STORAGE:
                insort(self.unstored, (ended_at, new.index, attempt.message))
            elif attempt.progressed:
                self.last_progress = max(self.last_progress, ended_at)

    def _place(self, trial: GraphTrial) -> None:
        self.open[trial.index] = trial
        attempt = trial.attempt
        if attempt and attempt.is_open:
            self.running[trial.index] = attempt
            if trial.status.rungs and trial.status.rungs[-1].decision is Decision.STOP:
                self.doomed.add(trial.index)
        elif (rung := waiting_at(trial)) is not None:
            insort(self.paused[rung], (trial.status.rungs[-1].score, -trial.index))
        else:
            self.idle[trial.index] = trial

    def _displace(self, trial: GraphTrial) -> None:
        self.open.pop(trial.index, None)
        self.running.pop(trial.index, None)
        self.doomed.discard(trial.index)
        self.idle.pop(trial.index, None)
        if (rung := waiting_at(trial)) is not None:
            waiting = self.paused[rung]
            del waiting[bisect_left(waiting, (trial.status.rungs[-1].score, -trial.index))]

    def _leave(self, trial: GraphTrial) -> None:
        outcome, attempt = trial.status.outcome, trial.attempt
        assert outcome is not None
        if outcome is Outcome.FAILED:
            failure = (trial.status.ended_at or 0.0, trial.index)
            self.last_failed = max(failure, self.last_failed or failure)
            if attempt and attempt.end is AttemptEnd.REFUSED and attempt.exit_code is not None:
                first = self.refused.get(attempt.exit_code, trial.index)
                self.refused[attempt.exit_code] = min(first, trial.index)
        self.outcomes[trial.spec.purpose, outcome] += 1
        if trial.index in self.publishers:
            self.publishers[trial.index] = outcome
        if outcome is Outcome.SUCCEEDED:
            self.successes[trial.spec.purpose].append(trial.index)
        if outcome in LEFT_THE_POPULATION:
            for rung in trial.status.rungs:
                self.rungs[rung.evaluation].remove(rung.score, trial.index)
        score = trial.status.score
        if outcome is Outcome.SUCCEEDED and trial.spec.purpose is Purpose.SEARCH and score is not None:
            entry = (score, -trial.index)
            self.best = max(entry, self.best or entry)

"""``plan(snapshot) -> actions``: one level-triggered look at a search, in the order facts, trials, acts.

A world calls it again until it returns nothing: first come records (what was reported, how attempts ended), then
outcomes and new trials, and only when every fact is recorded the acts (start, stop). A record holds a trial whole and
is carried out by writing it; recorded facts never change. Acts are idempotent, because attempts have fixed names:
whoever starts after a crash plans the same acts again from the facts.

Decided against: reacting to events. An event that is lost, doubled or late changes nothing here.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import NamedTuple

from graphsearch.api import (
    AshaMode,
    Attempt,
    AttemptEnd,
    Decision,
    GraphTrial,
    GraphTrialStatus,
    Outcome,
)
from graphsearch.search import stages
from graphsearch.search.actions import (
    Action,
    Ended,
    Pause,
    Record,
    RecordSearch,
    Running,
    Snapshot,
    Start,
    Stop,
    Why,
)
from graphsearch.search.judging import is_judged, judge
from graphsearch.search.ledger import LEFT_THE_POPULATION
from graphsearch.search.promotion import last_hope, nobody_rises, promotable
from graphsearch.search.settled import Settled
from graphtrial.contract import ExitCode, Purpose

MAX_CRASHES = 3
"""Crashed attempts in a row, none of which got further than the one before, after which a trial has failed."""

_WAITING = 2
"""Trials that may wait for their teachers, for each slot."""

MAX_ATTEMPTS = 40
"""However they ended; what is recorded of a trial has to fit into one object of 12 KiB."""


def plan(snapshot: Snapshot) -> list[Action]:
    """The next actions; an empty list means: wait for something to happen."""
    if snapshot.ledger.search.ended_at is not None:
        return _report(snapshot) if snapshot.settled.reports else []
    if records := _record_observed(snapshot):
        return records
    ending = stages.ending(snapshot.settled, snapshot.ledger, snapshot.now)
    if ending is None and (paused := _pause(snapshot)):
        return paused
    return _record_outcomes(snapshot, ending) or _create(snapshot, ending) or _act(snapshot, ending)


def drive(snapshot: Callable[[], Snapshot], carry_out: Callable[[Action], None]) -> None:
    """Plan and carry out until every fact that follows from what was gathered is recorded and acted upon.

    Args:
        snapshot: Gives the snapshot anew; its ledger shows what was carried out, its ``now`` rises.
        carry_out: Makes one action true.
    """
    facts_left = True
    while facts_left:
        actions = plan(snapshot())
        for action in actions:
            carry_out(action)
        facts_left = any(isinstance(action, Record | RecordSearch) for action in actions)


def _report(snapshot: Snapshot) -> list[Action]:
    """What is left to do once a search has ended: its report, where that is a trial."""
    if records := _record_observed(snapshot) or _record_outcomes(snapshot, None):
        return records
    if snapshot.may_create and (missing := stages.missing_report(snapshot.settled, snapshot.ledger)):
        return [Record(missing)]
    return _act(snapshot, None)


def _record_observed(snapshot: Snapshot) -> list[Action]:
    changed = judge(snapshot)
    for index, attempt in snapshot.ledger.running.items():
        seen = snapshot.observed.get((index, attempt.number))
        if attempt.identity and isinstance(seen, Running) and (attempt.started_at or seen.started_at is None):
            continue
        trial = changed.get(index) or snapshot.ledger.trials[index]
        if isinstance(seen, Running):
            updated = attempt.model_copy(update={"identity": seen.identity, "started_at": seen.started_at})
            changed[index] = _with_attempt(trial, updated)
        elif seen is not None or attempt.identity:
            changed[index] = _end_attempt(trial, attempt, seen or Ended(None), snapshot.now)
    return [Record(changed[index]) for index in sorted(changed)]


_ENDS: dict[int, AttemptEnd] = {
    ExitCode.DONE: AttemptEnd.DONE,
    ExitCode.STOPPED: AttemptEnd.SAVED,
    ExitCode.BAD_SPEC: AttemptEnd.REFUSED,
    ExitCode.BAD_DATA: AttemptEnd.REFUSED,
    ExitCode.DIVERGED: AttemptEnd.DIVERGED,
}


def _end_attempt(trial: GraphTrial, attempt: Attempt, seen: Ended, now: float) -> GraphTrial:
    if seen.never_started:
        end = AttemptEnd.NOT_STARTED
    elif seen.exit_code is None:
        end = AttemptEnd.LOST
    else:
        end = _ENDS.get(seen.exit_code, AttemptEnd.CRASHED)
    seconds = seen.seconds
    if seconds is None:
        seconds = max(0.0, now - (attempt.started_at or seen.started_at or now))
    ended = attempt.model_copy(
        update={
            "end": end,
            "started_at": attempt.started_at or seen.started_at,
            "ended_at": now,
            "exit_code": seen.exit_code,
            "seconds": seconds,
            "message": _printable(seen.message),
            "progressed": seen.progressed,
        }
    )
    trial = _with_attempt(trial, ended)
    # A trial may get to its end before its stop gets to it: after a stop none of its later scores is recorded.
    if end is AttemptEnd.DONE and not _outcome_of_rungs(trial):
        status = trial.status.model_copy(update={"nodes": dict(seen.nodes), "checkpoint": seen.checkpoint})
        trial = trial.model_copy(update={"status": status})
    return _with_plain_outcome(trial, now)


def _printable(message: str) -> str:
    """Without what moves a terminal's cursor: a trainer may say anything."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", message)


def _with_plain_outcome(trial: GraphTrial, now: float) -> GraphTrial:
    """The trial with the outcome that its own facts leave no doubt about: one record less for most trials.

    An outcome that takes the trial's scores out of the population waits for its turn: rungs may be judged beside it.
    """
    found = _outcome_of_rungs(trial) or _outcome_of_attempts(trial)
    return _with_outcome(trial, *found, now) if found and found[0] not in LEFT_THE_POPULATION else trial


def _with_attempt(trial: GraphTrial, attempt: Attempt) -> GraphTrial:
    """The trial with its latest attempt replaced, or a first or further one added."""
    kept = trial.status.attempts[: attempt.number - 1]
    return trial.model_copy(update={"status": trial.status.model_copy(update={"attempts": (*kept, attempt)})})


def _record_outcomes(snapshot: Snapshot, ending: stages.Ending | None) -> list[Action]:
    given_up = _given_up(snapshot, ending)
    idle = [(trial, _outcome(snapshot, given_up, trial)) for _, trial in sorted(snapshot.ledger.idle.items())]
    ended = [*idle, *_outcomes_of_waiting(snapshot, ending)]
    return [Record(_with_outcome(trial, *found, snapshot.now)) for trial, found in ended if found]


def _with_outcome(trial: GraphTrial, outcome: Outcome, message: str, now: float) -> GraphTrial:
    status = trial.status.model_copy(update={"outcome": outcome, "message": message, "ended_at": now})
    return trial.model_copy(update={"status": status})


def _outcome(snapshot: Snapshot, given_up: _GivenUp, trial: GraphTrial) -> tuple[Outcome, str] | None:
    """How an idle trial has ended, with a message; None if it goes on."""
    forgiven_until = snapshot.ledger.search.paused_at or 0.0
    if found := _outcome_of_rungs(trial) or _outcome_of_attempts(trial, forgiven_until):
        return found
    if failed := stages.failed_teacher(snapshot.ledger, trial):
        return Outcome.FAILED, f"its teacher {failed.name} failed: {failed.status.message}"
    if _is_given_up(snapshot, given_up, trial):
        return Outcome.CANCELLED, ""
    return None


def _outcome_of_rungs(trial: GraphTrial) -> tuple[Outcome, str] | None:
    """What a rung that stopped a trial makes of it; None if none did."""
    last = trial.status.rungs[-1] if trial.status.rungs else None
    if last is None or last.decision is not Decision.STOP:
        return None
    if not math.isfinite(last.score):
        return Outcome.DIVERGED, f"score {last.score} at evaluation {last.evaluation}"
    return Outcome.STOPPED, f"rank {last.rank} of {last.of} at evaluation {last.evaluation}"


def _outcome_of_attempts(trial: GraphTrial, forgiven_until: float = 0.0) -> tuple[Outcome, str] | None:
    """What the latest attempt's end makes of a trial; None if another attempt may follow."""
    rungs, attempt = trial.status.rungs, trial.attempt
    if attempt is None:
        return None
    is_complete = trial.spec.purpose is Purpose.REPORT or (rungs and rungs[-1].decision is Decision.NONE)
    if attempt.end is AttemptEnd.DONE and is_complete:
        return Outcome.SUCCEEDED, ""
    if attempt.end is AttemptEnd.DIVERGED:
        return Outcome.DIVERGED, attempt.message
    # Once the search has ended there is nothing left to pause: a report that cannot begin is given up.
    gives_up = attempt.end is AttemptEnd.NOT_STARTED and trial.spec.purpose is Purpose.REPORT
    if attempt.end is AttemptEnd.REFUSED or gives_up:
        return Outcome.FAILED, attempt.message
    if _crashes(trial.status, forgiven_until) >= MAX_CRASHES:
        how = attempt.message or "its last evaluation was never reported"
        return Outcome.FAILED, f"crashed {MAX_CRASHES} times: {how}"
    if attempt.number >= MAX_ATTEMPTS:
        return Outcome.FAILED, f"did not get to its end in {MAX_ATTEMPTS} attempts; the last: {attempt.message}"
    return None


def _outcomes_of_waiting(
    snapshot: Snapshot, ending: stages.Ending | None
) -> list[tuple[GraphTrial, tuple[Outcome, str]]]:
    """Promotion: trials that wait at a rung are given up together, or left behind together."""
    given_up = _given_up(snapshot, ending)
    indexes = sorted(-minus for entries in snapshot.ledger.paused.values() for _, minus in entries)
    waiting = [snapshot.ledger.trials[index] for index in indexes]
    if cancelled := [trial for trial in waiting if _is_given_up(snapshot, given_up, trial)]:
        return [(trial, (Outcome.CANCELLED, "")) for trial in cancelled]
    if nobody_rises(snapshot, ending) and not last_hope(snapshot, ending):
        return [(trial, (Outcome.STOPPED, "never promoted")) for trial in waiting]
    return []


def _crashes(status: GraphTrialStatus, forgiven_until: float) -> int:
    """Crashed attempts since the last one that got further; one that ended without its reports counts.

    One whose storage failed up to ``forgiven_until`` does not: the search was paused for it, and went on.
    """
    reported = {rung.attempt for rung in status.rungs}
    crashes = 0
    for attempt in reversed(status.attempts):
        if attempt.progressed or attempt.number in reported:
            return crashes + (attempt.end is AttemptEnd.CRASHED)
        is_forgiven = attempt.exit_code == ExitCode.STORAGE and (attempt.ended_at or 0.0) <= forgiven_until
        crashes += attempt.end in (AttemptEnd.CRASHED, AttemptEnd.DONE) and not is_forgiven
    return crashes


class _GivenUp(NamedTuple):
    """What is not wanted any more: all trials of some purposes, and single ones by index."""

    purposes: frozenset[Purpose] = frozenset()
    indexes: frozenset[int] = frozenset()


def _given_up(snapshot: Snapshot, ending: stages.Ending | None) -> _GivenUp:
    if ending is not None:
        return _GivenUp(frozenset(Purpose))
    if stages.is_finishing(snapshot.settled):
        return _GivenUp(indexes=frozenset(trial.index for trial in _undecided(snapshot)))
    return _GivenUp(indexes=_beyond_budget(snapshot))


def _beyond_budget(snapshot: Snapshot) -> frozenset[int]:
    """Search trials that a lowered maxTrials leaves no room for: least progress first, then the youngest.

    The one that is furthest stays if no other has got or gets to its end: the search would have no result.
    """
    ledger = snapshot.ledger
    drawn = ledger.created[Purpose.SEARCH] - ledger.outcomes[Purpose.SEARCH, Outcome.CANCELLED]
    surplus = drawn - snapshot.settled.spec.budget.max_trials
    if surplus <= 0:
        return frozenset()
    undecided = _undecided(snapshot)
    has_result = ledger.best is not None or any(
        _progress(trial) >= snapshot.settled.evaluations for trial in ledger.open.values()
    )
    most = len(undecided) if has_result else len(undecided) - 1
    return frozenset(trial.index for trial in sorted(undecided, key=_least_first)[: max(0, min(surplus, most))])


def _undecided(snapshot: Snapshot) -> list[GraphTrial]:
    """Open Search trials whose rungs have not said all: none stopped them, and their last evaluation is to come."""
    evaluations = snapshot.settled.evaluations
    return [
        trial
        for trial in snapshot.ledger.open.values()
        if trial.spec.purpose is Purpose.SEARCH
        and _progress(trial) < evaluations
        and not (trial.status.rungs and trial.status.rungs[-1].decision is Decision.STOP)
    ]


def _is_given_up(snapshot: Snapshot, given_up: _GivenUp, trial: GraphTrial) -> bool:
    purpose = trial.spec.purpose
    if purpose in given_up.purposes or trial.index in given_up.indexes:
        return True
    return purpose is Purpose.PRETRAIN and not stages.is_awaited(snapshot.ledger, trial)


def _pause(snapshot: Snapshot) -> list[Action]:
    """Where nothing gets on; before outcomes, for the attempts that show it are not held against their trials."""
    ledger = snapshot.ledger
    # A search that finishes cannot be paused any more: it goes on trying.
    if stages.is_finishing(snapshot.settled) or not (message := stages.hindrance(ledger)):
        return []
    # The act first: what is recorded is not held against the search again.
    paused = RecordSearch(ledger.search.model_copy(update={"paused_at": snapshot.now}))
    return [paused] if stages.is_paused(snapshot.settled, ledger) else [Pause(message), paused]


def _create(snapshot: Snapshot, ending: stages.Ending | None) -> list[Action]:
    settled, ledger, now = snapshot.settled, snapshot.ledger, snapshot.now
    if ending is not None:
        return [] if ledger.open else [RecordSearch(stages.end(settled, ledger, *ending, now))]
    if stages.is_paused(settled, ledger) or not snapshot.may_create:
        return []
    if missing := stages.missing_teachers(settled, ledger):
        return [Record(trial) for trial in missing]
    if created := stages.next_stage(settled, ledger, now):
        return [Record(item) if isinstance(item, GraphTrial) else RecordSearch(item) for item in created]
    if stages.wants_more(settled, ledger, ending) and _has_room(snapshot):
        return [Record(stages.search_trial(settled, ledger.next_index))]
    return []


def _has_room(snapshot: Snapshot) -> bool:
    """Whether a slot stays free after everything that can start, and not too many wait for their teachers.

    Some that wait are no reason to stop drawing: a teacher trains to its end, and on a cluster most slots would stand
    idle meanwhile. In a space where every graph has a teacher all of maxTrials would be drawn before the first ends,
    whatever the goal.
    """
    slots, ready = snapshot.settled.spec.budget.parallel_trials, len(_ready(snapshot))
    is_free = slots - len(snapshot.ledger.running) - ready > 0
    return is_free and len(snapshot.ledger.idle) - ready < _WAITING * slots and not any(promotable(snapshot))


def _act(snapshot: Snapshot, ending: stages.Ending | None) -> list[Action]:
    settled, ledger = snapshot.settled, snapshot.ledger
    stops = _stops(snapshot, ending)
    stopping = {action.trial.index for action in stops}
    unstarted = [index for index, attempt in ledger.running.items() if not attempt.identity]
    starts: list[Action] = [
        Start(ledger.trials[index])
        for index in sorted(unstarted)
        if index not in stopping and (index, ledger.running[index].number) not in snapshot.observed
    ]
    free = settled.spec.budget.parallel_trials - len(ledger.running)
    if free > 0 and not stages.is_paused(settled, ledger):
        rising = itertools.chain(promotable(snapshot), _ready(snapshot), last_hope(snapshot, ending))
        waiting = itertools.islice(rising, free)
        starts += [Record(_next_attempt(settled, trial)) for trial in waiting]
    return [*stops, *starts]


def _stops(snapshot: Snapshot, ending: stages.Ending | None) -> list[Stop]:
    settled, ledger = snapshot.settled, snapshot.ledger
    given_up = _GivenUp(frozenset(Purpose)) if stages.is_paused(settled, ledger) else _given_up(snapshot, ending)
    others = ledger.running.keys() - ledger.doomed
    unwanted = {
        index
        for index in others
        if (any(given_up) or ledger.trials[index].spec.purpose is Purpose.PRETRAIN)
        and _is_given_up(snapshot, given_up, ledger.trials[index])
    }
    surplus = len(others) - len(unwanted) - settled.spec.budget.parallel_trials
    least: list[GraphTrial] = []
    if surplus > 0:
        kept = [ledger.trials[index] for index in others - unwanted]
        unfinished = [trial for trial in kept if _progress(trial) < settled.evaluations]
        least = sorted(unfinished, key=_least_first)[:surplus]
    return [
        *(Stop(ledger.trials[index], Why.RUNG) for index in sorted(ledger.doomed)),
        *(Stop(ledger.trials[index], Why.UNWANTED) for index in sorted(unwanted)),
        *(Stop(trial, Why.PARALLELISM) for trial in least),
    ]


def _least_first(trial: GraphTrial) -> tuple[int, int]:
    return _progress(trial), -trial.index


def _progress(trial: GraphTrial) -> int:
    return trial.status.rungs[-1].evaluation if trial.status.rungs else 0


def _ready(snapshot: Snapshot) -> list[GraphTrial]:
    """Idle trials whose teachers are there: teachers first, then by index."""
    ready = [trial for trial in snapshot.ledger.idle.values() if stages.has_teachers(snapshot.ledger, trial)]
    return sorted(ready, key=lambda trial: (trial.spec.purpose is not Purpose.PRETRAIN, trial.index))


def _next_attempt(settled: Settled, trial: GraphTrial) -> GraphTrial:
    until = None
    if settled.asha.mode is AshaMode.PROMOTION and is_judged(trial):
        until = next((rung for rung in settled.rungs if rung > _progress(trial)), None)
    number = len(trial.status.attempts) + 1
    return _with_attempt(trial, Attempt(number=number, until=until))

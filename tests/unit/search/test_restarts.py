"""A process cut at any action and started again: nothing is lost, nothing is done twice."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.searches import HandPlayed, a_search, decisions, drawn_curve, of_purpose, rebuilt

from graphsearch.api import Decision
from graphsearch.search.actions import Record
from graphsearch.search.replay import contradictions
from graphsearch.search.simulator import Simulation
from graphtrial.contract import Purpose

CUTS = 500


class _CutError(Exception):
    """The process dies here."""


class _Mortal(Simulation):
    """A simulated world whose process dies right before or right after its n-th action."""

    actions_left: int
    after: bool

    def carry_out(self, action):
        self.actions_left -= 1
        if self.actions_left == 0 and not self.after:
            raise _CutError
        super().carry_out(action)
        if self.actions_left == 0:
            raise _CutError


def cut(settled, curve, number, *, after, processes_live):
    """A search that dies at an action, the facts it had then, and the ledger at its end after a new start."""
    world = _Mortal(settled, curve)
    world.actions_left, world.after = number, after
    try:
        world.run()
    except _CutError:
        facts = dict(world.ledger.trials)
        return facts, world.restarted(processes_live=processes_live).run()
    return dict(world.ledger.trials), world.ledger


@st.composite
def searches(draw_from, parallel):
    """Small searches with teachers and a comparison."""
    return (
        a_search()
        .with_nodes(2, "resnet8", "resnet14", gates=("Through", "Cutoff"))
        .trials(draw_from(st.integers(1, 12)))
        .parallel(draw_from(parallel))
        .halving(mode=draw_from(st.sampled_from(["Stopping", "Promotion"])))
        .compared(2, 2, ["Distillation", "Independent"])
        .settled()
    )


few = settings(deadline=None, max_examples=60, derandomize=True)
numbers, seeds = st.integers(1, CUTS), st.integers(0, 1000)


@few
@given(searches(st.integers(1, 4)), seeds, numbers, st.booleans(), st.booleans())
def test_a_cut_loses_and_doubles_nothing(settled, seed, number, after, processes_live):
    """Recorded facts stay as they were; attempts, evaluations and trials are each there once; the search ends."""
    facts, ledger = cut(settled, drawn_curve(seed), number, after=after, processes_live=processes_live)
    assert ledger.search.ended_at is not None
    assert sorted(ledger.trials) == list(range(len(ledger.trials)))
    for index, then in facts.items():
        now = ledger.trials[index]
        assert now.spec == then.spec
        assert now.status.rungs[: len(then.status.rungs)] == then.status.rungs
        closed = [attempt for attempt in then.status.attempts if not attempt.is_open]
        assert list(now.status.attempts[: len(closed)]) == closed
        assert then.status.outcome in (None, now.status.outcome)
    for trial in ledger.trials.values():
        assert trial.is_ended
        assert [attempt.number for attempt in trial.status.attempts] == list(range(1, len(trial.status.attempts) + 1))
        assert all(not attempt.is_open for attempt in trial.status.attempts)
        evaluations = [rung.evaluation for rung in trial.status.rungs]
        assert evaluations == sorted(set(evaluations))
    assert len(of_purpose(ledger, Purpose.SEARCH)) == settled.spec.budget.max_trials
    compared = [(trial.spec.contenders, trial.spec.repeat) for trial in of_purpose(ledger, Purpose.COMPARE)]
    assert len(compared) == len(set(compared))
    assert contradictions(settled, ledger.trials.values()) == []


@few
@given(searches(st.just(1)), seeds, numbers, st.booleans(), st.booleans())
def test_one_worker_decides_after_a_cut_as_without_it(settled, seed, number, after, processes_live):
    """With durable checkpoints and one trial at a time, a crash changes no decision and no score."""
    _, ledger = cut(settled, drawn_curve(seed), number, after=after, processes_live=processes_live)
    undisturbed = Simulation(settled, drawn_curve(seed)).run()
    assert decisions(ledger) == decisions(undisturbed)
    assert ledger.search.winner == undisturbed.search.winner

    def results(of):
        return {(t.spec.contenders, t.spec.repeat): t.status.score for t in of_purpose(of, Purpose.COMPARE)}

    assert results(ledger) == results(undisturbed)


@few
@given(st.integers(1, 12), st.data())
def test_records_of_one_snapshot_can_be_cut_anywhere(kept, data):
    """Reports that came together and were recorded in part are still explained by what was recorded before them."""
    scores = st.integers(0, 9).map(float)
    reports = data.draw(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([1, 2, 4]), scores), max_size=18))
    unique = {(index, evaluation): (index, evaluation, score) for index, evaluation, score in reports}
    search = a_search().trials(6).parallel(6).settled()
    world = HandPlayed(search).look()
    before = rebuilt(world.ledger)
    written = []
    carry_out = world._carry_out

    def dies(action):
        if isinstance(action, Record):
            if len(written) == kept:
                raise _CutError
            written.append(action)
        carry_out(action)

    world._carry_out = dies
    with contextlib.suppress(_CutError):
        world.look(*unique.values())
    assert sorted(before.trials) == sorted(world.ledger.trials)
    again = HandPlayed(search, rebuilt(world.ledger))
    again.now, again.observed = world.now, world.observed
    again.look(*unique.values())
    assert contradictions(search, again.ledger.trials.values()) == []


def test_an_attempt_intended_before_the_crash_is_started_once():
    """Recorded and not started: the same attempt is started; started and gone: the next one is."""
    search = a_search().trials(1).settled()
    world = HandPlayed(search).look()
    assert [attempt.number for attempt in world.ledger.trials[0].status.attempts] == [1]
    intended = world.ledger.trials[0].model_copy(
        update={
            "status": world.ledger.trials[0].status.model_copy(
                update={
                    "attempts": (
                        world.ledger.trials[0].attempt.model_copy(update={"identity": "", "started_at": None}),
                    )
                }
            )
        }
    )
    unstarted = rebuilt(world.ledger)
    unstarted.put(intended)
    again = HandPlayed(search, unstarted).look()
    assert (again.started, len(again.ledger.trials[0].status.attempts)) == ([0], 1)
    gone = HandPlayed(search, rebuilt(again.look().ledger)).look()
    assert [str(attempt.end) for attempt in gone.ledger.trials[0].status.attempts] == ["Lost", "None"]


def test_a_decision_recorded_before_the_crash_is_carried_out_after_it():
    """A stop that was decided and not told is told by whoever starts next."""
    search = a_search().trials(2).parallel(2).settled()
    world = HandPlayed(search).look().look((0, 1, 60.0), (1, 1, 50.0))
    assert world.ledger.trials[1].status.rungs[-1].decision is Decision.STOP
    again = HandPlayed(search, rebuilt(world.ledger))
    again.now, again.observed = world.now, world.observed
    assert again.look().stopped == [(1, "Rung")]

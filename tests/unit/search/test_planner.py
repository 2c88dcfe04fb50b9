"""What the planner does next, told as stories: one search, what its trials report, what it asks for."""

from __future__ import annotations

import math

import pytest
from tests.searches import HandPlayed, a_search, drawn_curve

from graphsearch.api import AttemptEnd, Outcome, Reason
from graphsearch.search.simulator import Simulation
from graphtrial.contract import Purpose


def a_world(search):
    """A hand-played world after its first look."""
    return HandPlayed(search.settled()).look()


def test_trials_are_drawn_as_slots_become_free():
    """Four slots take four trials; the fifth is drawn when one ends."""
    world = a_world(a_search().trials(6).parallel(4))
    assert world.running == [0, 1, 2, 3]
    world.finish(2, 0.5)
    assert world.running == [0, 1, 3, 4]
    assert world.outcome(2) is Outcome.SUCCEEDED


def test_a_stopped_trial_keeps_its_slot_until_it_has_saved():
    """A rung's stop is asked for at once; the next trial starts when the process is gone."""
    world = a_world(a_search().trials(3).parallel(2)).look((0, 1, 0.9), (1, 1, 0.1))
    assert (world.stopped, world.running) == ([(1, "Rung")], [0, 1])
    world.end(1, 143)
    assert (world.running, world.outcome(1)) == ([0, 2], Outcome.STOPPED)
    assert world.ledger.trials[1].status.message == "rank 2 of 2 at evaluation 1"


def test_what_a_stopped_trial_reached_before_its_stop_reached_it_is_not_recorded():
    """It ends by itself (0) and not by the stop (143): the facts are the same."""
    world = a_world(a_search().trials(3).parallel(2)).look((0, 1, 0.9), (1, 1, 0.1))
    world.end(1, 0, nodes={"1": 0.3})
    assert (world.outcome(1), world.ledger.trials[1].status.nodes) == (Outcome.STOPPED, {})
    world.finish(0, 0.9, nodes={"1": 0.9})
    assert world.ledger.trials[0].status.nodes == {"1": 0.9}


def test_pausing_saves_everything_and_resuming_goes_on():
    """Paused: all are asked to save, none starts; resumed: the same trials go on with their next attempt."""
    search = a_search().trials(3).parallel(2)
    world = a_world(search).change(search.wanted("Paused"))
    assert world.stopped == [(0, "Unwanted"), (1, "Unwanted")]
    world.end(0, 143).end(1, 143)
    assert (world.running, world.ledger.search.ended_at) == ([], None)
    world.change(search)
    assert world.running == [0, 1]
    assert [len(world.ledger.trials[index].status.attempts) for index in (0, 1)] == [2, 2]


def test_a_pause_leaves_nobody_behind_at_a_rung():
    """Promotion: a trial that waits while a search is paused is still there when it goes on."""
    search = a_search().trials(2).halving(mode="Promotion")
    world = a_world(search).look((0, 1, 0.9)).change(search.wanted("Paused")).end(0)
    assert (world.running, world.outcome(0)) == ([], None)
    world.change(search)
    assert world.running == [1]
    world.look((1, 1, 0.1)).end(1)
    assert (world.running, world.outcome(1)) == ([0], None)


def test_who_was_never_promoted_is_stopped_when_nobody_can_rise_any_more():
    """Promotion: when the last job is done, those that still wait are over."""
    world = a_world(a_search().trials(2).parallel(2).halving(mode="Promotion").evaluations(2))
    world.look((0, 1, 0.9), (1, 1, 0.1)).end(0).end(1)
    assert world.running == [0]
    world.finish(0, 0.9)
    assert (world.outcome(1), world.ledger.trials[1].status.message) == (Outcome.STOPPED, "never promoted")
    assert world.ledger.search.reason is Reason.COMPLETED


@pytest.mark.parametrize("seed", range(8))
def test_a_promotion_of_few_trials_takes_one_of_them_to_the_end(seed):
    """Of one trial at a rung the best half is none: the best of the highest rung rises all the same."""
    search = a_search().trials(8).parallel(2).halving(mode="Promotion").evaluations(16).seeded(seed)
    ledger = Simulation(search.settled(), drawn_curve(seed)).run()
    assert ledger.search.reason is Reason.COMPLETED
    assert ledger.outcomes[Purpose.SEARCH, Outcome.SUCCEEDED] >= 1


def test_the_next_best_rises_where_the_last_hope_fails():
    """From the highest rung, until one has reached the end."""
    world = a_world(a_search().trials(2).halving(mode="Promotion", eta=3).evaluations(2))
    world.look((0, 1, 0.9)).end(0).look((1, 1, 0.1)).end(1)
    assert world.running == [0]
    world.end(0, 12)
    assert (world.outcome(0), world.running) == (Outcome.DIVERGED, [1])
    assert world.finish(1, 0.1).ledger.search.winner == 1


def test_finishing_stops_the_search_and_goes_on_to_the_comparison():
    """No new graphs, running ones are saved and cancelled, then the best one is compared."""
    search = a_search().trials(9).parallel(2).compared(1, 1)
    world = a_world(search).finish(0, 0.5).change(search.wanted("Finishing"))
    assert world.stopped == [(1, "Unwanted"), (2, "Unwanted")]
    world.end(1, 143).end(2, 143)
    assert [world.outcome(index) for index in (1, 2)] == [Outcome.CANCELLED] * 2
    assert [trial.spec.contenders for trial in world.of(Purpose.COMPARE)] == [("Found",)]
    world.finish(3, 0.6)
    assert (world.ledger.search.reason, world.ledger.search.winner) == (Reason.COMPLETED, 0)


def test_finishing_keeps_a_trial_that_has_reported_its_last_evaluation():
    """It has only to store its result: killed while it does, it gets another attempt."""
    search = a_search().trials(9).parallel(2)
    world = a_world(search).look((0, 8, 0.9)).change(search.wanted("Finishing"))
    assert world.stopped == [(1, "Unwanted")]
    world.end(1, 143).end(0, 137)
    assert (world.running, world.ledger.trials[0].attempt.number) == ([0], 2)
    world.end(0)
    assert (world.outcome(0), world.outcome(1)) == (Outcome.SUCCEEDED, Outcome.CANCELLED)
    assert (world.ledger.search.reason, world.ledger.search.winner) == (Reason.COMPLETED, 0)


def test_cancelling_ends_the_search_when_everything_has_stopped():
    """Cancelled: every trial is stopped, nothing is compared, the best so far is named."""
    search = a_search().trials(9).parallel(2).compared(1, 1)
    world = a_world(search).finish(0, 0.5).change(search.wanted("Cancelled"))
    assert world.ledger.search.ended_at is None
    world.end(1, 143).end(2, 143)
    assert (world.ledger.search.reason, world.ledger.search.winner) == (Reason.CANCELLED, 0)


ENDINGS = [
    ({"deadlineSeconds": 60}, 60, Reason.DEADLINE_EXCEEDED, "60 s passed since the start"),
    ({"maxGpuHours": 0.01}, 36, Reason.BUDGET_SPENT, "maxGpuHours: 0.01 are spent"),
]


@pytest.mark.parametrize(("budget", "seconds", "reason", "message"), ENDINGS)
def test_what_is_spent_ends_the_search(budget, seconds, reason, message):
    """Time and device time of running trials count; all is stopped and there is no comparison."""
    world = a_world(a_search().trials(9).compared(1, 1).budget(**budget)).wait(seconds / 2)
    assert world.stopped == []
    assert world.wait(seconds / 2).stopped == [(0, "Unwanted")]
    facts = world.end(0, 143, seconds=seconds).ledger.search
    assert (facts.reason, facts.message, facts.winner) == (reason, message, None)


def test_a_budget_raised_in_time_keeps_the_search_alive():
    """The budget may be changed while the search runs."""
    search = a_search().budget(deadlineSeconds=60)
    world = a_world(search).wait(59).change(search.budget(deadlineSeconds=600)).wait(30)
    assert (world.stopped, world.running) == ([], [0])


def test_no_new_graphs_once_the_goal_is_reached():
    """Trials that run go on to their end; then the search is complete."""
    world = a_world(a_search().trials(9).parallel(2).scored_by("TargetNode", goal=0.8)).finish(0, 0.8)
    assert world.running == [1]
    world.finish(1, 0.5)
    assert (world.ledger.search.reason, world.ledger.search.winner) == (Reason.COMPLETED, 0)


def test_too_many_failed_trials_end_the_search():
    """B7: maxFailedTrials may fail; one more ends it, with the last failure's message."""
    world = a_world(a_search().trials(9).budget(maxFailedTrials=1))
    world.look((0, 1, 0.5))
    for index in (0, 1):
        for attempt in range(3):
            world.end(index, 1, message=f"boom {attempt}")
    facts = world.ledger.search
    assert facts.reason is Reason.TOO_MANY_FAILED_TRIALS
    assert facts.message == "2 trials failed (maxFailedTrials: 1); the last: crashed 3 times: boom 2"


def test_a_lowered_parallelism_stops_those_with_least_progress():
    """The youngest first among equals, and never a trial that has reported its last evaluation."""
    search = a_search().trials(9).parallel(4)
    world = a_world(search).look((0, 1, 0.5), (0, 8, 0.5)).look((3, 1, 0.5), (2, 1, 0.5)).look((3, 2, 0.5))
    world.change(search.parallel(2))
    assert world.stopped == [(1, "Parallelism"), (2, "Parallelism")]
    world.end(1, 143).end(2, 143)
    assert world.running == [0, 3]
    assert [world.outcome(index) for index in (1, 2)] == [None, None]
    world.end(0)
    assert world.running == [1, 3]


CRASHES = [
    ("three crashes in a row", [(None, 1), (None, 137), (None, 1)], Outcome.FAILED),
    ("a rung between crashes clears the count", [(None, 1), (None, 1), (1, 1), (None, 1)], None),
    ("losses are not charged", [(None, None)] * 5, None),
    ("a stop that nobody asked for is not charged", [(None, 143)] * 5, None),
    ("ending well without the last evaluation is a crash", [(None, 0)] * 3, Outcome.FAILED),
    ("a refused specification", [(1, 10)], Outcome.FAILED),
    ("divergence", [(None, 12)], Outcome.DIVERGED),
]


@pytest.mark.parametrize(("attempts", "expected"), [c[1:] for c in CRASHES], ids=[c[0] for c in CRASHES])
def test_what_a_trial_survives(attempts, expected):
    """B23: only crashes without progress are charged; refusal and divergence are final."""
    world = a_world(a_search().trials(1))
    for evaluation, code in attempts:
        if evaluation:
            world.look((0, evaluation, 0.5))
        world.end(0, code, message="why")
    assert world.outcome(0) == expected
    assert len(world.ledger.trials[0].status.attempts) == len(attempts) + (expected is None)


def test_what_would_move_a_terminals_cursor_is_not_recorded():
    """A trainer's message may come from anything that the user's code calls."""
    world = a_world(a_search().trials(1))
    world.end(0, 1, message="no\x1b[2Jroom\nfor \u00e4 map\x07")
    assert world.ledger.trials[0].status.attempts[0].message == "no\ufffd[2Jroom\nfor \u00e4 map\ufffd"


def test_an_attempt_that_vanishes_is_lost_and_the_next_number_starts():
    """Started and no longer seen: lost, and a new attempt with its own number."""
    world = a_world(a_search().trials(1))
    world.observed.clear()
    world.look()
    assert [(a.number, a.end) for a in world.ledger.trials[0].status.attempts] == [(1, AttemptEnd.LOST), (2, None)]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_stops_at_the_last_evaluation_too(score):
    """Such a trial has diverged and is nobody's best."""
    world = a_world(a_search().trials(1)).look((0, 1, 0.5)).look((0, 8, score)).end(0)
    assert world.outcome(0) is Outcome.DIVERGED
    assert world.ledger.search.reason is Reason.NO_TRIAL_COMPLETED


def test_more_slots_than_trials_are_no_mistake():
    """B8: all trials run at once, and no more of them."""
    assert a_world(a_search().trials(2).parallel(9)).running == [0, 1]


def test_a_trials_score_is_that_of_its_last_evaluation():
    """B10: neither its best nor its worst on the way; who is best follows from that."""
    world = a_world(a_search().trials(2).parallel(2)).look((1, 1, 0.2)).look((0, 1, 0.99))
    world.finish(0, 0.11).finish(1, 0.5)
    assert [world.ledger.trials[index].status.score for index in (0, 1)] == [0.11, 0.5]
    assert world.ledger.search.winner == 1


def test_rungs_need_no_company():
    """B16: with one slot each trial is judged as it reports, and one that fails holds up nobody."""
    world = a_world(a_search().trials(3)).look((0, 1, 0.9)).end(0, 12)
    assert world.running == [1]
    world.look((1, 1, 0.5)).finish(1, 0.6)
    assert world.running == [2]
    world.look((2, 1, 0.4)).end(2, 143)
    assert [world.outcome(index) for index in (0, 1, 2)] == [Outcome.DIVERGED, Outcome.SUCCEEDED, Outcome.STOPPED]


def test_a_failed_trial_leaves_the_population():
    """Its scores count for those before and no longer for those after it."""
    world = a_world(a_search().trials(3).parallel(3)).look((0, 1, 0.9))
    world.end(0, 12)
    rung = world.look((1, 1, 0.5)).ledger.trials[1].status.rungs[0]
    assert (rung.rank, rung.of) == (1, 1)


def test_bad_data_ends_the_search_at_once():
    """Every other trial would meet the same data."""
    facts = a_world(a_search().trials(9)).end(0, 11, message="cats/7.png is corrupt").ledger.search
    assert (facts.reason, facts.message) == (Reason.BAD_DATA, "cats/7.png is corrupt")


def test_a_bad_specification_ends_a_search_that_never_ran():
    """Refused before anything was reported: the manifest is wrong; later it is one trial's misfortune."""
    facts = a_world(a_search().trials(9)).end(0, 10, message="no such model").ledger.search
    assert (facts.reason, facts.message) == (Reason.BAD_SPEC, "s-t0: no such model")
    world = a_world(a_search().trials(9).parallel(2)).look((0, 1, 0.5)).end(1, 10)
    assert (world.ledger.search.ended_at, world.outcome(1)) == (None, Outcome.FAILED)


def test_a_search_without_scheduler_stops_nobody():
    """Only the last evaluation is recorded."""
    world = a_world(a_search().trials(2).parallel(2).never_stopping()).look((0, 1, 0.9), (1, 1, 0.1))
    assert world.stopped == []
    assert [world.ledger.trials[index].status.rungs for index in (0, 1)] == [(), ()]
    assert world.finish(1, 0.1).outcome(1) is Outcome.SUCCEEDED


def test_an_ended_search_asks_for_nothing():
    """Whatever is still reported or seen."""
    world = a_world(a_search().trials(1)).finish(0, 0.5)
    ended = world.ledger.search
    world.look((0, 8, 0.9)).wait(100)
    assert (world.ledger.search, world.started) == (ended, [0])

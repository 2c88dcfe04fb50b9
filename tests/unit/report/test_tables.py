"""What a report counts: rungs, cost, finalists, best trials."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from graphsearch.api import Attempt, AttemptEnd, GraphTrialStatus, Outcome
from graphsearch.report import SearchRecord
from graphsearch.report.tables import Length, best_trials, costs, finalist_rows, rung_rows, trained_length
from graphtrial.contract import Evaluation, Purpose, TrialResult


def left(attempt: int, *, resumed_at: int, steps: int, evaluated: int = 0) -> TrialResult:
    """What an attempt leaves, where an evaluation is an epoch of 100 steps."""
    evaluations = tuple(
        Evaluation(number=number, step=number * 100, score=0.5, nodes={}, losses={}, seconds=0.0)
        for number in range(1, evaluated + 1)
    )
    return TrialResult(attempt=attempt, resumed_at=resumed_at, steps=steps, evaluations=evaluations)


def length_of_one(record: SearchRecord, *results: TrialResult, **status: object) -> Length:
    """What the report counts for a search of one trial, with that status, of which that was left."""
    first = record.of(Purpose.SEARCH)[0]
    one = first.model_copy(update={"status": GraphTrialStatus.model_validate(status)})
    return costs(replace(record, trials=(one,), results={one.index: results}))[Purpose.SEARCH][1]


def test_rungs_add_up(whole: SearchRecord) -> None:
    """What a rung keeps is what the next one sees; the cut lies among the scores reported."""
    rows = rung_rows(whole)
    assert [row.evaluation for row in rows] == [1, 2, 4, 8]
    assert rows[0].reported == 24
    assert [row.reported for row in rows[1:]] == [row.kept for row in rows[:-1]]


def test_seconds_add_up_to_all_attempts(whole: SearchRecord) -> None:
    """No device time is counted twice or forgotten."""
    seconds = [cost for cost, _ in costs(whole).values()]
    told = sum(cost.useful + cost.stopped + cost.lost for cost in seconds)
    assert round(told, 6) == round(sum(trial.seconds for trial in whole.trials), 6)


def test_epochs_are_told_by_fate(whole: SearchRecord) -> None:
    """Trials that reached their end trained all 16 epochs; stopped ones as far as their last rung."""
    length = costs(whole)[Purpose.SEARCH][1]
    searched = whole.of(Purpose.SEARCH)
    ended = [trial for trial in searched if trial.status.outcome is Outcome.SUCCEEDED]
    stopped = [trial for trial in searched if trial.status.outcome is Outcome.STOPPED]
    assert length.useful == 16 * len(ended)
    assert length.stopped == sum(trial.status.rungs[-1].evaluation for trial in stopped)
    assert length.lost == 0


def test_work_that_was_done_again_is_lost(whole: SearchRecord) -> None:
    """Each attempt's steps beyond those where the next one took over, also where one of them left nothing."""
    first = left(1, resumed_at=0, steps=450, evaluated=4)
    third = left(3, resumed_at=400, steps=800, evaluated=8)
    fourth = left(4, resumed_at=600, steps=1600, evaluated=16)
    length = length_of_one(whole, first, third, fourth, outcome=Outcome.SUCCEEDED)
    assert length == Length(useful=16.0, stopped=0.0, lost=0.5 + 2.0)


def test_an_attempt_that_goes_on_where_the_last_one_saved_loses_nothing(whole: SearchRecord) -> None:
    """Stopped after saving, and killed after its last report: what came after that report nobody knows."""
    results = (left(1, resumed_at=0, steps=130, evaluated=1), left(2, resumed_at=130, steps=400, evaluated=4))
    killed = left(3, resumed_at=550, steps=800, evaluated=8)
    assert length_of_one(whole, *results, killed, outcome=Outcome.STOPPED) == Length(0.0, 8.0, 0.0)


@pytest.mark.parametrize(
    ("end", "stopped", "lost"), [(AttemptEnd.CRASHED, 2.0, 2.0), (AttemptEnd.SAVED, 4.0, 0.0), (None, 4.0, 0.0)]
)
def test_a_crash_before_a_trial_is_given_up_is_lost(
    whole: SearchRecord, end: AttemptEnd | None, stopped: float, lost: float
) -> None:
    """What its last attempt did beyond the one before, if it crashed; nothing of it is counted twice."""
    attempts = (Attempt(number=1, end=AttemptEnd.SAVED), Attempt(number=2, end=end))
    results = (left(1, resumed_at=0, steps=200, evaluated=2), left(2, resumed_at=200, steps=400, evaluated=4))
    length = length_of_one(whole, *results, outcome=Outcome.CANCELLED, attempts=attempts)
    assert length == Length(useful=0.0, stopped=stopped, lost=lost)


def test_a_crash_without_a_report_is_not_charged_with_what_was_saved_before(whole: SearchRecord) -> None:
    """The last attempt left nothing, so what the one before had saved is all that is known."""
    attempts = (Attempt(number=1, end=AttemptEnd.SAVED), Attempt(number=2, end=AttemptEnd.CRASHED))
    saved = left(1, resumed_at=0, steps=200, evaluated=2)
    assert length_of_one(whole, saved, outcome=Outcome.CANCELLED, attempts=attempts) == Length(0.0, 2.0, 0.0)


def test_a_failed_trial_is_lost_as_a_whole(whole: SearchRecord) -> None:
    """What it did, and what it did twice."""
    results = (left(1, resumed_at=0, steps=200, evaluated=2), left(2, resumed_at=100, steps=400, evaluated=4))
    assert length_of_one(whole, *results, outcome=Outcome.FAILED) == Length(0.0, 0.0, 5.0)


def test_repeated_steps_of_a_trial_that_was_never_evaluated_are_no_epochs(whole: SearchRecord) -> None:
    """Without an evaluation nobody knows how many steps an epoch has."""
    results = (left(1, resumed_at=0, steps=90), left(2, resumed_at=50, steps=60))
    assert length_of_one(whole, *results, outcome=Outcome.CANCELLED) == Length(0.0, 0.0, 0.0)


def test_repeated_steps_are_counted_as_such(played: Callable[..., SearchRecord], manifest: str) -> None:
    """Where the manifest counts in steps, no evaluation is needed."""
    steps = "{steps: 1600}, evaluateEvery: {steps: 100}"
    record = played(manifest.replace("{epochs: 16}", steps))
    results = (left(1, resumed_at=0, steps=90), left(2, resumed_at=50, steps=60))
    assert length_of_one(record, *results, outcome=Outcome.CANCELLED) == Length(0.0, 0.0, 40.0)


def test_an_evaluation_may_span_epochs(played: Callable[..., SearchRecord], manifest: str) -> None:
    """The last evaluation comes at the end, also where the length is no multiple."""
    record = played(manifest.replace("{epochs: 16}", "{epochs: 15}, evaluateEvery: {epochs: 2}"))
    assert [trained_length(record, evaluation) for evaluation in (0, 1, 7, 8)] == [0, 2, 14, 15]


def test_finalists_are_ordered_by_their_new_mean(whole: SearchRecord) -> None:
    """The first is the winner, each with three new runs."""
    rows = finalist_rows(whole)
    rest = tuple(trial for trial in whole.trials if trial.index != rows[0].origin.index)
    assert finalist_rows(replace(whole, trials=rest)) == rows[1:]
    assert rows[0].origin.index == whole.facts.winner
    assert [row.runs for row in rows] == [3, 3, 3]
    means = [row.mean for row in rows if row.mean is not None]
    assert means == sorted(means, reverse=True)


def test_the_best_trials_reached_their_end(whole: SearchRecord) -> None:
    """Finished trials by score, then those that came furthest."""
    best = best_trials(whole, 10)
    outcomes = [trial.status.outcome is Outcome.SUCCEEDED for trial in best]
    assert outcomes == sorted(outcomes, reverse=True)
    scores = [trial.status.score or 0 for trial in best if trial.status.outcome is Outcome.SUCCEEDED]
    assert scores == sorted(scores, reverse=True)
    assert len(best) == 10

"""What a report counts: rungs, cost, finalists, best trials."""

from collections.abc import Callable

from graphsearch.api import Outcome
from graphsearch.report import SearchRecord
from graphsearch.report.tables import best_trials, costs, finalist_rows, rung_rows, trained_length
from graphtrial.contract import Purpose


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


def test_an_evaluation_may_span_epochs(played: Callable[..., SearchRecord], manifest: str) -> None:
    """The last evaluation comes at the end, also where the length is no multiple."""
    record = played(manifest.replace("{epochs: 16}", "{epochs: 15}, evaluateEvery: {epochs: 2}"))
    assert [trained_length(record, evaluation) for evaluation in (0, 1, 7, 8)] == [0, 2, 14, 15]


def test_finalists_are_ordered_by_their_new_mean(whole: SearchRecord) -> None:
    """The first is the winner, each with three new runs."""
    rows = finalist_rows(whole)
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

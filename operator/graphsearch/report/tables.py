"""What the tables of a report count: rungs, cost, finalists, the best trials."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass

from graphsearch.api import GraphTrial, Outcome
from graphsearch.report.record import SearchRecord, curve, evaluations_reached, ranked
from graphsearch.search.status import Cost, RungStatus, cost, fate, summarise
from graphtrial.contract import Purpose


def rung_rows(record: SearchRecord) -> list[RungStatus]:
    """The rungs that at least one trial has reached, in order, as they stand at the end."""
    return [row for row in summarise(record.settled, record.ledger, record.last_moment).rungs if row.reported]


@dataclass(frozen=True, slots=True)
class Length:
    """What trials trained, in ``length_unit``, by what became of them."""

    useful: int
    stopped: int
    lost: int


def costs(record: SearchRecord) -> dict[Purpose, tuple[Cost, Length]]:
    """Device seconds and trained length by purpose."""
    found: dict[Purpose, tuple[Cost, Length]] = {}
    for purpose in Purpose:
        if trials := record.of(purpose):
            lengths = dict.fromkeys(("useful", "stopped", "lost"), 0)
            for trial in trials:
                lengths[fate(trial)] += trained_length(record, evaluations_reached(record, trial))
            found[purpose] = (cost(trials, record.last_moment), Length(**lengths))
    return found


def length_unit(record: SearchRecord) -> str:
    """``epochs`` or ``steps``, as the manifest gives the training's length."""
    return "epochs" if record.settled.training.length.epochs is not None else "steps"


def trained_length(record: SearchRecord, evaluations: int) -> int:
    """How long a trial had trained at an evaluation, in ``length_unit``."""
    training = record.settled.training
    if training.length.epochs is not None:
        return min(evaluations * (training.evaluate_every.epochs or 1), training.length.epochs)
    return min(evaluations * (training.evaluate_every.steps or 1), training.length.steps or 0)


@dataclass(frozen=True, slots=True)
class FinalistRow:
    """A graph that was trained again with new seeds."""

    origin: GraphTrial
    """The Search trial that found it."""
    scores: tuple[float, ...]
    """Validation scores of the runs that ended well."""
    runs: int

    @property
    def mean(self) -> float | None:
        """None without a score."""
        return statistics.fmean(self.scores) if self.scores else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation; None with fewer than two scores."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None


def finalist_rows(record: SearchRecord) -> list[FinalistRow]:
    """The finalists, best mean first; empty where none was trained again."""
    trials = {trial.index: trial for trial in record.trials}
    runs: dict[int, list[GraphTrial]] = defaultdict(list)
    for trial in record.of(Purpose.FINALIST):
        if trial.spec.origin is not None:
            runs[trial.spec.origin].append(trial)
    rows = [
        FinalistRow(
            trials[origin],
            tuple(
                trial.status.score
                for trial in of_one
                if trial.status.outcome is Outcome.SUCCEEDED and trial.status.score is not None
            ),
            len(of_one),
        )
        for origin, of_one in runs.items()
    ]
    return sorted(rows, key=lambda row: (row.mean is None, -(row.mean or 0.0), row.origin.index))


def best_trials(record: SearchRecord, count: int) -> list[GraphTrial]:
    """The best trials that reached their end, then those that came furthest."""
    done = ranked(record)
    ended = {trial.index for trial in done}
    others = [trial for trial in record.of(Purpose.SEARCH) if trial.index not in ended and curve(record, trial)]
    others.sort(key=lambda trial: (-evaluations_reached(record, trial), -curve(record, trial)[-1][1], trial.index))
    return [*done, *others][:count]

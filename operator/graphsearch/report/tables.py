"""What the tables of a report count: rungs, cost, finalists, the best trials."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass

from graphsearch.api import AttemptEnd, Decision, GraphTrial, Outcome
from graphsearch.report.record import SearchRecord, curve, evaluations_reached, ranked
from graphsearch.search.rungs import RungTable
from graphtrial.contract import Purpose


@dataclass(frozen=True, slots=True)
class RungRow:
    """One rung as it stands at the end."""

    evaluation: int
    reported: int
    """Trials with a score here, also one that is not finite."""
    kept: int
    """Of them, those that went on."""
    cut: float | None
    """The lowest score that would go on now."""


def rung_rows(record: SearchRecord) -> list[RungRow]:
    """The rungs that at least one trial has reached, in order."""
    reported: dict[int, int] = defaultdict(int)
    kept: dict[int, int] = defaultdict(int)
    scores: dict[int, RungTable] = defaultdict(RungTable)
    for trial in record.of(Purpose.SEARCH):
        last = trial.status.rungs[-1].evaluation if trial.status.rungs else 0
        for rung in trial.status.rungs:
            reported[rung.evaluation] += 1
            kept[rung.evaluation] += rung.decision is Decision.CONTINUE or rung.evaluation < last
            if trial.status.outcome not in (Outcome.FAILED, Outcome.DIVERGED):
                scores[rung.evaluation].add(rung.score, trial.index)
    eta = record.settled.asha.reduction_factor
    return [
        RungRow(rung, reported[rung], kept[rung], scores[rung].cut(eta))
        for rung in record.settled.rungs
        if reported[rung]
    ]


@dataclass(slots=True)
class Cost:
    """What trials used, in seconds of a device and in the unit of the training's length."""

    useful: float = 0.0
    """By trials that reached their end, or still run."""
    stopped: float = 0.0
    """By trials that a rung stopped."""
    lost: float = 0.0
    """By trials that failed, diverged or were cancelled, and by attempts that ended without saving."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.useful + self.stopped + self.lost


def costs(record: SearchRecord) -> dict[Purpose, tuple[Cost, Cost]]:
    """(seconds, training length) by purpose, in the order in which purposes first occur."""
    found: dict[Purpose, tuple[Cost, Cost]] = {}
    for trial in sorted(record.trials, key=lambda trial: trial.index):
        seconds, length = found.setdefault(trial.spec.purpose, (Cost(), Cost()))
        wasted = sum(a.seconds for a in trial.status.attempts if a.end in (AttemptEnd.LOST, AttemptEnd.CRASHED))
        kind = _kind(trial)
        if kind == "lost":
            seconds.lost += trial.seconds
        else:
            seconds.lost += wasted
            setattr(seconds, kind, getattr(seconds, kind) + trial.seconds - wasted)
        setattr(length, kind, getattr(length, kind) + trained_length(record, evaluations_reached(record, trial)))
    return found


def _kind(trial: GraphTrial) -> str:
    match trial.status.outcome:
        case None | Outcome.SUCCEEDED:
            return "useful"
        case Outcome.STOPPED:
            return "stopped"
        case _:
            return "lost"


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

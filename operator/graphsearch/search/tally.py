"""Running sums over a search's trials: what they cost, and what each rung has seen.

Kept by the difference that a trial's new facts make, so that showing a search costs the same at its first and its
twenty-thousandth trial.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from graphsearch.api import Attempt, AttemptEnd, Decision, GraphTrial, Outcome

_KEPT = (AttemptEnd.DONE, AttemptEnd.SAVED)


class Tally:
    """Sums over the trials that were added and not taken away again."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """Device seconds of ended attempts by their fate: ``useful``, ``stopped`` or ``lost``."""
        self.reported: Counter[int] = Counter()
        """Recorded scores by evaluation."""
        self.kept: Counter[int] = Counter()
        """Those of trials that went on from there, by evaluation."""

    def add(self, trial: GraphTrial) -> None:
        """Count a trial's facts in."""
        self._count(trial, 1)

    def take(self, trial: GraphTrial) -> None:
        """Count a trial's facts out, as they were added."""
        self._count(trial, -1)

    def _count(self, trial: GraphTrial, sign: int) -> None:
        for attempt in trial.status.attempts:
            if not attempt.is_open:
                self.seconds[_fate(trial, attempt)] += sign * attempt.seconds
        rungs = trial.status.rungs
        for position, rung in enumerate(rungs):
            self.reported[rung.evaluation] += sign
            if rung.decision is Decision.CONTINUE or position + 1 < len(rungs):
                self.kept[rung.evaluation] += sign


def fate(trial: GraphTrial) -> str:
    """What became of a trial's work: ``useful``, ``stopped`` or ``lost``, the fields of ``api.Cost``."""
    match trial.status.outcome:
        case None | Outcome.SUCCEEDED:
            return "useful"
        case Outcome.STOPPED | Outcome.CANCELLED:
            return "stopped"
        case Outcome.FAILED | Outcome.DIVERGED:
            return "lost"


def _fate(trial: GraphTrial, attempt: Attempt) -> str:
    """What became of one attempt's work; of one that was stopped for good, nobody may have seen the end."""
    unwanted = trial.status.outcome in (Outcome.STOPPED, Outcome.CANCELLED) and attempt == trial.attempt
    kept = attempt.end in _KEPT or (unwanted and attempt.end is AttemptEnd.LOST)
    return fate(trial) if kept else "lost"

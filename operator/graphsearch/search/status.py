"""A search in numbers, for whoever shows it: counters, rungs, best trial, cost. It grows with rungs, not trials."""

from __future__ import annotations

from collections.abc import Iterable

from graphsearch.api import BestStatus, Cost, Decision, GraphTrial, Outcome, Reason, RungStatus
from graphsearch.search import stages
from graphsearch.search.ledger import Ledger
from graphsearch.search.settled import Settled
from graphtrial.contract import ExitCode, Model, Purpose

_SAVED = (ExitCode.DONE, ExitCode.STOPPED)


class SearchStatus(Model):
    """A search as it stands."""

    name: str
    reason: Reason
    message: str = ""
    created: int
    running: int
    succeeded: int
    stopped: int
    failed: int
    diverged: int
    cancelled: int
    max_trials: int
    rungs: tuple[RungStatus, ...] = ()
    best: BestStatus | None = None
    seconds: Cost = Cost()


def summarise(settled: Settled, ledger: Ledger, now: float) -> SearchStatus:
    """The status of a search from its facts; O(trials), for showing and not for deciding."""
    outcomes = {outcome: ledger.outcomes[Purpose.SEARCH, outcome] for outcome in Outcome}
    best = None
    if ledger.best is not None:
        best = BestStatus(trial=ledger.trials[-ledger.best[1]].name, score=ledger.best[0])
    return SearchStatus(
        name=settled.name,
        reason=current_reason(settled, ledger, now),
        message=ledger.search.message,
        created=ledger.created[Purpose.SEARCH],
        running=len(ledger.running),
        succeeded=outcomes[Outcome.SUCCEEDED],
        stopped=outcomes[Outcome.STOPPED],
        failed=outcomes[Outcome.FAILED],
        diverged=outcomes[Outcome.DIVERGED],
        cancelled=outcomes[Outcome.CANCELLED],
        max_trials=settled.spec.budget.max_trials,
        rungs=tuple(_rung(settled, ledger, rung) for rung in settled.rungs),
        best=best,
        seconds=cost(ledger.trials.values(), now),
    )


def current_reason(settled: Settled, ledger: Ledger, now: float) -> Reason:
    """What the search is doing, or why it ended."""
    if ledger.search.reason is not None:
        return ledger.search.reason
    if stages.is_paused(settled):
        return Reason.PAUSED
    if ledger.created[Purpose.COMPARE]:
        return Reason.COMPARING
    if ledger.created[Purpose.FINALIST]:
        return Reason.CHOOSING
    ending = stages.ending(settled, ledger, now)
    return ending[0] if ending else Reason.SEARCHING


def cost(trials: Iterable[GraphTrial], now: float) -> Cost:
    """Device seconds by what became of them."""
    sums = {"useful": 0.0, "stopped": 0.0, "lost": 0.0, "running": 0.0}
    for trial in trials:
        for attempt in trial.status.attempts:
            if attempt.is_open:
                sums["running"] += now - attempt.started_at if attempt.started_at else 0.0
            else:
                sums[fate(trial) if attempt.exit_code in _SAVED else "lost"] += attempt.seconds
    return Cost(**sums)


def fate(trial: GraphTrial) -> str:
    """What became of a trial's work: ``useful``, ``stopped`` or ``lost``, the fields of ``Cost``."""
    match trial.status.outcome:
        case None | Outcome.SUCCEEDED:
            return "useful"
        case Outcome.STOPPED | Outcome.CANCELLED:
            return "stopped"
        case Outcome.FAILED | Outcome.DIVERGED:
            return "lost"


def _rung(settled: Settled, ledger: Ledger, evaluation: int) -> RungStatus:
    recorded = [
        rung for trial in ledger.trials.values() for rung in trial.status.rungs if rung.evaluation == evaluation
    ]
    beyond = sum(
        any(rung.evaluation > evaluation for rung in trial.status.rungs)
        for trial in ledger.trials.values()
        if any(rung.evaluation == evaluation for rung in trial.status.rungs)
    )
    kept = sum(rung.decision is Decision.CONTINUE for rung in recorded)
    return RungStatus(
        evaluation=evaluation,
        reported=len(recorded),
        kept=max(kept, beyond),
        cut=ledger.rungs[evaluation].cut(settled.asha.reduction_factor),
    )

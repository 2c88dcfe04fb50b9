"""A search in numbers, for whoever shows it: counters, rungs, best trial, cost. It grows with rungs, not trials."""

from __future__ import annotations

from collections.abc import Iterable

from graphsearch.api import AshaMode, Attempt, BestStatus, Cost, GraphTrial, Outcome, Reason, RungStatus, SearchFacts
from graphsearch.search import stages
from graphsearch.search.contenders import contenders
from graphsearch.search.ledger import Ledger
from graphsearch.search.settled import Settled
from graphsearch.search.tally import Tally
from graphtrial.contract import Model, Purpose


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
    doubt: str = ""
    """As ``search.replay.doubt`` says, where it was asked."""


_WITH_RESULT = (
    Reason.BUDGET_SPENT,
    Reason.CANCELLED,
    Reason.DEADLINE_EXCEEDED,
    Reason.COMPARISON_FAILED,
    Reason.COMPRESSION_FAILED,
)
"""Ends on the way, which leave a winner where there is one."""


def has_result(settled: Settled, facts: SearchFacts) -> bool:
    """Whether a search that has ended leaves what was asked for, or the best of what there was time for."""
    if facts.reason is Reason.COMPLETED:
        return True
    return facts.reason in _WITH_RESULT and (facts.winner is not None or bool(settled.spec.graphs))


def summarise(settled: Settled, ledger: Ledger, now: float) -> SearchStatus:
    """The status of a search from its facts; its work grows with rungs and running trials, not with ended ones."""
    purpose, wanted = _counted(settled, ledger)
    outcomes = {outcome: ledger.outcomes[purpose, outcome] for outcome in Outcome}
    # Stopping judges a score among those that are there and itself; Promotion those that wait.
    newcomers = int(settled.asha.mode is AshaMode.STOPPING)
    best = None
    if ledger.best is not None:
        best = BestStatus(trial=ledger.trials[-ledger.best[1]].name, score=ledger.best[0])
    return SearchStatus(
        name=settled.name,
        reason=current_reason(settled, ledger, now),
        message=ledger.search.message,
        created=ledger.created[purpose],
        running=len(ledger.running),
        succeeded=outcomes[Outcome.SUCCEEDED],
        stopped=outcomes[Outcome.STOPPED],
        failed=outcomes[Outcome.FAILED],
        diverged=outcomes[Outcome.DIVERGED],
        cancelled=outcomes[Outcome.CANCELLED],
        max_trials=wanted,
        rungs=tuple(
            RungStatus(
                evaluation=rung,
                reported=ledger.tally.reported[rung],
                kept=ledger.tally.kept[rung],
                cut=ledger.rungs[rung].cut(settled.asha.reduction_factor, newcomers=newcomers),
            )
            for rung in settled.rungs
        ),
        best=best,
        seconds=_cost(ledger.tally, ledger.running.values(), now),
    )


def _counted(settled: Settled, ledger: Ledger) -> tuple[Purpose, int]:
    """What is counted, and how many are wanted: drawn graphs, or the runs of a fixed list and its baselines."""
    if settled.spec.space:
        return Purpose.SEARCH, settled.spec.budget.max_trials
    return Purpose.COMPARE, settled.repeats * len(contenders(settled, ledger))


def current_reason(settled: Settled, ledger: Ledger, now: float) -> Reason:
    """What the search is doing, or why it ended."""
    if ledger.search.reason is not None:
        return ledger.search.reason
    if stages.is_paused(settled, ledger):
        return Reason.PAUSED
    if ledger.created[Purpose.COMPRESS]:
        return Reason.COMPRESSING
    if ledger.created[Purpose.COMPARE]:
        return Reason.COMPARING
    if ledger.created[Purpose.FINALIST]:
        return Reason.CHOOSING
    ending = stages.ending(settled, ledger, now)
    return ending[0] if ending else Reason.SEARCHING


def cost(trials: Iterable[GraphTrial], now: float) -> Cost:
    """Device seconds of some trials by what became of them; O(trials)."""
    tally, running = Tally(), []
    for trial in trials:
        tally.add(trial)
        running += [attempt for attempt in trial.status.attempts if attempt.is_open]
    return _cost(tally, running, now)


def _cost(tally: Tally, running: Iterable[Attempt], now: float) -> Cost:
    sums = {name: max(0.0, tally.seconds[name]) for name in ("useful", "stopped", "lost")}
    return Cost(**sums, running=sum(now - attempt.started_at for attempt in running if attempt.started_at is not None))

"""The recorded facts judged again in their recorded order: they must give the recorded decisions (design 5).

Whoever doubts a search can prove it by its facts alone. It must not know how they were gathered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from graphsearch.api import AshaMode, Decision, GraphTrial, Rung
from graphsearch.search.ledger import LEFT_THE_POPULATION
from graphsearch.search.rungs import RungTable
from graphsearch.search.settled import Settled


def contradictions(settled: Settled, trials: Iterable[GraphTrial]) -> list[str]:
    """One line for each recorded rung that its predecessors do not explain; empty where all are explained.

    Rungs are judged in the order (time, evaluation, index); a trial that failed or diverged leaves the population
    when it ends.
    """
    tables: defaultdict[int, RungTable] = defaultdict(RungTable)
    found: list[str] = []
    for _, evaluation, index, trial, rung in sorted(_events(trials), key=lambda event: event[:3]):
        if rung is None:
            for left in trial.status.rungs:
                tables[left.evaluation].remove(left.score, index)
            continue
        if rung.decision is Decision.NONE or evaluation == settled.evaluations:
            continue
        recorded, expected = (rung.rank, rung.of, rung.decision), _judged(settled, tables[evaluation], rung)
        if recorded != expected:
            told = f"recorded {_shown(*recorded)}; the facts before it give {_shown(*expected)}"
            found.append(f"{trial.name} at evaluation {evaluation}: {told}")
        tables[evaluation].add(rung.score, index)
    return found


def _events(trials: Iterable[GraphTrial]) -> Iterable[tuple[float, int, int, GraphTrial, Rung | None]]:
    """(time, evaluation, index, trial, rung), and the same without a rung where a trial leaves the population."""
    for trial in trials:
        for rung in trial.status.rungs:
            yield rung.time, rung.evaluation, trial.index, trial, rung
        if trial.status.outcome in LEFT_THE_POPULATION and trial.status.ended_at is not None:
            yield trial.status.ended_at, 0, trial.index, trial, None


def _judged(settled: Settled, table: RungTable, rung: Rung) -> tuple[int | None, int, Decision]:
    verdict = table.judge(rung.score, settled.asha.reduction_factor)
    if verdict.rank is None:
        return None, verdict.of, Decision.STOP
    if settled.asha.mode is AshaMode.PROMOTION:
        return verdict.rank, verdict.of, Decision.PAUSE
    return verdict.rank, verdict.of, Decision.CONTINUE if verdict.goes_on else Decision.STOP


def _shown(rank: int | None, of: int, decision: Decision) -> str:
    return f"rank {rank} of {of}, {decision}"

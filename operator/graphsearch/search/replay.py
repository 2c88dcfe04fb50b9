"""The recorded facts judged again in their recorded order: they must give the recorded decisions (design 5).

Whoever doubts a search can prove it by its facts alone. It must not know how they were gathered, and it is for facts
that nobody is writing: one read before a rung was recorded and another read after do not agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from graphsearch.api import AshaMode, Decision, GraphTrial, Rung
from graphsearch.search.ledger import LEFT_THE_POPULATION, Ledger
from graphsearch.search.rungs import RungTable
from graphsearch.search.settled import Settled

_SHOWN_INDEXES = 5


def doubt(settled: Settled, ledger: Ledger) -> str:
    """Why the records of a search do not add up, in one line; empty where they do. O(trials).

    Trials are numbered without holes and decisions follow from what was recorded before them, so a record that was
    deleted or changed shows.
    """
    told: list[str] = []
    winner = ledger.search.winner
    made = max(ledger.next_index, 0 if winner is None else winner + 1)
    if missing := [index for index in range(made) if index not in ledger.trials]:
        shown = ", ".join(map(str, missing[:_SHOWN_INDEXES]))
        more = f" and {len(missing) - _SHOWN_INDEXES:,} more" if len(missing) > _SHOWN_INDEXES else ""
        told.append(f"trials without a record: {shown}{more}")
    if wrong := contradictions(settled, ledger.trials.values()):
        told.append(f"decisions that the records do not explain: {len(wrong):,}, first {wrong[0]}")
    return "; ".join(told)


def contradictions(settled: Settled, trials: Iterable[GraphTrial]) -> list[str]:
    """One line for each recorded rung that its predecessors do not explain; empty where all are explained.

    Rungs are judged in the order (time, evaluation, index); a trial that failed or diverged leaves the population
    when it ends.
    """
    found: list[str] = []
    for trial, rung, table in replayed(trials):
        if rung.decision is Decision.NONE or rung.evaluation == settled.evaluations:
            continue
        recorded, expected = (rung.rank, rung.of, rung.decision), _judged(settled, table, rung)
        if recorded != expected:
            told = f"recorded {_shown(*recorded)}; the facts before it give {_shown(*expected)}"
            found.append(f"{trial.name} at evaluation {rung.evaluation}: {told}")
    return found


def replayed(trials: Iterable[GraphTrial]) -> Iterator[tuple[GraphTrial, Rung, RungTable]]:
    """Every recorded rung, in its order, with the scores that were recorded at it before; the table is then filled."""
    tables: defaultdict[int, RungTable] = defaultdict(RungTable)
    for _, evaluation, index, trial, rung in sorted(_events(trials), key=lambda event: event[:3]):
        if rung is None:
            for left in trial.status.rungs:
                tables[left.evaluation].remove(left.score, index)
            continue
        yield trial, rung, tables[evaluation]
        tables[evaluation].add(rung.score, index)


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

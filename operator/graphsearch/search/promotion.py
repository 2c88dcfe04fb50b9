"""ASHA's promotion rule (Li et al. 2018): who of the trials that wait at a rung goes on (design 5)."""

from __future__ import annotations

from collections.abc import Iterator

from graphsearch.api import GraphTrial
from graphsearch.search import stages
from graphsearch.search.actions import Snapshot


def promotable(snapshot: Snapshot) -> Iterator[GraphTrial]:
    """Waiting trials among the best n // eta of their rung: highest rung first, then the best."""
    ledger, eta = snapshot.ledger, snapshot.settled.asha.reduction_factor
    for rung in sorted(ledger.paused, reverse=True):
        for score, minus in reversed(ledger.paused[rung]):
            if not ledger.rungs[rung].is_promotable(score, -minus, eta):
                break
            yield ledger.trials[-minus]


def nobody_rises(snapshot: Snapshot, ending: stages.Ending | None) -> bool:
    """Nothing runs or will, so nobody's rank changes any more."""
    ledger = snapshot.ledger
    if ledger.running or ledger.idle or stages.is_paused(snapshot.settled, ledger):
        return False
    return not stages.wants_more(snapshot.settled, ledger, ending) and not any(promotable(snapshot))


def last_hope(snapshot: Snapshot, ending: stages.Ending | None) -> list[GraphTrial]:
    """Of few trials: the best of the highest rung rises if nobody does, until one has reached the end.

    ``n // eta`` of a single trial is none; Stopping lets the first at a rung go on as well.
    """
    waiting = [rung for rung, entries in snapshot.ledger.paused.items() if entries]
    if not waiting or snapshot.ledger.best is not None or not nobody_rises(snapshot, ending):
        return []
    _, minus = snapshot.ledger.paused[max(waiting)][-1]
    return [snapshot.ledger.trials[-minus]]

"""Which actions of one plan have to wait for one another, and carrying them out accordingly.

Rungs are recorded one after the other, in the order of the plan: a decision counts the scores of those before it, so
what is cut off must be the end. New trials are made in the order of their indexes. All else concerns one trial each,
and a control plane that takes 10 ms for a write would make a slot wait for those of all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from graphsearch.search.actions import Action, Pause, Record, RecordSearch
from graphsearch.search.ledger import Ledger

_AT_A_TIME = 8


def lanes(actions: Iterable[Action], ledger: Ledger) -> list[list[Action]]:
    """Actions that have to follow one another, lane by lane; lanes do not depend on one another.

    Args:
        actions: Of one plan.
        ledger: That it was made from.
    """
    ordered: list[Action] = []
    alone: list[list[Action]] = []
    for action in actions:
        if _is_ordered(action, ledger):
            ordered.append(action)
        else:
            alone.append([action])
    return [ordered, *alone] if ordered else alone


def _is_ordered(action: Action, ledger: Ledger) -> bool:
    if not isinstance(action, Record):
        return isinstance(action, RecordSearch | Pause)
    known = ledger.open.get(action.trial.index)
    return known is None or len(action.trial.status.rungs) > len(known.status.rungs)


async def side_by_side(jobs: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Do all, a few at a time, each to its end; then raise what the first of those that failed has raised."""
    places = asyncio.Semaphore(_AT_A_TIME)

    async def do(job: Callable[[], Awaitable[None]]) -> None:
        async with places:
            await job()

    if len(jobs) == 1:
        await jobs[0]()
        return
    for ended in await asyncio.gather(*map(do, jobs), return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended

"""What of one plan waits for what, and that nothing is cut off."""

from __future__ import annotations

import asyncio

import pytest
from tests.searches import HandPlayed, a_search

from graphsearch.api import Decision, Rung
from graphsearch.cluster.lanes import lanes, side_by_side
from graphsearch.search.actions import Record, RecordSearch, Start, Stop, Why
from graphsearch.search.stages import search_trial


def with_rung(trial):
    """The trial with a rung recorded."""
    rung = Rung(evaluation=1, score=0.5, rank=1, of=1, decision=Decision.CONTINUE, time=1.0)
    return trial.model_copy(update={"status": trial.status.model_copy(update={"rungs": (rung,)})})


def test_rungs_and_new_trials_keep_their_order_and_nothing_else_waits():
    """A decision counts the scores of those before it; a Job or a stop concerns one trial."""
    settled = a_search().trials(9).parallel(3).settled()
    world = HandPlayed(settled).look()
    ledger = world.ledger
    first, second, third = (ledger.trials[index] for index in range(3))
    rungs = [Record(with_rung(first)), Record(with_rung(third))]
    alone = [Record(second), Start(second), Stop(third, Why.RUNG)]
    new = [Record(search_trial(settled, 3)), RecordSearch(ledger.search)]
    assert lanes([rungs[0], *alone, rungs[1], *new], ledger) == [[*rungs, *new], *([action] for action in alone)]


def test_nothing_to_do_is_no_lane():
    """Not even an empty one."""
    assert lanes([], HandPlayed(a_search().settled()).ledger) == []


def test_one_that_fails_does_not_cut_off_the_others():
    """All come to their end, and what the first of them has raised is raised."""
    done = []

    def job(number):
        async def do():
            await asyncio.sleep(0)
            if number in (3, 5):
                raise ValueError(number)
            done.append(number)

        return do

    with pytest.raises(ValueError, match="3"):
        asyncio.run(side_by_side([job(number) for number in range(20)]))
    assert done == [number for number in range(20) if number not in (3, 5)]

"""What a ledger keeps of trials that are over: packed facts and running sums."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.searches import a_search, drawn_curve

from graphsearch.search.ledger import Ledger
from graphsearch.search.packed import PackedTrials
from graphsearch.search.simulator import Simulation
from graphsearch.search.status import cost, summarise


def _filled(ledger: Ledger) -> Ledger:
    again = Ledger(ledger.search, PackedTrials())
    for trial in ledger.trials.values():
        again.put(trial)
    return again


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_packed_ledger_holds_the_same_trials(seed: int) -> None:
    """Packing is a matter of memory only."""
    ledger = Simulation(a_search().trials(12).parallel(3).seeded(seed).settled(), drawn_curve(seed)).run()
    assert dict(_filled(ledger).trials) == dict(ledger.trials)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_running_sums_equal_sums_over_all_trials(seed: int) -> None:
    """The status of a search does not depend on how its ledger was filled."""
    settled = a_search().trials(12).parallel(3).seeded(seed).settled()
    ledger = Simulation(settled, drawn_curve(seed)).run()
    now = ledger.last_time + 1
    assert summarise(settled, _filled(ledger), now).rungs == summarise(settled, ledger, now).rungs
    again, once = cost(ledger.trials.values(), now), summarise(settled, ledger, now).seconds
    assert [round(value, 6) for value in dict(again).values()] == [round(value, 6) for value in dict(once).values()]

"""A record from facts and a store."""

from __future__ import annotations

from pathlib import Path

from tests.searches import a_search, drawn_curve

from graphsearch.report import gather
from graphsearch.search.simulator import Simulation
from graphtrial.contract import TrialResult
from graphtrial.storage import open_store


def test_results_of_all_attempts_are_gathered_and_unreadable_ones_left_out(tmp_path: Path):
    """Oldest first, and only what lies among a trial's reports; a damaged one costs its trial's curve alone."""
    search = a_search().trials(3)
    ledger = Simulation(search.settled(), drawn_curve(1)).run()
    store = open_store(str(tmp_path))
    for key, attempt in (("0/reports/2-b", 2), ("0/reports/1-a", 1), ("2/reports/1-a", 1), ("2/other/1-a", 7)):
        store.write(f"trials/{key}.json", TrialResult(attempt=attempt).model_dump_json().encode())
    store.write("trials/1/reports/1-a.json", b"{}")
    store.write("trials/1/reports/2-a.json", TrialResult(attempt=2).model_dump_json().encode())
    (tmp_path / "trials/1/reports/2-a.json").write_bytes(b"damaged")
    store.write("trials/1/reports/1-a.log", b"said")
    record = gather(search.obj(), ledger.search, ledger.trials.values(), store)
    found = {index: [result.attempt for result in results] for index, results in record.results.items()}
    assert found == {0: [1, 2], 2: [1]}
    assert [trial.index for trial in record.trials] == [0, 1, 2]

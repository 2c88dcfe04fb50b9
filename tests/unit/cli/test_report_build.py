"""The Report Job's command: facts from files, results and weights from the store, no API server."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.cli.conftest import a_played_search

from graphsearch.cli.exits import Exit
from graphsearch.local import Folder
from graphsearch.search.archive import pack, part_name
from graphtrial.contract import Evaluation, TrialResult
from graphtrial.storage import open_store


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    """A folder with the parts, as ConfigMaps are mounted."""
    search, ledger = a_played_search()
    folder = tmp_path / "facts"
    folder.mkdir()
    for number, part in enumerate(pack(search.obj(), ledger.search, ledger.trials.values(), 2000)):
        (folder / part_name(number)).write_bytes(part)
    return folder


def test_the_report_goes_beside_the_trials(graphsearch, facts: Path, tmp_path: Path):
    """With the curves that a trial's results hold, which recorded rungs alone do not."""
    store = open_store(f"{tmp_path}/search")
    points = tuple(
        Evaluation(number=number, step=number, score=0.8125, nodes={}, losses={}, seconds=1.0) for number in (3, 5)
    )
    store.write("trials/0/reports/1-abcd.json", TrialResult(attempt=1, evaluations=points).model_dump_json().encode())
    code, out, err = graphsearch("report", "build", "--facts", facts, "--store", f"{tmp_path}/search")
    assert (code, err) == (Exit.OK, "")
    assert out == f"report: {store.url_of('report/index.html')}\n"
    page = store.read("report/index.html").decode()
    assert "81.25" in page


def test_half_of_the_facts_make_no_report(graphsearch, facts: Path, tmp_path: Path):
    """The folder is named, and nothing is written."""
    sorted(facts.iterdir())[-1].unlink()
    code, _, err = graphsearch("report", "build", "--facts", facts, "--store", f"{tmp_path}/search")
    assert code == Exit.USAGE
    assert str(facts) in err
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize("arguments", [["build", "--facts", "x"], ["build", "--store", "x"], ["s", "--facts", "x"]])
def test_half_of_the_options_are_refused(graphsearch, arguments: list[str]):
    """The message shows the whole command."""
    code, _, err = graphsearch("report", *arguments)
    assert code == Exit.USAGE
    assert "graphsearch report build --facts" in err


def test_the_report_of_a_run_is_put_where_it_is_wanted(graphsearch, played_run: Folder, tmp_path: Path):
    """As that of a search on the cluster."""
    code, out, _ = graphsearch("report", played_run.path, "--to", tmp_path / "wanted")
    assert (code, out) == (Exit.OK, f"report: {tmp_path / 'wanted/index.html'}\n")
    page = (played_run.path / "report/index.html").read_bytes()
    assert (tmp_path / "wanted/index.html").read_bytes() == page

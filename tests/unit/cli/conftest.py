"""The program called as a shell calls it, and folders with searches that never ran."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.searches import SearchBuilder, a_search, drawn_curve

from graphsearch.cli.main import main
from graphsearch.local import Folder, Local
from graphsearch.search.ledger import Ledger
from graphsearch.search.simulator import Simulation
from graphtrial.contract import Device

Called = Callable[..., tuple[int, str, str]]


@pytest.fixture
def graphsearch(capsys: pytest.CaptureFixture[str]) -> Called:
    """Calls the program: exit code, standard output, standard error."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A kubeconfig that is not there."""
    path = tmp_path / "no-kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def a_played_search() -> tuple[SearchBuilder, Ledger]:
    """A search of 16 trials with a comparison, played to its end in the simulated world."""
    search = a_search().trials(16).parallel(4).evaluations(8).compared(1, 2)
    return search, Simulation(search.settled(), drawn_curve(3)).run()


@pytest.fixture
def played_run(tmp_path: Path) -> Folder:
    """The folder of that search, as a runner would have left it."""
    search, ledger = a_played_search()
    with Folder(tmp_path / "played") as folder:
        folder.open_search(search.obj(), Local(threads=1, device=Device.CPU))
        folder.write_facts(ledger.search)
        for trial in ledger.trials.values():
            folder.write_trial(trial)
    return folder

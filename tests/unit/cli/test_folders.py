"""Which world an argument means: one rule for all commands that know both."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from graphsearch.cli.exits import CommandError, Exit
from graphsearch.cli.folders import folder_meant, trial_meant
from graphsearch.local import Folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, played_run: Folder) -> Path:
    """A folder of runs with one, ``digits``, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    played_run.path.rename(tmp_path / "runs" / "digits")
    return Path("runs")


def _options(runs: Path, **cluster: str) -> argparse.Namespace:
    return argparse.Namespace(runs=runs, **cluster)


@pytest.mark.parametrize("argument", ["digits", "runs/digits", "./runs/digits", "runs/digits/"])
def test_a_run_that_is_there_is_meant(runs: Path, argument: str):
    """By its path, or by its name below the folder of runs."""
    folder = folder_meant(argument, _options(runs))
    assert folder is not None
    assert folder.path.resolve() == (Path.cwd() / "runs" / "digits").resolve()


@pytest.mark.parametrize("argument", ["./nothing", "a/b", "A_Run", ".", "/tmp/nowhere"])
def test_what_cannot_be_a_name_on_a_cluster_is_a_path(runs: Path, argument: str):
    """So that a slip in a path is answered by the path, and not by a cluster."""
    folder = folder_meant(argument, _options(runs))
    assert folder is not None
    assert not (folder.path / "search.json").exists()


@pytest.mark.parametrize("argument", ["other", "runs"])
def test_any_other_name_is_one_on_the_cluster(runs: Path, argument: str):
    """Also where a folder of that name holds no search."""
    assert folder_meant(argument, _options(runs)) is None


@pytest.mark.parametrize("option", ["namespace", "context", "kubeconfig"])
def test_an_option_about_the_cluster_means_the_cluster(runs: Path, option: str):
    """Whatever lies in a folder."""
    assert folder_meant("digits", _options(runs, **{option: "x"})) is None
    assert trial_meant("digits-t3", _options(runs, **{option: "x"})) is None


@pytest.mark.parametrize("argument", ["digits-t12", "runs/digits/trials/12", "runs/digits-t12", "digits/trials/12/"])
def test_a_trial_of_a_run_that_is_there_is_meant(runs: Path, argument: str):
    """By its name or by the path of its folder."""
    meant = trial_meant(argument, _options(runs))
    assert meant is not None
    assert (meant[0].path.name, meant[1]) == ("digits", 12)


def test_any_other_trial_is_one_on_the_cluster(runs: Path):
    """A trial applied by hand may have any name."""
    assert trial_meant("other-t1", _options(runs)) is None
    assert trial_meant("by-hand", _options(runs)) is None


def test_what_is_no_trial_is_refused(runs: Path):
    """The message says how trials are named."""
    with pytest.raises(CommandError, match="SEARCH-tINDEX or FOLDER/trials/INDEX") as caught:
        trial_meant("runs/digits", _options(runs))
    assert caught.value.code is Exit.USAGE


def test_a_name_that_is_neither_here_nor_there(graphsearch, runs: Path, no_cluster: Path):
    """One message says where both were looked for."""
    for command, name in (("status", "other"), ("report", "other"), ("explain", "other-t1")):
        code, _, err = graphsearch(command, name)
        assert code == Exit.UNREACHABLE
        assert f"no run {name} here or below graphsearch-runs/, and no kubeconfig at {no_cluster}" in err
        assert err.count("\n") == 1


def test_a_command_for_the_cluster_alone_looks_at_no_folder(graphsearch, runs: Path, no_cluster: Path):
    """Nor does one whose options name a cluster."""
    for arguments in (("pause", "digits"), ("purge", "digits"), ("logs", "digits"), ("status", "digits", "-n", "x")):
        code, _, err = graphsearch(*arguments)
        assert code == Exit.UNREACHABLE
        assert "no run" not in err


@pytest.mark.parametrize("arguments", [["--watch"], ["s", "--watch", "-o", "json"], ["s", "--all-namespaces"]])
def test_options_of_status_that_exclude_each_other(graphsearch, no_cluster: Path, arguments: list[str]):
    """They are refused before a cluster is asked."""
    code, _, err = graphsearch("status", *arguments)
    assert code == Exit.USAGE
    assert "leave out" in err


@pytest.mark.parametrize("argument", ["digits", "runs/digits"])
def test_a_search_that_is_there_is_no_trial(runs: Path, argument: str):
    """It is not looked for on a cluster."""
    with pytest.raises(
        CommandError, match=f"{argument}: is a search, and no trial; name it as SEARCH-tINDEX"
    ) as caught:
        trial_meant(argument, _options(runs))
    assert caught.value.code == Exit.USAGE

"""A whole search on one machine with real processes: to its end, killed anywhere, interrupted, taken up again."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from tests.local_runs import QUICK, descendants, finish, start, summary

from graphsearch.api import GraphTrial, Outcome, Reason
from graphsearch.cli.exits import Exit
from graphsearch.local import Folder
from graphsearch.search.ledger import Ledger
from graphsearch.search.planner import MAX_CRASHES
from graphtrial.contract import Purpose

_MANIFEST = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: small}
spec:
  data: {dataset: digits, labelled: {count: 120}}
  space: {nodes: 2, targetModels: [resnet8], auxiliaryModels: [resnet8]}
  training: {length: {epochs: 6}, batchSize: 20, learningRate: 0.05, augmentation: PadCrop}
  budget: {maxTrials: 8, parallelTrials: 1}
  comparison: {finalists: 2, repeats: 2, baselines: [Independent, Distillation]}
  checkpoint: {every: {steps: 5}}
  seed: 3
"""

_VICTIMS = ["runner", "server", "server", *["trial"] * (MAX_CRASHES - 1)]
"""One more killed trial and it might rightly fail, where none of its attempts lives long enough to get any further."""


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    manifest = folder.parent / "small.yaml"
    manifest.write_text(_MANIFEST)
    return start(manifest, folder, *arguments)


def _finish(folder: Path, *arguments: str) -> str:
    code, said = finish(_start(folder, *arguments))
    assert code == 0, said
    return said


@pytest.fixture(scope="module")
def undisturbed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the search, run in one go."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    _finish(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(undisturbed_folder: Path) -> Ledger:
    """Its facts."""
    return Folder(undisturbed_folder).ledger()


def test_a_search_ends_with_its_comparison(undisturbed: Ledger):
    """Trials are stopped at rungs, one is the winner, and every contender has its repeats."""
    assert undisturbed.search.reason is Reason.COMPLETED
    outcomes = [trial.status.outcome for trial in undisturbed.trials.values() if trial.spec.purpose is Purpose.SEARCH]
    assert len(outcomes) == 8
    assert Outcome.STOPPED in outcomes
    assert Outcome.SUCCEEDED in outcomes
    compared = [trial for trial in undisturbed.trials.values() if trial.spec.purpose is Purpose.COMPARE]
    assert {(trial.spec.contenders, trial.spec.repeat) for trial in compared} >= {
        (("Independent",), 0),
        (("Independent",), 1),
    }
    assert all(trial.status.outcome is Outcome.SUCCEEDED for trial in compared)


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_anywhere_it_ends_as_if_undisturbed(tmp_path: Path, undisturbed: Ledger, seed: int):
    """Runner, server or trial are killed at random moments; facts, scores and decisions come out the same."""
    print(f"chaos seed {seed}")
    chance = random.Random(seed)
    folder = tmp_path / "run"
    for victim in chance.sample(_VICTIMS, len(_VICTIMS)):
        process = _start(folder, "--parallel", "1")
        _wait_for_a_trial(process, folder)
        _kill_after(process, victim, chance)
        if process.poll() is not None and process.returncode == 0:
            break
    _finish(folder, "--parallel", "1")
    assert summary(Folder(folder).ledger()) == summary(undisturbed)


def _wait_for_a_trial(process: subprocess.Popen[str], folder: Path) -> None:
    """Until a trial of this run has begun; a child of the server alone may be one that torch starts at its import."""
    while process.poll() is None and not (descendants(process)["trial"] and _is_ready(folder)):
        time.sleep(0.01)


def _is_ready(folder: Path) -> bool:
    """Whether a trial has begun in this folder since its runner began."""
    lock = folder / "lock"
    begun = lock.stat().st_mtime if lock.exists() else float("inf")
    return any(log.stat().st_mtime >= begun for log in folder.glob("trials/*/log.txt"))


def _kill_after(process: subprocess.Popen[str], victim: str, chance: random.Random) -> None:
    """Kill something with SIGKILL at a random moment; the runner itself at last."""
    for name in [victim, "runner"]:
        time.sleep(chance.uniform(0.0, 4.0))
        if name == "runner":
            process.kill()
        else:
            for pid in descendants(process)[name][:1]:
                # A trial may come to its end by itself at that moment.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if name != "trial":
            process.communicate()
            assert name == "runner" or process.returncode in (Exit.TRAINER, Exit.OK)
            return


def test_ctrl_c_saves_everything_and_the_same_command_goes_on(tmp_path: Path, undisturbed: Ledger):
    """SIGINT ends with 130 and a sentence; every open attempt has saved; the rest is done by the next run."""
    folder = tmp_path / "run"
    process = _start(folder)
    _wait_for_a_trial(process, folder)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert "the same command goes on from here" in output
    assert "Traceback" not in output
    assert not any(_is_running(trial) for trial in Folder(folder).ledger().trials.values())
    _finish(folder)
    assert summary(Folder(folder).ledger()) == summary(undisturbed)


def test_a_search_whose_output_nobody_reads_any_more_stops_and_goes_on_later(tmp_path: Path):
    """As after ``2>&1 | head -1``: not an end like any other, so not its exit code."""
    manifest, folder = tmp_path / "quick.yaml", tmp_path / "run"
    manifest.write_text(QUICK)
    process = start(manifest, folder, "--plain")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == Exit.INTERRUPTED
    assert Folder(folder).ledger().search.ended_at is None
    code, said = finish(start(manifest, folder, "--plain"))
    assert (code, Folder(folder).ledger().search.reason) == (Exit.OK, Reason.COMPLETED), said


def test_the_recipe_of_a_found_graph_is_a_search_that_runs(tmp_path: Path, undisturbed_folder: Path):
    """Fixed graphs: nothing is drawn, the found one is trained and compared, and its report is written."""
    manifest = yaml.safe_load((undisturbed_folder / "report" / "recipe.yaml").read_text())
    manifest["spec"]["comparison"] = {"repeats": 1, "baselines": ["Independent"]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(manifest))
    code, said = finish(start(tmp_path / "recipe.yaml", tmp_path / "run"))
    assert code == 0, said
    trials = Folder(tmp_path / "run").ledger().trials.values()
    assert {trial.status.outcome for trial in trials} == {Outcome.SUCCEEDED}
    assert {trial.spec.purpose for trial in trials} <= {Purpose.COMPARE, Purpose.PRETRAIN}
    assert "found" in {name for trial in trials for name in trial.spec.contenders}
    assert (tmp_path / "run" / "report" / "index.html").exists()


def _is_running(trial: GraphTrial) -> bool:
    return trial.attempt is not None and trial.attempt.is_open


def test_a_finished_search_is_not_run_again(tmp_path: Path):
    """The same command on an ended search writes its report and starts nothing."""
    folder = tmp_path / "run"
    _finish(folder)
    before = {path: path.read_bytes() for path in (folder / "trials").rglob("trial.json")}
    (folder / "report" / "index.html").unlink()
    assert "report:" in _finish(folder)
    assert (folder / "report" / "index.html").exists()
    assert {path: path.read_bytes() for path in (folder / "trials").rglob("trial.json")} == before

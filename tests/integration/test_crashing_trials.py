"""A whole search in which trials are killed: what is done without them, and what a crash costs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.local_runs import QUICK, descendants, finish, running
from tests.trainer_process import PATIENCE

from graphsearch.api import AttemptEnd, GraphTrial, Outcome, Reason
from graphsearch.cli.exits import Exit
from graphsearch.local import Folder
from graphsearch.report import SearchRecord
from graphsearch.report.tables import Length, costs
from graphsearch.search.replay import doubt
from graphsearch.search.settled import settle
from graphtrial.contract import Purpose

_VICTIM = 0
_EPOCHS = 16
"""Of the trial that is killed, so that it cannot end by itself before."""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """The short search, for a test to change."""
    path = tmp_path / "quick.yaml"
    path.write_text(QUICK)
    return path


def _first(folder: Path) -> GraphTrial | None:
    """The trial that is to be killed, as it is recorded now; None before it is."""
    if not (folder / "trials" / str(_VICTIM) / "trial.json").exists():
        return None
    return Folder(folder).ledger().trials[_VICTIM]


def _pid(trial: GraphTrial | None) -> int | None:
    """The process of its latest attempt, if that is recorded to run."""
    attempt = trial.attempt if trial else None
    return int(attempt.identity.split()[1]) if attempt and attempt.is_open and attempt.identity else None


def _wait(process: subprocess.Popen[str], for_what: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not for_what():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_trial_that_crashes_on_every_attempt_is_left_behind(manifest: Path):
    """Three killed attempts and it has failed; the others are searched to the end, and the report names it."""
    manifest.write_text(QUICK.replace("epochs: 4", f"epochs: {_EPOCHS}"))
    folder = manifest.parent / "run"
    killed = set()

    def given_up() -> bool:
        trial = _first(folder)
        pid = _pid(trial)
        # Once: the server may already have seen the end of a process that the facts still hold for running.
        if pid not in killed and pid in descendants(process)["trial"]:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        return trial is not None and trial.is_ended

    with running(manifest, folder) as process:
        _wait(process, given_up)
        code, said = finish(process)
    assert code == Exit.OK, said
    found = Folder(folder)
    ledger = found.ledger()
    failed = ledger.trials[_VICTIM].status
    assert failed.outcome is Outcome.FAILED
    assert {(attempt.end, attempt.exit_code) for attempt in failed.attempts} == {(AttemptEnd.CRASHED, -signal.SIGKILL)}
    told = f"crashed 3 times: ended by SIGKILL; see {folder / 'trials' / str(_VICTIM) / 'log.txt'}"
    assert failed.message == told
    searched = [trial for trial in ledger.trials.values() if trial.spec.purpose is Purpose.SEARCH]
    assert len(searched) == 4
    assert {trial.status.outcome for trial in searched[1:]} <= {Outcome.SUCCEEDED, Outcome.STOPPED}
    assert ledger.search.reason is Reason.COMPLETED
    assert ledger.search.winner not in (None, _VICTIM)
    assert doubt(settle(found.manifest()), ledger) == ""
    page = (folder / "report" / "index.html").read_text()
    assert f'<th scope="row">quick-t{_VICTIM}</th><td>{told}</td>' in page


def test_what_a_killed_attempt_had_done_and_a_later_one_repeats_is_lost(manifest: Path):
    """Killed after its first rung, and its checkpoints damaged: it begins anew, and the cost tells what that took."""
    one = QUICK.replace("maxTrials: 4", "maxTrials: 1").replace("epochs: 4", f"epochs: {_EPOCHS}")
    manifest.write_text(one)
    folder = manifest.parent / "run"
    with running(manifest, folder) as process:
        _wait(process, lambda: bool(_pid(_first(folder)) and Folder(folder).results(_VICTIM)))
        # Before it can start the next attempt.
        process.send_signal(signal.SIGSTOP)
        pid = _pid(_first(folder))
        assert pid in descendants(process)["trial"]
        os.kill(pid, signal.SIGKILL)
        _wait(process, lambda: pid not in descendants(process)["trial"])
        (left,) = Folder(folder).results(_VICTIM)
        for checkpoint in (folder / "trials" / str(_VICTIM)).glob("*.pt"):
            checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
        process.send_signal(signal.SIGCONT)
        code, said = finish(process)
    assert code == Exit.OK, said
    found = Folder(folder)
    ledger = found.ledger()
    results = {index: tuple(found.results(index)) for index in ledger.trials}
    record = SearchRecord(found.manifest(), ledger.search, tuple(ledger.trials.values()), results)
    steps_per_epoch = left.evaluations[0].step
    assert costs(record)[Purpose.SEARCH][1] == Length(useful=_EPOCHS, stopped=0, lost=left.steps / steps_per_epoch)
    assert left.steps >= steps_per_epoch
    assert record.doubt == ""

"""The local world's gathering and carrying out, with a server that plays trials without training."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphsearch.api import AttemptEnd, Outcome, Reason
from graphsearch.api.manifest import parse_manifest
from graphsearch.local import Folder, Local, LocalWorld, Machine, StoppedError
from graphsearch.local.machine import Slot
from graphsearch.search.planner import drive
from graphsearch.search.settled import settle
from graphtrial.contract import Device, Evaluation, ExitCode, RungScore, TrialResult, TrialSpec

_MANIFEST = """
apiVersion: graphsearch.io/v1alpha1
kind: GraphSearch
metadata: {name: small}
spec:
  data: {dataset: digits}
  space: {nodes: 2, targetModels: [resnet8], auxiliaryModels: [resnet8], isolatedNodes: Random}
  training: {length: {epochs: 4}}
  budget: {maxTrials: 6, parallelTrials: 2}
"""


class PlayedServer:
    """Ends every started trial at the next look, with the code and scores that ``play`` gives it."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.started: list[TrialSpec] = []
        self.codes: dict[tuple[str, int], int] = {}
        self.saving: set[tuple[str, int]] = set()
        self.holds = False
        self._waiting: list[tuple[str, TrialSpec]] = []
        self._asked: set[str] = set()

    def start(self, key: str, spec: TrialSpec, slot: Slot, log: Path) -> None:
        self.started.append(spec)
        self._waiting.append((key, spec))

    def stop(self, key: str) -> None:
        self._asked.add(key)

    def kill(self, key: str) -> None:
        self._asked.add(key)

    def events(self, timeout: float) -> Iterator[dict[str, Any]]:
        waiting, self._waiting = self._waiting, []
        for key, spec in waiting:
            yield {"started": key, "pid": 1}
            if self.holds and key not in self._asked:
                self._waiting.append((key, spec))
                continue
            code = self.codes.get((spec.trial, spec.attempt), 0)
            self._leave(spec, 143 if key in self._asked else code)
            yield {"ended": key, "code": 143 if key in self._asked else code, "seconds": 2.0}

    def _leave(self, spec: TrialSpec, code: int) -> None:
        score = int(spec.trial.rpartition("t")[2]) / 10
        rungs = tuple(RungScore(rung=number, score=score + number / 100) for number in (1, 2, 4))
        last = Evaluation(number=4, step=8, score=score, nodes={"1": score}, losses={}, seconds=2)
        done = code == 0
        result = TrialResult(
            attempt=spec.attempt,
            rungs=rungs if done else rungs[:1],
            evaluations=(last,) if done else (),
            exit_code=code,
            message="no such image: x.jpg" if code in (11, 13) else "",
        )
        trial = f"trials/{spec.checkpoint.uri.rpartition('/trials/')[2]}"
        self.folder.store.write(
            f"{trial}/reports/{spec.attempt}-abc.json", result.model_dump_json(by_alias=True).encode()
        )
        if (spec.trial, spec.attempt) in self.saving:
            self.folder.store.write(f"{trial}/latest.json", json.dumps({"attempt": spec.attempt}).encode())


def _world(folder: Folder, server: PlayedServer) -> LocalWorld:
    manifest = parse_manifest(_MANIFEST)
    local = Local(threads=1, device=Device.CPU)
    folder.open_search(manifest, local)
    return LocalWorld(
        folder,
        settle(manifest),
        folder.ledger(),
        server,
        machine=Machine(cpus=(0, 1)),
        local=local,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "run")


def test_a_search_runs_to_its_end(folder: Folder):
    """Every trial is started once, judged at its rungs, and the best one that reached the end is the winner."""
    server = PlayedServer(folder)
    world = _world(folder, server)
    world.run()
    assert [spec.trial for spec in server.started] == [f"small-t{index}" for index in range(6)]
    assert world.ledger.search.reason is Reason.COMPLETED
    assert world.ledger.search.winner == 5
    assert folder.ledger().trials == world.ledger.trials


def test_a_crashed_attempt_is_followed_by_another(folder: Folder):
    """A crash is charged to the trial, and the next attempt's number says so to the trainer."""
    server = PlayedServer(folder)
    server.codes["small-t0", 1] = 1
    world = _world(folder, server)
    world.run()
    trial = world.ledger.trials[0]
    assert [attempt.end for attempt in trial.status.attempts] == [AttemptEnd.CRASHED, AttemptEnd.DONE]
    assert "log.txt" in trial.status.attempts[0].message
    assert {spec.attempt for spec in server.started if spec.trial == "small-t0"} == {1, 2}


def test_a_trial_that_crashes_on_every_attempt_fails(folder: Folder):
    """It is given up after three attempts in a row without progress, and the search goes on."""
    server = PlayedServer(folder)
    server.codes.update({("small-t1", attempt): -9 for attempt in range(1, 9)})
    world = _world(folder, server)
    world.run()
    assert world.ledger.trials[1].status.outcome is Outcome.FAILED
    assert world.ledger.search.winner == 5


def test_a_crash_after_a_checkpoint_is_not_charged(folder: Folder):
    """A trial killed again and again goes on as long as every attempt gets further than the one before."""
    server = PlayedServer(folder)
    server.codes.update({("small-t1", attempt): -9 for attempt in range(1, 6)})
    server.saving.update(("small-t1", attempt) for attempt in range(1, 6))
    world = _world(folder, server)
    world.run()
    trial = world.ledger.trials[1]
    assert [attempt.end for attempt in trial.status.attempts] == [AttemptEnd.CRASHED] * 5 + [AttemptEnd.DONE]
    assert "SIGKILL" in trial.status.attempts[0].message


def test_a_clock_that_is_set_back_makes_no_attempt_older(folder: Folder, monkeypatch: pytest.MonkeyPatch):
    """Attempts begin no earlier than what was recorded before, or their running would use up the budget."""
    monkeypatch.setattr(time, "time", lambda: 1_000_000.0)
    server = PlayedServer(folder)
    server.holds = True
    world = _world(folder, server)
    monkeypatch.setattr(time, "time", lambda: 900_000.0)
    drive(world.snapshot, world.carry_out)
    world.gather()
    drive(world.snapshot, world.carry_out)
    started = [attempt.started_at for attempt in world.ledger.running.values()]
    assert len(started) == 2
    assert all(at is not None and at >= 1_000_000 for at in started)


@pytest.mark.parametrize(("code", "cause"), [(ExitCode.BAD_DATA, "data"), (ExitCode.STORAGE, "storage")])
def test_bad_data_stops_the_run_and_costs_no_trial(folder: Folder, code: int, cause: str):
    """The run ends with the trainer's message; once it is mended the same folder goes on to the end."""
    server = PlayedServer(folder)
    server.codes["small-t2", 1] = code
    with pytest.raises(StoppedError, match=r"no such image: x\.jpg") as caught:
        _world(folder, server).run()
    assert caught.value.cause == cause
    mended = _world(folder, PlayedServer(folder))
    mended.run()
    assert mended.ledger.search.reason is Reason.COMPLETED
    assert len(mended.ledger.trials) == 6
    assert not any(trial.status.outcome is Outcome.FAILED for trial in mended.ledger.trials.values())


def test_an_interrupt_saves_and_stops_everything(folder: Folder):
    """Running trials end with 143; the next run goes on with them and repeats nothing."""
    server = PlayedServer(folder)
    server.holds = True
    world = _world(folder, server)
    world._watch = lambda seen: seen.interrupt() if len(server.started) == 2 else None
    with pytest.raises(StoppedError) as caught:
        world.run()
    assert caught.value.cause == "interrupt"
    ends = [trial.status.attempts[-1].end for trial in world.ledger.trials.values()]
    assert ends == [AttemptEnd.SAVED, AttemptEnd.SAVED]
    again = _world(folder, PlayedServer(folder))
    again.run()
    assert again.ledger.search.reason is Reason.COMPLETED
    assert [rung.evaluation for rung in again.ledger.trials[5].status.rungs] == [1, 2, 4]


def test_reports_of_a_killed_runner_are_not_lost(folder: Folder):
    """What an attempt had left beside its checkpoint is recorded before it counts as lost."""
    server = PlayedServer(folder)
    server.holds = True
    world = _world(folder, server)
    world._take_over()
    from graphsearch.search.planner import drive

    for _ in range(3):
        drive(world.snapshot, world.carry_out)
        world.gather()
    assert len(server.started) == 2
    server._leave(server.started[0], 1)
    again = _world(folder, PlayedServer(folder))
    again.run()
    trial = again.ledger.trials[0]
    assert [attempt.end for attempt in trial.status.attempts] == [AttemptEnd.LOST, AttemptEnd.DONE]
    assert trial.status.rungs[0].attempt == 1

"""Real trainers whose S3 server is stopped, or hangs, for a while: none stops training, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from e2e.cluster.object_store import BUCKET
from e2e.cluster.processes import free_ports
from tests.trainer_process import PATIENCE, scraped_at
from tests.trials import STEPS_PER_EPOCH, single_node, training, trial_spec

from graphtrial.contract import ExitCode, TrialResult
from graphtrial.storage import open_store
from graphtrial.training.checkpoint import TrialFolder

EPOCHS = 64
"""Long enough that a test which was held up for a second still meets its trainer half-way."""
STEPS = EPOCHS * STEPS_PER_EPOCH
RUNGS = [1, 2, 4, 8, 16, 32]
STEPS_SHOWN, RUNG_SCORE = "graphtrial_steps_total", "graphtrial_rung_score"

pytestmark = pytest.mark.usefixtures("s3_credentials", "s3_client")


class Trainer:
    """One attempt of a trial in a process of its own, and what it leaves."""

    def __init__(self, endpoint: str, folder: Path, name: str, attempt: int = 1) -> None:
        """Start it."""
        self.store = open_store(f"s3://{BUCKET}/{name}", endpoint=endpoint, region="us-east-1", path_style=True)
        self.attempt, [self.port] = attempt, free_ports(1)
        checkpoint = {"uri": f"s3://{BUCKET}/{name}", "endpoint": endpoint, "region": "us-east-1", "pathStyle": True}
        spec = trial_spec(
            folder,
            graph=single_node(),
            attempt=attempt,
            checkpoint=checkpoint | {"every": {"steps": 7}},
            training=training(length={"epochs": EPOCHS}),
            rungs=RUNGS,
            metricsPort=self.port,
        )
        self.log = folder / f"{name}-{attempt}.log"
        with self.log.open("wb") as log:
            environment = os.environ | {"GRAPHTRIAL_SPEC": json.dumps(spec)}
            self.process = subprocess.Popen([sys.executable, "-m", "graphtrial"], env=environment, stderr=log)

    def shown(self, steps: int) -> dict[str, float]:
        """Wait until it shows so many steps; the rungs that it shows then."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = scraped_at(self.port, self.attempt)
            if found.get((STEPS_SHOWN, ""), -1) >= steps:
                return {rung: score for (name, rung), score in found.items() if name == RUNG_SCORE}
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.002)
        raise AssertionError(f"never got to step {steps}: {self.log.read_text()}")

    def said(self, words: str) -> bool:
        """Wait until the log has the words."""
        until = time.monotonic() + PATIENCE
        while words not in self.log.read_text() and time.monotonic() < until:
            time.sleep(0.01)
        return words in self.log.read_text()

    def end(self) -> int:
        """Wait for its end."""
        return self.process.wait(PATIENCE)

    def result(self) -> TrialResult:
        """Its report."""
        [key] = [key for key in self.store.list("reports/") if key.startswith(f"reports/{self.attempt}-")]
        return TrialResult.model_validate_json(self.store.read(key))

    def checkpoints(self) -> list[int]:
        """The steps of the checkpoints that are there."""
        return sorted(int(key[:-3].rpartition("-")[2]) for key in self.store.list("") if key.endswith(".pt"))


@pytest.fixture(scope="module")
def undisturbed(s3, tmp_path_factory):
    """What the trial leaves in a folder, where nothing is ever out of reach."""
    folder = tmp_path_factory.mktemp("undisturbed")
    spec = trial_spec(folder, graph=single_node(), training=training(length={"epochs": EPOCHS}), rungs=RUNGS)
    environment = os.environ | {"GRAPHTRIAL_SPEC": json.dumps(spec)}
    subprocess.run([sys.executable, "-m", "graphtrial"], env=environment, stderr=subprocess.DEVNULL, check=True)
    return open_store(folder.as_uri())


@pytest.fixture
def start(s3, tmp_path, request):
    """Starts an attempt of this test's trial; at the end the server runs, and no trainer does."""
    started = []

    def start_one(attempt=1):
        started.append(Trainer(s3.url, tmp_path, request.node.name.replace("_", "-"), attempt))
        return started[-1]

    yield start_one
    for trainer in started:
        trainer.process.kill()
        trainer.process.wait()


@pytest.fixture
def outage(s3):
    """Stops the server when called, with SIGKILL; calling what that returns starts it again on its objects."""
    stopped = []

    def begin():
        s3.stop()
        stopped.append(True)
        return end

    def end():
        s3.start()
        stopped.clear()

    yield begin
    if stopped:
        end()


@pytest.fixture
def hang(s3):
    """Has the server take connections and never answer when called; what that returns has it answer again."""
    frozen = []

    def begin():
        s3.freeze()
        frozen.append(True)
        return end

    def end():
        s3.thaw()
        frozen.clear()

    yield begin
    if frozen:
        end()


def assert_whole(trainer: Trainer, undisturbed) -> None:
    """Weights, scores, the last checkpoint alone and the pointer to it: as if nothing had happened."""
    weights = "weights/1.safetensors"
    assert trainer.store.read(weights) == undisturbed.read(weights)
    [report] = undisturbed.list("reports/")
    expected = TrialResult.model_validate_json(undisturbed.read(report))
    result = trainer.result()
    assert result.rungs == expected.rungs
    assert [found.score for found in result.evaluations] == [found.score for found in expected.evaluations]
    assert (result.exit_code, result.exact) == (ExitCode.DONE, True)
    assert trainer.checkpoints() == [STEPS]
    latest = TrialFolder(trainer.store, 99).latest()
    assert latest is not None
    assert latest.progress.step == STEPS


def test_training_goes_on_through_an_outage(start, outage, undisturbed):
    """Rungs passed meanwhile are shown at once, and stored afterwards."""
    trainer = start()
    trainer.shown(2 * STEPS_PER_EPOCH)
    over = outage()
    rungs = trainer.shown(9 * STEPS_PER_EPOCH)
    assert {"1", "2", "4", "8"} <= rungs.keys()
    over()
    assert trainer.end() == ExitCode.DONE
    assert_whole(trainer, undisturbed)


def test_training_goes_on_while_the_server_hangs(start, hang, undisturbed):
    """A request without an answer holds up nothing but itself, to the trial's end and beyond."""
    trainer = start()
    trainer.shown(2 * STEPS_PER_EPOCH)
    over = hang()
    assert str(EPOCHS) in trainer.shown(STEPS) or trainer.said(f"evaluation {EPOCHS} of {EPOCHS}")
    assert trainer.process.poll() is None
    over()
    assert trainer.end() == ExitCode.DONE
    assert_whole(trainer, undisturbed)


def test_a_trial_that_waits_to_begin_for_a_server_that_hangs_can_be_stopped(tmp_path):
    """SIGTERM ends the wait for an answer that never comes too: 143."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        trainer = Trainer(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path, "silent")
        with trainer.process:
            connection, _ = silent.accept()
            with connection:
                assert connection.recv(3) == b"GET"
                trainer.process.send_signal(signal.SIGTERM)
                assert trainer.end() == ExitCode.STOPPED


def test_a_trial_that_ends_in_an_outage_waits_for_its_store(start, outage, undisturbed):
    """Its last evaluation is shown meanwhile."""
    trainer = start()
    trainer.shown(2 * STEPS_PER_EPOCH)
    over = outage()
    assert str(EPOCHS) in trainer.shown(STEPS) or trainer.said(f"evaluation {EPOCHS} of {EPOCHS}")
    assert trainer.said("waits for its store")
    assert trainer.process.poll() is None
    over()
    assert trainer.end() == ExitCode.DONE
    assert_whole(trainer, undisturbed)


def test_a_trainer_killed_in_an_outage_resumes_from_what_was_stored(start, outage, undisturbed):
    """The next attempt begins in the same outage, waits, and trains to the same weights."""
    first = start()
    stored = 0
    while not stored:
        first.shown(0)
        stored = max(first.checkpoints(), default=0)
    over = outage()
    first.shown(min(stored + 8 * STEPS_PER_EPOCH, STEPS))
    first.process.send_signal(signal.SIGKILL)
    assert first.end() == -signal.SIGKILL
    second = start(attempt=2)
    assert second.said("waits for the store")
    over()
    assert second.end() == ExitCode.DONE
    assert second.result().resumed_at >= stored
    assert_whole(second, undisturbed)


def test_a_trainer_stopped_in_an_outage_saves_when_it_is_over(start, outage):
    """SIGTERM: the step that it interrupts is stored before the process ends with 143."""
    trainer = start()
    trainer.shown(2 * STEPS_PER_EPOCH)
    over = outage()
    trainer.shown(6 * STEPS_PER_EPOCH)
    trainer.process.send_signal(signal.SIGTERM)
    assert trainer.said("waits for its store")
    over()
    assert trainer.end() == ExitCode.STOPPED
    result = trainer.result()
    latest = TrialFolder(trainer.store, 99).latest()
    assert latest is not None
    assert latest.progress.step == result.steps >= 6 * STEPS_PER_EPOCH
    passed = [rung * STEPS_PER_EPOCH for rung in RUNGS if rung * STEPS_PER_EPOCH <= result.steps]
    assert set(passed) <= set(trainer.checkpoints())


def test_a_trial_that_waits_to_begin_can_be_stopped(start, outage):
    """There is nothing to save: 143 while the server is still away."""
    over = outage()
    trainer = start()
    assert trainer.said("waits for the store")
    trainer.process.send_signal(signal.SIGTERM)
    assert trainer.end() == ExitCode.STOPPED
    over()

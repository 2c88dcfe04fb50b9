"""The trainer as real processes: started, scraped, killed, resumed.

Trials are forked by one ``python -m graphtrial serve``, as a local runner does it, and killed when a random number
of updates, drawn from a fixed seed, shows at their metrics port.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.trainer_process import ENDLESS, PATIENCE, Server, results, wait_for_steps
from tests.trials import (
    STEPS_PER_EPOCH,
    attention,
    compression,
    semi_supervised,
    single_node,
    three_nodes,
    training,
    trial_spec,
)

from graphtrial.contract import ExitCode, TrialResult
from graphtrial.storage import open_store
from graphtrial.training.checkpoint import TrialFolder


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """One for all tests that leave it as it was."""
    server = Server(tmp_path_factory.mktemp("logs"))
    yield server
    server.close()


@pytest.fixture
def server(shared_server, tmp_path):
    """The shared one, writing logs of this test."""
    shared_server.logs = tmp_path
    return shared_server


def final(folder: Path):
    """The last checkpoint."""
    snapshot = TrialFolder(open_store(folder.as_uri()), 99).latest()
    assert snapshot is not None
    return snapshot


def timeless(evaluations) -> list:
    """Evaluations without the time that they took."""
    return [evaluation.model_copy(update={"seconds": 0.0}) for evaluation in evaluations]


def assert_same_to_the_bit(actual: Path, expected: Path) -> None:
    """Weights, statistics, momentum and every evaluation of two finished trials."""
    one, other = final(actual), final(expected)
    assert one.progress.step == other.progress.step
    assert one.networks.keys() == other.networks.keys()
    for name, weights in one.networks.items():
        different = [key for key, value in weights.items() if not torch.equal(value, other.networks[name][key])]
        assert different == []
    assert all(map(torch.equal, one.momentum, other.momentum))
    assert torch.equal(one.conflicts, other.conflicts)
    assert timeless(one.progress.evaluations) == timeless(other.progress.evaluations)
    assert one.progress.rungs == other.progress.rungs


@pytest.fixture
def teacher(server, tmp_path):
    """The URI of a teacher's weights, trained and published by a trial."""
    uri = (tmp_path / "teachers" / "resnet8.pt").as_uri()
    spec = trial_spec(tmp_path / "pretrain", purpose="Pretrain", publish={"1": uri}, seed=7)
    assert server.run("pretrain", spec) == ExitCode.DONE
    return uri


_STRONG = {"batchSize": 40, "destination": "RandAugment", "source": "PadCrop"}
_DISTURBED = {
    "supervised": ({"graph": three_nodes()}, {}),
    "bf16": ({"graph": three_nodes()}, {"precision": "BF16", "frozenBatchNorm": False}),
    "semi-supervised": ({"graph": semi_supervised()}, {"unlabelled": _STRONG, "clipNorm": 1.0}),
    "compression": ({"graph": compression()}, {"aggregation": "Project"}),
    "attention": ({"graph": attention(), "objective": {"scoreOf": "Ensemble"}}, {"labelSmoothing": 0.1}),
}


@pytest.mark.parametrize("kind", _DISTURBED)
def test_a_trial_killed_again_and_again_ends_as_if_nothing_had_happened(server, tmp_path, teacher, kind):
    """Every kind of node, loss and gate; SIGKILL and SIGTERM between and at checkpoints and mid-epoch."""
    common, changes = _DISTURBED[kind]
    # Four times as long as it takes to the last kill, for it may be a while from what shows to the signal.
    length = {"steps": 32 * STEPS_PER_EPOCH}
    plan = training(length=length, evaluateEvery={"steps": 6}, schedule={"type": "Cosine"}, **changes)
    common = common | {"teachers": {"3": teacher}, "training": plan, "seed": 3}
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert server.run("undisturbed", trial_spec(undisturbed, **common)) == ExitCode.DONE
    draw = random.Random(f"kills {kind}")
    kills = sorted(draw.sample(range(1, 8 * STEPS_PER_EPOCH), 4))
    for attempt, step in enumerate(kills, start=1):
        request, code = draw.choice([("kill", -signal.SIGKILL), ("stop", ExitCode.STOPPED)])
        server.start("disturbed", trial_spec(disturbed, attempt=attempt, **common))
        wait_for_steps(disturbed, attempt, step)
        server.ask({request: "disturbed"})
        assert server.end("disturbed") == code
    assert server.run("disturbed", trial_spec(disturbed, attempt=5, **common)) == ExitCode.DONE
    assert_same_to_the_bit(disturbed, undisturbed)
    assert results(disturbed)[5].exact
    assert results(disturbed)[5].resumed_at > 0


def test_a_trial_stopped_at_a_rung_goes_on_as_if_it_had_not_been(server, tmp_path):
    """Promotion: each attempt saves and ends at its rung, the next resumes."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert server.run("whole", trial_spec(whole)) == ExitCode.DONE
    for attempt, rung in ((1, 1), (2, 2)):
        assert server.run("parts", trial_spec(parts, attempt=attempt, stopAfter=rung)) == ExitCode.DONE
        assert results(parts)[attempt].steps == rung * STEPS_PER_EPOCH
    assert server.run("parts", trial_spec(parts, attempt=3)) == ExitCode.DONE
    assert_same_to_the_bit(parts, whole)


def test_sigterm_saves_the_step_that_it_interrupts(server, tmp_path):
    """No update is lost, whatever the checkpoint interval."""
    folder = tmp_path / "trial"
    spec = trial_spec(folder, training=training(length=ENDLESS))
    spec["checkpoint"]["every"] = {"epochs": 1000}
    server.start("trial", spec)
    wait_for_steps(folder, 1, 5)
    server.ask({"stop": "trial"})
    assert server.end("trial") == ExitCode.STOPPED
    result = results(folder)[1]
    assert result.exit_code == ExitCode.STOPPED
    assert final(folder).progress.step == result.steps >= 5


def test_a_crash_below_python_says_where_in_its_log(server, tmp_path):
    """A segmentation fault in a library, say: the exit code alone would tell nothing."""
    folder = tmp_path / "trial"
    pid = server.start("trial", trial_spec(folder, training=training(length=ENDLESS)))
    wait_for_steps(folder, 1, 1)
    os.kill(pid, signal.SIGSEGV)
    assert server.end("trial") == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in server.log("trial")


def test_rungs_of_a_killed_attempt_are_shown_by_the_next(server, tmp_path):
    """From its first scrape on, with the same scores, and reported beside its own checkpoint."""
    folder = tmp_path / "trial"
    server.start("trial", trial_spec(folder, training=training(length=ENDLESS)))
    before = wait_for_steps(folder, 1, 2 * STEPS_PER_EPOCH + 1)
    server.ask({"kill": "trial"})
    assert server.end("trial") == -signal.SIGKILL
    server.start("trial", trial_spec(folder, attempt=2, training=training(length=ENDLESS)))
    after = wait_for_steps(folder, 2, 0)
    server.ask({"stop": "trial"})
    server.end("trial")
    scores = {key: value for key, value in before.items() if key[0] == "graphtrial_rung_score"}
    assert {rung for _, rung in scores} >= {"1", "2"}
    assert scores.items() <= after.items()
    reported = {str(found.rung): found.score for found in results(folder)[2].rungs}
    assert {rung: score for (_, rung), score in scores.items()}.items() <= reported.items()


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(server, tmp_path):
    """A warning names it, and the end is the same to the bit."""
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    assert server.run("whole", trial_spec(whole)) == ExitCode.DONE
    assert server.run("damaged", trial_spec(damaged, stopAfter=2)) == ExitCode.DONE
    latest = damaged / json.loads((damaged / "latest.json").read_text())["checkpoint"]
    latest.write_bytes(latest.read_bytes()[:5000])
    assert server.run("damaged", trial_spec(damaged, attempt=2)) == ExitCode.DONE
    assert f"{latest.name} is corrupt" in server.log("damaged")
    assert results(damaged)[2].resumed_at == 7
    assert_same_to_the_bit(damaged, whole)


def test_another_number_of_threads_is_reported_as_inexact(server, tmp_path):
    """The sums may come in another order: the result says so and why."""
    folder = tmp_path / "trial"
    assert server.run("trial", trial_spec(folder, stopAfter=1)) == ExitCode.DONE
    assert server.run("trial", trial_spec(folder, attempt=2, threads=2)) == ExitCode.DONE
    result = results(folder)[2]
    assert not result.exact
    assert "resumed with threads 2 instead of 1" in result.message


def test_a_trial_on_the_full_training_set_is_scored_once(server, tmp_path):
    """The test images are touched at the last evaluation only."""
    folder = tmp_path / "trial"
    assert server.run("trial", trial_spec(folder, split="Full")) == ExitCode.DONE
    result = results(folder)[1]
    assert [evaluation.number for evaluation in result.evaluations] == [3]
    assert [found.rung for found in result.rungs] == [3]


def test_a_diverging_trial_reports_its_rung_and_names_the_node(server, tmp_path):
    """NaN at rung 1, then exit code 12, and no checkpoint of broken weights."""
    folder = tmp_path / "trial"
    spec = trial_spec(folder, training=training(learningRate=1000, weightDecay=1000, evaluateEvery={"epochs": 2}))
    spec["checkpoint"]["every"] = {"epochs": 3}
    assert server.run("trial", spec) == ExitCode.DIVERGED
    result = results(folder)[1]
    (rung,) = result.rungs
    assert math.isnan(rung.score)
    assert result.message == "the loss of node '1' is not finite at step 8; try a lower learningRate than 1000"
    assert list(folder.glob("*.pt")) == []


def test_a_teacher_of_other_images_is_refused(server, tmp_path, teacher):
    """It may have seen what the trial is scored on."""
    data = {"dataset": "digits", "labelled": {"count": 200, "seed": 1}}
    spec = trial_spec(tmp_path / "trial", graph=three_nodes(), teachers={"3": teacher}, data=data)
    assert server.run("trial", spec) == ExitCode.BAD_SPEC
    assert "was trained on other images" in server.log("trial")


def test_a_checkpoint_of_another_trial_is_refused(server, tmp_path):
    """Resuming it with another seed would be neither of the two trainings."""
    folder = tmp_path / "trial"
    assert server.run("trial", trial_spec(folder, stopAfter=1)) == ExitCode.DONE
    assert server.run("trial", trial_spec(folder, attempt=2, seed=1)) == ExitCode.BAD_SPEC
    assert "is of another graph, data, training or seed" in server.log("trial")


def test_a_superseded_attempt_ends_with_a_message(server, tmp_path):
    """It cannot move the pointer back."""
    folder = tmp_path / "trial"
    assert server.run("trial", trial_spec(folder, attempt=2, stopAfter=1)) == ExitCode.DONE
    assert server.run("trial", trial_spec(folder, attempt=1)) == ExitCode.STORAGE
    assert "belongs to attempt 2: attempt 1 ends here" in server.log("trial")


def test_a_taken_port_ends_a_trial_with_its_number(server, tmp_path):
    """Exit code 10 and one message."""
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert server.run("trial", trial_spec(tmp_path / "trial", metricsPort=port)) == ExitCode.BAD_SPEC
    assert f"port {port} is in use" in server.log("trial")
    assert "Traceback" not in server.log("trial")


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"rung": [1]}, ExitCode.BAD_SPEC, "TrialSpec.rung: unknown field"),
        ({"split": "Full", "stopAfter": 1}, ExitCode.BAD_SPEC, "stopAfter: "),
        ({"publish": {"4": "file:///tmp/x.pt"}}, ExitCode.BAD_SPEC, "publish: node '4'"),
        ({"graph": three_nodes()}, ExitCode.BAD_SPEC, "teachers: node '3'"),
        ({"training": training(batchSize=500)}, ExitCode.BAD_DATA, "training.batchSize: 500"),
        ({"data": {"dataset": "CIFAR10", "uri": "/nowhere"}}, ExitCode.BAD_DATA, "/nowhere"),
        ({"checkpoint": {"uri": "ftp://x/y"}}, ExitCode.STORAGE, "'ftp://x/y' is no place to store objects"),
        ({"checkpoint": {"uri": "file:///proc/trial"}}, ExitCode.STORAGE, "file:///proc/trial"),
    ],
)
def test_a_users_mistake_has_a_code_and_one_message(server, tmp_path, changes, code, message):
    """And no traceback."""
    assert server.run("trial", trial_spec(tmp_path / "trial", **changes)) == code
    log = server.log("trial")
    assert message in log
    assert "Traceback" not in log


def graphtrial(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m graphtrial``, until it ends."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GRAPHTRIAL_")}
    command = [sys.executable, "-m", "graphtrial", *arguments]
    return subprocess.run(
        command, env=inherited | environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_one_trial_by_hand_reads_its_spec_and_leaves_last_words(tmp_path):
    """From the environment; the result with only the end of its curves goes to the termination log."""
    words = tmp_path / "words"
    spec = json.dumps(trial_spec(tmp_path / "trial", graph=single_node()))
    ended = graphtrial(GRAPHTRIAL_SPEC=spec, GRAPHTRIAL_TERMINATION_LOG=str(words))
    assert ended.returncode == ExitCode.DONE
    result = TrialResult.model_validate_json(words.read_text())
    assert [found.rung for found in result.rungs] == [1, 2, 3]
    assert (result.exit_code, [(found.number, found.losses) for found in result.evaluations]) == (0, [(3, {})])
    assert sorted(result.evaluations[0].nodes) == ["1"]


_BREAKS_AFTER_NINE_UPDATES = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, channels):
        super().__init__()
        self.linear = nn.Linear(channels, classes)
        self.updates = 0

    def forward(self, images):
        if self.training and len(images) == 50:
            self.updates += 1
            if self.updates > 9:
                raise RuntimeError("the network broke")
        return self.linear(images.mean((2, 3)))
"""


def test_a_trial_that_crashes_says_why_and_how_far_it_had_got(tmp_path):
    """The traceback is on the log; its last line and the last checkpoint, at step 8, are its last words."""
    (tmp_path / "mylab.py").write_text(_BREAKS_AFTER_NINE_UPDATES)
    words, graph = tmp_path / "words", single_node()
    graph["nodes"][0]["model"] = "mylab:Net"
    spec = json.dumps(trial_spec(tmp_path / "trial", graph=graph))
    ended = graphtrial(GRAPHTRIAL_SPEC=spec, GRAPHTRIAL_TERMINATION_LOG=str(words), PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    left = TrialResult.model_validate_json(words.read_text())
    assert (left.exit_code, left.message, left.saved_at) == (1, "RuntimeError: the network broke", 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "give the TrialSpec in $GRAPHTRIAL_SPEC"), (("--spec", "/nowhere.json"), "--spec /nowhere.json")],
)
def test_no_spec_is_a_bad_spec(arguments, message):
    """One line says where a spec is looked for."""
    ended = graphtrial(*arguments)
    assert ended.returncode == ExitCode.BAD_SPEC
    assert ended.stderr.startswith(message)
    assert len(ended.stderr.splitlines()) == 1

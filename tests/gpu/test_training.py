"""Whole trials on a GPU: replayed updates are unrecorded ones, runs are repeatable, interruptions leave no trace."""

from __future__ import annotations

import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from tests.trials import attention, compression, semi_supervised, single_node, three_nodes, training, trial_spec
from torch import nn

from graphtrial.contract import ANALYSIS, ExitCode, TrialSpec
from graphtrial.storage import open_store
from graphtrial.training import attempt as attempt_module
from graphtrial.training.checkpoint import TrialFolder
from graphtrial.training.loop import Training
from graphtrial.training.outbox import Outbox
from graphtrial.training.replay import Replayed
from graphtrial.training.state import State
from graphtrial.training.step import Images

STRONG = {"batchSize": 40, "destination": "RandAugment", "source": "PadCrop"}
KINDS = {
    "supervised": ({"graph": three_nodes()}, {}),
    "bf16": ({"graph": three_nodes()}, {"precision": "BF16", "frozenBatchNorm": False}),
    "tf32": ({"graph": three_nodes()}, {"precision": "TF32"}),
    "semi-supervised": ({"graph": semi_supervised()}, {"unlabelled": STRONG, "clipNorm": 1.0}),
    "attention": ({"graph": attention(), "objective": {"scoreOf": "Ensemble"}}, {"labelSmoothing": 0.1}),
    "compression": ({"graph": compression()}, {"aggregation": "Project"}),
    "dropout": ({"graph": {**single_node(), "nodes": [{"name": "1", "model": "torchvision:mobilenet_v3_small"}]}}, {}),
}
LENGTH = {"length": {"steps": 24}, "evaluateEvery": {"steps": 6}, "schedule": {"type": "Cosine"}}


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """Stands for the metrics port."""
    board = SimpleNamespace(port=0, rungs={}, steps=0, evaluations=0, step_seconds=None)
    monkeypatch.setattr(attempt_module, "Exposition", lambda _: board)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The URI of a ResNet8 that some trial has published."""
    folder = tmp_path_factory.mktemp("teacher")
    uri = (folder / "resnet8.pt").as_uri()
    with pytest.MonkeyPatch.context() as patched:
        board = SimpleNamespace(port=0, rungs={}, steps=0, evaluations=0, step_seconds=None)
        patched.setattr(attempt_module, "Exposition", lambda _: board)
        run(folder / "trial", purpose="Pretrain", publish={"1": uri})
    return uri


def run(folder, *, stop_at=None, **changes):
    """One attempt on the device; its exit code, state and last checkpoint."""
    spec = TrialSpec.model_validate(trial_spec(folder, device="CUDA", **changes))
    state = State()
    outbox = Outbox(TrialFolder(open_store(folder.as_uri()), spec.attempt))
    code = attempt_module.attempt(spec, state, outbox, lambda: stop_at is not None and state.step >= stop_at)
    return code, state, TrialFolder(open_store(folder.as_uri()), 99).latest()


def spec_of(kind, teacher, **changes):
    """Of a trial of this kind, in deterministic mode."""
    fields, plan = KINDS[kind]
    plan = training(deterministic=True, **(LENGTH | plan | changes))
    teachers = {"3": teacher} if kind in ("supervised", "bf16", "tf32", "compression") else {}
    return fields | {"training": plan, "teachers": teachers, "seed": 3}


def assert_same_to_the_bit(actual, expected):
    """Weights, statistics, momentum, scores."""
    for name, weights in expected.networks.items():
        assert [key for key, value in weights.items() if not torch.equal(value, actual.networks[name][key])] == []
    assert all(map(torch.equal, actual.momentum, expected.momentum))
    scores = [[(found.score, found.losses) for found in each.progress.evaluations] for each in (actual, expected)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_replayed_run_is_one_without_recording_to_the_bit(tmp_path, teacher, kind, monkeypatch):
    """The same kernels on the same numbers; and so a run is repeatable, and one that was interrupted as well."""
    spec = spec_of(kind, teacher)
    code, _, replayed = run(tmp_path / "replayed", **spec)
    assert code is ExitCode.DONE
    for attempt, stop in ((1, 1), (2, 9), (3, 13)):
        run(tmp_path / "interrupted", stop_at=stop, attempt=attempt, **spec)
    _, state, interrupted = run(tmp_path / "interrupted", attempt=4, **spec)
    assert (state.resumed_at, state.inexact) == (13, "")
    assert_same_to_the_bit(interrupted, replayed)
    monkeypatch.setattr(Training, "_replays", lambda _: False)
    _, _, unrecorded = run(tmp_path / "unrecorded", **spec)
    assert_same_to_the_bit(unrecorded, replayed)


def test_without_deterministic_mode_a_resumed_run_says_that_it_is_not_exact(tmp_path):
    """And names the setting."""
    run(tmp_path, stop_at=5)
    _, state, _ = run(tmp_path, attempt=2)
    assert "training.deterministic" in state.inexact


def test_a_gpu_and_a_cpu_come_to_the_same_losses(tmp_path, teacher):
    """But for the rounding of 24 float32 updates."""
    fields, _ = KINDS["supervised"]
    plan = training(**(LENGTH | {"learningRate": 0.01}))
    common = fields | {"training": plan, "teachers": {"3": teacher}, "seed": 3}
    _, gpu, _ = run(tmp_path / "gpu", **common)
    folder = tmp_path / "cpu"
    cpu = State()
    outbox = Outbox(TrialFolder(open_store(folder.as_uri()), 1))
    attempt_module.attempt(TrialSpec.model_validate(trial_spec(folder, **common)), cpu, outbox, lambda: False)
    for on_gpu, on_cpu in zip(gpu.evaluations, cpu.evaluations, strict=True):
        assert on_gpu.losses == pytest.approx(on_cpu.losses, rel=2e-2)


# As torch.export says in some versions of torch while it writes; an error here, it would leave the form out.
@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
def test_trained_networks_are_analysed_and_exported(tmp_path, teacher):
    """What follows a training finds its networks on the device."""
    _, state, _ = run(tmp_path, export="1", **spec_of("compression", teacher))
    assert (tmp_path / ANALYSIS).exists()
    assert {form.kind for form in state.exports if form.name} >= {"safetensors", "torch.export"}


def update_of(network):
    """A plain update, as ``Replayed`` takes it."""

    def update(images, rate):
        network(images.labelled).sum().backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.sub_(rate * parameter.grad)
                parameter.grad = None

    return update


class Asking(nn.Linear):
    """Reads a number in its forward."""

    def forward(self, given):
        return super().forward(given) * (2.0 if given.sum().item() > 0 else 1.0)


@pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS, but there was no current CUDA context")
@pytest.mark.parametrize(("network", "recorded"), [(nn.Linear(2, 1), True), (Asking(2, 1), False)])
def test_only_an_update_that_never_waits_is_recorded(network, recorded, caplog):
    """One that asks the device for a number is made each time, and gives the same as without any of this."""
    network.cuda()
    twin = copy.deepcopy(network)
    ones, zeros = torch.ones(1, 2, device="cuda"), torch.zeros(1, device="cuda")
    images = [Images(sign * ones, zeros) for sign in (1, -1, 1, 1, -1)]
    replayed = Replayed(update_of(network), torch.device("cuda"))
    with caplog.at_level(logging.WARNING):
        for each in images:
            replayed(each, 0.1)
    for each in images:
        update_of(twin)(each, 0.1)
    assert (replayed._graph is not None) is recorded
    assert ("updates are not replayed" in caplog.text) is not recorded
    torch.testing.assert_close(dict(network.state_dict()), dict(twin.state_dict()))

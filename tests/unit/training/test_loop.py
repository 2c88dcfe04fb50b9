"""The loop in this process: order of facts, stopping at any update, what is left out."""

import importlib
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.trials import edge, label_edge, semi_supervised, single_node, training, trial_spec
from torch import nn

from graphtrial.contract import ANALYSIS, MAPS, Analysis, ExitCode, TrialSpec
from graphtrial.data import DataError, load
from graphtrial.storage import StoppedError, open_store
from graphtrial.training import attempt as attempt_module
from graphtrial.training.checkpoint import TrialFolder, decode, encode
from graphtrial.training.errors import RefusedError
from graphtrial.training.outbox import Outbox
from graphtrial.training.state import State, result

loading = importlib.import_module("graphtrial.data.load")  # the room gives its name to the function
UPDATES = 12
"""Of ``trial_spec``."""


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """Stands for the metrics port: what would be shown there."""
    board = SimpleNamespace(port=0, rungs={}, steps=0, evaluations=0, step_seconds=None)
    monkeypatch.setattr(attempt_module, "Exposition", lambda _: board)
    yield board
    torch.set_deterministic_debug_mode("default")


def trained(folder, *, state=None, stop_after_updates=None, trial_folder=TrialFolder, **changes):
    """One attempt; its exit code and state."""
    graph = {"nodes": single_node()["nodes"], "edges": [label_edge("1", type="Linear")]}
    spec = TrialSpec.model_validate(trial_spec(folder, **({"graph": graph} | changes)))
    state = state or State()

    def stop_requested():
        return stop_after_updates is not None and state.step >= stop_after_updates

    outbox = Outbox(trial_folder(open_store(folder.as_uri()), spec.attempt))
    try:
        return attempt_module.attempt(spec, state, outbox, stop_requested), state
    except StoppedError:  # before it had begun; nothing is lost
        return ExitCode.STOPPED, state


def last(folder):
    """All tensors and evaluations in the last checkpoint, these without the time that they took."""
    snapshot = TrialFolder(open_store(folder.as_uri()), 1).latest()
    assert snapshot is not None
    tensors = {f"{name} {key}": value for name, found in snapshot.networks.items() for key, value in found.items()}
    tensors |= {f"momentum {place}": value for place, value in enumerate(snapshot.momentum)}
    return tensors, [found.model_copy(update={"seconds": 0.0}) for found in snapshot.progress.evaluations]


def differences(folder, other):
    """What is not the same to the bit in the last checkpoints of two trials: names of tensors, and evaluations."""
    (tensors, evaluations), (others, other_evaluations) = last(folder), last(other)
    assert tensors.keys() == others.keys()
    found = [name for name, value in tensors.items() if not torch.equal(value, others[name])]
    return found + [one for one, two in zip(evaluations, other_evaluations, strict=True) if one != two]


@given(stops=st.lists(st.integers(0, UPDATES), min_size=1, max_size=3).map(sorted))
@settings(max_examples=8, deadline=None)
def test_a_run_stopped_after_any_updates_ends_as_if_it_had_not_been(tmp_path_factory, stops):
    """Stopped and resumed up to three times, at once or at the very end included."""
    whole, parts = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parts")
    trained(whole)
    for stop in stops:
        _, state = trained(parts, stop_after_updates=stop)
        assert state.step == stop
    assert trained(parts)[0] is ExitCode.DONE
    assert differences(parts, whole) == []


def test_runs_of_one_seed_are_equal_to_the_bit_and_of_another_seed_are_not(tmp_path):
    """Of every kind of node and gate; another seed changes every layer's weights and momentum."""
    plan = training(unlabelled={"batchSize": 40, "destination": "RandAugment", "source": "PadCrop"})
    for name, seed in (("one", 3), ("same", 3), ("other", 4)):
        assert trained(tmp_path / name, graph=semi_supervised(), training=plan, seed=seed)[0] is ExitCode.DONE
    assert differences(tmp_path / "same", tmp_path / "one") == []
    tensors, _ = last(tmp_path / "one")
    drawn = {name for name in tensors if not name.endswith("num_batches_tracked")}
    assert drawn <= set(map(str, differences(tmp_path / "other", tmp_path / "one")))


@pytest.fixture
def folder_of_noise(tmp_path, monkeypatch):
    """Two classes of pictures, kept at 16 pixels of which networks see 14."""
    monkeypatch.setattr(loading, "_LARGE", 8)
    generator = torch.Generator().manual_seed(0)
    for number in range(80):
        path = tmp_path / "images" / "train" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(256, (16, 16, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(path)
    return {"dataset": "ImageFolder", "uri": str(tmp_path / "images"), "imageSize": 14, "labelled": {"count": 32}}


def of_the_noise(folder_of_noise, tmp_path):
    """A trial of all of it that has been stopped half-way: its folder, its settings, and the files of its images."""
    data = folder_of_noise | {"labelled": None}
    settings = {"data": data, "training": training(batchSize=16)}
    trained(tmp_path / "trial", stop_after_updates=6, **settings)
    return tmp_path / "trial", settings, sorted((tmp_path / "images").rglob("*.png"))


@pytest.mark.parametrize("change", ["fewer", "other"])
def test_a_run_whose_images_have_changed_does_not_go_on(tmp_path, folder_of_noise, change):
    """Half of them are gone, or others have taken their places; the message names the field."""
    folder, settings, files = of_the_noise(folder_of_noise, tmp_path)
    for path in files[::2]:
        path.unlink() if change == "fewer" else Image.new("RGB", (16, 16)).save(path)
    with pytest.raises(DataError, match=r"data\.uri: the training images in .*images are no longer those that the che"):
        trained(folder, attempt=2, **settings)


def test_a_checkpoint_that_does_not_know_its_images_goes_on(tmp_path, folder_of_noise):
    """One of an earlier version; of fewer images the training that it is of is over already."""
    folder, settings, files = of_the_noise(folder_of_noise, tmp_path)
    (path,) = folder.glob("*-6.pt")
    snapshot = decode(path.read_bytes(), "here")
    progress = snapshot.progress.model_copy(update={"images": "", "total_steps": 0})
    store = open_store(folder.as_uri())
    store.write(path.name, encode(snapshot._replace(progress=progress)))
    for file in files[::2]:
        file.unlink()
    code, state = trained(folder, attempt=2, **(settings | {"training": training(batchSize=16)}))
    assert (code, state.step) == (ExitCode.DONE, 6)


@pytest.mark.parametrize("view", ["CropFlip", "ResizedCropFlip", "RandAugment"])
@pytest.mark.parametrize("mapped", [False, True], ids=["in memory", "memory-mapped"])
def test_a_run_on_images_of_files_is_resumed_to_the_bit(tmp_path, monkeypatch, folder_of_noise, mapped, view):
    """From both loaders, through the views of large images, with an average that teaches; stopped in mid-epoch."""
    monkeypatch.setattr(loading, "_COPIED", 0 if mapped else 2**30)
    loaded = []
    monkeypatch.setattr(
        attempt_module, "load", lambda *args, **kwargs: loaded.append(load(*args, **kwargs)) or loaded[-1]
    )
    views = {"batchSize": 16, "destination": view, "source": view}
    plan = training(length={"steps": 10}, evaluateEvery={"steps": 4}, batchSize=16, augmentation=view, unlabelled=views)
    settings = {"graph": semi_supervised(), "data": folder_of_noise, "training": plan, "cache": str(tmp_path / "cache")}
    trained(tmp_path / "whole", **settings)
    for stop in (3, 5):
        _, state = trained(tmp_path / "parts", stop_after_updates=stop, **settings)
        assert state.step == stop
    assert trained(tmp_path / "parts", **settings)[0] is ExitCode.DONE
    assert differences(tmp_path / "parts", tmp_path / "whole") == []
    assert {images.rows is not None for data in loaded for images in (data.train, data.unlabelled)} == {mapped}
    assert {data.train.images.shape[-1] - data.train.side for data in loaded} == {2}


def test_a_score_is_saved_and_reported_before_it_is_shown(tmp_path, shown):
    """Whoever acts on what is shown finds it again after any crash."""
    moments = []

    class Watched(TrialFolder):
        def save(self, snapshot):
            super().save(snapshot)
            moments.append(("saved", [found.rung for found in snapshot.progress.rungs], list(shown.rungs)))

        def report(self, result):
            super().report(result)
            moments.append(("reported", [found.rung for found in result.rungs], list(shown.rungs)))

    trained(tmp_path, trial_folder=Watched, checkpoint={"uri": tmp_path.as_uri(), "every": {"epochs": 9}})
    assert moments == [
        ("saved", [1], []),
        ("reported", [1], []),
        ("saved", [1, 2], [1]),
        ("reported", [1, 2], [1]),
        ("saved", [1, 2, 3], [1, 2]),
        ("reported", [1, 2, 3], [1, 2]),
    ]


def kept(folder):
    """The checkpoints that are there: the number of the last evaluation in each, by step."""
    store = open_store(folder.as_uri())
    found = [decode(store.read(key), key).progress for key in store.list("") if key.endswith(".pt")]
    return {progress.step: progress.evaluations[-1].number for progress in found}


def test_a_stopped_trial_keeps_its_rungs_and_an_ended_one_its_last_checkpoint(tmp_path):
    """B20: what a rung's name leads to is the state at that evaluation, and the end takes away what served it."""
    trained(tmp_path, stop_after_updates=11)
    assert kept(tmp_path) == {4: 1, 8: 2, 11: 2}
    assert trained(tmp_path, attempt=2)[0] is ExitCode.DONE
    assert kept(tmp_path) == {UPDATES: 3}


def test_the_first_report_of_a_rung_stands(tmp_path, shown):
    """A later attempt that measures another score at it, as on another machine, shows the first."""
    _, state = trained(tmp_path, state=State(rungs={1: 0.125}))
    assert state.evaluations[0].score != 0.125
    assert (state.rungs[1], shown.rungs[1]) == (0.125, 0.125)


def test_a_node_without_a_path_to_the_score_is_not_trained_and_named(tmp_path):
    """It learns from labels, and nobody learns from it."""
    nodes = [{"name": name, "model": "resnet8"} for name in ("1", "2")]
    graph = {"nodes": nodes, "edges": [label_edge("1"), label_edge("2")]}
    _, state = trained(tmp_path, graph=graph)
    spec = TrialSpec.model_validate(trial_spec(tmp_path, graph=graph))
    assert result(spec, state).unused_nodes == ("2",)
    assert set(state.evaluations[-1].nodes) == set(state.evaluations[-1].losses) == {"1"}


def test_an_unlabelled_edge_into_a_node_that_is_not_trained_changes_nothing(tmp_path):
    """Neither the weights nor how many updates and images they took, in a resumed run as in another."""
    nodes = [{"name": name, "model": "resnet8"} for name in ("1", "2")]
    plain = {"nodes": nodes, "edges": [label_edge("1")]}
    idle = {"nodes": nodes, "edges": [label_edge("1"), edge("2", "2", {"type": "Consistency"})]}
    trained(tmp_path / "idle", graph=idle, stop_after_updates=5)
    found = {}
    for name, graph in (("plain", plain), ("idle", idle)):
        _, state = trained(tmp_path / name, graph=graph)
        told = result(TrialSpec.model_validate(trial_spec(tmp_path, graph=graph)), state)
        found[name] = (told.steps, told.images, told.evaluations[-1].score)
    assert found["idle"] == found["plain"]
    assert differences(tmp_path / "idle", tmp_path / "plain") == []


def analysis_in(folder):
    """What was left, None if nothing was."""
    store = open_store(folder.as_uri())
    return Analysis.model_validate_json(store.read(ANALYSIS)) if store.exists(ANALYSIS) else None


@pytest.mark.parametrize(("purpose", "analysed"), [("Search", True), ("Compare", True), ("Finalist", False)])
def test_a_trial_at_its_end_leaves_an_analysis(tmp_path, purpose, analysed):
    """Of the runs that a report shows, on the images that it is scored on; its accuracy is the last score."""
    _, state = trained(tmp_path, purpose=purpose)
    found = analysis_in(tmp_path)
    assert (found is not None) is analysed
    if found is not None:
        assert found.outputs["1"].accuracy == pytest.approx(state.evaluations[-1].score, abs=1e-6)
        assert open_store(tmp_path.as_uri()).exists(MAPS)


def test_a_stopped_trial_leaves_none(tmp_path):
    """Its networks are not what a report shows."""
    trained(tmp_path, stop_after_updates=5)
    assert analysis_in(tmp_path) is None


def test_an_analysis_that_fails_does_not_fail_the_trial(tmp_path, monkeypatch, caplog):
    """What was trained is saved, and the log says why nothing more is there."""
    monkeypatch.setattr(attempt_module, "analyse", lambda *_, **__: 1 / 0)
    assert trained(tmp_path)[0] is ExitCode.DONE
    assert analysis_in(tmp_path) is None
    assert "could not be analysed" in caplog.text
    assert open_store(tmp_path.as_uri()).exists("weights/1.safetensors")


class Killed(BaseException):
    """Stands for SIGKILL: nothing of the attempt's runs any more."""


def killed(*_, **__):
    """In place of what a process dies of."""
    raise Killed


def test_an_analysis_that_kills_is_tried_twice_and_left_out(tmp_path, monkeypatch, caplog):
    """The attempt that trained dies of it and the next one too, as of a lack of memory; the third ends the trial."""
    monkeypatch.setattr(attempt_module, "look", killed)
    for attempt in (1, 2):
        with pytest.raises(Killed):
            trained(tmp_path, attempt=attempt)
    assert trained(tmp_path, attempt=3)[0] is ExitCode.DONE
    assert analysis_in(tmp_path) is None
    assert "attempts 1 and 2 were killed as they analysed its networks" in caplog.text


def test_what_was_killed_before_its_analysis_is_not_held_against_it(tmp_path, monkeypatch):
    """Two attempts that took over at the end and died while they read the data."""
    trained(tmp_path, stop_after_updates=UPDATES - 1)
    with monkeypatch.context() as patch:
        patch.setattr(attempt_module, "look", killed)
        with pytest.raises(Killed):
            trained(tmp_path, attempt=2)
    for attempt in (3, 4):
        with monkeypatch.context() as patch:
            patch.setattr(attempt_module, "load", killed)
            with pytest.raises(Killed):
                trained(tmp_path, attempt=attempt)
    assert trained(tmp_path, attempt=5)[0] is ExitCode.DONE
    assert analysis_in(tmp_path) is not None


def test_an_analysis_that_was_interrupted_once_is_made_by_the_next_attempt(tmp_path, monkeypatch):
    """A node that dies, or the kill of a runner."""
    with monkeypatch.context() as patch:
        patch.setattr(attempt_module, "look", killed)
        with pytest.raises(Killed):
            trained(tmp_path)
    assert trained(tmp_path, attempt=2)[0] is ExitCode.DONE
    assert analysis_in(tmp_path) is not None


def test_arithmetic_of_gpus_is_refused_on_a_cpu(tmp_path):
    """Precision is part of the spec: what a CPU would do instead is another one."""
    with pytest.raises(RefusedError, match=r"training.precision: TF32 is of GPUs; use FP32 on a CPU"):
        trained(tmp_path, training=training(precision="TF32"))


def test_batches_of_one_are_refused_where_batch_norm_would_see_one_value(tmp_path):
    """Of 8 pixels a resnet18 leaves one cell, a resnet8 four; the message names the field."""
    one = {"training": training(length={"steps": 2}, evaluateEvery={"steps": 2}, batchSize=1)}
    assert trained(tmp_path / "four", **one)[0] is ExitCode.DONE
    graph = {"nodes": [{"name": "1", "model": "resnet18"}], "edges": [label_edge("1")]}
    with pytest.raises(RefusedError, match=r"^training\.batchSize: node '1', a resnet18, cannot run on one image at a"):
        trained(tmp_path / "one", graph=graph, **one)


def test_a_metric_that_says_nothing_of_the_data_is_refused(tmp_path):
    """Of two classes each is among the best five."""
    for number in range(40):
        path = tmp_path / "images" / "train" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    data = {"dataset": "ImageFolder", "uri": str(tmp_path / "images"), "imageSize": 8}
    with pytest.raises(RefusedError, match=r"objective.metric: Top5Accuracy of 2 classes"):
        trained(tmp_path / "trial", data=data, objective={"metric": "Top5Accuracy"})


def what_a_resume_changes(tmp_path):
    """In a training of ``ownlab:Network`` that was stopped half-way."""
    own = {"nodes": [{"name": "1", "model": "ownlab:Network"}], "edges": [label_edge("1")]}
    trained(tmp_path / "whole", graph=own)
    trained(tmp_path / "parts", graph=own, stop_after_updates=5)
    trained(tmp_path / "parts", graph=own)
    return differences(tmp_path / "parts", tmp_path / "whole")


def test_layers_that_draw_numbers_draw_the_same_in_a_resumed_run(tmp_path, monkeypatch):
    """A network with dropout, stopped half-way: what it draws is a function of seed and step."""

    class Dropping(nn.Module):
        def __init__(self, classes, channels):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Flatten(), nn.Linear(channels * 64, 16), nn.Dropout(0.5), nn.Linear(16, classes)
            )

        def forward(self, images):
            return self.layers(images)

    monkeypatch.setitem(sys.modules, "ownlab", SimpleNamespace(Network=Dropping))
    assert what_a_resume_changes(tmp_path) == []


def test_a_buffer_that_is_no_weight_is_carried_over(tmp_path, monkeypatch):
    """A network that counts its passes and answers by them, in a buffer that its ``state_dict`` leaves out."""

    class Counting(nn.Module):
        def __init__(self, classes, channels):
            super().__init__()
            self.linear = nn.Linear(channels * 64, classes)
            self.register_buffer("passes", torch.zeros(()), persistent=False)

        def forward(self, images):
            self.passes += self.training
            return self.linear(images.flatten(1)) * (1 + self.passes / 10)

    monkeypatch.setitem(sys.modules, "ownlab", SimpleNamespace(Network=Counting))
    assert what_a_resume_changes(tmp_path) == []

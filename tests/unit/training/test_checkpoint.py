"""A trial's folder, with a store of files below it."""

import json
import logging
import math

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from graphtrial.contract import Evaluation, RungScore, TrialResult
from graphtrial.storage import Conflict, Corrupt, open_store
from graphtrial.storage.files import FileStore
from graphtrial.training import checkpoint
from graphtrial.training.checkpoint import (
    POINTER,
    Machine,
    Progress,
    Snapshot,
    SupersededError,
    TrialFolder,
    decode,
    disposable,
    encode,
)

MACHINE = Machine(torch="2", threads=1, processor="a processor")


def snapshot(step, rungs=()):
    """One with other tensors for every step, evaluated at each of the rungs' steps up to it."""
    generator = torch.Generator().manual_seed(step)
    evaluations = tuple(
        Evaluation(number=at, step=at, score=float("nan"), nodes={"1": 0.5}, losses={"1": 1.5}, seconds=2.0)
        for at in (rungs or (step,))
        if at <= step
    )
    reported = tuple(RungScore(rung=rung, score=0.5) for rung in rungs if rung <= step)
    progress = Progress(
        subject="digest", machine=MACHINE, step=step, evaluations=evaluations, rungs=reported, seconds=3.0
    )
    weights = {"1": {"weight": torch.randn(3, 2, generator=generator), "count": torch.tensor(step)}}
    momentum = [torch.randn(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last)]
    return Snapshot(progress, weights, momentum, torch.tensor([1.25], dtype=torch.float64), torch.tensor([step]))


def checkpoints(folder):
    """Names of those that are there."""
    return sorted(path.name for path in folder.glob("*.pt"))


def steps(folder):
    """The steps of those that are there."""
    return sorted(int(name.removesuffix(".pt").rpartition("-")[2]) for name in checkpoints(folder))


@pytest.fixture
def store(tmp_path):
    """Of files."""
    return open_store(tmp_path.as_uri())


def test_a_checkpoint_keeps_every_tensor_and_its_layout():
    """Read back it holds the same bits in the same order of memory, and the same progress."""
    actual, expected = decode(encode(snapshot(7)), "here"), snapshot(7)
    assert actual.progress.model_dump_json() == expected.progress.model_dump_json()
    assert torch.equal(actual.networks["1"]["weight"], expected.networks["1"]["weight"])
    assert torch.equal(actual.momentum[0], expected.momentum[0])
    assert actual.momentum[0].stride() == expected.momentum[0].stride()
    assert actual.loss_sums.dtype == torch.float64
    assert torch.equal(actual.conflicts, expected.conflicts)


@pytest.mark.parametrize(
    "data", [b"", b"no checkpoint", encode(snapshot(1))[:1000]], ids=["empty", "text", "truncated"]
)
def test_what_is_no_checkpoint_is_named_as_corrupt(data):
    """Whatever torch.load makes of it, one error names the object."""
    with pytest.raises(Corrupt, match=r"^s3://bucket/1\.pt cannot be read"):
        decode(data, "s3://bucket/1.pt")


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    """A pickle that calls a function is refused."""

    class Calls:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    path = tmp_path / "evil.pt"
    torch.save({"progress": Calls()}, path)
    with pytest.raises(Corrupt, match="weights_only"):
        decode(path.read_bytes(), "evil.pt")
    assert not (tmp_path / "made").exists()


def test_an_empty_folder_has_no_checkpoint(store):
    """The first attempt starts from scratch."""
    assert TrialFolder(store, 1).latest() is None


def test_the_pointer_leads_to_the_last_save_and_two_checkpoints_stay(store, tmp_path):
    """Older ones go once the pointer has moved."""
    folder = TrialFolder(store, 1)
    for step in (3, 6, 9):
        folder.save(snapshot(step))
    latest = TrialFolder(store, 2).latest()
    assert latest is not None
    assert latest.progress.step == 9
    assert [name.rpartition("-")[2] for name in checkpoints(tmp_path)] == ["6.pt", "9.pt"]
    assert json.loads((tmp_path / POINTER).read_text())["attempt"] == 1


def test_checkpoints_of_earlier_attempts_are_pruned_by_the_next(store, tmp_path):
    """A resumed attempt keeps what it resumed from as the one before its own."""
    first = TrialFolder(store, 1)
    first.save(snapshot(3))
    first.save(snapshot(6))
    second = TrialFolder(store, 2)
    second.latest()
    second.save(snapshot(9))
    assert [(name[0], name.rpartition("-")[2]) for name in checkpoints(tmp_path)] == [("1", "6.pt"), ("2", "9.pt")]


def damage(path):
    """Cut the end off."""
    path.write_bytes(path.read_bytes()[:-100])


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(store, tmp_path, caplog):
    """The one before it serves."""
    folder = TrialFolder(store, 1)
    folder.save(snapshot(3))
    folder.save(snapshot(6))
    (last,) = tmp_path.glob("*-6.pt")
    damage(last)
    latest = TrialFolder(store, 2).latest()
    assert latest is not None
    assert latest.progress.step == 3
    assert last.name in caplog.text


def test_without_a_readable_checkpoint_the_training_starts_from_scratch(store, tmp_path, caplog):
    """And says so."""
    TrialFolder(store, 1).save(snapshot(3))
    damage(next(tmp_path.glob("*.pt")))
    with caplog.at_level(logging.WARNING):
        assert TrialFolder(store, 2).latest() is None
    assert "starts from scratch" in caplog.text


def test_a_damaged_checkpoint_is_the_first_to_be_pruned(store, tmp_path):
    """It does not take the place of one that can be read."""
    folder = TrialFolder(store, 1)
    folder.save(snapshot(3))
    folder.save(snapshot(6))
    damage(next(tmp_path.glob("*-6.pt")))
    second = TrialFolder(store, 2)
    second.latest()
    second.save(snapshot(5))
    assert [name.rpartition("-")[2] for name in checkpoints(tmp_path)] == ["3.pt", "5.pt"]


def test_a_damaged_pointer_is_replaced(store, tmp_path):
    """Checkpoints are found without it, and the next save writes a new one."""
    TrialFolder(store, 1).save(snapshot(3))
    damage_text = tmp_path / POINTER
    damage_text.write_text("{")
    second = TrialFolder(store, 2)
    latest = second.latest()
    second.save(snapshot(4))
    assert latest is not None
    assert latest.progress.step == 3
    assert json.loads(damage_text.read_text())["step"] == 4


def test_the_pointer_never_moves_back_to_a_lower_attempt(store, tmp_path):
    """An attempt that was thought lost ends instead of undoing its successor's work."""
    lost, next_one = TrialFolder(store, 1), TrialFolder(store, 2)
    lost.save(snapshot(3))
    next_one.latest()
    next_one.save(snapshot(6))
    with pytest.raises(SupersededError, match="belongs to attempt 2: attempt 1 ends here"):
        lost.save(snapshot(9))
    assert json.loads((tmp_path / POINTER).read_text())["step"] == 6


def test_a_superseded_attempt_leaves_no_checkpoint_behind(store, tmp_path):
    """Its successor would not know of it."""
    lost, next_one = TrialFolder(store, 1), TrialFolder(store, 2)
    next_one.save(snapshot(6))
    with pytest.raises(SupersededError):
        lost.save(snapshot(9))
    assert steps(tmp_path) == [6]


def test_an_attempt_that_comes_too_late_does_not_begin(store):
    """Its successor has begun: what it trained would be thrown away at its first checkpoint."""
    TrialFolder(store, 2).save(snapshot(6))
    with pytest.raises(SupersededError, match="belongs to attempt 2: attempt 1 ends here"):
        TrialFolder(store, 1).latest()


class Unconditional(FileStore):
    """A store where no condition ever holds, as behind a proxy that changes versions."""

    remote = True

    def write_pointer(self, key, data, version):
        """Refuse."""
        raise Conflict("moved by another writer")


@pytest.mark.parametrize(
    "move", [lambda folder: folder.announce(8000), lambda folder: folder.save(snapshot(3))], ids=["start", "save"]
)
def test_a_store_that_moves_no_pointer_is_named(tmp_path, monkeypatch, move):
    """A trial finds it out when it begins; nobody asks for ever."""
    monkeypatch.setattr(checkpoint, "_LONGEST_PAUSE", 0.0)
    with pytest.raises(Conflict, match=r"could not be moved in 8 tries, .* must know conditional writes"):
        move(TrialFolder(Unconditional(tmp_path), 1))


def test_a_damaged_announcement_is_made_anew(tmp_path, monkeypatch):
    """It holds up no attempt: what it said was an earlier one's."""
    monkeypatch.setattr(FileStore, "remote", True)
    (tmp_path / "port").write_text("nobody has signed this")
    TrialFolder(FileStore(tmp_path), 2).announce(8000)
    assert FileStore(tmp_path).read("port") == b"8000"


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_a_checkpoint_for_which_there_is_no_room_is_not_damaged(store, monkeypatch, error):
    """It is not passed over: the next attempt, on another node, reads it."""

    def load(*_, **__):
        raise error

    TrialFolder(store, 1).save(snapshot(6))
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(MemoryError):
        TrialFolder(store, 2).latest()


@pytest.mark.parametrize(
    ("stored", "rungs", "stay"),
    [
        ([], [], []),
        ([3], [], [3]),
        ([3, 6, 9], [], [6, 9]),
        ([3, 6, 9], [3], [3, 6, 9]),
        ([3, 6, 9, 12], [3, 12], [3, 9, 12]),
        ([3, 6, 9, 12, 15], [3, 6], [3, 6, 12, 15]),
        ([12, 9], [12], [9, 12]),
        ([12, 6, 9, 12], [], [9, 12]),
    ],
    ids=["none", "one", "latest two", "rung", "latest is a rung", "two rungs", "unreadable rung", "out of order"],
)
def test_the_table_of_checkpoints_that_stay_while_a_trial_trains(stored, rungs, stay):
    """B20: the latest, the one before and the reported rungs; the rest is deleted."""
    keys = [f"1-{place}-{step}.pt" for place, step in enumerate(stored)]
    gone = disposable(keys, frozenset(rungs))
    assert sorted(int(key.removesuffix(".pt").rpartition("-")[2]) for key in keys if key not in gone) == stay


@given(stored=st.lists(st.integers(0, 12), max_size=12), rungs=st.frozensets(st.integers(0, 12)))
def test_a_checkpoint_that_may_be_needed_is_never_disposable(stored, rungs):
    """B20: the latest two always stay, each rung keeps exactly one that is there, and what is left is settled."""
    keys = [f"1-{place}-{step}.pt" for place, step in enumerate(stored)]
    gone = disposable(keys, rungs)
    kept = [key for key in keys if key not in gone]
    assert kept[-2:] == keys[-2:]
    assert {step for step in stored if step in rungs} == {
        step for step in rungs if any(key.endswith(f"-{step}.pt") for key in kept)
    }
    assert len(kept) <= 2 + len(rungs)
    assert disposable(kept, rungs) == []


def test_rungs_stay_across_attempts_until_the_end(store, tmp_path):
    """B20: stopped, the trial leaves what it was resumed or judged by; ended, its last checkpoint alone."""
    rungs = (2, 4, 8)
    first = TrialFolder(store, 1)
    for step in (1, 2, 3, 4, 5):
        first.save(snapshot(step, rungs))
    assert steps(tmp_path) == [2, 4, 5]
    second = TrialFolder(store, 2)
    second.latest()
    for step in (6, 7, 8, 9, 10):
        second.save(snapshot(step, rungs))
    assert steps(tmp_path) == [2, 4, 8, 9, 10]
    second.tidy()
    latest = TrialFolder(store, 3).latest()
    assert latest is not None
    assert (steps(tmp_path), latest.progress.step) == ([10], 10)


def test_tidying_up_takes_orphans_and_leaves_later_attempts_alone(store, tmp_path):
    """An attempt that was thought lost may end beside its successor, and cannot take its checkpoint away."""
    first = TrialFolder(store, 1)
    first.save(snapshot(9))
    store.write("1-orphan-7.pt", encode(snapshot(7)))
    store.write("2-successor-8.pt", encode(snapshot(8)))
    first.tidy()
    assert steps(tmp_path) == [8, 9]


def test_copies_do_not_follow_the_training(store):
    """What is stored in the background is the state at its step, whatever happens to the tensors meanwhile."""
    live, expected = snapshot(7), snapshot(7)
    copied = live.copied()
    for tensor in (*live.networks["1"].values(), *live.momentum, live.loss_sums, live.conflicts):
        tensor.zero_()
    assert encode(copied) == encode(expected)
    assert copied.momentum[0].stride() == expected.momentum[0].stride()


def test_rungs_are_gathered_from_the_reports_of_all_attempts(store, tmp_path, caplog):
    """A damaged report is passed over with a warning, and the others count."""
    for attempt, rung in ((1, 1), (2, 2), (3, 4)):
        result = TrialResult(attempt=attempt, rungs=(RungScore(rung=rung, score=rung / 10),))
        TrialFolder(store, attempt).report(result)
    damage(next((tmp_path / "reports").glob("2-*.json")))
    assert TrialFolder(store, 4).reported_rungs() == {1: 0.1, 4: 0.4}
    assert "a report is passed over" in caplog.text


def test_a_score_that_is_not_a_number_survives_a_report(store):
    """It travels as a string in JSON."""
    TrialFolder(store, 1).report(TrialResult(attempt=1, rungs=(RungScore(rung=1, score=float("nan")),)))
    (score,) = TrialFolder(store, 2).reported_rungs().values()
    assert math.isnan(score)


class Tied(nn.Module):
    """A network of a user's own, one of whose layers has two names and two of whose layers have one weight."""

    def __init__(self):
        super().__init__()
        self.lower, self.upper = nn.Linear(8, 8), nn.Linear(8, 8)
        self.net, self.upper.weight = nn.Sequential(self.lower, self.upper), self.lower.weight

    def forward(self, images):
        """Logits."""
        return self.net(images)


def test_tensors_that_share_memory_are_left_under_each_of_their_names(store, tmp_path):
    """Loaded into another network of the class they give the same outputs."""
    network, other, images = Tied(), Tied(), torch.randn(3, 8)
    TrialFolder(store, 1).export({"1": network})
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "weights" / "1.safetensors"))
    assert torch.equal(other(images), network(images))

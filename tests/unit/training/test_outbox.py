"""What is stored when, and what is said, while a store fails; the jobs are literal, and no server is asked."""

from __future__ import annotations

import itertools
import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphtrial.storage import Denied, Full, Unreachable, open_store
from graphtrial.training.checkpoint import SupersededError, TrialFolder
from graphtrial.training.outbox import Job, Outbox, still_needed


def nothing():
    """What a job does that is only looked at."""


def checkpoint(number, store=nothing, *, rung=False):
    """A checkpoint to be stored."""
    return Job(f"checkpoint {number}", store, "checkpoint", gives_way=not rung)


def report(number, store=nothing):
    """A report to be stored."""
    return Job(f"report {number}", store, "report", gives_way=True)


@pytest.fixture
def server_folder(monkeypatch):
    """A trial's folder in a bucket, which nobody opens."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return TrialFolder(open_store("s3://bucket/trial", region="us-east-1"), 1)


@pytest.fixture
def outbox(server_folder):
    """To that folder."""
    return Outbox(server_folder)


def failing(times, error, then=nothing):
    """Something that raises so many times before it succeeds; None: always."""
    tries = itertools.count(1)

    def store():
        if times is None or next(tries) <= times:
            raise error
        then()

    return store


@pytest.mark.parametrize(
    ("jobs", "needed"),
    [
        ([checkpoint(1)], ["checkpoint 1"]),
        ([checkpoint(1), checkpoint(2)], ["checkpoint 2"]),
        ([checkpoint(1), checkpoint(2, rung=True)], ["checkpoint 2"]),
        ([checkpoint(1, rung=True), checkpoint(2)], ["checkpoint 1", "checkpoint 2"]),
        ([checkpoint(1), report(1)], ["checkpoint 1", "report 1"]),
        ([report(1), checkpoint(2, rung=True), report(2)], ["checkpoint 2", "report 2"]),
        ([Job("weights", nothing), Job("weights", nothing)], ["weights", "weights"]),
    ],
)
def test_what_waits_gives_way_to_what_is_newer(jobs, needed):
    """Ordinary checkpoints to any later one, reports to later reports, all else to nothing."""
    assert [job.what for job in still_needed(jobs)] == needed


@given(rungs=st.lists(st.booleans(), max_size=40))
def test_what_waits_is_bounded_by_the_rungs(rungs):
    """However long a store fails, every rung's checkpoint, the last one and one report wait, in their order."""
    jobs = []
    for number, rung in enumerate(rungs):
        jobs = still_needed([*jobs, checkpoint(number, rung=rung), report(number)])
    last = len(rungs) - 1
    kept = [f"checkpoint {number}" for number, rung in enumerate(rungs) if rung or number == last]
    assert [job.what for job in jobs if job.kind == "checkpoint"] == kept
    assert [job.what for job in jobs if job.kind == "report"] == [f"report {last}"] * bool(rungs)


def test_one_upload_is_under_way_and_the_newest_waits(outbox):
    """The one under way is not touched; rungs keep their turn."""
    stored, begun, go_on = [], threading.Event(), threading.Event()

    def first():
        begun.set()
        assert go_on.wait(60)
        stored.append(1)

    outbox.put(checkpoint(1, first))
    assert begun.wait(60)
    for number in range(2, 7):
        outbox.put(checkpoint(number, lambda number=number: stored.append(number), rung=number == 3))
    assert stored == []
    go_on.set()
    outbox.flush()
    assert stored == [1, 3, 6]


@pytest.mark.parametrize("error", [Unreachable("no answer"), Denied("no right"), Full("no space")])
def test_what_fails_in_the_middle_is_tried_again(outbox, error, caplog):
    """Whatever a server says may pass; the log has one line of it and one when it is over."""
    stored = []
    with caplog.at_level(logging.INFO):
        outbox.put(checkpoint(1, failing(2, error, lambda: stored.append(1))))
        outbox.put(report(1, lambda: stored.append(2)))
        outbox.flush()
    assert stored == [1, 2]
    assert caplog.messages == [f"checkpoint 1 waits for its store: {error}", "the store answers again"]


def test_a_checkpoint_that_fails_gives_way_to_a_later_one(outbox):
    """What is out of date is not tried for ever."""
    stored, failed = [], threading.Event()

    def never():
        failed.set()
        raise Unreachable("no answer")

    outbox.put(checkpoint(1, never))
    assert failed.wait(60)
    outbox.put(checkpoint(2, lambda: stored.append(2)))
    outbox.flush()
    assert stored == [2]


def test_a_trial_gives_up_a_store_that_never_answers(server_folder):
    """The message says for how long, what is lost and what the store said last."""
    outbox = Outbox(server_folder, patience=0)
    outbox.put(checkpoint(1, failing(None, Unreachable("s3://bucket/x: no answer")), rung=True))
    outbox.put(report(1))
    with pytest.raises(Unreachable) as raised:
        outbox.flush()
    assert (
        str(raised.value) == "nothing could be stored for 0 s; lost: checkpoint 1, report 1; s3://bucket/x: no answer"
    )


def test_an_attempt_that_was_superseded_hears_of_it(outbox):
    """Nothing more is stored, and who trains or waits is told."""
    stored = []
    outbox.put(checkpoint(1, failing(None, SupersededError("attempt 1 ends here")), rung=True))
    with pytest.raises(SupersededError, match="ends here"):
        outbox.flush()
    with pytest.raises(SupersededError, match="ends here"):
        outbox.put(checkpoint(2, lambda: stored.append(2)))
    assert stored == []


def test_a_programming_error_in_the_background_is_not_lost(outbox):
    """It crashes the trial as it would have done in the foreground."""
    outbox.put(checkpoint(1, failing(None, TypeError("a bug"))))
    with pytest.raises(TypeError, match="a bug"):
        outbox.flush()


def test_a_disk_is_written_at_once_and_its_failures_end_the_trial(tmp_path):
    """Nothing waits, nothing is tried again."""
    stored, outbox = [], Outbox(TrialFolder(open_store(tmp_path.as_uri()), 1))
    outbox.put(checkpoint(1, lambda: stored.append(1)))
    assert stored == [1]
    with pytest.raises(Full, match="no space"):
        outbox.put(checkpoint(2, failing(1, Full("no space"))))

"""How long one waits for a store that does not answer; no server is asked."""

from __future__ import annotations

import itertools
import time

import pytest

from graphtrial.storage import Denied, Full, StoppedError, Unreachable, waiting, when_it_answers


def read_after(times, error):
    """Something to read that fails so many times before it answers."""
    tries = itertools.count(1)

    def read():
        if next(tries) <= times:
            raise error
        return "snapshot"

    return read


def test_a_trial_that_begins_waits_for_its_store(caplog):
    """It says so, once, and goes on when the store answers."""
    assert when_it_answers(read_after(2, Unreachable("no answer")), lambda: False) == "snapshot"
    assert caplog.messages == ["waits for the store, up to 900 s: no answer"]


@pytest.mark.parametrize("error", [Denied("no right"), Full("no space")])
def test_what_will_not_pass_ends_a_trial_that_begins(error):
    """A wrong key, a missing right: at once."""
    with pytest.raises(type(error), match=str(error)):
        when_it_answers(read_after(1, error), lambda: False)


def test_a_trial_that_begins_does_not_wait_for_ever():
    """The message says how long it has waited."""
    with pytest.raises(Unreachable, match="no answer; it did not for 0 s"):
        when_it_answers(read_after(99, Unreachable("no answer")), lambda: False, patience=0)


def test_a_trial_that_waits_to_begin_can_be_stopped():
    """There is nothing to save."""
    with pytest.raises(StoppedError):
        when_it_answers(read_after(99, Unreachable("no answer")), lambda: True)


def test_what_was_spent_on_reading_is_no_waiting(monkeypatch):
    """A connection that breaks near the end of a large data set is tried again, however long and often it was read."""
    monkeypatch.setattr(waiting, "_LONGEST_HANG", 0.1)
    tries = itertools.count(1)

    def read():
        if next(tries) <= 2:
            time.sleep(2.0)
            raise Unreachable("connection reset")
        return "data"

    assert when_it_answers(read, patience=2.0) == "data"

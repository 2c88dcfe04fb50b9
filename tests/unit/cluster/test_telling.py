"""When a trial's status is worth a write: on news, and once a minute for how far it is."""

from __future__ import annotations

import pytest

from graphsearch.api import TrialReason
from graphsearch.cluster.pods import LivePod, Seen
from graphsearch.cluster.telling import Telling
from graphsearch.search.actions import Running

FIRST = (0, 1)
STARTING = Seen(Running("job-uid", None), (TrialReason.STARTING, "pulls its image"))
NO_ROOM = Seen(Running("job-uid", None), (TrialReason.UNSCHEDULABLE, "0/3 nodes are available"))
RUNS = Seen(Running("job-uid", 100.0), pod=LivePod("s-t0-a1-x", "pod-uid", "10.0.0.7:8000", "node-1", "", 100.0))


class Clock:
    """One that stands until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_news_is_told_once(clock):
    """What was told is no news, until something else is."""
    telling = Telling(clock)
    assert [telling.has_news(FIRST, seen) for seen in (None, NO_ROOM, NO_ROOM, RUNS, RUNS)] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_an_attempt_that_is_about_to_run_is_no_news_at_first(clock):
    """Most run within two seconds, which saves a write; what takes longer is told."""
    telling = Telling(clock)
    assert not telling.has_news(FIRST, STARTING)
    clock.now += 1.9
    assert not telling.has_news(FIRST, STARTING)
    clock.now += 0.1
    assert telling.has_news(FIRST, STARTING)


def test_what_another_write_said_is_no_news(clock):
    """A record of a score says why the attempt waits as well."""
    telling = Telling(clock)
    telling.told(FIRST, NO_ROOM)
    assert not telling.has_news(FIRST, NO_ROOM)
    telling.close(FIRST)
    assert telling.has_news(FIRST, NO_ROOM)


def test_how_far_a_trial_is_is_worth_a_write_a_minute(clock):
    """The first evaluation at once, then what was reached within a minute in one write."""
    telling = Telling(clock)
    assert not telling.has_moved(0, shown=0)
    telling.heard({0: 1})
    assert telling.has_moved(0, shown=0)
    telling.heard({0: 2})
    clock.now += 59.9
    assert not telling.has_moved(0, shown=1)
    telling.heard({0: 9})
    clock.now += 0.1
    assert telling.has_moved(0, shown=1)
    assert telling.reached(0) == 9


def test_what_a_record_showed_already_is_not_written_again(clock):
    """A rung's record shows the evaluation too."""
    telling = Telling(clock)
    telling.heard({0: 4})
    assert not telling.has_moved(0, shown=4)
    assert telling.has_moved(0, shown=2)


def test_a_later_attempt_that_begins_further_back_takes_nothing_away(clock):
    """It repeats what an earlier attempt had not saved."""
    telling = Telling(clock)
    telling.heard({0: 5})
    telling.close(FIRST)
    telling.heard({0: 3})
    assert telling.reached(0) == 5
    telling.end(0)
    assert telling.reached(0) == 0

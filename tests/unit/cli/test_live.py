"""What a running search shows on a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tests.searches import HandPlayed, a_search

from graphsearch.cli import live

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Seen(HandPlayed):
    """A hand-played search of which it is known how far its trials are."""

    reported = {0: 3, 1: 2}  # noqa: RUF012  nobody changes it


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the monotonic clock of the live table."""
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])

    def set_to(seconds: float) -> None:
        now[0] = seconds

    return set_to


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What stands on a terminal that can redraw since the last look, without its escape sequences."""
    for name, value in {"TERM": "xterm-256color", "FORCE_COLOR": "1", "COLUMNS": "120", "LINES": "50"}.items():
        monkeypatch.setenv(name, value)
    return lambda: _ESCAPES.sub("", capsys.readouterr().out)


def test_the_table_shows_trials_rungs_best_score_progress_and_time_left(clock, shown):
    """Redrawn in place; how long it will take is said once something was gained."""
    world = Seen(a_search().trials(4).parallel(2).settled()).look().look((0, 1, 0.9), (1, 1, 0.8))
    with live.display(plain=False, where="graphsearch-runs/s") as draw:
        clock(10)
        draw(world)
        first = shown()
        world.end(1, 143).finish(0, 0.95)
        clock(70)
        draw(world)
        second = shown()
    assert "trials 2/4" in first
    assert "best -" in first
    assert re.search(r"^ +s-t0 +Search +3 of 8 +0\.9000 ", first, re.MULTILINE)
    assert "time left: not known yet" in first
    assert "graphsearch-runs/s" in first
    assert "best 0.9500 (s-t0)" in second
    assert "stopped 1" in second
    assert re.search(r"^ +1 +2 +1 +0\.9000 *$", second, re.MULTILINE)
    assert "s-t2" in second
    assert re.search(r"\b50% about 0:01:00 left", second)


def test_it_is_not_redrawn_more_often_than_the_eye_needs(clock, shown):
    """A second look within half a second draws nothing; the end is always drawn."""
    search = a_search().trials(1)
    world = Seen(search.settled()).look()
    with live.display(plain=False, where="here") as draw:
        clock(1)
        draw(world)
        shown()
        clock(1.1)
        draw(world)
        assert shown() == ""
        world.change(search.wanted("Cancelled")).end(0, 143)
        draw(world)
        assert "Cancelled" in shown()


def test_a_folder_with_brackets_in_its_name_is_shown_as_it_is(clock, shown):
    """It is no markup."""
    with live.display(plain=False, where="runs/r[/red]") as draw:
        clock(10)
        draw(Seen(a_search().trials(1).settled()).look())
        assert "runs/r[/red]" in shown()


def test_a_run_that_stands_for_two_equal_graphs_is_the_share_of_both():
    """A fixed list of three graphs, two of which are one: the run of these is two thirds of the work."""
    edges = [{"source": "Label", "destination": "a", "loss": {"type": "CrossEntropy"}}]
    models = {"first": "resnet8", "the same": "resnet8", "other": "resnet14"}
    graphs = (
        {"name": name.replace(" ", "-"), "nodes": [{"name": "a", "model": model}], "edges": edges}
        for name, model in models.items()
    )
    world = Seen(a_search().graphs(*graphs).parallel(1).settled()).look().finish(0, 0.5)
    assert world.ledger.trials[0].spec.contenders == ("first", "the-same")
    assert live.share_done(world) == pytest.approx(2 / 3)


def test_a_stage_is_said_also_where_no_trial_ends_with_it(capsys):
    """A search on a cluster is seen to end a moment after its last trial, and to be paused between two."""
    world = HandPlayed(a_search().trials(1).evaluations(1).never_stopping().settled()).look()
    with live.display(plain=True, where="here") as draw:
        draw(world)
        world.finish(0, 0.5)
        before, world.ledger.search = (
            world.ledger.search,
            world.ledger.search.model_copy(update={"ended_at": None, "reason": None}),
        )
        draw(world)
        draw(world)
        world.ledger.search = before
        draw(world)
    said = [line.split(",")[0] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "search: Searching",
        "s-t0 Search: Succeeded at evaluation 1 of 1",
        "search: Completed",
    ]

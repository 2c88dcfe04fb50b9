"""Why a trial is as it is, worked out from recorded facts."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.searches import HandPlayed, a_search, drawn_curve
from tests.unit.cli.conftest import a_played_search

from graphsearch.api import Decision, Outcome
from graphsearch.cli.exits import Exit
from graphsearch.cli.explain import explain
from graphsearch.local import Folder
from graphsearch.search.simulator import Simulation


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), eta=st.integers(2, 4), parallel=st.integers(1, 8))
def test_the_cut_parts_those_that_were_stopped_from_those_that_went_on(seed: int, eta: int, parallel: int):
    """Of every rung of every trial: below the cut it was stopped, at the cut or above it went on."""
    settled = a_search().trials(24).parallel(parallel).evaluations(9).halving(eta).settled()
    ledger = Simulation(settled, drawn_curve(seed)).run()
    for trial in ledger.trials.values():
        for explained in explain(settled, ledger, trial).rungs:
            if explained.rung.decision is Decision.STOP:
                assert explained.cut is not None
                assert explained.rung.score < explained.cut
            elif explained.rung.decision is Decision.CONTINUE:
                assert explained.cut is None or explained.rung.score >= explained.cut


def test_a_stopped_trial_is_explained_in_one_sentence():
    """Rung, score, rank, of how many, and what it would have taken."""
    world = HandPlayed(a_search().trials(3).parallel(3).evaluations(4).settled()).look()
    world.look((0, 1, 0.5)).look((1, 1, 0.7)).look((2, 1, 0.25))
    world.end(2, 143)
    explanation = explain(world.settled, world.ledger, world.ledger.trials[2])
    assert explanation.outcome is Outcome.STOPPED
    told = "stopped at rung 1: score 0.2500 ranked 3 of 3; the best 1 went on, which took at least 0.7000"
    assert explanation.why == told


def test_a_score_that_is_no_number_has_no_rank():
    """It ends the trial; no rung ranks it."""
    world = HandPlayed(a_search().trials(1).evaluations(4).settled()).look()
    world.look((0, 1, math.nan)).end(0, 143)
    explanation = explain(world.settled, world.ledger, world.ledger.trials[0])
    assert explanation.why == "diverged: score nan at evaluation 1"
    assert [(e.rung.rank, e.rung.of) for e in explanation.rungs] == [(None, 0)]


def test_a_failed_trial_gives_its_message_and_its_attempts():
    """The last attempt's word, and how each ended."""
    world = HandPlayed(a_search().trials(1).settled()).look()
    world.end(0, 10, "no such model")
    explanation = explain(world.settled, world.ledger, world.ledger.trials[0])
    assert explanation.why.startswith("failed: ")
    assert "no such model" in explanation.why
    assert [(attempt.number, attempt.exit_code) for attempt in explanation.attempts] == [(1, 10)]


def test_an_open_trial_says_what_it_waits_for():
    """On a cluster as its condition says, under Promotion the rung at which it waits."""
    world = HandPlayed(a_search().trials(2).parallel(1).evaluations(4).halving(mode="Promotion").settled()).look()
    running = explain(world.settled, world.ledger, world.ledger.trials[0], "Unschedulable: 0/3 nodes are available")
    assert running.why == "Unschedulable: 0/3 nodes are available"
    world.look((0, 1, 0.5)).end(0)
    assert explain(world.settled, world.ledger, world.ledger.trials[0]).why == "waits at rung 1 to be promoted"


def test_a_trial_of_a_run_here_is_explained(graphsearch, played_run: Folder):
    """As a table with every rung, and the same as JSON."""
    _, ledger = a_played_search()
    stopped = next(t for t in ledger.trials.values() if t.status.outcome is Outcome.STOPPED)
    name = f"{played_run.path}/trials/{stopped.index}"
    code, out, _ = graphsearch("explain", name)
    assert code == Exit.OK
    last = stopped.status.rungs[-1]
    assert f"stopped at rung {last.evaluation}: score {last.score:.4f} ranked {last.rank} of {last.of}" in out
    code, out, _ = graphsearch("explain", name, "-o", "json")
    told = json.loads(out)
    assert [rung["rung"]["evaluation"] for rung in told["rungs"]] == [r.evaluation for r in stopped.status.rungs]
    assert (told["trial"], told["outcome"]) == (stopped.name, "Stopped")


@pytest.mark.parametrize("trial", ["99", "1234567"])
def test_a_trial_that_is_not_there(graphsearch, played_run: Folder, trial: str):
    """The folder is named, and how many trials it has."""
    code, _, err = graphsearch("explain", f"{played_run.path}/trials/{trial}")
    assert code == Exit.NOT_FOUND
    assert f"has no trial {trial}" in err


def test_brackets_in_a_message_are_shown_as_they_are(graphsearch, played_run: Folder):
    """A path in a trainer's last words is no markup."""
    _, ledger = a_played_search()
    trial = ledger.trials[0]
    attempts = (trial.status.attempts[0].model_copy(update={"message": "no [/data/x] or [red]"}),)
    status = trial.status.model_copy(update={"attempts": attempts})
    with played_run:
        played_run.write_trial(trial.model_copy(update={"status": status}))
    code, out, _ = graphsearch("explain", f"{played_run.path}/trials/0")
    assert code == Exit.OK
    assert "no [/data/x] or [red]" in out

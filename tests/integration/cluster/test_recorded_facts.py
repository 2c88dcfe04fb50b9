"""What was recorded, on a real API server: it comes back as it was, and nobody can rewrite or remove it."""

from __future__ import annotations

import math

import pytest
from tests.integration.cluster.recorded_trials import ENDED, FACTS, a_trial, as_object
from tests.whole_manifests import DRAWN, changed

from graphsearch.api import Attempt, AttemptEnd, Decision, GraphTrialStatus, Reason, Rung, SearchFacts
from graphsearch.api.search_status import GraphSearchStatus
from graphsearch.api.wire import (
    search_status_from_object,
    search_status_to_wire,
    trial_from_object,
    trial_status_to_wire,
)


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf], ids=["NaN", "Infinity", "-Infinity"])
def test_facts_come_back_as_they_were_recorded(apply, write_status, stored, score):
    """Also a score that JSON cannot hold."""
    odd = Rung(evaluation=4, score=score, decision=Decision.STOP, time=5.0)
    trial = a_trial(**FACTS | ENDED | {"rungs": (*FACTS["rungs"], odd)})
    apply(as_object(trial))
    write_status("gt", "t", trial_status_to_wire(trial.status))
    # Not a number equals nothing, not even itself.
    assert repr(trial_from_object(stored("gt", "t"))) == repr(trial)


def test_a_rung_has_a_score_or_says_why_not(apply, write_status):
    """Neither both nor none."""
    apply(as_object(a_trial()))
    rung = {"evaluation": 1, "decision": "Stop", "time": 1}
    both = {**rung, "score": 0.5, "notFinite": "NaN"}
    for wrong in (rung, both):
        assert "give exactly one of score and notFinite" in write_status("gt", "t", {"rungs": [wrong]}, check=False)


REWRITES = {
    "another score": (lambda s: s["rungs"][0].update(score=0.9), "status.rungs[0]"),
    "another decision": (lambda s: s["rungs"][1].update(decision="Stop"), "status.rungs[1]"),
    "a rank that nobody had": (lambda s: s["rungs"][1].update(rank=1), "status.rungs[1]"),
    "a score that was never a number": (
        lambda s: (s["rungs"][0].pop("score"), s["rungs"][0].update(notFinite="NaN")),
        "status.rungs[0]",
    ),
    "an attempt that ended otherwise": (lambda s: s["attempts"][0].update(end="Crashed"), "status.attempts[0]"),
    "an attempt that cost nothing": (lambda s: s["attempts"][0].update(seconds=0), "status.attempts[0]"),
    "another outcome": (lambda s: s.update(outcome="Succeeded"), "status.outcome"),
    "a later end": (lambda s: s.update(endedAt=9), "status.endedAt"),
    "another final score": (lambda s: s.update(score=0.9), "status.score"),
    "other scores of its nodes": (lambda s: s["nodes"].update(a=0.9), "status.nodes"),
    "another reason": (lambda s: s.update(message="because"), "status.message"),
    "another checkpoint": (lambda s: s.update(checkpoint="s3://elsewhere"), "status.checkpoint"),
}
REMOVALS = {
    "a rung less": (lambda s: s["rungs"].pop(0), "status.rungs"),
    "no rungs": (lambda s: s.pop("rungs"), "status.rungs"),
    "a rung without its rank": (lambda s: s["rungs"][1].pop("rank"), "status.rungs[1]"),
    "an attempt less": (lambda s: s["attempts"].pop(0), "status.attempts"),
    "no attempts": (lambda s: s.pop("attempts"), "status.attempts"),
    "an attempt that goes on": (lambda s: s["attempts"][0].pop("end"), "status.attempts[0]"),
    "no outcome": (lambda s: s.pop("outcome"), "status.outcome"),
    "no final score": (lambda s: s.pop("score"), "status.score"),
}


@pytest.fixture
def ended_trial(apply, write_status, stored):
    """A trial whose outcome is recorded: how it stands now."""
    trial = a_trial(**FACTS | ENDED)
    apply(as_object(trial))
    write_status("gt", "t", trial_status_to_wire(trial.status))
    return lambda: trial_from_object(stored("gt", "t"))


@pytest.mark.parametrize("rewrite", REWRITES)
def test_recorded_facts_of_a_trial_cannot_be_rewritten(ended_trial, write_status, force_status, rewrite):
    """Neither by a merge patch nor by a forced apply; the trial stands as before."""
    before = ended_trial()
    change, field = REWRITES[rewrite]
    status = trial_status_to_wire(before.status)
    change(status)
    for said in (write_status("gt", "t", status, check=False), force_status("GraphTrial", "t", status)):
        assert f"{field}: Forbidden" in said
    assert ended_trial() == before


@pytest.mark.parametrize("removal", REMOVALS)
def test_recorded_facts_of_a_trial_cannot_be_left_out(apply, force_status, stored, removal):
    """Whoever owns all fields of a status and applies fewer would take the others away."""
    trial = a_trial(**FACTS | ENDED)
    apply(as_object(trial))
    status = trial_status_to_wire(trial.status)
    force_status("GraphTrial", "t", status)
    change, field = REMOVALS[removal]
    change(status)
    assert f"{field}: Forbidden" in force_status("GraphTrial", "t", status)
    assert trial_from_object(stored("gt", "t")) == trial


@pytest.mark.parametrize("field", ["rungs", "attempts", "outcome", "endedAt", "score", "nodes", "message"])
def test_recorded_facts_of_a_trial_cannot_be_removed(ended_trial, write_status, field):
    """A merge patch with null is refused."""
    before = ended_trial()
    assert f"status.{field}: Forbidden" in write_status("gt", "t", {field: None}, check=False)
    assert ended_trial() == before


def test_a_status_cannot_be_removed_as_a_whole(ended_trial, kubectl, stored):
    """Replacing an object by one without status is refused at the status' own door and ignored at the other."""
    before = ended_trial()
    obj = stored("gt", "t")
    del obj["status"]
    said = kubectl("replace", "--subresource=status", "-f", "-", given=obj, check=False)
    assert "recorded facts never disappear" in said
    kubectl("replace", "-f", "-", given=obj)
    assert ended_trial() == before


def test_a_trial_goes_on_after_every_fact(apply, write_status, stored):
    """An open attempt starts and ends, rungs and attempts come to those that are there."""
    apply(as_object(a_trial()))
    attempt, rungs = Attempt(number=1), FACTS["rungs"]
    running = attempt.model_copy(update={"identity": "j-1", "started_at": 1.0})
    lost = running.model_copy(update={"end": AttemptEnd.LOST, "ended_at": 2.0, "seconds": 1.0})
    history = [
        {"attempts": (attempt,)},
        {"attempts": (running,)},
        {"attempts": (running,), "rungs": rungs[:1], "score": 0.5},
        {"attempts": (lost,), "rungs": rungs[:1], "score": 0.5},
        {"attempts": (lost, Attempt(number=2)), "rungs": rungs, "score": 0.625},
    ]
    for facts in history:
        write_status("gt", "t", trial_status_to_wire(GraphTrialStatus(**facts)))
    assert trial_from_object(stored("gt", "t")).status == GraphTrialStatus(**history[-1])


BORN = SearchFacts(uid="u", started_at=1.0, next_index=7, winner=3, winner_node="a")
OVER = BORN.model_copy(update={"ended_at": 9.0, "reason": Reason.COMPLETED, "message": "done"})


@pytest.fixture
def ended_search(apply, write_status, stored):
    """A search with a winner that has ended: its facts as they stand now."""
    apply(DRAWN)
    for facts in (BORN, OVER):
        write_status("gs", "drawn", search_status_to_wire(GraphSearchStatus(facts=facts, state="Completed")))
    return lambda: search_status_from_object(stored("gs", "drawn")).facts


@pytest.mark.parametrize(
    "rewrite",
    [
        {"winner": 4},
        {"winner": None},
        {"winnerNode": "b"},
        {"nextIndex": 6},
        {"uid": "v"},
        {"startedAt": 2},
        {"endedAt": 10},
        {"endedAt": None},
        {"reason": "Cancelled"},
        {"message": "or not"},
    ],
    ids=str,
)
def test_recorded_facts_of_a_search_cannot_be_rewritten(ended_search, write_status, force_status, rewrite):
    """Neither by a merge patch nor by a forced apply; indexes only rise."""
    (field,) = rewrite
    before = ended_search()
    assert f"status.facts.{field}" in write_status("gs", "drawn", {"facts": rewrite}, check=False)
    if rewrite[field] is not None:
        facts = {**search_status_to_wire(GraphSearchStatus(facts=before))["facts"], **rewrite}
        assert f"status.facts.{field}" in force_status("GraphSearch", "drawn", {"facts": facts})
    assert ended_search() == before


def test_facts_of_a_search_cannot_be_removed(ended_search, write_status):
    """As a whole, that is."""
    before = ended_search()
    assert "status.facts: Forbidden" in write_status("gs", "drawn", {"facts": None}, check=False)
    assert ended_search() == before


def test_the_budget_of_a_search_that_has_ended_is_refused_with_a_message(ended_search, apply):
    """B1, B3: more trials would not come: a new search is what is wanted."""
    assert ended_search().ended_at == OVER.ended_at
    said = apply(changed(DRAWN, {"budget.maxTrials": 2000}), check=False)
    assert "spec.budget: Forbidden: the search has ended" in said
    assert "serverside-applied" in apply(changed(DRAWN, {"ttlSecondsAfterFinished": 60}))

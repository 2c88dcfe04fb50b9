"""Between the API server's JSON and the types."""

from __future__ import annotations

import math

import pytest

from graphsearch.api import (
    Attempt,
    AttemptEnd,
    Condition,
    ConditionStatus,
    ConditionType,
    Decision,
    GraphTrialStatus,
    ManifestError,
    Rung,
    observed,
)
from graphsearch.api.wire import (
    ATTEMPT_MESSAGE_LENGTH,
    conditions_of,
    search_from_object,
    search_status_from_object,
    trial_from_object,
    trial_object_status,
    trial_status_to_wire,
    unknown_fields,
)

SPEC = {
    "index": 3,
    "purpose": "Search",
    "graph": {
        "nodes": [{"name": "1", "model": "resnet8"}],
        "edges": [{"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}}],
        "target": "1",
    },
}


def an_object(status):
    """A trial as the API server gives it."""
    return {"kind": "GraphTrial", "metadata": {"name": "s-t3", "namespace": "here"}, "spec": SPEC, "status": status}


def a_rung(score):
    """A recorded report."""
    return Rung(evaluation=1, score=score, decision=Decision.STOP, time=5.0)


@pytest.mark.parametrize(("score", "word"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")])
def test_a_score_that_is_not_finite_travels_as_a_word(score, word):
    """JSON on the API server has no such numbers."""
    wire = trial_status_to_wire(GraphTrialStatus(rungs=(a_rung(score),)))
    assert wire["rungs"][0] == {"evaluation": 1, "decision": "Stop", "time": 5.0, "notFinite": word}
    back = trial_from_object(an_object(wire)).status.rungs[0].score
    assert repr(back) == repr(score)


def test_what_a_newer_version_has_added_is_passed_over():
    """An older operator reads a newer one's objects."""
    rung = {"evaluation": 1, "score": 0.5, "decision": "Stop", "time": 5.0, "colour": "red"}
    trial = trial_from_object(an_object({"rungs": [rung], "mood": "good"}))
    assert trial.status.rungs == (a_rung(0.5),)


def test_a_condition_that_a_newer_version_has_added_is_passed_over():
    """``status`` and ``pause`` of an older program work on."""
    known = {"type": "Succeeded", "status": "Unknown", "reason": "Running"}
    status = {"conditions": [{"type": "Cheerful", "status": "True", "reason": "Sunshine"}, known]}
    search = {"kind": "GraphSearch", "metadata": {"name": "s", "namespace": "here"}, "status": status}
    for shown in (search_status_from_object(search), trial_object_status(an_object(status))):
        assert [condition.type for condition in shown.conditions] == [ConditionType.SUCCEEDED]
    assert [condition.type for condition in conditions_of(search)] == [ConditionType.SUCCEEDED]


def test_long_messages_are_cut():
    """An object stays below 12 KiB however much a trainer has to say."""
    attempt = Attempt(number=1, end=AttemptEnd.CRASHED, message="x" * 1000)
    wire = trial_status_to_wire(GraphTrialStatus(attempts=(attempt,), message="y" * 1000))
    assert (len(wire["attempts"][0]["message"]), len(wire["message"])) == (ATTEMPT_MESSAGE_LENGTH,) * 2


def test_a_wrong_manifest_is_refused_with_its_name_and_field():
    """A user sees which object and where in it."""
    obj = {
        "apiVersion": "graphsearch.io/v1alpha1",
        "kind": "GraphSearch",
        "metadata": {"name": "s", "namespace": "here"},
        "spec": {"data": {"dataset": "digits"}, "seed": "one"},
    }
    with pytest.raises(ManifestError, match=r"GraphSearch here/s: spec\.seed: "):
        search_from_object(obj)


def test_what_a_newer_version_has_added_to_a_manifest_is_named_and_passed_over():
    """Its definitions may fill in defaults of fields that this operator does not know."""
    spec = {"data": {"dataset": "digits"}, "space": {"nodes": 1, "targetModels": ["resnet8"]}}
    obj = {"apiVersion": "graphsearch.io/v1alpha1", "kind": "GraphSearch", "metadata": {"name": "s"}, "spec": spec}
    trainer = {"podLabelsMode": "None", "resources": {"limits": {"cpu": 1}, "claims": []}}
    newer = obj | {"spec": spec | {"trainer": trainer, "later": {"x": 1}}}
    assert unknown_fields(obj) == ()
    assert set(unknown_fields(newer)) == {"spec.later", "spec.trainer.podLabelsMode", "spec.trainer.resources.claims"}
    older = obj | {"spec": spec | {"trainer": {"resources": {"limits": {"cpu": 1}}}}}
    assert search_from_object(newer) == search_from_object(older)


def a_condition(status, message=""):
    """An observation that is to be written."""
    return Condition(type=ConditionType.SUCCEEDED, status=status, reason="Searching", message=message)


def test_a_condition_keeps_its_time_until_it_flips():
    """An unchanged object is not written again, and the time says since when."""
    first = observed([], [a_condition(ConditionStatus.UNKNOWN)], generation=1, now=0.0)
    again = observed(first, [a_condition(ConditionStatus.UNKNOWN, "more")], generation=2, now=60.0)
    flipped = observed(again, [a_condition(ConditionStatus.TRUE)], generation=2, now=120.0)
    times = [found[0].last_transition_time for found in (first, again, flipped)]
    assert times == ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:02:00Z"]
    assert [found[0].observed_generation for found in (first, again, flipped)] == [1, 2, 2]

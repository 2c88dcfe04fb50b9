"""A trial applied by hand is a search with one contender."""

from __future__ import annotations

import pytest
from tests.searches import HandPlayed

from graphsearch.api import AttemptEnd, ManifestError, Outcome, SearchFacts
from graphsearch.api.wire import trial_from_object
from graphsearch.cluster.alone import as_contender, search_of
from graphsearch.search.ledger import Ledger
from graphsearch.search.settled import settle
from graphtrial.contract import Purpose

SPEC = {
    "index": 0,
    "purpose": "Search",
    "graph": {
        "nodes": [{"name": "1", "model": "resnet8"}],
        "edges": [{"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}}],
        "target": "1",
    },
    "data": {"dataset": "digits"},
    "training": {"length": {"epochs": 4}},
}


def an_object(**spec):
    """As the API server gives it."""
    return {
        "apiVersion": "graphsearch.io/v1alpha1",
        "kind": "GraphTrial",
        "metadata": {"name": "alone", "namespace": "here"},
        "spec": SPEC | spec,
    }


def played(obj):
    """A world in which the trial is all there is."""
    trial = trial_from_object(obj)
    ledger = Ledger(SearchFacts(uid="u", started_at=0.0))
    ledger.put(as_contender(trial, obj))
    return HandPlayed(settle(search_of(trial, obj)), ledger).look()


def test_it_is_trained_once_and_nothing_follows():
    """One attempt to the last evaluation; no winner is chosen and nothing compared."""
    world = played(an_object()).finish(0, 0.9)
    assert (world.outcome(0), sorted(world.ledger.trials)) == (Outcome.SUCCEEDED, [0])
    assert world.ledger.search.ended_at is not None


def test_it_resumes_after_a_loss():
    """As a trial of a search does."""
    world = played(an_object()).end(0, None)
    assert [str(attempt.end) for attempt in world.ledger.trials[0].status.attempts] == [AttemptEnd.LOST, "None"]


def test_its_teachers_are_trained_first():
    """A frozen pretrained node makes a Pretrain trial beside it."""
    graph = {
        "nodes": [
            {"name": "1", "model": "resnet8"},
            {"name": "2", "model": "resnet14", "kind": "Frozen", "weights": {"pretrained": {}}},
        ],
        "edges": [
            {"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}},
            {"source": "2", "destination": "1", "loss": {"type": "KL"}},
        ],
        "target": "1",
    }
    world = played(an_object(graph=graph))
    assert [trial.name for trial in world.of(Purpose.PRETRAIN)] == ["alone-t1"]


def test_without_data_it_is_refused_by_name():
    """A trial without a search says everything itself."""
    obj = an_object()
    del obj["spec"]["data"]
    trial = trial_from_object(obj)
    with pytest.raises(ManifestError, match=r"GraphTrial here/alone: spec\.data: is required"):
        search_of(trial, obj)


def test_what_is_left_of_a_search_is_refused_by_its_reference():
    """A trial whose owner was taken away, or that was copied without it, does not say everything itself."""
    obj = an_object(searchRef="s")
    del obj["spec"]["data"]
    with pytest.raises(ManifestError, match=r"GraphTrial here/alone: spec\.searchRef: it is not owned by search s;"):
        search_of(trial_from_object(obj), obj)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a", "b"),
        ("t" * 40, "t" * 39),
        ("resnet8-from-resnet14-teacher-on-digits-lr-01", "resnet8-from-resnet14-teacher-on-digits-lr-02"),
    ],
)
def test_the_teachers_of_two_trials_have_two_names(one, other):
    """They are named after it, in as many characters as a search's name may have."""
    names = [search_of(trial_from_object(obj), obj).metadata.name for obj in (named(one), named(other))]
    assert names[0] != names[1]
    assert max(map(len, names)) <= 40


def named(name):
    """As the API server gives it."""
    return an_object() | {"metadata": {"name": name, "namespace": "here"}}


def test_problems_are_named_as_in_its_own_manifest():
    """It has one graph, not a list."""
    stage = {"name": "2", "model": "resnet8", "weights": {"node": {"graph": "g", "node": "1"}}}
    graph = SPEC["graph"] | {"nodes": [*SPEC["graph"]["nodes"], stage]}
    obj = an_object(graph=graph)
    with pytest.raises(ManifestError, match=r"spec\.graph\.nodes\[1\]\.weights\.node\.graph"):
        search_of(trial_from_object(obj), obj)


def test_trials_of_others_stay_as_they_are():
    """Only the trial that was applied is a contender."""
    obj = an_object()
    teacher = trial_from_object(obj).model_copy(update={"name": "alone-t1"})
    assert as_contender(teacher, obj) == teacher

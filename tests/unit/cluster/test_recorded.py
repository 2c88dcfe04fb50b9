"""What is taken for a trial's facts, of objects that are heard of."""

from __future__ import annotations

from tests.searches import HandPlayed, a_search

from graphsearch.api import GraphTrialStatus, SearchFacts
from graphsearch.api.wire import trial_object, trial_status_to_wire
from graphsearch.cluster.recorded import Recorded

OWNER = {"apiVersion": "graphsearch.io/v1alpha1", "kind": "GraphSearch", "name": "s", "uid": "search-uid"}


def an_object(trial, version):
    """As the API server gives it."""
    obj = trial_object(trial, "team", {}, OWNER)
    metadata = obj["metadata"] | {"uid": "trial-uid", "resourceVersion": str(version)}
    return obj | {"metadata": metadata, "status": trial_status_to_wire(trial.status)}


def a_running_trial():
    """With an attempt, and a rung that it has passed."""
    return HandPlayed(a_search().settled()).look().look((0, 1, 0.5)).ledger.trials[0]


def recorded_of(*objects):
    """What is known after these."""
    recorded = Recorded(None, "team", SearchFacts(uid="search-uid", started_at=0.0), OWNER)
    for obj in objects:
        recorded.take(obj)
    return recorded


def test_the_newer_state_of_a_trial_counts():
    """Whatever comes first."""
    trial = a_running_trial()
    young = trial.model_copy(update={"status": trial.status.model_copy(update={"rungs": ()})})
    assert recorded_of(an_object(young, 1), an_object(trial, 2)).ledger.trials[0] == trial
    assert recorded_of(an_object(trial, 2), an_object(young, 1)).ledger.trials[0] == trial


def test_facts_never_disappear():
    """A trial that is being made again is heard of before its facts are written: no rung counts twice for it."""
    trial = a_running_trial()
    empty = trial.model_copy(update={"status": GraphTrialStatus()})
    recorded = recorded_of(an_object(trial, 2), an_object(empty, 3))
    assert recorded.ledger.trials[0] == trial
    assert len(recorded.ledger.rungs[1]) == 1
    assert recorded.metadata(0)["resourceVersion"] == "3", "what is written next is written onto it"

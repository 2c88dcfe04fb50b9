"""Trials with facts, as objects for a real API server."""

from __future__ import annotations

from tests.builders import a_graph

from graphsearch.api import Attempt, AttemptEnd, Decision, GraphTrial, GraphTrialStatus, Outcome, Rung
from graphsearch.api.wire import trial_spec_to_wire

FACTS = {
    "attempts": (
        Attempt(
            number=1, identity="j-1", started_at=1.5, ended_at=2.5, end=AttemptEnd.LOST, seconds=1.0, message="node"
        ),
        Attempt(number=2, identity="j-2", started_at=3.25),
    ),
    "rungs": (
        Rung(evaluation=1, score=0.5, rank=1, of=1, decision=Decision.CONTINUE, time=2.0, source="Prometheus"),
        Rung(evaluation=2, score=0.625, rank=2, of=2, decision=Decision.CONTINUE, time=4.0, attempt=2),
    ),
    "score": 0.625,
}
ENDED = {
    "outcome": Outcome.STOPPED,
    "message": "rank 2 of 2 at evaluation 2",
    "ended_at": 5.0,
    "nodes": {"a": 0.625, "b": 0.5},
    "checkpoint": "s3://searches/t",
}


def a_trial(name="t", **status):
    """A trial of two nodes, with facts."""
    graph = a_graph().trained("a").frozen("b").label("a").transfer("b", "a", "Linear").obj()
    spec = {"index": 3, "purpose": "Search", "graph": graph.to_json(), "searchRef": "s", "seed": 2**53 - 1}
    return GraphTrial.model_validate({"name": name, "spec": spec, "status": GraphTrialStatus(**status)})


def as_object(trial):
    """Without its status, which the API server takes only by its own door."""
    metadata = {"name": trial.name}
    return {
        "apiVersion": "graphsearch.io/v1alpha1",
        "kind": "GraphTrial",
        "metadata": metadata,
        "spec": trial_spec_to_wire(trial),
    }

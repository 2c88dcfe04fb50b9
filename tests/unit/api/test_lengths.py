"""In what a new search may give its length."""

from __future__ import annotations

from typing import Any

import pytest
from tests.searches import SearchBuilder, a_search

from graphsearch.api import ManifestError, check_new

LABEL = {"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}}
SELF = {"source": "1", "destination": "1", "loss": {"type": "Consistency"}}
TEACHER = {"name": "2", "kind": "Frozen", "model": "resnet8", "weights": {"pretrained": {}}}


def graph(name: str, *edges: dict[str, Any], nodes: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """Of one network, and what else is given."""
    return {"name": name, "nodes": [{"name": "1", "model": "resnet8"}, *nodes], "edges": list(edges)}


def drawn(*gates: str) -> SearchBuilder:
    """A space with a self edge of these gates on its node."""
    return a_search().with_edges(
        {"kind": "Label", "gates": ["Through"]}, {"kind": "Self", "losses": ["Consistency"], "gates": list(gates)}
    )


PLAIN, SEMI = graph("plain", LABEL), graph("semi", LABEL, SELF)
CUT = graph("cut", LABEL, SELF | {"gate": {"type": "Cutoff"}})

MIXED = {
    "edges that may all be cut": drawn("Through", "Cutoff"),
    "an edge that may be of another loss": a_search()
    .with_nodes(2)
    .with_edges(
        {"kind": "Label", "gates": ["Through"]},
        {"kind": "Transfer", "losses": ["Consistency", "KL"], "gates": ["Through"]},
    ),
    "an edge that an average may take the place of": a_search()
    .with_nodes(2)
    .with_edges(
        {"kind": "Label", "gates": ["Through"]},
        {"from": "1", "to": "2", "losses": ["Consistency"], "ema": True, "gates": ["Through"]},
    ),
    "nodes that may be pretrained": a_search()
    .with_nodes(2)
    .with_edges({"from": "1", "to": "1", "losses": ["Consistency"], "gates": ["Through"]}),
    "a baseline of labels": drawn("Through").compared(baselines=["Independent"]),
    "a fixed list of both": a_search().graphs(PLAIN, SEMI),
    "a teacher of labels": a_search().graphs(graph("taught", LABEL, SELF, nodes=(TEACHER,))),
    "a fixed graph and its baseline": a_search().graphs(SEMI).compared(baselines=["MutualLearning"]),
    "a cut edge that its baseline opens": a_search().graphs(CUT).compared(baselines=["AllThrough"]),
}
ALIKE = {
    "labels alone": a_search().with_nodes(2).compared(baselines=["Independent", "AllThrough"]),
    "edges that are always cut": drawn("Cutoff"),
    "edges that are never cut": drawn("Through", "Linear").compared(baselines=["AllThrough"]),
    "a fixed list of one kind": a_search().graphs(SEMI, graph("other", LABEL, SELF)),
    "a cut edge": a_search().graphs(PLAIN, CUT).compared(baselines=["Independent"]),
}


@pytest.mark.parametrize("name", MIXED)
def test_trials_of_unequal_epochs_are_refused_of_a_new_search(name: str) -> None:
    """An epoch would be few updates in one trial and many in another, compared at the same evaluation."""
    with pytest.raises(ManifestError) as refused:
        check_new(MIXED[name].obj(), "search.yaml")
    (problem,) = refused.value.problems
    assert problem.startswith("spec.training.length.epochs: ")
    assert problem.endswith("; give length and evaluateEvery in steps")


@pytest.mark.parametrize("name", MIXED)
def test_in_steps_they_are_taken(name: str) -> None:
    """All of them then take as many updates."""
    steps = {"length": {"steps": 8}, "evaluateEvery": {"steps": 1}}
    check_new(MIXED[name].having(training=steps).obj(), "search.yaml")


@pytest.mark.parametrize("name", ALIKE)
def test_epochs_are_taken_where_all_trials_are_of_one_kind(name: str) -> None:
    """Their epochs pass over the same images."""
    check_new(ALIKE[name].obj(), "search.yaml")


def test_the_epochs_of_a_preset_are_refused_as_well() -> None:
    """CIFAR's table has 200 of them."""
    with pytest.raises(ManifestError, match=r"spec\.training\.length\.epochs: "):
        check_new(drawn("Through", "Cutoff").having(training={}).obj(), "search.yaml")

"""Which nodes a score reads, which nodes it needs, and when nothing that is scored would learn."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from tests.builders import GraphBuilder, a_graph
from tests.unit.contract.drawn_graphs import graphs

from graphtrial.contract import (
    Graph,
    NodeKind,
    ScoreOf,
    Violation,
    needed_nodes,
    score_modes,
    score_violations,
    scored_nodes,
)

TARGET, ENSEMBLE, BEST = ScoreOf.TARGET_NODE, ScoreOf.ENSEMBLE, ScoreOf.BEST_NODE
TEACHERS = a_graph().frozen("1").frozen("2", copy=1)
MIXED = a_graph().trained("1").frozen("2").ema("3", follows="1").label("1")

LEARNING = {
    "target with a label edge": (a_graph().trained("1").label("1"), TARGET),
    "target with a teacher only": (a_graph().trained("1").frozen("2").transfer("2", "1"), TARGET),
    "target with a self edge only": (a_graph().trained("1").itself("1", "Consistency"), TARGET),
    "target that follows a learner": (MIXED.aiming_at("3"), TARGET),
    "target ensemble with a learner": (MIXED.ensemble("e", "1", "2").aiming_at("e"), TARGET),
    "ensemble of all nodes": (MIXED, ENSEMBLE),
    "ensemble node with a learner": (MIXED.ensemble("e", "1", "2"), ENSEMBLE),
    "one of the nodes": (MIXED.aiming_at("2"), BEST),
}

NOT_LEARNING = {
    "target with cut edges": (
        a_graph().trained("1").trained("2").label("1", "Cutoff").label("2").transfer("2", "1", "Cutoff"),
        TARGET,
        Violation(("edges",), "the scored node '1' learns nothing: give it an incoming edge that is not Cutoff"),
    ),
    "frozen target": (
        MIXED.aiming_at("2"),
        TARGET,
        Violation(("target",), "the scored node '2' is frozen; score a node that learns"),
    ),
    "target that follows a node with cut edges": (
        a_graph().trained("1").ema("2", follows="1").label("1", "Cutoff").aiming_at("2"),
        TARGET,
        Violation(("edges",), "the scored node '2' learns nothing: give it an incoming edge that is not Cutoff"),
    ),
    "target ensemble of teachers": (
        TEACHERS.trained("3").label("3").ensemble("e", "1", "2").aiming_at("e"),
        TARGET,
        Violation(("edges",), "the scored node 'e' learns nothing: give it an incoming edge that is not Cutoff"),
    ),
    "ensemble node of teachers while another node learns": (
        TEACHERS.trained("3").label("3").ensemble("e", "1", "2"),
        ENSEMBLE,
        Violation(("edges",), "none of the scored nodes (1, 2) learns: give one an incoming edge that is not Cutoff"),
    ),
    "ensemble of all nodes without edges": (
        a_graph().trained("1").trained("2"),
        ENSEMBLE,
        Violation(("edges",), "none of the scored nodes (1, 2) learns: give one an incoming edge that is not Cutoff"),
    ),
    "best of teachers": (
        TEACHERS,
        BEST,
        Violation(("nodes",), "only Trained and EMA nodes count as BestNode, and there is none; add one"),
    ),
    "best of nodes with cut edges": (
        a_graph().trained("1").frozen("2").label("1", "Cutoff"),
        BEST,
        Violation(("edges",), "none of the scored nodes (1) learns: give one an incoming edge that is not Cutoff"),
    ),
}


@pytest.mark.parametrize(("builder", "score_of"), LEARNING.values(), ids=LEARNING.keys())
def test_a_graph_whose_scored_node_learns_passes(builder: GraphBuilder, score_of: ScoreOf):
    """Learning is to have a live incoming edge, or to average a node that has."""
    assert score_violations(builder.obj(), score_of) == []


@pytest.mark.parametrize(("builder", "score_of", "violation"), NOT_LEARNING.values(), ids=NOT_LEARNING.keys())
def test_a_graph_in_which_the_scored_node_learns_nothing_is_refused(
    builder: GraphBuilder, score_of: ScoreOf, violation: Violation
):
    """It may well be a graph, but its score would say nothing about its edges."""
    assert score_violations(builder.obj(), score_of) == [violation]


@pytest.mark.parametrize(
    ("builder", "score_of", "expected"),
    [
        (MIXED, TARGET, ("1",)),
        (MIXED.aiming_at("3"), TARGET, ("3",)),
        (MIXED, ENSEMBLE, ("1", "2", "3")),
        (MIXED.ensemble("e", "3", "2"), ENSEMBLE, ("3", "2")),
        (MIXED.ensemble("e", "3", "2").ensemble("f", "1", "2"), ENSEMBLE, ("3", "2")),
        (MIXED.ensemble("e", "3", "2").ensemble("f", "1", "2").aiming_at("f"), ENSEMBLE, ("1", "2")),
        (MIXED.ensemble("e", "1", "2"), BEST, ("1", "3")),
        (MIXED.trained("random").transfer("random", "1"), BEST, ("1", "3")),
    ],
)
def test_a_score_reads_the_nodes_of_its_mode(builder: GraphBuilder, score_of: ScoreOf, expected: tuple[str, ...]):
    """The target; the members of the ensemble, the target's if there are several, or all nodes; whoever learns."""
    assert scored_nodes(builder.obj(), score_of) == expected


BRANCHES = a_graph().trained("1", trunk="t").trained("2", trunk="t").trained("3").label("1").label("3")
CHAIN = a_graph().trained("1").trained("2").trained("3").trained("4").label("3").transfer("3", "2").transfer("2", "1")


@pytest.mark.parametrize(
    ("builder", "needed"),
    [
        (CHAIN, {"1", "2", "3"}),
        (CHAIN.transfer("4", "3", "Cutoff"), {"1", "2", "3"}),
        (CHAIN.transfer("4", "3"), {"1", "2", "3", "4"}),
        (CHAIN.aiming_at("2"), {"2", "3"}),
        (CHAIN.transfer("1", "3").aiming_at("2"), {"1", "2", "3"}),
        (CHAIN.ema("5", follows="4").transfer("5", "3"), {"1", "2", "3", "4", "5"}),
        (CHAIN.ensemble("5", "1", "4").transfer("5", "3"), {"1", "2", "3", "4", "5"}),
        (BRANCHES.label("2"), {"1", "2"}),
        (BRANCHES, {"1"}),
    ],
)
def test_nodes_without_a_path_to_the_target_are_not_needed(builder: GraphBuilder, needed: set[str]):
    """Paths go along live edges, from the followed to its average, from members to their ensemble, through a trunk."""
    assert needed_nodes(builder.obj(), TARGET) == needed


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_what_is_needed_is_closed(graph: Graph):
    """Whatever a needed node reads is needed, so the rest can be left out of training without a trace."""
    for score_of in ScoreOf:
        needed = needed_nodes(graph, score_of)
        assert set(scored_nodes(graph, score_of)) <= needed
        for edge in graph.live_edges():
            assert edge.is_label or edge.destination not in needed or edge.source in needed
        for node in graph.nodes:
            if node.name in needed:
                assert set(node.members) <= needed
                assert node.kind is not NodeKind.EMA or node.follows in needed
                mates = [other.name for other in graph.nodes if node.trunk and other.trunk == node.trunk]
                fed = {edge.destination for edge in graph.live_edges()}
                assert needed.issuperset(fed.intersection(mates))


NODES = {"1": 0.6, "2": 0.8, "3": 0.7, "ensemble": 0.9}


def test_the_score_modes_of_a_graph():
    """Node 2 is frozen: it counts for the mean, and never as the best (spec 5.3)."""
    expected = {"target": 0.6, "best": 0.7, "mean": 0.7, "ensemble": 0.9}
    assert score_modes(MIXED.obj(), NODES) == pytest.approx(expected)


def test_the_mean_is_that_of_the_ensembles_members():
    """An Ensemble node says who they are, and is none of them."""
    graph = MIXED.ensemble("all", "1", "2").obj()
    assert score_modes(graph, NODES | {"all": 0.9})["mean"] == pytest.approx(0.7)


def test_a_score_that_is_not_known_is_left_out():
    """Only the target was evaluated; a node that diverged is not the best."""
    assert score_modes(MIXED.obj(), {"1": 0.6}) == {"target": 0.6, "best": 0.6, "mean": 0.6}
    assert score_modes(MIXED.obj(), {"1": math.nan, "3": 0.5})["best"] == 0.5


def test_where_none_is_named_the_target_is_the_first_node():
    """Node 1 of all experiments (spec 1.1); a name chooses another."""
    two = a_graph().trained("1").trained("2").label("1").label("2")
    assert (two.obj().target_name, two.aiming_at("2").obj().target_name) == ("1", "2")
    assert scored_nodes(two.obj(), TARGET) == ("1",)

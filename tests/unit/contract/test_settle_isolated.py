"""What becomes of drawn nodes whose incoming gates are all Cutoff (spec 1.1)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import GraphBuilder, a_graph
from tests.unit.contract.drawn_graphs import graphs

from graphtrial.contract import Graph, IsolatedNodes, NodeKind, settle_isolated

ALL_WAYS = st.sampled_from(IsolatedNodes)
CUT_OFF = (
    a_graph()
    .trained("1", "resnet32")
    .trained("2", "resnet110")
    .label("1")
    .label("2", "Cutoff")
    .transfer("1", "2", "Cutoff")
    .transfer("2", "1")
)
"""Node 2 has no edge that is not cut."""


def test_an_isolated_node_becomes_a_pretrained_teacher():
    """Frozen, with the weights of its own model trained on labels; its cut edges stay as they were."""
    expected = a_graph().trained("1", "resnet32").frozen("2", "resnet110")
    settled = settle_isolated(CUT_OFF.obj(), IsolatedNodes.PRETRAINED)
    assert settled == CUT_OFF.obj().model_copy(update={"nodes": expected.nodes})


def test_an_isolated_node_may_stay_random():
    """The way of the thesis's ensembles: a node that never learns still teaches."""
    assert settle_isolated(CUT_OFF.obj(), IsolatedNodes.RANDOM) == CUT_OFF.obj()


def test_an_isolated_node_may_call_for_another_draw():
    """There is no graph then."""
    assert settle_isolated(CUT_OFF.obj(), IsolatedNodes.REDRAW) is None


@pytest.mark.parametrize("isolated", IsolatedNodes)
def test_a_graph_without_isolated_nodes_stays_as_drawn(isolated: IsolatedNodes):
    """One live edge is enough, whatever its source."""
    graph = a_graph().trained("1").trained("2").label("1").label("2", "Cutoff").transfer("1", "2", "Linear").obj()
    assert settle_isolated(graph, isolated) == graph


def test_teachers_of_one_model_are_different_networks():
    """Copies are counted for each model, in the order of the nodes."""
    drawn = a_graph().trained("1", "resnet8").label("1")
    for name, model in (("2", "resnet32"), ("3", "resnet110"), ("4", "resnet32"), ("5", "resnet32")):
        drawn = drawn.trained(name, model).transfer(name, "1")
    settled = settle_isolated(drawn.obj(), IsolatedNodes.PRETRAINED)
    assert settled is not None
    teachers = [node for node in settled.nodes if node.kind is NodeKind.FROZEN]
    assert [(node.model, node.weights.pretrained.copy_number) for node in teachers if node.weights] == [
        ("resnet32", 0),
        ("resnet110", 0),
        ("resnet32", 1),
        ("resnet32", 2),
    ]


@pytest.mark.parametrize(
    "drawn",
    [
        CUT_OFF.ema("3", follows="2").transfer("3", "1"),
        CUT_OFF.ema("3", follows="1").transfer("3", "1"),
        CUT_OFF.ensemble("3", "1", "2").transfer("3", "1"),
    ],
    ids=["of the isolated node", "of the other", "ensemble"],
)
def test_an_average_is_never_frozen(drawn: GraphBuilder):
    """EMA and ensemble nodes have no incoming edges by nature."""
    settled = settle_isolated(drawn.obj(), IsolatedNodes.PRETRAINED)
    assert settled is not None
    assert settled.node("3") == drawn.obj().node("3")


def test_a_followed_node_is_never_frozen():
    """Its average would be the teacher once more, and an EMA node may not follow a frozen one."""
    drawn = CUT_OFF.ema("3", follows="2").transfer("3", "1").obj()
    assert settle_isolated(drawn, IsolatedNodes.PRETRAINED) == drawn
    assert settle_isolated(drawn, IsolatedNodes.REDRAW) is None


@settings(max_examples=200, deadline=None)
@given(graphs(most=6), ALL_WAYS)
def test_a_settled_graph_is_a_graph_and_stays_settled(graph: Graph, isolated: IsolatedNodes):
    """It keeps every rule, survives the way through JSON, and settling it again changes nothing."""
    settled = settle_isolated(graph, isolated)
    if settled is None:
        assert isolated is IsolatedNodes.REDRAW
        return
    assert Graph.model_validate(settled.to_json()) == settled
    assert settle_isolated(settled, isolated) == settled


@settings(max_examples=200, deadline=None)
@given(graphs(most=6))
def test_only_isolated_trained_nodes_change(graph: Graph):
    """Edges, target, order, and every node with a live incoming edge are left alone."""
    settled = settle_isolated(graph, IsolatedNodes.PRETRAINED)
    assert settled is not None
    assert (settled.edges, settled.target_name) == (graph.edges, graph.target_name)
    fed = {edge.destination for edge in graph.live_edges()}
    for before, after in zip(graph.nodes, settled.nodes, strict=True):
        assert before.name == after.name
        assert before == after or (before.kind is NodeKind.TRAINED and before.name not in fed)

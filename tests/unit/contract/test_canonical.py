"""Two graphs have one digest exactly if they are the same graph."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.builders import GraphBuilder, a_graph
from tests.unit.contract.drawn_graphs import MODELS, graphs

from graphtrial.contract import (
    LABEL,
    Edge,
    Gate,
    GateType,
    Graph,
    Loss,
    LossType,
    Node,
    NodeOfGraph,
    Weights,
    canonical_graph,
    canonical_json,
    digest,
    graph_digest,
)

many = settings(max_examples=150, deadline=None)


def renamed(graph: Graph, new: Mapping[str, str]) -> Graph:
    """The same graph with other names."""
    nodes = [
        node.model_copy(
            update={
                "name": new[node.name],
                "follows": new.get(node.follows, ""),
                "members": tuple(new[member] for member in node.members),
            }
        )
        for node in graph.nodes
    ]
    edges = [
        edge.model_copy(update={"source": new.get(edge.source, LABEL), "destination": new[edge.destination]})
        for edge in graph.edges
    ]
    return Graph(nodes=tuple(nodes), edges=tuple(edges), target=new[graph.target_name])


@st.composite
def graphs_written_otherwise(draw: st.DrawFn) -> tuple[Graph, Graph]:
    """A graph, and the same with other names, another order, cut edges more or less, and Correct for Through."""
    graph = draw(graphs())
    names = [node.name for node in graph.nodes]
    other = renamed(graph, dict(zip(names, draw(st.permutations([f"m{n}" for n in range(len(names))])), strict=True)))
    edges = [draw(st.sampled_from(_other_gates(edge))) for edge in other.edges if edge.is_live or draw(st.booleans())]
    taken = {(edge.source, edge.destination) for edge in edges}
    for source, destination in itertools.permutations([node.name for node in other.nodes], 2):
        if (source, destination) not in taken and draw(st.booleans()):
            cut = Gate(type=GateType.CUTOFF)
            edges.append(Edge(source=source, destination=destination, loss=Loss(type=LossType.KL), gate=cut))
    nodes = [
        node.model_copy(update={"members": tuple(draw(st.permutations(node.members)))})
        for node in draw(st.permutations(other.nodes))
    ]
    return graph, Graph(
        name="another", nodes=tuple(nodes), edges=tuple(draw(st.permutations(edges))), target=other.target_name
    )


def _other_gates(edge: Edge) -> list[Edge]:
    always_open = (GateType.THROUGH, GateType.CORRECT, GateType.THRESHOLD)
    if not (edge.is_label and edge.gate.type in always_open):
        return [edge]
    return [edge.model_copy(update={"gate": Gate(type=kind)}) for kind in always_open]


def same_by_trying_all_names(one: Graph, other: Graph) -> bool:
    """Whether some renaming that keeps the target turns one graph into the other."""
    if len(one.nodes) != len(other.nodes):
        return False
    names = [node.name for node in one.nodes if node.name != one.target_name]
    images = [node.name for node in other.nodes if node.name != other.target_name]
    return any(
        _content(renamed(one, dict(zip(names, image, strict=True)) | {one.target_name: other.target_name}))
        == _content(other)
        for image in itertools.permutations(images)
    )


def _content(graph: Graph) -> tuple[object, ...]:
    nodes = {
        (node.name, node.kind, node.model, str(node.weights), node.follows, frozenset(node.members), node.average)
        for node in graph.nodes
    }
    edges = Counter(
        (edge.source, edge.destination, str(edge.loss), "open" if len(_other_gates(edge)) > 1 else str(edge.gate))
        for edge in graph.edges
        if edge.gate.type is not GateType.CUTOFF
    )
    return graph.target_name, nodes, edges


@st.composite
def plain_graphs(draw: st.DrawFn) -> Graph:
    """Graphs of few kinds of nodes and edges, so that two of them are often the same or nearly so."""
    count = draw(st.integers(2, 5))
    names = [f"n{number}" for number in range(count)]
    model = st.sampled_from(MODELS) if draw(st.booleans()) else st.just("resnet8")
    pairs = list(itertools.permutations(names, 2))
    drawn = draw(st.lists(st.sampled_from(pairs), max_size=2 * count, unique=True))
    gates = st.sampled_from(["Through", "Linear"]) if draw(st.booleans()) else st.just("Through")
    builder = a_graph()
    for name in names:
        builder = builder.trained(name, draw(model))
    for source, destination in drawn:
        builder = builder.transfer(source, destination, draw(gates))
    return builder.obj()


@many
@given(graphs_written_otherwise())
def test_a_graph_written_otherwise_has_the_same_digest(pair: tuple[Graph, Graph]):
    """Names, orders, cut edges, an ever open gate on a label edge and the graph's own name play no part."""
    one, other = pair
    assert graph_digest(one) == graph_digest(other)


@many
@given(plain_graphs(), plain_graphs())
def test_digests_agree_with_trying_all_names(one: Graph, other: Graph):
    """Equal digests for the same graph, and for no other."""
    assert (graph_digest(one) == graph_digest(other)) == same_by_trying_all_names(one, other)


@many
@given(graphs(), st.data())
def test_digests_agree_with_trying_all_names_after_a_small_change(graph: Graph, data: st.DataObject):
    """An edge turned round or moved to another node may or may not give the same graph."""
    moved = data.draw(st.permutations([node.name for node in graph.nodes if node.kind == "Trained"]))
    names = [node.name for node in graph.nodes]
    swap = dict(zip(names, names, strict=True)) | {moved[0]: moved[-1], moved[-1]: moved[0]}
    at = data.draw(st.integers(0, max(len(graph.edges) - 1, 0)))
    edges = [
        edge.model_copy(update={"source": swap.get(edge.source, LABEL), "destination": swap[edge.destination]})
        if number == at
        else edge
        for number, edge in enumerate(graph.edges)
    ]
    other = Graph.model_construct(name="", nodes=graph.nodes, edges=tuple(edges), target=graph.target)
    assert (graph_digest(graph) == graph_digest(other)) == same_by_trying_all_names(graph, other)


@many
@given(graphs())
def test_the_canonical_form_is_a_graph_in_canonical_form(graph: Graph):
    """It keeps every rule, its target is the first node, and its own form is itself."""
    form = canonical_graph(graph)
    again = Graph.model_validate(form)
    assert again.target_name == "1"
    assert {"edges": []} | again.to_json() == form
    assert canonical_graph(again) == form


BASE = (
    a_graph()
    .trained("1", "resnet32")
    .trained("2", "resnet32")
    .frozen("3", "resnet110")
    .ema("4", follows="2")
    .ensemble("5", "2", "3")
    .label("1")
    .label("2", "Linear")
    .transfer("2", "1", Gate(type=GateType.SINE, frequency=0.5, phase=1))
    .transfer("3", "1", loss=Loss(type=LossType.KL, temperature=2))
    .transfer("4", "2", loss=Loss(type=LossType.ATTENTION_TOGETHER, crops=(3,)))
)


def node_changed(position: int, **fields: object) -> Callable[[GraphBuilder], GraphBuilder]:
    """One field of one node."""

    def change(builder: GraphBuilder) -> GraphBuilder:
        nodes = list(builder.nodes)
        nodes[position] = Node.model_validate(nodes[position].model_dump() | fields)
        return GraphBuilder(tuple(nodes), builder.edges, builder.name, builder.target)

    return change


def edge_changed(position: int, **fields: object) -> Callable[[GraphBuilder], GraphBuilder]:
    """One field of one edge; None: the edge is gone."""

    def change(builder: GraphBuilder) -> GraphBuilder:
        edges = list(builder.edges)
        edges[position] = Edge.model_validate(edges[position].model_dump() | fields)
        return GraphBuilder(builder.nodes, tuple(edges), builder.name, builder.target)

    return change


CHANGES = {
    "model": node_changed(1, model="resnet110"),
    "model of the target": node_changed(0, model="resnet110"),
    "kind": node_changed(2, kind="Trained"),
    "copy number": node_changed(2, weights={"pretrained": {"copy": 1}}),
    "origin of weights": node_changed(2, weights=Weights(node=NodeOfGraph(graph="g", node="1")).model_dump()),
    "weights to start from": node_changed(1, weights={"pretrained": {}}),
    "followed node": node_changed(3, follows="1"),
    "decay": node_changed(3, decay=0.99),
    "member": node_changed(4, members=("1", "3")),
    "one member less": node_changed(4, members=("3",)),
    "average": node_changed(4, average="Probabilities"),
    "target": lambda builder: builder.aiming_at("2"),
    "gate": edge_changed(0, gate={"type": "Linear"}),
    "gate cut": edge_changed(0, gate={"type": "Cutoff"}),
    "frequency": edge_changed(2, gate={"type": "Sine", "frequency": 0.25, "phase": 1}),
    "phase": edge_changed(2, gate={"type": "Sine", "frequency": 0.5, "phase": 2}),
    "Correct on a transfer edge": edge_changed(3, gate={"type": "Correct"}),
    "loss": edge_changed(3, loss={"type": "ProbabilityApart"}),
    "temperature": edge_changed(3, loss={"type": "KL", "temperature": 4}),
    "weight": edge_changed(0, loss={"type": "CrossEntropy", "weight": 0.5}),
    "crops": edge_changed(4, loss={"type": "AttentionTogether", "crops": [5]}),
    "resize": edge_changed(4, loss={"type": "AttentionTogether", "crops": [3], "resize": "Bilinear"}),
    "direction": edge_changed(2, source="1", destination="2"),
    "source": edge_changed(3, source="5"),
    "another edge": lambda builder: builder.transfer("1", "2"),
    "another node": lambda builder: builder.trained("6"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_single_change_gives_another_digest(change: Callable[[GraphBuilder], GraphBuilder]):
    """Whatever a graph says about training is in its digest."""
    assert graph_digest(change(BASE).obj()) != graph_digest(BASE.obj())


def test_a_hexagon_is_not_two_triangles():
    """Hashes that only count neighbours (Weisfeiler-Lehman) cannot tell these apart."""
    hexagon, triangles = a_graph().trained("t"), a_graph().trained("t")
    for number in range(6):
        hexagon, triangles = hexagon.trained(str(number)), triangles.trained(str(number))
    for number in range(6):
        hexagon = hexagon.transfer(str(number), str((number + 1) % 6))
        triangles = triangles.transfer(str(number), str(number // 3 * 3 + (number + 1) % 3))
    assert graph_digest(hexagon.obj()) != graph_digest(triangles.obj())


def test_whole_numbers_may_be_written_without_a_point():
    """YAML's 1 and 1.0 are one number, and a default that is written out is the default."""
    nodes = [{"name": "1", "model": "resnet8"}, {"name": "2", "model": "resnet8"}]

    def with_numbers(loss: str, gate: str) -> str:
        edge = {"source": "2", "destination": "1", "loss": json.loads(loss), "gate": json.loads(gate)}
        return graph_digest(Graph.model_validate({"nodes": nodes, "edges": [edge]}))

    assert with_numbers(
        '{"type": "KL", "temperature": 2, "weight": 1}', '{"type": "Sine", "frequency": 1, "phase": 0}'
    ) == with_numbers('{"type": "KL", "temperature": 2.0}', '{"type": "Sine", "frequency": 1.0}')


GOLDEN = {
    "alone": (a_graph().trained("1").label("1"), "af7665d2df9b6acc92b5620fb9dc130e4591d2abf12b9aa9f76260a0089ea9ea"),
    "distillation": (
        a_graph()
        .trained("1", "resnet32")
        .frozen("2", "wrn-28-2")
        .label("1")
        .transfer("2", "1", loss=Loss(type=LossType.KL, temperature=2)),
        "aa1b8ae041147e11f7c9704282fbd811e715fc031b3fde336378bd27330bf559",
    ),
    "everything": (BASE, "50fbde0d899de9ce78e0eee4c8b638ef15680495b2743c6754604202009ecab2"),
}


@pytest.mark.parametrize(("builder", "expected"), GOLDEN.values(), ids=GOLDEN.keys())
def test_digests_stay_what_they_were(builder: GraphBuilder, expected: str):
    """Checkpoints and teachers are found by digests: a new field with a default must not change them."""
    assert graph_digest(builder.obj()) == expected


def test_a_canonical_form_leaves_defaults_out():
    """Through gates, trained nodes, temperature 1 and the target go without saying."""
    builder = a_graph().called("x").trained("b").trained("a").label("a", "Correct").transfer("b", "a").aiming_at("a")
    assert canonical_graph(builder.obj()) == {
        "nodes": [{"name": "1", "model": "resnet8"}, {"name": "2", "model": "resnet8"}],
        "edges": [
            {"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}},
            {"source": "2", "destination": "1", "loss": {"type": "KL"}},
        ],
    }


def test_equal_objects_have_one_canonical_text():
    """Keys are sorted, there are no spaces, and NaN, which JSON does not have, is an error."""
    assert canonical_json({"b": [1, 2.5], "a": {"d": None, "c": "x"}}) == '{"a":{"c":"x","d":null},"b":[1,2.5]}'
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"score": float("nan")})

"""The picture of a knowledge transfer graph: what it shows, what it leaves out, that it keeps its shape."""

import random
import re
import xml.etree.ElementTree as ET
from itertools import combinations
from pathlib import Path

import pytest

from graphsearch.report.graph_layout import Box, arc, clipped, loop, on_circle, place_labels, point, straight
from graphsearch.report.graph_picture import GATE_COLOURS, View, draw
from graphtrial.contract import Edge, Gate, GateType, Graph, Loss, LossType, Node, NodeKind, Pretrained, Weights

GOLDEN = Path(__file__).parent / "golden" / "three-nodes.svg"
SVG = "{http://www.w3.org/2000/svg}"


def label(destination: str, gate: GateType = GateType.THROUGH) -> Edge:
    """An edge from the ground truth."""
    return Edge(source="Label", destination=destination, loss=Loss(type=LossType.CROSS_ENTROPY), gate=Gate(type=gate))


def kl(source: str, destination: str, gate: GateType) -> Edge:
    """A transfer edge."""
    return Edge(source=source, destination=destination, loss=Loss(type=LossType.KL), gate=Gate(type=gate))


THREE = Graph(
    nodes=(
        Node(name="1", model="resnet32"),
        Node(name="2", model="wrn-28-2"),
        Node(name="3", model="resnet110", kind=NodeKind.FROZEN, weights=Weights(pretrained=Pretrained())),
    ),
    edges=(
        label("1", GateType.LINEAR),
        label("2"),
        label("3", GateType.CUTOFF),
        kl("1", "2", GateType.CUTOFF),
        kl("2", "1", GateType.CORRECT),
        kl("3", "1", GateType.LINEAR),
        kl("3", "2", GateType.THROUGH),
    ),
)


def full(count: int) -> Graph:
    """Every edge there is, with drawn gates."""
    draws = random.Random(count)
    names = [str(number + 1) for number in range(count)]
    gates = (GateType.THROUGH, GateType.LINEAR, GateType.CORRECT)
    edges = [label(name) for name in names]
    edges += [kl(s, t, draws.choice(gates)) for s in names for t in names if s != t]
    return Graph(nodes=tuple(Node(name=name, model="resnet32") for name in names), edges=tuple(edges))


def texts(picture: str) -> list[str]:
    """All text of a picture, in its order."""
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]


def test_three_nodes_look_as_they_did() -> None:
    """The picture is the committed one; look at the new one before you replace it."""
    assert draw(THREE, {"1": "78.3 %", "2": "77.0 %"}, target="1") == GOLDEN.read_text(encoding="utf-8")


def test_nodes_carry_model_role_and_accuracy() -> None:
    """A reader sees who is scored, who is frozen and how good each is."""
    shown = texts(draw(THREE, {"1": "78.3 %", "3": "74.1 %"}, target="1"))
    assert shown[shown.index("1 · target") :][:3] == ["1 · target", "resnet32", "(78.3 %)"]
    assert shown[shown.index("3 · frozen") :][:3] == ["3 · frozen", "resnet110", "(74.1 %)"]


def test_cut_edges_are_left_out() -> None:
    """Graph drawing (spec 8): two label edges and three transfer edges live; nothing else is drawn."""
    picture = draw(THREE, {})
    assert picture.count("marker-end") == 5
    assert sorted(text for text in texts(picture) if " · " in text and text[0] in "CK") == [
        "CE · Linear",
        "CE · Through",
        "KL · Correct",
        "KL · Linear",
        "KL · Through",
    ]


@pytest.mark.parametrize("gate", sorted(set(GateType) - {GateType.CUTOFF}))
def test_an_edge_says_its_loss_and_gate_in_the_gates_colour(gate: GateType) -> None:
    """Text and line (spec 8); no two gates have one colour."""
    nodes = (Node(name="1", model="resnet32"), Node(name="2", model="resnet32"))
    picture = ET.fromstring(draw(Graph(nodes=nodes, edges=(kl("1", "2", gate),)), {}))
    lines = {path.get("class") for path in picture.iter(f"{SVG}path") if "marker-end" in path.attrib}
    said = {text.get("class"): text.text or "" for text in picture.iter(f"{SVG}text")}
    assert lines == {f"kg-edge kg-{gate.value}"}
    assert said[f"kg-on kg-{gate.value}"].startswith(f"KL · {gate.value}")
    assert len(set(GATE_COLOURS.values())) == len(GATE_COLOURS)


def test_correct_on_a_label_edge_is_drawn_as_through() -> None:
    """A label is always right (spec 3)."""
    graph = Graph(nodes=(Node(name="1", model="resnet32"),), edges=(label("1", GateType.CORRECT),))
    assert "CE · Through" in texts(draw(graph, {}))


def test_averages_have_quiet_lines() -> None:
    """An EMA node and an ensemble learn by no loss: their lines carry no gate."""
    graph = Graph(
        nodes=(
            Node(name="1", model="wrn-28-2"),
            Node(name="2", kind=NodeKind.EMA, follows="1"),
            Node(name="all", kind=NodeKind.ENSEMBLE, members=("1", "2")),
        ),
        edges=(
            label("1"),
            Edge(source="1", destination="1", loss=Loss(type=LossType.CONSISTENCY), gate=Gate(type=GateType.LINEAR)),
        ),
    )
    picture = draw(graph, {}, idle=frozenset({"2"}))
    assert picture.count('class="kg-quiet" marker-end') == 3
    assert {"2 · average of 1 · not trained", "all · ensemble", "Consistency · Linear"} <= set(texts(picture))


@pytest.mark.parametrize("count", range(1, 8))
def test_full_graphs_stay_readable(count: int) -> None:
    """Of up to 7 nodes and 49 edges no two labels cover each other by more than a corner, nor a node."""
    graph = full(count)
    centres = [place for place, _ in on_circle(count)]
    boxes = {node.name: Box(*place, 96, 70) for node, place in zip(graph.nodes, centres, strict=True)}
    edges = [edge for edge in graph.edges if not edge.is_label]
    curves = [arc(boxes[edge.source], boxes[edge.destination]) for edge in edges]
    labels = place_labels(curves, [(80.0, 16.0)] * len(edges), boxes.values())
    worst = max((a.overlap(b) for a, b in combinations([*labels, *boxes.values()], 2)), default=0.0)
    assert worst < 0.25 * 80 * 16
    assert draw(graph, {}).count("marker-end") == count * count


def test_curves_begin_and_end_outside_their_boxes() -> None:
    """Arrowheads touch their box and are not hidden beneath it."""
    start, end = Box(0, 0, 100, 60), Box(300, 120, 100, 60)
    for curve, goal in (
        (arc(start, end), end),
        (arc(start, end, 2), end),
        (straight(start, end), end),
        (loop(start, 0.3), start),
        (loop(start, 0.3, 1), start),
    ):
        assert not start.holds(curve[0])
        assert not goal.holds(curve[3])
        assert goal.holds(curve[3], 5)


def test_there_and_back_keep_apart() -> None:
    """The two directions between a pair of nodes bend to opposite sides."""
    left, right = Box(0, 0, 80, 50), Box(300, 0, 80, 50)
    there, back = point(arc(left, right), 0.5), point(arc(right, left), 0.5)
    assert there[1] * back[1] < 0
    assert abs(there[1] - back[1]) > 40


def test_clipping_keeps_the_shape() -> None:
    """Every point of the clipped curve lies on the whole one."""
    whole = ((0.0, 0.0), (100.0, 80.0), (200.0, 80.0), (300.0, 0.0))
    part = clipped(whole, Box(0, 0, 60, 40), Box(300, 0, 60, 40))
    fine = [point(whole, step / 5000) for step in range(5001)]
    for time in (0.0, 0.3, 0.7, 1.0):
        x, y = point(part, time)
        assert min(abs(x - p) + abs(y - q) for p, q in fine) < 0.1


SEMI = Graph(
    nodes=(
        Node(name="1", model="wrn-28-2"),
        Node(name="2", kind=NodeKind.EMA, follows="1"),
        Node(name="3", model="wrn-28-2"),
    ),
    edges=(
        label("1", GateType.NEGATIVE_LINEAR),
        label("3"),
        Edge(source="1", destination="1", loss=Loss(type=LossType.CONSISTENCY), gate=Gate(type=GateType.LINEAR)),
        Edge(
            source="2",
            destination="1",
            loss=Loss(type=LossType.THRESHOLDED_PSEUDO_LABEL),
            gate=Gate(type=GateType.NEGATIVE_LINEAR),
        ),
        Edge(source="1", destination="3", loss=Loss(type=LossType.PSEUDO_LABEL), gate=Gate(type=GateType.THROUGH)),
    ),
)


def test_gates_and_methods_are_drawn_apart() -> None:
    """Fig 5.6: one picture tells how much an edge weighs, the other what is learnt; their identities do not clash."""
    gates, methods = draw(SEMI, {}, view=View.GATES), draw(SEMI, {}, view=View.METHODS)
    assert texts(gates).count("NegativeLinear") == 2
    assert not any("Consistency" in text or "CE" in text for text in texts(gates))
    assert {"CE", "Consistency", "Sure pseudo-label", "Pseudo-label"} <= set(texts(methods))
    assert not any("Linear" in text for text in texts(methods))
    assert "Consistency: the same answer for two views" in texts(methods)
    assert not any(text.startswith("Transfer:") for text in texts(methods))
    identities = [
        {element.get("id") for element in ET.fromstring(picture).iter() if element.get("id")}
        for picture in (gates, methods, draw(SEMI, {}))
    ]
    assert [len(a & b) for a, b in combinations(identities, 2)] == [0, 0, 0]
    for picture, known in zip((gates, methods, draw(SEMI, {})), identities, strict=True):
        assert set(re.findall(r"url\(#([^)]+)\)", picture)) <= known


def test_averages_are_explained() -> None:
    """A dashed line is in the legend where there is one."""
    meaning = "average of weights or of outputs: no loss"
    assert meaning in texts(draw(SEMI, {}))
    assert meaning not in texts(draw(THREE, {}))


def test_shared_layers_join_their_nodes() -> None:
    """Three branches of one trunk (ONE): a line from each to the next, and its name on the nodes."""
    nodes = [Node(name=name, model="resnet32", trunk="low") for name in ("1", "2", "3")]
    ensemble = Node(name="all", kind=NodeKind.ENSEMBLE, members=("1", "2", "3"))
    edges = [*(label(node.name) for node in nodes), *(kl("all", node.name, GateType.THROUGH) for node in nodes)]
    picture = draw(Graph(nodes=(*nodes, ensemble), edges=tuple(edges)), {})
    assert picture.count('class="kg-trunk" d="M') == 2 + 1
    assert texts(picture).count("resnet32 · trunk low") == 3
    assert "shared layers" in texts(picture)
    assert picture.count("marker-end") == 6 + 3

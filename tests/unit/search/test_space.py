"""Drawing graphs: sizes of spaces, which rule an edge follows, uniform choices, and draws that are repeated."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphsearch.api import Space, possible_edges, rule_for
from graphsearch.search.space import EmptySpaceError, distinct_size, draw, nominal_size
from graphtrial.contract import GateType, Graph, NodeKind, ScoreOf, graph_digest, score_violations

FOUR = ["Through", "Cutoff", "Linear", "Correct"]
CHAPTER_4 = ["KL", "ProbabilityApart", "AttentionTogether", "AttentionApart", "Together", "Apart"]
LABELS = {"kind": "Label", "gates": FOUR}
TRANSFERS = {"kind": "Transfer", "gates": FOUR}


def a_space(nodes, *rules, targets=("resnet32",), auxiliaries=("resnet32", "resnet110", "wrn-28-2"), **fields):
    """A space with these edge rules."""
    models = {"targetModels": list(targets), "auxiliaryModels": list(auxiliaries)}
    return Space.model_validate({"nodes": nodes, **models, "edges": list(rules or (LABELS, TRANSFERS)), **fields})


def test_the_size_of_chapter_3():
    """S^(N-1) G^(N^2) with N = 3, S = 3, G = 4 (spec 5.2); with Correct = Through on labels fewer are distinct."""
    assert nominal_size(a_space(3)) == 2_359_296
    assert distinct_size(a_space(3)) == 9 * 3**3 * 4**6


@pytest.mark.parametrize("nodes", [2, 3, 4, 5])
def test_the_size_of_chapter_4(nodes):
    """24^(M(M-1)) 4^M nominal, 19^(M(M-1)) 3^M distinct: a cut edge is the same under every loss (spec 5.2)."""
    space = a_space(nodes, LABELS, {**TRANSFERS, "losses": CHAPTER_4}, auxiliaries=["resnet32"])
    pairs = nodes * (nodes - 1)
    assert nominal_size(space) == 24**pairs * 4**nodes
    assert distinct_size(space) == 19**pairs * 3**nodes


@pytest.mark.parametrize("gates", [*(FOUR[:count] for count in range(1, 5)), ["Sine"]])
def test_a_space_may_have_any_set_of_gates(gates):
    """Gate-set ablation (table 3.5): one gate type more in each row, and Sine alone; others are never drawn."""
    space = a_space(3, {**LABELS, "gates": gates}, {**TRANSFERS, "gates": gates}, isolatedNodes="Random")
    drawn = {edge.gate.type for index in range(50) for edge in draw(space, ScoreOf.TARGET_NODE, 0, index).edges}
    assert drawn == set(gates)


def test_a_continuous_space_has_no_size():
    """Sine's frequency and phase are real numbers."""
    space = a_space(2, LABELS, {"kind": "Transfer", "gates": ["Sine"]})
    assert (nominal_size(space), distinct_size(space)) == (None, None)


def test_the_size_counts_what_the_draw_can_give():
    """All graphs of a small space with EMA edges are drawn, and none beside them."""
    through = {"gates": ["Through"]}
    space = a_space(
        3,
        {"kind": "Label", "gates": ["Through", "Linear"]},
        {"from": "1", "to": "2", "losses": ["Consistency"], "ema": True, "gates": ["Through", "Cutoff", "Linear"]},
        {"from": "2", "to": "3", "ema": True, **through, "losses": ["Consistency"]},
        {"from": "1", "to": "3", "ema": True, **through, "losses": ["Consistency"]},
        auxiliaries=["resnet8", "resnet14"],
    )
    drawn = {graph_digest(draw(space, ScoreOf.TARGET_NODE, 0, index)) for index in range(4000)}
    nobody_follows = 2**3 * 2**2 * 3
    second_follows_first = 2 * (2 * 2)  # 3 learns from 1 and 2
    third_follows_first_or_second = 2 * (2 * 2 * 3) * 2
    both_follow_first = 2
    size = nobody_follows + second_follows_first + third_follows_first_or_second + both_follow_first
    assert len(drawn) == distinct_size(space) == size
    assert nominal_size(space) == 2**2 * 2**3 * (2 * 3) * 2 * 2


def test_gates_that_are_always_open_on_labels_are_one():
    """A label is always right and always sure: Correct and Threshold are Through there (spec 3)."""
    space = a_space(1, {"kind": "Label", "gates": ["Through", "Correct", "Threshold", "Linear"]})
    drawn = {graph_digest(draw(space, ScoreOf.TARGET_NODE, 0, index)) for index in range(100)}
    assert len(drawn) == distinct_size(space) == 2
    assert nominal_size(space) == 4


def test_an_ema_edge_is_one_choice_among_the_losses():
    """A quarter of 2,000 drawn edges of three losses and EMA; the node then follows, and nothing else leads there."""
    losses = ["Consistency", "PseudoLabel", "ThresholdedPseudoLabel"]
    space = a_space(
        2,
        {"kind": "Label", "gates": ["Through"]},
        {"kind": "Self", "losses": losses, "gates": ["Linear"]},
        {"from": "1", "to": "2", "losses": losses, "ema": True, "gates": ["Through", "Linear"]},
    )
    graphs = [draw(space, ScoreOf.BEST_NODE, 3, index) for index in range(2000)]
    assert {len([edge for edge in graph.edges if edge.destination == "2"]) for graph in graphs if follows(graph)} == {0}
    kinds = collections.Counter(follows(graph) or str(graph.edges[-1].loss.type) for graph in graphs)
    assert set(kinds) == {*losses, "1"}
    assert chi_square(kinds, 4) < 16.27


def follows(graph):
    """Whom node 2 follows."""
    return graph.node("2").follows


def test_an_edge_that_is_ema_only():
    """Mean Teacher's average in every graph; what it says back is drawn."""
    space = a_space(
        2,
        {"from": "Label", "to": "1", "gates": ["Through"]},
        {"from": "1", "to": "2", "ema": True, "gates": ["Through"]},
        {"from": "2", "to": "1", "losses": ["Consistency", "PseudoLabel"], "gates": ["Through"]},
    )
    drawn = {graph_digest(draw(space, ScoreOf.TARGET_NODE, 0, index)) for index in range(40)}
    assert len(drawn) == distinct_size(space) == 2
    assert follows(draw(space, ScoreOf.TARGET_NODE, 0, 0)) == "1"


def rule(space, source, destination):
    """The gate of the rule that an edge follows; None: there is no such edge."""
    found = rule_for(space, source, destination)
    return str(found.gates[0]) if found else None


def test_the_last_rule_that_matches_wins():
    """By kind, by both ends, or by one open end; label and self edges only by rules that name them."""
    space = a_space(
        3,
        {"kind": "Label", "gates": ["Through"]},
        {"kind": "Transfer", "gates": ["Linear"]},
        {"from": "2", "to": "1", "gates": ["Correct"]},
        {"to": "3", "gates": ["NegativeLinear"]},
        {"from": "Label", "to": "3", "gates": ["Cutoff"]},
        {"from": "3", "to": "3", "losses": ["Consistency"], "gates": ["Threshold"]},
    )
    table = {(s, t): rule(space, s, t) for s in ("Label", "1", "2", "3") for t in ("1", "2", "3")}
    assert table == {
        ("Label", "1"): "Through",
        ("Label", "2"): "Through",
        ("Label", "3"): "Cutoff",
        ("1", "1"): None,
        ("1", "2"): "Linear",
        ("1", "3"): "NegativeLinear",
        ("2", "1"): "Correct",
        ("2", "2"): None,
        ("2", "3"): "NegativeLinear",
        ("3", "1"): "Linear",
        ("3", "2"): "Linear",
        ("3", "3"): "Threshold",
    }


def test_a_space_without_a_rule_for_an_edge_has_no_such_edge():
    """Only what is named is drawn."""
    space = a_space(2, {"kind": "Label", "gates": ["Through"]}, {"from": "2", "gates": ["Linear"]})
    assert [(s, t) for s, t, _ in possible_edges(space)] == [("Label", "1"), ("Label", "2"), ("2", "1")]


def test_parameters_of_drawn_edges_come_from_the_space():
    """Temperature from the rule; frequency, phase, threshold and crops from the space, within their bounds."""
    space = a_space(
        2,
        {"kind": "Label", "gates": ["Sine"]},
        {"from": "1", "to": "2", "losses": ["Together"], "gates": ["Through"], "temperature": 3},
        {"from": "2", "to": "1", "losses": ["ThresholdedPseudoLabel"], "gates": ["Threshold"]},
        gateParameters={"sine": {"frequency": {"min": 0.25, "max": 0.5}}, "threshold": {"above": 0.8}},
        attention={"crops": [3], "resize": "Bilinear"},
    )
    for index in range(50):
        edges = draw(space, ScoreOf.ENSEMBLE, 0, index).edges
        for sine in edges[:2]:
            assert 0.25 <= sine.gate.frequency < 0.5
            assert 0 <= sine.gate.phase < 4.712389
        together, pseudo = edges[2:]
        assert (together.loss.temperature, together.loss.crops, str(together.loss.resize)) == (3, (3,), "Bilinear")
        assert (pseudo.loss.threshold, pseudo.gate.threshold) == (0.8, 0.8)


def chi_square(counts, options):
    """Of counts against equal chances."""
    expected = sum(counts.values()) / options
    return sum((counts[key] - expected) ** 2 / expected for key in counts) + (options - len(counts)) * expected


def test_gates_losses_and_models_are_drawn_uniformly():
    """2,000 graphs: every edge's gate and loss and every auxiliary model pass a chi-square test at 0.1 %."""
    critical = {3: 16.27, 2: 13.82}
    space = a_space(3, LABELS, {**TRANSFERS, "losses": ["KL", "ProbabilityApart", "Apart"]}, isolatedNodes="Random")
    graphs = [draw(space, ScoreOf.ENSEMBLE, 7, index) for index in range(2000)]
    for position in range(9):
        gates = collections.Counter(graph.edges[position].gate.type for graph in graphs)
        assert chi_square(gates, 4) < critical[3]
        if position >= 3:
            losses = collections.Counter(graph.edges[position].loss.type for graph in graphs)
            assert chi_square(losses, 3) < critical[2]
    for position in (1, 2):
        models = collections.Counter(graph.nodes[position].model for graph in graphs)
        assert chi_square(models, 3) < critical[2]


@st.composite
def spaces(draw_from):
    """Spaces with edges of every kind, EMA nodes and each treatment of isolated nodes."""
    gates = st.lists(st.sampled_from([*FOUR, "Sine", "NegativeLinear"]), min_size=1, unique=True)
    rules = [{"kind": "Label", "gates": draw_from(gates)}, {"kind": "Transfer", "gates": draw_from(gates)}]
    if draw_from(st.booleans()):
        losses = draw_from(st.sampled_from([["Consistency"], ["PseudoLabel", "ThresholdedPseudoLabel"]]))
        rules.append({"kind": "Self", "losses": losses, "gates": draw_from(gates)})
        rules.append({"kind": "Transfer", "losses": losses, "ema": draw_from(st.booleans()), "gates": draw_from(gates)})
    return a_space(
        draw_from(st.integers(1, 4)),
        *rules,
        isolatedNodes=draw_from(st.sampled_from(["Pretrained", "Random", "Redraw"])),
    )


@settings(deadline=None, max_examples=60, derandomize=True)
@given(spaces(), st.sampled_from(list(ScoreOf)), st.integers(0, 1000))
def test_every_drawn_graph_is_valid_and_scored(space, score_of, index):
    """It passes all rules of graphs when read anew, something scored learns, and isolated nodes are settled."""
    try:
        graph = draw(space, score_of, 0, index)
    except EmptySpaceError:
        return
    assert Graph.model_validate(graph.to_json()) == graph
    assert score_violations(graph, score_of) == []
    fed = {edge.destination for edge in graph.live_edges()}
    averaged = {node.name for node in graph.nodes if node.follows} | {node.follows for node in graph.nodes}
    isolated = [node for node in graph.nodes if node.name not in fed | averaged]
    assert all((node.kind is NodeKind.FROZEN) == (space.isolated_nodes == "Pretrained") for node in isolated)
    assert isolated == [] or space.isolated_nodes != "Redraw"


def test_teachers_of_one_model_are_different_networks():
    """Two isolated nodes of one model are copies 0 and 1."""
    space = a_space(3, {"from": "Label", "to": "1", "gates": ["Through"]}, auxiliaries=["resnet8"])
    graph = draw(space, ScoreOf.TARGET_NODE, 0, 0)
    assert [node.weights.pretrained.copy_number for node in graph.nodes[1:]] == [0, 1]


def test_a_graph_that_cannot_be_scored_is_drawn_again():
    """Half the draws cut the target's only edge; every graph that comes out has it."""
    space = a_space(1, {"kind": "Label", "gates": ["Cutoff", "Linear"]})
    gates = {draw(space, ScoreOf.TARGET_NODE, 0, index).edges[0].gate.type for index in range(40)}
    assert gates == {GateType.LINEAR}


def test_a_graph_that_breaks_the_rules_is_drawn_again():
    """Correct cannot stand on an edge that acts on unlabelled images: such draws are repeated, not refused."""
    space = a_space(
        2, {"kind": "Label", "gates": ["Through"]}, {"kind": "Transfer", "losses": ["KL", "Consistency"], "gates": FOUR}
    )
    graphs = [draw(space, ScoreOf.TARGET_NODE, 0, index) for index in range(60)]
    assert any(graph.semi_supervised for graph in graphs)
    assert any(edge.gate.type is GateType.CORRECT for graph in graphs for edge in graph.edges)


def test_a_space_in_which_nothing_learns_says_what_to_allow():
    """B14: all gates into the target are Cutoff: no sampler can help, so it is refused and not tried again."""
    space = a_space(2, {"kind": "Label", "gates": ["Cutoff"]})
    with pytest.raises(EmptySpaceError) as raised:
        draw(space, ScoreOf.TARGET_NODE, 0, 0)
    assert str(raised.value) == (
        "spec.space: none of 1000 drawn graphs has a scored node that learns; "
        "allow gates other than Cutoff on an edge into it"
    )


def test_draws_never_change():
    """A recorded search draws the same graphs under a later version."""
    graph = draw(a_space(2), ScoreOf.TARGET_NODE, 0, 3)
    shown = [(edge.source, edge.destination, str(edge.gate.type)) for edge in graph.edges]
    assert [node.model for node in graph.nodes] == ["resnet32", "wrn-28-2"]
    assert shown == [
        ("Label", "1", "Correct"),
        ("Label", "2", "Linear"),
        ("1", "2", "Linear"),
        ("2", "1", "Correct"),
    ]

"""The known methods as graphs, from the models of a graph that was found (spec 6)."""

from __future__ import annotations

import pytest
from tests.searches import a_search

from graphsearch.api import Baseline
from graphsearch.search.contenders import baseline_graph, found_name, merge_equal
from graphtrial.contract import Graph, ScoreOf, scored_ensemble, scored_nodes

MODELS = {"1": "resnet8", "2": "resnet32", "3": "wrn-28-2"}


def edge(source, destination, gate="Through", temperature=1.0):
    """A label edge, or a KL edge."""
    loss = {"type": "CrossEntropy"} if source == "Label" else {"type": "KL", "temperature": temperature}
    return {"source": source, "destination": destination, "loss": loss, "gate": {"type": gate}}


def a_graph(edges, *, frozen=(), extra=(), target=""):
    """Nodes 1 to 3 of different models."""
    nodes = [
        {"name": name, "model": model} | ({"kind": "Frozen", "weights": {"pretrained": {}}} if name in frozen else {})
        for name, model in MODELS.items()
    ]
    return Graph.model_validate({"nodes": [*nodes, *extra], "edges": edges, "target": target})


FOUND = a_graph(
    [edge("Label", "1", "Linear"), edge("2", "1", "Correct"), edge("Label", "3", "Cutoff"), edge("1", "2", "Sine")],
    frozen=("3",),
)


def shown(graph):
    """(nodes with kind and model, edges with gate and temperature, target)."""
    nodes = [(node.name, str(node.kind), node.model) for node in graph.nodes]
    edges = [(e.source, e.destination, str(e.gate.type), e.loss.temperature) for e in graph.edges]
    return nodes, sorted(edges), graph.target_name


def trained(*names):
    """Untrained nodes with the models of the found graph."""
    return [(name, "Trained", MODELS[name]) for name in names]


def test_independent_trains_the_target_on_labels_alone():
    """Auxiliary nodes would not touch the score and are left out."""
    graph = baseline_graph(Baseline.INDEPENDENT, FOUND, ScoreOf.TARGET_NODE, 32)
    assert shown(graph) == (trained("1"), [("Label", "1", "Through", 1.0)], "1")


@pytest.mark.parametrize("score_of", [ScoreOf.ENSEMBLE, ScoreOf.TARGET_NODE])
def test_mutual_learning_joins_all_nodes_both_ways(score_of):
    """All KL edges Through at temperature 1 between untrained nodes, the frozen one among them."""
    nodes, edges, target = shown(baseline_graph(Baseline.MUTUAL_LEARNING, FOUND, score_of, 32))
    pairs = [(s, t, "Through", 1.0) for s in ("1", "2", "3", "Label") for t in ("1", "2", "3") if s != t]
    assert (nodes, edges, target) == (trained("1", "2", "3"), sorted(pairs), "1")


def test_distillation_has_the_largest_auxiliary_model_as_frozen_teacher():
    """KL at temperature 2 from a pretrained wrn-28-2, the costliest auxiliary."""
    graph = baseline_graph(Baseline.DISTILLATION, FOUND, ScoreOf.TARGET_NODE, 32)
    assert shown(graph) == (
        [*trained("1"), ("2", "Frozen", "wrn-28-2")],
        [("2", "1", "Through", 2.0), ("Label", "1", "Through", 1.0)],
        "1",
    )
    assert graph.nodes[1].weights.pretrained.copy_number == 0


@pytest.mark.parametrize(("side", "largest"), [(32, "wrn-28-2"), (224, "resnet18")])
def test_which_model_is_the_largest_depends_on_the_images(side, largest):
    """On small images a ResNet18 halves the side before it begins; on large ones wide networks begin with 32 pixels."""
    nodes = [{"name": str(place), "model": model} for place, model in enumerate(("resnet8", "resnet18", "wrn-28-2"))]
    found = Graph.model_validate({"nodes": nodes, "edges": [edge("Label", "0")]})
    assert baseline_graph(Baseline.DISTILLATION, found, ScoreOf.TARGET_NODE, side).nodes[1].model == largest


def test_all_through_opens_every_gate_and_thaws_who_is_fed():
    """Gate ablation (spec 8): the found graph's edges, cut ones too, with gate Through; its frozen node learns."""
    nodes, edges, _ = shown(baseline_graph(Baseline.ALL_THROUGH, FOUND, ScoreOf.TARGET_NODE, 32))
    assert nodes == trained("1", "2", "3")
    assert edges == [
        ("1", "2", "Through", 1.0),
        ("2", "1", "Through", 1.0),
        ("Label", "1", "Through", 1.0),
        ("Label", "3", "Through", 1.0),
    ]


def test_a_distilled_ensemble_leaves_its_teacher_out_of_the_mean():
    """Scored by the ensemble, every node is a student, and an ensemble node names just them."""
    graph = baseline_graph(Baseline.DISTILLATION, FOUND, ScoreOf.ENSEMBLE, 32)
    assert [(node.name, str(node.kind)) for node in graph.nodes] == [
        ("1", "Trained"),
        ("2", "Trained"),
        ("3", "Trained"),
        ("4", "Frozen"),
        ("ensemble", "Ensemble"),
    ]
    assert graph.nodes[-1].members == ("1", "2", "3")


@pytest.mark.parametrize("baseline", list(Baseline))
@pytest.mark.parametrize("target", ["", "mean"])
@pytest.mark.parametrize("score_of", list(ScoreOf))
def test_every_baseline_of_an_ensemble_is_a_graph(baseline, target, score_of):
    """Also where the target is the ensemble itself, or is no member of it."""
    mean = {"name": "mean", "kind": "Ensemble", "members": ["2", "3"], "average": "Probabilities"}
    labels = [edge("Label", name) for name in MODELS]
    found = a_graph([*labels, edge("1", "2")], extra=[mean], target=target)
    graph = baseline_graph(baseline, found, score_of, 32)
    kept = [node for node in graph.nodes if node.name == "mean"]
    assert all((node.members, str(node.average)) == (("2", "3"), "Probabilities") for node in kept)
    scored = score_of is ScoreOf.ENSEMBLE or (target == "mean" and score_of is ScoreOf.TARGET_NODE)
    assert bool(kept) or not scored


@pytest.mark.parametrize("baseline", list(Baseline))
@pytest.mark.parametrize("target", ["", "other"])
def test_of_two_ensembles_a_baseline_has_the_one_that_is_scored(baseline, target):
    """The target, or else the first: the trainer scores the members of the same one."""
    extra = [
        {"name": "mean", "kind": "Ensemble", "members": ["1", "2"]},
        {"name": "other", "kind": "Ensemble", "members": ["2", "3"], "average": "Probabilities"},
    ]
    found = a_graph([edge("Label", name) for name in MODELS], extra=extra, target=target)
    graph = baseline_graph(baseline, found, ScoreOf.ENSEMBLE, 32)
    expected = scored_ensemble(found)
    assert scored_nodes(found, ScoreOf.ENSEMBLE) == expected.members
    assert (expected.name, scored_ensemble(graph)) == (target or "mean", expected)


def test_equal_graphs_become_one_contender():
    """Correct on a label edge is Through, and auxiliary names do not count."""
    one = a_graph([edge("Label", "1", "Correct")])
    other = a_graph([edge("Label", "1"), edge("2", "1", "Cutoff")])
    third = a_graph([edge("Label", "1", "Linear")])
    assert merge_equal([("a", one), ("b", third), ("c", other)]) == [(("a", "c"), one), (("b",), third)]
    assert [names for names, _ in merge_equal([("a", one), ("c", other)], alone={"c"})] == [("a",), ("c",)]


def test_the_last_graph_of_a_fixed_list_is_compared():
    """A list is a recipe: its last graph is the one that the others lead to; without a name it is the search's."""
    listed = [a_graph([edge("Label", "1")]).model_copy(update={"name": name}).to_json() for name in ("a", "b", "")]
    assert found_name(a_search().graphs(*listed[:2]).settled()) == "b"
    assert found_name(a_search().graphs(listed[2]).settled()) == "s"
    assert found_name(a_search().settled()) == "Found"

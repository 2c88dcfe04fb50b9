"""Every rule of a graph: what it says, where, and that a neighbour of the broken graph passes."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError
from tests.builders import GraphBuilder, a_graph

from graphtrial.contract import (
    ATTENTION,
    MODELS,
    UNLABELLED,
    Average,
    Gate,
    GateType,
    Graph,
    Loss,
    LossType,
    Node,
    NodeKind,
    NodeOfGraph,
    Pretrained,
    Resize,
    Weights,
    problems,
)


class Rule(NamedTuple):
    """A broken graph, its only complaint, and the nearest graph that is right."""

    broken: GraphBuilder
    complaint: str
    neighbour: GraphBuilder


ONE = a_graph().trained("1").label("1")
TWO = a_graph().trained("1").trained("2").label("1").label("2")
TAUGHT = a_graph().trained("1").frozen("2").label("1")
AVERAGED = a_graph().trained("1").ema("2", follows="1").label("1")


def of_kind(kind: NodeKind, **fields: Any) -> GraphBuilder:
    """One learning node and another of the kind under test, named 2."""
    return ONE.node(Node(name="2", kind=kind, **fields))


NODE_RULES = {
    "label is no node": Rule(
        ONE.trained("Label"),
        "graph.nodes[1].name: 'Label' is the ground truth; choose another name",
        ONE.trained("Label-2"),
    ),
    "no network is called as the ensemble's score": Rule(
        ONE.trained("ensemble"),
        "graph.nodes[1].name: 'ensemble' is the ensemble's score; choose another name",
        TWO.ensemble("ensemble", "1", "2"),
    ),
    "no second ensemble is called as the first one's score": Rule(
        TWO.ensemble("e", "1", "2").ensemble("ensemble", "1"),
        "graph.nodes[3].name: 'ensemble' is the ensemble's score; choose another name",
        TWO.ensemble("ensemble", "1", "2").ensemble("e", "1"),
    ),
    "no ensemble beside the target is called as its score": Rule(
        TWO.ensemble("ensemble", "1", "2").ensemble("e", "1").aiming_at("e"),
        "graph.nodes[2].name: 'ensemble' is the ensemble's score; choose another name",
        TWO.ensemble("e", "1").ensemble("ensemble", "1", "2").aiming_at("ensemble"),
    ),
    "names are unique": Rule(
        ONE.trained("1"), "graph.nodes[1].name: '1' is used twice; names are unique in a graph", ONE.trained("2")
    ),
    "target exists": Rule(TWO.aiming_at("3"), "graph.target: there is no node '3'; nodes are 1, 2", TWO.aiming_at("2")),
    "model is known": Rule(
        ONE.trained("2", "resnet33"),
        f"graph.nodes[1].model: unknown model 'resnet33'; use one of {', '.join(MODELS)}, torchvision:NAME, timm:NAME"
        " or package.module:Name",
        ONE.trained("2", "resnet32"),
    ),
    "a network has a model": Rule(
        ONE.trained("2", ""),
        f"graph.nodes[1].model: is required: one of {', '.join(MODELS)}, torchvision:NAME, timm:NAME"
        " or package.module:Name",
        ONE.trained("2", "mylab.nets:Small"),
    ),
    "an EMA node has no model": Rule(
        of_kind(NodeKind.EMA, follows="1", model="resnet8"),
        "graph.nodes[1].model: an EMA node has no model of its own; leave it out",
        of_kind(NodeKind.EMA, follows="1"),
    ),
    "an ensemble has no model": Rule(
        of_kind(NodeKind.ENSEMBLE, members=("1",), model="resnet8"),
        "graph.nodes[1].model: an Ensemble node has no model of its own; leave it out",
        of_kind(NodeKind.ENSEMBLE, members=("1",)),
    ),
    "an EMA node follows": Rule(
        of_kind(NodeKind.EMA),
        "graph.nodes[1].follows: is for EMA nodes and required there: the node that it averages",
        of_kind(NodeKind.EMA, follows="1"),
    ),
    "only an EMA node follows": Rule(
        of_kind(NodeKind.TRAINED, model="resnet8", follows="1"),
        "graph.nodes[1].follows: is for EMA nodes and required there: the node that it averages",
        of_kind(NodeKind.TRAINED, model="resnet8"),
    ),
    "an EMA node follows a node that is there": Rule(
        ONE.ema("2", follows="3"),
        "graph.nodes[1].follows: '3' is no trained node; an EMA node follows one",
        ONE.trained("3").ema("2", follows="3"),
    ),
    "an EMA node follows no frozen one": Rule(
        TAUGHT.ema("3", follows="2"),
        "graph.nodes[2].follows: '2' is no trained node; an EMA node follows one",
        TAUGHT.ema("3", follows="1"),
    ),
    "an EMA node does not follow itself": Rule(
        ONE.ema("2", follows="2"),
        "graph.nodes[1].follows: '2' is no trained node; an EMA node follows one",
        ONE.ema("2", follows="1"),
    ),
    "only an EMA node has a decay": Rule(
        of_kind(NodeKind.TRAINED, model="resnet8", decay=0.9),
        "graph.nodes[1].decay: is for EMA nodes; leave it out",
        of_kind(NodeKind.EMA, follows="1", decay=0.9),
    ),
    "an ensemble has members": Rule(
        of_kind(NodeKind.ENSEMBLE),
        "graph.nodes[1].members: is for Ensemble nodes and required there: the nodes that it averages",
        of_kind(NodeKind.ENSEMBLE, members=("1",)),
    ),
    "only an ensemble has members": Rule(
        of_kind(NodeKind.TRAINED, model="resnet8", members=("1",)),
        "graph.nodes[1].members: is for Ensemble nodes and required there: the nodes that it averages",
        of_kind(NodeKind.TRAINED, model="resnet8"),
    ),
    "members are there": Rule(
        TWO.ensemble("e", "1", "3"),
        "graph.nodes[2].members[1]: '3' is no network of this graph; members are trained, frozen or EMA",
        TWO.ensemble("e", "1", "2"),
    ),
    "members are no ensembles": Rule(
        TWO.ensemble("e", "1", "2").ensemble("f", "1", "e"),
        "graph.nodes[3].members[1]: 'e' is no network of this graph; members are trained, frozen or EMA",
        TWO.ensemble("e", "1", "2").ensemble("f", "1", "2"),
    ),
    "members differ": Rule(
        TWO.ensemble("e", "1", "1"), "graph.nodes[2].members: names a node twice", TWO.ensemble("e", "1", "2")
    ),
    "only an ensemble averages": Rule(
        of_kind(NodeKind.TRAINED, model="resnet8", average=Average.PROBABILITIES),
        "graph.nodes[1].average: is for Ensemble nodes; leave it out",
        of_kind(NodeKind.ENSEMBLE, members=("1",), average=Average.PROBABILITIES),
    ),
}

WEIGHTS_RULES = {
    "a frozen node has weights": Rule(
        of_kind(NodeKind.FROZEN, model="resnet8"),
        "graph.nodes[1].weights: a frozen node needs weights: pretrained, uri, torchvision or node",
        of_kind(NodeKind.FROZEN, model="resnet8", weights=Weights(pretrained=Pretrained())),
    ),
    "an EMA node has no weights": Rule(
        of_kind(NodeKind.EMA, follows="1", weights=Weights(uri="s3://b/w")),
        "graph.nodes[1].weights: an EMA node has no weights of its own; leave them out",
        of_kind(NodeKind.EMA, follows="1"),
    ),
    "weights are somewhere": Rule(
        ONE.trained("2", weights=Weights()),
        "graph.nodes[1].weights: give exactly one of pretrained, uri, torchvision, node",
        ONE.trained("2", weights=Weights(uri="s3://b/w")),
    ),
    "weights are in one place": Rule(
        ONE.frozen("2", weights=Weights(uri="s3://b/w", node=NodeOfGraph(graph="g", node="1"))),
        "graph.nodes[1].weights: give exactly one of pretrained, uri, torchvision, node",
        ONE.frozen("2", weights=Weights(node=NodeOfGraph(graph="g", node="1"))),
    ),
    "torchvision's weights fit its own models": Rule(
        ONE.frozen("2", "resnet8", weights=Weights(torchvision="IMAGENET1K_V1")),
        "graph.nodes[1].weights.torchvision: are for models torchvision:NAME and for resnet18 to resnet152, and this "
        "is 'resnet8'",
        ONE.frozen("2", "abn-resnet18-bypass", weights=Weights(torchvision="IMAGENET1K_V1")),
    ),
}

EDGE_RULES = {
    "the source is there": Rule(
        TWO.transfer("3", "1"),
        "graph.edges[2].source: there is no node '3'; sources are Label and 1, 2",
        TWO.transfer("2", "1"),
    ),
    "the destination is there": Rule(
        TWO.transfer("1", "3"),
        "graph.edges[2].destination: there is no node '3'; nodes are 1, 2",
        TWO.transfer("1", "2"),
    ),
    "a frozen node learns from no edge": Rule(
        TAUGHT.transfer("1", "2"),
        "graph.edges[1].destination: '2' is Frozen; only a Trained node learns from an edge (or cut it)",
        TAUGHT.transfer("1", "2", "Cutoff"),
    ),
    "a frozen node learns from no label": Rule(
        TAUGHT.label("2"),
        "graph.edges[1].destination: '2' is Frozen; only a Trained node learns from an edge (or cut it)",
        TAUGHT.label("2", "Cutoff"),
    ),
    "an EMA node learns from no edge": Rule(
        AVERAGED.transfer("1", "2"),
        "graph.edges[1].destination: '2' is EMA; only a Trained node learns from an edge (or cut it)",
        AVERAGED.transfer("2", "1"),
    ),
    "an ensemble learns from no edge": Rule(
        TWO.ensemble("e", "1", "2").label("e"),
        "graph.edges[2].destination: 'e' is Ensemble; only a Trained node learns from an edge (or cut it)",
        TWO.ensemble("e", "1", "2").transfer("e", "1"),
    ),
    "edges differ": Rule(
        TWO.transfer("2", "1").transfer("2", "1", "Linear"),
        "graph.edges[3]: a second edge 2 -> 1 with the loss KL",
        TWO.transfer("2", "1").transfer("2", "1", "Linear", "AttentionTogether"),
    ),
    "edges differ though one be cut": Rule(
        TWO.transfer("2", "1").transfer("2", "1", "Cutoff"),
        "graph.edges[3]: a second edge 2 -> 1 with the loss KL",
        TWO.transfer("2", "1").transfer("1", "2", "Cutoff"),
    ),
    "the label has cross entropy": Rule(
        TWO.edge("Label", "1", "KL"),
        "graph.edges[2].loss.type: CrossEntropy stands on label edges, and nothing else does; other losses need a node",
        TWO.edge("2", "1", "KL"),
    ),
    "a node has no cross entropy": Rule(
        TWO.edge("2", "1", "CrossEntropy"),
        "graph.edges[2].loss.type: CrossEntropy stands on label edges, and nothing else does; other losses need a node",
        a_graph().trained("1").trained("2").label("1").edge("Label", "2", "CrossEntropy"),
    ),
    "a self edge compares two views": Rule(
        ONE.itself("1", "KL"),
        "graph.edges[1].loss.type: a self edge compares two views of unlabelled images: use Consistency, PseudoLabel, "
        "ThresholdedPseudoLabel",
        ONE.itself("1", "Consistency"),
    ),
    "an attention loss needs a map at its source": Rule(
        TWO.frozen("3", "torchvision:resnet18").transfer("3", "1", loss="AttentionTogether"),
        "graph.edges[2].loss.type: AttentionTogether is an attention loss on a model without a map: '3' is a "
        "torchvision:resnet18; use a built-in model such as resnet32 or abn-resnet20",
        TWO.frozen("3", "torchvision:resnet18").transfer("3", "1"),
    ),
    "an attention loss needs a map at its destination": Rule(
        ONE.trained("2", "timm:vit").transfer("1", "2", loss="Apart"),
        "graph.edges[1].loss.type: Apart is an attention loss on a model without a map: '2' is a timm:vit; use a "
        "built-in model such as resnet32 or abn-resnet20",
        ONE.trained("2", "timm:vit").transfer("1", "2", "Cutoff", "Apart"),
    ),
    "an EMA node has the map of the node that it follows": Rule(
        ONE.trained("2", "timm:vit").ema("3", follows="2").transfer("3", "1", loss="Together"),
        "graph.edges[1].loss.type: Together is an attention loss on a model without a map: '3' is a timm:vit; use a "
        "built-in model such as resnet32 or abn-resnet20",
        ONE.trained("2", "mylab.nets:Small").ema("3", follows="2").transfer("3", "1", loss="Together"),
    ),
    "a model that gives logits only has no layers to share": Rule(
        ONE.node(Node(name="2", model="timm:vit", trunk="t")),
        "graph.nodes[1].trunk: a timm:vit has no layers to share; use a built-in model or leave it out",
        ONE.node(Node(name="2", model="mylab.nets:Small", trunk="t")),
    ),
    "a gate that needs labels has none": Rule(
        TWO.transfer("2", "1", "Correct", "Consistency"),
        "graph.edges[2].gate: Correct needs labels, and this edge acts on unlabelled images; use Through, Linear or "
        "Threshold",
        TWO.transfer("2", "1", "Threshold", "Consistency"),
    ),
    "in a semi-supervised graph no transfer edge sees labels": Rule(
        TWO.itself("2", "Consistency").transfer("2", "1", "Correct"),
        "graph.edges[3].gate: Correct needs labels, and this edge acts on unlabelled images; use Through, Linear or "
        "Threshold",
        TWO.itself("2", "Consistency", "Cutoff").transfer("2", "1", "Correct"),
    ),
}

EVERY_RULE = NODE_RULES | WEIGHTS_RULES | EDGE_RULES


def complaints(builder: GraphBuilder) -> list[str]:
    """What is said against the graph."""
    with pytest.raises(ValidationError) as caught:
        builder.obj()
    return problems(caught.value, "graph")


@pytest.mark.parametrize("rule", EVERY_RULE.values(), ids=EVERY_RULE.keys())
def test_a_broken_rule_is_the_only_complaint(rule: Rule):
    """The message says what is wrong, where, and what would be right; nothing else is said."""
    assert complaints(rule.broken) == [rule.complaint]


@pytest.mark.parametrize("rule", EVERY_RULE.values(), ids=EVERY_RULE.keys())
def test_the_neighbour_of_a_broken_graph_passes(rule: Rule):
    """A rule refuses no more than it says."""
    graph = rule.neighbour.obj()
    assert Graph.model_validate(graph.to_json()) == graph


FOREIGN_PARAMETERS = [
    *(
        (Loss(type=kind, temperature=2), "temperature")
        for kind in LossType
        if kind not in (LossType.CROSS_ENTROPY, LossType.KL, LossType.TOGETHER, LossType.CONSISTENCY)
    ),
    *(
        (Loss(type=kind, threshold=0.5), "threshold")
        for kind in LossType
        if kind not in (LossType.CROSS_ENTROPY, LossType.THRESHOLDED_PSEUDO_LABEL)
    ),
    *((Loss(type=kind, crops=(3,)), "crops") for kind in LossType if kind not in ATTENTION | {LossType.CROSS_ENTROPY}),
    (Loss(type=LossType.KL, resize=Resize.BILINEAR), "resize"),
]

OWN_PARAMETERS = [
    *(Loss(type=kind, temperature=2) for kind in (LossType.KL, LossType.TOGETHER, LossType.CONSISTENCY)),
    Loss(type=LossType.THRESHOLDED_PSEUDO_LABEL, threshold=0.5),
    *(Loss(type=kind, crops=(3, 5, 7), resize=Resize.BILINEAR, weight=0.1) for kind in sorted(ATTENTION)),
]


@pytest.mark.parametrize(("loss", "name"), FOREIGN_PARAMETERS, ids=lambda value: str(getattr(value, "type", value)))
def test_a_loss_refuses_the_parameters_of_others(loss: Loss, name: str):
    """A parameter without effect is a misunderstanding, not a preference."""
    assert complaints(TWO.transfer("2", "1", loss=loss)) == [
        f"graph.edges[2].loss.{name}: {loss.type} has no {name}; leave it out"
    ]


@pytest.mark.parametrize("loss", OWN_PARAMETERS, ids=lambda loss: str(loss.type))
def test_a_loss_takes_its_own_parameters(loss: Loss):
    """Temperature, threshold, crops and resizing stand where they have an effect; a weight stands everywhere."""
    assert TWO.transfer("2", "1", loss=loss).obj().edges[2].loss == loss


@pytest.mark.parametrize(
    ("gate", "name"),
    [
        (Gate(type="Linear", frequency=1), "frequency"),
        (Gate(type="Through", phase=1), "phase"),
        (Gate(type="Sine", threshold=0.5), "threshold"),
        (Gate(type="Threshold", frequency=1), "frequency"),
    ],
)
def test_a_gate_refuses_the_parameters_of_others(gate: Gate, name: str):
    """As for losses."""
    assert complaints(TWO.transfer("2", "1", gate)) == [
        f"graph.edges[2].gate.{name}: {gate.type} has no {name}; leave it out"
    ]


@pytest.mark.parametrize("gate", [Gate(type="Sine", frequency=0.5, phase=4.7), Gate(type="Threshold", threshold=0.5)])
def test_a_gate_takes_its_own_parameters(gate: Gate):
    """Frequency and phase are Sine's, the threshold is Threshold's."""
    assert TWO.transfer("2", "1", gate).obj().edges[2].gate == gate


def test_everything_wrong_is_said_at_once():
    """One run names every broken rule."""
    found = complaints(a_graph().trained("1", "alexnet").transfer("9", "1", "Through", "CrossEntropy").aiming_at("2"))
    assert [line.split(":")[0] for line in found] == [
        "graph.target",
        "graph.nodes[0].model",
        "graph.edges[0].source",
        "graph.edges[0].loss.type",
    ]


@pytest.mark.parametrize("kind", sorted(UNLABELLED))
def test_a_live_unlabelled_loss_makes_a_graph_semi_supervised(kind: LossType):
    """A cut edge does not."""
    assert TWO.transfer("2", "1", loss=kind).obj().semi_supervised
    assert not TWO.transfer("2", "1", "Cutoff", kind).obj().semi_supervised


def test_only_an_edge_into_a_node_that_is_needed_needs_unlabelled_images():
    """An edge out of it does not count, and neither does one of another loss into it."""
    graph = TWO.transfer("1", "2", loss="Consistency").transfer("2", "1").obj()
    assert [graph.uses_unlabelled({name}) for name in ("1", "2")] == [False, True]


def test_a_graph_finds_its_nodes_by_name():
    """A name that is not there is a KeyError."""
    graph = TWO.obj()
    assert graph.node("2").name == "2"
    with pytest.raises(KeyError, match="3"):
        graph.node("3")


def test_what_the_thesis_fixes_is_the_default():
    """Alpha of (5.2) is 0.999 where nothing else is said, tau of (5.5) and (5.8) 0.95, temperature and weight 1."""
    node = Node(name="2", kind=NodeKind.EMA, follows="1")
    loss, gate = Loss(type=LossType.THRESHOLDED_PSEUDO_LABEL), Gate(type=GateType.THRESHOLD)
    assert (node.decay, loss.threshold, gate.threshold, loss.temperature, loss.weight) == (0.999, 0.95, 0.95, 1, 1)

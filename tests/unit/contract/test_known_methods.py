"""The known methods of spec 6 and found graphs of spec 11 are graphs, and train for their score."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from tests.builders import GraphBuilder, a_graph

from graphtrial.contract import (
    Average,
    Gate,
    GateType,
    Graph,
    Loss,
    LossType,
    NodeOfGraph,
    ScoreOf,
    Weights,
    needed_nodes,
    score_violations,
)

TARGET, ENSEMBLE, BEST = ScoreOf.TARGET_NODE, ScoreOf.ENSEMBLE, ScoreOf.BEST_NODE
WRN, R32, R110, ABN = "wrn-28-2", "resnet32", "resnet110", "abn-resnet18"


class Method(NamedTuple):
    """A graph, what it is scored by, and the nodes that its score needs."""

    graph: GraphBuilder
    score_of: ScoreOf
    needed: str
    semi_supervised: bool = False


def kd(temperature: float) -> Loss:
    """Knowledge distillation at a temperature."""
    return Loss(type=LossType.KL, temperature=temperature)


def crops(kind: LossType) -> Loss:
    """An attention loss with the crops of a 14 x 14 map."""
    return Loss(type=kind, crops=(3, 7, 11))


def alike(count: int, model: str, gate: str = "Through") -> GraphBuilder:
    """As many trained nodes of one model, each with a label edge."""
    graph = a_graph()
    for name in map(str, range(1, count + 1)):
        graph = graph.trained(name, model).label(name, gate)
    return graph


MIXED = a_graph().trained("1", R32).label("1").trained("2", WRN).label("2").trained("3", R110).label("3")
STAGE = Weights(node=NodeOfGraph(graph="generation-1", node="1"))

BASELINES = {
    "Independent": Method(alike(3, R32).transfer("2", "1", "Cutoff"), ENSEMBLE, "123"),
    "Knowledge distillation": Method(
        a_graph().trained("1", R32).frozen("2", WRN).label("1").transfer("2", "1", loss=kd(2)), TARGET, "12"
    ),
    "Deep mutual learning": Method(
        MIXED.transfer("1", "2").transfer("2", "1").transfer("1", "3").transfer("3", "1").transfer("2", "3"),
        TARGET,
        "123",
    ),
    "Born-Again stage": Method(
        a_graph()
        .called("generation-2")
        .trained("1", R32)
        .frozen("2", R32, weights=STAGE)
        .label("1")
        .transfer("2", "1"),
        TARGET,
        "12",
    ),
    "Born-Again ensemble of generations": Method(
        a_graph()
        .trained("1", R32)
        .frozen("2", R32, weights=STAGE)
        .label("1")
        .transfer("2", "1")
        .ensemble("e", "1", "2"),
        ENSEMBLE,
        "12",
    ),
    "Teacher Assistant, simultaneous": Method(
        a_graph()
        .trained("1", R32)
        .trained("2", WRN)
        .frozen("3", R110)
        .label("1")
        .label("2")
        .transfer("3", "2")
        .transfer("2", "1"),
        TARGET,
        "123",
    ),
    "Ensemble distillation": Method(
        a_graph()
        .trained("1", R32)
        .frozen("2", WRN)
        .frozen("3", WRN, copy=1)
        .ensemble("e", "2", "3", average=Average.PROBABILITIES)
        .label("1")
        .transfer("e", "1"),
        TARGET,
        "123e",
    ),
    "Pi-model": Method(alike(1, WRN).itself("1", "Consistency"), TARGET, "1", True),
    "Mean Teacher": Method(
        alike(1, WRN).ema("2", follows="1").transfer("2", "1", loss="Consistency"), BEST, "12", True
    ),
    "Pseudo-Label": Method(alike(1, WRN).itself("1", "PseudoLabel"), TARGET, "1", True),
    "FixMatch": Method(
        alike(1, WRN).itself("1", "ThresholdedPseudoLabel").ema("2", follows="1").aiming_at("2"), TARGET, "12", True
    ),
    "FixMatch with the threshold as a gate": Method(
        alike(1, WRN).itself("1", "PseudoLabel", Gate(type=GateType.THRESHOLD, threshold=0.95)), TARGET, "1", True
    ),
    "Dual Student": Method(
        alike(2, WRN)
        .itself("1", "Consistency")
        .itself("2", "Consistency")
        .transfer("1", "2", loss="Consistency")
        .transfer("2", "1", loss="Consistency"),
        BEST,
        "12",
        True,
    ),
    "Attention Transfer": Method(
        a_graph().trained("1", R32).frozen("2", R110).label("1").transfer("2", "1", loss="AttentionTogether"),
        TARGET,
        "12",
    ),
}

FOUND = {
    "3.7a": Method(
        a_graph()
        .trained("1", R32)
        .trained("2", WRN)
        .label("1")
        .label("2")
        .transfer("1", "2", "Correct")
        .transfer("2", "1"),
        TARGET,
        "12",
    ),
    "Sine, both ways": Method(
        MIXED.transfer("2", "1", Gate(type=GateType.SINE, frequency=0.5, phase=4.71)), TARGET, "12"
    ),
    "4.8a, mutual learning of maps and probabilities": Method(
        alike(2, ABN).transfer("1", "2", loss="Together").transfer("2", "1", loss="Together"), ENSEMBLE, "12"
    ),
    "4.10c, its ten designs": Method(
        a_graph()
        .trained("1", ABN)
        .trained("2", ABN)
        .trained("3", ABN)
        .trained("4", ABN)
        .label("1", "Linear")
        .label("3", "Linear")
        .transfer("1", "2", loss=crops(LossType.TOGETHER))
        .transfer("2", "1", loss=crops(LossType.TOGETHER))
        .transfer("1", "3", "Linear", crops(LossType.TOGETHER))
        .transfer("3", "1", "Linear", crops(LossType.TOGETHER))
        .transfer("1", "4", "Correct", crops(LossType.TOGETHER))
        .transfer("4", "1", "Linear", crops(LossType.APART))
        .transfer("2", "3", "Correct", crops(LossType.ATTENTION_TOGETHER))
        .transfer("3", "2", "Linear", crops(LossType.ATTENTION_TOGETHER))
        .transfer("2", "4", "Linear", "ProbabilityApart")
        .transfer("3", "4", "Linear", crops(LossType.ATTENTION_APART)),
        ENSEMBLE,
        "1234",
    ),
    "5.7, FixMatch and its average, labels fading": Method(
        alike(1, WRN, "NegativeLinear").itself("1", "ThresholdedPseudoLabel").ema("2", follows="1"), BEST, "12", True
    ),
    "5.8": Method(
        alike(1, WRN)
        .itself("1", "ThresholdedPseudoLabel")
        .ema("2", follows="1")
        .transfer("2", "1", "NegativeLinear", "ThresholdedPseudoLabel"),
        BEST,
        "12",
        True,
    ),
    "5.9": Method(
        alike(1, WRN, "NegativeLinear")
        .itself("1", "Consistency", "NegativeLinear")
        .ema("2", follows="1")
        .transfer("2", "1", loss="PseudoLabel"),
        BEST,
        "12",
        True,
    ),
    "5.10a": Method(
        alike(2, R32)
        .itself("1", "Consistency", "Linear")
        .itself("2", "Consistency", "Linear")
        .transfer("2", "1", "Linear", "Consistency"),
        TARGET,
        "12",
        True,
    ),
    "5.10b": Method(
        a_graph()
        .trained("1", R32)
        .frozen("2", "wrn-28-6")
        .label("1")
        .itself("1", "Consistency", "NegativeLinear")
        .transfer("2", "1", "Linear", "PseudoLabel"),
        TARGET,
        "12",
        True,
    ),
}

METHODS = BASELINES | FOUND


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_a_known_method_is_a_graph_that_can_be_scored(method: Method):
    """It breaks no rule, is what it was after the way through JSON, and needs just the nodes that matter."""
    graph = method.graph.obj()
    assert Graph.model_validate(graph.to_json()) == graph
    assert score_violations(graph, method.score_of) == []
    assert needed_nodes(graph, method.score_of) == frozenset(method.needed)
    assert graph.semi_supervised == method.semi_supervised


@pytest.mark.parametrize("kind", [kind for kind in LossType if kind is not LossType.CROSS_ENTROPY])
@pytest.mark.parametrize("gate", list(GateType))
def test_every_loss_takes_every_gate_between_nodes(kind: LossType, gate: GateType):
    """Only Correct is at odds with a loss, where there are no labels (spec 3)."""
    builder = alike(2, R32).transfer("2", "1", gate.value, kind.value)
    unlabelled = kind in (LossType.CONSISTENCY, LossType.PSEUDO_LABEL, LossType.THRESHOLDED_PSEUDO_LABEL)
    if unlabelled and gate is GateType.CORRECT:
        with pytest.raises(ValueError, match="Correct needs labels"):
            builder.obj()
    else:
        assert builder.obj().edges[-1].gate.type is gate

"""The known methods of spec 6 and the found graphs of spec 11 as graphs, worked out from their text.

``RECIPES`` are those of ``examples/recipes``, by its file and by the name of the graph in it; ``VARIANTS`` are others
that a graph can say.
"""

from __future__ import annotations

from typing import NamedTuple

from graphtrial.contract import (
    Average,
    Gate,
    GateType,
    Loss,
    LossType,
    NodeOfGraph,
    ScoreOf,
    Weights,
)
from tests.builders import GraphBuilder, a_graph

TARGET, ENSEMBLE, BEST = ScoreOf.TARGET_NODE, ScoreOf.ENSEMBLE, ScoreOf.BEST_NODE
WRN, R32, R110, ABN, SMALL_ABN = "wrn-28-2", "resnet32", "resnet110", "abn-resnet18", "abn-resnet20"


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
    """An attention loss with the crops of an ABN's map."""
    return Loss(type=kind, crops=(3, 7, 11))


def alike(count: int, model: str, gate: str = "Through") -> GraphBuilder:
    """As many trained nodes of one model, each with a label edge."""
    graph = a_graph()
    for name in map(str, range(1, count + 1)):
        graph = graph.trained(name, model).label(name, gate)
    return graph


def stage(graph: str, node: str) -> Weights:
    """Those of a node of an earlier graph of the list."""
    return Weights(node=NodeOfGraph(graph=graph, node=node))


MIXED = a_graph().trained("1", R32).label("1").trained("2", WRN).label("2").trained("3", R110).label("3")
STUDENT = a_graph().trained("1", R32).label("1")
BRANCHES = a_graph()
for branch in ("1", "2", "3"):
    BRANCHES = BRANCHES.trained(branch, R32, trunk="lower").label(branch)

KNOWN: dict[str, dict[str, Method]] = {
    "independent": {"independent": Method(alike(3, R32), ENSEMBLE, "1 2 3")},
    "knowledge-distillation": {
        "distilled": Method(STUDENT.frozen("2", WRN).transfer("2", "1", loss=kd(2)), TARGET, "1 2")
    },
    "deep-mutual-learning": {
        "mutual": Method(
            a_graph().trained("1", R32).trained("2", WRN).label("1").label("2").transfer("1", "2").transfer("2", "1"),
            TARGET,
            "1 2",
        )
    },
    "born-again": {
        "generation-1": Method(alike(1, R32), ENSEMBLE, "1"),
        "generation-2": Method(
            a_graph()
            .trained("2", R32)
            .label("2")
            .frozen("1", R32, weights=stage("generation-1", "1"))
            .transfer("1", "2"),
            ENSEMBLE,
            "1 2",
        ),
        "generation-3": Method(
            a_graph()
            .trained("3", R32)
            .label("3")
            .frozen("2", R32, weights=stage("generation-2", "2"))
            .frozen("1", R32, weights=stage("generation-1", "1"))
            .ensemble("generations", "1", "2", "3")
            .transfer("2", "3"),
            ENSEMBLE,
            "1 2 3",
        ),
    },
    "teacher-assistant": {
        "assistant": Method(
            a_graph().trained("2", "resnet20").label("2").frozen("3", R110).transfer("3", "2", loss=kd(2)),
            TARGET,
            "2 3",
        ),
        "student": Method(
            alike(1, "resnet8").frozen("2", "resnet20", weights=stage("assistant", "2")).transfer("2", "1", loss=kd(2)),
            TARGET,
            "1 2",
        ),
        "chain": Method(
            a_graph()
            .trained("1", "resnet8")
            .trained("2", "resnet20")
            .trained("3", R110)
            .label("1")
            .label("2")
            .label("3")
            .transfer("3", "2")
            .transfer("2", "1"),
            TARGET,
            "1 2 3",
        ),
    },
    "one": {
        "branches": Method(
            BRANCHES.ensemble("mean", "1", "2", "3")
            .transfer("mean", "1", loss=kd(3))
            .transfer("mean", "2", loss=kd(3))
            .transfer("mean", "3", loss=kd(3)),
            TARGET,
            "1 2 3 mean",
        )
    },
    "ensemble-distillation": {
        "distilled": Method(
            STUDENT.frozen("2", R32)
            .frozen("3", R32, copy=1)
            .frozen("4", R32, copy=2)
            .ensemble("mean", "2", "3", "4", average=Average.PROBABILITIES)
            .transfer("mean", "1"),
            TARGET,
            "1 2 3 4 mean",
        )
    },
    "attention-transfer": {
        "attention": Method(
            STUDENT.frozen("2", WRN).transfer("2", "1", loss=Loss(type=LossType.ATTENTION_TOGETHER, weight=1000)),
            TARGET,
            "1 2",
        )
    },
    "pi-model": {"pi": Method(STUDENT.itself("1", "Consistency"), TARGET, "1", True)},
    "mean-teacher": {
        "mean-teacher": Method(
            STUDENT.ema("2", follows="1").transfer("2", "1", loss="Consistency"), TARGET, "1 2", True
        )
    },
    "pseudo-label": {
        "pseudo-label": Method(STUDENT.itself("1", "PseudoLabel"), TARGET, "1", True),
        "labels": Method(STUDENT, TARGET, "1"),
        "after-labels": Method(
            a_graph().trained("1", R32, weights=stage("labels", "1")).label("1").itself("1", "PseudoLabel"),
            TARGET,
            "1",
            True,
        ),
    },
    "fixmatch": {
        "fixmatch": Method(
            alike(1, WRN).itself("1", "ThresholdedPseudoLabel").ema("2", follows="1").aiming_at("2"),
            TARGET,
            "1 2",
            True,
        )
    },
    "dual-student": {
        "dual-student": Method(
            alike(2, R32)
            .itself("1", "Consistency")
            .itself("2", "Consistency")
            .transfer("1", "2", loss="Consistency")
            .transfer("2", "1", loss="Consistency"),
            TARGET,
            "1 2",
            True,
        )
    },
}
"""The rows of spec 6."""

FOUND: dict[str, dict[str, Method]] = {
    "found-3-7a": {
        "figure-3-7a": Method(
            a_graph()
            .trained("1", R32)
            .trained("2", WRN)
            .label("1")
            .label("2")
            .transfer("1", "2", "Correct")
            .transfer("2", "1"),
            TARGET,
            "1 2",
        )
    },
    "found-4-11a": {
        "figure-4-11a": Method(alike(2, SMALL_ABN).transfer("1", "2", loss=crops(LossType.TOGETHER)), ENSEMBLE, "1 2")
    },
    "found-4-11b": {
        "figure-4-11b": Method(
            alike(2, SMALL_ABN)
            .transfer("1", "2", "Correct", crops(LossType.TOGETHER))
            .transfer("2", "1", "Linear", "KL"),
            ENSEMBLE,
            "1 2",
        )
    },
    "found-5-7": {
        "figure-5-7": Method(
            alike(1, WRN, "NegativeLinear").itself("1", "ThresholdedPseudoLabel").ema("2", follows="1").aiming_at("2"),
            TARGET,
            "1 2",
            True,
        )
    },
    "found-5-8": {
        "figure-5-8": Method(
            alike(1, WRN)
            .itself("1", "ThresholdedPseudoLabel")
            .ema("2", follows="1")
            .transfer("2", "1", "NegativeLinear", "ThresholdedPseudoLabel")
            .aiming_at("2"),
            TARGET,
            "1 2",
            True,
        )
    },
    "found-5-9": {
        "figure-5-9": Method(
            alike(1, WRN, "NegativeLinear")
            .itself("1", "Consistency", "NegativeLinear")
            .ema("2", follows="1")
            .transfer("2", "1", loss="PseudoLabel")
            .aiming_at("2"),
            TARGET,
            "1 2",
            True,
        )
    },
}
"""Graphs of spec 11 whose edges are all known."""

RECIPES = KNOWN | FOUND

VARIANTS = {
    "Deep mutual learning of three": Method(
        MIXED.transfer("1", "2").transfer("2", "1").transfer("1", "3").transfer("3", "1").transfer("2", "3"),
        TARGET,
        "1 2 3",
    ),
    "Teacher Assistant with a frozen teacher": Method(
        a_graph()
        .trained("1", R32)
        .trained("2", WRN)
        .frozen("3", R110)
        .label("1")
        .label("2")
        .transfer("3", "2")
        .transfer("2", "1"),
        TARGET,
        "1 2 3",
    ),
    "FixMatch with the threshold as a gate": Method(
        alike(1, WRN).itself("1", "PseudoLabel", Gate(type=GateType.THRESHOLD, threshold=0.95)), TARGET, "1", True
    ),
    "Mean Teacher, the better of both": Method(
        alike(1, WRN).ema("2", follows="1").transfer("2", "1", loss="Consistency"), BEST, "1 2", True
    ),
    "Sine, both ways": Method(
        MIXED.transfer("2", "1", Gate(type=GateType.SINE, frequency=0.5, phase=4.71)), TARGET, "1 2"
    ),
    "4.8a, mutual learning of maps and probabilities": Method(
        alike(2, ABN).transfer("1", "2", loss="Together").transfer("2", "1", loss="Together"), ENSEMBLE, "1 2"
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
        "1 2 3 4",
    ),
    "5.10a": Method(
        alike(2, R32)
        .itself("1", "Consistency", "Linear")
        .itself("2", "Consistency", "Linear")
        .transfer("2", "1", "Linear", "Consistency"),
        TARGET,
        "1 2",
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
        "1 2",
        True,
    ),
}
"""Others, among them graphs of spec 11 with the edges that the text leaves open chosen at will."""

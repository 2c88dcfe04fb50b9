"""Every loss through every gate, from every kind of source on every view, against the plain formulas."""

from __future__ import annotations

import itertools

import pytest
import torch
from tests.builders import a_graph
from tests.unit.training.random_graphs import TOTAL_STEPS
from tests.unit.training.test_step_against_reference import assert_fixed_outputs_agree

from graphtrial.contract import ATTENTION, TEMPERED, UNLABELLED, Gate, GateType, Graph, Length, Loss, LossType, Training

UPDATE, SEED = 7, 30
"""Of this seed every gate that chooses among samples takes some and leaves others, and no two nodes nearly agree."""
TRAINING = Training(length=Length(epochs=1))
TRANSFERS = sorted(set(LossType) - {LossType.CROSS_ENTROPY})
GATES = {
    GateType.SINE: Gate(type=GateType.SINE, frequency=0.7, phase=1.0),
    GateType.THRESHOLD: Gate(type=GateType.THRESHOLD, threshold=0.9),
}
GATES |= {kind: Gate(type=kind) for kind in GateType if kind not in GATES}
VIEWS = ("labelled images", "unlabelled views")
ALLOWED = [
    (views, loss, gate)
    for views, loss, gate in itertools.product(VIEWS, TRANSFERS, sorted(GateType))
    if (loss not in UNLABELLED if views == VIEWS[0] else gate is not GateType.CORRECT)
]


def design(kind: LossType) -> Loss:
    """With parameters other than the defaults, where it has some."""
    fields: dict[str, object] = {"weight": 0.3}
    if kind in TEMPERED:
        fields["temperature"] = 2.0
    if kind in ATTENTION:
        fields["crops"] = (2, 3)
    if kind is LossType.THRESHOLDED_PSEUDO_LABEL:
        fields["threshold"] = 0.8
    return Loss(type=kind, **fields)


def graph_of(views: str, kind: LossType, gate: GateType) -> Graph:
    """Node a learns by one loss and gate from a trained, a frozen and an averaging node, an ensemble and itself."""
    graph = a_graph().trained("a").trained("b").frozen("c").ema("d", follows="b").ensemble("e", "b", "c")
    graph = graph.label("a", "Linear").label("b")
    if views == VIEWS[1]:  # what makes a graph semi-supervised
        graph = graph.itself("b", "Consistency")
    sources = ["b", "c", "d", *([] if kind in ATTENTION else ["e"]), *(["a"] if kind in UNLABELLED else [])]
    for source in sources:
        graph = graph.transfer(source, "a", GATES[gate], design(kind))
    return graph.obj()


def loss_of_node_a(graph: Graph, update: int = UPDATE) -> float:
    """L_a, once it is sure that both types of numbers agree with the formulas in losses and gradients."""
    return assert_fixed_outputs_agree(graph, TRAINING, update, SEED, {torch.float64: 1e-9, torch.float32: 1e-5})["a"]


@pytest.mark.parametrize(("views", "loss", "gate"), ALLOWED)
def test_every_loss_through_every_gate_equals_the_formulas(views: str, loss: LossType, gate: GateType):
    """To nine digits in float64 and to five in float32: L_t and its gradient in logits and maps."""
    loss_of_node_a(graph_of(views, loss, gate))


@pytest.mark.parametrize("gate", sorted(GateType))
def test_the_label_through_every_gate_equals_the_formulas(gate: GateType):
    """Correct and Threshold are Through there, for the one-hot label is always right and sure."""
    loss_of_node_a(a_graph().trained("a").trained("b").label("a", GATES[gate]).label("b").transfer("b", "a").obj())


@pytest.mark.parametrize("views", VIEWS)
def test_no_gate_and_no_loss_could_be_taken_for_another(views: str):
    """Each gives node a another number here, but for Consistency, which is KL by another name."""
    gates = [gate for of_views, loss, gate in ALLOWED if (of_views, loss) == (views, LossType.KL)]
    through = [loss for of_views, loss, gate in ALLOWED if (of_views, gate) == (views, GateType.THROUGH)]
    for graphs in (
        [graph_of(views, LossType.KL, gate) for gate in gates],
        [graph_of(views, loss, GateType.THROUGH) for loss in through if loss is not LossType.CONSISTENCY],
    ):
        numbers = sorted(loss_of_node_a(graph) for graph in graphs)
        assert min(high - low for low, high in itertools.pairwise(numbers)) > 1e-3


@pytest.mark.parametrize("update", [1, TOTAL_STEPS])
@pytest.mark.parametrize("gate", [GateType.LINEAR, GateType.NEGATIVE_LINEAR, GateType.SINE])
def test_a_ramp_equals_the_formulas_at_both_its_ends(gate: GateType, update: int):
    """Where one that counts from 0, or to another end, differs most."""
    loss_of_node_a(graph_of(VIEWS[0], LossType.KL, gate), update)

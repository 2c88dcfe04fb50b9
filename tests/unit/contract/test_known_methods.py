"""The known methods of spec 6 and found graphs of spec 11 are graphs, and train for their score."""

from __future__ import annotations

import pytest
from tests.known_methods import RECIPES, VARIANTS, Method, alike

from graphtrial.contract import GateType, Graph, LossType, needed_nodes, score_violations

METHODS = VARIANTS | {
    f"{recipe}: {name}": method for recipe, graphs in RECIPES.items() for name, method in graphs.items()
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
def test_a_known_method_is_a_graph_that_can_be_scored(method: Method):
    """It breaks no rule, is what it was after the way through JSON, and needs just the nodes that matter."""
    graph = method.graph.obj()
    assert Graph.model_validate(graph.to_json()) == graph
    assert score_violations(graph, method.score_of) == []
    assert needed_nodes(graph, method.score_of) == frozenset(
        method.needed.split() if " " in method.needed else method.needed
    )
    assert graph.semi_supervised == method.semi_supervised


@pytest.mark.parametrize("kind", [kind for kind in LossType if kind is not LossType.CROSS_ENTROPY])
@pytest.mark.parametrize("gate", list(GateType))
def test_every_loss_takes_every_gate_between_nodes(kind: LossType, gate: GateType):
    """Only Correct is at odds with a loss, where there are no labels (spec 3)."""
    builder = alike(2, "resnet32").transfer("2", "1", gate.value, kind.value)
    unlabelled = kind in (LossType.CONSISTENCY, LossType.PSEUDO_LABEL, LossType.THRESHOLDED_PSEUDO_LABEL)
    if unlabelled and gate is GateType.CORRECT:
        with pytest.raises(ValueError, match="Correct needs labels"):
            builder.obj()
    else:
        assert builder.obj().edges[-1].gate.type is gate

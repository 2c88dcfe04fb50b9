"""What validates and cannot be run yet: one line each, at the place where the manifest says it."""

from __future__ import annotations

import pytest
from tests.searches import a_search

from graphsearch.search.support import unsupported
from graphtrial.contract import LossType, Metric

LABEL = {"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}}
NODES = [{"name": "1", "model": "resnet8"}, {"name": "2", "model": "resnet8"}]


def a_list(*edges, nodes=NODES):
    """A fixed graph with a label edge and these."""
    return a_search().graphs({"nodes": list(nodes), "edges": [LABEL, *edges]})


def an_edge(source, loss, gate="Through"):
    """An edge into node 1."""
    return {"source": source, "destination": "1", "loss": {"type": loss}, "gate": {"type": gate}}


SELF = {"kind": "Self", "losses": ["PseudoLabel"], "gates": ["Threshold"]}
EMA = {"losses": ["Consistency"], "ema": True, "gates": ["Linear"]}
NODE = {"name": "2", "kind": "Frozen", "model": "resnet8"}
LINES = [
    ("a target model", a_search().in_space(targetModels=["resnet8", "lab:Net"]), "spec.space.targetModels[1]: lab:Net"),
    ("an auxiliary model", a_search().with_nodes(2, "timm:vit"), "spec.space.auxiliaryModels[0]: timm:vit"),
    ("a model", a_list(nodes=[{"name": "1", "model": "lab:Net"}]), "spec.graphs[0].nodes[0].model: lab:Net"),
    (
        "weights by URI",
        a_list(nodes=[NODES[0], {**NODE, "weights": {"uri": "w.pt"}}]),
        "spec.graphs[0].nodes[1].weights.uri:",
    ),
    ("a student", a_search().having(compression={"student": "lab:Net"}), "spec.compression.student: lab:Net"),
]


@pytest.mark.parametrize(("search", "begin"), [case[1:] for case in LINES], ids=[case[0] for case in LINES])
def test_each_is_named_at_its_place(search, begin):
    """One line that begins with the place and says that it is not there yet."""
    (line,) = unsupported(search.obj())
    assert line.startswith(begin)
    assert "is not there yet" in line


def test_torchvision_is_named_for_the_model_and_its_weights():
    """Such weights belong to such models."""
    foreign = {**NODE, "model": "torchvision:resnet18", "weights": {"torchvision": "V1"}}
    assert [line.partition(": ")[0] for line in unsupported(a_list(nodes=[NODES[0], foreign]).obj())] == [
        "spec.graphs[0].nodes[1].model",
        "spec.graphs[0].nodes[1].weights.torchvision",
    ]


def test_what_can_run_gives_no_line():
    """Built-in models, every loss, drawn EMA edges, teachers, ensembles that teach, every metric."""
    mean = {"name": "3", "kind": "Ensemble", "members": ["1", "2"]}
    runs = [
        a_search().having(compression={"student": "resnet14"}),
        a_search().with_nodes(3, "wrn-28-2", gates=["Through", "Cutoff", "Linear", "Correct", "Sine"]).compared(2, 2),
        *(a_search().scored_by("TargetNode", metric=metric.value) for metric in Metric),
        a_search().in_space(nodes=2, auxiliaryModels=["abn-resnet20"], edges=[SELF, {"from": "1", "to": "2", **EMA}]),
        *(a_list(an_edge("2", loss), nodes=[*NODES, mean]) for loss in LossType if loss != "CrossEntropy"),
        a_list(an_edge("3", "KL"), nodes=[*NODES, mean]),
        a_list(nodes=[NODES[0], {"name": "2", "kind": "EMA", "follows": "1"}]),
        a_list(an_edge("2", "KL"), nodes=[NODES[0], {**NODE, "weights": {"pretrained": {}}}]),
    ]
    assert [unsupported(search.obj()) for search in runs] == [[]] * len(runs)


def test_all_lines_come_in_the_order_of_the_manifest():
    """Several at once."""
    search = a_search().having(data={"dataset": "digits", "uri": "s3://b/d"}, compression={"student": "timm:vit"})
    lines = unsupported(search.in_space(targetModels=["lab:Net"]).obj())
    assert [line.partition(":")[0] for line in lines] == [
        "spec.data.uri",
        "spec.space.targetModels[0]",
        "spec.compression.student",
    ]

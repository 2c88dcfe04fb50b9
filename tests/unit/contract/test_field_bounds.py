"""The bounds of single fields: each number just inside is taken, each just outside refused where it stands."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError
from tests.builders import a_graph

from graphtrial.contract import Gate, Graph, Length, Loss, Node, Part, Pretrained, Training, Weights, problems

LOSS = (Loss, {"type": "KL"})
GATE = (Gate, {"type": "Sine"})
NODE = (Node, {"name": "1"})
TRAINING = (Training, {"length": {"epochs": 1}})
PART = (Part, {})

NUMBERS = [
    (*LOSS, "temperature", [1e-9, 2, 100], [0, -1, 100.1]),
    (*LOSS, "weight", [1e-9, 1000], [0, -1, 1001]),
    (*LOSS, "threshold", [0, 0.999], [-0.1, 1]),
    (*GATE, "frequency", [0, 1000], [-0.1, 1001]),
    (*GATE, "phase", [0, 2 * math.pi], [-0.1, 6.3]),
    (*GATE, "threshold", [0, 0.999], [-0.1, 1]),
    (*NODE, "decay", [0, 0.999], [-0.1, 1]),
    (*TRAINING, "learningRate", [1e-9, 1000], [0, -0.1, 1001]),
    (*TRAINING, "momentum", [0, 0.999], [-0.1, 1]),
    (*TRAINING, "weightDecay", [0, 1000], [-0.1, 1001]),
    (*PART, "fraction", [1e-9, 0.999], [0, 1]),
]
NAMES = ["1", "a", "A-1", "n--1", "x" * 40]
NOT_NAMES = ["", "-a", "a-", "a b", "a.b", "a/b", "a\n", "é", "x" * 41]


def complaint(model: type, fields: dict[str, Any]) -> str:
    """The only thing said against the object."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(fields)
    (line,) = problems(caught.value)
    return line


@pytest.mark.parametrize(("model", "fields", "name", "inside", "outside"), NUMBERS)
def test_numbers_have_bounds(model: type, fields: dict[str, Any], name: str, inside: list[Any], outside: list[Any]):
    """Both ends are tried, and no number of a graph or a training may be NaN or infinite."""
    for number in inside:
        taken = model.model_validate(fields | {name: number})
        assert taken.to_json().get(name, number) == number
    for number in (*outside, math.nan, math.inf, -math.inf):
        assert complaint(model, fields | {name: number}).startswith(f"{name}: Input should be ")


@pytest.mark.parametrize("name", NAMES)
def test_nodes_and_graphs_take_names_of_letters_digits_and_inner_hyphens(name: str):
    """Names become labels and files, so they are plain; a graph may have none."""
    assert Node(name=name).name == name
    assert a_graph().trained(name).called(name).obj().name == name
    assert a_graph().trained(name).obj().name == ""


@pytest.mark.parametrize("name", NOT_NAMES)
def test_other_names_are_refused(name: str):
    """Spaces, dots, slashes, hyphens at an end, other alphabets, and more than 40 characters."""
    assert complaint(Node, {"name": name}).startswith("name: String should ")
    if name:
        nodes = [{"name": "1", "model": "resnet8"}]
        assert complaint(Graph, {"name": name, "nodes": nodes}).startswith("name: String should ")


@pytest.mark.parametrize(
    ("crops", "location"),
    [([0], "crops[0]"), ([3, -1], "crops[1]"), ([513], "crops[0]"), ([2.5], "crops[0]"), ([3] * 9, "crops")],
)
def test_crops_are_a_few_whole_cells(crops: list[float], location: str):
    """At least one cell, at most the largest image's side, at most eight sizes."""
    assert complaint(Loss, {"type": "AttentionTogether", "crops": crops}).startswith(f"{location}: ")


@pytest.mark.parametrize("copy", [-1, 16])
def test_copies_of_a_teacher_are_few(copy: int):
    """As many as a graph can have nodes."""
    assert complaint(Weights, {"pretrained": {"copy": copy}}).startswith("pretrained.copy: ")
    assert Pretrained(copy_number=15).to_json() == {"copy": 15}


@pytest.mark.parametrize("field", ["uri", "torchvision"])
def test_weights_are_not_nowhere(field: str):
    """An empty text would be a place given and not given."""
    assert complaint(Weights, {field: ""}).startswith(f"{field}: String should have at least 1 character")


def test_a_graph_has_at_most_16_nodes_and_64_edges():
    """Bounds that keep an admission rule of a cluster affordable."""
    nodes = [{"name": str(number), "model": "resnet8"} for number in range(17)]
    assert complaint(Graph, {"nodes": nodes}).startswith("nodes: Tuple should have at most 16 items")
    assert complaint(Graph, {"nodes": []}).startswith("nodes: Tuple should have at least 1 item")
    edges = [
        {"source": source["name"], "destination": other["name"], "loss": {"type": "KL"}}
        for source in nodes[:16]
        for other in nodes[:16]
        if source is not other
    ]
    assert len(Graph.model_validate({"nodes": nodes[:16], "edges": edges[:64]}).edges) == 64
    assert complaint(Graph, {"nodes": nodes[:16], "edges": edges[:65]}).startswith(
        "edges: Tuple should have at most 64 items"
    )


def test_the_settings_of_a_graph_are_frozen():
    """Who holds a graph may hand it on."""
    with pytest.raises(ValidationError, match="frozen"):
        a_graph().trained("1").obj().target = "1"


@pytest.mark.parametrize("count", [0, -1, 2**31 + 1])
def test_a_length_is_at_least_one(count: int):
    """Of epochs as of steps."""
    assert complaint(Length, {"epochs": count}).startswith("epochs: Input should be ")
    assert complaint(Length, {"steps": count}).startswith("steps: Input should be ")

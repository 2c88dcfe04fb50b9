"""Attention losses on maps of unequal size are refused where the manifest is read, if the catalogue knows the sizes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tests.searches import a_search

from graphtrial.contract import problems

TRANSFER = {"kind": "Transfer", "gates": ["Through"]}
LABEL = {"kind": "Label", "gates": ["Through"]}


def drawn(*models, losses=("Together",), target="abn-resnet20", **attention):
    """A space of two nodes with the given losses between them; the digits have 8 pixels a side."""
    search = a_search().with_nodes(2, *models).with_edges(LABEL, TRANSFER | {"losses": list(losses)})
    return search.in_space(targetModels=[target], attention={"crops": [3], **attention})


def fixed(source, destination, loss):
    """A graph of two nodes."""
    return a_search().graphs(
        {
            "nodes": [{"name": "1", "model": destination}, {"name": "2", "model": source}],
            "edges": [
                {"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}},
                {"source": "Label", "destination": "2", "loss": {"type": "CrossEntropy"}},
                {"source": "2", "destination": "1", "loss": loss},
            ],
        }
    )


def compressed(**fields):
    """Maps of three ResNets, the student's and those of the two that teach it."""
    lessons = ["ProbabilityAndAttention"]
    return drawn("resnet20", losses=["KL"], target="resnet32").having(compression={"lessons": lessons} | fields)


REFUSED = {
    "drawn models": (
        drawn("abn-resnet32", "resnet20"),
        "spec.space.attention.resize: the map of resnet20 is 2x2 on images of 8 pixels and that of abn-resnet20 4x4; "
        "give Bilinear, or models with equal maps",
    ),
    "a fixed edge": (
        fixed("resnet20", "abn-resnet20", {"type": "AttentionApart"}),
        "spec.graphs[0].edges[2].loss.resize: the map of resnet20 is 2x2 on images of 8 pixels and that of "
        "abn-resnet20 4x4; give Bilinear, or models with equal maps",
    ),
    "a student": (
        compressed(student="abn-resnet20"),
        "spec.compression.resize: the map of resnet32 is 2x2 on images of 8 pixels and that of abn-resnet20 4x4; "
        "give Bilinear, or models with equal maps",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_maps_of_unequal_size_are_refused_in_one_line(case):
    """The line names the field, both models and both sizes."""
    search, line = REFUSED[case]
    with pytest.raises(ValidationError) as caught:
        search.obj()
    assert problems(caught.value) == [line]


@pytest.mark.parametrize(
    "search",
    [
        pytest.param(drawn("abn-resnet32"), id="equal maps"),
        pytest.param(drawn("resnet20", resize="Bilinear"), id="resized"),
        pytest.param(drawn("resnet20", losses=["KL"]), id="no attention loss"),
        pytest.param(drawn("abn-resnet32", "mylab.nets:Small"), id="a size that only the trainer learns"),
        pytest.param(fixed("resnet20", "abn-resnet20", {"type": "Together", "resize": "Bilinear"}), id="a fixed edge"),
        pytest.param(compressed(student="abn-resnet20", resize="Bilinear"), id="a student, resized"),
        pytest.param(compressed(student="resnet56"), id="a student with maps like theirs"),
    ],
)
def test_what_can_be_compared_is_accepted(search):
    """Equal, resized, or not known."""
    search.obj()

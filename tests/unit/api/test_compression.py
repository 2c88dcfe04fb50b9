"""``compression:`` of a manifest (spec 9): the ways that it asks for, and what it refuses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from tests.searches import a_search

from graphsearch.api import Compression
from graphtrial.contract import problems

TABLE_4_9 = {
    "student": "abn-resnet18",
    "lessons": ["EnsembleProbability", "Probability", "ProbabilityAndAttention"],
    "aggregation": ["Sum", "Project"],
}


def ways(**choice):
    """(lesson, aggregation, temperature) in the order in which they are tried."""
    return [(w.lesson, w.aggregation, w.temperature) for w in Compression.model_validate(choice).distillations()]


def test_table_4_9_is_every_lesson_with_every_aggregation_and_temperature():
    """The baseline has one temperature and one sum; the others have the temperatures of table 4.9."""
    assert ways(**TABLE_4_9) == [
        ("EnsembleProbability", "Sum", 1),
        *(
            (lesson, aggregation, temperature)
            for lesson in ("Probability", "ProbabilityAndAttention")
            for aggregation in ("Sum", "Project")
            for temperature in (1, 2, 5, 10)
        ),
    ]


def test_left_to_itself_it_tries_the_baseline_and_each_teachers_probability():
    """Attention needs maps that not every network has."""
    assert ways(student="resnet8")[:2] == [("EnsembleProbability", "Sum", 1), ("Probability", "Sum", 1)]
    assert len(ways(student="resnet8")) == 9


MANY = {
    "nodes": [{"name": f"n{number}", "model": "resnet8"} for number in range(15)],
    "edges": [
        {"source": "Label", "destination": f"n{number}", "loss": {"type": "CrossEntropy"}} for number in range(15)
    ],
}
ATTENTION = {"student": "resnet8", "lessons": ["ProbabilityAndAttention"]}
WRONG = {
    "a resize without maps": (
        a_search(),
        {"student": "resnet8", "resize": "Bilinear"},
        "spec.compression.resize: is for ProbabilityAndAttention; leave it out",
    ),
    "a temperature twice": (
        a_search(),
        {"student": "resnet8", "temperatures": [1, 1.0]},
        "spec.compression.temperatures: names one twice",
    ),
    "more teachers than a graph holds": (
        a_search().graphs(MANY),
        {"student": "resnet8"},
        "spec.compression: distils at most 14 networks, and the last graph has 15; leave it out",
    ),
    "attention of a student without a map": (
        a_search(),
        ATTENTION | {"student": "torchvision:resnet18"},
        "spec.compression.lessons: ProbabilityAndAttention needs attention maps, and torchvision:resnet18 has none; "
        "leave it out",
    ),
    "attention of a drawn teacher without a map": (
        a_search().with_nodes(2, "resnet8", "torchvision:alexnet"),
        ATTENTION,
        "spec.compression.lessons: ProbabilityAndAttention needs attention maps, and torchvision:alexnet has none; "
        "leave it out",
    ),
}


@pytest.mark.parametrize(("search", "choice", "line"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_compressed_is_refused_in_one_line(search, choice, line):
    """It names the field and what would be right."""
    with pytest.raises(ValidationError) as caught:
        search.having(compression=choice).obj()
    assert problems(caught.value) == [line]

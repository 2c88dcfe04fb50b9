"""What goes into a trial and what comes out: complete in JSON, and refused in plain words."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.builders import a_graph
from tests.unit.contract.drawn_graphs import graphs

from graphtrial.contract import (
    Augmentation,
    Checkpoint,
    Data,
    Device,
    Evaluation,
    ExitCode,
    Graph,
    Labelled,
    Length,
    Metric,
    Model,
    Objective,
    Part,
    Precision,
    Purpose,
    RungScore,
    Schedule,
    ScheduleType,
    ScoreOf,
    Split,
    Training,
    TrialResult,
    TrialSpec,
    canonical_json,
    problems,
    score_violations,
)

MINIMAL: dict[str, Any] = {
    "search": "s",
    "searchUid": "u",
    "trial": "s-t0",
    "trialUid": "u-0",
    "attempt": 1,
    "graph": {
        "nodes": [{"name": "1", "model": "resnet8"}],
        "edges": [{"source": "Label", "destination": "1", "loss": {"type": "CrossEntropy"}}],
    },
    "data": {"dataset": "digits"},
    "training": {"length": {"epochs": 2}},
    "checkpoint": {"uri": "file:///t/0"},
}

FULL = TrialSpec(
    search="s",
    search_uid="u",
    trial="s-t0",
    trial_uid="u-0",
    attempt=3,
    purpose=Purpose.COMPARE,
    graph=a_graph().trained("1").frozen("2").label("1").transfer("2", "1", "Linear").obj(),
    objective=Objective(score_of=ScoreOf.BEST_NODE, metric=Metric.MACRO_F1),
    data=Data(
        dataset="ImageFolder",
        uri="s3://data/birds.tar",
        image_size=64,
        search_validation=Part(fraction=0.5, seed=2),
        labelled=Labelled(count=400, seed=1),
    ),
    split=Split.FULL,
    training=Training(
        length=Length(steps=9000),
        evaluate_every=Length(steps=100),
        batch_size=128,
        precision=Precision.BF16,
        learning_rate=0.2,
        momentum=0.8,
        nesterov=False,
        weight_decay=0.0,
        schedule=Schedule(type=ScheduleType.MULTI_STEP, milestones=(0.5, 0.75), factor=0.2),
        augmentation=Augmentation.NONE,
    ),
    rungs=(1, 2, 4),
    stop_after=4,
    seed=2**53 - 1,
    threads=8,
    device=Device.CUDA,
    checkpoint=Checkpoint(uri="s3://b/t/0", every=Length(steps=50), endpoint="http://s3", region="r", path_style=True),
    teachers={"2": "s3://b/teachers/x.pt"},
    publish={"1": "s3://b/teachers/y.pt"},
    export="1",
    cache="/cache",
    metrics_port=0,
)

LABELLED_BY_FIELD = {
    "an unknown field": ({"atempt": 1}, "spec.atempt: unknown field; check its spelling and where it stands"),
    "an unknown inner field": (
        {"training": {"length": {"epochs": 2}, "lr": 1}},
        "spec.training.lr: unknown field; check its spelling and where it stands",
    ),
    "no length": ({"training": {}}, "spec.training.length: is required and missing"),
    "an empty length": ({"training": {"length": {}}}, "spec.training.length: give exactly one of epochs and steps"),
    "two lengths": (
        {"training": {"length": {"epochs": 1, "steps": 2}}},
        "spec.training.length: give exactly one of epochs and steps",
    ),
    "two sizes of a part": (
        {"data": {"dataset": "digits", "searchValidation": {"count": 1, "fraction": 0.5}}},
        "spec.data.searchValidation: give exactly one of count and fraction",
    ),
    "no size of a part": (
        {"data": {"dataset": "digits", "searchValidation": {}}},
        "spec.data.searchValidation: give exactly one of count and fraction",
    ),
    "a word for a number": (
        {"attempt": "first"},
        "spec.attempt: Input should be a valid integer, unable to parse string as an integer (given: 'first')",
    ),
    "an unknown choice": (
        {"split": "Half"},
        "spec.split: Input should be 'Search' or 'Full' (given: 'Half')",
    ),
    "an inner rule of the graph": (
        {"graph": MINIMAL["graph"] | {"target": "2"}},
        "spec.graph.target: there is no node '2'; nodes are 1",
    ),
    "a graph that learns nothing": (
        {"graph": {"nodes": [{"name": "1", "model": "resnet8"}]}},
        "spec.graph.edges: the scored node '1' learns nothing: give it an incoming edge that is not Cutoff",
    ),
    "gradients of two networks projected": (
        {
            "graph": {
                "nodes": [{"name": "1", "model": "resnet8"}, {"name": "2", "model": "resnet8"}],
                "edges": [
                    {"source": "Label", "destination": name, "loss": {"type": "CrossEntropy"}} for name in ("1", "2")
                ],
            },
            "training": {"length": {"epochs": 2}, "aggregation": "Project"},
        },
        "spec.training.aggregation: Project is for graphs in which one node learns, and here 2 do; use Sum",
    ),
    "a program of nobody": ({"export": "2"}, "spec.export: node '2' does not learn; name one that does"),
    "another version": ({"version": "v9"}, "spec.version: Input should be 'v1alpha1' (given: 'v9')"),
}


@pytest.mark.parametrize(("change", "expected"), LABELLED_BY_FIELD.values(), ids=LABELLED_BY_FIELD.keys())
def test_a_wrong_spec_is_told_in_one_line(change: dict[str, Any], expected: str):
    """The line names the field as it is written in JSON, and what would be right."""
    with pytest.raises(ValidationError) as caught:
        TrialSpec.model_validate(MINIMAL | change)
    assert problems(caught.value, "spec") == [expected]


def test_an_unknown_data_set_is_told_with_the_known_ones():
    """A name of the catalogue, or one that only the trainer image can know."""
    with pytest.raises(ValidationError) as caught:
        TrialSpec.model_validate(MINIMAL | {"data": {"dataset": "CIFAR-10"}})
    (line,) = problems(caught.value, "spec")
    assert line.startswith("spec.data.dataset: unknown data set 'CIFAR-10'; use one of digits, CIFAR10, ")
    assert Data(dataset="mylab.data:Birds").dataset == "mylab.data:Birds"


def test_problems_of_a_whole_object_say_so():
    """A location needs a name even where the whole is wrong."""
    with pytest.raises(ValidationError) as caught:
        Length.model_validate({})
    assert problems(caught.value) == ["manifest: give exactly one of epochs and steps"]
    assert problems(caught.value, "length") == ["length: give exactly one of epochs and steps"]


def test_edges_are_counted_from_zero_inside_their_graph():
    """As in ``graph.edges[4].gate``."""
    builder = a_graph().trained("1").trained("2").label("1").label("2").transfer("1", "2").transfer("2", "1")
    broken = builder.itself("1", "Consistency").transfer("1", "2", "Correct", "PseudoLabel")
    with pytest.raises(ValidationError) as caught:
        TrialSpec.model_validate(MINIMAL | {"graph": {"nodes": broken.nodes, "edges": broken.edges}})
    assert problems(caught.value) == [
        "graph.edges[5].gate: Correct needs labels, and this edge acts on unlabelled images; use Through, Linear or "
        "Threshold"
    ]


def test_a_minimal_spec_is_written_as_it_was_read():
    """Defaults stay out, the version stays in."""
    assert TrialSpec.model_validate(MINIMAL).to_json() == MINIMAL | {"version": "v1alpha1"}


def test_a_full_spec_survives_the_way_through_text():
    """No field is lost, and every field of the spec is one that this test sets."""
    text = json.dumps(FULL.to_json())
    assert TrialSpec.model_validate(json.loads(text)) == FULL
    assert set(json.loads(text)) == {field.alias for field in TrialSpec.model_fields.values()}


@pytest.mark.parametrize(
    "model",
    [
        FULL.objective,
        FULL.data,
        FULL.training.schedule.model_copy(update={"type": ScheduleType.COSINE}),
        FULL.checkpoint,
        Training(length=Length(epochs=1), evaluate_every=Length(epochs=1)),
        Training(length=Length(epochs=1), schedule=Schedule()),
        Part(count=5, seed=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_an_object_without_its_defaults_is_the_same_object(model: Model):
    """Also where a default is written out."""
    assert type(model).model_validate(model.to_json()) == model


@settings(max_examples=50, deadline=None)
@given(graphs(), st.sampled_from(ScoreOf))
def test_a_spec_is_refused_exactly_if_its_score_could_not_rise(graph: Graph, score_of: ScoreOf):
    """And otherwise it comes back from JSON as it was."""
    fields = MINIMAL | {"graph": graph.to_json(), "objective": {"scoreOf": score_of}}
    violations = score_violations(graph, score_of)
    if violations:
        with pytest.raises(ValidationError) as caught:
            TrialSpec.model_validate(fields)
        (violation,) = violations
        assert problems(caught.value) == [f"graph.{violation.location[0]}: {violation.message}"]
    else:
        spec = TrialSpec.model_validate(fields)
        assert spec.graph == graph
        assert TrialSpec.model_validate(spec.to_json()) == spec


def test_a_length_is_counted_in_steps():
    """Steps stay, epochs are multiplied."""
    assert Length(steps=7).in_steps(100) == 7
    assert Length(epochs=7).in_steps(100) == 700


scores = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(scores, min_size=1, max_size=4), scores)
def test_results_survive_the_way_through_text_whatever_their_scores(rungs: list[float], score: float):
    """NaN and infinity become words, since JSON has no numbers for them, and come back as numbers."""
    evaluation = Evaluation(
        number=1, step=5, score=score, nodes={"1": score, "ensemble": 0.5}, losses={"1": score}, seconds=1.5
    )
    result = TrialResult(
        attempt=2,
        rungs=tuple(RungScore(rung=number, score=value) for number, value in enumerate(rungs, start=1)),
        evaluations=(evaluation,),
        exit_code=ExitCode.DIVERGED,
        unused_nodes=("3",),
        exact=False,
    )
    again = TrialResult.model_validate(json.loads(canonical_json(result.to_json())))
    assert [repr(rung.score) for rung in again.rungs] == [repr(value) for value in rungs]
    assert repr(again) == repr(result)


@pytest.mark.parametrize(("score", "word"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")])
def test_scores_that_are_no_numbers_are_written_as_words(score: float, word: str):
    """Every JSON parser reads them."""
    assert RungScore(rung=1, score=score).to_json() == {"rung": 1, "score": word}


def test_a_running_result_has_no_exit_code():
    """And 0, which is falsy, is one."""
    assert TrialResult(attempt=1).to_json() == {"attempt": 1}
    assert TrialResult(attempt=1, exit_code=0).to_json() == {"attempt": 1, "exitCode": 0}


def test_exit_codes_are_those_of_the_documentation():
    """143 is what a shell reports after SIGTERM."""
    assert {code.name: int(code) for code in ExitCode} == {
        "DONE": 0,
        "BAD_SPEC": 10,
        "BAD_DATA": 11,
        "DIVERGED": 12,
        "STORAGE": 13,
        "STOPPED": 143,
    }


@pytest.mark.parametrize("uri", ["", "images", "~/images", "/data/images", "file:///data/images", "s3://data/images"])
def test_images_lie_on_a_disk_or_in_a_bucket(uri):
    """A path may be relative: it is meant from the manifest's folder."""
    assert Data(dataset="ImageFolder", uri=uri).uri == uri


@pytest.mark.parametrize(
    "uri", ["ftp://data/images", "gs://data/images", "s3:///images", "file://host/data", "S3://data", "a\0b"]
)
def test_images_that_lie_anywhere_else_are_refused(uri):
    """Before a trial is started for them."""
    with pytest.raises(ValidationError) as error:
        Data(dataset="ImageFolder", uri=uri)
    (line,) = problems(error.value, "spec.data")
    assert line.startswith("spec.data.uri: ")
    assert line.endswith("use a path, file:// or s3://")

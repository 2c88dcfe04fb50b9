"""What training a graph costs: which passes over which images, worked out by hand from the trainer's rules."""

from __future__ import annotations

import pytest
from tests.builders import GraphBuilder, a_graph

from graphsearch.search.costs import Images, evaluation_flops, forward_flops, images_of, update_flops
from graphtrial.contract import (
    Data,
    Forward,
    Labelled,
    Length,
    Part,
    Split,
    Training,
    Unlabelled,
    model_size,
)

B, U = 10, 70
"""Labelled and unlabelled images of an update."""
COST = {"resnet8": 1, "resnet14": 100}
"""Of a forward pass of one image, made up so that sums tell the networks apart."""


def a_training(forward: Forward = Forward.CONCATENATED, **fields: object) -> Training:
    """With both batch sizes."""
    unlabelled = Unlabelled(batch_size=U, forward=forward)
    return Training.model_validate({"length": Length(epochs=4), "batch_size": B, "unlabelled": unlabelled, **fields})


def cost(graph: GraphBuilder, needed: str, training: Training | None = None) -> int:
    """Of one update."""
    return update_flops(graph.obj(), set(needed), training or a_training(), COST.__getitem__)


STUDENT = a_graph().trained("1").label("1")
WITH_TEACHER = STUDENT.frozen("2", "resnet14").transfer("2", "1")
SELF = STUDENT.itself("1", "Consistency")


def test_a_supervised_update():
    """Three passes over the labelled images for a node that learns, one for its frozen teacher."""
    assert cost(STUDENT, "1") == 3 * B
    assert cost(WITH_TEACHER, "12") == 3 * B + 100 * B


def test_what_is_not_run_costs_nothing():
    """A node that is not needed, and a teacher whose only edge is cut."""
    alone = STUDENT.frozen("2", "resnet14").transfer("2", "1", "Cutoff")
    assert cost(STUDENT.trained("3", "resnet14").label("3"), "1") == 3 * B
    assert cost(alone, "12") == 3 * B
    assert cost(WITH_TEACHER.trained("3").itself("3", "Consistency"), "12") == 3 * B + 100 * B


def test_both_views_of_the_unlabelled_images_count():
    """Pi-model: the labelled images, the view of destinations and that of sources, each passed with its gradient."""
    assert cost(SELF, "1") == 3 * (B + U + U)


def test_a_source_that_runs_apart_costs_no_gradient():
    """`forward: Separate` passes what a node says as a source only forward."""
    assert cost(SELF, "1", a_training(Forward.SEPARATE)) == 3 * (B + U) + U


def test_an_average_costs_what_the_followed_node_does():
    """Mean Teacher: a forward pass over the view of sources; FixMatch's average, which teaches nobody: none."""
    student = a_graph().trained("1", "resnet14").label("1").ema("2", follows="1")
    assert cost(student.transfer("2", "1", loss="Consistency"), "12") == 100 * (3 * (B + U) + U)
    fixmatch = student.itself("1", "ThresholdedPseudoLabel")
    assert cost(fixmatch, "12") == 100 * 3 * (B + U + U)


def test_members_of_an_ensemble_that_teaches_are_run():
    """One forward pass each; ensembles have no network."""
    graph = STUDENT.frozen("2", "resnet14").frozen("3", "resnet14", copy=1).ensemble("e", "2", "3").transfer("e", "1")
    assert cost(graph, "123e") == 3 * B + 2 * 100 * B


DATA = Data(dataset="CIFAR10", search_validation=Part(count=10_000), labelled=Labelled(count=4000))


def test_the_images_of_a_split():
    """The others of the training images are unlabelled; without labels named, every image is both (spec 7.3)."""
    assert images_of(DATA, Split.SEARCH, 50_000) == Images(4000, 36_000)
    assert images_of(DATA, Split.FULL, 50_000) == Images(4000, 46_000)
    with_labelled = DATA.model_copy(update={"unlabelled_includes_labelled": True})
    assert images_of(with_labelled, Split.FULL, 50_000) == Images(4000, 50_000)
    half = Data(dataset="CIFAR10", search_validation=Part(fraction=0.5))
    assert images_of(half, Split.SEARCH, 50_000) == Images(25_000, 25_000)


@pytest.mark.parametrize(
    ("graph", "steps"),
    [(STUDENT, 4000 // B), (SELF, 36_000 // U)],
    ids=["supervised: over the labelled images", "semi-supervised: over the unlabelled images"],
)
def test_an_epoch_is_a_pass_over_the_images_that_a_graph_learns_most_from(graph: GraphBuilder, steps: int):
    """The last incomplete batch is dropped (spec 7.3, 10)."""
    built, training, images = graph.obj(), a_training(), images_of(DATA, Split.SEARCH, 50_000)
    per_update = update_flops(built, {"1"}, training, forward_flops(DATA))
    assert evaluation_flops(built, {"1"}, training, DATA, images) == steps * per_update


def test_an_interval_in_steps_needs_no_images():
    """As the training says."""
    training = a_training(length=Length(steps=100), evaluate_every=Length(steps=7))
    per_update = update_flops(STUDENT.obj(), {"1"}, training, forward_flops(DATA))
    assert evaluation_flops(STUDENT.obj(), {"1"}, training, DATA, Images(1, 1)) == 7 * per_update


def test_forward_passes_are_the_catalogues():
    """At the data set's own size and classes; a model of another origin is not known."""
    assert forward_flops(DATA)("resnet8") == model_size("resnet8", classes=10, channels=3, image_size=32).flops
    assert forward_flops(DATA)("torchvision:vgg11") == 0

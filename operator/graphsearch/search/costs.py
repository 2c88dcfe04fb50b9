"""What training a graph costs, in floating-point operations, known before anything is trained.

It counts what the trainer's step runs (design 7) with the catalogue's sizes. Augmentation, evaluation, losses and the
optimiser are not counted, and nodes that share a trunk are counted as if they did not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from graphtrial.contract import (
    DATASETS,
    Data,
    Forward,
    Graph,
    NodeKind,
    Part,
    Split,
    Training,
    image_side,
    is_built_in,
    model_size,
)

_BACKWARD = 2
"""A backward pass costs about two forward passes."""


@dataclass(frozen=True, slots=True)
class Images:
    """How many images there are to train on."""

    labelled: int
    unlabelled: int


def images_of(data: Data, split: Split, train_images: int) -> Images:
    """How many of a data set's training images a trial trains on.

    Without ``labelled`` each image is among both, as the trainer has it.
    """
    part = data.search_validation
    held_out = part.count if part.count is not None else _share(part, train_images)
    count = train_images if split is Split.FULL else train_images - held_out
    if data.labelled is None:
        return Images(count, count)
    labelled = min(count, data.labelled.count)
    return Images(labelled, count if data.unlabelled_includes_labelled else count - labelled)


def evaluation_flops(
    graph: Graph, needed: Collection[str], training: Training, data: Data, images: Images, backward_passes: int = 1
) -> int:
    """Of the updates between two evaluations; where gradients are projected, each loss has a backward pass."""
    semi_supervised = graph.uses_unlabelled(needed)
    batch = training.unlabelled.batch_size if semi_supervised else training.batch_size
    count = images.unlabelled if semi_supervised else images.labelled
    steps = training.evaluate_every.in_steps(max(1, count // batch))
    return steps * update_flops(graph, needed, training, forward_flops(data), backward_passes)


def forward_flops(data: Data) -> Callable[[str], int]:
    """One forward pass of one image, by model; 0 for models that the catalogue does not know."""
    known = DATASETS.get(data.dataset)
    side = image_side(data.dataset, data.image_size)
    classes, channels = (known.classes if known else None) or 100, known.channels if known else 3

    def flops(model: str) -> int:
        if not is_built_in(model):
            return 0
        return model_size(model, classes=classes, channels=channels, image_size=side).flops

    return flops


def update_flops(
    graph: Graph,
    needed: Collection[str],
    training: Training,
    forward: Callable[[str], int],
    backward_passes: int = 1,
) -> int:
    """Of one update: every network over the parts of the images that something reads it on.

    Those are, as in the trainer's step, the labelled images for label edges, in a semi-supervised graph one view of
    the unlabelled ones where the node is the destination of another edge, and the other view where it is a source.
    """
    edges = [edge for edge in graph.live_edges() if edge.destination in needed]
    learning = {edge.destination for edge in edges}
    members = {node.name: node.members for node in graph.nodes if node.kind is NodeKind.ENSEMBLE}
    labelled = {edge.destination for edge in edges if edge.is_label}
    taught = {edge.destination for edge in edges if not edge.is_label}
    sources = {name for edge in edges if not edge.is_label for name in members.get(edge.source, (edge.source,))}
    if not graph.uses_unlabelled(needed):
        labelled, taught, sources = labelled | taught | sources, set(), set()
    unlabelled, separate = training.unlabelled.batch_size, training.unlabelled.forward is Forward.SEPARATE
    models = {node.name: node.model for node in graph.nodes}
    total = 0
    for node in graph.nodes:
        as_learner = training.batch_size * (node.name in labelled) + unlabelled * (node.name in taught)
        as_source = unlabelled * (node.name in sources)
        passes = 1 + _BACKWARD * backward_passes if node.name in learning else 1
        cost = passes * as_learner + (1 if separate else passes) * as_source
        if cost:
            total += cost * forward(models[node.follows] if node.follows else node.model)
    return total


def _share(part: Part, images: int) -> int:
    return round(images * (part.fraction or 0.0))

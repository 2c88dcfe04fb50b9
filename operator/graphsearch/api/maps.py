"""Attention losses compare maps of one size, or resize them (spec 2.2): what a manifest asks that cannot be.

Only sizes that the catalogue knows are judged. The trainer measures those of all models, the user's own among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from graphsearch.api.compression import Compression, Lesson
from graphsearch.api.space import Space
from graphtrial.contract import ATTENTION, Graph, Resize, Violation, is_built_in, model_size


def maps_of_space(space: Space, side: int) -> Iterator[Violation]:
    """A draw may join any two models that a rule with attention losses can meet.

    Args:
        space: One without other faults.
        side: Of the images, in pixels.
    """
    rules = [rule for rule in space.edges if set(rule.losses) & ATTENTION]
    if not rules or space.attention.resize is not Resize.NONE:
        return
    of_target = any({None, "1"} & {rule.source, rule.destination} for rule in rules)
    models = (*(space.target_models if of_target else ()), *(space.auxiliary_models if space.nodes > 1 else ()))
    if problem := _unequal(models, side):
        yield Violation(("attention", "resize"), problem)


def maps_of_graph(graph: Graph, side: int) -> Iterator[Violation]:
    """Each live edge of a fixed graph."""
    for position, edge in enumerate(graph.edges):
        if edge.is_live and edge.loss.type in ATTENTION and edge.loss.resize is Resize.NONE:
            models = [graph.model_of(end) for end in (edge.source, edge.destination)]
            if problem := _unequal(models, side):
                yield Violation(("edges", position, "loss", "resize"), problem)


def maps_of_compression(compression: Compression, teachers: Iterable[str], side: int) -> Iterator[Violation]:
    """The student looks at the map of each teacher."""
    if Lesson.PROBABILITY_AND_ATTENTION in compression.lessons and compression.resize is Resize.NONE:
        for teacher in teachers:
            if problem := _unequal((compression.student, teacher), side):
                yield Violation(("resize",), problem)
                return


def _unequal(models: Iterable[str], side: int) -> str | None:
    """Why the maps of these models cannot be compared as they are, or None."""
    sides: dict[int, str] = {}
    for model in models:
        if is_built_in(model):
            sides.setdefault(model_size(model, classes=2, image_size=side).map_size, model)
    if len(sides) < 2:
        return None
    (one, small), *_, (other, large) = sorted(sides.items())
    return (
        f"the map of {small} is {one}x{one} on images of {side} pixels and that of {large} {other}x{other}; "
        f"give Bilinear, or models with equal maps"
    )

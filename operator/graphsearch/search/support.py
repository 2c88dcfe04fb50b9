"""What a manifest may say and this version cannot run yet: such a manifest validates, and ``run`` refuses it.

It must not know how anything is trained, only what the trainer beside it has not got.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphsearch.api import AuxiliaryKind, GraphSearch, Space
from graphtrial.contract import (
    Edge,
    Graph,
    LossType,
    Node,
    NodeKind,
    is_built_in,
)

_LOSSES = frozenset({LossType.CROSS_ENTROPY, LossType.KL})


def unsupported(search: GraphSearch) -> list[str]:
    """One line for everything that cannot be run yet, ``spec.data.uri: s3:// is not there yet``; empty if nothing."""
    return list(_unsupported(search))


def _unsupported(search: GraphSearch) -> Iterator[str]:
    spec = search.spec
    if spec.space is not None:
        yield from _of_space(spec.space)
    for position, graph in enumerate(spec.graphs):
        yield from _of_graph(f"spec.graphs[{position}]", graph)
    if spec.compression is not None:
        yield from _of_model("spec.compression.student", spec.compression.student)


def _of_space(space: Space) -> Iterator[str]:
    for field, models in (("targetModels", space.target_models), ("auxiliaryModels", space.auxiliary_models)):
        for position, model in enumerate(models):
            yield from _of_model(f"spec.space.{field}[{position}]", model)
    for position, kind in enumerate(space.auxiliary_kinds):
        if kind is AuxiliaryKind.EMA:
            yield f"spec.space.auxiliaryKinds[{position}]: {kind} is not there yet"
    for position, rule in enumerate(space.edges):
        for number, loss in enumerate(rule.losses):
            yield from _of_loss(f"spec.space.edges[{position}].losses[{number}]", loss)


def _of_graph(where: str, graph: Graph) -> Iterator[str]:
    for position, node in enumerate(graph.nodes):
        yield from _of_node(f"{where}.nodes[{position}]", node)
    ensembles = {node.name for node in graph.nodes if node.kind is NodeKind.ENSEMBLE}
    for position, edge in enumerate(graph.edges):
        if edge.is_live:
            yield from _of_edge(f"{where}.edges[{position}]", edge, ensembles)


def _of_node(where: str, node: Node) -> Iterator[str]:
    if node.kind is NodeKind.EMA:
        yield f"{where}.kind: {node.kind} is not there yet"
    if node.model:
        yield from _of_model(f"{where}.model", node.model)
    if node.weights is not None:
        for origin in ("uri", "torchvision"):
            if getattr(node.weights, origin) is not None:
                yield f"{where}.weights.{origin}: is not there yet; use pretrained or node"


def _of_edge(where: str, edge: Edge, ensembles: set[str]) -> Iterator[str]:
    yield from _of_loss(f"{where}.loss.type", edge.loss.type)
    if edge.source in ensembles:
        yield f"{where}.source: an Ensemble node as a source is not there yet"


def _of_model(where: str, model: str) -> Iterator[str]:
    if not is_built_in(model):
        yield f"{where}: {model} is not there yet; use a built-in model such as resnet32 or wrn-28-2"


def _of_loss(where: str, loss: LossType) -> Iterator[str]:
    if loss not in _LOSSES:
        yield f"{where}: {loss} is not there yet"

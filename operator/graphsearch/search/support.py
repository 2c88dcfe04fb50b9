"""What a manifest may say and this version cannot run yet: such a manifest validates, and ``run`` refuses it.

It must not know how anything is trained, only what the trainer beside it has not got.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphsearch.api import GraphSearch, Space
from graphtrial.contract import DATASETS, Data, Graph, Node, is_built_in


def unsupported(search: GraphSearch) -> list[str]:
    """One line for everything that cannot be run yet, ``spec.data.uri: s3:// is not there yet``; empty if nothing."""
    return list(_unsupported(search))


def _unsupported(search: GraphSearch) -> Iterator[str]:
    spec = search.spec
    yield from _of_data(spec.data)
    if spec.space is not None:
        yield from _of_space(spec.space)
    for position, graph in enumerate(spec.graphs):
        yield from _of_graph(f"spec.graphs[{position}]", graph)
    if spec.compression is not None:
        yield from _of_model("spec.compression.student", spec.compression.student)


def _of_data(data: Data) -> Iterator[str]:
    if data.dataset not in DATASETS:
        yield f"spec.data.dataset: {data.dataset} is not there yet; use one of {', '.join(DATASETS)}"
    if data.uri.startswith("s3://"):
        yield "spec.data.uri: s3:// is not there yet; use a path"


def _of_space(space: Space) -> Iterator[str]:
    for field, models in (("targetModels", space.target_models), ("auxiliaryModels", space.auxiliary_models)):
        for position, model in enumerate(models):
            yield from _of_model(f"spec.space.{field}[{position}]", model)


def _of_graph(where: str, graph: Graph) -> Iterator[str]:
    for position, node in enumerate(graph.nodes):
        yield from _of_node(f"{where}.nodes[{position}]", node)


def _of_node(where: str, node: Node) -> Iterator[str]:
    if node.model:
        yield from _of_model(f"{where}.model", node.model)
    if node.weights is not None:
        for origin in ("uri", "torchvision"):
            if getattr(node.weights, origin) is not None:
                yield f"{where}.weights.{origin}: is not there yet; use pretrained or node"


def _of_model(where: str, model: str) -> Iterator[str]:
    if not is_built_in(model):
        yield f"{where}: {model} is not there yet; use a built-in model such as resnet32 or wrn-28-2"

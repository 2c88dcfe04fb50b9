"""The graphs of recipes, of networks so small that a test can train them."""

from __future__ import annotations

import re

from graphtrial.contract import Edge, Graph

_SMALL = {r"abn-resnet\d+": "abn-resnet8", r"resnet\d+": "resnet8", r"wrn-.*": "wrn-10-1"}


def small(graph: Graph) -> Graph:
    """The same graph of small networks, whose maps are as large as one another; crops that fit into them."""

    def model(name: str) -> str:
        return next((found for pattern, found in _SMALL.items() if re.fullmatch(pattern, name)), name)

    def edge(given: Edge) -> Edge:
        return given.model_copy(update={"loss": given.loss.model_copy(update={"crops": given.loss.crops[:2]})})

    nodes = tuple(node.model_copy(update={"model": model(node.model)}) for node in graph.nodes)
    return Graph(name=graph.name, nodes=nodes, edges=tuple(map(edge, graph.edges)), target=graph.target)

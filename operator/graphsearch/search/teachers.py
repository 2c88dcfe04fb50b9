"""Weights that trials start from: which key names them, and the trial that makes them (design 5, 8).

A key is a digest of everything the weights depend on, so that teachers are trained once and shared, and a teacher
that saw validation images can never be taken for one that did not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from graphsearch.api import GraphTrialSpec
from graphsearch.search.settled import Settled, seed_of
from graphtrial.contract import (
    LABEL,
    Data,
    Edge,
    Graph,
    Loss,
    LossType,
    Node,
    NodeOfGraph,
    Purpose,
    Split,
    digest,
)


def teacher_keys(settled: Settled, graph: Graph, split: Split, seed: int) -> dict[str, str]:
    """The key of each node that starts from pretrained weights or from a node of another graph; by node name."""
    keys: dict[str, str] = {}
    for node in graph.nodes:
        if node.weights and node.weights.pretrained:
            copy = node.weights.pretrained.copy_number
            keys[node.name] = _pretrained_key(settled, node.model, split, seed, copy)
        elif node.weights and node.weights.node:
            keys[node.name] = _stage_key(settled, node.weights.node, split, seed)
    return keys


def published_keys(settled: Settled, graph: Graph, split: Split, seed: int) -> dict[str, str]:
    """The key of each node whose final weights start another graph of the list."""
    return {
        start.node: _stage_key(settled, start, split, seed) for start in _starts(settled) if start.graph == graph.name
    }


def preceding_graphs(settled: Settled, graph: Graph) -> list[Graph]:
    """The graphs of the list that this one starts from, directly or through others, in the list's order."""
    needed: set[str] = set()
    waiting = [graph]
    while waiting:
        starts = {node.weights.node.graph for node in waiting.pop().nodes if node.weights and node.weights.node}
        waiting += [other for other in settled.spec.graphs if other.name in starts - needed]
        needed |= starts
    return [other for other in settled.spec.graphs if other.name in needed]


def started_graphs(settled: Settled) -> frozenset[str]:
    """Names of the graphs of the list that others start from."""
    return frozenset(start.graph for start in _starts(settled))


def _starts(settled: Settled) -> Iterator[NodeOfGraph]:
    for graph in settled.spec.graphs:
        for node in graph.nodes:
            if node.weights and node.weights.node:
                yield node.weights.node


def pretrain_spec(settled: Settled, waiting: GraphTrialSpec, node: str, key: str, index: int) -> GraphTrialSpec:
    """The Pretrain trial that makes the weights which ``node`` of a waiting trial starts from."""
    teacher = waiting.graph.node(node)
    assert teacher.weights is not None
    assert teacher.weights.pretrained is not None
    seed = waiting.seed if waiting.purpose is Purpose.COMPARE else settled.spec.seed
    label = Edge(source=LABEL, destination="1", loss=Loss(type=LossType.CROSS_ENTROPY))
    return GraphTrialSpec(
        search_ref=settled.name,
        index=index,
        purpose=Purpose.PRETRAIN,
        graph=Graph(nodes=(Node(name="1", model=teacher.model),), edges=(label,)),
        seed=seed_of(seed, "teacher", teacher.weights.pretrained.copy_number),
        split=waiting.split,
        publishes={"1": key},
    )


def _pretrained_key(settled: Settled, model: str, split: Split, seed: int, copy: int) -> str:
    return digest({"model": model, "seed": seed, "copy": copy} | _basis(settled, split))


def _stage_key(settled: Settled, start: NodeOfGraph, split: Split, seed: int) -> str:
    """Of one node of a graph as it is written (names matter), and of all that this graph itself starts from."""
    graph = next(graph for graph in settled.spec.graphs if graph.name == start.graph)
    return node_key(settled, graph, start.node, teacher_keys(settled, graph, split, seed), split, seed)


def node_key(settled: Settled, graph: Graph, node: str, teachers: Mapping[str, str], split: Split, seed: int) -> str:
    """The key of one node's final weights, in a graph as it is written (names matter), with its teachers' keys."""
    parts = {"graph": graph.to_json(), "node": node, "teachers": dict(teachers), "seed": seed}
    return digest(parts | _basis(settled, split))


def _basis(settled: Settled, split: Split) -> dict[str, Any]:
    data = settled.spec.data
    if split is Split.FULL and data.labelled is None:
        data = data.model_copy(update={"search_validation": Data.model_fields["search_validation"].default})
    return {"data": data.to_json(), "split": split.value, "training": settled.training.to_json()}

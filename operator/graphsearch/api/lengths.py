"""Whether an epoch is as many updates in every trial of a search.

Trials are compared at the same evaluation and at their end. In epochs these are moments of equal training only where
all trials pass over the same images: the unlabelled ones, or the labelled ones.
"""

from __future__ import annotations

from collections.abc import Iterator

from graphsearch.api.graphsearch import Baseline, GraphSearchSpec
from graphsearch.api.space import Space, possible_edges
from graphsearch.api.training import resolve
from graphtrial.contract import UNLABELLED, GateType, IsolatedNodes


def length_problem(spec: GraphSearchSpec) -> str | None:
    """Why the length of a search cannot be told in epochs; None where it can, or is told in steps."""
    if resolve(spec.training).length.epochs is None or len(set(_semi_supervised(spec))) < 2:
        return None
    return (
        "a graph that learns from unlabelled images has an epoch for each pass over these, another one for each pass "
        "over the labelled ones, and this search may hold both, with different numbers of updates; give length and "
        "evaluateEvery in steps"
    )


def _semi_supervised(spec: GraphSearchSpec) -> Iterator[bool]:
    """Of each trial that may come: whether it learns from unlabelled images. A compression is as its teachers are."""
    yield from (graph.semi_supervised for graph in spec.graphs)
    yield from (False for graph in spec.graphs for node in graph.nodes if node.weights and node.weights.pretrained)
    if spec.space is not None:
        yield from _drawn(spec.space)
    for baseline in spec.comparison.baselines if spec.comparison else ():
        if baseline is not Baseline.ALL_THROUGH:
            yield False
        elif spec.graphs:
            yield any(edge.loss.type in UNLABELLED for edge in spec.graphs[-1].edges)


def _drawn(space: Space) -> Iterator[bool]:
    """The same of the graphs of a space, and of the teachers that they may ask for."""
    edges = tuple(possible_edges(space))
    cut = GateType.CUTOFF
    if any(UNLABELLED & set(rule.losses) and set(rule.gates) != {cut} for _, _, rule in edges):
        yield True
    # An EMA edge takes the place of every other edge into its node.
    averaged = {destination for _, destination, rule in edges if rule.ema}
    lasting = [(end, rule) for _, end, rule in edges if cut not in rule.gates and end not in averaged]
    if not any(rule.losses and set(rule.losses) <= UNLABELLED for _, rule in lasting):
        yield False
    if space.isolated_nodes is IsolatedNodes.PRETRAINED and len({end for end, _ in lasting}) < space.nodes:
        yield False

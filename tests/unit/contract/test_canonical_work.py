"""The graphs that are worst for the canonical form, of many nodes that look alike: right, and with little work."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders import a_graph

from graphtrial.contract import Graph, canonical, graph_digest

NODES = 16
MOST_REFINEMENTS = NODES**2
"""A search without automorphisms would visit up to 16! leaves, 2e13."""

Arcs = list[tuple[int, int]]


def both_ways(pairs: Iterable[tuple[int, int]]) -> Arcs:
    """Each pair as two arcs."""
    return [arc for one, other in pairs for arc in ((one, other), (other, one))]


def cycle(count: int, first: int = 0) -> Arcs:
    """A directed cycle of so many nodes."""
    return [(first + number, first + (number + 1) % count) for number in range(count)]


def moved(pairs: Iterable[tuple[int, int]], by: int) -> Arcs:
    """The same between other nodes."""
    return [(one + by, other + by) for one, other in pairs]


def cycles(lengths: Iterable[int], first: int) -> Arcs:
    """Disjoint directed cycles."""
    arcs: Arcs = []
    for length in lengths:
        arcs += cycle(length, first)
        first += length
    return arcs


def joined(arcs: Arcs, nodes: int = NODES) -> Graph:
    """A graph of equal nodes joined by equal edges; node 0 is the target."""
    builder = a_graph()
    for number in range(nodes):
        builder = builder.trained(str(number))
    for source, destination in arcs:
        builder = builder.transfer(str(source), str(destination))
    return builder.obj()


PETERSEN = [*cycle(5), *((n, n + 5) for n in range(5)), *((5 + n, 5 + (n + 2) % 5) for n in range(5))]
HYPERCUBE = [(a, b) for a, b in itertools.combinations(range(16), 2) if (a ^ b).bit_count() == 1]
MOEBIUS_KANTOR = [
    *cycle(8),
    *((n, n + 8) for n in range(8)),
    *((8 + n, 8 + (n + 3) % 8) for n in range(8)),
]
CUBE_AND_WAGNER = [
    *((a, b) for a, b in itertools.combinations(range(8), 2) if (a ^ b).bit_count() == 1),
    *cycle(8, 8),
    *((n, n + 4) for n in range(8, 12)),
]
PRISM = [*cycle(3), *cycle(3, 3), (0, 3), (1, 4), (2, 5)]
UTILITY = [(house, well) for house in range(3) for well in range(3, 6)]
TETRAHEDRON = list(itertools.combinations(range(4), 2))
WORST = {
    "16 nodes without edges": joined([]),
    "complete, the largest that 64 edges allow": joined(list(itertools.permutations(range(8), 2)), nodes=8),
    "five triangles": joined(cycles([3] * 5, 1)),
    "seven pairs": joined(both_ways((n, n + 1) for n in range(1, 15, 2))),
    "a ring": joined(both_ways(cycle(16))),
    "rings of several lengths": joined(both_ways([*cycle(3, 1), *cycle(3, 4), *cycle(4, 7), *cycle(5, 11)])),
    "Petersen": joined(both_ways(PETERSEN), nodes=10),
    "Petersen and a ring": joined(both_ways([*PETERSEN, *cycle(6, 10)])),
    "hypercube": joined(both_ways(HYPERCUBE)),
    "Moebius-Kantor": joined(both_ways(MOEBIUS_KANTOR)),
    "cube and Wagner's graph, both cubic": joined(both_ways(CUBE_AND_WAGNER)),
}


def refinements(graph: Graph) -> int:
    """How often the colouring is refined: once for each node of the search tree."""
    calls = 0
    refine = canonical._Canon._refine

    def counted(search, colours):
        nonlocal calls
        calls += 1
        return refine(search, colours)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonical._Canon, "_refine", counted)
        canonical.canonical_graph(graph)
    return calls


@pytest.mark.parametrize("graph", WORST.values(), ids=WORST.keys())
def test_regular_graphs_take_little_work(graph: Graph):
    """Automorphisms cut nearly all branches."""
    assert 1 <= refinements(graph) <= MOST_REFINEMENTS


LOOKALIKES = {
    "directed cycles": [cycles(lengths, 1) for lengths in ((4, 3, 2, 2, 2, 2), (3, 3, 3, 2, 2, 2), (5, 3, 3, 2, 2))],
    "rings": [both_ways(cycles(lengths, 1)) for lengths in ((6, 3, 3, 3), (5, 4, 3, 3), (9, 6), (15,))],
    "cubic": [
        both_ways(CUBE_AND_WAGNER),
        both_ways(MOEBIUS_KANTOR),
        both_ways([*PRISM, *moved(UTILITY, 6), *moved(TETRAHEDRON, 12)]),
        both_ways([*moved(CUBE_AND_WAGNER[12:], -8), *moved(TETRAHEDRON, 8), *moved(TETRAHEDRON, 12)]),
    ],
}
"""In each family all nodes but the target look alike to their neighbours, and yet no two graphs are the same."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([arcs for family in LOOKALIKES.values() for arcs in family]), st.data())
def test_lookalikes_are_recognised_in_any_order_with_little_work(arcs: Arcs, data: st.DataObject):
    """Colours alone do not tell the nodes apart, so the order of the nodes decides what is tried first."""
    names = [0, *data.draw(st.permutations(range(1, NODES)))]
    graph = joined([(names[source], names[destination]) for source, destination in arcs])
    assert graph_digest(graph) == graph_digest(joined(arcs))
    assert refinements(graph) <= MOST_REFINEMENTS


@pytest.mark.parametrize("family", LOOKALIKES.values(), ids=LOOKALIKES.keys())
def test_lookalikes_have_different_digests(family: list[Arcs]):
    """Counting neighbours, however often, finds no difference between them."""
    assert len({graph_digest(joined(arcs)) for arcs in family}) == len(family)

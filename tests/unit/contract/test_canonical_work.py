"""The search for the canonical form stays small on the graphs that are worst for it: many nodes that look alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders import a_graph

from graphtrial.contract import Graph, canonical

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


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([(4, 3, 2, 2, 2, 2), (3, 3, 3, 2, 2, 2), (4, 4, 3, 2, 2), (5, 3, 3, 2, 2)]), st.data())
def test_cycles_of_mixed_lengths_take_little_work_in_any_order(lengths: tuple[int, ...], data: st.DataObject):
    """No colouring tells one cycle from another, so the order of the nodes decides what is found first."""
    names = [0, *data.draw(st.permutations(range(1, NODES)))]
    arcs = [(names[source], names[destination]) for source, destination in cycles(lengths, 1)]
    assert refinements(joined(arcs)) <= MOST_REFINEMENTS

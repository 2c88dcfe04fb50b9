"""When two graphs are the same: a canonical form and its digest.

Two graphs are equal if one becomes the other by renaming auxiliary nodes, reordering nodes and edges, dropping
cut edges and writing Correct or Threshold on a label edge as Through (spec 3: the one-hot source is always right
and always sure). The target keeps its place, the copy number of a teacher counts, and a trunk that nobody shares is
none.

The form is the least one over all renamings, found by individualisation and refinement (McKay): nodes are coloured
by what they are and whom they are joined to until colours no longer split; where some still agree one is singled
out, each in turn, except those that an automorphism already found maps onto one another. Every leaf of that search
is kept, so that any two equal ones give an automorphism: disjoint cycles of mixed lengths would otherwise hide
most of them.

Decided against: networkx, whose Weisfeiler-Lehman hash is equal for some unequal graphs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

from graphtrial.contract.graph import Graph
from graphtrial.contract.parts import LABEL, Edge

_ENDS = ("source", "destination")
_REFERENCES = ("name", "follows", "members", "trunk")

_Colours = tuple[int, ...]
_Arcs = tuple[tuple[int, int, str], ...]
_Kind = tuple[bool, str, tuple[str, ...]]


def canonical_json(value: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no spaces: equal objects give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def graph_digest(graph: Graph) -> str:
    """Equal exactly for equal graphs (see the module); the graph's name plays no part."""
    return digest(canonical_graph(graph))


def canonical_graph(graph: Graph) -> dict[str, Any]:
    """The graph as JSON in canonical form: the target is node ``"1"``, defaults are left out."""
    return _Canon(graph).form()


def _edge_label(edge: Edge) -> str:
    """All that an edge says beside its ends."""
    if (gate := edge.acting_gate) is not edge.gate:
        edge = edge.model_copy(update={"gate": gate})
    return canonical_json({name: value for name, value in edge.to_json().items() if name not in _ENDS})


class _Canon:
    """One canonicalisation: the graph as labelled arcs over node positions, and the leaves found so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.position = {node.name: index for index, node in enumerate(graph.nodes)}
        self.arcs: list[dict[int, str]] = [{} for _ in graph.nodes]
        self.kinds = [self._kind(index) for index in range(len(graph.nodes))]
        self._join()
        self.leaves: dict[_Arcs, _Colours] = {}
        self.automorphisms: list[_Colours] = []

    def _kind(self, index: int) -> _Kind:
        node = self.graph.nodes[index]
        fields = {name: value for name, value in node.to_json().items() if name not in _REFERENCES}
        labels = sorted(_edge_label(e) for e in self.graph.live_edges() if e.is_label and e.destination == node.name)
        return (node.name != self.graph.target_name, canonical_json(fields), tuple(labels))

    def _join(self) -> None:
        joins: dict[tuple[int, int], list[str]] = {}
        for edge in self.graph.live_edges():
            if not edge.is_label:
                pair = (self.position[edge.source], self.position[edge.destination])
                joins.setdefault(pair, []).append(_edge_label(edge))
        for node in self.graph.nodes:
            here = self.position[node.name]
            for member in node.members:
                joins.setdefault((self.position[member], here), []).append("member")
            if node.follows:
                joins.setdefault((self.position[node.follows], here), []).append("follows")
        for one, other in itertools.permutations(self.graph.nodes, 2):
            if one.trunk and one.trunk == other.trunk:
                joins.setdefault((self.position[one.name], self.position[other.name]), []).append("trunk")
        for (source, destination), labels in joins.items():
            self.arcs[source][destination] = "|".join(sorted(labels))

    def form(self) -> dict[str, Any]:
        order = {kind: rank for rank, kind in enumerate(sorted(set(self.kinds)))}
        self._search(self._refine(tuple(order[kind] for kind in self.kinds)))
        return self._rename(self.leaves[min(self.leaves)])

    def _refine(self, colours: _Colours) -> _Colours:
        """Split colours by the coloured arcs in and out of each node until they no longer split."""
        while True:
            signatures = [
                (
                    colour,
                    tuple(sorted((label, colours[other]) for other, label in self.arcs[node].items())),
                    tuple(sorted((out[node], colours[other]) for other, out in enumerate(self.arcs) if node in out)),
                )
                for node, colour in enumerate(colours)
            ]
            order = {signature: rank for rank, signature in enumerate(sorted(set(signatures)))}
            refined = tuple(order[signature] for signature in signatures)
            if len(order) == len(set(colours)):
                return refined
            colours = refined

    def _search(self, colours: _Colours) -> bool:
        """Visit the leaves below ``colours``; True if the first was an automorphic image of an earlier leaf.

        Then all below is an image of what was visited there, and the search goes back to where the two part.
        """
        cell = self._first_open_cell(colours)
        if not cell:
            return self._leaf(colours)
        tried: list[int] = []
        for node in cell:
            if any(self._equivalent(colours, node, other) for other in tried):
                continue
            tried.append(node)
            single = tuple(2 * colour + (index != node) for index, colour in enumerate(colours))
            if self._search(self._refine(single)) and len(tried) == 1:
                return True
        return False

    @staticmethod
    def _first_open_cell(colours: _Colours) -> list[int]:
        for colour in sorted(set(colours)):
            cell = [node for node, other in enumerate(colours) if other == colour]
            if len(cell) > 1:
                return cell
        return []

    def _equivalent(self, colours: _Colours, one: int, other: int) -> bool:
        """Whether an automorphism found so far keeps every colour and joins the two nodes."""
        joined = {one}
        fitting = [
            image for image in self.automorphisms if all(colours[to] == colours[node] for node, to in enumerate(image))
        ]
        frontier = [one]
        while frontier:
            node = frontier.pop()
            for image in fitting:
                for neighbour in (image[node], image.index(node)):
                    if neighbour not in joined:
                        joined.add(neighbour)
                        frontier.append(neighbour)
        return other in joined

    def _leaf(self, colours: _Colours) -> bool:
        arcs = tuple(
            sorted((colours[s], colours[t], label) for s, out in enumerate(self.arcs) for t, label in out.items())
        )
        if arcs not in self.leaves:
            self.leaves[arcs] = colours
            return False
        back = {colour: node for node, colour in enumerate(self.leaves[arcs])}
        self.automorphisms.append(tuple(back[colour] for colour in colours))
        return True

    def _rename(self, colours: _Colours) -> dict[str, Any]:
        rank = {colour: place for place, colour in enumerate(sorted(colours))}
        new = {node.name: str(rank[colours[index]] + 1) for index, node in enumerate(self.graph.nodes)} | {LABEL: LABEL}
        trunks: dict[str, list[str]] = {}
        for node in self.graph.nodes:
            trunks.setdefault(node.trunk, []).append(new[node.name])
        nodes: list[dict[str, Any]] = []
        for node in sorted(self.graph.nodes, key=lambda node: int(new[node.name])):
            fields = node.to_json() | {"name": new[node.name]}
            if node.follows:
                fields["follows"] = new[node.follows]
            if fields.pop("trunk", "") and len(trunks[node.trunk]) > 1:
                fields["trunk"] = min(trunks[node.trunk], key=int)
            if node.members:
                fields["members"] = sorted((new[member] for member in node.members), key=int)
            nodes.append(fields)
        edges = [
            {"source": new[edge.source], "destination": new[edge.destination], **json.loads(_edge_label(edge))}
            for edge in self.graph.live_edges()
        ]
        rest = {name: value for name, value in self.graph.to_json().items() if name not in ("name", "target")}
        return rest | {"nodes": nodes, "edges": sorted(edges, key=canonical_json)}

"""The knowledge transfer graph: who learns from whom, by which loss, weighted by which gate (spec 1-3).

A graph is data. What a graph may not be is said by ``graph_rules``; when two graphs are the same by
``canonical``. This room must not know how a graph is trained, drawn or searched.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Self

from pydantic import Field, model_validator

from graphtrial.contract._base import Model, refuse
from graphtrial.contract.graph_rules import graph_violations
from graphtrial.contract.parts import UNLABELLED, Edge, Node, OptionalName


class Graph(Model):
    """A knowledge transfer graph.

    Raises:
        ValidationError: With one problem per broken rule of ``graph_rules``, each at its own location.
    """

    name: Annotated[str, Field(max_length=40, pattern=r"^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)?$")] = ""
    """What stages of the same list call it; may be left out where none does."""
    nodes: Annotated[tuple[Node, ...], Field(min_length=1, max_length=16)]
    """The networks, and averages of them."""
    edges: Annotated[tuple[Edge, ...], Field(max_length=64)] = ()
    """Who learns from whom."""
    target: OptionalName = ""
    """The node to improve; empty: the first."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse("Graph", graph_violations(self))
        return self

    @property
    def target_name(self) -> str:
        """The name of the node to improve."""
        return self.target or self.nodes[0].name

    @property
    def semi_supervised(self) -> bool:
        """Whether a live edge needs unlabelled images; a training asks ``uses_unlabelled`` of the nodes it needs."""
        return self.uses_unlabelled({node.name for node in self.nodes})

    def uses_unlabelled(self, needed: Collection[str]) -> bool:
        """Whether training only these nodes needs unlabelled images."""
        return any(edge.destination in needed and edge.loss.type in UNLABELLED for edge in self.live_edges())

    def node(self, name: str) -> Node:
        """The node of that name.

        Raises:
            KeyError: If there is none.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def model_of(self, name: str) -> str:
        """The model of a network: that of the node which an EMA node follows; empty for an Ensemble node.

        Raises:
            KeyError: If there is no such node.
        """
        node = self.node(name)
        return self.node(node.follows).model if node.follows else node.model

    def live_edges(self) -> tuple[Edge, ...]:
        """Edges that are not cut, in the written order."""
        return tuple(edge for edge in self.edges if edge.is_live)

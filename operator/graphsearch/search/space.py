"""Draws graphs from a space, uniformly and independently, and counts the space (spec 5.1, 5.2).

A graph is a function of (search seed, trial index) alone: no state, and the order in which trials happen to start
changes no graph. One that cannot be scored is drawn again from (seed, index, try).
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from graphsearch.api import EdgeRule, PossibleEdge, Space, possible_edges
from graphtrial.contract import (
    ALWAYS_OPEN_FOR_LABELS,
    ATTENTION,
    LABEL,
    Edge,
    Gate,
    GateType,
    Graph,
    Loss,
    LossType,
    Node,
    NodeKind,
    ScoreOf,
    derive,
    score_violations,
    settle_isolated,
)

_TRIES = 1000
_T = TypeVar("_T")


class EmptySpaceError(Exception):
    """No graph of the space can be scored."""


def draw(space: Space, score_of: ScoreOf, seed: int, index: int) -> Graph:
    """The graph of one trial.

    Raises:
        EmptySpaceError: If a thousand draws gave none whose scored node learns.
    """
    edges = tuple(possible_edges(space))
    for attempt in range(_TRIES):
        generator = random.Random(derive(seed, "graph", index, attempt))
        if (drawn := _drawn(space, edges, generator)) is not None and not score_violations(drawn, score_of):
            return drawn
    raise EmptySpaceError(
        f"spec.space: none of {_TRIES} drawn graphs has a scored node that learns; "
        "allow gates other than Cutoff on an edge into it"
    )


def _drawn(space: Space, edges: Sequence[PossibleEdge], generator: random.Random) -> Graph | None:
    """One draw, with its isolated nodes settled; None where the rules of graphs or of the space forbid it."""
    try:
        graph = _Draw(space, edges, generator).graph()
    except ValidationError:
        return None
    return graph and settle_isolated(graph, space.isolated_nodes)


def choices_of(rule: EdgeRule, source: str) -> tuple[LossType | None, ...]:
    """What an edge is drawn from: loss designs, and None for an EMA edge."""
    if source == LABEL:
        return (LossType.CROSS_ENTROPY,)
    if rule.ema:
        return (*rule.losses, None)
    return rule.losses or (LossType.KL,)


def nominal_size(space: Space) -> int | None:
    """How many ways there are to draw, S^(N-1) G^(N^2) for one rule; None if a gate is continuous (Sine).

    Ways that break a rule of graphs are counted, too.
    """
    if _is_continuous(space):
        return None
    models = len(space.target_models) * len(space.auxiliary_models) ** (space.nodes - 1)
    edges = possible_edges(space)
    ways = (len(choices_of(rule, source)) * len(set(rule.gates)) for source, _, rule in edges)
    return int(models * math.prod(ways))


def distinct_size(space: Space) -> int | None:
    """The same with Correct = Through on label edges and one way to cut an edge; nodes are not renamed.

    An EMA node follows one trained node, has no edges into it and no model of its own.
    """
    if _is_continuous(space):
        return None
    edges = tuple(possible_edges(space))
    names = [str(number) for number in range(1, space.nodes + 1)]
    learning, following = _ways_by_node(space, edges, names)
    return sum(
        math.prod(
            learning[name] if name in trained else sum(following[name, source] for source in trained) for name in names
        )
        for count in range(1, space.nodes + 1)
        for trained in itertools.combinations(names, count)
    )


def _is_continuous(space: Space) -> bool:
    return any(GateType.SINE in rule.gates for _, _, rule in possible_edges(space))


def _ways_by_node(
    space: Space, edges: Sequence[PossibleEdge], names: Sequence[str]
) -> tuple[dict[str, int], dict[tuple[str, str], bool]]:
    """For each node the ways it can be drawn as one that learns, and for each pair whether the first may follow."""
    learning = {name: len(space.auxiliary_models if name != names[0] else space.target_models) for name in names}
    following = dict.fromkeys(itertools.product(names, names), False)
    for source, destination, rule in edges:
        learning[destination] *= _ways_of_edge(source, rule)
        following[destination, source] = rule.ema and set(rule.gates) != {GateType.CUTOFF}
    return learning, following


def _ways_of_edge(source: str, rule: EdgeRule) -> int:
    """Distinct ways to draw an edge that is no EMA edge."""
    gates, losses = set(rule.gates), sum(choice is not None for choice in choices_of(rule, source))
    if source == LABEL and (open_gates := gates & ALWAYS_OPEN_FOR_LABELS):
        gates = (gates - open_gates) | {GateType.THROUGH}
    cut = GateType.CUTOFF in gates
    return losses * (len(gates) - cut) + cut


# Drawn graphs share their parts, which are frozen: making each anew takes as long as all the rest of a draw.
_CACHED = 4096


@functools.lru_cache(_CACHED)
def _loss(kind: LossType, **parameters: Any) -> Loss:
    return Loss(type=kind, **parameters)


@functools.lru_cache(_CACHED)
def _gate(kind: GateType, **parameters: Any) -> Gate:
    return Gate(type=kind, **parameters)


@functools.lru_cache(_CACHED)
def _edge(source: str, destination: str, loss: Loss, gate: Gate) -> Edge:
    return Edge(source=source, destination=destination, loss=loss, gate=gate)


def _following(node: Node, follows: Mapping[str, str]) -> Node:
    return Node(name=node.name, kind=NodeKind.EMA, follows=follows[node.name]) if node.name in follows else node


class _Draw:
    """One draw; ``random()`` is the only call on the generator, whose other methods change between Pythons."""

    def __init__(self, space: Space, possible: Sequence[PossibleEdge], generator: random.Random) -> None:
        self.space = space
        self.possible = possible
        self.generator = generator

    def graph(self) -> Graph | None:
        """Raises: ValidationError if a rule of graphs is broken; None where a node would follow two others."""
        nodes, edges = self._nodes(), list[Edge]()
        follows: dict[str, str] = {}
        for source, destination, rule in self.possible:
            choice, gate = self._choice(choices_of(rule, source)), self._gate(self._choice(rule.gates))
            if choice is not None:
                edges.append(_edge(source, destination, self._loss(choice, rule), gate))
            elif gate.type is not GateType.CUTOFF:
                if destination in follows:
                    return None
                follows[destination] = source
        return Graph(
            nodes=tuple(_following(node, follows) for node in nodes),
            edges=tuple(edge for edge in edges if edge.destination not in follows),
            target="1",
        )

    def _nodes(self) -> list[Node]:
        nodes = [Node(name="1", model=self._choice(self.space.target_models))]
        for number in range(2, self.space.nodes + 1):
            nodes.append(Node(name=str(number), model=self._choice(self.space.auxiliary_models)))
            self.generator.random()  # chose a kind in earlier versions; recorded searches go on with their own graphs
        return nodes

    def _loss(self, kind: LossType, rule: EdgeRule) -> Loss:
        attention = self.space.attention
        match kind:
            case LossType.THRESHOLDED_PSEUDO_LABEL:
                return _loss(kind, threshold=self.space.gate_parameters.threshold.above)
            case LossType.KL | LossType.CONSISTENCY:
                return _loss(kind, temperature=rule.temperature)
            case LossType.TOGETHER:
                return _loss(kind, temperature=rule.temperature, crops=attention.crops, resize=attention.resize)
            case _ if kind in ATTENTION:
                return _loss(kind, crops=attention.crops, resize=attention.resize)
            case _:
                return _loss(kind)

    def _gate(self, kind: GateType) -> Gate:
        match kind:
            case GateType.SINE:
                sine = self.space.gate_parameters.sine
                frequency = self._uniform(sine.frequency.min, sine.frequency.max)
                return _gate(kind, frequency=frequency, phase=self._uniform(sine.phase.min, sine.phase.max))
            case GateType.THRESHOLD:
                return _gate(kind, threshold=self.space.gate_parameters.threshold.above)
            case _:
                return _gate(kind)

    def _choice(self, options: Sequence[_T]) -> _T:
        return options[math.floor(self.generator.random() * len(options))]

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.generator.random()

"""Draws graphs from a space, uniformly and independently, and counts the space (spec 5.1, 5.2).

A graph is a function of (search seed, trial index) alone: no state, and the order in which trials happen to start
changes no graph. One that cannot be scored is drawn again from (seed, index, try).
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from graphsearch.api import AuxiliaryKind, EdgeKind, EdgeRule, Space
from graphtrial.contract import (
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
_Possible = tuple[str, str, EdgeRule]


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


def _drawn(space: Space, edges: Sequence[_Possible], generator: random.Random) -> Graph | None:
    """One draw, with its isolated nodes settled; None where the rules of graphs or of the space forbid it."""
    try:
        return settle_isolated(_Draw(space, edges, generator).graph(), space.isolated_nodes)
    except ValidationError:
        return None


def rule_for(space: Space, source: str, destination: str) -> EdgeRule | None:
    """The last rule that matches an edge; None: the space has no such edge."""
    kind = EdgeKind.LABEL if source == LABEL else EdgeKind.SELF if source == destination else EdgeKind.TRANSFER
    return next((rule for rule in reversed(space.edges) if _matches(rule, kind, source, destination)), None)


def _matches(rule: EdgeRule, kind: EdgeKind, source: str, destination: str) -> bool:
    """Label and self edges are matched only by rules that name them, a transfer edge also by one open end."""
    if rule.kind is not None:
        return rule.kind is kind
    sources = (None, source) if kind is EdgeKind.TRANSFER else (source,)
    destinations = (destination,) if kind is EdgeKind.SELF else (None, destination)
    return rule.source in sources and rule.destination in destinations


def losses_of(rule: EdgeRule, source: str) -> tuple[LossType, ...]:
    """The loss designs an edge is drawn from."""
    if source == LABEL:
        return (LossType.CROSS_ENTROPY,)
    return rule.losses or (LossType.KL,)


def possible_edges(space: Space) -> Iterator[_Possible]:
    """(source, destination, rule) of every edge of the space: label edges, then the others by source."""
    names = [str(number) for number in range(1, space.nodes + 1)]
    for source in (LABEL, *names):
        for destination in names:
            if rule := rule_for(space, source, destination):
                yield source, destination, rule


def nominal_size(space: Space) -> int | None:
    """How many ways there are to draw, S^(N-1) G^(N^2) for one rule; None if a gate is continuous (Sine)."""
    return _size(space, distinct=False)


def distinct_size(space: Space) -> int | None:
    """The same with Correct = Through on label edges and one way to cut an edge; nodes are not renamed."""
    return _size(space, distinct=True)


def _size(space: Space, *, distinct: bool) -> int | None:
    edges = tuple(possible_edges(space))
    if any(GateType.SINE in rule.gates for _, _, rule in edges):
        return None
    return sum(
        _ways_of_nodes(space, kinds)
        * math.prod(
            _ways_of_edge(source, rule, distinct=distinct)
            for source, destination, rule in edges
            if kinds[int(destination) - 1] is AuxiliaryKind.TRAINED
        )
        for kinds in itertools.product((AuxiliaryKind.TRAINED,), *[set(space.auxiliary_kinds)] * (space.nodes - 1))
    )


def _ways_of_nodes(space: Space, kinds: Sequence[AuxiliaryKind]) -> int:
    """An EMA node follows any trained node before it."""
    return len(space.target_models) * math.prod(
        len(space.auxiliary_models)
        if kind is AuxiliaryKind.TRAINED
        else sum(before is AuxiliaryKind.TRAINED for before in kinds[:position])
        for position, kind in enumerate(kinds[1:], start=1)
    )


def _ways_of_edge(source: str, rule: EdgeRule, *, distinct: bool) -> int:
    gates, losses = set(rule.gates), len(losses_of(rule, source))
    if distinct and source == LABEL and GateType.CORRECT in gates:
        gates = (gates - {GateType.CORRECT}) | {GateType.THROUGH}
    if distinct and GateType.CUTOFF in gates:
        return losses * (len(gates) - 1) + 1
    return losses * len(gates)


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


class _Draw:
    """One draw; ``random()`` is the only call on the generator, whose other methods change between Pythons."""

    def __init__(self, space: Space, possible: Sequence[_Possible], generator: random.Random) -> None:
        self.space = space
        self.possible = possible
        self.generator = generator

    def graph(self) -> Graph:
        nodes = self._nodes()
        averaged = {node.name for node in nodes if node.kind is NodeKind.EMA}
        edges = [
            self._edge(source, destination, rule)
            for source, destination, rule in self.possible
            if destination not in averaged
        ]
        return Graph(nodes=tuple(nodes), edges=tuple(edges), target="1")

    def _nodes(self) -> list[Node]:
        nodes = [Node(name="1", model=self._choice(self.space.target_models))]
        for number in range(2, self.space.nodes + 1):
            model = self._choice(self.space.auxiliary_models)
            if self._choice(self.space.auxiliary_kinds) is AuxiliaryKind.EMA:
                trained = [node.name for node in nodes if node.kind is NodeKind.TRAINED]
                nodes.append(Node(name=str(number), kind=NodeKind.EMA, follows=self._choice(trained)))
            else:
                nodes.append(Node(name=str(number), model=model))
        return nodes

    def _edge(self, source: str, destination: str, rule: EdgeRule) -> Edge:
        loss = self._loss(self._choice(losses_of(rule, source)), rule)
        return _edge(source, destination, loss, self._gate(self._choice(rule.gates)))

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

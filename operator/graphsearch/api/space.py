"""The space that graphs are drawn from: how many nodes, which models, which losses and gates per edge."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from graphtrial.contract import (
    ATTENTION,
    LABEL,
    UNLABELLED,
    GateType,
    IsolatedNodes,
    LossType,
    Model,
    Resize,
    Violation,
    gives_logits_only,
    model_problem,
    refuse,
)

_Model = Annotated[str, Field(max_length=200)]


class EdgeKind(StrEnum):
    """The edges that a rule speaks of."""

    LABEL = "Label"
    """From the ground truth to a node."""
    TRANSFER = "Transfer"
    """From a node to another."""
    SELF = "Self"
    """From a node to itself: two views of unlabelled images."""


class EdgeRule(Model):
    """Choices for some edges, by kind or by ends; the last rule that matches an edge wins."""

    kind: EdgeKind | None = None
    """Edges of this kind; or give ``from`` and ``to``."""
    source: Annotated[str | None, Field(alias="from", max_length=40)] = None
    """A node's name or ``Label``."""
    destination: Annotated[str | None, Field(alias="to", max_length=40)] = None
    """A node's name."""
    losses: Annotated[tuple[LossType, ...], Field(max_length=16)] = ()
    """Drawn from; left out: KL on transfer edges. A label edge always has CrossEntropy."""
    ema: bool = False
    """One more choice beside the losses, or the only one where none is named: an EMA edge (spec 1.2).

    Its destination's weights then follow its source's, whose model it takes, and no other edge leads there. Of its
    gates only Cutoff matters.
    """
    gates: Annotated[tuple[GateType, ...], Field(min_length=1, max_length=8)]
    """Drawn from."""
    temperature: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 1.0
    """Of the losses that have one."""

    @model_validator(mode="after")
    def _shape(self) -> Self:
        refuse("EdgeRule", list(self._violations()))
        return self

    def _violations(self) -> list[Violation]:
        found: list[Violation] = []
        by_ends = self.source is not None or self.destination is not None
        if (self.kind is None) != by_ends:
            found.append(Violation((), "give either kind (Label, Transfer, Self) or from and to"))
        label = self.kind is EdgeKind.LABEL or self.source == "Label"
        if label and any(loss is not LossType.CROSS_ENTROPY for loss in self.losses):
            found.append(Violation(("losses",), "a label edge has CrossEntropy; leave losses out"))
        if not label and LossType.CROSS_ENTROPY in self.losses:
            found.append(Violation(("losses",), "CrossEntropy stands on label edges only; use KL between nodes"))
        self_edge = self.kind is EdgeKind.SELF or (by_ends and self.source == self.destination)
        if self.ema and (label or self_edge):
            found.append(Violation(("ema",), "an EMA edge leads from a node to another; leave ema out"))
        if self_edge and not set(self.losses) <= UNLABELLED:
            found.append(Violation(("losses",), f"a self edge has one of {', '.join(sorted(UNLABELLED))}"))
        if self_edge and not self.losses:
            found.append(Violation(("losses",), "a self edge needs its losses named"))
        return found


class Range(Model):
    """A closed interval to draw from, uniformly."""

    min: Annotated[float, Field(allow_inf_nan=False)]
    """The lowest value."""
    max: Annotated[float, Field(allow_inf_nan=False)]
    """The highest value."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            refuse("Range", [Violation(("max",), f"is below min ({self.min}); give min <= max")])
        return self


class SineParameters(Model):
    """Where f and phi of (3.8) are drawn from, per edge (spec 5.1)."""

    frequency: Range = Range(min=0, max=1)
    """Periods per training, within 0 .. 1000."""
    phase: Range = Range(min=0, max=0.75 * 2 * math.pi)
    """Radians, within 0 .. 2 pi."""

    @model_validator(mode="after")
    def _within(self) -> Self:
        found = [
            Violation((name,), f"lies outside 0 .. {limit:g}")
            for name, bounds, limit in (("frequency", self.frequency, 1000.0), ("phase", self.phase, 2 * math.pi))
            if bounds.min < 0 or bounds.max > limit
        ]
        refuse("SineParameters", found)
        return self


class ThresholdParameters(Model):
    """tau of (5.5) and (5.8)."""

    above: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """A source counts where its top probability exceeds this."""


class GateParameters(Model):
    """Parameters of drawn gates and thresholded losses."""

    sine: SineParameters = SineParameters()
    """Of Sine gates."""
    threshold: ThresholdParameters = ThresholdParameters()
    """Of Threshold gates and ThresholdedPseudoLabel losses."""


class Attention(Model):
    """Parameters of drawn attention losses."""

    crops: Annotated[tuple[Annotated[int, Field(ge=1, le=512)], ...], Field(max_length=8)] = (3, 5, 7)
    """Sides of the square crops around the source map's maximum, in cells."""
    resize: Resize = Resize.NONE
    """For maps of unequal size."""


class Space(Model):
    """The graphs that may be drawn: nodes ``"1"`` to ``"N"``, of which ``"1"`` is the target (spec 5.2)."""

    nodes: Annotated[int, Field(ge=1, le=7)]
    """How many networks a graph has."""
    target_models: Annotated[tuple[_Model, ...], Field(min_length=1, max_length=16)]
    """What node "1" is drawn from."""
    auxiliary_models: Annotated[tuple[_Model, ...], Field(max_length=16)] = ()
    """What the other nodes are drawn from; needed where there are any."""
    isolated_nodes: IsolatedNodes = IsolatedNodes.PRETRAINED
    """A node with every incoming edge cut: a frozen pretrained teacher, a random network, or draw again."""
    edges: Annotated[tuple[EdgeRule, ...], Field(max_length=64)] = (
        EdgeRule(kind=EdgeKind.LABEL, gates=(GateType.THROUGH, GateType.CUTOFF, GateType.LINEAR, GateType.CORRECT)),
        EdgeRule(
            kind=EdgeKind.TRANSFER,
            losses=(LossType.KL,),
            gates=(GateType.THROUGH, GateType.CUTOFF, GateType.LINEAR, GateType.CORRECT),
        ),
    )
    """Choices for each edge; the last rule that matches an edge wins, and an edge that none matches is absent."""
    gate_parameters: GateParameters = GateParameters()
    attention: Attention = Attention()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse("Space", self._violations())
        return self

    def _violations(self) -> list[Violation]:
        found: list[Violation] = []
        for field in ("target_models", "auxiliary_models"):
            for position, model in enumerate(getattr(self, field)):
                if problem := model_problem(model):
                    camel = "targetModels" if field == "target_models" else "auxiliaryModels"
                    found.append(Violation((camel, position), problem))
        found += self._without_maps()
        if self.nodes > 1 and not self.auxiliary_models:
            found.append(Violation(("auxiliaryModels",), f"is required with {self.nodes} nodes"))
        names = {"Label", *(str(number) for number in range(1, self.nodes + 1))}
        for position, rule in enumerate(self.edges):
            for alias, name in (("from", rule.source), ("to", rule.destination)):
                if name is not None and (name not in names or (alias == "to" and name == "Label")):
                    right = ", ".join(sorted(names))
                    found.append(Violation(("edges", position, alias), f"there is no node {name!r}; nodes are {right}"))
        return found

    def _without_maps(self) -> list[Violation]:
        """An attention loss needs a map at both ends, and the other nodes share one list of models."""
        rules = [rule for rule in self.edges if set(rule.losses) & ATTENTION]
        of_target = any({None, "1"} & {rule.source, rule.destination} for rule in rules)
        lists = {"targetModels": self.target_models if of_target else (), "auxiliaryModels": self.auxiliary_models}
        return [
            Violation((field, position), f"{model} has no attention map, which a loss of edges needs; leave one out")
            for field, models in lists.items()
            for position, model in enumerate(models)
            if rules and gives_logits_only(model)
        ]


PossibleEdge = tuple[str, str, EdgeRule]
"""Source, destination, and the rule that it is drawn by."""


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


def possible_edges(space: Space) -> Iterator[PossibleEdge]:
    """(source, destination, rule) of every edge of the space: label edges, then the others by source."""
    names = [str(number) for number in range(1, space.nodes + 1)]
    for source in (LABEL, *names):
        for destination in names:
            if rule := rule_for(space, source, destination):
                yield source, destination, rule

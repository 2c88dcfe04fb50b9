"""Every node's loss as a function of what the networks say: the live edges of a graph, compiled.

    L_t = sum over edges s -> t of  weight * mean over samples of  gate(n, k) * loss(s, t)(x_n)      (3.3, 4.15, 5.9)

An edge's loss has one or two *terms* (P+A+ is KL and maps together, 4.11; the label edge of an ABN is the cross
entropy of both its heads). Terms of one measure are computed at once, [terms, samples]. Label edges read the labelled
images. Transfer edges compare what the destination says of one view with what the source says of another; in a
supervised graph both are the labelled images.

How the networks were run is not known here. Decided against: a class per loss, and a loop over edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from graphtrial.contract import Edge, LossType, Node, Reduction, Resize, Training
from graphtrial.training.attention import Crops
from graphtrial.training.gates import BY_SAMPLE, Gates
from graphtrial.training.losses import cross_entropy, log_probabilities
from graphtrial.training.source_rows import SourceRows
from graphtrial.training.terms import DESIGNS, MAPS, Design, MapTerms, ProbabilityTerms, Said


class Order(NamedTuple):
    """The nodes of each ``Said``, by name."""

    labelled: Sequence[str]
    destinations: Sequence[str]
    """Of transfer and self edges."""
    sources: Sequence[str]


class Losses(NamedTuple):
    """What one step measures."""

    total: Tensor
    """Sum of all node losses, a scalar; call ``backward`` on it once."""
    nodes: Tensor
    """L_t of each node that learns, in the order of ``GraphStep.names``, without gradient."""
    edges: Tensor
    """What each edge adds to the loss of its destination, in the order of ``GraphLosses.edges``."""


class _Term(NamedTuple):
    edge: int
    """Its place among the transfer edges."""
    design: Design


class GraphLosses:
    """A graph's losses, ready to be computed.

    Attributes:
        edges: The edges in the order of ``Losses.edges``: label edges, then the others, each as given.
        names: The nodes that learn, in the order of ``Losses.nodes``.
    """

    def __init__(
        self,
        edges: Sequence[Edge],
        learning: Sequence[str],
        *,
        order: Order,
        ensembles: Iterable[Node] = (),
        total_steps: int,
        training: Training,
        device: torch.device,
    ) -> None:
        """Compile the edges.

        Args:
            edges: The live ones, in any order.
            learning: Their destinations, in the order of ``Losses.nodes``.
            order: Of the nodes in each ``Said``.
            ensembles: Those that are sources; their members are among ``order.sources``.
            total_steps: k_end of the gates.
            training: Its label smoothing, and how a batch's losses become one.
            device: Where the outputs are.
        """
        labels = [edge for edge in edges if edge.is_label]
        transfers = [edge for edge in edges if not edge.is_label]
        self.edges = (*labels, *transfers)
        self.names = tuple(learning)
        self._training, self._device = training, device
        self._label_edges, self._transfers = labels, transfers
        self._labelled_rows = self._integers(order.labelled.index(edge.destination) for edge in labels)
        self._sources = SourceRows(transfers, order.sources, tuple(ensembles), device)
        self._terms = [
            _Term(place, design) for place, edge in enumerate(transfers) for design in DESIGNS[edge.loss.type]
        ]
        self._probability_groups = self._group_probabilities(order.destinations)
        # In the order of the edges: which map meets which.
        self._map_pairs = [
            (order.sources.index(edge.source), order.destinations.index(edge.destination))
            if any(term.edge == place and term.design[0] in MAPS for term in self._terms)
            else None
            for place, edge in enumerate(transfers)
        ]
        # Made once: a number that a step moves to a GPU would make it wait.
        self._map_groups: dict[tuple[int, ...], list[MapTerms]] = {}
        self._head_edges: dict[tuple[int, ...], Tensor] = {}
        gate_rows = [
            self._sources.rows[edge.source, 1.0] if edge.gate.type in BY_SAMPLE else None for edge in transfers
        ]
        compiled = partial(Gates, total_steps=total_steps, device=device)
        self._label_gates = compiled([edge.gate for edge in labels], [None for _ in labels])
        self._transfer_gates = compiled([edge.gate for edge in transfers], gate_rows)
        self._weights = torch.tensor([edge.loss.weight for edge in self.edges], dtype=torch.float64, device=device)
        self._node_of_edge = self._integers(self.names.index(edge.destination) for edge in self.edges)

    def __call__(self, labelled: Said, destination: Said, source: Said, labels: Tensor, update: Tensor) -> Losses:
        """The losses of one step.

        Args:
            labelled: About the labelled images.
            destination: About the view of destinations; in a supervised graph the same.
            source: About the view of sources; in a supervised graph the same.
            labels: Class indices of the labelled images.
            update: k, counted from 1 at the first update, an integer scalar on the device.
        """
        terms, places = self._label_terms(labelled, labels, update)
        if self._transfers:
            transferred, of_transfers = self._transfer_terms(destination, source, labels, update)
            terms += transferred
            places += [len(self._label_edges) + place for place in of_transfers]
        edges = torch.cat(places)
        values = torch.cat(terms)
        values = values * self._weights.index_select(0, edges).to(values.dtype)
        of_edges = values.new_zeros(len(self.edges)).index_add(0, edges, values)
        of_nodes = values.new_zeros(len(self.names)).index_add(0, self._node_of_edge, of_edges.detach())
        return Losses(of_edges.sum(), of_nodes, of_edges)

    def _label_terms(self, said: Said, labels: Tensor, update: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(3.1), (4.13), and the same of attention branches, each gated and reduced; with the edges they belong to."""
        if not self._label_edges:
            return [], []
        one = torch.ones((), dtype=torch.float64, device=self._device)
        stacked = said.logits.index_select(0, self._labelled_rows)
        branches = [said.branches[said.names.index(edge.destination)] for edge in self._label_edges]
        if heads := [branch for branch in branches if branch is not None]:
            stacked = torch.cat([stacked, torch.stack(heads)])
        of_edges = self._edges_of_heads(tuple(edge for edge, branch in enumerate(branches) if branch is not None))
        log_p = log_probabilities(stacked, one.expand(len(stacked)))
        gates = self._label_gates.weights(update, len(labels), log_p, labels)
        losses = cross_entropy(log_p, labels, self._training.label_smoothing)
        return [self._reduced(losses, gates.index_select(0, of_edges))], [of_edges]

    def _edges_of_heads(self, branched: tuple[int, ...]) -> Tensor:
        """The label edge of each row: all edges, then those whose node has a branch; known once networks have run."""
        if branched not in self._head_edges:
            self._head_edges[branched] = self._integers((*range(len(self._label_edges)), *branched))
        return self._head_edges[branched]

    def _transfer_terms(
        self, destination: Said, source: Said, labels: Tensor, update: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        from_sources = self._sources.log_probabilities(source.logits)
        gates = self._transfer_gates.weights(update, source.logits.shape[1], from_sources, labels)
        terms: list[Tensor] = []
        edges: list[Tensor] = []
        for group in self._probability_groups:
            losses = group.losses(from_sources, destination.logits)
            terms.append(self._reduced(losses, gates.index_select(0, group.edges)))
            edges.append(group.edges)
        for maps in self._groups_of_maps(destination, source):
            losses = maps.losses(destination, source)
            terms.append(self._reduced(losses, gates.index_select(0, maps.edges)))
            edges.append(maps.edges)
        return terms, edges

    def _reduced(self, losses: Tensor, gates: Tensor) -> Tensor:
        """A number for each term; a sample that a gate masks stays in the divisor."""
        gated = gates.to(losses.dtype) * losses
        return gated.mean(dim=1) if self._training.reduction is Reduction.MEAN else gated.sum(dim=1)

    def _group_probabilities(self, destinations: Sequence[str]) -> list[ProbabilityTerms]:
        found: dict[Design, list[int]] = {}
        for term in self._terms:
            if term.design[0] not in MAPS:
                found.setdefault(term.design, []).append(term.edge)
        return [
            ProbabilityTerms(
                design,
                self._integers(places),
                self._integers(self._sources.rows[edge.source, edge.loss.temperature] for edge in edges),
                self._integers(destinations.index(edge.destination) for edge in edges),
                torch.tensor([edge.loss.temperature for edge in edges], dtype=torch.float64, device=self._device),
                torch.tensor([_threshold(edge) for edge in edges], dtype=torch.float64, device=self._device),
            )
            for design, places in found.items()
            if (edges := [self._transfers[place] for place in places])
        ]

    def _groups_of_maps(self, destination: Said, source: Said) -> list[MapTerms]:
        """Terms on maps by design, crops and size; sizes are known once networks have run."""
        if not any(self._map_pairs):
            return []
        sizes = tuple(0 if said is None else said.shape[-1] for said in (*destination.maps, *source.maps))
        if sizes not in self._map_groups:
            self._map_groups[sizes] = self._group_maps(destination, source)
        return self._map_groups[sizes]

    def _group_maps(self, destination: Said, source: Said) -> list[MapTerms]:
        found: dict[tuple[Design, Crops, int], list[int]] = {}
        for term in self._terms:
            pair, loss = self._map_pairs[term.edge], self._transfers[term.edge].loss
            if term.design[0] not in MAPS or pair is None:
                continue
            theirs, own = source.maps[pair[0]], destination.maps[pair[1]]
            if theirs is None or own is None:
                raise ValueError(f"{loss.type} needs attention maps of both networks")
            if theirs.shape[-1] != own.shape[-1] and loss.resize is Resize.NONE:
                raise ValueError(f"maps of {theirs.shape[-1]} and {own.shape[-1]} cells; set resize: Bilinear")
            found.setdefault((term.design, loss.crops, own.shape[-1]), []).append(term.edge)
        return [
            MapTerms(design, crops, side, self._integers(edges), [pair for e in edges if (pair := self._map_pairs[e])])
            for (design, crops, side), edges in found.items()
        ]

    def _integers(self, values: Iterable[int]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.int64, device=self._device)


def _threshold(edge: Edge) -> float:
    """The tau of (5.5); below every probability where the loss has none."""
    return edge.loss.threshold if edge.loss.type is LossType.THRESHOLDED_PSEUDO_LABEL else -1.0

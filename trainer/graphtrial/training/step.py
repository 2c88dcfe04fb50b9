"""The supervised step of a knowledge transfer graph: images in, one scalar to call ``backward`` on out.

    L_t = sum over edges s -> t of  weight * mean over samples of  gate(n, k) * loss(p_s(x_n), p_t(x_n))     (3.2, 3.3)

Every network runs once on the same images (Algorithm 1). Sources are constants, so L_t reaches node t alone, and the
gradient of the sum of all L_t is in each node that of its own. A graph is compiled once to lists of indices: a step
has no Python per edge and nowhere asks the device for a number, which would make a GPU finish all queued work first.

Optimiser, data and length of the training are not known here. Decided against: one backward pass per node, which has
nothing to gain from gradients that are zero anyway, and ``torch.compile``, whose start-up every trial would pay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from graphtrial.contract import Edge, Graph, LossType, NodeKind, Precision
from graphtrial.training.gates import Gates
from graphtrial.training.losses import cross_entropy, kl_divergence, log_probabilities


class Losses(NamedTuple):
    """What one step measures."""

    total: Tensor
    """Sum of all node losses, a scalar; call ``backward`` on it once."""
    nodes: Tensor
    """L_t of each node that learns, in the order of ``GraphStep.names``, without gradient."""


class GraphStep:
    """A graph with its networks, ready to be trained.

    Attributes:
        names: The nodes that learn, in the graph's order: needed, and with a live incoming edge.
        step_count: Updates done so far, an int64 scalar on the device. ``losses`` adds 1; a resumed run fills it in.
    """

    def __init__(
        self,
        graph: Graph,
        networks: Mapping[str, nn.Module],
        *,
        needed: frozenset[str],
        total_steps: int,
        precision: Precision,
        device: torch.device,
    ) -> None:
        """Compile the graph.

        Args:
            graph: One in which ``unsupported`` finds nothing.
            networks: By node name, on ``device``, each giving logits [samples, classes].
            needed: Nodes with a path to a scored one; the others are neither run nor trained.
            total_steps: k_end of the gates: the number of updates of the whole training.
            precision: Of the networks' arithmetic; losses are float32 at least.
            device: Where networks, images and labels live.

        Raises:
            ValueError: If ``unsupported`` finds something.
        """
        if missing := unsupported(graph):
            raise ValueError("; ".join(missing))
        edges = [edge for edge in graph.live_edges() if edge.destination in needed]
        learning = {edge.destination for edge in edges}
        asked = learning | {edge.source for edge in edges}
        run = [node for node in graph.nodes if node.name in asked]
        self.names = tuple(node.name for node in run if node.name in learning)
        self.step_count = torch.zeros((), dtype=torch.int64, device=device)
        self._run = [_Member(networks[node.name], node.kind, node.name in learning) for node in run]
        self._losses = GraphLosses(edges, [node.name for node in run], total_steps=total_steps, device=device)
        self._device, self._precision = device, precision

    def losses(self, images: Tensor, labels: Tensor) -> Losses:
        """Run every network once and compute every node's loss for the next update.

        Args:
            images: [samples, channels, height, width].
            labels: Class indices, [samples].
        """
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision is Precision.BF16):
            logits = torch.stack([member.logits(images) for member in self._run])
        self.step_count += 1
        return self._losses(logits, labels, self.step_count)


class _Member(NamedTuple):
    network: nn.Module
    kind: NodeKind
    learns: bool

    def logits(self, images: Tensor) -> Tensor:
        """[samples, classes]; a frozen network in evaluation mode, so that its BatchNorm statistics stay."""
        trains = self.kind is NodeKind.TRAINED
        if self.network.training is not trains:  # an evaluation in between may have changed it
            self.network.train(trains)
        with nullcontext() if self.learns else torch.no_grad():
            return self.network(images)


class GraphLosses:
    """Every node's loss as a function of all logits: the live edges of a graph, compiled."""

    def __init__(self, edges: Sequence[Edge], nodes: Sequence[str], *, total_steps: int, device: torch.device) -> None:
        """Compile the edges.

        Args:
            edges: The live ones, label and KL edges in any order.
            nodes: Names of all nodes that the edges touch, in the order of the logits.
            total_steps: k_end of the gates.
            device: Where the logits are.
        """
        labelled = [edge for edge in edges if edge.is_label]
        transfers = [edge for edge in edges if not edge.is_label]
        edges = labelled + transfers
        # One row of log-probabilities for each node and temperature. Every node has one at temperature 1, which
        # label edges and gates read, at the node's own place.
        rows = {(node, 1.0): place for place, node in enumerate(nodes)}
        for edge in transfers:
            for node in (edge.source, edge.destination):
                rows.setdefault((node, edge.loss.temperature), len(rows))
        learning = {edge.destination for edge in edges}
        gate_rows = [None if edge.is_label else rows[edge.source, 1.0] for edge in edges]

        def integers(values: Iterable[int]) -> Tensor:
            return torch.tensor(list(values), dtype=torch.int64, device=device)

        def numbers(values: Iterable[float]) -> Tensor:
            return torch.tensor(list(values), dtype=torch.float64, device=device)

        self._row_nodes = integers(rows[node, 1.0] for node, _ in rows)
        self._row_temperatures = numbers(temperature for _, temperature in rows)
        self._labelled = integers(rows[edge.destination, 1.0] for edge in labelled)
        self._sources = integers(rows[edge.source, edge.loss.temperature] for edge in transfers)
        self._destinations = integers(rows[edge.destination, edge.loss.temperature] for edge in transfers)
        self._temperatures = numbers(edge.loss.temperature for edge in transfers)
        self._gates = Gates([edge.gate for edge in edges], gate_rows, total_steps=total_steps, device=device)
        self._weights = numbers(edge.loss.weight for edge in edges)
        self._incoming = torch.stack(
            [numbers(edge.destination == node for edge in edges) for node in nodes if node in learning]
        )

    def __call__(self, logits: Tensor, labels: Tensor, update: Tensor) -> Losses:
        """(3.2) and (3.3) for all nodes.

        Args:
            logits: [nodes, samples, classes].
            labels: Class indices, [samples].
            update: k, counted from 1 at the first update, an integer scalar on the device.
        """
        # index_select and not [...]: on several threads the gradient of indexing adds up in no fixed order, and a
        # resumed run would not be bit-equal.
        log_p = log_probabilities(logits.index_select(0, self._row_nodes), self._row_temperatures)
        supervised = cross_entropy(log_p.index_select(0, self._labelled), labels)
        transferred = kl_divergence(
            log_p.index_select(0, self._sources), log_p.index_select(0, self._destinations), self._temperatures
        )
        gates = self._gates.weights(update, log_p, labels)
        # The mean is over the whole batch: a sample that a gate masks stays in the divisor.
        of_edges = (gates * torch.cat([supervised, transferred])).mean(dim=1) * self._weights.to(log_p.dtype)
        return Losses(of_edges.sum(), (self._incoming.to(log_p.dtype) * of_edges.detach()).sum(dim=1))


def unsupported(graph: Graph) -> list[str]:
    """What of a graph cannot be trained yet, one line each, ``graph.edges[2].loss.type: ...``; empty if nothing.

    Cut edges are absent, and an Ensemble node that is nobody's source is only evaluated.
    """
    kinds = {node.name: node.kind for node in graph.nodes}
    found = [
        f"graph.nodes[{index}].kind: EMA is not there yet"
        for index, node in enumerate(graph.nodes)
        if node.kind is NodeKind.EMA
    ]
    for index, edge in enumerate(graph.edges):
        if not edge.is_live:
            continue
        if edge.loss.type not in (LossType.CROSS_ENTROPY, LossType.KL):
            found.append(f"graph.edges[{index}].loss.type: {edge.loss.type} is not there yet; use KL")
        if kinds.get(edge.source) is NodeKind.ENSEMBLE:
            found.append(f"graph.edges[{index}].source: an Ensemble node as a source is not there yet")
    return found

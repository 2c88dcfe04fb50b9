"""Evaluation of all networks of a graph on one set of images.

Decided against: a score per batch, averaged. Logits are small, and from all of them at once every metric and every
ensemble follows without a running state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from graphtrial.contract import (
    ENSEMBLE,
    Average,
    Graph,
    NodeKind,
    Objective,
    Precision,
    ScoreOf,
    Training,
    scored_ensemble,
    scored_nodes,
)
from graphtrial.evaluation.metrics import measure


class Scores(NamedTuple):
    """What one evaluation measures."""

    score: float
    """What the objective asks for; NaN where an output that it reads is not finite."""
    nodes: dict[str, float]
    """The metric of every evaluated node and, where all its members are evaluated, of the ensemble."""


class Evaluator:
    """Scores the networks of one graph again and again on the same images.

    Attributes:
        batches: Gives those images and their labels, from the first to the last.
    """

    def __init__(
        self,
        graph: Graph,
        networks: Mapping[str, nn.Module],
        batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
        *,
        objective: Objective,
        training: Training,
        device: torch.device,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            graph: The graph.
            networks: By node name, those of all nodes that the objective needs.
            batches: Gives (images [samples, channels, height, width], class indices [samples]) from the first image
                to the last, the same each time.
            objective: One whose metric has no ``metric_problem`` with these images.
            training: Precision of the networks' arithmetic, and whether frozen ones never change.
            device: Where networks and batches are.
        """
        self._graph, self._networks, self.batches = graph, networks, batches
        self._objective, self._training, self._device = objective, training, device
        self._frozen_logits: dict[str, Tensor] = {}

    @torch.inference_mode()
    def __call__(self) -> Scores:
        """Run every network over all images, in evaluation mode, and leave it there."""
        logits, labels = self._logits()
        outputs = dict(logits)
        for node in self._graph.nodes:
            if node.kind is NodeKind.ENSEMBLE and set(node.members) <= logits.keys():
                outputs[node.name] = ensemble([logits[member] for member in node.members], node.average)
        if (combined := self._ensemble(logits)) is not None:
            outputs[ENSEMBLE] = combined
        nodes = {name: measure(self._objective.metric, output, labels) for name, output in outputs.items()}
        return Scores(self._score(nodes), nodes)

    def _logits(self) -> tuple[dict[str, Tensor], Tensor]:
        # A frozen node never changes and the images do not either: it runs at the first evaluation only.
        running = {name: net.eval() for name, net in self._networks.items() if name not in self._frozen_logits}
        precision = self._training.precision
        parts: dict[str, list[Tensor]] = {name: [] for name in running}
        labels: list[Tensor] = []
        for images, batch_labels in self.batches():
            ordered = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=precision is Precision.BF16):
                for name, network in running.items():
                    parts[name].append(network(ordered).float())
            labels.append(batch_labels)
        found = {name: torch.cat(part) for name, part in parts.items()}
        for name, output in found.items():
            if self._training.frozen_batch_norm and self._graph.node(name).kind is NodeKind.FROZEN:
                self._frozen_logits[name] = output
        return {name: (self._frozen_logits | found)[name] for name in self._networks}, torch.cat(labels)

    def _ensemble(self, logits: Mapping[str, Tensor]) -> Tensor | None:
        """The mean of the nodes that ``ScoreOf.ENSEMBLE`` reads (4.10), if all of them ran and there are several."""
        members = scored_nodes(self._graph, ScoreOf.ENSEMBLE)
        if len(members) < 2 or not set(members) <= logits.keys():
            return None
        node = scored_ensemble(self._graph)
        return ensemble([logits[name] for name in members], node.average if node else Average.LOGITS)

    def _score(self, nodes: Mapping[str, float]) -> float:
        if self._objective.score_of is ScoreOf.ENSEMBLE and ENSEMBLE in nodes:
            return nodes[ENSEMBLE]
        scores = [nodes[name] for name in scored_nodes(self._graph, self._objective.score_of)]
        # NaN compares false with everything: max would keep or drop it by its place.
        return max((score for score in scores if not math.isnan(score)), default=math.nan)


def ensemble(members: list[Tensor], average: Average) -> Tensor:
    """The mean of the members' logits (4.10), or the logarithm of their mean probabilities (4.1).

    Returns:
        Logits, [samples, classes].
    """
    stacked = torch.stack(members)
    if average is Average.PROBABILITIES:
        return stacked.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(members))
    return stacked.mean(dim=0)

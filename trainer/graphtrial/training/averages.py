"""Nodes that follow another: moving averages of weights (5.2).

EMA(theta)_k = alpha EMA(theta)_(k-1) + (1 - alpha) theta_k for every parameter; buffers, BatchNorm's statistics among
them, are copied (spec 10). Decided against: ``torch.optim.swa_utils``, which averages one model at a time and copies
it to do so.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from graphtrial.contract import Graph, NodeKind


class MovingAverages:
    """All EMA nodes of a graph that have a network."""

    def __init__(self, graph: Graph, networks: Mapping[str, nn.Module]) -> None:
        """Pair up the tensors; nothing is copied yet."""
        self._averages: list[tuple[float, list[Tensor], list[Tensor]]] = []
        self._copies: tuple[list[Tensor], list[Tensor]] = ([], [])
        for node in graph.nodes:
            if node.kind is not NodeKind.EMA or node.name not in networks:
                continue
            average, followed = networks[node.name], networks[node.follows]
            self._averages.append((node.decay, list(average.parameters()), list(followed.parameters())))
            self._copies[0].extend(average.buffers())
            self._copies[1].extend(followed.buffers())

    @torch.no_grad()
    def update(self) -> None:
        """To be called once after each update of the weights that are followed."""
        for decay, average, followed in self._averages:
            torch._foreach_mul_(average, decay)
            torch._foreach_add_(average, followed, alpha=1 - decay)
        if self._copies[0]:
            torch._foreach_copy_(*self._copies)

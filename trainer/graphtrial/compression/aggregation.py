"""Gradients that point against one another, made to agree before they are added (Yu et al. 2020, PCGrad; spec 9).

    for each loss i, and each other loss j in a random order:
        if g_i . g_j < 0:   g_i -= (g_i . g_j) / ||g_j||^2 g_j        (g_j as it was at first)
    gradient = sum of all g_i

What the thesis leaves open, decided here: the order is drawn anew for each update and loss, as in Yu et al.; every
loss of the student takes part, that of the labels too; a layer is the module that owns its parameters.

Every g_i stays a combination of the gradients as they were at first, so all projections need only their inner
products: one matrix product, and then arithmetic on as many numbers as there are pairs of losses. Nothing waits for
the device. Decided against: the loop as it is printed, which reads and writes all parameters once for each pair.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from graphtrial.contract import Aggregation, Conflict, Edge, derive


class Aggregated(NamedTuple):
    """What becomes of several losses' gradients."""

    gradient: Tensor
    """[parameters]."""
    inner: Tensor
    """Inner products of the gradients as they were, over all parameters: [losses, losses]."""


@torch.no_grad()
def aggregate(gradients: Tensor, order: Tensor, layers: Sequence[int] = ()) -> Aggregated:
    """Project and add.

    Args:
        gradients: One row for each loss, [losses, parameters].
        order: For each loss all others, in the order in which it meets them: int64 [losses, losses - 1].
        layers: How many parameters each layer has, each projected on its own; empty: the network as a whole.
    """
    parts = gradients.split(list(layers), dim=1) if layers else (gradients,)
    inner = torch.stack([part @ part.T for part in parts])
    weights = _weights(inner, order).to(gradients.dtype)
    gradient = torch.cat([weight @ part for weight, part in zip(weights, parts, strict=True)])
    return Aggregated(gradient, inner.sum(dim=0))


def _weights(inner: Tensor, order: Tensor) -> Tensor:
    """How much of each gradient the aggregated one holds, [layers, losses], given [layers, losses, losses]."""
    losses = inner.shape[-1]
    unit = torch.eye(losses, dtype=inner.dtype, device=inner.device)
    squares = inner.diagonal(dim1=1, dim2=2)
    held = unit.expand_as(inner)  # row i: g_i as a combination of the gradients at first
    for others in order.unbind(dim=1):
        against = (held * inner.index_select(1, others)).sum(dim=-1)
        share = torch.where(against < 0, against / squares.index_select(1, others), 0.0)
        held = held - share[..., None] * unit.index_select(0, others)
    return held.sum(dim=1)


class Projection:
    """The backward pass of a graph in which one network learns from several losses.

    Attributes:
        conflicts: Updates in which two teachers' gradients had a negative inner product: int64 [pairs], on the device.
            What a resumed run goes on with.
    """

    def __init__(self, edges: Sequence[Edge], network: nn.Module, aggregation: Aggregation, seed: int) -> None:
        """Take the network that learns; its parameters' gradients are set from now on.

        Args:
            edges: Those that the losses of ``backward`` are of, in their order.
            network: Which all of them lead to.
            aggregation: One that projects.
            seed: The trial's.
        """
        named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
        owners = itertools.groupby(named, key=lambda item: item[0].rpartition(".")[0])
        sizes = [sum(parameter.numel() for _, parameter in owned) for _, owned in owners]
        self._parameters = [parameter for _, parameter in named]
        self._layers = sizes if aggregation is Aggregation.PROJECT_PER_LAYER else []
        self._edges, self._seed = edges, seed
        self._device = self._parameters[0].device
        self._pairs = [
            (one, other)
            for one, other in itertools.combinations(range(len(edges)), 2)
            if not edges[one].is_label and edges[one].loss.type is edges[other].loss.type
        ]
        places = torch.tensor(self._pairs, dtype=torch.int64).view(-1, 2).to(self._device)
        self._ones, self._others = places.unbind(dim=1)
        self.conflicts = torch.zeros(len(self._pairs), dtype=torch.int64, device=self._device)

    def backward(self, losses: Tensor, step: int) -> None:
        """Set every parameter's gradient, in place of ``losses.sum().backward()``.

        Args:
            losses: Of each edge, with its graph, [edges].
            step: Updates done so far; the order of the losses is a function of it and the seed.
        """
        last = len(losses) - 1
        gradients = torch.stack([self._gradient(losses[place], last=place == last) for place in range(len(losses))])
        found = aggregate(gradients, self._order(len(losses), step), self._layers)
        pieces = found.gradient.split([parameter.numel() for parameter in self._parameters])
        for parameter, piece in zip(self._parameters, pieces, strict=True):
            # Laid out as the parameter is, which the fused optimiser takes for granted.
            parameter.grad = torch.empty_like(parameter).copy_(piece.view(parameter.shape))
        self.conflicts += found.inner[self._ones, self._others] < 0

    def counts(self) -> tuple[Conflict, ...]:
        """The conflicts so far, by pair; waits for the device."""
        return tuple(
            Conflict(
                loss=self._edges[one].loss.type,
                sources=(self._edges[one].source, self._edges[other].source),
                count=count,
            )
            for (one, other), count in zip(self._pairs, self.conflicts.tolist(), strict=True)
        )

    def _gradient(self, loss: Tensor, *, last: bool) -> Tensor:
        """[parameters]; zero where the loss does not depend on one, as an attention loss on the last layer."""
        found = torch.autograd.grad(loss, self._parameters, retain_graph=not last, materialize_grads=True)
        return torch.cat([gradient.reshape(-1) for gradient in found])

    def _order(self, losses: int, step: int) -> Tensor:
        draw = random.Random(derive(self._seed, "projection", step))
        rows = [draw.sample([other for other in range(losses) if other != one], losses - 1) for one in range(losses)]
        return torch.tensor(rows, dtype=torch.int64).view(losses, losses - 1).to(self._device, non_blocking=True)

"""The formulas of spec 1.2, 2.1, 3 and 4, stated as slowly and plainly as they are printed, in float64.

Loops over edges, samples and classes; nothing of the implementation is used but the contract. A node that learns is
a torch expression, so that autograd can differentiate its own L_t; every source is turned into plain numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from graphtrial.contract import Edge, Gate, GateType, Graph, LossType, NodeKind


def probabilities(logits: Sequence[float], temperature: float) -> list[float]:
    """softmax(l / T) of one sample."""
    exponentials = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    return [value / sum(exponentials) for value in exponentials]


def log_probability(logits: Tensor, index: int, temperature: float) -> Tensor:
    """Log of softmax(l / T) at one class of one sample, [classes] -> []."""
    scaled = logits / temperature
    shift = float(scaled.detach().max())
    return scaled[index] - shift - sum((torch.exp(value - shift) for value in scaled), torch.zeros(())).log()


def gate_weight(gate: Gate, source: Sequence[float], label: int, update: int, total: int) -> float:
    """(3.4) to (3.8), (5.7), (5.8) for one sample; ``source`` is p_s at temperature 1."""
    match gate.type:
        case GateType.THROUGH:
            return 1.0
        case GateType.CUTOFF:
            return 0.0
        case GateType.LINEAR:
            return update / total
        case GateType.NEGATIVE_LINEAR:
            return (total - update) / total
        case GateType.CORRECT:
            return 1.0 if source.index(max(source)) == label else 0.0
        case GateType.SINE:
            return 0.5 + 0.5 * math.sin(2 * math.pi * gate.frequency * update / total + gate.phase)
        case GateType.THRESHOLD:
            return 1.0 if max(source) > gate.threshold else 0.0


def edge_loss(edge: Edge, logits: Mapping[str, Tensor], sample: int, label: int) -> Tensor:
    """The ungated loss of one edge on one sample (3.1), (2.5)."""
    own, temperature = logits[edge.destination][sample], edge.loss.temperature
    if edge.loss.type is LossType.CROSS_ENTROPY:
        return -log_probability(own, label, 1.0)
    total = torch.zeros((), dtype=torch.float64)
    for index, p in enumerate(probabilities(logits[edge.source][sample].tolist(), temperature)):
        total = total + p * (math.log(p) - log_probability(own, index, temperature))
    return temperature**2 * total


def node_losses(
    graph: Graph, logits: Mapping[str, Tensor], labels: Sequence[int], update: int, total: int
) -> dict[str, Tensor]:
    """L_t of every node with an edge, cut ones included: (3.2) as a mean over the batch, (3.3)."""
    losses: dict[str, Tensor] = {}
    for edge in graph.edges:
        for sample, label in enumerate(labels):
            if edge.is_label:
                source = [1.0 if index == label else 0.0 for index in range(logits[edge.destination].shape[1])]
            else:
                source = probabilities(logits[edge.source][sample].tolist(), 1.0)
            weight = edge.loss.weight * gate_weight(edge.gate, source, label, update, total) / len(labels)
            loss = weight * edge_loss(edge, logits, sample, label)
            losses[edge.destination] = losses.get(edge.destination, torch.zeros((), dtype=torch.float64)) + loss
    return losses


def forward(graph: Graph, networks: Mapping[str, nn.Module], images: Tensor) -> dict[str, Tensor]:
    """Logits of every node on the same images; trained ones with batch statistics, frozen ones with their own."""
    outputs: dict[str, Tensor] = {}
    for node in graph.nodes:
        network = networks[node.name].train(node.kind is NodeKind.TRAINED)
        outputs[node.name] = network(images)
    return outputs


def gradients(losses: Mapping[str, Tensor], networks: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """The gradient of L_t in the parameters of t alone, for each t: one backward pass per node (Algorithm 1)."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, loss in losses.items():
        parameters = dict(networks[name].named_parameters())
        if loss.requires_grad:
            values = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
            found[name] = dict(zip(parameters, values, strict=True))
    return found

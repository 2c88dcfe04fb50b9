"""Per-sample losses of all edges of one kind at once (spec 2.1).

They take log-probabilities, in float32 at least: in bfloat16 a difference of two logarithms keeps two digits, and a
small constant inside the logarithm, as the authors' code has it, biases rare classes. What weights a loss, and over
which samples it is averaged, is not known here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def log_probabilities(logits: Tensor, temperature: Tensor) -> Tensor:
    """The logarithm of softmax(l / T), in float32, or in float64 where the logits are.

    Args:
        logits: [rows, samples, classes].
        temperature: T of each row, [rows].
    """
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.log_softmax(exact / temperature[:, None, None].to(exact.dtype), dim=-1)


def cross_entropy(log_p: Tensor, labels: Tensor) -> Tensor:
    """H(p_0, p_t) = -log p_t of the true class (3.1).

    Args:
        log_p: Of the destinations, [edges, samples, classes].
        labels: Class indices, [samples].

    Returns:
        [edges, samples].
    """
    index = labels.expand(log_p.shape[0], -1)[..., None]
    return -log_p.gather(-1, index).squeeze(-1)


def kl_divergence(source: Tensor, destination: Tensor, temperature: Tensor) -> Tensor:
    """T^2 KL(p_s || p_t) with both softened by T (2.5, 3.1); the source is a constant (Algorithm 1).

    Args:
        source: Log-probabilities, [edges, samples, classes].
        destination: The same of the nodes that learn.
        temperature: T of each edge, [edges].

    Returns:
        [edges, samples].
    """
    divergence = F.kl_div(destination, source.detach(), log_target=True, reduction="none").sum(dim=-1)
    return divergence * temperature.to(divergence.dtype).square()[:, None]

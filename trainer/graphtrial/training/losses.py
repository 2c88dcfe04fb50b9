"""Per-sample losses of all edges of one kind at once (spec 2).

They take log-probabilities, in float32 at least: in bfloat16 a difference of two logarithms keeps two digits, and a
small constant inside the logarithm, as the authors' code has it, biases rare classes. Sources come detached. What
weights a loss, and over which samples it is averaged, is not known here; maps are ``attention``'s.
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


def cross_entropy(log_p: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """H(p_0, p_t) = -log p_t of the true class (3.1), (4.13).

    Args:
        log_p: Of the destinations, [edges, samples, classes].
        labels: Class indices, [samples], or of each edge, [edges, samples].
        smoothing: Share of the target that is spread over all classes.

    Returns:
        [edges, samples].
    """
    index = labels.expand(log_p.shape[0], -1)[..., None]
    of_label = -log_p.gather(-1, index).squeeze(-1)
    return of_label if not smoothing else (1 - smoothing) * of_label - smoothing * log_p.mean(dim=-1)


def kl_divergence(source: Tensor, destination: Tensor, temperature: Tensor) -> Tensor:
    """T^2 KL(p_s || p_t) with both softened by T (2.5, 3.1, 4.6, 5.1).

    Args:
        source: Log-probabilities, [edges, samples, classes].
        destination: The same of the nodes that learn.
        temperature: T of each edge, [edges].

    Returns:
        [edges, samples].
    """
    divergence = F.kl_div(destination, source, log_target=True, reduction="none").sum(dim=-1)
    return divergence * temperature.to(divergence.dtype).square()[:, None]


def cosine(source: Tensor, destination: Tensor) -> Tensor:
    """(p_s / ||p_s||_2) . (p_t / ||p_t||_2), (4.7); arguments and result as ``kl_divergence``."""
    return F.cosine_similarity(source.exp(), destination.exp(), dim=-1, eps=0.0)


def pseudo_label(source: Tensor, destination: Tensor, threshold: Tensor) -> Tensor:
    """Cross entropy to the source's top class (5.4), where its probability exceeds tau (5.5).

    Args:
        source: Log-probabilities, [edges, samples, classes].
        destination: The same of the nodes that learn.
        threshold: tau of each edge, [edges]; negative: every sample counts.

    Returns:
        [edges, samples].
    """
    top, label = source.max(dim=-1)
    sure = top.exp() > threshold.to(top.dtype)[:, None]
    return cross_entropy(destination, label) * sure

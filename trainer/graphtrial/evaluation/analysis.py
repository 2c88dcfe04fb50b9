"""The analyses of spec 8 as functions of outputs: what its ensembles reach, how nodes differ, how sure they are.

Each says which equation or table it is, and computes in the precision of what it is given.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from graphtrial.contract import MOST_SUBSETS, Average
from graphtrial.evaluation.evaluator import ensemble
from graphtrial.evaluation.metrics import accuracy


def subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The node subsets of table 4.8, small ones first: of sizes 2 to M; of more than ten nodes only 2 and M."""
    count = len(names)
    for size in range(2, count + 1):
        if count <= MOST_SUBSETS or size in (2, count):
            yield from itertools.combinations(names, size)


def subset_accuracies(logits: Mapping[str, Tensor], labels: Tensor, average: Average) -> dict[tuple[str, ...], float]:
    """Accuracy of the ensemble of every node subset (table 4.8).

    Args:
        logits: [samples, classes] of each node.
        labels: Class indices, [samples].
        average: What an ensemble averages.
    """
    return {
        members: accuracy(ensemble([logits[name] for name in members], average), labels)
        for members in subsets(list(logits))
    }


def mutual_kl(first: Tensor, second: Tensor) -> float:
    """MutualKL of two outputs (4.2): the mean over samples of half the sum of KL (4.3) in both directions, in nats.

    Args:
        first: Logits, [samples, classes].
        second: Logits of the same samples.
    """
    log_p, log_q = first.log_softmax(1), second.log_softmax(1)
    # KL(p||q) + KL(q||p) = sum of (p - q)(log p - log q).
    return float(((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1).mean()) / 2


def delta_accuracy(together: float, first: float, second: float) -> float:
    """What an ensemble of two gains over their mean accuracy (4.4)."""
    return together - (first + second) / 2


def attention_error(first: Tensor, second: Tensor) -> float:
    """Sum over cells of the absolute difference of two nodes' maps, averaged over samples (table 4.6).

    Args:
        first: Maps, [samples, S, S]; scaled or not.
        second: Maps of the same samples and size.
    """
    return float((first - second).abs().sum((1, 2)).mean())


def unit_maps(maps: Tensor) -> Tensor:
    """Q / ||Q||_2 of each sample, as the losses read maps (4.8); a map of zeros stays."""
    return maps / maps.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None]


def entropy(logits: Tensor) -> float:
    """Mean entropy of the output distributions, in nats: low where a network looks at little and is sure (spec 8)."""
    log_p = logits.log_softmax(1)
    return float(-(log_p.exp() * log_p).sum(1).mean())

"""What a finished trial says about its networks beyond their scores (spec 8).

Every number is of the images that the trial is scored on, and of its weights at the end. Shares and accuracies are
from 0 to 1, entropies and divergences in nats. What is not known is left out.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from pydantic import Field

from graphtrial.contract._base import Model
from graphtrial.contract.graph import Graph
from graphtrial.contract.graph_rules import ScoreOf, scored_nodes
from graphtrial.contract.parts import ENSEMBLE
from graphtrial.contract.trial import Metric

ANALYSIS = "analysis.json"
"""The object, beside a trial's checkpoint, that holds its ``Analysis``."""
MAPS = "maps.npz"
"""The object beside it with attention maps for UMAP.

``nodes``: their names; ``maps``: float16 [nodes, images, S, S], each map of L2 norm 1.
"""


MOST_SUBSETS = 10
"""Nodes of which every subset is measured: 1013 ensembles."""


class OutputAnalysis(Model):
    """One node, or the ensemble of all."""

    parameters: int
    flops: int
    """Of one image's forward pass, as torch counts them; a multiply-add is two."""
    accuracy: float
    metrics: dict[Metric, float] = Field(default_factory=dict)
    """The others that say something of so many classes; of earlier versions none."""
    entropy: float
    """Mean entropy of the output distribution; low where a network is sure."""
    calibration_error: float
    """Expected calibration error, 15 bins."""
    recall: tuple[float | None, ...]
    """Of each class; None for one without images."""


class SubsetAnalysis(Model):
    """The ensemble of some nodes (table 4.8)."""

    members: tuple[str, ...]
    accuracy: float
    parameters: int
    """Each counted once where nodes share layers."""


class PairAnalysis(Model):
    """Two nodes beside one another."""

    first: str
    second: str
    mutual_kl: float
    """MutualKL (4.2)."""
    delta_accuracy: float
    """What their ensemble gains over their mean accuracy (4.4)."""
    attention_error: float | None = None
    """Sum over cells of the absolute difference of the maps as they are, mean over images (table 4.6).

    The thesis does not say how maps are scaled. Its values exceed what L2-normalised maps (9.9 for 49 cells) and maps
    scaled to 0..1 (49) can give, so they are not scaled. None where a node has no map, or one of another size.
    """
    attention_distance: float | None = None
    """The same of maps of L2 norm 1, which can be compared between architectures."""


class SampleAnalysis(Model):
    """One image and where the nodes look; pictures are PNG in base64."""

    image: str
    label: int
    guesses: dict[str, int]
    maps: dict[str, str]
    """Grey, from the map's least value (black) to its largest (white), one pixel for a cell."""


class Analysis(Model):
    """All of one trial."""

    images: int
    outputs: dict[str, OutputAnalysis]
    """Of each node whose outputs are finite, and ``ensemble`` where there are several."""
    subsets: tuple[SubsetAnalysis, ...] = ()
    """Of two nodes or more; of more than ``MOST_SUBSETS`` nodes only pairs and all together."""
    pairs: tuple[PairAnalysis, ...] = ()
    correlation: float | None = None
    """Between MutualKL and delta accuracy over the pairs."""
    samples: tuple[SampleAnalysis, ...] = ()

    @property
    def attention_error(self) -> float | None:
        """Mean over the pairs that have one (table 4.6)."""
        known = [pair.attention_error for pair in self.pairs if pair.attention_error is not None]
        return statistics.fmean(known) if known else None


def correlation(pairs: Iterable[PairAnalysis]) -> float | None:
    """Pearson's, between MutualKL and delta accuracy; None for fewer than three pairs or where one never varies."""
    points = [(pair.mutual_kl, pair.delta_accuracy) for pair in pairs]
    if len(points) < 3:
        return None
    try:
        return statistics.correlation(*map(list, zip(*points, strict=True)))
    except statistics.StatisticsError:
        return None


def score_modes(graph: Graph, nodes: Mapping[str, float]) -> dict[str, float]:
    """The scores of spec 5.3 that can be told from those of the nodes.

    Args:
        graph: Whose nodes they are.
        nodes: The metric of every evaluated node, and ``ensemble``.

    Returns:
        ``target``; ``best``, which a frozen node never is; ``mean`` over the evaluated members of the ensemble;
        ``ensemble``.
    """
    learners = [nodes[name] for name in scored_nodes(graph, ScoreOf.BEST_NODE) if name in nodes]
    members = [nodes[name] for name in scored_nodes(graph, ScoreOf.ENSEMBLE) if name in nodes]
    found = {"target": nodes.get(graph.target_name), "ensemble": nodes.get(ENSEMBLE)}
    finite = [score for score in learners if score == score]  # noqa: PLR0124 (NaN compares false with everything)
    found |= {"best": max(finite, default=None), "mean": statistics.fmean(members) if members else None}
    return {name: score for name, score in found.items() if score is not None}

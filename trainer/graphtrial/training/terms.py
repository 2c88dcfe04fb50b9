"""The terms that losses are made of, and what computes all terms of one design at once.

A design of spec 2 is one or two of five measures, each as it is, negative or inverse (4.2.3). What weights a term is
not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

import torch
from torch import Tensor

from graphtrial.contract import LossType
from graphtrial.training.attention import Crops, crop_pairs, inner_product, resized, squared_difference
from graphtrial.training.losses import cosine, kl_divergence, log_probabilities, pseudo_label


class Said(NamedTuple):
    """What networks say of the same images, each list in one order of nodes."""

    names: tuple[str, ...]
    logits: Tensor
    """[nodes, samples, classes]."""
    branches: tuple[Tensor | None, ...]
    """Logits of attention branches, [samples, classes]; None where a network has none."""
    maps: tuple[Tensor | None, ...]
    """Attention maps, [samples, S, S]; likewise."""


class Measure(Enum):
    """What is computed of two networks' outputs."""

    KL = auto()
    COSINE = auto()
    PSEUDO_LABEL = auto()
    MAP_SQUARED_DIFFERENCE = auto()
    MAP_COSINE = auto()


MAPS = {Measure.MAP_SQUARED_DIFFERENCE: squared_difference, Measure.MAP_COSINE: inner_product}

_Form = Callable[[Tensor], Tensor]


def _as_it_is(values: Tensor) -> Tensor:
    return values


Design = tuple[Measure, _Form]
_KL, _COSINE = (Measure.KL, _as_it_is), (Measure.COSINE, _as_it_is)
_TOGETHER, _APART = (Measure.MAP_SQUARED_DIFFERENCE, _as_it_is), (Measure.MAP_COSINE, _as_it_is)
_PSEUDO_LABEL = (Measure.PSEUDO_LABEL, _as_it_is)

DESIGNS: dict[LossType, tuple[Design, ...]] = {
    LossType.KL: (_KL,),
    LossType.PROBABILITY_APART: (_COSINE,),
    LossType.ATTENTION_TOGETHER: (_TOGETHER,),
    LossType.ATTENTION_APART: (_APART,),
    LossType.TOGETHER: (_KL, _TOGETHER),
    LossType.APART: (_COSINE, _APART),
    LossType.PROBABILITY_NEGATIVE_COSINE: ((Measure.COSINE, torch.neg),),
    LossType.PROBABILITY_INVERSE_COSINE: ((Measure.COSINE, torch.reciprocal),),
    LossType.PROBABILITY_NEGATIVE_KL: ((Measure.KL, torch.neg),),
    LossType.PROBABILITY_INVERSE_KL: ((Measure.KL, torch.reciprocal),),
    LossType.ATTENTION_NEGATIVE_COSINE: ((Measure.MAP_COSINE, torch.neg),),
    LossType.ATTENTION_INVERSE_COSINE: ((Measure.MAP_COSINE, torch.reciprocal),),
    LossType.ATTENTION_NEGATIVE_MSE: ((Measure.MAP_SQUARED_DIFFERENCE, torch.neg),),
    LossType.ATTENTION_INVERSE_MSE: ((Measure.MAP_SQUARED_DIFFERENCE, torch.reciprocal),),
    LossType.CONSISTENCY: (_KL,),
    LossType.PSEUDO_LABEL: (_PSEUDO_LABEL,),
    LossType.THRESHOLDED_PSEUDO_LABEL: (_PSEUDO_LABEL,),
}
"""The terms of each design on transfer and self edges: (4.6) to (4.9), (4.11), 4.2.3, (5.1), (5.4), (5.5)."""


class ProbabilityTerms(NamedTuple):
    """Terms of one design that compare probabilities."""

    design: Design
    edges: Tensor
    sources: Tensor
    """Their rows in the sources' log-probabilities."""
    destinations: Tensor
    """Their places in the destinations' logits."""
    temperatures: Tensor
    thresholds: Tensor

    def losses(self, from_sources: Tensor, logits: Tensor) -> Tensor:
        """[terms, samples]."""
        measure, form = self.design
        theirs = from_sources.index_select(0, self.sources)
        # index_select and not [...]: on several threads the gradient of indexing adds up in no fixed order, and a
        # resumed run would not be bit-equal.
        own = log_probabilities(logits.index_select(0, self.destinations), self.temperatures)
        match measure:
            case Measure.KL:
                return form(kl_divergence(theirs, own, self.temperatures))
            case Measure.COSINE:
                return form(cosine(theirs, own))
            case _:
                return form(pseudo_label(theirs, own, self.thresholds))


class MapTerms(NamedTuple):
    """Terms of one design on maps of one size."""

    design: Design
    crops: Crops
    side: int
    edges: Tensor
    pairs: list[tuple[int, int]]
    """Of each term: the place of the source's map and that of the destination's."""

    def losses(self, destination: Said, source: Said) -> Tensor:
        """[terms, samples], the mean over crops."""
        theirs = torch.stack([self._exact(source, place).detach() for place, _ in self.pairs])
        own = torch.stack([self._exact(destination, place) for _, place in self.pairs])
        measure, form = self.design
        crops = crop_pairs(theirs, own, self.crops)
        return torch.stack([form(MAPS[measure](*crop)) for crop in crops]).mean(dim=0)

    def _exact(self, said: Said, place: int) -> Tensor:
        maps = said.maps[place]
        assert maps is not None
        return resized(maps.to(torch.promote_types(maps.dtype, torch.float32)), self.side)

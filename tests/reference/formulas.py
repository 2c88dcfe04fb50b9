"""Losses and gates of one edge on one sample (spec 2, 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from graphtrial.contract import Edge, Gate, GateType, LossType, Resize

Numbers = Sequence[float]
Map = Sequence[Sequence[float]]


class Told(NamedTuple):
    """What a source says of one sample."""

    probabilities: Numbers
    """At the edge's temperature."""
    at_one: Numbers
    """At temperature 1."""
    map: Map | None = None


class Heard(NamedTuple):
    """What the destination says of one sample, as expressions."""

    logits: Tensor
    branch: Tensor | None = None
    map: Tensor | None = None


def probabilities(logits: Numbers, temperature: float) -> list[float]:
    """softmax(l / T) of one sample."""
    exponentials = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    return [value / sum(exponentials) for value in exponentials]


def log_probability(logits: Tensor, index: int, temperature: float) -> Tensor:
    """Log of softmax(l / T) at one class of one sample, [classes] -> []."""
    scaled = logits / temperature
    shift = float(scaled.detach().max())
    return scaled[index] - shift - sum((torch.exp(value - shift) for value in scaled), torch.zeros(())).log()


def gate_weight(gate: Gate, source: Numbers, label: int, update: int, total: int) -> float:
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
            return 1.0 if list(source).index(max(source)) == label else 0.0
        case GateType.SINE:
            return 0.5 + 0.5 * math.sin(2 * math.pi * gate.frequency * update / total + gate.phase)
        case GateType.THRESHOLD:
            return 1.0 if max(source) > gate.threshold else 0.0


def supervised(heard: Heard, label: int, smoothing: float) -> Tensor:
    """(4.13) with the target smoothed; for an ABN the sum over both heads (spec 2.2)."""
    heads = [heard.logits] if heard.branch is None else [heard.logits, heard.branch]
    loss = torch.zeros((), dtype=torch.float64)
    for logits in heads:
        classes = len(logits)
        for index in range(classes):
            target = (1 - smoothing) * (index == label) + smoothing / classes
            loss = loss - target * log_probability(logits, index, 1.0)
    return loss


def kl(told: Numbers, heard: Tensor, temperature: float) -> Tensor:
    """T^2 sum_c p_s log(p_s / p_t), (2.5), (3.1), (4.6), (5.1)."""
    loss = torch.zeros((), dtype=torch.float64)
    for index, p in enumerate(told):
        loss = loss + p * (math.log(p) - log_probability(heard, index, temperature))
    return temperature**2 * loss


def probability_cosine(told: Numbers, heard: Tensor) -> Tensor:
    """(p_s / ||p_s||) . (p_t / ||p_t||), (4.7)."""
    own = [log_probability(heard, index, 1.0).exp() for index in range(len(told))]
    norm = math.sqrt(sum(p * p for p in told))
    own_norm = sum((p * p for p in own), torch.zeros(())).sqrt()
    return sum((p * q for p, q in zip(told, own, strict=True)), torch.zeros(())) / (norm * own_norm)


def pseudo_label(told: Numbers, heard: Tensor) -> Tensor:
    """- sum_i y'_i log f_i, y' the one-hot of the source's top class (5.3), (5.4)."""
    return -log_probability(heard, list(told).index(max(told)), 1.0)


def bilinear(map_: Map, side: int) -> list[list[float]]:
    """A map of another side: cell centres are mapped onto one another, and the border goes on outside."""
    size = len(map_)

    def weights(position: int) -> list[tuple[int, float]]:
        at = max((position + 0.5) * size / side - 0.5, 0.0)
        low = min(math.floor(at), size - 1)
        return [(low, 1 - (at - low)), (min(low + 1, size - 1), at - low)]

    return [
        [sum(u * v * map_[row][column] for row, u in weights(y) for column, v in weights(x)) for x in range(side)]
        for y in range(side)
    ]


def crop_start(at: int, side: int, size: int) -> int:
    """clamp(argmax - k // 2, 0, S - k)."""
    return min(max(at - side // 2, 0), size - side)


def map_losses(told: Map, heard: Tensor, crops: Sequence[int], kind: str) -> list[Tensor]:
    """(4.8) or (4.9) of each crop: squared difference or inner product of the normalised cells."""
    size = len(told)
    values = [(told[y][x], y, x) for y in range(size) for x in range(size)]
    _, top_y, top_x = max(values, key=lambda value: value[0])
    losses: list[Tensor] = []
    for asked in crops or [size]:
        side = min(asked, size)
        y0, x0 = crop_start(top_y, side, size), crop_start(top_x, side, size)
        cells = [(y, x) for y in range(y0, y0 + side) for x in range(x0, x0 + side)]
        norm = math.sqrt(sum(told[y][x] ** 2 for y, x in cells))
        own_norm = sum((heard[y, x] ** 2 for y, x in cells), torch.zeros(())).sqrt()
        loss = torch.zeros((), dtype=torch.float64)
        for y, x in cells:
            theirs, own = told[y][x] / norm, heard[y, x] / own_norm
            loss = loss + ((theirs - own) ** 2 / len(cells) if kind == "MSE" else theirs * own)
        losses.append(loss)
    return losses


def attention(edge: Edge, told: Told, heard: Heard, kind: str, form: str = "") -> Tensor:
    """The mean over crops of an attention loss, each crop's as it is, negative or inverse (4.2.3)."""
    assert told.map is not None
    assert heard.map is not None
    side = heard.map.shape[-1]
    theirs = bilinear(told.map, side) if edge.loss.resize is Resize.BILINEAR else told.map
    losses = [formed(loss, form) for loss in map_losses(theirs, heard.map, edge.loss.crops, kind)]
    return sum(losses, torch.zeros(())) / len(losses)


def formed(loss: Tensor, form: str) -> Tensor:
    """The variants of 4.2.3."""
    return {"": loss, "-": -loss, "1/": 1 / loss}[form]


def edge_loss(edge: Edge, told: Told | None, heard: Heard, label: int, smoothing: float) -> Tensor:
    """The ungated loss of one edge on one sample."""
    if told is None:
        return supervised(heard, label, smoothing)

    def of_kl(form: str = "") -> Tensor:
        return formed(kl(told.probabilities, heard.logits, edge.loss.temperature), form)

    def of_cosine(form: str = "") -> Tensor:
        return formed(probability_cosine(told.at_one, heard.logits), form)

    def of_map(kind: str, form: str = "") -> Tensor:
        return attention(edge, told, heard, kind, form)

    def of_label() -> Tensor:
        return pseudo_label(told.at_one, heard.logits)

    designs = {
        LossType.KL: of_kl,
        LossType.CONSISTENCY: of_kl,
        LossType.PROBABILITY_APART: of_cosine,
        LossType.ATTENTION_TOGETHER: lambda: of_map("MSE"),
        LossType.ATTENTION_APART: lambda: of_map("cos"),
        LossType.TOGETHER: lambda: of_kl() + of_map("MSE"),
        LossType.APART: lambda: of_cosine() + of_map("cos"),
        LossType.PROBABILITY_NEGATIVE_COSINE: lambda: of_cosine("-"),
        LossType.PROBABILITY_INVERSE_COSINE: lambda: of_cosine("1/"),
        LossType.PROBABILITY_NEGATIVE_KL: lambda: of_kl("-"),
        LossType.PROBABILITY_INVERSE_KL: lambda: of_kl("1/"),
        LossType.ATTENTION_NEGATIVE_COSINE: lambda: of_map("cos", "-"),
        LossType.ATTENTION_INVERSE_COSINE: lambda: of_map("cos", "1/"),
        LossType.ATTENTION_NEGATIVE_MSE: lambda: of_map("MSE", "-"),
        LossType.ATTENTION_INVERSE_MSE: lambda: of_map("MSE", "1/"),
        LossType.PSEUDO_LABEL: of_label,
        LossType.THRESHOLDED_PSEUDO_LABEL: lambda: (max(told.at_one) > edge.loss.threshold) * of_label(),
    }
    return designs[edge.loss.type]()

"""Numbers and graphs as a reader wants them: percent, hours, "2→1 KL Linear"."""

from __future__ import annotations

import math

from graphtrial.contract import Edge, GateType, Graph, LossType, Metric

LOSSES = {
    LossType.CROSS_ENTROPY: "CE",
    LossType.PROBABILITY_APART: "P−",
    LossType.ATTENTION_TOGETHER: "A+",
    LossType.ATTENTION_APART: "A−",
    LossType.TOGETHER: "P+A+",
    LossType.APART: "P−A−",
    LossType.PSEUDO_LABEL: "Pseudo-label",
    LossType.THRESHOLDED_PSEUDO_LABEL: "Sure pseudo-label",
}
"""Short names of losses (spec 2.2); the others are short as they are."""

GATES = {
    GateType.THROUGH: "always",
    GateType.LINEAR: "grows over training",
    GateType.NEGATIVE_LINEAR: "fades over training",
    GateType.CORRECT: "where the source is right",
    GateType.SINE: "rises and falls",
    GateType.THRESHOLD: "where the source is sure",
}
"""When a gate lets knowledge pass."""


def loss_text(edge: Edge) -> str:
    """An edge's loss, with its temperature where it has one."""
    name = LOSSES.get(edge.loss.type, edge.loss.type.value)
    return name if edge.loss.temperature == 1 else f"{name} T={edge.loss.temperature:g}"


def gate_text(edge: Edge) -> str:
    """An edge's gate as it acts, with its parameters."""
    gate = edge.acting_gate
    match gate.type:
        case GateType.SINE:
            return f"Sine f={gate.frequency:.2f} φ={gate.phase:.2f}"
        case GateType.THRESHOLD:
            return f"Threshold {gate.threshold:g}"
        case _:
            return gate.type.value


def graph_text(graph: Graph) -> str:
    """A graph in one line: its networks, then its live edges."""
    nodes = ", ".join(f"{node.name}: {node.model or node.kind.value}" for node in graph.nodes)
    edges = "; ".join(
        f"{edge.source}→{edge.destination} {loss_text(edge)} {gate_text(edge)}" for edge in graph.live_edges()
    )
    return f"{nodes} | {edges}"


def score_text(metric: Metric, score: float | None) -> str:
    """A score: shares in percent with one decimal, log loss as it is; a dash for none."""
    if score is None:
        return "–"
    if not math.isfinite(score):
        return "not a number" if math.isnan(score) else "infinite"
    return f"{score:.3f}" if metric is Metric.NEGATIVE_LOG_LOSS else f"{100 * score:.1f} %"


METRICS = {
    Metric.ACCURACY: "accuracy",
    Metric.TOP5_ACCURACY: "top-5 accuracy",
    Metric.BALANCED_ACCURACY: "balanced accuracy",
    Metric.MACRO_F1: "macro F1",
    Metric.NEGATIVE_LOG_LOSS: "negative log loss",
}
"""A metric in running text."""


def duration_text(seconds: float) -> str:
    """A time in the two largest units that say something."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def size_text(number: float) -> str:
    """A large number with k, M or G, three digits."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number:.0f}"


_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def space_text(size: int) -> str:
    """The size of a space: exact where one can still read it, else as a power of ten."""
    if size < 10**12:
        return f"{size:,}"
    power = len(str(size)) - 1
    return f"about {size / 10**power:.1f} × 10{str(power).translate(_RAISED)}"


def counted(number: int, one: str, many: str = "") -> str:
    """``1 graph``, ``1,500 graphs``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def length_text(length: float) -> str:
    """A trained length: whole where it is, else with one decimal."""
    return f"{length:,.1f}".removesuffix(".0")


def mean_text(metric: Metric, mean: float | None, std: float | None) -> str:
    """``78.3 ± 0.4 %``; without a deviation as ``score_text``."""
    if mean is None or std is None or not math.isfinite(mean):
        return score_text(metric, mean)
    return f"{mean:.3f} ± {std:.3f}" if metric is Metric.NEGATIVE_LOG_LOSS else f"{100 * mean:.1f} ± {100 * std:.1f} %"

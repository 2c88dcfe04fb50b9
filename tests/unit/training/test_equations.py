"""Each equation of spec 2 and 3 that is a whole loss, through the trainer's compiled losses, on numbers by hand.

``test_losses``, ``test_gates`` and ``test_attention`` have the measures and weights on their own, and
``test_step_against_reference`` all of them on random graphs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
from tests.builders import GraphBuilder, a_graph

from graphtrial.contract import Average, Gate, GateType, Length, Loss, LossType, NodeKind, Reduction, Training
from graphtrial.training.graph_losses import GraphLosses, Order
from graphtrial.training.terms import Said

LOGITS = {"1": [[0.0, 1.0, -1.0], [2.0, 0.0, 0.5]], "2": [[1.0, 0.5, 0.0], [0.0, -1.0, 3.0]]}
LOGITS["3"] = LOGITS["2"]
"""What nodes say of two samples; of the first sample node 2 is right, of the second none is."""
LABELS = [0, 1]
MAPS = {"1": [[3.0, 4.0], [0.0, 0.0]], "2": [[1.0, 0.0], [0.0, 2.0]]}
MAPS["3"] = MAPS["2"]
"""Where they look, in both samples."""
ONE_EPOCH = Training(length=Length(epochs=1))
Samples = Sequence[Sequence[float]]


def node_losses(
    builder: GraphBuilder,
    training: Training = ONE_EPOCH,
    *,
    update: int = 3,
    total: int = 4,
    branches: Mapping[str, Samples] | None = None,
    sources: Mapping[str, Samples] | None = None,
    maps: Mapping[str, Samples] = MAPS,
) -> dict[str, float]:
    """L_t of each node that learns, in float64; ``sources`` is what is said of another view, where there is one."""
    graph = builder.obj()
    names = [node.name for node in graph.nodes if node.kind is not NodeKind.ENSEMBLE]
    learning = sorted({edge.destination for edge in graph.live_edges()})
    compiled = GraphLosses(
        graph.live_edges(),
        learning,
        order=Order(names, names, names),
        ensembles=[node for node in graph.nodes if node.kind is NodeKind.ENSEMBLE],
        total_steps=total,
        training=training,
        device=torch.device("cpu"),
    )

    def said(logits: Mapping[str, Samples]) -> Said:
        heads = tuple(None if branches is None else tensor(branches[name]) for name in names)
        seen = tuple(tensor(maps[name]).expand(len(LABELS), -1, -1) for name in names)
        return Said(tuple(names), torch.stack([tensor(logits[name]) for name in names]), heads, seen)

    own = said(LOGITS)
    losses = compiled(own, own, said(sources or LOGITS), torch.tensor(LABELS), torch.tensor(update))
    return dict(zip(learning, losses.nodes.tolist(), strict=True))


def tensor(values: Samples) -> torch.Tensor:
    """In float64."""
    return torch.tensor(values, dtype=torch.float64)


def p(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Softmax of one sample."""
    powers = [math.exp(value / temperature) for value in logits]
    return [power / sum(powers) for power in powers]


def kl(source: Sequence[float], destination: Sequence[float]) -> float:
    """sum_c p_s log(p_s / p_t)."""
    return sum(s * math.log(s / t) for s, t in zip(source, destination, strict=True))


def mean(values: Sequence[float]) -> float:
    """Over the batch."""
    return sum(values) / len(values)


def ce(node: str, logits: Mapping[str, Samples] = LOGITS) -> list[float]:
    """-log p_t of the label, of each sample."""
    return [-math.log(p(said)[label]) for said, label in zip(logits[node], LABELS, strict=True)]


def kl_of(source: str, destination: str, temperature: float = 1.0) -> list[float]:
    """KL of each sample, both softened."""
    pairs = zip(LOGITS[source], LOGITS[destination], strict=True)
    return [kl(p(s, temperature), p(t, temperature)) for s, t in pairs]


BOTH = a_graph().trained("1").trained("2")


def test_the_general_form_of_distillation():
    """(2.3), (2.4), (2.5): (1 - a) L_label + a T^2 KL of both softened by T, as weights of two edges."""
    alpha, temperature = 0.7, 2.0
    label = Loss(type=LossType.CROSS_ENTROPY, weight=1 - alpha)
    soft = Loss(type=LossType.KL, weight=alpha, temperature=temperature)
    graph = a_graph().trained("1").frozen("2").edge("Label", "1", label).transfer("2", "1", loss=soft)
    expected = (1 - alpha) * mean(ce("1")) + alpha * temperature**2 * mean(kl_of("2", "1", temperature))
    assert node_losses(graph)["1"] == pytest.approx(expected, rel=1e-12)


def test_deep_mutual_learning():
    """(2.6), (2.7): each node's cross entropy and the KL from the other one, in both directions."""
    losses = node_losses(BOTH.label("1").label("2").transfer("1", "2").transfer("2", "1"))
    assert losses == pytest.approx(
        {"1": mean(ce("1")) + mean(kl_of("2", "1")), "2": mean(ce("2")) + mean(kl_of("1", "2"))}, rel=1e-12
    )


def test_attention_transfer():
    """(2.12): the mean squared difference of whole maps of norm 1, which is its square for p = 2 over the cells."""
    graph = BOTH.transfer("2", "1", loss="AttentionTogether")
    own, theirs = [0.6, 0.8, 0, 0], [1 / math.sqrt(5), 0, 0, 2 / math.sqrt(5)]
    squares = [(s - t) ** 2 for s, t in zip(theirs, own, strict=True)]
    assert node_losses(graph)["1"] == pytest.approx(mean(squares), rel=1e-12)


def test_an_edge_sums_or_averages_its_gated_samples():
    """(3.2) as it is written, a sum over the batch, and as (4.12) and the authors' code have it, a mean."""
    graph = BOTH.transfer("2", "1", "Correct")
    right_only = [kl_of("2", "1")[0], 0.0]
    assert node_losses(graph)["1"] == pytest.approx(mean(right_only), rel=1e-12)
    summed = ONE_EPOCH.model_copy(update={"reduction": Reduction.SUM})
    assert node_losses(graph, summed)["1"] == pytest.approx(sum(right_only), rel=1e-12)


def test_a_node_sums_its_edges():
    """(3.3): the label edge and every transfer edge at weight 1, whatever their number."""
    three = BOTH.frozen("3").label("1").transfer("2", "1").transfer("3", "1", "Linear")
    expected = mean(ce("1")) + mean(kl_of("2", "1")) + 3 / 4 * mean(kl_of("3", "1"))
    assert node_losses(three)["1"] == pytest.approx(expected, rel=1e-12)


def cosine_of(own: Sequence[float], theirs: Sequence[float]) -> float:
    """Of two vectors."""
    return sum(a * b for a, b in zip(own, theirs, strict=True)) / math.hypot(*own) / math.hypot(*theirs)


def flat(name: str) -> list[float]:
    """A node's map, of norm 1."""
    cells = [value for row in MAPS[name] for value in row]
    return [value / math.hypot(*cells) for value in cells]


COSINES = [cosine_of(p(own), p(theirs)) for own, theirs in zip(LOGITS["1"], LOGITS["2"], strict=True)]
DIVERGENCES = [kl(p(theirs), p(own)) for own, theirs in zip(LOGITS["1"], LOGITS["2"], strict=True)]
SQUARES = [mean([(s - t) ** 2 for s, t in zip(flat("2"), flat("1"), strict=True)])]
PRODUCTS = [cosine_of(flat("1"), flat("2"))]


@pytest.mark.parametrize(
    ("loss", "measures", "form", "weight"),
    [
        ("KL", DIVERGENCES, lambda value: value, 1),
        ("ProbabilityNegativeCosine", COSINES, lambda value: -value, 1),
        ("ProbabilityInverseCosine", COSINES, lambda value: 1 / value, 10e-4),
        ("ProbabilityApart", COSINES, lambda value: value, 1),
        ("ProbabilityNegativeKL", DIVERGENCES, lambda value: -value, 1),
        ("ProbabilityInverseKL", DIVERGENCES, lambda value: 1 / value, 1),
        ("AttentionTogether", SQUARES, lambda value: value, 1),
        ("AttentionNegativeCosine", PRODUCTS, lambda value: -value, 1),
        ("AttentionInverseCosine", PRODUCTS, lambda value: 1 / value, 10e-1),
        ("AttentionApart", PRODUCTS, lambda value: value, 1),
        ("AttentionNegativeMSE", SQUARES, lambda value: -value, 1),
        ("AttentionInverseMSE", SQUARES, lambda value: 1 / value, 10e-7),
    ],
)
def test_the_analysis_losses(loss: str, measures: list[float], form: Callable[[float], float], weight: float):
    """(4.5): L_CE and one of the twelve designs of 4.2.3 from the other node, without a gate.

    Extra weights as printed: 10e-4 for 1/cos of probabilities, 10e-1 and 10e-7 for 1/cos and 1/MSE of maps.
    """
    graph = BOTH.transfer("2", "1", loss=Loss(type=LossType(loss), weight=weight))
    expected = weight * mean([form(measure) for measure in measures])
    assert node_losses(graph)["1"] == pytest.approx(expected, rel=1e-12)
    assert node_losses(graph.label("1"))["1"] == pytest.approx(mean(ce("1")) + expected, rel=1e-12)


def test_p_plus_is_the_divergence_from_the_source():
    """P+ (4.6): sum_c p_s log(p_s / p_t), the source first."""
    assert node_losses(BOTH.transfer("2", "1"))["1"] == pytest.approx(mean(kl_of("2", "1")), rel=1e-12)
    assert mean(kl_of("2", "1")) != pytest.approx(mean(kl_of("1", "2")), rel=1e-2)


CROPPED = {"1": [[3.0, 1.0, 3.0], [8.0, 1.0, 5.0], [9.0, 0.0, 1.0]], "2": [[6.0, 1.0, 5.0], [2.0, 5.0, 7.0], [0, 2, 0]]}
"""Node 2 looks at the middle of the right edge, node 1 at the lower left corner."""
PLACES = ([(0, 1), (0, 2), (1, 1), (1, 2)], [(row, column) for row in range(3) for column in range(3)])
"""Cells of a crop of two cells a side, moved inside, and of one of three."""


def unit(name: str, places: Sequence[tuple[int, int]]) -> list[float]:
    """These cells of a node's map, of norm 1."""
    cells = [CROPPED[name][row][column] for row, column in places]
    return [cell / math.hypot(*cells) for cell in cells]


def test_crops_lie_where_the_source_looks_and_have_norms_of_their_own():
    """Of node 2 the first crop's norm is 10 and the whole map's 12; of node 1 they are 6 and the root of 191."""
    assert unit("2", PLACES[0]) == pytest.approx([0.1, 0.5, 0.5, 0.7])
    assert unit("2", PLACES[1])[5] == pytest.approx(7 / 12)
    assert unit("1", PLACES[0]) == pytest.approx([1 / 6, 3 / 6, 1 / 6, 5 / 6])
    assert unit("1", PLACES[1])[0] == pytest.approx(3 / math.sqrt(191))


def cropped(loss: LossType) -> float:
    """L_1 of node 2's map in both crops."""
    graph = BOTH.transfer("2", "1", loss=Loss(type=loss, crops=(2, 3)))
    return node_losses(graph, maps=CROPPED)["1"]


def test_a_plus_is_the_mean_over_crops_of_squared_differences():
    """A+ (4.8): each crop normalised on its own, and its squares averaged over its cells."""
    crops = [[(s - t) ** 2 for s, t in zip(unit("2", at), unit("1", at), strict=True)] for at in PLACES]
    assert cropped(LossType.ATTENTION_TOGETHER) == pytest.approx(mean([mean(cells) for cells in crops]), rel=1e-12)


def test_a_minus_is_the_mean_over_crops_of_inner_products():
    """A- (4.9): each crop normalised on its own, and its products added up."""
    crops = [[s * t for s, t in zip(unit("2", at), unit("1", at), strict=True)] for at in PLACES]
    assert cropped(LossType.ATTENTION_APART) == pytest.approx(mean([sum(cells) for cells in crops]), rel=1e-12)


@pytest.mark.parametrize("average", Average)
def test_an_ensemble_is_the_mean_of_logits_or_of_probabilities(average: Average):
    """(4.10) for logits, (4.1) for either, as the source of an edge."""
    graph = BOTH.ensemble("e", "1", "2", average=average).transfer("e", "1")
    divergences = []
    for one, two in zip(LOGITS["1"], LOGITS["2"], strict=True):
        of_logits = p([(a + b) / 2 for a, b in zip(one, two, strict=True)])
        of_probabilities = [(a + b) / 2 for a, b in zip(p(one), p(two), strict=True)]
        divergences.append(kl(of_logits if average is Average.LOGITS else of_probabilities, p(one)))
    assert node_losses(graph)["1"] == pytest.approx(mean(divergences), rel=1e-12)


def test_an_edge_adds_probabilities_and_maps_under_one_gate():
    """(4.11), (4.12): P+A+ is L_p + L_map of a sample, gated together and averaged over the batch."""
    apart = [node_losses(BOTH.transfer("2", "1", loss=loss))["1"] for loss in ("KL", "AttentionTogether")]
    assert node_losses(BOTH.transfer("2", "1", loss="Together"))["1"] == pytest.approx(sum(apart), rel=1e-12)
    gated = node_losses(BOTH.transfer("2", "1", "Correct", "Together"))["1"]
    assert gated == pytest.approx((kl_of("2", "1")[0] + apart[1]) / 2, rel=1e-12)


def test_a_label_edge_is_the_cross_entropy_of_all_heads_under_its_gate():
    """(4.13), (4.14), and for an ABN that of its branch under the same gate (spec 2.2)."""
    graph = a_graph().trained("1").label("1", "Linear")
    branch = {"1": [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]}
    assert node_losses(graph)["1"] == pytest.approx(3 / 4 * mean(ce("1")), rel=1e-12)
    both = 3 / 4 * (mean(ce("1")) + mean(ce("1", branch)))
    assert node_losses(graph, branches=branch)["1"] == pytest.approx(both, rel=1e-12)


def test_a_node_of_an_ensemble_sums_label_and_edges():
    """(4.15): L_hard and every transfer edge, each under its own gate."""
    graph = BOTH.label("1", "NegativeLinear").transfer("2", "1", "Linear", "ProbabilityApart")
    only_edge = node_losses(BOTH.transfer("2", "1", "Linear", "ProbabilityApart"))["1"]
    assert node_losses(graph)["1"] == pytest.approx(1 / 4 * mean(ce("1")) + only_edge, rel=1e-12)


VIEWS = {"1": [[2.0, 0.0, 0.0], [0.0, 8.0, 0.0]], "2": [[0.0, 0.0, 1.0], [9.0, 0.0, 0.0]]}
"""What is said of the other view (zeta2), as sources; of the second sample both are sure."""


def test_consistency_compares_two_views():
    """(5.1): KL from what the source says of zeta2 to what the destination says of zeta1, for a self edge too."""
    graph = BOTH.itself("1", "Consistency").transfer("1", "2", loss="Consistency")
    losses = node_losses(graph, sources=VIEWS)
    for name in "12":
        pairs = zip(VIEWS["1"], LOGITS[name], strict=True)
        assert losses[name] == pytest.approx(mean([kl(p(s), p(t)) for s, t in pairs]), rel=1e-12)


def test_a_pseudo_label_is_the_sources_top_class():
    """(5.3), (5.4): cross entropy of the destination's view to the argmax of the source's."""
    graph = BOTH.transfer("2", "1", loss="PseudoLabel")
    expected = mean([-math.log(p(LOGITS["1"][0])[2]), -math.log(p(LOGITS["1"][1])[0])])
    assert node_losses(graph, sources=VIEWS)["1"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "gate"),
    [(Loss(type=LossType.THRESHOLDED_PSEUDO_LABEL, threshold=0.9), "Through"), ("PseudoLabel", "Threshold")],
    ids=["inside the loss", "as a gate"],
)
def test_a_source_that_is_not_sure_teaches_nothing(loss: str | Loss, gate: str):
    """(5.5), (5.8): only the second sample counts, and the first stays in the divisor."""
    chosen = Gate(type=GateType.THRESHOLD, threshold=0.9) if gate == "Threshold" else gate
    expected = -math.log(p(LOGITS["1"][1])[0]) / 2
    losses = node_losses(BOTH.transfer("2", "1", chosen, loss), sources=VIEWS)
    assert losses["1"] == pytest.approx(expected, rel=1e-12)


def test_ramps_of_chapter_5():
    """(5.6), (5.7): at the third of four updates Positive Linear weighs 3/4 and Negative Linear 1/4."""
    whole = node_losses(BOTH.itself("1", "Consistency"), sources=VIEWS)["1"]
    for gate, weight in (("Linear", 3 / 4), ("NegativeLinear", 1 / 4)):
        gated = node_losses(BOTH.itself("1", "Consistency", gate), sources=VIEWS)["1"]
        assert gated == pytest.approx(weight * whole, rel=1e-12)


def test_a_semi_supervised_node_sums_label_self_and_transfer_edges():
    """(5.9): each under its own gate."""
    parts = [
        BOTH.label("1", "NegativeLinear"),
        BOTH.itself("1", "Consistency", "Linear"),
        BOTH.transfer("2", "1", "Through", "PseudoLabel"),
    ]
    whole = BOTH.label("1", "NegativeLinear").itself("1", "Consistency", "Linear")
    whole = whole.transfer("2", "1", "Through", "PseudoLabel")
    single = [node_losses(part, sources=VIEWS)["1"] for part in parts]
    assert node_losses(whole, sources=VIEWS)["1"] == pytest.approx(sum(single), rel=1e-12)

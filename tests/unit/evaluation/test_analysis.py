"""The analyses of spec 8 against their formulas, one sample, one class and one cell at a time, in float64."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphtrial.contract import Average, PairAnalysis, correlation
from graphtrial.evaluation.analysis import (
    attention_error,
    delta_accuracy,
    entropy,
    mutual_kl,
    subset_accuracies,
    subsets,
    unit_maps,
)


@st.composite
def outputs(draw, nodes=2):
    """Logits of some nodes, float64 [samples, classes]."""
    samples, classes = draw(st.integers(1, 9)), draw(st.integers(2, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return [3 * torch.randn(samples, classes, generator=generator, dtype=torch.float64) for _ in range(nodes)]


@st.composite
def two_maps(draw):
    """Attention maps of two nodes, float64 [samples, S, S]."""
    samples, side = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    return [torch.rand(samples, side, side, generator=generator, dtype=torch.float64) for _ in range(2)]


def probabilities(logits):
    """Softmax of a list of numbers."""
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def kl(p, q):
    """(4.3)."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@given(outputs())
@settings(deadline=None)
def test_mutual_kl_is_equation_4_2(given_outputs):
    """(4.2): half the sum of KL as (4.3) in both directions, averaged over samples."""
    first, second = ([probabilities(row) for row in logits.tolist()] for logits in given_outputs)
    expected = sum((kl(p, q) + kl(q, p)) / 2 for p, q in zip(first, second, strict=True)) / len(first)
    assert mutual_kl(*given_outputs) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_mutual_kl_is_zero_of_equal_outputs_and_finite_of_opposed_ones():
    """Also where a probability underflows, which the logarithm of a quotient would not bear."""
    sure = torch.tensor([[0.0, 800.0]])
    assert mutual_kl(sure, sure) == 0
    assert mutual_kl(sure, -sure) == pytest.approx(800)


@given(outputs(nodes=4), st.sampled_from(Average), st.data())
@settings(deadline=None)
def test_every_subset_ensemble_is_measured(given_outputs, average, data):
    """Table 4.8: the class with the largest mean logit, or mean probability, of every two, three and four nodes."""
    names = ["a", "b", "c", "d"]
    logits = dict(zip(names, given_outputs, strict=True))
    samples, classes = given_outputs[0].shape
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples))
    found = subset_accuracies(logits, torch.tensor(labels), average)
    assert list(found) == [s for size in (2, 3, 4) for s in itertools.combinations(names, size)]
    for members, score in found.items():
        right = 0
        for sample, label in enumerate(labels):
            rows = [logits[name][sample].tolist() for name in members]
            said = [probabilities(row) for row in rows] if average is Average.PROBABILITIES else rows
            means = [sum(column) for column in zip(*said, strict=True)]
            right += means.index(max(means)) == label
        assert score == right / samples


def test_of_many_nodes_only_pairs_and_all_together_are_measured():
    """Of 16 there would be 65,519 ensembles."""
    names = [str(number) for number in range(11)]
    assert {len(members) for members in subsets(names)} == {2, 11}
    assert len(list(subsets(names[:10]))) == 2**10 - 11
    assert list(subsets(["1"])) == []


def test_delta_accuracy_is_equation_4_4():
    """(4.4): ACC_ens - (ACC_1 + ACC_2) / 2."""
    assert delta_accuracy(0.74, 0.70, 0.68) == pytest.approx(0.05)


@given(two_maps())
@settings(deadline=None)
def test_attention_error_is_that_of_table_4_6(maps):
    """Table 4.6: per sample the sum over cells of the absolute difference, averaged over samples; of norm 1 as well."""
    first, second = (of_node.tolist() for of_node in maps)
    plain = [
        sum(abs(a - b) for p, q in zip(ours, theirs, strict=True) for a, b in zip(p, q, strict=True))
        for ours, theirs in zip(first, second, strict=True)
    ]
    assert attention_error(*maps) == pytest.approx(sum(plain) / len(plain))
    units = [[value / math.sqrt(sum(v * v for r in m for v in r)) for r in m for value in r] for m in first]
    assert unit_maps(maps[0]).flatten().tolist() == pytest.approx([value for unit in units for value in unit])


def test_a_map_of_zeros_has_no_direction_and_stays():
    """A network may look nowhere."""
    assert unit_maps(torch.zeros(2, 3, 3)).abs().sum() == 0


@given(outputs(nodes=1))
@settings(deadline=None)
def test_entropy_is_averaged_over_samples(given_outputs):
    """-sum p log p, the entropy of what a node says (spec 8)."""
    rows = [probabilities(row) for row in given_outputs[0].tolist()]
    expected = sum(-sum(p * math.log(p) for p in row) for row in rows) / len(rows)
    assert entropy(given_outputs[0]) == pytest.approx(expected, rel=1e-9)


def pair(mutual, delta):
    """Two nodes that differ so much and gain so much."""
    return PairAnalysis(first="1", second="2", mutual_kl=mutual, delta_accuracy=delta)


def test_the_correlation_is_pearsons():
    """Of MutualKL and delta accuracy: of three pairs or more, where both vary (spec 8)."""
    assert correlation([pair(0, 1), pair(1, 2), pair(3, 4)]) == pytest.approx(1)
    assert correlation([pair(0, 2), pair(1, 1), pair(2, 3)]) == pytest.approx(0.5)
    assert correlation([pair(0, 1), pair(1, 2)]) is None
    assert correlation([pair(1, 1), pair(1, 2), pair(1, 3)]) is None

"""Gradient aggregation of spec 9 (Yu et al. 2020) against its plain statement, and the conflicts it counts."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from graphtrial.compression import Projection, aggregate
from graphtrial.contract import LABEL, Aggregation, Edge, Loss, LossType
from graphtrial.models import build

few = settings(deadline=None, max_examples=60, derandomize=True)


def plainly(gradients, order):
    """Spec 9 as it is printed: one pair after the other, in Python's floats."""
    found = [list(row) for row in gradients]
    for one, row in enumerate(found):
        for other in order[one]:
            first = gradients[other]
            inner = sum(a * b for a, b in zip(row, first, strict=True))
            if inner < 0:
                share = inner / sum(b * b for b in first)
                row[:] = [a - share * b for a, b in zip(row, first, strict=True)]
    return [sum(column) for column in zip(*found, strict=True)]


def drawn_order(losses, seed):
    """For each loss the others, shuffled."""
    chance = random.Random(seed)
    return [chance.sample([j for j in range(losses) if j != i], losses - 1) for i in range(losses)]


@st.composite
def several(draw, most=6):
    """Gradients of several losses, some of them zero or equal, and an order."""
    losses, width = draw(st.integers(1, most)), draw(st.integers(1, 12))
    chance = random.Random(draw(st.integers(0, 10_000)))
    rows = [[chance.uniform(-1, 1) for _ in range(width)] for _ in range(losses)]
    if draw(st.booleans()):
        rows[0] = [0.0] * width
    if draw(st.booleans()):
        rows[-1] = [-value for value in rows[0]]
    return rows, drawn_order(losses, draw(st.integers(0, 100)))


def tensors(rows, order, dtype=torch.float64):
    """Both as ``aggregate`` takes them."""
    return torch.tensor(rows, dtype=dtype), torch.tensor(order, dtype=torch.int64).view(len(rows), -1)


@few
@given(several())
def test_it_is_the_printed_rule(case):
    """Gradient aggregation (spec 9): in float64 to 1e-9, gradients of zero and ones that cancel among them."""
    gradients, order = tensors(*case)
    expected = torch.tensor(plainly(*case), dtype=torch.float64)
    torch.testing.assert_close(aggregate(gradients, order).gradient, expected, rtol=1e-9, atol=1e-9)


@few
@given(several())
def test_it_is_the_printed_rule_in_float32(case):
    """To 1e-5."""
    gradients, order = tensors(*case, dtype=torch.float32)
    expected = torch.tensor(plainly(*case))
    torch.testing.assert_close(aggregate(gradients, order).gradient, expected, rtol=1e-5, atol=1e-5)


@few
@given(several(), st.data())
def test_a_layer_is_projected_on_its_own(case, data):
    """Per layer equals the printed rule on each layer's parameters."""
    rows, order = case
    cut = data.draw(st.integers(0, len(rows[0])))
    layers = [size for size in (cut, len(rows[0]) - cut) if size]
    gradients, places = tensors(rows, order)
    parts = [plainly([row[:cut] for row in rows], order), plainly([row[cut:] for row in rows], order)]
    expected = torch.tensor(parts[0] + parts[1], dtype=torch.float64)
    torch.testing.assert_close(aggregate(gradients, places, layers).gradient, expected, rtol=1e-9, atol=1e-9)


def test_gradients_that_agree_are_summed():
    """Without a negative inner product nothing is taken away."""
    gradients, order = tensors([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], drawn_order(3, 0))
    assert aggregate(gradients, order).gradient.tolist() == [2.0, 3.0]


def test_the_part_that_points_against_another_gradient_goes():
    """Two gradients at 135 degrees: each loses its part along the other, by hand."""
    gradients, order = tensors([[1.0, 0.0], [-1.0, 1.0]], [[1], [0]])
    found = aggregate(gradients, order)
    assert found.gradient.tolist() == pytest.approx([0.5 + 0.0, 0.5 + 1.0])
    assert found.inner[0, 1].item() == -1.0


KL = Loss(type=LossType.KL)
LABELLED = Edge(source=LABEL, destination="s", loss=Loss(type=LossType.CROSS_ENTROPY))


def taught_by(*names, loss=KL):
    """An edge into the student from each."""
    return [Edge(source=name, destination="s", loss=loss) for name in names]


def some_losses(network, count, seed=0):
    """Losses of one batch that lead to the network, each by its own direction of the logits."""
    generator = torch.Generator().manual_seed(seed)
    logits = network(torch.rand(5, 1, 8, 8, generator=generator))
    directions = torch.randn(count, *logits.shape, generator=generator)
    return (directions * logits).mean(dim=(1, 2))


def a_network(seed=0):
    """A resnet8 on small grey images."""
    torch.manual_seed(seed)
    return build("resnet8", classes=4, channels=1, image_size=8)


def gradients_of(network):
    """All of them, flat."""
    return torch.cat([parameter.grad.reshape(-1) for parameter in network.parameters()])


def layers_of(network):
    """The parameters' places by the module that owns them."""
    owners = [name.rpartition(".")[0] for name, p in network.named_parameters() for _ in range(p.numel())]
    return [[place for place, owner in enumerate(owners) if owner == one] for one in dict.fromkeys(owners)]


@pytest.mark.parametrize("aggregation", [Aggregation.PROJECT, Aggregation.PROJECT_PER_LAYER])
def test_a_network_gets_the_gradient_of_the_printed_rule(aggregation):
    """By one backward pass for each loss and the loop over pairs, on the whole network or on each layer."""
    network, edges = a_network().double(), [LABELLED, *taught_by("1", "2", "3")]
    images = torch.rand(5, 1, 8, 8, dtype=torch.float64)
    directions = torch.randn(4, 5, 4, dtype=torch.float64)
    projection = Projection(edges, network, aggregation, seed=7)
    projection.backward((directions * network(images)).mean(dim=(1, 2)), step=3)
    got = gradients_of(network)
    rows = []
    for direction in directions:
        network.zero_grad()
        (direction * network(images)).mean().backward()
        rows.append(gradients_of(network).tolist())
    order = projection._order(4, 3).tolist()
    groups = layers_of(network) if aggregation is Aggregation.PROJECT_PER_LAYER else [range(len(got))]
    expected = torch.zeros_like(got)
    for group in groups:
        expected[list(group)] = torch.tensor(plainly([[row[p] for p in group] for row in rows], order)).double()
    torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-9)


def test_gradients_are_laid_out_as_their_parameters_are():
    """Channels last: the fused optimiser reads both in the order in which they lie."""
    network = a_network()
    Projection(taught_by("1", "2"), network, Aggregation.PROJECT, seed=0).backward(some_losses(network, 2), 0)
    assert [p.grad.stride() for p in network.parameters()] == [p.stride() for p in network.parameters()]


def test_a_single_loss_has_its_own_gradient():
    """One teacher, or its baseline: there is nothing to project."""
    network = a_network()
    some_losses(network, 1).sum().backward()
    expected = gradients_of(network)
    Projection(taught_by("1"), network, Aggregation.PROJECT, seed=0).backward(some_losses(network, 1), 0)
    torch.testing.assert_close(gradients_of(network), expected)


class _Two(nn.Module):
    """Two parameters, so that gradients can be written down."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))


def test_conflicts_of_teachers_are_counted_by_pair_and_kind():
    """Tables 4.10, 4.11: pairs of one kind of loss with a negative inner product; the label loss is in none."""
    attention = Loss(type=LossType.ATTENTION_TOGETHER)
    edges = [LABELLED, *taught_by("1", "2", "3"), *taught_by("1", "2", loss=attention)]
    network = _Two()
    projection = Projection(edges, network, Aggregation.PROJECT, seed=0)
    rows = torch.tensor([[-1.0, -1.0], [1.0, 0.0], [-1.0, 0.5], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    for step in range(3):
        projection.backward(rows @ network.weight, step)
    assert [(c.loss, *c.sources, c.count) for c in projection.counts()] == [
        ("KL", "1", "2", 3),
        ("KL", "1", "3", 0),
        ("KL", "2", "3", 0),
        ("AttentionTogether", "1", "2", 0),
    ]


def test_the_order_is_a_function_of_seed_and_update():
    """Equal for equal seed and update, and another one elsewhere."""
    first, again, other = (Projection(taught_by(*"12345"), _Two(), Aggregation.PROJECT, seed) for seed in (1, 1, 2))
    orders = [first._order(5, 0), again._order(5, 0), first._order(5, 1), other._order(5, 0)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[3])
    assert all(sorted(row) == [j for j in range(5) if j != i] for i, row in enumerate(orders[0].tolist()))

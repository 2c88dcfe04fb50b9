"""The optimiser against plain arithmetic."""

import pytest
import torch

from graphtrial.contract import Length, Training
from graphtrial.training.sgd import Sgd


def trained(*, momentum, nesterov, rates, resume_after=None):
    """A parameter after updates with gradient 2 x parameter, and what plain arithmetic gives."""
    settings = Training(length=Length(steps=1), momentum=momentum, nesterov=nesterov, weight_decay=0.01)
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    network = torch.nn.ParameterList([parameter])
    sgd = Sgd([[network]], settings)
    plain, buffer = parameter.detach().double().clone(), torch.zeros(3, dtype=torch.float64)
    for number, rate in enumerate(rates):
        if number == resume_after:
            saved = [kept.clone() for kept in sgd.momentum]
            sgd = Sgd([[network]], settings)
            sgd.restore(saved)
        parameter.square().sum().backward()
        sgd.update(rate)
        gradient = 2 * plain + 0.01 * plain
        buffer = momentum * buffer + gradient
        plain = plain - rate * (gradient + momentum * buffer if nesterov else buffer)
    return parameter.detach(), plain


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.0, False)])
def test_updates_follow_the_textbook(momentum, nesterov):
    """V = m v + g; w -= rate (g + m v) with Nesterov's momentum, rate v without; weight decay is part of g."""
    actual, expected = trained(momentum=momentum, nesterov=nesterov, rates=[0.1, 0.1, 0.01])
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=1e-7)


def test_restored_momentum_goes_on_to_the_bit():
    """An optimiser made anew with the buffers of the old one is the old one."""
    actual, _ = trained(momentum=0.9, nesterov=True, rates=[0.1] * 5, resume_after=3)
    expected, _ = trained(momentum=0.9, nesterov=True, rates=[0.1] * 5)
    assert torch.equal(actual, expected)


def test_gradients_are_forgotten_after_an_update():
    """The next backward pass must not add to them."""
    parameter = torch.nn.Parameter(torch.ones(2))
    sgd = Sgd([[torch.nn.ParameterList([parameter])]], Training(length=Length(steps=1)))
    parameter.sum().backward()
    sgd.update(0.1)
    assert parameter.grad is None


def plain_descent(**fields):
    """Without momentum and decay a step is the rate times the gradient."""
    return Training(length=Length(steps=1), momentum=0.0, nesterov=False, weight_decay=0.0, **fields)


def test_a_gradient_is_clipped_with_those_of_its_own_group():
    """Two nodes of gradient norms 5 and 0.5: the first is shortened to 1, the second is left as it is."""
    long, short = torch.nn.Linear(2, 1, bias=False), torch.nn.Linear(2, 1, bias=False)
    sgd = Sgd([[long], [short]], plain_descent(clip_norm=1.0))
    with torch.no_grad():
        long.weight.zero_()
        short.weight.zero_()
    (long(torch.tensor([3.0, 4.0])) + short(torch.tensor([0.3, 0.4]))).backward()
    sgd.update(1.0)
    torch.testing.assert_close(long.weight, torch.tensor([[-0.6, -0.8]]))
    torch.testing.assert_close(short.weight, torch.tensor([[-0.3, -0.4]]))


def test_a_shared_trunk_moves_once_by_the_sum_of_its_nodes_gradients():
    """Two networks with one lower layer: a step along both gradients together."""
    trunk = torch.nn.Linear(1, 1, bias=False)
    heads = [torch.nn.Linear(1, 1, bias=False) for _ in range(2)]
    networks = [torch.nn.Sequential(trunk, head) for head in heads]
    before = trunk.weight.item()
    sgd = Sgd([networks], plain_descent())
    assert len(sgd.momentum) == 3
    sum(network(torch.ones(1)) for network in networks).backward()
    slope = sum(head.weight.item() for head in heads)
    sgd.update(0.1)
    assert trunk.weight.item() == pytest.approx(before - 0.1 * slope)


def test_a_parameter_without_a_gradient_stays_as_it_is():
    """The next one gets its own gradient and momentum, not its neighbour's."""
    unused, used = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))
    sgd = Sgd([[torch.nn.ParameterList([unused, used])]], Training(length=Length(steps=1)))
    used.sum().backward()
    sgd.update(0.1)
    assert unused.tolist() == [1.0, 1.0]
    assert used.max().item() < 1.0
    assert [bool(buffer.any()) for buffer in sgd.momentum] == [False, True]

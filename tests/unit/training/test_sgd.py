"""The optimiser against plain arithmetic."""

import pytest
import torch

from graphtrial.contract import Length, Training
from graphtrial.training.sgd import Sgd


def trained(*, momentum, nesterov, rates, resume_after=None):
    """A parameter after updates with gradient 2 x parameter, and what plain arithmetic gives."""
    settings = Training(length=Length(steps=1), momentum=momentum, nesterov=nesterov, weight_decay=0.01)
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    sgd = Sgd([parameter], settings)
    plain, buffer = parameter.detach().double().clone(), torch.zeros(3, dtype=torch.float64)
    for number, rate in enumerate(rates):
        if number == resume_after:
            saved = [kept.clone() for kept in sgd.momentum]
            sgd = Sgd([parameter], settings)
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
    sgd = Sgd([parameter], Training(length=Length(steps=1)))
    parameter.sum().backward()
    sgd.update(0.1)
    assert parameter.grad is None

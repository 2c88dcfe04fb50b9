"""The step on a GPU, each network on a stream of its own, gives the numbers of the plain formulas."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st
from tests.reference.step import Step, Views
from tests.unit.training.random_graphs import TOTAL_STEPS, graphs, networks_of, trainings, views_of
from tests.unit.training.test_step_against_reference import assert_agree, assert_same_gradients, few, run_step


@few
@given(graphs(), trainings(), st.integers(1, TOTAL_STEPS), st.integers(0, 1000))
def test_float64_step_equals_the_formulas_in_every_loss_and_gradient(graph, training, update, seed):
    """As on a CPU, but for rounding."""
    networks, (views, labels) = networks_of(graph, seed), views_of(graph, seed)
    plain = Step(graph, copy.deepcopy(networks), training, TOTAL_STEPS)
    moved = Views(*(view.cuda() for view in views))
    for network in networks.values():
        network.cuda()
    losses, gradients = run_step(graph, networks, training, moved, labels.cuda(), update)
    expected = plain.node_losses(views, labels.tolist(), update)
    on_cpu = {name: loss.cpu() for name, loss in losses.items()}
    assert_agree(on_cpu, {name: loss.detach() for name, loss in expected.items()}, 1e-9)
    found = {name: {key: grad.cpu() for key, grad in grads.items()} for name, grads in gradients.items()}
    assert_same_gradients(found, plain.gradients(expected), 1e-9)

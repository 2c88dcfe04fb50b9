"""The compiled step gives the numbers of the plain formulas: random graphs, every loss, gate, kind of node and view."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders import a_graph
from tests.reference.step import Step, Views, averaged
from tests.unit.training.random_graphs import CLASSES, TOTAL_STEPS, graphs, networks_of, trainings, views_of
from torch import Tensor, nn

from graphtrial.contract import Graph, Length, Loss, LossType, NodeKind, Reduction, Training
from graphtrial.models import Output, build
from graphtrial.training.averages import MovingAverages
from graphtrial.training.graph_losses import GraphLosses, Order
from graphtrial.training.step import GraphStep, Images
from graphtrial.training.terms import Said

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
Gradients = dict[str, dict[str, Tensor]]


def compiled(
    graph: Graph, networks: Mapping[str, nn.Module], training: Training, update: int, device: str = "cpu"
) -> GraphStep:
    """The step before the given update."""
    step = GraphStep(
        graph,
        networks,
        needed=frozenset(node.name for node in graph.nodes),
        total_steps=TOTAL_STEPS,
        training=training,
        device=torch.device(device),
    )
    step.step_count.fill_(update - 1)
    return step


def images_of(views: Views, labels: Tensor, graph: Graph) -> Images:
    """For the step: unlabelled views only where the graph is semi-supervised."""
    unlabelled = (views.destination, views.source) if graph.semi_supervised else ()
    return Images(views.labelled, labels, *unlabelled)


def run_step(
    graph: Graph, networks: Mapping[str, nn.Module], training: Training, views: Views, labels: Tensor, update: int
) -> tuple[dict[str, Tensor], Gradients]:
    """Losses by node, and the gradients of the parameters of nodes that got one."""
    step = compiled(graph, networks, training, update, labels.device.type)
    losses = step.losses(images_of(views, labels, graph))
    losses.total.backward()
    torch.testing.assert_close(losses.nodes.sum(), losses.total.detach())
    torch.testing.assert_close(losses.edges.sum(), losses.total)
    found = {
        name: {key: parameter.grad for key, parameter in network.named_parameters() if parameter.grad is not None}
        for name, network in networks.items()
    }
    for name in found.keys() - set(step.names):
        # Of a network that does not learn only the trunk that it shares with one that does may be moved.
        assert {key.partition(".")[0] for key in found[name]} <= ({"lower"} if graph.node(name).trunk else set())
    moved = {name: found[name] for name in step.names if found[name]}
    return dict(zip(step.names, losses.nodes, strict=True)), moved


def assert_agree(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> None:
    """Largest difference over all entries, relative to the largest entry where that exceeds 1."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(1.0, float(value.abs().max()))
        difference = float((actual[name].double() - value).abs().max())
        assert difference <= tolerance * scale, f"{name}: {difference} of {scale}"


def assert_same_gradients(actual: Gradients, expected: Gradients, tolerance: float) -> None:
    """Of every node; a parameter that the formulas do not move has no gradient, or one that is zero."""
    moved = {name: values for name, values in expected.items() if values}
    assert actual.keys() == moved.keys()
    for name, values in moved.items():
        assert_agree({key: actual[name][key] for key in values}, values, tolerance)
        assert all(not grad.any() for key, grad in actual[name].items() if key not in values)


@few
@given(graphs(), trainings(), st.integers(1, TOTAL_STEPS), st.integers(0, 1000))
def test_float64_step_equals_the_formulas_in_every_loss_and_gradient(graph, training, update, seed):
    """Algorithm 1, step 4: one backward gives each node its own gradient, as per-sample loops do, but for rounding."""
    networks, (views, labels) = networks_of(graph, seed), views_of(graph, seed)
    plain = Step(graph, copy.deepcopy(networks), training, TOTAL_STEPS)
    losses, gradients = run_step(graph, networks, training, views, labels, update)
    expected = plain.node_losses(views, labels.tolist(), update)
    assert_agree(losses, {name: loss.detach() for name, loss in expected.items()}, 1e-9)
    assert_same_gradients(gradients, plain.gradients(expected), 1e-9)


@few
@given(graphs(), st.integers(0, 1000))
def test_averages_follow_and_buffers_are_copied(graph, seed):
    """Algorithm 1, step 5: each EMA node is alpha times what it was and the rest what it follows (5.2)."""
    networks = networks_of(graph, seed)
    followers = [node for node in graph.nodes if node.kind is NodeKind.EMA]
    expected = {node.name: averaged(networks[node.name], networks[node.follows], node.decay) for node in followers}
    MovingAverages(graph, networks).update()
    for node in followers:
        assert_agree(networks[node.name].state_dict(), expected[node.name], 1e-12)


def assert_float32_parameters_agree(
    graph: Graph, training: Training, update: int, seed: int, tolerance: float
) -> dict[str, float]:
    """Gradients of every parameter of smooth networks; L_t of the formulas."""
    networks, (views, labels) = networks_of(graph, seed), views_of(graph, seed)
    plain = Step(graph, copy.deepcopy(networks), training, TOTAL_STEPS)
    single = {name: network.float() for name, network in networks.items()}
    views_32 = Views(*(view.float() for view in views))
    _, gradients = run_step(graph, single, training, views_32, labels, update)
    losses = plain.node_losses(views, labels.tolist(), update)
    assert_same_gradients(gradients, plain.gradients(losses), tolerance)
    return {name: float(loss.detach()) for name, loss in losses.items()}


@few
@given(graphs(inverse_kl=False), trainings(), st.integers(1, TOTAL_STEPS), st.integers(0, 1000))
def test_float32_parameter_gradients_are_those_of_the_formulas(graph, training, update, seed):
    """Through a smooth network float32 keeps four digits of every parameter's gradient."""
    assert_float32_parameters_agree(graph, training, update, seed, 1e-4)


class Fixed(nn.Module):
    """Says the same of every image: leaves of which gradients can be had."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.output = output
        self.lower = nn.Identity()

    def upper(self, features: Tensor) -> Output:
        """The rows of the samples asked for, which are their only pixel."""
        rows = features.flatten().long()
        return Output(*(None if value is None else value[rows] for value in self.output))


def fixed_networks(graph: Graph, seed: int, samples: int, dtype: torch.dtype) -> dict[str, Fixed]:
    """Random logits and maps for each node, the same numbers in each type."""
    generator = torch.Generator().manual_seed(seed)

    def leaf(*shape: int, positive: bool = False) -> Tensor:
        values = 3 * torch.randn(shape, generator=generator)
        return (values.exp() if positive else values).to(dtype).requires_grad_()

    networks: dict[str, Fixed] = {}
    for node in graph.nodes:
        output = Output(leaf(samples, CLASSES), leaf(samples, CLASSES), leaf(samples, 5, 5, positive=True))
        if node.kind is not NodeKind.ENSEMBLE:
            networks[node.name] = Fixed(output)
    return networks


def assert_fixed_outputs_agree(
    graph: Graph, training: Training, update: int, seed: int, tolerances: Mapping[torch.dtype, float]
) -> dict[str, float]:
    """Losses, and their gradients in logits and maps, of networks that say random things, in each type; the losses."""
    samples = 4
    numbers = torch.arange(3 * samples, dtype=torch.float32).reshape(3, samples, 1, 1, 1)
    views = Views(*numbers) if graph.semi_supervised else Views(numbers[0], numbers[0], numbers[0])
    labels = torch.randint(CLASSES, (samples,), generator=torch.Generator().manual_seed(seed))
    plain = fixed_networks(graph, seed, 3 * samples, torch.float64)
    expected = Step(graph, plain, training, TOTAL_STEPS).node_losses(views, labels.tolist(), update)
    sum(expected.values()).backward()
    for dtype, tolerance in tolerances.items():
        tested = fixed_networks(graph, seed, 3 * samples, dtype)
        step = compiled(graph, tested, training, update)
        losses = step.losses(images_of(views, labels, graph))
        assert losses.total.dtype == dtype
        losses.total.backward()
        actual = dict(zip(step.names, losses.nodes, strict=True))
        assert_agree(actual, {name: loss.detach() for name, loss in expected.items()}, tolerance)
        for name, network in plain.items():
            for wanted, got in zip(network.output, tested[name].output, strict=True):
                zeros = torch.zeros_like(wanted)
                wanted_grad = zeros if wanted.grad is None else wanted.grad
                got_grad = zeros if got.grad is None else got.grad
                assert_agree({name: got_grad}, {name: wanted_grad}, tolerance)
    return {name: float(loss.detach()) for name, loss in expected.items()}


@few
@given(graphs(trunks=False, inverse_kl=False), trainings(), st.integers(1, TOTAL_STEPS), st.integers(0, 1000))
def test_float32_losses_and_gradients_of_logits_and_maps_are_those_of_the_formulas(graph, training, update, seed):
    """From equal logits and maps on, float32 keeps five digits of losses and of their gradients."""
    assert_fixed_outputs_agree(graph, training, update, seed, {torch.float32: 1e-5})


@few
@given(st.integers(0, 1000))
def test_float32_keeps_of_an_inverted_divergence_what_it_keeps_of_the_divergence(seed):
    """1/KL (spec 2.2): the same digits, less those of 1/KL itself.

    Where two nodes nearly agree KL is a small difference of large logarithms, right to some 1e-7 in any float32 formula
    of it; that error over KL is the relative one of 1/KL, and twice that of its gradient.
    """
    graph = a_graph().trained("a").trained("b").label("b").transfer("b", "a", loss="ProbabilityInverseKL").obj()
    training = Training(length=Length(epochs=1), reduction=Reduction.SUM)
    inverse = assert_fixed_outputs_agree(graph, training, 1, seed, {torch.float64: 1e-9})["a"]
    assert_fixed_outputs_agree(graph, training, 1, seed, {torch.float32: 1e-5 * max(1.0, inverse)})
    inverse = assert_float32_parameters_agree(graph, training, 1, seed, math.inf)["a"]
    assert_float32_parameters_agree(graph, training, 1, seed, 1e-4 * max(1.0, inverse))


def test_a_real_network_agrees_with_the_formulas_in_float64():
    """A ResNet8 teaching and taught by every kind of loss, with a frozen third, agrees as the small networks do."""
    graph = (
        a_graph()
        .trained("a")
        .trained("b")
        .frozen("c")
        .label("a")
        .label("b", "Linear")
        .transfer("b", "a", "Correct", Loss(type=LossType.TOGETHER, temperature=2.0, crops=(3, 5)))
        .transfer("a", "b", "NegativeLinear", "Apart")
        .transfer("c", "a", "Through", "AttentionTogether")
        .obj()
    )
    torch.manual_seed(0)
    networks = {name: build("resnet8", classes=CLASSES, channels=3, image_size=32).double() for name in "abc"}
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(5, 3, 32, 32, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (5,), generator=generator)
    views, training = Views(images, images, images), Training(length=Length(epochs=1))
    plain = Step(graph, copy.deepcopy(networks), training, TOTAL_STEPS)
    losses, gradients = run_step(graph, networks, training, views, labels, 7)
    expected = plain.node_losses(views, labels.tolist(), 7)
    assert_agree(losses, {name: loss.detach() for name, loss in expected.items()}, 1e-9)
    assert_same_gradients(gradients, plain.gradients(expected), 1e-9)


def test_each_edge_says_what_it_adds():
    """In the order of ``GraphLosses.edges``, each as in a graph with that edge alone."""
    graph = a_graph().trained("1").trained("2").transfer("2", "1", loss="Together").label("1").label("2").obj()
    said = Said(("1", "2"), torch.randn(2, 4, CLASSES), (None, None), (torch.rand(4, 5, 5), torch.rand(4, 5, 5)))
    labels, update = torch.tensor([0, 1, 2, 3]), torch.tensor(1)

    def losses_of(edges, learning):
        losses = GraphLosses(
            edges,
            learning,
            order=Order("12", "12", "12"),
            total_steps=2,
            training=Training(length=Length(epochs=1)),
            device=torch.device("cpu"),
        )
        return losses.edges, losses(said, said, said, labels, update).edges

    edges, values = losses_of(graph.edges, ("1", "2"))
    assert [(edge.source, edge.destination) for edge in edges] == [("Label", "1"), ("Label", "2"), ("2", "1")]
    alone = torch.cat([losses_of([edge], (edge.destination,))[1] for edge in edges])
    torch.testing.assert_close(values, alone)

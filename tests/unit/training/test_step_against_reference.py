"""The compiled step gives the numbers of the plain formulas, for random graphs and every gate."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.training import reference
from torch import Tensor, nn

from graphtrial.contract import (
    LABEL,
    Edge,
    Gate,
    GateType,
    Graph,
    Loss,
    LossType,
    Node,
    NodeKind,
    Precision,
    Pretrained,
    Weights,
)
from graphtrial.models import build
from graphtrial.training.step import GraphLosses, GraphStep

CLASSES, SAMPLES, TOTAL_STEPS = 4, 5, 40

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


gates = st.one_of(
    st.sampled_from(
        [GateType.THROUGH, GateType.CUTOFF, GateType.LINEAR, GateType.NEGATIVE_LINEAR, GateType.CORRECT]
    ).map(lambda kind: Gate(type=kind)),
    st.builds(Gate, type=st.just(GateType.SINE), frequency=st.floats(0, 3), phase=st.floats(0, 2 * math.pi - 0.01)),
    st.builds(Gate, type=st.just(GateType.THRESHOLD), threshold=st.sampled_from([0.0, 0.3, 0.5, 0.8])),
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """2 to 4 nodes, the first trained and taught by labels; any edge between them, any gate and temperature."""
    names = "abcd"[: draw(st.integers(2, 4))]
    frozen = [name for name in names[1:] if draw(st.booleans())]
    edges = [Edge(source=LABEL, destination="a", loss=Loss(type=LossType.CROSS_ENTROPY))]
    for destination in (name for name in names if name not in frozen):
        if destination != "a":
            label_loss = Loss(type=LossType.CROSS_ENTROPY, weight=draw(st.sampled_from([1.0, 0.4])))
            edges.append(Edge(source=LABEL, destination=destination, loss=label_loss, gate=draw(gates)))
        for source in (name for name in names if name != destination):
            loss = Loss(
                type=LossType.KL,
                temperature=draw(st.sampled_from([1.0, 2.0, 0.5, 4.0])),
                weight=draw(st.sampled_from([1.0, 0.3])),
            )
            edges.append(Edge(source=source, destination=destination, loss=loss, gate=draw(gates)))
    return Graph(nodes=tuple(node(name, frozen=name in frozen) for name in names), edges=tuple(edges))


def node(name: str, *, frozen: bool = False) -> Node:
    """A trained or a frozen node."""
    if frozen:
        return Node(name=name, kind=NodeKind.FROZEN, model="resnet8", weights=Weights(pretrained=Pretrained()))
    return Node(name=name, model="resnet8")


def smooth_network() -> nn.Module:
    """Without a kink, so that rounding cannot switch a unit on or off; its logits are far enough apart for gates."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Conv2d(4, 4, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(4 * 3 * 3, CLASSES),
        Scale(2.0),
    )


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def networks_of(graph: Graph, seed: int) -> dict[str, nn.Module]:
    """Independent float64 networks whose BatchNorm statistics have seen something."""
    torch.manual_seed(seed)
    networks = {node.name: smooth_network().double() for node in graph.nodes}
    for network in networks.values():
        network(1 + torch.rand(8, 2, 6, 6, dtype=torch.float64))
    return networks


def batch(seed: int, channels: int = 2, side: int = 6) -> tuple[Tensor, Tensor]:
    """Random images in float64, and labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(SAMPLES, channels, side, side, generator=generator, dtype=torch.float64)
    return images, torch.randint(CLASSES, (SAMPLES,), generator=generator)


def run_step(
    graph: Graph, networks: Mapping[str, nn.Module], images: Tensor, labels: Tensor, update: int
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Losses by node, and the gradients of the parameters of nodes that got one."""
    step = GraphStep(
        graph,
        networks,
        needed=frozenset(networks),
        total_steps=TOTAL_STEPS,
        precision=Precision.FP32,
        device=torch.device("cpu"),
    )
    step.step_count.fill_(update - 1)
    losses = step.losses(images, labels)
    losses.total.backward()
    torch.testing.assert_close(losses.nodes.sum(), losses.total.detach())
    found = {
        name: {key: parameter.grad for key, parameter in network.named_parameters() if parameter.grad is not None}
        for name, network in networks.items()
    }
    return dict(zip(step.names, losses.nodes, strict=True)), {name: grads for name, grads in found.items() if grads}


def assert_agree(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> None:
    """Largest difference over all entries, relative to the largest entry where that exceeds 1."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        scale = max(1.0, float(value.abs().max()))
        difference = float((actual[name].double() - value).abs().max())
        assert difference <= tolerance * scale, f"{name}: {difference} of {scale}"


def live(graph: Graph, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of nodes that learn."""
    fed = {edge.destination for edge in graph.live_edges()}
    return {name: value for name, value in values.items() if name in fed}


@few
@given(graphs(), st.integers(1, TOTAL_STEPS), st.integers(0, 1000))
def test_float64_step_equals_the_formulas_in_every_loss_and_gradient(graph, update, seed):
    """In float64 the step and the per-sample loops differ by rounding only."""
    networks, (images, labels) = networks_of(graph, seed), batch(seed)
    plain = copy.deepcopy(networks)
    losses, gradients = run_step(graph, networks, images, labels, update)
    expected = reference.node_losses(
        graph, reference.forward(graph, plain, images), labels.tolist(), update, TOTAL_STEPS
    )
    assert_agree(losses, live(graph, {name: loss.detach() for name, loss in expected.items()}), 1e-9)
    expected_gradients = reference.gradients(live(graph, expected), plain)
    assert gradients.keys() == expected_gradients.keys()
    for name, values in expected_gradients.items():
        assert_agree(gradients[name], values, 1e-9)


@few
@given(graphs(), st.integers(1, TOTAL_STEPS), st.integers(0, 1000))
def test_float32_losses_and_logit_gradients_are_those_of_the_formulas(graph, update, seed):
    """From equal logits on, float32 keeps five digits of losses and of their gradients."""
    generator = torch.Generator().manual_seed(seed)
    names = [node.name for node in graph.nodes]
    logits = 3 * torch.randn(len(names), SAMPLES, CLASSES, generator=generator)
    labels = torch.randint(CLASSES, (SAMPLES,), generator=generator)

    single = logits.clone().requires_grad_()
    compiled = GraphLosses(graph.live_edges(), names, total_steps=TOTAL_STEPS, device=torch.device("cpu"))
    losses = compiled(single, labels, torch.tensor(update))
    losses.total.backward()

    double = {name: row.double().requires_grad_() for name, row in zip(names, logits, strict=True)}
    expected = live(graph, reference.node_losses(graph, double, labels.tolist(), update, TOTAL_STEPS))
    order = [name for name in names if name in expected]
    assert losses.total.dtype == torch.float32
    actual = dict(zip(order, losses.nodes, strict=True))
    assert_agree(actual, {name: loss.detach() for name, loss in expected.items()}, 1e-5)
    for index, name in enumerate(names):
        (wanted,) = (
            torch.autograd.grad(expected[name], [double[name]])
            if name in expected
            else [torch.zeros(SAMPLES, CLASSES, dtype=torch.float64)]
        )
        assert_agree({name: single.grad[index]}, {name: wanted}, 1e-5)


@few
@given(graphs(), st.integers(1, TOTAL_STEPS), st.integers(0, 1000))
def test_float32_parameter_gradients_are_those_of_the_formulas(graph, update, seed):
    """Through a smooth network float32 keeps four digits of every parameter's gradient."""
    networks, (images, labels) = networks_of(graph, seed), batch(seed)
    plain = copy.deepcopy(networks)
    single = {name: network.float() for name, network in networks.items()}
    _, gradients = run_step(graph, single, images.float(), labels, update)
    expected = reference.node_losses(
        graph, reference.forward(graph, plain, images), labels.tolist(), update, TOTAL_STEPS
    )
    expected_gradients = reference.gradients(live(graph, expected), plain)
    assert gradients.keys() == expected_gradients.keys()
    for name, values in expected_gradients.items():
        assert_agree(gradients[name], values, 1e-4)


def test_a_real_network_agrees_with_the_formulas_in_float64():
    """A ResNet8 teaching and taught, with a frozen third, agrees as the small networks do."""
    transfer = Loss(type=LossType.KL, temperature=2.0)
    label = Loss(type=LossType.CROSS_ENTROPY)
    graph = Graph(
        nodes=(node("a"), node("b"), node("c", frozen=True)),
        edges=(
            Edge(source=LABEL, destination="a", loss=label),
            Edge(source=LABEL, destination="b", loss=label, gate=Gate(type=GateType.LINEAR)),
            Edge(source="b", destination="a", loss=transfer, gate=Gate(type=GateType.CORRECT)),
            Edge(source="a", destination="b", loss=transfer, gate=Gate(type=GateType.NEGATIVE_LINEAR)),
            Edge(source="c", destination="a", loss=transfer),
        ),
    )
    torch.manual_seed(0)
    networks = {name: build("resnet8", classes=CLASSES, channels=3, image_size=32).double() for name in "abc"}
    images, labels = batch(0, channels=3, side=32)
    plain = copy.deepcopy(networks)
    losses, gradients = run_step(graph, networks, images, labels, 7)
    expected = reference.node_losses(graph, reference.forward(graph, plain, images), labels.tolist(), 7, TOTAL_STEPS)
    assert_agree(losses, {name: loss.detach() for name, loss in expected.items()}, 1e-9)
    for name, values in reference.gradients(expected, plain).items():
        assert_agree(gradients[name], values, 1e-9)

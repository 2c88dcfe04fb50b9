"""What the step runs, leaves alone and refuses; its numbers are in ``test_step_against_reference``."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext

import pytest
import torch
from tests.builders import GraphBuilder, a_graph
from torch import Tensor, nn

from graphtrial.contract import (
    LABEL,
    Average,
    Edge,
    Forward,
    Gate,
    GateType,
    Graph,
    Length,
    Loss,
    LossType,
    Node,
    NodeKind,
    Precision,
    Pretrained,
    Training,
    Unlabelled,
    Weights,
)
from graphtrial.models import build
from graphtrial.training.errors import RefusedError
from graphtrial.training.step import GraphStep, Images

CLASSES = 3
TRAINING = Training(length=Length(epochs=1))
CUT = Gate(type=GateType.CUTOFF)
THROUGH = Gate(type=GateType.THROUGH)
LINEAR = Gate(type=GateType.LINEAR)


class Counted(nn.Module):
    """A small network that counts how often it runs and in which mode."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bool] = []
        self.seen: list[int] = []
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 4 * 4, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        self.calls.append(self.training)
        self.seen.append(len(images))
        return self.layers(images)


def trained(name: str) -> Node:
    """A node that may learn."""
    return Node(name=name, model="resnet8")


def frozen(name: str) -> Node:
    """A teacher."""
    return Node(name=name, kind=NodeKind.FROZEN, model="resnet8", weights=Weights(pretrained=Pretrained()))


def label(destination: str, gate: Gate = THROUGH) -> Edge:
    """A label edge."""
    return Edge(source=LABEL, destination=destination, loss=Loss(type=LossType.CROSS_ENTROPY), gate=gate)


def transfer(source: str, destination: str, gate: Gate = THROUGH, loss: LossType = LossType.KL) -> Edge:
    """A transfer edge."""
    return Edge(source=source, destination=destination, loss=Loss(type=loss), gate=gate)


def networks_for(graph: Graph) -> dict[str, Counted]:
    """The same networks at every call."""
    torch.manual_seed(0)
    return {node.name: Counted() for node in graph.nodes if node.kind is not NodeKind.ENSEMBLE}


def compile_step(
    graph: Graph,
    networks: Mapping[str, nn.Module],
    needed: str = "",
    training: Training = TRAINING,
) -> GraphStep:
    """A step of a training of ten; all nodes are needed unless names are given."""
    return GraphStep(
        graph,
        networks,
        needed=frozenset(needed or networks),
        total_steps=10,
        training=training,
        device=torch.device("cpu"),
    )


def batch() -> Images:
    """Four images of 6 x 6 and their labels, the same at every call."""
    generator = torch.Generator().manual_seed(1)
    return Images(torch.rand(4, 1, 6, 6, generator=generator), torch.tensor([0, 1, 2, 0]))


def gradient(network: nn.Module) -> Tensor:
    """Of all parameters, in one row."""
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def gradient_of_first_node(*edges: Edge) -> Tensor:
    """Gradient of node a, in a graph of a, b and a frozen c, when its own edges are label and b -> a."""
    graph = Graph(nodes=(trained("a"), trained("b"), frozen("c")), edges=(label("a"), transfer("b", "a"), *edges))
    networks = networks_for(graph)
    compile_step(graph, networks).losses(batch()).total.backward()
    return gradient(networks["a"])


@pytest.mark.parametrize(
    "other_edges",
    [(), (label("b"),), (transfer("a", "b"),), (label("b", LINEAR), transfer("a", "b"), transfer("c", "b"))],
    ids=["none", "label", "from the node itself", "all"],
)
def test_a_node_is_moved_by_its_own_loss_alone(other_edges):
    """Algorithm 1, step 3: what other nodes learn, from it or from others, changes nothing in its gradient (3.3)."""
    torch.testing.assert_close(gradient_of_first_node(*other_edges), gradient_of_first_node(), rtol=0, atol=1e-7)


def test_a_node_is_moved_by_each_of_its_own_edges():
    """The counterpart: one more edge into the node does change its gradient."""
    assert not torch.allclose(gradient_of_first_node(transfer("c", "a")), gradient_of_first_node())


@pytest.mark.parametrize("average", Average)
def test_an_ensemble_that_teaches_hands_no_gradient_to_its_members(average):
    """(4.10): it is a constant like every source, also for a member that learns from it (spec 2.2)."""
    ensemble = Node(name="all", kind=NodeKind.ENSEMBLE, members=("a", "b"), average=average)

    def gradients(*edges: Edge) -> list[Tensor]:
        graph = Graph(nodes=(trained("a"), trained("b"), trained("c"), ensemble), edges=(*map(label, "abc"), *edges))
        networks = networks_for(graph)
        compile_step(graph, networks, "abc").losses(batch()).total.backward()
        return [gradient(networks[name]) for name in "abc"]

    alone, taught = gradients(), gradients(transfer("all", "c"))
    assert [torch.equal(one, other) for one, other in zip(alone, taught, strict=True)] == [True, True, False]
    taught = gradients(transfer("all", "a"))
    assert [torch.equal(one, other) for one, other in zip(alone, taught, strict=True)] == [False, True, True]


def test_each_network_runs_once_however_many_edges_read_it():
    """Trained ones in training mode, frozen ones in evaluation mode."""
    graph = Graph(
        nodes=(trained("a"), trained("b"), frozen("c")),
        edges=(label("a"), label("b"), *(transfer(*pair) for pair in ("ab", "ba", "ca", "cb"))),
    )
    networks = networks_for(graph)
    compile_step(graph, networks).losses(batch())
    assert {name: network.calls for name, network in networks.items()} == {"a": [True], "b": [True], "c": [False]}


def test_what_no_needed_node_hears_never_runs():
    """A node outside ``needed``, a frozen node whose edges are cut and an ensemble cost nothing."""
    graph = Graph(
        nodes=(
            trained("a"),
            trained("b"),
            frozen("c"),
            frozen("d"),
            Node(name="e", kind=NodeKind.ENSEMBLE, members=("a", "d")),
        ),
        edges=(
            label("a"),
            label("b"),
            transfer("a", "b"),
            transfer("c", "b"),
            transfer("b", "a", CUT),
            transfer("d", "a", CUT),
        ),
    )
    networks = networks_for(graph)
    step = compile_step(graph, networks, needed="ade")
    step.losses(batch()).total.backward()
    assert step.names == ("a",)
    assert [len(networks[name].calls) for name in "abcd"] == [1, 0, 0, 0]


def test_a_frozen_node_is_left_exactly_as_it_was():
    """BatchNorm statistics included: evaluation mode is restored even if something else changed it (spec 10)."""
    graph = Graph(nodes=(trained("a"), frozen("c")), edges=(label("a"), transfer("c", "a")))
    networks = networks_for(graph)
    step = compile_step(graph, networks)
    before = {key: value.clone() for key, value in networks["c"].state_dict().items()}
    networks["c"].train()
    step.losses(batch()).total.backward()
    assert networks["c"].calls == [False]
    assert all(torch.equal(value, before[key]) for key, value in networks["c"].state_dict().items())
    assert [parameter.grad for parameter in networks["c"].parameters()] == [None] * 6


def test_a_trained_node_is_back_in_training_mode_after_an_evaluation():
    """An evaluation between two steps leaves networks in evaluation mode."""
    graph = Graph(nodes=(trained("a"),), edges=(label("a"),))
    networks = networks_for(graph)
    step = compile_step(graph, networks)
    networks["a"].eval()
    step.losses(batch())
    assert networks["a"].calls == [True]


def test_a_random_node_that_learns_nothing_is_heard_but_not_moved():
    """With all its incoming edges cut it stays random and gets no gradient (spec 1.1, chapter 4)."""
    graph = Graph(nodes=(trained("a"), trained("b")), edges=(label("a"), transfer("b", "a"), label("b", CUT)))
    networks = networks_for(graph)
    step = compile_step(graph, networks)
    step.losses(batch()).total.backward()
    assert step.names == ("a",)
    assert networks["b"].calls == [True]
    assert [parameter.grad for parameter in networks["b"].parameters()] == [None] * 6


def test_updates_are_counted_from_one_and_a_resumed_count_goes_on():
    """The first update of ten weighs a Linear edge by 1/10; after a resume at 6 the next weighs 7/10."""
    plain = Graph(nodes=(trained("a"),), edges=(label("a"),))
    gated = Graph(nodes=(trained("a"),), edges=(label("a", LINEAR),))
    full = compile_step(plain, networks_for(plain)).losses(batch()).total.item()
    step = compile_step(gated, networks_for(gated))
    assert step.losses(batch()).total.item() == pytest.approx(0.1 * full)
    assert step.step_count.item() == 1
    step.step_count.fill_(6)
    assert step.losses(batch()).total.item() == pytest.approx(0.7 * full)


def test_a_masked_sample_stays_in_the_divisor():
    """The mean is over the batch, not over the samples that the gate lets pass (spec 10)."""

    class Fixed(nn.Module):
        def __init__(self, logits: list[list[float]]) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor(logits))

        def forward(self, _: Tensor) -> Tensor:
            return self.logits

    graph = Graph(
        nodes=(trained("a"), trained("b")), edges=(transfer("b", "a", Gate(type=GateType.CORRECT)), label("b"))
    )
    # The source is right on the first sample alone; one divergence of 4 samples is left.
    networks = {"a": Fixed([[0.0, 0.0]] * 4), "b": Fixed([[1.0, 0.0]] + [[0.0, 1.0]] * 3)}
    losses = compile_step(graph, networks).losses(Images(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64)))
    p = torch.tensor([1.0, 0.0]).softmax(0)
    assert losses.nodes[0].item() == pytest.approx((p * (2 * p).log()).sum().item() / 4)


def test_bfloat16_runs_the_networks_and_spares_the_losses():
    """Losses and parameter gradients are float32, near those of float32 networks and not equal to them."""
    graph = Graph(nodes=(trained("a"), trained("b")), edges=(label("a"), label("b"), transfer("a", "b")))
    found = {}
    for precision in Precision:
        networks = networks_for(graph)
        training = TRAINING.model_copy(update={"precision": precision})
        losses = compile_step(graph, networks, training=training).losses(batch())
        losses.total.backward()
        assert losses.total.dtype == gradient(networks["a"]).dtype == torch.float32
        found[precision] = losses.nodes
    torch.testing.assert_close(found[Precision.BF16], found[Precision.FP32], rtol=0.05, atol=0.05)
    assert not torch.equal(found[Precision.BF16], found[Precision.FP32])


def test_cut_edges_and_an_ensemble_that_teaches_nobody_are_absent():
    """Whatever their losses, they are not compiled."""
    graph = Graph(
        nodes=(trained("a"), trained("b"), Node(name="c", kind=NodeKind.ENSEMBLE, members=("a", "b"))),
        edges=(label("a"), transfer("b", "a", CUT, LossType.TOGETHER), transfer("c", "a", CUT)),
    )
    networks = networks_for(graph)
    step = compile_step(graph, networks, needed="a")
    assert [(edge.source, edge.destination) for edge in step.edges] == [(LABEL, "a")]
    step.losses(batch())
    assert [len(networks[name].calls) for name in "ab"] == [1, 0]


def test_a_scored_node_without_an_edge_runs_for_its_statistics():
    """Algorithm 1 runs every node; with the first statistics its outputs would drown the others' in an ensemble."""
    graph = Graph(nodes=(trained("a"), trained("b")), edges=(label("a"),))
    networks = networks_for(graph)
    step = compile_step(graph, networks)
    before = copy.deepcopy(networks["b"].state_dict())
    step.losses(batch()).total.backward()
    changed = {name for name, value in networks["b"].state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"layers.1.running_mean", "layers.1.running_var", "layers.1.num_batches_tracked"}
    assert step.names == ("a",)
    assert all(parameter.grad is None for parameter in networks["b"].parameters())


def semi_supervised() -> Images:
    """Four labelled images and six unlabelled ones, each seen twice."""
    generator = torch.Generator().manual_seed(2)
    return Images(*batch()[:2], *(torch.rand(6, 1, 6, 6, generator=generator) for _ in range(2)))


def test_unlabelled_images_are_seen_by_destinations_and_their_sources_only():
    """Algorithm 1, step 2: a trained node runs once over all asked of it, an EMA node over what it sources."""
    graph = (
        a_graph().trained("a").trained("b").ema("c", "a").label("a").label("b").transfer("c", "a", loss="Consistency")
    )
    networks = networks_for(graph.obj())
    compile_step(graph.obj(), networks).losses(semi_supervised())
    assert {name: network.seen for name, network in networks.items()} == {"a": [10], "b": [4], "c": [6]}
    assert networks["c"].calls == [False]


def test_an_unlabelled_edge_into_a_node_that_is_not_trained_changes_nothing():
    """The others learn from labelled images as without it."""
    graph = a_graph().trained("a").trained("b").trained("c").label("a").transfer("b", "a").itself("c", "Consistency")
    networks = networks_for(graph.obj())
    compile_step(graph.obj(), networks, needed="ab").losses(batch())
    assert {name: network.seen for name, network in networks.items()} == {"a": [4], "b": [4], "c": []}


def test_views_that_run_separately_have_batch_statistics_of_their_own():
    """A pass for each part; the outcome is another one than of one pass over all."""
    graph = a_graph().trained("a").label("a").itself("a", "Consistency").obj()
    losses = {}
    for forward in Forward:
        networks = networks_for(graph)
        training = Training(length=Length(epochs=1), unlabelled=Unlabelled(forward=forward))
        losses[forward] = compile_step(graph, networks, training=training).losses(semi_supervised()).total.item()
        expected = {Forward.CONCATENATED: [16], Forward.SEPARATE: [4, 6, 6]}
        assert networks["a"].seen == expected[forward]
    assert losses[Forward.CONCATENATED] != pytest.approx(losses[Forward.SEPARATE], rel=1e-3)


ONE = a_graph().trained("a", "resnet18")
FEW = Training(length=Length(epochs=1), batch_size=1, unlabelled=Unlabelled(batch_size=4))
BATCHES = "training.batchSize"
UNLABELLED = "training.unlabelled.batchSize"


def of_one(**unlabelled: object) -> Training:
    """Many labelled images and one unlabelled one."""
    return FEW.model_copy(
        update={"batch_size": 4, "unlabelled": Unlabelled.model_validate({"batch_size": 1} | unlabelled)}
    )


@pytest.mark.parametrize(
    ("graph", "training", "field"),
    [
        (ONE.label("a"), FEW, BATCHES),
        (ONE.label("a").itself("a", "Consistency"), of_one(forward=Forward.SEPARATE), UNLABELLED),
        (ONE.ema("b", "a").transfer("b", "a", loss="PseudoLabel"), of_one(), UNLABELLED),
        (
            a_graph().trained("a").frozen("b", "resnet18").label("a").transfer("b", "a"),
            FEW.model_copy(update={"frozen_batch_norm": False}),
            BATCHES,
        ),
        (a_graph().trained("a").frozen("b", "resnet18").label("a").transfer("b", "a"), FEW, ""),
        (ONE.label("a").itself("a", "Consistency"), FEW, ""),
        (ONE.label("a").itself("a", "Consistency"), of_one(), ""),
    ],
    ids=[
        "labelled",
        "separate",
        "only destinations",
        "batch statistics",
        "own statistics",
        "labelled of more",
        "three",
    ],
)
def test_a_pass_over_one_image_is_refused_where_batch_norm_would_see_one_value(
    graph: GraphBuilder, training: Training, field: str
):
    """Of 8 pixels a resnet18 leaves one cell, a resnet8 four; beside other images one is no matter."""
    nodes = [(node.name, graph.obj().model_of(node.name)) for node in graph.nodes]
    networks = {name: build(model, classes=CLASSES, channels=1, image_size=8) for name, model in nodes}
    step = compile_step(graph.obj(), networks, training=training)
    with pytest.raises(RefusedError, match=f"^{field}: node") if field else nullcontext():
        step.check_statistics(torch.zeros(1, 1, 8, 8))


def test_networks_of_one_trunk_run_it_once_over_the_same_images():
    """Two branches and a trunk: one pass through the trunk, one through each branch."""
    graph = Graph(
        nodes=tuple(Node(name=name, model="resnet8", trunk="shared") for name in "ab"),
        edges=(label("a"), label("b"), transfer("a", "b")),
    )
    networks = {name: build("resnet8", classes=CLASSES, channels=1, image_size=8) for name in "ab"}
    networks["b"].lower = networks["a"].lower
    runs: list[int] = []
    networks["a"].lower.register_forward_hook(lambda *_: runs.append(1))
    compile_step(graph, networks).losses(Images(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])))
    assert runs == [1]

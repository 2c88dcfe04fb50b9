"""Random graphs of every kind of node, loss, gate and view, and small smooth networks with maps to play them."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from tests.reference.step import Views
from torch import Tensor, nn

from graphtrial.contract import (
    ATTENTION,
    LABEL,
    TEMPERED,
    UNLABELLED,
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
    Pretrained,
    Reduction,
    Resize,
    Training,
    Unlabelled,
    Weights,
)
from graphtrial.models import Output

CLASSES, LABELLED, UNLABELLED_SAMPLES, TOTAL_STEPS = 4, 3, 2, 40
_PLAIN_GATES = (GateType.THROUGH, GateType.CUTOFF, GateType.LINEAR, GateType.NEGATIVE_LINEAR)
_TRANSFERS = sorted(set(LossType) - UNLABELLED - {LossType.CROSS_ENTROPY})


@st.composite
def _gates(draw: st.DrawFn, *, labels: bool) -> Gate:
    kinds = sorted({*GateType} - (set() if labels else {GateType.CORRECT}))
    match draw(st.sampled_from(kinds)):
        case GateType.SINE:
            return Gate(
                type=GateType.SINE, frequency=draw(st.floats(0, 3)), phase=draw(st.floats(0, 2 * math.pi - 0.01))
            )
        case GateType.THRESHOLD:
            return Gate(type=GateType.THRESHOLD, threshold=draw(st.sampled_from([0.0, 0.3, 0.5, 0.8])))
        case kind:
            return Gate(type=kind)


@st.composite
def _losses(draw: st.DrawFn, kinds: list[LossType]) -> Loss:
    kind = draw(st.sampled_from(kinds))
    fields: dict[str, object] = {"weight": draw(st.sampled_from([1.0, 0.3]))}
    if kind in TEMPERED:
        fields["temperature"] = draw(st.sampled_from([1.0, 2.0, 0.5, 4.0]))
    if kind in ATTENTION:
        fields |= {"crops": draw(st.sampled_from([(), (3,), (2, 3, 5), (2, 9)])), "resize": Resize.BILINEAR}
    if kind is LossType.THRESHOLDED_PSEUDO_LABEL:
        fields["threshold"] = draw(st.sampled_from([0.0, 0.3, 0.6]))
    return Loss(type=kind, **fields)


@st.composite
def _nodes(draw: st.DrawFn, trunks: bool) -> list[Node]:
    """1 to 5 nodes, the first trained; an ensemble of the networks at the end in some."""
    nodes = [Node(name="a", model="resnet8", trunk="t" if trunks and draw(st.booleans()) else "")]
    for name in "bcde"[: draw(st.integers(0, 4))]:
        free = [node.name for node in nodes if node.kind is NodeKind.TRAINED and not node.trunk]
        kinds = [NodeKind.TRAINED, NodeKind.FROZEN, *([NodeKind.EMA] if free else [])]
        match draw(st.sampled_from(kinds)):
            case NodeKind.TRAINED:
                nodes.append(Node(name=name, model="resnet8", trunk="t" if trunks and draw(st.booleans()) else ""))
            case NodeKind.FROZEN:
                weights = Weights(pretrained=Pretrained())
                nodes.append(Node(name=name, kind=NodeKind.FROZEN, model="resnet8", weights=weights))
            case NodeKind.EMA:
                follows, decay = draw(st.sampled_from(free)), draw(st.sampled_from([0.999, 0.5]))
                nodes.append(Node(name=name, kind=NodeKind.EMA, follows=follows, decay=decay))
    if len(nodes) > 1 and draw(st.booleans()):
        average = draw(st.sampled_from(list(Average)))
        members = tuple(node.name for node in nodes)
        nodes.append(Node(name="z", kind=NodeKind.ENSEMBLE, members=members, average=average))
    return nodes


@st.composite
def graphs(draw: st.DrawFn, trunks: bool = True, inverse_kl: bool = True) -> Graph:
    """Any edges between any nodes; semi-supervised where one of the losses is.

    Without ``inverse_kl`` no loss is 1/KL, whose rounding grows without bound where two networks nearly agree.
    """
    nodes = draw(_nodes(trunks))
    semi_supervised = draw(st.booleans())
    edges = [Edge(source=LABEL, destination="a", loss=Loss(type=LossType.CROSS_ENTROPY))]
    for destination in (node.name for node in nodes if node.kind is NodeKind.TRAINED):
        if destination != "a" and draw(st.booleans()):
            loss = Loss(type=LossType.CROSS_ENTROPY, weight=draw(st.sampled_from([1.0, 0.4])))
            edges.append(Edge(source=LABEL, destination=destination, loss=loss, gate=draw(_gates(labels=True))))
        for source in nodes:
            if source.name == destination and not semi_supervised:
                continue
            if source.name == destination:
                kinds = sorted(UNLABELLED)
            else:
                kinds = sorted({*_TRANSFERS, *(UNLABELLED if semi_supervised else ())})
            if not inverse_kl:
                kinds = [kind for kind in kinds if kind is not LossType.PROBABILITY_INVERSE_KL]
            if source.kind is NodeKind.ENSEMBLE:
                kinds = [kind for kind in kinds if kind not in ATTENTION]
            gate = draw(_gates(labels=not semi_supervised))
            edges.append(Edge(source=source.name, destination=destination, loss=draw(_losses(kinds)), gate=gate))
    return Graph(nodes=tuple(nodes), edges=tuple(edges))


@st.composite
def trainings(draw: st.DrawFn) -> Training:
    """What the losses leave to the training."""
    return Training(
        length=Length(epochs=1),
        unlabelled=Unlabelled(forward=draw(st.sampled_from(list(Forward)))),
        label_smoothing=draw(st.sampled_from([0.0, 0.1])),
        reduction=draw(st.sampled_from(list(Reduction))),
        frozen_batch_norm=draw(st.booleans()),
    )


class SmoothNetwork(nn.Module):
    """Without a kink, so that rounding cannot switch a unit on or off; maps of an own side, some with a branch."""

    def __init__(self, map_side: int, *, branch: bool) -> None:
        super().__init__()
        self.lower = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.Tanh())
        self.attention = nn.Conv2d(4, 3, 7 - map_side)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4 * 36, CLASSES)
        self.branch = nn.Linear(3 * map_side**2, CLASSES) if branch else None

    def upper(self, features: Tensor) -> Output:
        """Logits far enough apart for gates, a positive map, and logits of the branch."""
        attended = self.attention(features)
        logits = 2 * self.linear(self.norm(features).flatten(1))
        branch = None if self.branch is None else self.branch(attended.flatten(1))
        return Output(logits, branch, attended.square().mean(1) + 0.1)

    def forward(self, images: Tensor) -> Tensor:
        return self.upper(self.lower(images)).logits


def networks_of(graph: Graph, seed: int) -> dict[str, nn.Module]:
    """Independent float64 networks whose BatchNorm statistics have seen something; nodes of a trunk share it."""
    torch.manual_seed(seed)
    networks: dict[str, nn.Module] = {}
    trunks: dict[str, nn.Module] = {}
    for place, node in enumerate(graph.nodes):
        if node.kind is NodeKind.ENSEMBLE:
            continue
        # An EMA node has the shapes of the node that it follows.
        like = next(i for i, other in enumerate(graph.nodes) if other.name == node.follows) if node.follows else place
        network = SmoothNetwork(5 - like % 2, branch=like % 3 == 1).double()
        network(1 + torch.rand(8, 2, 6, 6, dtype=torch.float64))
        if node.trunk:
            network.lower = trunks.setdefault(node.trunk, network.lower)
        networks[node.name] = network
    return networks


def views_of(graph: Graph, seed: int) -> tuple[Views, Tensor]:
    """Random images in float64, and labels of the labelled ones."""
    generator = torch.Generator().manual_seed(seed)

    def images(samples: int) -> Tensor:
        return torch.rand(samples, 2, 6, 6, generator=generator, dtype=torch.float64)

    labels = torch.randint(CLASSES, (LABELLED,), generator=generator)
    labelled = images(LABELLED)
    if not graph.semi_supervised:
        return Views(labelled, labelled, labelled), labels
    return Views(labelled, images(UNLABELLED_SAMPLES), images(UNLABELLED_SAMPLES)), labels

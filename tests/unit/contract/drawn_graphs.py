"""Random graphs of every kind of node, edge, loss and gate, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from graphtrial.contract import (
    LABEL,
    UNLABELLED,
    Average,
    Edge,
    Gate,
    GateType,
    Graph,
    Loss,
    LossType,
    Node,
    NodeKind,
    Pretrained,
    Weights,
)

MODELS = ("resnet8", "resnet14")
_LEARNS_WITHOUT_LABELS = sorted(set(GateType) - {GateType.CORRECT})


def _nodes(draw: st.DrawFn, most: int) -> list[Node]:
    nodes = [Node(name="n0", model=draw(st.sampled_from(MODELS)))]
    kinds = (*[NodeKind.TRAINED] * 4, NodeKind.FROZEN, NodeKind.EMA, NodeKind.ENSEMBLE)
    for number, kind in enumerate(draw(st.lists(st.sampled_from(kinds), max_size=most - 1)), start=1):
        name = f"n{number}"
        match kind:
            case NodeKind.TRAINED:
                nodes.append(Node(name=name, model=draw(st.sampled_from(MODELS))))
            case NodeKind.FROZEN:
                weights = Weights(pretrained=Pretrained(copy_number=draw(st.integers(0, 1))))
                nodes.append(Node(name=name, kind=kind, model="resnet8", weights=weights))
            case NodeKind.EMA:
                followed = [node.name for node in nodes if node.kind is NodeKind.TRAINED]
                nodes.append(Node(name=name, kind=kind, follows=draw(st.sampled_from(followed))))
            case NodeKind.ENSEMBLE:
                networks = [node.name for node in nodes if node.kind is not NodeKind.ENSEMBLE]
                members = draw(st.lists(st.sampled_from(networks), min_size=1, unique=True))
                average = draw(st.sampled_from(Average))
                nodes.append(Node(name=name, kind=kind, members=tuple(members), average=average))
    return nodes


def _gates(types: list[GateType]) -> st.SearchStrategy[Gate]:
    plain = [kind for kind in types if kind is not GateType.SINE]
    sine = st.builds(Gate, type=st.just(GateType.SINE), frequency=st.sampled_from([0.5, 1.0]), phase=st.just(1.0))
    return st.one_of(st.sampled_from(plain).map(lambda kind: Gate(type=kind)), sine)


def _edges(draw: st.DrawFn, nodes: list[Node], *, semi_supervised: bool) -> list[Edge]:
    of_probabilities = [Loss(type=LossType.KL), Loss(type=LossType.KL, temperature=2)]
    losses = [*of_probabilities, Loss(type=LossType.ATTENTION_APART)]
    ensembles = {node.name for node in nodes if node.kind is NodeKind.ENSEMBLE}
    unlabelled = [Loss(type=kind) for kind in sorted(UNLABELLED)] if semi_supervised else []
    of_transfer = _gates(_LEARNS_WITHOUT_LABELS if semi_supervised else sorted(GateType))
    edges: list[Edge] = []
    for source in (LABEL, *(node.name for node in nodes)):
        for node in nodes:
            if node.kind is not NodeKind.TRAINED:
                continue
            if source == LABEL:
                possible, gate = [Loss(type=LossType.CROSS_ENTROPY)], _gates(sorted(GateType))
            else:
                between = of_probabilities if source in ensembles else losses
                possible, gate = unlabelled if source == node.name else between + unlabelled, of_transfer
            if possible and draw(st.booleans()):
                loss = draw(st.sampled_from(possible))
                edges.append(Edge(source=source, destination=node.name, loss=loss, gate=draw(gate)))
    return edges


@st.composite
def graphs(draw: st.DrawFn, most: int = 5) -> Graph:
    """Valid graphs of one to ``most`` nodes named n0, n1, ...; any node may be the target."""
    nodes = _nodes(draw, most)
    edges = _edges(draw, nodes, semi_supervised=draw(st.booleans()))
    target = draw(st.sampled_from(["", *(node.name for node in nodes)]))
    return Graph(nodes=tuple(nodes), edges=tuple(edges), target=target)

"""The known methods as graphs, built from the models of a graph that was found (spec 6)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from graphsearch.api import Baseline
from graphsearch.search.ledger import Ledger
from graphsearch.search.settled import Settled
from graphsearch.search.teachers import started_graphs
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
    Pretrained,
    ScoreOf,
    Weights,
    graph_digest,
    image_side,
    is_built_in,
    model_size,
    scored_ensemble,
    scored_nodes,
)

FOUND = "Found"
"""The contender that the others are compared with."""

_KD_TEMPERATURE = 2.0
"""Of the KD baseline (spec 6)."""


def contenders(settled: Settled, ledger: Ledger) -> list[tuple[tuple[str, ...], Graph]]:
    """The found graph or the fixed list, then the baselines of the found or the last one."""
    score_of = settled.final_score_of
    baselines = settled.spec.comparison.baselines if settled.spec.comparison else ()
    if settled.spec.graphs:
        listed = [(graph.name or settled.name, graph) for graph in settled.spec.graphs]
    else:
        assert ledger.search.winner is not None
        graph = ledger.trials[ledger.search.winner].spec.graph
        if settled.spec.objective.score_of is ScoreOf.BEST_NODE:
            graph = graph.model_copy(update={"target": ledger.search.winner_node})
        listed = [(FOUND, graph)]
    side = image_side(settled.spec.data.dataset, settled.spec.data.image_size)
    known = [(baseline.value, baseline_graph(baseline, listed[-1][1], score_of, side)) for baseline in baselines]
    return merge_equal([*listed, *known], alone=started_graphs(settled))


def found_name(settled: Settled) -> str:
    """The contender that the others are compared with: ``Found``, or the last graph of a fixed list."""
    graphs = settled.spec.graphs
    return (graphs[-1].name or settled.name) if graphs else FOUND


def merge_equal(named: Iterable[tuple[str, Graph]], alone: Collection[str] = ()) -> list[tuple[tuple[str, ...], Graph]]:
    """Contenders whose graphs are equal become one entry with several names: it runs once.

    Args:
        named: Contenders by name.
        alone: Names that are never merged, because other graphs start from their nodes as they are named.
    """
    merged: dict[str, tuple[tuple[str, ...], Graph]] = {}
    for name, graph in named:
        key = name if name in alone else graph_digest(graph)
        names, first = merged.get(key, ((), graph))
        merged[key] = ((*names, name), first)
    return list(merged.values())


def baseline_graph(baseline: Baseline, found: Graph, score_of: ScoreOf, image_size: int) -> Graph:
    """The graph of a known method with the models of ``found``, scored like it.

    Which of them is the largest, and so the teacher of Distillation, depends on the images' side in pixels.

    Raises:
        ValidationError: If it would have more nodes or edges than a graph may; a manifest rules that out.
    """
    if score_of is ScoreOf.TARGET_NODE and found.node(found.target_name).kind is NodeKind.ENSEMBLE:
        score_of = ScoreOf.ENSEMBLE
    match baseline:
        case Baseline.ALL_THROUGH:
            return _all_through(found)
        case Baseline.INDEPENDENT:
            nodes = _untrained(found, score_of)
            return _graph(found, nodes, [_label(node) for node in nodes], score_of)
        case Baseline.MUTUAL_LEARNING:
            nodes = _untrained(found, None)
            pairs = [_kl(s, t, 1.0) for s in nodes for t in nodes if s is not t]
            return _graph(found, nodes, [*(_label(node) for node in nodes), *pairs], score_of)
        case Baseline.DISTILLATION:
            return _distillation(found, score_of, image_size)


def _all_through(found: Graph) -> Graph:
    through = Gate(type=GateType.THROUGH)
    fed = {edge.destination for edge in found.edges}
    nodes = [
        node.model_copy(update={"kind": NodeKind.TRAINED, "weights": None})
        if node.kind is NodeKind.FROZEN and node.name in fed
        else node
        for node in found.nodes
    ]
    edges = [edge.model_copy(update={"gate": through}) for edge in found.edges]
    return Graph(nodes=tuple(nodes), edges=tuple(edges), target=found.target_name)


def _distillation(found: Graph, score_of: ScoreOf, image_size: int) -> Graph:
    students = _untrained(found, score_of)
    others = [node for node in _untrained(found, None) if node.name != found.target_name] or students
    model = max(others, key=lambda node: _cost(node.model, image_size)).model
    name = next(str(number) for number in range(1, 18) if str(number) not in {node.name for node in students})
    teacher = Node(name=name, kind=NodeKind.FROZEN, model=model, weights=Weights(pretrained=Pretrained()))
    edges = [edge for node in students for edge in (_label(node), _kl(teacher, node, _KD_TEMPERATURE))]
    return _graph(found, [*students, teacher], edges, score_of, members=students)


def _untrained(found: Graph, score_of: ScoreOf | None) -> list[Node]:
    """The networks of a graph, all to be trained from random weights; only the scored ones if a score is given."""
    names = {node.name for node in found.nodes} if score_of is None else set(scored_nodes(found, score_of))
    models = {node.name: node.model for node in found.nodes}
    return [
        Node(name=node.name, model=models[node.follows] if node.follows else node.model)
        for node in found.nodes
        if node.kind is not NodeKind.ENSEMBLE and node.name in names
    ]


def _graph(
    found: Graph, nodes: list[Node], edges: list[Edge], score_of: ScoreOf, members: list[Node] | None = None
) -> Graph:
    ensemble = scored_ensemble(found)
    if score_of is ScoreOf.ENSEMBLE and (ensemble or members):
        ensemble = ensemble or Node(name="ensemble", kind=NodeKind.ENSEMBLE, members=(nodes[0].name,))
        names = tuple(node.name for node in members) if members else ensemble.members
        nodes = [*nodes, ensemble.model_copy(update={"members": names})]
    target = found.target_name if any(node.name == found.target_name for node in nodes) else nodes[0].name
    return Graph(nodes=tuple(nodes), edges=tuple(edges), target=target)


def _label(node: Node) -> Edge:
    return Edge(source=LABEL, destination=node.name, loss=Loss(type=LossType.CROSS_ENTROPY))


def _kl(source: Node, destination: Node, temperature: float) -> Edge:
    loss = Loss(type=LossType.KL, temperature=temperature)
    return Edge(source=source.name, destination=destination.name, loss=loss)


def _cost(model: str, image_size: int) -> int:
    return model_size(model, classes=10, image_size=image_size).flops if is_built_in(model) else 0

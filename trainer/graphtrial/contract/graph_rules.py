"""What a graph may not be, and which parts of it matter for a score (spec 1).

Each rule is a small pure function that yields violations: a location and what would be right. They look at
the whole graph, so that one run of them names everything wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

from graphtrial.contract._base import Violation
from graphtrial.contract.catalogue import gives_logits_only, model_problem, takes_torchvision_weights
from graphtrial.contract.parts import (
    ATTENTION,
    ENSEMBLE,
    LABEL,
    UNLABELLED,
    Average,
    Gate,
    GateType,
    Loss,
    LossType,
    Node,
    NodeKind,
    Pretrained,
    Resize,
    Weights,
)

if TYPE_CHECKING:
    from graphtrial.contract.graph import Graph


class ScoreOf(StrEnum):
    """Whose metric is a trial's score (spec 5.3)."""

    TARGET_NODE = "TargetNode"
    ENSEMBLE = "Ensemble"
    BEST_NODE = "BestNode"


class IsolatedNodes(StrEnum):
    """What becomes of a drawn node whose incoming gates are all Cutoff (spec 1.1, 10)."""

    PRETRAINED = "Pretrained"
    RANDOM = "Random"
    REDRAW = "Redraw"


TEMPERED = frozenset({LossType.KL, LossType.TOGETHER, LossType.CONSISTENCY})
"""Losses that have a temperature."""


_OBJECT = r"(file://)?/[^\x00-\x1f]*[^\x00-\x1f/]|s3://[^\x00-\x1f/]+/[^\x00-\x1f]*[^\x00-\x1f/]"
"""What the URI of a single object matches as a whole."""


def graph_violations(graph: Graph) -> list[Violation]:
    """Every broken rule of a graph on its own, whatever it is scored by."""
    rules = (_names, _node_fields, _weights, _trunks, _references, _edge_ends, _duplicates, _losses, _maps, _gates)
    return [violation for rule in rules for violation in rule(graph)]


def score_violations(graph: Graph, score_of: ScoreOf) -> list[Violation]:
    """Why this graph cannot be trained for that score: nothing that is scored would learn."""
    target = graph.target_name
    if score_of is ScoreOf.TARGET_NODE:
        kind = graph.node(target).kind
        if kind is NodeKind.FROZEN:
            return [Violation(("target",), f"the scored node {target!r} is frozen; score a node that learns")]
        if not _learns(graph, target):
            return [
                Violation(
                    ("edges",),
                    f"the scored node {target!r} learns nothing: give it an incoming edge that is not Cutoff",
                )
            ]
        return []
    scored = scored_nodes(graph, score_of)
    if not scored:
        return [Violation(("nodes",), "only Trained and EMA nodes count as BestNode, and there is none; add one")]
    if not any(_learns(graph, name) for name in scored):
        message = f"none of the scored nodes ({_listed(scored)}) learns: give one an incoming edge that is not Cutoff"
        return [Violation(("edges",), message)]
    return []


def scored_nodes(graph: Graph, score_of: ScoreOf) -> tuple[str, ...]:
    """Names of the nodes whose outputs a score reads; a frozen node never counts as BestNode."""
    match score_of:
        case ScoreOf.TARGET_NODE:
            return (graph.target_name,)
        case ScoreOf.ENSEMBLE:
            ensemble = scored_ensemble(graph)
            return ensemble.members if ensemble else tuple(node.name for node in graph.nodes)
        case ScoreOf.BEST_NODE:
            trained = [node.name for node in graph.nodes if node.kind in (NodeKind.TRAINED, NodeKind.EMA)]
            # A random node may be lucky, and could not be trained again for its score.
            return tuple(name for name in trained if _learns(graph, name)) or tuple(trained)


def scored_ensemble(graph: Graph) -> Node | None:
    """The Ensemble node that ``ScoreOf.ENSEMBLE`` reads: the target if it is one, else the first; None without any."""
    ensembles = [node for node in graph.nodes if node.kind is NodeKind.ENSEMBLE]
    return next((node for node in ensembles if node.name == graph.target_name), next(iter(ensembles), None))


def needed_nodes(graph: Graph, score_of: ScoreOf) -> frozenset[str]:
    """Nodes with a path to a scored node; the others are not trained and reported so (design 7)."""
    needed: set[str] = set()
    waiting = list(scored_nodes(graph, score_of))
    while waiting:
        name = waiting.pop()
        if name in needed or name == LABEL:
            continue
        needed.add(name)
        node = graph.node(name)
        waiting += [edge.source for edge in graph.live_edges() if edge.destination == name]
        waiting += list(node.members)
        waiting += [node.follows] if node.follows else []
        # A trunk is updated with the sum of its networks' gradients, whoever is scored.
        mates = [mate.name for mate in graph.nodes if node.trunk and mate.trunk == node.trunk]
        waiting += [mate for mate in mates if _learns(graph, mate)]
    return frozenset(needed)


def settle_isolated(graph: Graph, isolated: IsolatedNodes) -> Graph | None:
    """Apply the rule of spec 1.1 to a drawn graph.

    A trained node whose incoming gates are all Cutoff becomes a frozen teacher with pretrained weights (copy 0,
    1, ... per model), stays a random node, or makes the graph one to draw again. Nodes of other kinds stay as they
    are, and so does a node that an EMA node follows: the average of a frozen teacher would be the teacher again.

    Returns:
        The graph with its frozen nodes, or None where it must be drawn again.
    """
    fed = {edge.destination for edge in graph.live_edges()}
    followed = {node.follows for node in graph.nodes}
    copies: dict[str, int] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.kind is not NodeKind.TRAINED or node.name in fed or isolated is IsolatedNodes.RANDOM:
            nodes.append(node)
            continue
        if isolated is IsolatedNodes.REDRAW:
            return None
        if node.name in followed:
            nodes.append(node)
            continue
        copy = copies.get(node.model, 0)
        copies[node.model] = copy + 1
        weights = Weights(pretrained=Pretrained(copy_number=copy))
        nodes.append(node.model_copy(update={"kind": NodeKind.FROZEN, "weights": weights}))
    return graph.model_copy(update={"nodes": tuple(nodes)})


def _learns(graph: Graph, name: str) -> bool:
    node = graph.node(name)
    match node.kind:
        case NodeKind.FROZEN:
            return False
        case NodeKind.EMA:
            return _learns(graph, node.follows)
        case NodeKind.ENSEMBLE:
            return any(_learns(graph, member) for member in node.members)
        case NodeKind.TRAINED:
            return any(edge.destination == name for edge in graph.live_edges())


def _names(graph: Graph) -> Iterator[Violation]:
    seen: set[str] = set()
    scored = scored_ensemble(graph)
    for position, node in enumerate(graph.nodes):
        if node.name == LABEL:
            yield Violation(("nodes", position, "name"), f"{LABEL!r} is the ground truth; choose another name")
        if node.name == ENSEMBLE and node is not scored:
            yield Violation(("nodes", position, "name"), f"{ENSEMBLE!r} is the ensemble's score; choose another name")
        if node.name in seen:
            yield Violation(("nodes", position, "name"), f"{node.name!r} is used twice; names are unique in a graph")
        seen.add(node.name)
    if graph.target and graph.target not in seen:
        names = _listed(node.name for node in graph.nodes)
        yield Violation(("target",), f"there is no node {graph.target!r}; nodes are {names}")


def _node_fields(graph: Graph) -> Iterator[Violation]:
    for position, node in enumerate(graph.nodes):
        where = ("nodes", position)
        networks = node.kind in (NodeKind.TRAINED, NodeKind.FROZEN)
        if networks and (problem := model_problem(node.model)):
            yield Violation((*where, "model"), problem)
        if not networks and node.model:
            yield Violation((*where, "model"), f"an {node.kind} node has no model of its own; leave it out")
        if (node.kind is NodeKind.EMA) != bool(node.follows):
            yield Violation((*where, "follows"), "is for EMA nodes and required there: the node that it averages")
        if (node.kind is NodeKind.ENSEMBLE) != bool(node.members):
            yield Violation((*where, "members"), "is for Ensemble nodes and required there: the nodes that it averages")
        if node.decay != 0.999 and node.kind is not NodeKind.EMA:
            yield Violation((*where, "decay"), "is for EMA nodes; leave it out")
        if node.average is not Average.LOGITS and node.kind is not NodeKind.ENSEMBLE:
            yield Violation((*where, "average"), "is for Ensemble nodes; leave it out")


def _weights(graph: Graph) -> Iterator[Violation]:
    for position, node in enumerate(graph.nodes):
        where = ("nodes", position, "weights")
        networks = node.kind in (NodeKind.TRAINED, NodeKind.FROZEN)
        if node.kind is NodeKind.FROZEN and node.weights is None:
            yield Violation(where, "a frozen node needs weights: pretrained, uri, torchvision or node")
        if node.weights is None:
            continue
        if not networks:
            yield Violation(where, f"an {node.kind} node has no weights of its own; leave them out")
        if sum(value is not None for _, value in node.weights) != 1:
            yield Violation(where, "give exactly one of pretrained, uri, torchvision, node")
        if node.weights.uri is not None and not re.fullmatch(_OBJECT, node.weights.uri):
            message = "names no object; use file:///folder/name.pt, an absolute path or s3://bucket/name.pt"
            yield Violation((*where, "uri"), f"{node.weights.uri!r} {message}")
        if node.weights.torchvision and networks and not takes_torchvision_weights(node.model):
            message = f"are for models torchvision:NAME and for resnet18 to resnet152, and this is {node.model!r}"
            yield Violation((*where, "torchvision"), message)


def _trunks(graph: Graph) -> Iterator[Violation]:
    """Layers that are run once and updated with the sum of their nodes' gradients have one model and start as one."""
    models: dict[str, str] = {}
    followed = {node.follows for node in graph.nodes}
    for position, node in enumerate(graph.nodes):
        if not node.trunk:
            continue
        where = ("nodes", position, "trunk")
        if node.kind is not NodeKind.TRAINED:
            yield Violation(where, f"is for Trained nodes, and {node.name!r} is {node.kind}; leave it out")
        if node.weights is not None:
            yield Violation(where, "a node with a trunk starts from random weights; leave out trunk or weights")
        if gives_logits_only(node.model):
            yield Violation(where, f"a {node.model} has no layers to share; use a built-in model or leave it out")
        if node.name in followed:
            yield Violation(where, f"an EMA node follows {node.name!r}, which then cannot share layers; leave it out")
        if models.setdefault(node.trunk, node.model) != node.model:
            other = models[node.trunk]
            yield Violation(where, f"nodes of the trunk {node.trunk!r} are a {other}, and this is a {node.model}")


def _references(graph: Graph) -> Iterator[Violation]:
    kinds = {node.name: node.kind for node in graph.nodes}
    for position, node in enumerate(graph.nodes):
        if node.follows and kinds.get(node.follows) is not NodeKind.TRAINED:
            yield Violation(
                ("nodes", position, "follows"), f"{node.follows!r} is no trained node; an EMA node follows one"
            )
        for index, member in enumerate(node.members):
            if kinds.get(member) in (None, NodeKind.ENSEMBLE):
                where = ("nodes", position, "members", index)
                yield Violation(where, f"{member!r} is no network of this graph; members are trained, frozen or EMA")
        if len(set(node.members)) < len(node.members):
            yield Violation(("nodes", position, "members"), "names a node twice")


def _edge_ends(graph: Graph) -> Iterator[Violation]:
    kinds = {node.name: node.kind for node in graph.nodes}
    for position, edge in enumerate(graph.edges):
        if edge.source != LABEL and edge.source not in kinds:
            yield Violation(
                ("edges", position, "source"),
                f"there is no node {edge.source!r}; sources are {LABEL} and {_listed(kinds)}",
            )
        if edge.destination not in kinds:
            yield Violation(
                ("edges", position, "destination"), f"there is no node {edge.destination!r}; nodes are {_listed(kinds)}"
            )
        elif edge.is_live and kinds[edge.destination] is not NodeKind.TRAINED:
            kind = kinds[edge.destination]
            yield Violation(
                ("edges", position, "destination"),
                f"{edge.destination!r} is {kind}; only a Trained node learns from an edge (or cut it)",
            )


def _duplicates(graph: Graph) -> Iterator[Violation]:
    seen: set[tuple[str, str, LossType]] = set()
    for position, edge in enumerate(graph.edges):
        key = (edge.source, edge.destination, edge.loss.type)
        if key in seen:
            yield Violation(("edges", position), f"a second edge {key[0]} -> {key[1]} with the loss {key[2]}")
        seen.add(key)


def _losses(graph: Graph) -> Iterator[Violation]:
    ensembles = {node.name for node in graph.nodes if node.kind is NodeKind.ENSEMBLE}
    for position, edge in enumerate(graph.edges):
        where = ("edges", position, "loss")
        kind = edge.loss.type
        if edge.is_label != (kind is LossType.CROSS_ENTROPY):
            yield Violation(
                (*where, "type"), "CrossEntropy stands on label edges, and nothing else does; other losses need a node"
            )
        if edge.source == edge.destination and kind not in UNLABELLED:
            right = _listed(sorted(UNLABELLED))
            yield Violation((*where, "type"), f"a self edge compares two views of unlabelled images: use {right}")
        if edge.source in ensembles and kind in ATTENTION:
            yield Violation((*where, "type"), f"{edge.source!r} is an ensemble, which has no attention map; use KL")
        yield from (
            Violation((*where, name), f"{kind} has no {name}; leave it out") for name in _foreign_of_loss(edge.loss)
        )


def _maps(graph: Graph) -> Iterator[Violation]:
    """An attention loss needs two maps (spec 2.2); whether the user's own models have one, the trainer finds out."""
    models = {node.name: node.model for node in graph.nodes}
    models |= {node.name: models.get(node.follows, "") for node in graph.nodes if node.follows}
    for position, edge in enumerate(graph.edges):
        if not edge.is_live or edge.loss.type not in ATTENTION:
            continue
        for end in (edge.source, edge.destination):
            if gives_logits_only(model := models.get(end, "")):
                message = (
                    f"{edge.loss.type} is an attention loss on a model without a map: {end!r} is a {model}; use a "
                    f"built-in model such as resnet32 or abn-resnet20"
                )
                yield Violation(("edges", position, "loss", "type"), message)


def _foreign_of_loss(loss: Loss) -> list[str]:
    tests = {
        "temperature": loss.temperature == 1.0 or loss.type in TEMPERED,
        "threshold": loss.threshold == 0.95 or loss.type is LossType.THRESHOLDED_PSEUDO_LABEL,
        "crops": not loss.crops or loss.type in ATTENTION,
        "resize": loss.resize is Resize.NONE or loss.type in ATTENTION,
    }
    return [name for name, fits in tests.items() if not fits]


def _gates(graph: Graph) -> Iterator[Violation]:
    semi_supervised = graph.semi_supervised
    for position, edge in enumerate(graph.edges):
        where = ("edges", position, "gate")
        if semi_supervised and not edge.is_label and edge.gate.type is GateType.CORRECT:
            yield Violation(
                where, "Correct needs labels, and this edge acts on unlabelled images; use Through, Linear or Threshold"
            )
        yield from (
            Violation((*where, name), f"{edge.gate.type} has no {name}; leave it out")
            for name in _foreign_of_gate(edge.gate)
        )


def _foreign_of_gate(gate: Gate) -> list[str]:
    tests = {
        "frequency": gate.frequency == 0 or gate.type is GateType.SINE,
        "phase": gate.phase == 0 or gate.type is GateType.SINE,
        "threshold": gate.threshold == 0.95 or gate.type is GateType.THRESHOLD,
    }
    return [name for name, fits in tests.items() if not fits]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)

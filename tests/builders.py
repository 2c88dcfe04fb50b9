"""Graphs as short sentences: ``a_graph().trained("1").frozen("2").label("1", "Linear").transfer("2", "1").obj()``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphtrial.contract import (
    LABEL,
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


def a_graph() -> GraphBuilder:
    """A graph without nodes and edges, to be described further."""
    return GraphBuilder()


@dataclass(frozen=True)
class GraphBuilder:
    """A graph in the making; every call gives a new one, so a beginning can serve several endings."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    name: str = ""
    target: str = ""

    def node(self, node: Node) -> GraphBuilder:
        """Any node."""
        return replace(self, nodes=(*self.nodes, node))

    def trained(
        self, name: str, model: str = "resnet8", weights: Weights | None = None, trunk: str = ""
    ) -> GraphBuilder:
        """A node that learns, from random weights unless others are given."""
        return self.node(Node(name=name, model=model, weights=weights, trunk=trunk))

    def frozen(
        self, name: str, model: str = "resnet8", *, copy: int = 0, weights: Weights | None = None
    ) -> GraphBuilder:
        """A teacher, pretrained on labels unless other weights are given."""
        weights = weights or Weights(pretrained=Pretrained(copy_number=copy))
        return self.node(Node(name=name, kind=NodeKind.FROZEN, model=model, weights=weights))

    def ema(self, name: str, follows: str, decay: float = 0.999) -> GraphBuilder:
        """A moving average of another node."""
        return self.node(Node(name=name, kind=NodeKind.EMA, follows=follows, decay=decay))

    def ensemble(self, name: str, *members: str, average: Average = Average.LOGITS) -> GraphBuilder:
        """The mean of its members."""
        return self.node(Node(name=name, kind=NodeKind.ENSEMBLE, members=members, average=average))

    def edge(self, source: str, destination: str, loss: str | Loss, gate: str | Gate = "Through") -> GraphBuilder:
        """Any edge; losses and gates by name where they have no parameters."""
        loss = loss if isinstance(loss, Loss) else Loss(type=LossType(loss))
        gate = gate if isinstance(gate, Gate) else Gate(type=GateType(gate))
        return replace(self, edges=(*self.edges, Edge(source=source, destination=destination, loss=loss, gate=gate)))

    def label(self, destination: str, gate: str | Gate = "Through") -> GraphBuilder:
        """Supervision by the ground truth."""
        return self.edge(LABEL, destination, "CrossEntropy", gate)

    def transfer(
        self, source: str, destination: str, gate: str | Gate = "Through", loss: str | Loss = "KL"
    ) -> GraphBuilder:
        """Knowledge from node to node."""
        return self.edge(source, destination, loss, gate)

    def itself(self, name: str, loss: str | Loss, gate: str | Gate = "Through") -> GraphBuilder:
        """A self edge: two views of unlabelled images."""
        return self.edge(name, name, loss, gate)

    def aiming_at(self, target: str) -> GraphBuilder:
        """The node to improve, where it is not the first."""
        return replace(self, target=target)

    def called(self, name: str) -> GraphBuilder:
        """The graph's own name."""
        return replace(self, name=name)

    def obj(self) -> Graph:
        """The graph.

        Raises:
            ValidationError: If it breaks a rule.
        """
        return Graph(name=self.name, nodes=self.nodes, edges=self.edges, target=self.target)

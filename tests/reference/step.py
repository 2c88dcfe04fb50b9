"""One update of a whole graph (Algorithm 1): what every node says, every L_t, its gradient, and the averages (5.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from graphtrial.contract import Average, Edge, Forward, Graph, NodeKind, Reduction, Training
from tests.reference.formulas import Heard, Told, edge_loss, gate_weight, probabilities


class Views(NamedTuple):
    """The images of a step; without unlabelled ones all three are the labelled images."""

    labelled: Tensor
    destination: Tensor
    source: Tensor


class Says(NamedTuple):
    """What a network says of some images, [samples, ...]."""

    logits: Tensor
    branch: Tensor | None
    map: Tensor | None

    def part(self, start: int, end: int) -> Says:
        """Of some of the samples."""
        return Says(*(None if value is None else value[start:end] for value in self))


class Step:
    """A graph before one update."""

    def __init__(self, graph: Graph, networks: Mapping[str, nn.Module], training: Training, total: int) -> None:
        self.graph, self.networks, self.training, self.total = graph, networks, training, total
        self.ensembles = {node.name: node for node in graph.nodes if node.kind is NodeKind.ENSEMBLE}

    def asked(self, name: str) -> list[str]:
        """The views that something reads a network on, in the order of ``Views``."""
        found = set()
        for edge in self.graph.live_edges():
            sources = self.ensembles[edge.source].members if edge.source in self.ensembles else (edge.source,)
            if edge.destination == name:
                found.add("labelled" if edge.is_label or not self.graph.semi_supervised else "destination")
            if name in sources:
                found.add("source" if self.graph.semi_supervised else "labelled")
        return [view for view in Views._fields if view in found]

    def says(self, views: Views) -> dict[tuple[str, str], Says]:
        """Every network on every view that is asked of it; a trunk runs once over what any of its nodes is asked."""
        said: dict[tuple[str, str], Says] = {}
        groups: dict[str, list[str]] = {}
        for node in self.graph.nodes:
            if node.name not in self.ensembles and self.asked(node.name):
                groups.setdefault(node.trunk or f"only {node.name}", []).append(node.name)
        for names in groups.values():
            kind = self.graph.node(names[0]).kind
            trains = kind is NodeKind.TRAINED or (kind is NodeKind.FROZEN and not self.training.frozen_batch_norm)
            for name in names:
                self.networks[name].train(trains)
            asked = [view for view in Views._fields if any(view in self.asked(name) for name in names)]
            separate = kind is NodeKind.TRAINED and self.training.unlabelled.forward is Forward.SEPARATE
            for passed in [[view] for view in asked] if separate else [asked]:
                said |= self._pass(names, passed, views)
        return said

    def _pass(self, names: list[str], asked: list[str], views: Views) -> dict[tuple[str, str], Says]:
        features = self.networks[names[0]].lower(torch.cat([getattr(views, view) for view in asked]))
        by_view = dict(zip(asked, features.split([len(getattr(views, view)) for view in asked]), strict=True))
        said: dict[tuple[str, str], Says] = {}
        for name in names:
            own = [view for view in asked if view in self.asked(name)]
            if own:
                whole = Says(*self.networks[name].upper(torch.cat([by_view[view] for view in own])))
                start = 0
                for view in own:
                    end = start + len(by_view[view])
                    said[name, view] = whole.part(start, end)
                    start = end
        return said

    def told(self, edge: Edge, said: Mapping[tuple[str, str], Says], sample: int) -> Told | None:
        """What the source of an edge says of one sample, as numbers; None: the label."""
        if edge.is_label:
            return None
        view = "source" if self.graph.semi_supervised else "labelled"

        def of(name: str, temperature: float) -> list[float]:
            return probabilities(said[name, view].logits[sample].tolist(), temperature)

        if edge.source not in self.ensembles:
            map_ = said[edge.source, view].map
            cells = None if map_ is None else map_[sample].tolist()
            return Told(of(edge.source, edge.loss.temperature), of(edge.source, 1.0), cells)
        ensemble = self.ensembles[edge.source]

        def mean(rows: list[list[float]]) -> list[float]:
            return [sum(values) / len(values) for values in zip(*rows, strict=True)]

        if ensemble.average is Average.PROBABILITIES:
            at = [
                [of(member, temperature) for member in ensemble.members] for temperature in (edge.loss.temperature, 1)
            ]
            return Told(mean(at[0]), mean(at[1]))
        logits = mean([said[member, view].logits[sample].tolist() for member in ensemble.members])
        return Told(probabilities(logits, edge.loss.temperature), probabilities(logits, 1.0))

    def node_losses(self, views: Views, labels: list[int], update: int) -> dict[str, Tensor]:
        """L_t of every node with a live edge: (3.2) to (3.3), (4.12) to (4.15), (5.9)."""
        said = self.says(views)
        losses: dict[str, Tensor] = {}
        for edge in self.graph.live_edges():
            view = "labelled" if edge.is_label or not self.graph.semi_supervised else "destination"
            own = said[edge.destination, view]
            samples = len(own.logits)
            for sample in range(samples):
                told = self.told(edge, said, sample)
                heard = Heard(*(None if value is None else value[sample] for value in own))
                label = labels[sample] if view == "labelled" else -1
                classes = len(heard.logits)
                source = [float(index == label) for index in range(classes)] if told is None else told.at_one
                weight = edge.loss.weight * gate_weight(edge.gate, source, label, update, self.total)
                if self.training.reduction is Reduction.MEAN:
                    weight /= samples
                loss = weight * edge_loss(edge, told, heard, label, self.training.label_smoothing)
                losses[edge.destination] = losses.get(edge.destination, torch.zeros((), dtype=torch.float64)) + loss
        return losses

    def gradients(self, losses: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """The gradient of L_t in the parameters of t alone, for each t; those of a trunk are summed over its nodes."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, loss in losses.items():
            parameters = dict(self.networks[name].named_parameters())
            values = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
            found[name] = {key: value for key, value in zip(parameters, values, strict=True) if value is not None}
        for name, values in found.items():
            trunk = self.graph.node(name).trunk
            if not trunk:
                continue
            others = [other for other in found if other != name and self.graph.node(other).trunk == trunk]
            sums = {key: value for key, value in values.items() if key.startswith("lower.")}
            for other in others:
                own = dict(self.networks[other].named_parameters())
                (*grads,) = torch.autograd.grad(
                    losses[other], [own[key] for key in sums], retain_graph=True, allow_unused=True
                )
                sums = {
                    key: value if grad is None else value + grad
                    for (key, value), grad in zip(sums.items(), grads, strict=True)
                }
            found[name] = values | sums
        return found


def averaged(average: nn.Module, followed: nn.Module, decay: float) -> dict[str, Tensor]:
    """(5.2) for each parameter, and buffers as they are, of the averaging node after the update."""
    theta = dict(followed.named_parameters())
    weights = {name: (decay * value + (1 - decay) * theta[name]).detach() for name, value in average.named_parameters()}
    return weights | dict(followed.named_buffers())

"""The step of a knowledge transfer graph: images in, one scalar to call ``backward`` on out (Algorithm 1).

Every network runs once over all the images that something reads it on. Sources are constants, so L_t reaches node t
alone, and the gradient of the sum of all L_t is in each node that of its own. A graph is compiled once: a step has no
Python per edge and nowhere asks the device for a number, which would make a GPU finish all queued work first.

A supervised step has one part, the labelled images. A semi-supervised one has two views of unlabelled images beside
it: what destinations of transfer and self edges see (zeta1), and what their sources see (zeta2). A trained node runs
over its parts concatenated (or one by one, where the training says so); frozen and EMA nodes run over what they
source, without gradient, in evaluation mode.

On a GPU each network has a stream of its own, forward and, by autograd's rule, backward: at small batches one network
fills a part of it.

Optimiser, data and length of the training are not known here. Decided against: one backward pass per node, which has
nothing to gain from gradients that are zero anyway.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor, nn

from graphtrial.contract import Edge, Forward, Graph, Node, NodeKind, Precision, Training
from graphtrial.models import Output, is_observed, observe
from graphtrial.training.errors import RefusedError
from graphtrial.training.graph_losses import GraphLosses, Losses, Order
from graphtrial.training.terms import Said


class Images(NamedTuple):
    """What one step is made of."""

    labelled: Tensor
    """[samples, channels, height, width]."""
    labels: Tensor
    """Their class indices, [samples]."""
    destination: Tensor | None = None
    """Semi-supervised: the view of destinations of unlabelled images, [unlabelled, channels, height, width]."""
    source: Tensor | None = None
    """Semi-supervised: the view of sources of the same images."""


class Part(IntEnum):
    """A part of a step's images, in the order in which a network runs over them."""

    LABELLED = 0
    DESTINATION = 1
    SOURCE = 2


class GraphStep:
    """A graph with its networks, ready to be trained.

    Attributes:
        names: The nodes that learn, in the graph's order: needed, and with a live incoming edge.
        edges: The edges that are trained, in the order of ``Losses.edges``.
        step_count: Updates done so far, an int64 scalar on the device. ``losses`` adds 1; a resumed run fills it in.
    """

    def __init__(
        self,
        graph: Graph,
        networks: Mapping[str, nn.Module],
        *,
        needed: frozenset[str],
        total_steps: int,
        training: Training,
        device: torch.device,
    ) -> None:
        """Compile the graph.

        Args:
            graph: Whose networks have the maps that its losses read.
            networks: By node name, on ``device``, each giving logits [samples, classes].
            needed: Nodes with a path to a scored one; the others are neither run nor trained.
            total_steps: k_end of the gates: the number of updates of the whole training.
            training: Precision of the networks' arithmetic, how they run, and what the losses leave open.
            device: Where networks, images and labels live.
        """
        edges = [edge for edge in graph.live_edges() if edge.destination in needed]
        parts = _parts(graph, edges, needed)
        learning = {edge.destination for edge in edges}
        self.names = tuple(node.name for node in graph.nodes if node.name in learning)
        self.step_count = torch.zeros((), dtype=torch.int64, device=device)
        self._runs = _runs(graph, networks, parts, learning, training)
        self._streams = [torch.cuda.Stream(device) for _ in self._runs] if device.type == "cuda" else []
        said = {part: [name for name in parts if part in parts[name]] for part in Part}
        views = (Part.DESTINATION, Part.SOURCE) if graph.uses_unlabelled(needed) else (Part.LABELLED, Part.LABELLED)
        self._views = views
        sources = {edge.source for edge in edges}
        self._losses = GraphLosses(
            edges,
            self.names,
            order=Order(said[Part.LABELLED], said[views[0]], said[views[1]]),
            ensembles=[node for node in graph.nodes if node.kind is NodeKind.ENSEMBLE and node.name in sources],
            total_steps=total_steps,
            training=training,
            device=device,
        )
        self.edges = self._losses.edges
        self._order = said
        self._graph, self._training, self._device = graph, training, device

    def check_statistics(self, image: Tensor) -> None:
        """Try every pass over a single image that takes its statistics from it, on copies of the networks.

        Args:
            image: Any, [1, channels, height, width].

        Raises:
            RefusedError: If a network shrinks it to one cell: BatchNorm has no deviation then.
        """
        unlabelled = self._training.unlabelled.batch_size
        count = {
            Part.LABELLED: self._training.batch_size,
            Part.DESTINATION: unlabelled,
            Part.SOURCE: unlabelled,
        }
        for run in self._runs:
            for parts in run.passes if run.trains else ():
                sizes = [count[part] for part in parts]
                if 1 not in sizes:
                    continue
                members = copy.deepcopy(run.members)
                for member in members:
                    member.network.train()
                try:
                    with torch.no_grad(), torch.random.fork_rng(devices=[]):
                        _pass(members, parts, image.expand(sum(sizes), -1, -1, -1), sizes)
                except ValueError as error:
                    alone = [part for part in parts if count[part] == 1]
                    raise RefusedError(self._cannot_run(run, alone, error)) from error

    def _cannot_run(self, run: _Run, parts: Sequence[Part], error: ValueError) -> str:
        names = (f"training.{'' if part is Part.LABELLED else 'unlabelled.'}batchSize" for part in parts)
        nodes = " or ".join(repr(member.name) for member in run.members)
        model = self._graph.node(run.members[0].name).model
        fields = " and ".join(dict.fromkeys(names))
        return f"{fields}: node {nodes}, a {model}, cannot run on one image at a time ({error}); use at least 2"

    def losses(self, images: Images) -> Losses:
        """Run every network once and compute every node's loss for the next update."""
        given = (images.labelled, images.destination, images.source)
        parts = zip(Part, given, strict=True)
        tensors = {part: each.contiguous(memory_format=torch.channels_last) for part, each in parts if each is not None}
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._training.precision is Precision.BF16):
            outputs = _run(self._runs, tensors, self._streams or [None] * len(self._runs))
        said = {part: _said(names, part, outputs) for part, names in self._order.items() if names}
        self.step_count += 1
        labelled = said.get(Part.LABELLED, _NOTHING)
        destination, source = (said.get(view, _NOTHING) for view in self._views)
        return self._losses(labelled, destination, source, images.labels, self.step_count)


_Outputs = dict[tuple[str, Part], Output]
_NOTHING = Said((), torch.empty(0, 0, 0), (), ())


def _said(names: Sequence[str], part: Part, outputs: _Outputs) -> Said:
    of_part = [outputs[name, part] for name in names]
    logits = torch.stack([output.logits for output in of_part])
    return Said(tuple(names), logits, tuple(out.branch for out in of_part), tuple(out.map for out in of_part))


def _parts(graph: Graph, edges: Sequence[Edge], needed: frozenset[str]) -> dict[str, tuple[Part, ...]]:
    """The parts that each network runs over, in the graph's order of nodes; those without any are not run.

    A trained node without a live edge runs all the same where it is needed, for its BatchNorm's statistics: its random
    outputs would enter an ensemble at a hundred times the others' scale (algorithm 1 runs every node).
    """
    semi_supervised = graph.uses_unlabelled(needed)
    members = {node.name: node.members for node in graph.nodes if node.kind is NodeKind.ENSEMBLE}
    found: dict[str, set[Part]] = {node.name: set() for node in graph.nodes if node.name not in members}
    for edge in edges:
        if edge.is_label:
            found[edge.destination].add(Part.LABELLED)
            continue
        found[edge.destination].add(Part.DESTINATION if semi_supervised else Part.LABELLED)
        for name in members.get(edge.source, (edge.source,)):
            found[name].add(Part.SOURCE if semi_supervised else Part.LABELLED)
    for node in graph.nodes:
        if node.kind is NodeKind.TRAINED and node.name in needed and not found[node.name]:
            found[node.name].add(Part.LABELLED)
    return {name: tuple(sorted(parts)) for name, parts in found.items() if parts}


class _Member(NamedTuple):
    """One network and what it runs over."""

    name: str
    network: nn.Module
    parts: tuple[Part, ...]
    learns: bool


class _Run(NamedTuple):
    """Networks that run together: one, or all that share a trunk."""

    members: tuple[_Member, ...]
    parts: tuple[Part, ...]
    trains: bool
    """Training mode; else evaluation mode, so that BatchNorm statistics stay."""
    learns: bool
    separate: bool
    """Whether each part is a pass of its own."""

    @property
    def passes(self) -> list[tuple[Part, ...]]:
        """The parts of each pass."""
        return [(part,) for part in self.parts] if self.separate else [self.parts]


def _runs(
    graph: Graph,
    networks: Mapping[str, nn.Module],
    parts: Mapping[str, tuple[Part, ...]],
    learning: set[str],
    training: Training,
) -> list[_Run]:
    groups: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.name in parts:
            groups.setdefault(f"trunk {node.trunk}" if node.trunk else f"node {node.name}", []).append(node)
    runs: list[_Run] = []
    for nodes in groups.values():
        members = tuple(
            _Member(node.name, networks[node.name], parts[node.name], node.name in learning) for node in nodes
        )
        trained = nodes[0].kind is NodeKind.TRAINED
        batch_statistics = nodes[0].kind is NodeKind.FROZEN and not training.frozen_batch_norm
        runs.append(
            _Run(
                members,
                tuple(sorted({part for member in members for part in member.parts})),
                trains=trained or batch_statistics,
                learns=any(member.learns for member in members),
                separate=trained and training.unlabelled.forward is Forward.SEPARATE,
            )
        )
    return runs


def _run(runs: Sequence[_Run], images: Mapping[Part, Tensor], streams: Sequence[torch.cuda.Stream | None]) -> _Outputs:
    """What every network says of each of its parts; networks side by side where there are streams."""
    passes = [run.passes for run in runs]
    # All made before any stream branches off.
    joined: dict[tuple[Part, ...], Tensor] = {(part,): each for part, each in images.items()}
    for parts in itertools.chain.from_iterable(passes):
        if parts not in joined:
            joined[parts] = torch.cat([images[part] for part in parts])
    outputs: _Outputs = {}
    for run, of_run, stream in zip(runs, passes, streams, strict=True):
        for member in run.members:
            if member.network.training is not run.trains:  # an evaluation in between may have changed it
                member.network.train(run.trains)
        with nullcontext() if stream is None else _beside(stream):
            for parts in of_run:
                # What is only said as a source is a constant.
                learns = run.learns and parts != (Part.SOURCE,)
                with nullcontext() if learns else torch.no_grad():
                    sizes = [len(images[part]) for part in parts]
                    outputs |= _pass(run.members, parts, joined[parts], sizes)
    for stream in streams:
        if stream is not None:
            torch.cuda.current_stream().wait_stream(stream)
    return outputs


@contextmanager
def _beside(stream: torch.cuda.Stream) -> Iterator[None]:
    """Work on a stream, from what has been asked of the current one so far."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield


def _pass(members: Sequence[_Member], parts: tuple[Part, ...], images: Tensor, sizes: list[int]) -> _Outputs:
    """One pass of networks over parts that lie one after the other."""
    if len(members) == 1:
        return _split(members[0].name, parts, observe(members[0].network, images), sizes)
    outputs: _Outputs = {}
    first = members[0].network
    assert is_observed(first)
    features = dict(zip(parts, first.lower(images).split(sizes), strict=True))
    size_of = dict(zip(parts, sizes, strict=True))
    for member in members:
        own = tuple(part for part in parts if part in member.parts)
        if not own:
            continue
        assert is_observed(member.network)
        with nullcontext() if member.learns else torch.no_grad():
            output = member.network.upper(torch.cat([features[part] for part in own]))
        outputs |= _split(member.name, own, output, [size_of[part] for part in own])
    return outputs


def _split(name: str, parts: Sequence[Part], output: Output, sizes: list[int]) -> _Outputs:
    if len(parts) == 1:
        return {(name, parts[0]): output}

    def pieces(tensor: Tensor | None) -> Sequence[Tensor | None]:
        return [None] * len(parts) if tensor is None else tensor.split(sizes)

    each = zip(parts, output.logits.split(sizes), pieces(output.branch), pieces(output.map), strict=True)
    return {(name, part): Output(logits, branch, map_) for part, logits, branch, map_ in each}

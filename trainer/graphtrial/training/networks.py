"""The networks of a graph: their first weights, what they share, and the weights that they leave for others."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping

import torch
from torch import nn

from graphtrial.contract import ATTENTION, Graph, Node, NodeKind, Resize, TrialSpec, derive, is_built_in
from graphtrial.models import ModelError, build, check_training, map_side, share_trunk
from graphtrial.training.errors import RefusedError
from graphtrial.training.weights import load_weights, opened


def build_networks(
    spec: TrialSpec,
    needed: frozenset[str],
    *,
    classes: int,
    channels: int,
    image_size: int,
    train_digest: str,
    device: torch.device,
) -> dict[str, nn.Module]:
    """A network for each needed node that has one, in the graph's order, on the device, with its first weights.

    Node k is drawn from the stream (seed, "init", k): the same whatever else the graph holds. Nodes that name the
    same trunk have one module ``lower``, that of the first of them. An EMA node's network is a copy of the one that
    it follows, without gradient.

    Raises:
        RefusedError: If a model is unknown, cannot take these images or gives no logits; weights are missing, of
            another model or of other images; layers cannot be shared; or an attention loss finds no maps, or unequal
            ones.
        StorageError: If an object of weights cannot be read.
    """
    graph, networks = spec.graph, dict[str, nn.Module]()
    sizes = {"classes": classes, "channels": channels, "image_size": image_size}
    for index, node in enumerate(graph.nodes):
        if node.name not in needed or node.kind not in (NodeKind.TRAINED, NodeKind.FROZEN):
            continue
        where = f"graph.nodes[{index}]"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(spec.seed, "init", node.name))
            try:
                network = build(node.model, **sizes)
                if _trains(node, spec) and not is_built_in(node.model):
                    check_training(node.model, network, **sizes)
            except ModelError as error:
                raise RefusedError(f"{where}.model: {error}") from error
        if node.weights is not None:
            load_weights(network, node, spec, where=where, classes=classes, digest=train_digest)
        if node.kind is NodeKind.FROZEN:
            network.requires_grad_(False)
        networks[node.name] = network
    _share_trunks(graph, networks)
    for node in graph.nodes:
        if node.name in needed and node.kind is NodeKind.EMA:
            networks[node.name] = copy.deepcopy(networks[node.follows]).requires_grad_(False)
    _check_maps(graph, networks, channels, image_size)
    return {node.name: networks[node.name].to(device) for node in graph.nodes if node.name in networks}


def _trains(node: Node, spec: TrialSpec) -> bool:
    """Whether a network is run in training mode: who learns, and teachers that run on batch statistics."""
    return node.kind is NodeKind.TRAINED or not spec.training.frozen_batch_norm


def publish(spec: TrialSpec, networks: Mapping[str, nn.Module], train_digest: str) -> None:
    """Store the final weights of each node in ``spec.publish``, each in one atomic write.

    Raises:
        StorageError: If the store fails.
    """
    for name, uri in spec.publish.items():
        buffer = io.BytesIO()
        weights = {key: value.cpu() for key, value in networks[name].state_dict().items()}
        model = spec.graph.model_of(name)
        torch.save({"weights": weights, "model": model, "train_digest": train_digest}, buffer)
        store, key = opened(uri, spec)
        store.write(key, buffer.getvalue())


def _share_trunks(graph: Graph, networks: Mapping[str, nn.Module]) -> None:
    trunks: dict[str, dict[int, nn.Module]] = {}
    for index, node in enumerate(graph.nodes):
        if node.trunk and node.name in networks:
            trunks.setdefault(node.trunk, {})[index] = networks[node.name]
    for members in trunks.values():
        try:
            share_trunk(list(members.values()))
        except ModelError as error:
            raise RefusedError(f"graph.nodes[{min(members)}].trunk: {error}") from error


def _check_maps(graph: Graph, networks: Mapping[str, nn.Module], channels: int, image_size: int) -> None:
    """Refuse attention losses between networks without maps, and on maps that they do not fit (spec 2.2)."""
    sides: dict[str, int] = {}
    for index, edge in enumerate(graph.edges):
        where = f"graph.edges[{index}].loss"
        if not edge.is_live or edge.loss.type not in ATTENTION or edge.destination not in networks:
            continue
        for name in (edge.source, edge.destination):
            side = sides.get(name) or map_side(networks[name], channels=channels, image_size=image_size)
            if side is None:
                raise RefusedError(
                    f"{where}.type: {edge.loss.type} is an attention loss on a model without a map, that of node "
                    f"{name!r}; use a model with one, such as resnet32 or abn-resnet20"
                )
            sides[name] = side
        source, destination = sides[edge.source], sides[edge.destination]
        if source != destination and edge.loss.resize is Resize.NONE:
            raise RefusedError(
                f"{where}.resize: the map of {edge.source!r} is {source}x{source} and that of {edge.destination!r} "
                f"{destination}x{destination}; give resize: Bilinear, or models with equal maps"
            )

"""The networks of a graph: their first weights, teachers included, and the weights that others start from.

A published object is ``{"weights": state_dict, "model": name, "train_digest": digest of the images trained on}``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import torch
from torch import nn

from graphtrial.contract import Node, NodeKind, TrialSpec, derive
from graphtrial.models import UnknownModel, build
from graphtrial.storage import StorageError, Store, open_store
from graphtrial.training.checkpoint import load
from graphtrial.training.errors import RefusedError


def build_networks(
    spec: TrialSpec,
    needed: frozenset[str],
    *,
    classes: int,
    channels: int,
    train_digest: str,
    device: torch.device,
) -> dict[str, nn.Module]:
    """A network for each needed node that has one, by node name, on the device, with its first weights.

    Node k is drawn from the stream (seed, "init", k): the same whatever else the graph holds.

    Raises:
        RefusedError: If a model is unknown, or weights are missing, of another model or of other images.
        StorageError: If an object of weights cannot be read.
    """
    networks: dict[str, nn.Module] = {}
    for index, node in enumerate(spec.graph.nodes):
        if node.name not in needed or node.kind is NodeKind.ENSEMBLE:
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(spec.seed, "init", node.name))
            try:
                network = build(node.model, classes=classes, channels=channels)
            except UnknownModel as error:
                raise RefusedError(f"graph.nodes[{index}].model: {error}") from error
        if node.weights is not None:
            _load_weights(network, node, spec, train_digest)
        if node.kind is NodeKind.FROZEN:
            network.requires_grad_(False)
        networks[node.name] = network.to(device)
    return networks


def publish(spec: TrialSpec, networks: Mapping[str, nn.Module], train_digest: str) -> None:
    """Store the final weights of each node in ``spec.publish``, each in one atomic write.

    Raises:
        StorageError: If the store fails.
    """
    for name, uri in spec.publish.items():
        buffer = io.BytesIO()
        weights = {key: value.cpu() for key, value in networks[name].state_dict().items()}
        model = spec.graph.node(name).model
        torch.save({"weights": weights, "model": model, "train_digest": train_digest}, buffer)
        store, key = _opened(uri, spec)
        store.write(key, buffer.getvalue())


def _load_weights(network: nn.Module, node: Node, spec: TrialSpec, train_digest: str) -> None:
    assert node.weights is not None
    taught = spec.teachers.get(node.name)
    uri = taught or node.weights.uri
    if uri is None:
        raise RefusedError(f"teachers: node {node.name!r} starts from other weights; name their object's URI here")
    store, key = _opened(uri, spec)
    content = load(store.read(key), uri)
    if missing := {"weights", "model", "train_digest"} - content.keys():
        raise RefusedError(f"teachers: {uri} has no {', '.join(sorted(missing))}; use an object that a trial published")
    if content["model"] != node.model:
        raise RefusedError(f"teachers: {uri} is a {content['model']} and node {node.name!r} a {node.model}")
    # A URI that the user wrote may be of other data on purpose; a teacher of the search never is.
    if taught and content["train_digest"] != train_digest:
        raise RefusedError(
            f"teachers: {uri} was trained on other images than this trial trains on, and may have seen those that it "
            f"is scored on; train it on the same data and split"
        )
    try:
        network.load_state_dict(content["weights"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RefusedError(f"teachers: the weights in {uri} do not fit node {node.name!r}: {reason}") from error


def _opened(uri: str, spec: TrialSpec) -> tuple[Store, str]:
    folder, _, key = uri.rpartition("/")
    if not folder or not key:
        raise StorageError(f"{uri!r} names no object; use file:///folder/name.pt or s3://bucket/name.pt")
    place = spec.checkpoint
    return open_store(folder, endpoint=place.endpoint, region=place.region, path_style=place.path_style), key

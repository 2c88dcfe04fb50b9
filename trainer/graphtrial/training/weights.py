"""Weights that a node starts from: a teacher of the search, an object that the user names, or torchvision's.

A published object is ``{"weights": state_dict, "model": name, "train_digest": digest of the images trained on}``. Of
others only the tensors are read, never code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from graphtrial.contract import Node, NodeKind, TrialSpec
from graphtrial.models import ModelError, fit, torchvision_weights
from graphtrial.storage import Corrupt, StorageError, Store, open_store
from graphtrial.training.checkpoint import load
from graphtrial.training.errors import RefusedError

_PUBLISHED = frozenset({"weights", "model", "train_digest"})
_log = logging.getLogger(__name__)


def load_weights(network: nn.Module, node: Node, spec: TrialSpec, *, where: str, classes: int, digest: str) -> None:
    """Give a network the weights that its node names.

    Args:
        network: With its first weights, some of which it may keep: a head for other classes, an attention branch.
        node: One with ``weights``.
        spec: The node's trial.
        where: The node's place in it, for messages.
        classes: Of the data.
        digest: Of the images that this trial trains on; a teacher of the search must have been trained on the same.

    Raises:
        RefusedError: If there are none, or those of another model, of other images, or of other shapes.
        StorageError: If the object cannot be read.
    """
    assert node.weights is not None
    origin, source = f"{where}.weights.uri", ""
    if taught := spec.teachers.get(node.name):
        origin, source, weights = "teachers", taught, _of_teacher(taught, node, spec, digest)
    elif uri := node.weights.uri:
        source, weights = uri, _of_user(uri, node, spec, origin)
    elif name := node.weights.torchvision:
        origin, source = f"{where}.weights.torchvision", name
        weights = _of_torchvision(name, node, origin)
    else:
        raise RefusedError(f"teachers: node {node.name!r} starts from other weights; name their object's URI here")
    learns = node.kind is NodeKind.TRAINED
    try:
        kept = fit(network, weights, classes=classes, new_head=learns and not taught)
    except ModelError as error:
        raise RefusedError(f"{origin}: the weights in {source} do not fit node {node.name!r}: {error}") from error
    if kept and not learns:
        raise RefusedError(f"{origin}: of the frozen node {node.name!r} {' and '.join(kept)}; train it first")
    for sentence in kept:
        _log.info("node %r takes its weights from %s; %s", node.name, source, sentence)


def opened(uri: str, spec: TrialSpec) -> tuple[Store, str]:
    """The store and key of one object.

    Raises:
        StorageError: If the URI names none.
    """
    folder, _, key = uri.rpartition("/")
    if not folder or not key:
        raise StorageError(f"{uri!r} names no object; use file:///folder/name.pt or s3://bucket/name.pt")
    place = spec.checkpoint
    return open_store(folder, endpoint=place.endpoint, region=place.region, path_style=place.path_style), key


def _of_teacher(uri: str, node: Node, spec: TrialSpec, digest: str) -> Mapping[str, Tensor]:
    store, key = opened(uri, spec)
    content = load(store.read(key), uri)
    if missing := _PUBLISHED - content.keys():
        raise RefusedError(f"teachers: {uri} has no {', '.join(sorted(missing))}; use an object that a trial published")
    _check_model(content, node, uri, "teachers")
    if content["train_digest"] != digest:
        raise RefusedError(
            f"teachers: {uri} was trained on other images than this trial trains on, and may have seen those that it "
            f"is scored on; train it on the same data and split"
        )
    return content["weights"]


def _of_user(uri: str, node: Node, spec: TrialSpec, origin: str) -> Mapping[str, Tensor]:
    """Of other data perhaps, on purpose."""
    store, key = opened(uri, spec)
    data = store.read(key, unsigned=True)
    if uri.endswith(".safetensors"):
        try:
            return safetensors.torch.load(data)
        except safetensors.SafetensorError as error:
            raise Corrupt(f"{uri} cannot be read as safetensors: {error}") from error
    content = load(data, uri)
    if content.keys() >= _PUBLISHED:
        _check_model(content, node, uri, origin)
        content = content["weights"]
    if not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise RefusedError(
            f"{origin}: {uri} holds {', '.join(map(str, list(content)[:3])) or 'nothing'} and not tensors by name; use "
            f"an object that a trial published, its safetensors, or torch.save(network.state_dict(), ...)"
        )
    return content


def _check_model(content: Mapping[str, Any], node: Node, uri: str, origin: str) -> None:
    if content["model"] != node.model:
        raise RefusedError(f"{origin}: {uri} is a {content['model']} and node {node.name!r} a {node.model}")


def _of_torchvision(name: str, node: Node, origin: str) -> Mapping[str, Tensor]:
    try:
        return torchvision_weights(node.model, name)
    except ModelError as error:
        raise RefusedError(f"{origin}: {error}") from error

"""Weights that a node starts from: a teacher of the search, an object that the user names, or torchvision's.

A published object is ``{"weights": state_dict, "model": name, "train_digest": digest of the images trained on}``. Of
others only the tensors are read, never code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import safetensors.torch
import torch
from torch import Tensor, nn

from graphtrial.contract import Node, NodeKind, TrialSpec
from graphtrial.models import ModelError, fit, torchvision_weights
from graphtrial.storage import Corrupt, Missing, Store, open_store
from graphtrial.storage.store import checked
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
        RefusedError: If there are none, or those of another model, of other images, or of other shapes; if what the
            user names is not there or holds no weights.
        StorageError: If the store fails, or a teacher of the search is not there any more.
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
        Missing: If the URI names none, or one that no store holds.
        StorageError: If it names no place.
    """
    folder, _, name = uri.rpartition("/")
    # Keys at S3 and absolute paths are not quoted; the folder is open_store's to unquote.
    key = unquote(name) if uri.startswith("file:") else name
    if not folder or not key:
        raise Missing(f"{uri!r} names no object; use file:///folder/name.pt or s3://bucket/name.pt")
    try:
        checked(key)
    except ValueError as error:
        message = f"{uri!r} is not read: an object's name may not start with a dot or end with .sha256; rename it"
        raise Missing(message) from error
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
    try:
        content = _read(uri, spec)
    except (Missing, Corrupt) as error:  # it is as the user left it, and no other attempt would find it better
        raise RefusedError(f"{origin}: {error}") from error
    if content.keys() >= _PUBLISHED:
        _check_model(content, node, uri, origin)
        content = content["weights"]
    if problem := _problem(content):
        raise RefusedError(f"{origin}: {uri} {problem}")
    return content


def _read(uri: str, spec: TrialSpec) -> Mapping[Any, Any]:
    store, key = opened(uri, spec)
    data = store.read(key, unsigned=True)
    if not uri.endswith(".safetensors"):
        return load(data, uri)
    try:
        return safetensors.torch.load(data)
    except Exception as error:  # besides its own it lets through what a header of nonsense has torch raise
        raise Corrupt(f"{uri} cannot be read as safetensors: {error}") from error


def _problem(content: object) -> str | None:
    """Why a network cannot start from what was read, or None."""
    if not isinstance(content, Mapping) or not content or not _is_by_name(content):
        found = ", ".join(map(str, list(content)[:3])) if isinstance(content, Mapping) else type(content).__name__
        return (
            f"holds {found or 'nothing'} and not tensors by name; use an object that a trial published, its "
            f"safetensors, or torch.save(network.state_dict(), ...)"
        )
    for name, tensor in content.items():
        if tensor.layout is not torch.strided or tensor.is_complex() or tensor.is_quantized:
            return f"has a {name} of {tensor.dtype}, {tensor.layout}; a network has dense, real tensors"
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            return f"has a {name} that is not finite (NaN or infinity); use weights of a training that did not diverge"
    return None


def _is_by_name(content: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())


def _check_model(content: Mapping[str, Any], node: Node, uri: str, origin: str) -> None:
    if content["model"] != node.model:
        raise RefusedError(f"{origin}: {uri} is a {content['model']} and node {node.name!r} a {node.model}")


def _of_torchvision(name: str, node: Node, origin: str) -> Mapping[str, Tensor]:
    try:
        return torchvision_weights(node.model, name)
    except ModelError as error:
        raise RefusedError(f"{origin}: {error}") from error

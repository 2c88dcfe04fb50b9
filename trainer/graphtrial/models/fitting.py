"""Weights by name: out of a network, and into one that need not be of the same number of classes or channels.

It must not know where the weights come from: see ``graphtrial.training.weights``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Size, Tensor, nn

from graphtrial.models.attention_branch import AttentionBranchNetwork
from graphtrial.models.errors import ModelError
from graphtrial.models.resnet import TORCHVISION_TRUNK, ResNet

_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""Heads of torchvision's Inception and GoogLeNet that are not built here."""
_TORCHVISION_NAMES = {f"{part}.": f"lower.{part}." for part in TORCHVISION_TRUNK} | {
    "layer4.": "last.",
    "fc.": "linear.",
}


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """A network's ``state_dict`` on the CPU, without gaps, each tensor on its own.

    safetensors refuses tensors that share memory, as those of layers do that have one weight, or two names.
    """
    weights = network.state_dict()
    return {name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in weights.items()}


def fit(network: nn.Module, weights: Mapping[str, Tensor], *, classes: int, new_head: bool) -> list[str]:
    """Load weights into a network; what they have not got keeps its values.

    Those of torchvision's ResNets fit our own, and the ResNet below an attention branch. Weights of a first
    convolution for three channels are summed for one: grey images then look like coloured ones without colour.

    Args:
        network: One with first weights.
        weights: Tensors by the names of its ``state_dict``.
        classes: Of the network.
        new_head: Whether layers of another number of classes may keep their first weights.

    Returns:
        What keeps its first weights, in words; empty if nothing does.

    Raises:
        ModelError: If the weights do not fit; nothing is loaded.
    """
    wanted = network.state_dict()
    given = _for_channels(network, _in_our_names(network, weights))
    missing = {name for name in wanted.keys() - given.keys() if not name.endswith("num_batches_tracked")}
    kept: list[str] = []
    branch = {name for name in missing if isinstance(network, AttentionBranchNetwork) and name.startswith("branch.")}
    if branch and not any(name.startswith("branch.") for name in given):
        missing -= branch
        kept.append("the attention branch starts from random weights")
    if missing:
        raise ModelError(f"there is no {_listed(missing)} among them")
    if unexpected := given.keys() - wanted.keys():
        raise ModelError(f"the model has no {_listed(unexpected)}")
    other = {name for name in given if given[name].shape != wanted[name].shape}
    if other:
        before = _other_classes({name: (given[name].shape, wanted[name].shape) for name in other}, classes)
        if before is None:
            name = min(other)
            raise ModelError(f"{name} is {list(given[name].shape)} there and {list(wanted[name].shape)} in the model")
        if not new_head:
            raise ModelError(f"they are for {before} classes, and there are {classes}")
        kept.append(f"layers for {before} classes start anew for {classes}")
    network.load_state_dict({name: tensor for name, tensor in given.items() if name not in other}, strict=False)
    return kept


def _in_our_names(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    weights = {name: tensor for name, tensor in weights.items() if not name.startswith(_AUXILIARY)}
    if not isinstance(network, ResNet | AttentionBranchNetwork) or "layer4.0.conv1.weight" not in weights:
        return weights
    renamed = {}
    for name, tensor in weights.items():
        part = next((part for part in _TORCHVISION_NAMES if name.startswith(part)), "")
        renamed[_TORCHVISION_NAMES.get(part, "") + name.removeprefix(part)] = tensor
    return renamed


def _for_channels(network: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    first = next((name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)), None)
    kernel = weights.get(f"{first}.weight")
    if kernel is None or kernel.dim() != 4 or kernel.shape[1] != 3:
        return weights
    if network.get_parameter(f"{first}.weight").shape[1] != 1:
        return weights
    return weights | {f"{first}.weight": kernel.sum(1, keepdim=True)}


def _other_classes(shapes: Mapping[str, tuple[Size, Size]], classes: int) -> int | None:
    """The one number that stands wherever the network has ``classes``; None if shapes differ in another way."""
    found: set[int | None] = set()
    for given, wanted in shapes.values():
        if len(given) != len(wanted):
            return None
        sides = zip(given, wanted, strict=True)
        found |= {before if now == classes else None for before, now in sides if before != now}
    return found.pop() if len(found) == 1 else None


def _listed(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    return f"{first} (and {len(others)} more)" if others else first

"""From a model's name to a network with its first weights."""

from __future__ import annotations

import torch
from torch import nn

from graphtrial.contract import Architecture, architecture, model_problem
from graphtrial.models.attention_branch import AttentionBranch, AttentionBranchNetwork
from graphtrial.models.errors import ModelError
from graphtrial.models.foreign import foreign
from graphtrial.models.resnet import ResNet, large_group, large_resnet, small_group, small_resnet
from graphtrial.models.wide_resnet import WideResNet


def build(name: str, *, classes: int, channels: int, image_size: int) -> nn.Module:
    """A network with random weights, from images [B, channels, image_size, image_size] to logits [B, classes].

    Its parameters are laid out for channels-last images. Initial weights are drawn from torch's global generator:
    seed it, or fork it, before the call.

    Raises:
        ModelError: If there is no such model here, or it cannot take these images.
    """
    if problem := model_problem(name):
        raise ModelError(problem)
    shape = architecture(name)
    if shape is None:
        network = foreign(name, classes=classes, channels=channels, image_size=image_size)
    else:
        network = _built_in(shape, classes=classes, channels=channels, image_size=image_size)
    return network.to(memory_format=torch.channels_last)


def _built_in(shape: Architecture, *, classes: int, channels: int, image_size: int) -> nn.Module:
    if shape.width:
        wide = WideResNet(shape, classes=classes, channels=channels, image_size=image_size)
        _initialise(wide)
        return wide
    if shape.large:
        base = large_resnet(shape, classes=classes, channels=channels)
    else:
        base = small_resnet(shape, classes=classes, channels=channels, image_size=image_size)
        _initialise(base)
    return _with_branch(base, shape, classes) if shape.branch else base


def _with_branch(base: ResNet, shape: Architecture, classes: int) -> AttentionBranchNetwork:
    *_, (inputs, _), (outputs, blocks) = shape.groups
    group = large_group(shape, 1) if shape.large else small_group(inputs, outputs, blocks, 1)
    branch = AttentionBranch(group, outputs, classes)
    _initialise(branch)
    return AttentionBranchNetwork(base, branch, bypass=shape.bypass)


def _initialise(network: nn.Module) -> None:
    """He initialisation: fan-out for convolutions, fan-in for the linear layer, whose bias starts at zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)

"""From a model's name to a network with its first weights."""

from __future__ import annotations

import torch
from torch import nn

from graphtrial.contract import MODELS, model_problem, resnet_depth, wrn_depth_and_width
from graphtrial.models.resnet import CifarResNet
from graphtrial.models.wide_resnet import WideResNet


class UnknownModel(Exception):  # noqa: N818 (what is wrong, in the catalogue's words)
    """The name is none that this version can build."""


def build(name: str, *, classes: int, channels: int) -> nn.Module:
    """A network with random weights, from images [B, channels, S, S] of any S >= 4 to logits [B, classes].

    Its parameters are laid out for channels-last images. Initial weights are drawn from torch's global generator:
    seed it, or fork it, before the call.

    Raises:
        UnknownModel: If the name is not built in; the message tells a wrong name from one that is planned.
    """
    if (depth := resnet_depth(name)) is not None:
        network: nn.Module = CifarResNet(depth, classes=classes, channels=channels)
    elif (wide := wrn_depth_and_width(name)) is not None:
        network = WideResNet(*wide, classes=classes, channels=channels)
    else:
        problem = model_problem(name)
        message = problem or f"{name} cannot be built by this version yet; use one of {', '.join(MODELS)}"
        raise UnknownModel(message)
    _initialise(network)
    return network.to(memory_format=torch.channels_last)


def _initialise(network: nn.Module) -> None:
    """He initialisation: fan-out for convolutions, fan-in for the linear layer, whose bias starts at zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            nn.init.zeros_(module.bias)

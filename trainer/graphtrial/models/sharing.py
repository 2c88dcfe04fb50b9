"""What networks may have in common: layers, and maps of one size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphtrial.models.errors import ModelError
from graphtrial.models.output import is_observed, observe


def share_trunk(networks: Sequence[nn.Module]) -> None:
    """Give all networks the lower layers of the first: one module, run once and updated by all of them.

    Raises:
        ModelError: If one has no lower layers to share.
    """
    for network in networks:
        if not is_observed(network):
            kind = type(network).__name__
            raise ModelError(f"{kind} has no layers to share; use a model with lower and upper, such as resnet32")
    first, *others = networks
    for other in others:
        other.lower = first.lower


def map_side(network: nn.Module, *, channels: int, image_size: int) -> int | None:
    """Side of a network's attention map on such images, in cells; None if it has no map.

    It is run once on a blank image, in evaluation mode.
    """
    image = blank_images(network, 1, channels, image_size)
    was_training = network.training
    network.eval()
    with torch.no_grad():
        attention = observe(network, image).map
    network.train(was_training)
    return None if attention is None else attention.shape[-1]


def blank_images(network: nn.Module, count: int, channels: int, image_size: int) -> Tensor:
    """Images [count, channels, image_size, image_size] of zeros, where the network is and of its type."""
    like = next(network.parameters(), torch.empty(0))
    return torch.zeros(count, channels, image_size, image_size, device=like.device, dtype=like.dtype)

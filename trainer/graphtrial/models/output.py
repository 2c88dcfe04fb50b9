"""What a network says of a batch of images, beyond its logits.

Every network is a function from images to logits. One that also has an attention map, or layers that others may
share, is an ``Observed``: its lower layers give features, its upper ones everything else.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeGuard

from torch import Tensor, nn


class Output(NamedTuple):
    """Of one network on one batch."""

    logits: Tensor
    """[samples, classes]."""
    branch: Tensor | None = None
    """Logits of the attention branch of an ABN, [samples, classes]: a label edge adds its cross entropy."""
    map: Tensor | None = None
    """Attention map Q, [samples, S, S], not normalised; None where the architecture has none."""


class Observed(Protocol):
    """A network with an attention map, in two parts.

    ``network(images)`` equals ``network.upper(network.lower(images)).logits``.
    """

    lower: nn.Module
    """Images to features: all below the last group of blocks, the trunk that nodes may share."""

    def upper(self, features: Tensor) -> Output:
        """Features to everything that the network says."""


def is_observed(network: nn.Module) -> TypeGuard[Observed]:
    """Whether it is in two parts. ``isinstance`` would not see a module's children from Python 3.12 on."""
    return hasattr(network, "lower") and hasattr(network, "upper")


def observe(network: nn.Module, images: Tensor) -> Output:
    """Run a network once for all that it says; a plain classifier has logits only."""
    if is_observed(network):
        return network.upper(network.lower(images))
    return Output(network(images))

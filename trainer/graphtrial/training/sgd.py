"""Stochastic gradient descent with momentum, for all nodes of a graph at once.

Decided against: the class ``torch.optim.SGD``. Its first construction imports torch's compiler, which takes 4 to 5
seconds of every cold start; its functional form, used here, does the same arithmetic in the same kernel.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from graphtrial.contract import Training


class Sgd:
    """The optimiser of a trial.

    Attributes:
        momentum: One buffer for each parameter, in the parameters' order; zero before the first update.
    """

    def __init__(self, networks: Iterable[Iterable[nn.Module]], training: Training) -> None:
        """Take the networks to train.

        Args:
            networks: In groups whose gradients are clipped together: one network, or those that share a trunk.
            training: Momentum, weight decay and the largest norm of a group's gradient.
        """
        # A trunk's parameters belong to several networks and are updated once.
        self._groups: list[list[Tensor]] = [
            list(dict.fromkeys(parameter for network in group for parameter in network.parameters()))
            for group in networks
        ]
        self._parameters = [parameter for group in self._groups for parameter in group]
        self._training = training
        self.momentum: list[Tensor] = [
            torch.zeros_like(parameter, memory_format=torch.preserve_format) for parameter in self._parameters
        ]

    @torch.no_grad()
    def update(self, learning_rate: float | Tensor) -> None:
        """Descend along the gradients, then forget them.

        The learning rate may be a scalar on the device. A parameter without a gradient, as a classifier's where only
        maps are learnt from, stays as it is.
        """
        if (most := self._training.clip_norm) is not None:
            for group in self._groups:
                nn.utils.clip_grad_norm_(group, most, foreach=True)
        moved = [index for index, parameter in enumerate(self._parameters) if parameter.grad is not None]
        gradients = [gradient for parameter in self._parameters if (gradient := parameter.grad) is not None]
        sgd(
            [self._parameters[index] for index in moved],
            gradients,
            [self.momentum[index] for index in moved],
            fused=True,
            weight_decay=self._training.weight_decay,
            momentum=self._training.momentum,
            lr=learning_rate,
            dampening=0.0,
            nesterov=self._training.nesterov,
            maximize=False,
        )
        for parameter in self._parameters:
            parameter.grad = None

    def restore(self, momentum: Iterable[Tensor]) -> None:
        """Go on with the buffers of a checkpoint."""
        for buffer, saved in zip(self.momentum, momentum, strict=True):
            buffer.copy_(saved)

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

    def __init__(self, parameters: Iterable[nn.Parameter], training: Training) -> None:
        """Take the parameters to train; all of them must get a gradient in every update."""
        self._parameters: list[Tensor] = list(parameters)
        self._training = training
        self.momentum: list[Tensor] = [
            torch.zeros_like(parameter, memory_format=torch.preserve_format) for parameter in self._parameters
        ]

    @torch.no_grad()
    def update(self, learning_rate: float) -> None:
        """Descend along the gradients, then forget them."""
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        sgd(
            self._parameters,
            gradients,
            list(self.momentum),
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

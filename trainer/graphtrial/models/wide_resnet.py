"""Wide residual networks for small images (Zagoruyko and Komodakis 2016), pre-activation, without dropout.

Depth 6n + 4 and width k: a 3x3 convolution to 16 channels, then three groups of n blocks with 16k, 32k and 64k
channels. A block whose channels change feeds its shortcut, a 1x1 convolution, from the activated input, as the
authors' code does. Larger images are first reduced as those of the CIFAR ResNets (spec 7.1).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from graphtrial.contract.catalogue import Architecture
from graphtrial.models.output import Output
from graphtrial.models.resnet import attention_transfer_map, beginning

_STEM = 16


class WideResNet(nn.Module):
    """Images [B, channels, S, S] to logits [B, classes]."""

    def __init__(self, shape: Architecture, *, classes: int, channels: int, image_size: int) -> None:
        super().__init__()
        (first, blocks), (second, _), (third, _) = shape.groups
        kernel, reduction = beginning(image_size)
        stem = nn.Conv2d(channels, _STEM, kernel, padding=kernel // 2, bias=False)
        groups = (_group(_STEM, first, blocks, 1), _group(first, second, blocks, 2))
        self.lower = nn.Sequential(stem, *reduction, *groups)
        self.last = _group(second, third, blocks, 2)
        self.norm = nn.BatchNorm2d(third)
        self.linear = nn.Linear(third, classes)

    def upper(self, features: Tensor) -> Output:
        """Logits, and the map of the last group (2.11)."""
        last = self._activated(features)
        return Output(self.linear(last.mean((2, 3))), map=attention_transfer_map(last))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, not probabilities."""
        return self.linear(self._activated(self.lower(images)).mean((2, 3)))

    def _activated(self, features: Tensor) -> Tensor:
        return F.relu(self.norm(self.last(features)), inplace=True)


def _group(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(inputs, outputs, stride)
    return nn.Sequential(first, *(_Block(outputs, outputs, 1) for _ in range(blocks - 1)))


class _Block(nn.Module):
    """Norm, activation, convolution, twice, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        activated = F.relu(self.norm1(features), inplace=True)
        out = F.relu(self.norm2(self.conv1(activated)), inplace=True)
        shortcut = features if self.shortcut is None else self.shortcut(activated)
        return self.conv2(out) + shortcut

"""Wide residual networks for small images (Zagoruyko and Komodakis 2016), pre-activation, without dropout.

Depth 6n + 4 and width k: a 3x3 convolution to 16 channels, then three groups of n blocks with 16k, 32k and 64k
channels. A block whose channels change feeds its shortcut, a 1x1 convolution, from the activated input, as the
authors' code does.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

_STEM = 16
_GROUPS = ((16, 1), (32, 2), (64, 2))
"""Channels per unit of width, and stride, of each group."""


class WideResNet(nn.Module):
    """Images [B, channels, S, S] to logits [B, classes]."""

    def __init__(self, depth: int, width: int, *, classes: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, _STEM, 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        inputs = _STEM
        for base, stride in _GROUPS:
            for block in range((depth - 4) // 6):
                blocks.append(_Block(inputs, base * width, stride if block == 0 else 1))
                inputs = base * width
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(inputs)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, not probabilities."""
        features = F.relu(self.norm(self.blocks(self.conv(images))), inplace=True)
        return self.linear(features.mean((2, 3)))


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

"""Residual networks for small images (He et al. 2016, section 4.2) with the parameter-free shortcut, option A.

Depth 6n + 2: a 3x3 convolution, then three groups of n blocks with 16, 32 and 64 channels, the side halved between
groups. The mean over the last map, whatever its side, goes into one linear layer.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from graphtrial.models.output import Output

_WIDTHS = (16, 32, 64)


class CifarResNet(nn.Module):
    """Images [B, channels, S, S] to logits [B, classes]."""

    def __init__(self, depth: int, *, classes: int, channels: int) -> None:
        super().__init__()
        first, second, third = _WIDTHS
        blocks = (depth - 2) // 6
        self.lower = nn.Sequential(_Stem(channels, first), _group(first, first, blocks), _group(first, second, blocks))
        self.last = _group(second, third, blocks)
        self.linear = nn.Linear(third, classes)

    def upper(self, features: Tensor) -> Output:
        """Logits, and the map of the last group (2.11)."""
        last = self.last(features)
        return Output(self.linear(last.mean((2, 3))), map=attention_transfer_map(last))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, not probabilities."""
        return self.linear(self.last(self.lower(images)).mean((2, 3)))


def attention_transfer_map(features: Tensor) -> Tensor:
    """Q of (2.11) with p = 2, as a mean over channels: [samples, channels, S, S] to [samples, S, S]."""
    return features.square().mean(1)


def _group(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(_Block(inputs if first else outputs, outputs) for first in [True] + [False] * (blocks - 1)))


class _Stem(nn.Module):
    """A 3x3 convolution, normalised and activated."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(images)), inplace=True)


class _Block(nn.Module):
    """Two convolutions beside a shortcut; where the channels double, the side is halved."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.new_channels = outputs - inputs
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2 if self.new_channels else 1, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(features)), inplace=True)
        out = self.norm2(self.conv2(out))
        if self.new_channels:
            features = F.pad(features[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.new_channels))
        # In place is safe: the backward of a batch norm reads its input, not its output.
        out += features
        return F.relu(out, inplace=True)

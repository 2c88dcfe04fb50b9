"""Residual networks: for small images with the parameter-free shortcut, option A (He et al. 2016, section 4.2), and
torchvision's for 224 pixels.

The small ones have depth 6n + 2: a 3x3 convolution, then three groups of n blocks with 16, 32 and 64 channels, the side
halved between groups. Larger images are first reduced by a 7x7 convolution and a maximum of 7x7 cells, 224 to 32 pixels
(spec 7.1). The mean over the last features, whatever their side, goes into one linear layer.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from graphtrial.contract.catalogue import LARGEST_SMALL_IMAGE, Architecture
from graphtrial.models.output import Output

TORCHVISION_TRUNK = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
"""The parts of torchvision's ResNets that are ``lower`` here; ``last`` is its ``layer4``, ``linear`` its ``fc``."""


class ResNet(nn.Module):
    """Images [B, channels, S, S] to logits [B, classes]."""

    def __init__(self, lower: nn.Module, last: nn.Module, linear: nn.Linear) -> None:
        super().__init__()
        self.lower, self.last, self.linear = lower, last, linear

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


def small_resnet(shape: Architecture, *, classes: int, channels: int, image_size: int) -> ResNet:
    """A CIFAR ResNet, its convolutions and linear layer not yet drawn as He et al. do."""
    (first, blocks), (second, _), (third, _) = shape.groups
    kernel, reduction = beginning(image_size)
    lower = nn.Sequential(
        _Stem(channels, first, kernel),
        *reduction,
        small_group(first, first, blocks, 1),
        small_group(first, second, blocks, 2),
    )
    return ResNet(lower, small_group(second, third, blocks, 2), nn.Linear(third, classes))


def small_group(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """Blocks of a CIFAR ResNet; the first one widens and strides."""
    return nn.Sequential(_Block(inputs, outputs, stride), *(_Block(outputs, outputs, 1) for _ in range(blocks - 1)))


def large_resnet(shape: Architecture, *, classes: int, channels: int) -> ResNet:
    """ResNet of torchvision with its first weights, in our parts."""
    from torchvision.models import get_model  # a second or two, which most trials need not wait

    made = get_model(f"resnet{shape.depth}", weights=None, num_classes=classes)
    if channels != 3:
        made.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(made.conv1.weight, mode="fan_out", nonlinearity="relu")
    lower = nn.Sequential(OrderedDict((name, getattr(made, name)) for name in TORCHVISION_TRUNK))
    return ResNet(lower, made.layer4, made.fc)


def large_group(shape: Architecture, stride: int) -> nn.Sequential:
    """The last group of torchvision's ResNet of that depth, with another stride."""
    from torchvision.models.resnet import BasicBlock, Bottleneck

    block = Bottleneck if shape.depth >= 50 else BasicBlock
    *_, (inputs, _), (outputs, blocks) = shape.groups
    planes = outputs // block.expansion
    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
    return nn.Sequential(block(inputs, planes, stride, shortcut), *(block(outputs, planes) for _ in range(blocks - 1)))


def beginning(image_size: int) -> tuple[int, list[nn.Module]]:
    """The kernel of the first convolution for images of that side, and what shrinks large ones after it (spec 7.1)."""
    return (7, [nn.MaxPool2d(7, stride=7)]) if image_size > LARGEST_SMALL_IMAGE else (3, [])


class _Stem(nn.Module):
    """A convolution, normalised and activated."""

    def __init__(self, channels: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(images)), inplace=True)


class _Block(nn.Module):
    """Two convolutions beside a shortcut that thins out and appends zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = outputs - inputs, stride
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(features)), inplace=True)
        out = self.norm2(self.conv2(out))
        if self.new_channels:
            features = F.pad(features[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))
        # In place is safe: the backward of a batch norm reads its input, not its output.
        out += features
        return F.relu(out, inplace=True)

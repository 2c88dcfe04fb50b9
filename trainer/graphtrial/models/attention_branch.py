"""Attention Branch Networks (Fukui et al. 2019) on the ResNets.

    x = lower(images);  a = relu(norm(conv1x1(norm(group(x)))))            group: the last one once more, with stride 1
    map = sigmoid(norm(conv3x3(a))), one channel;  branch logits = mean over cells of conv1x1(a)
    logits = linear(mean over cells of last(x * map))                      with bypass: last(x * map + x)

The map has the side of ``lower``'s features: 16 for CIFAR's 32 pixels, 14 for 224. The thesis leaves the bypass out, so
that the map matters more (spec 7.2). Decided against: the bottleneck blocks and 1x1 shortcuts that the authors put into
their CIFAR ResNets; these stand on the ResNets of the catalogue.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from graphtrial.models.output import Output
from graphtrial.models.resnet import ResNet


class AttentionBranch(nn.Module):
    """Features [B, inputs, S, S] to branch logits [B, classes] and map [B, 1, S, S], each cell between 0 and 1."""

    def __init__(self, group: nn.Module, width: int, classes: int) -> None:
        """``group`` takes the features to ``width`` channels and keeps their side."""
        super().__init__()
        self.group, self.group_norm = group, nn.BatchNorm2d(width)
        self.conv, self.norm = nn.Conv2d(width, classes, 1, bias=False), nn.BatchNorm2d(classes)
        self.map_conv, self.map_norm = nn.Conv2d(classes, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1)
        self.logits_conv = nn.Conv2d(classes, classes, 1, bias=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        of_classes = F.relu(self.norm(self.conv(self.group_norm(self.group(features)))), inplace=True)
        attention = self.map_norm(self.map_conv(of_classes)).sigmoid()
        return self.logits_conv(of_classes).mean((2, 3)), attention


class AttentionBranchNetwork(nn.Module):
    """Images [B, channels, S, S] to logits [B, classes]."""

    def __init__(self, base: ResNet, branch: AttentionBranch, *, bypass: bool) -> None:
        super().__init__()
        self.lower, self.branch, self.last, self.linear = base.lower, branch, base.last, base.linear
        self.bypass = bypass

    def upper(self, features: Tensor) -> Output:
        """Logits, those of the branch, and the branch's map."""
        branch, attention = self.branch(features)
        attended = features * attention
        if self.bypass:
            attended = attended + features
        logits = self.linear(self.last(attended).mean((2, 3)))
        return Output(logits, branch, attention.squeeze(1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, not probabilities."""
        return self.upper(self.lower(images)).logits

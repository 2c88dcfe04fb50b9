"""The models that can be named, with their sizes, known without torch.

Counts are derived from the architectures by arithmetic and checked against torch's own counters in the tests.
Multiply-adds count as two operations, as ``torch.utils.flop_counter`` counts them, and only convolutions and
linear layers count.

Names of other origins (``torchvision:NAME``, ``timm:NAME``, ``package.module:Name``) are accepted: only the
trainer image can tell whether they exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_SMALL_DEPTHS = (8, 14, 20, 26, 32, 44, 56, 110)
_LARGE_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_DEPTHS = "|".join(str(depth) for depth in (*_SMALL_DEPTHS, *_LARGE_BLOCKS))
_RESNET = re.compile(rf"resnet(?P<depth>{_DEPTHS})")
_ABN = re.compile(rf"abn-resnet(?P<depth>{_DEPTHS})(?P<bypass>-bypass)?")
_WRN = re.compile(r"wrn-(?P<depth>10|16|22|28|34|40)-(?P<width>[1-9]|1[0-2])")
IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
"""``package.module:Name``, a class or function of the user's own in the trainer image."""
_FOREIGN = re.compile(r"(torchvision|timm):[A-Za-z0-9_.\-]+|" + IMPORT_PATH)
MODEL_PATTERN = "|".join(re.sub(r"\?P<\w+>", "?:", pattern.pattern) for pattern in (_RESNET, _ABN, _WRN, _FOREIGN))
"""What a model's name matches as a whole."""

TORCHVISION_PATTERN = rf"torchvision:.*|(?:abn-)?resnet(?:{'|'.join(map(str, _LARGE_BLOCKS))})(?:-bypass)?"
"""What the name of a model matches that may start from torchvision's weights."""

LARGEST_SMALL_IMAGE = 64
"""Side in pixels up to which CIFAR networks begin with a 3x3 convolution; larger images are reduced (spec 7.1)."""

MODELS = (
    *(f"resnet{depth}" for depth in (*_SMALL_DEPTHS, *_LARGE_BLOCKS)),
    *("wrn-10-1", "wrn-16-2", "wrn-28-2", "wrn-28-6", "wrn-28-10"),
    *(f"abn-resnet{depth}" for depth in (*_SMALL_DEPTHS, *_LARGE_BLOCKS)),
)
"""Built-in models by name.

Every ``wrn-DEPTH-WIDTH`` with depth 6n+4 up to 40 and width up to 12 is one, and so is every ``abn-resnetN-bypass``.
"""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a built-in model's name says."""

    depth: int
    width: int = 0
    """Of a wide ResNet, in multiples of the plain one's channels; 0 for the others."""
    branch: bool = False
    """Whether it is an Attention Branch Network on the ResNet of that depth."""
    bypass: bool = False
    """Whether features pass the attention beside being multiplied by it."""

    @property
    def large(self) -> bool:
        """Whether it is one of the ResNets for 224 pixels."""
        return not self.width and self.depth in _LARGE_BLOCKS

    @property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """Channels and number of blocks of each group."""
        if self.large:
            wider = _BOTTLENECK if self.depth >= 50 else 1
            return tuple((wider * 64 * 2**place, blocks) for place, blocks in enumerate(_LARGE_BLOCKS[self.depth]))
        blocks = (self.depth - 4 if self.width else self.depth - 2) // 6
        return tuple((channels * max(self.width, 1), blocks) for channels in (16, 32, 64))


_BOTTLENECK = 4
"""By how much the blocks of ResNet50 and deeper ones widen their inner channels."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What a model costs on images of a given size."""

    parameters: int
    flops: int
    """Of one forward pass of one image."""
    map_size: int
    """Side of the attention map, in cells: the branch's own of an ABN, else that of the last group's features."""


def architecture(name: str) -> Architecture | None:
    """A built-in model's name taken apart, None for other names."""
    if found := _RESNET.fullmatch(name):
        return Architecture(int(found["depth"]))
    if found := _ABN.fullmatch(name):
        return Architecture(int(found["depth"]), branch=True, bypass=found["bypass"] is not None)
    if found := _WRN.fullmatch(name):
        return Architecture(int(found["depth"]), width=int(found["width"]))
    return None


def model_problem(name: str) -> str | None:
    """Why ``name`` cannot be a model, or None."""
    if not name:
        return f"is required: one of {', '.join(MODELS)}, torchvision:NAME, timm:NAME or package.module:Name"
    if re.fullmatch(MODEL_PATTERN, name):
        return None
    return f"unknown model {name!r}; use one of {', '.join(MODELS)}, torchvision:NAME, timm:NAME or package.module:Name"


def is_built_in(name: str) -> bool:
    """Whether the catalogue knows the model's size."""
    return architecture(name) is not None


def gives_logits_only(name: str) -> bool:
    """Whether the model surely has neither an attention map nor layers to share.

    Built-in models have both; the user's own may.
    """
    return name.startswith(("torchvision:", "timm:"))


def takes_torchvision_weights(name: str) -> bool:
    """Whether torchvision has weights for the model, or for all of it but an attention branch."""
    return re.fullmatch(TORCHVISION_PATTERN, name) is not None


def model_size(name: str, *, classes: int, channels: int = 3, image_size: int = 32) -> ModelSize:
    """Size and cost of a built-in model on square images.

    Raises:
        KeyError: If ``name`` is not built in.
    """
    shape = architecture(name)
    if shape is None:
        raise KeyError(name)
    count = _Count(image_size)
    inputs = _stem(count, shape, channels)
    group = _group_of(shape)
    *lower, (outputs, blocks) = shape.groups
    for place, (width, length) in enumerate(lower):
        group(count, inputs, width, length, 2 if place else 1)
        inputs = width
    side = count.side
    if shape.branch:
        group(count, inputs, outputs, blocks, 1)
        _attention(count, outputs, classes)
    group(count, inputs, outputs, blocks, 2)
    if shape.width:
        count.norm(outputs)
    count.linear(outputs, classes)
    return ModelSize(count.parameters, 2 * count.macs, side if shape.branch else count.side)


class _Count:
    """Adds up layers; ``side`` is the side of the current feature map."""

    def __init__(self, side: int) -> None:
        self.parameters = 0
        self.macs = 0
        self.side = side

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        self.side = -(-self.side // stride)
        weights = inputs * outputs * kernel**2
        self.parameters += weights
        self.macs += weights * self.side**2

    def norm(self, channels: int) -> None:
        self.parameters += 2 * channels

    def linear(self, inputs: int, outputs: int) -> None:
        self.parameters += inputs * outputs + outputs
        self.macs += inputs * outputs


def _stem(count: _Count, shape: Architecture, channels: int) -> int:
    """Everything before the first group; its number of channels."""
    if shape.large:
        count.conv(channels, 64, 7, 2)
        count.norm(64)
        count.side = -(-count.side // 2)
        return 64
    reduced = count.side > LARGEST_SMALL_IMAGE
    count.conv(channels, 16, 7 if reduced else 3)
    if not shape.width:
        count.norm(16)
    if reduced:
        count.side //= 7
    return 16


def _group_of(shape: Architecture) -> Callable[[_Count, int, int, int, int], None]:
    if shape.width:
        return _wide_group
    if not shape.large:
        return _small_group
    return _basic_group if shape.depth < 50 else _bottleneck_group


def _small_group(count: _Count, inputs: int, outputs: int, blocks: int, stride: int) -> None:
    for block in range(blocks):
        count.conv(outputs if block else inputs, outputs, 3, 1 if block else stride)
        count.norm(outputs)
        count.conv(outputs, outputs, 3)
        count.norm(outputs)


def _basic_group(count: _Count, inputs: int, outputs: int, blocks: int, stride: int) -> None:
    _small_group(count, inputs, outputs, blocks, stride)
    if inputs != outputs:
        count.conv(inputs, outputs, 1)
        count.norm(outputs)


def _bottleneck_group(count: _Count, inputs: int, outputs: int, blocks: int, stride: int) -> None:
    inner = outputs // _BOTTLENECK
    for block in range(blocks):
        count.conv(outputs if block else inputs, inner, 1)
        count.norm(inner)
        count.conv(inner, inner, 3, 1 if block else stride)
        count.norm(inner)
        count.conv(inner, outputs, 1)
        count.norm(outputs)
    count.conv(inputs, outputs, 1)
    count.norm(outputs)


def _wide_group(count: _Count, inputs: int, outputs: int, blocks: int, stride: int) -> None:
    for block in range(blocks):
        before = outputs if block else inputs
        count.norm(before)
        count.conv(before, outputs, 3, 1 if block else stride)
        count.norm(outputs)
        count.conv(outputs, outputs, 3)
        if before != outputs:
            count.conv(before, outputs, 1)


def _attention(count: _Count, channels: int, classes: int) -> None:
    """An attention branch after its group: to classes, to the map, to its logits."""
    count.norm(channels)
    count.conv(channels, classes, 1)
    count.norm(classes)
    count.conv(classes, 1, 3)
    count.norm(1)
    count.conv(classes, classes, 1)

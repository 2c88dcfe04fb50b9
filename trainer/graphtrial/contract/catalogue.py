"""The models that can be named, with their sizes, known without torch.

Counts are derived from the architectures by arithmetic and checked against torch's own counters in the tests.
Multiply-adds count as two operations, as ``torch.utils.flop_counter`` counts them, and only convolutions and
linear layers count.

Names of other origins (``torchvision:NAME``, ``timm:NAME``, ``package.module:Name``) are accepted: only the
trainer image can tell whether they exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_RESNET_DEPTHS = (8, 14, 20, 26, 32, 44, 56, 110)
_WRN = re.compile(r"wrn-(?P<depth>10|16|22|28|34|40)-(?P<width>[1-9]|1[0-2])")
_RESNET = re.compile(r"resnet(?P<depth>" + "|".join(map(str, _RESNET_DEPTHS)) + ")")
_PLANNED = re.compile(r"resnet(18|34|50|101|152)|abn-resnet(20|32|44|56|110|18|34|50|101|152)")
IMPORT_PATH = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
"""``package.module:Name``, a class or function of the user's own in the trainer image."""
_FOREIGN = re.compile(r"(torchvision|timm):[A-Za-z0-9_.\-]+|" + IMPORT_PATH)
MODEL_PATTERN = "|".join(re.sub(r"\?P<\w+>", "?:", pattern.pattern) for pattern in (_RESNET, _WRN, _PLANNED, _FOREIGN))
"""What a model's name matches as a whole."""

MODELS = (*(f"resnet{depth}" for depth in _RESNET_DEPTHS), "wrn-10-1", "wrn-16-2", "wrn-28-2", "wrn-28-6", "wrn-28-10")
"""Built-in models by name; every ``wrn-DEPTH-WIDTH`` with depth 6n+4 up to 40 and width up to 12 is one."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What a model costs on images of a given size."""

    parameters: int
    flops: int
    """Of one forward pass of one image."""
    map_size: int
    """Side of the last block's feature map, in cells."""


def model_problem(name: str) -> str | None:
    """Why ``name`` cannot be a model, or None."""
    if not name:
        return f"is required: one of {', '.join(MODELS)}, torchvision:NAME, timm:NAME or package.module:Name"
    if re.fullmatch(MODEL_PATTERN, name):
        return None
    return f"unknown model {name!r}; use one of {', '.join(MODELS)}, torchvision:NAME, timm:NAME or package.module:Name"


def is_built_in(name: str) -> bool:
    """Whether this version can build the model."""
    return bool(_RESNET.fullmatch(name) or _WRN.fullmatch(name))


def resnet_depth(name: str) -> int | None:
    """The depth of a CIFAR ResNet's name, None for other names."""
    match = _RESNET.fullmatch(name)
    return int(match["depth"]) if match else None


def wrn_depth_and_width(name: str) -> tuple[int, int] | None:
    """Depth and width of a wide ResNet's name, None for other names."""
    match = _WRN.fullmatch(name)
    return (int(match["depth"]), int(match["width"])) if match else None


def model_size(name: str, *, classes: int, channels: int = 3, image_size: int = 32) -> ModelSize:
    """Size and cost of a built-in model on square images.

    Raises:
        KeyError: If ``name`` is not built in.
    """
    if (depth := resnet_depth(name)) is not None:
        return _resnet_size(depth, classes, channels, image_size)
    if (wide := wrn_depth_and_width(name)) is not None:
        return _wrn_size(*wide, classes, channels, image_size)
    raise KeyError(name)


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

    def result(self) -> ModelSize:
        return ModelSize(self.parameters, 2 * self.macs, self.side)


def _resnet_size(depth: int, classes: int, channels: int, image_size: int) -> ModelSize:
    count = _Count(image_size)
    count.conv(channels, 16, 3)
    count.norm(16)
    inputs = 16
    for outputs, stride in ((16, 1), (32, 2), (64, 2)):
        for block in range((depth - 2) // 6):
            count.conv(inputs, outputs, 3, stride if block == 0 else 1)
            count.norm(outputs)
            count.conv(outputs, outputs, 3)
            count.norm(outputs)
            inputs = outputs
    count.linear(64, classes)
    return count.result()


def _wrn_size(depth: int, width: int, classes: int, channels: int, image_size: int) -> ModelSize:
    count = _Count(image_size)
    count.conv(channels, 16, 3)
    inputs = 16
    for outputs, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
        for block in range((depth - 4) // 6):
            count.norm(inputs)
            count.conv(inputs, outputs, 3, stride if block == 0 else 1)
            count.norm(outputs)
            count.conv(outputs, outputs, 3)
            if inputs != outputs:
                count.conv(inputs, outputs, 1)
            inputs = outputs
    count.norm(inputs)
    count.linear(inputs, classes)
    return count.result()
